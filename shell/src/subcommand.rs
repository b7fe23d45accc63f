//! Sub-commands: what `canvass` does besides asking.

mod revoke;

use std::io::{self, Write as _};
use std::path::Path;

use arrow::record_batch::RecordBatch;
use canvass_planner::error::Error;
use canvass_protocol::action::ActionHash;
use clap::CommandFactory as _;

use crate::archive::{self, Archive};
use crate::args::{ActionCommand, Args, KeyCommand, Sub};
use crate::config::{Places, private_folder};
use crate::error::{Exit, unusable};
use crate::key::{Listed, Passphrases, Signers, Store};
use crate::listing;
use crate::output::Output;
use crate::render::escape::visible;
use crate::render::{Closing, Format, Look};
use crate::session::Session;
use crate::terminal::{Terminal, Tone};

/// Runs a sub-command.
pub fn run(sub: &Sub, args: &Args, terminal: Terminal) -> Result<Exit, Error> {
    match sub {
        Sub::Action(command) => return action(command, &crate::whom(args, &Places::from_environment()?)?, terminal),
        Sub::Tables { table: None } => print(&listing::tables("")?, args, terminal),
        Sub::Tables { table: Some(table) } => print(&listing::columns(table)?, args, terminal),
        Sub::Completions { shell } => completions(*shell, args),
        Sub::Key(command) => key(command, args, terminal),
        Sub::Check(_) => Err(later("check")),
        Sub::Import(_) => Err(later("import")),
        Sub::Serve(_) => Err(later("serve")),
    }
    .map(|()| Exit::Complete)
}

fn later(name: &str) -> Error {
    Error::usage(format!("`canvass {name}` is not in this version"))
}

fn key(command: &KeyCommand, args: &Args, terminal: Terminal) -> Result<(), Error> {
    let store = Store::new(&Places::from_environment()?);
    let passphrases = Passphrases::from_environment(terminal.can_ask());
    match command {
        KeyCommand::New { name, no_passphrase } => {
            let passphrase =
                if *no_passphrase { None } else { Some(store.may_make(name).and_then(|()| passphrases.fresh(name))?) };
            let fingerprint = store.make(name, passphrase.as_deref())?;
            if *no_passphrase {
                let warning = terminal.paint(Tone::Warning, "warning:");
                eprintln!("{warning} the key has no passphrase: whoever reads its file can sign as you");
            }
            eprintln!("made the key `{name}` in `{}`", store.secret_path(name).display());
            write_text(&format!("{fingerprint}\n"), args)
        }
        KeyCommand::Import { file, name } => {
            let path = store.import(file, name.as_deref(), &passphrases)?;
            eprintln!("took it in as `{}`", path.display());
            Ok(())
        }
        KeyCommand::Revoke { wanted, reason } => {
            let whose = revoke::run(wanted, *reason, args, terminal)?;
            eprintln!("revoked: {whose}");
            Ok(())
        }
        KeyCommand::Export { name } => write_text(&store.export(name)?, args),
        KeyCommand::List => {
            let (keys, skipped) = store.list();
            for sentence in skipped {
                eprintln!("{} {}", terminal.paint(Tone::Warning, "warning:"), visible(&sentence));
            }
            let word = |key: &Listed| match (key.revoked, key.secret) {
                (true, _) => "nothing",
                (false, true) => "signs",
                (false, false) => "trusted",
            };
            let listed = listing::batch(vec![
                ("name", listing::texts(keys.iter().map(|key| &key.name))),
                ("use", listing::texts(keys.iter().map(word))),
                ("fingerprint", listing::texts(keys.iter().map(|key| &key.fingerprint.0))),
                ("user_ids", listing::texts(keys.iter().map(|key| key.user_ids.join(", ")))),
                ("revoked", listing::texts(keys.iter().map(|key| key.revoked.to_string()))),
                ("file", listing::texts(keys.iter().map(|key| key.path.display().to_string()))),
            ])?;
            print(&listed, args, terminal)
        }
    }
}

