//! Who may use which module, for every policy a person can write, bad ones included.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;

use canvass_protocol::acl::Acl;
use canvass_protocol::openpgp::Fingerprint;

fn print(letter: char) -> Fingerprint {
    Fingerprint::parse(&letter.to_string().repeat(40)).unwrap()
}

/// Judges `module` for signers named by the one hexadecimal digit of their fingerprint; `ok` or the refusal.
fn judge(acl: &Acl, module: &str, signers: &str) -> String {
    let signers: BTreeSet<Fingerprint> = signers.chars().map(print).collect();
    acl.judge(module, &signers).map_or_else(|denied| denied.to_string(), |()| "ok".into())
}

/// A certificate's fingerprint of one digit is written `@a`.
fn policy(text: &str) -> Acl {
    let text = ('a'..='f').fold(text.to_owned(), |text, c| text.replace(&format!("@{c}"), &print(c).0));
    if text.trim_start().starts_with('{') { Acl::from_mig_json(&text) } else { Acl::from_toml(&text) }
}

const HOUSE: &str = r#"
fleet = "acme"
[ceilings]
rows = 5
[acl.default]
minimum_weight = 1
[acl.default.investigators.alice]
fingerprint = "@a"
weight = 1
[acl.default.investigators.bob]
fingerprint = "@b"
weight = 2
[acl.process_memory]
minimum_weight = 2
[acl."files.content"]
minimum_weight = 3
[acl.network]
minimum_weight = 1
[acl.network.investigators.carol]
fingerprint = "@c"
weight = 1
"#;

#[test]
fn weights() {
    let acl = policy(HOUSE);
    assert_eq!(acl.problems(), Vec::<String>::new());
    for (module, signers, expected) in [
        ("files", "a", "ok"),
        ("files", "b", "ok"),
        ("files", "", "files needs weight 1, signatures carry 0"),
        ("files", "c", "files needs weight 1, signatures carry 0"),
        // A module without investigators uses the default's.
        ("process_memory", "a", "process_memory needs weight 2, signatures carry 1: alice"),
        ("process_memory", "b", "ok"),
        ("process_memory", "ab", "ok"),
        ("process_memory", "ac", "process_memory needs weight 2, signatures carry 1: alice"),
        // With any, only its own.
        ("network", "c", "ok"),
        ("network", "ab", "network needs weight 1, signatures carry 0"),
        // A column may have an entry; without one it follows its module.
        ("files.content", "b", "files.content needs weight 3, signatures carry 2: bob"),
        ("files.content", "ab", "ok"),
        ("process_memory.content", "a", "process_memory.content needs weight 2, signatures carry 1: alice"),
        ("network.remote_ip", "c", "ok"),
        ("processes.cmdline", "a", "ok"),
    ] {
        assert_eq!(judge(&acl, module, signers), expected, "{module} by `{signers}`");
    }
    assert!(acl.has_entry("files.content") && !acl.has_entry("files"));
}

#[test]
fn no_entry_and_no_default_refuses() {
    let acl = policy("[acl.files]\nminimum_weight = 1\n[acl.files.investigators.a]\nfingerprint = \"@a\"\nweight = 1");
    assert_eq!(judge(&acl, "files", "a"), "ok");
    assert_eq!(judge(&acl, "system", "a"), "system has no entry in the policy, and there is no default");
    assert_eq!(
        judge(&policy("fleet = \"acme\""), "files", "a"),
        "files has no entry in the policy, and there is no default"
    );
    // A module that borrows investigators from a default that is not there has none.
    let acl = policy("[acl.files]\nminimum_weight = 1");
    assert_eq!(judge(&acl, "files", "a"), "files needs weight 1, signatures carry 0");
}

#[test]
fn an_entry_that_cannot_be_read_refuses_its_module_and_no_other() {
    let default =
        "[acl.default]\nminimum_weight = 1\n[acl.default.investigators.a]\nfingerprint = \"@a\"\nweight = 1\n";
    for broken in [
        "[acl.files]",
        "[acl.files]\nminimum_weight = 0",
        "[acl.files]\nminimum_weight = -1",
        "[acl.files]\nminimum_weight = 1.5",
        "[acl.files]\nminimum_weight = \"1\"",
        "[acl.files]\nminimum_weight = 1\nminimum = 1",
        "[acl]\nfiles = 1",
        "[acl.files]\nminimum_weight = 1\ninvestigators = []",
        "[acl.files]\nminimum_weight = 1\n[acl.files.investigators.a]\nfingerprint = \"@a\"",
        "[acl.files]\nminimum_weight = 1\n[acl.files.investigators.a]\nfingerprint = \"@a\"\nweight = 0",
        "[acl.files]\nminimum_weight = 1\n[acl.files.investigators.a]\nfingerprint = \"@a\"\nweight = -3",
        "[acl.files]\nminimum_weight = 1\n[acl.files.investigators.a]\nfingerprint = \"AAAAAAAAAAAAAAAA\"\nweight = 1",
        "[acl.files]\nminimum_weight = 1\n[acl.files.investigators.a]\nfingerprint = \"@a\"\nweight = 1\nname = \"x\"",
        // One bad investigator spoils the entry: who was meant is not guessed.
        "[acl.files]\nminimum_weight = 1\n[acl.files.investigators.a]\nfingerprint = \"@a\"\nweight = 1\n[acl.files.investigators.b]\nfingerprint = \"?\"\nweight = 1",
        // What was meant is `[acl."files.content"]`.
        "[acl.files]\nminimum_weight = 1\n[acl.files.content]\nminimum_weight = 2",
    ] {
        let text =
            if broken.starts_with("[acl]") { format!("{broken}\n{default}") } else { format!("{default}{broken}") };
        let acl = policy(&text);
        assert_eq!(judge(&acl, "files", "a"), "the policy's entry for files cannot be read", "{broken}");
        let expected = "the policy's entry for files.content cannot be read";
        assert_eq!(judge(&acl, "files.content", "a"), expected, "{broken}");
        assert_eq!(judge(&acl, "system", "a"), "ok", "{broken}");
        assert_eq!(acl.problems().len(), 1, "{broken}");
    }
}

