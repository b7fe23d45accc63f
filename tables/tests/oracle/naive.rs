//! A naive reading of the manual: the standard library's files, one line at a time, logic by the book.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use canvass_protocol::filter::{Filter, Is, Pattern, Place, Test};
use canvass_protocol::value::Value;

/// The hash columns.
pub const HASHES: &[&str] =
    &["md5", "sha1", "sha256", "sha384", "sha512", "sha3_224", "sha3_256", "sha3_384", "sha3_512"];

pub fn digest(column: &str, bytes: &[u8]) -> String {
    use sha2::Digest as _;
    match column {
        "md5" => crate::common::md5(bytes),
        "sha1" => crate::common::sha1(bytes),
        "sha256" => crate::common::sha256(bytes),
        // The table's own crates: what they compute is checked against published values elsewhere.
        "sha384" => crate::common::hex(&sha2::Sha384::digest(bytes)),
        "sha512" => crate::common::hex(&sha2::Sha512::digest(bytes)),
        "sha3_224" => crate::common::hex(&sha3::Sha3_224::digest(bytes)),
        "sha3_256" => crate::common::hex(&sha3::Sha3_256::digest(bytes)),
        "sha3_384" => crate::common::hex(&sha3::Sha3_384::digest(bytes)),
        "sha3_512" => crate::common::hex(&sha3::Sha3_512::digest(bytes)),
        other => panic!("no hash {other}"),
    }
}

/// A place to look: alone, or with all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Root {
    path: String,
    under: bool,
}

