//! What `ping` says of servers of this machine's own, and of nobody there.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use canvass_protocol::filter::{Filter, Is, Pattern};
use canvass_protocol::limits::{Cut, Limits};
use canvass_protocol::scan::Scan;
use canvass_protocol::value::Value;
use canvass_tables::engine::{self, Request, ScanError};
use canvass_tables::frame;
use canvass_tables::host::{Host, HostSpec};
use canvass_tables::module::{NO_SOCKETS, Sockets};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use crate::rows::fleet;

const COLUMNS: &str = "destination protocol port count resolved_ip reachable replies error";

fn text(column: &str, value: &str) -> Filter {
    Filter::test(column, Is::Equal(Value::Text(value.to_owned())))
}

fn any_of(column: &str, values: &[&str]) -> Filter {
    Filter::test(column, Is::In(values.iter().map(|value| Value::Text((*value).to_owned())).collect()))
}

fn number(column: &str, value: impl Into<i64>) -> Filter {
    Filter::test(column, Is::Equal(Value::Integer(value.into())))
}

/// What a scan said: rows as lines, troubles, and what cut it.
type Told = (Vec<String>, Vec<String>, Option<Cut>);

fn try_ask(
    spec: &HostSpec,
    columns: &str,
    filter: Filter,
    limits: Limits,
    sockets: &Sockets,
) -> Result<Told, ScanError> {
    let columns: Vec<String> = columns.split_whitespace().map(str::to_owned).collect();
    let schema = Arc::new(canvass_tables::find("ping").unwrap().schema(&columns));
    let scan = Scan { table: "ping".to_owned(), columns, filter: Some(filter), ..Scan::default() };
    let (host, stop) = (Host::open(spec).unwrap(), AtomicBool::new(false));
    let request = Request {
        host: &host,
        scan: &scan,
        limits,
        withheld: &[],
        forbidden: &[],
        threads: NonZeroUsize::MIN,
        sockets,
        stop: &stop,
    };
    let mut rows = Vec::new();
    let record = engine::run(&request, &mut |_, bytes| {
        let batch = frame::decode(&bytes, &schema).unwrap();
        let options = FormatOptions::new().with_null("NULL");
        let cells = |row: usize| {
            let cell = |column| ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string();
            batch.columns().iter().map(|column| cell(column)).collect::<Vec<_>>().join(" | ")
        };
        rows.extend((0..batch.num_rows()).map(cells));
        Ok(())
    })?;
    Ok((rows, record.troubles.into_iter().map(|trouble| trouble.reason).collect(), record.cut))
}

fn ask(parts: Vec<Filter>, sockets: &Sockets) -> (Vec<String>, Vec<String>) {
    let told = try_ask(&HostSpec::Machine, COLUMNS, Filter::All(parts), Limits::default(), sockets).unwrap();
    assert_eq!(told.2, None);
    (told.0, told.1)
}

/// Rows of a question that troubles nobody.
fn rows(parts: Vec<Filter>, sockets: &Sockets) -> Vec<String> {
    let (rows, troubles) = ask(parts, sockets);
    assert!(troubles.is_empty(), "{troubles:?}");
    rows
}

/// What an agent hands over; opening it takes root, or `CAP_NET_RAW`.
fn raw() -> Sockets {
    let open = |family, protocol| {
        socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))
            .expect("raw sockets have to be opened for this test: run it as root or with CAP_NET_RAW")
    };
    Sockets {
        icmp: Some(open(AddressFamily::INET, ipproto::ICMP)),
        icmp_v6: Some(open(AddressFamily::INET6, ipproto::ICMPV6)),
    }
}

/// A port of an address where nobody listens for as long as the socket lives, which takes it from all others.
fn nobody(ip: &str) -> (UdpSocket, Unheard) {
    let ip: IpAddr = ip.parse().unwrap();
    let udp = UdpSocket::bind((ip, 0)).unwrap();
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let tcp = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&tcp, &SocketAddr::new(ip, 0)).unwrap();
    (udp, Unheard(tcp))
}

/// Bound, and not listening: a connection to it is refused, and no other program is given the port.
struct Unheard(std::os::fd::OwnedFd);

impl Unheard {
    fn port(&self) -> u16 {
        SocketAddr::try_from(rustix::net::getsockname(&self.0).unwrap()).unwrap().port()
    }
}

