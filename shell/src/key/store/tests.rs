//! Keys made, guarded, taken in and handed out.

use std::os::unix::fs::PermissionsExt as _;

use canvass_protocol::openpgp::RevocationReason;

use super::*;
use crate::key::revoke::{Wanted, find};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&Places::below(folder.path()));
    (folder, store)
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn nobody() -> Passphrases {
    Passphrases::default()
}

fn given(passphrase: &str) -> Passphrases {
    Passphrases { given: Some(passphrase.into()), can_ask: false }
}

#[test]
fn a_new_key_is_guarded_and_signs() {
    let (_folder, store) = store();
    let fingerprint = store.make("alice", Some("secret words")).unwrap();
    let path = store.secret_path("alice");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert!(std::fs::read_to_string(&path).unwrap().contains("PRIVATE KEY BLOCK"));
    let key = open(&path, &given("secret words")).unwrap();
    assert_eq!(key.fingerprint(), fingerprint);
    assert!(key.sign(b"x", Timestamp::now()).is_ok());
    assert_eq!(store.make("alice", None).unwrap_err().message, "there is already a key `alice`");
}

#[test]
fn passphrases_are_asked_for_and_checked() {
    let (_folder, store) = store();
    store.make("alice", Some("right")).unwrap();
    let path = store.secret_path("alice");
    let error = open(&path, &nobody()).unwrap_err();
    assert_eq!(error.message, "key `alice` is protected by a passphrase");
    assert_eq!(error.hint.as_deref(), Some("set CANVASS_PASSPHRASE, or run on a terminal"));
    let error = open(&path, &given("wrong")).unwrap_err();
    assert_eq!(error.message, "key `alice`: the passphrase does not unlock the key");
}

#[test]
fn a_key_file_open_to_others_is_refused() {
    let (_folder, store) = store();
    store.make("alice", None).unwrap();
    let path = store.secret_path("alice");
    for bits in [0o640, 0o604, 0o620, 0o777] {
        chmod(&path, bits);
        let error = open(&path, &nobody()).unwrap_err();
        assert!(error.message.contains(&format!("open to others (mode {bits:04o})")), "{error}");
        assert!(error.hint.unwrap().contains("chmod 600"));
        assert_eq!(store.list().1.len(), 1);
        assert!(store.find("alice").unwrap_err().message.contains("open to others"));
    }
    chmod(&path, 0o400);
    assert!(open(&path, &nobody()).is_ok());
}

#[test]
fn what_is_no_key_is_said() {
    let (folder, _) = store();
    let path = folder.path().join("x.pgp");
    assert!(open(&path, &nobody()).unwrap_err().message.contains("No such file"));
    std::fs::write(&path, "not a key").unwrap();
    assert!(open(&path, &nobody()).unwrap_err().message.contains("not an OpenPGP certificate"));
    assert!(open(folder.path(), &nobody()).unwrap_err().message.contains("not a regular file"));
}

#[test]
fn names_cannot_leave_the_store() {
    let (_folder, store) = store();
    for name in ["", "..", ".hidden", "a/b", "-rf", "a b", "a\nb", &"a".repeat(65)] {
        assert!(store.make(name, None).is_err(), "{name}");
    }
}

