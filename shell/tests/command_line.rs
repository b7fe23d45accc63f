//! The program as it is called: flags, streams, files and exit codes, on a fleet of two small hosts.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod hostile;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

struct Desk {
    home: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        let home = tempfile::tempdir().unwrap();
        for (host, users) in
            [("db-1", "root:x:0:0::/root:/bin/sh\n"), ("web-1", "root:x:0:0::/root:/bin/sh\nann:x:7:7::/:/bin/sh\n")]
        {
            let root = home.path().join("fleet").join(host);
            std::fs::create_dir_all(root.join("etc")).unwrap();
            std::fs::write(root.join("etc/passwd"), users).unwrap();
            std::fs::write(root.join("host.toml"), "os = \"linux\"\narch = \"x86_64\"\n").unwrap();
        }
        Desk { home }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_canvass"));
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("CANVASS_PASSPHRASE")
            .env_remove("CANVASS_SERVER")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.command(arguments).output().unwrap())
    }

    /// Asks the fleet of fixtures.
    fn ask(&self, arguments: &[&str]) -> Answer {
        self.run(&[&["--fleet", "fleet"], arguments].concat())
    }

    fn feed(&self, arguments: &[&str], input: &str) -> Answer {
        let mut command = self.command(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Answer::of(child.wait_with_output().unwrap())
    }
}

#[derive(Debug)]
struct Answer {
    code: i32,
    out: String,
    said: String,
}

