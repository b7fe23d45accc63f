//! A tree of files made for one case, and questions about it.
#![allow(clippy::needless_pass_by_value, reason = "filters are written where they are used")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::limits::TROUBLES_MAX;
use canvass_protocol::scan::{Options, Scan};
use canvass_protocol::value::Value;
use canvass_tables::host::Host;
use rustix::fs::{CWD, Mode, mkfifoat};

use super::{Asked, all, answer, machine, request, scan, under};

/// A folder of its own under the system's folder for such, gone when dropped.
pub struct Tree {
    folder: tempfile::TempDir,
    pub options: Options,
}

impl Tree {
    pub fn new() -> Tree {
        Tree { folder: tempfile::Builder::new().prefix("tree-").tempdir().unwrap(), options: Options::default() }
    }

    /// A tree of files, with the folders that they need.
    pub fn of<B: AsRef<[u8]>>(files: &[(&str, B)]) -> Tree {
        let tree = Tree::new();
        for (name, bytes) in files {
            tree.file(name, bytes);
        }
        tree
    }

    pub fn following(mut self) -> Tree {
        self.options.follow = true;
        self
    }

    pub fn decompressing(mut self) -> Tree {
        self.options.decompress = true;
        self
    }

    pub fn without_options(mut self) -> Tree {
        self.options = Options::default();
        self
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Tree {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), bytes).unwrap();
        self
    }

    pub fn folder(&self, name: &str) -> &Tree {
        fs::create_dir_all(self.at(name)).unwrap();
        self
    }

    pub fn link(&self, name: &str, target: impl AsRef<Path>) -> &Tree {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        symlink(target, self.at(name)).unwrap();
        self
    }

    pub fn fifo(&self, name: &str) -> &Tree {
        mkfifoat(CWD, self.at(name), Mode::RWXU).unwrap();
        self
    }

    pub fn under(&self, name: &str) -> Filter {
        if name.is_empty() { under(self.root()) } else { under(&self.at(name)) }
    }

    /// Asks with one worker and with several, which must answer alike.
    pub fn ask(&self, columns: &[&str], filter: Filter) -> Asked {
        let mut question = scan("files", columns, filter);
        question.options = self.options;
        alike(&machine(), &question)
    }

    /// Asks about all that lies in the tree.
    pub fn asked(&self, columns: &[&str], filter: Filter) -> Asked {
        self.ask(columns, all(vec![under(self.root()), filter]))
    }

    /// Rows of all that lies in the tree, paths relative to it and the root as `.`, sorted; nothing may go wrong.
    pub fn rows(&self, columns: &[&str], filter: Filter) -> Vec<String> {
        let answer = self.asked(columns, filter.clone());
        assert_eq!(answer.troubles(), Vec::<String>::new(), "{filter:?}");
        assert_eq!(answer.record.cut, None);
        self.relative(&answer)
    }

    /// Paths of what passes, relative to the tree.
    pub fn found(&self, filter: Filter) -> Vec<String> {
        self.rows(&["path"], filter)
    }

    /// Rows with the tree's own path left out.
    pub fn relative(&self, answer: &Asked) -> Vec<String> {
        let root = self.root().to_str().unwrap();
        let relative = |row: String| row.replace(&format!("{root}/"), "").replace(root, ".");
        let mut rows: Vec<String> = answer.rows().into_iter().map(relative).collect();
        rows.sort();
        rows
    }
}

/// Asks with one worker and with several, and makes sure that the account is the same.
pub fn alike(host: &Host, question: &Scan) -> Asked {
    let stop = AtomicBool::new(false);
    let alone = answer(&request(host, question, 1, &stop)).unwrap();
    for threads in [2, 8] {
        let together = answer(&request(host, question, threads, &stop)).unwrap();
        assert_eq!(together.rows(), alone.rows(), "rows of {threads} workers to {question:?}");
        let account = |asked: &Asked| (asked.record.examined, asked.record.cut, asked.record.troubles_count);
        assert_eq!(account(&together), account(&alone), "{threads} workers to {question:?}");
        // Which troubles come first is left to chance, so they are compared where all are listed.
        if alone.record.troubles_count <= TROUBLES_MAX as u64 {
            let sorted = |asked: &Asked| {
                let mut troubles = asked.troubles();
                troubles.sort();
                troubles
            };
            assert_eq!(sorted(&together), sorted(&alone), "troubles of {threads} workers to {question:?}");
        }
    }
    alone
}

pub fn is(column: &str, is: Is) -> Filter {
    Filter::test(column, is)
}

pub fn equal(column: &str, text: &str) -> Filter {
    Filter::test(column, Is::Equal(Value::Text(text.to_owned())))
}

pub fn number(column: &str, is: fn(Value) -> Is, number: i64) -> Filter {
    Filter::test(column, is(Value::Integer(number)))
}

pub fn null(column: &str) -> Filter {
    Filter::test(column, Is::Null)
}
