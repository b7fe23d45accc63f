//! What the server is told: flags, `CANVASS_…` variables, and a file, in this order of rank.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use ipnet::IpNet;
use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::relay::amqp::Address;
use crate::roles::{Grant, Roles};

/// More than any configuration needs.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Brings signed actions to agents, and their signed answers back. It has no key that an agent obeys.
#[derive(Debug, Default, Clone, Parser, Deserialize)]
#[command(name = "canvass-server", version)]
#[serde(deny_unknown_fields)]
pub struct Flags {
    /// A TOML file with any of these settings; flags and variables come before it
    #[arg(long, env = "CANVASS_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// The address to listen on [default: 127.0.0.1:1664]
    #[arg(long, env = "CANVASS_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The address to tell Prometheus on how the server is, at `/metrics`, without a session [default: nowhere]
    #[arg(long, env = "CANVASS_METRICS", value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// Where the server keeps what it has to [default: canvass-server in the user's data folder]
    #[arg(long, env = "CANVASS_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// `sqlite:FILE`, or `postgres://…` [default: a file in the data folder]
    #[arg(long, env = "CANVASS_STORE", value_name = "URL", hide_env_values = true)]
    store: Option<String>,
    /// `embedded`, or `amqp://…` or `amqps://…` for RabbitMQ [default: embedded]
    #[arg(long, env = "CANVASS_RELAY", value_name = "URL", hide_env_values = true)]
    relay: Option<String>,
    /// The broker's address for agents, where they reach it by another than this server does
    #[arg(long, env = "CANVASS_RELAY_PUBLIC", value_name = "URL", hide_env_values = true)]
    relay_public: Option<String>,
    /// The broker's management, `http(s)://user:password@host:15672`: each agent then gets a user of its own there
    #[arg(long, env = "CANVASS_RELAY_ADMIN", value_name = "URL", hide_env_values = true)]
    relay_admin: Option<String>,
    /// Whom the server lets into the fleet [default: open on a loopback address, else approve]
    #[arg(long, env = "CANVASS_ENROL", value_enum)]
    enrol: Option<Enrol>,
    /// What agents have to know where `--enrol token` asks for it [default: drawn, and kept in the data folder]
    #[arg(long, env = "CANVASS_ENROL_TOKEN", value_name = "TEXT", hide_env_values = true)]
    enrol_token: Option<String>,
    /// The certificate chain, PEM
    #[arg(long, env = "CANVASS_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "CANVASS_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// OpenPGP certificates of those who may ask [default: keyring in the data folder]
    #[arg(long, env = "CANVASS_KEYRING", value_name = "DIR")]
    keyring: Option<PathBuf>,
    /// The fleet's name, in everything that is signed for it [default: drawn once, and kept in the data folder]
    #[arg(long, env = "CANVASS_FLEET", value_name = "NAME")]
    fleet: Option<String>,
    /// A name by which desks and agents call this server; may be given several times [default: those of the certificate, and
    /// those of a loopback address where it listens on one]
    #[arg(long, env = "CANVASS_PUBLIC_NAME", value_name = "NAME", value_delimiter = ',')]
    public_name: Option<Vec<String>>,
    /// A load balancer or proxy, by address or network, that says truly in `Forwarded` or `X-Forwarded-For` where a request
    /// came from; may be given several times [default: none is believed]
    #[arg(long, env = "CANVASS_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    trusted_proxy: Option<Vec<String>>,
    /// What investigators may do here: by fingerprint, or `default`, one of `none`, `read`, `hunt` and `admin`
    #[arg(skip)]
    roles: Option<BTreeMap<String, Grant>>,
}

/// Whom the server lets into the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enrol {
    /// Whoever comes.
    Open,
    /// Whoever knows the token.
    Token,
    /// Whom an administrator approved.
    Approve,
}

