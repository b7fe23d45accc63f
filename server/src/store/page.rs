//! Pages of actions and commands: which are wanted, what is listed of each, and where the next page begins.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use canvass_protocol::action::ActionHash;
use jiff::Timestamp;
use uuid::Uuid;

use super::Command;
use crate::scheduler::State;

/// Bytes of statements listed at once, above which no more actions are added: a page has one at least.
pub const LISTED_BYTES_MAX: i64 = 8 << 20;

/// Which actions are listed, or whose commands. A list that is empty, or a bound that is absent, leaves nothing out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Fingerprint of somebody who posted or signed them.
    pub signer: Option<String>,
    pub ids: Vec<Uuid>,
    /// What their ids begin with.
    pub prefix: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Whether they may still be brought to somebody.
    pub open: Option<bool>,
    pub withdrawn: Option<bool>,
    /// Of commands: the agents that they are for, and where they stand.
    pub agents: Vec<String>,
    pub states: Vec<State>,
}

/// An action as it is listed: without its envelope, which may have some megabytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub hash: ActionHash,
    pub id: Uuid,
    pub statement: String,
    pub investigator: String,
    pub signers: Vec<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub withdrawn: bool,
}

/// A command as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedCommand {
    pub action: Uuid,
    pub mark: Mark,
    pub command: Command,
}

/// A place among actions or commands that are listed, the newest action first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Nanoseconds since 1970.
    pub created_at: i64,
    pub hash: ActionHash,
    /// The run of a command, the latest first.
    pub run: i64,
    /// Empty before the first command of the action, and among actions.
    pub agent: String,
}

impl Wanted {
    /// Ids that begin with the prefix stand between these, the second of which is the first that does not.
    pub fn prefix_bounds(&self) -> Option<(String, String)> {
        let prefix = self.prefix.as_ref()?.to_lowercase();
        // Ids are hexadecimal digits and `-`, all of which stand before this.
        let end = format!("{prefix}~");
        Some((prefix, end))
    }
}

impl Listed {
    pub fn mark(&self) -> Mark {
        Mark { created_at: super::rows::to_ns(self.created_at), hash: self.hash, run: 0, agent: String::new() }
    }
}

impl Display for Mark {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.created_at, self.hash, self.run, self.agent)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Mark, ()> {
        let parts: Vec<&str> = text.split('.').collect();
        let [created_at, hash, run, agent] = parts.as_slice() else { return Err(()) };
        let (created_at, run) = (created_at.parse().map_err(|_| ())?, run.parse().map_err(|_| ())?);
        let hash = hex::decode(hash).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or(())?;
        // An agent's id is hexadecimal.
        if agent.len() > 64 || !agent.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(());
        }
        Ok(Mark { created_at, hash: ActionHash(hash), run, agent: (*agent).to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_were_written() {
        for agent in ["", "00ff"] {
            let mark = Mark { created_at: 7, hash: ActionHash([1; 32]), run: 3, agent: agent.to_owned() };
            assert_eq!(mark.to_string().parse(), Ok(mark));
        }
        let hash = ActionHash([1; 32]);
        for strange in [
            "",
            "7",
            "7.00.",
            "7..",
            &format!("{hash}.7.0."),
            &format!("7.{hash}"),
            &format!("7.{hash}.0"),
            &format!("7.{hash}.x."),
            &format!("7.{hash}.0.x"),
            &format!("7.{hash}.0.00.00"),
            &format!("7.{hash}.0.{}", "0".repeat(65)),
        ] {
            assert_eq!(strange.parse::<Mark>(), Err(()), "{strange}");
        }
    }
}
