//! One session at a fleet: statements planned, shown, signed, run and accounted for, one after another.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::record_batch::RecordBatch;
use canvass_planner::desk::{Desk, Entry, Planned, StatementKind};
use canvass_planner::error::Error;
use canvass_planner::fleet::Fleet;
use canvass_planner::settings::Settings;
use canvass_protocol::action::Action;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::openpgp::{KeyFile, Signer as _};
use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::archive::Archive;
use crate::args::Args;
use crate::config::Places;
use crate::confirm::{self, Consent};
use crate::error::{Exit, describe, report, unusable};
use crate::follow::{Follow, Followed};
use crate::key::{LOCAL, Passphrases, Store};
use crate::output::Output;
use crate::progress::Progress;
use crate::render::{Closing, Format, Lines, Look, Render};
use crate::script::{Piece, pieces};
use crate::terminal::{Terminal, Tone};
use crate::{command, complete, fleet, footer, key, listing, variables};

/// Rows shown on a terminal unless `.maxrows` says otherwise.
const ROWS_MAX: usize = 1000;
/// Scripts that read scripts.
const DEPTH_MAX: usize = 16;

/// A session and what was last done in it.
pub struct Session {
    pub desk: Desk,
    pub fleet: Arc<dyn Fleet>,
    pub settings: View,
    pub terminal: Terminal,
    pub places: Places,
    pub history: Vec<String>,
    pub last: Last,
    runtime: Arc<Runtime>,
    interrupts: Signal,
    output: Output,
    variables: BTreeMap<String, String>,
    signing: Signing,
    archive: Archive,
    depth: usize,
    /// Results written so far.
    results: usize,
}

/// How results are shown.
#[derive(Debug, Clone)]
pub struct View {
    pub format: Format,
    pub timer: bool,
    /// `None` shows all rows on a terminal.
    pub rows_max: Option<usize>,
    pub quiet: bool,
    pub yes: bool,
}

/// The last statement, for the commands that ask about it.
#[derive(Debug, Default)]
pub struct Last {
    pub explanation: Option<String>,
    /// The signed bytes.
    pub payload: Option<String>,
    pub entries: Vec<Entry>,
}

/// The key that signs, opened when the first statement needs it.
struct Signing {
    wanted: Option<String>,
    store: Store,
    passphrases: Passphrases,
    open: Option<KeyFile>,
}

/// What a command wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Go(Exit),
    Quit,
}

