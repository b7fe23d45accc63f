//! Every limit of the wire in one place, each with its reason, and the limits that ride in an action.

use serde::{Deserialize, Serialize};

/// An action's bytes: a long IOC list fits, a bomb does not.
pub const ACTION_BYTES_MAX: usize = 4 << 20;
/// Signatures of one envelope: more people than ever co-sign, few enough to verify at once.
pub const SIGNATURES_MAX: usize = 8;
/// One armored signature: RSA 4096 with notations needs about 2 kB.
pub const SIGNATURE_BYTES_MAX: usize = 16 << 10;
/// A whole envelope: within a JSON string each byte of a payload or an armor may become two, and a little is around them.
pub const ENVELOPE_BYTES_MAX: usize = 2 * (ACTION_BYTES_MAX + SIGNATURES_MAX * SIGNATURE_BYTES_MAX) + 1024;
/// A revocation somebody hands in: a whole certificate with many signatures fits.
pub const REVOCATION_BYTES_MAX: usize = 256 << 10;
/// Revocations among what somebody hands in: each is tried on every certificate of a keyring that it may be of.
pub const REVOCATIONS_MAX: usize = 64;
/// Scans of one action: the checks of a whole benchmark go in one.
pub const SCANS_MAX: usize = 1024;
/// Scans of one action that run side by side on an endpoint at most; the rest wait their turn.
pub const SCANS_AT_ONCE: usize = 8;
/// Statements of one action; each has a scan, as a rule.
pub const STATEMENTS_MAX: usize = 1024;
/// The SQL of all statements of an action: lists that a person pastes fit; longer ones stand in files.
pub const STATEMENTS_BYTES_MAX: usize = 3 << 20;
/// A statement's name.
pub const STATEMENT_NAME_BYTES_MAX: usize = 256;
/// Columns and functions of one aggregate.
pub const AGGREGATE_COLUMNS_MAX: usize = 64;
/// Columns that a dependent scan is compared in.
pub const DEPENDENCY_PAIRS_MAX: usize = 8;
/// Patterns of one set: they are compiled into one automaton, within an endpoint's memory.
pub const PATTERNS_MAX: usize = 10_000;
/// Hashes of a Bloom filter; more make it no better.
pub const BLOOM_HASHES_MAX: u32 = 32;
/// The shortest interval of a standing action, in seconds.
pub const EVERY_S_MIN: u64 = 60;
/// Stages of one statement: a second one is planned with the rows of the first.
pub const STAGES_MAX: u32 = 8;
/// Settings and local files that a plan depended on.
pub const INPUTS_MAX: usize = 1024;
/// Their names, values and hashes.
pub const INPUTS_BYTES_MAX: usize = 256 << 10;
/// Nesting of one filter; evaluation recurses, and JSON, which nests two deep for each, is read to 128.
pub const FILTER_DEPTH_MAX: usize = 48;
/// Tests of one filter, sets not counted.
pub const FILTER_TESTS_MAX: usize = 20_000;
/// LIKE and regular expressions in all targets of an action: an agent's guard compiles them, in no cage and before it
/// weighs who signed.
pub const TARGET_PATTERNS_MAX: usize = 256;
/// One of them, as text: reading it takes memory by its length.
pub const TARGET_PATTERN_BYTES_MAX: usize = 4 << 10;
/// What they take compiled, all together: as many as there may be of what people write to name hosts, and no bomb.
pub const TARGET_BYTES_MAX: usize = 1 << 20;
/// Compiled size of one regular expression.
pub const REGEX_BYTES_MAX: usize = 10 << 20;
/// One frame's bytes as carried; a frame is verified whole before it is opened.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// One signed statement of an answer: a final record with its troubles.
pub const STATEMENT_BYTES_MAX: usize = 4 << 20;
/// One heartbeat: facts with many tags and addresses fit.
pub const HEARTBEAT_BYTES_MAX: usize = 64 << 10;
/// A host's name, which stands in each of its rows: DNS allows 253.
pub const HOST_NAME_BYTES_MAX: usize = 255;
/// One of the other facts of a word or two: operating system, architecture, kernel …
pub const FACT_BYTES_MAX: usize = 255;
/// Tags of one agent.
pub const TAGS_MAX: usize = 64;
/// Their keys and values: each row that a plan reads `agent` for may hold them.
pub const TAGS_BYTES_MAX: usize = 8 << 10;
/// Addresses of one endpoint: those of a host of many containers; what it has more it does not tell.
pub const ADDRESSES_MAX: usize = 256;
/// Revoked certificates that an agent tells of: more than an organisation's investigators lose.
pub const REVOKED_KEYS_MAX: usize = 64;
/// One proof of an agent: a few names and numbers.
pub const PROOF_BYTES_MAX: usize = 4 << 10;
/// What an investigator signs beside actions: a login, a withdrawal or an approval, a few names and times.
pub const WORD_BYTES_MAX: usize = 4 << 10;
/// One message between a server and an agent: a part of an answer in JSON, where each byte of its statement may become
/// two, and its body; an envelope is no longer.
pub const MESSAGE_BYTES_MAX: usize = 2 * STATEMENT_BYTES_MAX + FRAME_BYTES_MAX + 4096;
/// Troubles listed in one scan's record; the rest is a count.
pub const TROUBLES_MAX: usize = 100;
/// Members of one record that this version does not know, in memory.
pub const MEMBERS_BYTES_MAX: usize = 16 << 10;
/// What an agent can do: each table is one.
pub const FEATURES_MAX: usize = 1024;
/// One of them, a kind and a name.
pub const FEATURE_BYTES_MAX: usize = 128;
/// The code of a refusal.
pub const CODE_BYTES_MAX: usize = 64;
/// Bytes of one trouble's path or reason, and of an outcome's reason.
pub const TROUBLE_TEXT_BYTES_MAX: usize = 1024;
/// Candidates or troubles that one scan can have counted: no endpoint holds more, and sums over a fleet stay numbers.
pub const COUNT_MAX: u64 = 1 << 40;
/// Two clocks that differ by this much still understand each other, in seconds.
pub const CLOCK_SKEW_S: i64 = 120;
/// The longest window an agent accepts unless its policy says less, in seconds: seven days.
pub const WINDOW_S_MAX: i64 = 7 * 24 * 3600;
/// How far ahead the window of any action may end, in seconds: that of a standing one, ninety days.
pub const STANDING_WINDOW_S_MAX: i64 = 90 * 24 * 3600;

