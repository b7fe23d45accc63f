//! What `ssh_keys` and `authorized_keys` say, beside `ssh-keygen -l`.

use std::path::Path;
use std::process::Command;

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::value::Value;

use crate::rows::{ask, fleet, folder, lines};

/// Runs ssh-keygen, which must be there: a comparison that is skipped shows nothing.
fn keygen(arguments: &[&str]) -> String {
    let output = Command::new("ssh-keygen").args(arguments).env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap_or_else(|error| panic!("cannot run `ssh-keygen` ({error}): install `openssh-client`"));
    assert!(output.status.success(), "ssh-keygen {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn make(path: &Path, words: &str, passphrase: &str, comment: &str) {
    let mut arguments: Vec<&str> = words.split_whitespace().collect();
    arguments.extend(["-q", "-N", passphrase, "-C", comment, "-f", path.to_str().unwrap()]);
    keygen(&arguments);
}

/// What ssh-keygen prints of each key of a file: bits, both fingerprints, comment and algorithm.
fn printed(path: &Path) -> Vec<String> {
    let of = |hash: &str| keygen(&["-l", "-E", hash, "-f", path.to_str().unwrap()]);
    let (md5, sha256) = (of("md5"), of("sha256"));
    let join = |(md5, sha256): (&str, &str)| {
        let (bits, rest) = sha256.split_once(' ').unwrap();
        let (sha256, rest) = rest.split_once(' ').unwrap();
        let (comment, algorithm) = rest.rsplit_once(" (").unwrap();
        let comment = if comment == "no comment" { "NULL" } else { comment };
        let md5 = md5.split(' ').nth(1).unwrap().strip_prefix("MD5:").unwrap();
        format!("{} | {bits} | {comment} | {md5} | {sha256}", algorithm.trim_end_matches(')'))
    };
    assert!(!sha256.is_empty());
    md5.lines().zip(sha256.lines()).map(join).collect()
}

const PRINTED: &str = "algorithm bits comment fingerprint_md5 fingerprint_sha256";

#[test]
fn keys_are_those_of_ssh_keygen() {
    let (root, spec) = folder(&[("etc/passwd", "ann:x:7:7::/home/ann:\n"), ("home/ann/.ssh/config", "Host x\n")]);
    let ssh = root.path().join("home/ann/.ssh");
    let kinds = [
        ("rsa2048", "-t rsa -b 2048"),
        ("rsa4096", "-t rsa -b 4096"),
        ("ed25519", "-t ed25519"),
        ("ecdsa256", "-t ecdsa -b 256"),
        ("ecdsa384", "-t ecdsa -b 384"),
        ("ecdsa521", "-t ecdsa -b 521"),
        ("dsa", "-t dsa"),
    ];
    let mut made = Vec::new();
    for (name, words) in kinds {
        for (form, option) in [("openssh", ""), ("pem", "-m PEM"), ("pkcs8", "-m PKCS8")] {
            // OpenSSH has no other form for these, and says nothing.
            if name == "ed25519" && form != "openssh" {
                continue;
            }
            for passphrase in ["", "secret"] {
                let file = format!("{name}-{form}-{}", if passphrase.is_empty() { "clear" } else { "encrypted" });
                make(&ssh.join(&file), &format!("{words} {option}"), passphrase, "ann at work");
                made.push((file, form, !passphrase.is_empty()));
            }
        }
    }
    let columns = format!("path user type format encrypted {PRINTED}");
    let (rows, troubles) = lines(&spec, "ssh_keys", &columns);
    assert!(troubles.is_empty(), "{troubles:?}");
    assert_eq!(rows.len(), 2 * made.len());
    for (file, form, encrypted) in made {
        let row = |name: &str| {
            let start = format!("/home/ann/.ssh/{name} | ann | ");
            rows.iter().find_map(|row| row.strip_prefix(&start)).unwrap_or_else(|| panic!("no row of {name}"))
        };
        let of_public = printed(&ssh.join(format!("{file}.pub"))).remove(0);
        assert_eq!(row(&format!("{file}.pub")), format!("public | openssh | NULL | {of_public}"));
        let private = row(&file).strip_prefix(&format!("private | {form} | {encrypted} | ")).unwrap().to_owned();
        let (said, theirs): (Vec<&str>, Vec<&str>) = (private.split(" | ").collect(), of_public.split(" | ").collect());
        // Only OpenSSH's own form has a comment; what is encrypted as a whole tells at most its algorithm.
        match (form, encrypted) {
            ("openssh", false) => assert_eq!(said, theirs, "{file}"),
            ("openssh", true) => assert_eq!((&said[..2], said[2], &said[3..]), (&theirs[..2], "NULL", &theirs[3..])),
            ("pkcs8", true) => assert_eq!(said, ["NULL"; 5], "{file}"),
            (_, true) => assert_eq!((said[0], &said[1..]), (theirs[0], &["NULL"; 4][..]), "{file}"),
            ("pkcs8", false) if file.starts_with("dsa") => {
                assert_eq!((&said[..2], &said[2..]), (&theirs[..2], &["NULL"; 3][..]), "{file}");
            }
            _ => assert_eq!((&said[..2], said[2], &said[3..]), (&theirs[..2], "NULL", &theirs[3..]), "{file}"),
        }
    }
}

#[test]
fn other_forms_of_public_keys_and_certificates() {
    let (root, spec) = folder(&[("etc/passwd", "ann:x:7:7::/home/ann:\n"), ("etc/ssh/ssh_config", "Host x\n")]);
    let ssh = root.path().join("etc/ssh");
    for (kind, words) in [("rsa", "-t rsa -b 2048"), ("ecdsa", "-t ecdsa"), ("ed25519", "-t ed25519")] {
        let key = ssh.join(format!("ssh_host_{kind}_key"));
        make(&key, words, "", "root@here");
        let public = format!("{}.pub", key.display());
        keygen(&["-q", "-s", key.to_str().unwrap(), "-I", "id", "-h", "-n", "here", &public]);
        let forms: &[&str] = if kind == "ed25519" { &["RFC4716"] } else { &["RFC4716", "PKCS8", "PEM"] };
        for form in forms {
            std::fs::write(ssh.join(format!("ssh_host_{kind}.{form}")), keygen(&["-e", "-m", form, "-f", &public]))
                .unwrap();
        }
    }
    let (rows, troubles) = lines(&spec, "ssh_keys", &format!("path user type format {PRINTED}"));
    assert!(troubles.is_empty(), "{troubles:?}");
    assert_eq!(rows.len(), 3 * 3 + 7, "{rows:#?}");
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        let name = cells[0].strip_prefix("/etc/ssh/").unwrap();
        let kind = if name.ends_with("-cert.pub") {
            "certificate"
        } else if name.ends_with("_key") {
            "private"
        } else {
            "public"
        };
        let (stem, form) = name.split_once('.').unwrap_or((name, ""));
        let (format, beside) = match form {
            "RFC4716" => ("rfc4716", format!("{stem}_key.pub")),
            "PKCS8" => ("pkcs8", format!("{stem}_key.pub")),
            // ssh-keygen writes this form for RSA, and that of PKCS#8 for others.
            "PEM" => (if stem.ends_with("rsa") { "pem" } else { "pkcs8" }, format!("{stem}_key.pub")),
            _ => ("openssh", name.to_owned()),
        };
        let theirs = printed(&ssh.join(beside)).remove(0);
        let theirs: Vec<&str> = theirs.split(" | ").collect();
        assert_eq!(cells[1..4], ["NULL", kind, format], "{row}");
        assert_eq!((&cells[4..6], &cells[7..]), (&theirs[..2], &theirs[3..]), "{row}");
        if format == "openssh" {
            assert_eq!(cells[6], theirs[2], "{row}");
        }
    }
}

