//! What the tables of the network say of this machine, against `ip` and `ss`, and against the files of `/proc/net`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::value::Value;
use canvass_tables::host::HostSpec;
use serde_json::Value as Json;

use crate::rows::{ask, folder};

const MACHINE: HostSpec = HostSpec::Machine;
const ATTEMPTS: usize = 50;

/// Runs a tool of this machine, which must be there: a comparison that is skipped shows nothing.
fn tool(package: &str, command: &str) -> String {
    let mut words = command.split_whitespace();
    let name = words.next().unwrap();
    let output = Command::new(name)
        .args(words)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("cannot run `{name}` ({error}): install the package `{package}`"));
    assert!(output.status.success(), "`{command}` of the package `{package}` failed: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ip(arguments: &str) -> Vec<Json> {
    let text = tool("iproute2", &format!("ip -j {arguments}"));
    serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text }).unwrap()
}

/// A member as the table shows it.
fn shown(object: &Json, member: &str) -> String {
    match &object[member] {
        Json::Null => "NULL".to_owned(),
        Json::String(text) => text.clone(),
        Json::Array(words) => words.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn rows(table: &str, columns: &str) -> Vec<String> {
    let (rows, record) = ask(&MACHINE, table, columns, None);
    assert_eq!(record.troubles_count, 0, "{:?}", record.troubles);
    rows.iter().map(|row| row.join(" | ")).collect()
}

/// Compares what both say, as soon as the tool says the same before and after.
fn compare(theirs: impl Fn() -> Vec<String>, ours: impl Fn() -> Vec<String>) -> usize {
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let (before, told, after) = (sorted(theirs()), sorted(ours()), sorted(theirs()));
        if before == after && told == before {
            return told.len();
        }
        last = Some((before, told));
    }
    let (theirs, ours) = last.unwrap();
    assert_eq!(ours, theirs);
    panic!("what the tool says does not stand still");
}

#[test]
fn interfaces_are_those_of_ip() {
    let theirs = || {
        let mut lines = Vec::new();
        for link in ip("addr") {
            let mac = Some(shown(&link, "address")).filter(|mac| mac.len() == 17 && mac != "00:00:00:00:00:00");
            let end = ["flags", "mtu", "operstate", "link_type"].map(|member| shown(&link, member)).join(" | ");
            let mut line = |ip: &str, prefix: &str| {
                let mac = mac.as_deref().unwrap_or("NULL");
                lines.push(format!("{} | {mac} | {ip} | {prefix} | {end}", shown(&link, "ifname")));
            };
            let addresses = link["addr_info"].as_array().unwrap();
            addresses.iter().for_each(|address| line(&shown(address, "local"), &shown(address, "prefixlen")));
            if addresses.is_empty() {
                line("NULL", "NULL");
            }
        }
        lines
    };
    let told = compare(theirs, || rows("interfaces", "name mac ip prefix flags mtu state type"));
    assert!(told > 1, "only {told} rows");
}

#[test]
fn counters_lie_between_those_of_ip() {
    const MEMBERS: [&str; 4] = ["bytes", "packets", "errors", "dropped"];
    let counters = || {
        let of = |link: &Json| {
            let number = |way: &str, member: &str| link["stats64"][way][member].as_u64().unwrap();
            let numbers: Vec<u64> =
                ["rx", "tx"].iter().flat_map(|way| MEMBERS.map(|member| number(way, member))).collect();
            (shown(link, "ifname"), numbers)
        };
        ip("-s link").iter().map(of).collect::<Vec<_>>()
    };
    let columns = "name rx_bytes rx_packets rx_errors rx_dropped tx_bytes tx_packets tx_errors tx_dropped";
    let before = counters();
    let (rows, _) = ask(&MACHINE, "interfaces", columns, None);
    let after = counters();
    assert!(rows.iter().any(|row| row[1] != "0"), "{rows:?}");
    for row in rows {
        let find = |all: &[(String, Vec<u64>)]| all.iter().find(|(name, _)| *name == row[0]).cloned();
        let (Some((_, before)), Some((_, after))) = (find(&before), find(&after)) else { continue };
        for (place, cell) in row[1..].iter().enumerate() {
            let told: u64 = cell.parse().unwrap();
            assert!((before[place]..=after[place]).contains(&told), "{row:?}: {before:?} {after:?}");
        }
    }
}

#[test]
fn neighbors_are_those_of_ip() {
    let line = |neighbor: &Json| ["dst", "lladdr", "dev", "state"].map(|member| shown(neighbor, member)).join(" | ");
    let theirs = || ip("neigh").iter().map(line).collect();
    compare(theirs, || rows("neighbors", "ip mac interface state"));
}

/// The rows of a route of `ip`, one a way; what it leaves out is what goes without saying.
fn ways(route: &Json, v4: bool) -> Vec<String> {
    let word = |member: &str, otherwise: &str| {
        Some(shown(route, member)).filter(|word| word != "NULL").unwrap_or_else(|| otherwise.to_owned())
    };
    let destination = match (shown(route, "dst"), v4) {
        (word, true) if word == "default" => "0.0.0.0/0".to_owned(),
        (word, false) if word == "default" => "::/0".to_owned(),
        (network, _) if network.contains('/') => network,
        (address, v4) => format!("{address}/{}", if v4 { 32 } else { 128 }),
    };
    let end = format!(
        "{} | {} | {} | {} | {} | {}",
        shown(route, "prefsrc"),
        word("metric", "0"),
        word("table", "main"),
        word("protocol", "boot"),
        word("scope", "global"),
        word("type", "unicast"),
    );
    let way = |way: &Json| {
        let gateway = Some(shown(way, "gateway")).filter(|gateway| gateway != "NULL");
        let gateway = gateway.unwrap_or_else(|| shown(&way["via"], "host"));
        format!("{destination} | {gateway} | {} | {end}", shown(way, "dev"))
    };
    match route["nexthops"].as_array() {
        Some(several) => several.iter().map(way).collect(),
        None => vec![way(route)],
    }
}

#[test]
fn routes_are_those_of_ip() {
    let theirs = || {
        let of = |family: &str| ip(&format!("-d {family} route show table all"));
        let four = of("-4").into_iter().flat_map(|route| ways(&route, true));
        four.chain(of("-6").into_iter().flat_map(|route| ways(&route, false))).collect()
    };
    let columns = "destination gateway_ip interface source_ip metric table protocol scope type";
    compare(theirs, || rows("routes", columns));
}

/// The comparisons with `ip` once more, where there is more to compare.
#[test]
fn a_network_with_everything_is_told_as_ip_does() {
    const MADE: &str = "set -e
        ip link set lo up
        ip link add veth0 type veth peer name veth1
        ip link set veth0 address 02:00:00:00:00:10 mtu 1400 up promisc on
        ip link set veth1 up
        ip addr add 10.77.0.1/24 dev veth0
        ip addr add 10.78.0.1 peer 10.78.0.2/32 dev veth0
        ip addr add fd77::1/64 dev veth0 nodad
        ip neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev veth0 nud permanent
        ip neigh add fd77::9 lladdr 02:00:00:00:00:0a dev veth0 nud stale
        ip route add default via 10.77.0.2 metric 7 proto static
        ip route add 10.9.0.0/16 via 10.77.0.2 table 1000 proto dhcp src 10.77.0.1
        ip route add 10.10.0.0/16 nexthop via 10.77.0.2 dev veth0 nexthop via 10.77.0.3 dev veth0
        ip route add blackhole 10.66.0.0/16
        ip route add prohibit 10.67.0.0/16
        ip -6 route add unreachable fd66::/64
        ip -6 route add default via fd77::2 proto bird metric 5
        exec \"$0\" --exact --test-threads=1 \
            network_machine::interfaces_are_those_of_ip network_machine::neighbors_are_those_of_ip \
            network_machine::routes_are_those_of_ip network_machine::files_say_what_netlink_says";
    let output = Command::new("unshare")
        .args(["-rn", "sh", "-c", MADE])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap_or_else(|error| panic!("cannot run `unshare` ({error}): install the package `util-linux`"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("4 passed"), "{output:?}");
}

/// A folder with the files of this machine's network.
fn copied() -> (tempfile::TempDir, HostSpec) {
    let (folder, spec) = folder(&[]);
    let copy = |path: &str| {
        // Some files of an interface cannot be read while it is not set up.
        let Ok(bytes) = std::fs::read(path) else { return };
        let to = folder.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    };
    for file in "dev if_inet6 fib_trie route ipv6_route arp tcp tcp6 udp udp6 raw raw6 unix".split(' ') {
        copy(&format!("/proc/net/{file}"));
    }
    // The names below /sys are those of the namespace in which it was mounted.
    for entry in std::fs::read_dir("/sys/class/net").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        for file in ["address", "mtu", "operstate", "flags", "type", "carrier", "dormant"] {
            copy(&format!("/sys/class/net/{name}/{file}"));
        }
    }
    (folder, spec)
}

#[test]
fn files_say_what_netlink_says() {
    // A peer's address is no network, so the file of routes does not tell the interface of the own one.
    let told = |spec: &HostSpec, table: &str, columns: &str| {
        let (rows, record) = ask(spec, table, columns, None);
        assert_eq!(record.troubles_count, 0, "{:?}", record.troubles);
        let lines = rows.iter().map(|row| row.join(" | "));
        lines.filter(|line| !line.contains("10.78.0.")).collect::<Vec<_>>()
    };
    compare(
        || told(&copied().1, "interfaces", "name ip prefix"),
        || rows_without_peers("interfaces", "name ip prefix"),
    );
    let routes = "destination gateway_ip interface metric";
    let main = |spec: &HostSpec, columns: &str| {
        let (rows, _) = ask(spec, "routes", &format!("{columns} table type"), None);
        let is_main = |row: &&Vec<String>| row[4] == "main" && row[5] == "unicast" && !row[0].contains(':');
        // Of several ways to a network the file tells the first alone.
        let single = |row: &&Vec<String>| row[0] != "10.10.0.0/16";
        rows.iter().filter(is_main).filter(single).map(|row| row[..4].join(" | ")).collect::<Vec<_>>()
    };
    compare(|| main(&copied().1, routes), || main(&MACHINE, routes));
}

fn rows_without_peers(table: &str, columns: &str) -> Vec<String> {
    rows(table, columns).into_iter().filter(|line| !line.contains("10.78.0.")).collect()
}

fn of_pid(columns: &str, pid: u32) -> Vec<Vec<String>> {
    let filter = Filter::test("pid", Is::Equal(Value::Integer(pid.into())));
    ask(&MACHINE, "netstat", columns, Some(filter)).0
}

#[test]
fn unix_sockets_are_those_of_ss() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("a b.sock");
    let listener = UnixListener::bind(&named).unwrap();
    let client = UnixStream::connect(&named).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"unread").unwrap();
    let name = format!("canvass-{}", std::process::id());
    let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let alone = UnixDatagram::bind(folder.path().join("datagrams")).unwrap();
    let pair = UnixStream::pair().unwrap();
    let pid = std::process::id();
    let theirs = || {
        let text = tool("iproute2", "ss -xapH");
        let ours = format!("pid={pid},");
        let line = |line: &str| {
            // Netid, state, two queues, then the path, which may hold spaces, before the inode and the peer.
            let before = line.split("users:").next().unwrap();
            let words: Vec<&str> = before.split_whitespace().collect();
            let (inode, path) = (words[words.len() - 3], words[4..words.len() - 3].join(" "));
            let state = if words[1] == "ESTAB" { "ESTABLISHED" } else { words[1] };
            let queues = if state == "LISTEN" { ["NULL"; 2] } else { [words[2], words[3]] };
            let path = if path == "*" { "NULL" } else { &path };
            format!("{path} | {state} | {} | {} | {inode}", queues[0], queues[1])
        };
        text.lines().filter(|line| line.contains(&ours)).map(line).collect()
    };
    let columns = "local_path state receive_queue_bytes send_queue_bytes inode uid protocol";
    let ours = || {
        let rows = of_pid(columns, pid);
        let rows = rows.into_iter().filter(|row| row[6] == "unix");
        rows.inspect(|row| assert_ne!(row[5], "NULL", "{row:?}")).map(|row| row[..5].join(" | ")).collect()
    };
    assert!(compare(theirs, ours) >= 7);
    let paths: Vec<String> = of_pid("local_path", pid).concat();
    assert!(paths.contains(&format!("@{name}")) && paths.contains(&named.display().to_string()), "{paths:?}");
    drop((client, server, hidden, alone, pair));
}