#[test]
fn public_certificates_are_handed_out_but_not_that_of_this_machine() {
    let (_folder, store) = store();
    let fingerprint = store.make("alice", None).unwrap();
    store.make(LOCAL, None).unwrap();
    let armor = store.export("alice").unwrap();
    assert!(armor.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----") && !armor.contains("PRIVATE"));
    assert_eq!(store.export(&fingerprint.0).unwrap(), armor);
    assert!(store.export(LOCAL).unwrap_err().message.contains("signs for this machine alone"));
    assert_eq!(store.export("alcie").unwrap_err().hint.as_deref(), Some("did you mean `alice`?"));
}

#[test]
fn a_public_file_with_a_secret_in_it_is_not_handed_out() {
    let (_folder, store) = store();
    store.make("alice", None).unwrap();
    std::fs::copy(store.secret_path("alice"), store.public_path("alice")).unwrap();
    assert!(store.export("alice").is_err());
}

#[test]
fn keys_are_taken_in_by_what_they_are() {
    let (folder, theirs) = store();
    theirs.make("bob", Some("p")).unwrap();
    let (_folder, ours) = store();
    let public = folder.path().join("bob-public.asc");
    std::fs::write(&public, theirs.export("bob").unwrap()).unwrap();
    let trusted = ours.import(&public, None, &nobody()).unwrap();
    assert!(trusted.starts_with(&ours.keyring));
    assert!(!ours.find("bob-public").unwrap().secret);
    assert!(ours.import(&public, None, &nobody()).is_err());

    let secret = theirs.secret_path("bob");
    assert!(ours.import(&secret, None, &nobody()).unwrap_err().message.contains("passphrase"));
    chmod(&secret, 0o644);
    assert!(ours.import(&secret, None, &given("p")).unwrap_err().message.contains("open to others"));
    chmod(&secret, 0o600);
    let path = ours.import(&secret, None, &given("p")).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert!(open(&path, &nobody()).unwrap_err().message.contains("passphrase"));
    assert!(open(&path, &given("p")).is_ok());
    let names: Vec<(String, bool)> = ours.list().0.into_iter().map(|key| (key.name, key.secret)).collect();
    assert_eq!(names, [("bob".into(), true), ("bob-public".into(), false)]);

    let junk = folder.path().join("junk.asc");
    std::fs::write(&junk, "junk").unwrap();
    assert!(ours.import(&junk, None, &nobody()).unwrap_err().message.contains("is no OpenPGP key"));
}

#[test]
fn a_revoked_key_signs_no_more_and_others_do() {
    let (folder, store) = store();
    store.make("alice", Some("p")).unwrap();
    store.make("bob", None).unwrap();
    let public = folder.path().join("alice-public.asc");
    std::fs::write(&public, store.export("alice").unwrap()).unwrap();
    store.import(&public, None, &nobody()).unwrap();
    let Ok(wanted @ Wanted::Key(_)) = find("alice", &store) else { panic!("it is a key") };
    assert!(wanted.whose(&store).unwrap().starts_with("`alice` ("));
    assert!(wanted.revocation(RevocationReason::Compromised, &nobody()).err().unwrap().message.contains("passphrase"));
    let made = find("alice", &store).unwrap().revocation(RevocationReason::Retired, &given("p")).unwrap();
    assert_eq!((mode(&made.path), made.path.extension().unwrap().to_str()), (0o600, Some("rev")));
    assert!(made.bytes.starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----") && made.key.is_some());
    assert!(open(&store.secret_path("alice"), &given("p")).is_ok(), "nobody was told yet");
    let again = find("alice", &store).unwrap().revocation(RevocationReason::Retired, &given("p")).unwrap();
    assert_eq!(again.bytes, made.bytes, "it is the one that was made before");

    assert_eq!(store.revoke(&made.bytes).unwrap(), ["alice", "alice-public"]);
    assert_eq!(store.revoke(&made.bytes).unwrap(), [] as [&str; 0]);
    assert_eq!((mode(&store.secret_path("alice")), mode(&store.public_path("alice"))), (0o600, 0o644));
    let error = open(&store.secret_path("alice"), &given("p")).unwrap_err();
    assert!(error.message.contains("the certificate is revoked"), "{error}");
    let (listed, skipped) = store.list();
    let revoked: Vec<(String, bool)> = listed.into_iter().map(|key| (key.name, key.revoked)).collect();
    let expected = [("alice", true), ("bob", false), ("alice-public", true)];
    assert_eq!(revoked, expected.map(|(name, revoked)| (name.to_owned(), revoked)));
    assert_eq!(skipped, [] as [&str; 0], "the revocation's file is no key");
    assert!(open(&store.secret_path("bob"), &nobody()).is_ok());
    assert!(matches!(find("alice", &store), Ok(Wanted::File(path)) if path == made.path), "to be handed in again");
}

#[test]
fn what_cannot_be_revoked_here_is_said() {
    let (folder, store) = store();
    store.make(LOCAL, None).unwrap();
    let public = folder.path().join("carol.asc");
    let (_theirs, theirs) = self::store();
    theirs.make("carol", None).unwrap();
    std::fs::write(&public, theirs.export("carol").unwrap()).unwrap();
    store.import(&public, None, &nobody()).unwrap();
    for (wanted, words) in [
        (LOCAL, "signs for this machine alone"),
        ("carol", "is a certificate without its secret key"),
        ("nobody", "there is no key `nobody`"),
    ] {
        let error = find(wanted, &store).err().unwrap();
        assert!(error.message.contains(words), "{error}");
    }
    let Ok(file @ Wanted::File(_)) = find(public.to_str().unwrap(), &store) else { panic!("it is a file") };
    assert!(file.whose(&store).unwrap_err().message.contains("there is no revocation in it"));
}