impl Root {
    fn holds(&self, path: &str) -> bool {
        path == self.path || (self.under && is_below(path, &self.path))
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// What the manual promises for a question.
pub struct Answer {
    /// Rows as text, sorted.
    pub rows: Vec<String>,
    /// Paths of rows of which the manual does not say which root they are of.
    pub unsure: Vec<String>,
    /// Roots that are not there.
    pub missing: usize,
}

struct Row {
    path: Vec<u8>,
    depth: i64,
    stat: fs::Metadata,
    target: Option<PathBuf>,
    content: Option<Vec<u8>>,
    unsure: bool,
}

impl Answer {
    pub fn new(filter: &Filter, columns: &[&str]) -> Answer {
        let roots = roots(filter).expect("the question is bounded");
        let mut rows = BTreeMap::new();
        let mut missing = 0;
        for root in &roots {
            missing += usize::from(fs::symlink_metadata(&root.path).is_err());
            enumerate(Path::new(&root.path), root.under, true, &mut |path| {
                rows.entry(path.to_owned()).or_insert_with(|| Row::new(path, &roots));
            });
        }
        let kept: Vec<&Row> = rows.values().filter(|row| truth(filter, row) == Some(true)).collect();
        let mut shown: Vec<String> = kept.iter().map(|row| row.show(columns)).collect();
        shown.sort();
        let unsure = rows.values().filter(|row| row.unsure).map(|row| lossy(&row.path)).collect();
        Answer { rows: shown, unsure, missing }
    }
}

/// Visits a path and, where asked, what lies below it; only the root's own links are entered.
fn enumerate(path: &Path, under: bool, is_root: bool, visit: &mut dyn FnMut(&Path)) {
    let Ok(stat) = fs::symlink_metadata(path) else { return };
    visit(path);
    let entered = stat.is_dir() || (is_root && fs::metadata(path).is_ok_and(|stat| stat.is_dir()));
    if under && entered {
        for entry in fs::read_dir(path).unwrap() {
            enumerate(&entry.unwrap().path(), true, false, visit);
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn steps(path: &str) -> i64 {
    path.split('/').filter(|part| !part.is_empty()).count() as i64
}

impl Row {
    fn new(path: &Path, roots: &[Root]) -> Row {
        let shown = lossy(path.as_os_str().as_bytes());
        let holding = || roots.iter().filter(|root| root.holds(&shown));
        let outermost = holding().min_by_key(|root| root.path.len()).expect("a row lies in a root");
        let stat = fs::symlink_metadata(path).unwrap();
        let by_root = |root: &Root| content(path, &stat, root);
        let content = by_root(outermost);
        Row {
            depth: steps(&shown) - steps(&outermost.path),
            target: fs::read_link(path).ok(),
            unsure: holding().any(|root| by_root(root) != content),
            content,
            stat,
            path: path.as_os_str().as_bytes().to_vec(),
        }
    }

    fn kind(&self) -> &'static str {
        let kind = self.stat.file_type();
        match () {
            () if kind.is_dir() => "directory",
            () if kind.is_symlink() => "link",
            () if kind.is_fifo() => "fifo",
            () => "file",
        }
    }

    fn name(&self) -> String {
        lossy(Path::new(OsStr::from_bytes(&self.path)).file_name().unwrap().as_bytes())
    }

    fn mode(&self) -> String {
        let bits = self.stat.mode();
        let mut mode = String::from(match self.kind() {
            "directory" => "d",
            "link" => "l",
            "fifo" => "p",
            _ => "-",
        });
        for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
            let set = bits >> shift;
            mode.push(if set & 4 != 0 { 'r' } else { '-' });
            mode.push(if set & 2 != 0 { 'w' } else { '-' });
            mode.push(match (set & 1 != 0, bits & special != 0) {
                (true, true) => letter,
                (false, true) => letter.to_ascii_uppercase(),
                (true, false) => 'x',
                (false, false) => '-',
            });
        }
        mode
    }

    fn text(&self, column: &str) -> Option<String> {
        match column {
            "path" => Some(lossy(&self.path)),
            "path_hex" => std::str::from_utf8(&self.path).err().map(|_| crate::common::hex(&self.path)),
            "name" => Some(self.name()),
            "directory" => {
                Some(lossy(Path::new(OsStr::from_bytes(&self.path)).parent().unwrap().as_os_str().as_bytes()))
            }
            "type" => Some(self.kind().to_owned()),
            "mode" => Some(self.mode()),
            "permissions" => Some(format!("{:04o}", self.stat.mode() & 0o7777)),
            "target" => self.target.as_ref().map(|target| lossy(target.as_os_str().as_bytes())),
            hash => self.content.as_ref().map(|bytes| digest(hash, bytes)),
        }
    }

    fn number(&self, column: &str) -> Option<i64> {
        match column {
            "depth" => Some(self.depth),
            "size" => Some(i64::try_from(self.stat.size()).unwrap()),
            "links" => Some(i64::try_from(self.stat.nlink()).unwrap()),
            _ => None,
        }
    }

    fn show(&self, columns: &[&str]) -> String {
        let cell = |column: &&str| {
            let number = self.number(column).map(|number| number.to_string());
            number.or_else(|| self.text(column)).unwrap_or_else(|| "-".to_owned())
        };
        columns.iter().map(cell).collect::<Vec<_>>().join(" ")
    }
}

/// What can be read as content: a regular file, or the one that a link leads to inside the search root.
fn content(path: &Path, stat: &fs::Metadata, root: &Root) -> Option<Vec<u8>> {
    if stat.is_symlink() {
        let real = real(path)?;
        let inside = real.starts_with(self::real(Path::new(&root.path))?);
        return (inside && fs::metadata(path).ok()?.is_file()).then(|| fs::read(path).unwrap());
    }
    stat.is_file().then(|| fs::read(path).unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the oracle looks at the machine itself, not at a host's root")]
fn real(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

/// The places that a filter bounds `path` to; `None` where it does not.
fn roots(filter: &Filter) -> Option<Vec<Root>> {
    match filter {
        Filter::All(parts) => {
            parts.iter().filter_map(roots).chain(between(parts)).reduce(|one, other| common(&one, &other))
        }
        Filter::Any(parts) => parts.iter().map(roots).collect::<Option<Vec<_>>>().map(|all| all.concat()),
        Filter::Test(Test { column, is }) if column == "path" => {
            let alone = |value: &Value| match value {
                Value::Text(text) => Root { path: text.clone(), under: false },
                other => panic!("{other:?}"),
            };
            match is {
                Is::Equal(value) => Some(vec![alone(value)]),
                Is::In(values) => Some(values.iter().map(alone).collect()),
                Is::Under(Place::Folder(folder)) => Some(vec![Root { path: folder.clone(), under: true }]),
                Is::Like(pattern) => Some(prefix(&pattern.pattern, &['%', '_'], false)),
                Is::Matches(Pattern { pattern, .. }) => {
                    let after = pattern.strip_prefix('^')?;
                    let whole = after.ends_with('$');
                    Some(prefix(after.trim_end_matches('$'), &['.', '[', '$'], !whole))
                }
                _ => None,
            }
        }
        Filter::Not(_) | Filter::Test(_) => None,
    }
}

/// The folder that what comes before the first of some characters names; without one of them, all of it.
fn prefix(text: &str, ends: &[char], open: bool) -> Vec<Root> {
    let end = text.find(|character| ends.contains(&character));
    if end.is_none() && !open {
        return vec![Root { path: text.to_owned(), under: false }];
    }
    let known = &text[..end.unwrap_or(text.len())];
    vec![Root { path: known[..known.rfind('/').unwrap()].to_owned(), under: true }]
}

fn between(parts: &[Filter]) -> Option<Vec<Root>> {
    let limit = |wanted: fn(&Is) -> Option<&Value>| {
        parts.iter().rev().find_map(|part| match part {
            Filter::Test(Test { column, is }) if column == "path" => match wanted(is) {
                Some(Value::Text(text)) => Some(text.as_str()),
                _ => None,
            },
            _ => None,
        })
    };
    let low = limit(|is| if let Is::GreaterOrEqual(value) = is { Some(value) } else { None })?;
    let high = limit(|is| if let Is::LessOrEqual(value) = is { Some(value) } else { None })?;
    let same: String = low.chars().zip(high.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    Some(vec![Root { path: same[..same.rfind('/').unwrap()].to_owned(), under: true }])
}

fn common(one: &[Root], other: &[Root]) -> Vec<Root> {
    let mut both = Vec::new();
    for a in one {
        for b in other {
            if a == b || (a.under && (a.holds(&b.path))) {
                both.push(b.clone());
            } else if b.under && b.holds(&a.path) {
                both.push(a.clone());
            }
        }
    }
    both
}

/// Three-valued logic: `None` is unknown.
fn truth(filter: &Filter, row: &Row) -> Option<bool> {
    let all = |parts: &[Filter], decisive: bool| {
        let truths: Vec<_> = parts.iter().map(|part| truth(part, row)).collect();
        if truths.contains(&Some(decisive)) {
            Some(decisive)
        } else if truths.contains(&None) {
            None
        } else {
            Some(!decisive)
        }
    };
    match filter {
        Filter::All(parts) => all(parts, false),
        Filter::Any(parts) => all(parts, true),
        Filter::Not(inner) => truth(inner, row).map(|truth| !truth),
        Filter::Test(Test { column, is }) => match column.as_str() {
            "content" => row.content.as_ref().map(|bytes| lines_are(is, bytes)),
            "depth" | "size" | "links" => number_is(is, row.number(column)),
            _ => text_is(is, row.text(column), HASHES.contains(&column.as_str())),
        },
    }
}

fn number_is(is: &Is, own: Option<i64>) -> Option<bool> {
    if let Is::Null = is {
        return Some(own.is_none());
    }
    let own = own? as f64;
    let number = |value: &Value| match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        other => panic!("{other:?}"),
    };
    Some(match is {
        Is::In(values) => values.iter().any(|value| number(value) == own),
        is => {
            let (comparison, value) = is.comparison().unwrap();
            comparison.holds(own.partial_cmp(&number(value)).unwrap())
        }
    })
}

fn text_is(is: &Is, own: Option<String>, hex: bool) -> Option<bool> {
    if let Is::Null = is {
        return Some(own.is_none());
    }
    let own = own?;
    let constant = |value: &Value| match value {
        Value::Text(text) if hex => text.to_lowercase(),
        Value::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    Some(match is {
        Is::In(values) => values.iter().any(|value| constant(value) == own),
        Is::Like(pattern) => like(pattern, own.as_bytes()),
        Is::Matches(it) => {
            regex::RegexBuilder::new(&it.pattern).case_insensitive(it.ignore_case).build().unwrap().is_match(&own)
        }
        Is::Under(Place::Folder(folder)) => own == *folder || is_below(&own, folder),
        is => {
            let (comparison, value) = is.comparison().unwrap();
            comparison.holds(own.cmp(&constant(value)))
        }
    })
}

/// A file's lines, without their ends.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let last = lines.pop().unwrap();
    let mut lines: Vec<&[u8]> = lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    if !last.is_empty() {
        lines.push(last);
    }
    lines
}

fn lines_are(is: &Is, bytes: &[u8]) -> bool {
    let regex =
        |it: &Pattern| regex::bytes::RegexBuilder::new(&it.pattern).case_insensitive(it.ignore_case).build().unwrap();
    match is {
        Is::Matches(it) => {
            let regex = regex(it);
            lines(bytes).iter().any(|line| regex.is_match(line))
        }
        Is::EveryLine(it) => {
            let regex = regex(it);
            lines(bytes).iter().all(|line| regex.is_match(line))
        }
        Is::Like(pattern) => lines(bytes).iter().any(|line| like(pattern, line)),
        other => panic!("{other:?}"),
    }
}

enum Token {
    Any,
    One,
    Literal(char),
}

/// LIKE over the whole of some bytes: `%` is any bytes, `_` one character.
fn like(pattern: &Pattern, bytes: &[u8]) -> bool {
    let mut tokens = Vec::new();
    let mut characters = pattern.pattern.chars();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '%' => Token::Any,
            '_' => Token::One,
            '\\' => Token::Literal(characters.next().unwrap_or('\\')),
            other => Token::Literal(other),
        });
    }
    // Places that can be reached after each token.
    let mut places = vec![false; bytes.len() + 1];
    places[0] = true;
    for token in &tokens {
        let mut next = vec![false; bytes.len() + 1];
        for (place, _) in places.iter().enumerate().filter(|(_, reached)| **reached) {
            if let Token::Any = token {
                next[place..].fill(true);
                break;
            }
            let Some(found) = character_at(&bytes[place..]) else { continue };
            let fits = match token {
                Token::Literal(wanted) if pattern.ignore_case => fold(*wanted) == fold(found),
                Token::Literal(wanted) => *wanted == found,
                _ => true,
            };
            if fits {
                next[place + found.len_utf8()] = true;
            }
        }
        places = next;
    }
    places[bytes.len()]
}

fn character_at(bytes: &[u8]) -> Option<char> {
    (1..=4.min(bytes.len())).find_map(|length| std::str::from_utf8(&bytes[..length]).ok()?.chars().next())
}

fn fold(character: char) -> String {
    character.to_uppercase().flat_map(char::to_lowercase).collect()
}
