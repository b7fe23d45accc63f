//! Completion by place: what can stand where the cursor is.

use canvass_planner::catalog::{AGENT, AGENT_FIELDS, AGENTS, HOST};
use canvass_planner::past::PAST;
use canvass_planner::{local, settings};
use canvass_tables::column::Form;
use canvass_tables::{TABLES, Table};
use clap::ValueEnum as _;

use crate::command::COMMANDS;
use crate::listing;
use crate::render::Format;

/// Words of SQL that are completed and coloured.
pub const KEYWORDS: &[&str] = &[
    "ALL",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "SELECT",
    "SET",
    "THEN",
    "TRUE",
    "UNDER",
    "UNION",
    "USING",
    "VALUES",
    "VERBOSE",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Functions that questions need most.
const FUNCTIONS: &[&str] = &[
    "avg(",
    "bytes(",
    "coalesce(",
    "count(",
    "every_line(",
    "is_loopback(",
    "is_private(",
    "lower(",
    "max(",
    "min(",
    "now()",
    "sum(",
    "upper(",
    "version_eq(",
    "version_ge(",
    "version_gt(",
    "version_le(",
    "version_lt(",
];

/// Where the completed word begins, in bytes, and what it can become.
pub fn complete(line: &str, cursor: usize) -> (usize, Vec<String>) {
    let before = &line[..cursor];
    let trimmed = before.trim_start();
    if trimmed.starts_with(['.', '\\']) && !trimmed.contains('\n') {
        return command(before, trimmed);
    }
    if let Some(found) = enumeration(line, before).or_else(|| local_files(before)) {
        return found;
    }
    if before.matches('\'').count() % 2 == 1 {
        return (cursor, Vec::new());
    }
    let start =
        before.rfind(|c: char| !is_word(c)).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let word = &before[start..];
    (start, matching(word, &candidates(line, &before[..start])))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Candidates that begin with what is typed, in any case; the case of keywords follows the typist.
fn matching(word: &str, candidates: &[String]) -> Vec<String> {
    let small = word.to_lowercase();
    let shout = !word.chars().any(char::is_lowercase);
    let mut found: Vec<String> = candidates
        .iter()
        .filter(|candidate| candidate.to_lowercase().starts_with(&small))
        .map(|candidate| {
            let keyword = KEYWORDS.contains(&candidate.as_str());
            if keyword && !shout { candidate.to_lowercase() } else { candidate.clone() }
        })
        .collect();
    found.dedup();
    found
}

fn candidates(line: &str, before: &str) -> Vec<String> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    if let Some(qualifier) = before.strip_suffix('.') {
        return fields(line, qualifier);
    }
    let previous = last_keyword(before);
    let after_comma = before.trim_end().ends_with(',');
    match previous.as_deref() {
        None => owned(&["SELECT", "WITH", "EXPLAIN", "SET canvass."]),
        Some("FROM" | "JOIN") if after_comma || ends_with_keyword(before) => {
            listing::names().map(str::to_owned).collect()
        }
        Some("SET") if ends_with_keyword(before) => vec!["canvass.".to_owned()],
        _ => {
            let mut all = columns(line);
            if previous.as_deref() == Some("ON") && ends_with_keyword(before) {
                all.splice(0..0, same_host(before));
            }
            all.extend(owned(FUNCTIONS));
            all.extend(owned(KEYWORDS));
            all
        }
    }
}

/// What stands after a dot: fields of `agent`, settings, or columns of a table or its alias.
fn fields(line: &str, qualifier: &str) -> Vec<String> {
    let name: String = qualifier.chars().rev().take_while(|c| is_word(*c)).collect::<String>().chars().rev().collect();
    if name.eq_ignore_ascii_case(AGENT) {
        return AGENT_FIELDS.iter().map(|field| field.name.to_owned()).collect();
    }
    if name.eq_ignore_ascii_case("canvass") {
        return settings::NAMES.iter().map(|name| (*name).to_owned()).collect();
    }
    let tables = named_tables(line);
    let table =
        tables.iter().find(|(table, alias)| table.eq_ignore_ascii_case(&name) || alias.eq_ignore_ascii_case(&name));
    table.map(|(table, _)| columns_of(table)).unwrap_or_default()
}

/// Columns of the tables that the statement names; of all tables where it names none yet.
fn columns(line: &str) -> Vec<String> {
    let named = named_tables(line);
    let mut all: Vec<String> = if named.is_empty() {
        listing::names().flat_map(columns_of).collect()
    } else {
        named.iter().flat_map(|(table, _)| columns_of(table)).collect()
    };
    all.sort();
    all.dedup();
    all
}

/// What a join of two endpoint tables has to say first: that their rows are of one host.
fn same_host(before: &str) -> Option<String> {
    let mut endpoints = named_tables(before).into_iter().filter(|(table, _)| canvass_tables::find(table).is_some());
    let name = |(table, alias): (String, String)| if alias.is_empty() { table } else { alias };
    let (right, left) = (endpoints.next_back().map(name)?, endpoints.next_back().map(name)?);
    Some(format!("{left}.{HOST} = {right}.{HOST}"))
}

fn columns_of(table: &str) -> Vec<String> {
    if table.eq_ignore_ascii_case(AGENTS) {
        return AGENT_FIELDS.iter().map(|field| field.name.to_owned()).collect();
    }
    if let Some(past) = PAST.iter().find(|past| table.eq_ignore_ascii_case(past.name)) {
        return past.columns.iter().map(|column| column.name.to_owned()).collect();
    }
    let Some(table) = canvass_tables::find(&table.to_lowercase()) else { return Vec::new() };
    let own = table.columns().into_iter().map(|column| column.name.to_owned());
    own.chain([HOST.to_owned(), AGENT.to_owned()]).collect()
}

/// Tables after FROM and JOIN with their aliases.
fn named_tables(line: &str) -> Vec<(String, String)> {
    let words: Vec<&str> = line.split(|c: char| !is_word(c) && c != ',').filter(|word| !word.is_empty()).collect();
    let is_keyword = |word: &str| KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word));
    let mut tables = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let name = word.trim_matches(',').to_lowercase();
        let after = index > 0 && {
            let previous = words[index - 1];
            previous.ends_with(',') || ["FROM", "JOIN", ","].iter().any(|word| word.eq_ignore_ascii_case(previous))
        };
        if after && listing::names().any(|table| table == name) {
            let next = words[index + 1..].iter().find(|next| !next.eq_ignore_ascii_case("AS"));
            let alias =
                next.filter(|next| !word.ends_with(',') && !is_keyword(next)).map_or("", |next| next.trim_matches(','));
            tables.push((name, alias.to_owned()));
        }
    }
    tables
}

