//! The investigator's desk: statements in, plans and rows out.

mod past;
mod planning;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use canvass_protocol::action::{Action, Window};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::scan::{Options, Scan};
use canvass_protocol::statement::Inputs;
use canvass_tables::Table;
use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use futures::{Stream, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

pub use self::past::Gives;
use self::planning::{Brought, Physical};
pub use crate::account::{Account, Entry, Progress, State};
use crate::answers::Follower;
use crate::error::Error;
use crate::feed::Feeds;
use crate::fleet::{Delivery, Endpoint, Fleet};
use crate::hosts::{self, is_meant_for};
use crate::kept::{Forgetful, Keeper};
use crate::local::{self, Contents, LocalFile};
use crate::narrow::Sets;
use crate::provider::Scanning;
use crate::results::PastResult;
use crate::settings::Settings;
use crate::support::{self, sql_of};
use crate::warning::Warning;
use crate::whom::{self, NotAsked};
use crate::{
    catalog, depth, dialect, exec, explain, headings, meeting, predicate, question, rewrite, session, show, slips,
    workers,
};

/// One session at a fleet.
pub struct Desk {
    fleet: Arc<dyn Fleet>,
    settings: Settings,
    tables: &'static [&'static dyn Table],
    state: SessionState,
    keeper: Arc<dyn Keeper>,
}

/// A statement that was planned: what would be asked of whom. The plan that is shown is the plan that runs.
pub struct Planned {
    /// The action to sign; `None` where no endpoint is asked.
    pub action: Option<Action>,
    /// Whether the statement asks endpoints, even where its target matches none of them.
    pub asks: bool,
    /// The endpoints the action goes to.
    pub asked: Vec<Endpoint>,
    /// What each endpoint does and what is left for the desk, in words.
    pub explanation: String,
    /// What the statement reads and is not whole, a sentence each.
    pub remarks: Vec<String>,
    /// What its author may not have meant.
    pub warnings: Vec<Warning>,
    /// Endpoints that the statement means and does not ask.
    pub not_asked: Vec<NotAsked>,
    /// The statement asks endpoints, and no endpoint is as it says, or none of them can be asked now.
    pub nobody: bool,
    /// Columns of the result.
    pub schema: SchemaRef,
    pub kind: StatementKind,
    plan: Option<Plan>,
}

/// The part of a plan that only the desk reads.
struct Plan {
    physical: Arc<dyn ExecutionPlan>,
    state: SessionState,
    /// The leaves that read answers, in the plan's order.
    scans: Vec<Arc<dyn ExecutionPlan>>,
    /// What each leaf asks for.
    wanted: Vec<Scan>,
    /// All agents that are known, where the statement reads `agents`.
    all: Option<Vec<Endpoint>>,
    /// What it reads of what was asked before, `actions` or `commands`.
    reads_past: Vec<&'static str>,
    /// Where the action was posted before.
    past: Option<past::PastPlan>,
}

/// As of when a statement is planned, and with what.
struct Basis {
    at: Timestamp,
    /// How many results are being put together around this statement.
    deep: usize,
    options: Options,
    contents: Contents,
    inventory: Vec<Endpoint>,
    /// The action was posted before, and is not made again.
    past: bool,
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
    /// Final once `rows` has ended.
    pub account: Arc<Account>,
    stopping: watch::Sender<bool>,
}

impl Running {
    /// Stops following: whoever has not begun is told not to, and the plan finishes over the rows that have come. Dropping the
    /// rows abandons the plan as well.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

impl Desk {
    /// Opens a session at a fleet over all tables.
    pub fn new(fleet: Arc<dyn Fleet>, settings: Settings) -> Desk {
        Desk::with_tables(fleet, settings, canvass_tables::TABLES)
    }

    /// Opens a session over chosen tables.
    pub fn with_tables(fleet: Arc<dyn Fleet>, settings: Settings, tables: &'static [&'static dyn Table]) -> Desk {
        Desk { fleet, settings, tables, state: session::open(), keeper: Arc::new(Forgetful) }
    }

    /// Has what a result depends on kept beside its action, and found again.
    #[must_use]
    pub fn kept_by(self, keeper: Arc<dyn Keeper>) -> Desk {
        Desk { keeper, ..self }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The fleet's agents, as the table `agents` shows them.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        self.fleet.endpoints().await
    }

