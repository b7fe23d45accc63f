//! A private PostgreSQL.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::Tls;
use crate::process::{PATIENCE, Running, free_port, password, pause, run, tied, wait_until_ready};

/// Where distributions put the server's programs, which are not on the path.
const FOLDERS: &str = "/usr/lib/postgresql";
/// What PostgreSQL says where processes of a killed cluster are still there.
const LEFT_BEHIND: &str = "pre-existing shared memory block";
/// Nobody's user id.
const NOBODY: u32 = 65534;

/// A PostgreSQL cluster with one database, reached by [`Postgres::url`].
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    password: String,
    durable: bool,
    tls: bool,
    running: Option<Running>,
}

impl Postgres {
    /// Makes a cluster and starts it. With `durable` it waits for the disk as one in service does; without, it starts and
    /// writes faster and loses what it has when the machine crashes.
    pub fn start(durable: bool) -> Result<Postgres> {
        Postgres::make(durable, None)
    }

    /// The same, and it lets nobody in but over TLS.
    pub fn start_tls(tls: &Tls) -> Result<Postgres> {
        Postgres::make(false, Some(tls))
    }

    fn make(durable: bool, tls: Option<&Tls>) -> Result<Postgres> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("canvass-postgres").tempdir()?;
        let password = password()?;
        let step_down_to = step_down_to(folder.path())?;
        if let Some(uid) = step_down_to {
            chown(folder.path(), Some(uid), Some(uid))?;
        }
        let secret = folder.path().join("password");
        fs::write(&secret, &password)?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
        if let Some(uid) = step_down_to {
            chown(&secret, Some(uid), Some(uid))?;
        }
        let mut init = tied(&programs.join("initdb"), step_down_to);
        init.arg("-D").arg(folder.path().join("data")).arg("--pwfile").arg(&secret);
        init.args(["-U", "canvass", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]);
        run(&mut init)?;
        if let Some(tls) = tls {
            let data = folder.path().join("data");
            for (name, from) in [("server.crt", &tls.certificate), ("server.key", &tls.key)] {
                fs::copy(from, data.join(name))?;
                fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o600))?;
                if let Some(uid) = step_down_to {
                    chown(data.join(name), Some(uid), Some(uid))?;
                }
            }
            fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n")?;
        }
        let port = free_port()?;
        let mut postgres = Postgres { folder, programs, port, password, durable, tls: tls.is_some(), running: None };
        postgres.start_again()?;
        Ok(postgres)
    }

    /// `postgres://…`, with user, password and database.
    pub fn url(&self) -> String {
        format!("postgres://canvass:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// The process, for its figures; `None` where it does not run.
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.0.id())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it at the same address, with what it had.
    pub fn start_again(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            match self.start_once() {
                // What is left of a cluster that was killed ends by itself, and until then no other can start.
                Err(error) if error.to_string().contains(LEFT_BEHIND) && started.elapsed() < PATIENCE => pause(),
                done => return done,
            }
        }
    }

    fn start_once(&mut self) -> Result<()> {
        let log = self.folder.path().join("log");
        let mut command = tied(&self.programs.join("postgres"), step_down_to(self.folder.path())?);
        command.arg("-D").arg(self.folder.path().join("data")).arg("-k").arg(self.folder.path());
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        if !self.durable {
            command.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
        }
        if self.tls {
            command.args(["-c", "ssl=on"]);
        }
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut running = Running(command.spawn().context("cannot start PostgreSQL")?);
        let is_ready = self.programs.join("pg_isready");
        let port = self.port.to_string();
        wait_until_ready(&mut running, &log, || {
            let asked = Command::new(&is_ready).args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
            asked.is_ok_and(|status| status.success())
        })?;
        self.running = Some(running);
        Ok(())
    }
}

/// Whom PostgreSQL runs as: nobody where we are root.
fn step_down_to(own: &Path) -> Result<Option<u32>> {
    let uid = fs::metadata(own)?.uid();
    Ok(match uid {
        0 | NOBODY if fs::metadata("/proc/self")?.uid() == 0 => Some(NOBODY),
        _ => None,
    })
}

/// The folder of the newest version installed.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir(FOLDERS).with_context(|| format!("no PostgreSQL in `{FOLDERS}`: run `make tools`"))?;
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = versions.flatten().map(|entry| entry.path());
    let newest = versions.filter(|path| path.join("bin/initdb").is_file()).max_by_key(number);
    Ok(newest.with_context(|| format!("no PostgreSQL server in `{FOLDERS}`: run `make tools`"))?.join("bin"))
}
