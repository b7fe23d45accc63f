//! Which signatures count: one case for each way in which one does not.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::time::{Duration, SystemTime};

use canvass_protocol::limits;
use canvass_protocol::openpgp::{
    Fingerprint, KeyError, KeyFile, Keyring, RevocationReason, Signer, Verdict, join_signatures,
};
use common::at;
use jiff::Timestamp;
use sequoia_openpgp::cert::{CertBuilder, CertRevocationBuilder, CipherSuite, SubkeyRevocationBuilder};
use sequoia_openpgp::crypto::KeyPair;
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::packet::signature::subpacket::{Subpacket, SubpacketValue};
use sequoia_openpgp::packet::{Key, key};
use sequoia_openpgp::serialize::{Serialize as _, SerializeInto};
use sequoia_openpgp::types::{HashAlgorithm, KeyFlags, ReasonForRevocation, SignatureType};
use sequoia_openpgp::{Cert, Packet, armor};

const PAYLOAD: &[u8] = b"{\"canvass\":\"action/1\"}";
const BORN: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-11-21T12:00:00Z";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn clock(text: &str) -> SystemTime {
    at(text).into()
}

fn builder(name: &str) -> CertBuilder<'_> {
    CertBuilder::new().add_userid(name).set_creation_time(clock(BORN)).set_cipher_suite(CipherSuite::Cv25519)
}

fn signs() -> KeyFlags {
    KeyFlags::empty().set_certification().set_signing()
}

/// A certificate whose primary key signs.
fn plain(name: &str) -> Cert {
    builder(name).set_primary_key_flags(signs()).generate().unwrap().0
}

/// A certificate whose primary key certifies and whose subkey signs.
fn with_subkey(name: &str, validity: Option<Duration>) -> Cert {
    builder(name).add_subkey(KeyFlags::empty().set_signing(), validity, None).generate().unwrap().0
}

fn pair_of(key: &Key<key::PublicParts, key::UnspecifiedRole>) -> KeyPair {
    key.clone().parts_into_secret().unwrap().into_keypair().unwrap()
}

fn primary_pair(cert: &Cert) -> KeyPair {
    pair_of(&cert.primary_key().key().clone().role_into_unspecified())
}

fn last_pair(cert: &Cert) -> KeyPair {
    pair_of(cert.keys().last().unwrap().key())
}

/// Signs as told, with a certificate's last key.
fn sign_as(cert: &Cert, made: &str, change: impl FnOnce(SignatureBuilder) -> SignatureBuilder) -> String {
    let builder = SignatureBuilder::new(SignatureType::Binary)
        .set_hash_algo(HashAlgorithm::SHA512)
        .set_signature_creation_time(clock(made))
        .unwrap();
    armored(&change(builder).sign_message(&mut last_pair(cert), PAYLOAD).unwrap().into())
}

fn sign(cert: &Cert, made: &str) -> String {
    sign_as(cert, made, |builder| builder)
}

fn sign_by_primary(cert: &Cert) -> String {
    let signature = SignatureBuilder::new(SignatureType::Binary)
        .set_signature_creation_time(clock(NOW))
        .unwrap()
        .sign_message(&mut primary_pair(cert), PAYLOAD)
        .unwrap();
    armored(&signature.into())
}

fn armored(packet: &Packet) -> String {
    let mut writer = armor::Writer::new(Vec::new(), armor::Kind::Signature).unwrap();
    packet.serialize(&mut writer).unwrap();
    String::from_utf8(writer.finalize().unwrap()).unwrap()
}

fn keyring(certs: &[&Cert]) -> Keyring {
    let mut keyring = Keyring::default();
    for cert in certs {
        assert_eq!(keyring.add(&cert.to_vec().unwrap()).skipped, Vec::<String>::new());
    }
    keyring
}

fn verify(keyring: &Keyring, signatures: &[String]) -> Verdict {
    keyring.verify(PAYLOAD, signatures, at(NOW))
}

fn counts(keyring: &Keyring, cert: &Cert, signature: &str) {
    let verdict = verify(keyring, &[signature.to_owned()]);
    assert_eq!(verdict.rejected, Vec::<String>::new());
    assert_eq!(verdict.signers.into_iter().collect::<Vec<_>>(), [Fingerprint::from(cert.fingerprint())]);
}

