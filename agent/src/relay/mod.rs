//! How an agent reaches its server.

pub mod amqp;
mod broker;
pub mod http;

use canvass_protocol::relay::{FromAgent, ToAgent};

/// What is said where two agents take turns on one line.
const REPLACED: &str = "another agent with this one's identity has come in its place, as a copy of this machine or of its \
     data folder does; stop one of them and remove the data folder of the copy, which then makes an identity of its own";

/// Why the server cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It is away, or on its way here something is: another try may do better.
    #[error("{0}")]
    Away(String),
    /// It does not let this agent in; only people can change that.
    #[error("{0}")]
    Refused(String),
}

/// What is known of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It reaches the server, or the connection ends.
    Confirmed,
    /// It may be dropped on its way, where the server's queue is full.
    Unconfirmed,
}

/// A way to the server, open both ways, after the agent has proved its key.
#[expect(async_fn_in_trait, reason = "used by this crate's courier only")]
pub trait Line {
    /// Sends a message, the bytes of [`FromAgent::to_bytes`], and returns what is known of its delivery: at least what is
    /// wanted.
    async fn say(&mut self, message: Vec<u8>, wanted: Delivery) -> Result<Delivery, RelayError>;

    /// Waits for the server's next word; may be dropped and called again.
    async fn hear(&mut self) -> Result<ToAgent, RelayError>;
}

/// Reads what the server says; that another has taken the agent's place ends the line.
fn read(text: &str) -> Option<Result<ToAgent, RelayError>> {
    match ToAgent::parse(text) {
        Ok(ToAgent::Replaced) => Some(Err(RelayError::Away(REPLACED.into()))),
        Ok(message) => Some(Ok(message)),
        Err(error) => {
            tracing::warn!(%error, "the server sent what cannot be read");
            None
        }
    }
}

/// What is said of an agent's own, as it travels.
pub fn bytes_of(message: &FromAgent) -> Vec<u8> {
    message.to_bytes()
}
