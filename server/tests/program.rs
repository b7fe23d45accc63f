//! The program as whoever runs it meets it: what it prints, what it refuses, and plain HTTP by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use std::io::Read as _;
use std::process::Command;

use canvass_protocol::action::{Action, Window};
use canvass_protocol::answer::agent_id;
use canvass_protocol::filter::{Filter, Is, Pattern};
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits::{ACTION_BYTES_MAX, Limits};
use canvass_protocol::target::Facts;
use common::{JSON, PROGRAM, Server, envelope, start, start_as};
use ed25519_dalek::Signer as _;
use jiff::{SignedDuration, Timestamp};
use sqlx::{Connection as _, SqliteConnection};
use uuid::Uuid;

/// A page of actions where there are none.
const NONE: &str = r#"{"actions":[],"next":null}"#;

#[test]
fn it_says_what_is_wrong_with_its_settings() {
    for (arguments, words) in [
        (&["--listen", "0.0.0.0:0"][..], "needs TLS"),
        (&["--metrics", "0.0.0.0:0"], "`--metrics 0.0.0.0:0` can be reached by others, so it needs TLS"),
        (&["--store", "postgres://canvass:secret@db.example/x"], "add `?sslmode=verify-full`"),
        (&["--store", "postgres://canvass:secret@127.0.0.1:9/x"], "cannot open the store at `127.0.0.1`"),
        (&["--relay", "amqp://x"], "in the clear"),
        (&["--relay", "amqp://canvass:secret@127.0.0.1:9"], "the broker `127.0.0.1:9` cannot be used"),
        (&["--config", "/no/such/file"], "/no/such/file"),
        (&["--listen", "nowhere"], "invalid value 'nowhere'"),
        (&["--tls-cert", "/none", "--tls-key", "/none"], "/none"),
        (&["--store", "sqlite:/proc/none/x"], "cannot open the store"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let output = Command::new(PROGRAM).arg("--data").arg(data.path().join("d")).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{arguments:?}: {said}");
    }
    let taken = start(&[]);
    let data = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM).args(["--listen", &taken.address, "--data"]).arg(data.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot listen on"));
}

#[test]
fn strangers_learn_nothing() {
    let server = start(&[]);
    assert_eq!(server.request("GET", "/healthz", "", ""), (200, "ok\n".to_owned()));
    let (status, about) = server.request("GET", "/v1", "", "");
    assert!(status == 200 && about.contains("\"fleet\":\"acme\""), "{about}");
    let id = "/v1/actions/00000000-0000-0000-0000-000000000000";
    for (method, path) in [
        ("GET", "/v1/agents".to_owned()),
        ("GET", "/v1/actions".to_owned()),
        ("POST", "/v1/actions".to_owned()),
        ("GET", id.to_owned()),
        ("GET", format!("{id}/commands")),
        ("GET", format!("{id}/answers")),
        ("GET", format!("{id}/envelope")),
        ("POST", format!("{id}/signatures")),
        ("POST", format!("{id}/withdrawal")),
        ("POST", "/v1/agents/x/admission".to_owned()),
        ("POST", "/v1/agents/x/removal".to_owned()),
        ("GET", "/v1/agents/pending".to_owned()),
        ("GET", "/v1/audit".to_owned()),
    ] {
        for headers in ["", "Authorization: Bearer 00\r\n", "Authorization: Basic YTpi\r\n"] {
            let (status, body) = server.request(method, &path, headers, "");
            assert!(status == 401 && body.contains("\"error\":"), "{method} {path} {headers}: {status} {body}");
        }
    }
}

#[test]
fn requests_for_another_server_are_refused() {
    let server = start(&[]);
    for (host, expected) in [("canvass.example", 421), ("localhost:1664", 200), ("127.0.0.1", 200), ("", 421)] {
        let request = format!("GET /v1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let (status, body) = server.send(request.as_bytes());
        assert_eq!(status, expected, "{host}: {body}");
        assert!(status == 200 || body.contains("`--public-name`"), "{host}: {body}");
    }
}

#[test]
fn odd_requests_are_refused_in_words() {
    let server = start(&[]);
    let json = JSON;
    for (method, path, headers, body, status, words) in [
        ("GET", "/nothing", "", "", 404, "nothing at this address"),
        ("DELETE", "/v1", "", "", 405, "does not know that method"),
        ("POST", "/v1/sessions", json, "{", 400, "error"),
        ("POST", "/v1/sessions", json, "{}", 422, "missing field `payload`"),
        ("POST", "/v1/sessions", json, "{\"payload\":\"\",\"signatures\":[],\"more\":1}", 422, "unknown field `more`"),
        ("POST", "/v1/sessions", "", "{}", 415, "error"),
        ("POST", "/v1/sessions", json, "{\"payload\":\"x\",\"signatures\":[]}", 401, "keeps no certificate"),
        (
            "POST",
            "/v1/enrolments",
            json,
            "{\"heartbeat\":{\"statement\":\"\",\"signature\":\"\"},\"token\":null}",
            403,
            "not believed",
        ),
        ("GET", "/v1/relay", "", "", 400, "error"),
    ] {
        let (got, said) = server.request(method, path, headers, body);
        assert!(got == status && said.contains(words), "{method} {path} {body}: {got} {said}");
    }
    // Whoever has proved nothing is not listened to for long.
    for (path, bytes) in [("/v1/sessions", 100_000), ("/v1/enrolments", 100_000), ("/v1/sessions", 10 << 20)] {
        let (status, said) = server.request("POST", path, json, &format!("\"{}\"", "x".repeat(bytes)));
        assert!(status == 413, "{path} {bytes}: {status} {said}");
    }
    assert_eq!(server.send(b"nonsense\r\nConnection: close\r\n\r\n").0, 400);
}

/// Runs a statement in the server's own database, beside it.
fn execute(server: &Server, statement: &'static str) {
    let path = server.data.path().join("data/server.sqlite");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::query(statement).execute(&mut database).await.unwrap();
    });
}

