//! Packages of apk: the list that Alpine keeps of what is installed, with one letter for each field.

use std::ops::ControlFlow;
use std::path::Path;

use super::packages::{INSTALLED, Package};
use super::paragraphs::{lines, size, text};
use crate::engine::Collector;
use crate::host::reason;

const LISTS: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

/// Where /lib is a link to /usr/lib, both names lead to one list.
pub fn collect(collector: &mut Collector<'_, Package>) -> ControlFlow<()> {
    let mut seen = None;
    for path in LISTS {
        let Some(file) = super::open(collector, Path::new(path)) else { continue };
        let id = collector.host.metadata_of(&file).ok().map(|metadata| metadata.id());
        if id.is_some() && id == seen {
            continue;
        }
        seen = id;
        let (mut package, mut has_lines, mut nameless) = (Package::default(), false, 0u64);
        let read = lines(file, &mut |line| {
            collector.go_on()?;
            if !line.is_empty() {
                has_lines = true;
                add(&mut package, line);
                return ControlFlow::Continue(());
            }
            let mut ended = std::mem::take(&mut package);
            let has_lines = std::mem::take(&mut has_lines);
            if ended.name.is_empty() {
                nameless += u64::from(has_lines);
                return ControlFlow::Continue(());
            }
            ended.source = "apk";
            ended.status = Some(INSTALLED.to_owned());
            path.clone_into(&mut ended.path);
            collector.row(ended)
        });
        if nameless > 0 {
            collector.trouble(Some(path), format!("{nameless} paragraphs without a package's name"));
        }
        match read {
            Ok(flow) => flow?,
            Err(error) => collector.trouble(Some(path), reason(&error)),
        }
    }
    ControlFlow::Continue(())
}

fn add(package: &mut Package, line: &[u8]) {
    let [letter, b':', value @ ..] = line else { return };
    let value = value.trim_ascii();
    match letter {
        b'P' => package.name = text(value).unwrap_or_default(),
        b'V' => package.version = text(value),
        b'A' => package.arch = text(value),
        b'I' => package.size_bytes = size(value, 1),
        b'T' => package.description = text(value),
        b'm' => package.maintainer = text(value),
        b'o' => package.source_package = text(value),
        _ => {}
    }
}
