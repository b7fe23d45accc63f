//! From a fresh home folder to an answer, and what happens when things are wrong on the way.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::desk::{Home, stderr, stdout, transcript};

/// A statement that needs an endpoint, whatever machine this is.
const ASK: &str = "SELECT path, type FROM files WHERE path = '/etc/passwd'";

fn actions(home: &Home) -> Vec<String> {
    let folder = home.path().join(".local/share/canvass/actions");
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_first_question_makes_a_key_and_says_so() {
    let home = Home::new();
    let first = home.canvass(&["-c", ASK]);
    assert_eq!(first.status.code(), Some(0), "{}", transcript(&first));
    assert_eq!(stdout(&first), "path\ttype\n/etc/passwd\tfile\n");
    assert!(stderr(&first).contains("made the key"), "{}", transcript(&first));
    assert!(stderr(&first).contains("1 row from 1 of 1 hosts"), "{}", transcript(&first));
    let second = home.canvass(&["-c", ASK]);
    assert!(!stderr(&second).contains("made the key"), "{}", transcript(&second));
    assert_eq!(stdout(&second), stdout(&first));
}

#[test]
fn a_signed_action_is_verified_by_gpg() {
    let home = Home::new();
    assert!(home.canvass(&["key", "new", "alice", "--no-passphrase"]).status.success());
    let asked = home.canvass(&["--key", "alice", "-c", ASK]);
    assert_eq!(asked.status.code(), Some(0), "{}", transcript(&asked));
    let id = actions(&home)[0].split('.').next().unwrap().to_owned();
    let exported = home.path().join("exported");
    let export = home.canvass(&["action", "export", &id, "-o", exported.to_str().unwrap()]);
    assert!(export.status.success(), "{}", transcript(&export));
    let certificate = home.canvass(&["key", "export", "alice"]);
    fs::write(home.path().join("alice.asc"), &certificate.stdout).unwrap();

    let ring = tempfile::tempdir().unwrap();
    let gpg = |arguments: &[&str]| {
        Command::new("gpg")
            .arg("--homedir")
            .arg(ring.path())
            .arg("--batch")
            .args(arguments)
            .current_dir(home.path())
            .output()
            .unwrap()
    };
    assert!(gpg(&["--import", "alice.asc"]).status.success());
    let (payload, signature) = (format!("exported/{id}.json"), format!("exported/{id}.json.asc"));
    let verified = gpg(&["--verify", &signature, &payload]);
    let altered = home.path().join(&payload);
    let text = fs::read_to_string(&altered).unwrap().replace("/etc/passwd", "/etc/shadow");
    fs::write(&altered, text).unwrap();
    let refused = gpg(&["--verify", &signature, &payload]);
    Command::new("gpgconf").arg("--homedir").arg(ring.path()).args(["--kill", "all"]).status().unwrap();
    assert!(verified.status.success(), "{}", transcript(&verified));
    assert!(!refused.status.success(), "gpg believed an altered action");
}

#[test]
fn mistakes_sign_nothing_and_exit_with_2() {
    let home = Home::new();
    let cases = [
        "SELECT path FROM file WHERE path = '/'",
        "SELECT pth FROM files WHERE path = '/'",
        "SELECT path FROM files",
        "SELECT content FROM files WHERE path = '/etc/passwd'",
        "SELECT path FROM files WHERE path UNDER '/' AND name ~ '('",
        "SELECT remote_ip FROM netstat WHERE remote_ip UNDER '10.0.0.1/8'",
        "SELEC 1",
        "SET canvass.expires = '6h'",
    ];
    for statement in cases {
        let output = home.canvass(&["-c", statement]);
        assert_eq!(output.status.code(), Some(2), "{statement}\n{}", transcript(&output));
        assert!(
            stdout(&output).is_empty() && stderr(&output).contains("error"),
            "{statement}\n{}",
            transcript(&output)
        );
    }
    assert_eq!(actions(&home), Vec::<String>::new(), "a mistake was signed");
}

#[test]
fn statements_stop_at_the_first_mistake() {
    let home = Home::new();
    let output = home.canvass(&[
        "-q",
        "--format",
        "csv",
        "-c",
        "SELECT 1 AS one; SELECT 2 AS two",
        "-c",
        "SELECT x",
        "-c",
        "SELECT 3",
    ]);
    assert_eq!(output.status.code(), Some(2), "{}", transcript(&output));
    assert_eq!(stdout(&output), "one\n1\ntwo\n2\n");
}

#[test]
fn a_missing_search_root_is_a_trouble_and_no_failure() {
    let home = Home::new();
    let output = home.canvass(&["-c", "SELECT path FROM files WHERE path UNDER '/no/such/folder'"]);
    assert_eq!(output.status.code(), Some(0), "{}", transcript(&output));
    assert!(stderr(&output).contains("/no/such/folder"), "{}", transcript(&output));
}

#[test]
fn a_limit_that_cuts_is_said_and_exits_with_5() {
    let home = Home::new();
    let cut = home.canvass(&["-c", "SET canvass.limit_rows = 2", "-c", "SELECT name FROM users"]);
    assert_eq!(cut.status.code(), Some(5), "{}", transcript(&cut));
    assert_eq!(stdout(&cut).lines().count(), 3, "{}", transcript(&cut));
    assert!(stderr(&cut).contains("limit_rows"), "{}", transcript(&cut));
    let own = home.canvass(&["-c", "SELECT name FROM users LIMIT 2"]);
    assert_eq!(own.status.code(), Some(0), "{}", transcript(&own));
}

#[test]
fn a_policy_that_cannot_be_read_refuses_everything() {
    let home = Home::new();
    assert_eq!(home.canvass(&["-c", ASK]).status.code(), Some(0));
    let policy = home.configuration().join("agent.toml");
    for (text, mode) in
        [("fleet = [", 0o600), ("[acl.default]\nminimum_weight = \"two\"", 0o600), ("", 0o666), ("surprise = 1", 0o600)]
    {
        fs::write(&policy, text).unwrap();
        fs::set_permissions(&policy, fs::Permissions::from_mode(mode)).unwrap();
        let output = home.canvass(&["-c", ASK]);
        assert_eq!(output.status.code(), Some(4), "{text:?} {mode:o}\n{}", transcript(&output));
        assert!(
            stderr(&output).contains("1 refused") && stderr(&output).contains("policy"),
            "{text:?}\n{}",
            transcript(&output)
        );
    }
    fs::remove_file(&policy).unwrap();
    let gone = home.canvass(&["-c", ASK]);
    assert_eq!(gone.status.code(), Some(4), "{}", transcript(&gone));
    assert!(stderr(&gone).contains("was there once and is not any more"), "{}", transcript(&gone));
    fs::remove_file(home.agent().join("policy-seen")).unwrap();
    assert_eq!(home.canvass(&["-c", ASK]).status.code(), Some(0), "without the policy it answers again");
}

#[test]
fn a_policy_that_wants_two_people_refuses_one() {
    let home = Home::new();
    assert!(home.canvass(&["key", "new", "alice", "--no-passphrase"]).status.success());
    let listed = stdout(&home.canvass(&["key", "list"]));
    let fingerprint = listed.split_whitespace().find(|word| word.len() == 40).expect("a fingerprint").to_owned();
    let policy = format!(
        "[acl.default]\nminimum_weight = 1\n[acl.default.investigators.alice]\nfingerprint = \"{fingerprint}\"\nweight = 1\n\
         [acl.processes]\nminimum_weight = 2\n"
    );
    let file = home.configuration().join("agent.toml");
    fs::write(&file, policy).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let files = home.canvass(&["--key", "alice", "-c", ASK]);
    assert_eq!(files.status.code(), Some(0), "{}", transcript(&files));
    let processes = home.canvass(&["--key", "alice", "-c", "SELECT pid FROM processes"]);
    assert_eq!(processes.status.code(), Some(4), "{}", transcript(&processes));
    assert!(
        stderr(&processes).contains("processes needs weight 2, signatures carry 1: alice"),
        "{}",
        transcript(&processes)
    );
}

#[test]
fn a_damaged_journal_refuses_and_heals_for_later_actions() {
    let home = Home::new();
    assert_eq!(home.canvass(&["-c", ASK]).status.code(), Some(0));
    let journal = fs::read_dir(home.agent())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("journal"))
        .expect("a journal");
    fs::write(&journal, b"\xff\xffnot a journal").unwrap();
    let output = home.canvass(&["-c", ASK]);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", transcript(&output));
    assert!(stderr(&output).contains("journal"), "nothing was said of the damage\n{}", transcript(&output));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let home = Home::new();
    assert!(home.canvass(&["key", "new", "alice", "--no-passphrase"]).status.success());
    let key = home.configuration().join("keys/alice.pgp");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = home.canvass(&["--key", "alice", "-c", ASK]);
    assert_eq!(output.status.code(), Some(2), "{}", transcript(&output));
    assert!(stderr(&output).contains("alice.pgp") && stderr(&output).contains("chmod 600"), "{}", transcript(&output));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "not a key").unwrap();
    let output = home.canvass(&["--key", "alice", "-c", ASK]);
    assert_eq!(output.status.code(), Some(2), "{}", transcript(&output));
    assert_eq!(actions(&home), Vec::<String>::new());
}

