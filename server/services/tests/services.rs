//! Both services start, answer, end and come back with what they had.

use std::process::Command;

use canvass_services::{Broker, Postgres, Rabbitmq};

#[test]
fn a_private_postgres_outlives_a_crash() {
    let mut postgres = Postgres::start(true).unwrap();
    let ask = |postgres: &Postgres, sql: &str| {
        let output = Command::new("psql").args([&postgres.url(), "-Atc", sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    ask(&postgres, "CREATE TABLE kept AS SELECT 7 AS n");
    postgres.kill();
    postgres.start_again().unwrap();
    assert_eq!(ask(&postgres, "SELECT n FROM kept"), "7\n");
}

#[test]
fn a_private_broker_outlives_a_crash() {
    let brokers = [(Broker::distribution(), ""), (Broker::series_4().unwrap(), "4.")];
    for (broker, series) in brokers {
        let mut rabbitmq = Rabbitmq::start_of(broker).unwrap();
        let version = rabbitmq.version().unwrap();
        assert!(version.starts_with(series) && version.contains('.'), "{version}");
        rabbitmq.control(&["add_vhost", "kept"]).unwrap();
        rabbitmq.kill();
        rabbitmq.start_again().unwrap();
        assert!(rabbitmq.control(&["list_vhosts"]).unwrap().contains("kept"));
    }
}