    /// Parses and plans one statement (no final `;` needed). Nothing is sent.
    pub async fn plan(&mut self, statement: &str) -> Result<Planned, Error> {
        let basis = self.now(Timestamp::now()).await?;
        depth::with_room(self.plan_at(statement, basis)).await
    }

    async fn now(&self, at: Timestamp) -> Result<Basis, Error> {
        let inventory = self.fleet.endpoints().await?;
        let (options, contents) = (self.settings.options, Contents::Now);
        Ok(Basis { at, deep: 0, options, contents, inventory, past: false })
    }

    async fn plan_at(&mut self, statement: &str, basis: Basis) -> Result<Planned, Error> {
        let Basis { at, deep, options, contents, inventory: endpoints, past } = basis;
        let mut parsed = dialect::parse(statement)?;
        if let Some((name, value)) = setting(&parsed)? {
            // What somebody signed once is no word to this session.
            if !past {
                self.settings.set(&name, &value)?;
            }
            return Ok(Planned::without_rows(StatementKind::Set));
        }
        let (kind, verbose) = question::kind(&parsed)?;
        question::check(&parsed)?;
        show::rewrite(&mut parsed, statement, &self.settings, &|name| self.find(name))?;
        let slips = slips::check(&mut parsed, statement)?;
        headings::name(&mut parsed, statement);
        let results = self.results(&mut parsed, deep).await?;
        let files =
            local::open(&mut parsed, statement, &contents, |name| name == catalog::AGENTS || self.find(name).is_some())
                .await?;
        show::describe_file(&mut parsed, &files)?;
        let online_only = !rewrite::rewrite(&mut parsed, &|name| self.find(name))?;
        depth::check(&mut parsed)?;
        if let Statement::Explain(explain) = parsed {
            parsed = *explain.statement;
        }
        let crossed = meeting::crossed(&parsed);
        let scanning = Scanning { statement: statement.to_owned(), options, online_only, past };
        let brought = Brought { files: &files, results: &results, crossed: &crossed, past };
        let physical = self
            .physical(parsed, &endpoints, scanning, &brought, at)
            .await
            .map_err(|error| Error::from_datafusion(&error, statement))?;
        let Physical { state, plan: physical, marks, reads_agents, reads_past, read } = physical;
        let scans = exec::scans(&physical);
        // What was asked before was asked of whom it was.
        let certified_only = self.settings.certified_only && self.fleet.certifies() && !past;
        let wanted = wanted(&scans, &endpoints, certified_only);
        // What the inventory of now says of the target is not what it said then.
        let not_asked = whom::not_asked(&read.narrowed, &endpoints, online_only && !past, certified_only);
        let (action, asked) =
            if past { (None, Vec::new()) } else { self.action(statement, wanted.clone(), &files, &endpoints, at)? };
        let judged = if past {
            whom::Judged::default()
        } else {
            whom::judge(&read.typed, &read.narrowed, &not_asked, &endpoints, !asked.is_empty())
        };
        let mut warnings = judged.warnings;
        warnings.extend(read.warnings);
        warnings.extend(
            scans.iter().filter_map(exec::as_fleet).flat_map(|leaf| predicate::globs::warnings(leaf.table, &leaf.scan)),
        );
        if past {
            warnings.clear();
        }
        let sets = state.config().get_extension::<Sets>().unwrap_or_default();
        let told = explain::Told {
            files: &files,
            results: &results,
            sets: &sets,
            not_asked: &not_asked,
            warnings: &warnings,
            steps: &read.steps,
        };
        let explanation = explain::explain(action.as_ref(), asked.len(), endpoints.len(), &told, &physical, verbose);
        let schema = match kind {
            StatementKind::Explain => explanation_schema(),
            _ => catalog::shown_as(&physical.schema(), &marks),
        };
        let action = action.filter(|_| kind == StatementKind::Query);
        let asks = !scans.is_empty();
        let all = reads_agents.then_some(endpoints);
        let plan = Some(Plan { physical, state, scans, wanted, all, reads_past, past: None });
        let lacking = action.iter().flat_map(|action| support::refusals(action, &asked));
        let remarks = results.iter().flat_map(PastResult::remarks).chain(lacking);
        let remarks = slips.into_iter().chain(remarks).collect();
        let nobody = judged.nobody && kind == StatementKind::Query;
        Ok(Planned { action, asks, asked, explanation, remarks, warnings, not_asked, nobody, schema, kind, plan })
    }

