//! A whole fleet on one machine: the real server, real agents over fixture hosts, and a desk, each a process of its own.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::front::Front;
use crate::swarm::running;
use crate::{folder, program};

/// How long a program may take to do what it is started for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who asks.
pub const INVESTIGATOR: &str = "alice";

/// A fleet, which ends with this value.
pub struct Yard {
    folder: TempDir,
    server: Option<Running>,
    /// The server's address, which stays when it is started again.
    address: String,
    /// Other servers of the fleet, by their names.
    others: Vec<(String, Running)>,
    /// What agents and desks call all of them, where there are several.
    front: Option<Front>,
    agents: Vec<(String, Running)>,
    server_arguments: Vec<String>,
    /// Beside their own, of the server and of agents.
    variables: Vec<(String, PathBuf)>,
    /// Whether Ctrl-C on a terminal is not for the server and the agents.
    apart: bool,
}

/// A process that is ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Yard {
    /// An investigator with a key, and a server that knows it.
    pub fn open(server_arguments: &[&str]) -> Result<Yard> {
        Yard::open_with(server_arguments, false)
    }

    /// The same with the server and all agents in process groups of their own, where a terminal's Ctrl-C does not reach them. Whoever
    /// opens it this way lets no signal end the program before this value has ended.
    pub fn open_apart(server_arguments: &[&str]) -> Result<Yard> {
        Yard::open_with(server_arguments, true)
    }

    fn open_with(server_arguments: &[&str], apart: bool) -> Result<Yard> {
        let mut yard = Yard {
            folder: tempfile::tempdir()?,
            server: None,
            address: String::new(),
            others: Vec::new(),
            front: None,
            agents: Vec::new(),
            server_arguments: server_arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            variables: Vec::new(),
            apart,
        };
        std::fs::create_dir(yard.keyring())?;
        let made = yard.desk().args(["key", "new", INVESTIGATOR, "--no-passphrase"]).output()?;
        check(&made, "a key")?;
        let exported = yard.desk().args(["key", "export", INVESTIGATOR]).output()?;
        check(&exported, "its certificate")?;
        std::fs::write(yard.keyring().join("alice.asc"), exported.stdout)?;
        yard.start_server()?;
        Ok(yard)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Certificates that the server and the agents know.
    pub fn keyring(&self) -> PathBuf {
        self.path().join("keyring")
    }

    pub fn url(&self) -> String {
        let tls = self.server_arguments.iter().any(|argument| argument == "--tls-cert");
        let address = self.front.as_ref().map_or(self.address.as_str(), |front| &front.address);
        format!("{}://{address}", if tls { "https" } else { "http" })
    }

    /// Starts another server with the same arguments and a data folder of its own; from now on agents and desks reach all
    /// servers by one address. Returns its own.
    pub fn start_another_server(&mut self, name: &str) -> Result<String> {
        let (running, address) = self.spawn_server("127.0.0.1:0", name)?;
        self.others.retain(|(other, _)| other != name);
        self.others.push((name.to_owned(), running));
        let front = match &self.front {
            Some(front) => front,
            None => self.front.insert(Front::open(&self.address)?),
        };
        front.add(&address);
        Ok(format!("http://{address}"))
    }

    /// Ends another server at once, as a crash would.
    pub fn kill_another_server(&mut self, name: &str) {
        self.others.retain(|(other, _)| other != name);
    }

    /// Starts the server; where it ran before, at the same address.
    pub fn start_server(&mut self) -> Result<()> {
        let listen = if self.address.is_empty() { "127.0.0.1:0" } else { &self.address };
        let (running, address) = self.spawn_server(listen, "server")?;
        self.address = address;
        self.server = Some(running);
        Ok(())
    }

    fn spawn_server(&self, listen: &str, data: &str) -> Result<(Running, String)> {
        let mut command = Command::new(program("canvass-server"));
        command.args(["--listen", listen, "--data"]).arg(self.path().join(data));
        command.arg("--keyring").arg(self.keyring()).args(&self.server_arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let log = std::fs::File::options().create(true).append(true).open(self.path().join("server.log"))?;
        if self.apart {
            command.process_group(0);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let output = child.stdout.take().context("it has an output")?;
        let running = Running(child);
        let mut line = String::new();
        BufReader::new(output.take(10_000)).read_line(&mut line)?;
        let Some((_, address)) = line.split_whitespace().find_map(|word| word.split_once("://")) else {
            bail!("the server did not start: {line} {}", self.log("server"));
        };
        Ok((running, address.to_owned()))
    }

    /// The server's process, for its figures.
    pub fn server_id(&self) -> Result<u32> {
        Ok(self.server.as_ref().context("the server does not run")?.0.id())
    }

    /// The file of the investigator's key, which has no passphrase.
    pub fn key(&self) -> PathBuf {
        self.path().join("home/.config/canvass/keys").join(format!("{INVESTIGATOR}.pgp"))
    }

    /// Starts the server again with other arguments.
    pub fn restart_server(&mut self, arguments: &[&str]) -> Result<()> {
        self.kill_server();
        self.server_arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self.start_server()
    }

    /// Gives a variable to the server and to agents that are started from now on.
    pub fn set_variable(&mut self, name: &str, value: PathBuf) {
        self.variables.retain(|(before, _)| before != name);
        self.variables.push((name.to_owned(), value));
    }

    /// Ends the server at once, as a crash would.
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    /// Starts an agent over a fixture host of `examples/fleet`.
    pub fn start_agent(&mut self, name: &str, host: &str, more: &[&str]) -> Result<()> {
        let child = self.agent(name, host, more)?.spawn()?;
        self.agents.push((name.to_owned(), Running(child)));
        Ok(())
    }

    /// Starts many agents in one process, and waits until they are there.
    pub fn start_swarm(&self, agents: u32, more: &[&str]) -> Result<running::Running> {
        running::Running::start(&self.url(), &self.keyring(), agents, more, &self.path().join("swarm.log"))
    }

    /// The command that starts an agent; what `more` gives stands in for what it would be given otherwise.
    pub fn agent(&self, name: &str, host: &str, more: &[&str]) -> Result<Command> {
        let log = std::fs::File::options().create(true).append(true).open(self.path().join(format!("{name}.log")))?;
        let mut command = Command::new(program("canvass-agent"));
        command
            .args(["--server", &self.url(), "--name", name, "--data"])
            .arg(self.path().join(format!("agent-{name}")));
        let host = folder().join("fleet").join(host);
        for (flag, path) in [("--keyring", self.keyring()), ("--policy", host.join("agent.toml"))] {
            // A policy that is named has to be there.
            if !more.contains(&flag) && path.exists() {
                command.arg(flag).arg(path);
            }
        }
        command.arg("--root").arg(host).args(more);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if self.apart {
            command.process_group(0);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(command)
    }

    /// Ends an agent at once, as a crash would.
    pub fn kill_agent(&mut self, name: &str) {
        self.agents.retain(|(agent, _)| agent != name);
    }

    /// An agent's process.
    pub fn agent_id(&self, name: &str) -> Result<u32> {
        let found = self.agents.iter().find(|(agent, _)| agent == name);
        Ok(found.with_context(|| format!("the agent {name} does not run"))?.1.0.id())
    }

    /// What a program said on standard error.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Waits until a program has said something on standard error.
    pub fn wait_for_log(&self, name: &str, words: &str) -> Result<()> {
        wait_until(|| Ok(self.log(name).contains(words))).with_context(|| format!("{words}: {}", self.log(name)))
    }

    /// The investigator's `canvass`, without arguments.
    pub fn desk(&self) -> Command {
        let mut command = Command::new(program("canvass"));
        let home = self.path().join("home");
        command.env_clear().env("HOME", &home).env("XDG_CONFIG_HOME", home.join(".config"));
        command.env("XDG_DATA_HOME", home.join(".local/share")).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null());
        command
    }

    /// Asks the fleet.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.desk().args(["--server", &self.url()]).args(arguments).output()?)
    }

    /// Waits until a count of agents is online.
    pub fn wait_for(&self, count: usize) -> Result<()> {
        self.wait_for_count("agents WHERE status = 'online'", count)
    }

    /// Waits until an agent says that it carries a tag.
    pub fn wait_for_tag(&self, key: &str, value: &str) -> Result<()> {
        self.wait_for_count(&format!("agents WHERE tags['{key}'] = '{value}'"), 1)
    }

    /// Waits until the server has so many commands: an agent that has come is asked once it was heard over its line.
    pub fn wait_for_commands(&self, count: usize) -> Result<()> {
        self.wait_for_count("commands", count)
    }

    fn wait_for_count(&self, what: &str, count: usize) -> Result<()> {
        let statement = format!("SELECT count(*) AS n FROM {what}");
        let expected = format!("n\n{count}\n");
        let come = || Ok(self.ask(&["-q", "--format", "csv", "-c", &statement])?.stdout == expected.as_bytes());
        wait_until(come).with_context(|| format!("{count} of {what} did not come: {}", self.log("server")))
    }

    /// As [`Yard::wait_for`], where it takes longer than a program may need to start.
    pub fn wait_for_within(&self, count: usize, patience: Duration) -> Result<()> {
        let statement = "SELECT count(*) AS n FROM agents WHERE status = 'online'";
        let expected = format!("n\n{count}\n");
        let come = || Ok(self.ask(&["-q", "--format", "csv", "-c", statement])?.stdout == expected.as_bytes());
        wait_within(patience, Duration::from_secs(2), come)
    }

    /// Waits until so many agents have answered what was asked last.
    pub fn wait_for_answers(&self, count: usize) -> Result<()> {
        self.wait_for_count("commands WHERE state = 'answered'", count)
    }

    /// Waits until the server has let an action in.
    pub fn wait_for_action(&self) -> Result<()> {
        self.wait_for_actions(1)
    }

    /// Waits until the server has let a count of actions in.
    pub fn wait_for_actions(&self, count: usize) -> Result<()> {
        wait_until(|| Ok(posted(&self.log("server")).len() >= count)).context(self.log("server"))
    }
}

/// The ids of the actions that a log tells of; a desk that lost its server posts the same one again.
fn posted(log: &str) -> BTreeSet<&str> {
    let lines = log.lines().filter(|line| line.contains("an action was posted"));
    lines.filter_map(|line| line.split_once("\"id\":\"")?.1.split('"').next()).collect()
}

/// Looks again and again, since other programs do not tell when they are ready.
fn wait_until(ready: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_within(PATIENCE, Duration::from_millis(50), ready)
}

fn wait_within(patience: Duration, pause: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !ready()? {
        if started.elapsed() > patience {
            bail!("it did not come to pass in {} s", patience.as_secs());
        }
        #[expect(clippy::disallowed_methods, reason = "another program's state is no channel to block on")]
        std::thread::sleep(pause);
    }
    Ok(())
}

fn check(output: &Output, what: &str) -> Result<()> {
    if !output.status.success() {
        bail!("there is no {what}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
