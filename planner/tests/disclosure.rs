//! What endpoints said narrows scans of the host that said it, and of no other: no host learns what another has, and none
//! chooses what is read on another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use canvass_planner::desk::Desk;
use canvass_planner::fleet::Fleet as _;
use canvass_planner::kept::Forgetful;
use canvass_planner::settings::Settings;
use canvass_protocol::target;
use canvass_protocol::value::{Truth, Value};
use canvass_tables::Table;
use canvass_tables::column::{Column, Kind};
use canvass_tables::module::Module;
use canvass_tables::table::{Declared, TableInfo};
use common::answers::envelope;
use common::changing::Changing;
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
            ["/w0", "/w1", "/w2", "/w3"].get(usize::try_from(*n).unwrap()).copied().into()
        }),
    ],
    collect: |collector| {
        for n in 0..4 {
            collector.row(n)?;
        }
        ControlFlow::Continue(())
    },
};

fn tables() -> &'static [&'static dyn Table] {
    static ALL: LazyLock<Vec<&dyn Table>> =
        LazyLock::new(|| canvass_tables::TABLES.iter().copied().chain([&NUMBERS as &dyn Table]).collect());
    &ALL
}

struct Hunt {
    fleet: Arc<Changing>,
    desk: Desk,
}

impl Hunt {
    /// Agents whose tag `team` is a path of their own: `/alpha`, `/beta` … of the second of a name too.
    fn new(names: &[&str]) -> Hunt {
        let fleet = Arc::new(Changing::new(tables(), names));
        for name in names {
            fleet.tag(name, &format!("/{name}"));
        }
        let desk = Desk::with_tables(fleet.clone(), Settings::default(), tables()).kept_by(Arc::new(Forgetful));
        Hunt { fleet, desk }
    }

