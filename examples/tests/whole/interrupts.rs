//! Ctrl-C, beside agents that hang, plans that never yield and results that are long: what is said and done, in which order. Whoever
//! waited for what hangs would not come to an end here at all.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use canvass_examples::yard::Yard;
use rustix::process::{Pid, Signal, kill_process};

use crate::desk::{Home, stderr, stdout, transcript};
use crate::terminal::Terminal;

/// One row in every pair is kept back until the end, which is not seen by anybody.
const NEVER_YIELDS: &str =
    "SELECT 1 AS n UNION ALL SELECT count(*) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b
     WHERE a.value * b.value = 7";

fn signal(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
}

fn interrupt(child: &Child) {
    signal(child.id(), Signal::INT);
}

/// Three agents, of which one is stopped, as one on a host that hangs would be.
fn yard() -> Yard {
    let mut yard = Yard::open(&[]).unwrap();
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
    signal(yard.agent_id("laptop-7").unwrap(), Signal::STOP);
    yard
}

#[test]
fn the_first_finishes_the_plan_over_what_came() {
    let yard = yard();
    let statement = "SELECT host, count(*) AS n FROM users GROUP BY host ORDER BY host";
    let mut desk = yard.desk();
    desk.args(["--server", &yard.url(), "--wait", "expire", "--format", "csv", "-c", statement, "-c", "SELECT 1"]);
    let hunt = desk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    yard.wait_for_answers(2).unwrap();
    interrupt(&hunt);
    let output = hunt.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", transcript(&output));
    assert_eq!(stdout(&output), "host,n\ndb-1,7\nweb-1,8\n", "{}", transcript(&output));
    let said = stderr(&output);
    let places: Vec<_> = [
        "stopped following: 1 host had not answered",
        "2 rows from 2 of 3 hosts · 2 answered, 1 ",
        "resume: canvass --server",
    ]
    .map(|words| said.find(words).unwrap_or_else(|| panic!("{words}: {said}")))
    .to_vec();
    assert!(places.is_sorted(), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("resume: canvass --server") && last.contains(".resume "), "{said}");
}

#[test]
fn the_second_abandons_the_plan() {
    let yard = yard();
    // The join goes on for hours over what came of the two.
    let statement = "SELECT count(*) AS n FROM users u, generate_series(1, 3000000) a, generate_series(1, 3000000) b
         WHERE a.value * b.value * u.uid = 7";
    let mut desk = yard.desk();
    desk.args(["--server", &yard.url(), "--wait", "expire", "--format", "csv", "-c", statement]);
    let mut hunt = desk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    yard.wait_for_answers(2).unwrap();
    interrupt(&hunt);
    let mut said = BufReader::new(hunt.stderr.take().unwrap());
    let mut first = String::new();
    said.read_line(&mut first).unwrap();
    assert!(first.starts_with("stopped following: 1 host had not answered; Ctrl-C again"), "{first}");
    interrupt(&hunt);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let output = hunt.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(130), "n\n"), "{first}{rest}");
    assert!(rest.starts_with("abandoned: "), "{rest}");
    assert!(rest.lines().last().unwrap().starts_with("resume: "), "{rest}");
}

#[test]
fn a_server_that_hangs_is_not_waited_for() {
    let yard = yard();
    let mut desk = yard.desk();
    let statement = "SELECT host, name FROM users WHERE name = 'root' ORDER BY host";
    desk.args(["--server", &yard.url(), "--wait", "expire", "--format", "csv", "-c", statement]);
    let hunt = desk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    yard.wait_for_answers(2).unwrap();
    signal(yard.server_id().unwrap(), Signal::STOP);
    interrupt(&hunt);
    let output = hunt.wait_with_output().unwrap();
    let said = stderr(&output);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(130), "host,name\ndb-1,root\nweb-1,root\n"),
        "{said}"
    );
    assert!(said.contains("the server has not said yet that the action is withdrawn"), "{said}");
    assert!(said.lines().last().unwrap().starts_with("resume: "), "{said}");
}

#[test]
fn a_plan_of_the_desk_alone_is_abandoned_at_once() {
    let home = Home::new();
    let mut child = home
        .command()
        .args(["--format", "jsonl", "-c", NEVER_YIELDS])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert_eq!(first, "{\"n\":1}\n");
    interrupt(&child);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), rest.as_str()), (Some(130), ""), "{}", transcript(&output));
    assert!(stderr(&output).contains("abandoned: "), "{}", transcript(&output));
    assert!(!stderr(&output).contains("resume:"), "{}", transcript(&output));
}

#[test]
fn at_the_prompt_what_was_abandoned_holds_up_nothing() {
    let home = Home::new();
    let mut command = home.command();
    command.args(["--format", "jsonl"]);
    let mut terminal = Terminal::run(&command, 100);
    terminal.wait_for("canvass> ");
    for _ in 0..2 {
        terminal.type_keys(&format!("{};\r", NEVER_YIELDS.replace('\n', " ")));
        terminal.wait_for("{\"n\":1}\r\n");
        terminal.type_keys("\x03");
        terminal.wait_for("abandoned: ");
        terminal.wait_for("canvass> ");
    }
    terminal.type_keys("SELECT 40 + 2 AS answer;\r");
    terminal.wait_for("{\"answer\":42}");
    terminal.wait_for("canvass> ");
    terminal.type_keys(".quit\r");
    assert!(terminal.ended().0.success());
}

#[test]
fn printing_is_stopped_between_rows() {
    let home = Home::new();
    let mut command = home.command();
    command.args(["--format", "table"]);
    let mut terminal = Terminal::run(&command, 100);
    terminal.wait_for("canvass> ");
    terminal.type_keys(".maxrows 0\rSELECT value AS n FROM generate_series(1, 2000000);\r");
    terminal.wait_for("\r\n  10000\r\n");
    terminal.type_keys("\x03");
    terminal.wait_for("stopped: the rest of the rows is not shown");
    let footer = terminal.wait_for("canvass> ");
    assert!(footer.contains("stopped by Ctrl-C: rows are missing") && !footer.contains("2000000 rows"), "{footer}");
    assert!(!terminal.written().contains("\r\n1999999\r\n"));
}
