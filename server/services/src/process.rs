//! What both have in common: ports, passwords, users, and processes that end.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a service may take to answer, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A process that is ended when it is dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command of another user that ends with us even where we are killed. PostgreSQL refuses to run as root, so what runs as
/// root steps down to the user of that id; whoever is not root stays who they are.
pub fn tied(program: &Path, step_down_to: Option<u32>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(uid) = step_down_to {
        command.args(["--reuid", &uid.to_string(), "--regid", &uid.to_string(), "--clear-groups"]);
    }
    command.arg("--").arg(program).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command
}

/// A port that nobody listens on. Somebody else may take it before it is used, which whoever starts a service sees.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// 128 fresh bits, as 32 hexadecimal digits.
pub fn password() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(hex::encode(bytes))
}

/// Looks again and again, since these services do not tell when they are ready; ends early where the process does.
pub fn wait_until_ready(running: &mut Running, log: &Path, mut ready: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    let said = || std::fs::read_to_string(log).unwrap_or_default();
    while !ready() {
        if let Some(status) = running.0.try_wait().context("a service cannot be looked after")? {
            bail!("the service ended with {status}: {}", said());
        }
        if started.elapsed() > PATIENCE {
            bail!("the service did not answer in {} s: {}", PATIENCE.as_secs(), said());
        }
        pause();
    }
    Ok(())
}

/// Before another look.
#[expect(clippy::disallowed_methods, reason = "another program's state is no channel to block on")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Runs a tool to its end.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
