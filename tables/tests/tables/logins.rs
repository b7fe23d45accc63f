//! What `logins` says, beside `last`, `lastb`, `utmpdump`, and SQLite's own library.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use canvass_tables::host::HostSpec;

use crate::rows::{fleet, folder, lines};

/// Runs a tool, which must be there: a comparison that is skipped shows nothing.
fn tool(package: &str, name: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(name);
    command.args(arguments).env("LC_ALL", "C.UTF-8").env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("cannot run `{name}` ({error}): install `{package}`"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{name} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A record of x86_64's utmp, or of aarch64's.
#[allow(clippy::too_many_arguments, reason = "one for each field of a record")]
fn record(long: bool, kind: i16, pid: i32, line: &str, user: &str, host: &str, at: i64, ip: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; if long { 400 } else { 384 }];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &kind.to_le_bytes());
    put(4, &pid.to_le_bytes());
    put(8, line.as_bytes());
    put(44, user.as_bytes());
    put(76, host.as_bytes());
    if long {
        put(344, &at.to_le_bytes());
        put(360, ip);
    } else {
        put(340, &u32::try_from(at).unwrap().to_le_bytes());
        put(348, ip);
    }
    bytes
}

const START: i64 = 1_770_000_000;

/// A month of a host: starts, sessions that end in every way, one that lasts.
fn month(long: bool) -> Vec<u8> {
    let mut all = Vec::new();
    let mut put = |kind, pid, line: &str, user: &str, host: &str, after: i64, ip: &[u8]| {
        all.extend(record(long, kind, pid, line, user, host, START + after, ip));
    };
    put(2, 0, "~", "reboot", "6.1.0-18-amd64", 0, &[]);
    put(1, 53, "~", "runlevel", "6.1.0-18-amd64", 10, &[]);
    put(7, 100, "pts/0", "ann", "192.0.2.7", 100, &[192, 0, 2, 7]);
    put(7, 101, "pts/1", "bob", "db.example", 200, &[]);
    put(8, 100, "pts/0", "", "", 300, &[]);
    put(7, 102, "pts/1", "ann", "2001:db8::1", 400, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    put(7, 103, "tty1", "root", "", 500, &[]);
    put(1, 0, "~", "shutdown", "6.1.0-18-amd64", 3000, &[]);
    put(2, 0, "~", "reboot", "6.1.0-18-amd64", 4000, &[]);
    put(7, 104, "pts/0", "bob", "::ffff:192.0.2.8", 4100, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 8]);
    put(2, 0, "~", "reboot", "6.1.0-18-amd64", 90_000, &[]);
    put(7, 105, "pts/7", "ann", "192.0.2.7", 90_100, &[192, 0, 2, 7]);
    all
}

fn host_with(path: &str, bytes: &[u8]) -> (tempfile::TempDir, HostSpec) {
    let (root, spec) = folder(&[("etc/passwd", "root:x:0:0::/root:\nann:x:1000:7::/home/ann:\n")]);
    write(root.path(), path, bytes);
    (root, spec)
}

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A moment as `last` writes it with `--time-format iso`.
fn iso(cell: &str) -> String {
    cell.replace('Z', "+00:00")
}

#[test]
fn sessions_are_those_of_last() {
    let (root, spec) = host_with("var/log/wtmp", &month(false));
    let file = root.path().join("var/log/wtmp");
    let last = tool("util-linux", "last", &["-w", "--time-format", "iso", "-f", file.to_str().unwrap()], b"");
    let theirs = last.lines().filter(|line| line.contains("pts/") || line.contains("tty1"));
    let mut theirs: Vec<String> = theirs
        .map(|line| {
            let (before, after) = line.split_at(line.find("2026-").unwrap());
            let mut words: Vec<&str> = before.split_whitespace().collect();
            if words.len() == 2 {
                words.push("NULL");
            }
            let moments: Vec<&str> = after.split_whitespace().filter(|word| word.starts_with("2026-")).collect();
            // Where the system ended, `last` says so in the place of the moment.
            let end = match (moments.get(1), after) {
                (Some(end), _) => (*end).to_owned(),
                (None, after) if after.contains("down") => iso(&moment(3000)),
                (None, after) if after.contains("crash") => iso(&moment(90_000)),
                (None, _) => "NULL".to_owned(),
            };
            format!("{} {} {end}", words.join(" "), moments[0])
        })
        .collect();
    let (rows, troubles) = lines(&spec, "logins", "type user terminal remote_host login_at logout_at");
    assert!(troubles.is_empty(), "{troubles:?}");
    let ours = rows.iter().filter_map(|row| row.strip_prefix("login | "));
    let mut ours: Vec<String> = ours.map(|row| iso(row).replace(" | ", " ")).collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs, "{last}");
    assert_eq!(ours.len(), 6);
}

fn moment(after: i64) -> String {
    jiff::Timestamp::from_second(START + after).unwrap().to_string()
}

