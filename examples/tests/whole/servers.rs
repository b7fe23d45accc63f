//! Several servers over one PostgreSQL and one RabbitMQ: what one is asked is brought to the agents of all, and each may end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use canvass_examples::yard::Yard;
use canvass_services::{Postgres, Rabbitmq};

use crate::desk::{stderr, stdout};

const COUNTS: &str = "SELECT host, count(*) AS n FROM users GROUP BY host ORDER BY host";
const ROWS: &str = "host,n\ndb-1,7\nlaptop-7,4\nweb-1,8\n";

/// A hunt that ends when the last of its agents has answered.
fn hunt(yard: &Yard) -> Child {
    let mut desk = yard.desk();
    desk.args(["--server", &yard.url(), "--wait", "expire", "--format", "csv", "-c", COUNTS]);
    desk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn all_answered(hunt: Child) {
    let output = hunt.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ROWS), "{}", stderr(&output));
    assert!(stderr(&output).contains("3 of 3 hosts · 3 answered"), "{}", stderr(&output));
}

#[test]
fn two_servers_share_the_work_and_either_may_end() {
    let (postgres, rabbitmq) = (Postgres::start(true).unwrap(), Rabbitmq::start().unwrap());
    let (store, relay, admin) = (postgres.url(), rabbitmq.url(), rabbitmq.admin_url());
    let arguments = ["--store", &store, "--relay", &relay, "--relay-admin", &admin, "--metrics", "127.0.0.1:0"];
    let mut yard = Yard::open(&arguments).unwrap();
    let first = yard.url();
    let second = yard.start_another_server("second").unwrap();
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();

    // Whichever server has an agent's line, both bring it what they are asked and hand over what it says.
    for server in [&first, &second] {
        let mut desk = yard.desk();
        desk.args(["--server", server, "--wait", "expire", "--format", "csv", "-c", COUNTS]);
        let output = desk.output().unwrap();
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ROWS), "{}", stderr(&output));
    }

    // The one that leads ends in mid-hunt: the other schedules, and its agents and its desk come to it.
    yard.kill_agent("db-1");
    let asked = hunt(&yard);
    yard.wait_for_actions(3).unwrap();
    yard.kill_server();
    yard.start_agent("db-1", "db-1", &[]).unwrap();
    all_answered(asked);
    assert!(yard.log("server").contains("this server schedules now"), "{}", yard.log("server"));

    // It comes back and follows, and ends in mid-hunt again.
    yard.start_server().unwrap();
    yard.kill_agent("web-1");
    let asked = hunt(&yard);
    yard.wait_for_actions(4).unwrap();
    yard.kill_server();
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    all_answered(asked);

    // What is withdrawn at one server the other brings to nobody any more.
    yard.start_server().unwrap();
    yard.kill_agent("laptop-7");
    let mut asked = hunt(&yard);
    yard.wait_for_actions(5).unwrap();
    let query = |yard: &Yard, statement: &str| {
        let output = yard.desk().args(["--server", &first, "-q", "--format", "csv", "-c", statement]).output().unwrap();
        stdout(&output).lines().nth(1).unwrap_or_else(|| panic!("{}", stderr(&output))).to_owned()
    };
    let id = query(&yard, "SELECT id FROM actions WHERE state = 'open'");
    let cancelled = yard.desk().args(["action", "cancel", &id, "--server", &first]).output().unwrap();
    assert_eq!(cancelled.status.code(), Some(0), "{}", stderr(&cancelled));
    asked.kill().unwrap();
    asked.wait().unwrap();
    yard.start_agent("laptop-7", "laptop-7", &[]).unwrap();
    all_answered(hunt(&yard));
    assert_eq!(query(&yard, &format!("SELECT answered FROM actions WHERE id = '{id}'")), "2");
}

#[test]
fn servers_of_one_database_are_of_one_fleet() {
    let (postgres, rabbitmq) = (Postgres::start(false).unwrap(), Rabbitmq::start().unwrap());
    let (store, relay) = (postgres.url(), rabbitmq.url());
    let yard = Yard::open(&["--store", &store, "--relay", &relay, "--fleet", "acme"]).unwrap();
    let other = Yard::open(&["--store", &store, "--relay", &relay, "--fleet", "other"]).err().unwrap();
    assert!(format!("{other:#}").contains("the database is of fleet `acme`"), "{other:#}");
    let embedded = Yard::open(&["--store", &store]).err().unwrap();
    assert!(format!("{embedded:#}").contains("another server uses this database"), "{embedded:#}");
    let unnamed = Yard::open(&["--store", &store, "--relay", &relay]).unwrap();
    let mut server = TcpStream::connect(unnamed.url().trim_start_matches("http://")).unwrap();
    server.write_all(b"GET /v1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut about = String::new();
    server.read_to_string(&mut about).unwrap();
    assert!(about.contains("\"fleet\":\"acme\""), "{about}");
    drop(yard);
}
