//! The one thing an investigator signs: the scans of statements, for whom, and for how long.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::filter::{Filter, Is, PlaceError};
use crate::limits::{self, Limits};
use crate::reason::Code;
use crate::scan::Scan;
use crate::statement::{self, Inputs, Statement};
use crate::strict::{self, Kind, StrictError};
use crate::value::Value;

/// What an agent is asked to do. Its bytes are signed, and it *is* the SHA-256 of its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    canvass: Kind,
    /// The fleet this action is for; an agent of another fleet refuses it.
    pub fleet: String,
    /// A name only; the hash identifies.
    pub id: Uuid,
    /// The author's words, at least one statement.
    pub statements: Vec<Statement>,
    /// What their plan depended on beside them.
    #[serde(default, skip_serializing_if = "Inputs::is_empty")]
    pub inputs: Inputs,
    pub window: Window,
    pub limits: Limits,
    pub scans: Vec<Scan>,
    /// Interval of a standing action in seconds; run n is due n intervals after the window opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_s: Option<u64>,
    /// Where a statement is asked in stages: which of them this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
}

/// An action that only narrows what a first one asked, by the rows that one brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The action of the first stage.
    pub first: ActionHash,
    /// 2 for the second stage.
    pub number: u32,
}

/// When an agent may start an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// The SHA-256 of an action's bytes, shown as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionHash(#[serde(with = "hex::serde")] pub [u8; 32]);