#[test]
fn records_are_those_of_utmpdump_in_both_layouts() {
    let expected = [
        "boot | reboot | NULL | NULL | NULL",
        "runlevel | runlevel | NULL | NULL | NULL",
        "login | ann | 192.0.2.7 | 100 | 200",
        "login | bob | NULL | 101 | 200",
        "login | ann | 2001:db8::1 | 102 | 2600",
        "login | root | NULL | 103 | 2500",
        "shutdown | shutdown | NULL | NULL | NULL",
        "boot | reboot | NULL | NULL | NULL",
        "login | bob | 192.0.2.8 | 104 | 85900",
        "boot | reboot | NULL | NULL | NULL",
        "login | ann | 192.0.2.7 | 105 | NULL",
    ];
    for long in [false, true] {
        let (root, spec) = host_with("var/log/wtmp", &month(long));
        let (rows, troubles) = lines(&spec, "logins", "type user remote_ip pid duration_s");
        assert_eq!((rows, troubles), (expected.map(str::to_owned).to_vec(), vec![]), "{long}");
        if !long {
            let dump = tool("util-linux", "utmpdump", &[root.path().join("var/log/wtmp").to_str().unwrap()], b"");
            assert_eq!(dump.lines().filter(|line| line.starts_with('[')).count(), 12, "{dump}");
        }
    }
}

#[test]
fn failures_are_those_of_lastb() {
    let failures: Vec<u8> = (0..50)
        .flat_map(|index: u8| {
            record(false, 6, 900, "ssh:notty", "admin", "192.0.2.9", START + i64::from(index), &[192, 0, 2, 9])
        })
        .collect();
    let (root, spec) = host_with("var/log/btmp", &failures);
    let arguments = ["-w", "--time-format", "iso", "-f"];
    let file = root.path().join("var/log/btmp");
    let lastb = tool("util-linux", "lastb", &[&arguments[..], &[file.to_str().unwrap()]].concat(), b"");
    let (rows, troubles) = lines(&spec, "logins", "user terminal remote_host login_at type source path remote_ip");
    assert!(troubles.is_empty(), "{troubles:?}");
    let words = |line: &str| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
    let theirs: Vec<String> = lastb.lines().filter(|line| line.starts_with("admin")).map(words).collect();
    let ours: Vec<String> = rows.iter().rev().map(|row| words(&iso(&row.replace(" | ", " ")))).collect();
    assert_eq!(ours, theirs);
    assert_eq!(rows.len(), 50);
    assert!(rows[0].ends_with("| failed | btmp | /var/log/btmp | 192.0.2.9"), "{}", rows[0]);
}

#[test]
fn lastlog_is_read_at_the_users_numbers() {
    for (size, time) in [(292, 4), (296, 8)] {
        let mut bytes = vec![0; 1003 * size];
        for (uid, line) in [(0, "tty1"), (900, "pts/3"), (1000, "pts/0"), (1002, "pts/9")] {
            let at = uid * size;
            bytes[at..at + 4].copy_from_slice(&u32::try_from(START).unwrap().to_le_bytes());
            bytes[at + time..at + time + line.len()].copy_from_slice(line.as_bytes());
            bytes[at + time + 32..at + time + 41].copy_from_slice(b"192.0.2.7");
        }
        let (_root, spec) = host_with("var/log/lastlog", &bytes);
        let (rows, troubles) = lines(&spec, "logins", "user uid type terminal remote_ip login_at logout_at source");
        assert!(troubles.is_empty(), "{troubles:?}");
        let row = |user: &str, uid: u32, line: &str| {
            format!("{user} | {uid} | last | {line} | 192.0.2.7 | {} | NULL | lastlog", moment(0))
        };
        assert_eq!(
            rows,
            [row("root", 0, "tty1"), row("NULL", 900, "pts/3"), row("ann", 1000, "pts/0"), row("NULL", 1002, "pts/9")]
        );
    }
}

