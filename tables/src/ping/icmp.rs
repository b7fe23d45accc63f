//! Echo requests by ICMP, and what comes back for them.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto, socket_with,
};

use super::failure::Failure;
use super::pace::Pace;
use super::probe::{Outcome, TIMEOUT};

/// After an unanswered request the next one follows, as `ping` does it; the answer counts when it comes later.
const INTERVAL: Duration = Duration::from_secs(1);
/// What one request carries, as `ping` has it.
const PAYLOAD_BYTES: usize = 56;
/// Longer packets are no answers to ours.
const PACKET_BYTES_MAX: usize = 2048;
/// Packets of others that are passed over between two looks at the clock.
const OTHERS_MAX: usize = 256;

const HEADER_BYTES: usize = 8;
const IPV6_HEADER_BYTES: usize = 40;
const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const V6_UNREACHABLE: u8 = 1;
const V6_TIME_EXCEEDED: u8 = 3;
const V6_ECHO_REQUEST: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;

/// A socket for ICMP, of whichever kind this scan may have.
pub(super) enum Socket<'s> {
    /// It hears all ICMP of this machine.
    Raw(BorrowedFd<'s>),
    /// The kernel sets the identifier and hands over answers to it alone; open to groups that the system names.
    Datagram(OwnedFd),
}

impl<'s> Socket<'s> {
    /// The one that was handed over, or one that everybody may open; `None` where the kernel gives neither.
    pub fn of(raw: Option<&'s OwnedFd>, v6: bool) -> Option<Socket<'s>> {
        if let Some(raw) = raw {
            return Some(Socket::Raw(raw.as_fd()));
        }
        let (family, protocol) =
            if v6 { (AddressFamily::INET6, ipproto::ICMPV6) } else { (AddressFamily::INET, ipproto::ICMP) };
        socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(protocol)).ok().map(Socket::Datagram)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Raw(socket) => *socket,
            Socket::Datagram(socket) => socket.as_fd(),
        }
    }
}

/// By what the answers to one destination's requests are known.
#[derive(Debug, Clone, Copy)]
struct Mark {
    destination: IpAddr,
    /// Of a datagram socket the kernel knows it, and looks at it.
    identifier: Option<u16>,
    payload: [u8; PAYLOAD_BYTES],
}

/// What a packet says of one of our requests.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    sequence: u16,
    failure: Option<Failure>,
}

/// Sends `count` requests; what became of each, in order.
pub(super) fn ping(
    socket: &Socket<'_>,
    destination: IpAddr,
    count: u16,
    pace: &mut Pace<'_>,
) -> ControlFlow<(), Vec<Outcome>> {
    let mark = match mark(socket, destination) {
        Ok(mark) => mark,
        Err(failure) => return ControlFlow::Continue(vec![Err(failure)]),
    };
    let mut requests = Requests { mark, sent: Vec::new(), outcomes: Vec::new() };
    // What came before is not for us, and would only fill the socket's buffer.
    requests.hear(socket);
    for sequence in 1..=count {
        requests.sent.push(pace.before_sending()?);
        let packet = request(&mark, sequence);
        let to = SocketAddr::new(destination, 0);
        let sent = sendto(socket.fd(), &packet, SendFlags::DONTWAIT, &to).map_err(Failure::from);
        requests.outcomes.push(sent.err().map(Err));
        let patience = if sequence == count { TIMEOUT } else { INTERVAL };
        let deadline = Instant::now() + patience;
        while requests.outcomes.iter().any(Option::is_none) && pace.ready(socket.fd(), PollFlags::IN, deadline)? {
            requests.hear(socket);
        }
    }
    let outcome = |outcome: Option<Outcome>| outcome.unwrap_or(Err(Failure::TimedOut));
    ControlFlow::Continue(requests.outcomes.into_iter().map(outcome).collect())
}

fn mark(socket: &Socket<'_>, destination: IpAddr) -> Result<Mark, Failure> {
    let (mut identifier, mut payload) = ([0; 2], [0; PAYLOAD_BYTES]);
    let filled = getrandom::fill(&mut identifier).and_then(|()| getrandom::fill(&mut payload));
    filled.map_err(|error| Failure::Other(error.to_string()))?;
    let identifier = matches!(socket, Socket::Raw(_)).then_some(u16::from_ne_bytes(identifier));
    Ok(Mark { destination, identifier, payload })
}

/// The requests to one destination.
struct Requests {
    mark: Mark,
    sent: Vec<Instant>,
    /// `None` of those that may still be answered.
    outcomes: Vec<Option<Outcome>>,
}

