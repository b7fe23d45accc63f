//! The server's HTTP interface beside its own description: schemathesis tries whatever `/v1/openapi.json` says that the
//! server takes, with all of its checks, against a fleet that has an action with answers.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use canvass_examples::program;
use canvass_examples::yard::Yard;
use canvass_protocol::api::{About, CommandSummary, CommandsPage, Posted, Record, Session};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::login::Login;
use canvass_protocol::openpgp::{KeyFile, Signer as _};
use jiff::Timestamp;
use reqwest::Client;
use serde::de::DeserializeOwned;

use crate::desk::{stderr, stdout};
use crate::metrics;

/// What schemathesis has to have reached with success: all that needs no signature. The others need an investigator's or an
/// agent's key, and are reached as far as that.
const REACHED: [(&str, &str, u16); 13] = [
    ("GET", "/healthz", 200),
    ("GET", "/v1", 200),
    ("GET", "/v1/openapi.json", 200),
    ("GET", "/v1/agents", 200),
    ("GET", "/v1/agents/pending", 200),
    ("POST", "/v1/agents/{id}/removal", 204),
    ("GET", "/v1/actions", 200),
    ("GET", "/v1/actions/{id}", 200),
    ("GET", "/v1/actions/{id}/envelope", 200),
    ("GET", "/v1/actions/{id}/commands", 200),
    ("GET", "/v1/actions/{id}/answers", 200),
    ("GET", "/v1/commands", 200),
    ("GET", "/v1/audit", 200),
];

/// What pip installs.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// What schemathesis expects by itself, and 413.
const TOO_LONG_IS_REFUSED: &str = r#"
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "413", "429", "5xx"]
"#;
/// Cases an operation in each phase, unless `CANVASS_EXAMPLES` says otherwise: with them a run takes about a minute.
const CASES: &str = "200";

#[test]
fn the_server_does_what_its_description_says() {
    let schemathesis = schemathesis();
    let mut yard = Yard::open(&["--metrics", "127.0.0.1:0"]).unwrap();
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
    // A stream of its answers comes to an end, since all have answered.
    let asked = yard.ask(&["-c", "SELECT host, name FROM users"]).unwrap();
    assert_eq!(asked.status.code(), Some(0), "{}", stderr(&asked));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seeded = runtime.block_on(Seeded::look_up(&yard));
    let config = yard.path().join("schemathesis.toml");
    std::fs::write(&config, seeded.config()).unwrap();

    let address = metrics::address(&yard);
    let before = reached(&address);
    let cases = std::env::var("CANVASS_EXAMPLES").unwrap_or_else(|_| CASES.to_owned());
    let mut run = Command::new(schemathesis);
    // What it remembers is thrown away with the yard.
    run.current_dir(yard.path()).args(["--no-color", "--config-file"]).arg(&config);
    run.arg("run").arg(format!("{}/v1/openapi.json", yard.url())).args(["--checks", "all", "--warnings", "off"]);
    run.args(["--header", &format!("Authorization: Bearer {}", seeded.token)]);
    run.args(["--max-examples", &cases, "--request-timeout", "20", "--generation-database", "none"]);
    let run = run.output().unwrap();
    assert!(run.status.success(), "{}\n{}\n{}", stdout(&run), stderr(&run), yard.log("server"));
    for ((what, before), after) in REACHED.iter().zip(before).zip(reached(&address)) {
        assert!(after > before, "{what:?} was not reached\n{}", stdout(&run));
    }
}

/// Whoever posted an action knows whom it asks, and is told again where there are others.
#[test]
fn agents_that_are_known_to_be_asked_are_not_told() {
    let mut yard = Yard::open(&[]).unwrap();
    for host in ["web-1", "db-1"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(2).unwrap();
    let asked = yard.ask(&["-c", "SELECT host FROM system"]).unwrap();
    assert_eq!(asked.status.code(), Some(0), "{}", stderr(&asked));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let seeded = Seeded::look_up(&yard).await;
        for (query, told) in [
            ("", 2),
            ("?asked=2", 0),
            ("?asked=1", 2),
            ("?asked=0", 2),
            // Where nothing is waited for, all is told: what was added meanwhile would be missed.
            ("?asked=2&follow=false", 2),
        ] {
            let url = format!("{}/v1/actions/{}/answers{query}", yard.url(), seeded.action);
            let response = Client::new().get(url).bearer_auth(&seeded.token).send().await.unwrap();
            let text = response.error_for_status().unwrap().text().await.unwrap();
            let records = text.lines().filter(|line| !line.is_empty());
            let records: Vec<Record> = records.map(|line| serde_json::from_str(line).unwrap()).collect();
            let count = |wanted: fn(&Record) -> bool| records.iter().filter(|record| wanted(record)).count();
            assert_eq!(count(|record| matches!(record, Record::Asked { .. })), told, "{query}: {text}");
            assert_eq!(count(|record| matches!(record, Record::Part(_))), 2, "{query}: {text}");
            assert!(matches!(records.last(), Some(Record::Complete)), "{query}: {text}");
        }
    });
}