/// The one sentence that says why.
fn rejected(keyring: &Keyring, signature: &str, expected: &str) {
    let verdict = verify(keyring, &[signature.to_owned()]);
    assert_eq!(verdict.signers.len(), 0, "it counts");
    assert_eq!(verdict.rejected.len(), 1);
    assert!(verdict.rejected[0].contains(expected), "{}", verdict.rejected[0]);
    assert!(!verdict.rejected[0].contains('\n'));
}

#[test]
fn a_good_signature_counts_by_primary_key_and_by_subkey() {
    for cert in [plain("alice"), with_subkey("alice", None)] {
        let keyring = keyring(&[&plain("bob"), &cert]);
        counts(&keyring, &cert, &sign(&cert, NOW));
        counts(&keyring, &cert, &sign(&cert, "2026-11-21T12:01:59Z"));
        counts(&keyring, &cert, &sign(&cert, "2026-11-21T11:00:00Z"));
        let verdict = keyring.verify(b"other bytes", &[sign(&cert, NOW)], at(NOW));
        assert_eq!(verdict.signers.len(), 0);
        assert!(verdict.rejected[0].ends_with("does not count: it is not of these bytes"), "{verdict:?}");
    }
}

#[test]
fn an_unknown_certificate_is_named() {
    let cert = with_subkey("mallory", None);
    let named = cert.keys().last().unwrap().key().fingerprint().to_hex();
    let expected = format!("the signature by `{named}` does not count: its certificate is not in the keyring");
    rejected(&keyring(&[&plain("alice")]), &sign(&cert, NOW), &expected);
    rejected(&Keyring::default(), &sign(&cert, NOW), &expected);
}

#[test]
fn dates() {
    let cert = plain("alice");
    let keyring = keyring(&[&cert]);
    rejected(&keyring, &sign(&cert, "2026-11-21T12:02:01Z"), "it says it was made in the future");
    // Before the key was.
    rejected(&keyring, &sign(&cert, "2025-12-31T23:59:59Z"), "");
    let brief = sign_as(&cert, "2026-11-21T11:00:00Z", |b| b.set_signature_validity_period(60 * DAY / 1440).unwrap());
    rejected(&keyring, &brief, "it expired at 2026-11-21T12:00:00Z");
    let longer = sign_as(&cert, "2026-11-21T11:00:00Z", |b| b.set_signature_validity_period(DAY).unwrap());
    counts(&keyring, &cert, &longer);
}

#[test]
fn a_key_made_on_a_clock_that_runs_ahead_counts() {
    let key = KeyFile::generate("alice", None, at("2026-11-21T12:01:00Z")).unwrap();
    let mut keyring = Keyring::default();
    keyring.add(key.public_armor().unwrap().as_bytes());
    let signature = key.sign(PAYLOAD, at("2026-11-21T12:01:01Z")).unwrap();
    assert_eq!(keyring.verify(PAYLOAD, std::slice::from_ref(&signature), at(NOW)).signers.len(), 1);
    let early = keyring.verify(PAYLOAD, &[signature], at("2026-11-21T11:59:00Z"));
    assert_eq!(early.signers.len(), 0);
}

#[test]
fn a_back_dated_signature_by_an_expired_key_does_not_count() {
    let expired = builder("alice").set_primary_key_flags(signs()).set_validity_period(30 * DAY).generate().unwrap().0;
    let subkey = with_subkey("bob", Some(30 * DAY));
    let keyring = keyring(&[&expired, &subkey]);
    for cert in [&expired, &subkey] {
        // While the key lived, and after; the verifier's clock decides over both.
        rejected(&keyring, &sign(cert, "2026-01-15T00:00:00Z"), "is not valid at 2026-11-21T12:00:00Z");
        rejected(&keyring, &sign(cert, NOW), "is not valid at 2026-11-21T12:00:00Z");
        let then = at("2026-01-15T00:01:00Z");
        assert_eq!(keyring.verify(PAYLOAD, &[sign(cert, "2026-01-15T00:00:00Z")], then).signers.len(), 1);
    }
    rejected(&keyring, &sign(&expired, NOW), "the certificate is not valid");
    rejected(&keyring, &sign(&subkey, NOW), "the signing key is not valid");
}

