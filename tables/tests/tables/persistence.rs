//! What `crontab` and `systemd_units` say: of hosts that are folders, and beside `systemctl` over folders and this machine.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use canvass_tables::host::HostSpec;

use crate::machine::tool;
use crate::rows::{ask, fleet, folder, lines};

#[test]
fn crontabs_of_the_fleet() {
    let (rows, troubles) = lines(&fleet("web-1"), "crontab", "path line schedule user command ignored");
    assert_eq!(
        rows,
        [
            "/etc/crontab | 3 | 17 * * * * | root | cd / && run-parts --report /etc/cron.hourly | false",
            "/etc/crontab | 4 | 25 6 * * * | root | test -x /usr/sbin/anacron || run-parts --report /etc/cron.daily | false",
            "/etc/cron.d/certbot | 1 | 0 */12 * * * | root | perl -e 'sleep int(rand(3600))' && certbot -q renew | false",
            "/etc/cron.d/update | 1 | */10 * * * * | skaramazov | /tmp/.x/update --quiet a b | false",
            "/etc/cron.d/update.bak | 1 | @reboot | root | /tmp/.x/update.bak --quiet | true",
            "/etc/cron.daily/logrotate | NULL | @daily | root | /etc/cron.daily/logrotate | false",
        ]
    );
    assert!(troubles.is_empty(), "{troubles:?}");
    let (rows, troubles) = lines(&fleet("db-1"), "crontab", "path line schedule minute day_of_week user command");
    assert_eq!(
        rows,
        [
            "/etc/anacrontab | 3 | 1 5 | NULL | NULL | root | nice run-parts /etc/cron.daily",
            "/etc/anacrontab | 4 | @monthly 45 | NULL | NULL | root | nice run-parts /etc/cron.monthly",
            "/var/spool/cron/olga | 1 | 30 2 * * 1-5 | 30 | 1-5 | olga | mysqldump --all-databases > /var/backup/all-%F.sql",
        ]
    );
    assert_eq!(troubles, ["/var/spool/cron/olga: 1 malformed lines"]);
    assert_eq!(lines(&fleet("laptop-7"), "crontab", "path"), (vec![], vec![]));
}

#[test]
fn odd_crontabs() {
    let long = "#".repeat((1 << 20) + 1);
    let (root, spec) = folder(&[
        ("etc/crontab", "* * * * * root a\r\n\0\n* * * * * root\n@reboot root b"),
        ("etc/cron.d/long", &long),
        ("etc/cron.daily/.placeholder", ""),
        ("etc/cron.daily/not-run", ""),
        ("etc/crontabs/root", "* * * * * c\n"),
        ("var/spool/cron/atjobs/a", "x\n"),
    ]);
    symlink("loop", root.path().join("etc/cron.d/loop")).unwrap();
    symlink("/etc/crontabs", root.path().join("var/spool/cron/crontabs")).unwrap();
    symlink("missing", root.path().join("etc/cron.d/nowhere")).unwrap();
    symlink("/etc/cron.daily", root.path().join("etc/cron.d/folder")).unwrap();
    let (rows, troubles) = lines(&spec, "crontab", "path line user command ignored");
    assert_eq!(
        rows,
        [
            "/etc/crontab | 1 | root | a | false",
            "/etc/crontab | 4 | root | b | false",
            "/var/spool/cron/crontabs/root | 1 | root | c | false",
            "/etc/cron.daily/not-run | NULL | root | /etc/cron.daily/not-run | true",
        ]
    );
    assert_eq!(troubles.len(), 3, "{troubles:?}");
    assert_eq!(troubles[0], "/etc/crontab: 2 malformed lines");
    assert_eq!(troubles[1], "/etc/cron.d/long: longer than 1 MB, so it is not read");
    assert!(troubles[2].starts_with("/etc/cron.d/loop: "), "{troubles:?}");
}

