//! Which file a unit's name leads to, and whether the unit is enabled, by links as `systemctl is-enabled` reads them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use canvass_protocol::answer::Trouble;

use super::folders::{Reader, name};
use super::unit_file::Install;
use super::unit_folders::Scope;
use super::unit_names::UnitName;
use crate::engine::Collector;
use crate::host::FileKind;

/// Names by which one unit may be known, one leading to the next.
const ALIASES_MAX: usize = 16;

/// Drop-ins that are read for one unit.
const DROP_INS_MAX: usize = 256;

/// What lies in the folders of a scope.
#[derive(Default)]
pub(super) struct Index {
    /// The first folder that holds a unit's file or link.
    files: BTreeMap<String, Found>,
    /// Links in the folders themselves, by their name and by the last part of where they lead.
    links: HashMap<String, Vec<Link>>,
    links_to: HashMap<String, Vec<Link>>,
    /// Folders in which others want or require it, by the link's name and by its template.
    wanted: HashMap<String, Vec<usize>>,
    instances: HashMap<String, Vec<(String, usize)>>,
    /// Drop-ins by the name of their folder, without its `.d`: their names, and the folder.
    drop_ins: HashMap<String, Vec<(String, PathBuf)>>,
    /// What a user's own folders name.
    own: BTreeSet<String>,
}

struct Found {
    folder: usize,
    is_link: bool,
}

#[derive(Clone)]
struct Link {
    folder: usize,
    name: String,
    leads_to: String,
}

/// What a name leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To a file, under a name that may be another than was asked for.
    ToFile { name: String, path: PathBuf, folder: Option<usize> },
    /// To /dev/null or an empty file.
    Masked { path: PathBuf, folder: usize },
    /// In circles, or to nothing.
    Nowhere { path: PathBuf },
}

