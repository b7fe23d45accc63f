//! Packages of dpkg: its status file, and the status folder that images without dpkg have.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::packages::{INSTALLED, Installed, Package};
use super::paragraphs::{field, lines, size, text};
use crate::engine::Collector;
use crate::host::{FileKind, reason};

const STATUS: &str = "/var/lib/dpkg/status";
const STATUS_FOLDER: &str = "/var/lib/dpkg/status.d";
const LISTS: &str = "/var/lib/dpkg/info";

pub fn collect(collector: &mut Collector<'_, Package>) -> ControlFlow<()> {
    read(collector, Path::new(STATUS), true)?;
    let folder = Path::new(STATUS_FOLDER);
    for name in super::names(collector, folder, |kind| matches!(kind, FileKind::File | FileKind::Link)) {
        if !name.ends_with(".md5sums") {
            read(collector, &folder.join(name), false)?;
        }
    }
    ControlFlow::Continue(())
}

/// Hands over the packages of a file; dpkg itself keeps lists of their files.
fn read(collector: &mut Collector<'_, Package>, path: &Path, has_lists: bool) -> ControlFlow<()> {
    let Some(file) = super::open(collector, path) else { return ControlFlow::Continue(()) };
    let path = path.to_string_lossy();
    let (mut paragraph, mut nameless) = (Paragraph::default(), 0u64);
    let read = lines(file, &mut |line| {
        collector.go_on()?;
        if !line.is_empty() {
            paragraph.add(line);
            return ControlFlow::Continue(());
        }
        let ended = std::mem::take(&mut paragraph);
        let has_lines = ended.has_lines;
        match ended.package(&path, has_lists) {
            Some(package) => collector.row(package)?,
            None => nameless += u64::from(has_lines),
        }
        ControlFlow::Continue(())
    });
    if nameless > 0 {
        collector.trouble(Some(&path), format!("{nameless} paragraphs without a package's name"));
    }
    read.unwrap_or_else(|error| {
        collector.trouble(Some(&path), reason(&error));
        ControlFlow::Continue(())
    })
}

/// What was read of a paragraph so far.
#[derive(Default)]
struct Paragraph {
    has_lines: bool,
    package: Package,
    /// Several architectures can be installed beside each other, so their lists have the architecture's name too.
    is_same: bool,
}

impl Paragraph {
    fn add(&mut self, line: &[u8]) {
        self.has_lines = true;
        let Some((name, value)) = field(line) else { return };
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let package = &mut self.package;
        match name.len() {
            6 if is("Status") => package.status = value.split(u8::is_ascii_whitespace).next_back().and_then(text),
            6 if is("Source") => package.source_package = value.split(u8::is_ascii_whitespace).next().and_then(text),
            7 if is("Package") => package.name = text(value).unwrap_or_default(),
            7 if is("Version") => package.version = text(value),
            10 if is("Maintainer") => package.maintainer = text(value),
            10 if is("Multi-Arch") => self.is_same = value == b"same",
            11 if is("Description") => package.description = text(value),
            12 if is("Architecture") => package.arch = text(value),
            14 if is("Installed-Size") => package.size_bytes = size(value, 1024),
            _ => {}
        }
    }

    /// The package as a row; `None` where the paragraph names none.
    fn package(mut self, path: &str, has_lists: bool) -> Option<Package> {
        if self.package.name.is_empty() {
            return None;
        }
        // Images without dpkg say no status: what is in their folder is installed.
        let status = self.package.status.take().or_else(|| (!has_lists).then(|| INSTALLED.to_owned()));
        let is_there = !matches!(status.as_deref(), Some("config-files" | "not-installed"));
        let list = if has_lists && is_there { self.list() } else { None };
        let mut package = self.package;
        package.source_package.get_or_insert_with(|| package.name.clone());
        package.source = "dpkg";
        package.status = status;
        path.clone_into(&mut package.path);
        package.installed = list.map_or(Installed::Unknown, Installed::Changed);
        Some(package)
    }

    /// The list of the package's files, which each installation writes; `None` for a name that no file can have.
    fn list(&self) -> Option<PathBuf> {
        let Package { name, arch, .. } = &self.package;
        let file = match arch {
            Some(arch) if self.is_same => format!("{name}:{arch}.list"),
            _ => format!("{name}.list"),
        };
        (!file.contains(['/', '\0'])).then(|| Path::new(LISTS).join(file))
    }
}
