//! A server's HTTP interface, as a desk uses it: one client, and a session that is opened again when it ends.

use std::sync::Arc;
use std::time::Duration;

use canvass_agent::config::Server;
use canvass_planner::error::Error;
use canvass_protocol::api::{About, Problem, Record, Session};
use canvass_protocol::limits;
use canvass_protocol::login::Login;
use jiff::Timestamp;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::session::Signing;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const REPLY_WITHIN: Duration = Duration::from_secs(60);
/// Pauses before what met a lost connection is asked again.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(900), Duration::from_millis(1500)];
/// While answers are followed the server says something every fifteen seconds.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// An inventory of a hundred thousand agents fits.
const REPLY_BYTES_MAX: usize = 512 << 20;
/// A part whose body is base64.
const LINE_BYTES_MAX: usize = 2 * limits::MESSAGE_BYTES_MAX;

/// What bodies are.
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// One server.
pub struct Wire {
    client: Client,
    server: Server,
    login: Option<(String, Arc<Signing>)>,
    session: Mutex<Option<Session>>,
}

impl Wire {
    pub fn new(server: &str) -> Result<Wire, Error> {
        let server = Server::parse(server).map_err(|error| Error::usage(format!("{error:#}")))?;
        // Where another part of the program has chosen already, that is the same choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().connect_timeout(CONNECT_WITHIN).redirect(reqwest::redirect::Policy::none());
        // A proxy would hear logins and tokens in the clear, which are for this machine alone.
        let client = if server.is_plain() { client.no_proxy() } else { client };
        let client =
            client.build().map_err(|error| Error::unreachable(format!("cannot speak HTTP: {}", words(&error))))?;
        Ok(Wire { client, server, login: None, session: Mutex::new(None) })
    }

    /// Who answers there.
    pub async fn about(&self) -> Result<About, Error> {
        let response = self.exchange(self.client.get(self.server.at("/v1"))).await?;
        self.read(response).await
    }

    /// Opens a session with a signed login; whenever it ends, it is opened again in the same way.
    pub async fn log_in(&mut self, fleet: String, signing: Arc<Signing>) -> Result<(), Error> {
        self.login = Some((fleet, signing));
        self.token(None).await.map(drop)
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let response = self.ask(Method::GET, path, None).await?;
        self.read(response).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let response = self.ask(Method::POST, path, Some((JSON, json(body)?))).await?;
        self.read(response).await
    }

    /// Posts what is no JSON.
    pub async fn post_bytes<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, Error> {
        let response = self.ask(Method::POST, path, Some((TEXT, bytes.to_vec()))).await?;
        self.read(response).await
    }

    /// Posts what has no reply.
    pub async fn send(&self, path: &str, body: &impl Serialize) -> Result<(), Error> {
        self.ask(Method::POST, path, Some((JSON, json(body)?))).await.map(drop)
    }

    /// Opens a stream of records.
    pub async fn lines(&self, path: &str) -> Result<Lines, Error> {
        let response = self.ask(Method::GET, path, None).await?;
        Ok(Lines { response, buffer: Vec::new(), read: 0 })
    }

    /// Asks in a session, and once more in a new one where the server does not know it any more.
    async fn ask(&self, method: Method, path: &str, body: Option<(&str, Vec<u8>)>) -> Result<Response, Error> {
        let request = |token: &str| {
            let request = self.client.request(method.clone(), self.server.at(path)).bearer_auth(token);
            match &body {
                Some((kind, body)) => request.header("content-type", *kind).body(body.clone()),
                None => request,
            }
        };
        let token = self.token(None).await?;
        let response = self.reach_again(|| request(&token)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.check(response).await;
        }
        let token = self.token(Some(&token)).await?;
        self.exchange(request(&token)).await
    }