impl Index {
    /// Lists the folders; what cannot be listed is a trouble.
    pub fn read<R>(scope: &Scope, reader: &Reader<'_>, collector: &mut Collector<'_, R>) -> ControlFlow<(), Index> {
        let mut index = Index::default();
        for (at, folder) in scope.folders.iter().enumerate() {
            let list = |collector: &mut Collector<'_, R>, path: &Path| match reader.entries(path) {
                Ok(entries) => entries,
                Err(Trouble { subject, reason, .. }) => {
                    collector.trouble(subject.as_deref(), reason);
                    Vec::new()
                }
            };
            for entry in list(collector, &folder.path) {
                collector.go_on()?;
                let (entry_name, path) = (name(&entry.name), folder.path.join(&entry.name));
                let is_link = entry.kind == FileKind::Link;
                let is_unit = UnitName::parse(&entry_name).is_some();
                match entry_name.rsplit_once('.') {
                    Some((_, "wants" | "requires" | "upholds")) if entry.kind == FileKind::Directory => {
                        for link in list(collector, &path).into_iter().filter(|link| link.kind == FileKind::Link) {
                            collector.go_on()?;
                            index.want(at, folder.is_own, name(&link.name));
                        }
                    }
                    Some((unit, "d")) if entry.kind == FileKind::Directory => {
                        let files = list(collector, &path).into_iter().map(|file| name(&file.name));
                        let files = files.filter(|file| file.ends_with(".conf")).map(|file| (file, path.clone()));
                        index.drop_ins.entry(unit.to_owned()).or_default().extend(files);
                        if folder.is_own && UnitName::parse(unit).is_some() {
                            index.own.insert(unit.to_owned());
                        }
                    }
                    _ if is_unit && (is_link || entry.kind == FileKind::File) => {
                        if is_link {
                            index.link(at, &entry_name, &reader.host.read_link(&path).unwrap_or_default());
                        }
                        if folder.is_own {
                            index.own.insert(entry_name.clone());
                        }
                        index.files.entry(entry_name).or_insert(Found { folder: at, is_link });
                    }
                    _ => {}
                }
            }
        }
        ControlFlow::Continue(index)
    }

    fn link(&mut self, folder: usize, from: &str, to: &Path) {
        let leads_to = to.file_name().map(name).unwrap_or_default();
        let link = Link { folder, name: from.to_owned(), leads_to: leads_to.clone() };
        self.links.entry(from.to_owned()).or_default().push(link.clone());
        self.links_to.entry(leads_to).or_default().push(link);
    }

    fn want(&mut self, folder: usize, is_own: bool, unit: String) {
        let Some(parsed) = UnitName::parse(&unit) else { return };
        if let Some(template) = parsed.template() {
            self.instances.entry(template).or_default().push((unit.clone(), folder));
        }
        if is_own {
            self.own.insert(unit.clone());
        }
        self.wanted.entry(unit).or_default().push(folder);
    }

    /// The units of the scope: those that have a file or a link, and instances that others want. Of a user's scope those that the
    /// user's own folders name.
    pub fn units(&self, scope: &Scope) -> BTreeSet<String> {
        let instances = self.instances.iter().filter(|(template, _)| self.files.contains_key(*template));
        let instances = instances.flat_map(|(_, instances)| instances.iter().map(|(instance, _)| instance));
        let all = self.files.keys().chain(instances);
        all.filter(|unit| scope.user.is_none() || self.own.contains(*unit)).cloned().collect()
    }

    /// Follows a name to the file that speaks for it.
    pub fn resolve(&self, unit: &str, scope: &Scope, reader: &Reader<'_>) -> Result<Leads, Trouble> {
        let mut current = unit.to_owned();
        let mut path = PathBuf::new();
        // The template to which a link of an instance's own name leads.
        let mut step: Option<String> = None;
        for _ in 0..ALIASES_MAX {
            let parsed = UnitName::parse(&current);
            let template = parsed.and_then(|parsed| parsed.template());
            let files = step.take().map_or_else(|| vec![Some(current.clone()), template], |file| vec![Some(file)]);
            let file = files.into_iter().flatten().find(|file| self.files.contains_key(file));
            let found = file.and_then(|file| Some((self.files.get(&file)?, file)));
            let Some((found, file)) = found else { return Ok(Leads::Nowhere { path }) };
            let Some(folder) = scope.folders.get(found.folder) else { return Ok(Leads::Nowhere { path }) };
            path = folder.path.join(&file);
            if !found.is_link {
                return self.loaded(current, path.clone(), path, found.folder, reader);
            }
            let Ok(target) = reader.host.read_link(&path) else { return Ok(Leads::Nowhere { path }) };
            let target = absolute(&folder.path, &target);
            let last = target.file_name().map(name).unwrap_or_default();
            let inside = target.parent().is_some_and(|parent| is_unit_folder(scope, parent));
            match UnitName::parse(&last) {
                Some(other) if inside && last != file => {
                    let instance = parsed.filter(UnitName::is_instance).and_then(|parsed| parsed.instance);
                    let next = match instance {
                        Some(instance) if other.is_template() => other.with_instance(instance),
                        _ => last.clone(),
                    };
                    step = (next == current).then_some(last);
                    current = next;
                }
                _ => return self.loaded(current, target, path, found.folder, reader),
            }
        }
        Ok(Leads::Nowhere { path })
    }

    /// Looks whether there is a file with something in it at the end.
    fn loaded(
        &self,
        name: String,
        path: PathBuf,
        from: PathBuf,
        folder: usize,
        reader: &Reader<'_>,
    ) -> Result<Leads, Trouble> {
        if path == Path::new("/dev/null") {
            return Ok(Leads::Masked { path: from, folder });
        }
        match reader.target(&path) {
            Ok(Some((_, metadata)))
                if metadata.kind == FileKind::Char || metadata.kind == FileKind::File && metadata.size == 0 =>
            {
                Ok(Leads::Masked { path: from, folder })
            }
            Ok(Some((_, metadata))) if metadata.kind == FileKind::File => {
                let folder = (path == from).then_some(folder);
                Ok(Leads::ToFile { name, path, folder })
            }
            Ok(_) => Ok(Leads::Nowhere { path: from }),
            // More links than the kernel follows.
            Err(trouble) if trouble.reason.contains("symbolic links") => Ok(Leads::Nowhere { path: from }),
            Err(trouble) => Err(trouble),
        }
    }

    /// Drop-ins that apply to a unit known by these names, in the order in which they are read.
    pub fn drop_ins(&self, names: &[&str], reader: &Reader<'_>) -> Vec<PathBuf> {
        let folders = names.iter().filter_map(|name| UnitName::parse(name)).flat_map(|name| name.drop_in_names());
        let mut first: BTreeMap<&str, &Path> = BTreeMap::new();
        for (file, folder) in folders.filter_map(|folder| self.drop_ins.get(&folder)).flatten() {
            if first.len() < DROP_INS_MAX {
                first.entry(file).or_insert(folder);
            }
        }
        let paths = first.into_iter().map(|(file, folder)| folder.join(file));
        // What is empty or /dev/null stands for none, and hides those of its name.
        let speaks = |path: &PathBuf| {
            let is_null = reader.host.read_link(path).is_ok_and(|target| target == Path::new("/dev/null"));
            !is_null && matches!(reader.target(path), Ok(Some((_, metadata))) if metadata.kind == FileKind::File)
        };
        paths.filter(speaks).collect()
    }

    /// The word of `systemctl is-enabled` for a name and what it leads to.
    pub fn state(&self, unit: &str, leads: &Leads, install: &Install, scope: &Scope) -> &'static str {
        let (own, path, folder) = match leads {
            Leads::Nowhere { .. } => return "bad",
            Leads::Masked { folder, .. } => {
                let is_runtime = scope.folders.get(*folder).is_some_and(super::unit_folders::Folder::is_runtime);
                return if is_runtime { "masked-runtime" } else { "masked" };
            }
            Leads::ToFile { name, path, folder } => (name.as_str(), path.as_path(), *folder),
        };
        let is_instance = UnitName::parse(own).is_some_and(|own| own.is_instance());
        if unit != own && !is_instance {
            return "alias";
        }
        let folder = folder.and_then(|folder| scope.folders.get(folder));
        if folder.is_some_and(super::unit_folders::Folder::is_generated) {
            return "generated";
        }
        if folder.is_some_and(super::unit_folders::Folder::is_transient) {
            return "transient";
        }
        if let Some(state) = self.linked(own, path, Some(install), scope) {
            return state;
        }
        if self.linked(own, path, None, scope).is_some() {
            return "indirect";
        }
        if !install.aliases.is_empty() || !install.wanted_by.is_empty() {
            "disabled"
        } else if !install.also.is_empty() {
            "indirect"
        } else {
            "static"
        }
    }

    /// What links make of a unit: those that `systemctl enable` would make where `install` says which, or any.
    fn linked(&self, unit: &str, path: &Path, install: Option<&Install>, scope: &Scope) -> Option<&'static str> {
        let parsed = UnitName::parse(unit)?;
        let default = install.and_then(|install| install.default_instance.as_deref());
        let default = default.filter(|_| parsed.is_template()).map(|instance| parsed.with_instance(instance));
        let is_known = |link: &str| {
            install.is_none_or(|install| {
                link == unit || install.aliases.iter().any(|alias| alias == link) || default.as_deref() == Some(link)
            })
        };
        let wanted = self.wanted.get(unit).into_iter().flatten().copied();
        let instances = self.instances.get(unit).into_iter().flatten();
        let wanted: BTreeSet<usize> =
            wanted.chain(instances.filter(|(link, _)| is_known(link)).map(|(_, folder)| *folder)).collect();
        let links: Vec<&Link> =
            [self.links.get(unit), self.links_to.get(unit)].into_iter().flatten().flatten().collect();
        let (mut runtime, mut anywhere, mut same_config, mut same_runtime, mut below) =
            (false, false, false, false, false);
        for (at, folder) in scope.folders.iter().enumerate() {
            let here = || links.iter().filter(|link| link.folder == at);
            let is_same = |link: &&&Link| link.name == unit && (link.leads_to == unit || !parsed.is_instance());
            let counts = |link: &&&Link| !is_same(link) && (link.name != unit || !below) && is_known(&link.name);
            if wanted.contains(&at) || here().any(|link| counts(&link)) {
                if folder.is_config {
                    return Some("enabled");
                }
                runtime |= folder.is_runtime();
                anywhere |= !folder.is_runtime();
            } else if !below && here().any(|link| is_same(&link)) {
                same_config |= folder.is_config;
                same_runtime |= folder.is_runtime();
            }
            below |= path.starts_with(&folder.path);
        }
        let is_static = anywhere && parsed.is_instance();
        let states = [
            (runtime, "enabled-runtime"),
            (is_static, "static"),
            (same_config, "linked"),
            (same_runtime, "linked-runtime"),
        ];
        states.into_iter().find(|(holds, _)| *holds).map(|(_, state)| state)
    }
}

/// Where a link in a folder leads, by the letter.
fn absolute(folder: &Path, target: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in folder.join(target).components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir => {}
            other => whole.push(other),
        }
    }
    whole
}

/// Whether a folder is one of a scope's, spelled with or without /usr.
fn is_unit_folder(scope: &Scope, folder: &Path) -> bool {
    let in_usr = Path::new("/usr").join(folder.strip_prefix("/").unwrap_or(folder));
    scope.folders.iter().any(|known| known.path == folder || known.path == in_usr)
}
