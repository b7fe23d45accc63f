//! What a broker may send us, whoever runs it: frames of the size that was agreed, messages that are no longer than a server's,
//! nothing that nobody asked for, and no more than is taken.
//!
//! The client library keeps what comes until it is taken, however much that is. So the stream under it is not read while enough
//! waits, and the broker's own bounds hold what comes later.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use canvass_protocol::limits::MESSAGE_BYTES_MAX;
use futures::{AsyncRead, AsyncWrite};

/// A frame, as it is agreed with the broker: the client library keeps buffers of several, and with small ones a connection costs
/// kilobytes.
pub const FRAME_BYTES_MAX: usize = 8192;
/// Bytes of messages that wait to be taken before no more are read. Beside these there is one that is still coming.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// What a message costs in memory beside its bytes.
const MESSAGE_COST: usize = 512;

/// Kind, channel and length of a frame; what is behind its payload.
const HEAD_BYTES: usize = 7;
const END_BYTES: usize = 1;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// The method that brings a message.
const DELIVER: (u16, u16) = (60, 60);

/// Messages that have come and are not taken.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Messages>);

#[derive(Debug, Default)]
struct Messages {
    bytes: VecDeque<usize>,
    sum: usize,
    reader: Option<Waker>,
}

impl Waiting {
    /// The oldest message was taken.
    pub fn take(&self) {
        let mut messages = self.lock();
        if let Some(bytes) = messages.bytes.pop_front() {
            messages.sum -= bytes;
        }
        if let Some(reader) = messages.reader.take() {
            reader.wake();
        }
    }

    fn add(&self, bytes: usize) {
        let mut messages = self.lock();
        messages.bytes.push_back(bytes);
        messages.sum += bytes;
    }

    /// Whether as much waits as may; who asks is woken when something is taken.
    fn is_full(&self, context: &Context<'_>) -> bool {
        let mut messages = self.lock();
        let is_full = messages.sum >= WAITING_BYTES_MAX;
        if is_full {
            messages.reader = Some(context.waker().clone());
        }
        is_full
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that is read within these bounds.
pub struct Intake<S> {
    stream: S,
    frames: Frames,
    waiting: Arc<Waiting>,
}

impl<S> Intake<S> {
    pub fn new(stream: S, waiting: Arc<Waiting>) -> Intake<S> {
        Intake { stream, frames: Frames::default(), waiting }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Intake<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.waiting.is_full(cx) {
            return Poll::Pending;
        }
        let read = std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let waiting = &this.waiting;
        this.frames.look(&buffer[..read], |bytes| waiting.add(bytes))?;
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Intake<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// Where a stream of frames stands.
#[derive(Debug, Default)]
struct Frames {
    /// The frame's head, and as much of its payload as tells what it is.
    head: Vec<u8>,
    /// Bytes of the frame that are still to come, its end included, once its head is there.
    left: usize,
    /// Bytes of the message that are still to come, and those that it has in all.
    body_left: usize,
    message: usize,
}

impl Frames {
    /// Looks at what came next; tells of each message that is whole how many bytes it has.
    fn look(&mut self, mut bytes: &[u8], mut whole: impl FnMut(usize)) -> io::Result<()> {
        while let Some(first) = bytes.first() {
            let read = if self.head.len() < HEAD_BYTES {
                self.head.push(*first);
                if self.head.len() == HEAD_BYTES {
                    self.begin()?;
                }
                1
            } else if self.head.len() < HEAD_BYTES + self.telling() {
                self.head.push(*first);
                self.left -= 1;
                if self.head.len() == HEAD_BYTES + self.telling() {
                    self.judge()?;
                }
                1
            } else {
                let read = self.left.min(bytes.len());
                self.left -= read;
                read
            };
            bytes = &bytes[read..];
            if self.head.len() >= HEAD_BYTES && self.left == 0 {
                self.end(&mut whole);
            }
        }
        Ok(())
    }

    /// The frame's head is there.
    fn begin(&mut self) -> io::Result<()> {
        let payload =
            u32::from_be_bytes(self.head[3..HEAD_BYTES].try_into().expect("a length has four bytes")) as usize;
        if !matches!(self.kind(), METHOD | HEADER | BODY | HEARTBEAT) || payload < self.telling() {
            return Err(wrong("speaks no AMQP"));
        }
        if payload > FRAME_BYTES_MAX - HEAD_BYTES - END_BYTES {
            return Err(wrong("sends a frame that is longer than was agreed"));
        }
        self.left = payload + END_BYTES;
        match self.kind() {
            BODY if payload > self.body_left => Err(wrong("sends more of a message than it said")),
            BODY => {
                self.body_left -= payload;
                Ok(())
            }
            HEARTBEAT => Ok(()),
            _ if self.body_left > 0 => Err(wrong("breaks off a message")),
            _ => {
                self.message += payload;
                Ok(())
            }
        }
    }

    /// What the frame is about is there.
    fn judge(&mut self) -> io::Result<()> {
        let at = |place: usize| u16::from_be_bytes([self.head[HEAD_BYTES + place], self.head[HEAD_BYTES + place + 1]]);
        if self.kind() == METHOD {
            let method = (at(0), at(2));
            if method != DELIVER {
                self.message = 0;
            }
            return if is_awaited(method) { Ok(()) } else { Err(wrong("sends what nobody asked for")) };
        }
        let said = u64::from_be_bytes(self.head[HEAD_BYTES + 4..HEAD_BYTES + 12].try_into().expect("eight bytes"));
        let body = usize::try_from(said).ok().filter(|bytes| *bytes <= MESSAGE_BYTES_MAX);
        self.body_left = body.ok_or_else(|| wrong("sends a message that is longer than any of a server's"))?;
        self.message += self.body_left;
        Ok(())
    }

    /// The frame is there.
    fn end(&mut self, whole: &mut impl FnMut(usize)) {
        if matches!(self.kind(), HEADER | BODY) && self.body_left == 0 {
            whole(std::mem::take(&mut self.message) + MESSAGE_COST);
        }
        self.head.clear();
    }

    fn kind(&self) -> u8 {
        self.head[0]
    }

    /// How many bytes of the payload tell what the frame is: class and method, or class, weight and the message's length.
    fn telling(&self) -> usize {
        match self.kind() {
            METHOD => 4,
            HEADER => 12,
            _ => 0,
        }
    }
}

/// Methods that a broker sends of itself, or in answer to what this agent asks: all of connections, of channels but `flow`, which
/// wants an answer each time; of messages their delivery and what comes of those that were sent.
fn is_awaited(method: (u16, u16)) -> bool {
    match method {
        (10, _) | DELIVER => true,
        (20, method) => matches!(method, 11 | 40 | 41),
        // `qos-ok`, `consume-ok`, `cancel`, `cancel-ok`, `ack`, `nack`
        (60, method) => matches!(method, 11 | 21 | 30 | 31 | 80 | 120),
        (85, method) => method == 11,
        _ => false,
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the broker {what}"))
}

#[cfg(test)]
mod tests;
