//! Agents that reach their server through a proxy only.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use canvass_examples::yard::Yard;

use crate::certificates;
use crate::desk::{stderr, stdout};

/// More than the head of any request here.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// What decides about proxies.
const VARIABLES: [&str; 8] =
    ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "all_proxy", "no_proxy"];

/// A proxy that notes what clients say, until its program ends.
struct Proxy {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { address: listener.local_addr().unwrap().to_string(), heard: Arc::default() };
        let heard = proxy.heard.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = heard.clone();
                thread::spawn(move || serve(stream, &heard));
            }
        });
        proxy
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

/// Serves `CONNECT host:port`, and requests whose address is whole, which are passed on as they are.
fn serve(mut client: TcpStream, heard: &Arc<Mutex<Vec<u8>>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let first = String::from_utf8_lossy(&head).lines().next()?.to_owned();
    heard.lock().unwrap().extend_from_slice(&head);
    let (method, rest) = first.split_once(' ')?;
    let place = rest.split(' ').next()?;
    let host = place.strip_prefix("http://").unwrap_or(place).split('/').next()?;
    let mut server = TcpStream::connect(host).ok()?;
    match method {
        "CONNECT" => client.write_all(b"HTTP/1.1 200 here\r\n\r\n").ok()?,
        _ => server.write_all(&head).ok()?,
    }
    let (mut from_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let heard = heard.clone();
    let there = thread::spawn(move || {
        let mut bytes = [0; 8192];
        while let Ok(count @ 1..) = from_client.read(&mut bytes) {
            heard.lock().unwrap().extend_from_slice(&bytes[..count]);
            if to_server.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    there.join().ok()
}

/// A command that does not inherit what decides about proxies.
fn without_proxy(command: &mut Command) -> &mut Command {
    VARIABLES.iter().fold(command, |command, name| command.env_remove(name))
}

/// Starts an agent with these variables and has it answer a question that waits for it; returns what the proxy heard.
fn answers_through(yard: &Yard, proxy: &Proxy, authority: Option<&Path>, variables: &[(&str, &str)]) -> String {
    let prepare = |command: &mut Command| {
        without_proxy(command).envs(variables.iter().copied());
        authority.map(|authority| command.env("SSL_CERT_FILE", authority).status()).unwrap_or_else(|| command.status())
    };
    let once = || prepare(&mut yard.agent("web-1", "web-1", &["--once"]).unwrap()).unwrap();
    assert!(once().success(), "{}", yard.log("web-1"));
    let before = yard.log("server").matches("an action was posted").count();
    let statement = "SELECT host FROM users WHERE uid = 0 AND agent.status IN ('online', 'idle')";
    let mut desk = yard.desk();
    if let Some(authority) = authority {
        desk.env("SSL_CERT_FILE", authority);
    }
    desk.args(["--server", &yard.url(), "--wait", "expire", "--format", "csv", "-c", statement]);
    let hunt = desk.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    yard.wait_for_actions(before + 1).unwrap();
    assert!(once().success(), "{}", yard.log("web-1"));
    let output = hunt.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "host\nweb-1\n"), "{}", stderr(&output));
    proxy.heard()
}

#[test]
fn an_agent_speaks_through_the_proxy_that_its_environment_names() {
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let yard = Yard::open(&["--tls-cert", &path("good.pem"), "--tls-key", &path("here.key")]).unwrap();
    let authority = folder.path().join("ours.pem");
    let connect = format!("CONNECT {} HTTP/1.1", yard.url().strip_prefix("https://").unwrap());
    for (name, bypassed) in [("HTTPS_PROXY", false), ("https_proxy", false), ("HTTPS_PROXY", true)] {
        let proxy = Proxy::start();
        let url = format!("http://{}", proxy.address);
        let variables = [(name, url.as_str()), ("NO_PROXY", if bypassed { "127.0.0.0/8" } else { "canvass.example" })];
        let heard = answers_through(&yard, &proxy, Some(&authority), &variables);
        assert_eq!(heard.is_empty(), bypassed, "{name}: {heard}");
        assert!(bypassed || heard.starts_with(&connect), "{heard}");
    }
}

/// What is not encrypted goes to this machine alone: a proxy would hear logins and tokens.
#[test]
fn what_is_not_encrypted_is_said_to_no_proxy() {
    let yard = Yard::open(&[]).unwrap();
    let proxy = Proxy::start();
    let url = format!("http://{}", proxy.address);
    let variables = [("HTTP_PROXY", url.as_str()), ("http_proxy", &url), ("ALL_PROXY", &url)];
    assert_eq!(answers_through(&yard, &proxy, None, &variables), "");
    let mut desk = yard.desk();
    without_proxy(&mut desk).envs(variables);
    desk.args(["--server", &yard.url(), "--format", "csv", "-c", "SELECT name FROM agents"]);
    let output = desk.output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "name\nweb-1\n"), "{}", stderr(&output));
    assert_eq!(proxy.heard(), "");
}

#[test]
fn a_proxy_that_is_away_is_named() {
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let yard = Yard::open(&["--tls-cert", &path("good.pem"), "--tls-key", &path("here.key")]).unwrap();
    let mut command = yard.agent("web-1", "web-1", &["--once"]).unwrap();
    assert!(!without_proxy(&mut command).env("HTTPS_PROXY", "http://127.0.0.1:9").status().unwrap().success());
    assert!(yard.log("web-1").contains("cannot be reached"), "{}", yard.log("web-1"));
}