impl Answer {
    fn of(output: Output) -> Answer {
        Answer {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            said: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn check(&self, code: i32, out: &str, said: &str) {
        assert_eq!(self.code, code, "{self:#?}");
        assert_eq!(self.out, out, "{self:#?}");
        assert!(self.said.contains(said), "{self:#?}");
    }
}

const COUNT: &str = "SELECT host, count(*) AS n FROM users GROUP BY host ORDER BY host";

#[test]
fn results_go_to_stdout_and_the_rest_to_stderr() {
    let desk = Desk::new();
    let answer = desk.ask(&["-c", COUNT]);
    answer.check(0, "host\tn\ndb-1\t1\nweb-1\t2\n", "2 rows from 2 of 2 hosts · 2 answered · ");
    assert!(answer.said.contains("made the key `local` for this machine"));
    let again = desk.ask(&["-q", "-c", COUNT]);
    again.check(0, "host\tn\ndb-1\t1\nweb-1\t2\n", "");
    assert_eq!(again.said, "");
}

#[test]
fn statements_come_from_flags_files_and_standard_input() {
    let desk = Desk::new();
    std::fs::write(desk.path("q.sql"), "-- two\nSELECT 2 AS b;\nSELECT 3 AS c").unwrap();
    desk.ask(&["-q", "-c", "SELECT 1 AS a", "-f", "q.sql"]).check(0, "a\n1\nb\n2\nc\n3\n", "");
    desk.feed(&["--fleet", "fleet", "-q"], "SELECT 1 AS a;\n.mode jsonl\nSELECT\n 2 AS b").check(
        0,
        "a\n1\n{\"b\":2}\n",
        "",
    );
    desk.ask(&["-f", "none.sql"]).check(2, "", "`none.sql`: No such file");
    desk.ask(&["-q", "SELECT 1 AS a"]).check(0, "a\n1\n", "");
    desk.ask(&["q.sql"]).check(2, "", "`-f q.sql` runs the statements of a file");
}

#[test]
fn files_and_statements_run_in_the_order_given() {
    let desk = Desk::new();
    std::fs::write(desk.path("set.sql"), "SET canvass.limit_rows = 1;").unwrap();
    let count = "SELECT name FROM users WHERE host = 'web-1'";
    desk.ask(&["-q", "-f", "set.sql", "-c", count]).check(5, "name\nroot\n", "cut short by limit_rows");
    desk.ask(&["-q", "-c", count, "-f", "set.sql"]).check(0, "name\nroot\nann\n", "");
}

#[test]
fn a_file_is_written_in_the_format_of_its_ending() {
    let desk = Desk::new();
    let read = |name: &str| std::fs::read_to_string(desk.path(name)).unwrap();
    for (file, expected) in [
        ("x.json", "[\n{\"a\":1}\n]\n"),
        ("x.jsonl", "{\"a\":1}\n"),
        ("x.csv", "a\n1\n"),
        ("x.md", "| a |\n| ---: |\n| 1 |\n"),
        ("x.tsv", "a\n1\n"),
        ("x", "a\n1\n"),
    ] {
        desk.ask(&["-q", "-o", file, "-c", "SELECT 1 AS a"]).check(0, "", "");
        assert_eq!(read(file), expected, "{file}");
        desk.ask(&["-q", "-c", &format!(".once s-{file}"), "-c", "SELECT 1 AS a", "-c", "SELECT 2 AS b"])
            .check(0, "b\n2\n", "");
        assert_eq!(read(&format!("s-{file}")), expected, "{file}");
    }
    desk.ask(&["-o", "x.arrow", "-c", "SELECT 1 AS a"]).check(0, "", "1 row");
    assert!(std::fs::read(desk.path("x.arrow")).unwrap().starts_with(b"ARROW1"));
    desk.ask(&["-o", "x.parquet", "-c", "SELECT 1 AS a"]).check(2, "", "parquet is not in this version");
    desk.ask(&["-o", "x.xlsx", "-c", "SELECT 1 AS a"]).check(0, "", "the ending of `x.xlsx` names no format");
    desk.ask(&["-o", "t.csv", "--format", "json", "-c", "SELECT 1 AS a"]).check(0, "", "");
    assert!(read("t.csv").starts_with('['));
    let table = desk.ask(&["-o", "tables.csv", "tables"]);
    assert!(table.code == 0 && read("tables.csv").starts_with("table,module,bound,about\n"), "{table:?}");
}

#[test]
fn a_file_that_holds_one_result_takes_no_second() {
    let desk = Desk::new();
    for file in ["two.csv", "two.json", "two.arrow"] {
        let answer = desk.ask(&["-o", file, "-c", "SELECT 1 AS a; SELECT 2 AS b"]);
        answer.check(2, "", "holds one result, and it has one already");
        assert!(!desk.path(file).exists());
    }
    desk.ask(&["-q", "-o", "two.jsonl", "-c", "SELECT 1 AS a; SELECT 2 AS b"]).check(0, "", "");
    assert_eq!(std::fs::read_to_string(desk.path("two.jsonl")).unwrap(), "{\"a\":1}\n{\"b\":2}\n");
    let script = ".output all.jsonl\nSELECT 1 AS a;\nSELECT 2 AS b;\n.output\nSELECT 3 AS c;\n";
    desk.feed(&["--fleet", "fleet", "-q"], script).check(0, "c\n3\n", "");
    assert_eq!(std::fs::read_to_string(desk.path("all.jsonl")).unwrap(), "{\"a\":1}\n{\"b\":2}\n");
    desk.ask(&["-c", ".mode parquet"]).check(2, "", "parquet is not in this version");
    desk.ask(&["-c", ".mode arrow"]).check(2, "", "hint: `.once x.arrow`");
    desk.ask(&["-c", ".once"]).check(2, "", "`.once` needs a file");
    desk.ask(&["-c", ".once no/such/x.csv"]).check(2, "", "`no/such/x.csv`: ");
}

#[test]
fn a_server_can_be_configured() {
    let desk = Desk::new();
    let config = desk.path(".config/canvass/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(&config, "server = \"http://127.0.0.1:9\"\n").unwrap();
    desk.run(&["-c", "SELECT 1 AS a"]).check(3, "", "`http://127.0.0.1:9` cannot be reached");
    desk.run(&["action", "cosign", "0199"]).check(3, "", "`http://127.0.0.1:9` cannot be reached");
    let variable = |value: &str, arguments: &[&str]| {
        Answer::of(desk.command(arguments).env("CANVASS_SERVER", value).output().unwrap())
    };
    variable("http://127.0.0.1:7", &["-c", "SELECT 1 AS a"]).check(3, "", "`http://127.0.0.1:7` cannot be reached");
    variable("", &["-c", "SELECT 1 AS a"]).check(3, "", "`http://127.0.0.1:9` cannot be reached");
    for flags in [["--fleet", "fleet"].as_slice(), &["--local"]] {
        variable("http://127.0.0.1:7", &[flags, &["-q", "-c", "SELECT 1 AS a"]].concat()).check(0, "a\n1\n", "");
    }
    assert_eq!(variable("http://127.0.0.1:7", &["tables"]).code, 0);
    std::fs::write(&config, "servr = 1\n").unwrap();
    desk.run(&["-c", "SELECT 1 AS a"]).check(2, "", "line 1: unknown field `servr`");
    desk.ask(&["-q", "-c", "SELECT 1 AS a"]).check(0, "a\n1\n", "");
}

#[test]
fn the_wait_is_what_the_settings_say() {
    let desk = Desk::new();
    for (arguments, expected) in
        [([].as_slice(), "30s"), (&["--wait", "5m"], "300s"), (&["--wait", "expire"], "expire")]
    {
        let expected = format!("setting\tvalue\nwait\t{expected}\n");
        desk.ask(&[arguments, &["-c", ".set wait"]].concat()).check(0, &expected, "");
    }
}

#[test]
fn a_reader_of_both_outputs_who_leaves_is_no_error() {
    let desk = Desk::new();
    let program = env!("CARGO_BIN_EXE_canvass");
    for statement in ["SELECT value FROM generate_series(1, 100000)", "SELECT 1; SELECT 2; SELECT bad"] {
        let typed = format!("{{ '{program}' -c '{statement}' 2>&1; echo $? > code; }} | head -1");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &typed])
            .current_dir(desk.home.path())
            .env("HOME", desk.home.path())
            .env_remove("CANVASS_SERVER");
        assert!(shell.output().unwrap().status.success());
        let code = std::fs::read_to_string(desk.path("code")).unwrap();
        assert!(["0\n", "2\n"].contains(&code.as_str()), "{statement}: {code}");
    }
}

