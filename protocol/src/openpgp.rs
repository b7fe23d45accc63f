//! Investigators' signatures: detached OpenPGP over the exact bytes of a payload.
//!
//! Whatever is not plainly good does not count: only binary signatures by keys that were able to sign, unexpired and
//! unrevoked when the signature says it was made *and* by the verifier's clock, without SHA-1 and without short RSA.

mod keyfile;
mod keyring;
mod policy;
mod revocation;
mod verify;

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use sequoia_openpgp::armor;
use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::parse::{PacketParser, PacketParserResult, Parse};
use sequoia_openpgp::serialize::Serialize as _;
use sequoia_openpgp::{Cert, Packet};
use serde::{Deserialize, Serialize};

pub use keyfile::KeyFile;
pub use keyring::{Added, Certificate, Keyring};
pub use revocation::{Revocation, RevocationReason, revoked_by, with_revocations};
pub use verify::Verdict;

/// An OpenPGP certificate's fingerprint: hexadecimal, upper case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// Reads a fingerprint as people write it: any case, spaces allowed; 40 digits, or 64 for a version 6 certificate.
    ///
    /// A shorter key id is `None`: anybody can make a key with a chosen one.
    pub fn parse(text: &str) -> Option<Fingerprint> {
        let digits: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let digits = digits.strip_prefix("0x").unwrap_or(&digits).to_ascii_uppercase();
        let whole = matches!(digits.len(), 40 | 64) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        whole.then_some(Fingerprint(digits))
    }
}

impl From<sequoia_openpgp::Fingerprint> for Fingerprint {
    fn from(fingerprint: sequoia_openpgp::Fingerprint) -> Self {
        Fingerprint(fingerprint.to_hex())
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a key or certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("not an OpenPGP certificate: {0}")]
    Malformed(String),
    #[error("not an OpenPGP signature: {0}")]
    Signature(String),
    #[error("not an OpenPGP revocation: {0}")]
    Revocation(String),
    #[error("the key is protected by a passphrase")]
    PassphraseNeeded,
    #[error("the passphrase does not unlock the key")]
    WrongPassphrase,
    #[error("the certificate has no usable signing key: {0}")]
    CannotSign(String),
    #[error("`{0}` cannot be the name of a key: write a few printable characters")]
    BadName(String),
}

/// Whoever can sign for an investigator: a key file, or GnuPG's agent.
pub trait Signer {
    /// The certificate that verifiers will find in their keyring.
    fn fingerprint(&self) -> Fingerprint;

    /// Signs exact bytes; returns an ASCII-armored detached binary signature.
    fn sign(&self, payload: &[u8], now: Timestamp) -> Result<String, KeyError>;
}

/// Puts all signatures of an envelope into one armor, as `action export` writes them for a stock `gpg --verify`.
pub fn join_signatures(signatures: &[String]) -> Result<String, KeyError> {
    let mut packets = Vec::new();
    for armored in signatures {
        packets.extend(parse_signatures(armored.as_bytes()).map_err(KeyError::Signature)?);
    }
    armor_signatures(&packets)
}

/// Takes an armor apart that holds several signatures; each gets an armor of its own, as an envelope carries them.
pub fn split_signatures(armored: &[u8]) -> Result<Vec<String>, KeyError> {
    let packets = parse_signatures(armored).map_err(KeyError::Signature)?;
    packets.into_iter().map(|packet| armor_signatures(&[packet])).collect()
}

fn armor_signatures(signatures: &[Signature]) -> Result<String, KeyError> {
    let failed = |error: &dyn std::fmt::Display| KeyError::Signature(error.to_string());
    let mut writer = armor::Writer::new(Vec::new(), armor::Kind::Signature).map_err(|error| failed(&error))?;
    for signature in signatures {
        Packet::from(signature.clone()).serialize(&mut writer).map_err(|error| failed(&error))?;
    }
    let bytes = writer.finalize().map_err(|error| failed(&error))?;
    Ok(String::from_utf8(bytes).expect("armor is ASCII"))
}

/// Reads detached signatures, armored or binary; anything else among the packets spoils them all.
fn parse_signatures(bytes: &[u8]) -> Result<Vec<Signature>, String> {
    let mut signatures = Vec::new();
    for_each_packet(bytes, &mut |packet| match packet {
        Packet::Signature(signature) => {
            signatures.push(signature);
            Ok(())
        }
        other => Err(format!("it holds a packet of kind `{}`", other.tag())),
    })?;
    if signatures.is_empty() { Err("it holds no signature".into()) } else { Ok(signatures) }
}

/// Walks the top-level packets; containers are never opened.
fn for_each_packet(bytes: &[u8], visit: &mut dyn FnMut(Packet) -> Result<(), String>) -> Result<(), String> {
    let mut parsed = PacketParser::from_bytes(bytes).map_err(|error| reason(&error))?;
    while let PacketParserResult::Some(parser) = parsed {
        let (packet, rest) = parser.next().map_err(|error| reason(&error))?;
        visit(packet)?;
        parsed = rest;
    }
    Ok(())
}

/// Armored text that may hold several blocks, as `cat *.asc` makes it, one piece a block; else the bytes as they are.
fn armored_blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP ";
    let starts: Vec<usize> =
        bytes.windows(BEGIN.len()).enumerate().filter(|(_, window)| *window == BEGIN).map(|(at, _)| at).collect();
    // A binary certificate may quote the marker in a user id; it begins with a packet, not with text.
    if starts.is_empty() || bytes.first().is_some_and(|first| first & 0x80 != 0) {
        return vec![bytes];
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().zip(ends).map(|(start, end)| &bytes[*start..end]).collect()
}

/// A certificate's user ids as one cleaned line each.
fn user_ids(cert: &Cert) -> Vec<String> {
    cert.userids().map(|id| String::from_utf8_lossy(id.userid().value()).into_owned()).collect()
}

/// OpenPGP counts whole seconds from 1970 in 32 bits.
fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(at.as_second().clamp(0, i64::from(u32::MAX)).unsigned_abs())
}

fn show_time(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| "an unknown time".to_owned(), |at| at.to_string())
}

/// The error type of the OpenPGP library.
type LibraryError = <Cert as std::str::FromStr>::Err;

/// An error with its causes, on one line.
fn reason(error: &LibraryError) -> String {
    format!("{error:#}").replace(['\n', '\r'], " ")
}