/// A server's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub listen: SocketAddr,
    /// Where Prometheus may ask.
    pub metrics: Option<SocketAddr>,
    pub data: PathBuf,
    pub store: StoreUrl,
    pub relay: RelayUrl,
    pub enrol: Enrol,
    pub enrol_token: Option<String>,
    pub tls: Option<Tls>,
    pub keyring: PathBuf,
    pub fleet: Option<String>,
    /// By which requests may call this server, where they are not the certificate's.
    pub public_names: Vec<String>,
    /// Who is believed about where a request came from.
    pub trusted_proxies: Vec<IpNet>,
    pub roles: Roles,
}

/// Which store remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
    Postgres(Url),
}

/// Which relay carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayUrl {
    Embedded,
    Amqp(Box<Address>),
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Config {
    /// Reads the command line, the environment, and the file that they name.
    pub fn from_arguments() -> Result<Config> {
        let flags = Flags::parse();
        let file = flags.config.as_deref().map(read).transpose()?.unwrap_or_default();
        flags.or(file).check()
    }
}

impl Flags {
    fn or(self, file: Flags) -> Flags {
        Flags {
            config: self.config,
            listen: self.listen.or(file.listen),
            metrics: self.metrics.or(file.metrics),
            data: self.data.or(file.data),
            store: self.store.or(file.store),
            relay: self.relay.or(file.relay),
            relay_public: self.relay_public.or(file.relay_public),
            relay_admin: self.relay_admin.or(file.relay_admin),
            enrol: self.enrol.or(file.enrol),
            enrol_token: self.enrol_token.or(file.enrol_token),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            keyring: self.keyring.or(file.keyring),
            fleet: self.fleet.or(file.fleet),
            public_name: self.public_name.or(file.public_name),
            trusted_proxy: self.trusted_proxy.or(file.trusted_proxy),
            roles: file.roles,
        }
    }

    fn check(self) -> Result<Config> {
        let listen = self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 1664)));
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
            (None, None) => None,
            _ => bail!("`--tls-cert` and `--tls-key` go together"),
        };
        if tls.is_none() && !listen.ip().is_loopback() {
            bail!("{listen} can be reached by others, so it needs TLS: give `--tls-cert FILE --tls-key FILE`");
        }
        if let Some(metrics) = self.metrics.filter(|metrics| tls.is_none() && !metrics.ip().is_loopback()) {
            bail!(
                "`--metrics {metrics}` can be reached by others, so it needs TLS: give `--tls-cert FILE --tls-key FILE`, or a \
                 loopback address"
            );
        }
        let data = self.data.map_or_else(default_data, Ok)?;
        let store = match self.store.as_deref() {
            None => StoreUrl::Sqlite(data.join("server.sqlite")),
            Some(url) => match url.split_once(':') {
                Some(("sqlite", path)) if !path.is_empty() => StoreUrl::Sqlite(path.trim_start_matches("//").into()),
                // The address may hold a password, so no message shows it.
                _ => match Url::parse(url) {
                    Ok(url) if matches!(url.scheme(), "postgres" | "postgresql") => StoreUrl::Postgres(private(url)?),
                    _ => bail!("`--store` is no address that is known here: write `sqlite:FILE` or `postgres://…`"),
                },
            },
        };
        let relay = relay(self.relay.as_deref(), self.relay_public.as_deref(), self.relay_admin.as_deref())?;
        let enrol = self.enrol.unwrap_or(if listen.ip().is_loopback() { Enrol::Open } else { Enrol::Approve });
        if self.enrol_token.is_some() && enrol != Enrol::Token {
            bail!("`--enrol-token` goes with `--enrol token`");
        }
        if self.fleet.as_deref().is_some_and(|fleet| !is_fleet_name(fleet)) {
            bail!("`--fleet`: a fleet's name is 1 to 64 letters, digits, `-`, `_` and `.`");
        }
        let keyring = self.keyring.unwrap_or_else(|| data.join("keyring"));
        let names = self.public_name.unwrap_or_default().into_iter();
        Ok(Config {
            listen,
            metrics: self.metrics,
            data,
            store,
            relay,
            enrol,
            enrol_token: self.enrol_token,
            tls,
            keyring,
            fleet: self.fleet,
            public_names: names.map(|name| name.to_ascii_lowercase()).collect(),
            trusted_proxies: networks(self.trusted_proxy.unwrap_or_default())?,
            roles: Roles::parse(self.roles.unwrap_or_default())?,
        })
    }
}

