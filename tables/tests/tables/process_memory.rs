//! The memory of processes: its regions, of fixtures and beside `pmap`, and what lies in them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::parent_id;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use canvass_protocol::filter::{Filter, Is, Pattern};
use canvass_protocol::value::Value;
use canvass_tables::host::HostSpec;

use crate::machine::tool;
use crate::rows::{ask, fleet, folder};

const MACHINE: HostSpec = HostSpec::Machine;

fn pid(number: u32) -> Filter {
    Filter::test("pid", Is::Equal(Value::Integer(number.into())))
}

fn matches(column: &str, text: &str) -> Filter {
    Filter::test(column, Is::Matches(Pattern { pattern: text.to_owned(), ignore_case: false }))
}

fn all(parts: impl IntoIterator<Item = Filter>) -> Option<Filter> {
    Some(Filter::All(parts.into_iter().collect()))
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

/// Rows as lines, and troubles as `subject: reason`.
fn lines(spec: &HostSpec, columns: &str, filter: Option<Filter>) -> (Vec<String>, Vec<String>) {
    let (rows, record) = ask(spec, "process_memory", columns, filter);
    let troubles = record.troubles.iter().map(|trouble| {
        let subject = trouble.subject.as_deref().unwrap_or_default();
        format!("{subject}: {}", trouble.reason)
    });
    (rows.iter().map(|row| row.join(" | ")).collect(), troubles.collect())
}

#[test]
fn somebody_has_to_be_named() {
    let bound = canvass_tables::find("process_memory").unwrap().info().bound.unwrap();
    let missing = |filter: Filter| canvass_tables::bound::missing(Some(&filter), &bound.keys, &Default::default());
    let words = Some("`pid` or `name` or `library`".to_owned());
    assert_eq!(missing(matches("content", "x")), words);
    assert_eq!(missing(matches("path", "^/usr")), words);
    assert_eq!(missing(not(pid(7))), words);
    assert_eq!(missing(matches("library", "ssl")), words);
    let bounded = [
        pid(7),
        Filter::test("pid", Is::In(vec![Value::Integer(7), Value::Integer(8)])),
        matches("name", "^nginx$"),
        matches("name", "^ngi"),
        matches("library", "^/.*/libssl\\.so"),
        Filter::Any(vec![pid(7), Filter::test("pid", Is::Equal(Value::Integer(8)))]),
    ];
    for filter in bounded {
        assert_eq!(missing(filter.clone()), None, "{filter:?}");
    }
}

#[test]
fn regions_of_web_1() {
    let columns = "pid name start_address end_address size_bytes permissions type path deleted offset_bytes inode";
    let both = Filter::test("pid", Is::In(vec![Value::Integer(461), Value::Integer(701)]));
    let (rows, troubles) = lines(&fleet("web-1"), columns, Some(both));
    assert_eq!(
        [&rows[1], &rows[3], &rows[5], &rows[11], &rows[18]].map(String::as_str),
        [
            "461 | update | 0x00000000006b0000 | 0x00000000006b6000 | 24576 | rw-p | file | /tmp/.x/update | true | 720896 | 917522",
            "461 | update | 0x00007fe81c400000 | 0x00007fe81c437000 | 225280 | rwxs | shared | /memfd:kworker | true | 0 | 3077",
            "461 | update | 0x00007fff81d7d000 | 0x00007fff81d7f000 | 8192 | r-xp | kernel | NULL | NULL | NULL | NULL",
            "701 | nginx | 0x00007f21a5c28000 | 0x00007f21a5c4e000 | 155648 | r--p | file | /usr/lib/x86_64-linux-gnu/libssl.so.3 | false | 0 | 131788",
            "701 | nginx | 0xffffffffff600000 | 0xffffffffff601000 | 4096 | --xp | kernel | NULL | NULL | NULL | NULL",
        ]
    );
    assert_eq!(rows.len(), 19);
    assert!(troubles.is_empty(), "{troubles:?}");
    let (rows, _) = lines(&fleet("web-1"), "type", all([matches("name", "^nginx$")]));
    let kinds = ["file", "file", "file", "heap", "shared", "file", "file", "file", "anonymous", "stack"];
    assert_eq!(rows[..10], kinds);
    // Every process has other memory: what is not there to be read is said once of each.
    let (rows, troubles) =
        lines(&fleet("web-1"), "pid", all([matches("name", "^(nginx|update)$"), matches("content", "x")]));
    assert!(rows.is_empty());
    assert_eq!(troubles, ["/proc/461/mem: no such file", "/proc/701/mem: no such file"]);
}

#[test]
fn a_library_is_the_processs_own() {
    let web = fleet("web-1");
    let by = |filter: Filter| lines(&web, "pid type library", all([filter])).0.into_iter().collect::<BTreeSet<_>>();
    let with_ssl = by(matches("library", "^/.*/libssl\\.so"));
    assert!(with_ssl.contains("701 | heap | /usr/lib/x86_64-linux-gnu/libssl.so.3"), "{with_ssl:?}");
    assert!(with_ssl.iter().all(|row| row.starts_with("701 ")));
    let libc = Value::Text("/usr/lib/x86_64-linux-gnu/libc.so.6".to_owned());
    assert_eq!(by(Filter::test("library", Is::Equal(libc))).len(), 6);
    let (rows, _) = lines(&web, "library", all([pid(701), not(matches("library", "ssl"))]));
    assert!(rows.is_empty(), "{rows:?}");
    let (rows, _) = lines(&web, "library", all([pid(701)]));
    assert_eq!((rows.len(), rows[0].as_str()), (13, "NULL"));
    let either = Filter::Any(vec![
        Filter::All(vec![pid(461), matches("library", "^/usr")]),
        Filter::All(vec![pid(701), matches("library", "^/usr/.*/libc\\.so")]),
    ]);
    let (rows, _) = lines(&web, "pid library", all([either]));
    assert_eq!((rows.len(), rows[0].as_str()), (13, "701 | /usr/lib/x86_64-linux-gnu/libc.so.6"));
}

const STAT: &str = "7 (a b) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0";

#[test]
fn only_pages_that_are_held_are_searched() {
    let page = rustix::param::page_size();
    let at = |page_number: usize| page_number * page;
    let region = |first: usize, end: usize| format!("{:x}-{:x} rw-p 00000000 00:00 0 \n", at(first), at(end));
    let (host, spec) =
        folder(&[("proc/7/stat", STAT), ("proc/7/maps", &(region(1, 5) + &region(6, 7) + &region(8, 9)))]);
    // Of each page: whether it is held, and what `mem` would say of it.
    let (present, swapped, guard) = (1_u64 << 63, 1_u64 << 62, 1_u64 << 62 | 1 << 58);
    let entries = [0, present, 0, swapped, guard, present, present, 0, present];
    let mut memory = vec![b'x'; at(8)];
    let mut write = |place: usize, text: &[u8]| memory[place..place + text.len()].copy_from_slice(text);
    write(at(1), b"\xde\xad\xbe\xefhead");
    write(at(2) - 3, b"CAN");
    write(at(2), b"absent");
    write(at(3), b"VASS");
    write(at(4), b"guarded");
    write(at(6), b"other");
    fs::write(host.path().join("proc/7/mem"), &memory).unwrap();
    let entries: Vec<u8> = entries.iter().flat_map(|entry| entry.to_ne_bytes()).collect();
    fs::write(host.path().join("proc/7/pagemap"), entries).unwrap();
    let found = |test: Filter| lines(&spec, "start_address", all([pid(7), test]));
    let (first, second) = (format!("{:#018x}", at(1)), format!("{:#018x}", at(6)));
    for (pattern, here, there) in [
        ("head", true, false),
        ("(?-u)^\\xde\\xad\\xbe\\xef", true, false),
        ("other", false, true),
        ("absent", false, false),
        ("guarded", false, false),
        ("CANVASS", false, false),
        ("CAN$", true, false),
        ("^VASSx", true, false),
        ("x", true, true),
    ] {
        let expected = |here, there| {
            let both = [(here, &first), (there, &second)];
            both.into_iter().filter(|(is, _)| *is).map(|(_, address)| address.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found(matches("content", pattern)).0, expected(here, there), "{pattern}");
        // The last region's process has ended before it could be read, so nothing is said of it, neither way.
        assert_eq!(found(not(matches("content", pattern))).0, expected(!here, !there), "not {pattern}");
    }
    assert!(found(matches("content", "x")).1.is_empty());
}

#[test]
fn odd_regions_harm_nobody() {
    let maps = "0-ffffffffffffffff rw-p 0 0:0 0 \n\u{0}\nfffffffffffff000-ffffffffffffffff rw-p 0 0:0 0 \n\
        1-2 rw-p 0 0:0 0 [heap\n1-2 rw-p ffffffffffffffff 0:0 18446744073709551615 /a\n";
    let (_host, spec) = folder(&[
        ("proc/7/stat", STAT),
        ("proc/7/maps", maps),
        ("proc/7/mem", "x"),
        ("proc/7/pagemap", "x"),
        ("proc/8/stat", "no stat"),
        ("proc/8/maps", "no maps"),
        ("proc/9/stat", STAT),
    ]);
    let any = Filter::test("pid", Is::In((7..10).map(Value::Integer).collect()));
    let (rows, troubles) = lines(&spec, "name size_bytes type offset_bytes inode", Some(any.clone()));
    assert_eq!(
        rows,
        [
            "a b | NULL | anonymous | NULL | NULL",
            "a b | 4095 | anonymous | NULL | NULL",
            "a b | 1 | kernel | NULL | NULL",
            "a b | 1 | file | NULL | NULL",
        ]
    );
    assert_eq!(
        troubles,
        [
            "/proc/7/maps: lines that are not in the form of a `maps` file: 1",
            "/proc/8/stat: not in the form of a `stat` file",
            "/proc/8/maps: lines that are not in the form of a `maps` file: 1",
        ]
    );
    let (rows, troubles) = lines(&spec, "pid", all([any, matches("content", "x")]));
    assert!(rows.is_empty(), "{rows:?}");
    assert_eq!(troubles[0], "7 0x0000000000000000: not searched: a region of more than 1T");
    assert_eq!(troubles.len(), 3, "{troubles:?}");
}

/// A process that holds a secret in memory that it has made, the most of which it never touches.
struct Keeper {
    child: Child,
    _said: BufReader<ChildStdout>,
    secret: String,
}

/// Each keeps a secret of its own.
static KEEPERS: AtomicUsize = AtomicUsize::new(0);

const KEEPER: &str = "\
import mmap, sys
secret = bytes.fromhex(sys.argv[1])
size = 64 << 30
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
memory[size // 2:size // 2 + len(secret)] = secret
print('ready', flush=True)
sys.stdin.read()
";

impl Keeper {
    fn start() -> Keeper {
        // The letters are nowhere but where the process puts them.
        let secret = format!("CANVASS-{:x}-{}", std::process::id(), KEEPERS.fetch_add(1, Ordering::Relaxed));
        let hex: String = secret.bytes().chain([0xde, 0xad, 0xbe, 0xef]).map(|byte| format!("{byte:02x}")).collect();
        let mut command = Command::new("python3");
        command.args(["-c", KEEPER, &hex]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run `python3` ({error}): install the package `python3`"));
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Keeper { child, _said: said, secret }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn name(&self) -> String {
        fs::read_to_string(format!("/proc/{}/comm", self.pid())).unwrap().trim_end().to_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_a_process_holds_is_found() {
    let keeper = Keeper::start();
    let found = |parts: Vec<Filter>| lines(&MACHINE, "pid name size_bytes", all(parts));
    let content = |pattern: &str| matches("content", pattern);
    let (rows, troubles) = found(vec![pid(keeper.pid()), content(&keeper.secret)]);
    assert!(troubles.is_empty(), "{troubles:?}");
    // It lies in the middle of 64 GiB, besides wherever the interpreter keeps it.
    let large = |row: &String| row.rsplit(' ').next().unwrap().parse::<u64>().unwrap() >= 64 << 30;
    assert!(rows.iter().any(large), "{rows:?}");
    let (by_name, _) = found(vec![matches("name", &format!("^{}$", keeper.name())), content(&keeper.secret)]);
    assert_eq!(by_name, rows);
    let bytes = format!("(?-u){}\\xde\\xad\\xbe\\xef", keeper.secret);
    assert_eq!(found(vec![pid(keeper.pid()), content(&bytes)]).0, rows);
    let bytes = format!("(?-u){}\\xde\\xad\\xbe\\xee", keeper.secret);
    assert_eq!(found(vec![pid(keeper.pid()), content(&bytes)]).0, Vec::<String>::new());
    let other = keeper.secret.replace("CANVASS-", "CANVASS+").replace('+', "\\+");
    assert_eq!(found(vec![pid(keeper.pid()), content(&other)]).0, Vec::<String>::new());
    let library = |pattern: &str| found(vec![matches("library", pattern), content(&keeper.secret)]).0;
    assert_eq!(library("^/.*/libc\\.so\\.6$"), rows);
    assert_eq!(library("^/no/libc\\.so\\.6$"), Vec::<String>::new());
}

#[test]
fn the_scan_finds_no_word_of_its_own() {
    let keeper = Keeper::start();
    let everything = |process: u32| lines(&MACHINE, "pid", all([pid(process), matches("content", "")])).0;
    assert!(!everything(keeper.pid()).is_empty());
    let own = std::process::id();
    assert_eq!((everything(own), everything(parent_id())), (Vec::new(), Vec::new()));
    // Its regions are no secret.
    let (rows, _) = lines(&MACHINE, "pid", Some(pid(own)));
    assert!(rows.len() > 10, "{rows:?}");
    // Whoever is called as the scan, the process that has started it, and the one that keeps the secret.
    let name = |process: u32| fs::read_to_string(format!("/proc/{process}/comm")).unwrap().trim_end().to_owned();
    let names = [own, parent_id(), keeper.pid()].map(|process| Value::Text(name(process)));
    let named = Filter::test("name", Is::In(names.into()));
    let (rows, _) = lines(&MACHINE, "pid", all([named, matches("content", &keeper.secret)]));
    let pids: BTreeSet<String> = rows.into_iter().collect();
    assert_eq!(pids, BTreeSet::from([keeper.pid().to_string()]));
}

#[test]
fn regions_are_those_of_pmap() {
    let keeper = Keeper::start();
    let columns = "start_address size_bytes permissions path";
    let (rows, troubles) = ask(&MACHINE, "process_memory", columns, Some(pid(keeper.pid())));
    assert_eq!(troubles.troubles_count, 0, "{:?}", troubles.troubles);
    let ours: BTreeSet<Vec<String>> = rows.iter().map(|row| row[..3].to_vec()).collect();
    let text = tool("procps", &format!("pmap {}", keeper.pid()));
    let said = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kilobytes: u64 = words.get(1)?.strip_suffix('K')?.parse().ok()?;
        let address = Some(words[0]).filter(|address| address.len() == 16)?;
        let letters: String = words.get(2)?.chars().take(3).collect();
        let private = if words[2].contains('s') { "s" } else { "p" };
        Some(vec![format!("0x{address}"), (kilobytes << 10).to_string(), letters + private])
    });
    assert_eq!(ours, said.collect::<BTreeSet<_>>(), "{text}");
    assert!(ours.len() > 20);
    let maps = fs::read_to_string(format!("/proc/{}/maps", keeper.pid())).unwrap();
    let paths: Vec<&str> = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])).collect();
    let ours: Vec<&str> = rows.iter().map(|row| row[3].as_str()).filter(|path| *path != "NULL").collect();
    assert_eq!(ours, paths);
}