impl Requests {
    /// Reads what has come; a machine on which much else comes is not listened to for ever.
    fn hear(&mut self, socket: &Socket<'_>) {
        let mut buffer = [0_u8; PACKET_BYTES_MAX];
        for _ in 0..OTHERS_MAX {
            let (length, from) = match recvfrom(socket.fd(), &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _, from)) => (length, from.and_then(|from| SocketAddr::try_from(from).ok())),
                Err(Errno::INTR) => continue,
                Err(_) => return,
            };
            let (Some(packet), Some(from)) = (buffer.get(..length), from) else { continue };
            let at = Instant::now();
            let heard = if self.mark.destination.is_ipv4() {
                let message = if matches!(socket, Socket::Raw(_)) {
                    behind_ipv4(packet).map(|(_, rest)| rest)
                } else {
                    Some(packet)
                };
                message.and_then(|message| heard_v4(message, from.ip(), &self.mark))
            } else {
                heard_v6(packet, from.ip(), &self.mark)
            };
            if let Some(heard) = heard {
                self.note(heard, at);
            }
        }
    }

    /// Takes the first word on a request; others about it are late or forged.
    fn note(&mut self, heard: Heard, at: Instant) {
        let Some(index) = usize::from(heard.sequence).checked_sub(1) else { return };
        if let (Some(sent), Some(outcome @ None)) = (self.sent.get(index), self.outcomes.get_mut(index)) {
            *outcome = Some(heard.failure.map_or(Ok(at.saturating_duration_since(*sent)), Err));
        }
    }
}