#[test]
fn a_script_stops_at_the_first_exit_2() {
    let desk = Desk::new();
    let answer = desk.ask(&["-q", "-c", "SELECT 1 AS a; SELEC 2; SELECT 3", "-c", "SELECT 4"]);
    answer.check(2, "a\n1\n", "1 | SELEC 2\n  | ^^^^^");
}

#[test]
fn errors_carry_a_caret_and_a_correction() {
    let desk = Desk::new();
    desk.ask(&["-c", "SELECT nme FROM users"]).check(
        2,
        "",
        "1 | SELECT nme FROM users\n  |        ^^^\nhint: did you mean `name`?",
    );
    desk.ask(&["-c", "SELECT :who", "-v", "whom=x"]).check(2, "", "hint: did you mean `:whom`?");
    desk.ask(&["-c", ".tabels"]).check(2, "", "hint: did you mean `.tables`?");
    assert!(!desk.path(".local/share/canvass/actions").exists());
}

#[test]
fn a_variable_is_a_value_whatever_it_holds() {
    let desk = Desk::new();
    let evil = "n=x' OR '1'='1";
    desk.ask(&["-q", "-c", "SELECT name FROM users WHERE name = :n", "-v", evil]).check(0, "name\n", "");
    desk.ask(&["-q", "-c", "SELECT uid FROM users WHERE uid = :n LIMIT :n", "-v", "n=7"]).check(0, "uid\n7\n", "");
}

