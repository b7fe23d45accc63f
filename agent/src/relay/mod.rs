//! How an agent reaches its server.

pub mod amqp;
pub mod http;

use canvass_protocol::relay::{FromAgent, ToAgent};

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

/// A way to the server, open both ways, after the agent has proved its key.
#[expect(async_fn_in_trait, reason = "used by this crate's courier only")]
pub trait Line {
    /// Says something; bytes are those of [`FromAgent::to_bytes`].
    async fn say(&mut self, message: Vec<u8>) -> Result<(), RelayError>;

    /// Waits for the server's next word; may be dropped and called again.
    async fn hear(&mut self) -> Result<ToAgent, RelayError>;
}

/// What is said of an agent's own, as it travels.
pub fn bytes_of(message: &FromAgent) -> Vec<u8> {
    message.to_bytes()
}