fn last_keyword(before: &str) -> Option<String> {
    let words = before.rsplit(|c: char| !is_word(c)).map(str::to_uppercase);
    words.into_iter().find(|word| KEYWORDS.contains(&word.as_str()))
}

fn ends_with_keyword(before: &str) -> bool {
    let trimmed = before.trim_end();
    let word = trimmed.rsplit(|c: char| !is_word(c)).next().unwrap_or_default().to_uppercase();
    KEYWORDS.contains(&word.as_str())
}

/// Known values inside an open quote after `column =` or `column IN (`.
fn enumeration(line: &str, before: &str) -> Option<(usize, Vec<String>)> {
    let quote = before.rfind('\'')?;
    if before.matches('\'').count().is_multiple_of(2) {
        return None;
    }
    let head = before[..quote].trim_end_matches(|c: char| c.is_whitespace() || "=<>!(".contains(c));
    let head = head.strip_suffix("IN").or_else(|| head.strip_suffix("in")).map_or(head, str::trim_end);
    let column: String = head.chars().rev().take_while(|c| is_word(*c)).collect::<String>().chars().rev().collect();
    let values: Vec<&str> = match column.to_lowercase().as_str() {
        name if !fact_values(head, name).is_empty() => fact_values(head, name).to_vec(),
        name => {
            let named = named_tables(line);
            let tables: Vec<&&dyn Table> = TABLES
                .iter()
                .filter(|table| named.is_empty() || named.iter().any(|(named, _)| *named == table.info().name))
                .collect();
            tables
                .iter()
                .find_map(|table| table.column(name))
                .map(|column| column.values().to_vec())
                .unwrap_or_default()
        }
    };
    let typed = &before[quote + 1..];
    let found: Vec<String> =
        values.iter().filter(|value| value.starts_with(typed)).map(|value| format!("{value}'")).collect();
    (!found.is_empty()).then_some((quote + 1, found))
}

