//! A user at the broker for each agent: it may read its own queue, write to the exchange of answers, and nothing else.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::Amqp;
use super::queues::{AGENT_QUEUE, ANSWERS};

/// How long the broker's management may take.
const REPLY_WITHIN: Duration = Duration::from_secs(30);

/// Connections and channels of one agent's user: far more than those of an agent that came again and again while the broker had
/// not seen yet that its former ones are gone.
const LIMITS: [(&str, u32); 2] = [("max-connections", 64), ("max-channels", 64)];

/// Why the broker's management did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    #[error("the broker's management `{0}` cannot be reached: {1}")]
    Away(String, reqwest::Error),
    #[error("the broker's management `{0}` answers {1}")]
    Refused(String, StatusCode),
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("cannot speak HTTP: {0}")]
    Client(reqwest::Error),
}

/// An agent's user.
pub struct User {
    pub name: String,
    pub password: String,
}

/// The broker's management.
pub struct Users {
    client: Client,
    /// Without credentials.
    admin: Url,
    name: String,
    password: String,
    /// The virtual host, as it stands in paths: percent-encoded.
    vhost: String,
}

impl Users {
    /// Speaks to the management at `admin`, with its credentials or else those of the broker's own address.
    pub fn new(admin: &Url, broker: &Url) -> Result<Users, UsersError> {
        // Where another part of the program has chosen already, that is the same choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(REPLY_WITHIN).no_proxy().build().map_err(UsersError::Client)?;
        let with = if admin.username().is_empty() { broker } else { admin };
        let (name, password) = (decoded(with.username()), decoded(with.password().unwrap_or_default()));
        let path = broker.path().trim_start_matches('/');
        let vhost = if path.is_empty() { "%2F".to_owned() } else { path.to_owned() };
        let mut admin = admin.clone();
        // Both only fail for addresses without a host, which the configuration refuses.
        let _ = admin.set_username("");
        let _ = admin.set_password(None);
        Ok(Users { client, admin, name, password, vhost })
    }

    /// Makes an agent's user anew, with a password that nobody had before.
    pub async fn make(&self, agent: &str) -> Result<User, UsersError> {
        let user = User { name: name(agent), password: crate::random::hex()? };
        self.put(&format!("api/users/{}", user.name), json!({"password": user.password, "tags": ""})).await?;
        let rights = json!({
            "configure": "^$",
            "write": format!("^{}$", ANSWERS.replace('.', r"\.")),
            "read": format!("^{}{agent}$", AGENT_QUEUE.replace('.', r"\.")),
        });
        let permissions = format!("api/permissions/{}/{}", self.vhost, user.name);
        let (rights, ()) = tokio::join!(self.put(&permissions, rights), self.limit(&user.name));
        rights?;
        Ok(user)
    }

    /// Removes an agent's user; one that is not there is removed.
    pub async fn remove(&self, agent: &str) -> Result<(), UsersError> {
        match self.ask(Method::DELETE, &format!("api/users/{}", name(agent)), None).await {
            Err(UsersError::Refused(_, StatusCode::NOT_FOUND)) => Ok(()),
            removed => removed,
        }
    }

    /// Bounds what a user may open. An agent is let in all the same where its broker cannot: one that has come from long ago has
    /// to be told to (`rabbitmqctl enable_feature_flag user_limits`).
    async fn limit(&self, user: &str) {
        let put = async |(limit, value): (&str, u32)| {
            self.put(&format!("api/user-limits/{user}/{limit}"), json!({ "value": value })).await
        };
        if let Err(error) = tokio::try_join!(put(LIMITS[0]), put(LIMITS[1])) {
            tracing::warn!(user, %error, "what an agent may open at the broker is not limited");
        }
    }

    async fn put(&self, path: &str, body: Value) -> Result<(), UsersError> {
        self.ask(Method::PUT, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<(), UsersError> {
        let shown = || self.admin.to_string();
        let url = format!("{}/{path}", self.admin.as_str().trim_end_matches('/'));
        let mut request = self.client.request(method, url).basic_auth(&self.name, Some(&self.password));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|error| UsersError::Away(shown(), error.without_url()))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(UsersError::Refused(shown(), status)) }
    }
}

impl Amqp {
    /// Removes the user of an agent that was taken out of the fleet. Without it no new connection is opened; its line ends
    /// anyway, and the next one is not opened.
    pub async fn remove_user(&self, agent: &str) {
        if let Some(users) = &self.users
            && let Err(error) = users.remove(agent).await
        {
            tracing::error!(agent, %error, "the broker's user of an agent that left the fleet cannot be removed");
        }
    }
}

/// The user of an agent.
pub fn name(agent: &str) -> String {
    format!("canvass-{agent}")
}

fn decoded(text: &str) -> String {
    url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}
