//! Actions that were signed before, here or elsewhere: found, verified, withdrawn, and signed by one more.

mod rendered;

use std::path::Path;

use canvass_planner::desk::Gives;
use canvass_planner::error::Error;
use canvass_protocol::api::Cosignature;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::openpgp::split_signatures;

use self::rendered::rendered;
use super::Session;
use crate::archive::Signed;
use crate::confirm::{self, Consent, Reply};
use crate::error::{Exit, unusable};
use crate::fleet::{self, action_of};
use crate::key::{Signers, Store};
use crate::render::escape::visible;
use crate::terminal::{Terminal, Tone};

/// More than any exported action or its signatures.
const FILE_BYTES_MAX: u64 = 8 << 20;

impl Session {
    /// An action with all its signatures: the server's copy where there is a server, else the one kept here.
    pub fn signed(&mut self, wanted: &str) -> Result<Signed, Error> {
        let runtime = self.runtime.clone();
        let envelope = runtime.block_on(self.found(wanted))?;
        Signed::of(&action_of(&envelope)?.id.to_string(), &envelope)
    }

    /// Withdraws an action; returns its id.
    pub fn cancel(&mut self, wanted: &str) -> Result<String, Error> {
        let runtime = self.runtime.clone();
        runtime.block_on(async {
            let envelope = self.found(wanted).await?;
            tokio::select! {
                withdrawn = self.fleet.withdraw(&envelope) => withdrawn?,
                () = self.interrupts.next() => return Err(Error::stopped()),
            }
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
        let keys = Store::new(&self.places);
        let envelope = match Path::new(wanted) {
            file if file.is_file() => exported(file)?.envelope()?,
            _ => self.found(wanted).await?,
        };
        let action = fleet::verify(&envelope, self.fleet.name(), &keys)?;
        let signers = Signers::of(envelope.payload.as_bytes(), &envelope.signatures, &keys);
        let show = |terminal: &Terminal, whole: bool| {
            eprintln!("{}", rendered(&action, &envelope, &signers, whole, terminal.error_width()));
        };
        show(&self.terminal, self.settings.verbose);
        if let Some(doubt) = doubt(self.desk.gives(&action).await) {
            let warning = self.terminal.paint(Tone::Warning, "warning:");
            eprintln!("{warning} {}; the scans are what agents execute", visible(&doubt));
        }
        while !self.settings.yes {
            match confirm::sign(&self.terminal, &mut self.interrupts).await? {
                Reply::All => show(&self.terminal, true),
                Reply::Said(Consent::Yes) => break,
                Reply::Said(Consent::No) => {
                    eprintln!("nothing was signed");
                    return Ok(Exit::Complete);
                }
                Reply::Said(Consent::Interrupted) => return Ok(Exit::Interrupted),
            }
        }
        let signature = self.signing.sign(envelope.payload.as_bytes())?;
        self.fleet.cosign(action.id, &Cosignature { hash: envelope.hash(), signature }).await?;
        eprintln!("signed: {}; agents that refused it judge it again", action.id);
        if let Some(server) = &self.server {
            eprintln!("resume: canvass --server {server}{} -c '.resume {}'", self.signing.flag(), action.id);
        }
        Ok(Exit::Complete)
    }

    pub(super) async fn found(&mut self, wanted: &str) -> Result<Envelope, Error> {
        tokio::select! {
            envelope = self.fleet.signed(wanted) => envelope,
            () = self.interrupts.next() => Err(Error::stopped()),
        }
    }
}

/// What a second signer should know of the author's words.
fn doubt(gives: Result<Gives, Error>) -> Option<String> {
    match gives {
        Ok(Gives::These) => None,
        Ok(Gives::ThoseByAnotherInventory) => Some(
            "its author's desk chose agents or values by what it knew, and this one would choose others".to_owned(),
        ),
        Ok(Gives::Others) => Some("planned here the statement gives other scans".to_owned()),
        Err(error) => Some(format!("whether the statement gives these scans cannot be told here: {}", error.message)),
    }
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