#[test]
fn a_target_that_matches_nobody_is_no_answer() {
    let desk = Desk::new();
    let nobody = desk.ask(&["-c", "SELECT name FROM users WHERE agent.os = 'plan9'"]);
    nobody.check(4, "name\n", "0 rows from 0 of 0 hosts · 0 answered · ");
    nobody.check(4, "name\n", "warning: no agent matches: agent.os = 'plan9'\nhint: agents have agent.os = 'linux'\n");
    let typo = desk.ask(&["-q", "-c", "SELECT name FROM users WHERE host = 'web1'", "-c", "SELECT 1 AS a"]);
    typo.check(4, "name\na\n1\n", "warning: no agent matches: host = 'web1'\nhint: did you mean 'web-1'?\n");
    let count = desk.ask(&["-c", "SELECT count(*) AS n FROM users WHERE host = 'WEB-1'"]);
    count.check(4, "n\n0\n", "hint: did you mean 'web-1'?\n");
    let some = desk.ask(&["-c", "SELECT name FROM users WHERE host IN ('db-1', 'web1')"]);
    some.check(0, "name\nroot\n", "warning: no agent has host = 'web1'\nhint: did you mean 'web-1'?\n");
    let data = "SELECT name FROM users WHERE host IN (SELECT name FROM agents WHERE os = 'plan9')";
    desk.ask(&["-c", data]).check(0, "name\n", "warning: nobody is asked: no agent is among the hosts");
    let explained = desk.ask(&["-c", "EXPLAIN SELECT name FROM users WHERE host = 'web1'"]);
    assert!(explained.code == 0 && explained.out.contains("no agent matches: host = 'web1'"), "{explained:#?}");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_signed() {
    let desk = Desk::new();
    let check = |predicate: &str, said: &str| {
        let statement = format!("SELECT path FROM files WHERE path UNDER '/etc' AND {predicate}");
        desk.ask(&["-c", &statement]).check(2, "", said);
    };
    check("type = 'dir'", "error: `type` is never 'dir'\n");
    check("type = 'dir'", "^^^^^\nhint: did you mean 'directory'?");
    check("md5 = 'abc'", "error: `md5` has 32 hexadecimal digits, and 'abc' has 3");
    check("permissions = '644'", "hint: did you mean '0644'?");
    desk.ask(&["-c", "SELECT pid FROM netstat WHERE state = 'listen'"]).check(2, "", "did you mean 'LISTEN'?");
    assert!(!desk.path(".local/share/canvass/actions").exists());
}

#[test]
fn hosts_that_meet_by_accident_are_warned_of() {
    let desk = Desk::new();
    let statement = "SELECT count(*) AS n FROM users a JOIN users b ON a.uid = b.uid";
    desk.ask(&["-c", statement]).check(0, "n\n5\n", "hint: add AND a.host = b.host\n");
    let said = desk.ask(&["-c", &format!("{statement} AND a.host = b.host")]);
    said.check(0, "n\n3\n", "1 row from 2 of 2 hosts");
    assert!(!said.said.contains("may meet"), "{said:#?}");
}

#[test]
fn hashes_of_a_list_that_are_none_are_warned_of() {
    let desk = Desk::new();
    let good = "d41d8cd98f00b204e9800998ecf8427e";
    std::fs::write(
        desk.path("iocs.csv"),
        format!("md5\n{good}\nd41d8cd98f00b204e9800998ecf8427\n{}\n", "0".repeat(32)),
    )
    .unwrap();
    let statement = "SELECT f.path FROM files f JOIN 'iocs.csv' i ON f.md5 = i.md5 WHERE f.path UNDER '/etc'";
    let said = "warning: 1 of the 3 values of md5 of 'iocs.csv' is no `md5`: 'd41d8cd98f00b204e9800998ecf8427'\n";
    desk.ask(&["-c", statement]).check(0, "path\n", said);
}

#[test]
fn a_limit_that_cuts_is_exit_5_and_said() {
    let desk = Desk::new();
    let statement = "SET canvass.limit_rows = 1; SELECT name FROM users WHERE host = 'web-1'";
    desk.ask(&["-q", "--format", "csv", "-c", statement]).check(5, "name\nroot\n", "cut short by limit_rows on web-1");
    let table = desk.ask(&["--format", "table", "-c", statement]);
    assert!(table.out.contains("(cut short by limit_rows on web-1: rows may be missing)"), "{table:#?}");
    desk.ask(&["-q", "-c", "SELECT name FROM users LIMIT 1"]).check(0, "name\nroot\n", "");
}

#[test]
fn many_agents_need_a_yes() {
    let desk = Desk::new();
    let statement = "SET canvass.confirm_above = 1; SELECT count(*) AS n FROM users";
    desk.ask(&["-c", statement]).check(2, "", "this asks 2 agents, and nobody is here to say yes");
    assert!(!desk.path(".local/share/canvass/actions").exists());
    desk.ask(&["-q", "-y", "-c", statement]).check(0, "n\n3\n", "");
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let desk = Desk::new();
    desk.ask(&["-o", "out.json", "--format", "json", "-c", "SELECT 1 AS a"]).check(0, "", "1 row");
    assert_eq!(std::fs::read_to_string(desk.path("out.json")).unwrap(), "[\n{\"a\":1}\n]\n");
    desk.ask(&["-o", "bad.csv", "-c", "SELECT 1; SELEC"]).check(2, "", "error:");
    desk.ask(&["-o", "no/such/out.csv", "-c", "SELECT 1"]).check(2, "", "No such file");
    let left: Vec<String> =
        desk.home.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with(".canvass") || name.starts_with("bad")), "{left:?}");
}

#[test]
fn what_this_version_lacks_is_said() {
    let desk = Desk::new();
    desk.run(&["--server", "https://127.0.0.1:9", "-c", "SELECT 1"]).check(3, "", "cannot be reached");
    desk.run(&["check", "x.sql"]).check(2, "", "`canvass check` is not in this version");
    desk.run(&["action", "cosign", "0199"]).check(2, "", "this needs a server");
    desk.ask(&["-c", ".map x.svg"]).check(2, "", "`.map` is not in this version");
    desk.ask(&["--format", "parquet", "-o", "x", "-c", "SELECT 1"]).check(2, "", "parquet is not in this version");
    desk.ask(&["--format", "arrow", "-c", "SELECT 1"]).check(2, "", "add `-o FILE`");
    desk.run(&["--local", "--fleet", "fleet", "-c", "SELECT 1"]).check(2, "", "exclude each other");
    desk.run(&["-c", "SELECT 1", "tables"]).check(2, "", "do not go with a sub-command");
}

