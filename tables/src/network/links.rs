//! Interfaces and their addresses, as rtnetlink tells them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use super::netlink::{Message, attributes, ip, list, text, u8_at, u32_at, u64_at};

/// What is known of an interface, whoever told it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Link {
    pub name: String,
    pub mac: Option<String>,
    pub flags: Option<u32>,
    pub mtu: Option<u32>,
    pub state: Option<&'static str>,
    pub kind: Option<String>,
    pub counters: Option<Counters>,
}

/// In the kernel's order: packets, bytes, errors and dropped packets, each received and sent.
pub(super) type Counters = [u64; 8];

/// One address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub ip: IpAddr,
    pub prefix: Option<u8>,
}

/// A machine with more is none that anybody could ask about.
pub(super) const ENTRIES_MAX: usize = 100_000;

const GET_LINK: u16 = 18;
const GET_ADDRESS: u16 = 22;
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;
/// What `ip` calls the states of RFC 2863, in the kernel's order.
pub(super) static STATES: [&str; 7] = ["UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP"];

pub(super) const UP: u32 = 0x1;
pub(super) const RUNNING: u32 = 0x40;
pub(super) const LOWER_UP: u32 = 0x1_0000;
pub(super) const DORMANT: u32 = 0x2_0000;

/// In the order in which `ip` prints them.
const FLAGS: [(u32, &str); 18] = [
    (0x8, "LOOPBACK"),
    (0x2, "BROADCAST"),
    (0x10, "POINTOPOINT"),
    (0x1000, "MULTICAST"),
    (0x80, "NOARP"),
    (0x200, "ALLMULTI"),
    (0x100, "PROMISC"),
    (0x400, "MASTER"),
    (0x800, "SLAVE"),
    (0x4, "DEBUG"),
    (0x8000, "DYNAMIC"),
    (0x4000, "AUTOMEDIA"),
    (0x2000, "PORTSEL"),
    (0x20, "NOTRAILERS"),
    (UP, "UP"),
    (LOWER_UP, "LOWER_UP"),
    (DORMANT, "DORMANT"),
    (0x4_0000, "ECHO"),
];

/// Types of interfaces, by the kernel's numbers for their hardware, in the words of `ip`.
const KINDS: [(u32, &str); 21] = [
    (1, "ether"),
    (24, "ieee1394"),
    (32, "infiniband"),
    (256, "slip"),
    (280, "can"),
    (512, "ppp"),
    (513, "hdlc"),
    (519, "rawip"),
    (768, "ipip"),
    (769, "tunnel6"),
    (772, "loopback"),
    (776, "sit"),
    (778, "gre"),
    (801, "ieee802.11"),
    (803, "ieee802.11/radiotap"),
    (804, "ieee802.15.4"),
    (820, "phonet"),
    (823, "gre6"),
    (824, "netlink"),
    (825, "6lowpan"),
    (65534, "none"),
];

/// The words of the flags, separated by commas.
pub(super) fn flag_words(flags: u32) -> String {
    let no_carrier = (flags & UP != 0 && flags & RUNNING == 0).then_some("NO-CARRIER");
    let words = FLAGS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, word)| *word);
    no_carrier.into_iter().chain(words).collect::<Vec<_>>().join(",")
}

pub(super) fn kind_word(number: u32) -> String {
    KINDS.iter().find(|(known, _)| *known == number).map_or_else(|| number.to_string(), |(_, word)| (*word).to_owned())
}

/// A hardware address; `None` for an interface that has none, and writes an address of IP or zeros in its place.
pub(super) fn mac(bytes: &[u8]) -> Option<String> {
    let is_one = matches!(bytes.len(), 6 | 8 | 20) && bytes.iter().any(|byte| *byte != 0);
    let pairs = || bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    is_one.then(|| pairs().join(":"))
}

/// All interfaces by their numbers.
pub(super) fn links() -> io::Result<BTreeMap<u32, Link>> {
    Ok(list(GET_LINK, &[0; LINK_BYTES], ENTRIES_MAX, &|message| link(message))?.into_iter().collect())
}

