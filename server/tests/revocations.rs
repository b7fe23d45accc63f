//! Revocations over the interface: who may hand one in, and what becomes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use canvass_protocol::api::{AuditLine, Revoked};
use canvass_protocol::limits;
use canvass_protocol::openpgp::{KeyFile, RevocationReason, Signer as _};
use common::{JSON, Server, envelope, start};
use jiff::{SignedDuration, Timestamp};

fn revocation(key: &KeyFile) -> String {
    key.revocation(RevocationReason::Compromised, "lost", Timestamp::now()).unwrap()
}

fn post(server: &Server, headers: &str, body: &str) -> (u16, String) {
    server.request("POST", "/v1/revocations", headers, body)
}

fn audit(server: &Server, headers: &str) -> Vec<(String, String)> {
    let (status, said) = server.request("GET", "/v1/audit?count=1000", headers, "");
    assert_eq!(status, 200, "{said}");
    let lines: Vec<AuditLine> = serde_json::from_str(&said).unwrap();
    lines.into_iter().filter(|line| line.what == "revoke").map(|line| (line.who, line.detail)).collect()
}

#[test]
fn whoever_has_a_session_may_revoke() {
    let server = start(&[]);
    let (alice, bob) = (server.investigator("alice"), server.investigator("bob"));
    let (alices, bobs) = (server.session(&alice, "a"), server.session(&bob, "b"));
    let armor = revocation(&alice);
    assert_eq!(post(&server, "", &armor).0, 401);
    let (status, said) = post(&server, &bobs, &armor);
    assert_eq!(status, 200, "{said}");
    let revoked: Revoked = serde_json::from_str(&said).unwrap();
    assert_eq!(revoked, Revoked { certificates: vec![alice.fingerprint()], known: 0, agents: 0 });
    let (status, said) = server.request("GET", "/v1/agents", &alices, "");
    assert_eq!(status, 401, "{said}");
    let (status, said) = server.request("POST", "/v1/sessions", JSON, &envelope(&alice, server.login("c")));
    assert!(status == 401 && said.contains("the certificate is revoked"), "{said}");

    // Once more, and another one of the same certificate: nothing is new.
    for again in [armor, revocation(&alice)] {
        let (status, said) = post(&server, &bobs, &again);
        assert_eq!((status, serde_json::from_str(&said).ok()), (200, Some(revoked.clone())), "{said}");
    }
    let (who, what) = (bob.fingerprint().0, alice.fingerprint().0);
    assert_eq!(audit(&server, &bobs), [(who.clone(), format!("{what} again")), (who, what)]);
    // By its own key, whose last act it is.
    let (status, said) = post(&server, &bobs, &revocation(&bob));
    assert_eq!(status, 200, "{said}");
    assert_eq!(post(&server, &bobs, &revocation(&bob)).0, 401);
}

#[test]
fn what_revokes_nothing_that_is_known_is_refused() {
    let server = start(&[]);
    let (alice, bob) = (server.investigator("alice"), server.investigator("bob"));
    let headers = server.session(&bob, "b");
    let stranger = KeyFile::generate("mallory", None, Timestamp::now() - SignedDuration::from_hours(1)).unwrap();
    let armor = revocation(&alice);
    let public = alice.public_armor().unwrap();
    for bad in ["", "{}", "hello", &armor[..armor.len() / 2], &public, &revocation(&stranger)] {
        let (status, said) = post(&server, &headers, bad);
        assert!(status == 404 && said.contains("revokes nothing that this server knows"), "{status} {said}");
    }
    let (status, said) = post(&server, &headers, &"x".repeat(limits::REVOCATION_BYTES_MAX + 1));
    assert_eq!(status, 413, "{said}");
    assert_eq!(audit(&server, &headers), []);
    server.session(&alice, "a");
}
