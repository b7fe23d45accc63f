//! Whatever the bytes are, a decoder answers with a value or an error; and what it takes, it writes again.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use canvass_protocol::acl::Acl;
use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::answer::{Part, Reader};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::filter::Place;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::matcher::{TextMatcher, like_to_regex};
use canvass_protocol::openpgp::{Fingerprint, KeyFile, Keyring, RevocationReason, Signer as _, split_signatures};
use canvass_protocol::signed::Signed;
use common::{agent_key, at, id_of, pattern};
use proptest::prelude::*;

const ACTION: &[u8] = include_bytes!("golden/action-1.json");
const RESERVED: &[u8] = include_bytes!("golden/action-1-reserved.json");
const ENVELOPE: &[u8] = include_bytes!("golden/envelope-1.json");
const HEARTBEAT: &[u8] = include_bytes!("golden/heartbeat-1.json");
const FINAL: &[u8] = include_bytes!("golden/answer-1-final.json");
/// Who signed the golden envelope.
const CAROL: &[u8] = include_bytes!("golden/carol.asc");
const ALICE: &[u8] = include_bytes!("golden/alice.asc");
const POLICY: &[u8] = include_bytes!("golden/acl-1.toml");
const MIG: &[u8] = include_bytes!("golden/acl-mig.json");

/// One way to spoil bytes: where (of 65 536), what is cut out there, and what is put in.
type Spoil = (u16, u8, Vec<u8>);

fn spoils() -> impl Strategy<Value = Vec<Spoil>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..4),
        "[\\[\\]{}\":,0-9a-z\\\\]{0,6}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec((any::<u16>(), prop_oneof![Just(0), 0..4_u8, any::<u8>()], piece), 1..4)
}

fn spoil(bytes: &[u8], spoils: &[Spoil]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, cut, put) in spoils {
        let start = usize::from(*at) * bytes.len() / 65_536;
        let end = (start + usize::from(*cut)).min(bytes.len());
        bytes.splice(start..end, put.iter().copied());
    }
    bytes
}

/// The binary packets inside an armor, so that what is spoiled is more than a checksum.
fn dearmored(armored: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = sequoia_openpgp::armor::Reader::from_bytes(armored, None);
    std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
    bytes
}

/// Adds a fingerprint of an unknown kind to what is not signed of a version 4 signature packet.
fn with_unknown_fingerprint(packet: &[u8]) -> Vec<u8> {
    let (length, body) = match packet[1] {
        short @ 0..192 => (usize::from(short), &packet[2..]),
        long => ((usize::from(long) - 192) * 256 + usize::from(packet[2]) + 192, &packet[3..]),
    };
    assert_eq!((packet[0], body[0], length), (0xc2, 4, body.len()), "a signature in the new format alone");
    let hashed = usize::from(u16::from_be_bytes([body[4], body[5]]));
    let at = 6 + hashed;
    let unhashed = u16::from_be_bytes([body[at], body[at + 1]]);
    let unknown = [&[22, 33, 9][..], &[7; 20]].concat();
    let grown = unhashed + u16::try_from(unknown.len()).unwrap();
    let body = [&body[..at], &grown.to_be_bytes(), &unknown, &body[at + 2..]].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0xc2, 0xff][..], &length, &body].concat()
}

/// Anybody may hand in a revocation, and change what is not signed of it.
#[test]
fn a_revocation_that_cannot_be_written_again_is_not_taken_in() {
    let alice = KeyFile::generate("alice", None, at(common::NOW)).unwrap();
    let mut keyring = Keyring::default();
    keyring.add(alice.public_armor().unwrap().as_bytes());
    let before = keyring.sha256();
    let revocation =
        dearmored(alice.revocation(RevocationReason::Compromised, "lost", at(common::NOW)).unwrap().as_bytes());
    assert!(keyring.revoke(&with_unknown_fingerprint(&revocation)).is_err());
    assert_eq!(keyring.sha256(), before);
    assert_eq!(keyring.revoke(&revocation).unwrap(), [alice.fingerprint()]);
    assert_ne!(keyring.sha256(), before);
}

/// A keyring folder may hold one: it is skipped and said, and the agent that reads it goes on.
#[test]
fn a_certificate_that_cannot_be_written_again_is_skipped() {
    let spoiled = spoil(&dearmored(ALICE), &[(52_678, 1, vec![34])]);
    let mut keyring = Keyring::default();
    let added = keyring.add(&spoiled);
    assert_eq!((added.certificates.len(), added.skipped.len()), (0, 1), "{added:?}");
    keyring.sha256();
}

