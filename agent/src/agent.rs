//! One agent: an identity, a policy, a journal, and a host to scan.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use canvass_protocol::answer::Part;
use canvass_protocol::heartbeat::SignedHeartbeat;
use canvass_protocol::target::Mode;
use canvass_tables::host::HostSpec;
use jiff::Timestamp;

/// How to open an agent.
pub struct Config {
    /// Its fleet's name; `None` is `local:<agent id>`.
    pub fleet: Option<String>,
    pub host: HostSpec,
    /// The agent's name; the host's where `None`.
    pub name: Option<String>,
    pub mode: Mode,
    pub storage: Storage,
    /// The policy file; where it does not exist every certificate of the keyring has weight 1.
    pub policy: PathBuf,
    /// A folder of certificates (`*.asc`, `*.pgp`), or several.
    pub keyrings: Vec<PathBuf>,
    /// The program that runs a scan's process when its first argument is [`crate::cage::ARGUMENT`].
    pub program: PathBuf,
}

/// Where identity and journal live.
pub enum Storage {
    /// A folder of the agent's own, mode 0700.
    Folder(PathBuf),
    /// Nowhere: a new identity and an empty journal each time, for fixtures.
    Memory,
}

/// Why an agent cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("`{path}`: {error}")]
    Io { path: PathBuf, error: std::io::Error },
}

/// An agent, ready to be handed envelopes.
pub struct Agent {}

impl Agent {
    pub fn open(config: Config) -> Result<Agent, AgentError> {
        let _ = config;
        Ok(Agent {})
    }

    /// The SHA-256 of the agent's public key, hexadecimal.
    pub fn id(&self) -> &str {
        ""
    }

    pub fn fleet(&self) -> &str {
        ""
    }

    /// What the agent states about itself, signed.
    pub fn heartbeat(&self, now: Timestamp) -> SignedHeartbeat {
        let _ = now;
        SignedHeartbeat { statement: String::new(), signature: String::new() }
    }

    /// Guards, scans and answers: hands each signed part to `out`, the final record last. An error of `out` stops the scans.
    /// `stop`, once set, ends the scans early; what was found is kept and marked.
    pub fn handle(&self, envelope: &[u8], stop: &AtomicBool, out: &mut dyn FnMut(Part) -> std::io::Result<()>) {
        let _ = (envelope, stop, out);
    }
}