/// Whoever posts an action once more, since the reply was lost, is told whom it was brought to.
#[test]
fn an_action_that_is_posted_twice_asks_those_of_the_first_time() {
    let mut yard = Yard::open(&[]).unwrap();
    yard.start_agent("web-1", "web-1", &["--tag", "ring=one"]).unwrap();
    yard.wait_for(1).unwrap();
    let asked = yard.ask(&["-c", "SELECT host FROM system WHERE agent.tags['ring'] = 'one'"]).unwrap();
    assert_eq!(asked.status.code(), Some(0), "{}", stderr(&asked));
    // It is not meant any more.
    yard.kill_agent("web-1");
    yard.start_agent("web-1", "web-1", &["--tag", "ring=two"]).unwrap();
    yard.wait_for_tag("ring", "two").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let seeded = Seeded::look_up(&yard).await;
        let (client, actions) = (Client::new(), format!("{}/v1/actions", yard.url()));
        let request = client.get(format!("{actions}/{}/envelope", seeded.action)).bearer_auth(&seeded.token);
        let envelope: Envelope = read(request).await;
        let request = client.post(&actions).bearer_auth(&seeded.token).header("content-type", "application/json");
        let posted: Posted = read(request.body(envelope.to_bytes())).await;
        assert_eq!(posted.asked, [seeded.agent]);
    });
}

/// How often each of [`REACHED`] was, by the server's own count.
fn reached(address: &str) -> Vec<u64> {
    let text = metrics::get(address, "/metrics", address).1;
    let count = |(method, route, status): &(&str, &str, u16)| {
        let labels = format!("{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} ");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("canvass_server_http_requests_total")?.strip_prefix(&labels));
        line.map_or(0, |count| count.parse().unwrap())
    };
    REACHED.iter().map(count).collect()
}

/// The program, which pip installs into the target folder where it is not there yet.
///
/// # Panics
/// Where pip cannot: a test that was left out would look like one that passed.
fn schemathesis() -> PathBuf {
    let server = program("canvass-server");
    let target = server.ancestors().nth(2).expect("programs lie two folders down in the target folder");
    let folder = target.join(SCHEMATHESIS.replace("==", "-"));
    let tool = folder.join("bin/schemathesis");
    // A target folder that was moved has programs that no longer find their interpreter.
    let runs = Command::new(&tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        let need = "this test needs `schemathesis`, which pip installs from a package registry";
        run_to_its_end(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), need);
        run_to_its_end(Command::new(folder.join("bin/pip")).args(["install", "--quiet", SCHEMATHESIS]), need);
    }
    tool
}

fn run_to_its_end(command: &mut Command, need: &str) {
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{need}: {}{}", stdout(&output), stderr(&output)),
        Err(error) => panic!("{need}: {error}: {command:?}"),
    }
}

/// What schemathesis cannot find by itself.
struct Seeded {
    token: String,
    action: String,
    agent: String,
}

impl Seeded {
    /// Logs in, and looks up what there is.
    async fn look_up(yard: &Yard) -> Seeded {
        // Where another part of the program has chosen already, that is the same choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (client, url) = (Client::builder().build().unwrap(), yard.url());
        let about: About = read(client.get(format!("{url}/v1"))).await;
        let now = Timestamp::now();
        let key = KeyFile::open(&std::fs::read(yard.key()).unwrap(), None, now).unwrap();
        let server = url.trim_start_matches("http://").to_owned();
        let payload = Login::new(about.fleet, server, "0".repeat(32), now).to_bytes();
        let signature = key.sign(&payload, now).unwrap();
        let login = Envelope { payload: String::from_utf8(payload).unwrap(), signatures: vec![signature] };
        let request = client.post(format!("{url}/v1/sessions")).header("content-type", "application/json");
        let session: Session = read(request.body(login.to_bytes())).await;
        let request = client.get(format!("{url}/v1/commands")).bearer_auth(&session.token);
        let mut page: CommandsPage = read(request).await;
        let CommandSummary { action, agent, .. } = page.commands.pop().unwrap();
        Seeded { token: session.token, action: action.to_string(), agent }
    }

    /// Half of the ids are of something that is there, the other half of schemathesis' own making. What is too long for its address
    /// is refused unread, whatever else is wrong or right with it.
    fn config(&self) -> String {
        let mut config = String::from(TOO_LONG_IS_REFUSED);
        for (name, id, path) in [("actions", &self.action, "^/v1/actions/"), ("agents", &self.agent, "^/v1/agents/.id")]
        {
            let _ = write!(
                config,
                "[dictionaries.{name}]\nvalues = [\"{id}\"]\n\
                 [[operations]]\ninclude-path-regex = \"{path}\"\n\
                 parameters = {{ \"path.id\" = {{ dictionary = \"{name}\", probability = 0.5 }} }}\n"
            );
        }
        config
    }
}

async fn read<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> T {
    let response = request.send().await.unwrap();
    let (status, bytes) = (response.status(), response.bytes().await.unwrap());
    assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).unwrap()
}
