//! What `canvass-agent` says on the command line.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up stops")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
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
            answer_once(listener.accept().unwrap().0, &body);
        }
    });
    format!("http://{address}")
}

/// Answers one request, and returns its body.
fn answer_once(mut stream: TcpStream, body: &str) -> String {
    let mut request = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        request.read_line(&mut line).unwrap();
        let told = line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned);
        length = told.map_or(length, |told| told.trim().parse().unwrap());
    }
    // A connection that is closed before all of a request was read loses its answer.
    let mut said = vec![0; length];
    request.read_exact(&mut said).unwrap();
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    String::from_utf8(said).unwrap()
}

#[test]
fn it_goes_no_further_with_a_server_that_it_does_not_understand() {
    let about = r#"{"fleet":"acme","version":"9"}"#;
    let enrolled = |relay: &str| format!(r#"{{"admission":"admitted","relay":{relay}}}"#);
    let cases = [
        (vec!["<html>".to_owned()], "says what this agent does not know: expected value"),
        (vec![about.into(), about.into(), enrolled(r#"{"pigeon":{}}"#)], "unknown variant `pigeon`"),
        (vec![about.into(), about.into(), r#"{"admission":"maybe"}"#.into()], "unknown variant `maybe`"),
        (vec![about.replace("acme", "local:1")], "names a fleet that cannot be one"),
        (vec![about.replace("acme", &"x".repeat(300))], "names a fleet that cannot be one"),
        (
            vec![about.into(), about.into(), enrolled(r#"{"embedded":{"path":"@127.0.0.2/v1/relay"}}"#)],
            "names an address for connections that is not its own",
        ),
        (vec![about.into(), about.replace("acme", "evil")], "is for fleet `evil`, and this agent belongs to `acme`"),
    ];
    for (bodies, words) in cases {
        let home = tempfile::tempdir().unwrap();
        let (data, url) = (home.path().join("data"), serve(bodies));
        let (done, _, said) = run(&["--once", "--server", &url, "--data", data.to_str().unwrap()]);
        assert!(!done && said.contains(words), "{words}: {said}");
    }
}

/// What there is to write about a folder and what is in it, whatever the mask that it was started with.
#[test]
fn what_it_keeps_is_closed_to_others_whatever_the_umask() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("a/data");
    let (about, enrolled) = (r#"{"fleet":"acme","version":"9"}"#, r#"{"admission":"maybe"}"#);
    let url = serve(vec![about.into(), about.into(), enrolled.into()]);
    let told = ["--once", "--server", &url, "--data", data.to_str().unwrap()].join(" ");
    let command = format!("umask 000; exec {} {told}", env!("CARGO_BIN_EXE_canvass-agent"));
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(!output.status.success());
    let mut seen = Vec::new();
    let mut folders = vec![home.path().join("a")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
            seen.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    for name in ["data", "identity.toml", "journal", "fleet", "lock", "spool"] {
        assert!(seen.iter().any(|seen| seen == name), "{name}: {seen:?}");
    }
}

#[test]
fn a_configuration_that_others_can_write_or_that_tells_the_token_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("agent.toml");
    let chmod = |path: &std::path::Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let server = "server = 'http://127.0.0.1:9'\ndata = '/dev/null/none'\n";
    let token = format!("{server}enrol_token = 's3cret'\n");
    for (text, mode, above, words) in [
        (server, 0o666, 0o700, "is writable by others"),
        (server, 0o644, 0o777, "is writable by others"),
        (&token, 0o644, 0o700, "holds the enrolment token, and others may read it"),
        (server, 0o644, 0o700, "/dev/null/none"),
        (&token, 0o600, 0o700, "/dev/null/none"),
    ] {
        fs::write(&path, text).unwrap();
        chmod(&path, mode);
        chmod(home.path(), above);
        let (done, _, said) = run(&["--once", "--config", path.to_str().unwrap()]);
        assert!(!done && said.contains(words) && !said.contains("s3cret"), "{words}: {said}");
    }
    chmod(home.path(), 0o700);
}

#[test]
fn a_program_that_others_can_write_runs_no_scans() {
    let home = tempfile::tempdir().unwrap();
    let copy = home.path().join("canvass-agent");
    fs::copy(env!("CARGO_BIN_EXE_canvass-agent"), &copy).unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    fs::write(data.join("fleet"), "acme\n").unwrap();
    fs::set_permissions(data.join("fleet"), Permissions::from_mode(0o600)).unwrap();
    let arguments = ["--once", "--server", "http://127.0.0.1:9", "--data", data.to_str().unwrap()];
    for (file, above, refused) in [(0o777, 0o755, true), (0o755, 0o777, true), (0o755, 0o755, false)] {
        fs::set_permissions(&copy, Permissions::from_mode(file)).unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(above)).unwrap();
        let output = Command::new(&copy).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert_eq!(said.contains("scans are not run by this program"), refused, "{file:o} {above:o}: {said}");
    }
}

/// Reads a request's body and answers it as a server of the fleet `acme` would, that lets nobody in.
fn told_token(arguments: &[&str]) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut body = String::new();
        for answer in
            [r#"{"fleet":"acme","version":"9"}"#, r#"{"fleet":"acme","version":"9"}"#, r#"{"admission":"maybe"}"#]
        {
            let (stream, _) = listener.accept().unwrap();
            body = answer_once(stream, answer);
        }
        body
    });
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let (_, _, said) = run(&[&["--once", "--server", &url, "--data", data.to_str().unwrap()], arguments].concat());
    (if server.is_finished() { server.join().unwrap() } else { String::new() }, said)
}

#[test]
fn the_enrolment_token_may_stand_in_a_file_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("token");
    let arguments = ["--enrol-token-file", file.to_str().unwrap()];
    fs::write(&file, "s3cret\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let (_, said) = told_token(&arguments);
    assert!(said.contains("nobody but its owner may enter or read it"), "{said}");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let (body, said) = told_token(&arguments);
    assert!(body.contains(r#""token":"s3cret""#), "{body} {said}");
    fs::remove_file(&file).unwrap();
    let (body, said) = told_token(&arguments);
    assert!(!body.contains("s3cret") && body.contains("heartbeat"), "{body} {said}");
    let both = [&arguments[..], &["--enrol-token", "x"]].concat();
    assert!(told_usage(&both).contains("cannot be used with"));
}

fn told_usage(arguments: &[&str]) -> String {
    run(&[&["--once", "--server", "http://127.0.0.1:9"], arguments].concat()).2
}

#[test]
fn a_running_agent_listens_on_nothing() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut agent = Command::new(env!("CARGO_BIN_EXE_canvass-agent"));
    agent.args(["--server", &url, "--data", home.path().join("data").to_str().unwrap()]);
    let mut agent = agent.stderr(std::process::Stdio::null()).spawn().unwrap();
    // It is connected, and waits for an answer.
    let (_stream, _) = listener.accept().unwrap();
    let inodes: Vec<String> = fs::read_dir(format!("/proc/{}/fd", agent.id()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
        .collect();
    let sockets = |table: &str| {
        let text = fs::read_to_string(format!("/proc/{}/net/{table}", agent.id())).unwrap_or_default();
        text.lines()
            .skip(1)
            .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let (mut seen, mut listening) = (0, Vec::new());
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        for socket in sockets(table).into_iter().filter(|socket| inodes.contains(&socket[9])) {
            seen += 1;
            // The state LISTEN; of those without connections, one that nobody is named for takes from all.
            if socket[3] == "0A" || !table.starts_with("tcp") && socket[2].ends_with(":0000") {
                listening.push(socket.join(" "));
            }
        }
    }
    // A flag says that others may connect.
    let accepts = |socket: &Vec<String>| u32::from_str_radix(&socket[3], 16).unwrap() & 0x10000 != 0;
    listening.extend(
        sockets("unix")
            .into_iter()
            .filter(|socket| inodes.contains(&socket[6]) && accepts(socket))
            .map(|socket| socket.join(" ")),
    );
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(seen > 0, "its connection is among them");
    assert_eq!(listening, [""; 0]);
}