#[test]
fn keys_of_the_fleet() {
    let (rows, troubles) = lines(&fleet("db-1"), "ssh_keys", "path user type algorithm bits encrypted comment");
    assert_eq!(
        rows,
        [
            "/home/olga/.ssh/id_rsa.pub | olga | public | NULL | NULL | NULL | NULL",
            "/var/backup/.ssh/id_ed25519.pub | backup | public | ED25519 | 256 | NULL | backup@db-1",
        ]
    );
    assert_eq!(troubles, ["/home/olga/.ssh/id_rsa.pub: a key that is not in the form it should have"]);
}

#[test]
fn authorized_keys_of_the_fleet() {
    let columns = "path line user algorithm options comment fingerprint_sha256";
    let (rows, troubles) = lines(&fleet("db-1"), "authorized_keys", columns);
    let start = |row: &String| row.rsplit_once(" | ").unwrap().0.to_owned();
    assert_eq!(
        rows.iter().map(start).collect::<Vec<_>>(),
        [
            "/var/backup/.ssh/authorized_keys | 2 | backup | ED25519 | from=\"10.22.74.25\",command=\"/usr/local/bin/dump\" | root@web-1",
            "/var/backup/.ssh/authorized_keys | 3 | backup | ED25519 | NULL | skaramazov@home",
        ]
    );
    assert!(troubles.is_empty(), "{troubles:?}");
    let (rows, troubles) = lines(&fleet("web-1"), "authorized_keys", columns);
    assert_eq!((rows.len(), troubles), (0, vec!["/home/deploy/.ssh/authorized_keys: 2 malformed lines".to_owned()]));
}