#[test]
fn a_server_that_cannot_write_says_so_and_goes_on() {
    let server = start(&[]);
    let alice = server.investigator("alice");
    let login = |nonce: &str| server.request("POST", "/v1/sessions", JSON, &envelope(&alice, server.login(nonce)));
    execute(&server, "ALTER TABLE audit RENAME TO away");
    let (status, said) = login("1");
    assert!(status == 500 && said.contains("cannot read or write its store"), "{status} {said}");
    let (status, said) = server.request("GET", "/healthz", "", "");
    assert!(status == 503 && said.contains("cannot write to its store since 20") && said.contains("log"), "{said}");
    execute(&server, "ALTER TABLE away RENAME TO audit");
    assert_eq!(login("2").0, 200);
    assert_eq!(server.request("GET", "/healthz", "", ""), (200, "ok\n".to_owned()));
}

/// What a disk does that takes no more: no file of the server may grow. SQLite ends the transaction that it cannot commit
/// itself, and the server goes on with the next one.
#[test]
fn a_server_whose_disk_was_full_goes_on() {
    let mut command = Command::new("sh");
    // The signal that says so would end a program that does not expect it.
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", PROGRAM]);
    let server = start_as(&mut command, &[]);
    let facts = |key: &ed25519_dalek::SigningKey| Facts {
        os: "linux".into(),
        arch: "x86_64".into(),
        version: "0".into(),
        started_at: Timestamp::now(),
        ..Facts::of(agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap(), "web-1")
    };
    let enrol = |number: u8| {
        let key = ed25519_dalek::SigningKey::from_bytes(&[number; 32]);
        let heartbeat = Heartbeat::sign(&key, "acme".into(), facts(&key), String::new(), Timestamp::now());
        let request = serde_json::json!({ "heartbeat": heartbeat, "token": null }).to_string();
        server.request("POST", "/v1/enrolments", JSON, &request)
    };
    let grow = |bytes: Option<u64>| {
        let pid = rustix::process::Pid::from_raw(i32::try_from(server.id()).unwrap());
        let limit = rustix::process::Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).unwrap();
    };
    assert_eq!(enrol(1).0, 200);
    for number in [2, 3] {
        grow(Some(1));
        for _ in 0..2 {
            let (status, said) = enrol(number);
            assert_eq!(status, 500, "{said}");
            let (status, said) = server.request("GET", "/healthz", "", "");
            assert!(status == 503 && said.contains("cannot write to its store since"), "{said}");
        }
        grow(None);
        let (status, said) = enrol(number);
        assert_eq!(status, 200, "{said}");
        assert_eq!(server.request("GET", "/healthz", "", ""), (200, "ok\n".to_owned()));
    }
}

