//! Keys that GnuPG keeps: signing goes through gpg and its agent, so a smart card or a token is the same path, and no secret
//! comes near this program.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use canvass_protocol::openpgp::{Fingerprint, KeyError, Signer};
use jiff::Timestamp;

use crate::typing::Asking;

/// A signature with notations, many times over.
const SIGNATURE_BYTES_MAX: u64 = 256 << 10;
/// A listing of one key with many subkeys and user ids.
const LISTING_BYTES_MAX: u64 = 4 << 20;
/// A certificate with many signatures.
const CERTIFICATE_BYTES_MAX: u64 = 4 << 20;

/// A key of GnuPG's.
pub struct GnuPg {
    program: OsString,
    fingerprint: Fingerprint,
}

impl GnuPg {
    /// The one secret key that gpg knows by this name, fingerprint or address; `None` where there is none, or no gpg.
    pub fn find(wanted: &str) -> Result<Option<GnuPg>, KeyError> {
        // A name that looks like a flag is none.
        if wanted.starts_with('-') {
            return Ok(None);
        }
        let program = OsString::from("gpg");
        let mut command = Command::new(&program);
        command.args(["--batch", "--with-colons", "--list-secret-keys", "--", wanted]);
        let Ok(mut child) = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
            return Ok(None);
        };
        let mut listing = Vec::new();
        let read = child.stdout.take().map(|output| output.take(LISTING_BYTES_MAX).read_to_end(&mut listing));
        let status = child.wait();
        if !matches!(read, Some(Ok(_))) || !status.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let mut found = primary_keys(&String::from_utf8_lossy(&listing)).into_iter();
        match (found.next(), found.next()) {
            (Some(fingerprint), None) => Ok(Some(GnuPg { program, fingerprint })),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => {
                Err(KeyError::CannotSign(format!("gpg knows several keys as `{wanted}`: give a fingerprint")))
            }
        }
    }

    /// The key's public certificate, without what others certified of it.
    pub fn certificate(&self) -> Result<Vec<u8>, KeyError> {
        let failed = || KeyError::CannotSign("gpg: it does not hand out the key's certificate".to_owned());
        let mut command = Command::new(&self.program);
        command.args(["--batch", "--armor", "--export-options", "export-minimal", "--export"]);
        command.arg("--").arg(&self.fingerprint.0);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.map_err(|_| failed())?;
        let mut armor = Vec::new();
        let read = child.stdout.take().map(|output| output.take(CERTIFICATE_BYTES_MAX).read_to_end(&mut armor));
        let status = child.wait();
        if armor.is_empty() || !matches!(read, Some(Ok(_))) || !status.is_ok_and(|status| status.success()) {
            return Err(failed());
        }
        Ok(armor)
    }
}

/// Fingerprints of the primary keys of a listing: of each `sec` line the `fpr` line that follows it.
fn primary_keys(listing: &str) -> Vec<Fingerprint> {
    let mut keys = Vec::new();
    let mut after_primary = false;
    for line in listing.lines() {
        let mut fields = line.split(':');
        match fields.next() {
            Some("sec") => after_primary = true,
            Some("fpr") if after_primary => {
                keys.extend(fields.nth(8).and_then(Fingerprint::parse));
                after_primary = false;
            }
            _ => {}
        }
    }
    keys
}

impl Signer for GnuPg {
    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }

    fn sign(&self, payload: &[u8], _: Timestamp) -> Result<String, KeyError> {
        // Its agent may ask for a passphrase on this terminal.
        let _asking = Asking::begin();
        let failed = |reason: String| KeyError::CannotSign(format!("gpg: {reason}"));
        let mut command = Command::new(&self.program);
        command.args(["--batch", "--armor", "--detach-sign", "--digest-algo", "SHA512", "--output", "-"]);
        command.arg("--local-user").arg(&self.fingerprint.0);
        if let Ok(terminal) = rustix::termios::ttyname(std::io::stdin(), Vec::new())
            && let Ok(terminal) = terminal.into_string()
        {
            // Where the agent asks for a passphrase.
            command.env("GPG_TTY", terminal);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let input = child.stdin.take();
        // gpg reads all of it before it writes anything.
        let written = input.map(|mut input| input.write_all(payload));
        let (mut armor, mut said) = (Vec::new(), Vec::new());
        let read = child.stdout.take().map(|output| output.take(SIGNATURE_BYTES_MAX).read_to_end(&mut armor));
        let heard = child.stderr.take().map(|output| output.take(SIGNATURE_BYTES_MAX).read_to_end(&mut said));
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            let said = String::from_utf8_lossy(&said);
            let reason = said.lines().rev().find_map(|line| line.strip_prefix("gpg: ")).unwrap_or("it says nothing");
            return Err(failed(reason.to_owned()));
        }
        if !matches!((written, read, heard), (Some(Ok(())), Some(Ok(_)), Some(Ok(_)))) {
            return Err(failed("it was lost".to_owned()));
        }
        String::from_utf8(armor).map_err(|_| failed("its signature is no armor".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_name_primary_keys() {
        let listing = "sec:u:255:22:1:2:::u:::scESC:::+::ed25519:::0:\n\
            fpr:::::::::AAAABBBBCCCCDDDDEEEEFFFF0000111122223333:\n\
            grp:::::::::0000:\n\
            uid:u::::1::H::alice::::::::::0:\n\
            ssb:u:255:22:1:2::::::s:::+::ed25519::\n\
            fpr:::::::::9999BBBBCCCCDDDDEEEEFFFF0000111122223333:\n";
        let keys = primary_keys(listing);
        assert_eq!(keys, [Fingerprint("AAAABBBBCCCCDDDDEEEEFFFF0000111122223333".to_owned())]);
        assert_eq!(primary_keys("sec:::\nfpr:short\n"), []);
        assert!(GnuPg::find("--version").unwrap().is_none());
    }
}