fn action(command: &ActionCommand, args: &Args, terminal: Terminal) -> Result<Exit, Error> {
    match command {
        ActionCommand::Show { id } => show(&signed(id, args, terminal)?, args, terminal),
        ActionCommand::Export { id } => {
            let signed = signed(id, args, terminal)?;
            let folder = args.output.as_deref().unwrap_or(Path::new("."));
            private_folder(folder).map_err(|error| unusable(folder, &error))?;
            let [payload, armor] = archive::write(folder, &signed, 0o644)?;
            eprintln!("check it with `gpg --verify {} {}`", armor.display(), payload.display());
            Ok(())
        }
        ActionCommand::Cosign { id } => return session(args, terminal)?.cosign(id),
        ActionCommand::Cancel { id } => session(args, terminal)?.cancel(id).map(|id| eprintln!("withdrawn: {id}")),
    }
    .map(|()| Exit::Complete)
}

/// A session at the server that the flags name.
fn session(args: &Args, terminal: Terminal) -> Result<Session, Error> {
    if args.server.is_none() {
        return Err(Error::usage("this needs a server").hint("add `--server URL`"));
    }
    // What a sub-command writes is not rows.
    let args = Args { output: None, format: None, ..args.clone() };
    Session::open(&args, terminal, Places::from_environment()?)
}

fn signed(id: &str, args: &Args, terminal: Terminal) -> Result<archive::Signed, Error> {
    match args.server {
        Some(_) => session(args, terminal)?.signed(id),
        None => Archive::new(&Places::from_environment()?).find(id),
    }
}

fn show(signed: &archive::Signed, args: &Args, terminal: Terminal) -> Result<(), Error> {
    eprintln!("sha256 {}", ActionHash::of(&signed.payload));
    let signers =
        Signers::of(&signed.payload, &signed.envelope()?.signatures, &Store::new(&Places::from_environment()?));
    signers.lines().iter().for_each(|line| eprintln!("{line}"));
    let json: serde_json::Value = serde_json::from_slice(&signed.payload)
        .map_err(|error| Error::usage(format!("the kept action is damaged: {error}")))?;
    let text = format!("{json:#}\n");
    write_text(&if terminal.stdout { crate::render::escape::visible_lines(&text) + "\n" } else { text }, args)
}

fn completions(shell: clap_complete::Shell, args: &Args) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "canvass", &mut script);
    write_bytes(&script, args)
}

fn write_text(text: &str, args: &Args) -> Result<(), Error> {
    write_bytes(text.as_bytes(), args)
}

fn write_bytes(bytes: &[u8], args: &Args) -> Result<(), Error> {
    let mut output = open(args)?;
    let written = output.write_all(bytes);
    close(output, written)
}

/// Writes rows in the format that the flags ask for.
fn print(batch: &RecordBatch, args: &Args, terminal: Terminal) -> Result<(), Error> {
    let (format, remark) = crate::session::format(args, terminal);
    let mut output = crate::session::open_output(args, format)?;
    if let Some(remark) = remark {
        eprintln!("{} {remark}", terminal.paint(Tone::Warning, "warning:"));
    }
    let on_terminal = terminal.stdout && output.is_stdout();
    let look = Look {
        terminal: on_terminal,
        colour: on_terminal && terminal.colour,
        width: if on_terminal { terminal.width() } else { None },
        listing: format == Format::Table,
        safe_csv: args.safe_csv,
        ..Look::default()
    };
    let mut renderer = format.renderer(look).ok_or_else(|| Error::usage("parquet is not in this version"))?;
    let out = &mut output;
    let written = renderer
        .begin(&batch.schema(), out)
        .and_then(|()| renderer.batch(batch, out))
        .and_then(|()| renderer.end(&Closing::default(), out));
    if let Ok(Some(remark)) = &written {
        eprintln!("{}", terminal.paint(Tone::Quiet, &format!("({remark})")));
    }
    close(output, written.map(drop))
}

fn open(args: &Args) -> Result<Output, Error> {
    match &args.output {
        Some(path) => Output::file(path).map_err(|error| unusable(path, &error)),
        None => Ok(Output::stdout()),
    }
}

fn close(output: Output, written: io::Result<()>) -> Result<(), Error> {
    let gone = output.closed();
    match written.and_then(|()| output.finish()) {
        Err(error) if !gone && error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::usage(format!("results cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
