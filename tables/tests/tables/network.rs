//! What the tables of the network say of hosts that are folders.

use crate::rows::{fleet, folder, lines};

fn check(host: &str, table: &str, columns: &str, rows: &[&str]) {
    let (told, troubles) = lines(&fleet(host), table, columns);
    assert_eq!(told, rows, "{table} of {host}");
    assert!(troubles.is_empty(), "{table} of {host}: {troubles:?}");
}

#[test]
fn interfaces() {
    check(
        "web-1",
        "interfaces",
        "name mac ip prefix flags mtu state type",
        &[
            "lo | NULL | 127.0.0.1 | 8 | LOOPBACK,UP,LOWER_UP | 65536 | UNKNOWN | loopback",
            "lo | NULL | ::1 | 128 | LOOPBACK,UP,LOWER_UP | 65536 | UNKNOWN | loopback",
            "eth0 | 52:54:00:12:34:56 | 10.22.74.25 | 24 | BROADCAST,MULTICAST,PROMISC,UP,LOWER_UP | 1500 | UP | ether",
            "eth0 | 52:54:00:12:34:56 | fe80::5054:ff:fe12:3456 | 64 | BROADCAST,MULTICAST,PROMISC,UP,LOWER_UP | 1500 | UP | ether",
            "eth0 | 52:54:00:12:34:56 | 2001:db8::25 | 64 | BROADCAST,MULTICAST,PROMISC,UP,LOWER_UP | 1500 | UP | ether",
        ],
    );
    let counters = "name rx_bytes tx_bytes rx_packets tx_packets rx_errors tx_errors rx_dropped tx_dropped";
    let (rows, _) = lines(&fleet("web-1"), "interfaces", counters);
    assert_eq!(rows[2], "eth0 | 48120331877 | 390117254410 | 51233408 | 88120377 | 3 | 0 | 17 | 2");
}

#[test]
fn neighbors() {
    check(
        "web-1",
        "neighbors",
        "ip mac interface state",
        &[
            "10.22.74.1 | 52:54:00:aa:00:01 | eth0 | PERMANENT",
            "10.22.74.31 | 52:54:00:12:31:31 | eth0 | NULL",
            "10.22.74.99 | NULL | eth0 | NULL",
        ],
    );
}

#[test]
fn routes() {
    check(
        "web-1",
        "routes",
        "destination gateway_ip interface source_ip metric table protocol scope type",
        &[
            "0.0.0.0/0 | 10.22.74.1 | eth0 | NULL | 100 | main | NULL | NULL | unicast",
            "10.22.74.0/24 | NULL | eth0 | NULL | 100 | main | NULL | NULL | unicast",
            "198.51.100.77/32 | NULL | NULL | NULL | 0 | main | NULL | NULL | NULL",
            "2001:db8::/64 | NULL | eth0 | NULL | 256 | NULL | NULL | global | unicast",
            "fe80::/64 | NULL | eth0 | NULL | 256 | NULL | NULL | global | unicast",
            "::/0 | 2001:db8::1 | eth0 | NULL | 1024 | NULL | NULL | global | unicast",
            "2001:db8::25/128 | NULL | eth0 | NULL | 0 | local | NULL | global | local",
        ],
    );
}

#[test]
fn what_is_new_of_sockets() {
    let columns = "protocol local_path path container net_namespace receive_queue_bytes send_queue_bytes";
    let (rows, troubles) = lines(&fleet("web-1"), "netstat", columns);
    assert!(troubles.is_empty(), "{troubles:?}");
    assert_eq!(rows[0], "tcp | NULL | /usr/sbin/sshd | NULL | 4026531840 | NULL | NULL");
    assert_eq!(rows[4], "tcp | NULL | /tmp/.x/update | NULL | 4026531840 | 0 | 0");
    assert_eq!(rows[11], "raw | NULL | /tmp/.x/update | NULL | 4026531840 | 0 | 0");
    assert_eq!(rows[12], "unix | /run/systemd/private | /usr/lib/systemd/systemd | NULL | 4026531840 | NULL | NULL");
    assert_eq!(rows[16], "unix | @/tmp/.x/ctl | /tmp/.x/update | NULL | 4026531840 | NULL | NULL");
    let (rows, _) = lines(&fleet("db-1"), "netstat", "local_port local_path container net_namespace");
    let container = "4f1c2a9be0d3475f8b6e1d2c3a4b5c6d7e8f90123456789abcdef0123456789a";
    assert!(rows.contains(&format!("3306 | NULL | {container} | NULL")), "{rows:?}");
    assert!(rows.contains(&format!("NULL | /var/lib/mysql/mysql.sock | {container} | NULL")), "{rows:?}");
}

