//! One agent's answer: verified, judged by the facts that its final record signed, opened and fed to the plan's leaves.

use canvass_protocol::answer::{Final, Frame, Outcome, Part, Reader, Says};
use canvass_protocol::limits::Limits;
use canvass_protocol::target::{self, Facts, Target};
use canvass_protocol::value::Truth;
use canvass_tables::frame;
use datafusion::arrow::array::{RecordBatch, StructArray};

use super::Scan;
use crate::account::{Account, Entry, State};
use crate::fleet::Endpoint;
use crate::{catalog, hosts};

pub(super) struct Agent {
    pub(super) index: usize,
    pub(super) endpoint: Endpoint,
    /// How its rows are completed; none until its final record tells.
    pub(super) shown: Option<Shown>,
    /// Whether the inventory knows it.
    pub(super) listed: bool,
    pub(super) reader: Reader,
    /// What came so far, by scan.
    pub(super) taken: Vec<Taken>,
    /// Frames of a scan that wait for the final record.
    pub(super) held: Vec<(usize, Vec<u8>)>,
    /// A part was not believed, so nothing after it is.
    pub(super) broken: bool,
}

/// An endpoint as its rows show it, and the scans whose rows count.
pub(super) struct Shown {
    pub(super) host: String,
    pub(super) facts: StructArray,
    pub(super) meant: Vec<bool>,
}

/// What came of one scan.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Agent {
    pub(super) fn held_bytes(&self) -> usize {
        self.held.iter().map(|(_, body)| body.len()).sum()
    }
}

/// Whether a target may mean an agent with these facts: what the server says of it may be anything.
pub(super) fn may_be_meant(target: &Target, facts: &Facts) -> bool {
    target.as_ref().is_none_or(|filter| target::evaluate(filter, facts, None) != Truth::False)
}

/// Judges an agent by the facts that its final record signed.
pub(super) fn judge_by_final(
    agent: &mut Agent,
    scans: &[Scan],
    last: &Final,
    facts: &Facts,
    host: String,
) -> Result<(), String> {
    let was_asked = |index: usize| last.scans.get(index).is_none_or(|record| record.asked);
    let meant =
        scans.iter().enumerate().map(|(index, scan)| was_asked(index) && may_be_meant(&scan.target, facts)).collect();
    agent.endpoint = Endpoint { host: host.clone(), facts: facts.clone().into(), ..agent.endpoint.clone() };
    let facts = catalog::signed_struct(&agent.endpoint).map_err(|error| error.to_string())?;
    agent.shown = Some(Shown { host, facts, meant });
    Ok(())
}

/// Judges an agent by what the desk knows of it, for want of a final record, and feeds what waited; says what it had to leave
/// out.
pub(super) fn release_unsigned(agent: &mut Agent, scans: &[Scan]) -> Result<Option<&'static str>, String> {
    let endpoint = &agent.endpoint;
    let (facts, meant): (_, Vec<bool>) = if agent.listed {
        let facts = hosts::as_shown(endpoint);
        (catalog::signed_struct(endpoint), scans.iter().map(|scan| may_be_meant(&scan.target, &facts)).collect())
    } else {
        let on_facts = |scan: &Scan| scan.target.as_ref().is_some_and(hosts::is_about_own_facts);
        (catalog::unknown_struct(&endpoint.facts.id), scans.iter().map(|scan| !on_facts(scan)).collect())
    };
    let facts = facts.map_err(|error| error.to_string())?;
    let left_out = agent.held.iter().any(|(scan, _)| !meant[*scan]);
    agent.shown = Some(Shown { host: endpoint.host.clone(), facts, meant });
    release(agent, scans)?;
    let doubt = "rows are left out: without its final record nobody knows whether they were asked of it";
    Ok((left_out && !agent.listed).then_some(doubt))
}

/// Feeds what waited until it was known whose it is.
pub(super) fn release(agent: &mut Agent, scans: &[Scan]) -> Result<(), String> {
    for (scan, body) in std::mem::take(&mut agent.held) {
        let batch = frame::decode(&body, &scans[scan].answer).map_err(|error| error.to_string())?;
        feed(agent, scans, scan, &batch)?;
    }
    Ok(())
}

/// Why a part gives no rows.
pub(super) enum Unread {
    /// It is verified, and encrypted for whoever can open it.
    Sealed,
    Unbelieved(String),
}

impl From<String> for Unread {
    fn from(reason: String) -> Unread {
        Unread::Unbelieved(reason)
    }
}

