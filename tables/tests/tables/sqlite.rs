//! SQLite files beside SQLite itself: the rows of many kinds of files, and files that were made wrong on purpose.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use canvass_tables::host::{Host, HostSpec};
use canvass_tables::sqlite::{Database, Row, Value};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tables/sqlite_files.py");

/// A folder of files that SQLite made, and the rows it reads from each, as `file table` and lines.
fn files() -> (tempfile::TempDir, BTreeMap<(String, String), Vec<String>>) {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("python3").arg(SCRIPT).arg(folder.path()).output();
    let made = made.unwrap_or_else(|error| panic!("cannot run `python3` ({error}): install the package `python3`"));
    assert!(made.status.success(), "{made:?}");
    let mut expected: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(made.stdout).unwrap().lines() {
        let mut fields = line.split('\t').map(str::to_owned);
        let key = (fields.next().unwrap(), fields.next().unwrap());
        expected.entry(key).or_default().push(fields.next().unwrap());
    }
    (folder, expected)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn shown(row: &Row<'_>) -> String {
    let value = |value: Value<'_>| match value {
        Value::Null => "null".to_owned(),
        Value::Integer(number) => format!("i{number}"),
        Value::Real(number) => format!("r{}", hex(&number.to_be_bytes())),
        Value::Text(text) => format!("t{}", hex(text.as_bytes())),
        Value::Blob(bytes) => format!("b{}", hex(bytes)),
    };
    let values = std::iter::once(row.rowid().to_string()).chain(row.all().map(value));
    values.collect::<Vec<_>>().join(" ")
}

