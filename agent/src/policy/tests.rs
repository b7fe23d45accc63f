//! Tests of the policy: tables of cases, and what each must answer.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use canvass_protocol::openpgp::{KeyFile, RevocationReason, Signer};
use jiff::Timestamp;

use super::*;
use crate::folder::Folder;

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(home.keyring()).unwrap();
        home
    }

    fn policy(&self) -> PathBuf {
        self.folder.path().join("agent.toml")
    }

    fn keyring(&self) -> PathBuf {
        self.folder.path().join("keyring")
    }

    fn write(&self, text: &str) -> &Home {
        fs::write(self.policy(), text).unwrap();
        fs::set_permissions(self.policy(), Permissions::from_mode(0o644)).unwrap();
        self
    }

    fn add(&self, name: &str, bytes: &[u8], mode: u32) -> &Home {
        let path = self.keyring().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        self
    }

    fn read(&self) -> Result<Policy, PolicyError> {
        Policy::read(&self.policy(), &[self.keyring(), self.folder.path().join("missing")], &Revocations::default())
    }
}

fn key(name: &str) -> KeyFile {
    KeyFile::generate(name, None, Timestamp::now()).unwrap()
}

#[test]
fn without_a_policy_every_certificate_weighs_one() {
    let (home, alice) = (Home::new(), key("alice"));
    home.add("alice.asc", alice.public_armor().unwrap().as_bytes(), 0o644);
    let policy = home.read().unwrap();
    let (signers, nobody) = (BTreeSet::from([alice.fingerprint()]), BTreeSet::new());
    assert!(policy.acl.judge("files", &signers).is_ok());
    assert!(policy.acl.judge("files", &nobody).is_err());
    assert!(policy.troubles.is_empty());
    assert_eq!(policy.window_s_max, limits::WINDOW_S_MAX);
    assert_eq!(
        (policy.concurrency, policy.content_predicates_max, policy.content_predicates_day_max),
        (None, 10_000, 100_000)
    );
}

#[test]
fn a_whole_policy_is_read() {
    let home = Home::new();
    home.write(
        "fleet = 'acme'\ndisabled_modules = ['files', 'later']\nforbidden_paths = ['/srv']\n\
         withheld_columns = ['users.name', 'users.nope']\nwindow_s_max = 60\n[limits]\nrows = 5\ntime_ms = 7\n\
         threads = 1\nconcurrency = 2\ncontent_predicates = 3\ncontent_predicates_per_day = 30\n\
         [acl.default]\nminimum_weight = 1\n[acl.files]\nminimum_weight = 0\n",
    );
    let policy = home.read().unwrap();
    assert_eq!(policy.fleet.as_deref(), Some("acme"));
    assert_eq!(policy.window_s_max, 60);
    assert_eq!((policy.ceiling.rows, policy.ceiling.time_ms, policy.ceiling.bytes), (5, 7, u64::MAX));
    assert_eq!((policy.threads_max, policy.threads()), (Some(NonZeroUsize::MIN), NonZeroUsize::MIN));
    assert_eq!(policy.concurrency, NonZeroUsize::new(2));
    assert_eq!((policy.content_predicates_max, policy.content_predicates_day_max), (3, 30));
    assert_eq!(policy.forbidden_paths, ["/srv"]);
    let troubles = policy.troubles.join("\n");
    for expected in ["entry for `files` cannot be read", "disables `later`", "withholds `users.nope`"] {
        assert!(troubles.contains(expected), "{expected}: {troubles}");
    }
    assert_eq!(policy.troubles.len(), 3, "{troubles}");
}

#[test]
fn the_manual_s_policy_is_read_whole() {
    let manual = include_str!("../../../docs/policy.md");
    let (_, rest) = manual.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let policy = Home::new().write(text).read().unwrap();
    assert!(policy.troubles.is_empty(), "{:?}", policy.troubles);
    assert_eq!(policy.threads_max, NonZeroUsize::new(2));
}

#[test]
fn threads_are_one_a_core_and_never_more() {
    let cores = std::thread::available_parallelism().unwrap();
    for (text, expected) in
        [("", cores), ("[limits]\nthreads = 1", NonZeroUsize::MIN), ("[limits]\nthreads = 100_000", cores)]
    {
        let home = Home::new();
        assert_eq!(home.write(text).read().unwrap().threads(), expected, "{text}");
    }
}