    /// The session's token; another one than `refused`.
    async fn token(&self, refused: Option<&str>) -> Result<String, Error> {
        let mut session = self.session.lock().await;
        if let Some(open) = session.as_ref().filter(|open| Some(open.token.as_str()) != refused) {
            return Ok(open.token.clone());
        }
        let (fleet, signing) = self.login.as_ref().ok_or_else(|| Error::internal("nobody logged in"))?;
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| Error::internal(format!("no random bytes: {error}")))?;
        let login = Login::new(fleet.clone(), self.server.name(), hex::encode(nonce), Timestamp::now());
        let envelope = signing.envelope(login.to_bytes())?;
        let request = self.client.post(self.server.at("/v1/sessions"));
        let request = request.header("content-type", JSON).body(json(&envelope)?);
        let response = self.exchange(request).await?;
        let opened: Session = self.read(response).await?;
        Ok(session.insert(opened).token.clone())
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = self.reach(request).await?;
        self.check(response).await
    }

    /// Asks again where the connection is lost, as it is when a server ends and another takes its place. What is asked in a
    /// session may be asked twice: the same action, signature or withdrawal is taken once.
    async fn reach_again(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        for pause in PAUSES {
            match timeout(REPLY_WITHIN, request().send()).await {
                Ok(Err(_)) => tokio::time::sleep(pause).await,
                replied => return self.replied(replied),
            }
        }
        self.reach(request()).await
    }

    async fn reach(&self, request: RequestBuilder) -> Result<Response, Error> {
        self.replied(timeout(REPLY_WITHIN, request.send()).await)
    }

    fn replied(&self, replied: Result<reqwest::Result<Response>, Elapsed>) -> Result<Response, Error> {
        match replied {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                Err(Error::unreachable(format!("`{}` cannot be reached: {}", self.server, words(&error))))
            }
            Err(_) => Err(Error::unreachable(format!("`{}` does not answer", self.server))),
        }
    }

    /// What the server refuses is said in its own words.
    async fn check(&self, response: Response) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem: Option<Problem> = self.read(response).await.ok();
        let said = problem.as_ref().map_or_else(|| format!("it answers {status}"), |problem| problem.error.clone());
        let message = format!("`{}`: {said}", self.server);
        let mut error = match status {
            StatusCode::BAD_REQUEST
            | StatusCode::NOT_FOUND
            | StatusCode::CONFLICT
            | StatusCode::UNPROCESSABLE_ENTITY => Error::usage(message),
            _ => Error::unreachable(message),
        };
        error.hint = problem.and_then(|problem| problem.hint);
        Err(error)
    }

    async fn read<T: DeserializeOwned>(&self, mut response: Response) -> Result<T, Error> {
        let whole = async {
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| words(&error))? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > REPLY_BYTES_MAX {
                    return Err("it says more than expected".to_owned());
                }
            }
            serde_json::from_slice(&bytes).map_err(|error| format!("it is no Canvass server: {error}"))
        };
        let read = timeout(REPLY_WITHIN, whole).await.unwrap_or_else(|_| Err("it does not end".to_owned()));
        read.map_err(|reason| Error::unreachable(format!("`{}`: {reason}", self.server)))
    }
}

/// Records as they come.
pub struct Lines {
    response: Response,
    buffer: Vec<u8>,
    /// Of the buffer, what was taken.
    read: usize,
}

impl Lines {
    /// The next record; `None` where the server has closed the stream.
    pub async fn next(&mut self) -> Result<Option<Record>, String> {
        let mut searched = self.read;
        loop {
            if let Some(length) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = &self.buffer[self.read..searched + length];
                let record = if line.is_empty() { None } else { Some(serde_json::from_slice(line)) };
                self.read = searched + length + 1;
                searched = self.read;
                match record {
                    Some(record) => return record.map(Some).map_err(|error| error.to_string()),
                    // The server is still there, and has nothing to say.
                    None => continue,
                }
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            searched = self.buffer.len();
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err("a line is too long".to_owned());
            }
            match timeout(SILENT_MAX, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => self.buffer.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(words(&error)),
                Err(_) => return Err("it is silent".to_owned()),
            }
        }
    }
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|error| Error::internal(error.to_string()))
}

/// An error with its causes, which hold what matters.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
