//! Lists that the kernel gives over netlink: one question, and the messages of its answer.
//!
//! Nothing is set by it, and nothing here panics on what a message holds: every place in it is asked for, never guessed.

use std::io;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// What the kernel hands over at once is half of it at most.
const DATAGRAM_BYTES: usize = 64 << 10;
/// The kernel answers as fast as it is read; it has lost the question where it is silent for so long.
const SILENCE: Duration = Duration::from_secs(10);
/// A list that changes all the time is told as it is after so many attempts.
const ATTEMPTS: usize = 5;

const HEADER_BYTES: usize = 16;
const SEQUENCE: u32 = 1;
const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;
const INTERRUPTED: u16 = 0x10;
const NOTHING: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Whom to ask.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service {
    /// Interfaces, addresses, neighbours, routes.
    Route,
    Sockets,
}

/// How a list was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// Whether whoever took the messages wants more.
    pub flow: ControlFlow<()>,
    /// The list changed meanwhile, so entries may be missing or told twice.
    pub interrupted: bool,
}

/// One message: what follows its header, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub kind: u16,
    flags: u16,
    sequence: u32,
    pub body: &'a [u8],
}

/// Asks for a list and hands over each message of it; an error where the kernel does not tell it.
pub(super) fn dump(
    service: Service,
    kind: u16,
    body: &[u8],
    take: &mut dyn FnMut(Message<'_>) -> ControlFlow<()>,
) -> io::Result<Told> {
    let protocol = match service {
        Service::Route => None,
        Service::Sockets => Some(netlink::SOCK_DIAG),
    };
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE))?;
    send(&socket, &request(kind, body), SendFlags::empty())?;
    let mut buffer = Vec::with_capacity(DATAGRAM_BYTES);
    let mut told = Told { flow: ControlFlow::Continue(()), interrupted: false };
    loop {
        buffer.clear();
        let room: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
        let ((datagram, _), length) = match recv(&socket, room, RecvFlags::TRUNC) {
            Err(Errno::INTR) => continue,
            received => received?,
        };
        if datagram.is_empty() || datagram.len() < length {
            return Err(malformed());
        }
        for message in Messages(datagram) {
            let message = message.ok_or_else(malformed)?;
            if message.sequence != SEQUENCE {
                continue;
            }
            told.interrupted |= message.flags & INTERRUPTED != 0;
            match message.kind {
                NOTHING => {}
                DONE | ERROR => return ended(&message).map(|()| told),
                _ => told.flow = take(message),
            }
            if told.flow.is_break() {
                return Ok(told);
            }
        }
    }
}

/// Gathers a list, again where it changed meanwhile; `None` of an entry leaves it out. More than `entries_max` is an error.
pub(super) fn list<T>(
    kind: u16,
    body: &[u8],
    entries_max: usize,
    parse: &dyn Fn(Message<'_>) -> Option<T>,
) -> io::Result<Vec<T>> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut entries = Vec::new();
        let told = dump(Service::Route, kind, body, &mut |message| {
            entries.extend(parse(message));
            if entries.len() > entries_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if told.flow.is_break() {
            return Err(io::Error::other(format!("more than {entries_max} entries")));
        }
        if !told.interrupted || attempts == ATTEMPTS {
            return Ok(entries);
        }
    }
}

fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + body.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | DUMP).to_ne_bytes());
    bytes.extend(SEQUENCE.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// What the message that ends an answer says; one without a number says that all is well.
fn ended(message: &Message<'_>) -> io::Result<()> {
    match u32_at(message.body, 0).map(u32::cast_signed) {
        Some(error) if error < 0 => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        _ => Ok(()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed answer over netlink")
}

/// The messages of a datagram; `None` for what is none, after which nothing follows.
pub(super) struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Option<Message<'a>>;

    fn next(&mut self) -> Option<Option<Message<'a>>> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return None;
        }
        let read = || {
            let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
            let body = bytes.get(HEADER_BYTES..length)?;
            let message =
                Message { kind: u16_at(bytes, 4)?, flags: u16_at(bytes, 6)?, sequence: u32_at(bytes, 8)?, body };
            Some((message, bytes.get(aligned(length)..).unwrap_or_default()))
        };
        let (message, rest) = read().unzip();
        self.0 = rest.unwrap_or_default();
        Some(message)
    }
}

/// Attributes of a message, each a number and its bytes; what is malformed ends them.
pub(super) struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        /// The two bits above it say how the bytes are to be taken.
        const NUMBER: u16 = 0x3fff;
        let bytes = std::mem::take(&mut self.0);
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length)?;
        self.0 = bytes.get(aligned(length)..).unwrap_or_default();
        Some((u16_at(bytes, 2)? & NUMBER, value))
    }
}

/// The attributes that follow a fixed part of so many bytes.
pub(super) fn attributes(body: &[u8], fixed: usize) -> Attributes<'_> {
    Attributes(body.get(fixed..).unwrap_or_default())
}

/// Everything begins at a multiple of four bytes.
pub(super) fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(super) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_ne_bytes)
}

/// A text that a zero byte may end.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// An address of four or sixteen bytes.
pub(super) fn ip(bytes: &[u8]) -> Option<std::net::IpAddr> {
    match bytes.len() {
        4 => array::<4>(bytes, 0).map(Into::into),
        16 => array::<16>(bytes, 0).map(Into::into),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(number.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    #[test]
    fn messages_and_attributes() {
        let mut body = attribute(3, b"eth0\0");
        body.extend(attribute(0x8000 | 4, &1500u32.to_ne_bytes()));
        let mut datagram = request(16, &body);
        datagram.extend(request(DONE, &(-2i32).to_ne_bytes()));
        let messages: Vec<_> = Messages(&datagram).collect::<Option<_>>().unwrap();
        assert_eq!(messages.iter().map(|message| message.kind).collect::<Vec<_>>(), [16, DONE]);
        let first: Vec<_> = attributes(messages[0].body, 0).collect();
        assert_eq!(first.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 4]);
        assert_eq!((text(first[0].1).as_str(), u32_at(first[1].1, 0)), ("eth0", Some(1500)));
        assert_eq!(ended(&messages[1]).unwrap_err().raw_os_error(), Some(2));
        assert_eq!(ended(&messages[0]).is_err(), u32_at(&body, 0).unwrap().cast_signed() < 0);
    }

    #[test]
    fn what_is_too_short_or_too_long_is_no_message() {
        let whole = request(16, b"12345678");
        for end in 1..whole.len() {
            assert!(Messages(&whole[..end]).next().unwrap().is_none(), "{end}");
        }
        let mut lies = whole.clone();
        for length in [0u32, 1, 15, u32::MAX] {
            lies[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(Messages(&lies).next().unwrap().is_none(), "{length}");
        }
        for odd in [&b"\0\0\0\0"[..], b"\x03\0\x01\0", b"\xff\xff\x01\0abc", b"\x05", b""] {
            assert_eq!(Attributes(odd).next(), None, "{odd:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let messages = Messages(&bytes).count();
            prop_assert!(messages <= bytes.len() / HEADER_BYTES + 1);
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / 4);
        }
    }
}
