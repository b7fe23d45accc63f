//! What wtmpdb and lastlog2 record, each in a database of SQLite's.

use std::ops::ControlFlow;
use std::path::Path;

use super::logins::Login;
use super::utmp;
use crate::engine::Collector;
use crate::sqlite::{Database, Row};

/// Sessions and starts of the system; times are in microseconds.
pub(super) fn wtmpdb(collector: &mut Collector<'_, Login>, path: &str) -> ControlFlow<()> {
    each(collector, path, "wtmp", |row| {
        let kind = match row.integer("Type") {
            Some(1) => "boot",
            Some(2) => "runlevel",
            Some(3) => "login",
            _ => return None,
        };
        let nanoseconds = |column| row.integer(column).filter(|at| *at > 0).and_then(|at| at.checked_mul(1000));
        Some(Login {
            kind,
            login_ns: nanoseconds("Login"),
            logout_ns: nanoseconds("Logout"),
            user: text(row, "User"),
            source: "wtmpdb",
            ..Login::default()
        })
    })
}

/// Each user's last login; times are in seconds.
pub(super) fn lastlog2(collector: &mut Collector<'_, Login>, path: &str) -> ControlFlow<()> {
    each(collector, path, "Lastlog2", |row| {
        Some(Login {
            kind: "last",
            login_ns: row.integer("Time").filter(|at| *at > 0).and_then(|at| at.checked_mul(1_000_000_000)),
            user: text(row, "Name"),
            source: "lastlog2",
            ..Login::default()
        })
    })
}

/// Hands over the rows of a table, with the columns that both databases have.
fn each(
    collector: &mut Collector<'_, Login>,
    path: &str,
    name: &str,
    login: fn(&Row<'_>) -> Option<Login>,
) -> ControlFlow<()> {
    let host = collector.host;
    let database = match Database::open(host, Path::new(path)) {
        Ok(database) => database,
        Err(trouble) => {
            collector.note_trouble(trouble);
            None
        }
    };
    let Some(mut database) = database else { return ControlFlow::Continue(()) };
    let mut table = match database.table(name) {
        Ok(Some(table)) => table,
        Ok(None) => {
            collector.trouble(Some(path), format!("no table {name}"));
            return ControlFlow::Continue(());
        }
        Err(trouble) => {
            collector.note_trouble(trouble);
            return ControlFlow::Continue(());
        }
    };
    let mut unknown = 0_u64;
    let (flow, trouble) = table.for_each(&mut |row: &Row<'_>| {
        let Some(login) = login(row) else {
            unknown += 1;
            return collector.go_on();
        };
        let host = text(row, "RemoteHost");
        collector.row(Login {
            terminal: text(row, "TTY"),
            ip: host.as_deref().and_then(utmp::ip_of),
            host,
            service: text(row, "Service"),
            path: path.to_owned(),
            ..login
        })
    });
    if unknown > 0 {
        collector.trouble(Some(path), format!("{unknown} records of an unknown type"));
    }
    if let Some(trouble) = trouble {
        collector.note_trouble(trouble);
    }
    flow
}

fn text(row: &Row<'_>, column: &str) -> Option<String> {
    row.text(column).filter(|text| !text.is_empty()).map(std::borrow::Cow::into_owned)
}
