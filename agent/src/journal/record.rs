//! The journal's lines: each carries a hash over all before it, so that an altered line shows.
//!
//! The first line is the tip, rewritten in place: how many lines there are at least, and the hash of the last of them. A
//! file that lacks one of them was cut. Lines past the tip are whole or were never relied on.

use canvass_protocol::action::ActionHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Content, Entry, Run, State};

/// Hash of a line and of all lines before it.
pub type Chain = [u8; 32];

/// Where a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    pub lines: u64,
    pub chain: Chain,
}

/// One line after the tip; the first is a header, and no other is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    Header {
        agent: String,
        floor: Option<Timestamp>,
        lost_before: Option<Timestamp>,
    },
    Begun {
        hash: ActionHash,
        /// Of a standing action; 0 for an action that is asked once.
        #[serde(default, skip_serializing_if = "is_once")]
        run: u64,
        until: Timestamp,
        at: Timestamp,
        /// Who signed it, and what it asks of contents.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Content>,
    },
    Ended {
        hash: ActionHash,
        #[serde(default, skip_serializing_if = "is_once")]
        run: u64,
        at: Timestamp,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_once(run: &u64) -> bool {
    *run == 0
}

/// A journal as read: what it says, where it ends, and how many bytes of it are whole.
#[derive(Debug)]
pub struct Read {
    pub state: State,
    pub tip: Tip,
    pub bytes: u64,
    /// Its first line: what holds the lines fast.
    claimed: Tip,
}

impl Default for Read {
    fn default() -> Read {
        Read { state: State::default(), tip: Tip::START, bytes: TIP_BYTES as u64, claimed: Tip::START }
    }
}

/// Why a journal is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage(pub &'static str);

/// Bytes of the tip's line, its end included.
pub const TIP_BYTES: usize = 16 + 1 + 64 + 1;

impl Tip {
    pub const START: Tip = Tip { lines: 0, chain: [0; 32] };

    /// The tip's line; always [`TIP_BYTES`] long.
    pub fn line(&self) -> String {
        format!("{:016x} {}\n", self.lines, hex::encode(self.chain))
    }

    fn parse(line: &[u8]) -> Option<Tip> {
        let (lines, chain) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
        let lines = u64::from_str_radix(lines, 16).ok()?;
        let chain = hex::decode(chain).ok()?.try_into().ok()?;
        Some(Tip { lines, chain })
    }

    fn next(&self, json: &[u8]) -> Tip {
        let chain = Sha256::new().chain_update(self.chain).chain_update(json).finalize().into();
        Tip { lines: self.lines + 1, chain }
    }
}

/// The line of a record, and the tip after it.
pub fn line(record: &Record, tip: &Tip) -> (String, Tip) {
    let json = serde_json::to_string(record).expect("records have text keys and finite numbers");
    let tip = tip.next(json.as_bytes());
    (format!("{} {json}\n", hex::encode(tip.chain)), tip)
}

/// The record of a beginning.
pub fn begun(run: Run, until: Timestamp, at: Timestamp, content: &Content) -> Record {
    let content = (*content != Content::default()).then(|| content.clone());
    Record::Begun { hash: run.action, run: run.number, until, at, content }
}

/// The record of an end.
pub fn ended(run: Run, at: Timestamp) -> Record {
    Record::Ended { hash: run.action, run: run.number, at }
}

/// A whole journal that says `state`.
pub fn write(agent: &str, state: &State, at: Timestamp) -> String {
    let header = Record::Header { agent: agent.to_owned(), floor: state.floor, lost_before: state.lost_before };
    let entries = state.entries.iter().flat_map(|(run, entry)| {
        let begun = begun(*run, entry.until, entry.begun_at, &entry.content);
        std::iter::once(begun).chain(entry.ended.then(|| ended(*run, at)))
    });
    let (mut lines, mut tip) = (String::new(), Tip::START);
    for record in std::iter::once(header).chain(entries) {
        let (line, next) = line(&record, &tip);
        lines.push_str(&line);
        tip = next;
    }
    format!("{}{lines}", tip.line())
}

/// Reads a journal, which has to be this agent's, where one is named.
pub fn read(bytes: &[u8], agent: Option<&str>) -> Result<Read, Damage> {
    let (first, rest) = bytes.split_at_checked(TIP_BYTES).ok_or(Damage("it is cut short"))?;
    let mut read = Read::default();
    read.go_on(first, rest, agent)?;
    Ok(read)
}

impl Read {
    /// Reads on behind what was read: the first line as it is now, and what stands behind the last line.
    ///
    /// Where this fails, what was read is not to be relied on.
    pub fn go_on(&mut self, first: &[u8], rest: &[u8], agent: Option<&str>) -> Result<(), Damage> {
        let claimed = Tip::parse(first).ok_or(Damage("its first line is malformed"))?;
        if claimed != self.claimed && claimed.lines <= self.tip.lines {
            return Err(Damage("its first line is not one that was written"));
        }
        for line in rest.split_inclusive(|byte| *byte == b'\n') {
            // What a crash left of an append that nobody relied on ends the journal; within the tip it is damage.
            let Some((record, tip)) = parse_line(line, &self.tip) else { break };
            apply(&mut self.state, record, self.tip.lines == 0, agent)?;
            self.tip = tip;
            self.bytes += line.len() as u64;
            if tip.lines == claimed.lines && tip.chain != claimed.chain {
                return Err(Damage("its lines are not those that were written"));
            }
        }
        if self.tip.lines < claimed.lines.max(1) {
            return Err(Damage("lines are missing or altered"));
        }
        self.claimed = claimed;
        Ok(())
    }

    /// Takes in a record that was written behind the last line; where `held`, the first line holds it fast.
    pub fn wrote(&mut self, record: Record, line: &str, tip: Tip, held: bool) {
        // A header is not written behind anything.
        let _ = apply(&mut self.state, record, false, None);
        self.tip = tip;
        self.bytes += line.len() as u64;
        if held {
            self.claimed = tip;
        }
    }
}

fn parse_line(line: &[u8], tip: &Tip) -> Option<(Record, Tip)> {
    let (chain, json) = line.strip_suffix(b"\n")?.split_at_checked(65)?;
    let next = tip.next(json);
    if chain[..64] != *hex::encode(next.chain).as_bytes() || chain[64] != b' ' {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, next))
}

fn apply(state: &mut State, record: Record, first: bool, agent: Option<&str>) -> Result<(), Damage> {
    match record {
        Record::Header { agent: of, floor, lost_before } if first => {
            if agent.is_some_and(|agent| of != agent) {
                return Err(Damage("it is another agent's"));
            }
            state.floor = floor;
            state.lost_before = lost_before;
        }
        Record::Begun { hash, run, until, at, content } if !first => {
            let run = Run { action: hash, number: run };
            let content = content.unwrap_or_default();
            state.entries.insert(run, Entry { until, begun_at: at, content, ended: false });
        }
        Record::Ended { hash, run, .. } if !first => {
            // The entry may have been purged while it ran.
            if let Some(entry) = state.entries.get_mut(&Run { action: hash, number: run }) {
                entry.ended = true;
            }
        }
        _ => return Err(Damage("its lines are out of order")),
    }
    Ok(())
}