#[test]
fn a_path_that_is_named_is_looked_at_too() {
    let (root, spec) = folder(&[("etc/passwd", "ann:x:7:7::/home/ann:\n")]);
    std::fs::create_dir_all(root.path().join("srv")).unwrap();
    make(&root.path().join("srv/key"), "-t ed25519", "", "");
    let at = |path: &str| Some(Filter::test("path", Is::Equal(Value::Text(path.into()))));
    let (rows, _) = ask(&spec, "ssh_keys", "path user type comment", at("/srv/key"));
    assert_eq!(rows, [["/srv/key", "NULL", "private", "NULL"]]);
    assert_eq!(ask(&spec, "ssh_keys", "path", at("/srv/none")).0.len(), 0);
    assert_eq!(ask(&spec, "ssh_keys", "path", None).0.len(), 0);
}

/// What sshd takes and a stricter reader would call malformed, so that a key could be hidden in it.
#[test]
fn keys_are_found_however_sshd_lets_them_be_written() {
    let (root, spec) = folder(&[("etc/passwd", "ann:x:7:7::/home/ann:\n")]);
    make(&root.path().join("rsa"), "-t rsa", "", "a comment");
    let public = std::fs::read_to_string(root.path().join("rsa.pub")).unwrap();
    let blob = public.split(' ').nth(1).unwrap();
    let (start, end) = blob.split_at(40);
    let text = [
        format!("ssh-rsa {blob}"),
        format!("rsa-sha2-256 {blob}"),
        format!("no-pty rsa-sha2-512 {blob}"),
        format!("ssh-rsa {start}\r{end}"),
        format!("ssh-rsa {blob}\0 and more"),
    ];
    let path = root.path().join("home/ann/.ssh/authorized_keys");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text.join("\n")).unwrap();
    let (rows, troubles) = lines(&spec, "authorized_keys", "line fingerprint_sha256");
    assert!(troubles.is_empty(), "{troubles:?}");
    let theirs = printed(&path);
    assert_eq!(theirs.len(), text.len(), "ssh-keygen reads them all");
    let theirs = theirs.iter().zip(1..).map(|(key, line)| format!("{line} | {}", key.rsplit(" | ").next().unwrap()));
    assert_eq!(rows, theirs.collect::<Vec<_>>());
}