/// The rows of a table and what could not be read; at most so many.
fn read(path: &Path, table: &str, most: usize) -> Result<(Vec<String>, Option<String>), String> {
    static HOST: LazyLock<Host> = LazyLock::new(|| Host::open(&HostSpec::Machine).unwrap());
    let reason = |trouble: canvass_protocol::answer::Trouble| trouble.reason;
    let mut database = Database::open(&HOST, path).map_err(reason)?.ok_or("no such file")?;
    let mut table = database.table(table).map_err(reason)?.ok_or("no such table")?;
    let mut rows = Vec::new();
    let (flow, trouble) = table.for_each(&mut |row| {
        rows.push(shown(row));
        if rows.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(flow.is_break(), rows.len() >= most);
    Ok((rows, trouble.map(reason)))
}

#[test]
fn rows_are_those_of_sqlite() {
    let (folder, expected) = files();
    assert!(expected.len() >= 20 && expected.values().map(Vec::len).sum::<usize>() > 20_000);
    for ((file, table), expected) in &expected {
        let path = folder.path().join(format!("{file}.db"));
        let (rows, trouble) = read(&path, table, usize::MAX).unwrap();
        let differs = rows.iter().zip(expected).position(|(one, other)| one != other);
        assert_eq!(differs, None, "{file} {table}");
        assert_eq!((rows.len(), trouble), (expected.len(), None), "{file} {table}");
    }
    let path = |name: &str| folder.path().join(name);
    assert_eq!(read(&path("emptied.db"), "t", 9), Ok((Vec::new(), None)));
    // Names are found in any case, and a visitor ends the walk.
    assert_eq!(read(&path("many.db"), "T", 5).unwrap().0, expected[&("many".to_owned(), "t".to_owned())][..5]);
    for (file, table, reason) in [
        ("absent.db", "t", "no such file"),
        ("many.db", "absent", "no such table"),
        ("refused.db", "w", "a table WITHOUT ROWID, which is not read"),
        ("refused.db", "v", "a virtual table, which has no rows of its own"),
        ("refused.db", "s", "no such table"),
        ("nothing.db", "t", "too short for a database"),
        (".", "t", "not a regular file"),
    ] {
        assert_eq!(read(&path(file), table, 9), Err(reason.to_owned()), "{file} {table}");
    }
}

#[test]
fn a_log_counts_up_to_its_last_valid_commit() {
    let (folder, expected) = files();
    let path = folder.path().join("log-small.db");
    let wal = folder.path().join("log-small.db-wal");
    let whole = &expected[&("log-small".to_owned(), "t".to_owned())];
    let log = std::fs::read(&wal).unwrap();
    assert_eq!(&read(&path, "t", usize::MAX).unwrap().0, whole);
    // One wrong bit in the first frame: nothing of the log is believed, and the file itself is what the checkpoint left.
    let mut wrong = log.clone();
    wrong[32 + 24 + 100] ^= 1;
    std::fs::write(&wal, &wrong).unwrap();
    let (rows, trouble) = read(&path, "t", usize::MAX).unwrap();
    assert_eq!((rows.len(), trouble), (200, None));
    std::fs::write(&wal, &log).unwrap();
    assert_eq!(&read(&path, "t", usize::MAX).unwrap().0, whole);
}

#[test]
fn trees_that_go_in_circles() {
    let (folder, _) = files();
    let path = folder.path().join("page-512.db");
    let good = std::fs::read(&path).unwrap();
    let interiors: Vec<usize> = (1..good.len() / 512).filter(|page| good[page * 512] == 5).collect();
    assert!(interiors.len() > 1);
    // Every child of every interior page is the table's root.
    let mut wrong = good.clone();
    for page in &interiors {
        let begins = page * 512;
        let cells = usize::from(u16::from_be_bytes([good[begins + 3], good[begins + 4]]));
        wrong[begins + 8..begins + 12].copy_from_slice(&2u32.to_be_bytes());
        for cell in 0..cells {
            let pointer = begins + 12 + 2 * cell;
            let at = begins + usize::from(u16::from_be_bytes([good[pointer], good[pointer + 1]]));
            wrong[at..at + 4].copy_from_slice(&2u32.to_be_bytes());
        }
    }
    std::fs::write(&path, &wrong).unwrap();
    let (rows, trouble) = read(&path, "t", usize::MAX).unwrap();
    assert!(rows.is_empty());
    let trouble = trouble.unwrap();
    assert!(trouble.starts_with("page 2 is used twice (and "), "{trouble}");
    // One page that is none: the rows of all others are there.
    let leaf = (1..good.len() / 512).find(|page| good[page * 512] == 13).unwrap();
    let mut wrong = good.clone();
    wrong[leaf * 512] = 7;
    std::fs::write(&path, &wrong).unwrap();
    let (rows, trouble) = read(&path, "t", usize::MAX).unwrap();
    assert_eq!(trouble, Some(format!("page {} is not of a table", leaf + 1)));
    assert!(rows.len() > 280 && rows.len() < 300, "{}", rows.len());
}

#[test]
fn files_changed_at_random_are_read_to_an_end() {
    let (folder, _) = files();
    let names = ["page-512", "log-small", "utf16be", "deleted", "altered"];
    let good: Vec<(Vec<u8>, Vec<u8>)> = names
        .iter()
        .map(|name| {
            let read = |ending: &str| std::fs::read(folder.path().join(format!("{name}.{ending}"))).unwrap_or_default();
            (read("db"), read("db-wal"))
        })
        .collect();
    let trial = tempfile::tempdir().unwrap();
    let (path, wal) = (trial.path().join("trial.db"), trial.path().join("trial.db-wal"));
    // Most changes are to the places that steer the reader: headers of the file, of pages and of frames.
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4u8, any::<bool>());
    let changes = prop::collection::vec(change, 1..12);
    let strategy = (0..good.len(), changes, any::<prop::sample::Index>(), prop::bool::weighted(0.1));
    let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&strategy, |(which, changes, end, is_cut)| {
        let (mut file, mut log) = good[which].clone();
        file.truncate(64 << 10);
        for (place, value, kind, in_log) in changes {
            let bytes = if in_log && !log.is_empty() { &mut log } else { &mut file };
            let at = match kind {
                0 => place.index(100.min(bytes.len())),
                1 | 2 => (place.index(bytes.len()) / 512 * 512 + usize::from(value) % 32).min(bytes.len() - 1),
                _ => place.index(bytes.len()),
            };
            bytes[at] = value;
        }
        if is_cut {
            file.truncate(end.index(file.len()));
        }
        std::fs::write(&path, &file).unwrap();
        std::fs::write(&wal, &log).unwrap();
        for table in ["t", "other table"] {
            if let Ok((rows, _)) = read(&path, table, usize::MAX) {
                // Each cell is two bytes of a page that is entered once.
                prop_assert!(rows.len() <= (file.len() + log.len()) / 2);
            }
        }
        Ok(())
    });
    ran.unwrap();
}
