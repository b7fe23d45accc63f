//! A fleet over PostgreSQL and RabbitMQ: the same questions, and services that end in mid-hunt.

use std::process::Stdio;

use canvass_examples::yard::Yard;
use canvass_services::{Broker, Postgres, Rabbitmq, Tls};

use crate::certificates;
use crate::desk::{stderr, stdout};
use crate::fleet::a_check_in_agent_is_not_asked_by_default;

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
    outlives_a_crash(Broker::distribution());
}

#[test]
fn a_question_goes_over_a_broker_of_series_4_and_outlives_its_crash() {
    outlives_a_crash(Broker::series_4().unwrap());
}

fn outlives_a_crash(broker: Broker) {
    let mut rabbitmq = Rabbitmq::start_of(broker).unwrap();
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
    // What was stored is there for whoever asks later, and a server that shares nothing is kept out.
    let past = "SELECT state, asked, answered, rows FROM actions";
    let listed = yard.ask(&["--format", "csv", "-c", past]).unwrap();
    assert_eq!(stdout(&listed), "state,asked,answered,rows\ncomplete,3,3,19\n", "{}", stderr(&listed));
    let second = Yard::open(&["--store", &store]).err().unwrap();
    assert!(format!("{second:#}").contains("another server uses this database"), "{second:#}");
}

#[test]
fn who_checks_in_is_not_asked_by_default_over_the_broker() {
    let (postgres, rabbitmq) = (Postgres::start(false).unwrap(), Rabbitmq::start().unwrap());
    a_check_in_agent_is_not_asked_by_default(&["--store", &postgres.url(), "--relay", &rabbitmq.url()]);
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

/// Where the broker is set up for many agents, their heartbeats are rare, and the server still finds soon that it is lost.
#[test]
fn a_broker_for_many_agents_has_rare_heartbeats() {
    let rabbitmq = Rabbitmq::start_lean(Broker::distribution()).unwrap();
    let yard = yard(&["--relay", &rabbitmq.url()]);
    let asked = yard.ask(&["--format", "csv", "-c", COUNTS]).unwrap();
    assert_eq!((asked.status.code(), stdout(&asked).as_str()), (Some(0), ROWS), "{}", stderr(&asked));
    let listed = rabbitmq.control(&["list_connections", "timeout"]).unwrap();
    let mut seconds: Vec<u32> = listed.lines().filter_map(|line| line.trim().parse().ok()).collect();
    seconds.sort_unstable();
    assert_eq!(seconds, [60, 600, 600, 600], "the server's and three agents': {listed}");
}

/// Queues that are deleted under those who read them, and a broker that takes nothing for want of memory.
#[test]
fn a_broker_has_hard_days_and_nothing_is_lost() {
    let rabbitmq = Rabbitmq::start().unwrap();
    let (url, admin) = (rabbitmq.url(), rabbitmq.admin_url());
    let yard = yard(&["--relay", &url, "--relay-admin", &admin]);
    let ask = || {
        let asked = yard.ask(&["--wait", "expire", "--format", "csv", "-c", COUNTS]).unwrap();
        assert_eq!((asked.status.code(), stdout(&asked).as_str()), (Some(0), ROWS), "{}", stderr(&asked));
    };
    ask();
    let queues = rabbitmq.control(&["list_queues", "name"]).unwrap();
    let of_agent = queues.lines().find(|name| name.starts_with("canvass.agent.")).unwrap();
    let of_server = queues.lines().find(|name| name.starts_with("canvass.answers.")).unwrap();
    for queue in [of_agent, of_server] {
        rabbitmq.control(&["delete_queue", queue]).unwrap();
        ask();
    }

    rabbitmq.control(&["set_vm_memory_high_watermark", "0.00001"]).unwrap();
    let mut desk = yard.desk();
    desk.args(["--server", &yard.url(), "--wait", "expire", "--format", "csv", "-c", COUNTS]);
    let hunt = desk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    yard.wait_for_actions(4).unwrap();
    // Who asks the server meanwhile is answered.
    let listed = yard.ask(&["--format", "csv", "-c", "SELECT count(*) AS n FROM agents"]).unwrap();
    assert_eq!((listed.status.code(), stdout(&listed).as_str()), (Some(0), "n\n3\n"), "{}", stderr(&listed));
    rabbitmq.control(&["set_vm_memory_high_watermark", "0.7"]).unwrap();
    let output = hunt.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ROWS), "{}", stderr(&output));
}