/// The values of a fact of agents, which `mode` is only where it does not stand for a column of files.
fn fact_values(head: &str, name: &str) -> &'static [&'static str] {
    let of_agent = name == "status" || head.to_lowercase().ends_with(&format!("{AGENT}.{name}"));
    let field = AGENT_FIELDS.iter().find(|field| of_agent && field.name == name);
    match field.map(|field| field.form) {
        Some(Form::OneOf(values)) => values,
        _ => &[],
    }
}

/// Entries of a folder looked at while somebody waits for a completion.
const ENTRIES_MAX: usize = 10_000;

/// Files that can be read, and folders on the way to them, inside an open quote after FROM or JOIN.
fn local_files(before: &str) -> Option<(usize, Vec<String>)> {
    let quote = before.rfind('\'').filter(|_| before.matches('\'').count() % 2 == 1)?;
    let head = &before[..quote];
    let stands_for_table = ends_with_keyword(head) || head.trim_end().ends_with(',');
    if !stands_for_table || !matches!(last_keyword(head).as_deref(), Some("FROM" | "JOIN")) {
        return None;
    }
    let typed = &before[quote + 1..];
    let name_at = typed.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, name) = typed.split_at(name_at);
    let entries = std::fs::read_dir(if folder.is_empty() { "." } else { folder }).ok()?;
    let mut found: Vec<String> = entries
        .take(ENTRIES_MAX)
        .flatten()
        .filter_map(|entry| {
            let own = entry.file_name().into_string().ok()?;
            // What begins with a dot is meant to be passed over, and a quote would end the name.
            let fits = own.starts_with(name) && (!own.starts_with('.') || name.starts_with('.')) && !own.contains('\'');
            let small = own.to_lowercase();
            match (fits, entry.path().is_dir()) {
                (true, true) => Some(format!("{own}/")),
                (true, false) if local::ENDINGS.iter().any(|ending| small.ends_with(ending)) => Some(format!("{own}'")),
                _ => None,
            }
        })
        .collect();
    found.sort();
    Some((quote + 1 + name_at, found))
}

