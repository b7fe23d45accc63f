//! Table `interfaces`: the interfaces of a host and their addresses, as `ip address` lists them.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::link_files;
use super::links::{self, Address, Link, STATES, flag_words};
use crate::column::{Cell, Column, Form, Kind};
use crate::engine::Collector;
use crate::table::{Declared, TableInfo};

/// An address of an interface, or an interface without one.
#[derive(Default)]
pub struct Interface {
    /// Unknown where files tell of an address and not whose it is.
    link: Option<Rc<Link>>,
    address: Option<Address>,
}

impl Interface {
    fn of<'a, T: Into<Cell<'a>>>(&'a self, get: impl Fn(&'a Link) -> Option<T>) -> Cell<'a> {
        self.link.as_deref().and_then(get).into()
    }

    fn counter(&self, place: usize) -> Cell<'_> {
        self.of(|link| link.counters?.get(place).copied())
    }
}

pub static INTERFACES: Declared<Interface> = Declared {
    info: TableInfo {
        name: "interfaces",
        module: super::MODULE,
        about: "Network interfaces, one row an address, and one row for an interface without any",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, name, ip, prefix, mac FROM interfaces WHERE flags LIKE '%PROMISC%'",
    },
    columns: &[
        Column::field("name", Kind::Text, "Name of the interface", |i| i.of(|link| Some(link.name.as_str()))),
        Column::field(
            "mac",
            Kind::Text,
            "Hardware address in lower case, pairs of digits separated by colons; NULL without one",
            |i| i.of(|link| link.mac.as_deref()),
        ),
        Column::<Interface>::field("ip", Kind::Text, "Address; NULL where the interface has none", |i| {
            i.address.map(|address| address.ip.to_string()).into()
        })
        .form(Form::Ip),
        Column::field("prefix", Kind::Integer, "Length of the network's prefix, in bits", |i| {
            i.address.and_then(|address| address.prefix).map(u32::from).into()
        }),
        Column::field(
            "flags",
            Kind::Text,
            "Flags in ip's words and order, separated by commas: UP (set up), LOWER_UP (cable in), PROMISC …",
            |i| i.of(|link| link.flags.map(flag_words)),
        ),
        Column::field("mtu", Kind::Integer, "Largest packet, in bytes", |i| i.of(|link| link.mtu)),
        Column::<Interface>::field("state", Kind::Text, "State of operation in ip's words", |i| {
            i.of(|link| link.state)
        })
        .values(&STATES),
        Column::field("type", Kind::Text, "Kind of hardware in ip's words: ether, loopback, none …", |i| {
            i.of(|link| link.kind.as_deref())
        }),
        Column::<Interface>::field("rx_bytes", Kind::Integer, "Bytes received since it was made", |i| i.counter(2))
            .form(Form::Bytes),
        Column::<Interface>::field("tx_bytes", Kind::Integer, "Bytes sent since it was made", |i| i.counter(3))
            .form(Form::Bytes),
        Column::field("rx_packets", Kind::Integer, "Packets received", |i| i.counter(0)),
        Column::field("tx_packets", Kind::Integer, "Packets sent", |i| i.counter(1)),
        Column::field("rx_errors", Kind::Integer, "Packets received with an error", |i| i.counter(4)),
        Column::field("tx_errors", Kind::Integer, "Packets that could not be sent", |i| i.counter(5)),
        Column::field("rx_dropped", Kind::Integer, "Packets received and dropped", |i| i.counter(6)),
        Column::field("tx_dropped", Kind::Integer, "Packets dropped instead of being sent", |i| i.counter(7)),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, Interface>) -> ControlFlow<()> {
    if collector.host.is_live()
        && let Ok((links, mut addresses)) = asked()
    {
        for (index, link) in links {
            rows(collector, link, addresses.remove(&index).unwrap_or_default())?;
        }
        return ControlFlow::Continue(());
    }
    let host = collector.host;
    let found = link_files::read(host, &mut |path, reason| collector.trouble(Some(path), reason));
    for (link, addresses) in found.links {
        rows(collector, link, addresses)?;
    }
    found.homeless.into_iter().try_for_each(|address| collector.row(Interface { link: None, address: Some(address) }))
}

/// Links and their addresses, by the link's number.
type Told = (BTreeMap<u32, Link>, BTreeMap<u32, Vec<Address>>);

/// What the kernel tells over netlink.
fn asked() -> io::Result<Told> {
    let links = links::links()?;
    let mut addresses: BTreeMap<u32, Vec<Address>> = BTreeMap::new();
    for (index, address) in links::addresses()? {
        addresses.entry(index).or_default().push(address);
    }
    Ok((links, addresses))
}

fn rows(collector: &mut Collector<'_, Interface>, link: Link, addresses: Vec<Address>) -> ControlFlow<()> {
    let link = Rc::new(link);
    if addresses.is_empty() {
        return collector.row(Interface { link: Some(link), address: None });
    }
    let row = |address| Interface { link: Some(Rc::clone(&link)), address: Some(address) };
    addresses.into_iter().map(row).try_for_each(|row| collector.row(row))
}
