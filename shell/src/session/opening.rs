//! A session as the flags want it: whom to ask, with which settings, where results go.

use std::path::Path;
use std::sync::Arc;

use canvass_planner::desk::Desk;
use canvass_planner::error::Error;
use canvass_planner::fleet::Fleet;
use canvass_planner::settings::Settings;
use tokio::signal::unix::{SignalKind, signal};

use super::signing::Signing;
use super::{Last, Session, View};
use crate::archive::Archive;
use crate::args::Args;
use crate::config::Places;
use crate::error::unusable;
use crate::kept::Kept;
use crate::key::{LOCAL, Passphrases, Store};
use crate::output::Output;
use crate::render::Format;
use crate::render::escape::visible;
use crate::terminal::Terminal;
use crate::{fleet, key};

/// Rows shown on a terminal unless `.maxrows` says otherwise.
const ROWS_MAX: usize = 1000;

impl Session {
    /// Opens the fleet that the flags name and applies their settings.
    pub fn open(args: &Args, terminal: Terminal, places: Places) -> Result<Session, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::internal(format!("cannot start: {error}")))?;
        let interrupts = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt()).map_err(|error| Error::internal(format!("cannot heed Ctrl-C: {error}")))?
        };
        let settings = settings(args)?;
        let output = open_output(args)?;
        let passphrases = Passphrases::from_environment(terminal.can_ask());
        let store = Store::new(&places);
        if args.server.is_none()
            && args.key.is_none()
            && let Some(fingerprint) = key::local(&store)?
        {
            eprintln!(
                "made the key `{LOCAL}` for this machine ({fingerprint}); it has no passphrase and signs for this machine alone"
            );
        }
        let signing = Arc::new(Signing::new(args.key.clone(), store, passphrases, args.server.is_none()));
        let fleet: Arc<dyn Fleet> = match &args.server {
            Some(server) => Arc::new(runtime.block_on(fleet::Remote::open(server, signing.clone(), &places))?),
            None => open_fleet(args, &places)?,
        };
        let on_terminal = terminal.stdout && output.is_stdout();
        let view = View {
            format: args.format.unwrap_or(if on_terminal { Format::Table } else { Format::Tsv }),
            timer: false,
            rows_max: Some(ROWS_MAX),
            quiet: args.quiet,
            yes: args.yes,
        };
        Ok(Session {
            desk: Desk::new(fleet.clone(), settings).kept_by(Arc::new(Kept::new(&places))),
            fleet,
            settings: view,
            terminal,
            history: Vec::new(),
            last: Last::default(),
            runtime: Arc::new(runtime),
            interrupts,
            output,
            variables: args.variables.iter().cloned().collect(),
            server: args.server.clone(),
            signing,
            archive: Archive::new(&places),
            places,
            depth: 0,
            results: 0,
        })
    }
}

fn settings(args: &Args) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    if args.server.is_none() {
        // An agent in this program answers to nobody else: there is no server to leave an action with, so by default it is
        // followed to its end, which its own time limit bounds.
        settings.wait_s = None;
    }
    for (name, value) in [("wait", &args.wait), ("expire", &args.expire)] {
        if let Some(value) = value {
            settings.set(name, value)?;
        }
    }
    Ok(settings)
}

fn open_fleet(args: &Args, places: &Places) -> Result<Arc<dyn Fleet>, Error> {
    let fleet = match &args.fleet {
        Some(folder) => fleet::fixtures(folder, places)?,
        None => fleet::local(places)?,
    };
    for trouble in fleet.troubles() {
        eprintln!("warning: {}", visible(&trouble));
    }
    Ok(Arc::new(fleet))
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

pub(super) fn no_parquet() -> Error {
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
