//! What the names in a policy mean. One that means nothing here refuses all that it may have been meant to guard, so that a
//! slip of the pen never widens anything.

use std::collections::BTreeSet;

use canvass_protocol::acl::{Acl, DEFAULT};
use canvass_tables::TABLES;

/// Modules without a table in this version, of which MIG's policies, our documents and later versions speak. Nobody can ask
/// for them here, so that naming them guards what it says.
const LATER: [&str; 9] = ["agentdestroy", "audit", "fswatch", "memory", "pkg", "scribe", "sshkey", "timedrift", "yara"];

/// What is refused because of names that mean nothing here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slips {
    /// Nobody can tell which module was meant.
    everything: bool,
    /// Of `acl`, so that a module with an entry of its own cannot have been meant.
    all_without_entry: bool,
    modules: BTreeSet<&'static str>,
    tables: BTreeSet<&'static str>,
}

impl Slips {
    /// Looks at every name; returns also what is to be said of those that mean nothing, a sentence each.
    pub fn find(disabled: &BTreeSet<String>, withheld: &BTreeSet<String>, acl: &Acl) -> (Slips, Vec<String>) {
        let (mut slips, mut words) = (Slips::default(), Vec::new());
        words.extend(disabled.iter().filter_map(|name| slips.disabled(name)));
        words.extend(withheld.iter().filter_map(|name| slips.withheld(name)));
        let mine = acl.names().filter(|name| *name != DEFAULT);
        words.extend(mine.filter_map(|name| slips.entry(name)));
        (slips, words)
    }

    /// Whether a table of a module is refused.
    pub fn refuse(&self, module: &str, table: &str, has_entry: bool) -> bool {
        self.everything
            || self.all_without_entry && !has_entry
            || self.modules.contains(module)
            || self.tables.contains(table)
    }

    fn disabled(&mut self, name: &str) -> Option<String> {
        if is_module(name) || LATER.contains(&name) {
            return None;
        }
        let slip = format!("the policy disables `{name}`, which is no module");
        Some(match module_of(name) {
            Some(module) => {
                self.modules.insert(module);
                format!("{slip} but a table of `{module}`; all of `{module}` is refused, write so")
            }
            None => {
                self.everything = true;
                format!("{slip}; every action is refused{}", meant(name, modules()))
            }
        })
    }

    fn withheld(&mut self, name: &str) -> Option<String> {
        let slip = format!("the policy withholds `{name}`, which is no column");
        let Some((first, column)) = name.split_once('.') else {
            self.everything = true;
            return Some(format!("{slip}; every action is refused, write `table.column`"));
        };
        let found = canvass_tables::find(first);
        if let Some(table) = found {
            if table.column(column).is_some() {
                return None;
            }
            self.tables.insert(table.info().name);
            let columns = table.columns().into_iter().map(|column| column.name);
            return Some(format!("{slip}; all of `{first}` is refused{}", meant(column, columns)));
        }
        if LATER.contains(&first) {
            return None;
        }
        if let Some(module) = modules().find(|module| *module == first) {
            self.modules.insert(module);
            return Some(format!("{slip}; all of `{module}` is refused, write `table.column`"));
        }
        self.everything = true;
        Some(format!("{slip}; every action is refused{}", meant(first, tables())))
    }

    fn entry(&mut self, name: &str) -> Option<String> {
        let slip = format!("the policy has an entry for `{name}`, which is no module");
        let (first, column) = name.split_once('.').map_or((name, None), |(first, column)| (first, Some(column)));
        if LATER.contains(&first) {
            return None;
        }
        let of_table = canvass_tables::find(first).map(|table| table.info().module.name);
        let module = modules().find(|module| *module == first).or(of_table);
        let Some(column) = column else {
            return match module {
                _ if is_module(name) => None,
                Some(module) => {
                    self.modules.insert(module);
                    Some(format!("{slip} but a table of `{module}`; all of `{module}` is refused, write so"))
                }
                None => {
                    self.all_without_entry = true;
                    Some(format!("{slip}; modules without an entry of their own are refused{}", meant(name, modules())))
                }
            };
        };
        let Some(module) = module else {
            self.everything = true;
            return Some(format!(
                "{slip} and no column; every action is refused{}",
                meant(first, modules().chain(tables()))
            ));
        };
        let has = |table: &&&dyn canvass_tables::Table| {
            let info = table.info();
            (info.module.name == first || info.name == first) && table.column(column).is_some()
        };
        if TABLES.iter().any(|table| has(&table)) {
            return None;
        }
        self.modules.insert(module);
        Some(format!("{slip} and no column; all of `{module}` is refused"))
    }
}

fn modules() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.info().module.name)
}

fn tables() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.info().name)
}

fn is_module(name: &str) -> bool {
    modules().any(|module| module == name)
}

/// The module of a table.
fn module_of(table: &str) -> Option<&'static str> {
    canvass_tables::find(table).map(|table| table.info().module.name)
}

/// What may have been meant, in words: names that a few letters make of it.
fn meant(name: &str, names: impl Iterator<Item = impl Into<String>>) -> String {
    let near = |known: &String| distance(name, known) <= (known.len() / 3).max(1);
    let names: BTreeSet<String> = names.map(Into::into).filter(near).collect();
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

/// Letters to be put in, left out or changed to make one name of another.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, b) in other.chars().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