#[test]
fn keys_that_do_not_sign_do_not_count() {
    let certifies = builder("alice").generate().unwrap().0;
    rejected(&keyring(&[&certifies]), &sign(&certifies, NOW), "the key is not meant for signing");
    let authenticates =
        builder("bob").add_subkey(KeyFlags::empty().set_authentication(), None, None).generate().unwrap().0;
    rejected(&keyring(&[&authenticates]), &sign(&authenticates, NOW), "the key is not meant for signing");
}

#[test]
fn revoked_for_whatever_reason_and_whenever() {
    use ReasonForRevocation::{KeyCompromised, KeyRetired, KeySuperseded, Unspecified};
    for code in [KeyCompromised, KeyRetired, KeySuperseded, Unspecified] {
        // After the signature, before it, and by a clock that runs ahead.
        for when in ["2026-11-21T11:59:00Z", "2026-02-01T00:00:00Z", "2026-12-24T00:00:00Z"] {
            let cert = with_subkey("alice", None);
            let signature = sign(&cert, "2026-11-21T11:00:00Z");
            let mut keyring = keyring(&[&cert]);
            counts(&keyring, &cert, &signature);
            let whole = CertRevocationBuilder::new()
                .set_signature_creation_time(clock(when))
                .unwrap()
                .set_reason_for_revocation(code, b"")
                .unwrap()
                .build(&mut primary_pair(&cert), &cert, None)
                .unwrap();
            let revoked = keyring.revoke(armored(&whole.into()).as_bytes()).unwrap();
            assert_eq!(revoked, [Fingerprint::from(cert.fingerprint())]);
            assert!(keyring.list()[0].revoked);
            rejected(&keyring, &signature, "the certificate is revoked");
        }
        let cert = with_subkey("alice", None);
        let signature = sign(&cert, "2026-11-21T11:00:00Z");
        let mut keyring = keyring(&[&cert]);
        let subkey = cert.keys().last().unwrap().key().clone().role_into_subordinate();
        let part = SubkeyRevocationBuilder::new()
            .set_signature_creation_time(clock(NOW))
            .unwrap()
            .set_reason_for_revocation(code, b"")
            .unwrap()
            .build(&mut primary_pair(&cert), &cert, &subkey, None)
            .unwrap();
        assert_eq!(keyring.revoke(armored(&part.into()).as_bytes()).unwrap().len(), 1);
        rejected(&keyring, &signature, "the signing key is revoked");
    }
}

#[test]
fn a_revocation_cannot_be_taken_back_and_brings_nothing_with_it() {
    let alice = KeyFile::generate("alice", None, at(BORN)).unwrap();
    let mut keyring = Keyring::default();
    keyring.add(alice.public_armor().unwrap().as_bytes());
    let before = keyring.sha256();
    let revocation = alice.revocation(RevocationReason::Compromised, "lost", at("2026-11-01T00:00:00Z")).unwrap();
    // Of a certificate nobody here knows.
    assert_eq!(Keyring::default().revoke(revocation.as_bytes()).unwrap(), []);
    // A whole certificate with other things beside the revocation: only that is taken.
    let mallory = plain("mallory");
    let both = [mallory.armored().to_vec().unwrap(), revocation.clone().into_bytes()].concat();
    assert_eq!(keyring.revoke(&both).unwrap(), [alice.fingerprint()]);
    assert_eq!(keyring.len(), 1);
    assert_ne!(keyring.sha256(), before);
    // Known already.
    assert_eq!(keyring.revoke(revocation.as_bytes()).unwrap(), []);
    // The thief of the key hands the unrevoked certificate in again.
    keyring.add(alice.public_armor().unwrap().as_bytes());
    let signature = alice.sign(PAYLOAD, at(NOW)).unwrap();
    rejected(&keyring, &signature, "the certificate is revoked");
    // A revocation by somebody else's key is none.
    let bob = plain("bob");
    let forged = CertRevocationBuilder::new()
        .set_signature_creation_time(clock(NOW))
        .unwrap()
        .build(&mut primary_pair(&mallory), &bob, None)
        .unwrap();
    let mut ring = Keyring::default();
    ring.add(&bob.to_vec().unwrap());
    assert_eq!(ring.revoke(armored(&forged.into()).as_bytes()).unwrap(), []);
    counts(&ring, &bob, &sign(&bob, NOW));
    for bad in [&b""[..], b"hello", sign(&bob, NOW).as_bytes(), &vec![0; limits::REVOCATION_BYTES_MAX + 1]] {
        assert!(matches!(ring.revoke(bad), Err(KeyError::Revocation(_))));
    }
}