/// What one scan may use on one endpoint; part of the signed action, clamped by the agent's policy.
///
/// A later limit is a member of its own beside these, in actions and final records alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub rows: u64,
    /// Bytes of answer frames.
    pub bytes: u64,
    /// Wall time in milliseconds.
    pub time_ms: u64,
    /// CPU time in milliseconds.
    pub cpu_ms: u64,
    /// Memory of the scan's process in bytes.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            rows: 1_000_000,
            bytes: 256 << 20,
            time_ms: 5 * 60 * 1000,
            cpu_ms: 2 * 60 * 1000,
            memory_bytes: 128 << 20,
        }
    }
}

impl Limits {
    /// The lesser of each limit.
    pub fn clamp(self, ceiling: Limits) -> Limits {
        Limits {
            rows: self.rows.min(ceiling.rows),
            bytes: self.bytes.min(ceiling.bytes),
            time_ms: self.time_ms.min(ceiling.time_ms),
            cpu_ms: self.cpu_ms.min(ceiling.cpu_ms),
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
        }
    }
}

/// The limit that cut a scan short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    Rows,
    Bytes,
    Time,
    Cpu,
    Memory,
    /// The investigator withdrew the action while it ran.
    Stopped,
    /// The scan's process died.
    Crashed,
    /// A limit that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Cut {
    /// The limit's name as `SET canvass.…` and messages spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Cut::Rows => "limit_rows",
            Cut::Bytes => "limit_bytes",
            Cut::Time => "limit_time",
            Cut::Cpu => "limit_cpu",
            Cut::Memory => "limit_memory",
            Cut::Stopped => "stopped",
            Cut::Crashed => "crashed",
            Cut::Unknown => "unknown",
        }
    }
}
