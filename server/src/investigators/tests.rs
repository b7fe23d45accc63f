//! Who is let in, and until when.

use std::os::unix::fs::PermissionsExt as _;

use canvass_protocol::openpgp::{KeyFile, RevocationReason, Signer as _};

use super::*;
use crate::store;
use crate::store::sqlite::Sqlite;

/// The keyring's folder and whom it lets in.
struct Setup {
    folder: tempfile::TempDir,
    investigators: Investigators,
}

impl Setup {
    fn new() -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let (fleet, path) = ("acme".to_owned(), folder.path().to_owned());
        let investigators = Investigators::new(fleet, path, Roles::default(), Arc::default());
        Setup { folder, investigators }
    }

    /// A key, whose certificate is in the keyring.
    fn key(&self, name: &str, now: Timestamp) -> (KeyFile, PathBuf) {
        let key = KeyFile::generate(name, None, now).unwrap();
        let file = self.folder.path().join(format!("{name}.asc"));
        std::fs::write(&file, key.public_armor().unwrap()).unwrap();
        (key, file)
    }

    async fn log_in(&self, key: &KeyFile, nonce: &str, now: Timestamp) -> Result<String, Stranger> {
        let login = Login::new("acme".to_owned(), "here".to_owned(), nonce.to_owned(), now);
        let payload = String::from_utf8(login.to_bytes()).unwrap();
        let signatures = vec![key.sign(payload.as_bytes(), now).unwrap()];
        let session = self.investigators.login(&Envelope { payload, signatures }, "here", now).await?;
        Ok(session.token)
    }

    fn who(&self, token: &str, now: Timestamp) -> Result<Fingerprint, Stranger> {
        self.investigators.who(Some(token), now).map(|investigator| investigator.fingerprint)
    }
}

#[tokio::test]
async fn a_session_ends_when_its_certificate_leaves_the_keyring() {
    let (setup, now) = (Setup::new(), Timestamp::now());
    let ((alice, file), (bob, _)) = (setup.key("alice", now), setup.key("bob", now));
    let alices = setup.log_in(&alice, &"a".repeat(32), now).await.unwrap();
    let bobs = setup.log_in(&bob, &"b".repeat(32), now).await.unwrap();
    let who = |token: &str| setup.who(token, now);
    assert_eq!((who(&alices).unwrap(), who(&bobs).unwrap()), (alice.fingerprint(), bob.fingerprint()));
    let keyring = || setup.investigators.keyring();
    assert!(Arc::ptr_eq(&keyring(), &keyring()), "nothing changed, and nothing is read");
    let certificate = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(who(&alices), Err(Stranger::Ended)));
    assert_eq!(who(&bobs).unwrap(), bob.fingerprint());
    std::fs::write(&file, certificate).unwrap();
    assert_eq!(who(&alices).unwrap(), alice.fingerprint(), "it is read again");
}

/// The packets in an armor.
fn packets(armored: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let lines = armored.lines().skip_while(|line| !line.is_empty()).skip(1);
    let text: String = lines.take_while(|line| !line.starts_with(['=', '-'])).collect();
    let values: Vec<u32> =
        text.bytes().filter_map(|byte| digits.iter().position(|digit| *digit == byte)).map(|at| at as u32).collect();
    let bytes = |group: &[u32]| {
        let bits = (0..4).fold(0, |bits, at| bits << 6 | group.get(at).copied().unwrap_or(0));
        bits.to_be_bytes()[1..group.len()].to_vec()
    };
    values.chunks(4).flat_map(bytes).collect()
}

