//! Packages of rpm: the headers in its SQLite database.

use std::ops::ControlFlow;
use std::path::Path;

use super::packages::{INSTALLED, Installed, Package};
use crate::engine::Collector;
use crate::host::Host;
use crate::sqlite::Database;

/// Where distributions keep it; one is often a link to the other.
const FOLDERS: [&str; 2] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];
const FILE: &str = "rpmdb.sqlite";
/// Databases of earlier versions, of a form of their own.
const OLD_FILES: [&str; 2] = ["Packages", "Packages.db"];
/// Entries of a header that are looked at; a package has some hundred.
const ENTRIES_MAX: usize = 4096;
/// The longest text that is taken of a header.
const TEXT_BYTES_MAX: usize = 16 << 10;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const SUMMARY: u32 = 1004;
const INSTALL_TIME: u32 = 1008;
const SIZE: u32 = 1009;
const VENDOR: u32 = 1011;
const PACKAGER: u32 = 1015;
const ARCH: u32 = 1022;
const SOURCE_RPM: u32 = 1044;
const LONG_SIZE: u32 = 5009;

const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;
const I18N_STRING: u32 = 9;

pub fn collect(collector: &mut Collector<'_, Package>) -> ControlFlow<()> {
    let mut seen = Vec::new();
    for folder in FOLDERS {
        let folder = Path::new(folder);
        let path = folder.join(FILE);
        // One database under two names is read once.
        let id = id(collector.host, &path);
        if id.is_some() && seen.contains(&id) {
            continue;
        }
        seen.push(id);
        match Database::open(collector.host, &path) {
            Ok(Some(mut database)) => read(collector, &path.to_string_lossy(), &mut database)?,
            Ok(None) => note_old(collector, folder),
            Err(trouble) => collector.note_trouble(trouble),
        }
    }
    ControlFlow::Continue(())
}

fn id(host: &Host, path: &Path) -> Option<crate::host::Id> {
    let file = host.open_file(path).ok().flatten()?;
    host.metadata_of(&file).ok().map(|metadata| metadata.id())
}

fn note_old(collector: &mut Collector<'_, Package>, folder: &Path) {
    for name in OLD_FILES {
        let path = folder.join(name);
        if collector.host.open_file(&path).is_ok_and(|file| file.is_some()) {
            let reason = "an rpm database of an earlier form than SQLite, which is not read";
            collector.trouble(Some(&path.to_string_lossy()), reason);
        }
    }
}

fn read(collector: &mut Collector<'_, Package>, path: &str, database: &mut Database) -> ControlFlow<()> {
    let mut table = match database.table("Packages") {
        Ok(Some(table)) => table,
        Ok(None) => {
            collector.trouble(Some(path), "no table of packages");
            return ControlFlow::Continue(());
        }
        Err(trouble) => {
            collector.note_trouble(trouble);
            return ControlFlow::Continue(());
        }
    };
    let mut malformed = 0u64;
    let (flow, trouble) = table.for_each(&mut |row| {
        let Some(mut package) = row.blob("blob").and_then(package) else {
            malformed += 1;
            return collector.go_on();
        };
        path.clone_into(&mut package.path);
        collector.row(package)
    });
    if malformed > 0 {
        collector.trouble(Some(path), format!("{malformed} malformed headers"));
    }
    if let Some(trouble) = trouble {
        collector.note_trouble(trouble);
    }
    flow
}