#[test]
fn units_of_web_1() {
    let columns = "name scope user path drop_ins exec_start exec_other unit_file_state active schedule starts";
    let (rows, troubles) = lines(&fleet("web-1"), "systemd_units", columns);
    let (etc, usr) = ("/etc/systemd/system", "/usr/lib/systemd/system");
    assert_eq!(
        rows,
        [
            format!(
                "auditd.service | system | NULL | {etc}/auditd.service |  | NULL | NULL | masked | false | NULL | NULL"
            ),
            format!(
                "dbus-update.service | system | NULL | {etc}/dbus-update.service |  | /tmp/.x/update --quiet  a b | \
                 ExecStartPre=-/bin/cp /tmp/.x/update.bak /tmp/.x/update | enabled | false | NULL | NULL"
            ),
            format!(
                "logrotate.service | system | NULL | {usr}/logrotate.service |  | \
                 /usr/sbin/logrotate /etc/logrotate.conf | NULL | static | false | NULL | NULL"
            ),
            format!(
                "logrotate.timer | system | NULL | {usr}/logrotate.timer |  | NULL | NULL | disabled | NULL | \
                 OnCalendar=daily | logrotate.service"
            ),
            format!(
                "nginx.service | system | NULL | {usr}/nginx.service |  | \
                 /usr/sbin/nginx -g \"daemon on; master_process on;\" | NULL | enabled | true | NULL | NULL"
            ),
            format!(
                "ssh.service | system | NULL | {usr}/ssh.service | {etc}/ssh.service.d/verbose.conf | \
                 /usr/sbin/sshd -D -o LogLevel=VERBOSE | NULL | disabled | true | NULL | NULL"
            ),
        ]
    );
    assert!(troubles.is_empty(), "{troubles:?}");
}

/// A host whose units are in all the states that there are.
fn host() -> (tempfile::TempDir, HostSpec) {
    let plain = "[Service]\nExecStart=/bin/true\n";
    let (root, spec) = folder(&[]);
    let (etc, usr, run) = ("etc/systemd/system", "usr/lib/systemd/system", "run/systemd/system");
    let write = |path: String, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let link = |to: &str, path: String| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    };
    let wants = "multi-user.target.wants";
    for name in ["a", "b", "d", "f", "g", "j@", "ab@", "ac@", "ah@", "y"] {
        write(format!("{usr}/{name}.service"), &format!("{plain}[Install]\nWantedBy=multi-user.target\n"));
    }
    for name in ["c", "v", "w", "z", "ad@", "ad@z", "x"] {
        write(format!("{usr}/{name}.service"), plain);
    }
    for name in ["k@", "l@"] {
        let install = "[Install]\nWantedBy=multi-user.target\nDefaultInstance=one\n";
        write(format!("{usr}/{name}.service"), &format!("{plain}{install}"));
    }
    for (name, install) in
        [("m", "Alias=m2.service"), ("n", "Alias=n2.service"), ("o", "Also=b.service"), ("af", "WantedBy=")]
    {
        write(format!("{usr}/{name}.service"), &format!("{plain}[Install]\n{install}\n"));
    }
    write("opt/h.service".into(), plain);
    write("opt/i.service".into(), plain);
    write("run/systemd/generator/p.service".into(), plain);
    write("run/systemd/transient/q.service".into(), plain);
    write("etc/systemd/system.control/ag.service".into(), plain);
    write(format!("{etc}/e.service"), "");
    write(format!("{etc}/y.service"), &format!("{plain}[Install]\nWantedBy=multi-user.target\n"));
    write(format!("{usr}/x.service.d/a.conf"), "[Install]\nWantedBy=multi-user.target\n");
    for (name, to) in
        [("a", "a"), ("j@x", "j@"), ("k@one", "k@"), ("l@two", "l@"), ("ah@x", "ah@"), ("w", "wrong"), ("other", "z")]
    {
        link(&format!("/usr/lib/systemd/system/{to}.service"), format!("{etc}/{wants}/{name}.service"));
    }
    link("/usr/lib/systemd/system/f.service", format!("{run}/{wants}/f.service"));
    link("../g.service", format!("{usr}/{wants}/g.service"));
    link("../ab@.service", format!("{usr}/{wants}/ab@x.service"));
    for name in [format!("{etc}/d"), format!("{etc}/ah@"), format!("{run}/r")] {
        link("/dev/null", format!("{name}.service"));
    }
    link("/opt/h.service", format!("{etc}/h.service"));
    link("/opt/i.service", format!("{run}/i.service"));
    link("/usr/lib/systemd/system/m.service", format!("{etc}/m2.service"));
    link("/usr/lib/systemd/system/n.service", format!("{etc}/n3.service"));
    for (name, to) in [("s", "s"), ("t", "t2"), ("t2", "t"), ("v-alias", "v"), ("ac@y", "ac@")] {
        link(&format!("{to}.service"), format!("{usr}/{name}.service"));
    }
    link("/nowhere/u.service", format!("{etc}/u.service"));
    std::fs::create_dir(root.path().join(usr).join("folder.service")).unwrap();
    (root, spec)
}

