//! What an agent says of itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use canvass_protocol::features;
use canvass_protocol::limits;
use canvass_protocol::members::Members;
use canvass_protocol::target::{Facts, Mode};
use canvass_tables::TABLES;
use canvass_tables::host::Host;
use jiff::Timestamp;

use crate::identity::Identity;

/// What an agent states about itself when it is opened.
pub(super) fn of(
    host: &Host,
    identity: &Identity,
    name: Option<String>,
    mode: Mode,
    tags: BTreeMap<String, String>,
) -> Facts {
    let mut about = host.about().clone();
    about.tags.extend(tags);
    Facts {
        id: identity.id().to_owned(),
        name: name.unwrap_or(about.name),
        mode,
        os: about.os,
        arch: about.arch,
        os_version: short(about.os_version.as_deref()),
        kernel: short(about.kernel.as_deref()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tags: about.tags,
        addresses: told(&about.addresses),
        features: features(),
        revoked_keys: Vec::new(),
        started_at: Timestamp::now(),
        more: Members::default(),
    }
}

/// A fact that others word, as far as it may be told.
pub(super) fn short(fact: Option<&str>) -> Option<String> {
    fact.map(|fact| fact[..fact.floor_char_boundary(limits::FACT_BYTES_MAX)].to_owned())
}

/// The addresses that are told, of those that there are.
pub(super) fn told(addresses: &[IpAddr]) -> Vec<IpAddr> {
    addresses.iter().take(limits::ADDRESSES_MAX).copied().collect()
}

/// What an agent of this version can do.
pub(crate) fn features() -> Vec<String> {
    let mut features: Vec<String> = TABLES.iter().map(|table| features::table(table.info().name)).collect();
    features.extend(features::KNOWN.iter().map(|part| features::wire(*part)));
    features.sort_unstable();
    features
}
