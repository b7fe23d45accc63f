//! Revocations as they are handed in and travel: what of them is taken, and what changes nothing.

#![allow(clippy::unwrap_used, reason = "a test may")]

use canvass_protocol::limits;
use canvass_protocol::openpgp::{
    Fingerprint, KeyError, KeyFile, Keyring, RevocationReason, Signer as _, revoked_by, with_revocations,
};
use canvass_protocol::relay::{MessageError, ToAgent};
use jiff::Timestamp;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn key(name: &str) -> KeyFile {
    KeyFile::generate(name, None, now()).unwrap()
}

fn keyring(keys: &[&KeyFile]) -> Keyring {
    let mut keyring = Keyring::default();
    keys.iter().for_each(|key| drop(keyring.add(key.public_armor().unwrap().as_bytes())));
    keyring
}

fn revocation(key: &KeyFile) -> String {
    key.revocation(RevocationReason::Compromised, "lost", now()).unwrap()
}

#[test]
fn what_is_found_is_the_revocation_alone() {
    let (alice, bob, stranger) = (key("alice"), key("bob"), key("stranger"));
    let (mut ring, armor) = (keyring(&[&alice, &bob]), revocation(&alice));
    let all = [stranger.public_armor().unwrap(), armor.clone(), revocation(&stranger)].concat();
    for bytes in [armor.as_bytes(), all.as_bytes()] {
        let found = ring.revocations(bytes).unwrap();
        assert_eq!((found.len(), &found[0].certificate, found[0].is_new), (1, &alice.fingerprint(), true));
        assert!(found[0].is_whole() && found[0].armor == armor);
    }
    assert_eq!(ring.revocations(format!("{armor}{}", revocation(&alice)).as_bytes()).unwrap().len(), 2);
    let before = ring.sha256();
    assert_eq!(ring.revoke(all.as_bytes()).unwrap(), [alice.fingerprint()]);
    assert_ne!(ring.sha256(), before);
    assert!(!ring.revocations(armor.as_bytes()).unwrap()[0].is_new, "it is revoked already");
}

#[test]
fn what_gpg_writes_against_accidents_is_read() {
    let alice = key("alice");
    let text = format!("This is a revocation certificate.\n\nRemove this colon.\n\n:{}", revocation(&alice));
    assert_eq!(keyring(&[&alice]).revoke(text.as_bytes()).unwrap(), [alice.fingerprint()]);
    assert_eq!(revoked_by(text.as_bytes()).unwrap(), [alice.fingerprint().0]);
}

#[test]
fn what_does_not_verify_revokes_nothing() {
    let (alice, bob) = (key("alice"), key("bob"));
    let armor = revocation(&alice);
    let ring = keyring(&[&bob]);
    assert_eq!(ring.revocations(armor.as_bytes()).unwrap(), [], "of nobody that is known");
    let signature = alice.sign(b"x", now()).unwrap();
    let many = armor.repeat(limits::REVOCATIONS_MAX + 1);
    for bad in [
        "",
        "hello",
        &armor[..armor.len() / 2],
        &armor[..armor.len() - 60],
        &signature,
        &alice.public_armor().unwrap(),
        &" ".repeat(limits::REVOCATION_BYTES_MAX + 1),
        &many,
    ] {
        let error = keyring(&[&alice]).revocations(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, KeyError::Revocation(_)), "{bad}: {error}");
        assert!(keyring(&[&alice]).revoke(bad.as_bytes()).is_err() && revoked_by(bad.as_bytes()).is_err());
    }
}

#[test]
fn a_file_takes_its_own_revocation_in_and_keeps_its_secret() {
    let (alice, bob) = (KeyFile::generate("alice", Some("p"), now()).unwrap(), key("bob"));
    let armor = revocation(&alice);
    let public = [alice.public_armor().unwrap(), bob.public_armor().unwrap()].concat();
    assert_eq!(with_revocations(bob.public_armor().unwrap().as_bytes(), armor.as_bytes()).unwrap(), None);
    let changed = with_revocations(public.as_bytes(), armor.as_bytes()).unwrap().unwrap();
    let mut ring = Keyring::default();
    assert_eq!(ring.add(&changed).certificates.len(), 2);
    let revoked: Vec<Fingerprint> =
        ring.list().into_iter().filter(|one| one.revoked).map(|one| one.fingerprint).collect();
    assert_eq!(revoked, [alice.fingerprint()]);
    assert_eq!(with_revocations(&changed, armor.as_bytes()).unwrap(), None, "it is in it already");

    let secret = with_revocations(alice.secret_armor().unwrap().as_bytes(), armor.as_bytes()).unwrap().unwrap();
    assert!(String::from_utf8_lossy(&secret).contains("PRIVATE KEY BLOCK"));
    assert!(KeyFile::needs_passphrase(&secret).unwrap());
    let error = KeyFile::open(&secret, Some("p"), now()).unwrap_err();
    assert!(error.to_string().contains("the certificate is revoked"), "{error}");
}

#[test]
fn a_message_carries_one_and_no_more_than_may_be() {
    let message = ToAgent::Revocation(revocation(&key("alice")));
    assert!(message.to_text().starts_with("{\"revocation\":\"-----BEGIN PGP PUBLIC KEY BLOCK-----\\n"));
    assert_eq!(ToAgent::parse(&message.to_text()).unwrap(), message);
    let longest = ToAgent::Revocation("x".repeat(limits::REVOCATION_BYTES_MAX));
    assert_eq!(ToAgent::parse(&longest.to_text()).unwrap(), longest);
    let longer = ToAgent::Revocation("x".repeat(limits::REVOCATION_BYTES_MAX + 1)).to_text();
    assert!(matches!(ToAgent::parse(&longer), Err(MessageError::Malformed(_))));
}