/// An echo request; of IPv6 the kernel adds the checksum, which covers addresses.
fn request(mark: &Mark, sequence: u16) -> Vec<u8> {
    let is_v4 = mark.destination.is_ipv4();
    let mut packet = vec![if is_v4 { ECHO_REQUEST } else { V6_ECHO_REQUEST }, 0, 0, 0];
    packet.extend(mark.identifier.unwrap_or(0).to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(mark.payload);
    if is_v4 {
        let sum = checksum(&packet).to_be_bytes();
        packet.splice(2..4, sum);
    }
    packet
}

/// The Internet's checksum (RFC 1071); of what holds a right one it is 0.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(u16::from_be_bytes([high, 0])),
        _ => 0,
    };
    let mut sum = bytes.chunks(2).map(word).fold(0_u32, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// An IPv4 packet's header and what follows it.
fn behind_ipv4(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = packet.first()?;
    let length = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && length >= 20).then(|| packet.split_at_checked(length))?
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// The sequence of an echo message that has our mark, as far as it goes.
fn sequence(message: &[u8], mark: &Mark) -> Option<u16> {
    let is_ours = mark.identifier.is_none_or(|identifier| u16_at(message, 4) == Some(identifier));
    is_ours.then(|| u16_at(message, 6))?
}

fn heard_v4(message: &[u8], from: IpAddr, mark: &Mark) -> Option<Heard> {
    let (kind, code) = (*message.first()?, *message.get(1)?);
    if checksum(message) != 0 {
        return None;
    }
    if kind == ECHO_REPLY {
        let is_ours = from == mark.destination && message.get(HEADER_BYTES..)? == mark.payload;
        return is_ours.then(|| sequence(message, mark))?.map(|sequence| Heard { sequence, failure: None });
    }
    let failure = match (kind, code) {
        (UNREACHABLE, 0 | 5 | 6 | 11) => Failure::NetworkUnreachable,
        (UNREACHABLE, 9 | 10 | 13) => Failure::Prohibited,
        (UNREACHABLE, _) => Failure::HostUnreachable,
        (TIME_EXCEEDED, _) => Failure::HopsExceeded,
        _ => return None,
    };
    let (header, request) = behind_ipv4(message.get(HEADER_BYTES..)?)?;
    let to = header.get(16..)?.first_chunk::<4>().copied().map(IpAddr::from)?;
    let is_ours = to == mark.destination && header.get(9) == Some(&1) && request.first() == Some(&ECHO_REQUEST);
    is_ours.then(|| sequence(request, mark))?.map(|sequence| Heard { sequence, failure: Some(failure) })
}

/// The kernel has looked at the checksum already.
fn heard_v6(message: &[u8], from: IpAddr, mark: &Mark) -> Option<Heard> {
    let (kind, code) = (*message.first()?, *message.get(1)?);
    if kind == V6_ECHO_REPLY {
        let is_ours = from == mark.destination && message.get(HEADER_BYTES..)? == mark.payload;
        return is_ours.then(|| sequence(message, mark))?.map(|sequence| Heard { sequence, failure: None });
    }
    let failure = match (kind, code) {
        (V6_UNREACHABLE, 0 | 6) => Failure::NetworkUnreachable,
        (V6_UNREACHABLE, 1 | 5) => Failure::Prohibited,
        (V6_UNREACHABLE, _) => Failure::HostUnreachable,
        (V6_TIME_EXCEEDED, _) => Failure::HopsExceeded,
        _ => return None,
    };
    let (header, request) = message.get(HEADER_BYTES..)?.split_at_checked(IPV6_HEADER_BYTES)?;
    let to = header.get(24..)?.first_chunk::<16>().copied().map(IpAddr::from)?;
    let is_ours = to == mark.destination && header.get(6) == Some(&58) && request.first() == Some(&V6_ECHO_REQUEST);
    is_ours.then(|| sequence(request, mark))?.map(|sequence| Heard { sequence, failure: Some(failure) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark_of(destination: &str) -> Mark {
        Mark { destination: destination.parse().unwrap(), identifier: Some(0x1234), payload: [7; PAYLOAD_BYTES] }
    }

    fn summed(mut message: Vec<u8>) -> Vec<u8> {
        message[2..4].copy_from_slice(&[0, 0]);
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        message
    }

    /// A message about a request: its kind and code, and the packet that the request was, cut after eight bytes as routers do.
    fn about(mark: &Mark, kind: u8, code: u8, to: IpAddr) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        match to {
            IpAddr::V4(to) => {
                let mut header = vec![0; 20];
                (header[0], header[9]) = (0x45, 1);
                header[16..].copy_from_slice(&to.octets());
                message.extend(header);
            }
            IpAddr::V6(to) => {
                let mut header = vec![0; 40];
                (header[0], header[6]) = (0x60, 58);
                header[24..].copy_from_slice(&to.octets());
                message.extend(header);
            }
        }
        message.extend(request(mark, 3).into_iter().take(8));
        summed(message)
    }

    #[test]
    fn checksums() {
        // The example of RFC 1071.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), 0x00ff);
        assert_eq!(checksum(&request(&mark_of("10.0.0.1"), 1)), 0);
        assert_eq!(checksum(&[]), 0xffff);
    }

    #[test]
    fn replies_are_ours_or_nobodys() {
        let mark = mark_of("10.0.0.1");
        let mut reply = request(&mark, 2);
        reply[0] = ECHO_REPLY;
        let reply = summed(reply);
        let heard = |message: &[u8]| heard_v4(message, mark.destination, &mark);
        assert_eq!(heard(&reply), Some(Heard { sequence: 2, failure: None }));
        assert_eq!(heard_v4(&reply, "10.0.0.2".parse().unwrap(), &mark), None, "from somebody else");
        assert_eq!(heard(&request(&mark, 2)), None, "the request itself, which loopback shows");
        for at in [1, 4, 5, 8, 63] {
            let mut other = reply.clone();
            other[at] ^= 1;
            assert_eq!(heard(&other), None, "a wrong checksum, {at}");
            // A code means nothing of an answer.
            assert_eq!(heard(&summed(other)).is_some(), at == 1, "{at}");
        }
        assert_eq!(heard(&summed(reply[..63].to_vec())), None, "cut");
        let mark = mark_of("::1");
        let mut reply = request(&mark, 2);
        reply[0] = V6_ECHO_REPLY;
        assert_eq!(heard_v6(&reply, mark.destination, &mark), Some(Heard { sequence: 2, failure: None }));
        assert_eq!(heard_v6(&reply, "::2".parse().unwrap(), &mark), None);
        assert_eq!(heard_v6(&request(&mark, 2), mark.destination, &mark), None);
    }

    #[test]
    fn errors_about_our_requests() {
        let (v4, v6) = (mark_of("10.0.0.1"), mark_of("fd00::1"));
        let router = "10.9.9.9".parse().unwrap();
        for (kind, code, failure) in [
            (3, 0, Some(Failure::NetworkUnreachable)),
            (3, 1, Some(Failure::HostUnreachable)),
            (3, 13, Some(Failure::Prohibited)),
            (11, 0, Some(Failure::HopsExceeded)),
            (5, 0, None),
        ] {
            let expected = failure.map(|failure| Heard { sequence: 3, failure: Some(failure) });
            assert_eq!(heard_v4(&about(&v4, kind, code, v4.destination), router, &v4), expected, "{kind} {code}");
            let others = about(&v4, kind, code, "10.0.0.2".parse().unwrap());
            assert_eq!(heard_v4(&others, router, &v4), None);
            let other = Mark { identifier: Some(1), ..v4 };
            assert_eq!(heard_v4(&about(&other, kind, code, v4.destination), router, &v4), None);
        }
        for (kind, code, failure) in [
            (1, 0, Some(Failure::NetworkUnreachable)),
            (1, 1, Some(Failure::Prohibited)),
            (1, 3, Some(Failure::HostUnreachable)),
            (3, 0, Some(Failure::HopsExceeded)),
            (2, 0, None),
        ] {
            let expected = failure.map(|failure| Heard { sequence: 3, failure: Some(failure) });
            assert_eq!(heard_v6(&about(&v6, kind, code, v6.destination), router, &v6), expected, "{kind} {code}");
            assert_eq!(heard_v6(&about(&v6, kind, code, "fd00::2".parse().unwrap()), router, &v6), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_bytes_are_no_answer(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0_usize..64, byte: u8) {
            for mark in [mark_of("10.0.0.1"), mark_of("::1")] {
                let message = behind_ipv4(&bytes).map_or(&bytes[..], |(_, rest)| rest);
                prop_assert_eq!(heard_v4(message, mark.destination, &mark), None);
                prop_assert_eq!(heard_v6(&bytes, mark.destination, &mark), None);
                let mut changed = about(&mark, 3, 1, mark.destination);
                changed.truncate(at.max(1));
                changed[at / 2] = byte;
                let _ = (heard_v4(&changed, mark.destination, &mark), heard_v6(&changed, mark.destination, &mark));
            }
        }
    }
}