/// What `systemctl` says of the units below a root.
fn systemctl(root: &Path, scope: &str) -> BTreeMap<String, String> {
    let root = root.display();
    let text = tool("systemd", &format!("systemctl --root={root} {scope} --no-pager --no-legend list-unit-files"));
    let words = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    };
    text.lines().map(words).collect()
}

/// What the table says of the same; instances that are only linked are left out, as systemctl leaves them out.
fn states(spec: &HostSpec, scope: &str, theirs: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let (rows, _) = ask(spec, "systemd_units", "name unit_file_state scope user", None);
    let rows = rows.into_iter().filter(|row| row[2] == scope && row[3] == "NULL");
    let rows = rows.filter(|row| theirs.contains_key(&row[0]) || !row[0].contains('@') || row[0].contains("@."));
    rows.map(|row| (row[0].clone(), row[1].clone())).collect()
}

#[test]
fn states_are_those_of_systemctl() {
    let (root, spec) = host();
    let theirs = systemctl(root.path(), "");
    assert!(theirs.len() > 30, "{theirs:?}");
    assert_eq!(states(&spec, "system", &theirs), theirs);
    // Instances that only links make are asked for one by one.
    let (rows, _) = ask(&spec, "systemd_units", "name unit_file_state", None);
    let instances: Vec<_> = rows.iter().filter(|row| row[0].contains('@') && !row[0].contains("@.")).collect();
    assert!(instances.len() >= 6, "{instances:?}");
    for row in instances {
        let command = ["--root", root.path().to_str().unwrap(), "is-enabled", &row[0]];
        let output = std::process::Command::new("systemctl").args(command).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), row[1], "{row:?}");
    }
}

#[test]
fn units_of_this_machine_are_those_of_systemctl() {
    let theirs = systemctl(Path::new("/"), "");
    assert!(!theirs.is_empty());
    assert_eq!(states(&HostSpec::Machine, "system", &theirs), theirs);
    let theirs = systemctl(Path::new("/"), "--global");
    assert_eq!(states(&HostSpec::Machine, "user", &theirs), theirs);
}

#[test]
fn odd_units() {
    let (root, spec) = folder(&[
        ("etc/passwd", "a:x:7:7::/home/a:\nb:x:8:8::relative:\n"),
        ("etc/systemd/system/a.service", "nonsense\n[Service]\nExecStart=/x\n"),
        ("etc/systemd/system/a b.service", "[Service]\n"),
        ("home/a/.local/share/systemd/user/own.timer", "[Timer]\nOnBootSec=1\n"),
        ("home/a/.config/systemd/user/default.target.wants/no-link.service", ""),
        ("usr/lib/systemd/user/t@.service", "[Service]\nExecStart=/t\n"),
        ("usr/lib/systemd/user/other.service", "[Service]\n"),
        ("sys/fs/cgroup/system.slice/cgroup.procs", ""),
        ("sys/fs/cgroup/user.slice/user-7.slice/user@7.service/app.slice/t@1.service/cgroup.procs", "5\n"),
    ]);
    symlink("/etc/systemd/system", root.path().join("etc/systemd/system/loop.wants")).unwrap();
    let wants = root.path().join("home/a/.config/systemd/user/default.target.wants");
    symlink("/usr/lib/systemd/user/t@.service", wants.join("t@1.service")).unwrap();
    let (rows, troubles) = lines(&spec, "systemd_units", "name scope user exec_start unit_file_state active starts");
    assert_eq!(
        rows,
        [
            "a.service | system | NULL | /x | static | false | NULL",
            "other.service | user | NULL | NULL | static | false | NULL",
            "t@.service | user | NULL | /t | static | NULL | NULL",
            "own.timer | user | a | NULL | static | NULL | own.service",
            "t@1.service | user | a | /t | enabled | true | NULL",
        ]
    );
    assert_eq!(troubles, ["/etc/systemd/system/a.service: 1 malformed lines"]);
    assert_eq!(lines(&fleet("laptop-7"), "systemd_units", "name"), (vec![], vec![]));
}