#[test]
fn databases_are_those_of_wtmpdb_and_lastlog2() {
    let (root, spec) = folder(&[("var/lib/wtmpdb/x", ""), ("var/lib/lastlog/x", "")]);
    let script = format!(
        "import sqlite3\n\
         d = sqlite3.connect('{root}/var/lib/wtmpdb/wtmp.db')\n\
         d.execute('CREATE TABLE wtmp(ID INTEGER PRIMARY KEY, Type INTEGER, User TEXT NOT NULL, Login INTEGER, Logout INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT) STRICT')\n\
         d.executemany('INSERT INTO wtmp(Type,User,Login,Logout,TTY,RemoteHost,Service) VALUES(?,?,?,?,?,?,?)', [\n\
         (1,'reboot',{START}000000,{START}000000+60000000,'~','6.12.0',None),\n\
         (3,'ann',{START}000500,None,'pts/0','192.0.2.7','sshd')])\n\
         d.commit()\n\
         d = sqlite3.connect('{root}/var/lib/lastlog/lastlog2.db')\n\
         d.execute('CREATE TABLE Lastlog2(Name TEXT PRIMARY KEY, Time INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT)')\n\
         d.execute(\"INSERT INTO Lastlog2 VALUES('ann',{START},'pts/0','db.example','sshd')\")\n\
         d.commit()\n",
        root = root.path().display()
    );
    tool("python3", "python3", &["-"], script.as_bytes());
    let columns = "source type user terminal remote_host remote_ip login_at duration_s service path";
    let (rows, troubles) = lines(&spec, "logins", columns);
    assert!(troubles.is_empty(), "{troubles:?}");
    let at = moment(0);
    assert_eq!(
        rows,
        [
            format!("wtmpdb | boot | reboot | ~ | 6.12.0 | NULL | {at} | 60 | NULL | /var/lib/wtmpdb/wtmp.db"),
            format!(
                "wtmpdb | login | ann | pts/0 | 192.0.2.7 | 192.0.2.7 | {} | NULL | sshd | /var/lib/wtmpdb/wtmp.db",
                at.replace('Z', ".0005Z")
            ),
            format!(
                "lastlog2 | last | ann | pts/0 | db.example | NULL | {at} | NULL | sshd | /var/lib/lastlog/lastlog2.db"
            ),
        ]
    );
}

#[test]
fn hostile_and_rotated_files() {
    let mut bytes = month(false);
    bytes[384] = 77;
    bytes.truncate(384 * 4 + 100);
    let (root, spec) = host_with("var/log/wtmp", &bytes);
    let late = record(false, 8, 1, "pts/1", "", "", START + 250, &[]);
    write(root.path(), "var/log/btmp", &[255; 1000]);
    let (rows, troubles) = lines(&spec, "logins", "type user logout_at path");
    assert_eq!(
        rows,
        [
            "boot | reboot | NULL | /var/log/wtmp",
            "login | ann | NULL | /var/log/wtmp",
            "login | bob | NULL | /var/log/wtmp"
        ]
    );
    assert_eq!(
        troubles,
        [
            "/var/log/wtmp: it ends within a record",
            "/var/log/wtmp: 1 malformed records",
            "/var/log/btmp: it ends within a record",
            "/var/log/btmp: 2 malformed records",
        ]
    );
    // A session of a rotated file ends in the next one, packed or not.
    write(root.path(), "var/log/wtmp.1.x", &bytes);
    std::fs::rename(root.path().join("var/log/wtmp"), root.path().join("var/log/wtmp.1")).unwrap();
    write(root.path(), "var/log/wtmp", &late);
    std::fs::remove_file(root.path().join("var/log/btmp")).unwrap();
    let packed = tool_bytes("gzip", &["-kf", root.path().join("var/log/wtmp.1").to_str().unwrap()]);
    assert!(packed);
    std::fs::remove_file(root.path().join("var/log/wtmp.1")).unwrap();
    let (rows, _) = lines(&spec, "logins", "type user logout_at path");
    let end = moment(250);
    assert!(rows.contains(&format!("login | bob | {end} | /var/log/wtmp.1.gz")), "{rows:?}");
}

fn tool_bytes(name: &str, arguments: &[&str]) -> bool {
    Command::new(name).args(arguments).status().unwrap().success()
}

#[test]
fn logins_of_the_fleet() {
    let (rows, troubles) = lines(&fleet("web-1"), "logins", "source type user terminal remote_ip login_at logout_at");
    assert!(troubles.is_empty(), "{troubles:?}");
    assert_eq!(
        rows,
        [
            "utmp | current | skaramazov | pts/0 | 18.42.21.65 | 2026-03-14T03:02:12Z | NULL",
            "wtmp | boot | reboot | ~ | NULL | 2026-02-02T02:40:00Z | NULL",
            "wtmp | login | jean-kevin | pts/0 | 10.22.80.7 | 2026-03-13T08:00:00Z | 2026-03-13T09:30:00Z",
            "wtmp | login | skaramazov | pts/0 | 18.42.21.65 | 2026-03-14T03:02:12Z | NULL",
            "btmp | failed | root | ssh:notty | 18.42.21.65 | 2026-03-14T03:01:55Z | NULL",
            "lastlog | last | root | tty1 | NULL | 2026-02-02T02:45:00Z | NULL",
        ]
    );
    let (rows, troubles) = lines(&fleet("db-1"), "logins", "source type user remote_ip login_at service");
    assert!(troubles.is_empty(), "{troubles:?}");
    assert_eq!(
        rows,
        [
            "wtmpdb | login | olga | 10.22.74.25 | 2026-03-12T23:14:40Z | sshd",
            "lastlog2 | last | olga | 10.22.74.25 | 2026-03-12T23:14:40Z | sshd",
        ]
    );
}
