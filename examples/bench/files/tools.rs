//! The programs that Canvass is compared with, and what they are called here.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

pub struct Tools {
    pub fd: PathBuf,
    pub rg: PathBuf,
    pub find: PathBuf,
    pub grep: PathBuf,
    pub openssl: PathBuf,
    /// Runs the pipelines of `xargs` and coreutils' sums.
    pub sh: PathBuf,
}

impl Tools {
    pub fn find() -> Result<Tools> {
        let mut missing = Vec::new();
        let mut look = |names: &[&str], package: &'static str| {
            let found = names.iter().find_map(|name| in_path(name));
            if found.is_none() {
                missing.push(format!("`{}` (package {package})", names[0]));
            }
            found.unwrap_or_default()
        };
        let tools = Tools {
            fd: look(&["fdfind", "fd"], "fd-find"),
            rg: look(&["rg"], "ripgrep"),
            find: look(&["find"], "findutils"),
            grep: look(&["grep"], "grep"),
            openssl: look(&["openssl"], "openssl"),
            sh: look(&["sh"], "dash"),
        };
        for (name, package) in [("xargs", "findutils"), ("sha256sum", "coreutils")] {
            look(&[name], package);
        }
        if !missing.is_empty() {
            bail!("missing: {}; `make bench-tools` installs them on Debian and Ubuntu", missing.join(", "));
        }
        Ok(tools)
    }

    /// The first line of what each says of its version.
    pub fn versions(&self) -> Vec<String> {
        let tools = [
            (&self.fd, "--version"),
            (&self.rg, "--version"),
            (&self.find, "--version"),
            (&self.grep, "--version"),
            (&self.openssl, "version"),
        ];
        let version = |(program, argument): (&PathBuf, &str)| {
            let said = Command::new(program).arg(argument).output().ok()?;
            let text = String::from_utf8_lossy(&said.stdout).into_owned();
            text.lines().next().map(|line| line.trim().to_owned())
        };
        tools.into_iter().filter_map(version).collect()
    }
}

pub fn in_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}
