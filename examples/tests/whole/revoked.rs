//! A key that is lost: revoked by its owner or by whoever has its revocation, everywhere, and for good.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use canvass_examples::yard::Yard;
use canvass_services::{Postgres, Rabbitmq};

use crate::compromise::with_database;
use crate::cosign::{bob, check};
use crate::desk::{stderr, stdout};

const HOSTS: [&str; 3] = ["web-1", "db-1", "laptop-7"];
const STATEMENT: &str = "SELECT host FROM users WHERE name = 'root' ORDER BY host";
const ROWS: &str = "host\ndb-1\nlaptop-7\nweb-1\n";

/// A fleet that alice and bob may ask; alice's fingerprint, and the copy of her key that a thief has.
fn yard(server: &[&str]) -> (Yard, String, PathBuf) {
    let yard = Yard::open(server).unwrap();
    let made = bob(&yard).args(["key", "new", "bob", "--no-passphrase"]).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let certificate = bob(&yard).args(["key", "export", "bob"]).output().unwrap().stdout;
    std::fs::write(yard.keyring().join("bob.asc"), certificate).unwrap();
    let listed = stdout(&yard.desk().args(["key", "list", "--format", "csv"]).output().unwrap());
    let alice = listed.lines().find(|line| line.starts_with("alice,")).unwrap().split(',').nth(2).unwrap().to_owned();
    let thief = yard.path().join("thief.pgp");
    std::fs::copy(yard.key(), &thief).unwrap();
    (yard, alice, thief)
}