#[test]
fn an_output_file_appears_whole_or_not_at_all() {
    let home = Home::new();
    let file = home.path().join("rows.csv");
    let failed = home.canvass(&["-o", file.to_str().unwrap(), "--format", "csv", "-c", "SELECT nothing FROM users"]);
    assert_eq!(failed.status.code(), Some(2));
    assert!(!file.exists());
    let done = home.canvass(&["-o", file.to_str().unwrap(), "--format", "csv", "-c", ASK]);
    assert_eq!(done.status.code(), Some(0), "{}", transcript(&done));
    assert_eq!(fs::read_to_string(&file).unwrap().replace('\r', ""), "path,type\n/etc/passwd,file\n");
    let left: Vec<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("rows"))
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn ctrl_c_keeps_the_rows_so_far() {
    let home = Home::new();
    let mut child = home
        .command()
        .args(["--format", "jsonl", "-c", "SELECT path, sha256 FROM files WHERE path UNDER '/' AND type = 'file'"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"path\":"), "{first}");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.is_empty() || rest.ends_with("}\n"), "the last row is whole");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", transcript(&output));
    assert!(stderr(&output).contains("stop"), "{}", transcript(&output));
}

#[test]
fn this_machine_can_be_asked_by_many_prompts_at_once() {
    let home = Home::new();
    assert_eq!(home.canvass(&["-c", ASK]).status.code(), Some(0));
    let children: Vec<_> = (0..6)
        .map(|_| home.command().args(["-q", "-c", ASK]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", transcript(&output));
        assert_eq!(stdout(&output), "path\ttype\n/etc/passwd\tfile\n");
    }
}

#[test]
fn of_many_first_questions_at_once_one_makes_the_key() {
    let home = Home::new();
    let start = || home.command().args(["-c", ASK]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<_> = (0..8).map(|_| start()).collect();
    let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    for output in &outputs {
        assert_eq!(output.status.code(), Some(0), "{}", transcript(output));
    }
    assert_eq!(outputs.iter().filter(|output| stderr(output).contains("made the key")).count(), 1);
}

#[test]
fn a_server_is_not_pretended() {
    let home = Home::new();
    let output = home.canvass(&["--server", "http://127.0.0.1:9", "-c", ASK]);
    assert_eq!(output.status.code(), Some(3), "{}", transcript(&output));
    assert!(stdout(&output).is_empty());
}
