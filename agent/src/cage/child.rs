//! The scan's process: confines itself, reads its job, scans, answers.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use canvass_protocol::limits;
use canvass_tables::engine::{self, Request};
use canvass_tables::host::Host;

use super::wire::{self, Last};
use super::{Job, confine};

/// A job holds one scan of an action, each of its bytes escaped at worst, and policy's lists.
const JOB_BYTES_MAX: u64 = 4 * limits::ACTION_BYTES_MAX as u64;

/// Runs one scan as told on standard input and answers on standard output; what a program does when its first argument
/// is [`super::ARGUMENT`], before it starts any thread.
pub fn child_main() -> ExitCode {
    if let Err(error) = confine::enter() {
        return answer(&Last::Failed(format!("the scan's process cannot be confined: {error}")));
    }
    let (job, input) = match read_job() {
        Ok(read) => read,
        Err(error) => return answer(&Last::Failed(format!("the scan's process cannot read its job: {error}"))),
    };
    if let Err(error) = confine::bound(&job.limits, job.threads) {
        return answer(&Last::Failed(format!("the scan's process cannot be limited: {error}")));
    }
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = stop_when_closed(input, Arc::clone(&stop)) {
        return answer(&Last::Failed(format!("the scan's process cannot start a thread: {error}")));
    }
    answer(&scan(&job, &stop))
}

fn scan(job: &Job, stop: &AtomicBool) -> Last {
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
        stop,
    };
    let mut out = match output() {
        Ok(out) => out,
        Err(error) => return Last::Failed(error.to_string()),
    };
    match engine::run(&request, &mut |rows, body| wire::write_frame(&mut out, rows, &body)) {
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
