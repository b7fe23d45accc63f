//! A fleet to play with: a server, a dozen agents over the fixture hosts, and the prompt connected to it (`make fleet`); with
//! `--distributed` first, on a private PostgreSQL and RabbitMQ (`make fleet-distributed`).
//!
//! Ctrl-C is for the prompt, which stops a question with it: the fleet is in other process groups, and this program goes on until
//! the prompt has ended, or until it is told to end itself.

use std::process::{ExitCode, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use canvass_examples::yard::{INVESTIGATOR, Yard};
use canvass_services::{Postgres, Rabbitmq};
use rustix::process::{Pid, kill_process};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

const HOSTS: [(&str, &str); 3] = [("web", "web-1"), ("db", "db-1"), ("laptop", "laptop-7")];
/// Agents over each fixture host.
const EACH: usize = 4;

fn main() -> ExitCode {
    match play() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<ExitStatus> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // From here on nothing ends this program at once, so that it always cleans up.
    let mut signals = Signals::listen(&runtime)?;
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut services = None;
    if arguments.first().is_some_and(|first| first == "--distributed") {
        arguments.remove(0);
        services = Some((Postgres::start(true)?, Rabbitmq::start()?));
    }
    let server: Vec<String> = services
        .iter()
        .flat_map(|(postgres, rabbitmq)| {
            let flags = ["--store", "--relay", "--relay-admin"].map(str::to_owned);
            flags
                .into_iter()
                .zip([postgres.url(), rabbitmq.url(), rabbitmq.admin_url()])
                .flat_map(|(flag, url)| [flag, url])
        })
        .collect();
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let mut yard = Yard::open_apart(&server)?;
    for (kind, host) in HOSTS {
        for number in 1..=EACH {
            if signals.ended(&runtime) {
                bail!("it was told to end before the fleet was there");
            }
            yard.start_agent(&format!("{kind}-{number}"), host, &["--tag", &format!("team={kind}")])?;
        }
    }
    yard.wait_for(HOSTS.len() * EACH)?;
    eprintln!("a server at {} and {} agents; {INVESTIGATOR} asks", yard.url(), HOSTS.len() * EACH);
    let mut desk = yard.desk();
    desk.args(["--server", &yard.url()]).args(arguments).stdin(Stdio::inherit());
    if let Some(terminal) = std::env::var_os("TERM") {
        desk.env("TERM", terminal);
    }
    let mut prompt = desk.spawn().context("the prompt does not start")?;
    let id = Pid::from_child(&prompt);
    // It ends with this program, for which nobody waits.
    std::thread::spawn(move || {
        runtime.block_on(signals.told_to_end());
        // The prompt may have ended by itself.
        let _ = kill_process(id, rustix::process::Signal::TERM);
    });
    Ok(prompt.wait()?)
}

/// What others tell this program.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen(runtime: &Runtime) -> Result<Signals> {
        let _inside = runtime.enter();
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until it is told to end; Ctrl-C is the prompt's.
    async fn told_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    /// Whether it was told to end by now; while there is no prompt, Ctrl-C tells it too.
    fn ended(&mut self, runtime: &Runtime) -> bool {
        runtime.block_on(async {
            // Signals are looked at when nothing else is to be done.
            let quiet = tokio::time::sleep(std::time::Duration::from_millis(1));
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => true,
                _ = self.terminate.recv() => true,
                _ = self.hang_up.recv() => true,
                () = quiet => false,
            }
        })
    }
}
