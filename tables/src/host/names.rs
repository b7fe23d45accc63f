//! Users and groups by number, read as files under the host's root: nothing of the machine's name services is asked.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::Host;

/// One line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntry {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// The comment field, GECOS.
    pub comment: String,
    pub home: String,
    pub shell: String,
}

/// One line of /etc/group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    pub name: String,
    pub gid: u32,
    pub members: Vec<String>,
}

/// What etc/passwd and etc/group say.
#[derive(Debug, Default)]
pub struct Accounts {
    pub users: Vec<UserEntry>,
    pub groups: Vec<GroupEntry>,
    /// What could not be read, as (path, reason).
    pub troubles: Vec<(String, String)>,
    user_names: HashMap<u32, usize>,
    group_names: HashMap<u32, usize>,
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

impl Host {
    /// The host's accounts, read once.
    pub fn accounts(&self) -> &Accounts {
        self.accounts.get_or_init(|| Accounts::read(self))
    }

    /// The name of the first user with this number.
    pub fn user_name(&self, uid: u32) -> Option<&str> {
        self.accounts().user_names.get(&uid).map(|&index| self.accounts().users[index].name.as_str())
    }

    /// The name of the first group with this number.
    pub fn group_name(&self, gid: u32) -> Option<&str> {
        self.accounts().group_names.get(&gid).map(|&index| self.accounts().groups[index].name.as_str())
    }
}

impl Accounts {
    fn read(host: &Host) -> Accounts {
        let mut accounts = Accounts::default();
        let passwd = host.read_text(Path::new(PASSWD));
        accounts.users = parse(PASSWD, passwd, user, &mut accounts.troubles);
        let group = host.read_text(Path::new(GROUP));
        accounts.groups = parse(GROUP, group, self::group, &mut accounts.troubles);
        for (index, user) in accounts.users.iter().enumerate() {
            accounts.user_names.entry(user.uid).or_insert(index);
        }
        for (index, group) in accounts.groups.iter().enumerate() {
            accounts.group_names.entry(group.gid).or_insert(index);
        }
        accounts
    }
}

/// Parses each line; comments, blank lines and lines of the old NIS (`+`, `-`) are none.
fn parse<T>(
    path: &str,
    text: io::Result<String>,
    line: fn(&str) -> Option<T>,
    troubles: &mut Vec<(String, String)>,
) -> Vec<T> {
    let text = text.unwrap_or_else(|error| {
        troubles.push((path.to_owned(), error.to_string()));
        String::new()
    });
    let mut entries = Vec::new();
    for (index, one) in text.lines().enumerate() {
        if one.trim().is_empty() || one.starts_with(['#', '+', '-']) {
            continue;
        }
        match line(one) {
            Some(entry) => entries.push(entry),
            None => troubles.push((path.to_owned(), format!("malformed line {}", index + 1))),
        }
    }
    entries
}

fn user(line: &str) -> Option<UserEntry> {
    let [name, _password, uid, gid, comment, home, shell] = line.split(':').collect::<Vec<_>>().try_into().ok()?;
    let [name, comment, home, shell] = [name, comment, home, shell].map(str::to_owned);
    Some(UserEntry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, comment, home, shell })
}

fn group(line: &str) -> Option<GroupEntry> {
    let [name, _password, gid, members] = line.split(':').collect::<Vec<_>>().try_into().ok()?;
    let members = members.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect();
    Some(GroupEntry { name: name.to_owned(), gid: gid.parse().ok()?, members })
}
