//! A private RabbitMQ.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::Tls;
use crate::process::{Running, free_port, password, run, tied, wait_until_ready};

/// Where distributions put the broker's programs; those on the path insist on the package's own user.
const PROGRAMS: &str = "usr/lib/rabbitmq/bin";
/// Where they put Erlang's, of which the distribution's own are on the path.
const ERLANG: &str = "usr/lib/erlang/bin";
/// What is on the path of everything that is started here.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// The folder of the target folder that `make tools` unpacks a RabbitMQ of series 4 into.
const SERIES_4: &str = "rabbitmq-4";
/// What a broker of series 4 is told, beside the rest: to refuse what 4.3 refuses unless it is told otherwise, and to make
/// queues whose kind nobody names replicated ones.
const STRICT: &str = "deprecated_features.permit.transient_nonexcl_queues = false\n\
     deprecated_features.permit.global_qos = false\n\
     deprecated_features.permit.management_metrics_collection = false\n\
     default_queue_type = quorum\n";
/// Descriptors of the broker: two a connection and some for itself, as far as this process may.
const DESCRIPTORS: u32 = 65536;
/// The broker's user.
const USER: &str = "canvass";

/// Its management, and what a large fleet's does without (docs/fleet.md).
const MANAGEMENT: &str = "rabbitmq_management";
const LEAN: &str = "heartbeat = 600\n";

/// Which RabbitMQ is started.
#[derive(Debug, Clone)]
pub struct Broker {
    /// The folder that its packages are unpacked in.
    root: PathBuf,
    path: String,
    settings: &'static str,
}

impl Broker {
    /// The distribution's own.
    #[must_use]
    pub fn distribution() -> Broker {
        Broker { root: PathBuf::from("/"), path: PATH.to_owned(), settings: "" }
    }

    /// One of series 4, which refuses what the latest of that series does. It lies in the target folder that this program was
    /// built in.
    pub fn series_4() -> Result<Broker> {
        let program = std::env::current_exe().context("nobody knows where this program lies")?;
        let made = |folder: &Path| folder.join(SERIES_4).join("made").exists();
        let target = program.ancestors().find(|folder| made(folder));
        let root =
            target.with_context(|| format!("there is no `{SERIES_4}` in the target folder: run `make tools`"))?;
        let root = root.join(SERIES_4);
        let path = format!("{}:{PATH}", root.join(ERLANG).display());
        Ok(Broker { root, path, settings: STRICT })
    }

    fn program(&self, name: &str) -> PathBuf {
        self.root.join(PROGRAMS).join(name)
    }
}

/// A broker with one virtual host, `/`, reached by [`Rabbitmq::url`] and, for its management, by [`Rabbitmq::admin_url`].
pub struct Rabbitmq {
    broker: Broker,
    folder: TempDir,
    ports: Ports,
    password: String,
    /// The Erlang port mapper, which the broker would otherwise start and leave behind.
    _epmd: Running,
    running: Option<Running>,
}

struct Ports {
    amqp: u16,
    amqps: u16,
    admin: u16,
    distribution: u16,
    epmd: u16,
}

impl Rabbitmq {
    /// Starts the distribution's broker.
    pub fn start() -> Result<Rabbitmq> {
        Rabbitmq::start_of(Broker::distribution())
    }

    /// Starts a broker of one's choice.
    pub fn start_of(broker: Broker) -> Result<Rabbitmq> {
        Rabbitmq::make(broker, None, MANAGEMENT, "")
    }

    /// Starts one for many agents: without management, and with rare heartbeats.
    pub fn start_lean(broker: Broker) -> Result<Rabbitmq> {
        Rabbitmq::make(broker, None, "", LEAN)
    }

    /// Starts the distribution's broker, which also listens for TLS, at [`Rabbitmq::tls_url`].
    pub fn start_tls(tls: &Tls) -> Result<Rabbitmq> {
        Rabbitmq::make(Broker::distribution(), Some(tls), MANAGEMENT, "")
    }