#[test]
fn connections_by_tcp() {
    for ip in ["127.0.0.1", "::1"] {
        let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = |port: u16| vec![text("destination", ip), text("protocol", "tcp"), number("port", port)];
        assert_eq!(rows(asked(port), &NO_SOCKETS), [format!("{ip} | tcp | {port} | 1 | {ip} | true | 1 | NULL")]);
        let (mut first, _) = listener.accept().unwrap();
        assert_eq!(first.read(&mut [0; 9]).unwrap(), 0, "nothing is said, and the connection ends");
        let mut thrice = asked(port);
        thrice.push(number("count", 3));
        assert_eq!(rows(thrice, &NO_SOCKETS), [format!("{ip} | tcp | {port} | 3 | {ip} | true | 3 | NULL")]);
        let (_, free) = nobody(ip);
        let port = free.port();
        let refused = format!("{ip} | tcp | {port} | 1 | {ip} | false | 0 | connection refused");
        assert_eq!(rows(asked(port), &NO_SOCKETS), [refused]);
    }
}

#[test]
fn datagrams_by_udp() {
    for ip in ["127.0.0.1", "::1"] {
        let server = UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let asked = |port: u16| vec![text("destination", ip), text("protocol", "udp"), number("port", port)];
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&[], from).unwrap();
            (server, buffer[..length].to_vec())
        });
        assert_eq!(rows(asked(port), &NO_SOCKETS), [format!("{ip} | udp | {port} | 1 | {ip} | true | 1 | NULL")]);
        let (server, sent) = thread.join().unwrap();
        assert_eq!(sent, b"canvass ping\n");
        // It takes the next datagram and says nothing, which says nothing.
        assert_eq!(rows(asked(port), &NO_SOCKETS), [format!("{ip} | udp | {port} | 1 | {ip} | NULL | 0 | no reply")]);
        drop(server);
        // A port of the other protocol is free with this one, for as long as nobody is given it.
        let refused = format!("{ip} | udp | 1 | 1 | {ip} | false | 0 | connection refused");
        assert_eq!(rows(asked(1), &NO_SOCKETS), [refused]);
    }
}

#[test]
fn echo_requests() {
    let sockets = raw();
    let both = vec![any_of("destination", &["127.0.0.1", "::1"]), text("protocol", "icmp")];
    let expected = |count: u16| {
        ["127.0.0.1", "::1"].map(|ip| format!("{ip} | icmp | NULL | {count} | {ip} | true | {count} | NULL"))
    };
    assert_eq!(rows(both.clone(), &sockets), expected(3));
    let counted = both.into_iter().chain([number("count", 10)]).collect();
    assert_eq!(rows(counted, &sockets), expected(10));
    let parts = vec![text("destination", "127.0.0.1"), text("protocol", "icmp")];
    let (latency, ..) =
        try_ask(&HostSpec::Machine, "latency_ms", Filter::All(parts), Limits::default(), &sockets).unwrap();
    let latency: f64 = latency[0].parse().unwrap();
    assert!(latency > 0.0, "{latency}");
}

#[test]
fn several_at_once_do_not_hear_each_other() {
    std::thread::scope(|scope| {
        for last in 1..9 {
            scope.spawn(move || {
                let ip = format!("127.0.0.{last}");
                let asked = vec![text("destination", &ip), text("protocol", "icmp")];
                assert_eq!(rows(asked, &raw()), [format!("{ip} | icmp | NULL | 3 | {ip} | true | 3 | NULL")]);
            });
        }
    });
}

#[test]
fn not_reachable_is_a_row() {
    let (_, free) = nobody("127.0.0.1");
    let port = free.port();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.local_addr().unwrap().port();
    let ports = Filter::test("port", Is::In(vec![Value::Integer(port.into()), Value::Integer(other.into())]));
    let reachable = Filter::test("reachable", Is::Equal(Value::Boolean(true)));
    let parts = vec![text("destination", "127.0.0.1"), ports, Filter::Not(Box::new(reachable))];
    let expected = format!("127.0.0.1 | tcp | {port} | 1 | 127.0.0.1 | false | 0 | connection refused");
    assert_eq!(rows(parts, &NO_SOCKETS), [expected]);
}