    /// The rows of a statement in order, and the id of its action.
    async fn ask(&mut self, statement: &str) -> (Vec<String>, String) {
        let planned = self.desk.plan(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        let id = planned.action.as_ref().map(|action| action.id.to_string()).unwrap_or_default();
        let envelope = envelope(&planned);
        let rows = self.desk.run(planned, envelope).await.unwrap().rows;
        let batches: Vec<RecordBatch> = rows.try_collect().await.unwrap();
        let table = pretty_format_batches(&batches).unwrap().to_string();
        let mut rows: Vec<String> =
            table.lines().skip(3).filter(|line| line.starts_with('|')).map(str::to_owned).collect();
        rows.sort();
        (rows, id)
    }

    /// Which values each host is told that is asked, or why nobody is; and how the plan is explained.
    async fn told(&mut self, statement: &str) -> Result<(BTreeMap<String, BTreeSet<String>>, String), String> {
        let planned = self.desk.plan(statement).await;
        let planned = planned.map_err(|error| format!("{} / {}", error.message, error.hint.unwrap_or_default()))?;
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for endpoint in self.fleet.endpoints().await.unwrap() {
            for scan in planned.action.iter().flat_map(|action| &action.scans) {
                let meant =
                    scan.target.as_ref().map(|target| target::evaluate(target, &endpoint.facts, Some(&endpoint.words)));
                if meant.is_none_or(|meant| meant == Truth::True) {
                    let values = scan.sets.values().flatten().map(|value| match value {
                        Value::Text(text) => text.clone(),
                        other => other.to_string(),
                    });
                    told.entry(endpoint.host.clone()).or_default().extend(values);
                }
            }
        }
        Ok((told, planned.explanation))
    }
}

fn each(hosts: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    hosts
        .iter()
        .map(|(host, told)| ((*host).to_owned(), told.iter().map(|value| (*value).to_owned()).collect()))
        .collect()
}

const PATHS: &str = "SELECT host, agent.tags['team'] AS path, n FROM numbers WHERE n < 2";

#[tokio::test]
async fn a_host_is_told_its_own_values_alone() {
    let mut hunt = Hunt::new(&["alpha", "beta"]);
    let (rows, id) = hunt.ask(PATHS).await;
    assert_eq!(rows.len(), 4);
    let own = each(&[("alpha", &["/alpha"]), ("beta", &["/beta"])]);
    let cases = [
        "SELECT f.host, f.sha256 FROM results('ID') r JOIN files f ON f.path = r.path AND f.host = r.host",
        "SELECT f.host, f.sha256 FROM files f JOIN results('ID') r USING (host, path)",
        "SELECT f.host, f.sha256 FROM files f WHERE EXISTS (SELECT 1 FROM results('ID') r WHERE r.path = f.path AND r.host = f.host)",
        "WITH r AS (SELECT DISTINCT host, path FROM results('ID')) SELECT f.md5 FROM r JOIN files f ON f.host = r.host AND r.path = f.path",
        "SELECT f.host, f.size FROM agents a JOIN files f ON f.path = a.tags['team'] AND f.host = a.name",
        "SELECT p.pid FROM processes p JOIN results('ID') r ON p.path = r.path AND p.host = r.host",
    ];
    for statement in cases {
        let (told, explanation) = hunt.told(&statement.replace("ID", &id)).await.unwrap();
        assert_eq!(told, own, "{statement}");
        assert!(explanation.starts_with("asks 2 of 2 agents: 2 scans"), "{explanation}");
        assert!(!explanation.contains(" parts together"), "each host's scan is one of the same table: {explanation}");
    }
}

#[tokio::test]
async fn what_one_host_said_is_told_to_no_other() {
    let mut hunt = Hunt::new(&["alpha", "beta"]);
    let (_, id) = hunt.ask(PATHS).await;
    let refused = "no host is told what another said: `path` of `files` has no bound / equate hosts as well";
    // Its `host` is what an endpoint calls so, not what the desk knows it by.
    let (_, lie) = hunt.ask("SELECT agent.tags['team'] AS host, host AS path FROM numbers").await;
    let (_, mixed) = hunt
        .ask("SELECT host, word AS path FROM numbers UNION ALL SELECT word AS host, word AS path FROM numbers")
        .await;
    let cases = [
        "SELECT f.host, f.sha256 FROM results('ID') r JOIN files f ON f.path = r.path".to_owned(),
        "SELECT f.sha256 FROM files f WHERE f.path IN (SELECT path FROM results('ID'))".to_owned(),
        "SELECT f.sha256 FROM agents a JOIN files f ON f.path = a.tags['team']".to_owned(),
        "SELECT f.sha256 FROM agents a JOIN files f ON f.path = a.tags['team'] AND f.host = a.tags['team']".to_owned(),
        format!("SELECT f.sha256 FROM results('{lie}') r JOIN files f ON f.path = r.path AND f.host = r.host"),
        format!("SELECT f.sha256 FROM results('{mixed}') r JOIN files f ON f.path = r.path AND f.host = r.host"),
    ];
    for statement in cases {
        let error = hunt.told(&statement.replace("ID", &id)).await.unwrap_err();
        assert!(error.contains(refused), "{statement}\n{error}");
    }
    let nothing = each(&[("alpha", &[]), ("beta", &[])]);
    for statement in [
        "SELECT p.pid FROM processes p JOIN results('ID') r ON p.path = r.path",
        "SELECT p.pid FROM processes p WHERE p.path NOT IN (SELECT path FROM results('ID') WHERE path IS NOT NULL)",
        "SELECT u.uid FROM users u WHERE u.home IN (SELECT tags['team'] FROM agents)",
    ] {
        let (told, _) = hunt.told(&statement.replace("ID", &id)).await.unwrap();
        assert_eq!(told, nothing, "{statement}");
    }
}

#[tokio::test]
async fn names_of_hosts_go_on_choosing_whom_to_ask() {
    let mut hunt = Hunt::new(&["alpha", "beta"]);
    let (_, id) = hunt.ask(PATHS).await;
    for (statement, hosts) in [
        (
            "SELECT pid FROM processes WHERE host IN (SELECT host FROM results('ID') WHERE path = '/beta')",
            &["beta"][..],
        ),
        (
            "SELECT pid FROM processes WHERE host NOT IN (SELECT name FROM agents WHERE tags['team'] = '/beta')",
            &["alpha"],
        ),
        (
            "SELECT f.size FROM files f JOIN results('ID') r ON r.host = f.host WHERE f.path = '/etc/passwd'",
            &["alpha", "beta"],
        ),
    ] {
        let (told, _) = hunt.told(&statement.replace("ID", &id)).await.unwrap();
        assert_eq!(told, each(&hosts.iter().map(|host| (*host, &[][..])).collect::<Vec<_>>()), "{statement}");
    }
}

#[tokio::test]
async fn what_the_investigator_brings_is_told_to_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list.csv");
    std::fs::write(&file, "path\n/x\n/alpha\n").unwrap();
    let mut hunt = Hunt::new(&["alpha", "beta"]);
    let (_, id) = hunt.ask(PATHS).await;
    let statement = format!(
        "SELECT f.size FROM '{}' i JOIN results('{id}') r ON r.path = i.path JOIN files f ON f.path = i.path",
        file.display()
    );
    let all: &[&str] = &["/alpha", "/x"];
    assert_eq!(hunt.told(&statement).await.unwrap().0, each(&[("alpha", all), ("beta", all)]));
}