#[test]
fn fleets_that_cannot_be_opened() {
    let desk = Desk::new();
    desk.run(&["--fleet", "none", "-c", "SELECT 1"]).check(2, "", "`none`: No such file");
    std::fs::write(desk.path("fleet/web-1/host.toml"), "os = [").unwrap();
    desk.ask(&["-c", "SELECT 1"]).check(2, "", "host `web-1` cannot be opened");
}

#[test]
fn what_was_signed_is_kept_and_verifies() {
    let desk = Desk::new();
    assert_eq!(desk.ask(&["-c", COUNT]).code, 0);
    let shown = desk.run(&["action", "show", "last"]);
    assert!(shown.out.contains(COUNT) && shown.said.contains("signed by local"), "{shown:#?}");
    let answer = desk.run(&["action", "export", "last", "-o", "exported"]);
    assert_eq!((answer.code, answer.out.as_str()), (0, ""));
    let files: Vec<_> = desk.path("exported").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2);

    let home = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap();
    let gpg = |arguments: &[&Path]| {
        Command::new("gpg").arg("--homedir").arg(home.path()).arg("--batch").args(arguments).output().unwrap()
    };
    assert!(gpg(&[Path::new("--import"), &desk.path(".config/canvass/keys/local.asc")]).status.success());
    let armor = files.iter().find(|path| path.extension().is_some_and(|extension| extension == "asc")).unwrap();
    let verified = gpg(&[Path::new("--verify"), armor, &armor.with_extension("")]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let _ = Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "all"]).status();
}

#[test]
fn keys_are_made_named_and_refused() {
    let desk = Desk::new();
    desk.run(&["key", "new", "alice"]).check(2, "", "CANVASS_PASSPHRASE");
    let made = desk.run(&["key", "new", "alice", "--no-passphrase"]);
    assert_eq!(made.code, 0);
    assert!(made.said.contains("whoever reads its file can sign as you"));
    let fingerprint = made.out.trim().to_owned();
    desk.ask(&["-q", "--key", &fingerprint, "-c", "SELECT count(*) AS n FROM users"]).check(0, "n\n3\n", "");
    assert!(desk.run(&["action", "show", "last"]).said.contains("signed by alice"));
    desk.ask(&["--key", "alcie", "-c", COUNT]).check(2, "", "did you mean `alice`?");
    let path = desk.path(".config/canvass/keys/alice.pgp");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    for key in ["alice", path.to_str().unwrap()] {
        desk.ask(&["--key", key, "-c", COUNT]).check(2, "", "is open to others (mode 0644)");
    }
    desk.run(&["key", "export", "local"]).check(2, "", "there is no key `local`");
    assert_eq!(desk.ask(&["-q", "-c", COUNT]).code, 0);
    desk.run(&["key", "export", "local"]).check(2, "", "signs for this machine alone");
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    let desk = Desk::new();
    let statement = "SELECT a.value FROM generate_series(1, 1000) a, generate_series(1, 1000) b";
    let mut child = desk
        .command(&["--fleet", "fleet", "-c", statement])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked") && !said.contains("error"), "{said}");
}

#[test]
fn tables_explanations_and_completions_are_printed() {
    let desk = Desk::new();
    let tables = desk.run(&["tables", "--format", "csv"]);
    assert!(tables.out.starts_with("table,module,bound,about\nfiles,"), "{tables:#?}");
    assert!(
        desk.run(&["--format", "jsonl", "tables", "users"]).out.contains("{\"column\":\"uid\",\"type\":\"integer\"")
    );
    desk.run(&["tables", "usres"]).check(2, "", "did you mean `users`?");
    let plan = desk.ask(&["--format", "table", "-c", "EXPLAIN SELECT name FROM users WHERE uid = 0"]);
    assert!(plan.code == 0 && plan.out.contains("scan 1: users"), "{plan:#?}");
    assert!(!desk.path(".local/share/canvass/actions").exists());
    assert!(desk.run(&["completions", "bash"]).out.contains("_canvass()"));
}
