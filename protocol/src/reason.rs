//! Why an agent did not answer: a code for programs, and words for people.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::answer::bound_text;
use crate::limits;
use crate::members::Members;

/// Why an agent refused an action, or could not run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub code: Code,
    /// What is missing, in words, and nothing about the endpoint.
    pub reason: String,
    #[serde(flatten)]
    pub more: Members,
}

impl Reason {
    pub fn new(code: Code, reason: impl Into<String>) -> Reason {
        Reason { code, reason: reason.into(), more: Members::default() }
    }

    /// Brings code and words within the limits, whoever wrote them.
    pub(crate) fn bound(&mut self) {
        if let Code::Other(code) = &mut self.code {
            code.truncate(code.floor_char_boundary(limits::CODE_BYTES_MAX));
        }
        bound_text(&mut self.reason);
    }
}

impl fmt::Display for Reason {
    /// Shows the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Makes the enum and the slice of all codes from one list, so that neither lacks what the other has.
macro_rules! codes {
    ($($name:ident $word:literal $about:literal,)*) => {
        /// What kind of reason it is. A later version's codes are kept as text.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $about] $name,)*
            /// A code that this version does not know.
            Other(String),
        }

        /// Every code with its word and what it says.
        pub static CODES: &[(Code, &str, &str)] = &[$((Code::$name, $word, $about),)*];

        impl Code {
            pub fn as_str(&self) -> &str {
                match self {
                    $(Code::$name => $word,)*
                    Code::Other(word) => word,
                }
            }
        }
    };
}

codes! {
    Size "size" "The envelope is larger than agents take.",
    Signature "signature" "No signature counts.",
    Format "format" "The action cannot be read.",
    Unsupported "unsupported" "The action uses what this agent does not know.",
    Fleet "fleet" "The action is for another fleet.",
    Window "window" "The window is not open by the agent's clock, or longer than the policy allows.",
    Target "target" "The agent is not in the action's target.",
    Policy "policy" "The policy disables the module, has no entry for it, or cannot be read.",
    Weight "weight" "The signatures carry too little weight; more of them may be enough.",
    Budget "budget" "The action asks more of contents than the policy allows.",
    Journal "journal" "The journal cannot be kept, or does not reach back far enough.",
    Storage "storage" "The agent cannot keep answers, for want of room or of its folder.",
    Ended "ended" "The action has run already.",
    Running "running" "The action is running.",
    Withdrawn "withdrawn" "The action was withdrawn.",
    Stopped "stopped" "The agent was stopped before its answer was whole.",
    Cage "cage" "The scan's process cannot be started or confined.",
    Scan "scan" "The scan cannot be run.",
    NoRows "no_rows" "The scan that it depends on found no row.",
    Keys "keys" "The scan that it depends on found more values than are taken, or none that may be.",
    Sealed "sealed" "The answer is sealed, and this desk cannot open it.",
}

impl From<&str> for Code {
    fn from(word: &str) -> Code {
        let known = CODES.iter().find(|(_, known, _)| *known == word);
        known.map_or_else(|| Code::Other(word.to_owned()), |(code, _, _)| code.clone())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Code::from(String::deserialize(deserializer)?.as_str()))
    }
}
