//! Actions that were signed before, here or elsewhere: found, verified, withdrawn, and signed by one more.

use std::path::Path;

use canvass_planner::error::Error;
use canvass_planner::explain;
use canvass_protocol::action::Action;
use canvass_protocol::api::Cosignature;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::openpgp::split_signatures;
use uuid::Uuid;

use super::Session;
use crate::archive::Signed;
use crate::confirm::{self, Consent};
use crate::error::{Exit, unusable};
use crate::key::{Signers, Store};
use crate::render::escape::{visible, visible_lines};
use crate::terminal::Tone;

/// More than any exported action or its signatures.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Digits of a hash that people compare.
const HASH_DIGITS: usize = 16;

impl Session {
    /// An action with all its signatures: the server's copy where there is a server, else the one kept here.
    pub fn signed(&mut self, wanted: &str) -> Result<Signed, Error> {
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            let found = self.found(wanted).await?;
            if !self.fleet.outlives_us() {
                return Ok(found);
            }
            let id = action_of(&found.envelope()?)?.id;
            match self.of_server(id).await {
                Ok(whole) if whole.payload == found.payload => Ok(whole),
                _ => Ok(found),
            }
        })
    }

    /// Withdraws an action; returns its id.
    pub fn cancel(&mut self, wanted: &str) -> Result<String, Error> {
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            let envelope = self.found(wanted).await?.envelope()?;
            self.fleet.withdraw(&envelope).await?;
            Ok(action_of(&envelope)?.id.to_string())
        })
    }

    /// Shows what agents would execute, asks for a yes, and adds a signature. `wanted` is an id or an exported file.
    pub fn cosign(&mut self, wanted: &str) -> Result<Exit, Error> {
        let runtime = self.runtime.clone();
        runtime.block_on(self.cosign_action(wanted))
    }

    async fn cosign_action(&mut self, wanted: &str) -> Result<Exit, Error> {
        if !self.fleet.outlives_us() {
            return Err(Error::usage("agents of this machine need no second signature").hint("add `--server URL`"));
        }
        let signed = match Path::new(wanted) {
            file if file.is_file() => exported(file)?,
            _ => self.whole(wanted).await?,
        };
        let envelope = signed.envelope()?;
        let action = self.verified(&envelope)?;
        let signers = Signers::of(&signed.payload, &envelope.signatures, &Store::new(&self.places));
        eprintln!("{}", rendered(&action, &envelope, &signers));
        if !self.desk.gives(&action).await {
            let warning = self.terminal.paint(Tone::Warning, "warning:");
            eprintln!("{warning} planned here the statement gives other scans; the scans are what agents execute");
        }
        if !self.settings.yes {
            match confirm::yes("sign it?", &self.terminal, &mut self.interrupts).await? {
                Consent::Yes => {}
                Consent::No => {
                    eprintln!("nothing was signed");
                    return Ok(Exit::Complete);
                }
                Consent::Interrupted => return Ok(Exit::Interrupted),
            }
        }
        let signature = self.signing.sign(&signed.payload)?;
        self.fleet.cosign(action.id, &Cosignature { hash: envelope.hash(), signature }).await?;
        eprintln!("signed: {}; agents that refused it judge it again", action.id);
        if let Some(server) = &self.server {
            eprintln!("resume: canvass --server {server} -c '.resume {}'", action.id);
        }
        Ok(Exit::Complete)
    }

    /// An action that was signed here, or else the server's, where somebody whom this desk knows has signed it.
    pub(super) async fn found(&self, wanted: &str) -> Result<Signed, Error> {
        match self.archive.get(wanted)? {
            Some(signed) => Ok(signed),
            None if self.fleet.outlives_us() => self.whole(wanted).await,
            None => self.archive.find(wanted),
        }
    }

    /// The server's copy of an action, by the start of its id.
    async fn whole(&self, wanted: &str) -> Result<Signed, Error> {
        let kept = self.archive.get(wanted)?.map(|signed| signed.id);
        let wanted = kept.as_deref().unwrap_or(wanted).to_lowercase();
        if let Ok(id) = wanted.parse() {
            return self.of_server(id).await;
        }
        let ids = self.fleet.actions().await?.into_iter().map(|action| action.id);
        let ids: Vec<Uuid> = ids.filter(|id| !wanted.is_empty() && id.to_string().starts_with(&wanted)).collect();
        match ids.as_slice() {
            [id] => self.of_server(*id).await,
            [] => Err(Error::usage(format!("neither this machine nor the server knows an action `{wanted}`"))
                .hint("`SELECT id, statement FROM actions` lists them")),
            several => Err(Error::usage(format!("`{wanted}` begins the ids of {} actions", several.len()))
                .hint("write more of the id")),
        }
    }

    async fn of_server(&self, id: Uuid) -> Result<Signed, Error> {
        let envelope = self.fleet.envelope(id).await?;
        if self.verified(&envelope)?.id != id {
            return Err(Error::unreachable("the server hands over another action than the one it was asked for"));
        }
        Signed::of(&id.to_string(), &envelope)
    }

    /// Believes an action that somebody signed whom this desk knows.
    fn verified(&self, envelope: &Envelope) -> Result<Action, Error> {
        envelope.check_sizes().map_err(|error| Error::usage(error.to_string()))?;
        let signers = Signers::of(envelope.payload.as_bytes(), &envelope.signatures, &Store::new(&self.places));
        if signers.known.is_empty() {
            let why = signers.rejected.first().map_or("it is not signed", String::as_str);
            return Err(Error::usage(format!(
                "nobody whom this machine knows has signed this action: {}",
                visible(why)
            ))
            .hint("take in its author's certificate: `canvass key import FILE`"));
        }
        let action = action_of(envelope)?;
        if action.fleet != self.fleet.name() {
            return Err(Error::usage(format!("the action is for fleet `{}`", visible(&action.fleet))));
        }
        Ok(action)
    }
}