/// Both services by TLS, with certificates of an authority of one's own, and with others.
#[test]
fn services_are_believed_by_their_certificates() {
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let file = |name: &str| folder.path().join(name);
    let tls = Tls { authority: file("ours.pem"), certificate: file("good.pem"), key: file("here.key") };
    let (postgres, rabbitmq) = (Postgres::start_tls(&tls).unwrap(), Rabbitmq::start_tls(&tls).unwrap());
    let store =
        |mode: &str, root: &str| format!("{}?sslmode={mode}&sslrootcert={}", postgres.url(), file(root).display());
    let (believed, relay) = (store("verify-full", "ours.pem"), rabbitmq.tls_url());

    let mut yard = Yard::open(&[]).unwrap();
    yard.set_variable("SSL_CERT_FILE", file("ours.pem"));
    yard.restart_server(&["--store", &believed, "--relay", &relay]).unwrap();
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
    let asked = yard.ask(&["--format", "csv", "-c", COUNTS]).unwrap();
    assert_eq!((asked.status.code(), stdout(&asked).as_str()), (Some(0), ROWS), "{}", stderr(&asked));
    let listed = rabbitmq.control(&["list_connections", "ssl"]).unwrap();
    let lines: Vec<&str> = listed.lines().filter(|line| ["true", "false"].contains(line)).collect();
    assert_eq!(lines, ["true"; 4], "the server's and three agents': {listed}");

    // Agents do not believe a broker by another authority, or of another name than the one that they were told.
    yard.set_variable("SSL_CERT_FILE", file("theirs.pem"));
    yard.start_agent("stranger", "web-1", &[]).unwrap();
    yard.wait_for_log("stranger", "UnknownIssuer").unwrap();
    yard.set_variable("SSL_CERT_FILE", file("ours.pem"));
    let elsewhere = format!("amqps://localhost:{}", url_port(&relay));
    yard.restart_server(&["--store", &believed, "--relay", &relay, "--relay-public", &elsewhere]).unwrap();
    yard.start_agent("misled", "web-1", &[]).unwrap();
    yard.wait_for_log("misled", "not valid for name").unwrap();
    for agent in ["stranger", "misled"] {
        assert!(!yard.log(agent).contains(&url_password(&relay)), "{}", yard.log(agent));
    }

    let refused = |yard: &mut Yard, arguments: &[&str], words: &[&str]| {
        let error = format!("{:#}", yard.restart_server(arguments).err().unwrap());
        for words in words {
            assert!(error.contains(words), "{words}: {error}");
        }
        assert!(!error.contains(&url_password(&relay)) && !error.contains(&url_password(&believed)), "{error}");
    };
    // The system's authorities, which this variable names, are believed beside `sslrootcert`.
    yard.set_variable("SSL_CERT_FILE", file("theirs.pem"));
    yard.restart_server(&["--store", &believed]).unwrap();
    refused(&mut yard, &["--store", &store("verify-full", "theirs.pem")], &["cannot open the store", "UnknownIssuer"]);
    refused(&mut yard, &["--store", &store("disable", "ours.pem")], &["cannot open the store", "no encryption"]);
    refused(&mut yard, &["--relay", &relay], &["the broker `127.0.0.1:", "cannot be used", "UnknownIssuer"]);
}

fn url_port(url: &str) -> &str {
    url.rsplit_once(':').unwrap().1
}

/// What no message may show.
fn url_password(url: &str) -> String {
    let (credentials, _) = url.split_once('@').unwrap();
    credentials.rsplit_once(':').unwrap().1.to_owned()
}
