//! A fleet to play with: a server, a dozen agents over the fixture hosts, and the prompt connected to it (`make fleet`).

use std::process::{ExitCode, Stdio};

use anyhow::Result;
use canvass_examples::yard::{INVESTIGATOR, Yard};

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
    let mut yard = Yard::open(&[])?;
    for (kind, host) in HOSTS {
        for number in 1..=EACH {
            yard.start_agent(&format!("{kind}-{number}"), host, &["--tag", &format!("team={kind}")])?;
        }
    }
    yard.wait_for(HOSTS.len() * EACH)?;
    eprintln!("a server at {} and {} agents; {INVESTIGATOR} asks", yard.url(), HOSTS.len() * EACH);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut desk = yard.desk();
    desk.args(["--server", &yard.url()]).args(arguments).stdin(Stdio::inherit());
    if let Some(terminal) = std::env::var_os("TERM") {
        desk.env("TERM", terminal);
    }
    let status = desk.status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
