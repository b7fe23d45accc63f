//! SQLite files, read without SQLite: the rows of one table in the order of their rowids, for tables that live in such files.
//!
//! Reads through positions, takes no lock, writes nothing. What a running program has committed to the write-ahead log
//! beside the file is seen. Every structure is hostile: each page is entered once, rows and lists are bounded, and memory
//! stays under 20 MiB whatever the file holds. What cannot be read is left out and told, and the rest goes on.

mod pager;
mod record;
mod schema;
mod wal;
mod walk;

use std::ops::ControlFlow;
use std::path::Path;

use canvass_protocol::answer::Trouble;

use crate::host::{Host, reason};

use pager::Pager;
pub use record::{Row, Value};
use schema::Schema;

/// The schema's own table, which begins on the first page.
const SCHEMA_ROOT: u32 = 1;
const SCHEMA_SQL: &str = "CREATE TABLE sqlite_schema(type TEXT, name TEXT, tbl_name TEXT, rootpage INTEGER, sql TEXT)";

/// A SQLite file, with its write-ahead log as it was when it was opened.
pub struct Database {
    pager: Pager,
    /// The path as it was asked for, which all troubles name.
    path: String,
}

/// A table of a database.
pub struct Table<'d> {
    database: &'d mut Database,
    root: u32,
    schema: Schema,
}

impl Database {
    /// Opens the database at `path`; `None` where there is no such file.
    pub fn open(host: &Host, path: &Path) -> Result<Option<Database>, Trouble> {
        let subject = path.to_string_lossy().into_owned();
        let trouble = |reason: String| Trouble::new(Some(&subject), reason);
        let file = match host.open_file(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(trouble("not a regular file".to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(trouble(reason(&error))),
        };
        // The log lies beside the file itself, not beside a link to it.
        let real = host.real_path(&file).unwrap_or_else(|| path.to_owned());
        let beside = |ending: &str| {
            let mut name = real.clone().into_os_string();
            name.push(ending);
            host.open_file(Path::new(&name)).ok().flatten()
        };
        match Pager::open(file, beside("-wal")) {
            Ok(pager) => Ok(Some(Database { pager, path: subject })),
            Err(reason) => Err(trouble(reason)),
        }
    }

    /// Finds a table by its name, whose case does not matter; `None` where there is none.
    pub fn table(&mut self, name: &str) -> Result<Option<Table<'_>>, Trouble> {
        let mut found = None;
        let wanted = |row: &Row<'_>| {
            row.text("type").as_deref() == Some("table")
                && row.text("name").is_some_and(|known| known.eq_ignore_ascii_case(name))
        };
        let schema = schema::parse(SCHEMA_SQL).map_err(|reason| self.trouble(reason))?;
        let mut schema = Table { database: &mut *self, root: SCHEMA_ROOT, schema };
        let (_, trouble) = schema.for_each(&mut |row| {
            if !wanted(row) {
                return ControlFlow::Continue(());
            }
            found = Some((row.integer("rootpage"), row.text("sql").map(|sql| schema::parse(&sql))));
            ControlFlow::Break(())
        });
        match (found, trouble) {
            (None, Some(trouble)) => Err(trouble),
            (None, None) => Ok(None),
            (Some((Some(root), Some(schema))), _) => {
                let schema = schema.map_err(|reason| self.trouble(reason))?;
                let root = u32::try_from(root).ok().filter(|root| *root > 0);
                let root = root.ok_or_else(|| self.trouble("a table that begins on no page".to_owned()))?;
                Ok(Some(Table { database: self, root, schema }))
            }
            (Some(_), _) => Err(self.trouble("a table without a declaration".to_owned())),
        }
    }

    fn trouble(&self, reason: String) -> Trouble {
        Trouble::new(Some(&self.path), reason)
    }
}

impl Table<'_> {
    /// The columns' names in declared order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.schema.columns.iter().map(|column| column.name.as_str())
    }

    /// Visits the rows in the order of their rowids until told to break; says whether it was, and what could not be read.
    pub fn for_each(
        &mut self,
        visit: &mut dyn FnMut(&Row<'_>) -> ControlFlow<()>,
    ) -> (ControlFlow<()>, Option<Trouble>) {
        let (flow, reason) = walk::rows(&mut self.database.pager, self.root, &self.schema, visit);
        (flow, reason.map(|reason| self.database.trouble(reason)))
    }
}

/// The two bytes at a place, most significant first, as all numbers of the format are.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// The four bytes at a place.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