#[test]
fn names_are_those_of_hosts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = vec![text("destination", "localhost"), number("port", port)];
    assert_eq!(rows(asked, &NO_SOCKETS), [format!("localhost | tcp | {port} | 1 | 127.0.0.1 | true | 1 | NULL")]);
    // No server is asked for what can be no name.
    let asked = vec![text("destination", "a..b"), text("protocol", "icmp")];
    assert_eq!(rows(asked, &NO_SOCKETS), ["a..b | icmp | NULL | 3 | NULL | false | 0 | no such host"]);
}

#[test]
fn nothing_is_sent_to_many() {
    for ip in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"] {
        let asked = vec![text("destination", ip), text("protocol", "icmp")];
        let expected = format!("{ip} | icmp | NULL | 3 | {ip} | NULL | 0 | not the address of one host");
        assert_eq!(rows(asked, &NO_SOCKETS), [expected]);
    }
}

#[test]
fn without_sockets_for_icmp() {
    let parts = vec![text("destination", "127.0.0.1"), text("protocol", "icmp")];
    let told = ask(parts, &NO_SOCKETS);
    // Some systems let every group send echo requests (`net.ipv4.ping_group_range`).
    let refused = "127.0.0.1 | icmp | NULL | 3 | 127.0.0.1 | NULL | 0 | no permission to send ICMP".to_owned();
    let sent = "127.0.0.1 | icmp | NULL | 3 | 127.0.0.1 | true | 3 | NULL".to_owned();
    let may = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(ipproto::ICMP)).is_ok();
    let expected = match may {
        true => (vec![sent], Vec::new()),
        false => (vec![refused], vec!["no permission to send ICMP".to_owned()]),
    };
    assert_eq!(told, expected);
}

#[test]
fn what_is_missing_is_refused_or_said() {
    let unbounded = |filter| match try_ask(&HostSpec::Machine, COLUMNS, filter, Limits::default(), &NO_SOCKETS) {
        Err(ScanError::Unbounded { missing, .. }) => missing,
        other => panic!("{other:?}"),
    };
    let port = "`port` (unless `protocol` = 'icmp')";
    assert_eq!(unbounded(text("protocol", "icmp")), "`destination`");
    assert_eq!(unbounded(number("count", 1)), format!("`destination` and {port}"));
    assert_eq!(unbounded(Filter::All(vec![text("destination", "a"), text("protocol", "tcp")])), port);
    let pattern = Pattern { pattern: "127.%".to_owned(), ignore_case: false };
    let like = Filter::test("destination", Is::Like(pattern));
    assert_eq!(unbounded(Filter::All(vec![like, text("protocol", "icmp")])), "`destination`");
}

#[test]
fn a_limit_ends_the_waiting() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let parts = vec![
        text("destination", "127.0.0.1"),
        text("protocol", "udp"),
        number("port", port),
        Filter::test("count", Is::In((1..=10).map(Value::Integer).collect())),
    ];
    let limits = Limits { time_ms: 1, ..Limits::default() };
    let told = try_ask(&HostSpec::Machine, COLUMNS, Filter::All(parts), limits, &NO_SOCKETS).unwrap();
    assert_eq!(told, (Vec::new(), Vec::new(), Some(Cut::Time)));
}

#[test]
fn nothing_is_sent_where_nobody_wants_to_know() {
    let (udp, _) = nobody("127.0.0.1");
    let port = udp.local_addr().unwrap().port();
    let parts = vec![text("destination", "127.0.0.1"), text("protocol", "udp"), number("port", port)];
    let told = try_ask(
        &HostSpec::Machine,
        "destination protocol port count",
        Filter::All(parts),
        Limits::default(),
        &NO_SOCKETS,
    );
    assert_eq!(told.unwrap().0, [format!("127.0.0.1 | udp | {port} | 1")]);
    udp.set_nonblocking(true).unwrap();
    assert!(udp.recv(&mut [0; 64]).is_err(), "something was sent");
}

#[test]
fn a_folder_reaches_nobody() {
    let parts = vec![text("destination", "127.0.0.1"), text("protocol", "icmp")];
    let told = try_ask(&fleet("web-1"), COLUMNS, Filter::All(parts), Limits::default(), &NO_SOCKETS).unwrap();
    let reason = "`ping` reads the running system, which a folder of fixtures is not".to_owned();
    assert_eq!(told, (Vec::new(), vec![reason], None));
}
