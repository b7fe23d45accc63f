//! Sockets as the kernel lists them over netlink (`sock_diag`), which costs it less than the files of `/proc/net` do.

use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;

use super::netlink::{Message, Service, attributes, dump, ip, u8_at, u32_at};
use super::sockets::{LISTEN, List, Socket, state};

const BY_FAMILY: u16 = 20;
const UNIX: u8 = 1;
const INET: u8 = 2;
const INET6: u8 = 10;

/// Whether a list can be asked for; of raw sockets few kernels can be.
pub(super) fn knows(list: List) -> bool {
    list.protocol != "raw"
}

/// Asks for one list; an error where the kernel does not tell it.
pub(super) fn ask(list: List, take: &mut dyn FnMut(Socket) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
    let question = match list.protocol {
        "unix" => unix_question(),
        "tcp" => inet_question(list, 6),
        _ => inet_question(list, 17),
    };
    let told = dump(Service::Sockets, BY_FAMILY, &question, &mut |message| {
        let socket = if list.protocol == "unix" { unix(message) } else { inet(message, list.protocol) };
        socket.map_or(ControlFlow::Continue(()), &mut *take)
    })?;
    Ok(told.flow)
}

/// Family, protocol, two bytes of nothing, the states as bits, and an address that is not looked at.
fn inet_question(list: List, protocol: u8) -> Vec<u8> {
    /// Those that the files list too: not sockets that have a port and nothing else.
    const STATES: u32 = 0x1ffe;
    const ADDRESS_BYTES: usize = 48;
    let mut bytes = vec![if list.file.ends_with('6') { INET6 } else { INET }, protocol, 0, 0];
    bytes.extend(STATES.to_ne_bytes());
    bytes.resize(bytes.len() + ADDRESS_BYTES, 0);
    bytes
}

/// Family, three bytes of nothing, the states as bits, no inode, what is to be shown, and no cookie.
fn unix_question() -> Vec<u8> {
    const NAME: u32 = 0x1;
    const QUEUES: u32 = 0x10;
    const USER: u32 = 0x40;
    let mut bytes = vec![UNIX, 0, 0, 0];
    for word in [u32::MAX, 0, NAME | QUEUES | USER, 0, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

/// Reads a `struct inet_diag_msg`.
fn inet(message: Message<'_>, protocol: &'static str) -> Option<Socket> {
    let body = message.body;
    let bytes = match u8_at(body, 0).filter(|_| message.kind == BY_FAMILY)? {
        INET => 4,
        INET6 => 16,
        _ => return None,
    };
    let address = |at: usize| ip(body.get(at..at + bytes)?).map(|ip| ip.to_canonical());
    let port = |at: usize| Some(u16::from_be_bytes([u8_at(body, at)?, u8_at(body, at + 1)?]));
    let local: (IpAddr, u16) = (address(8)?, port(4)?);
    let remote = (address(24)?, port(6)?);
    let state = state(u8_at(body, 1)?)?;
    let (received, sent) = (u32_at(body, 56)?, u32_at(body, 60)?);
    let (uid, inode) = (u32_at(body, 64)?, u32_at(body, 68)?);
    Some(Socket {
        protocol,
        local: Some(local),
        remote: (remote.1 != 0 || !remote.0.is_unspecified()).then_some(remote),
        state,
        // Without an inode the kernel tells 0 for a user that it no longer knows.
        uid: (inode != 0).then_some(uid),
        inode: (inode != 0).then_some(inode.into()),
        queues: (state != LISTEN).then_some((received, sent)),
        ..Socket::default()
    })
}

/// Reads a `struct unix_diag_msg` and its attributes.
fn unix(message: Message<'_>) -> Option<Socket> {
    const BODY_BYTES: usize = 16;
    const NAME: u16 = 0;
    const QUEUES: u16 = 4;
    const USER: u16 = 7;
    let body = message.body;
    let family = u8_at(body, 0).filter(|_| message.kind == BY_FAMILY)?;
    let state = state(u8_at(body, 2).filter(|_| family == UNIX)?)?;
    let inode = u32_at(body, 4)?;
    let mut socket =
        Socket { protocol: "unix", state, inode: (inode != 0).then_some(inode.into()), ..Socket::default() };
    for (number, value) in attributes(body, BODY_BYTES) {
        match number {
            NAME => socket.local_path = path(value),
            QUEUES if state != LISTEN => socket.queues = u32_at(value, 0).zip(u32_at(value, 4)),
            USER => socket.uid = u32_at(value, 0),
            _ => {}
        }
    }
    Some(socket)
}

/// The name of a socket: a path that ends at a zero byte, or an abstract name, which begins with one and may hold more; `@`
/// stands for each, as in `/proc/net/unix`.
fn path(name: &[u8]) -> Option<String> {
    match name {
        [] => None,
        [0, ..] => Some(String::from_utf8_lossy(name).replace('\0', "@")),
        name => Some(super::netlink::text(name)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use proptest::prelude::*;

    use super::super::netlink::Messages;
    use super::*;

    fn datagram(body: &[u8]) -> Vec<u8> {
        let mut datagram = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        datagram.extend(BY_FAMILY.to_ne_bytes());
        datagram.extend([0; 10]);
        datagram.extend(body);
        datagram
    }

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let mut body = vec![INET6, 1, 0, 0, 0x0c, 0xea, 0xc7, 0x4e];
        let mapped = |last: u8| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last];
        body.extend(mapped(1));
        body.extend(mapped(2));
        body.resize(56, 0);
        for word in [5u32, 7, 27, 23001] {
            body.extend(word.to_ne_bytes());
        }
        let datagram = datagram(&body);
        let socket = inet(Messages(&datagram).next().unwrap().unwrap(), "tcp").unwrap();
        assert_eq!(socket.local, Some(("10.0.0.1".parse().unwrap(), 3306)));
        assert_eq!(socket.remote, Some(("10.0.0.2".parse().unwrap(), 51022)));
        assert_eq!((socket.state, socket.queues), ("ESTABLISHED", Some((5, 7))));
        assert_eq!((socket.uid, socket.inode), (Some(27), Some(23001)));
    }

    #[test]
    fn names_of_sockets() {
        assert_eq!(path(b""), None);
        assert_eq!(path(b"/run/x\0").as_deref(), Some("/run/x"));
        assert_eq!(path(b"\0a\0b").as_deref(), Some("@a@b"));
        assert_eq!(path(b"\xff/x").as_deref(), Some("\u{fffd}/x"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_message_is_read_or_left_out(
            mut body in proptest::collection::vec(any::<u8>(), 0..120),
            family in prop_oneof![Just(UNIX), Just(INET), Just(INET6)],
        ) {
            if let Some(first) = body.first_mut() {
                *first = family;
            }
            let datagram = datagram(&body);
            let message = Messages(&datagram).next().unwrap().unwrap();
            prop_assert!(inet(message, "tcp").is_none() || family != UNIX && body.len() >= 72);
            prop_assert!(unix(message).is_none() || family == UNIX && body.len() >= 8);
        }
    }
}
