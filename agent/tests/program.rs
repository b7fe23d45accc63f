//! What `canvass-agent` says on the command line.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up stops")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Runs the program; returns whether it succeeded, its output and its errors.
fn run(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_canvass-agent")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn identity_is_made_once_and_printed() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (done, first, errors) = run(&["identity", "--data", data.to_str().unwrap()]);
    assert!(done && errors.is_empty(), "{errors}");
    let id = first.lines().find_map(|line| line.strip_prefix("id     ")).unwrap();
    assert!(id.len() == 64 && first.contains(&format!("short  {}\n", &id[..8])), "{first}");
    assert_eq!(run(&["identity", "--data", data.to_str().unwrap()]), (true, first, String::new()));
    fs::set_permissions(data.join("identity.toml"), Permissions::from_mode(0o604)).unwrap();
    let (done, said, errors) = run(&["identity", "--data", data.to_str().unwrap()]);
    assert!(!done && said.is_empty() && errors.contains("has mode 0604"), "{errors}");
}

#[test]
fn it_says_what_it_needs() {
    let (done, said, _) = run(&["--help"]);
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(done && said.contains("--server"), "{said}");
    assert!(run(&["--version"]).1.starts_with("canvass-agent "));
    for (nonsense, words) in [
        (&["daemon"][..], "unrecognized subcommand"),
        (&[], "which server?"),
        (&["--server", "http://canvass.example"], "in the clear"),
        (&["--server", "http://127.0.0.1:9", "--tag", "web"], "key=value"),
        (&["--server", "http://127.0.0.1:9", "--config", "/no/such/file"], "/no/such/file"),
    ] {
        let (done, _, said) = run(nonsense);
        assert!(!done && said.contains(words), "{nonsense:?}: {said}");
    }
}
