//! Table `ssh_keys`: files that hold keys, private and public.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::homes;
use super::key_file::{self, KeyFile};
use super::public::{ALGORITHMS, Public};
use crate::accounts;
use crate::bound::Root;
use crate::column::{Column, Form, Kind};
use crate::engine::Collector;
use crate::table::{Declared, TableInfo};

/// A file with a key.
pub struct SshKey {
    path: String,
    user: Option<String>,
    file: KeyFile,
}

/// Longer files hold no key: one of 16384 bits takes a fifth of it.
const KEY_BYTES_MAX: u64 = 64 << 10;
/// Files of one folder that are looked at.
const FILES_MAX: usize = 10_000;
/// Files that are known to hold something else, keys of others among it.
const OTHERS: [&str; 8] = [
    "authorized_keys",
    "authorized_keys2",
    "known_hosts",
    "known_hosts.old",
    "config",
    "environment",
    "rc",
    "allowed_signers",
];

/// The key itself is no column: an encrypted one could be attacked elsewhere, and any other be used.
pub static SSH_KEYS: Declared<SshKey> = Declared {
    info: TableInfo {
        name: "ssh_keys",
        module: super::MODULE,
        about: "Files with SSH keys in users' .ssh folders, the host's own in /etc/ssh, and those that `path` names",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, user, path, algorithm, bits FROM ssh_keys WHERE type = 'private' AND NOT encrypted AND user IS NOT NULL",
    },
    columns: &[
        Column::<SshKey>::field("path", Kind::Text, "The file", |k| k.path.as_str().into()).form(Form::Path),
        Column::field(
            "user",
            Kind::Text,
            "In whose home folder it lies; NULL for others, such as the host's keys",
            |k| k.user.as_deref().into(),
        ),
        Column::<SshKey>::field("type", Kind::Text, "private, public, or certificate (a signed public key)", |k| {
            k.file.kind.into()
        })
        .values(&["private", "public", "certificate"]),
        Column::<SshKey>::field(
            "format",
            Kind::Text,
            "openssh, pem (PKCS#1, SEC1), pkcs8, putty, or rfc4716 (SSH2)",
            |k| k.file.format.into(),
        ),
        Column::<SshKey>::field(
            "algorithm",
            Kind::Text,
            "Algorithm as ssh-keygen -l names it; NULL where encryption hides it",
            |k| public(k).map(|public| public.algorithm).into(),
        )
        .values(&ALGORITHMS),
        Column::field("bits", Kind::Integer, "Length of the key in bits", |k| {
            public(k).and_then(|public| public.bits).into()
        }),
        Column::field("encrypted", Kind::Boolean, "Whether a passphrase protects it; NULL for public keys", |k| {
            k.file.encrypted.into()
        }),
        Column::field("comment", Kind::Text, "Comment, often whose key it is; NULL without one", |k| {
            k.file.comment.as_deref().into()
        }),
        Column::field(
            "fingerprint_md5",
            Kind::Text,
            "MD5 fingerprint of the public key as services show it: hexadecimal, between colons",
            |k| public(k).and_then(Public::md5).into(),
        ),
        Column::field(
            "fingerprint_sha256",
            Kind::Text,
            "Fingerprint of the public key as ssh-keygen -l shows it, with SHA256: in front",
            |k| public(k).and_then(Public::sha256).into(),
        ),
    ],
    collect,
};

fn public(key: &SshKey) -> Option<&Public> {
    key.file.public.as_ref()
}

fn collect(collector: &mut Collector<'_, SshKey>) -> ControlFlow<()> {
    accounts::note_troubles(collector, accounts::PASSWD);
    let mut seen = BTreeSet::new();
    for user in homes::with_homes(collector.host) {
        collector.go_on()?;
        let folder = Path::new(&user.home).join(".ssh");
        for path in homes::files(collector, &folder, FILES_MAX) {
            show(collector, &path, Some(&user.name), &mut seen)?;
        }
    }
    for path in homes::files(collector, Path::new("/etc/ssh"), FILES_MAX) {
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"ssh_host_")) {
            show(collector, &path, None, &mut seen)?;
        }
    }
    for root in collector.places("path").unwrap_or_default() {
        if let Root::At(path) = root {
            show(collector, Path::new(&path), None, &mut seen)?;
        }
    }
    ControlFlow::Continue(())
}

/// Hands over what a file holds, if it holds a key and was not looked at before.
fn show(
    collector: &mut Collector<'_, SshKey>,
    path: &Path,
    user: Option<&str>,
    seen: &mut BTreeSet<PathBuf>,
) -> ControlFlow<()> {
    collector.examined()?;
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    if OTHERS.contains(&&*name) || !seen.insert(path.to_owned()) {
        return ControlFlow::Continue(());
    }
    let Some(bytes) = homes::read(collector, path, KEY_BYTES_MAX) else { return ControlFlow::Continue(()) };
    let Some(file) = key_file::parse(&bytes) else { return ControlFlow::Continue(()) };
    let path = path.to_string_lossy().into_owned();
    if file.malformed {
        collector.trouble(Some(&path), "a key that is not in the form it should have");
    }
    collector.row(SshKey { path, user: user.map(str::to_owned), file })
}
