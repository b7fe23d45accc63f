//! The echo over WebSockets: this process is the server and all of the agents.

use std::time::Instant;

use anyhow::{Context as _, Result};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{accept_async, client_async};

use super::Bytes;

pub async fn measure(agents: u32, bytes: Bytes, runs: usize) -> Result<Vec<f64>> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let (answered, mut answers) = mpsc::unbounded_channel();
    // Both end with all they run where they are dropped.
    let (mut ends, mut sinks) = (JoinSet::new(), Vec::new());
    for _ in 0..agents {
        let agent = async { Ok(client_async(format!("ws://{address}/"), TcpStream::connect(address).await?).await?.0) };
        let server = async { Ok(accept_async(listener.accept().await?.0).await?) };
        let (mut agent, server) = tokio::try_join!(agent, server).map_err(|error: anyhow::Error| error)?;
        let (sink, mut stream) = server.split();
        sinks.push(sink);
        let answered = answered.clone();
        ends.spawn(async move {
            while let Some(Ok(_)) = stream.next().await {
                if answered.send(()).is_err() {
                    return;
                }
            }
        });
        ends.spawn(async move {
            while let Some(Ok(_)) = agent.next().await {
                if agent.send(Message::Binary(vec![b'y'; bytes.answer].into())).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut taken = Vec::with_capacity(runs);
    // The first run warms, and is not counted.
    for _ in 0..=runs {
        let started = Instant::now();
        let command = Message::Text("x".repeat(bytes.command).into());
        for sink in &mut sinks {
            sink.send(command.clone()).await?;
        }
        for _ in 0..agents {
            answers.recv().await.context("a connection is lost")?;
        }
        taken.push(started.elapsed().as_secs_f64());
    }
    taken.remove(0);
    Ok(taken)
}
