//! What `canvass-agent` says on the command line.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up stops")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
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

/// A server that answers each request with the next of these bodies, and then no more.
fn serve(bodies: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for body in bodies {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                request.read_line(&mut line).unwrap();
                let told = line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned);
                length = told.map_or(length, |told| told.trim().parse().unwrap());
            }
            // A connection that is closed before all of a request was read loses its answer.
            request.read_exact(&mut vec![0; length]).unwrap();
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

#[test]
fn it_goes_no_further_with_a_server_that_it_does_not_understand() {
    let about = r#"{"fleet":"acme","version":"9"}"#;
    let enrolled = |relay: &str| format!(r#"{{"admission":"admitted","relay":{relay}}}"#);
    let cases = [
        (vec!["<html>".to_owned()], "says what this agent does not know: expected value"),
        (vec![about.into(), about.into(), enrolled(r#"{"pigeon":{}}"#)], "unknown variant `pigeon`"),
        (vec![about.into(), about.into(), r#"{"admission":"maybe"}"#.into()], "unknown variant `maybe`"),
        (vec![about.into(), about.replace("acme", "evil")], "is for fleet `evil`, and this agent belongs to `acme`"),
    ];
    for (bodies, words) in cases {
        let home = tempfile::tempdir().unwrap();
        let (data, url) = (home.path().join("data"), serve(bodies));
        let (done, _, said) = run(&["--once", "--server", &url, "--data", data.to_str().unwrap()]);
        assert!(!done && said.contains(words), "{words}: {said}");
    }
}
