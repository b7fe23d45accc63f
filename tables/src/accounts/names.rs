//! The lines of `/etc/passwd` and `/etc/group`, and the names they give to numbers.

use std::collections::BTreeMap;
use std::path::Path;

use canvass_protocol::answer::Trouble;

use crate::host::Host;
use crate::processes::proc;

/// One entry of `/etc/passwd`; the password field is left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) full_name: Option<String>,
    pub(super) home: String,
    pub(super) shell: String,
}

/// One entry of `/etc/group`; the password field is left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub(super) name: String,
    pub(super) gid: u32,
    /// Separated by commas.
    pub(super) members: String,
}

/// Names of users by number; the first entry of a number counts, as for the C library.
pub(crate) fn users(host: &Host) -> Result<BTreeMap<u32, String>, Trouble> {
    let (entries, _) = entries(host, "/etc/passwd", parse_user)?;
    Ok(entries.into_iter().rev().map(|user| (user.uid, user.name)).collect())
}

/// Reads a file of one entry a line; what is not an entry is a trouble that does not repeat the line, which may hold a
/// password.
pub(super) fn entries<T>(
    host: &Host,
    file: &str,
    parse: fn(&str) -> Option<T>,
) -> Result<(Vec<T>, Vec<Trouble>), Trouble> {
    let path = Path::new(file);
    let text = host.read_text(path).map_err(|error| proc::trouble(path, &error))?;
    let (mut entries, mut troubles) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| is_entry(line)) {
        match parse(line) {
            Some(entry) => entries.push(entry),
            None => troubles
                .push(Trouble { subject: Some(file.to_owned()), reason: format!("line {} is malformed", index + 1) }),
        }
    }
    Ok((entries, troubles))
}

/// Comments and blank lines are none, nor are the lines (`+`, `-`) that send the C library to a directory service.
fn is_entry(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with(['#', '+', '-'])
}

pub(super) fn parse_user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, gecos, home, shell] = fields[..] else { return None };
    let full_name = gecos.split(',').next().map(str::trim).filter(|name| !name.is_empty());
    (!name.is_empty()).then_some(User {
        name: name.to_owned(),
        uid: id(uid)?,
        gid: id(gid)?,
        full_name: full_name.map(str::to_owned),
        home: home.to_owned(),
        shell: shell.to_owned(),
    })
}

pub(super) fn parse_group(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields[..] else { return None };
    let members: Vec<&str> = members.split(',').map(str::trim).filter(|member| !member.is_empty()).collect();
    (!name.is_empty()).then_some(Group { name: name.to_owned(), gid: id(gid)?, members: members.join(",") })
}

/// A user's or group's number; macOS writes those above two thousand million as negative ones.
fn id(text: &str) -> Option<u32> {
    match text.strip_prefix('-') {
        Some(negative) => {
            i32::try_from(proc::number(negative)?).ok().map(|number| number.wrapping_neg().cast_unsigned())
        }
        None => proc::number(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_strict() {
        assert_eq!(id("0"), Some(0));
        assert_eq!(id("4294967294"), Some(u32::MAX - 1));
        assert_eq!(id("-2"), Some(u32::MAX - 1));
        for text in ["", "-", "+1", "1 ", "0x1", "4294967296", "--2"] {
            assert_eq!(id(text), None, "{text:?}");
        }
    }

    #[test]
    fn lines_that_are_no_entries() {
        for line in ["", "  ", "# comment", "+::::::", "+@admins", "-evil"] {
            assert!(!is_entry(line), "{line:?}");
        }
        for line in ["root", "root:x:0:0:root:/root", "a:b:c:d:e:f:g:h", ":x:0:0:::", "a:x:no:0:::"] {
            assert_eq!(parse_user(line), None, "{line:?}");
        }
        for line in ["root", "root:x:0", ":x:0:", "root:x::", "root:x:0:a:b"] {
            assert_eq!(parse_group(line), None, "{line:?}");
        }
    }
}
