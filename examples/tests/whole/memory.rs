//! What agents in the program answered is there for later runs of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::desk::{Home, stderr, stdout, transcript};

const ASK: &str = "SELECT host, name FROM users WHERE name = 'root' ORDER BY host";
const ROWS: &str = "host,name\ndb-1,root\nlaptop-7,root\nweb-1,root\n";

fn fleet() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fleet")
}

struct Desk {
    home: Home,
    whom: Vec<String>,
}

impl Desk {
    /// One that asks a folder of hosts.
    fn of(folder: &Path) -> Desk {
        Desk { home: Home::new(), whom: vec!["--fleet".into(), folder.display().to_string()] }
    }

    fn run(&self, statement: &str) -> Output {
        let mut command = self.home.command();
        command.args(&self.whom).args(["--format", "csv", "-c", statement]).output().unwrap()
    }

    fn check(&self, statement: &str, rows: &str, words: &str) {
        let output = self.run(statement);
        let said = transcript(&output);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), rows), "{statement}\n{said}");
        assert!(stderr(&output).contains(words), "{statement}\n{said}");
    }

    fn fails(&self, statement: &str, words: &str) {
        let output = self.run(statement);
        assert_eq!(output.status.code(), Some(2), "{statement}\n{}", transcript(&output));
        assert!(stderr(&output).contains(words), "{statement}\n{}", transcript(&output));
    }

    fn kept(&self) -> PathBuf {
        self.home.path().join(".local/share/canvass/answers")
    }
}

#[test]
fn a_folder_of_hosts_has_a_past() {
    let desk = Desk::of(&fleet());
    desk.check("SELECT count(*) AS n FROM actions", "n\n0\n", "1 row");
    desk.fails(".resume last", "no action `last` was asked of");
    desk.check(ASK, ROWS, "3 of 3 hosts · 3 answered");
    desk.check("SELECT * FROM results('last') ORDER BY host DESC LIMIT 1", "host,name\nweb-1,root\n", "1 row");
    desk.check(
        "SELECT state, asked, answered, rows FROM actions",
        "state,asked,answered,rows\ncomplete,3,3,3\n",
        "1 row",
    );
    desk.check(
        "SELECT c.host, c.state, c.rows FROM commands c JOIN actions a ON a.id = c.action ORDER BY c.host",
        "host,state,rows\ndb-1,answered,1\nlaptop-7,answered,1\nweb-1,answered,1\n",
        "3 rows",
    );
    desk.check(".resume last", ROWS, "3 rows from 3 of 3 hosts · 3 answered");
    let id = stdout(&desk.run("SELECT id FROM actions")).lines().nth(1).unwrap().to_owned();
    desk.check(&format!(".resume {}", &id[..20]), ROWS, "3 answered");
    desk.check(&format!("SELECT count(*) AS n FROM commands WHERE action = '{id}' AND host = 'db-1'"), "n\n1\n", "");
    let narrow = format!(
        "SELECT host, count(*) AS n FROM users
         WHERE host IN (SELECT host FROM results('{id}') WHERE host LIKE 'l%') GROUP BY host"
    );
    desk.check(&narrow, "host,n\nlaptop-7,4\n", "1 of 1 hosts · 1 answered");
    // The newest is another one now.
    desk.check(".resume last", "host,n\nlaptop-7,4\n", "1 answered");
    desk.check(&format!("SELECT count(*) AS n FROM results('{id}')"), "n\n3\n", "");
    for command in [format!("action show {id}"), format!("action export {id} -o out")] {
        let output = desk.home.command().args(&desk.whom).args(command.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}\n{}", transcript(&output));
    }
    desk.fails("SELECT * FROM results('zzzz')", "no action `zzzz` was asked of");
    desk.fails(&format!(".cancel {id}"), "no action is left to be withdrawn");
    desk.fails(".audit", "this needs a server");
}

#[test]
fn everybody_has_a_past_of_their_own() {
    let hosts = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(fleet().join("db-1")).arg(hosts.path()).status();
    assert!(copied.unwrap().success());
    let mut desk = Desk::of(&fleet());
    desk.check(ASK, ROWS, "3 answered");
    let id = stdout(&desk.run("SELECT id FROM actions")).lines().nth(1).unwrap().to_owned();
    let elsewhere = hosts.path().display().to_string();
    desk.whom = vec!["--fleet".into(), elsewhere.clone()];
    desk.check("SELECT count(*) AS n FROM actions", "n\n0\n", "");
    desk.fails(&format!(".resume {id}"), &format!("was asked of {elsewhere}"));
    desk.check(ASK, "host,name\ndb-1,root\n", "1 answered");
    desk.whom = vec!["--local".into()];
    desk.fails(&format!("SELECT * FROM results('{id}')"), "was asked of this machine");
    let local = "SELECT path, type FROM files WHERE path = '/etc/passwd'";
    desk.check(local, "path,type\n/etc/passwd,file\n", "1 answered");
    desk.check(".resume last", "path,type\n/etc/passwd,file\n", "1 answered");
    desk.check("SELECT count(*) AS n FROM actions", "n\n1\n", "");
    // A way to the folder that goes over a link is a way to the same hosts.
    let link = desk.home.path().join("hosts");
    std::os::unix::fs::symlink(fleet(), &link).unwrap();
    desk.whom = vec!["--fleet".into(), link.display().to_string()];
    desk.check(&format!(".resume {id}"), ROWS, "3 answered");
}

#[test]
fn what_is_kept_is_private_and_believed_by_its_signatures() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = Desk::of(&fleet());
    desk.check(ASK, ROWS, "3 answered");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&desk.kept()), 0o700);
    let files: Vec<PathBuf> = fs::read_dir(desk.kept()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    let parts = files.iter().find(|file| file.extension().is_some_and(|extension| extension == "parts")).unwrap();
    let text = fs::read_to_string(parts).unwrap();
    // One agent's word is altered, another's lost, and the last torn as by a crash.
    let lines: Vec<&str> = text.lines().collect();
    let altered = lines[0].replacen("\\\"rows\\\":1", "\\\"rows\\\":0", 1);
    assert_ne!(altered, lines[0]);
    fs::write(parts, format!("{altered}\n{}\n{}", lines[1], &lines[2][..lines[2].len() / 2])).unwrap();
    let output = desk.run(".resume last");
    let said = transcript(&output);
    assert_eq!(stdout(&output).lines().count(), 2, "{said}");
    assert!(stderr(&output).contains("1 answered") && stderr(&output).contains("not believed"), "{said}");
    assert_eq!(output.status.code(), Some(4), "{said}");
}