/// Commands, and what they take.
fn command(before: &str, trimmed: &str) -> (usize, Vec<String>) {
    let start = before.len() - trimmed.len();
    let Some(space) = trimmed.find(char::is_whitespace) else {
        let names = COMMANDS.iter().map(|command| command.name.to_owned());
        return (start + 1, matching(&trimmed[1..], &names.collect::<Vec<_>>()));
    };
    let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let word = &before[start..];
    let candidates: Vec<String> = match &trimmed[1..space] {
        "schema" | "d" => listing::names().map(str::to_owned).collect(),
        "mode" => Format::value_variants()
            .iter()
            .filter(|format| format.is_text())
            .map(|format| format.as_str().to_owned())
            .collect(),
        "x" | "vertical" => ["on", "off", "auto"].map(str::to_owned).to_vec(),
        "help" | "?" | "h" => COMMANDS.iter().map(|command| command.name.to_owned()).collect(),
        "timer" | "timing" => vec!["on".to_owned(), "off".to_owned()],
        "set" => settings::NAMES.iter().map(|name| (*name).to_owned()).collect(),
        "agents" => AGENT_FIELDS.iter().map(|field| field.name.to_owned()).collect(),
        _ => Vec::new(),
    };
    (start, matching(word, &candidates))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `|` is the cursor.
    fn check(line: &str, expected: &[&str]) {
        let cursor = line.find('|').unwrap();
        let (start, found) = complete(&line.replacen('|', "", 1), cursor);
        assert!(start <= cursor);
        for word in expected {
            assert!(found.iter().any(|found| found == word), "{line}: {word} not in {found:?}");
        }
        if expected.is_empty() {
            assert!(found.is_empty(), "{line}: {found:?}");
        }
    }

    #[test]
    fn completion_goes_by_place() {
        check("|", &["SELECT", "EXPLAIN"]);
        check("sel|", &["select"]);
        check("SELECT * FROM pro|", &["processes"]);
        check("SELECT * FROM files f JOIN us|", &["users"]);
        check("SELECT pa| FROM files", &["path"]);
        check("SELECT path FROM files WHERE agent.o|", &["os", "os_version"]);
        check("SELECT f.m| FROM files f, users u", &["mtime", "mode"]);
        check("SELECT u.ho| FROM files f, users u", &["host", "home"]);
        check("SELECT * FROM agents WHERE status = '|", &["online'", "idle'", "offline'"]);
        check("SELECT * FROM files WHERE agent.status IN ('o|", &["online'", "offline'"]);
        check("SELECT * FROM files WHERE type = 'd|", &["directory'"]);
        check("SELECT * FROM users u JOIN processes p ON |", &["u.host = p.host"]);
        check("SELECT * FROM users u JOIN processes p ON u.h|", &["home", "host"]);
        check("SELECT * FROM users JOIN groups g ON use|", &["users.host = g.host"]);
        check("SET canvass.limit_|", &["limit_rows"]);
        check(".sch|", &["schema"]);
        check("\\mo|", &["mode"]);
        check(".schema gro|", &["groups"]);
        check(".mode js|", &["json", "jsonl"]);
        check("SELECT 'pa|", &[]);
        check("SELECT 'ünï', pat| FROM files", &["path"]);
    }

    #[test]
    fn names_of_files_are_completed_where_a_table_can_stand() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["iocs.csv", "iocs.PARQUET", "notes.txt", "it's.csv", ".hidden.json"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("io")).unwrap();
        let at = folder.path().display();
        let found = |line: &str| {
            let line = line.replace('@', &at.to_string());
            let (start, found) = complete(&line, line.len());
            assert!(line[start..].len() <= 4, "{line} {start}");
            found
        };
        assert_eq!(found("SELECT * FROM '@/i"), ["io/", "iocs.PARQUET'", "iocs.csv'"]);
        assert_eq!(found("SELECT * FROM files f JOIN '@/iocs"), ["iocs.PARQUET'", "iocs.csv'"]);
        assert_eq!(found("SELECT * FROM users, '@/.h"), [".hidden.json'"]);
        assert_eq!(found("SELECT * FROM '@/n"), [] as [&str; 0]);
        assert_eq!(complete("SELECT * FROM files WHERE path = '/et", 37).1, [] as [&str; 0]);
        assert_eq!(complete("SELECT * FROM '/does/not/exist/x", 32).1, [] as [&str; 0]);
    }

    #[test]
    fn no_line_and_cursor_make_it_fail() {
        for line in ["", ".", "\\", "é", "SELECT é.", "'é", ".é é", "a.b.c", "FROM ,", "\n.x"] {
            for cursor in (0..=line.len()).filter(|at| line.is_char_boundary(*at)) {
                let (start, _) = complete(line, cursor);
                assert!(line.is_char_boundary(start) && start <= cursor, "{line} {cursor}");
            }
        }
    }
}