#[test]
fn a_host_without_proc_says_so() {
    let cases = [
        ("interfaces", "name", "/proc/net/dev"),
        ("neighbors", "ip", "/proc/net/arp"),
        ("routes", "destination", "/proc/net/route"),
    ];
    for (table, column, file) in cases {
        let (rows, troubles) = lines(&fleet("laptop-7"), table, column);
        assert!(rows.is_empty(), "{table}: {rows:?}");
        assert_eq!(troubles, [format!("{file}: no such file")], "{table}");
    }
}

#[test]
fn odd_files_are_troubles() {
    let long = "x".repeat(10_000);
    let numbers = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
    let header = "a\nb\n";
    let (_folder, spec) = folder(&[
        ("proc/net/dev", &format!("{header}  ok: {numbers}\n../../etc: {numbers}\nodd: 1\n{long}\n\n")),
        ("proc/net/if_inet6", "fe80 1\nfe800000000000000000000000000001 02 40 20 80 gone\n"),
        ("proc/net/fib_trie", "|-- 10.0.0.1\n/32 host LOCAL\n|-- x\n/32 host LOCAL\n"),
        ("sys/class/net/ok/flags", "0xfffff"),
        ("sys/class/net/ok/mtu", "-1"),
        ("sys/class/net/ok/operstate", "sideways"),
        ("proc/net/arp", &format!("h\n{long}\n10.0.0.300 0x1 0x2 00 * e\n")),
        ("proc/net/route", "h\neth0 00000000 0 0\n"),
        ("proc/net/ipv6_route", "nonsense\n"),
        ("proc/net/tcp", "h\n"),
        ("proc/net/udp", "h\n"),
        ("proc/net/unix", &format!("h\n{long}\n0: 2 0 0 1 1 5 /a\n")),
    ]);
    let (rows, troubles) = lines(&spec, "interfaces", "name ip prefix mtu state");
    assert_eq!(
        rows,
        [
            "ok | NULL | NULL | NULL | NULL",
            "../../etc | NULL | NULL | NULL | NULL",
            "NULL | 10.0.0.1 | NULL | NULL | NULL",
            "NULL | fe80::1 | 64 | NULL | NULL",
        ]
    );
    assert_eq!(troubles, ["/proc/net/dev: 2 malformed lines", "/proc/net/if_inet6: 1 malformed lines"]);
    let none: (Vec<String>, Vec<String>) = (Vec::new(), vec!["/proc/net/arp: 2 malformed lines".into()]);
    assert_eq!(lines(&spec, "neighbors", "ip"), none);
    let (rows, troubles) = lines(&spec, "routes", "destination");
    assert!(rows.is_empty(), "{rows:?}");
    assert_eq!(troubles, ["/proc/net/route: 1 malformed lines", "/proc/net/ipv6_route: 1 malformed lines"]);
    let (rows, troubles) = lines(&spec, "netstat", "protocol local_path inode");
    assert_eq!(rows, ["unix | /a | 5"]);
    assert_eq!(troubles, ["/proc/net/unix: 1 malformed lines"]);
}

#[test]
fn sockets_of_another_namespace_are_told_once() {
    let socket = |inode: u32| {
        format!("h\n0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 {inode}\n")
    };
    let (folder, spec) = folder(&[
        ("proc/net/tcp", &socket(1)),
        ("proc/net/udp", "h\n"),
        ("proc/1/comm", "a"),
        ("proc/7/net/tcp", &socket(7)),
        ("proc/7/net/udp", "h\n"),
        ("proc/8/net/tcp", &socket(7)),
    ]);
    for (pid, number) in [(1, 100), (7, 200), (8, 200)] {
        let ns = folder.path().join(format!("proc/{pid}/ns"));
        std::fs::create_dir_all(&ns).unwrap();
        std::os::unix::fs::symlink(format!("net:[{number}]"), ns.join("net")).unwrap();
    }
    let (rows, troubles) = lines(&spec, "netstat", "inode net_namespace");
    assert_eq!(rows, ["1 | 100", "7 | 200"]);
    assert!(troubles.is_empty(), "{troubles:?}");
}
