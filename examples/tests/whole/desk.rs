//! A newcomer's desk: a fresh home folder and the program, typed at as a person would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A home folder where nobody has been before.
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new() -> Home {
        Home { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the agent that stands for this machine.
    pub fn agent(&self) -> PathBuf {
        self.path().join(".local/share/canvass/agent")
    }

    pub fn configuration(&self) -> PathBuf {
        self.path().join(".config/canvass")
    }

    /// The whole environment of a program that is at home here.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("HOME", self.path().to_owned()),
            ("XDG_CONFIG_HOME", self.path().join(".config")),
            ("XDG_DATA_HOME", self.path().join(".local/share")),
        ]
    }

    /// Runs `canvass` with these arguments and no standard input.
    pub fn canvass(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(canvass_examples::program("canvass"));
        command
            .envs(self.environment())
            .env_remove("CANVASS_PASSPHRASE")
            .env_remove("CANVASS_SERVER")
            .stdin(Stdio::null())
            .current_dir(self.path());
        command
    }
}

/// What a person would see: both outputs and the exit code.
pub fn transcript(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().map_or("killed".to_owned(), |code| code.to_string());
    format!("{out}--- standard error\n{err}--- exit {code}\n")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
