//! What the agent is told: flags, `CANVASS_…` variables, and a file, in this order of rank.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use canvass_tables::host::HostSpec;
use clap::Parser;
use serde::Deserialize;
use url::Url;

use crate::folder::{check_private, check_trusted, check_trusted_above, open_regular, read_bounded};

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
    /// What the server asks newcomers for, where it does. Everybody on this host can read it on a command line: name a
    /// file, or set the variable
    #[arg(long, env = "CANVASS_ENROL_TOKEN", value_name = "TEXT", hide_env_values = true)]
    enrol_token: Option<String>,
    /// A file that holds it, and that nobody but its owner may read
    #[arg(long, env = "CANVASS_ENROL_TOKEN_FILE", value_name = "FILE", conflicts_with = "enrol_token")]
    enrol_token_file: Option<PathBuf>,
    /// Take what waits, answer, and leave
    #[arg(long)]
    #[serde(skip)]
    once: bool,
    /// Answer for a folder that holds a `host.toml` as if it were a host, for trials
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
    /// Whether somebody named it, so that it has to be there.
    pub policy_named: bool,
    pub name: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub enrol_token: Option<EnrolToken>,
    /// Files that hold secrets: no scan reads them.
    pub secrets: Vec<PathBuf>,
    pub once: bool,
    pub host: HostSpec,
}

/// What the server asks newcomers for.
#[derive(Clone, PartialEq, Eq)]
pub enum EnrolToken {
    Text(String),
    /// Read whenever the server is asked, so that it may be changed and, once the agent was let in, removed.
    File(PathBuf),
}

impl EnrolToken {
    /// The token itself; `None` where its file is not there any more.
    pub fn read(&self) -> Result<Option<String>> {
        let path = match self {
            EnrolToken::Text(text) => return Ok(Some(text.clone())),
            EnrolToken::File(path) => path,
        };
        let Some((file, metadata)) = open_regular(path)? else { return Ok(None) };
        check_private(path, &metadata)?;
        let bytes = read_bounded(path, file, FILE_BYTES_MAX)?;
        let text = String::from_utf8(bytes).ok().with_context(|| format!("`{}` is not text", path.display()))?;
        Ok(Some(text.trim().to_owned()))
    }
}

impl std::fmt::Debug for EnrolToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EnrolToken::Text(_) => f.write_str("EnrolToken"),
            EnrolToken::File(path) => write!(f, "EnrolToken({})", path.display()),
        }
    }
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

    /// The address of a path that the server itself has named: a path below it, and no other server's.
    pub fn below(&self, path: &str) -> Option<String> {
        let joined = self.at(path);
        let url = Url::parse(&joined).ok()?;
        let is_ours = path.starts_with('/')
            && url.origin() == self.url.origin()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        is_ours.then_some(joined)
    }

    /// Whether what is said to it is not encrypted: it is on this machine, and no proxy has to hear it.
    pub fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
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
        let written = file.enrol_token.is_some().then(|| self.config.clone().unwrap_or_else(|| default.to_owned()));
        let mut config = self.or(file).check()?;
        config.secrets.extend(written);
        Ok(config)
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
            // A file named by a flag comes before a token in the configuration.
            enrol_token: match &self.enrol_token_file {
                Some(_) => None,
                None => self.enrol_token.clone().or(file.enrol_token),
            },
            enrol_token_file: match &self.enrol_token {
                Some(_) => None,
                None => self.enrol_token_file.or(file.enrol_token_file),
            },
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
        let enrol_token = match (self.enrol_token, self.enrol_token_file) {
            (Some(_), Some(_)) => bail!("the enrolment token and a file of it: give one of them"),
            (Some(text), None) => Some(EnrolToken::Text(text)),
            (None, file) => file.map(EnrolToken::File),
        };
        let secrets = match &enrol_token {
            Some(EnrolToken::File(path)) => vec![path.clone()],
            Some(EnrolToken::Text(_)) | None => Vec::new(),
        };
        Ok(Config {
            server: Server::parse(&server)?,
            data: self.data.unwrap_or_else(|| DATA.into()),
            keyring: self.keyring.unwrap_or_else(|| KEYRING.into()),
            policy_named: self.policy.is_some(),
            policy: self.policy.unwrap_or_else(|| POLICY.into()),
            name: self.name,
            tags,
            enrol_token,
            secrets,
            once: self.once,
            host: self.root.map_or(HostSpec::Machine, HostSpec::Fixture),
        })
    }
}

/// Reads a configuration, which names policy and keyring: whoever can write it can do away with both.
fn read(path: &Path) -> Result<Flags> {
    let read = || -> Result<Flags> {
        check_trusted_above(path)?;
        let Some((file, metadata)) = open_regular(path)? else {
            return Err(std::io::Error::from(std::io::ErrorKind::NotFound).into());
        };
        check_trusted(path, &metadata)?;
        let bytes = read_bounded(path, file, FILE_BYTES_MAX)?;
        let flags: Flags = toml::from_str(std::str::from_utf8(&bytes).context("it is not text")?)?;
        if flags.enrol_token.is_some() && check_private(path, &metadata).is_err() {
            bail!("it holds the enrolment token, and others may read it (chmod go-rwx, or name an `enrol_token_file`)");
        }
        Ok(flags)
    };
    read().with_context(|| format!("the configuration `{}` cannot be used", path.display()))
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
        assert_eq!(server.below("/v1/line?x=1").as_deref(), Some("http://localhost:1664/v1/line?x=1"));
        for elsewhere in
            ["@other.example/v1", "v1", "", ":1665/v1", ".other.example/", "0/v1", "/v1#x", "\\@other.example/"]
        {
            assert_eq!(server.below(elsewhere), None, "{elsewhere}");
        }
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
