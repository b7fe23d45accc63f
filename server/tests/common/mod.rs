//! A server of its own for each test, and plain HTTP by hand.

#![allow(dead_code, reason = "each file of tests uses some of it")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use canvass_protocol::envelope::Envelope;
use canvass_protocol::login::Login;
use canvass_protocol::openpgp::{KeyFile, Signer};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_canvass-server");
pub const JSON: &str = "Content-Type: application/json\r\n";

pub struct Server {
    child: Child,
    pub address: String,
    pub data: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server of the fleet `acme` on a loopback address.
pub fn start(arguments: &[&str]) -> Server {
    start_as(&mut Command::new(PROGRAM), arguments)
}

/// The same, by another program that runs this one.
pub fn start_as(command: &mut Command, arguments: &[&str]) -> Server {
    let data = tempfile::tempdir().unwrap();
    command
        .args(["--listen", "127.0.0.1:0", "--fleet", "acme", "--data"])
        .arg(data.path().join("data"))
        .args(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("http://")).unwrap().to_owned();
    assert!(line.contains("fleet acme"), "{line}");
    Server { child, address, data }
}

/// Signs a payload and wraps it as it travels.
pub fn envelope(key: &KeyFile, payload: String) -> String {
    let signatures = vec![key.sign(payload.as_bytes(), Timestamp::now()).unwrap()];
    String::from_utf8(Envelope { payload, signatures }.to_bytes()).unwrap()
}

impl Server {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes as they are and returns the status and what follows the head.
    pub fn send(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        // A server that refuses a long request does not read it to its end.
        let _ = stream.write_all(request);
        let mut reply = Vec::new();
        // A server that has refused may close before it has read all.
        let _ = stream.read_to_end(&mut reply);
        let reply = String::from_utf8_lossy(&reply).into_owned();
        let status = reply.split_whitespace().nth(1).unwrap_or_else(|| panic!("no status in {reply:?}"));
        let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.parse().unwrap(), body.to_owned())
    }

    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}",
            self.address
        );
        self.send(request.as_bytes())
    }

    /// A key whose certificate the server knows.
    pub fn investigator(&self, name: &str) -> KeyFile {
        let key = KeyFile::generate(name, None, Timestamp::now() - SignedDuration::from_hours(1)).unwrap();
        let keyring = self.data.path().join("data/keyring");
        std::fs::create_dir_all(&keyring).unwrap();
        std::fs::write(keyring.join(format!("{name}.asc")), key.public_armor().unwrap()).unwrap();
        key
    }

    pub fn login(&self, nonce: &str) -> String {
        let login = Login::new("acme".into(), self.address.clone(), nonce.repeat(32), Timestamp::now());
        String::from_utf8(login.to_bytes()).unwrap()
    }

    /// The headers of whoever has opened a session with a key; each session has a digit of its own.
    pub fn session(&self, key: &KeyFile, digit: &str) -> String {
        let (status, session) = self.request("POST", "/v1/sessions", JSON, &envelope(key, self.login(digit)));
        assert_eq!(status, 200, "{session}");
        let session: Value = serde_json::from_str(&session).unwrap();
        format!("{JSON}Authorization: Bearer {}\r\n", session["token"].as_str().unwrap())
    }
}