/// A revoked certificate is commonly left where it is, so that everybody learns that it is.
#[tokio::test]
async fn a_session_ends_when_its_certificate_is_revoked() {
    let (setup, now) = (Setup::new(), Timestamp::now());
    let (alice, file) = setup.key("alice", now);
    let token = setup.log_in(&alice, &"a".repeat(32), now).await.unwrap();
    assert_eq!(setup.who(&token, now).unwrap(), alice.fingerprint());
    let mut certificate = packets(&std::fs::read_to_string(&file).unwrap());
    certificate.extend(packets(&alice.revocation(RevocationReason::Compromised, "stolen", now).unwrap()));
    std::fs::remove_file(&file).unwrap();
    std::fs::write(file.with_extension("pgp"), certificate).unwrap();
    assert!(matches!(setup.who(&token, now), Err(Stranger::Ended)));
    assert!(matches!(setup.log_in(&alice, &"b".repeat(32), now).await, Err(Stranger::Signatures(_))));
}

/// However it came here: the file need not say so, and may come back without it.
#[tokio::test]
async fn a_session_ends_when_a_revocation_is_stored() {
    let (setup, now) = (Setup::new(), Timestamp::now());
    let ((alice, file), (bob, _)) = (setup.key("alice", now), setup.key("bob", now));
    let tokens = [
        setup.log_in(&alice, &"a".repeat(32), now).await.unwrap(),
        setup.log_in(&bob, &"b".repeat(32), now).await.unwrap(),
    ];
    let armor = alice.revocation(RevocationReason::Retired, "", now).unwrap();
    let found = setup.investigators.revocations(armor.clone()).await.unwrap().unwrap();
    assert_eq!((found.len(), &found[0].certificate), (1, &alice.fingerprint()));
    assert!(setup.who(&tokens[0], now).is_ok(), "it is looked at, and nothing more");
    let store = Sqlite::open(&setup.folder.path().join("server.sqlite")).await.unwrap();
    let (key, certificate) = (found[0].key.clone(), found[0].certificate.clone());
    let stored = store::Revocation { key, certificate, armor, posted_by: "AB".to_owned(), at: now };
    setup.investigators.revocations.add(&store, &stored).await.unwrap();
    assert!(matches!(setup.who(&tokens[0], now), Err(Stranger::Ended)));
    assert_eq!(setup.who(&tokens[1], now).unwrap(), bob.fingerprint());
    let certificate = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(setup.who(&tokens[1], now).is_ok() && setup.investigators.keyring().troubles.is_empty());
    std::fs::write(&file, certificate).unwrap();
    let error = setup.log_in(&alice, &"c".repeat(32), now).await.unwrap_err().to_string();
    assert!(error.contains("the certificate is revoked"), "{error}");
}

#[tokio::test]
async fn a_login_is_small_and_its_nonce_is_one() {
    let (setup, now) = (Setup::new(), Timestamp::now());
    let (alice, _) = setup.key("alice", now);
    for (nonce, words) in [
        ("a".repeat(31), "32 hexadecimal digits"),
        ("g".repeat(32), "32 hexadecimal digits"),
        ("a".repeat(limits::WORD_BYTES_MAX), "at most 4096 bytes"),
    ] {
        let error = setup.log_in(&alice, &nonce, now).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    setup.log_in(&alice, &"a".repeat(32), now).await.unwrap();
}

/// Whoever can write there would be an administrator.
#[test]
fn what_others_can_write_is_no_keyring() {
    let (setup, now) = (Setup::new(), Timestamp::now());
    let (_, alices) = setup.key("alice", now);
    setup.key("bob", now);
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let known = || {
        let certificates = setup.investigators.keyring();
        (certificates.keyring.len(), certificates.troubles.join("; "))
    };
    assert_eq!(known(), (2, String::new()));
    chmod(&alices, 0o666);
    let (count, trouble) = known();
    assert!(count == 1 && trouble.contains("alice.asc` is writable by others (mode 0666"), "{count} {trouble}");
    chmod(&alices, 0o644);
    assert_eq!(known(), (2, String::new()));
    chmod(setup.folder.path(), 0o777);
    let (count, trouble) = known();
    assert!(count == 0 && trouble.contains("is writable by others (mode 0777"), "{count} {trouble}");
    chmod(setup.folder.path(), 0o755);
    assert_eq!(known(), (2, String::new()));
}
