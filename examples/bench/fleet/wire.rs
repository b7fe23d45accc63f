//! An investigator's side of the HTTP interface, without planning and printing: sessions, the inventory, one question.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use canvass_examples::yard::Yard;
use canvass_protocol::action::{Action, Window};
use canvass_protocol::answer::{Reader, Says};
use canvass_protocol::api::{About, Inventory, Posted, Record, Session};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::filter::{Filter, Is, Test};
use canvass_protocol::limits::Limits;
use canvass_protocol::login::Login;
use canvass_protocol::openpgp::{KeyFile, Signer as _};
use canvass_protocol::scan::Scan;
use canvass_protocol::value::Value;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, RequestBuilder, Response};
use uuid::Uuid;

/// How long a question may be answered.
const WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// A session at the server.
#[derive(Clone)]
pub struct Desk {
    client: Client,
    url: String,
    fleet: String,
    key: KeyFile,
    token: String,
}

impl Desk {
    /// Opens a session with the yard's key, over connections of its own.
    pub async fn log_in(yard: &Yard) -> Result<Desk> {
        // Where another part of the program has chosen already, that is the same choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (client, url) = (Client::builder().build()?, yard.url());
        let about: About = read(client.get(format!("{url}/v1")).send().await?).await?;
        let now = Timestamp::now();
        let key = KeyFile::open(&std::fs::read(yard.key())?, None, now)?;
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
        let server = url.trim_start_matches("http://").to_owned();
        let login = Login::new(about.fleet.clone(), server, hex::encode(nonce), now);
        let envelope = sign(&key, login.to_bytes(), now)?;
        let request = client.post(format!("{url}/v1/sessions"));
        let session: Session = read(json(request, &envelope).send().await?).await?;
        Ok(Desk { client, url, fleet: about.fleet, key, token: session.token })
    }

    pub async fn inventory(&self) -> Result<Inventory> {
        read(self.ask(self.client.get(format!("{}/v1/agents", self.url))).await?).await
    }

    /// Asks one agent a question; returns the seconds until its whole answer is believed.
    pub async fn question(&self, agent: &str) -> Result<f64> {
        let started = Instant::now();
        let now = Timestamp::now();
        let envelope = sign(&self.key, self.action(agent, now)?.to_bytes(), now)?;
        let request = json(self.client.post(format!("{}/v1/actions", self.url)), &envelope);
        let posted: Posted = read(self.ask(request).await?).await?;
        if posted.asked != [agent] {
            bail!("the server asks {} agents", posted.asked.len());
        }
        let path = format!("{}/v1/actions/{}/answers?after=0&asked=1", self.url, posted.id);
        let mut answers = self.ask(self.client.get(path)).await?;
        let mut reader = Reader::new(self.fleet.clone(), posted.hash, agent.to_owned());
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if line.len() == 1 {
                    continue;
                }
                if let Record::Part(part) = serde_json::from_slice(&line)?
                    && let Says::Final(_) = reader.read(&part.into())?
                {
                    return Ok(started.elapsed().as_secs_f64());
                }
            }
            let chunk = answers.chunk().await?.context("the answers ended without a final record")?;
            buffer.extend_from_slice(&chunk);
        }
    }

    fn action(&self, agent: &str, now: Timestamp) -> Result<Action> {
        let scan = Scan {
            table: "netstat".into(),
            target: Some(test("id", agent)),
            columns: ["remote_ip", "remote_port"].map(str::to_owned).to_vec(),
            filter: Some(test("remote_ip", "203.0.113.99")),
            ..Scan::default()
        };
        let window = Window { from: now, until: now.checked_add(WINDOW)? };
        let statement = format!("SELECT remote_ip, remote_port FROM netstat WHERE agent.id = '{agent}'");
        Ok(Action::new(self.fleet.clone(), Uuid::now_v7(), statement, window, Limits::default(), vec![scan]))
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Response> {
        Ok(request.bearer_auth(&self.token).send().await?)
    }
}

fn test(column: &str, value: &str) -> Filter {
    Filter::Test(Test { column: column.to_owned(), is: Is::Equal(Value::Text(value.to_owned())) })
}

fn sign(key: &KeyFile, payload: Vec<u8>, now: Timestamp) -> Result<Envelope> {
    let signature = key.sign(&payload, now)?;
    Ok(Envelope { payload: String::from_utf8(payload)?, signatures: vec![signature] })
}

fn json(request: RequestBuilder, envelope: &Envelope) -> RequestBuilder {
    request.header("content-type", "application/json").body(envelope.to_bytes())
}

async fn read<T: serde::de::DeserializeOwned>(response: Response) -> Result<T> {
    let (status, bytes) = (response.status(), response.bytes().await?);
    if !status.is_success() {
        bail!("the server answers {status}: {}", String::from_utf8_lossy(&bytes));
    }
    Ok(serde_json::from_slice(&bytes)?)
}