/// The names of all interfaces by their numbers.
pub(super) fn names() -> io::Result<BTreeMap<u32, String>> {
    /// Without counters, which cost the kernel the most.
    const EXTENT: u16 = 29;
    const WITHOUT_COUNTERS: u32 = 8;
    let mut body = vec![0; LINK_BYTES];
    body.extend(8u16.to_ne_bytes());
    body.extend(EXTENT.to_ne_bytes());
    body.extend(WITHOUT_COUNTERS.to_ne_bytes());
    let name = |message: Message<'_>| link(message).map(|(index, link)| (index, link.name));
    Ok(list(GET_LINK, &body, ENTRIES_MAX, &name)?.into_iter().collect())
}

/// All addresses, each with the number of its interface, in the kernel's order.
pub(super) fn addresses() -> io::Result<Vec<(u32, Address)>> {
    list(GET_ADDRESS, &[0; ADDRESS_BYTES], ENTRIES_MAX, &|message| address(message))
}

fn link(message: Message<'_>) -> Option<(u32, Link)> {
    const NEW_LINK: u16 = 16;
    const HARDWARE_ADDRESS: u16 = 1;
    const NAME: u16 = 3;
    const MTU: u16 = 4;
    const STATE: u16 = 16;
    const COUNTERS: u16 = 23;
    let body = message.body;
    let hardware = super::netlink::u16_at(body, 2).filter(|_| message.kind == NEW_LINK)?;
    let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
    let mut link = Link { flags: Some(flags), kind: Some(kind_word(hardware.into())), ..Link::default() };
    for (number, value) in attributes(body, LINK_BYTES) {
        match number {
            HARDWARE_ADDRESS => link.mac = mac(value),
            NAME => link.name = text(value),
            MTU => link.mtu = u32_at(value, 0),
            STATE => link.state = u8_at(value, 0).and_then(|state| STATES.get(usize::from(state)).copied()),
            COUNTERS => link.counters = counters(value),
            _ => {}
        }
    }
    Some((index, link))
}

fn counters(bytes: &[u8]) -> Option<Counters> {
    let mut counters = Counters::default();
    for (place, counter) in counters.iter_mut().enumerate() {
        *counter = u64_at(bytes, place * 8)?;
    }
    Some(counters)
}

fn address(message: Message<'_>) -> Option<(u32, Address)> {
    const NEW_ADDRESS: u16 = 20;
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let body = message.body;
    let prefix = u8_at(body, 1).filter(|_| message.kind == NEW_ADDRESS);
    let index = u32_at(body, 4).filter(|_| prefix.is_some())?;
    // Between two points the address is the other's, and the local one this machine's.
    let (mut own, mut whole) = (None, None);
    for (number, value) in attributes(body, ADDRESS_BYTES) {
        match number {
            ADDRESS => whole = ip(value),
            LOCAL => own = ip(value),
            _ => {}
        }
    }
    Some((index, Address { ip: own.or(whole)?, prefix }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use proptest::prelude::*;

    use super::super::netlink::Messages;
    use super::*;

    #[test]
    fn words() {
        assert_eq!(flag_words(0x1_0049), "LOOPBACK,UP,LOWER_UP");
        assert_eq!(flag_words(0x1003), "NO-CARRIER,BROADCAST,MULTICAST,UP");
        assert_eq!(flag_words(0), "");
        assert_eq!((kind_word(772), kind_word(9999)), ("loopback".to_owned(), "9999".to_owned()));
        assert_eq!(mac(&[0, 0x16, 0x3e, 1, 2, 0xff]).as_deref(), Some("00:16:3e:01:02:ff"));
        for none in [&[][..], &[0; 6], &[10, 0, 0, 1], &[0xfe; 16]] {
            assert_eq!(mac(none), None, "{none:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_message_is_read_or_left_out(
            kind in prop_oneof![Just(16u16), Just(20), any::<u16>()],
            body in proptest::collection::vec(any::<u8>(), 0..160),
        ) {
            let mut datagram = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
            datagram.extend(kind.to_ne_bytes());
            datagram.extend([0; 10]);
            datagram.extend(&body);
            let message = Messages(&datagram).next().unwrap().unwrap();
            let (link, address) = (link(message), address(message));
            prop_assert_eq!(link.is_some(), kind == 16 && body.len() >= 12);
            prop_assert!(address.is_none() || kind == 20);
        }
    }
}