fn start(yard: &mut Yard) {
    for host in HOSTS {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
}

fn by_bob(yard: &Yard, arguments: &[&str]) -> Output {
    bob(yard).args(["--server", &yard.url()]).args(arguments).output().unwrap()
}

fn by_thief(yard: &Yard, key: &Path, arguments: &[&str]) -> Output {
    yard.ask(&[&["--key", key.to_str().unwrap(), "--format", "csv"], arguments].concat()).unwrap()
}

#[test]
fn a_lost_key_is_revoked_everywhere_and_for_good() {
    let (mut yard, alice, thief) = yard(&[]);
    start(&mut yard);
    yard.kill_agent("laptop-7");
    // What the thief asks waits for an agent that is away.
    let asked = by_thief(&yard, &thief, &["--wait", "1s", "--expire", "10m", "-c", STATEMENT]);
    check(&asked, 4, "host\ndb-1\nweb-1\n", &["2 answered"]);

    check(&yard.ask(&["key", "revoke", "alice"]).unwrap(), 2, "", &["nobody is here to say yes", "add `-y`"]);
    let revoked = yard.ask(&["-y", "key", "revoke", "alice"]).unwrap();
    let words = ["alice.rev`", "`alice` is revoked on this machine", "known to 2 of 3 agents", "revoked: `alice` ("];
    check(&revoked, 0, "", &words);
    for host in ["web-1", "db-1"] {
        yard.wait_for_log(host, &format!("revoked: {alice}")).unwrap();
    }
    let listed = yard.desk().args(["key", "list", "--format", "csv"]).output().unwrap();
    assert!(stdout(&listed).contains(&format!("alice,nothing,{alice},alice,true,")), "{}", stdout(&listed));
    check(&yard.ask(&["--key", "alice", "-c", STATEMENT]).unwrap(), 2, "", &["the certificate is revoked"]);
    check(&by_thief(&yard, &thief, &["-c", STATEMENT]), 3, "", &["the certificate is revoked"]);
    let tells = "SELECT name, revoked_keys FROM agents ORDER BY name";
    let expected = format!("name,revoked_keys\ndb-1,{alice}\nlaptop-7,\nweb-1,{alice}\n");
    check(&by_bob(&yard, &["--format", "csv", "-c", tells]), 0, &expected, &[]);

    // Whoever was away hears of it before it is brought what waited.
    yard.start_agent("laptop-7", "laptop-7", &[]).unwrap();
    yard.wait_for_log("laptop-7", &format!("revoked: {alice}")).unwrap();
    let file = yard.path().join("home/.config/canvass/keys/alice.rev");
    let again = by_bob(&yard, &["-y", "key", "revoke", file.to_str().unwrap()]);
    check(&again, 0, "", &["known to 3 of 3 agents", &format!("revoked: {alice}")]);
    let refused = "SELECT host FROM commands WHERE state = 'refused' AND reason LIKE '%the certificate is revoked%'";
    check(&by_bob(&yard, &["--format", "csv", "-c", refused]), 0, "host\nlaptop-7\n", &[]);
    check(&by_bob(&yard, &["--format", "csv", "-c", STATEMENT]), 0, ROWS, &["3 answered"]);
    let audit = by_bob(&yard, &["--format", "csv", "-c", ".audit all"]);
    assert!(stdout(&audit).contains(&format!("{alice},revoke,,{alice}\n")), "{}", stdout(&audit));

    // After a restart of everything: at the server, and at agents where the server has been made to forget.
    HOSTS.iter().for_each(|host| yard.kill_agent(host));
    yard.kill_server();
    yard.start_server().unwrap();
    check(&by_thief(&yard, &thief, &["-c", STATEMENT]), 3, "", &["the certificate is revoked"]);
    yard.kill_server();
    with_database(&yard, "db.execute('DELETE FROM revocations')", &[]);
    yard.start_server().unwrap();
    HOSTS.iter().for_each(|host| yard.start_agent(host, host, &[]).unwrap());
    let asked = by_thief(&yard, &thief, &["-c", STATEMENT]);
    check(&asked, 4, "host\n", &["3 refused", "the certificate is revoked"]);
    check(&by_bob(&yard, &["--format", "csv", "-c", STATEMENT]), 0, ROWS, &["3 answered"]);
}

/// A file that GnuPG made, and what is none.
#[test]
fn a_revocation_of_gnupg_is_handed_in_by_anybody() {
    let (mut yard, _, _) = yard(&[]);
    let gnupg = tempfile::Builder::new().prefix("cv").tempdir_in("/tmp").unwrap();
    let gpg = |arguments: &[&str]| {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", gnupg.path()).args(["--batch", "--pinentry-mode", "loopback", "--passphrase", ""]);
        let output = command.args(arguments).output().expect("gpg (GnuPG) is installed");
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    };
    gpg(&["--quick-generate-key", "carol", "ed25519", "sign", "1y"]);
    std::fs::write(yard.keyring().join("carol.asc"), gpg(&["--armor", "--export", "carol"])).unwrap();
    let _ = Command::new("gpgconf").env("GNUPGHOME", gnupg.path()).args(["--kill", "all"]).output();
    let prepared = std::fs::read_dir(gnupg.path().join("openpgp-revocs.d")).unwrap().next().unwrap().unwrap().path();
    let carol = prepared.file_stem().unwrap().to_str().unwrap().to_owned();
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    yard.wait_for(1).unwrap();

    let text = std::fs::read_to_string(&prepared).unwrap();
    for (name, bad, words) in [
        ("empty.rev", "", "not an OpenPGP revocation"),
        ("cut.rev", &text[..text.len() - 100], "not an OpenPGP revocation"),
        ("hello.rev", "hello", "not an OpenPGP revocation"),
    ] {
        let path = yard.path().join(name);
        std::fs::write(&path, bad).unwrap();
        check(&yard.ask(&["-y", "key", "revoke", path.to_str().unwrap()]).unwrap(), 2, "", &[words]);
    }
    let told = "SELECT name, revoked_keys FROM agents";
    check(&yard.ask(&["--format", "csv", "-c", told]).unwrap(), 0, "name,revoked_keys\nweb-1,\n", &[]);
    let handed_in = yard.ask(&["-y", "key", "revoke", prepared.to_str().unwrap()]).unwrap();
    let words = ["the colon before its armor", "known to 1 of 1 agents", &format!("revoked: {carol}")];
    check(&handed_in, 0, "", &words);
    check(&yard.ask(&["--format", "csv", "-c", told]).unwrap(), 0, &format!("name,revoked_keys\nweb-1,{carol}\n"), &[]);

    // Of a certificate that nobody here knows.
    let stranger = yard.desk().args(["key", "new", "dave", "--no-passphrase"]).output().unwrap();
    assert!(stranger.status.success(), "{}", stderr(&stranger));
    let refused = yard.ask(&["-y", "--key", "alice", "key", "revoke", "dave"]).unwrap();
    check(&refused, 2, "", &["revokes nothing that this server knows", "nobody was told yet", "dave.rev`"]);
    let alone = yard.desk().args(["-y", "--local", "key", "revoke", "dave"]).output().unwrap();
    check(&alone, 0, "", &["`dave` is revoked on this machine", "no server was told"]);
    check(&yard.ask(&["-y", "key", "revoke", "local"]).unwrap(), 2, "", &["there is no key `local`"]);
}

#[test]
fn servers_that_share_a_database_share_what_is_revoked() {
    let (postgres, rabbitmq) = (Postgres::start(true).unwrap(), Rabbitmq::start().unwrap());
    let (store, relay, admin) = (postgres.url(), rabbitmq.url(), rabbitmq.admin_url());
    let (mut yard, alice, thief) = yard(&["--store", &store, "--relay", &relay, "--relay-admin", &admin]);
    let first = yard.url();
    let second = yard.start_another_server("second").unwrap();
    start(&mut yard);
    let file = yard.path().join("alice.rev");
    let made = yard.desk().args(["-y", "--local", "key", "revoke", "alice"]).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    std::fs::copy(yard.path().join("home/.config/canvass/keys/alice.rev"), &file).unwrap();
    let at = |server: &str, arguments: &[&str]| bob(&yard).args(["--server", server]).args(arguments).output().unwrap();
    let revoked = at(&second, &["-y", "key", "revoke", file.to_str().unwrap()]);
    check(&revoked, 0, "", &["known to 3 of 3 agents", &format!("revoked: {alice}")]);
    for server in [&first, &second] {
        let mut desk = yard.desk();
        desk.args(["--server", server, "--key"]).arg(&thief).args(["-c", STATEMENT]);
        check(&desk.output().unwrap(), 3, "", &["the certificate is revoked"]);
        check(&at(server, &["--format", "csv", "-c", STATEMENT]), 0, ROWS, &["3 answered"]);
    }
}
