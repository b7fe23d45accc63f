//! Table `logins`: who logged in, from where and when, and who tried to.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{login_files, login_stores};
use crate::column::{Cell, Column, Form, Kind};
use crate::engine::Collector;
use crate::table::{Declared, TableInfo};

/// A session, an attempt, or an event of the system's.
#[derive(Debug, Clone, Default)]
pub struct Login {
    pub(super) user: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) kind: &'static str,
    pub(super) terminal: Option<String>,
    pub(super) host: Option<String>,
    pub(super) ip: Option<IpAddr>,
    pub(super) pid: Option<i32>,
    pub(super) login_ns: Option<i64>,
    pub(super) logout_ns: Option<i64>,
    pub(super) service: Option<String>,
    pub(super) source: &'static str,
    pub(super) path: String,
}

pub static LOGINS: Declared<Login> = Declared {
    info: TableInfo {
        name: "logins",
        module: super::MODULE,
        about: "Logins, failed ones too, and starts of the system, from utmp, wtmp, btmp, lastlog, wtmpdb and lastlog2",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, user, remote_ip, login_at, logout_at FROM logins WHERE type = 'login' AND NOT is_private(remote_ip)",
    },
    columns: &[
        Column::<Login>::field(
            "user",
            Kind::Text,
            "Name of the user as recorded, of failed logins whatever was typed, which may be a password; of lastlog that of `uid` in /etc/passwd",
            |l| l.user.as_deref().into(),
        )
        .sensitive(),
        Column::field("uid", Kind::Integer, "Number of the user, which only lastlog records", |l| l.uid.into()),
        Column::<Login>::field(
            "type",
            Kind::Text,
            "login (a session), current (of utmp), failed, last (a user's last login), boot, shutdown, runlevel, clock (set)",
            |l| l.kind.into(),
        )
        .values(&["login", "current", "failed", "last", "boot", "shutdown", "runlevel", "clock"]),
        Column::field("terminal", Kind::Text, "Terminal or service, e.g. pts/0 or ssh:notty", |l| {
            l.terminal.as_deref().into()
        }),
        Column::field("remote_host", Kind::Text, "Where from, as recorded: a name, an address, or a kernel's version", |l| {
            l.host.as_deref().into()
        }),
        Column::<Login>::field("remote_ip", Kind::Text, "Address from where, IPv4 in IPv6 as IPv4; NULL without one", |l| {
            l.ip.map(|ip| ip.to_string()).into()
        })
        .form(Form::Ip),
        Column::field("pid", Kind::Integer, "Process that logged in", |l| l.pid.map(i64::from).into()),
        Column::field("login_at", Kind::Timestamp, "Login, attempt or event", |l| {
            l.login_ns.map_or(Cell::Null, Cell::Timestamp)
        }),
        Column::field(
            "logout_at",
            Kind::Timestamp,
            "End of the session, by logout or with the system's; NULL while it lasts and where it is not known",
            |l| l.logout_ns.map_or(Cell::Null, Cell::Timestamp),
        ),
        Column::field("duration_s", Kind::Integer, "From login to logout in whole seconds", |l| {
            let length = l.logout_ns.zip(l.login_ns).and_then(|(logout, login)| logout.checked_sub(login));
            length.filter(|ns| *ns >= 0).map(|ns| ns / 1_000_000_000).into()
        }),
        Column::field("service", Kind::Text, "PAM service, which only wtmpdb and lastlog2 record", |l| {
            l.service.as_deref().into()
        }),
        Column::<Login>::field("source", Kind::Text, "What the row is from", |l| l.source.into()).values(&[
            "utmp", "wtmp", "btmp", "lastlog", "wtmpdb", "lastlog2",
        ]),
        Column::<Login>::field("path", Kind::Text, "The file", |l| l.path.as_str().into()).form(Form::Path),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, Login>) -> ControlFlow<()> {
    // One of the two is a link to the other's folder, or is not there.
    for path in ["/run/utmp", "/var/run/utmp"] {
        if login_files::current(collector, Path::new(path))? {
            break;
        }
    }
    let (wtmps, btmps) = (rotated(collector, "wtmp"), rotated(collector, "btmp"));
    login_files::sessions(collector, &wtmps)?;
    for path in &btmps {
        login_files::failed(collector, path)?;
    }
    login_files::last(collector, Path::new("/var/log/lastlog"))?;
    for path in ["/var/lib/wtmpdb/wtmp.db", "/var/log/wtmp.db"] {
        login_stores::wtmpdb(collector, path)?;
    }
    login_stores::lastlog2(collector, "/var/lib/lastlog/lastlog2.db")
}

/// Files of one name in /var/log with what logrotate makes of them, the oldest first.
fn rotated(collector: &mut Collector<'_, Login>, name: &str) -> Vec<PathBuf> {
    let folder = Path::new("/var/log");
    // A folder that is not there, or closed, tells of nothing; its files say so themselves.
    let entries = collector.host.entries(folder).unwrap_or_default();
    let names = entries.iter().filter_map(|entry| entry.name.to_str());
    let mut found: Vec<(Age, &str)> = names.filter_map(|file| Some((age(file.strip_prefix(name)?)?, file))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, file)| folder.join(file)).collect()
}

/// How old a file is among those of its name, the oldest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Dated(u64),
    Numbered(std::cmp::Reverse<u64>),
    Present,
}

/// What logrotate puts behind a name: nothing, a number or a date, and `.gz` where it was packed.
fn age(suffix: &str) -> Option<Age> {
    let suffix = suffix.strip_suffix(".gz").unwrap_or(suffix);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    if suffix.is_empty() {
        Some(Age::Present)
    } else if let Some(number) = suffix.strip_prefix('.') {
        digits(number).map(|number| Age::Numbered(std::cmp::Reverse(number)))
    } else {
        digits(&suffix.strip_prefix('-')?.replace('-', "")).map(Age::Dated)
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn rotated_files_from_the_oldest_on() {
        let ordered = ["-20260101", "-20260201.gz", ".10.gz", ".2", ".1", ""];
        let ages: Vec<_> = ordered.iter().map(|suffix| age(suffix).unwrap()).collect();
        assert!(ages.is_sorted(), "{ages:?}");
        for other in ["db", ".db", ".x", "-", ".", "x", "-2026x", ".99999999999999999999999"] {
            assert_eq!(age(other), None, "{other}");
        }
    }
}