/// Refuses a database that others could stand before: everything goes there, and its password first.
fn private(url: Url) -> Result<Url> {
    // The address may hold a password, so no message shows it.
    let options: PgConnectOptions =
        url.as_str().parse().ok().context("`--store`: the database's address cannot be read")?;
    let host = options.get_host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = options.get_socket().is_some()
        || host.starts_with('/')
        || bare == "localhost"
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !is_here && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
        bail!(
            "`--store`: what goes to the database on `{host}` could be read and changed on the way: add \
             `?sslmode=verify-full` to its address, and `&sslrootcert=FILE` where its authority is yours"
        );
    }
    Ok(url)
}

/// Networks by CIDR, or single addresses.
fn networks(texts: Vec<String>) -> Result<Vec<IpNet>> {
    let network = |text: String| {
        let read = text.parse::<IpNet>().ok().filter(|network| network.addr() == network.network());
        read.or_else(|| text.parse::<IpAddr>().ok().map(|address| address.to_canonical().into())).with_context(|| {
            format!("`--trusted-proxy {text}` is no address and no network: write `10.0.0.7` or `10.0.0.0/24`")
        })
    };
    texts.into_iter().map(network).collect()
}

fn relay(own: Option<&str>, public: Option<&str>, admin: Option<&str>) -> Result<RelayUrl> {
    let Some(own) = own.filter(|own| *own != "embedded") else {
        if public.or(admin).is_some() {
            bail!("`--relay-public` and `--relay-admin` go with `--relay amqps://…`");
        }
        return Ok(RelayUrl::Embedded);
    };
    let amqp = |flag, url| checked_url(flag, url, &["amqp", "amqps"], "embedded`, `amqp://…` or `amqps://…");
    Ok(RelayUrl::Amqp(Box::new(Address {
        own: amqp("--relay", own)?,
        public: public.map(|url| amqp("--relay-public", url)).transpose()?,
        admin: admin.map(|url| checked_url("--relay-admin", url, &["http", "https"], "https://…")).transpose()?,
    })))
}

/// Reads an address. It may hold a password, so no message shows it.
fn checked_url(flag: &str, text: &str, schemes: &[&str], write: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(|url| schemes.contains(&url.scheme()) && url.has_host());
    let url = url.with_context(|| format!("`{flag}` is no address that is known here: write `{write}`"))?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        // Schemes that the standard does not know keep addresses as text.
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    } || url
        .host_str()
        .is_some_and(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()));
    if !loopback && matches!(url.scheme(), "amqp" | "http") {
        bail!("`{flag}` would send credentials in the clear: write `{}s://…`", url.scheme());
    }
    Ok(url)
}

/// Names with a colon are those of fleets that need no server.
fn is_fleet_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn read(path: &Path) -> Result<Flags> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("`{}`", path.display()))?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(|| format!("`{}`", path.display()))?;
    toml::from_str(&text).with_context(|| format!("malformed configuration `{}`", path.display()))
}

