//! Two investigators: what needs both of them, and what a second one finds of the first one's.

use std::process::{Command, Output};

use canvass_examples::yard::Yard;

use crate::desk::{stderr, stdout};

const STATEMENT: &str = "SELECT host, name FROM users WHERE uid = 0";
const ROWS: &str = "host,name\nweb-1,root\n";

/// Alice's yard, with an agent whose accounts need two signatures, and Bob.
struct Pair {
    yard: Yard,
}

impl Pair {
    fn open(server: &[&str]) -> Pair {
        let mut yard = Yard::open(server).unwrap();
        let pair = |yard: &Yard, arguments: &[&str]| {
            let output = bob(yard).args(arguments).output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            stdout(&output)
        };
        let fingerprint = pair(&yard, &["key", "new", "bob", "--no-passphrase"]);
        let certificate = pair(&yard, &["key", "export", "bob"]);
        std::fs::write(yard.keyring().join("bob.asc"), certificate).unwrap();
        let listed = stdout(&yard.desk().args(["key", "list", "--format", "csv"]).output().unwrap());
        let alice =
            listed.lines().find(|line| line.starts_with("alice,")).unwrap().split(',').nth(2).unwrap().to_owned();
        let policy = format!(
            "[acl.default]\nminimum_weight = 1\n
             [acl.default.investigators.alice]\nfingerprint = \"{alice}\"\nweight = 1\n
             [acl.default.investigators.bob]\nfingerprint = \"{}\"\nweight = 1\n
             [acl.accounts]\nminimum_weight = 2\n",
            fingerprint.trim()
        );
        let path = yard.path().join("two.toml");
        std::fs::write(&path, policy).unwrap();
        yard.start_agent("web-1", "web-1", &["--policy", path.to_str().unwrap()]).unwrap();
        yard.wait_for(1).unwrap();
        Pair { yard }
    }