impl ActionHash {
    pub fn of(bytes: &[u8]) -> ActionHash {
        ActionHash(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for ActionHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Why bytes are not an action this version can run.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    #[error(transparent)]
    Format(#[from] StrictError),
    #[error("the action has {count} scans; at most {max} are allowed", max = limits::SCANS_MAX)]
    TooManyScans { count: usize },
    #[error("the action has no scan")]
    NoScan,
    #[error("the action has no statement")]
    NoStatement,
    #[error("the action has {count} statements; at most {max} are allowed", max = limits::STATEMENTS_MAX)]
    TooManyStatements { count: usize },
    #[error("the statements have {bytes} bytes; at most {max} are allowed", max = limits::STATEMENTS_BYTES_MAX)]
    StatementsTooLong { bytes: usize },
    #[error("a statement's name is empty or has more than {max} bytes", max = limits::STATEMENT_NAME_BYTES_MAX)]
    StatementName,
    #[error("of several statements each has a name of its own")]
    StatementUnnamed,
    #[error("the scan of `{table}` belongs to statement {statement}, which the action does not have")]
    NoSuchStatement { table: String, statement: u32 },
    #[error(
        "the action records more settings and files than {max}, or more than {bytes} bytes of them",
        max = limits::INPUTS_MAX, bytes = limits::INPUTS_BYTES_MAX
    )]
    TooManyInputs,
    #[error("the SHA-256 of the local file `{name}` is not 64 hexadecimal digits")]
    InputHash { name: String },
    #[error("the filter of `{table}` is nested {depth} deep; at most {max} is allowed", max = limits::FILTER_DEPTH_MAX)]
    FilterTooDeep { table: String, depth: usize },
    #[error("the filter of `{table}` has {tests} tests; at most {max} are allowed", max = limits::FILTER_TESTS_MAX)]
    FilterTooLong { table: String, tests: usize },
    #[error("the targets hold {count} patterns; at most {max} are allowed", max = limits::TARGET_PATTERNS_MAX)]
    TooManyTargetPatterns { count: usize },
    #[error("the filter of `{table}` names the set `{set}`, which the scan does not carry")]
    NoSet { table: String, set: String },
    #[error("the scan of `{table}` holds a number that is not finite")]
    NotFinite { table: String },
    #[error("the scan of `{table}` holds a bad place: {error}; {hint}", hint = error.hint)]
    Place { table: String, error: PlaceError },
    #[error("the window ends before it begins")]
    EmptyWindow,
    #[error("the scan of `{table}` is limited and ordered as no endpoint can do it: {reason}")]
    Shape { table: String, reason: &'static str },
    #[error("`{member}` of the scan of `{table}` cannot be so: {reason}")]
    Member { table: String, member: String, reason: &'static str },
    #[error("the action is asked every {every_s} s; it may be every {min} s", min = limits::EVERY_S_MIN)]
    TooOften { every_s: u64 },
    #[error("the action is stage {number}; only stages 2 to {max} name a first one", max = limits::STAGES_MAX)]
    Stage { number: u32 },
}

impl ActionError {
    /// What an agent answers it with.
    pub fn code(&self) -> Code {
        match self {
            ActionError::Format(error) if error.is_unknown() => Code::Unsupported,
            _ => Code::Format,
        }
    }
}

impl Action {
    /// An ad hoc question: one statement, asked once.
    pub fn new(fleet: String, id: Uuid, statement: String, window: Window, limits: Limits, scans: Vec<Scan>) -> Action {
        let (statements, inputs) = (vec![Statement::of(statement)], Inputs::default());
        Action {
            canvass: Kind::Action,
            fleet,
            id,
            statements,
            inputs,
            window,
            limits,
            scans,
            every_s: None,
            stage: None,
        }
    }

    /// The SQL of an ad hoc question; of several statements the first.
    pub fn statement(&self) -> &str {
        self.statements.first().map_or("", |statement| &statement.sql)
    }

    /// The SQL of all statements, for lists of actions.
    pub fn statements_sql(&self) -> String {
        let sql: Vec<&str> = self.statements.iter().map(|statement| statement.sql.as_str()).collect();
        sql.join(";\n")
    }

    /// The bytes to sign: UTF-8 JSON that a human can read.
    pub fn to_bytes(&self) -> Vec<u8> {
        strict::to_bytes(self)
    }

    /// Parses verified bytes; refuses what this version cannot run faithfully.
    pub fn parse(bytes: &[u8]) -> Result<Action, ActionError> {
        let action: Action = strict::from_bytes(Kind::Action, bytes)?;
        action.check()?;
        Ok(action)
    }

    /// When all who began it in its window have answered: so many of its scans run side by side, each limited in time.
    pub fn answers_until(&self) -> Timestamp {
        let turns = self.scans.len().div_ceil(limits::SCANS_AT_ONCE) as u64;
        let time_ms = self.limits.time_ms.saturating_mul(turns);
        let scans = SignedDuration::from_millis(i64::try_from(time_ms).unwrap_or(i64::MAX / 2));
        let skew = SignedDuration::from_secs(2 * limits::CLOCK_SKEW_S);
        self.window.until.saturating_add(scans.saturating_add(skew)).unwrap_or(Timestamp::MAX)
    }

    /// Checks the bounds that every desk and every agent keeps.
    pub fn check(&self) -> Result<(), ActionError> {
        if self.window.until < self.window.from {
            return Err(ActionError::EmptyWindow);
        }
        if self.scans.is_empty() {
            return Err(ActionError::NoScan);
        }
        if self.scans.len() > limits::SCANS_MAX {
            return Err(ActionError::TooManyScans { count: self.scans.len() });
        }
        statement::check(&self.statements)?;
        self.inputs.check()?;
        if let Some(every_s) = self.every_s.filter(|every_s| *every_s < limits::EVERY_S_MIN) {
            return Err(ActionError::TooOften { every_s });
        }
        if let Some(Stage { number, .. }) = self.stage.filter(|stage| !(2..=limits::STAGES_MAX).contains(&stage.number))
        {
            return Err(ActionError::Stage { number });
        }
        for (index, scan) in self.scans.iter().enumerate() {
            self.check_statement_of(scan)?;
            check_scan(index, scan)?;
        }
        let count = self.scans.iter().filter_map(|scan| scan.target.as_ref()).map(count_patterns).sum();
        if count > limits::TARGET_PATTERNS_MAX {
            return Err(ActionError::TooManyTargetPatterns { count });
        }
        Ok(())
    }

    fn check_statement_of(&self, scan: &Scan) -> Result<(), ActionError> {
        match usize::try_from(scan.statement) {
            Ok(index) if index < self.statements.len() => Ok(()),
            _ => Err(ActionError::NoSuchStatement { table: scan.table.clone(), statement: scan.statement }),
        }
    }

    /// The agents this action goes to: those of any of its scans. `None` is every agent.
    pub fn target(&self) -> Option<Filter> {
        let targets: Option<Vec<Filter>> = self.scans.iter().map(|scan| scan.target.clone()).collect();
        targets.map(|mut targets| {
            targets.dedup();
            if targets.len() == 1 { targets.remove(0) } else { Filter::Any(targets) }
        })
    }
}

fn count_patterns(target: &Filter) -> usize {
    let mut count = 0;
    target.for_each_test(&mut |test| count += usize::from(matches!(test.is, Is::Like(_) | Is::Matches(_))));
    count
}

fn check_scan(index: usize, scan: &Scan) -> Result<(), ActionError> {
    check_shape(scan).map_err(|reason| ActionError::Shape { table: scan.table.clone(), reason })?;
    let bad = |member: String| move |reason| ActionError::Member { table: scan.table.clone(), member, reason };
    if let Some(depends_on) = &scan.depends_on {
        depends_on.check(index).map_err(bad("depends_on".into()))?;
    }
    if let Some(aggregate) = &scan.aggregate {
        aggregate.check().map_err(bad("aggregate".into()))?;
    }
    for (name, patterns) in &scan.patterns {
        patterns.check().map_err(bad(format!("patterns.{name}")))?;
    }
    for (name, bloom) in &scan.blooms {
        bloom.check().map_err(bad(format!("blooms.{name}")))?;
    }
    for filter in scan.filter.iter().chain(&scan.target) {
        let (depth, tests) = filter.size();
        if depth > limits::FILTER_DEPTH_MAX {
            return Err(ActionError::FilterTooDeep { table: scan.table.clone(), depth });
        }
        if tests > limits::FILTER_TESTS_MAX {
            return Err(ActionError::FilterTooLong { table: scan.table.clone(), tests });
        }
        let mut checked = Ok(());
        filter.for_each_test(&mut |test| {
            if checked.is_ok() {
                checked = check_test(&test.is, scan);
            }
        });
        checked?;
    }
    scan.sets.values().try_for_each(|values| check_values(values, scan))
}

/// Checks that what limits, orders and groups goes together.
fn check_shape(scan: &Scan) -> Result<(), &'static str> {
    if scan.aggregate.is_some() && !scan.columns.is_empty() {
        return Err("an aggregate says itself what the answer holds");
    }
    if scan.aggregate.is_some() && (scan.limit.is_some() || !scan.order.is_empty()) {
        return Err("groups of one endpoint are parts, of which none may be left out");
    }
    if scan.limit.is_none() && !scan.order.is_empty() {
        return Err("an order without a limit keeps every row");
    }
    if scan.order.len() > limits::AGGREGATE_COLUMNS_MAX { Err("the order has too many columns") } else { Ok(()) }
}

/// Checks what could be signed but not read back, or read but not answered.
fn check_test(is: &Is, scan: &Scan) -> Result<(), ActionError> {
    let table = || scan.table.clone();
    match is {
        Is::InSet(set) if !scan.sets.contains_key(set) => Err(ActionError::NoSet { table: table(), set: set.clone() }),
        Is::MatchesAny(set) if !scan.patterns.contains_key(set) => {
            Err(ActionError::NoSet { table: table(), set: set.clone() })
        }
        Is::InBloom(set) if !scan.blooms.contains_key(set) => {
            Err(ActionError::NoSet { table: table(), set: set.clone() })
        }
        Is::In(values) => check_values(values, scan),
        Is::Under(place) => place.check().map_err(|error| ActionError::Place { table: table(), error }),
        _ => is.comparison().map_or(Ok(()), |(_, value)| check_values(std::slice::from_ref(value), scan)),
    }
}

fn check_values(values: &[Value], scan: &Scan) -> Result<(), ActionError> {
    let finite = values.iter().all(|value| !matches!(value, Value::Float(number) if !number.is_finite()));
    if finite { Ok(()) } else { Err(ActionError::NotFinite { table: scan.table.clone() }) }
}
