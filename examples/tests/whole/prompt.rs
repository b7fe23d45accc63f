//! The prompt on a terminal: pastes, type-ahead, statements over many lines, and rows wider than the terminal.

use unicode_width::UnicodeWidthStr as _;

use crate::desk::Home;
use crate::terminal::Terminal;

fn prompt(home: &Home, columns: u16, arguments: &[&str]) -> Terminal {
    let mut command = home.command();
    command.args(arguments);
    let mut terminal = Terminal::run(&command, columns);
    terminal.wait_for("canvass> ");
    terminal
}

#[test]
fn a_paste_without_brackets_runs_whole() {
    let home = Home::new();
    let mut terminal = prompt(&home, 100, &["--format", "csv"]);
    let mut paste = String::from(
        "SELECT 'one' AS a;\rSELECT 2 AS b;\rSELECT bad;\r-- Hunt: a comment first\rSELECT\r  3 AS c,\r  ';' AS d;\r",
    );
    // More than the line editor reads at once, and more than a terminal keeps of one line.
    for number in 0..400 {
        paste.push_str(&format!("SELECT {number} AS number, 'padding' AS padding;\r"));
    }
    paste.push_str("SELECT 'last' || 'one' AS z;\r");
    terminal.type_keys(&paste);
    terminal.wait_for("a\r\none\r\n");
    terminal.wait_for("b\r\n2\r\n");
    terminal.wait_for("there is no column `bad`");
    terminal.wait_for("c,d\r\n3,;\r\n");
    for number in [0, 57, 399] {
        terminal.wait_for(&format!("number,padding\r\n{number},padding\r\n"));
    }
    terminal.wait_for("z\r\nlastone\r\n");
}

#[test]
fn what_is_typed_while_a_statement_runs_waits_unseen() {
    let home = Home::new();
    let mut terminal = prompt(&home, 100, &["--format", "jsonl"]);
    terminal.type_keys(
        "SELECT 1 AS n UNION ALL SELECT count(*) FROM generate_series(1, 10000) a, generate_series(1, 10000) b WHERE a.value * b.value = 7;\r",
    );
    terminal.wait_for("{\"n\":1}\r\n");
    terminal.type_keys("SELECT 'typed' || 'ahead' AS t;\r");
    let meanwhile = terminal.wait_for("canvass> ");
    assert!(!meanwhile.contains("typed"), "{meanwhile}");
    terminal.wait_for("{\"t\":\"typedahead\"}");
}

#[test]
fn a_statement_goes_on_below() {
    let home = Home::new();
    let mut terminal = prompt(&home, 100, &["--format", "csv"]);
    terminal.type_keys("SELECT (1 +\r");
    terminal.wait_for("      (> ");
    terminal.type_keys("2) AS n,\r");
    terminal.wait_for("      -> ");
    terminal.type_keys("'it\r");
    terminal.wait_for("      '> ");
    terminal.type_keys("is' AS t\r");
    terminal.wait_for("      -> ");
    terminal.type_keys("quit\r");
    terminal.wait_for("the statement goes on");
    // Before the prompt stands, nobody reads: an interrupt then belongs to nothing.
    terminal.wait_for("      -> ");
    terminal.type_keys("\x03");
    terminal.wait_for("canvass> ");
    terminal.type_keys("SELECT 7\r");
    terminal.wait_for("      -> ");
    terminal.type_keys("  AS seven;\r");
    terminal.wait_for("seven\r\n7\r\n");
    terminal.wait_for("canvass> ");
    terminal.type_keys(".history 2\r");
    terminal.wait_for("SELECT 7\r\n  AS seven;\r\n");
}

#[test]
fn commands_do_what_their_words_say() {
    let home = Home::new();
    let mut terminal = prompt(&home, 100, &[]);
    for (typed, said) in [
        ("\\x off", "mode is table"),
        ("\\x on", "mode is vertical"),
        ("\\x on", "mode is vertical"),
        ("\\x", "mode is table"),
        ("\\x auto", "mode is table, vertical where rows do not fit"),
        ("\\x sideways", "vertical is on, off or auto, not `sideways`"),
        (".mode parquet", "parquet is not in this version"),
        (".mode arrow", "`.once x.arrow`"),
        (".mode csv", "mode is csv"),
        (".maxrows 5", "maxrows is 5"),
        (".timer off", "timer is off"),
        ("SET canvass.wait = '1m';", "canvass.wait is 60s"),
        (".set expire 6h", "canvass.expire is 21600s"),
        (".tables net*", "netstat"),
        (".tables nothing", "no table's name fits `nothing`"),
        (".once one.json", "canvass> "),
        ("SELECT 1 AS a;", "written to `one.json`"),
        ("SELECT 2 AS a;", "a\r\n2\r\n"),
        (".agents agent.os = 'linux' OR true", "name,status,os"),
        (".agents os = nonsense", "1 | os = nonsense\r\n"),
        (".help \\x", "one line a cell"),
    ] {
        terminal.type_keys(&format!("{typed}\r"));
        terminal.wait_for(&format!("{typed}\r\n"));
        terminal.wait_for(said);
        if said != "canvass> " {
            terminal.wait_for("canvass> ");
        }
    }
    assert_eq!(std::fs::read_to_string(home.path().join("one.json")).unwrap(), "[\n{\"a\":1}\n]\n");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let home = Home::new();
    for columns in [40, 80, 120] {
        for statement in [
            "SELECT * FROM processes LIMIT 5",
            "SELECT * FROM files WHERE path = '/etc/passwd'",
            "SELECT path, path AS b, path AS c, size FROM files WHERE path UNDER '/etc' LIMIT 5",
            ".schema files",
            ".tables",
        ] {
            let mut command = home.command();
            command.args(["-c", statement]);
            let (status, written) = Terminal::run(&command, columns).ended();
            assert!(status.success(), "{written}");
            let table: Vec<&str> =
                written.lines().filter(|line| line.contains(" │ ") || line.contains("─┼─")).collect();
            assert!(table.len() >= 3, "{columns}: {statement}: {written}");
            for line in table {
                assert!(line.trim_end().width() <= usize::from(columns), "{columns}: {line}\n{written}");
            }
        }
    }
}