#[test]
fn a_broken_default_refuses_all_that_lean_on_it() {
    let acl = policy(
        "[acl.default]\nminimum_weight = 0\n[acl.files]\nminimum_weight = 1\n[acl.system]\nminimum_weight = 1\n\
         [acl.system.investigators.a]\nfingerprint = \"@a\"\nweight = 1",
    );
    assert_eq!(judge(&acl, "network", "a"), "the policy's entry for network cannot be read");
    assert_eq!(judge(&acl, "files", "a"), "the policy's entry for files cannot be read");
    assert_eq!(judge(&acl, "system", "a"), "ok");
}

#[test]
fn an_unreadable_policy_refuses_everything() {
    let twice = "[acl.default]\nminimum_weight = 1\n[acl.default]\nminimum_weight = 1";
    for text in ["[acl", "acl = 3", twice, "{", "{\"default\":{}}x", "{\"default\":{},\"default\":{}}", "{}{}"] {
        let acl = policy(text);
        assert_eq!(judge(&acl, "files", "abcdef"), "the policy cannot be read", "{text}");
        assert_eq!(acl.problems().len(), 1, "{text}");
    }
}

#[test]
fn one_certificate_under_two_labels_takes_the_lower_weight_and_counts_once() {
    for (first, second) in [(1, 2), (2, 1)] {
        let acl = policy(&format!(
            "[acl.default]\nminimum_weight = 2\n[acl.default.investigators.al]\nfingerprint = \"@a\"\nweight = {first}\n\
             [acl.default.investigators.bo]\nfingerprint = \"{}\"\nweight = {second}",
            print('a').0.to_lowercase()
        ));
        let label = if first == 1 { "al" } else { "bo" };
        assert_eq!(judge(&acl, "files", "a"), format!("files needs weight 2, signatures carry 1: {label}"));
    }
}

#[test]
fn weights_that_overflow_saturate() {
    let acl = policy(
        "[acl.default]\nminimum_weight = 9223372036854775807\n[acl.default.investigators.a]\nfingerprint = \"@a\"\n\
         weight = 9223372036854775807\n[acl.default.investigators.b]\nfingerprint = \"@b\"\nweight = 9223372036854775807",
    );
    assert_eq!(judge(&acl, "files", "ab"), "ok");
}

#[test]
fn everyone_in_a_keyring_weighs_one() {
    let acl = Acl::everyone([print('a'), print('b')]);
    assert_eq!(judge(&acl, "process_memory", "a"), "ok");
    assert_eq!(judge(&acl, "files", "c"), "files needs weight 1, signatures carry 0");
    assert_eq!(judge(&Acl::everyone([]), "files", "a"), "files needs weight 1, signatures carry 0");
    assert_eq!(judge(&Acl::refusing("wrong owner"), "files", "a"), "the policy cannot be read");
}

#[test]
fn mig_policies_are_read() {
    let acl = policy(include_str!("golden/acl-mig.json"));
    assert_eq!(acl.problems(), Vec::<String>::new());
    for (module, signers, expected) in [
        ("system", "b", "ok"),
        ("system", "d", "system needs weight 2, signatures carry 1: Jane"),
        ("files", "d", "ok"),
        ("process_memory", "b", "process_memory needs weight 3, signatures carry 2: Bob"),
        ("process_memory", "bd", "ok"),
    ] {
        assert_eq!(judge(&acl, module, signers), expected, "{module} by `{signers}`");
    }
    let same = r#"{"file":{"minimumweight":1,"investigators":{"a":{"fingerprint":"@a","weight":1}}},"files":{"minimumweight":1}}"#;
    assert_eq!(judge(&policy(same), "files", "a"), "the policy's entry for files cannot be read");
    let twice = r#"{"default":{"minimumweight":1,"investigators":{"a":{"fingerprint":"@a","weight":1},"a":{"fingerprint":"@b","weight":1}}}}"#;
    assert_eq!(judge(&policy(twice), "files", "b"), "the policy's entry for files cannot be read");
}

#[test]
fn golden_policy_opens_for_ever() {
    let acl = policy(include_str!("golden/acl-1.toml"));
    assert_eq!(acl.problems(), Vec::<String>::new());
    assert_eq!(judge(&acl, "process_memory", "a"), "process_memory needs weight 2, signatures carry 1: alice");
    assert_eq!(judge(&acl, "files.content", "ab"), "ok");
}
