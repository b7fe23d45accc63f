//! Every table of this machine, asked as a person asks it: through the cage of its module.

use std::net::TcpListener;
use std::process::Output;

use canvass_tables::TABLES;
use canvass_tables::column::Class;

use crate::desk::{Home, stderr, stdout};

fn ask(home: &Home, statement: &str) -> Output {
    let output = home.canvass(&["-q", "--wait", "expire", "--format", "tsv", "-c", statement]);
    let said = stderr(&output);
    // A call or a place that the cage lacks would look like a table that is empty.
    for word in ["system call", "crashed", "killed"] {
        assert!(!said.contains(word), "{statement}: {said}");
    }
    assert!(output.status.success(), "{statement}: {said}");
    output
}

#[test]
fn every_table_answers_from_its_cage() {
    let home = Home::new();
    let own = std::process::id();
    for table in TABLES {
        let name = table.info().name;
        let condition = match name {
            "files" => " WHERE path = '/etc/passwd'".to_owned(),
            "ping" => " WHERE destination = '127.0.0.1' AND protocol = 'icmp' AND count = 1".to_owned(),
            "process_memory" => format!(" WHERE pid = {own}"),
            _ => String::new(),
        };
        let columns = table.columns().into_iter().filter(|column| column.class != Class::Content);
        let columns: Vec<String> = columns.map(|column| format!("\"{}\"", column.name)).collect();
        let output = ask(&home, &format!("SELECT {} FROM {name}{condition} LIMIT 20", columns.join(", ")));
        let rows = stdout(&output).lines().count();
        let is_anywhere =
            ["files", "processes", "open_files", "process_memory", "ping", "users", "groups", "system", "mounts"];
        assert!(rows > 1 || !is_anywhere.contains(&name), "{name}: {}", stderr(&output));
    }
}

#[test]
fn memory_is_searched_and_never_shown() {
    let home = Home::new();
    // Put together here, so that it lies nowhere but in this process's memory.
    let held = ["held by".to_owned(), std::process::id().to_string(), "alone".to_owned()].join(" ");
    let question = |pattern: &str| {
        format!("SELECT count(*) > 0 FROM process_memory WHERE pid = {} AND content ~ '{pattern}'", std::process::id())
    };
    let found = |pattern: &str| stdout(&ask(&home, &question(pattern))).lines().last().unwrap().to_owned();
    assert_eq!(found("held[ ]by [0-9]+ alone"), "true");
    assert_eq!(found("held[ ]by [0-9]+ nobody"), "false");
    assert_eq!(found(r"(?-u)held\x20by [0-9]+\x20alone"), "true");
    std::hint::black_box(held);
    let shown =
        home.canvass(&["-c", &format!("SELECT content FROM process_memory WHERE pid = {}", std::process::id())]);
    assert_eq!(shown.status.code(), Some(2), "{}", stderr(&shown));
}

#[test]
fn others_are_reached_by_their_names() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let statement = format!(
        "SELECT port = {port}, resolved_ip, reachable, latency_ms > 0, error FROM ping \
         WHERE destination = 'localhost' AND protocol = 'tcp' AND port IN ({port}, {closed}) ORDER BY 1 DESC"
    );
    let output = ask(&home, &statement);
    let rows: Vec<String> = stdout(&output).lines().skip(1).map(str::to_owned).collect();
    assert_eq!(rows[0], "true\t127.0.0.1\ttrue\ttrue\t\\N");
    assert!(rows[1].starts_with("false\t") && rows[1].ends_with("\tfalse\t\\N\tconnection refused"), "{rows:?}");
    let unbounded = home.canvass(&["-c", "SELECT * FROM ping WHERE destination = 'localhost' AND protocol = 'tcp'"]);
    assert_eq!(unbounded.status.code(), Some(2));
    assert!(stderr(&unbounded).contains("`port`"), "{}", stderr(&unbounded));
}