#[test]
fn authorized_keys_are_those_of_ssh_keygen_wherever_sshd_looks() {
    let config =
        "Include sshd_config.d/*.conf\nInclude sshd_config\nMatch User x\n AuthorizedKeysFile \"/k/%u.keys\" none\n";
    let (root, spec) = folder(&[
        ("etc/passwd", "root:x:0:0::/root:\nann:x:7:7::/home/ann:\ntoor:x:0:0::/root:\nodd:x:8:8:::\n"),
        ("etc/ssh/sshd_config", config),
        ("etc/ssh/sshd_config.d/a.conf", "authorizedkeysfile=%h/.keys /etc/ssh/all\n"),
        ("etc/ssh/sshd_config.d/b.off", "AuthorizedKeysFile /off\n"),
    ]);
    let mut keys = Vec::new();
    for (index, words) in ["-t rsa", "-t ed25519", "-t ecdsa"].iter().enumerate() {
        let path = root.path().join(format!("key{index}"));
        make(&path, words, "", "a comment");
        keys.push(std::fs::read_to_string(path.with_extension("pub")).unwrap());
    }
    let [rsa, ed25519, ecdsa] = &keys[..] else { panic!() };
    let long = format!("environment=\"A={}\"", "x, ".repeat(30_000));
    let files = [
        (
            "home/ann/.ssh/authorized_keys",
            format!("# x\r\n\n{}\n  restrict,command=\"a \\\"b\\\" c\" {ed25519}", rsa.trim()),
        ),
        ("home/ann/.ssh/authorized_keys2", format!("{long} {ecdsa}cert-authority {rsa}")),
        ("home/ann/.keys", ed25519.trim().to_owned()),
        ("root/.ssh/authorized_keys", rsa.clone()),
        ("etc/ssh/all", ecdsa.clone()),
        ("k/ann.keys", format!("bad line\n{rsa}ssh-rsa AAAA x\n{}\n{ed25519}", "y".repeat(3 << 20))),
        ("off", rsa.clone()),
    ];
    for (path, text) in &files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let (rows, troubles) = lines(&spec, "authorized_keys", &format!("path line user options {PRINTED}"));
    assert_eq!(troubles, ["/k/ann.keys: 3 malformed lines"]);
    let mut found: Vec<String> =
        rows.iter().map(|row| row.split(" | ").take(4).collect::<Vec<_>>().join(" | ")).collect();
    found.sort();
    let long_row = format!("/home/ann/.ssh/authorized_keys2 | 1 | ann | {long}");
    assert_eq!(
        found,
        [
            "/etc/ssh/all | 1 | NULL | NULL",
            "/home/ann/.keys | 1 | ann | NULL",
            "/home/ann/.ssh/authorized_keys | 3 | ann | NULL",
            "/home/ann/.ssh/authorized_keys | 4 | ann | restrict,command=\"a \\\"b\\\" c\"",
            &long_row,
            "/home/ann/.ssh/authorized_keys2 | 2 | ann | cert-authority",
            "/k/ann.keys | 2 | ann | NULL",
            "/k/ann.keys | 5 | ann | NULL",
            "/root/.ssh/authorized_keys | 1 | root | NULL",
            "/root/.ssh/authorized_keys | 1 | toor | NULL",
        ]
    );
    for (path, _) in files.iter().filter(|(path, _)| *path != "off" && *path != "k/ann.keys") {
        let ours = rows.iter().filter(|row| row.starts_with(&format!("/{path} | ")) && !row.contains("| toor |"));
        let ours: Vec<String> = ours.map(|row| row.split(" | ").skip(4).collect::<Vec<_>>().join(" | ")).collect();
        assert_eq!(ours, printed(&root.path().join(path)), "{path}");
    }
}