/// Whatever is well signed and not of this version is refused by its name, and nothing of it is kept.
#[test]
fn other_versions_are_refused_by_name() {
    let server = start(&[]);
    let now = Timestamp::now();
    let alice = server.investigator("alice");
    let login = |nonce: &str| server.login(nonce);
    for (login, status, words) in [
        (login("1").replace("login/1", "login/0"), 401, "not a canvass `login/1`"),
        (login("1").replace("login/1", "login/2"), 401, "not a canvass `login/1`"),
        (login("1").replace("\"nonce\"", "\"more\":1,\"nonce\""), 401, "unknown field `more`"),
        (login("1"), 200, "token"),
        (login("1"), 401, "used before"),
    ] {
        let (got, said) = server.request("POST", "/v1/sessions", JSON, &envelope(&alice, login.clone()));
        assert!(got == status && said.contains(words), "{login}: {got} {said}");
    }
    let headers = server.session(&alice, "2");

    let scan = serde_json::from_str(r#"{"table":"users","columns":["name"]}"#).unwrap();
    let window = Window { from: now, until: now + SignedDuration::from_mins(5) };
    let action = Action::new("acme".into(), Uuid::now_v7(), "SELECT".into(), window, Limits::default(), vec![scan]);
    let mut far = action.clone();
    far.window.until = now + SignedDuration::from_hours(24 * 91);
    let mut large = action.clone();
    let pattern = Pattern { pattern: "(\\w{50}){50}".into(), ignore_case: false };
    large.scans[0].target = Some(Filter::test("name", Is::Matches(pattern)));
    let [action, far, large] = [action, far, large].map(|action| String::from_utf8(action.to_bytes()).unwrap());
    for (action, status, words) in [
        (action.replace("action/1", "action/0"), 400, "not a canvass `action/1`"),
        (action.replace("action/1", "action/2"), 400, "not a canvass `action/1`"),
        (action.replace("\"id\":", "\"more\":1,\"id\":"), 400, "unknown field `more`"),
        (action.replace("\"fleet\":\"acme\"", "\"fleet\":\"evil\""), 400, "for fleet `evil`"),
        (format!("{action}{}", " ".repeat(ACTION_BYTES_MAX)), 400, "at most"),
        (far, 400, "ends within 90 days"),
        (large, 400, "too large to be compiled"),
    ] {
        let (got, said) = server.request("POST", "/v1/actions", &headers, &envelope(&alice, action.clone()));
        assert!(got == status && said.contains(words), "{}: {got} {said}", &action[..40]);
    }
    assert_eq!(server.request("GET", "/v1/actions", &headers, ""), (200, NONE.to_owned()), "nothing was kept");

    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    for version in ["heartbeat/0", "heartbeat/2"] {
        let statement = format!("{{\"canvass\":\"{version}\",\"fleet\":\"acme\"}}");
        let signature = hex::encode(key.sign(statement.as_bytes()).to_bytes());
        let request = serde_json::json!({"heartbeat": {"statement": statement, "signature": signature}, "token": null});
        let (got, said) = server.request("POST", "/v1/enrolments", JSON, &request.to_string());
        assert!(got == 403 && said.contains("not a canvass `heartbeat/1`"), "{got} {said}");
    }
    let (got, said) = server.request("GET", "/v1/agents", &headers, "");
    assert!(got == 200 && said.starts_with("{\"agents\":[],"), "nobody was let in: {got} {said}");
    let mark = serde_json::from_str::<serde_json::Value>(&said).unwrap()["mark"].as_str().unwrap().to_owned();
    for (query, status, words) in [
        (format!("since={mark}"), 200, format!("\"since\":\"{mark}\"")),
        ("since=1.2.3".to_owned(), 200, "\"since\":null".to_owned()),
        (format!("sinse={mark}"), 400, "unknown field `sinse`".to_owned()),
    ] {
        let (got, said) = server.request("GET", &format!("/v1/agents?{query}"), &headers, "");
        assert!(got == status && said.contains(&words), "{query}: {got} {said}");
    }
    // What no agent of this version runs is carried all the same: it is the agents that refuse.
    let mut standing = Action::parse(action.as_bytes()).unwrap();
    (standing.id, standing.every_s) = (Uuid::now_v7(), Some(3600));
    for action in [action, String::from_utf8(standing.to_bytes()).unwrap()] {
        assert_eq!(server.request("POST", "/v1/actions", &headers, &envelope(&alice, action)).0, 201);
    }
}

/// What the certificate does not name has to be said; what it names, and is nobody else's, needs no saying.
#[test]
fn a_server_that_others_reach_knows_its_names() {
    let folder = tempfile::tempdir().unwrap();
    for (names, starts) in
        [("DNS:*.example", false), ("DNS:localhost,IP:127.0.0.1", false), ("DNS:canvass.example", true)]
    {
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x".split(' '))
            .args(["-addext", &format!("subjectAltName={names}"), "-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for given in [&[][..], &["--public-name", "canvass.example"]] {
            let mut command = Command::new(PROGRAM);
            command.args(["--listen", "0.0.0.0:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--data", "data"]);
            command.args(given).current_dir(folder.path());
            let mut child =
                command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
            let mut said = [0; 15];
            let started = child.stdout.take().unwrap().read_exact(&mut said).is_ok();
            let _ = child.kill();
            let said = child.wait_with_output().unwrap().stderr;
            let said = String::from_utf8_lossy(&said);
            assert_eq!(started, starts || !given.is_empty(), "{names} {given:?}: {said}");
            assert!(started || said.contains("say with `--public-name NAME`"), "{said}");
        }
    }
}

/// One more than there may be is closed at once, and there is room again when others have left.
#[test]
fn there_are_only_so_many_connections() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 300; exec \"$0\" \"$@\"", PROGRAM]);
    let server = start_as(&mut command, &[]);
    let is_open = |server: &Server| {
        let mut stream = server.connect();
        std::io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut reply = [0; 12];
        let answered = stream.read_exact(&mut reply).is_ok() && &reply == b"HTTP/1.1 200";
        answered.then_some(stream)
    };
    let held: Vec<_> = std::iter::from_fn(|| is_open(&server)).take(1000).collect();
    assert_eq!(held.len(), 64, "as few as there are descriptors for");
    drop(held);
    while is_open(&server).is_none() {}
}