impl Session {
    /// Opens the fleet that the flags name and applies their settings.
    pub fn open(args: &Args, terminal: Terminal, places: Places) -> Result<Session, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::internal(format!("cannot start: {error}")))?;
        let interrupts = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt()).map_err(|error| Error::internal(format!("cannot heed Ctrl-C: {error}")))?
        };
        if let Some(server) = &args.server {
            return Err(Error::unreachable(format!(
                "cannot ask `{server}`: servers are not built yet in this version"
            ))
            .hint("`--local` asks this machine, `--fleet DIR` a folder of fixture hosts"));
        }
        let settings = settings(args)?;
        let output = open_output(args)?;
        let passphrases = Passphrases::from_environment(terminal.can_ask());
        let store = Store::new(&places);
        let signing = Signing { wanted: args.key.clone(), store, passphrases, open: None };
        if args.key.is_none()
            && let Some(fingerprint) = key::local(&signing.store)?
        {
            eprintln!(
                "made the key `{LOCAL}` for this machine ({fingerprint}); it has no passphrase and signs for this machine alone"
            );
        }
        let fleet = open_fleet(args, &places)?;
        let on_terminal = terminal.stdout && output.is_stdout();
        let view = View {
            format: args.format.unwrap_or(if on_terminal { Format::Table } else { Format::Tsv }),
            timer: false,
            rows_max: Some(ROWS_MAX),
            quiet: args.quiet,
            yes: args.yes,
        };
        Ok(Session {
            desk: Desk::new(fleet.clone(), settings),
            fleet,
            settings: view,
            terminal,
            history: Vec::new(),
            last: Last::default(),
            runtime: Arc::new(runtime),
            interrupts,
            output,
            variables: args.variables.iter().cloned().collect(),
            signing,
            archive: Archive::new(&places),
            places,
            depth: 0,
            results: 0,
        })
    }

    /// Runs a text of statements and commands, and stops at the first that is wrong.
    pub fn script(&mut self, text: &str) -> Next {
        if self.depth >= DEPTH_MAX {
            let error = Error::usage(format!("scripts read scripts more than {DEPTH_MAX} deep"));
            return Next::Go(report(&error, None, &self.terminal));
        }
        self.depth += 1;
        let mut worst = Exit::Complete;
        let mut quit = false;
        for piece in pieces(text) {
            match self.piece(&piece) {
                Next::Quit => quit = true,
                Next::Go(exit) => worst = worst.max(exit),
            }
            if quit || worst.stops_script() || self.output.closed() {
                break;
            }
        }
        self.depth -= 1;
        if quit && worst == Exit::Complete { Next::Quit } else { Next::Go(worst) }
    }

    /// Runs one statement or command; what goes wrong is said here.
    pub fn piece(&mut self, piece: &Piece) -> Next {
        match piece {
            Piece::Statement(statement) => Next::Go(self.statement(statement)),
            Piece::Command(line) => command::run(self, line),
        }
    }

    /// Runs one statement to its footer.
    pub fn statement(&mut self, statement: &str) -> Exit {
        let statement = statement.trim();
        let statement = match variables::substitute(statement, &self.variables) {
            Ok(substituted) => substituted,
            Err(error) => return report(&error, Some(statement), &self.terminal),
        };
        let runtime = self.runtime.clone();
        match runtime.block_on(self.run(&statement)) {
            Ok(exit) => exit,
            Err(error) => report(&error, Some(&statement), &self.terminal),
        }
    }

    /// Forgets a Ctrl-C that came when nothing ran any more, so that it does not stop what is typed next.
    pub fn forget_interrupts(&mut self) {
        while let Some(Some(())) = self.interrupts.recv().now_or_never() {}
    }

    /// Plans a statement without running it; `.plan` shows the result.
    pub fn plan(&mut self, statement: &str) -> Result<Planned, Error> {
        let statement = variables::substitute(statement, &self.variables)?;
        let runtime = self.runtime.clone();
        runtime.block_on(self.desk.plan(&statement))
    }

    async fn run(&mut self, statement: &str) -> Result<Exit, Error> {
        let started = Instant::now();
        let planned = tokio::select! {
            planned = self.desk.plan(statement) => planned?,
            _ = self.interrupts.recv() => return Ok(Exit::Interrupted),
        };
        if planned.kind == StatementKind::Set {
            return Ok(Exit::Complete);
        }
        self.check_format()?;
        if planned.kind == StatementKind::Query {
            self.last = Last { explanation: Some(planned.explanation.clone()), ..Last::default() };
        }
        let planning = started.elapsed();
        let mut envelope = None;
        if let Some(action) = &planned.action {
            if confirm::is_needed(planned.asked.len(), self.desk.settings().confirm_above) && !self.settings.yes {
                match confirm::ask(&planned, action, &self.terminal, &mut self.interrupts).await? {
                    Consent::Yes => {}
                    Consent::No => {
                        eprintln!("nothing was asked");
                        return Ok(Exit::Complete);
                    }
                    Consent::Interrupted => return Ok(Exit::Interrupted),
                }
            }
            envelope = Some(self.sign(action)?);
        }
        if planned.kind == StatementKind::Explain {
            let lines: Vec<&str> = planned.explanation.lines().collect();
            return self.write(&listing::batch(vec![("plan", listing::texts(lines))])?, true);
        }
        let asked = Instant::now();
        let about = About::of(&planned, statement);
        let schema = planned.schema.clone();
        let running = self.desk.run(planned, envelope).await?;
        let look = self.look();
        let mut renderer = self.renderer(false)?;
        let follow = Follow {
            fleet: self.fleet.as_ref(),
            renderer: renderer.as_mut(),
            output: &mut self.output,
            interrupts: &mut self.interrupts,
            progress: Progress::new(about.asks && self.terminal.stderr && !self.settings.quiet),
            action: about.id.clone(),
        };
        let followed = follow.run(&schema, running).await;
        self.results += 1;
        let exit = self.account(&followed, &about, started, look);
        if self.settings.timer {
            eprintln!(
                "time: planned in {:.3} s, ran in {:.3} s",
                planning.as_secs_f64(),
                asked.elapsed().as_secs_f64()
            );
        }
        self.last.entries = followed.entries;
        Ok(exit)
    }

    /// Says on standard error how a statement went, and what that means for the exit code.
    fn account(&mut self, followed: &Followed, about: &About, started: Instant, look: Look) -> Exit {
        // Whoever read the rows has seen enough.
        if self.output.closed() {
            return Exit::Complete;
        }
        let entries = &followed.entries;
        let mut exit = footer::exit(entries);
        if let Some(error) = &followed.error {
            exit = exit.max(report(error, None, &self.terminal));
        }
        if followed.interrupted {
            exit = Exit::Interrupted;
        }
        let warning = self.terminal.paint(Tone::Warning, "warning:");
        for line in footer::warnings(entries) {
            eprintln!("{warning} {line}");
        }
        if let Some(cut) = footer::cut(entries).filter(|_| !self.settings.format.carries_cut()) {
            eprintln!("{warning} {cut}");
        }
        if let Some(remark) = followed.remark.as_ref().filter(|_| look.terminal) {
            eprintln!("{}", self.terminal.paint(Tone::Quiet, &format!("({remark})")));
        }
        if self.settings.quiet {
            return exit;
        }
        let tally = footer::Tally::of(entries);
        let asked = about.asks.then_some((&tally, about.expires));
        eprintln!("{}", self.terminal.paint(Tone::Quiet, &footer::line(followed.rows, asked, started.elapsed())));
        for line in footer::troubles(entries) {
            eprintln!("{line}");
        }
        exit
    }

    /// Signs the exact bytes of an action and keeps them.
    fn sign(&mut self, action: &Action) -> Result<Envelope, Error> {
        let payload = String::from_utf8(action.to_bytes()).map_err(|error| Error::internal(error.to_string()))?;
        let signature = self.signing.sign(payload.as_bytes())?;
        let envelope = Envelope { payload, signatures: vec![signature] };
        envelope.check_sizes().map_err(|error| Error::usage(error.to_string()))?;
        self.archive.keep(&action.id.to_string(), &envelope)?;
        self.last.payload = Some(envelope.payload.clone());
        Ok(envelope)
    }

    /// Writes rows that no endpoint was asked for, such as a list of tables.
    pub fn show(&mut self, batch: &RecordBatch) -> Result<Next, Error> {
        self.check_format()?;
        self.write(batch, false).map(Next::Go)
    }

    fn write(&mut self, batch: &RecordBatch, explains: bool) -> Result<Exit, Error> {
        let mut renderer = self.renderer(explains)?;
        let out = &mut self.output;
        let written = renderer
            .begin(&batch.schema(), out)
            .and_then(|()| renderer.batch(batch, out))
            .and_then(|()| renderer.end(&Closing::default(), out))
            .and_then(|_| out.flush());
        self.results += 1;
        self.written(written)
    }

    /// Writes text for people to where results go.
    pub fn say(&mut self, text: &str) -> Result<Next, Error> {
        let written = writeln!(self.output, "{text}").and_then(|()| self.output.flush());
        self.written(written).map(Next::Go)
    }

    fn written(&self, written: std::io::Result<()>) -> Result<Exit, Error> {
        match written {
            Err(error) if !self.output.closed() => Err(Error::usage(format!("results cannot be written: {error}"))),
            _ => Ok(Exit::Complete),
        }
    }

    fn look(&self) -> Look {
        let terminal = self.terminal.stdout && self.output.is_stdout();
        Look {
            terminal,
            colour: terminal && self.terminal.colour,
            width: if terminal { self.terminal.width() } else { None },
            rows_max: if terminal { self.settings.rows_max } else { None },
        }
    }

    fn renderer(&self, explains: bool) -> Result<Box<dyn Render + Send>, Error> {
        if explains && self.settings.format == Format::Table {
            return Ok(Box::new(Lines));
        }
        let renderer = self.settings.format.renderer(self.look());
        renderer.ok_or_else(no_parquet)
    }

    /// Refuses formats that this result cannot be written in, before anything is signed.
    fn check_format(&self) -> Result<(), Error> {
        let format = self.settings.format;
        if !format.is_text() && self.output.is_stdout() {
            return Err(Error::usage(format!("{} needs a file", format.as_str())).hint("add `-o FILE`"));
        }
        if format == Format::Arrow && self.results > 0 {
            return Err(Error::usage("an arrow file holds one result, and it has one already"));
        }
        self.renderer(false).map(drop)
    }

    /// What is wrong with the last line, for commands that report themselves.
    pub fn complain(&self, error: &Error, text: &str) -> Next {
        eprint!("{}", describe(error, Some(text), &self.terminal));
        Next::Go(error.kind.into())
    }

    /// Brings results to their place: whole, or not at all where nothing was to be written.
    pub fn close(self, exit: Exit) -> Exit {
        let terminal = self.terminal;
        let keeps = !matches!(exit, Exit::Usage | Exit::Unreachable | Exit::Internal);
        let closed = if keeps { self.output.finish() } else { self.output.discard() };
        match closed {
            Ok(()) => exit,
            Err(error) => {
                exit.max(report(&Error::usage(format!("results cannot be written: {error}")), None, &terminal))
            }
        }
    }
}

