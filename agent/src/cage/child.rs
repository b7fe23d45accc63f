//! The scan's process: confines itself, reads its job, confines itself to what that needs, scans, answers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use canvass_protocol::limits;
use canvass_tables::TABLES;
use canvass_tables::engine::{Request, ScanError};
use canvass_tables::host::Host;
use canvass_tables::module::Sockets;
use canvass_tables::table::Table;

use super::profile::Profile;
use super::wire::{self, Last};
use super::{Job, Lack, REPORT, Report, confine, landlock, privileges, seccomp};

/// A job holds one scan of an action, each of its bytes escaped at worst, and policy's lists.
const JOB_BYTES_MAX: u64 = 4 * limits::ACTION_BYTES_MAX as u64;

/// Runs one scan as told on standard input and answers on standard output; what a program does when its first argument
/// is [`super::ARGUMENT`], before it starts any thread.
pub fn child_main() -> ExitCode {
    child_main_of(TABLES)
}

/// The same with other tables.
pub fn child_main_of(tables: &[&'static dyn Table]) -> ExitCode {
    if let Err(error) = confine::enter() {
        return answer(&Last::Failed(format!("the scan's process cannot be confined: {error}")));
    }
    if std::env::args_os().nth(2).is_some_and(|second| second == REPORT) {
        return report();
    }
    let (job, input) = match read_job() {
        Ok(read) => read,
        Err(error) => return answer(&Last::Failed(format!("the scan's process cannot read its job: {error}"))),
    };
    if let Err(error) = confine::bound(&job.limits, job.threads) {
        return answer(&Last::Failed(format!("the scan's process cannot be limited: {error}")));
    }
    let Some(table) = tables.iter().copied().find(|table| table.info().name == job.scan.table) else {
        return answer(&Last::Failed(ScanError::UnknownTable(job.scan.table).to_string()));
    };
    let profile = Profile::of(&job, table);
    // Before privileges are dropped.
    let sockets = profile.sockets();
    match restrict(&profile) {
        Ok(lacks) if job.whole_cage && !lacks.is_empty() => {
            return answer(&Last::Failed(format!("the policy asks for a whole cage: {}", Report { lacks }.words())));
        }
        Ok(_) => {}
        Err(error) => return answer(&Last::Failed(format!("the scan's process cannot be confined: {error}"))),
    }
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = stop_when_closed(input, Arc::clone(&stop)) {
        return answer(&Last::Failed(format!("the scan's process cannot start a thread: {error}")));
    }
    answer(&scan(&job, table, &sockets, &stop))
}

/// Gives up all rights but those of a profile; says what could not be given up because the kernel does not offer it.
fn restrict(profile: &Profile) -> io::Result<Vec<Lack>> {
    let user = privileges::drop_to(profile.needs())?;
    // Another user's process may outlive its parent.
    confine::end_with_parent()?;
    let files = landlock::confine(profile)?;
    let calls = seccomp::install(profile)?;
    Ok([user, files, calls].into_iter().flatten().collect())
}

/// Says what the cage lacks for a scan that needs the least.
fn report() -> ExitCode {
    let said = restrict(&Profile::least()).and_then(|lacks| {
        let words = serde_json::to_vec(&Report { lacks })?;
        output()?.write_all(&words)
    });
    if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn scan(job: &Job, table: &'static dyn Table, sockets: &Sockets, stop: &AtomicBool) -> Last {
    let host = match Host::open(&job.host) {
        Ok(host) => host,
        Err(error) => return Last::Failed(error.to_string()),
    };
    let request = Request {
        host: &host,
        scan: &job.scan,
        limits: job.limits,
        withheld: &job.withheld,
        forbidden: &job.forbidden,
        threads: job.threads,
        sockets,
        stop,
    };
    let mut out = match output() {
        Ok(out) => out,
        Err(error) => return Last::Failed(error.to_string()),
    };
    match table.scan(&request, &mut |rows, body| wire::write_frame(&mut out, rows, &body)) {
        Ok(record) => Last::Record(record),
        Err(error) => Last::Failed(error.to_string()),
    }
}

fn read_job() -> io::Result<(Job, BufReader<File>)> {
    let input = File::from(rustix::stdio::stdin().as_fd().try_clone_to_owned()?);
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    input.by_ref().take(JOB_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok((serde_json::from_slice(&line)?, input))
}

/// Sets `stop` when the parent closes the input or dies.
fn stop_when_closed(mut input: BufReader<File>, stop: Arc<AtomicBool>) -> io::Result<()> {
    let wait = move || {
        let _ = io::copy(&mut input, &mut io::sink());
        stop.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("stop".into()).stack_size(64 << 10).spawn(wait).map(drop)
}

fn answer(last: &Last) -> ExitCode {
    match output().and_then(|mut out| wire::write_last(&mut out, last)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Standard output without the buffer that looks for line ends.
fn output() -> io::Result<File> {
    Ok(File::from(rustix::stdio::stdout().as_fd().try_clone_to_owned()?))
}
