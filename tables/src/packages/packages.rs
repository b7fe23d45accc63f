//! Table `packages`: what is installed by the package managers of a host.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use canvass_protocol::answer::Trouble;

use crate::bound::Root;
use crate::column::{Cell, Column, Form, Kind};
use crate::engine::Collector;
use crate::host::{Host, reason};
use crate::table::{Declared, TableInfo};

/// The status of what is there for use; other package managers than dpkg know no other.
pub const INSTALLED: &str = "installed";

#[derive(Default)]
pub struct Package {
    pub name: String,
    pub version: Option<String>,
    pub arch: Option<String>,
    pub source: &'static str,
    pub status: Option<String>,
    pub source_package: Option<String>,
    pub maintainer: Option<String>,
    pub size_bytes: Option<u64>,
    pub path: String,
    pub installed: Installed,
    pub description: Option<String>,
}

/// What tells when a package was installed.
#[derive(Default)]
pub enum Installed {
    #[default]
    Unknown,
    /// Nanoseconds since 1970, UTC.
    At(i64),
    /// The change of a file or folder that the installation wrote.
    Changed(PathBuf),
}

/// Packages that are known but not, or not wholly, installed are rows too: `status` says which.
pub static PACKAGES: Declared<Package> = Declared {
    info: TableInfo {
        name: "packages",
        module: super::MODULE,
        about: "Packages of dpkg, rpm, apk, pip and npm that a host knows",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, name, version, installed_at FROM packages WHERE source = 'dpkg' AND name LIKE 'openssh%'",
    },
    columns: &[
        Column::field("name", Kind::Text, "Name of the package", |package| package.name.as_str().into()),
        Column::field(
            "version",
            Kind::Text,
            "Version as its package manager writes it; rpm's is epoch:version-release, the epoch where there is one",
            |package| package.version.as_deref().into(),
        ),
        Column::field(
            "arch",
            Kind::Text,
            "Architecture it was built for, such as amd64, x86_64, all or noarch; NULL for pip and npm",
            |package| package.arch.as_deref().into(),
        ),
        Column::<Package>::field("source", Kind::Text, "Kind of package, by its manager", |package| {
            package.source.into()
        })
        .values(&["dpkg", "rpm", "apk", "pip", "npm"]),
        Column::field(
            "status",
            Kind::Text,
            "State as dpkg names it: installed, config-files where only those are left, half-installed and so on",
            |package| package.status.as_deref().into(),
        ),
        Column::field(
            "source_package",
            Kind::Text,
            "Package that it was built from, which advisories of distributions name; NULL for pip and npm",
            |package| package.source_package.as_deref().into(),
        ),
        Column::field(
            "maintainer",
            Kind::Text,
            "Who says to maintain it: dpkg's and apk's maintainer, rpm's vendor, pip's and npm's author",
            |package| package.maintainer.as_deref().into(),
        ),
        Column::<Package>::field(
            "size_bytes",
            Kind::Integer,
            "Space that it says to take when installed, in bytes; NULL for pip and npm",
            |package| package.size_bytes.into(),
        )
        .form(Form::Bytes),
        Column::<Package>::field("path", Kind::Text, "Database that lists it, or folder that holds it", |package| {
            package.path.as_str().into()
        })
        .form(Form::Path),
        Column::read(
            "installed_at",
            Kind::Timestamp,
            "Last installation or upgrade: rpm's record of it, else the change of what it wrote; NULL for apk",
            installed_at,
        ),
        Column::field("description", Kind::Text, "What it is for, in one line", |package| {
            package.description.as_deref().into()
        }),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, Package>) -> ControlFlow<()> {
    let sources = collector.places("source");
    let is_asked = |source: &str| {
        let names = |root: &Root| matches!(root, Root::Under(_)) || root.path() == source;
        sources.as_ref().is_none_or(|roots| roots.iter().any(names))
    };
    if is_asked("dpkg") {
        super::dpkg::collect(collector)?;
    }
    if is_asked("rpm") {
        super::rpm::collect(collector)?;
    }
    if is_asked("apk") {
        super::apk::collect(collector)?;
    }
    if is_asked("pip") {
        super::python::collect(collector)?;
    }
    if is_asked("npm") {
        super::npm::collect(collector)?;
    }
    ControlFlow::Continue(())
}

fn installed_at(package: &Package, host: &Host) -> Result<Cell<'static>, Trouble> {
    let changed = |path: &Path| match host.metadata(path) {
        Ok(metadata) => Ok(Cell::Timestamp(metadata.mtime_ns)),
        Err(error) if super::is_absent(&error) => Ok(Cell::Null),
        Err(error) => Err(Trouble::new(Some(&path.to_string_lossy()), reason(&error))),
    };
    match &package.installed {
        Installed::Unknown => Ok(Cell::Null),
        Installed::At(nanoseconds) => Ok(Cell::Timestamp(*nanoseconds)),
        Installed::Changed(path) => changed(path),
    }
}
