//! A session as the flags want it: whom to ask, with which settings, where results go.

use std::path::Path;
use std::sync::Arc;

use canvass_planner::desk::Desk;
use canvass_planner::error::Error;
use canvass_planner::fleet::Fleet;
use canvass_planner::settings::Settings;

use super::signing::Signing;
use super::{Last, Session, View};
use crate::archive::Archive;
use crate::args::Args;
use crate::config::Places;
use crate::error::unusable;
use crate::interrupts::Interrupts;
use crate::kept::Kept;
use crate::key::{LOCAL, Passphrases, Store};
use crate::output::Output;
use crate::render::Format;
use crate::render::escape::visible;
use crate::terminal::{Terminal, Tone};
use crate::{config, fleet, key};

/// Rows shown on a terminal unless `.maxrows` says otherwise.
const ROWS_MAX: usize = 1000;

impl Session {
    /// Opens the fleet that the flags name and applies their settings.
    pub fn open(args: &Args, terminal: Terminal, places: Places) -> Result<Session, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::internal(format!("cannot start: {error}")))?;
        let mut interrupts = {
            let _inside = runtime.enter();
            Interrupts::listen().map_err(|error| Error::internal(format!("cannot heed Ctrl-C: {error}")))?
        };
        let settings = settings(args, &places)?;
        let (format, remark) = format(args, terminal);
        let output = open_output(args, format)?;
        if let Some(remark) = remark {
            eprintln!("{} {remark}", terminal.paint(Tone::Warning, "warning:"));
        }
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
            Some(server) => Arc::new(runtime.block_on(async {
                tokio::select! {
                    opened = fleet::Remote::open(server, signing.clone(), &places) => opened,
                    () = interrupts.next() => Err(Error::stopped()),
                }
            })?),
            None => open_fleet(args, &places)?,
        };
        let view = View {
            format,
            timer: false,
            rows_max: Some(ROWS_MAX),
            expand: false,
            quiet: args.quiet,
            yes: args.yes,
            verbose: args.verbose,
            safe_csv: args.safe_csv,
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
            aside: None,
            at_prompt: false,
        })
    }
}

fn settings(args: &Args, places: &Places) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    // What concerns servers alone may be damaged where none is asked.
    if args.server.is_some()
        && let Some(certified) = config::certified(places)?
    {
        settings.set("certified", &certified)?;
    }
    for (name, value) in [("wait", &args.wait), ("expire", &args.expire)] {
        if let Some(value) = value {
            settings.set(name, value)?;
        }
    }
    Ok(settings)
}

fn open_fleet(args: &Args, places: &Places) -> Result<Arc<dyn Fleet>, Error> {
    let (here, owner) = match &args.fleet {
        Some(folder) => (fleet::fixtures(folder, places)?, fleet::of_folder(folder)),
        None => (fleet::local(places)?, fleet::this_machine()),
    };
    for trouble in here.troubles() {
        eprintln!("warning: {}", visible(&trouble));
    }
    Ok(Arc::new(fleet::Remembering::new(here, owner, places)))
}

/// The format that the flags ask for, by name or by the ending of a file, and what there is to say of it.
pub(crate) fn format(args: &Args, terminal: Terminal) -> (Format, Option<String>) {
    match (&args.format, &args.output) {
        (Some(format), _) => (*format, None),
        (None, Some(path)) => Format::for_file(path, Format::Tsv),
        (None, None) => (if terminal.stdout { Format::Table } else { Format::Tsv }, None),
    }
}

/// Opens the place of results, where the format has one.
pub(crate) fn open_output(args: &Args, format: Format) -> Result<Output, Error> {
    match &args.output {
        _ if format == Format::Parquet => Err(no_parquet()),
        Some(path) => Output::file(path).map_err(|error| unusable(path, &error)),
        None if format.is_text() => Ok(Output::stdout()),
        None => Err(Error::usage(format!("{} needs a file", format.as_str())).hint("add `-o FILE`")),
    }
}

pub(super) fn no_parquet() -> Error {
    Error::usage("parquet is not in this version").hint("arrow carries the same types")
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