    /// Alice asks, and the agent refuses; returns the action's id.
    fn ask(&self) -> String {
        let output = self.yard.ask(&["--format", "csv", "-c", STATEMENT]).unwrap();
        let said = stderr(&output);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(4), "host,name\n"), "{said}");
        assert!(said.contains("accounts needs weight 2, signatures carry 1: alice"), "{said}");
        let hint = said.lines().last().unwrap();
        assert!(hint.starts_with("another investigator can sign it too: canvass --server http://"), "{said}");
        hint.rsplit_once("action cosign ").unwrap().1.to_owned()
    }

    fn bob(&self, arguments: &[&str]) -> Output {
        bob(&self.yard).args(["--server", &self.yard.url()]).args(arguments).output().unwrap()
    }

    fn bob_knows_alice(&self) {
        let file = self.yard.keyring().join("alice.asc");
        let output = bob(&self.yard).args(["key", "import"]).arg(file).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

/// Bob's `canvass`, at a desk of his own.
pub fn bob(yard: &Yard) -> Command {
    let home = yard.path().join("bob");
    let mut command = yard.desk();
    command.env("HOME", &home).env("XDG_CONFIG_HOME", home.join(".config"));
    command.env("XDG_DATA_HOME", home.join(".local/share"));
    command
}

pub fn check(output: &Output, code: i32, rows: &str, words: &[&str]) {
    let (out, err) = (stdout(output), stderr(output));
    assert_eq!((output.status.code(), out.as_str()), (Some(code), rows), "{err}");
    words.iter().for_each(|words| assert!(err.contains(words), "`{words}` is not in: {err}"));
}

#[test]
fn what_one_may_not_ask_two_may() {
    let pair = Pair::open(&[]);
    let id = pair.ask();
    let unknown = pair.bob(&["-y", "action", "cosign", &id]);
    check(&unknown, 2, "", &["nobody whom this machine knows has signed this action", "canvass key import FILE"]);
    pair.bob_knows_alice();
    check(&pair.bob(&["action", "cosign", &id]), 2, "", &["fleet    fleet-", "nobody is here to say yes"]);
    let cosigned = pair.bob(&["-y", "action", "cosign", &id[..13]]);
    let words = ["signed by alice (", "rows where uid = 0", "in its author's words", STATEMENT, "judge it again"];
    check(&cosigned, 0, "", &words);
    assert!(!stderr(&cosigned).contains("other scans"), "{}", stderr(&cosigned));
    let resume = format!(".resume {id}");
    let rows = pair.yard.ask(&["--wait", "20s", "--format", "csv", "-c", &resume]).unwrap();
    check(&rows, 0, ROWS, &["1 of 1 hosts · 1 answered"]);
    let again = pair.bob(&["-y", "action", "cosign", &id]);
    check(&again, 0, "", &["signed by alice (", "signed by bob ("]);
    let tally = "SELECT state, asked, answered, refused, rows FROM actions";
    check(
        &pair.bob(&["--format", "csv", "-c", tally]),
        0,
        "state,asked,answered,refused,rows\ncomplete,1,1,0,1\n",
        &[],
    );
}

#[test]
fn what_another_signed_is_found_at_the_server() {
    let pair = Pair::open(&[]);
    pair.bob_knows_alice();
    let id = pair.ask();
    let folder = pair.yard.path().join("exported");
    let folder = folder.to_str().unwrap();
    check(&pair.yard.ask(&["action", "export", &id, "-o", folder]).unwrap(), 0, "", &["gpg --verify"]);
    // An exported file is all that a second investigator needs to see.
    let file = format!("{folder}/{id}.json");
    check(&pair.bob(&["-y", "-c", &format!(".cosign {file}")]), 0, "", &["judge it again"]);
    let resumed = pair.bob(&["--wait", "20s", "--format", "csv", "-c", &format!(".resume {id}")]);
    check(&resumed, 0, ROWS, &["1 answered"]);
    let shown = pair.bob(&["action", "show", &id]);
    let said = stderr(&shown);
    assert!(said.contains("signed by alice (") && said.contains("signed by bob ("), "{said}");
    assert!(stdout(&shown).contains(&format!("\"id\": \"{id}\"")), "{}", stdout(&shown));
    check(
        &pair.bob(&["action", "show", "ffff"]),
        2,
        "",
        &["neither this machine nor the server knows an action `ffff`"],
    );

    // What Alice set is in the action, so Bob is not warned of scans that are as they should be.
    let decompress = "SET canvass.decompress = true";
    let named = "SELECT host FROM users WHERE name = 'root'";
    assert_eq!(pair.yard.ask(&["-c", decompress, "-c", named]).unwrap().status.code(), Some(4));
    let latest = "SELECT id FROM actions ORDER BY created_at DESC LIMIT 1";
    let id = stdout(&pair.bob(&["-q", "--format", "csv", "-c", latest])).lines().nth(1).unwrap().to_owned();
    let cosigned = pair.bob(&["-y", "action", "cosign", &id]);
    check(&cosigned, 0, "", &["judge it again"]);
    assert!(!stderr(&cosigned).contains("warning"), "{}", stderr(&cosigned));
    // Files that her statement names are not opened at his desk, which he is told.
    let names = pair.yard.path().join("names.csv");
    std::fs::write(&names, "name\nroot\n").unwrap();
    let listed = format!("SELECT u.host FROM users u JOIN '{}' l ON l.name = u.name", names.display());
    assert_eq!(pair.yard.ask(&["-c", &listed]).unwrap().status.code(), Some(4));
    let id = stdout(&pair.bob(&["-q", "--format", "csv", "-c", latest])).lines().nth(1).unwrap().to_owned();
    let warned = pair.bob(&["-y", "action", "cosign", &id]);
    let told =
        ["whether the statement gives these scans cannot be told here: `", "is not opened here", "judge it again"];
    check(&warned, 0, "", &told);

    let waiting =
        ["--wait", "1s", "--expire", "1m", "-c", "SELECT host FROM users WHERE uid = 7 AND agent.name = 'web-1'"];
    assert_eq!(pair.yard.ask(&waiting).unwrap().status.code(), Some(4));
    let id = stdout(&pair.bob(&["-q", "--format", "csv", "-c", latest])).lines().nth(1).unwrap().to_owned();
    check(&pair.bob(&["action", "cancel", &id]), 0, "", &[&format!("withdrawn: {id}")]);
    check(&pair.bob(&["-y", "action", "cosign", &id]), 2, "", &["the action was withdrawn"]);
}
