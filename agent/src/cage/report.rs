//! What of the cage this kernel or container gives.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use canvass_protocol::features;
use serde::{Deserialize, Serialize};

use super::{ARGUMENT, REPORT};

/// Parts of the cage that not every kernel or container gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// System calls that no scan needs end it.
    Seccomp,
    /// Files are read where the scan looks, and none is changed.
    Landlock,
    /// Scans run as nobody in particular, with few capabilities.
    User,
}

impl Part {
    const ALL: [Part; 3] = [Part::Landlock, Part::Seccomp, Part::User];

    pub fn as_str(self) -> &'static str {
        match self {
            Part::Seccomp => "seccomp",
            Part::Landlock => "landlock",
            Part::User => "user",
        }
    }
}

/// A part that is not there, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lack {
    pub part: Part,
    pub reason: String,
}

impl Lack {
    pub(super) fn seccomp(reason: String) -> Lack {
        Lack { part: Part::Seccomp, reason }
    }

    pub(super) fn landlock(reason: String) -> Lack {
        Lack { part: Part::Landlock, reason }
    }

    pub(super) fn user(reason: String) -> Lack {
        Lack { part: Part::User, reason }
    }
}

/// What a cage was found to lack by a process that went into it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub lacks: Vec<Lack>,
}

impl Report {
    /// Has a process of `program` go into the cage and say what it found missing.
    pub fn of(program: &Path) -> io::Result<Report> {
        let said = Command::new(program)
            .args([ARGUMENT, REPORT])
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        serde_json::from_slice(&said.stdout).map_err(|_| io::Error::other("it did not say what its cage lacks"))
    }

    /// The report of a cage that nobody could look at.
    pub fn unknown(error: &io::Error) -> Report {
        let lack = |part| Lack { part, reason: format!("what scans are confined by cannot be told: {error}") };
        Report { lacks: Part::ALL.into_iter().map(lack).collect() }
    }

    pub fn is_whole(&self) -> bool {
        self.lacks.is_empty()
    }

    /// The features of an agent whose cage is so.
    pub fn features(&self) -> Vec<String> {
        if self.is_whole() {
            return vec![features::CAGE_WHOLE.to_owned()];
        }
        self.lacks.iter().map(|lack| features::cage_without(lack.part.as_str())).collect()
    }

    /// Everything that is missing, in one line.
    pub fn words(&self) -> String {
        let mut reasons: Vec<&str> = self.lacks.iter().map(|lack| lack.reason.as_str()).collect();
        reasons.dedup();
        reasons.join("; ")
    }
}