proptest! {
    #[test]
    fn actions(spoils in spoils()) {
        for golden in [ACTION, RESERVED] {
            if let Ok(action) = Action::parse(&spoil(golden, &spoils)) {
                let written = action.to_bytes();
                prop_assert_eq!(Action::parse(&written).unwrap(), action);
            }
        }
    }

    #[test]
    fn envelopes_and_their_signatures(spoils in spoils()) {
        let mut keyring = Keyring::default();
        keyring.add(CAROL);
        let whole = Envelope::parse(ENVELOPE).unwrap();
        if let Ok(envelope) = Envelope::parse(&spoil(ENVELOPE, &spoils)) {
            let verdict = keyring.verify(envelope.payload.as_bytes(), &envelope.signatures, at(common::NOW));
            prop_assert!(verdict.signers.is_empty() || envelope.payload == whole.payload);
        }
        // Nothing can be changed in a payload without a signature's falling away.
        let payload = spoil(ACTION, &spoils);
        let verdict = keyring.verify(&payload, &whole.signatures, at(common::NOW));
        prop_assert_eq!(verdict.signers.is_empty(), payload != ACTION);
    }

    #[test]
    fn answers_and_heartbeats(spoils in spoils(), body in proptest::collection::vec(any::<u8>(), 0..8)) {
        if let Ok(heartbeat) = serde_json::from_slice::<Signed>(&spoil(HEARTBEAT, &spoils)) {
            let whole: Signed = serde_json::from_slice(HEARTBEAT).unwrap();
            prop_assert!(Heartbeat::open(&heartbeat, "acme").is_err() || heartbeat.statement == whole.statement);
        }
        let spoiled = String::from_utf8_lossy(&spoil(FINAL, &spoils)).into_owned();
        let (statement, signature) = spoiled.split_once('\n').unwrap_or((&spoiled, ""));
        let part = Part { statement: statement.into(), signature: signature.trim_end().into(), body };
        let mut reader = Reader::new("acme".into(), ActionHash::of(ACTION), id_of(&agent_key()));
        // The final record of the golden answer follows a frame that is not here.
        prop_assert!(reader.read(&part).is_err());
    }

    #[test]
    fn certificates_and_signatures(spoils in spoils()) {
        let alice = spoil(&dearmored(ALICE), &spoils);
        let mut keyring = Keyring::default();
        let added = keyring.add(&alice);
        prop_assert!(!added.certificates.is_empty() || !added.skipped.is_empty());
        keyring.list();
        keyring.sha256();
        let _ = keyring.revoke(&alice);
        let _ = KeyFile::open(&alice, Some("x"), at(common::NOW));
        keyring.add(&spoil(ALICE, &spoils));

        let whole = Envelope::parse(ENVELOPE).unwrap();
        let signature = dearmored(whole.signatures[0].as_bytes());
        if let Ok(split) = split_signatures(&spoil(&signature, &spoils)) {
            keyring.verify(ACTION, &split, at(common::NOW));
        }
        let armored = spoil(whole.signatures[0].as_bytes(), &spoils);
        keyring.verify(ACTION, &[String::from_utf8_lossy(&armored).into_owned()], at(common::NOW));
    }

    #[test]
    fn policies(spoils in spoils()) {
        let signers = std::collections::BTreeSet::from([Fingerprint("C".repeat(40))]);
        for acl in [
            Acl::from_toml(&String::from_utf8_lossy(&spoil(POLICY, &spoils))),
            Acl::from_mig_json(&String::from_utf8_lossy(&spoil(MIG, &spoils))),
        ] {
            acl.problems();
            // However a policy is spoiled, it does not let in somebody it never named.
            prop_assert!(acl.judge("files", &signers).is_err());
        }
    }

    #[test]
    fn texts(written in "\\PC{0,12}", value in "(?s).{0,12}") {
        if let Ok(place) = Place::parse(&written) {
            place.check().unwrap();
            place.holds(&value);
        }
        let _ = Fingerprint::parse(&written);
        // Every LIKE pattern compiles, and one without wildcards fits itself alone.
        let matcher = TextMatcher::new(&canvass_protocol::filter::Is::Like(pattern(&written))).unwrap().unwrap();
        matcher.test(Some(&value));
        prop_assert!(like_to_regex(&written).starts_with("(?s)"));
        if !written.contains(['%', '_', '\\']) {
            prop_assert_eq!(matcher.test(Some(&value)), (value == written).into());
            prop_assert_eq!(matcher.test(Some(&written)), true.into());
        }
    }
}