/// A header: an index of tags, and the store that their values lie in.
struct Header<'a> {
    index: &'a [u8],
    store: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Header<'a>> {
        let (head, rest) = bytes.split_at_checked(8)?;
        let number = |at: usize| usize::try_from(word(head, at)?).ok();
        let index = number(0)?.checked_mul(16)?;
        let (index, store) = rest.split_at_checked(index)?;
        Some(Header { index, store: store.get(..number(4)?)? })
    }

    /// The value of a tag of one of these types, from its beginning to the end of the store.
    fn find(&self, tag: u32, types: &[u32]) -> Option<&'a [u8]> {
        let entries = self.index.chunks_exact(16).take(ENTRIES_MAX);
        let entry = entries.filter(|entry| word(entry, 0) == Some(tag)).find(|entry| {
            word(entry, 4).is_some_and(|kind| types.contains(&kind)) && word(entry, 12).is_some_and(|count| count > 0)
        })?;
        self.store.get(usize::try_from(word(entry, 8)?).ok()?..)
    }

    fn text(&self, tag: u32) -> Option<String> {
        let value = self.find(tag, &[STRING, I18N_STRING])?;
        let most = value.get(..TEXT_BYTES_MAX).unwrap_or(value);
        let end = memchr::memchr(0, most)?;
        most.get(..end).filter(|text| !text.is_empty()).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    fn number(&self, tag: u32) -> Option<u32> {
        word(self.find(tag, &[INT32])?, 0)
    }

    fn long_number(&self, tag: u32) -> Option<u64> {
        Some(u64::from_be_bytes(self.find(tag, &[INT64])?.get(..8)?.try_into().ok()?))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn package(bytes: &[u8]) -> Option<Package> {
    let header = Header::parse(bytes)?;
    let version = header.text(VERSION).map(|version| {
        let epoch = header.number(EPOCH).map(|epoch| format!("{epoch}:"));
        let release = header.text(RELEASE).map(|release| format!("-{release}"));
        format!("{}{version}{}", epoch.unwrap_or_default(), release.unwrap_or_default())
    });
    let installed = header.number(INSTALL_TIME).map(|seconds| i64::from(seconds) * 1_000_000_000);
    Some(Package {
        name: header.text(NAME)?,
        version,
        arch: header.text(ARCH),
        source: "rpm",
        status: Some(INSTALLED.to_owned()),
        source_package: header.text(SOURCE_RPM).and_then(|file| source_name(&file)),
        maintainer: header.text(VENDOR).or_else(|| header.text(PACKAGER)),
        size_bytes: header.long_number(LONG_SIZE).or_else(|| header.number(SIZE).map(u64::from)),
        path: String::new(),
        installed: installed.map_or(Installed::Unknown, Installed::At),
        description: header.text(SUMMARY).and_then(|summary| summary.lines().next().map(str::to_owned)),
    })
}

/// The name in `name-version-release.src.rpm`.
fn source_name(file: &str) -> Option<String> {
    let mut parts = file.rsplitn(3, '-');
    let name = parts.nth(2)?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of these tags, each a type and the bytes of its value.
    fn header(tags: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let (mut index, mut store) = (Vec::new(), Vec::new());
        for (tag, kind, value) in tags {
            for word in [*tag, *kind, store.len() as u32, 1] {
                index.extend_from_slice(&word.to_be_bytes());
            }
            store.extend_from_slice(value);
        }
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(tags.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&(store.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&index);
        bytes.extend_from_slice(&store);
        bytes
    }

    fn valid() -> Vec<u8> {
        header(&[
            (NAME, STRING, b"bash\0"),
            (VERSION, STRING, b"5.1\0"),
            (RELEASE, STRING, b"2.el9\0"),
            (EPOCH, INT32, &[0, 0, 0, 3]),
            (SUMMARY, I18N_STRING, b"The shell\nof GNU\0"),
            (INSTALL_TIME, INT32, &[0x69, 0, 0, 0]),
            (SIZE, INT32, &[0, 1, 0, 0]),
            (ARCH, STRING, b"x86_64\0"),
            (SOURCE_RPM, STRING, b"bash-x-5.1-2.el9.src.rpm\0"),
        ])
    }

    #[test]
    fn headers() {
        let found = package(&valid()).unwrap();
        assert_eq!((found.name.as_str(), found.version.as_deref()), ("bash", Some("3:5.1-2.el9")));
        assert_eq!((found.arch.as_deref(), found.size_bytes), (Some("x86_64"), Some(65_536)));
        assert_eq!(found.source_package.as_deref(), Some("bash-x"));
        assert_eq!(found.description.as_deref(), Some("The shell"));
        assert!(matches!(found.installed, Installed::At(1_761_607_680_000_000_000)));
        let odd: [&[u8]; 5] = [
            b"",
            &[0; 8],
            &[255; 40],
            &header(&[(NAME, STRING, b"no end")]),
            &header(&[(NAME, INT32, b"name\0"), (VERSION, STRING, b"1\0")]),
        ];
        for bytes in odd {
            assert!(package(bytes).is_none(), "{bytes:?}");
        }
        let bare = package(&header(&[(NAME, STRING, b"a\xff\0"), (EPOCH, INT32, &[0, 0])])).unwrap();
        assert_eq!((bare.name.as_str(), bare.version), ("a\u{fffd}", None));
        assert_eq!(source_name("a-1"), None);
        assert_eq!(source_name("-1-2"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..200),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
            let _ = package(&bytes);
            let mut changed = valid();
            for (place, value) in changes {
                let at = place.index(changed.len());
                changed[at] = value;
            }
            if let Some(found) = package(&changed) {
                prop_assert!(found.name.len() <= changed.len() * 3);
            }
        }
    }
}
