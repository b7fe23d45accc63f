//! What the tables say of hosts that are folders: exact rows, and a trouble for whatever is missing.

use canvass_protocol::filter::{Filter, Is, Place};
use canvass_tables::column::Form;

use crate::rows::{ask, fleet, folder, lines};

fn check(host: &str, table: &str, columns: &str, rows: &[&str], troubles: &[&str]) {
    assert_eq!(lines(&fleet(host), table, columns), (owned(rows), owned(troubles)), "{table} of {host}");
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn processes_of_web_1() {
    check(
        "web-1",
        "processes",
        "pid parent_pid name state path deleted uid user gid effective_uid terminal",
        &[
            "1 | 0 | systemd | S | /usr/lib/systemd/systemd | false | 0 | root | 0 | 0 | NULL",
            "2 | 0 | kthreadd | S | NULL | NULL | 0 | root | 0 | 0 | NULL",
            "17 | 2 | kworker/0:1H-kb | I | NULL | NULL | 0 | root | 0 | 0 | NULL",
            "401 | 1 | chronyd | S | /usr/sbin/chronyd | false | 0 | root | 0 | 0 | NULL",
            "402 | 1 | dhclient | S | /usr/sbin/dhclient | false | 0 | root | 0 | 0 | NULL",
            "461 | 1 | update | S | /tmp/.x/update | true | 6352 | skaramazov | 6352 | 6352 | NULL",
            "612 | 1 | sshd | S | /usr/sbin/sshd | false | 0 | root | 0 | 0 | NULL",
            "700 | 1 | nginx | S | /usr/sbin/nginx | false | 0 | root | 0 | 0 | NULL",
            "701 | 700 | nginx | S | /usr/sbin/nginx | false | 33 | www-data | 33 | 33 | NULL",
            "702 | 700 | nginx | S | /usr/sbin/nginx | false | 33 | www-data | 33 | 33 | NULL",
            "710 | 700 | nginx | Z | NULL | NULL | 33 | www-data | 33 | 33 | NULL",
            "1893 | 612 | sshd | S | /usr/sbin/sshd | false | 0 | root | 0 | 0 | NULL",
            "1894 | 1893 | bash | S | /usr/bin/bash | false | 6352 | skaramazov | 6352 | 6352 | pts/0",
            "1950 | 612 | sshd | S | /usr/sbin/sshd | false | 0 | root | 0 | 0 | NULL",
        ],
        &[],
    );
}

#[test]
fn what_processes_use() {
    let columns = "pid command_line working_directory started_at threads memory_bytes cpu_time_ms";
    let (rows, troubles) = lines(&fleet("web-1"), "processes", columns);
    assert_eq!(rows[1], "2 | NULL | / | 2026-02-02T02:40:00.03Z | 1 | NULL | 0");
    assert_eq!(rows[5], "461 | /tmp/.x/update --quiet a b | /tmp/.x | 2026-03-14T03:05:00Z | 3 | 5242880 | 1000000");
    assert_eq!(rows[10], "710 | NULL | NULL | 2026-02-02T02:41:30Z | 1 | NULL | 0");
    assert!(troubles.is_empty(), "{troubles:?}");
}

#[test]
fn real_and_effective_users_differ() {
    let (rows, _) = lines(&fleet("db-1"), "processes", "pid uid gid effective_uid");
    assert_eq!(rows[5], "1300 | 0 | 0 | 6352");
}

#[test]
fn odd_processes_are_troubles() {
    let stat = |pid: u32| {
        let rest = "1 1 1 0 -1 0 1 2 3 4 250 50 7 8 20 0 3 0 1000 4 39 1 1 1 0 0 0 0 0 4096 1256 0 0 0 17 0 0 0 0 0 0";
        format!("{pid} (a) b) S {rest}")
    };
    let (_folder, spec) = folder(&[
        ("etc/passwd", "root:x:0:0:::\n"),
        ("proc/5/stat", &stat(5)),
        ("proc/5/status", "Uid:\tx\t7\nGid:\nVmRSS: 12 MB\n"),
        ("proc/6/stat", "6 )odd( "),
        ("proc/7/status", "Uid:\t0\t0\t0\t0\n"),
        ("proc/8x/stat", &stat(8)),
        ("proc/+9/stat", &stat(9)),
    ]);
    let (rows, troubles) = lines(&spec, "processes", "pid name uid effective_uid gid memory_bytes started_at path");
    assert_eq!(rows, ["5 | a) b | NULL | 7 | NULL | NULL | NULL | NULL"]);
    assert_eq!(
        troubles,
        ["/proc/stat: no such file", "/proc/6/stat: not in the form of a `stat` file", "/proc/7/stat: no such file",]
    );
}

#[test]
fn sockets_of_web_1() {
    check(
        "web-1",
        "netstat",
        "protocol family local_ip local_port remote_ip remote_port state uid user pid process pids inode",
        &[
            "tcp | ipv4 | 0.0.0.0 | 22 | NULL | NULL | LISTEN | 0 | root | 612 | sshd | 612 | 18001",
            "tcp | ipv4 | 0.0.0.0 | 443 | NULL | NULL | LISTEN | 0 | root | 700 | nginx | 700,701,702 | 18010",
            "tcp | ipv4 | 10.22.74.25 | 22 | 18.42.21.65 | 53320 | ESTABLISHED | 0 | root | 1893 | sshd | 1893 | 20411",
            "tcp | ipv4 | 10.22.74.25 | 443 | 198.51.100.77 | 40022 | TIME_WAIT | NULL | NULL | NULL | NULL | NULL | NULL",
            "tcp | ipv4 | 10.22.74.25 | 51544 | 203.0.113.99 | 6667 | ESTABLISHED | 6352 | skaramazov | 461 | update | 461 | 20999",
            "tcp | ipv6 | :: | 22 | NULL | NULL | LISTEN | 0 | root | 612 | sshd | 612 | 18003",
            "tcp | ipv6 | fe80::5054:ff:fe12:3456 | 22 | fe80::bada:5aff:fe99:120f | 43409 | ESTABLISHED | 0 | root | 1950 | sshd | 1950 | 20500",
            "tcp | ipv6 | 2001:db8::25 | 22 | fe80:0:0:1::5 | 40001 | CLOSE_WAIT | 0 | root | 1950 | sshd | 1950 | 20501",
            "udp | ipv4 | 10.22.74.25 | 123 | 198.51.100.123 | 123 | ESTABLISHED | 0 | root | 401 | chronyd | 401 | 15001",
            "udp | ipv4 | 0.0.0.0 | 68 | NULL | NULL | UNCONN | 0 | root | 402 | dhclient | 402 | 15000",
            "udp | ipv6 | ::1 | 323 | NULL | NULL | UNCONN | 0 | root | 401 | chronyd | 401 | 15002",
            "raw | ipv4 | 0.0.0.0 | 1 | NULL | NULL | UNCONN | 6352 | skaramazov | 461 | update | 461 | 21002",
            "unix | NULL | NULL | NULL | NULL | NULL | LISTEN | NULL | NULL | 1 | systemd | 1 | 12001",
            "unix | NULL | NULL | NULL | NULL | NULL | LISTEN | NULL | NULL | NULL | NULL | NULL | 12002",
            "unix | NULL | NULL | NULL | NULL | NULL | UNCONN | NULL | NULL | 401 | chronyd | 401 | 15010",
            "unix | NULL | NULL | NULL | NULL | NULL | ESTABLISHED | NULL | NULL | NULL | NULL | NULL | 20412",
            "unix | NULL | NULL | NULL | NULL | NULL | LISTEN | NULL | NULL | 461 | update | 461 | 21001",
        ],
        &[],
    );
}

#[test]
fn an_ipv4_peer_of_an_ipv6_socket_is_shown_as_ipv4() {
    let (rows, _) = lines(&fleet("db-1"), "netstat", "family local_ip local_port remote_ip remote_port process");
    assert_eq!(rows[4], "ipv4 | 192.168.1.3 | 3306 | 71.103.206.54 | 51022 | mysqld");
}

#[test]
fn malformed_sockets_are_counted() {
    let good = "0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 7";
    let (_folder, spec) =
        folder(&[("proc/net/tcp", &format!("header\n{good}\nnonsense\n{good}\n0: 01:02\n\n")), ("proc/net/udp", "")]);
    let (rows, troubles) = lines(&spec, "netstat", "local_ip local_port");
    assert_eq!(rows, ["127.0.0.1 | 22", "127.0.0.1 | 22"]);
    assert_eq!(troubles, ["/proc/net/tcp: 2 malformed lines"]);
}

#[test]
fn a_host_without_proc_says_so() {
    let missing = |file: &str| format!("{file}: no such file");
    let (rows, troubles) = lines(&fleet("laptop-7"), "processes", "pid name");
    assert_eq!((rows.len(), troubles), (0, vec![missing("/proc")]));
    let (rows, troubles) = lines(&fleet("laptop-7"), "netstat", "protocol local_ip");
    assert_eq!((rows.len(), troubles), (0, vec![missing("/proc/net/tcp"), missing("/proc/net/udp")]));
    check(
        "laptop-7",
        "system",
        "hostname os os_version kernel arch timezone boot_at uptime_s cpus memory_bytes load_1m",
        &["laptop-7 | darwin | macOS 14.3 | 23.3.0 | aarch64 | America/Montreal | NULL | NULL | NULL | NULL | NULL"],
        &[
            "/proc/stat: no such file",
            "/proc/uptime: no such file",
            "/proc/meminfo: no such file",
            "/proc/loadavg: no such file",
        ],
    );
}

#[test]
fn systems() {
    let columns = "hostname os_version timezone boot_at uptime_s cpus memory_bytes memory_available_bytes load_1m";
    let web = "web-1 | Debian GNU/Linux 12 (bookworm) | Europe/Paris | 2026-02-02T02:40:00Z | 3480413 | 4 | \
               8343764992 | 5243289600 | 0.42";
    check("web-1", "system", columns, &[web], &[]);
    let db = "db-1 | Rocky Linux 9.3 (Blue Onyx) | Etc/UTC | 2025-08-12T12:00:00Z | 18480413 | 8 | 33554432000 | \
              1073741824 | 7.8";
    check("db-1", "system", columns, &[db], &[]);
}

#[test]
fn odd_systems() {
    let (_folder, spec) = folder(&[
        ("proc/stat", "cpu 1\ncpufreq 3\ncpu0 1\nbtime never\n"),
        ("proc/uptime", "NaN inf"),
        ("proc/meminfo", "MemTotal: 5 kB\nMemAvailable: 18446744073709551615 kB\n"),
        ("proc/loadavg", ""),
    ]);
    let (rows, troubles) =
        lines(&spec, "system", "boot_at uptime_s cpus memory_bytes memory_available_bytes load_1m timezone");
    assert_eq!(rows, ["NULL | NULL | 1 | 5120 | NULL | NULL | NULL"]);
    assert_eq!(troubles.len(), 4, "{troubles:?}");
}

#[test]
fn users() {
    check(
        "web-1",
        "users",
        "name uid gid full_name home shell",
        &[
            "root | 0 | 0 | root | /root | /bin/bash",
            "daemon | 1 | 1 | daemon | /usr/sbin | /usr/sbin/nologin",
            "www-data | 33 | 33 | www-data | /var/www | /usr/sbin/nologin",
            "sshd | 105 | 65534 | NULL | /run/sshd | /usr/sbin/nologin",
            "jean-kevin | 1000 | 1000 | Jean Kévin | /home/jean-kevin | /bin/bash",
            "deploy | 1001 | 1001 | NULL | /home/deploy | /bin/sh",
            "zoé | 1002 | 1002 | Zoé | /home/zoé | /bin/bash",
            "skaramazov | 6352 | 6352 | S. Karamazov | /home/skaramazov | /bin/bash",
        ],
        &[],
    );
    let (rows, troubles) = lines(&fleet("db-1"), "users", "name uid shell");
    assert_eq!(rows[5..], ["toor | 0 | /bin/bash", "backup | 6353 | "]);
    assert!(troubles.is_empty(), "{troubles:?}");
    let (_folder, spec) = folder(&[("etc/passwd", "a:secret:5\nb:x:1:1:::\n")]);
    assert_eq!(lines(&spec, "users", "name"), (owned(&["b"]), owned(&["/etc/passwd: malformed line 1"])));
}

#[test]
fn groups() {
    check(
        "db-1",
        "groups",
        "name gid members",
        &[
            "root | 0 | ",
            "bin | 1 | ",
            "wheel | 10 | olga",
            "mysql | 27 | ",
            "sshd | 74 | ",
            "olga | 1000 | ",
            "backup | 6353 | ",
        ],
        &["/etc/group: malformed line 7"],
    );
    let (rows, _) = lines(&fleet("web-1"), "groups", "name members");
    assert_eq!(rows[2], "sudo | jean-kevin,skaramazov");
}

#[test]
fn what_columns_declare_holds_for_every_row() {
    let mut judged = std::collections::BTreeMap::new();
    for host in ["web-1", "db-1", "laptop-7"] {
        for table in canvass_tables::TABLES.iter().filter(|table| !table.info().live) {
            let columns: Vec<_> = table.columns().into_iter().filter(|column| column.form != Form::Any).collect();
            let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
            let name = table.info().name;
            let is_path = |key: &&str| table.column(key).is_some_and(|column| column.form == Form::Path);
            let bound = table.info().bound.and_then(|bound| bound.keys.columns().into_iter().find(is_path));
            let bound = bound.map(|column| Filter::test(column, Is::Under(Place::parse("/").unwrap())));
            let (rows, _) = ask(&fleet(host), name, &names.join(" "), bound);
            for (column, at) in columns.iter().zip(0..) {
                for cell in rows.iter().map(|row| &row[at]).filter(|cell| *cell != "NULL") {
                    assert!(column.form.fits(cell), "{host}: {name}.{}: {cell}", column.name);
                    *judged.entry((name, column.name)).or_insert(0) += 1;
                }
            }
        }
    }
    // A declaration that no row was held against proves nothing, but for names that are not UTF-8, which Git does not keep.
    // Any number is one of bytes, which only the machine itself may know. Live tables have no rows here.
    for table in canvass_tables::TABLES.iter().filter(|table| !table.info().live) {
        for column in table.columns().into_iter().filter(|column| !matches!(column.form, Form::Any | Form::Bytes)) {
            let key = (table.info().name, column.name);
            assert!(judged.contains_key(&key) || column.name == "path_hex", "no row has {key:?}");
        }
    }
}
