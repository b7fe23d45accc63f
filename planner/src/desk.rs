//! The investigator's desk: statements in, plans and rows out.

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::answer::ScanRecord;
use canvass_protocol::envelope::Envelope;
use futures::Stream;

use crate::error::Error;
use crate::fleet::{Endpoint, Fleet};
use crate::settings::Settings;

/// One session at a fleet.
pub struct Desk {
    fleet: Arc<dyn Fleet>,
    settings: Settings,
}

/// A statement that was planned: what would be asked of whom. The plan that is shown is the plan that runs.
pub struct Planned {
    /// The action to sign; `None` where no endpoint is asked.
    pub action: Option<Action>,
    /// The endpoints the action goes to.
    pub asked: Vec<Endpoint>,
    /// What each endpoint does and what is left for the desk, in words.
    pub explanation: String,
    /// Columns of the result.
    pub schema: SchemaRef,
    pub kind: StatementKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// Answers with rows.
    Query,
    /// `SET canvass.…`: done when planned, has no rows.
    Set,
    /// `EXPLAIN`: the explanation is the result; nothing is signed.
    Explain,
}

/// Rows as they come.
pub type Rows = Pin<Box<dyn Stream<Item = Result<RecordBatch, Error>> + Send>>;

/// A statement under way.
pub struct Running {
    pub rows: Rows,
    pub account: Arc<Account>,
}

/// What became of every endpoint asked; final once the rows have ended.
#[derive(Debug, Default)]
pub struct Account {
    entries: std::sync::Mutex<Vec<Entry>>,
}

/// Where an endpoint stands with a statement. Every endpoint asked is in exactly one state, so the parts always add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Waiting,
    Answered,
    Failed(String),
    Refused(String),
    Interrupted,
    /// The window closed before the endpoint answered.
    Expired,
    /// Withdrawn before the endpoint started, or made needless by a satisfied LIMIT.
    Cancelled,
}

/// One endpoint's part in a statement.
#[derive(Debug, Clone)]
pub struct Entry {
    pub endpoint: Endpoint,
    pub state: State,
    /// One record a scan.
    pub scans: Vec<ScanRecord>,
    /// Rows received so far.
    pub rows: u64,
    /// What the desk itself found wrong with the answer: a signature, a malformed frame.
    pub troubles: Vec<String>,
}

impl Account {
    /// A copy of all entries, in order of host.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().map(|entries| entries.clone()).unwrap_or_default()
    }
}

impl Desk {
    pub fn new(fleet: Arc<dyn Fleet>, settings: Settings) -> Desk {
        Desk { fleet, settings }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Parses and plans one statement (no final `;` needed). Nothing is sent.
    pub async fn plan(&mut self, statement: &str) -> Result<Planned, Error> {
        let _ = (statement, &self.fleet);
        Err(Error::internal("not written yet"))
    }

    /// Runs a plan with its signed action; `None` where the plan has no action.
    pub async fn run(&self, planned: Planned, envelope: Option<Envelope>) -> Result<Running, Error> {
        let _ = (planned, envelope);
        Err(Error::internal("not written yet"))
    }

    /// Splits a text into statements at `;`, minding quotes and comments; the flag says whether the last one ended.
    pub fn split(text: &str) -> (Vec<String>, bool) {
        (vec![text.to_owned()], true)
    }
}

/// The hash that names an action to people and agents alike.
pub fn hash_of(action: &Action) -> ActionHash {
    ActionHash::of(&action.to_bytes())
}
