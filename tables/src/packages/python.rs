//! Packages of pip: what lies beside a Python's modules to say what they are.

use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::packages::{INSTALLED, Installed, Package};
use super::paragraphs::{field, lines, text};
use crate::accounts::PASSWD;
use crate::engine::Collector;
use crate::host::{FileKind, Id, reason};

/// Folders that hold the folders of Pythons, such as `python3.11`.
const LIBRARIES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"];
/// Where each application may have a Python of its own, a virtual environment.
const APPLICATIONS: &str = "/opt";
const MODULES: [&str; 2] = ["dist-packages", "site-packages"];
/// What is read of a description: its fields stand before a text that may be long.
const DESCRIPTION_BYTES_MAX: u64 = 256 << 10;

pub fn collect(collector: &mut Collector<'_, Package>) -> ControlFlow<()> {
    let mut libraries: Vec<PathBuf> = LIBRARIES.iter().map(PathBuf::from).collect();
    let applications = Path::new(APPLICATIONS);
    for name in super::folders(collector, applications) {
        libraries.extend(["lib", "lib64"].map(|lib| applications.join(&name).join(lib)));
    }
    let accounts = collector.host.accounts();
    if collector.host.metadata(Path::new(PASSWD)).is_ok_and(|metadata| metadata.kind == FileKind::File) {
        crate::accounts::note_troubles(collector, PASSWD);
    }
    // Homes of users, of which many have the same.
    let mut homes: Vec<&str> = accounts.users.iter().map(|user| user.home.trim_end_matches('/')).collect();
    homes.sort_unstable();
    homes.dedup();
    let homes = homes.into_iter().filter(|home| home.starts_with('/'));
    libraries.extend(homes.map(|home| Path::new(home).join(".local/lib")));
    let mut seen = Vec::new();
    for library in libraries {
        collector.go_on()?;
        for python in super::folders(collector, &library) {
            if !python.starts_with("python") {
                continue;
            }
            for modules in MODULES {
                read_folder(collector, &library.join(&python).join(modules), &mut seen)?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Hands over what is installed in a folder, which may be reached under several names.
fn read_folder(collector: &mut Collector<'_, Package>, folder: &Path, seen: &mut Vec<Id>) -> ControlFlow<()> {
    let names =
        super::names(collector, folder, |kind| matches!(kind, FileKind::Directory | FileKind::Link | FileKind::File));
    if names.is_empty() {
        return ControlFlow::Continue(());
    }
    let opened = collector.host.open_path(folder, rustix::fs::OFlags::PATH);
    if let Ok(id) = opened.and_then(|folder| collector.host.metadata_of(folder)).map(|metadata| metadata.id()) {
        if seen.contains(&id) {
            return ControlFlow::Continue(());
        }
        seen.push(id);
    }
    for name in names {
        collector.go_on()?;
        // What pip was removing when it was interrupted, and does not take for installed.
        if name.starts_with('~') {
            continue;
        }
        let files: &[&str] = if name.ends_with(".dist-info") {
            &["METADATA"]
        } else if name.ends_with(".egg-info") {
            // A folder, or one file.
            &["PKG-INFO", ""]
        } else {
            continue;
        };
        let path = folder.join(&name);
        let mut package = Package::default();
        for file in files {
            let at = if file.is_empty() { path.clone() } else { path.join(file) };
            if collector.host.metadata(&at).is_ok_and(|metadata| metadata.kind == FileKind::Directory) {
                continue;
            }
            if read(collector, &at, &mut package) {
                break;
            }
        }
        complete(&mut package, &name);
        package.path = path.to_string_lossy().into_owned();
        package.installed = Installed::Changed(path);
        collector.row(package)?;
    }
    ControlFlow::Continue(())
}

/// Reads a description's fields, up to the empty line behind them; whether there is one.
fn read(collector: &mut Collector<'_, Package>, path: &Path, package: &mut Package) -> bool {
    let Some(file) = super::open(collector, path) else { return false };
    let read = lines(file.take(DESCRIPTION_BYTES_MAX), &mut |line| {
        if line.trim_ascii().is_empty() {
            return ControlFlow::Break(());
        }
        add(package, line);
        ControlFlow::Continue(())
    });
    if let Err(error) = read {
        collector.trouble(Some(&path.to_string_lossy()), reason(&error));
    }
    true
}

fn add(package: &mut Package, line: &[u8]) {
    let Some((name, value)) = field(line) else { return };
    // `UNKNOWN` is what older tools write where nobody said anything.
    let value = text(value).filter(|value| value != "UNKNOWN");
    if name.eq_ignore_ascii_case(b"Name") {
        package.name = value.unwrap_or_default();
    } else if name.eq_ignore_ascii_case(b"Version") {
        package.version = value;
    } else if name.eq_ignore_ascii_case(b"Summary") {
        package.description = value;
    } else if name.eq_ignore_ascii_case(b"Author")
        || package.maintainer.is_none()
            && (name.eq_ignore_ascii_case(b"Author-email") || name.eq_ignore_ascii_case(b"Maintainer"))
    {
        package.maintainer = value.or(package.maintainer.take());
    }
}

/// What the name `NAME-VERSION.dist-info` says where the description does not.
fn complete(package: &mut Package, name: &str) {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let (named, version) = match stem.split_once('-') {
        // Older tools add the version of the Python.
        Some((named, version)) => (named, Some(version.split_once("-py").map_or(version, |(version, _)| version))),
        None => (stem, None),
    };
    if package.name.is_empty() {
        named.clone_into(&mut package.name);
    }
    if package.version.is_none() {
        package.version = version.filter(|version| !version.is_empty()).map(str::to_owned);
    }
    package.source = "pip";
    package.status = Some(INSTALLED.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_says() {
        let cases = [
            ("", "", None),
            (".egg-info", "", None),
            ("six-1.16.0.egg-info", "six", Some("1.16.0")),
            ("lazr.uri-1.0.6-py3.11.egg-info", "lazr.uri", Some("1.0.6")),
            ("cryptography.egg-info", "cryptography", None),
            ("a-.dist-info", "a", None),
        ];
        for (name, expected, version) in cases {
            let mut package = Package::default();
            complete(&mut package, name);
            assert_eq!((package.name.as_str(), package.version.as_deref()), (expected, version), "{name}");
        }
    }

    #[test]
    fn what_a_description_says() {
        let mut package = Package::default();
        for line in
            ["Name: x", "Version:", "Author: UNKNOWN", "Author-email: a@b", "Author: B", " Name: y", "Summary: UNKNOWN"]
        {
            add(&mut package, line.as_bytes());
        }
        complete(&mut package, "other-3.dist-info");
        assert_eq!((package.name.as_str(), package.version.as_deref()), ("x", Some("3")));
        assert_eq!((package.maintainer.as_deref(), package.description), (Some("B"), None));
    }
}
