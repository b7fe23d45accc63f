//! The real program, asked as a person asks it, in a home of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::side::Side;

/// What a statement costs without its scan: key, plan, signature, journal, child.
const TRIVIAL: &str = "SELECT path FROM files WHERE path = '/etc/passwd'";

pub struct Canvass {
    program: PathBuf,
    home: TempDir,
}

impl Canvass {
    /// A program, or the one that was built beside this one, with nothing at home yet.
    pub fn prepare(program: Option<&Path>) -> Result<Canvass> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => std::env::current_exe()?.with_file_name("canvass"),
        };
        if !program.is_file() {
            bail!("there is no program `{}`: build the whole workspace, as `make bench-files` does", program.display());
        }
        let home = tempfile::Builder::new().prefix("canvass-bench-home-").tempdir()?;
        let canvass = Canvass { program, home };
        // Makes its key, and shows that it answers at all.
        canvass.trivial().hits()?;
        Ok(canvass)
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A statement that prints one column, a row a line.
    pub fn asks(&self, statement: &str) -> Side {
        self.asks_with("canvass", &[], statement)
    }

    /// As [`Canvass::asks`], with settings as `SET canvass.…` has them.
    pub fn asks_with(&self, name: &'static str, settings: &[(&str, u64)], statement: &str) -> Side {
        let mut arguments: Vec<String> = ["-q", "--wait", "expire", "--format", "tsv"].map(str::to_owned).to_vec();
        for (key, value) in settings {
            arguments.extend(["-c".into(), format!("SET canvass.{key} = {value}")]);
        }
        arguments.extend(["-c".into(), statement.to_owned()]);
        self.called(name, arguments.into_iter().map(Into::into).collect())
    }

    /// As [`Canvass::asks`], of a statement in a file: a program's arguments hold no long list.
    pub fn asks_file(&self, name: &'static str, statement: &Path) -> Side {
        let arguments = ["-q", "--wait", "expire", "--format", "tsv", "-f"].map(OsString::from);
        self.called(name, arguments.into_iter().chain([statement.as_os_str().to_owned()]).collect())
    }

    fn called(&self, name: &'static str, arguments: Vec<OsString>) -> Side {
        Side {
            name,
            program: self.program.clone(),
            arguments,
            home: Some(self.home.path().to_owned()),
            end: b'\n',
            header: 1,
            codes: &[0],
        }
    }

    /// Whether a statement is understood: a column may not be there.
    pub fn can(&self, statement: &str) -> Result<bool> {
        Ok(self.asks(statement).command().output()?.status.code() != Some(2))
    }

    /// The statement whose time is taken off every other's.
    pub fn trivial(&self) -> Side {
        self.asks_with("trivial", &[], TRIVIAL)
    }
}

/// A text as a constant in SQL.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `path UNDER …` for one folder or several.
pub fn under(folders: &[&str]) -> String {
    let folders: Vec<String> = folders.iter().map(|folder| quoted(folder)).collect();
    match folders.as_slice() {
        [one] => format!("path UNDER {one}"),
        many => format!("path UNDER ANY ({})", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_constants() {
        assert_eq!(quoted("it's"), "'it''s'");
        assert_eq!(under(&["/usr"]), "path UNDER '/usr'");
        assert_eq!(under(&["/a", "/b"]), "path UNDER ANY ('/a', '/b')");
    }
}