impl Signing {
    fn sign(&mut self, payload: &[u8]) -> Result<String, Error> {
        let key = match self.open.take() {
            Some(key) => key,
            None => key::choose(self.wanted.as_deref().unwrap_or(LOCAL), &self.store, &self.passphrases)?,
        };
        let signature = key.sign(payload, Timestamp::now());
        self.open = Some(key);
        signature.map_err(|error| Error::usage(format!("the action cannot be signed: {error}")))
    }
}

/// What the account of a statement needs to know of its plan.
struct About {
    /// It names a table that endpoints answer, even where its target matches none of them.
    asks: bool,
    expires: Option<Timestamp>,
    id: Option<String>,
}

impl About {
    fn of(planned: &Planned, statement: &str) -> About {
        let action = planned.action.as_ref();
        About {
            asks: action.is_some() || complete::names_endpoint_table(statement),
            expires: action.map(|action| action.window.until),
            id: action.map(|action| action.id.to_string()),
        }
    }
}

fn settings(args: &Args) -> Result<Settings, Error> {
    // An agent in this program answers to nobody else: there is no server to leave an action with, so by default it is
    // followed to its end, which its own time limit bounds.
    let mut settings = Settings { wait_s: None, ..Settings::default() };
    for (name, value) in [("wait", &args.wait), ("expire", &args.expire)] {
        if let Some(value) = value {
            settings.set(name, value)?;
        }
    }
    Ok(settings)
}

