//! The goldens of actions with their answers, made by a real fleet: `planner/tests/goldens/README.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use canvass_examples::yard::Yard;
use canvass_examples::{folder, program};
use canvass_protocol::api::{About, Session};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::login::Login;
use canvass_protocol::openpgp::{KeyFile, Signer as _};
use jiff::Timestamp;

use crate::desk::{stderr, stdout};

/// What is asked: a name, and statements of which the last is kept. Rows come in an order, and their cells need no quotes.
const ASKED: &[(&str, &[&str])] = &[
    ("plain", &["SELECT host, name, uid FROM users WHERE uid < 100 ORDER BY host, uid, name"]),
    ("limit", &["SELECT host, name FROM users ORDER BY name DESC, host LIMIT 5"]),
    ("group", &["SELECT host, count(*) AS n, max(uid) AS largest FROM users GROUP BY host ORDER BY host"]),
    (
        "join",
        &[
            "SELECT u.host, u.name, g.name AS \"group\" FROM users u JOIN groups g ON u.host = g.host AND u.gid = g.gid ORDER BY 1, 2, 3",
        ],
    ),
    ("file", &["SELECT u.host, u.name, n.why FROM users u JOIN 'names.csv' n ON n.name = u.name ORDER BY 1, 2"]),
    ("agent", &["SELECT host, agent.os, agent.status, agent.tags['team'] AS team FROM users WHERE uid = 0 ORDER BY 1"]),
    ("target", &["SELECT host, name FROM users WHERE agent.os = 'linux' AND agent.tags['team'] = 'web' ORDER BY 1, 2"]),
    (
        "inventory",
        &[
            "SELECT a.name, a.status, u.name AS who FROM agents a LEFT JOIN users u ON u.host = a.name AND u.uid = 0 ORDER BY 1",
        ],
    ),
    (
        "known_hosts",
        &[
            "SELECT host, name FROM users WHERE uid = 0 AND host IN (SELECT name FROM agents WHERE os = 'linux') ORDER BY 1",
        ],
    ),
    ("first_of_a_name", &["SELECT host, name FROM users WHERE host = 'web-1' AND uid = 0 ORDER BY 1"]),
    ("all_but_the_first", &["SELECT host, name FROM users WHERE host <> 'web-1' AND uid = 0 ORDER BY 1"]),
    (
        "setting",
        &[
            "SET canvass.follow = true",
            "SELECT host, path, type FROM files WHERE path UNDER '/etc' AND name ~ '^(passwd|group)$' ORDER BY 1, 2",
        ],
    ),
    (
        "now",
        &[
            "SELECT host, count(*) AS n FROM files WHERE path = '/etc/passwd' AND mtime < now() GROUP BY host ORDER BY 1",
        ],
    ),
];

/// Ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A second agent that calls itself `web-1`.
fn namesake(yard: &Yard) -> Running {
    let root = folder().join("fleet/laptop-7");
    let mut command = Command::new(program("canvass-agent"));
    command.args(["--server", &yard.url(), "--name", "web-1", "--data"]).arg(yard.path().join("namesake"));
    command.arg("--keyring").arg(yard.keyring()).arg("--root").arg(&root);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().unwrap())
}

#[test]
#[ignore = "makes the goldens of this version: `make goldens`"]
fn make_goldens() {
    let set = folder().parent().unwrap().join("planner/tests/goldens").join(env!("CARGO_PKG_VERSION"));
    assert!(!set.exists(), "`{}` is there already, and goldens are for ever", set.display());
    let mut yard = Yard::open(&[]).unwrap();
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
    let _namesake = namesake(&yard);
    yard.wait_for(4).unwrap();
    fs::write(yard.path().join("names.csv"), "name,why\nroot,superuser\nwww-data,web\nnobody,unused\n").unwrap();
    let made = yard.path().join("made");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, statements) in ASKED {
        let mut command = yard.desk();
        command.current_dir(yard.path()).args(["--server", &yard.url(), "--format", "csv"]);
        command.args(statements.iter().flat_map(|statement| ["-c", statement]));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        let rows = stdout(&output);
        assert!(rows.lines().count() > 1 && !rows.contains('"'), "{name}: {rows}");
        let newest = "SELECT id FROM actions ORDER BY created_at DESC LIMIT 1";
        let id =
            stdout(&yard.ask(&["-q", "--format", "csv", "-c", newest]).unwrap()).lines().nth(1).unwrap().to_owned();

        let golden = made.join(name);
        fs::create_dir_all(golden.join("kept/files")).unwrap();
        fs::write(golden.join("rows.csv"), rows).unwrap();
        let (envelope, answers) = runtime.block_on(told(&yard, &id));
        fs::write(golden.join("envelope.json"), envelope).unwrap();
        fs::write(golden.join("answers.jsonl"), answers).unwrap();
        let kept = yard.path().join("home/.local/share/canvass/kept");
        fs::copy(kept.join("inventories").join(format!("{id}.json")), golden.join("kept/inventory.json")).unwrap();
        copy_files(&kept.join("files"), &golden);
    }
    assert!(Command::new("cp").arg("-r").args([&made, &set]).status().unwrap().success());
}

/// Copies those files that the action has used.
fn copy_files(kept: &Path, golden: &Path) {
    let envelope = fs::read_to_string(golden.join("envelope.json")).unwrap();
    let files: Vec<PathBuf> = fs::read_dir(kept).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        if envelope.contains(name) {
            fs::copy(&file, golden.join("kept/files").join(name)).unwrap();
        }
    }
}

/// An action's envelope and answers as the server tells them.
async fn told(yard: &Yard, id: &str) -> (String, String) {
    // Where another part of the program has chosen already, that is the same choice.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (client, url) = (reqwest::Client::builder().build().unwrap(), yard.url());
    let text = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{status}: {text}");
        text
    };
    let about: About = serde_json::from_str(&text(client.get(format!("{url}/v1"))).await).unwrap();
    let now = Timestamp::now();
    let key = KeyFile::open(&fs::read(yard.key()).unwrap(), None, now).unwrap();
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).unwrap();
    let server = url.trim_start_matches("http://").to_owned();
    let payload = Login::new(about.fleet, server, hex::encode(nonce), now).to_bytes();
    let signature = key.sign(&payload, now).unwrap();
    let login = Envelope { payload: String::from_utf8(payload).unwrap(), signatures: vec![signature] };
    let request = client.post(format!("{url}/v1/sessions")).header("content-type", "application/json");
    let session: Session = serde_json::from_str(&text(request.body(login.to_bytes())).await).unwrap();
    let get = |path: &str| client.get(format!("{url}/v1/actions/{id}/{path}")).bearer_auth(&session.token);
    (text(get("envelope")).await, text(get("answers?after=0&follow=false")).await)
}
