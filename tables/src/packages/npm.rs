//! Packages of npm that are installed for the whole system, with those that they bring themselves.

use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::packages::{INSTALLED, Installed, Package};
use crate::engine::Collector;
use crate::host::reason;

const FOLDERS: [&str; 2] = ["/usr/lib/node_modules", "/usr/local/lib/node_modules"];
const MODULES: &str = "node_modules";
/// How far packages within packages are followed.
const DEPTH_MAX: usize = 8;
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;

/// The fields of `package.json` that are shown, of whatever type they are.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Description {
    name: Value,
    version: Value,
    description: Value,
    author: Value,
}

pub fn collect(collector: &mut Collector<'_, Package>) -> ControlFlow<()> {
    FOLDERS.iter().try_for_each(|folder| read_folder(collector, Path::new(folder), 1))
}

fn read_folder(collector: &mut Collector<'_, Package>, folder: &Path, depth: usize) -> ControlFlow<()> {
    for name in super::folders(collector, folder) {
        collector.go_on()?;
        let path = folder.join(&name);
        // What begins with a dot is npm's own, and `@` a scope that holds packages.
        if name.starts_with('.') {
            continue;
        }
        if !name.starts_with('@') {
            read_package(collector, &path, &name, depth)?;
            continue;
        }
        for scoped in super::folders(collector, &path) {
            collector.go_on()?;
            read_package(collector, &path.join(&scoped), &format!("{name}/{scoped}"), depth)?;
        }
    }
    ControlFlow::Continue(())
}

fn read_package(collector: &mut Collector<'_, Package>, path: &Path, name: &str, depth: usize) -> ControlFlow<()> {
    let at = path.join("package.json");
    let Some(file) = super::open(collector, &at) else { return ControlFlow::Continue(()) };
    let mut bytes = Vec::new();
    let read = match file.take(DESCRIPTION_BYTES_MAX + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > DESCRIPTION_BYTES_MAX => Err("too long to be read whole".to_owned()),
        Ok(_) => serde_json::from_slice(&bytes).map_err(|_| "not in the form of a `package.json`".to_owned()),
        Err(error) => Err(reason(&error)),
    };
    let description: Description = read.unwrap_or_else(|reason| {
        collector.trouble(Some(&at.to_string_lossy()), reason);
        Description::default()
    });
    let author = description.author.get("name").unwrap_or(&description.author);
    let package = Package {
        name: text(&description.name).unwrap_or_else(|| name.to_owned()),
        version: text(&description.version),
        source: "npm",
        status: Some(INSTALLED.to_owned()),
        maintainer: text(author),
        path: path.to_string_lossy().into_owned(),
        // The file's own change is that of whoever made the package.
        installed: Installed::Changed(path.to_owned()),
        description: text(&description.description),
        ..Package::default()
    };
    collector.row(package)?;
    if depth < DEPTH_MAX { read_folder(collector, &path.join(MODULES), depth + 1) } else { ControlFlow::Continue(()) }
}

/// The first line of a text; other values say nothing.
fn text(value: &Value) -> Option<String> {
    let line = value.as_str()?.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}
