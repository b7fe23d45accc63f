//! The way of what agents say to whoever stores it: bounded in bytes, whatever relay brings it and however it is divided into
//! messages. Who brings more waits, and so does its agent.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};

use super::Incoming;

/// What agents said and is not stored yet, in messages; who sends more waits.
pub const MESSAGES_MAX: usize = 4096;
/// The same in bytes: what waits and what is being stored. A line that waits holds one message beside it.
pub const BYTES_MAX: usize = 256 << 20;
/// What a message takes beside its texts and its body.
const AROUND_BYTES: usize = 256;

/// An inlet and its outlet, for so many messages and bytes at once.
pub fn channel(messages_max: usize, bytes_max: usize) -> (Inlet, Outlet) {
    let (queue, messages) = mpsc::channel(messages_max);
    let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
    let room = Room { bytes: Semaphore::new(bytes_max), bytes_max, flows: watch::Sender::new(true) };
    (Inlet { queue, room: Arc::new(room) }, Outlet { messages })
}

/// Where relays put what agents say.
#[derive(Clone)]
pub struct Inlet {
    queue: mpsc::Sender<Held>,
    room: Arc<Room>,
}

/// Where it is taken from.
pub struct Outlet {
    messages: mpsc::Receiver<Held>,
}

/// What an agent said, and the room that it takes for as long as it is held.
pub struct Held {
    pub incoming: Incoming,
    pub room: Taken,
}

/// Room that is given back when the value goes.
pub struct Taken {
    room: Arc<Room>,
    bytes: usize,
}

struct Room {
    bytes: Semaphore,
    bytes_max: usize,
    /// Whether lines are read: not from when a quarter of the room is left until half of it is.
    flows: watch::Sender<bool>,
}

/// Nobody takes what comes in any more.
#[derive(Debug)]
pub struct Closed;

impl Inlet {
    /// Puts in what an agent said, once there is room.
    pub async fn send(&self, incoming: Incoming) -> Result<(), Closed> {
        let bytes = incoming.bytes().min(self.room.bytes_max);
        let room = tokio::select! {
            room = self.room.bytes.acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX)) => room.map_err(|_| Closed)?,
            () = self.queue.closed() => return Err(Closed),
        };
        room.forget();
        let room = Taken { room: self.room.clone(), bytes };
        if self.room.bytes.available_permits() < self.room.bytes_max / 4 {
            self.room.flow(false);
        }
        self.queue.send(Held { incoming, room }).await.map_err(|_| Closed)
    }

    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Whether lines are to be read: who does not read what he cannot hand on holds no more than he has read.
    pub fn flows(&self) -> watch::Receiver<bool> {
        self.room.flows.subscribe()
    }

    /// How full it is, for as long as anybody uses it.
    pub fn gauge(&self) -> Gauge {
        Gauge { queue: self.queue.downgrade(), room: self.room.clone() }
    }
}

impl Outlet {
    /// Takes what there is, at most so many; none where nobody puts anything in any more.
    pub async fn recv_many(&mut self, held: &mut Vec<Held>, most: usize) -> usize {
        self.messages.recv_many(held, most).await
    }

    /// What comes next.
    #[cfg(test)]
    pub async fn recv(&mut self) -> Option<Incoming> {
        Some(self.messages.recv().await?.incoming)
    }
}

impl Room {
    fn flow(&self, flows: bool) {
        self.flows.send_if_modified(|before| std::mem::replace(before, flows) != flows);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.bytes.add_permits(self.bytes);
        if self.room.bytes.available_permits() >= self.room.bytes_max / 2 && !*self.room.flows.borrow() {
            self.room.flow(true);
        }
    }
}

/// How full an inlet is.
pub struct Gauge {
    queue: mpsc::WeakSender<Held>,
    room: Arc<Room>,
}

impl Gauge {
    /// Messages that wait, and how many may.
    pub fn messages(&self) -> (usize, usize) {
        // The relay has ended where nobody sends any more.
        self.queue.upgrade().map_or((0, 0), |queue| (queue.max_capacity() - queue.capacity(), queue.max_capacity()))
    }

    /// Bytes that are held, and how many may be.
    pub fn bytes(&self) -> (usize, usize) {
        (self.room.bytes_max - self.room.bytes.available_permits(), self.room.bytes_max)
    }
}

impl Incoming {
    /// What it takes in memory, about.
    fn bytes(&self) -> usize {
        let said = match self {
            Incoming::Present { .. } | Incoming::Gone { .. } => 0,
            Incoming::Heartbeat { heartbeat, .. } => heartbeat.statement.len() + heartbeat.signature.len(),
            Incoming::Part { part, .. } => part.statement.len() + part.signature.len() + part.body.len(),
        };
        said + AROUND_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canvass_protocol::signed::Signed;
    use std::net::IpAddr;

    fn said(bytes: usize) -> Incoming {
        let heartbeat = Signed { statement: "x".repeat(bytes - AROUND_BYTES), signature: String::new() };
        Incoming::Heartbeat { agent: "a".to_owned(), heartbeat, public_ip: None::<IpAddr> }
    }

    #[tokio::test]
    async fn who_brings_more_than_fits_waits_and_lines_are_not_read_meanwhile() {
        let (inlet, mut outlet) = channel(16, 10_000);
        let (gauge, flows) = (inlet.gauge(), inlet.flows());
        for bytes in [4000, 3000] {
            inlet.send(said(bytes)).await.unwrap();
        }
        assert!(*flows.borrow());
        inlet.send(said(1000)).await.unwrap();
        assert_eq!((gauge.messages(), gauge.bytes()), ((3, 16), (8000, 10_000)));
        assert!(!*flows.borrow());
        let mut waiting = Box::pin(inlet.send(said(3000)));
        assert!(futures::poll!(&mut waiting).is_pending());
        let mut held = Vec::new();
        assert_eq!(outlet.recv_many(&mut held, 2).await, 2);
        assert!(futures::poll!(&mut waiting).is_pending(), "what is being stored is held too");
        held.pop();
        waiting.await.unwrap();
        assert_eq!(gauge.bytes().0, 8000);
        assert!(!*flows.borrow());
        held.clear();
        assert_eq!((gauge.bytes().0, *flows.borrow()), (4000, true));
        // One that is larger than all of it takes all of it, and no more.
        drop(outlet.recv().await.zip(outlet.recv().await));
        inlet.send(said(30_000)).await.unwrap();
        assert_eq!(gauge.bytes().0, 10_000);
        let waiting = tokio::spawn({
            let inlet = inlet.clone();
            async move { inlet.send(said(1000)).await.is_err() }
        });
        drop(outlet);
        assert!(waiting.await.unwrap() && inlet.is_closed(), "nobody waits for ever");
    }
}
