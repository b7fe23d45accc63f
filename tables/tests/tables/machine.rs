//! What the tables say of this machine, against the tools that people would have used instead.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

use crate::rows::ask;
use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::value::Value;
use canvass_tables::host::HostSpec;

const MACHINE: HostSpec = HostSpec::Machine;

/// Runs a tool of this machine, which must be there: a comparison that is skipped shows nothing.
pub fn tool(package: &str, command: &str) -> String {
    let mut words = command.split_whitespace();
    let name = words.next().unwrap();
    let output = Command::new(name)
        .args(words)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .output()
        .unwrap_or_else(|error| panic!("cannot run `{name}` ({error}): install the package `{package}`"));
    assert!(output.status.success(), "`{command}` of the package `{package}` failed: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A process of our own that sleeps in a folder of its own, ended with the test.
struct Sleeper {
    child: Child,
    folder: tempfile::TempDir,
}

impl Sleeper {
    /// Starts one, and waits until it is the program it is to be: the kernel lets whoever started it go on before its
    /// arguments are in place, and tells of none until then.
    fn start(seconds: &str) -> Sleeper {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        let child = command.arg(seconds).current_dir(folder.path()).stdin(Stdio::null()).spawn().unwrap();
        let sleeper = Sleeper { child, folder };
        let arguments = format!("/proc/{}/cmdline", sleeper.pid());
        while std::fs::read(&arguments).unwrap().is_empty() {
            std::thread::yield_now();
        }
        sleeper
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn column_is(column: &str, number: u32) -> Option<Filter> {
    Some(Filter::test(column, Is::Equal(Value::Integer(number.into()))))
}

#[test]
fn processes_are_those_of_ps() {
    let sleeper = Sleeper::start("600");
    let pid = sleeper.pid();
    let ps = || -> BTreeMap<String, Vec<String>> {
        let text = tool("procps", "ps -e --no-headers -o pid,ppid,ruid,rgid,euid,nlwp,comm:64");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        text.lines().map(words).map(|words| (words[0].clone(), words)).collect()
    };
    // What changes between two looks at it and changes back is found equal by the next round; what is told wrongly never is.
    let mut told = Vec::new();
    for _ in 0..5 {
        let before = ps();
        let (rows, _) = ask(&MACHINE, "processes", "pid parent_pid uid gid effective_uid threads name", None);
        let after = ps();
        let rows: BTreeMap<String, Vec<String>> = rows.into_iter().map(|row| (row[0].clone(), row)).collect();
        // Only what did not change meanwhile can be compared; kernel workers change their names all the time.
        let stable =
            before.iter().filter(|(pid, words)| after.get(*pid) == Some(words) && !words[6].starts_with("kworker"));
        let stable: Vec<_> = stable.collect();
        assert!(stable.len() > 1 && rows.contains_key(&pid.to_string()));
        let differs = |(pid, words): &(&String, &Vec<String>)| {
            let Some(row) = rows.get(*pid) else { return true };
            let said = words[6..].iter().map(String::as_str).filter(|word| *word != "<defunct>");
            row[..6] != words[..6] || !row[6].split_whitespace().eq(said)
        };
        told = stable.into_iter().filter(differs).map(|(pid, words)| (words.clone(), rows.get(pid).cloned())).collect();
        if told.is_empty() {
            return;
        }
    }
    panic!("ps and the table differ: {told:?}");
}

#[test]
fn a_process_is_what_ps_says() {
    let sleeper = Sleeper::start("601");
    let pid = sleeper.pid();
    let ps = || tool("procps", &format!("ps --no-headers -o ruser:64,rss,lstart -p {pid}"));
    let columns = "command_line working_directory deleted state user memory_bytes started_at";
    // While its libraries are being loaded it grows between two looks.
    let (said, rows, record) = (0..1000)
        .find_map(|_| {
            let before = ps();
            let (rows, record) = ask(&MACHINE, "processes", columns, column_is("pid", pid));
            (ps() == before).then_some((before, rows, record))
        })
        .expect("a process that sleeps stays as it is");
    assert!(
        record.troubles.iter().all(|trouble| !trouble.subject.as_deref().unwrap_or("").contains(&format!("/{pid}/")))
    );
    let [row] = &rows[..] else { panic!("{rows:?}") };
    let work = sleeper.folder.path().canonicalize().unwrap();
    assert_eq!(row[..3], ["sleep 601", work.to_str().unwrap(), "false"]);
    let said: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(row[4], said[0]);
    let (ours, theirs) = (row[5].parse::<u64>().unwrap(), said[1].parse::<u64>().unwrap() * 1024);
    // Kernels differ in how exactly they count for the two files; a wrong unit would be far off.
    assert!(ours.abs_diff(theirs) < theirs / 4, "{ours} bytes are not {theirs}");
    let lstart = said[2..].join(" ");
    let started = jiff::civil::DateTime::strptime("%a %b %d %H:%M:%S %Y", &lstart).unwrap();
    let started = started.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
    let ours: jiff::Timestamp = row[6].parse().unwrap();
    // Both add ticks to a boot time that the kernel rounds to a second anew at each reading.
    assert!((ours.as_second() - started).abs() <= 2, "{ours} is not {lstart}");
}

/// A socket as both sides can say it: protocol, state, local and remote.
type Said = (String, String, String, String);

/// Reads `ss -tunapHO`; the sockets that this process holds.
fn ss_of(pid: u32) -> Vec<Said> {
    let text = tool("iproute2", "ss -tunapHO");
    let ours = format!("pid={pid},");
    let said = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let state = if words[1] == "ESTAB" { "ESTABLISHED".to_owned() } else { words[1].replace('-', "_") };
        (words[0].to_owned(), state, ss_address(words[4]), ss_address(words[5]))
    };
    text.lines().filter(|line| line.contains(&ours)).map(said).collect()
}

/// `[::ffff:127.0.0.1]:22` as `127.0.0.1 22`; no peer as `NULL NULL`.
fn ss_address(text: &str) -> String {
    let (ip, port) = text.rsplit_once(':').unwrap();
    let ip = ip.split('%').next().unwrap().trim_matches(['[', ']']);
    match (ip, port) {
        (_, "*") => "NULL NULL".into(),
        ("*", port) => format!(":: {port}"),
        (ip, port) => format!("{} {port}", ip.parse::<std::net::IpAddr>().unwrap().to_canonical()),
    }
}

#[test]
fn sockets_are_those_of_ss() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let half_closed = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (closed, _) = listener.accept().unwrap();
    closed.shutdown(std::net::Shutdown::Write).unwrap();
    let alone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
    bound.connect(alone.local_addr().unwrap()).unwrap();
    let mut six = (None, None, None);
    if !tool("coreutils", "cat /proc/net/if_inet6").is_empty() {
        let both = TcpListener::bind("[::]:0").unwrap();
        let port = both.local_addr().unwrap().port();
        six = (Some(TcpStream::connect(("127.0.0.1", port)).unwrap()), Some(both.accept().unwrap()), Some(both));
    }
    let pid = std::process::id();
    let columns = "protocol state local_ip local_port remote_ip remote_port uid user process inode";
    let pair = |row: &[String]| format!("{} {}", row[0], row[1]);
    let look = || {
        let (rows, _) = ask(&MACHINE, "netstat", columns, column_is("pid", pid));
        let mut ours: Vec<Said> =
            rows.iter().map(|row| (row[0].clone(), row[1].clone(), pair(&row[2..4]), pair(&row[4..6]))).collect();
        let mut theirs = ss_of(pid);
        ours.sort();
        theirs.sort();
        (rows, ours, theirs)
    };
    // The kernel moves the closed one from FIN_WAIT_1 on in its own time, perhaps between the two looks.
    let settled = |ours: &[Said]| ours.iter().any(|said| said.1 == "FIN_WAIT_2");
    let mut looks = (0..200).map(|_| look());
    let last = looks.find(|(_, ours, theirs)| settled(ours) && settled(theirs)).unwrap_or_else(look);
    let (rows, ours, theirs) = last;
    assert_eq!(ours, theirs);
    let count = |state: &str| ours.iter().filter(|said| said.1 == state).count();
    let with_six = six.2.is_some();
    assert_eq!(count("LISTEN"), if with_six { 2 } else { 1 });
    assert_eq!((count("UNCONN"), count("CLOSE_WAIT"), count("FIN_WAIT_2")), (1, 1, 1));
    assert_eq!(count("ESTABLISHED"), if with_six { 5 } else { 3 });
    let (user, uid) = (tool("coreutils", "id -un"), tool("coreutils", "id -u"));
    assert!(rows.iter().all(|row| row[6] == uid.trim() && row[7] == user.trim() && row[9] != "NULL"), "{rows:?}");
    drop((client, server, half_closed, closed, alone, bound, six));
}

#[test]
fn users_and_groups_are_those_of_getent() {
    let (users, _) = ask(&MACHINE, "users", "name uid gid home shell", None);
    let ours: Vec<String> = users.iter().map(|row| row.join(":")).collect();
    let passwd = tool("libc-bin", "getent -s files passwd");
    let theirs = passwd.lines().map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        [fields[0], fields[2], fields[3], fields[5], fields[6]].join(":")
    });
    assert_eq!(ours, theirs.collect::<Vec<_>>());
    let (groups, _) = ask(&MACHINE, "groups", "name gid members", None);
    let ours: Vec<String> = groups.iter().map(|row| row.join(":")).collect();
    let group = tool("libc-bin", "getent -s files group");
    let theirs = group.lines().map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        [fields[0], fields[2], fields[3]].join(":")
    });
    assert_eq!(ours, theirs.collect::<Vec<_>>());
}

#[test]
fn the_system_is_what_uname_says() {
    let columns = "hostname kernel arch cpus memory_bytes boot_at os";
    let (rows, record) = ask(&MACHINE, "system", columns, None);
    assert_eq!(record.troubles_count, 0, "{:?}", record.troubles);
    let [row] = &rows[..] else { panic!("{rows:?}") };
    for (cell, option) in row.iter().zip(["-n", "-r", "-m"]) {
        assert_eq!(cell, tool("coreutils", &format!("uname {option}")).trim());
    }
    assert_eq!(row[3], tool("libc-bin", "getconf _NPROCESSORS_ONLN").trim());
    let free = tool("procps", "free -b");
    assert_eq!(
        Some(row[4].as_str()),
        free.lines().find_map(|line| line.strip_prefix("Mem:")?.split_whitespace().next())
    );
    let since = tool("procps", "uptime -s");
    let since: jiff::civil::DateTime = since.trim().parse().unwrap();
    let since = since.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
    let ours: jiff::Timestamp = row[5].parse().unwrap();
    assert!((ours.as_second() - since).abs() <= 2, "{ours}");
    assert_eq!(row[6], "linux");
}
