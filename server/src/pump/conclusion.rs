//! What the end of an answer says to the server.

use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::{Final, Outcome, Says, Statement, agent_id};

use crate::scheduler::State;
use crate::store::{Conclusion, Totals};

/// What a part says that a server heeds.
pub struct Said {
    /// Which run of its action it is of.
    pub run: u64,
    /// Set for the last part of an answer.
    pub conclusion: Option<Conclusion>,
}

/// What a part says, and concludes if it is the last of an answer. Whether its signature is good is for the desk to see: here it
/// only has to be of the agent that proved its key, and about the action that it names.
pub fn conclusion(
    fleet: &str,
    agent: &str,
    action: ActionHash,
    judged: usize,
    statement: &str,
) -> Result<Said, &'static str> {
    let statement = Statement::parse(statement.as_bytes()).map_err(|_| "it cannot be read")?;
    if statement.fleet != fleet || statement.action != action {
        return Err("it is about something else");
    }
    if agent_id(&statement.key).as_deref() != Some(agent) {
        return Err("it is another agent's");
    }
    let run = statement.run;
    let Says::Final(last) = statement.says else { return Ok(Said { run, conclusion: None }) };
    let Final { outcome, scans, .. } = *last;
    let mut totals = Totals::default();
    for scan in scans {
        totals.rows = totals.rows.saturating_add(scan.rows);
        totals.bytes = totals.bytes.saturating_add(scan.bytes);
        totals.troubles = totals.troubles.saturating_add(scan.troubles_count);
    }
    let (state, why) = match outcome {
        Outcome::Answered => (State::Answered, None),
        Outcome::Failed(reason) => (State::Failed, Some(reason)),
        Outcome::Refused(reason) => (State::Refused, Some(reason)),
        Outcome::Interrupted => (State::Interrupted, None),
    };
    let (code, reason) = why.map(|why| (why.code.as_str().to_owned(), why.reason)).unzip();
    Ok(Said { run, conclusion: Some(Conclusion { state, totals, reason, code, judged }) })
}
