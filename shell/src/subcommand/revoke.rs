//! `canvass key revoke`: from the yes to how many agents know.

use canvass_planner::error::Error;
use canvass_protocol::openpgp::RevocationReason;

use crate::args::{Args, Reason};
use crate::config::Places;
use crate::confirm::{self, Consent};
use crate::fleet::{Heard, Remote};
use crate::interrupts::Interrupts;
use crate::key::{Passphrases, Revocation, Store, find_revoked};
use crate::session::Signing;
use crate::terminal::Terminal;

/// Revokes, and returns whose certificate is revoked.
pub fn run(wanted: &str, reason: Reason, args: &Args, terminal: Terminal) -> Result<String, Error> {
    let places = Places::from_environment()?;
    let args = &crate::whom(args, &places)?;
    let (store, passphrases) = (Store::new(&places), Passphrases::from_environment(terminal.can_ask()));
    let wanted = find_revoked(wanted, &store)?;
    let whose = wanted.whose(&store)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::internal(format!("cannot start: {error}")))?;
    if !args.yes {
        runtime.block_on(confirm(&whose, &terminal))?;
    }
    let revocation = wanted.revocation(reason.into(), &passphrases)?;
    let path = revocation.path.display();
    if revocation.key.is_some() {
        eprintln!("the revocation is in `{path}`, which `gpg --import` takes too");
    }
    let heard = match &args.server {
        None => None,
        Some(server) => {
            let sent = runtime.block_on(send(server, &revocation, args, &places, passphrases));
            Some(sent.map_err(|error| unsent(error, &path.to_string()))?)
        }
    };
    let names = store.revoke(&revocation.bytes)?;
    for name in &names {
        eprintln!("`{name}` is revoked on this machine");
    }
    match heard {
        Some(heard) => tell(&heard),
        None if names.is_empty() => {
            return Err(Error::usage("it revokes nothing that this machine knows, and no server was told")
                .hint("`--server URL` hands it in there"));
        }
        None => eprintln!(
            "no server was told: any investigator brings it to a server's agents with `canvass --server URL key revoke {path}`; \
             in keyrings without one the certificate that `canvass key export` prints now takes the place of the former"
        ),
    }
    Ok(whose)
}

async fn confirm(whose: &str, terminal: &Terminal) -> Result<(), Error> {
    let mut interrupts = listen()?;
    eprintln!("nothing that it has signed or will sign counts afterwards, and nobody can take that back");
    match confirm::yes(&format!("revoke {whose} for good?"), terminal, &mut interrupts).await? {
        Consent::Yes => Ok(()),
        Consent::No => Err(Error::usage("nothing was revoked")),
        Consent::Interrupted => Err(Error::stopped()),
    }
}

fn listen() -> Result<Interrupts, Error> {
    Interrupts::listen().map_err(|error| Error::internal(format!("cannot heed Ctrl-C: {error}")))
}

/// Hands it in at a server, signed in by the key that `--key` names, else by the one that is revoked, else by the only one.
async fn send(
    server: &str,
    revocation: &Revocation,
    args: &Args,
    places: &Places,
    passphrases: Passphrases,
) -> Result<Heard, Error> {
    let (mut interrupts, store) = (listen()?, Store::new(places));
    let own = revocation.key.as_ref().filter(|_| args.key.is_none());
    let signing = match own {
        Some(key) => Signing::with(Box::new(key.clone()), store),
        None => Signing::new(args.key.clone(), store, passphrases, false),
    };
    let sent = async {
        let remote = Remote::open(server, signing.into(), places).await?;
        remote.revoke(&revocation.bytes, own.is_some()).await
    };
    tokio::select! {
        heard = sent => heard,
        () = interrupts.next() => Err(Error::stopped()),
    }
}

fn unsent(error: Error, path: &str) -> Error {
    let hint = error.hint.clone().map(|hint| format!("{hint}\n")).unwrap_or_default();
    error.hint(format!(
        "{hint}nobody was told yet: run this again, or have another investigator run `canvass key revoke {path}`"
    ))
}

fn tell(heard: &Heard) {
    let Heard { known, agents, by_their_word } = heard;
    let whose = if *by_their_word { "" } else { " by the server's word" };
    eprintln!("known to {known} of {agents} agents{whose}");
    if known < agents {
        eprintln!(
            "the others are away, and hear of it when they come, or never trusted it: `SELECT name, status, revoked_keys FROM \
             agents` lists them"
        );
    }
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Compromised => RevocationReason::Compromised,
            Reason::Superseded => RevocationReason::Superseded,
            Reason::Retired => RevocationReason::Retired,
        }
    }
}