#[test]
fn text_signatures_and_weak_hashes_do_not_count() {
    let cert = plain("alice");
    let keyring = keyring(&[&cert]);
    let text = sign_as(&cert, NOW, |b| b.set_type(SignatureType::Text));
    rejected(&keyring, &text, "it is a text signature (type 0x01); only binary ones (0x00) count");
    let other = sign_as(&cert, NOW, |b| b.set_type(SignatureType::Unknown(0x7f)));
    rejected(&keyring, &other, "only binary ones (0x00) count");
    for hash in [HashAlgorithm::SHA1, HashAlgorithm::RipeMD, HashAlgorithm::MD5, HashAlgorithm::SHA224] {
        rejected(&keyring, &sign_as(&cert, NOW, |b| b.set_hash_algo(hash)), "");
    }
    counts(&keyring, &cert, &sign_as(&cert, NOW, |b| b.set_hash_algo(HashAlgorithm::SHA256)));
}

#[test]
fn short_rsa_does_not_count_wherever_it_stands() {
    // Made beforehand, over the same bytes at the same moment, because making an RSA key takes long.
    let mut keyring = Keyring::default();
    assert_eq!(keyring.add(include_bytes!("golden/rsa-2048.asc")).certificates.len(), 1);
    rejected(&keyring, include_str!("golden/rsa-2048-by-primary.asc"), "RSA2048");
    // A good subkey under a short primary key: whoever breaks the one makes himself the other.
    rejected(&keyring, include_str!("golden/rsa-2048-by-subkey.asc"), "RSA2048");
}

#[test]
fn a_certificate_counts_once() {
    let cert = builder("alice")
        .set_primary_key_flags(signs())
        .add_subkey(KeyFlags::empty().set_signing(), None, None)
        .generate()
        .unwrap()
        .0;
    let signatures = [sign(&cert, NOW), sign(&cert, NOW), sign_by_primary(&cert)];
    let keyring = keyring(&[&cert, &plain("bob")]);
    assert_eq!(verify(&keyring, &signatures).signers.len(), 1);
    let joined = join_signatures(&signatures).unwrap();
    assert_eq!(verify(&keyring, &[joined.clone(), joined]).signers.len(), 1);
}

#[test]
fn only_so_many_signatures_are_looked_at() {
    let cert = plain("alice");
    let stranger = sign(&plain("mallory"), NOW);
    let many = join_signatures(&vec![stranger; limits::SIGNATURES_MAX]).unwrap();
    let keyring = keyring(&[&cert]);
    let verdict = verify(&keyring, &[many, sign(&cert, NOW)]);
    assert_eq!(verdict.signers.len(), 0);
    assert_eq!(verdict.rejected.len(), limits::SIGNATURES_MAX + 1);
    assert!(verdict.rejected.last().unwrap().contains("after the first 8"), "{verdict:?}");
}

/// A signature is tried with the keys that its first two issuers name, wherever in it they stand: whoever hands one in could
/// name hundreds.
#[test]
fn two_issuers_are_looked_up_and_no_more() {
    let (alice, bob, carol) = (plain("alice"), plain("bob"), plain("carol"));
    let known = keyring(&[&alice, &bob, &carol]);
    let naming = |certs: &[&Cert]| {
        sign_as(&carol, NOW, |builder| {
            let named = |builder: SignatureBuilder| {
                builder.modify_hashed_area(|mut area| {
                    for cert in certs {
                        area.add(Subpacket::new(SubpacketValue::IssuerFingerprint(cert.fingerprint()), false)?)?;
                    }
                    Ok(area)
                })
            };
            named(builder).unwrap()
        })
    };
    counts(&known, &carol, &naming(&[&carol]));
    counts(&known, &carol, &naming(&[&alice, &carol]));
    rejected(&known, &naming(&[&alice, &bob, &carol]), "it is not of these bytes");
    let by_key_id = sign_as(&carol, NOW, |builder| builder.set_issuer(carol.keyid()).unwrap());
    counts(&known, &carol, &by_key_id);
}

