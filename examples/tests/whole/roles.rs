//! What a server lets each investigator do.

use canvass_examples::yard::Yard;

use crate::cosign::{bob, check};
use crate::desk::{stderr, stdout};

#[test]
fn who_may_read_does_not_hunt_and_who_may_hunt_does_not_govern() {
    let mut yard = Yard::open(&[]).unwrap();
    let made = bob(&yard).args(["key", "new", "bob", "--no-passphrase"]).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let certificate = bob(&yard).args(["key", "export", "bob"]).output().unwrap().stdout;
    std::fs::write(yard.keyring().join("bob.asc"), certificate).unwrap();
    let roles = yard.path().join("server.toml");
    let (reader, hunter) = (stdout(&made).trim().to_owned(), "default = \"hunt\"");
    std::fs::write(&roles, format!("[roles]\n{hunter}\n{reader} = \"read\"\n")).unwrap();
    yard.restart_server(&["--config", roles.to_str().unwrap()]).unwrap();
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    yard.wait_for(1).unwrap();

    let statement = "SELECT host FROM users WHERE name = 'root'";
    check(&yard.ask(&["--format", "csv", "-c", statement]).unwrap(), 0, "host\nweb-1\n", &["1 answered"]);
    check(&yard.ask(&["-c", ".approve"]).unwrap(), 3, "", &["this needs the role `admin`"]);
    let by_bob = |arguments: &[&str]| bob(&yard).args(["--server", &yard.url()]).args(arguments).output().unwrap();
    check(&by_bob(&["-c", statement]), 3, "", &["this needs the role `hunt`"]);
    let inventory = "SELECT name FROM agents";
    check(&by_bob(&["--format", "csv", "-c", inventory]), 0, "name\nweb-1\n", &[]);
    let others = "SELECT count(*) AS n FROM actions";
    check(&by_bob(&["--format", "csv", "-c", others]), 0, "n\n0\n", &[]);
    check(&yard.ask(&["--format", "csv", "-c", others]).unwrap(), 0, "n\n1\n", &[]);

    std::fs::write(&roles, format!("[roles]\n{reader} = \"none\"\n")).unwrap();
    yard.kill_server();
    yard.start_server().unwrap();
    let stranger = bob(&yard).args(["--server", &yard.url(), "-c", inventory]).output().unwrap();
    check(&stranger, 3, "", &["this server lets", "do nothing"]);
}

#[test]
fn the_audit_is_read_back_to_its_beginning() {
    let yard = Yard::open(&[]).unwrap();
    // More lines than a desk asks for at once.
    let swarm = yard.start_swarm(1200, &[]).unwrap();
    let count = |argument: &str| {
        let audit = yard.ask(&["--format", "csv", "-c", argument]).unwrap();
        assert_eq!(audit.status.code(), Some(0), "{}", stderr(&audit));
        let lines: Vec<String> = stdout(&audit).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "at,who,what,action,detail");
        (lines.iter().filter(|line| line.contains(",enrol,")).count(), lines.len() - 1)
    };
    assert_eq!(count(".audit all").0, 1200);
    assert_eq!(count(".audit").1, 20);
    assert_eq!(count(".audit 1001").1, 1001);
    check(&yard.ask(&["-c", ".audit some"]).unwrap(), 2, "", &["`some` is no count of lines"]);
    drop(swarm);
}
