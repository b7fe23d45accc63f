//! Where `canvass` keeps things, as the XDG base directories have it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use canvass_planner::error::Error;

/// The folders of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    config: PathBuf,
    data: PathBuf,
}

impl Places {
    /// Reads `XDG_CONFIG_HOME`, `XDG_DATA_HOME` and `HOME`; relative values are ignored, as the standard asks.
    pub fn from_environment() -> Result<Places, Error> {
        Places::from(|name| std::env::var_os(name))
    }

    fn from(variable: impl Fn(&str) -> Option<OsString>) -> Result<Places, Error> {
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || {
            absolute("HOME").ok_or_else(|| {
                Error::usage("`HOME` does not name a folder").hint("set HOME, or XDG_CONFIG_HOME and XDG_DATA_HOME")
            })
        };
        let config = absolute("XDG_CONFIG_HOME").map_or_else(|| home().map(|home| home.join(".config")), Ok)?;
        let data = absolute("XDG_DATA_HOME").map_or_else(|| home().map(|home| home.join(".local/share")), Ok)?;
        Ok(Places { config: config.join("canvass"), data: data.join("canvass") })
    }

    /// Places below one folder, for tests.
    pub fn below(root: &Path) -> Places {
        Places { config: root.join("config/canvass"), data: root.join("data/canvass") }
    }

    /// The user's own keys.
    pub fn keys(&self) -> PathBuf {
        self.config.join("keys")
    }

    /// Certificates of others that this machine trusts.
    pub fn keyring(&self) -> PathBuf {
        self.config.join("keyring")
    }

    /// The policy of this machine's own agent.
    pub fn policy(&self) -> PathBuf {
        self.config.join("agent.toml")
    }

    /// What is configured.
    pub fn config(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Statements and commands run before the first prompt.
    pub fn init(&self) -> PathBuf {
        self.config.join("init.sql")
    }

    /// Identity and journal of this machine's own agent.
    pub fn agent(&self) -> PathBuf {
        self.data.join("agent")
    }

    /// What was signed.
    pub fn actions(&self) -> PathBuf {
        self.data.join("actions")
    }

    /// What the results of those depend on: inventories and local files as they were.
    pub fn kept(&self) -> PathBuf {
        self.data.join("kept")
    }

    /// Certificates of keys that signed here and are kept elsewhere, as GnuPG's are.
    pub fn signed_with(&self) -> PathBuf {
        self.data.join("signed-with")
    }

    /// Answers of agents that ran in this program.
    pub fn answers(&self) -> PathBuf {
        self.data.join("answers")
    }

    /// Which fleets and agents were seen before.
    pub fn pins(&self) -> PathBuf {
        self.data.join("pins.json")
    }

    pub fn history(&self) -> PathBuf {
        self.data.join("history")
    }
}

/// What `config.toml` can say.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Configured {
    /// The server that is asked where nothing else is said.
    server: Option<String>,
    /// What `canvass.certified` is at first.
    certified: Option<String>,
}

/// The server to ask where the flags do not say whom: `CANVASS_SERVER`, else what `config.toml` says.
pub fn server(places: &Places) -> Result<Option<String>, Error> {
    let variable = std::env::var_os("CANVASS_SERVER").filter(|value| !value.is_empty());
    if let Some(value) = variable {
        let text = value.into_string().map_err(|_| Error::usage("`CANVASS_SERVER` is no text"))?;
        return Ok(Some(text));
    }
    configured(&places.config()).map(|configured| configured.server)
}

/// Which agents of a server are asked, as `canvass.certified` has it, where `config.toml` says so.
pub fn certified(places: &Places) -> Result<Option<String>, Error> {
    configured(&places.config()).map(|configured| configured.certified)
}

fn configured(path: &Path) -> Result<Configured, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Configured::default()),
        Err(error) => return Err(crate::error::unusable(path, &error)),
    };
    toml::from_str(&text).map_err(|error| {
        let place = error.span().map(|span| format!(" line {}", text[..span.start].matches('\n').count() + 1));
        Error::usage(format!("`{}`{}: {}", path.display(), place.unwrap_or_default(), error.message()))
            .hint("it can say `server = \"https://…\"` and `certified = \"only\"`")
    })
}

/// Makes a folder that only its owner can enter; one that exists is left as it is.
pub fn private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file through a temporary one beside it, so that nobody ever sees half of it.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".canvass-")
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(folder)
        // Its own words name the temporary file, of which nobody has heard.
        .map_err(|error| std::io::Error::from(error.kind()))?;
    file.as_file_mut().write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Result<Places, Error> {
        Places::from(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn folders_follow_the_standard() {
        let plain = places(&[("HOME", "/home/a")]).unwrap();
        assert_eq!(plain.keys(), Path::new("/home/a/.config/canvass/keys"));
        assert_eq!(plain.actions(), Path::new("/home/a/.local/share/canvass/actions"));
        let both = places(&[("XDG_CONFIG_HOME", "/c"), ("XDG_DATA_HOME", "/d")]).unwrap();
        assert_eq!((both.policy(), both.agent()), ("/c/canvass/agent.toml".into(), "/d/canvass/agent".into()));
        let relative = places(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "c")]).unwrap();
        assert_eq!(relative.keyring(), Path::new("/h/.config/canvass/keyring"));
        assert_eq!(places(&[]).unwrap_err().message, "`HOME` does not name a folder");
    }

    #[test]
    fn a_server_is_configured_or_what_is_wrong_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert_eq!(configured(&path).unwrap().server, None);
        for (text, expected) in [
            ("", Ok(None)),
            ("# ours\nserver = \"https://canvass.example\"\n", Ok(Some("https://canvass.example"))),
            ("server = 1", Err("line 1: invalid type")),
            ("\nsever = \"x\"", Err("line 2: unknown field `sever`")),
            ("server", Err("line 1: ")),
        ] {
            std::fs::write(&path, text).unwrap();
            match (configured(&path), expected) {
                (Ok(configured), Ok(server)) => assert_eq!(configured.server.as_deref(), server, "{text}"),
                (Err(error), Err(words)) => assert!(error.message.contains(words), "{text}: {}", error.message),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
    }
}