/// Whether a certificate may sign now is asked of sessions, too.
#[test]
fn who_may_sign_now() {
    let day = Duration::from_secs(24 * 3600);
    let (alice, short) = (plain("alice"), builder("short").set_primary_key_flags(signs()).set_validity_period(day));
    let short = short.generate().unwrap().0;
    let mut known = keyring(&[&alice, &short]);
    let (alices, shorts) = (Fingerprint::from(alice.fingerprint()), Fingerprint::from(short.fingerprint()));
    assert_eq!(known.may_sign(&alices, at(NOW)), Ok(()));
    assert_eq!(known.may_sign(&shorts, at("2026-01-01T12:00:00Z")), Ok(()));
    let expired = known.may_sign(&shorts, at(NOW)).unwrap_err();
    assert!(expired.contains("not valid at") || expired.contains("not acceptable at"), "{expired}");
    let stranger = Fingerprint::from(plain("mallory").fingerprint());
    assert!(known.may_sign(&stranger, at(NOW)).unwrap_err().contains("not in the keyring"));
    let revocation = CertRevocationBuilder::new()
        .set_reason_for_revocation(ReasonForRevocation::KeyRetired, b"")
        .unwrap()
        .build(&mut primary_pair(&alice), &alice, None)
        .unwrap();
    known.revoke(armored(&Packet::from(revocation)).as_bytes()).unwrap();
    assert!(known.may_sign(&alices, at(NOW)).unwrap_err().contains("revoked"));
}

#[test]
fn what_is_no_signature_is_said() {
    let cert = plain("alice");
    let keyring = keyring(&[&cert]);
    let good = sign(&cert, NOW);
    let long = "x".repeat(limits::SIGNATURE_BYTES_MAX + 1);
    for bad in ["", "hello", &good[..60], &good.replace("SIGNATURE", "MESSAGE")[..80], &long] {
        rejected(&keyring, bad, "a signature cannot be read");
    }
    let certificate = String::from_utf8(cert.armored().to_vec().unwrap()).unwrap();
    rejected(&keyring, &certificate, "it holds a packet of kind");
    // One bad signature does not spoil the next.
    let verdict = verify(&keyring, &["hello".into(), good]);
    assert_eq!((verdict.signers.len(), verdict.rejected.len()), (1, 1));
}

#[test]
fn a_keyring_takes_what_it_can_and_reports_the_rest() {
    let (alice, bob) = (plain("alice"), plain("bob"));
    let mut keyring = Keyring::default();
    let joined = [alice.armored().to_vec().unwrap(), b"\n\nnotes\n".to_vec(), bob.armored().to_vec().unwrap()].concat();
    assert_eq!(keyring.add(&joined).certificates.len(), 2);
    let names: Vec<String> = keyring.list().into_iter().flat_map(|certificate| certificate.user_ids).collect();
    assert!(names.contains(&"alice".into()) && names.contains(&"bob".into()));

    // Secret parts are dropped.
    let mut ring = Keyring::default();
    let secret = ring.add(&alice.as_tsk().to_vec().unwrap());
    let public = ring.sha256();
    assert_eq!((secret.certificates.len(), secret.skipped.len()), (1, 0));
    let mut again = Keyring::default();
    again.add(&alice.clone().strip_secret_key_material().to_vec().unwrap());
    assert_eq!(again.sha256(), public);

    // A bad one between two good ones is skipped.
    let mut broken = String::from_utf8(plain("carol").armored().to_vec().unwrap()).unwrap();
    broken.truncate(broken.len() / 2);
    let mut ring = Keyring::default();
    let mixed = [alice.armored().to_vec().unwrap(), broken.into_bytes(), bob.armored().to_vec().unwrap()].concat();
    let added = ring.add(&mixed);
    assert_eq!((ring.len(), added.certificates.len(), added.skipped.len()), (2, 2, 1), "{added:?}");
    // Half a certificate is none, wherever it was cut: its revocation may have been in the other half.
    let whole = with_subkey("dave", None).to_vec().unwrap();
    let mut ring = Keyring::default();
    for length in (whole.len() - 40..whole.len()).rev() {
        assert_eq!(ring.add(&whole[..length]).skipped.len(), 1, "{length} of {}", whole.len());
    }
    assert!(ring.is_empty());
    for bad in [&b""[..], b"hello", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n"] {
        let added = ring.add(bad);
        assert_eq!((ring.len(), added.certificates.len(), added.skipped.len()), (0, 0, 1), "{added:?}");
    }
}