    fn make(broker: Broker, tls: Option<&Tls>, plugins: &str, settings: &str) -> Result<Rabbitmq> {
        let folder = tempfile::Builder::new().prefix("canvass-rabbitmq").tempdir()?;
        let ports = Ports {
            amqp: free_port()?,
            amqps: free_port()?,
            admin: free_port()?,
            distribution: free_port()?,
            epmd: free_port()?,
        };
        let password = password()?;
        let mut config = format!(
            "listeners.tcp.default = 127.0.0.1:{}\n\
             default_user = {USER}\ndefault_pass = {password}\nloopback_users = none\n\
             vm_memory_high_watermark.relative = 0.7\ndisk_free_limit.absolute = 50MB\nlog.console = false\n{settings}{}",
            ports.amqp, broker.settings
        );
        if plugins == MANAGEMENT {
            config += &format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\n", ports.admin);
        }
        if let Some(Tls { authority, certificate, key }) = tls {
            config += &format!(
                "listeners.ssl.default = 127.0.0.1:{}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
                 ssl_options.keyfile = {}\nssl_options.verify = verify_none\n",
                ports.amqps,
                authority.display(),
                certificate.display(),
                key.display()
            );
        }
        fs::write(folder.path().join("rabbitmq.conf"), config)?;
        fs::write(folder.path().join("plugins"), format!("[{plugins}].\n"))?;
        let mut epmd = tied(Path::new("epmd"), None);
        epmd.env("PATH", &broker.path).args(["-port", &ports.epmd.to_string(), "-address", "127.0.0.1"]);
        let epmd = epmd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let epmd = Running(epmd.context("cannot start epmd: run `make tools`")?);
        let mut rabbitmq = Rabbitmq { broker, folder, ports, password, _epmd: epmd, running: None };
        rabbitmq.start_again()?;
        Ok(rabbitmq)
    }

    /// `amqp://…`, with user and password.
    pub fn url(&self) -> String {
        format!("amqp://{USER}:{}@127.0.0.1:{}", self.password, self.ports.amqp)
    }

    /// `amqps://…`, with user and password.
    pub fn tls_url(&self) -> String {
        format!("amqps://{USER}:{}@127.0.0.1:{}", self.password, self.ports.amqps)
    }

    /// The management's address, with user and password.
    pub fn admin_url(&self) -> String {
        format!("http://{USER}:{}@127.0.0.1:{}", self.password, self.ports.admin)
    }

    /// The version of RabbitMQ that runs.
    pub fn version(&self) -> Result<String> {
        Ok(self.control(&["eval", "rabbit:base_product_version()."])?.trim().trim_matches('"').to_owned())
    }

    /// The process, for its figures; `None` where it does not run.
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.0.id())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it at the same address, with what it kept.
    pub fn start_again(&mut self) -> Result<()> {
        let log = self.folder.path().join("output");
        let file = File::options().create(true).append(true).open(&log)?;
        let descriptors = format!("ulimit -n {DESCRIPTORS} 2>/dev/null || ulimit -n $(ulimit -Hn); exec \"$0\" \"$@\"");
        let mut command = tied(Path::new("/bin/sh"), None);
        command.args(["-c", &descriptors]).arg(self.broker.program("rabbitmq-server"));
        self.environment(&mut command);
        // The broker takes its script's place, so that the process we end is the broker; and it starts no port mapper.
        command.env("RUNNING_UNDER_SYSTEMD", "1").env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-start_epmd false");
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut running = Running(command.spawn().context("cannot start RabbitMQ: run `make tools`")?);
        let port = self.ports.amqp;
        wait_until_ready(&mut running, &log, || greets(port))?;
        self.running = Some(running);
        Ok(())
    }

    /// Runs `rabbitmqctl` with these arguments; returns what it prints.
    pub fn control(&self, arguments: &[&str]) -> Result<String> {
        if self.running.is_none() {
            bail!("the broker does not run");
        }
        let mut command = Command::new(self.broker.program("rabbitmqctl"));
        command.env_clear();
        command.args(["-q", "-n", &self.node()]).args(arguments);
        self.environment(&mut command);
        run(&mut command)
    }

    fn node(&self) -> String {
        format!("canvass{}@localhost", self.ports.amqp)
    }

    fn environment(&self, command: &mut Command) {
        let at = |name: &str| -> PathBuf { self.folder.path().join(name) };
        // What it writes down of a crash goes where it works.
        command.current_dir(self.folder.path());
        command.env("PATH", &self.broker.path);
        command.env("HOME", self.folder.path()).env("LC_ALL", "C.UTF-8");
        command.env("RABBITMQ_NODENAME", self.node()).env("RABBITMQ_DIST_PORT", self.ports.distribution.to_string());
        command.env("ERL_EPMD_PORT", self.ports.epmd.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command.env("RABBITMQ_MNESIA_BASE", at("mnesia")).env("RABBITMQ_LOG_BASE", at("log"));
        command.env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf")).env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"));
        command.env("RABBITMQ_PID_FILE", at("pid")).env("RABBITMQ_CONF_ENV_FILE", at("none"));
    }
}

/// Whether a broker answers at the port; it tells strangers its protocol's version.
fn greets(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(1)));
    let mut byte = [0; 1];
    stream.write_all(b"AMQP\x00\x00\x09\x01").is_ok() && stream.read_exact(&mut byte).is_ok() && byte[0] == 1
}
