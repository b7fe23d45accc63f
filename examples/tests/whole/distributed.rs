//! A fleet over PostgreSQL and RabbitMQ: the same questions, and services that end in mid-hunt.

use std::process::Stdio;

use canvass_examples::yard::Yard;
use canvass_services::{Postgres, Rabbitmq};

use crate::desk::{stderr, stdout};

const COUNTS: &str = "SELECT host, count(*) AS n FROM users GROUP BY host ORDER BY host";
const ROWS: &str = "host,n\ndb-1,7\nlaptop-7,4\nweb-1,8\n";

fn yard(arguments: &[&str]) -> Yard {
    let mut yard = Yard::open(arguments).unwrap();
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
    yard
}

#[test]
fn a_question_goes_over_a_broker_and_outlives_its_crash() {
    let mut rabbitmq = Rabbitmq::start().unwrap();
    let (url, admin) = (rabbitmq.url(), rabbitmq.admin_url());
    let mut yard = yard(&["--relay", &url, "--relay-admin", &admin]);
    let asked = yard.ask(&["--format", "csv", "-c", COUNTS]).unwrap();
    assert_eq!((asked.status.code(), stdout(&asked).as_str()), (Some(0), ROWS), "{}", stderr(&asked));

    // Two have answered and the third sleeps when the broker ends; it wakes, and finds its way, when the broker is back.
    yard.kill_agent("db-1");
    let mut desk = yard.desk();
    desk.args(["--server", &yard.url(), "--wait", "expire", "--format", "csv", "-c", COUNTS]);
    let hunt = desk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    yard.wait_for_actions(2).unwrap();
    rabbitmq.kill();
    yard.start_agent("db-1", "db-1", &[]).unwrap();
    rabbitmq.start_again().unwrap();
    let output = hunt.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ROWS), "{}", stderr(&output));
    assert!(stderr(&output).contains("3 of 3 hosts · 3 answered"), "{}", stderr(&output));
}

#[test]
fn postgres_and_rabbitmq_carry_a_hunt_through_a_restart_of_each() {
    let (mut postgres, mut rabbitmq) = (Postgres::start(true).unwrap(), Rabbitmq::start().unwrap());
    let (store, relay, admin) = (postgres.url(), rabbitmq.url(), rabbitmq.admin_url());
    let mut yard = yard(&["--store", &store, "--relay", &relay, "--relay-admin", &admin]);
    yard.kill_agent("web-1");
    let mut desk = yard.desk();
    desk.args(["--server", &yard.url(), "--wait", "expire", "--format", "csv", "-c", COUNTS]);
    let hunt = desk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    yard.wait_for_actions(1).unwrap();
    postgres.kill();
    rabbitmq.kill();
    postgres.start_again().unwrap();
    rabbitmq.start_again().unwrap();
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    let output = hunt.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ROWS), "{}", stderr(&output));
    // What was stored is there for whoever asks later, and a second server is kept out.
    let past = "SELECT state, asked, answered, rows FROM actions";
    let listed = yard.ask(&["--format", "csv", "-c", past]).unwrap();
    assert_eq!(stdout(&listed), "state,asked,answered,rows\ncomplete,3,3,19\n", "{}", stderr(&listed));
    let second = Yard::open(&["--store", &store]).err().unwrap();
    assert!(format!("{second:#}").contains("another server uses this database"), "{second:#}");
}

#[test]
fn a_server_that_ends_is_found_again_over_the_broker() {
    let rabbitmq = Rabbitmq::start().unwrap();
    let url = rabbitmq.url();
    let mut yard = yard(&["--relay", &url]);
    assert!(yard.log("server").contains("agents share this server's credentials"), "{}", yard.log("server"));
    yard.kill_server();
    yard.start_server().unwrap();
    yard.wait_for(3).unwrap();
    let asked = yard.ask(&["--wait", "expire", "--format", "csv", "-c", COUNTS]).unwrap();
    assert_eq!((asked.status.code(), stdout(&asked).as_str()), (Some(0), ROWS), "{}", stderr(&asked));
}