#[test]
fn what_is_malformed_is_no_policy() {
    let cases = [
        ("fleet = ", "malformed"),
        ("flet = 'acme'", "unknown field `flet`"),
        ("[limits]\nrow = 1", "unknown field `row`"),
        ("[limits]\nthreads = 0", "nonzero"),
        ("[limits]\nconcurrency = 0", "nonzero"),
        ("[limits]\ncontent_predicates = -1", "content_predicates"),
        ("window_s_max = -1", "window_s_max"),
        ("disabled_modules = 'files'", "disabled_modules"),
        ("forbidden_paths = ['etc']", "`etc` is not absolute"),
        ("acl = 1", "acl"),
        ("fleet = 'a'\nfleet = 'b'", "duplicate"),
    ];
    for (text, expected) in cases {
        let home = Home::new();
        let error = home.write(text).read().unwrap_err().to_string();
        assert!(error.contains("malformed policy") && error.contains(expected), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let home = Home::new();
    home.write("");
    fs::write(home.policy(), [0xff, 0xfe]).unwrap();
    assert!(home.read().unwrap_err().to_string().contains("not text"));
}

#[test]
fn what_others_can_write_is_no_policy() {
    type Spoil = fn(&Home);
    let cases: [(&str, Spoil); 6] = [
        ("file", |home| fs::set_permissions(home.policy(), Permissions::from_mode(0o666)).unwrap()),
        ("file, by its group", |home| fs::set_permissions(home.policy(), Permissions::from_mode(0o664)).unwrap()),
        ("its folder", |home| fs::set_permissions(home.folder.path(), Permissions::from_mode(0o777)).unwrap()),
        ("keyring", |home| fs::set_permissions(home.keyring(), Permissions::from_mode(0o777)).unwrap()),
        ("keyring is a file", |home| {
            fs::remove_dir(home.keyring()).unwrap();
            fs::write(home.keyring(), "").unwrap();
        }),
        ("folder in the file's place", |home| {
            fs::remove_file(home.policy()).unwrap();
            fs::create_dir(home.policy()).unwrap();
        }),
    ];
    for (name, spoil) in cases {
        let home = Home::new();
        home.write("").read().unwrap();
        spoil(&home);
        let error = home.read().unwrap_err();
        assert!(matches!(error, PolicyError::Folder(_)), "{name}: {error}");
    }
}

#[test]
fn a_fifo_is_no_policy_and_does_not_hang() {
    let home = Home::new();
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        home.policy(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    );
    made.unwrap();
    assert!(matches!(home.read(), Err(PolicyError::Folder(FolderError::Kind { .. }))));
}

#[test]
fn one_bad_certificate_is_skipped_and_reported() {
    let (home, alice, bob) = (Home::new(), key("alice"), key("bob"));
    home.add("0.asc", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nnonsense", 0o644);
    home.add("alice.asc", alice.public_armor().unwrap().as_bytes(), 0o644);
    home.add("bob.pgp", bob.public_armor().unwrap().as_bytes(), 0o666);
    home.add("carol.txt", key("carol").public_armor().unwrap().as_bytes(), 0o644);
    let policy = home.read().unwrap();
    assert_eq!(policy.keyring.fingerprints().collect::<Vec<_>>(), [&alice.fingerprint()]);
    assert_eq!(policy.troubles.len(), 2, "{:?}", policy.troubles);
    assert!(policy.troubles[1].contains("writable by others"), "{:?}", policy.troubles);
}

#[test]
fn mig_s_acl_is_read_as_well() {
    let (home, alice) = (Home::new(), key("alice"));
    let path = home.folder.path().join("acl.json");
    let text = format!(
        r#"{{"default":{{"minimumweight":2,"investigators":{{"alice":{{"fingerprint":"{}","weight":2}}}}}}}}"#,
        alice.fingerprint()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let policy = Policy::read(&path, &[], &Revocations::default()).unwrap();
    assert!(policy.acl.judge("files", &BTreeSet::from([alice.fingerprint()])).is_ok());
}

#[test]
fn a_change_is_in_force_at_once() {
    let (home, alice) = (Home::new(), key("alice"));
    let in_force = PolicyInForce::new(home.policy(), vec![home.keyring()]);
    let first = in_force.get();
    assert!(Arc::ptr_eq(&first, &in_force.get()), "nothing changed");
    home.add("alice.asc", alice.public_armor().unwrap().as_bytes(), 0o644);
    let second = in_force.get();
    assert_eq!(second.as_ref().as_ref().unwrap().keyring.len(), 1);
    assert_ne!(first.as_ref().as_ref().unwrap().sha256, second.as_ref().as_ref().unwrap().sha256);
    home.write("nonsense");
    assert!(in_force.get().is_err());
    fs::remove_file(home.policy()).unwrap();
    fs::remove_file(home.keyring().join("alice.asc")).unwrap();
    assert!(in_force.get().as_ref().as_ref().unwrap().keyring.is_empty());
}

#[test]
fn the_manual_lists_modules_with_their_tables() {
    let tables = canvass_tables::TABLES.iter().map(|table| table.info());
    let mut modules: Vec<(&str, Vec<String>)> = Vec::new();
    for table in tables {
        let name = format!("`{}`", table.name);
        match modules.iter_mut().find(|(module, _)| *module == table.module.name) {
            Some((_, names)) => names.push(name),
            None => modules.push((table.module.name, vec![name])),
        }
    }
    let lines: String =
        modules.iter().map(|(module, names)| format!("| `{module}` | {} |\n", names.join(", "))).collect();
    let manual = include_str!("../../../docs/policy.md");
    assert!(
        manual.contains(&format!("| module | tables |\n| --- | --- |\n{lines}\n")),
        "docs/policy.md lacks\n{lines}"
    );
}

#[test]
fn the_manual_says_what_modules_need_beside_reading_files() {
    let mut modules: Vec<canvass_tables::Module> = Vec::new();
    for module in canvass_tables::TABLES.iter().map(|table| table.info().module) {
        if !module.needs.is_empty() && !modules.contains(&module) {
            modules.push(module);
        }
    }
    let line = |module: &canvass_tables::Module| {
        let needs: Vec<&str> = module.needs.iter().map(|need| need.about()).collect();
        format!("| `{}` | {} |\n", module.name, needs.join("; "))
    };
    let lines: String = modules.iter().map(line).collect();
    let table = format!("| module | beside reading files |\n| --- | --- |\n{lines}| all others | nothing |\n");
    assert!(include_str!("../../../docs/policy.md").contains(&table), "docs/policy.md lacks\n{table}");
}

#[test]
fn the_log_says_what_may_have_been_meant() {
    let cases = [
        (
            "disabled_modules = ['users']",
            "the policy disables `users`, which is no module but a table of `accounts`; all of `accounts` is refused, write so",
        ),
        (
            "disabled_modules = ['acounts']",
            "the policy disables `acounts`, which is no module; every action is refused; did you mean `accounts`?",
        ),
        ("disabled_modules = ['xyzzy']", "the policy disables `xyzzy`, which is no module; every action is refused"),
        (
            "withheld_columns = ['users.nam']",
            "the policy withholds `users.nam`, which is no column; all of `users` is refused; did you mean `name`?",
        ),
        (
            "withheld_columns = ['user.name']",
            "the policy withholds `user.name`, which is no column; every action is refused; did you mean `users`?",
        ),
        (
            "[acl.netstat]\nminimum_weight = 1",
            "the policy has an entry for `netstat`, which is no module but a table of `network`; all of `network` is refused, write so",
        ),
        (
            "[acl.file]\nminimum_weight = 1",
            "the policy has an entry for `file`, which is no module; modules without an entry of their own are refused; did you mean `files`?",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Home::new().write(text).read().unwrap().troubles, [expected], "{text}");
    }
}

/// Each name in the manual's list of slips does there what it does here.
#[test]
fn the_manual_says_what_each_slip_refuses() {
    let manual = include_str!("../../../docs/policy.md");
    let (_, table) = manual.split_once("| in the policy | refuses |\n| --- | --- |\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let text = cells[0].trim().trim_start_matches('`').split("`,").next().unwrap().trim_end_matches('`');
        let text = if text.starts_with('[') { format!("{text}\nminimum_weight = 1") } else { text.to_owned() };
        let says = cells[1].trim();
        let expected = match says {
            "every action" => "every action is refused".to_owned(),
            "modules without an entry of their own" => format!("{says} are refused"),
            all => format!("{all} is refused"),
        };
        let policy = Home::new().write(&text).read().unwrap();
        assert!(policy.troubles.len() == 1 && policy.troubles[0].contains(&expected), "{text}: {:?}", policy.troubles);
        count += 1;
    }
    assert!(count >= 9, "{count}");
}

/// Whoever can write a folder above can put another in its place.
#[test]
fn folders_further_up_are_looked_at() {
    let chmod = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let far = home.path().join("far");
    let near = far.join("near");
    fs::create_dir_all(&near).unwrap();
    let (policy, keyring) = (near.join("agent.toml"), near.join("keyring"));
    fs::write(&policy, "").unwrap();
    fs::create_dir(&keyring).unwrap();
    let read = || Policy::read(&policy, std::slice::from_ref(&keyring), &Revocations::default()).map(|_| ());
    chmod(&far, 0o755);
    read().unwrap();
    chmod(&far, 0o777);
    assert!(matches!(read(), Err(PolicyError::Folder(FolderError::Writable { .. }))));
    assert!(matches!(
        Policy::read(&home.path().join("none"), std::slice::from_ref(&keyring), &Revocations::default()),
        Err(PolicyError::Folder(_))
    ));
    chmod(&far, 0o1777);
    read().unwrap();
    // A link is where it is spelled, and where it leads.
    chmod(&far, 0o777);
    std::os::unix::fs::symlink(&near, home.path().join("link")).unwrap();
    let linked = home.path().join("link/agent.toml");
    assert!(matches!(
        Policy::read(&linked, &[], &Revocations::default()),
        Err(PolicyError::Folder(FolderError::Writable { .. }))
    ));
}

#[test]
fn who_may_write_above_is_looked_at_again() {
    let home = Home::new();
    home.write("[acl.default]\nminimum_weight = 1");
    let in_force = PolicyInForce::new(home.policy(), vec![home.keyring()]);
    assert!(in_force.get().is_ok());
    fs::set_permissions(home.folder.path(), Permissions::from_mode(0o777)).unwrap();
    assert!(in_force.get().is_err());
    fs::set_permissions(home.folder.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(in_force.get().is_ok());
}

fn revocation(key: &KeyFile) -> String {
    key.revocation(RevocationReason::Compromised, "lost", Timestamp::now()).unwrap()
}

#[test]
fn what_is_revoked_stays_revoked() {
    let (home, alice, bob) = (Home::new(), key("alice"), key("bob"));
    let certificate = alice.public_armor().unwrap();
    home.add("alice.asc", certificate.as_bytes(), 0o644);
    home.add("bob.asc", bob.public_armor().unwrap().as_bytes(), 0o644);
    let folder = Folder::open(&home.folder.path().join("data")).unwrap();
    let open =
        |folder: Option<Folder>| PolicyInForce::new(home.policy(), vec![home.keyring()]).remembering(folder, false);
    let counts = |in_force: &PolicyInForce, key: &KeyFile| {
        let signature = key.sign(b"x", Timestamp::now()).unwrap();
        let policy = in_force.get();
        let policy = policy.as_ref().as_ref().unwrap();
        let counts = !policy.keyring.verify(b"x", &[signature], Timestamp::now()).signers.is_empty();
        assert_eq!(policy.revoked_keys.contains(&key.fingerprint()), !counts);
        counts
    };
    for folder in [Some(folder.clone()), None] {
        let in_force = open(folder.clone());
        let before = in_force.get().as_ref().as_ref().unwrap().sha256;
        assert!(counts(&in_force, &alice) && counts(&in_force, &bob));
        let revoked = in_force.revoke(revocation(&alice).as_bytes()).unwrap();
        assert_eq!((revoked.len(), &revoked[0].certificate), (1, &alice.fingerprint()));
        assert!(!counts(&in_force, &alice) && counts(&in_force, &bob));
        assert_ne!(in_force.get().as_ref().as_ref().unwrap().sha256, before);
        assert_eq!(in_force.revoke(revocation(&alice).as_bytes()).unwrap(), [], "it is known");
        // The certificate leaves, and is put back as it was before.
        fs::remove_file(home.keyring().join("alice.asc")).unwrap();
        assert_eq!(in_force.get().as_ref().as_ref().unwrap().keyring.len(), 1);
        home.add("alice.asc", certificate.as_bytes(), 0o644);
        assert!(!counts(&in_force, &alice) && counts(&in_force, &bob));
        let again = open(folder.clone());
        assert_eq!((counts(&again, &alice), counts(&again, &bob)), (folder.is_none(), true));
    }
}

#[test]
fn what_revokes_nothing_is_not_kept() {
    let (home, alice, mallory) = (Home::new(), key("alice"), key("mallory"));
    home.add("alice.asc", alice.public_armor().unwrap().as_bytes(), 0o644);
    let folder = Folder::open(&home.folder.path().join("data")).unwrap();
    let in_force = PolicyInForce::new(home.policy(), vec![home.keyring()]).remembering(Some(folder.clone()), false);
    let before = in_force.get().as_ref().as_ref().unwrap().sha256;
    let armor = revocation(&alice);
    let (cut, long) = (&armor[..armor.len() / 2], "x".repeat(limits::REVOCATION_BYTES_MAX + 1));
    for bad in ["", cut, &long] {
        assert!(in_force.revoke(bad.as_bytes()).is_err());
    }
    assert_eq!(in_force.revoke(revocation(&mallory).as_bytes()).unwrap(), []);
    assert_eq!(in_force.get().as_ref().as_ref().unwrap().sha256, before);
    assert!(!folder.path().join(crate::revocations::FILE).exists());
    // While the policy cannot be read the keyring is still revoked.
    home.write("nonsense");
    assert!(in_force.get().is_err());
    assert_eq!(in_force.revoke(armor.as_bytes()).unwrap().len(), 1);
    fs::remove_file(home.policy()).unwrap();
    fs::remove_file(folder.path().join("policy-seen")).unwrap();
    assert_eq!(in_force.get().as_ref().as_ref().unwrap().revoked_keys, [alice.fingerprint()]);
    // What cannot be read may have been of anybody.
    folder.write_private(crate::revocations::FILE, &armor.as_bytes()[..armor.len() / 2]).unwrap();
    assert!(matches!(&*in_force.get(), Err(PolicyError::Revocation { .. })));
}
