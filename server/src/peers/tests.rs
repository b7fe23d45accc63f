//! Servers over a real PostgreSQL: who leads, what each hears of the others, and what is left of one that has ended.

use canvass_protocol::envelope::Envelope;
use canvass_protocol::openpgp::Fingerprint;
use canvass_protocol::signed::Signed;
use canvass_services::Postgres as Instance;
use jiff::Timestamp;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::store::postgres::Postgres;
use crate::store::{Conclusion, NewPart, Revocation, Store as _, Totals};

struct Server {
    store: Postgres,
    peers: Arc<Peers>,
    news: mpsc::Receiver<News>,
}

impl Server {
    async fn join(instance: &Instance) -> Server {
        let (store, peers, news) = Postgres::join(&Url::parse(&instance.url()).unwrap()).await.unwrap();
        Server { store, peers, news }
    }

    async fn news(&mut self) -> News {
        timeout(Duration::from_secs(60), self.news.recv()).await.expect("no news came").unwrap()
    }

    /// What another wrote, until there is something that is looked for.
    async fn until(&mut self, mut found: impl FnMut(&Changes) -> bool) {
        loop {
            if let News::Changed(changes) = self.news().await
                && found(&changes)
            {
                return;
            }
        }
    }
}

fn ids(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn agent(id: &str) -> Agent {
    Agent {
        id: id.to_owned(),
        name: id.to_owned(),
        approval: None,
        heartbeat: Signed { statement: "{}".to_owned(), signature: "00".to_owned() },
        heard_at: Timestamp::UNIX_EPOCH,
        public_ip: None,
    }
}

fn action() -> Action {
    let envelope = Envelope { payload: "{}".to_owned(), signatures: vec!["s".to_owned()] };
    Action {
        hash: envelope.hash(),
        id: Uuid::from_u128(1),
        envelope,
        statement: "SELECT 1".to_owned(),
        investigator: "AB".to_owned(),
        signers: ids(&["AB"]),
        created_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::UNIX_EPOCH,
        answers_until: Timestamp::UNIX_EPOCH,
        withdrawal: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_share_a_database() {
    let instance = Instance::start(false).unwrap();
    let mut first = Server::join(&instance).await;
    let mut second = Server::join(&instance).await;
    assert!(first.peers.leads_at_first() && !second.peers.leads_at_first());
    assert_eq!(first.peers.fleet("acme").await.unwrap(), "acme");
    assert_eq!(second.peers.fleet("other").await.unwrap(), "acme", "the first one named it");
    let alone = Postgres::open(&Url::parse(&instance.url()).unwrap()).await.err().unwrap().to_string();
    assert!(alone.contains("another server uses this database"), "{alone}");

    eprintln!("what one writes the other hears, in words that hold many");
    let many: Vec<String> = (0..250).map(|number| format!("{number:064x}")).collect();
    second.store.admit(&many.iter().map(|id| agent(id)).collect::<Vec<_>>()).await.unwrap();
    let mut heard = BTreeSet::new();
    first
        .until(|changes| {
            heard.extend(changes.agents.iter().cloned());
            heard.len() == many.len()
        })
        .await;
    assert_eq!(first.peers.agents(&heard).await.unwrap().len(), many.len());
    let (hash, named) = (action().hash, ids(&["a", "b", "c"]));
    second.store.post(&action(), &named).await.unwrap();
    first.until(|changes| changes.actions.contains(&hash)).await;
    assert_eq!(first.peers.action(hash).await.unwrap(), Some((action(), false)));
    let progress = Progress { asked: 3, waiting: 3, ..Progress::default() };
    assert_eq!(first.peers.progress(hash).await.unwrap(), Some(progress));
    let conclusion = Conclusion {
        state: State::Refused,
        totals: Totals::default(),
        reason: Some("why".to_owned()),
        code: Some("weight".to_owned()),
        cut: None,
        judged: 1,
    };
    let part = NewPart {
        action: hash,
        run: 0,
        agent: "a".to_owned(),
        statement: "{}".to_owned(),
        signature: "01".to_owned(),
        body: vec![],
        room: u64::MAX,
        conclusion: Some(conclusion),
    };
    second.store.take(&[part], Timestamp::UNIX_EPOCH).await.unwrap();
    let who = BTreeSet::from(["a".to_owned()]);
    first.until(|changes| changes.answers.get(&hash) == Some(&who)).await;
    let commands = first.peers.commands(hash, &who).await.unwrap();
    assert_eq!((commands.len(), commands[0].state, commands[0].judged), (1, State::Refused, 1));
    second.store.close(hash).await.unwrap();
    first.until(|changes| changes.actions.contains(&hash)).await;
    assert_eq!(first.peers.progress(hash).await.unwrap(), None, "it is closed");
    let key = Fingerprint("A".repeat(40));
    let revocation = Revocation {
        certificate: key.clone(),
        key,
        armor: "armor".to_owned(),
        posted_by: "AB".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    };
    assert!(second.store.revoke(&revocation).await.unwrap());
    first.until(|changes| changes.revocations).await;
    assert_eq!(first.store.revocations(9).await.unwrap(), [revocation]);
    assert!(second.news.try_recv().is_err(), "nobody hears its own words");

    eprintln!("lines are to one server each, and end with it");
    first.peers.arrived(&ids(&["a", "b"])).await.unwrap();
    second.until(|changes| changes.lines.contains("b")).await;
    second.peers.arrived(&ids(&["b", "c"])).await.unwrap();
    let left = BTreeSet::from(["b".to_owned()]);
    first.peers.left(&left).await.unwrap();
    let moved = BTreeMap::from([("b".to_owned(), second.peers.id())]);
    assert_eq!(first.peers.lines_of(&left).await.unwrap(), moved, "it has come to another, and has not left");
    assert_eq!(first.peers.abandoned().await.unwrap(), [] as [String; 0]);
    let of = |lines: Vec<(String, i32)>| lines.into_iter().collect::<BTreeMap<String, i32>>();
    let (one, two) = (first.peers.id(), second.peers.id());
    let expected = BTreeMap::from([("a".to_owned(), one), ("b".to_owned(), two), ("c".to_owned(), two)]);
    assert_eq!(of(second.peers.lines().await.unwrap()), expected);
    second.peers.watch(one);
    drop(first);
    let (mut leads, mut ended) = (false, false);
    while !(leads && ended) {
        match second.news().await {
            News::Leads => leads = true,
            News::Ended => ended = true,
            _ => {}
        }
    }
    assert_eq!(second.peers.abandoned().await.unwrap(), ["a"]);
    assert_eq!(of(second.peers.lines().await.unwrap()).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_back_is_read_again() {
    let mut instance = Instance::start(true).unwrap();
    let mut server = Server::join(&instance).await;
    instance.kill();
    instance.start_again().unwrap();
    let (mut follows, mut missed, mut leads) = (false, false, false);
    while !(follows && missed && leads) {
        match server.news().await {
            News::Follows => follows = true,
            News::Missed => missed = true,
            News::Leads => leads = follows,
            News::Ended | News::Changed(_) => {}
        }
    }
    server.peers.arrived(&ids(&["a"])).await.unwrap();
    assert_eq!(server.peers.abandoned().await.unwrap(), [] as [String; 0], "it is there again");
}