fn open_fleet(args: &Args, places: &Places) -> Result<Arc<dyn Fleet>, Error> {
    Ok(match &args.fleet {
        Some(folder) => Arc::new(fleet::fixtures(folder, places)?),
        None => Arc::new(fleet::local(places)?),
    })
}

fn open_output(args: &Args) -> Result<Output, Error> {
    let text = args.format.is_none_or(Format::is_text);
    match &args.output {
        _ if args.format == Some(Format::Parquet) => Err(no_parquet()),
        Some(path) => Output::file(path).map_err(|error| unusable(path, &error)),
        None if text => Ok(Output::stdout()),
        None => Err(Error::usage("arrow needs a file").hint("add `-o FILE`")),
    }
}

fn no_parquet() -> Error {
    Error::usage("parquet is not in this version").hint("`--format arrow` carries the same types")
}

/// Reads a script's file; `-` is standard input.
pub fn read_script(path: &Path) -> Result<String, Error> {
    use std::io::Read as _;
    /// More than any statement an action could carry.
    const SCRIPT_BYTES_MAX: u64 = 64 << 20;
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(SCRIPT_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(SCRIPT_BYTES_MAX + 1).read_to_string(&mut text))
    };
    read.map_err(|error| unusable(path, &error))?;
    if text.len() as u64 > SCRIPT_BYTES_MAX {
        return Err(Error::usage(format!("`{}` has more than {SCRIPT_BYTES_MAX} bytes", path.display())));
    }
    Ok(text)
}
