//! The table `packages`: of hosts that are folders, and of this machine beside dpkg-query, rpm, pip and npm.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::value::Value;
use canvass_tables::host::HostSpec;

use crate::rows::{ask, fleet, folder, lines};

const COLUMNS: &str =
    "source name version arch status source_package maintainer size_bytes path installed_at description";

fn of(source: &str) -> Option<Filter> {
    Some(Filter::test("source", Is::Equal(Value::Text(source.to_owned()))))
}

/// Runs a tool, which must be there.
fn tool(package: &str, command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap_or_else(|error| panic!("{error}: install the package `{package}`"));
    assert!(output.status.success(), "{command:?} of the package `{package}` failed: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn packages_of_the_fleet() {
    let (rows, troubles) = lines(&fleet("web-1"), "packages", COLUMNS);
    let status = "/var/lib/dpkg/status | 2026-01-10T12:00:00Z";
    assert_eq!(
        rows,
        [
            format!("dpkg | libssl3 | 3.0.11-1~deb12u2 | amd64 | installed | openssl | Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net> | 6130688 | {status} | Secure Sockets Layer toolkit - shared libraries"),
            format!("dpkg | nginx | 1.22.1-9 | amd64 | installed | nginx | Debian Nginx Maintainers <pkg-nginx-maintainers@alioth-lists.debian.net> | 1357824 | {status} | small, powerful, scalable web/proxy server"),
            "dpkg | openssh-server | 1:9.2p1-2+deb12u2 | amd64 | installed | openssh | Debian OpenSSH Maintainers <debian-ssh@lists.debian.org> | 1911808 | /var/lib/dpkg/status | NULL | secure shell (SSH) server, for secure access from remote machines".to_owned(),
            "dpkg | telnetd | 0.17+2.4-2+deb12u1 | all | config-files | inetutils | Debian QA Group <packages@qa.debian.org> | 106496 | /var/lib/dpkg/status | NULL | transitional dummy package for inetutils-telnetd default switch".to_owned(),
            "pip | requests | 2.31.0 | NULL | installed | NULL | Kenneth Reitz | NULL | /usr/local/lib/python3.11/dist-packages/requests-2.31.0.dist-info | 2026-01-10T12:00:00Z | Python HTTP for Humans.".to_owned(),
            "npm | pm2 | 5.3.0 | NULL | installed | NULL | Strzelewicz Alexandre | NULL | /usr/local/lib/node_modules/pm2 | 2026-01-10T12:00:00Z | Production process manager for Node.JS applications with a built-in load balancer.".to_owned(),
        ]
    );
    assert_eq!(troubles, [""; 0]);
    let (rows, troubles) = lines(&fleet("db-1"), "packages", COLUMNS);
    let rocky = "Rocky Enterprise Software Foundation";
    let path = "/var/lib/rpm/rpmdb.sqlite";
    assert_eq!(
        rows,
        [
            format!(
                "rpm | mariadb-server | 3:10.5.22-1.el9_2 | aarch64 | installed | mariadb | {rocky} | 61923328 | {path} | 2023-11-02T06:30:00Z | The MariaDB server and related files"
            ),
            format!(
                "rpm | openssl-libs | 1:3.0.7-24.el9 | aarch64 | installed | openssl | {rocky} | 6193152 | {path} | 2023-11-02T06:30:12Z | A general purpose cryptography library with TLS implementation"
            ),
            format!(
                "rpm | bash | 5.1.8-6.el9_1 | aarch64 | installed | bash | {rocky} | 7738634 | {path} | 2023-11-02T06:30:40Z | The GNU Bourne Again shell"
            ),
            format!(
                "rpm | gpg-pubkey | 350d275d-6279464b | NULL | installed | NULL | NULL | 0 | {path} | 2023-11-02T06:31:40Z | {rocky} - Release key 2022 <releng@rockylinux.org> public key"
            ),
        ]
    );
    assert_eq!(troubles, [""; 0]);
    let (rows, troubles) = lines(&fleet("laptop-7"), "packages", "source name version maintainer");
    assert_eq!((rows, troubles), (vec!["npm | @angular/cli | 17.1.0 | Angular Authors".to_owned()], Vec::new()));
}

#[test]
fn lists_in_odd_forms() {
    let long =
        format!("Package: long\nStatus: install ok installed\nDepends: {}\nVersion: 2\n\n", "x, ".repeat(100_000));
    let status = format!(
        "\n\nVersion: 1\n\nPackage: a\nPACKAGE: b\nstatus:install ok  half-configured\nInstalled-Size: many\n goes: on\n\n{long}\
         Package: ../../etc/passwd\nStatus: install ok installed\nVersion:\n\nno colon\n\nPackage: \u{0}\u{1b}[31m\nPackage"
    );
    let (_folder, spec) = folder(&[
        ("var/lib/dpkg/status", &status),
        ("var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12\nArchitecture: amd64\n"),
        ("var/lib/dpkg/status.d/base.md5sums", "0 /etc/debian_version\n"),
        (
            "lib/apk/db/installed",
            "C:Q1x=\nP:musl\nV:1.2.4-r2\nA:x86_64\nS:1\nI:667648\nT:the C library\no:musl\nm:T <t@x>\nF:lib\nR:x\n\nV:1\n\nP:busybox\nI:x\nP",
        ),
    ]);
    let (rows, troubles) =
        lines(&spec, "packages", "source name version status source_package size_bytes path installed_at");
    assert_eq!(
        rows,
        [
            "dpkg | b | NULL | half-configured | b | NULL | /var/lib/dpkg/status | NULL",
            "dpkg | long | 2 | installed | long | NULL | /var/lib/dpkg/status | NULL",
            "dpkg | ../../etc/passwd | NULL | installed | ../../etc/passwd | NULL | /var/lib/dpkg/status | NULL",
            "dpkg | \u{0}\u{1b}[31m | NULL | NULL | \u{0}\u{1b}[31m | NULL | /var/lib/dpkg/status | NULL",
            "dpkg | base-files | 12 | installed | base-files | NULL | /var/lib/dpkg/status.d/base | NULL",
            "apk | musl | 1.2.4-r2 | installed | musl | 667648 | /lib/apk/db/installed | NULL",
            "apk | busybox | NULL | installed | NULL | NULL | /lib/apk/db/installed | NULL",
        ]
    );
    assert_eq!(
        troubles,
        [
            "/var/lib/dpkg/status: 2 paragraphs without a package's name",
            "/lib/apk/db/installed: 1 paragraphs without a package's name",
        ]
    );
}

#[test]
fn modules_in_odd_forms() {
    let deep = "[".repeat(100_000);
    let (made, spec) = folder(&[
        ("etc/passwd", "ann:x:1000:1000::/home/ann/:\nbob:x:1001:1001::/home/ann:\nodd:x:1:1::relative:\n"),
        ("home/ann/.local/lib/python3.9/site-packages/evil-1.dist-info/METADATA", "Name: evil\nVersion: 1\n"),
        ("home/ann/.local/lib/python3.9/site-packages/evil.py", ""),
        ("opt/tool/lib/python3/site-packages/none.egg-info/top_level.txt", ""),
        (
            "opt/tool/lib/python3/site-packages/old-0.1-py2.7.egg-info",
            "Name: old\nVersion: UNKNOWN\nSummary: UNKNOWN\n",
        ),
        ("usr/lib/python3/dist-packages/~orn-2.dist-info/METADATA", "Name: torn\nVersion: 2\n"),
        ("usr/lib/python3/dist-packages/torn-3.dist-info/METADATA", "no fields\n\nName: x\n"),
        ("usr/lib/python3/dist-packages/folder-4.dist-info/METADATA/x", ""),
        (
            "usr/lib/node_modules/a/package.json",
            r#"{"name": 7, "version": ["1"], "author": {"name": {}}, "description": "one\ntwo"}"#,
        ),
        (
            "usr/lib/node_modules/a/node_modules/@s/b/package.json",
            r#"{"name": "@s/b", "version": "2.0.0", "author": "B"}"#,
        ),
        ("usr/lib/node_modules/a/node_modules/@s/b/node_modules/c/package.json", r#"{"name": "c"}"#),
        ("usr/lib/node_modules/.bin/x", ""),
        ("usr/lib/node_modules/deep/package.json", &deep),
        ("usr/lib/node_modules/empty/README", ""),
        ("var/lib/rpm/Packages", "Berkeley"),
        (
            "usr/lib/sysimage/rpm/rpmdb.sqlite",
            "not a database, but longer than the hundred bytes that a header of such a file has at its beginning: see",
        ),
    ]);
    let packages = made.path().join("usr/lib/python3/dist-packages");
    fs::create_dir_all(made.path().join("usr/lib64")).unwrap();
    std::os::unix::fs::symlink("../lib/python3", made.path().join("usr/lib64/python3")).unwrap();
    std::os::unix::fs::symlink("loop.dist-info", packages.join("loop.dist-info")).unwrap();
    let (rows, troubles) = lines(&spec, "packages", "source name version maintainer path description");
    assert_eq!(
        rows,
        [
            "pip | folder | 4 | NULL | /usr/lib/python3/dist-packages/folder-4.dist-info | NULL",
            "pip | loop | NULL | NULL | /usr/lib/python3/dist-packages/loop.dist-info | NULL",
            "pip | torn | 3 | NULL | /usr/lib/python3/dist-packages/torn-3.dist-info | NULL",
            "pip | none | NULL | NULL | /opt/tool/lib/python3/site-packages/none.egg-info | NULL",
            "pip | old | 0.1 | NULL | /opt/tool/lib/python3/site-packages/old-0.1-py2.7.egg-info | NULL",
            "pip | evil | 1 | NULL | /home/ann/.local/lib/python3.9/site-packages/evil-1.dist-info | NULL",
            "npm | a | NULL | NULL | /usr/lib/node_modules/a | one",
            "npm | @s/b | 2.0.0 | B | /usr/lib/node_modules/a/node_modules/@s/b | NULL",
            "npm | c | NULL | NULL | /usr/lib/node_modules/a/node_modules/@s/b/node_modules/c | NULL",
            "npm | deep | NULL | NULL | /usr/lib/node_modules/deep | NULL",
        ]
    );
    assert_eq!(
        troubles,
        [
            "/var/lib/rpm/Packages: an rpm database of an earlier form than SQLite, which is not read",
            "/usr/lib/sysimage/rpm/rpmdb.sqlite: not a SQLite database",
            "/usr/lib/python3/dist-packages/loop.dist-info/METADATA: Too many levels of symbolic links (os error 40)",
            "/usr/lib/node_modules/deep/package.json: not in the form of a `package.json`",
        ]
    );
    // What one source holds is read alone, so the others' troubles are not met.
    let (rows, record) = ask(&spec, "packages", "name", of("pip"));
    assert_eq!((rows.len(), record.troubles.len()), (6, 1));
    let (rows, record) = ask(&spec, "packages", "name", Some(Filter::test("name", Is::Equal(Value::Text("c".into())))));
    assert_eq!((rows.len(), record.troubles.len()), (1, 4));
}

#[test]
fn packages_are_those_of_dpkg_query() {
    let columns = "name version arch status source_package size_bytes installed_at maintainer description";
    let format = "${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\t${source:Package}\t${Installed-Size}\t\
                  ${db-fsys:Last-Modified}\t${Maintainer}\t${binary:Summary}\n";
    let expected = || -> BTreeSet<Vec<String>> {
        let text = tool("dpkg", Command::new("dpkg-query").args(["-W", "-f"]).arg(format));
        let rows = text.lines().map(|line| {
            let mut row: Vec<String> = line.split('\t').map(str::to_owned).collect();
            row[5] = row[5].parse::<u64>().map_or_else(|_| "NULL".to_owned(), |size| (size * 1024).to_string());
            // dpkg keeps spaces at the end.
            row[8] = row[8].trim_end().to_owned();
            // Where only configuration is left, the list says when the rest was removed.
            if row[3] == "config-files" {
                row[6] = "NULL".to_owned();
            }
            row
        });
        rows.collect()
    };
    // A package that is installed meanwhile is there before or after.
    let before = expected();
    let (rows, record) = ask(&HostSpec::Machine, "packages", columns, of("dpkg"));
    let after = expected();
    let rows: BTreeSet<Vec<String>> = rows
        .into_iter()
        .map(|mut row| {
            row[6] = row[6].parse::<jiff::Timestamp>().map_or(row[6].clone(), |at| at.as_second().to_string());
            row
        })
        .collect();
    assert!(record.troubles.is_empty(), "{:?}", record.troubles);
    assert!(rows.len() > 100);
    assert!(rows == before || rows == after, "{:?}", rows.symmetric_difference(&after).take(6).collect::<Vec<_>>());
}

#[test]
fn packages_are_those_of_pip() {
    // Debian's own Python, whose modules are where the table looks.
    let text = tool("python3-pip", Command::new("/usr/bin/python3").args(["-m", "pip", "list", "--format=freeze"]));
    let expected: BTreeSet<String> = text.lines().map(|line| line.replace("==", " ")).collect();
    let (rows, record) = ask(&HostSpec::Machine, "packages", "name version path", of("pip"));
    assert!(record.troubles.is_empty(), "{:?}", record.troubles);
    let is_known = |row: &&Vec<String>| !row[2].starts_with("/opt/") && row[1] != "NULL";
    let rows: BTreeSet<String> = rows.iter().filter(is_known).map(|row| format!("{} {}", row[0], row[1])).collect();
    assert!(expected.len() > 3);
    assert!(expected.is_subset(&rows), "{:?}", expected.difference(&rows).collect::<Vec<_>>());
}

/// What rpm itself wrote and says of packages that rpmbuild made.
#[test]
fn packages_are_those_of_rpm() {
    let (made, spec) = folder(&[]);
    let path = made.path();
    let mut text = "Name: first\nEpoch: 2\nVersion: 1.0~rc1\nRelease: 3.el9\nSummary: First line\nLicense: MIT\n\
        Vendor: The Vendor\nBuildArch: noarch\n%description\nx\n%files\n"
        .to_owned();
    for number in 0..40 {
        let about = "long ".repeat(number * 20);
        text += &format!(
            "%package -n other-{number}\nSummary: Package {number}\nVersion: {number}.7^git1\nEpoch: {}\n\
             %description -n other-{number}\n{about}\n%files -n other-{number}\n",
            number % 3
        );
    }
    fs::write(path.join("p.spec"), text).unwrap();
    let rpm = |name: &str| {
        let mut command = Command::new(name);
        let database = path.join("var/lib/rpm");
        command.args(["--define", "_db_backend sqlite", "--dbpath"]).arg(database).stderr(std::process::Stdio::null());
        command
    };
    let top = format!("_topdir {}", path.join("top").display());
    tool("rpm", Command::new("rpmbuild").args(["-bb", "--quiet", "--define", &top]).arg(path.join("p.spec")));
    let built = fs::read_dir(path.join("top/RPMS/noarch")).unwrap().map(|entry| entry.unwrap().path());
    tool("rpm", rpm("rpm").arg("--initdb"));
    tool("rpm", rpm("rpm").args(["-i", "--justdb", "--nodeps", "--ignorearch"]).args(built));
    tool("rpm", rpm("rpm").args(["-e", "--justdb", "other-11"]));
    let format = "%{NAME}|%{EVR}|%{ARCH}|%{VENDOR}|%{SIZE}|%{INSTALLTIME}|%{SUMMARY}\\n";
    let said = tool("rpm", rpm("rpm").args(["-qa", "--qf", format]));
    let expected: BTreeSet<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(expected.len(), 40);
    let columns = "name version arch maintainer size_bytes installed_at description source_package";
    let read = || -> BTreeSet<String> {
        let (rows, record) = ask(&spec, "packages", columns, None);
        assert!(record.troubles.is_empty(), "{:?}", record.troubles);
        assert!(rows.iter().all(|row| row[7] == "first"));
        let shown = rows.into_iter().map(|mut row| {
            let at: jiff::Timestamp = row[5].parse().unwrap();
            row[5] = at.as_second().to_string();
            row.truncate(7);
            row.join("|")
        });
        shown.collect()
    };
    assert_eq!(read(), expected);
    // The same database under its other name, and under both.
    let other = path.join("usr/lib/sysimage/rpm");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::rename(path.join("var/lib/rpm"), &other).unwrap();
    std::os::unix::fs::symlink("../../usr/lib/sysimage/rpm", path.join("var/lib/rpm")).unwrap();
    assert_eq!(read(), expected);
}

/// What npm has installed for everybody lies in a folder each.
#[test]
fn packages_are_those_in_the_folder_of_npm() {
    let root = Path::new("/usr/lib/node_modules");
    let (rows, _) = ask(&HostSpec::Machine, "packages", "name version path", of("npm"));
    let mut expected = BTreeSet::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("package.json")) else { continue };
        let described: serde_json::Value = serde_json::from_str(&text).unwrap();
        expected.insert(format!("{} {}", described["name"].as_str().unwrap(), described["version"].as_str().unwrap()));
    }
    let is_outer = |row: &&Vec<String>| Path::new(&row[2]).parent() == Some(root);
    let rows: BTreeSet<String> = rows.iter().filter(is_outer).map(|row| format!("{} {}", row[0], row[1])).collect();
    assert_eq!(rows, expected);
}
