//! What the agent is told: flags, `CANVASS_…` variables, and a file, in this order of rank.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use canvass_tables::host::HostSpec;
use clap::Parser;
use serde::Deserialize;
use url::Url;

/// Where an agent's things are when nobody says otherwise.
const CONFIG: &str = "/etc/canvass/canvass-agent.toml";
const DATA: &str = "/var/lib/canvass/agent";
const POLICY: &str = "/etc/canvass/agent.toml";
const KEYRING: &str = "/etc/canvass/keyring";
/// More than any configuration needs.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Default, Clone, Parser, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flags {
    /// A TOML file with any of these settings; flags and variables come before it
    /// [default: /etc/canvass/canvass-agent.toml, where there is one]
    #[arg(long, env = "CANVASS_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// The server, `https://…`; plain http only on a loopback address
    #[arg(long, env = "CANVASS_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The agent's own folder [default: /var/lib/canvass/agent]
    #[arg(long, env = "CANVASS_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// OpenPGP certificates of those whose actions may run here [default: /etc/canvass/keyring]
    #[arg(long, env = "CANVASS_KEYRING", value_name = "DIR")]
    keyring: Option<PathBuf>,
    /// What they may do here [default: /etc/canvass/agent.toml]
    #[arg(long, env = "CANVASS_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The agent's name [default: the host's]
    #[arg(long, env = "CANVASS_NAME", value_name = "NAME")]
    name: Option<String>,
    /// A tag that statements can choose agents by; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    #[serde(default)]
    tag: Vec<String>,
    /// What the server asks newcomers for, where it does
    #[arg(long, env = "CANVASS_ENROL_TOKEN", value_name = "TEXT", hide_env_values = true)]
    enrol_token: Option<String>,
    /// Take what waits, answer, and leave
    #[arg(long)]
    #[serde(skip)]
    once: bool,
    /// Answer for a folder as if it were a host, for trials
    #[arg(long, env = "CANVASS_ROOT", value_name = "DIR")]
    root: Option<PathBuf>,
}

/// An agent's settings.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    pub data: PathBuf,
    pub keyring: PathBuf,
    pub policy: PathBuf,
    pub name: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub enrol_token: Option<String>,
    pub once: bool,
    pub host: HostSpec,
}

/// The server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    url: Url,
}

impl Server {
    /// Reads an address; http only where nobody can listen.
    pub fn parse(text: &str) -> Result<Server> {
        let url = Url::parse(text).with_context(|| format!("`{text}` is no address: write `https://server`"))?;
        let Some(host) = url.host() else { bail!("`{text}` names no host") };
        let loopback = match host {
            url::Host::Domain(name) => name == "localhost",
            url::Host::Ipv4(ip) => ip.is_loopback(),
            url::Host::Ipv6(ip) => ip.is_loopback(),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => bail!("`{text}` would send everything in the clear: write `https://…`"),
            other => bail!("`{other}` is not known: write `https://server`"),
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            bail!("`{text}`: an address is scheme, host and port, and nothing else");
        }
        Ok(Server { url })
    }

    /// An address below the server's.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }

    /// Host and port, as requests name them.
    pub fn name(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

impl Flags {
    /// Puts flags, environment and file together.
    pub fn read(self) -> Result<Config> {
        let default = Path::new(CONFIG);
        let file = match &self.config {
            Some(path) => read(path)?,
            None if default.exists() => read(default)?,
            None => Flags::default(),
        };
        self.or(file).check()
    }

    fn or(self, file: Flags) -> Flags {
        Flags {
            config: self.config,
            server: self.server.or(file.server),
            data: self.data.or(file.data),
            keyring: self.keyring.or(file.keyring),
            policy: self.policy.or(file.policy),
            name: self.name.or(file.name),
            tag: if self.tag.is_empty() { file.tag } else { self.tag },
            enrol_token: self.enrol_token.or(file.enrol_token),
            once: self.once,
            root: self.root.or(file.root),
        }
    }

    fn check(self) -> Result<Config> {
        let Some(server) = self.server else { bail!("which server? give `--server https://…`") };
        let mut tags = BTreeMap::new();
        for tag in self.tag {
            let Some((key, value)) = tag.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                bail!("`--tag {tag}`: write `key=value`");
            };
            if tags.insert(key.to_owned(), value.to_owned()).is_some() {
                bail!("the tag `{key}` is given twice");
            }
        }
        Ok(Config {
            server: Server::parse(&server)?,
            data: self.data.unwrap_or_else(|| DATA.into()),
            keyring: self.keyring.unwrap_or_else(|| KEYRING.into()),
            policy: self.policy.unwrap_or_else(|| POLICY.into()),
            name: self.name,
            tags,
            enrol_token: self.enrol_token,
            once: self.once,
            host: self.root.map_or(HostSpec::Machine, HostSpec::Fixture),
        })
    }
}

fn read(path: &Path) -> Result<Flags> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("`{}`", path.display()))?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(|| format!("`{}`", path.display()))?;
    toml::from_str(&text).with_context(|| format!("malformed configuration `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for good in [
            "https://canvass.example",
            "https://h:8443/",
            "http://127.0.0.1:1664",
            "http://localhost",
            "http://[::1]:7",
        ] {
            assert!(Server::parse(good).is_ok(), "{good}");
        }
        for (bad, words) in [
            ("canvass.example", "is no address"),
            ("http://canvass.example", "in the clear"),
            ("http://10.0.0.1", "in the clear"),
            ("ftp://h", "not known"),
            ("https://u:p@h", "nothing else"),
            ("https://h?x", "nothing else"),
            ("unix:/run/x", "names no host"),
        ] {
            let error = Server::parse(bad).unwrap_err().to_string();
            assert!(error.contains(words), "{bad}: {error}");
        }
        let server = Server::parse("http://localhost:1664/").unwrap();
        assert_eq!((server.name().as_str(), server.at("/v1").as_str()), ("localhost:1664", "http://localhost:1664/v1"));
    }

    #[test]
    fn tags_and_servers_are_asked_for() {
        let check = |arguments: &str| {
            let words = std::iter::once("canvass-agent").chain(arguments.split_whitespace());
            Flags::try_parse_from(words).unwrap().check()
        };
        assert_eq!(check("--server http://localhost --tag team=web --tag a=").unwrap().tags.len(), 2);
        for (arguments, words) in [
            ("", "which server?"),
            ("--server http://localhost --tag web", "key=value"),
            ("--server http://localhost --tag =web", "key=value"),
            ("--server http://localhost --tag a=1 --tag a=2", "twice"),
        ] {
            assert!(check(arguments).unwrap_err().to_string().contains(words), "{arguments}");
        }
    }
}
