//! A desk at a server that means ill: what it says is shown and never obeyed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use canvass_protocol::answer::agent_id;
use canvass_protocol::api::{About, Inventory, Listed, Problem};
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::target::{Facts, ServerWords, Status};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;

use super::{Answer, Desk};

/// Sets a terminal's title, and would be followed by worse.
const TITLE: &str = "\x1b]0;x\x07";

/// Says in one reply what it is asked for, until its program ends; returns its address.
fn serve(reply: fn(&str) -> (u16, String)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let _ = answer(client.unwrap(), reply);
        }
    });
    format!("http://{address}")
}

fn answer(mut client: TcpStream, reply: fn(&str) -> (u16, String)) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    let (status, body) = reply(&request);
    write!(
        client,
        "HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An agent that signed its heartbeat for a fleet of that name.
fn listed() -> Listed {
    let key = SigningKey::from_bytes(&[9; 32]);
    let at = Timestamp::UNIX_EPOCH;
    let facts = Facts {
        os: "linux".into(),
        arch: "x86_64".into(),
        version: "0".into(),
        started_at: at,
        ..Facts::of(agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap(), "web-1")
    };
    let heartbeat = Heartbeat::sign(&key, format!("{TITLE}acme"), facts, "00".repeat(32), at);
    Listed {
        heartbeat,
        words: ServerWords { status: Status::Online, heartbeat_at: at, public_ip: None },
        approval: None,
    }
}

fn ill(request: &str) -> (u16, String) {
    let about = About { fleet: "acme".into(), version: "0".into() };
    let session = serde_json::json!({
        "token": "t", "expires_at": "2100-01-01T00:00:00Z", "investigator": "0".repeat(40), "roles": ["read"],
    });
    let inventory = Inventory { agents: vec![listed()], mark: None, since: None };
    let problem = Problem { error: format!("no {TITLE}"), hint: Some(format!("go {TITLE} away")) };
    match request.split_whitespace().nth(1).unwrap_or_default() {
        "/v1" => (200, serde_json::to_string(&about).unwrap()),
        "/v1/sessions" => (200, session.to_string()),
        path if path.starts_with("/v1/agents") => (200, serde_json::to_string(&inventory).unwrap()),
        _ => (404, serde_json::to_string(&problem).unwrap()),
    }
}

fn at(desk: &Desk, server: &str, arguments: &[&str]) -> Answer {
    desk.run(&[&["--server", server], arguments].concat())
}

#[test]
fn a_terminal_obeys_no_word_of_a_server() {
    let (desk, server) = (Desk::new(), serve(ill));
    assert_eq!(desk.run(&["key", "new", "alice", "--no-passphrase"]).code, 0);
    let agents = at(&desk, &server, &["--key", "alice", "--format", "csv", "-c", "SELECT name FROM agents"]);
    agents.check(0, "name\n", "it is of fleet `\\x1b]0;x\\x07acme`");
    let actions = at(&desk, &server, &["--key", "alice", "--format", "csv", "-c", "SELECT id FROM actions"]);
    actions.check(2, "", "no \\x1b]0;x\\x07");
    assert!(actions.said.contains("hint: go \\x1b]0;x\\x07 away"), "{actions:#?}");
    for answer in [agents, actions] {
        assert!(!answer.said.contains(['\x1b', '\x07']), "{answer:#?}");
    }
}

#[test]
fn the_key_of_this_machine_signs_for_no_server() {
    let (desk, server) = (Desk::new(), serve(ill));
    assert_eq!(desk.ask(&["-q", "-c", "SELECT 1"]).code, 0, "which makes it");
    let listed = desk.run(&["key", "list", "--format", "csv"]).out;
    let fingerprint = listed.lines().find(|line| line.starts_with("local,")).unwrap().split(',').nth(2).unwrap();
    let path = desk.path(".config/canvass/keys/local.pgp");
    assert!(path.exists());
    for key in ["local", fingerprint, path.to_str().unwrap()] {
        let refused = at(&desk, &server, &["--key", key, "-c", "SELECT 1"]);
        refused.check(2, "", "the key `local` has no passphrase, and signs for this machine alone");
    }
}