    /// Runs a plan with its signed action; `None` where the plan has no action.
    ///
    /// Needs a tokio runtime. Dropping the rows stops the fleet.
    pub async fn run(&self, planned: Planned, envelope: Option<Envelope>) -> Result<Running, Error> {
        self.go(planned, envelope, Way::Ask).await
    }

    /// Puts the answers to an action together that was posted before, and follows those that are still to come.
    pub async fn resume(&self, planned: Planned, envelope: Envelope) -> Result<Running, Error> {
        self.go(planned, Some(envelope), Way::Follow).await
    }

    /// Puts the answers to an action together that are there, and waits for no others.
    pub(crate) async fn stored(&self, planned: Planned, envelope: Envelope) -> Result<Running, Error> {
        self.go(planned, Some(envelope), Way::Stored).await
    }

    async fn go(&self, planned: Planned, envelope: Option<Envelope>, way: Way) -> Result<Running, Error> {
        let Some(plan) = planned.plan.filter(|_| planned.kind == StatementKind::Query) else {
            return explanation_rows(&planned.explanation);
        };
        let account = Arc::new(Account::new(planned.asked.clone(), planned.not_asked));
        let (stopping, stop) = watch::channel(false);
        let follower = match (planned.action, envelope) {
            (None, _) => {
                // Nobody is asked: opening the feeds and dropping their other end gives scans without rows.
                plan.scans.iter().filter_map(exec::as_fleet).for_each(|scan| drop(scan.open(&Feeds::new())));
                None
            }
            (Some(action), Some(envelope)) if envelope.payload.as_bytes() == action.to_bytes() => {
                if way == Way::Ask {
                    support::refuse(&action, &account);
                    self.keep(&action, &envelope, &planned.asked, &plan).await?;
                }
                let (follower, deliveries) = self.ask(&action, envelope, &planned.asked, &plan, &account, way).await?;
                let until = self.settings.wait_s.map(|wait| tokio::time::Instant::now() + Duration::from_secs(wait));
                Some(tokio::spawn(follower.follow(self.fleet.clone(), deliveries, until, stop)))
            }
            (Some(_), _) => return Err(Error::internal("the action was not signed, or another one was")),
        };
        let rows = workers::run(plan.physical, plan.state.task_ctx());
        let rows = rows.map_err(|error| Error::from_datafusion(&error, ""))?;
        let sent = follower.is_some();
        let rows = rows.map(move |batch| {
            let error = |error| Error::from_datafusion(&error, "");
            batch.map_err(|failed| if sent { error(failed).after_asking() } else { error(failed) })
        });
        Ok(Running { rows: settled(Box::pin(rows), follower), account, stopping })
    }

    /// Splits a text into statements at `;`, minding quotes and comments; the flag says whether the last one ended.
    pub fn split(text: &str) -> (Vec<String>, bool) {
        dialect::split(text)
    }

    fn find(&self, name: &str) -> Option<&'static dyn Table> {
        self.tables.iter().copied().find(|table| table.info().name == name)
    }

    /// The action of a plan's scans and the endpoints it goes to; none where there is nobody to ask.
    fn action(
        &self,
        statement: &str,
        wanted: Vec<Scan>,
        files: &[Arc<LocalFile>],
        endpoints: &[Endpoint],
        from: Timestamp,
    ) -> Result<(Option<Action>, Vec<Endpoint>), Error> {
        if wanted.is_empty() {
            return Ok((None, Vec::new()));
        }
        let asked: Vec<Endpoint> = endpoints
            .iter()
            .filter(|endpoint| wanted.iter().any(|scan| is_meant_for(&scan.target, endpoint)))
            .cloned()
            .collect();
        if asked.is_empty() {
            return Ok((None, asked));
        }
        let expire = i64::try_from(self.settings.expire_s).unwrap_or(i64::MAX);
        let until = from
            .checked_add(SignedDuration::from_secs(expire))
            .map_err(|_| Error::usage("canvass.expire is too far away"))?;
        let mut action = Action::new(
            self.fleet.name().to_owned(),
            Uuid::now_v7(),
            statement.trim().to_owned(),
            Window { from, until },
            self.settings.limits,
            wanted,
        );
        let files = files.iter().map(|file| file.input.clone()).collect();
        action.inputs = Inputs { settings: self.settings.of_plan()?, files };
        action.check().map_err(|error| Error::usage(error.to_string()))?;
        canvass_protocol::target::Targets::of(&action).map_err(|error| Error::usage(error.to_string()))?;
        Ok((Some(action), asked))
    }

    async fn ask(
        &self,
        action: &Action,
        envelope: Envelope,
        asked: &[Endpoint],
        plan: &Plan,
        account: &Arc<Account>,
        way: Way,
    ) -> Result<(Follower, mpsc::Receiver<Delivery>), Error> {
        let scans = plan.feeds(action);
        let expected = plan.expected(asked, &action.scans);
        let hash = envelope.hash();
        let ids = asked.iter().map(|endpoint| endpoint.facts.id.clone()).collect();
        let asking = async {
            match way {
                Way::Ask => self.fleet.ask(envelope, ids).await,
                Way::Follow => self.fleet.follow(&envelope, ids).await,
                Way::Stored => self.fleet.stored(&envelope, ids).await,
            }
        };
        // What answers will meet here is made ready while the server is told.
        let fleet = self.fleet.clone();
        let following = async { Follower::new(action, hash, expected, account.clone(), scans, fleet) };
        let (deliveries, follower) = tokio::join!(asking, following);
        Ok((follower.map_err(Error::after_asking)?, deliveries?))
    }
}

