//! The endpoint's side of an answer: signs frames and the final record.

use ed25519_dalek::{Signer as _, SigningKey};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Final, Frame, Outcome, Part, Says, ScanRecord, Statement};
use crate::action::ActionHash;
use crate::limits::{self, Limits};
use crate::members::Members;
use crate::strict::{self, Kind};
use crate::target::Facts;

/// What stands around a record in its statement: kind, fleet, hash, key and run.
const AROUND_BYTES_MAX: usize = 4096;
/// What stands around the troubles of a scan's record: its counts.
const AROUND_SCAN_BYTES_MAX: usize = 512;
/// What stands around a trouble's texts.
const AROUND_TROUBLE_BYTES_MAX: usize = 64;

/// Writes the parts of one run, keeping sequence and hashes.
pub struct Writer<'a> {
    key: &'a SigningKey,
    fleet: String,
    action: ActionHash,
    run: u64,
    nonce: String,
    sequence: u64,
    hashes: Sha256,
    /// What the final record carries.
    last: Option<(Frame, Vec<u8>)>,
}

impl<'a> Writer<'a> {
    /// Begins the run of an action that is asked once; `nonce` is fresh, random, and 32 hexadecimal digits.
    pub fn new(key: &'a SigningKey, fleet: String, action: ActionHash, nonce: String) -> Writer<'a> {
        Writer { key, fleet, action, run: 0, nonce, sequence: 0, hashes: Sha256::new(), last: None }
    }

    /// The same for this run of a standing action.
    pub fn of_run(self, run: u64) -> Writer<'a> {
        Writer { run, ..self }
    }

    /// Signs one frame of a scan's rows.
    pub fn frame(&mut self, scan: u32, rows: u64, body: Vec<u8>) -> Part {
        let frame = self.next(scan, rows, &body);
        self.sign(Says::Frame(frame), body)
    }

    /// Takes the run's last frame, which the final record then carries.
    pub fn last_frame(&mut self, scan: u32, rows: u64, body: Vec<u8>) {
        self.last = Some((self.next(scan, rows, &body), body));
    }

    fn next(&mut self, scan: u32, rows: u64, body: &[u8]) -> Frame {
        let hash = Sha256::digest(body);
        self.hashes.update(hash);
        let frame = Frame { scan, sequence: self.sequence, rows, sha256: hex::encode(hash), seal: None };
        self.sequence += 1;
        frame
    }

    /// Signs the final record and ends the run.
    ///
    /// Texts are cut to their limits; where all troubles together make the record too long, fewer are listed.
    pub fn finish(
        mut self,
        outcome: Outcome,
        scans: Vec<ScanRecord>,
        limits: Limits,
        facts: Option<Facts>,
        at: Timestamp,
    ) -> Part {
        let frames_sha256 = hex::encode(self.hashes.clone().finalize());
        let (carried, body) = self.last.take().unzip();
        let (frames, more) = (self.sequence, Members::default());
        let mut last =
            Final { outcome, frames, frames_sha256, last: carried, scans, limits, facts, at, sealed: None, more };
        last.bound();
        share(&mut last.scans);
        while strict::to_bytes(&last).len() > limits::STATEMENT_BYTES_MAX - AROUND_BYTES_MAX
            && last.scans.iter().any(|scan| !scan.troubles.is_empty())
        {
            last.scans.iter_mut().for_each(|scan| scan.troubles.truncate(scan.troubles.len() / 2));
        }
        self.sign(Says::Final(Box::new(last)), body.unwrap_or_default())
    }

    fn sign(&self, says: Says, body: Vec<u8>) -> Part {
        let statement = Statement {
            canvass: Kind::Answer,
            fleet: self.fleet.clone(),
            action: self.action,
            run: self.run,
            key: hex::encode(self.key.verifying_key().as_bytes()),
            nonce: self.nonce.clone(),
            says,
        };
        let bytes = strict::to_bytes(&statement);
        let signature = hex::encode(self.key.sign(&bytes).to_bytes());
        Part { statement: String::from_utf8(bytes).expect("JSON is UTF-8"), signature, body }
    }
}

/// Lists no more troubles of each scan than its share of a statement holds, so that many scans with many troubles are no
/// long text even for a moment.
fn share(scans: &mut [ScanRecord]) {
    let share = (limits::STATEMENT_BYTES_MAX / scans.len().max(1)).saturating_sub(AROUND_SCAN_BYTES_MAX);
    for scan in scans {
        let mut left = share;
        let fits = scan.troubles.iter().take_while(|trouble| {
            let bytes =
                trouble.subject.as_ref().map_or(0, String::len) + trouble.reason.len() + AROUND_TROUBLE_BYTES_MAX;
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        });
        let fitting = fits.count();
        scan.troubles.truncate(fitting);
    }
}