#[test]
fn key_files() {
    let now: Timestamp = at(NOW);
    let key = KeyFile::generate("alice", Some("secret words"), now).unwrap();
    assert_eq!(key.user_ids(), ["alice"]);
    let stored = key.secret_armor().unwrap();
    assert!(stored.contains("PRIVATE KEY"));
    assert!(KeyFile::needs_passphrase(stored.as_bytes()).unwrap());
    assert!(matches!(KeyFile::open(stored.as_bytes(), None, now), Err(KeyError::PassphraseNeeded)));
    assert!(matches!(KeyFile::open(stored.as_bytes(), Some("wrong"), now), Err(KeyError::WrongPassphrase)));
    let opened = KeyFile::open(stored.as_bytes(), Some("secret words"), now).unwrap();
    assert_eq!(opened.fingerprint(), key.fingerprint());
    assert_eq!(opened.secret_armor().unwrap(), stored);
    assert!(!format!("{opened:?}").contains("secret"));

    let public = opened.public_armor().unwrap();
    assert!(public.contains("PUBLIC KEY") && !public.contains("PRIVATE KEY"));
    assert!(matches!(KeyFile::open(public.as_bytes(), None, now), Err(KeyError::CannotSign(_))));
    assert!(!KeyFile::needs_passphrase(public.as_bytes()).unwrap());
    for bad in [&b""[..], b"hello", &stored.as_bytes()[..200]] {
        assert!(matches!(KeyFile::open(bad, None, now), Err(KeyError::Malformed(_))));
        assert!(matches!(KeyFile::needs_passphrase(bad), Err(KeyError::Malformed(_))));
    }
    for name in ["", "  ", "a\nb", "a\u{1b}[0m", &"x".repeat(201)] {
        assert!(matches!(KeyFile::generate(name, None, now), Err(KeyError::BadName(_))), "{name:?}");
    }
    // What nobody would count is not signed.
    let expired = builder("bob").set_primary_key_flags(signs()).set_validity_period(DAY).generate().unwrap().0;
    let bytes = expired.as_tsk().to_vec().unwrap();
    assert!(matches!(KeyFile::open(&bytes, None, now), Err(KeyError::CannotSign(_))));
    let then = KeyFile::open(&bytes, None, at("2026-01-01T01:00:00Z")).unwrap();
    assert!(then.sign(PAYLOAD, at("2026-01-01T02:00:00Z")).is_ok());
    assert!(matches!(then.sign(PAYLOAD, now), Err(KeyError::CannotSign(_))));
    // A subkey that signs is found.
    let subkey = with_subkey("carol", None);
    let carol = KeyFile::open(&subkey.as_tsk().to_vec().unwrap(), None, now).unwrap();
    counts(&keyring(&[&subkey]), &subkey, &carol.sign(PAYLOAD, now).unwrap());
    assert!(matches!(carol.revocation(RevocationReason::Compromised, "x", now), Err(KeyError::CannotSign(_))));
}

#[test]
fn fingerprints_are_read_as_people_write_them() {
    let forty = "0123456789ABCDEF0123456789ABCDEF01234567";
    for text in [
        forty,
        &forty.to_lowercase(),
        "0x0123456789abcdef0123456789abcdef01234567",
        "0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567",
    ] {
        assert_eq!(Fingerprint::parse(text), Some(Fingerprint(forty.into())), "{text}");
    }
    for text in ["", "0123456789ABCDEF", &forty[1..], &format!("{forty}0"), &forty.replace('0', "g"), "ß"] {
        assert_eq!(Fingerprint::parse(text), None, "{text}");
    }
}
