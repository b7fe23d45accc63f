//! What a stock GnuPG thinks of our keys and signatures, and we of its.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use canvass_protocol::openpgp::{
    KeyFile, Keyring, RevocationReason, Signer, join_signatures, revoked_by, split_signatures, with_revocations,
};
use jiff::Timestamp;

const ACTION: &[u8] = include_bytes!("golden/action-1.json");

/// A private GnuPG home with a short path (its sockets live there), whose daemons end with it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        let folder = tempfile::Builder::new().prefix("cv").tempdir_in("/tmp").unwrap();
        // Few rounds of its passphrase hash: they are measured out for optimised code.
        std::fs::write(folder.path().join("gpg-agent.conf"), "s2k-count 65536\n").unwrap();
        Home(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn gpg(&self, arguments: &[&str]) -> Output {
        Command::new("gpg")
            .env("GNUPGHOME", self.path())
            .env("LC_ALL", "C")
            .args(["--batch", "--no-tty", "--pinentry-mode", "loopback", "--status-fd", "1"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("gpg (GnuPG) is installed: `apt-get install gnupg`")
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.gpg(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", self.path()).args(["--kill", "all"]).output();
    }
}

/// GnuPG judges by the machine's clock, and refuses a signature made before its key.
fn now() -> Timestamp {
    Timestamp::now()
}

#[test]
fn a_stock_gpg_verifies_an_exported_action() {
    let home = Home::new();
    let alice = KeyFile::generate("alice", None, now()).unwrap();
    let bob = KeyFile::generate("Bob Ärmel <bob@example.org>", None, now()).unwrap();
    for key in [&alice, &bob] {
        let file = home.write("public.asc", key.public_armor().unwrap());
        let status = home.succeeds(&["--import", &file]);
        assert!(status.contains(&format!("IMPORT_OK 1 {}", key.fingerprint())), "{status}");
    }
    let signatures = [alice.sign(ACTION, now()).unwrap(), bob.sign(ACTION, now()).unwrap()];
    let action = home.write("action.json", ACTION);
    let armor = home.write("action.json.asc", join_signatures(&signatures).unwrap());
    let status = home.succeeds(&["--verify", &armor, &action]);
    for key in [&alice, &bob] {
        assert!(status.contains(&format!("VALIDSIG {}", key.fingerprint())), "{status}");
    }

    let mut altered = ACTION.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let altered = home.write("altered.json", altered);
    let output = home.gpg(&["--verify", &armor, &altered]);
    assert!(!output.status.success());
    let status = String::from_utf8_lossy(&output.stdout);
    assert!(status.contains("BADSIG") && !status.contains("GOODSIG"), "{status}");
}

#[test]
fn gpg_signs_with_a_protected_key_of_ours_and_we_believe_it() {
    let home = Home::new();
    let key = KeyFile::generate("carol", Some("correct horse"), now()).unwrap();
    let secret = home.write("secret.asc", key.secret_armor().unwrap());
    home.succeeds(&["--passphrase", "correct horse", "--import", &secret]);
    let action = home.write("action.json", ACTION);
    let user = key.fingerprint().0;
    home.succeeds(&["--passphrase", "correct horse", "-u", &user, "--armor", "--detach-sign", &action]);
    let armored = std::fs::read_to_string(home.path().join("action.json.asc")).unwrap();

    let mut keyring = Keyring::default();
    assert_eq!(keyring.add(key.public_armor().unwrap().as_bytes()).skipped, Vec::<String>::new());
    let verdict = keyring.verify(ACTION, &[armored], now());
    assert_eq!(verdict.rejected, Vec::<String>::new());
    assert!(verdict.signers.contains(&key.fingerprint()));
}

#[test]
fn we_open_a_protected_key_of_gpg_and_it_believes_us() {
    let home = Home::new();
    home.succeeds(&["--passphrase", "pw", "--quick-generate-key", "dave", "ed25519", "sign", "1y"]);
    let secret = home.succeeds(&["--passphrase", "pw", "--armor", "--export-secret-keys", "dave"]);
    let secret: String =
        secret.lines().filter(|line| !line.starts_with("[GNUPG:]")).map(|l| format!("{l}\n")).collect();
    assert!(KeyFile::needs_passphrase(secret.as_bytes()).unwrap());
    let key = KeyFile::open(secret.as_bytes(), Some("pw"), now()).unwrap();
    let action = home.write("action.json", ACTION);
    let armor = home.write("action.json.asc", key.sign(ACTION, now()).unwrap());
    home.succeeds(&["--verify", &armor, &action]);
}

/// For answers that are sealed, one day; what signs is the key that certifies, as before.
#[test]
fn a_key_of_ours_can_be_encrypted_to() {
    let home = Home::new();
    for passphrase in [None, Some("correct horse")] {
        let key = KeyFile::generate("heidi", passphrase, now()).unwrap();
        let secret = home.write("secret.asc", key.secret_armor().unwrap());
        home.succeeds(&["--passphrase", passphrase.unwrap_or_default(), "--import", &secret]);
        let listed = home.succeeds(&["--list-keys", &key.fingerprint().0]);
        assert!(listed.contains("[SC]") && listed.contains("sub ") && listed.contains("[E]"), "{listed}");

        let text = home.write("text", "for heidi alone");
        let sealed = home.path().join("text.gpg").to_str().unwrap().to_owned();
        let user = key.fingerprint().0;
        home.succeeds(&["--yes", "--trust-model", "always", "-r", &user, "-o", &sealed, "--encrypt", &text]);
        let opened = home.succeeds(&["--passphrase", passphrase.unwrap_or_default(), "--decrypt", &sealed]);
        assert!(opened.contains("for heidi alone"), "{opened}");

        let opened = KeyFile::open(key.secret_armor().unwrap().as_bytes(), passphrase, now()).unwrap();
        let armored = home.write("action.json.asc", opened.sign(ACTION, now()).unwrap());
        let action = home.write("action.json", ACTION);
        let status = home.succeeds(&["--verify", &armored, &action]);
        assert!(status.contains(&format!("VALIDSIG {user}")), "{status}");
    }
}

#[test]
fn gpg_takes_a_revocation_of_ours() {
    let home = Home::new();
    let key = KeyFile::generate("erin", None, now()).unwrap();
    let public = home.write("public.asc", key.public_armor().unwrap());
    home.succeeds(&["--import", &public]);
    let revocation =
        home.write("revocation.asc", key.revocation(RevocationReason::Compromised, "stolen laptop", now()).unwrap());
    home.succeeds(&["--import", &revocation]);
    let listed = home.succeeds(&["--with-colons", "--list-keys"]);
    assert!(listed.contains("pub:r:"), "{listed}");
}

#[test]
fn several_signatures_of_gpg_in_one_armor_come_apart() {
    let home = Home::new();
    let mut keyring = Keyring::default();
    let mut arguments = vec!["--armor".to_owned(), "--detach-sign".to_owned()];
    for name in ["frank", "grace"] {
        home.succeeds(&["--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "1y"]);
        let output = Command::new("gpg").env("GNUPGHOME", home.path()).args(["--export", name]).output().unwrap();
        assert_eq!(keyring.add(&output.stdout).certificates.len(), 1);
        arguments.splice(0..0, ["-u".to_owned(), name.to_owned()]);
    }
    let action = home.write("action.json", ACTION);
    arguments.push(action);
    home.succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let armored = std::fs::read(home.path().join("action.json.asc")).unwrap();
    let signatures = split_signatures(&armored).unwrap();
    assert_eq!(signatures.len(), 2);
    assert_eq!(keyring.verify(ACTION, &signatures, now()).signers.len(), 2);
}

/// As GnuPG writes it for the day on which it is needed, with a colon before the armor, and as its owner has it made.
#[test]
fn we_take_revocations_that_gpg_wrote() {
    let home = Home::new();
    for name in ["heidi", "ivan"] {
        home.succeeds(&["--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "1y"]);
    }
    let exported = Command::new("gpg").env("GNUPGHOME", home.path()).arg("--export").output().unwrap().stdout;
    let mut keyring = Keyring::default();
    let fingerprints = keyring.add(&exported).certificates;
    assert_eq!(fingerprints.len(), 2);
    let prepared = home.path().join(format!("openpgp-revocs.d/{}.rev", fingerprints[0]));
    let prepared = std::fs::read(prepared).unwrap();
    assert!(String::from_utf8_lossy(&prepared).contains("\n:-----BEGIN PGP PUBLIC KEY BLOCK-----"));
    let made = gen_revoke(&home, &fingerprints[1].0);
    for (fingerprint, file) in fingerprints.iter().zip([prepared, made]) {
        assert_eq!(revoked_by(&file).unwrap(), std::slice::from_ref(&fingerprint.0));
        let found = keyring.revocations(&file).unwrap();
        assert_eq!((found.len(), &found[0].certificate, found[0].is_new), (1, fingerprint, true));
        assert!(found[0].is_whole() && found[0].armor.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
        assert_eq!(keyring.revoke(found[0].armor.as_bytes()).unwrap(), std::slice::from_ref(fingerprint));
        assert!(with_revocations(&exported, &file).unwrap().is_some());
    }
    assert!(keyring.list().iter().all(|certificate| certificate.revoked));
}

/// `gpg --gen-revoke` asks for a yes, a reason, a description and another yes.
fn gen_revoke(home: &Home, fingerprint: &str) -> Vec<u8> {
    let mut child = Command::new("gpg")
        .env("GNUPGHOME", home.path())
        .env("LC_ALL", "C")
        .args(["--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", "--command-fd", "0", "--gen-revoke"])
        .arg(fingerprint)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"y\n1\nstolen\n\ny\n").unwrap();
    child.wait_with_output().unwrap().stdout
}