/// Verifies a part and feeds its rows; returns how many there were, where it carries a frame, and the final record, where it
/// is one. `name` finds the name under which an agent with these facts is shown, whatever it is now.
pub(super) fn take(
    agent: &mut Agent,
    scans: &[Scan],
    limits: &Limits,
    part: &Part,
    name: impl FnOnce(Option<&Endpoint>, &Facts) -> String,
) -> Result<(Option<u64>, Option<Box<Final>>), Unread> {
    let (frame, last) = match agent.reader.read(part).map_err(|error| error.to_string())? {
        Says::Frame(frame) => (Some(frame), None),
        Says::Final(mut last) => (last.last.take(), Some(last)),
    };
    if let Some(frame) = &frame {
        count(agent, limits, frame, &part.body)?;
    }
    if frame.as_ref().is_some_and(|frame| frame.seal.is_some()) {
        return Err(Unread::Sealed);
    }
    if let Some(last) = &last {
        check_totals(&agent.taken, last)?;
        if let (None, Some(facts)) = (&agent.shown, &last.facts) {
            let host = name(Some(&agent.endpoint).filter(|_| agent.listed), facts);
            judge_by_final(agent, scans, last, facts, host)?;
            release(agent, scans)?;
        }
    }
    let rows = frame.map(|frame| open(agent, scans, &frame, &part.body)).transpose()?;
    Ok((rows, last))
}

/// Counts a frame before it is opened: what the action does not allow is not held in memory for long.
pub(super) fn count(agent: &mut Agent, limits: &Limits, frame: &Frame, body: &[u8]) -> Result<(), String> {
    let taken = usize::try_from(frame.scan).ok().and_then(|index| agent.taken.get_mut(index));
    let taken = taken.ok_or_else(|| format!("it has rows of scan {}, which was not asked", frame.scan))?;
    taken.rows = taken.rows.saturating_add(frame.rows);
    taken.bytes = taken.bytes.saturating_add(body.len() as u64);
    if taken.rows > limits.rows || taken.bytes > limits.bytes {
        return Err(format!("scan {} gives more than the action allows", frame.scan));
    }
    Ok(())
}

/// Checks that the final record speaks of what came.
pub(super) fn check_totals(taken: &[Taken], last: &Final) -> Result<(), String> {
    if last.outcome != Outcome::Answered {
        return Ok(());
    }
    if last.scans.len() != taken.len() {
        return Err(format!("its final record is of {} scans, and {} were asked", last.scans.len(), taken.len()));
    }
    for (index, (record, taken)) in last.scans.iter().zip(taken).enumerate() {
        if !record.asked && record.rows > 0 {
            return Err(format!("its final record has rows of scan {index}, and says that it was not meant for it"));
        }
        if (record.rows, record.bytes) != (taken.rows, taken.bytes) {
            return Err(format!(
                "its final record counts {} rows of scan {index}, and {} came",
                record.rows, taken.rows
            ));
        }
    }
    Ok(())
}

/// Opens a frame, and feeds its rows or holds them; returns how many there were.
pub(super) fn open(agent: &mut Agent, scans: &[Scan], frame: &Frame, body: &[u8]) -> Result<u64, String> {
    let index = usize::try_from(frame.scan).ok().filter(|index| *index < scans.len());
    let index = index.ok_or_else(|| format!("it has rows of scan {}, which was not asked", frame.scan))?;
    let scan = &scans[index];
    if scan.leaves.is_empty() {
        return Ok(frame.rows);
    }
    let batch = frame::decode(body, &scan.answer).map_err(|error| error.to_string())?;
    let rows = batch.num_rows() as u64;
    if rows != frame.rows {
        return Err(format!("a frame signed for {} rows has {rows}", frame.rows));
    }
    if agent.shown.is_some() {
        feed(agent, scans, index, &batch)?;
    } else {
        // As it came: that is the least it can take.
        agent.held.push((index, body.to_vec()));
    }
    Ok(rows)
}

/// Completes rows and feeds them to those who read the scan, where it was meant for the agent.
pub(super) fn feed(agent: &Agent, scans: &[Scan], index: usize, batch: &RecordBatch) -> Result<(), String> {
    let Some(shown) = agent.shown.as_ref().filter(|shown| shown.meant.get(index).copied().unwrap_or(false)) else {
        return Ok(());
    };
    for leaf in &scans[index].leaves {
        let completed = leaf.completing.borrow_mut().complete(batch, agent.index, &shown.host, &shown.facts);
        completed.map_err(|error| error.to_string())?.into_iter().for_each(|rows| leaf.feed.push(rows));
    }
    Ok(())
}

pub(super) fn close(account: &Account, entry: &mut Entry, mut last: Final) {
    last.bound();
    // What did not answer has no records, whatever it says.
    entry.scans = if last.outcome == Outcome::Answered { std::mem::take(&mut last.scans) } else { Vec::new() };
    account.fit(&mut entry.scans);
    entry.state = match last.outcome {
        outcome if outcome.is_withdrawn() => State::Cancelled,
        Outcome::Answered => State::Answered,
        Outcome::Failed(reason) => State::Failed(reason),
        Outcome::Refused(reason) => State::Refused(reason),
        Outcome::Interrupted => State::Interrupted,
    };
    if last.sealed.is_some() {
        entry.doubt("what went wrong is sealed, and this version cannot open it".to_owned());
    }
}
