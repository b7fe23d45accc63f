//! Old results stay what they were, whatever has become of the agents since.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;
mod foreign;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use canvass_planner::desk::{Desk, Entry, Gives, Running, State};
use canvass_planner::fleet::Fleet as _;
use canvass_planner::kept::{Forgetful, Keeper};
use canvass_planner::settings::Settings;
use canvass_protocol::action::Action;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::target::Status;
use canvass_tables::Table;
use canvass_tables::column::{Column, Kind};
use canvass_tables::module::Module;
use canvass_tables::table::{Declared, TableInfo};
use common::changing::{Changing, Notebook};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt as _;

static NUMBERS: Declared<i64> = Declared {
    info: TableInfo {
        name: "numbers",
        module: Module::reading("numbers"),
        about: "",
        bound: None,
        live: false,
        follows: false,
        example: "",
    },
    columns: &[
        Column::field("n", Kind::Integer, "", |n: &i64| (*n).into()),
        Column::field("word", Kind::Text, "", |n: &i64| {
            ["zero", "one", "two"].get(usize::try_from(*n).unwrap()).copied().into()
        }),
    ],
    collect: |collector| {
        for n in 0..4 {
            collector.row(n)?;
        }
        ControlFlow::Continue(())
    },
};

static TABLES: &[&dyn Table] = &[&NUMBERS];

/// A desk, and what it has been answered.
struct Hunt {
    fleet: Arc<Changing>,
    desk: Desk,
}

impl Hunt {
    fn new(fleet: &Arc<Changing>, keeper: Arc<dyn Keeper>) -> Hunt {
        let desk = Desk::with_tables(fleet.clone(), Settings::default(), TABLES).kept_by(keeper);
        Hunt { fleet: fleet.clone(), desk }
    }

