//! What a server tells Prometheus of a hunt.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use canvass_examples::yard::Yard;

use crate::desk::{stderr, stdout};

/// How long what agents say may take to be counted.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the metrics are told, by the server's log.
pub fn address(yard: &Yard) -> String {
    let log = yard.log("server");
    let line = log.lines().find(|line| line.contains("metrics are told")).unwrap();
    let said: serde_json::Value = serde_json::from_str(line).unwrap();
    said["fields"]["address"].as_str().unwrap().to_owned()
}

/// Status line and headers, and the body.
pub fn get(address: &str, path: &str, host: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

fn tells(address: &str, line: &str) -> bool {
    get(address, "/metrics", address).1.lines().any(|told| told == format!("canvass_server_{line}"))
}

#[test]
fn a_hunt_is_counted_and_nobody_is_named() {
    let mut yard = Yard::open(&["--metrics", "127.0.0.1:0"]).unwrap();
    let address = address(&yard);
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
    assert!(tells(&address, "first_word_seconds_count 0"));
    let statement = "SELECT host, name FROM users WHERE name = 'root'";
    let asked = yard.ask(&["--format", "csv", "-c", statement]).unwrap();
    assert_eq!(asked.status.code(), Some(0), "{}", stderr(&asked));
    let names: Vec<String> = stdout(&asked).lines().skip(1).map(str::to_owned).collect();
    assert_eq!(names.len(), 3);

    let (head, text) = get(&address, "/metrics", &address);
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    for line in [
        "agents{status=\"online\"} 3",
        "agents_pending 0",
        "agents_connected 3",
        "actions_open 1",
        "commands_open{state=\"concluded\"} 3",
        "commands_open{state=\"waiting\"} 0",
        "commands_concluded_total{state=\"answered\"} 3",
        "incoming_messages_max 4096",
        "first_word_seconds_count 1",
        "last_word_seconds_count 1",
        "http_requests_total{method=\"POST\",route=\"/v1/actions\",status=\"201\"} 1",
        "http_requests_total{method=\"GET\",route=\"/v1/relay\",status=\"101\"} 3",
        "http_request_seconds_count{method=\"GET\",route=\"/v1/actions/{id}/answers\"} 1",
    ] {
        assert!(text.lines().any(|told| told == format!("canvass_server_{line}")), "{line} in\n{text}");
    }
    // The desk has left, and the server notices when it writes to nobody.
    let started = Instant::now();
    while !tells(&address, "answer_streams 0") {
        assert!(started.elapsed() < PATIENCE);
    }
    for secret in ["web-1", "laptop-7", "alice", "root", "SELECT"] {
        assert!(!text.contains(secret), "{secret} in\n{text}");
    }

    // Another name is another server's, and there is nothing else here; nor are there metrics elsewhere.
    assert!(get(&address, "/metrics", "evil.example").0.starts_with("http/1.1 421"));
    assert!(get(&address, "/v1/agents", &address).0.starts_with("http/1.1 404"));
    let other = yard.url();
    let other = other.strip_prefix("http://").unwrap();
    assert!(get(other, "/metrics", other).0.starts_with("http/1.1 404"));
}
