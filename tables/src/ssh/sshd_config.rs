//! Where sshd looks for authorized keys, as its configuration says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::homes;
use crate::engine::Collector;
use crate::host::UserEntry;

const MAIN: &str = "/etc/ssh/sshd_config";
const DEFAULTS: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];
const FILE_BYTES_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 256;
const PATTERNS_MAX: usize = 256;

/// Patterns of files with authorized keys: sshd's defaults, and all that its configuration names, whatever the condition.
pub(super) fn patterns<R>(collector: &mut Collector<'_, R>) -> Vec<String> {
    let mut found: Vec<String> = DEFAULTS.map(str::to_owned).into();
    let mut waiting = vec![PathBuf::from(MAIN)];
    let mut seen = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if seen.len() >= FILES_MAX || !seen.insert(path.clone()) {
            continue;
        }
        let Some(bytes) = homes::read(collector, &path, FILE_BYTES_MAX) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        for (keyword, values) in text.lines().filter_map(directive) {
            match keyword.as_str() {
                "authorizedkeysfile" => found.extend(values.into_iter().filter(|value| value != "none")),
                "include" => {
                    for value in values {
                        include(collector, &value, &mut waiting);
                    }
                }
                _ => {}
            }
        }
    }
    let mut known = BTreeSet::new();
    found.retain(|pattern| known.insert(pattern.clone()));
    found.truncate(PATTERNS_MAX);
    found
}

/// A keyword in lower case, and its values without quotes.
fn directive(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.trim();
    let end = line.find(|letter: char| letter.is_whitespace() || letter == '=')?;
    let (keyword, rest) = line.split_at_checked(end)?;
    if keyword.starts_with('#') {
        return None;
    }
    let mut values = Vec::new();
    let mut rest = rest.trim_start().strip_prefix('=').unwrap_or(rest).trim();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        values.push(value.to_owned());
        rest = after.trim_start();
    }
    Some((keyword.to_ascii_lowercase(), values))
}

/// Adds the files that an Include names; wildcards are known in its last part only.
fn include<R>(collector: &mut Collector<'_, R>, value: &str, waiting: &mut Vec<PathBuf>) {
    let path = Path::new("/etc/ssh").join(value);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
    let pattern = name.to_string_lossy();
    if !pattern.contains(['*', '?']) {
        waiting.push(path);
        return;
    }
    let files = homes::files(collector, folder, FILES_MAX);
    let fits = |file: &PathBuf| {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        !name.starts_with('.') && matches(pattern.as_bytes(), name.as_bytes())
    };
    waiting.extend(files.into_iter().filter(fits));
}

/// Whether a name fits a pattern of `*` and `?`, in time that grows with the product of both.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut fitting = vec![false; name.len() + 1];
    if let Some(first) = fitting.first_mut() {
        *first = true;
    }
    for letter in pattern {
        let mut next = Vec::with_capacity(fitting.len());
        let mut any = false;
        for (at, before) in fitting.iter().enumerate() {
            any |= *before;
            let diagonal = at.checked_sub(1).and_then(|at| Some((*fitting.get(at)?, *name.get(at)?)));
            next.push(match letter {
                b'*' => any,
                b'?' => diagonal.is_some_and(|(fits, _)| fits),
                other => diagonal.is_some_and(|(fits, byte)| fits && byte == *other),
            });
        }
        fitting = next;
    }
    fitting.last().copied().unwrap_or(false)
}

/// Whether a pattern names the same file for every user.
pub(super) fn is_common(pattern: &str) -> bool {
    let tokens = pattern.replace("%%", "");
    pattern.starts_with('/') && !["%h", "%u", "%U"].iter().any(|token| tokens.contains(token))
}

/// Whether a pattern says nothing of a user without a home.
pub(super) fn needs_home(pattern: &str) -> bool {
    !pattern.starts_with('/') || pattern.replace("%%", "").contains("%h")
}

/// The file that a pattern names for a user: %h, %u, %U and %% stand for home, name, number and a percent sign.
pub(super) fn expand(pattern: &str, user: &UserEntry) -> PathBuf {
    let mut path = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            path.push(letter);
            continue;
        }
        match letters.next() {
            Some('h') => path.push_str(&user.home),
            Some('u') => path.push_str(&user.name),
            Some('U') => path.push_str(&user.uid.to_string()),
            Some('%') | None => path.push('%'),
            Some(other) => path.extend(['%', other]),
        }
    }
    Path::new(&user.home).join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_directives() {
        for line in ["", "#Include x", "  # AuthorizedKeysFile x", "Include"] {
            assert_eq!(directive(line), None, "{line}");
        }
        let check = |line: &str, values: &[&str]| {
            assert_eq!(directive(line).unwrap().1, values, "{line}");
        };
        check("Include=a", &["a"]);
        check("  include = \"a b\" c\r", &["a b", "c"]);
        check("AuthorizedKeysFile\t%h/x \"open", &["%h/x", "open"]);
        check("AuthorizedKeysFile x # y", &["x"]);
    }

    #[test]
    fn wildcards() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("?*a*", "ba", true),
            ("?*a*", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn tokens() {
        let user = UserEntry {
            name: "zoé".into(),
            uid: 7,
            gid: 7,
            comment: String::new(),
            home: "/home/z".into(),
            shell: String::new(),
        };
        for (pattern, path, common) in [
            (".ssh/a", "/home/z/.ssh/a", false),
            ("%h/a", "/home/z/a", false),
            ("/k/%u/%U/%%u%x%", "/k/zoé/7/%u%x%", false),
            ("/k/%%u", "/k/%u", true),
        ] {
            assert_eq!((expand(pattern, &user), is_common(pattern)), (path.into(), common), "{pattern}");
        }
    }
}
