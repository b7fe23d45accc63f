//! Tables of the module `packages`.

mod apk;
mod dpkg;
mod npm;
mod paragraphs;
mod python;
mod rpm;

#[allow(clippy::module_inception, reason = "a table is in the file of its name")]
pub mod packages;

use std::fs::File;
use std::io;
use std::path::Path;

use crate::engine::Collector;
use crate::host::{FileKind, reason};
use crate::module::Module;
use packages::Package;

const MODULE: Module = Module::reading("packages");

/// Opens a regular file; what is not there is no trouble, since no host has all kinds of packages.
fn open(collector: &mut Collector<'_, Package>, path: &Path) -> Option<File> {
    match collector.host.open_file(path) {
        Ok(Some(file)) => return Some(file),
        Ok(None) => collector.trouble(Some(&path.to_string_lossy()), "not a regular file"),
        Err(error) if is_absent(&error) => {}
        Err(error) => collector.trouble(Some(&path.to_string_lossy()), reason(&error)),
    }
    None
}

/// The names in a folder that may be folders, sorted; of one that is not there, none.
fn folders(collector: &mut Collector<'_, Package>, path: &Path) -> Vec<String> {
    names(collector, path, |kind| matches!(kind, FileKind::Directory | FileKind::Link))
}

/// Names of one folder that are looked at, which some users fill themselves.
const NAMES_MAX: usize = 50_000;

/// The names of some kinds in a folder, sorted, without those that are no text.
fn names(collector: &mut Collector<'_, Package>, path: &Path, is_wanted: fn(FileKind) -> bool) -> Vec<String> {
    let entries = match collector.host.entries_up_to(path, NAMES_MAX) {
        Ok((entries, all)) => {
            if !all {
                collector
                    .trouble(Some(&path.to_string_lossy()), format!("only {NAMES_MAX} of its names are looked at"));
            }
            entries
        }
        Err(error) => {
            if !is_absent(&error) {
                collector.trouble(Some(&path.to_string_lossy()), reason(&error));
            }
            return Vec::new();
        }
    };
    let wanted = entries.into_iter().filter(|entry| is_wanted(entry.kind));
    let mut names: Vec<String> = wanted.filter_map(|entry| entry.name.into_string().ok()).collect();
    names.sort_unstable();
    names
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
