//! What investigators sign beside actions: logins, withdrawals of actions, and who belongs to the fleet.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::ActionHash;
use crate::strict::{self, Kind, StrictError};

/// What opens a session at a server. The desk composes all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    canvass: Kind,
    pub fleet: String,
    /// Host and port of the server, as the user typed them.
    pub server: String,
    pub at: Timestamp,
    /// Drawn anew for each login, [`NONCE_DIGITS`] hexadecimal digits.
    pub nonce: String,
}

/// Digits of a login's nonce.
pub const NONCE_DIGITS: usize = 32;

/// The word of an investigator that an action is not to begin any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    canvass: Kind,
    pub fleet: String,
    pub action: ActionHash,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Running::ends")]
    pub running: Running,
}

/// The word of an administrator that an agent belongs to the fleet, under this name.
///
/// Whoever signs it has compared the id with what `canvass-agent identity` prints on that host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    canvass: Kind,
    pub fleet: String,
    /// The agent's id: the hash of its public key.
    pub id: String,
    pub name: String,
    pub at: Timestamp,
}

/// What becomes of scans of a withdrawn action that have begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Running {
    /// They are stopped, and hand over what they found, marked.
    #[default]
    Ends,
    /// They run to their end: nobody waits for them now, and their answers can be read later.
    GoesOn,
}

impl Running {
    fn ends(&self) -> bool {
        *self == Running::Ends
    }
}

impl Login {
    pub fn new(fleet: String, server: String, nonce: String, at: Timestamp) -> Login {
        Login { canvass: Kind::Login, fleet, server, at, nonce }
    }

    /// The bytes to sign.
    pub fn to_bytes(&self) -> Vec<u8> {
        strict::to_bytes(self)
    }

    /// Reads verified bytes.
    pub fn parse(bytes: &[u8]) -> Result<Login, StrictError> {
        strict::from_bytes(Kind::Login, bytes)
    }

    /// Whether the nonce is as long as one is, and of the digits of one: a server remembers it for a while.
    pub fn has_nonce(&self) -> bool {
        self.nonce.len() == NONCE_DIGITS && self.nonce.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

impl Withdrawal {
    pub fn new(fleet: String, action: ActionHash, running: Running, at: Timestamp) -> Withdrawal {
        Withdrawal { canvass: Kind::Withdraw, fleet, action, at, running }
    }

    /// The bytes to sign.
    pub fn to_bytes(&self) -> Vec<u8> {
        strict::to_bytes(self)
    }

    /// Reads verified bytes.
    pub fn parse(bytes: &[u8]) -> Result<Withdrawal, StrictError> {
        strict::from_bytes(Kind::Withdraw, bytes)
    }
}

impl Approval {
    pub fn new(fleet: String, id: String, name: String, at: Timestamp) -> Approval {
        Approval { canvass: Kind::Admit, fleet, id, name, at }
    }

    /// The bytes to sign.
    pub fn to_bytes(&self) -> Vec<u8> {
        strict::to_bytes(self)
    }

    /// Reads verified bytes.
    pub fn parse(bytes: &[u8]) -> Result<Approval, StrictError> {
        strict::from_bytes(Kind::Admit, bytes)
    }
}
