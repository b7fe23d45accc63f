//! What is wrong from outside: what a person is told then, and that nothing is lost or let through.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use canvass_examples::yard::Yard;

use crate::certificates;
use crate::desk::{stderr, stdout};

const COUNT: &str = "SELECT host, count(*) AS n FROM users GROUP BY host";
const ROWS: &str = "host,n\nweb-1,8\n";

fn ask(yard: &Yard, statement: &str) -> Output {
    yard.ask(&["--format", "csv", "-c", statement]).unwrap()
}

fn check(case: &str, output: &Output, code: i32, rows: &str, words: &str) {
    let said = stderr(output);
    assert_eq!((output.status.code(), stdout(output).as_str()), (Some(code), rows), "{case}: {said}");
    assert!(said.contains(words), "{case}: {said}");
}

/// An agent's policy and keyring, as its owner should have left them.
fn lay(policy: &Path, keyring: &Path, certificate: &Path, fingerprint: &str) {
    let _ = fs::remove_file(policy);
    let text = format!(
        "[acl.default]\nminimum_weight = 1\ninvestigators.alice = {{ fingerprint = \"{fingerprint}\", weight = 1 }}\n"
    );
    fs::write(policy, text).unwrap();
    fs::set_permissions(policy, Permissions::from_mode(0o600)).unwrap();
    let _ = fs::remove_file(keyring);
    let _ = fs::create_dir(keyring);
    fs::set_permissions(keyring, Permissions::from_mode(0o755)).unwrap();
    fs::copy(certificate, keyring.join("alice.asc")).unwrap();
}