#[test]
fn queues_programs_and_namespaces_of_sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, from) = listener.accept().unwrap();
    client.write_all(b"hello").unwrap();
    // What was written is at its place when the peer can see it.
    assert_eq!(server.peek(&mut [0; 5]).unwrap(), 5);
    let columns = "local_port remote_port state receive_queue_bytes path net_namespace";
    let found = of_pid(columns, std::process::id());
    let exe = std::env::current_exe().unwrap().display().to_string();
    let namespace = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    assert!(found.iter().all(|row| row[4] == exe && format!("net:[{}]", row[5]) == namespace), "{found:?}");
    let queue = |state: &str, port: u16| {
        let own = listener.local_addr().unwrap().port().to_string();
        let row =
            found.iter().find(|row| row[0] == own && row[2] == state && (port == 0 || row[1] == port.to_string()));
        row.unwrap_or_else(|| panic!("{found:?}"))[3].clone()
    };
    assert_eq!((queue("ESTABLISHED", from.port()), queue("LISTEN", 0)), ("5".to_owned(), "NULL".to_owned()));
}

/// A process with sockets in a network namespace of its own, ended with the test.
struct Elsewhere(Child);

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn sockets_of_another_namespace_are_there() {
    const PROGRAM: &str = "import socket, sys
t = socket.socket(); t.bind(('0.0.0.0', 0)); t.listen()
u = socket.socket(socket.AF_UNIX); u.bind('\\0canvass-elsewhere'); u.listen()
r = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
print(t.getsockname()[1], flush=True)
sys.stdin.read()";
    let child = Command::new("unshare")
        .args(["-rn", "python3", "-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run `unshare` ({error}): install the package `util-linux`"));
    let mut child = Elsewhere(child);
    let mut port = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let pid = child.0.id();
    let namespace = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string();
    let mut found = of_pid("protocol local_ip local_port state local_path net_namespace", pid);
    found.sort();
    let own: Vec<String> = found.iter().map(|row| row[..5].join(" | ")).collect();
    let port = port.trim();
    assert_eq!(
        own,
        [
            "raw | 0.0.0.0 | 1 | UNCONN | NULL".to_owned(),
            format!("tcp | 0.0.0.0 | {port} | LISTEN | NULL"),
            "unix | NULL | NULL | LISTEN | @canvass-elsewhere".to_owned(),
        ]
    );
    assert!(found.iter().all(|row| format!("net:[{}]", row[5]) == namespace), "{found:?} {namespace}");
}