pub(super) fn action_of(envelope: &Envelope) -> Result<Action, Error> {
    Action::parse(envelope.payload.as_bytes()).map_err(|error| Error::usage(error.to_string()))
}

/// `ID.json`, with its signatures in `ID.json.asc` beside it.
fn exported(file: &Path) -> Result<Signed, Error> {
    use std::io::Read as _;
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(path).and_then(|open| open.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        opened.map(|_| bytes).map_err(|error| unusable(path, &error))
    };
    let armor = file.with_extension("json.asc");
    let signed = Signed { id: file.display().to_string(), payload: read(file)?, armor: read(&armor)? };
    split_signatures(&signed.armor).map_err(|error| Error::usage(format!("`{}`: {error}", armor.display())))?;
    Ok(signed)
}

/// What agents execute, and the author's words beside it.
fn rendered(action: &Action, envelope: &Envelope, signers: &Signers) -> String {
    let hash = envelope.hash().to_string();
    let limits = &action.limits;
    let mut lines = vec![
        format!("action   {}", action.id),
        format!("hash     {} (the first 8 bytes of its SHA-256)", &hash[..HASH_DIGITS]),
    ];
    lines.extend(signers.lines());
    lines.extend([
        format!("fleet    {}", action.fleet),
        format!("window   {} to {}", action.window.from, action.window.until),
        format!(
            "limits   {} rows, {} bytes, {} s, {} s of CPU, {} MB of memory, of each endpoint and scan",
            limits.rows,
            limits.bytes,
            limits.time_ms / 1000,
            limits.cpu_ms / 1000,
            limits.memory_bytes >> 20
        ),
    ]);
    lines.push(explain::scans(action));
    lines.push("in its author's words, which agents do not read:".to_owned());
    lines.push(format!("  {}", action.statement));
    visible_lines(&lines.join("\n"))
}