/// An agent whose owner made a slip refuses everything with the reason, in its log too, and works once it is put right.
#[test]
fn what_an_owner_got_wrong_widens_nothing() {
    type Spoil = fn(&Path, &Path);
    let cases: [(&str, Spoil, &str, &str); 6] = [
        ("no toml", |policy, _| fs::write(policy, "fleet = ").unwrap(), "malformed policy", "malformed policy"),
        (
            "a slip",
            |policy, _| fs::write(policy, "flet = 'x'").unwrap(),
            "unknown field `flet`",
            "unknown field `flet`",
        ),
        (
            "a policy that all may write",
            |policy, _| {
                fs::write(policy, "").unwrap();
                fs::set_permissions(policy, Permissions::from_mode(0o666)).unwrap();
            },
            "is writable by others",
            "is writable by others",
        ),
        (
            "a keyring that all may write",
            |_, keyring| fs::set_permissions(keyring, Permissions::from_mode(0o777)).unwrap(),
            "is writable by others",
            "is writable by others",
        ),
        (
            "a keyring that is a file",
            |_, keyring| {
                fs::remove_dir_all(keyring).unwrap();
                fs::write(keyring, "").unwrap();
            },
            "is not a folder",
            "is not a folder",
        ),
        (
            "a damaged certificate",
            |_, keyring| fs::write(keyring.join("alice.asc"), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx").unwrap(),
            "no signature counts",
            "damaged certificates are skipped",
        ),
    ];
    for (case, spoil, refusal, logged) in cases {
        let mut yard = Yard::open(&[]).unwrap();
        let (policy, keyring) = (yard.path().join("agent.toml"), yard.path().join("own-keyring"));
        let certificate = yard.keyring().join("alice.asc");
        let listed = stdout(&yard.desk().args(["key", "list"]).output().unwrap());
        let fingerprint = listed.split_whitespace().find(|word| word.len() == 40).expect("a fingerprint");
        lay(&policy, &keyring, &certificate, fingerprint);
        spoil(&policy, &keyring);
        let paths = [policy.to_str().unwrap(), keyring.to_str().unwrap()];
        yard.start_agent("web-1", "web-1", &["--policy", paths[0], "--keyring", paths[1]]).unwrap();
        yard.wait_for(1).unwrap();
        let refused = ask(&yard, COUNT);
        let said = stderr(&refused);
        assert!(stdout(&refused) == "host,n\n" && said.contains("1 refused"), "{case}: {said}");
        assert!(said.contains(refusal), "{case}: {said}");
        assert!(yard.log("web-1").contains(logged), "{case}: {}", yard.log("web-1"));
        lay(&policy, &keyring, &certificate, fingerprint);
        check(case, &ask(&yard, COUNT), 0, ROWS, "1 answered");
    }
}

/// A certificate that has expired counts for nothing, at the server and at an agent, though its owner has extended it: each
/// goes by what its own keyring has.
#[test]
fn an_expired_certificate_counts_for_nothing() {
    let mut yard = Yard::open(&[]).unwrap();
    let home = yard.path().join("gnupg");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
    let gpg = |arguments: &[&str]| {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&home).args(["--batch", "--passphrase", ""]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    };
    let (name, address) = ("Grace <grace@example.org>", "grace@example.org");
    let agents = yard.path().join("agents-keyring");
    fs::create_dir(&agents).unwrap();
    let export = |keyring: &Path| fs::write(keyring.join("grace.asc"), gpg(&["--armor", "--export", address])).unwrap();
    gpg(&["--faked-system-time", "20240101T000000", "--quick-generate-key", name, "ed25519", "sign", "30d"]);
    export(&yard.keyring());
    export(&agents);
    let listed = String::from_utf8(gpg(&["--with-colons", "--list-keys", address])).unwrap();
    let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap().trim_end_matches(':');
    yard.start_agent("web-1", "web-1", &["--keyring", agents.to_str().unwrap()]).unwrap();
    yard.wait_for(1).unwrap();
    let ask = || {
        let mut desk = yard.desk();
        desk.env("GNUPGHOME", &home).args(["--server", &yard.url(), "--key", address, "--format", "csv", "-c", COUNT]);
        desk.output().unwrap()
    };
    check("expired for everybody", &ask(), 2, "", "no usable signing key");
    gpg(&["--quick-set-expire", fingerprint, "0"]);
    check("expired for the server", &ask(), 3, "", "Expired on 2024-01-31");
    export(&yard.keyring());
    let refused = ask();
    let said = stderr(&refused);
    assert!(stdout(&refused) == "host,n\n" && said.contains("1 refused"), "{said}");
    // An agent over a folder of fixtures says more than one over a machine, whose keyring is nobody's business.
    assert!(said.contains("no signature counts") && said.contains("Expired on 2024-01-31"), "{said}");
    export(&agents);
    check("extended for all", &ask(), 0, ROWS, "1 answered");
    let _ = Command::new("gpgconf").arg("--homedir").arg(&home).args(["--kill", "all"]).status();
}

/// A server whose certificate cannot be believed is not spoken to, by a desk or by an agent.
#[test]
fn a_certificate_that_cannot_be_believed_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let cases = [
        ("good", "here", "ours", None),
        ("expired", "here", "ours", Some("certificate: Expired")),
        ("misnamed", "there", "ours", Some("not valid for name")),
        ("good", "here", "theirs", Some("UnknownIssuer")),
    ];
    for (certificate, key, authority, words) in cases {
        let case = format!("{certificate} by {authority}");
        let path = |name: String| folder.path().join(name).to_str().unwrap().to_owned();
        let [cert, key, authority] =
            [format!("{certificate}.pem"), format!("{key}.key"), format!("{authority}.pem")].map(path);
        let yard = Yard::open(&["--tls-cert", &cert, "--tls-key", &key]).unwrap();
        let agent =
            yard.agent("web-1", "web-1", &["--once"]).unwrap().env("SSL_CERT_FILE", &authority).status().unwrap();
        assert_eq!(agent.success(), words.is_none(), "{case}: {}", yard.log("web-1"));
        let mut desk = yard.desk();
        desk.env("SSL_CERT_FILE", &authority).args([
            "--server",
            &yard.url(),
            "--format",
            "csv",
            "-c",
            "SELECT name FROM agents",
        ]);
        let asked = desk.output().unwrap();
        match words {
            None => check(&case, &asked, 0, "name\nweb-1\n", ""),
            Some(words) => {
                check(&case, &asked, 3, "", words);
                assert!(yard.log("web-1").contains(words), "{case}: {}", yard.log("web-1"));
            }
        }
    }
}

/// What looks like SQL in a value is that value, at the desk, at the server and at the agent.
#[test]
fn sql_in_a_value_is_a_value() {
    let mut yard = Yard::open(&[]).unwrap();
    let name = "x'); DROP TABLE agents; --";
    yard.start_agent("web-1", "web-1", &["--tag", "team=' OR ''='"]).unwrap();
    yard.start_agent(name, "web-1", &[]).unwrap();
    yard.wait_for(2).unwrap();
    let cases = [
        ("agent.name = 'web-1'' OR ''1''=''1'", ""),
        ("agent.name = 'web-1''; DROP TABLE agents; --'", ""),
        ("agent.name = 'x''); DROP TABLE agents; --'", "x'); DROP TABLE agents; --\n"),
        ("agent.tags['team'] = ''' OR ''''='''", "web-1\n"),
        ("agent.tags['a'' OR 1=1 --'] = 'x'", ""),
        ("agent.name LIKE '%'' OR 1=1 --'", ""),
        ("agent.name IN ('web-1', ''') OR (''1''=''1')", "web-1\n"),
    ];
    for (target, rows) in cases {
        let output = ask(&yard, &format!("SELECT host FROM users WHERE uid = 0 AND {target}"));
        // Nobody asked is no clean fleet.
        check(target, &output, if rows.is_empty() { 4 } else { 0 }, &format!("host\n{rows}"), "");
    }
    check("all are there", &ask(&yard, "SELECT count(*) AS n FROM agents"), 0, "n\n2\n", "");
}
