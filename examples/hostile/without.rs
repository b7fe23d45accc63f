//! A kernel that lacks something, for the program that is run on it and all that it starts.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Error, anyhow};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// Runs the program in this one's place, on a kernel without Landlock; returns where that fails.
pub fn run(part: &str, program: &[OsString]) -> Error {
    let prepared = match part {
        "landlock" => answer(libc::SYS_landlock_create_ruleset, libc::ENOSYS),
        other => Err(anyhow!("`{other}` cannot be taken away")),
    };
    match (prepared, program) {
        (Err(error), _) => error,
        (Ok(()), []) => anyhow!("there is no program to run"),
        (Ok(()), [program, arguments @ ..]) => {
            Error::new(Command::new(program).args(arguments).exec()).context("it cannot be run")
        }
    }
}

/// Answers a call with an error from now on.
fn answer(call: libc::c_long, error: i32) -> Result<(), Error> {
    let machine = std::env::consts::ARCH.try_into().context("no filter for this kind of processor")?;
    let unknown = SeccompAction::Errno(error.unsigned_abs());
    let filter = SeccompFilter::new([(call, Vec::new())].into(), SeccompAction::Allow, unknown, machine)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter(&program)?)
}