/// What `SET canvass.x = y` sets, where the statement is one.
fn setting(statement: &Statement) -> Result<Option<(String, String)>, Error> {
    let Statement::Statement(inner) = statement else { return Ok(None) };
    let ast::Statement::Set(set) = inner.as_ref() else { return Ok(None) };
    let ast::Set::SingleAssignment { variable, values, .. } = set else {
        return Err(Error::usage("write SET canvass.name = value"));
    };
    let name = variable.to_string().to_lowercase();
    let Some(name) = name.strip_prefix("canvass.") else {
        return Err(Error::usage(format!("there is no setting `{name}`")).hint("settings begin with `canvass.`"));
    };
    let value = match values.as_slice() {
        [ast::Expr::Value(value)] => value.value.clone().into_string().unwrap_or_else(|| value.value.to_string()),
        [other] => other.to_string(),
        _ => return Err(Error::usage(format!("canvass.{name} takes one value"))),
    };
    Ok(Some((name.to_owned(), value)))
}

/// What the leaves of a plan ask for.
fn wanted(leaves: &[Arc<dyn ExecutionPlan>], endpoints: &[Endpoint], certified_only: bool) -> Vec<Scan> {
    let mut wanted: Vec<Scan> = leaves.iter().filter_map(exec::as_fleet).map(|leaf| leaf.scan.clone()).collect();
    for scan in &mut wanted {
        hosts::freeze(&mut scan.target, endpoints);
        if certified_only {
            hosts::only_certified(&mut scan.target, endpoints);
        }
        hosts::by_own_names(&mut scan.target, endpoints);
    }
    wanted
}

/// Which answers are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Those to an action that is posted now.
    Ask,
    /// Those to one that was posted before, and those still to come.
    Follow,
    /// Those that are there.
    Stored,
}

type Following = tokio::task::JoinHandle<()>;

/// The rows, ending only when the account is final.
fn settled(rows: Rows, following: Option<Following>) -> Rows {
    Box::pin(futures::stream::unfold((Some(rows), following), |(rows, mut following)| async move {
        if let Some(mut inner) = rows
            && let Some(item) = inner.next().await
        {
            return Some((item, (Some(inner), following)));
        }
        // The rows are dropped by now, which is how the follower learns that nobody reads on.
        if let Some(following) = following.take()
            && following.await.is_err()
        {
            return Some((Err(Error::internal("following the answers failed")), (None, None)));
        }
        None
    }))
}

fn explanation_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("plan", DataType::Utf8, false)]))
}

fn explanation_rows(explanation: &str) -> Result<Running, Error> {
    let lines = Arc::new(StringArray::from(explanation.lines().collect::<Vec<_>>()));
    let batch =
        RecordBatch::try_new(explanation_schema(), vec![lines]).map_err(|error| Error::internal(error.to_string()))?;
    let rows = Box::pin(futures::stream::iter([Ok(batch)]));
    Ok(Running { rows, account: Arc::default(), stopping: watch::channel(false).0 })
}

impl Planned {
    fn without_rows(kind: StatementKind) -> Planned {
        let schema = Arc::new(Schema::empty());
        Planned {
            action: None,
            asks: false,
            asked: Vec::new(),
            explanation: String::new(),
            remarks: Vec::new(),
            warnings: Vec::new(),
            not_asked: Vec::new(),
            nobody: false,
            schema,
            kind,
            plan: None,
        }
    }
}