fn default_data() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    Ok(data.context("`HOME` does not name a folder: give `--data DIR`")?.join("canvass-server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &str, file: &str) -> Result<Config> {
        let arguments = format!("canvass-server --data /d {arguments}");
        let flags = Flags::try_parse_from(arguments.split_whitespace())?;
        flags.or(toml::from_str(file)?).check()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let config = config("", "").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:1664");
        assert_eq!(config.store, StoreUrl::Sqlite("/d/server.sqlite".into()));
        assert_eq!(config.keyring, Path::new("/d/keyring"));
        assert_eq!(config.enrol, Enrol::Open);
        assert_eq!(config.metrics, None);
    }

    #[test]
    fn flags_come_before_the_file() {
        let file = "listen = \"127.0.0.1:7\"\nenrol = \"token\"\nfleet = \"acme\"";
        let config = config("--listen 127.0.0.1:8", file).unwrap();
        assert_eq!((config.listen.port(), config.enrol), (8, Enrol::Token));
        assert_eq!(config.fleet.as_deref(), Some("acme"));
    }

    #[test]
    fn proxies_are_networks_and_addresses() {
        let proxies = |arguments: &str, file: &str| config(arguments, file).unwrap().trusted_proxies;
        assert_eq!(proxies("", ""), []);
        let expected = ["10.0.0.0/24", "192.0.2.7/32"].map(|text| text.parse::<IpNet>().unwrap());
        assert_eq!(proxies("--trusted-proxy 10.0.0.0/24 --trusted-proxy 192.0.2.7", ""), expected);
        assert_eq!(proxies("", "trusted_proxy = ['10.0.0.0/24', '::ffff:192.0.2.7']"), expected);
    }

    #[test]
    fn a_database_elsewhere_is_reached_by_tls_alone() {
        for url in [
            "postgres://u@127.0.0.1/x",
            "postgres://u@[::1]/x",
            "postgres://u@localhost:5433/x?sslmode=disable",
            "postgresql:///x?host=/run/postgresql",
            "postgres://u@%2Frun%2Fpostgresql/x",
            "postgres://u@db.example/x?sslmode=verify-full&sslrootcert=/ca.pem",
        ] {
            let store = config(&format!("--store {url}"), "").unwrap().store;
            assert_eq!(store, StoreUrl::Postgres(Url::parse(url).unwrap()), "{url}");
        }
        assert!(config("--listen 0.0.0.0:1 --metrics 0.0.0.0:2 --tls-cert c --tls-key k", "").is_ok());
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (arguments, file, words) in [
            ("--listen 0.0.0.0:1664", "", "needs TLS"),
            ("--metrics 0.0.0.0:9", "", "`--metrics 0.0.0.0:9` can be reached by others, so it needs TLS"),
            ("--store postgres://u:secret@db.example/x", "", "add `?sslmode=verify-full`"),
            ("--store postgres://u:secret@10.0.0.7/x?sslmode=require", "", "add `?sslmode=verify-full`"),
            (
                "--store postgres://u:secret@db.example/x?sslmode=verify-ca&sslrootcert=/ca",
                "",
                "add `?sslmode=verify-full`",
            ),
            ("--tls-cert c", "", "go together"),
            ("--store mysql://x", "", "write `sqlite:FILE` or `postgres://…`"),
            ("--relay amqp://broker.example", "", "in the clear: write `amqps://…`"),
            ("--relay carrier-pigeon", "", "write `embedded`, `amqp://…`"),
            ("--relay amqp:", "", "write `embedded`, `amqp://…`"),
            ("--relay-admin http://localhost", "", "go with `--relay amqps://…`"),
            ("--relay amqp://localhost --relay-admin http://broker.example", "", "in the clear"),
            ("--relay amqp://localhost --relay-public ftp://x", "", "`--relay-public` is no address"),
            ("--enrol-token x", "", "goes with `--enrol token`"),
            ("--fleet local:x", "", "letters, digits"),
            ("--trusted-proxy balancer", "", "no address and no network"),
            ("--trusted-proxy 10.0.0.7/24", "", "write `10.0.0.7` or `10.0.0.0/24`"),
            ("", "colour = 1", "unknown field `colour`"),
            ("", "[roles]\nalice = \"admin\"", "neither a fingerprint nor `default`"),
            ("", "[roles]\ndefault = \"king\"", "unknown variant `king`"),
            ("--enrol maybe", "", "invalid value 'maybe'"),
        ] {
            let error = format!("{:#}", config(arguments, file).unwrap_err());
            assert!(error.contains(words) && !error.contains("secret"), "{arguments} {file}: {error}");
        }
    }
}
