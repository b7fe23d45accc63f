//! A fleet to play with: a server, a dozen agents over the fixture hosts, and the prompt connected to it (`make fleet`); with
//! `--distributed` first, on a private PostgreSQL and RabbitMQ (`make fleet-distributed`).

use std::process::{ExitCode, Stdio};

use anyhow::Result;
use canvass_examples::yard::{INVESTIGATOR, Yard};
use canvass_services::{Postgres, Rabbitmq};

const HOSTS: [(&str, &str); 3] = [("web", "web-1"), ("db", "db-1"), ("laptop", "laptop-7")];
/// Agents over each fixture host.
const EACH: usize = 4;

fn main() -> ExitCode {
    match play() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<ExitCode> {
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
    let mut yard = Yard::open(&server)?;
    for (kind, host) in HOSTS {
        for number in 1..=EACH {
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
    let status = desk.status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
