//! One question to one name server, and what its answer says.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, connect, recv, send};

use super::pace::Pace;
use super::probe::{connected, open};

/// What a message by UDP may hold without an agreement on more.
const DATAGRAM_BYTES_MAX: usize = 512;
const CHAIN_MAX: usize = 16;
const ADDRESSES_MAX: usize = 16;
/// Answers to other questions, which somebody may send in the server's name, before it counts as silent.
const OTHERS_MAX: usize = 64;

/// What a name server says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Addresses(Vec<IpAddr>),
    /// There is no such name, or it has no such address.
    Nothing,
    /// The server cannot or will not say.
    Failed,
    Silent,
}

/// A question as it is sent.
pub(super) struct Question<'q> {
    pub server: SocketAddr,
    pub name: &'q Name,
    pub kind: RecordType,
    pub timeout: Duration,
}

/// What a message is to a question.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Answer(Answer),
    /// It is asked again by TCP.
    Truncated,
    /// No answer to it.
    Other,
}

/// Asks by UDP, and by TCP where the answer is too long for it. The source port is the kernel's choice, and the kernel drops what
/// does not come from the server.
pub(super) fn ask(question: &Question<'_>, pace: &mut Pace<'_>) -> ControlFlow<(), Answer> {
    let mut id = [0; 2];
    let asked = getrandom::fill(&mut id).ok().and_then(|()| packet(u16::from_be_bytes(id), question));
    let Some(packet) = asked else { return ControlFlow::Continue(Answer::Failed) };
    let id = u16::from_be_bytes(id);
    let deadline = pace.before_sending()? + question.timeout;
    let sent = open(question.server, SocketType::DGRAM).and_then(|socket| {
        connect(&socket, &question.server)?;
        send(&socket, &packet, SendFlags::empty())?;
        Ok(socket)
    });
    let Ok(socket) = sent else { return ControlFlow::Continue(Answer::Silent) };
    let mut buffer = [0_u8; DATAGRAM_BYTES_MAX];
    for _ in 0..OTHERS_MAX {
        if !pace.ready(socket.as_fd(), PollFlags::IN, deadline)? {
            break;
        }
        let length = match recv(&socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => continue,
            // Nobody listens there.
            Err(_) => break,
        };
        match read(buffer.get(..length).unwrap_or_default(), id, question) {
            Read::Answer(answer) => return ControlFlow::Continue(answer),
            Read::Truncated => return by_tcp(&packet, id, question, pace),
            Read::Other => {}
        }
    }
    ControlFlow::Continue(Answer::Silent)
}

fn by_tcp(packet: &[u8], id: u16, question: &Question<'_>, pace: &mut Pace<'_>) -> ControlFlow<(), Answer> {
    let begun = pace.before_sending()?;
    let deadline = begun + question.timeout;
    let Ok(socket) = connected(question.server, begun, question.timeout, pace)? else {
        return ControlFlow::Continue(Answer::Silent);
    };
    let mut bytes = u16::try_from(packet.len()).unwrap_or(0).to_be_bytes().to_vec();
    bytes.extend(packet);
    // So few bytes fit into the buffer of a new connection.
    if send(&socket, &bytes, SendFlags::NOSIGNAL) != Ok(bytes.len()) {
        return ControlFlow::Continue(Answer::Silent);
    }
    let mut length = [0; 2];
    if !receive(&socket, &mut length, deadline, pace)? {
        return ControlFlow::Continue(Answer::Silent);
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    if !receive(&socket, &mut message, deadline, pace)? {
        return ControlFlow::Continue(Answer::Silent);
    }
    ControlFlow::Continue(match read(&message, id, question) {
        Read::Answer(answer) => answer,
        Read::Truncated | Read::Other => Answer::Failed,
    })
}

/// Fills a buffer; false where the connection ends before.
fn receive(socket: &OwnedFd, buffer: &mut [u8], deadline: Instant, pace: &mut Pace<'_>) -> ControlFlow<(), bool> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        if !pace.ready(socket.as_fd(), PollFlags::IN, deadline)? {
            return ControlFlow::Continue(false);
        }
        match recv(socket, rest, RecvFlags::empty()) {
            Ok((0, _)) => return ControlFlow::Continue(false),
            Ok((length, _)) => filled += length,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return ControlFlow::Continue(false),
        }
    }
    ControlFlow::Continue(true)
}

fn packet(id: u16, question: &Question<'_>) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(question.name.clone(), question.kind));
    message.to_vec().ok()
}

fn read(bytes: &[u8], id: u16, question: &Question<'_>) -> Read {
    let [first, second, flags, ..] = *bytes else { return Read::Other };
    let is_response = flags & 0x80 != 0;
    if u16::from_be_bytes([first, second]) != id || !is_response {
        return Read::Other;
    }
    // It may be cut anywhere.
    if flags & 0x02 != 0 {
        return Read::Truncated;
    }
    let Ok(message) = Message::from_vec(bytes) else { return Read::Other };
    let is_asked = |query: &Query| {
        query.name() == question.name && query.query_type() == question.kind && query.query_class() == DNSClass::IN
    };
    if message.queries.len() != 1 || !message.queries.iter().all(is_asked) {
        return Read::Other;
    }
    Read::Answer(match message.metadata.response_code {
        ResponseCode::NoError => addresses(&message, question),
        ResponseCode::NXDomain => Answer::Nothing,
        _ => Answer::Failed,
    })
}

/// The addresses at the end of the chain of aliases that begins with the name asked for; records of other names count for nothing.
fn addresses(message: &Message, question: &Question<'_>) -> Answer {
    let mut owner = question.name;
    for _ in 0..CHAIN_MAX {
        let own = || message.answers.iter().filter(|record| record.name == *owner && record.dns_class == DNSClass::IN);
        let address = |data: &RData| match data {
            RData::A(address) if question.kind == RecordType::A => Some(IpAddr::from(address.0)),
            RData::AAAA(address) if question.kind == RecordType::AAAA => Some(IpAddr::from(address.0).to_canonical()),
            _ => None,
        };
        let found: Vec<IpAddr> = own().filter_map(|record| address(&record.data)).take(ADDRESSES_MAX).collect();
        if !found.is_empty() {
            return Answer::Addresses(found);
        }
        let alias = own().find_map(|record| match &record.data {
            RData::CNAME(alias) => Some(&alias.0),
            _ => None,
        });
        match alias {
            Some(alias) => owner = alias,
            None => break,
        }
    }
    Answer::Nothing
}

#[cfg(test)]
mod tests;