/// A second claimant goes by a name of the desk's making, and is told what its own rows say.
#[tokio::test]
async fn two_agents_of_one_name_are_two_hosts() {
    let mut hunt = Hunt::new(&["alpha", "beta", "beta"]);
    let hosts: Vec<String> =
        hunt.fleet.endpoints().await.unwrap().iter().map(|endpoint| endpoint.host.clone()).collect();
    hunt.fleet.tag(&hosts[2], "/second");
    let (_, id) = hunt.ask(PATHS).await;
    let statement = format!("SELECT f.md5 FROM results('{id}') r JOIN files f ON f.path = r.path AND f.host = r.host");
    let own = each(&[("alpha", &["/alpha"]), ("beta", &["/beta"]), (&hosts[2], &["/second"])]);
    assert_eq!(hunt.told(&statement).await.unwrap().0, own);
}

#[tokio::test]
async fn hosts_that_are_told_their_own_give_the_same_rows() {
    let mut hunt = Hunt::new(&["alpha", "beta", "gamma"]);
    let (_, id) = hunt
        .ask("SELECT host, n, word FROM numbers WHERE (host = 'alpha' AND n = 1) OR (host = 'beta' AND n IN (2, 3))")
        .await;
    for (statement, count) in [
        ("SELECT x.host, x.n FROM numbers x JOIN results('ID') r ON r.n = x.n AND r.host = x.host", 3),
        ("SELECT x.host, x.n FROM numbers x JOIN results('ID') r USING (host, n, word)", 3),
        ("SELECT x.host, r.word FROM results('ID') r LEFT JOIN numbers x ON r.n = x.n AND r.host = x.host", 3),
        (
            "SELECT x.host, y.n FROM numbers x JOIN results('ID') r ON r.n = x.n AND r.host = x.host \
             JOIN numbers y ON y.host = x.host AND y.n < x.n",
            6,
        ),
        ("SELECT x.host, x.n FROM numbers x JOIN results('ID') r ON r.n + 9 = x.n AND r.host = x.host", 0),
    ] {
        let statement = statement.replace("ID", &id);
        let (rows, _) = hunt.ask(&statement).await;
        let opaque = statement.replace("numbers x", "(SELECT * FROM numbers LIMIT 1000) x");
        let (expected, _) = hunt.ask(&opaque).await;
        assert_eq!((&rows, rows.len()), (&expected, count), "{statement}");
    }
}