    /// Rows, one a line in order, the account, and what was remarked. Also the id of the action, where there was one.
    async fn ask(&mut self, statement: &str) -> (Vec<String>, Vec<Entry>, Vec<String>, Option<String>) {
        let planned = self.desk.plan(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        let id = planned.action.as_ref().map(|action| action.id.to_string());
        let remarks = planned.remarks.clone();
        let envelope = planned.action.as_ref().map(|action| sealed(action.to_bytes()));
        let running = self.desk.run(planned, envelope).await.unwrap();
        let (rows, entries) = rows(running).await;
        (rows, entries, remarks, id)
    }

    async fn resume(&mut self, id: &str) -> (Vec<String>, Vec<Entry>, Vec<String>) {
        let envelope = self.fleet.signed(id).await.unwrap();
        let action = action_of(self, id).await;
        let planned = self.desk.plan_again(&action).await.unwrap();
        let remarks = planned.remarks.clone();
        let running = self.desk.resume(planned, envelope).await.unwrap();
        let (rows, entries) = rows(running).await;
        (rows, entries, remarks)
    }
}

fn sealed(payload: Vec<u8>) -> Envelope {
    Envelope { payload: String::from_utf8(payload).unwrap(), signatures: vec![] }
}

async fn rows(running: Running) -> (Vec<String>, Vec<Entry>) {
    let batches: Vec<RecordBatch> = running.rows.try_collect().await.unwrap();
    let table = pretty_format_batches(&batches).unwrap().to_string();
    // Without the padding, which goes by the rows beside.
    let plain = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rows: Vec<String> = table.lines().filter(|line| line.starts_with('|')).map(plain).collect();
    rows.sort();
    (rows, running.account.entries())
}

const NAMES: &[&str] = &["alpha", "beta", "beta", "gamma"];

/// Whether another desk, which has not kept the inventory of then, can tell too.
const ANY_DESK: bool = true;
const THIS_DESK: bool = false;

const STATEMENTS: &[(&str, bool)] = &[
    ("SELECT host, n FROM numbers WHERE n > 1", ANY_DESK),
    ("SELECT host, n, agent.tags['team'] AS team, agent.name FROM numbers WHERE agent.tags['team'] = 'test'", ANY_DESK),
    ("SELECT count(*) AS c FROM numbers", ANY_DESK),
    ("SELECT host, count(*) AS c FROM numbers GROUP BY host", ANY_DESK),
    ("SELECT host, n FROM numbers WHERE host = 'alpha' OR host = 'gamma'", ANY_DESK),
    ("SELECT host, n FROM numbers WHERE host = 'beta'", ANY_DESK),
    ("SELECT host, n FROM numbers WHERE host LIKE 'beta#%'", THIS_DESK),
    ("SELECT host, n FROM numbers WHERE host <> 'beta'", THIS_DESK),
    ("SELECT a.host, a.n, b.n AS m FROM numbers a JOIN numbers b ON a.host = b.host AND b.n = a.n + 1", ANY_DESK),
    (
        "SELECT a.n, b.n AS m FROM numbers a, numbers b WHERE a.host = 'alpha' AND b.host = 'gamma' AND a.n = b.n",
        ANY_DESK,
    ),
    (
        "SELECT a.host, b.host AS other FROM numbers a JOIN numbers b ON a.n = b.n \
         WHERE a.agent.status = 'online' AND b.agent.status = 'idle'",
        THIS_DESK,
    ),
    ("SELECT host, n, agent.status, agent.heartbeat_at FROM numbers", THIS_DESK),
    ("SELECT a.name, a.status, n.n FROM agents a LEFT JOIN numbers n ON n.host = a.name", THIS_DESK),
    ("SELECT host, n FROM numbers WHERE host IN (SELECT name FROM agents WHERE tags['team'] = 'test')", THIS_DESK),
    ("SELECT name FROM agents EXCEPT SELECT host FROM numbers WHERE n = 3", THIS_DESK),
];

type Change = (&'static str, fn(&Changing));

const CHANGES: &[Change] = &[
    ("nothing", |_| {}),
    ("all fell silent", |fleet| ["alpha", "beta", "gamma"].iter().for_each(|host| fleet.status(host, Status::Offline))),
    ("one is idle", |fleet| fleet.status("alpha", Status::Idle)),
    ("all left", |fleet| {
        let names: Vec<String> = futures::executor::block_on(canvass_planner::fleet::Fleet::endpoints(fleet))
            .unwrap()
            .into_iter()
            .map(|endpoint| endpoint.host)
            .collect();
        names.iter().for_each(|host| fleet.remove(host));
    }),
    ("one left", |fleet| fleet.remove("gamma")),
    ("tags changed", |fleet| ["alpha", "gamma"].iter().for_each(|host| fleet.tag(host, "other"))),
    ("a name changed", |fleet| fleet.rename("alpha", "omega")),
    ("names were swapped", |fleet| {
        fleet.rename("alpha", "x");
        fleet.rename("gamma", "alpha");
        fleet.rename("x", "gamma");
    }),
    ("the fleet was opened again", |fleet| fleet.opened_again.store(true, Ordering::Relaxed)),
    ("another came", |fleet| {
        fleet.add(50, "delta");
        fleet.add(51, "alpha");
    }),
    ("one left and another has its name", |fleet| {
        fleet.remove("alpha");
        fleet.add(52, "alpha");
    }),
];

#[tokio::test]
async fn results_stay_what_they_were() {
    for (statement, any_desk) in STATEMENTS {
        for (change, apply) in CHANGES {
            let late = matches!(*change, "all left" | "names were swapped");
            for late in if late { vec![false, true] } else { vec![false] } {
                let fleet = Arc::new(Changing::new(TABLES, NAMES));
                fleet.status("gamma", if statement.contains("idle") { Status::Idle } else { Status::Online });
                fleet.late_finals.store(late, Ordering::Relaxed);
                let mut hunt = Hunt::new(&fleet, Arc::new(Notebook::default()));
                let (then, entries, _, id) = hunt.ask(statement).await;
                let id = id.unwrap();
                let hosts = |entries: &[Entry]| -> Vec<(String, State, u64)> {
                    let mut hosts: Vec<_> = entries
                        .iter()
                        .map(|entry| (entry.endpoint.host.clone(), entry.state.clone(), entry.rows))
                        .collect();
                    hosts.sort_by(|a, b| a.0.cmp(&b.0));
                    hosts
                };
                let account = hosts(&entries);
                assert!(account.iter().all(|(_, state, _)| *state == State::Answered), "{statement}: {account:?}");
                apply(&fleet);
                let about = format!("{statement}\n{change}, finals late: {late}");

                let (now, entries, remarks) = hunt.resume(&id).await;
                assert_eq!((&now, hosts(&entries), remarks.len()), (&then, account.clone(), 0), "resume: {about}");
                let (now, _, remarks, _) = hunt.ask(&format!("SELECT * FROM results('{id}')")).await;
                assert_eq!((&now, remarks), (&then, vec![]), "results: {about}");

                if *any_desk {
                    let mut other = Hunt::new(&fleet, Arc::new(Forgetful));
                    let (now, entries, _) = other.resume(&id).await;
                    assert_eq!((&now, hosts(&entries)), (&then, account), "resume elsewhere: {about}");
                    let (now, _, remarks, _) = other.ask(&format!("SELECT * FROM results('{id}')")).await;
                    assert_eq!((&now, remarks), (&then, vec![]), "results elsewhere: {about}");
                }
            }
        }
    }
}

#[tokio::test]
async fn another_desk_says_what_it_cannot_know() {
    let fleet = Arc::new(Changing::new(TABLES, NAMES));
    let mut hunt = Hunt::new(&fleet, Arc::new(Notebook::default()));
    let (_, _, _, id) = hunt.ask("SELECT a.name, n.n FROM agents a JOIN numbers n ON n.host = a.name").await;
    let (_, _, remarks) = Hunt::new(&fleet, Arc::new(Forgetful)).resume(&id.unwrap()).await;
    assert_eq!(remarks, ["`agents` is read as it is now: how it was then was not kept on this machine"]);
}

#[tokio::test]
async fn hosts_of_an_old_result_are_asked_again_whatever_their_status() {
    for (statement, expected) in [
        ("SELECT host FROM numbers WHERE n = 0 AND agent.status IN ('online', 'idle')", vec!["| alpha |", "| gamma |"]),
        ("SELECT host FROM numbers WHERE n = 0", vec!["| gamma |"]),
    ] {
        let fleet = Arc::new(Changing::new(TABLES, &["alpha", "beta", "gamma"]));
        let mut hunt = Hunt::new(&fleet, Arc::new(Notebook::default()));
        let (_, _, _, id) = hunt.ask("SELECT host FROM numbers WHERE n = 1 AND host <> 'beta'").await;
        fleet.status("alpha", Status::Idle);
        let narrowed = format!("{statement} AND host IN (SELECT host FROM results('{}'))", id.unwrap());
        let (rows, entries, _, _) = hunt.ask(&narrowed).await;
        let mut wanted = expected.clone();
        wanted.push("| host |");
        assert_eq!(rows, wanted, "{statement}");
        assert_eq!(entries.len(), expected.len(), "{statement}");
    }
}

#[tokio::test]
async fn rows_without_a_final_record_are_as_in_a_live_run() {
    for keeper in [Arc::new(Notebook::default()) as Arc<dyn Keeper>, Arc::new(Forgetful)] {
        let fleet = Arc::new(Changing::new(TABLES, &["alpha", "beta"]));
        fleet.late_finals.store(true, Ordering::Relaxed);
        fleet.no_finals.store(true, Ordering::Relaxed);
        let mut hunt = Hunt::new(&fleet, keeper);
        let (then, entries, _, id) = hunt.ask("SELECT host, n FROM numbers").await;
        assert!(then.len() == 9 && entries.iter().all(|entry| entry.state == State::Waiting && entry.rows == 4));
        fleet.status("alpha", Status::Offline);
        let (now, entries, _) = hunt.resume(&id.unwrap()).await;
        assert_eq!(now, then);
        assert!(entries.iter().all(|entry| entry.state == State::Waiting && entry.rows == 4), "{entries:?}");
    }
}

#[tokio::test]
async fn local_files_are_those_of_then() {
    type Change = (&'static str, fn(&std::path::Path), Option<&'static str>);
    let change: &[Change] = &[
        ("is as it was", |_| {}, None),
        ("was written again", |path| std::fs::copy(path, path.with_extension("new")).map(|_| ()).unwrap(), None),
        ("has other rows", |path| std::fs::write(path, "word,why\nzero,other\n").unwrap(), Some("has changed")),
        ("is no file of its kind any more", |path| std::fs::write(path, "word\n\"").unwrap(), Some("has changed")),
        ("is gone", |path| std::fs::remove_file(path).unwrap(), Some("has gone")),
    ];
    for (about, change, lost) in change {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.csv");
        std::fs::write(&path, "word,why\none,first\ntwo,second\n").unwrap();
        let fleet = Arc::new(Changing::new(TABLES, &["alpha", "beta"]));
        let notebook = Arc::new(Notebook::default());
        let mut hunt = Hunt::new(&fleet, notebook.clone());
        let name = path.display();
        let (then, _, _, id) =
            hunt.ask(&format!("SELECT n.host, n.n, w.why FROM numbers n JOIN '{name}' w ON w.word = n.word")).await;
        assert_eq!(then.len(), 5, "{then:?}");
        let id = id.unwrap();
        change(&path);
        assert_eq!(hunt.resume(&id).await.0, then, "{about}");
        let results = format!("SELECT * FROM results('{id}')");
        assert_eq!(hunt.ask(&results).await.0, then, "{about}");
        let hosts = format!("SELECT count(*) AS c FROM numbers WHERE host IN (SELECT host FROM results('{id}'))");
        assert_eq!(hunt.ask(&hosts).await.0, ["| 8 |", "| c |"], "{about}");

        // A desk of another opens no file that somebody's words name.
        let mut other = Hunt::new(&fleet, Arc::new(Forgetful));
        let error = other.desk.plan(&results).await.err().unwrap();
        let said = format!("`{name}` is a local file of whoever asked, and is not opened here");
        assert_eq!(error.message, said, "{about}");

        // The desk that asked, and has no copy left, reads the file at its path, where it is the one.
        notebook.lose_copies();
        match lost {
            None => assert_eq!(hunt.ask(&results).await.0, then, "{about}"),
            Some(lost) => {
                let error = hunt.desk.plan(&results).await.err().unwrap();
                let was = "it was 30 bytes of SHA-256 79f2dc6378c4aab9295aaa9b0b4bc3e7edc941331682167d26a76c7baf2a8460";
                let words = [name.to_string(), (*lost).to_owned(), was.to_owned()];
                assert!(words.iter().all(|words| error.message.contains(words)), "{about}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn settings_are_those_of_then() {
    let fleet = Arc::new(Changing::new(TABLES, &["alpha", "beta"]));
    let mut hunt = Hunt::new(&fleet, Arc::new(Notebook::default()));
    hunt.desk.plan("SET canvass.follow = true").await.unwrap();
    let (then, _, _, id) = hunt.ask("SELECT host, n FROM numbers").await;
    let id = id.unwrap();
    let action = action_of(&hunt, &id).await;
    let recorded: Vec<(&str, &str)> =
        action.inputs.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(recorded, [("decompress", "false"), ("follow", "true")]);
    for setting in ["follow = false", "decompress = true", "limit_rows = 1", "limit_bytes = 1", "expire = '1s'"] {
        hunt.desk.plan(&format!("SET canvass.{setting}")).await.unwrap();
    }
    assert_eq!(hunt.resume(&id).await.0, then);
    assert_eq!(hunt.ask(&format!("SELECT * FROM results('{id}')")).await.0, then);

    let mut newer = action;
    newer.inputs.settings.insert("two_stages".into(), "on".into());
    let error = hunt.desk.plan_again(&newer).await.err().unwrap();
    assert!(error.message.contains("a setting that is not in this version"), "{error:?}");
}

#[tokio::test]
async fn a_second_signer_is_warned_where_the_words_give_other_scans() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.csv");
    std::fs::write(&path, "word\none\n").unwrap();
    let file = format!("SELECT n.host FROM numbers n JOIN '{}' w ON w.word = n.word", path.display());
    type Case = (&'static str, &'static str, fn(&Changing), Gives);
    let cases: &[Case] = &[
        ("the same desk", "SELECT host FROM numbers WHERE n = 1", |_| {}, Gives::These),
        (
            "agents have come and gone",
            "SELECT host FROM numbers WHERE n = 1",
            |fleet| fleet.add(9, "delta"),
            Gives::These,
        ),
        (
            "the inventory's status",
            "SELECT host FROM numbers WHERE agent.status = 'idle' OR n = n",
            |_| {},
            Gives::These,
        ),
        (
            "agents chosen by the server's word",
            "SELECT host FROM numbers WHERE agent.public_ip = '203.0.113.7'",
            |fleet| fleet.add(9, "delta"),
            Gives::ThoseByAnotherInventory,
        ),
        (
            "hosts chosen by the inventory",
            "SELECT host FROM numbers WHERE host IN (SELECT name FROM agents WHERE os = 'linux')",
            |fleet| fleet.add(9, "delta"),
            Gives::ThoseByAnotherInventory,
        ),
    ];
    for (about, statement, change, expected) in cases {
        let fleet = Arc::new(Changing::new(TABLES, &["alpha", "beta"]));
        let mut author = Hunt::new(&fleet, Arc::new(Notebook::default()));
        for setting in ["decompress = true", "follow = true", "limit_rows = 9"] {
            author.desk.plan(&format!("SET canvass.{setting}")).await.unwrap();
        }
        let mut action = author.desk.plan(statement).await.unwrap().action.unwrap();
        change(&fleet);
        let mut signer = Hunt::new(&fleet, Arc::new(Forgetful));
        assert_eq!(signer.desk.gives(&action).await.unwrap(), *expected, "{about}");
        action.scans[0].limit = Some(7);
        assert_eq!(signer.desk.gives(&action).await.unwrap(), Gives::Others, "{about}");
    }
    let fleet = Arc::new(Changing::new(TABLES, &["alpha"]));
    let mut author = Hunt::new(&fleet, Arc::new(Notebook::default()));
    let action = author.desk.plan(&file).await.unwrap().action.unwrap();
    let error = Hunt::new(&fleet, Arc::new(Forgetful)).desk.gives(&action).await.unwrap_err();
    assert!(error.message.ends_with("is a local file of whoever asked, and is not opened here"), "{error:?}");
}

async fn action_of(hunt: &Hunt, id: &str) -> Action {
    let envelope = hunt.fleet.signed(id).await.unwrap();
    Action::parse(envelope.payload.as_bytes()).unwrap()
}

/// rows(p) + rows(NOT p) + rows(p IS NULL) are all rows, and each is where the shown host puts it.
#[tokio::test]
async fn a_predicate_on_host_is_one_on_the_host_that_is_shown() {
    let fleet = Arc::new(Changing::new(TABLES, NAMES));
    let mut hunt = Hunt::new(&fleet, Arc::new(Forgetful));
    let (all, _, _, _) = hunt.ask("SELECT host, n FROM numbers").await;
    assert_eq!(all.len(), 1 + 4 * 4);
    let second = all.iter().find_map(|row| row.split_once("beta#")).unwrap().1[..8].to_owned();
    for column in ["host", "agent.name"] {
        for predicate in [
            "= 'beta'".to_owned(),
            "<> 'beta'".to_owned(),
            format!("= 'beta#{second}'"),
            format!("IN ('alpha', 'beta#{second}')"),
            format!("NOT IN ('alpha', 'beta#{second}')"),
            "LIKE 'beta'".to_owned(),
            "LIKE 'beta#%'".to_owned(),
            "NOT LIKE 'b%a'".to_owned(),
            "~ '^beta$'".to_owned(),
            "!~ '^beta$'".to_owned(),
            "> 'beta'".to_owned(),
            "BETWEEN 'alpha' AND 'beta'".to_owned(),
        ] {
            let predicate = format!("{column} {predicate}");
            let mut parts = Vec::new();
            for part in [predicate.clone(), format!("NOT ({predicate})"), format!("({predicate}) IS NULL")] {
                let (rows, _, _, _) = hunt.ask(&format!("SELECT host, n FROM numbers WHERE {part}")).await;
                // Above a LIMIT nothing is pushed.
                let opaque =
                    format!("SELECT host, n FROM (SELECT host, n, agent FROM numbers LIMIT 1000) numbers WHERE {part}");
                let (wanted, _, _, _) = hunt.ask(&opaque).await;
                assert_eq!(rows, wanted, "{part}");
                parts.extend(rows.into_iter().filter(|row| !row.contains("host")));
            }
            parts.push(all.iter().find(|row| row.contains("host")).unwrap().clone());
            parts.sort();
            assert_eq!(parts, all, "{predicate}");
        }
    }
    for (statement, rows) in [
        (format!("SELECT a.n FROM numbers a JOIN agents b ON b.name = a.host WHERE b.name = 'beta#{second}'"), 4),
        ("SELECT n FROM numbers WHERE host IN (SELECT name FROM agents WHERE name LIKE 'beta#%')".to_owned(), 4),
        ("SELECT n FROM numbers WHERE host NOT IN (SELECT name FROM agents WHERE name = 'beta')".to_owned(), 12),
        (
            "SELECT a.n FROM numbers a JOIN numbers b ON a.host = b.host AND a.n = b.n WHERE b.host = 'beta'"
                .to_owned(),
            4,
        ),
    ] {
        assert_eq!(hunt.ask(&statement).await.0.len(), 1 + rows, "{statement}");
    }
}

#[tokio::test]
async fn a_status_of_the_inventory_decides_whom_an_endpoint_table_is_asked_of() {
    let fleet = Arc::new(Changing::new(TABLES, &["alpha", "beta", "gamma"]));
    fleet.status("beta", Status::Idle);
    let mut hunt = Hunt::new(&fleet, Arc::new(Forgetful));
    for statement in [
        "SELECT n.host FROM agents a JOIN numbers n ON n.host = a.name WHERE a.status = 'idle' AND n.n = 0",
        "SELECT n.host FROM numbers n JOIN agents a ON n.host = a.name AND a.status = 'idle' AND n.n = 0",
        "SELECT n.host FROM agents a, numbers n WHERE n.host = a.name AND status = 'idle' AND n.n = 0",
        "SELECT host FROM numbers WHERE n = 0 AND host IN (SELECT name FROM agents WHERE status = 'idle')",
        "SELECT host FROM numbers x WHERE n = 0 AND EXISTS (SELECT 1 FROM agents a WHERE a.name = x.host AND a.status = 'idle')",
        "WITH idle AS (SELECT * FROM agents WHERE status = 'idle') SELECT host FROM numbers JOIN idle ON host = idle.name WHERE n = 0",
        "SELECT host FROM numbers WHERE n = 0 AND agent['status'] = 'idle'",
        "SELECT host FROM numbers WHERE n = 0 AND agent.status = 'idle'",
    ] {
        let (rows, entries, _, _) = hunt.ask(statement).await;
        assert_eq!(rows, ["| beta |", "| host |"], "{statement}");
        assert_eq!(entries.len(), 1, "{statement}");
    }
}
