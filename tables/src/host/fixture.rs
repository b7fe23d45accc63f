//! A folder that stands for a host: its `host.toml`, laid over what files alone cannot say.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::Deserialize;

use super::machine::os_version;
use super::{About, Host, HostError, Id, Metadata};

/// The file that describes a fixture; no listing shows it.
pub(super) const FILE_NAME: &str = "host.toml";

/// What a fixture adds to its files.
#[derive(Default)]
pub(super) struct Fixture {
    pub now_ns: Option<i64>,
    /// The identity of `host.toml`.
    pub hidden: Option<Id>,
    defaults: Owner,
    files: HashMap<Id, Overlay>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Described {
    os: Option<String>,
    arch: Option<String>,
    os_version: Option<String>,
    kernel: Option<String>,
    public_ip: Option<IpAddr>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    now: Option<Timestamp>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    defaults: Owner,
    #[serde(default)]
    files: BTreeMap<PathBuf, Overlay>,
}

/// What holds for every file that says nothing else.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Owner {
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Overlay {
    uid: Option<u32>,
    gid: Option<u32>,
    /// Octal text, `"0640"`.
    #[serde(default, deserialize_with = "octal")]
    permissions: Option<u32>,
    mtime: Option<Timestamp>,
}

fn octal<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match u32::from_str_radix(&text, 8) {
        Ok(bits) if bits <= 0o7777 && !text.starts_with('+') => Ok(Some(bits)),
        _ => Err(serde::de::Error::custom(format!("`{text}` is not octal permissions such as \"0640\""))),
    }
}

impl Fixture {
    /// Replaces what git cannot keep; times that only the copy on disk has are unknown.
    pub fn lay_over(&self, metadata: &mut Metadata) {
        let file = self.files.get(&metadata.id());
        let uid = file.and_then(|file| file.uid).or(self.defaults.uid);
        let gid = file.and_then(|file| file.gid).or(self.defaults.gid);
        let mtime = file.and_then(|file| file.mtime).or(self.defaults.mtime);
        metadata.uid = uid.unwrap_or(metadata.uid);
        metadata.gid = gid.unwrap_or(metadata.gid);
        metadata.permissions = file.and_then(|file| file.permissions).unwrap_or(metadata.permissions);
        metadata.mtime_ns = mtime.map_or(metadata.mtime_ns, nanoseconds);
        metadata.ctime_ns = None;
        metadata.atime_ns = None;
        metadata.btime_ns = None;
    }
}

/// Reads `host.toml` and makes `host` what it says; the folder's name is the host's.
pub(super) fn open(host: &mut Host, folder: &Path) -> Result<(), HostError> {
    let path = folder.join(FILE_NAME);
    let malformed = |reason: String| HostError::Malformed { path: path.clone(), reason };
    let io = |error| HostError::Io { path: path.clone(), error };
    let text = String::from_utf8(host.read(Path::new(FILE_NAME)).map_err(io)?)
        .map_err(|_| malformed("not UTF-8".to_owned()))?;
    let described: Described = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let id = |file: &Path| {
        let file = host.open_path(file, OFlags::PATH | OFlags::NOFOLLOW)?;
        rustix::fs::fstat(file).map(|stat| Id { device: stat.st_dev, inode: stat.st_ino }).map_err(Into::into)
    };
    let hidden = Some(id(Path::new(FILE_NAME)).map_err(io)?);
    let mut files = HashMap::new();
    for (file, overlay) in described.files {
        let found = id(&file).map_err(|error| malformed(format!("`{}`: {error}", file.display())))?;
        files.insert(found, overlay);
    }
    let name = std::path::absolute(folder).map_err(io)?;
    let name = name.file_name().ok_or_else(|| malformed("the folder has no name".to_owned()))?;
    let about = About {
        name: name.to_string_lossy().into_owned(),
        os: described.os.unwrap_or_else(|| "linux".to_owned()),
        arch: described.arch.unwrap_or_else(|| "x86_64".to_owned()),
        os_version: described.os_version.or_else(|| os_version(host)),
        kernel: described.kernel,
        addresses: described.addresses,
        tags: described.tags,
        public_ip: described.public_ip,
    };
    host.about = about;
    let now_ns = described.now.map(nanoseconds);
    host.fixture = Some(Fixture { now_ns, hidden, defaults: described.defaults, files });
    Ok(())
}

fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH { i64::MIN } else { i64::MAX })
}
