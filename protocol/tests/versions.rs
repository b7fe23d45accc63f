//! The order of versions beside the tools whose order it is: dpkg, rpm and Python's `packaging`; and published cases.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use canvass_protocol::versions::{Source, compare};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// Pairs of a source's published versions, and of texts made of the pieces its versions are made of, the same ones each time.
fn pairs(published: &[&str], pieces: &'static [&'static str], count: usize) -> Vec<(String, String)> {
    let mut runner = TestRunner::deterministic();
    let made = prop::collection::vec(prop::sample::select(pieces), 1..7).prop_map(|pieces| pieces.concat());
    let known: Vec<String> = published.iter().map(|version| (*version).to_owned()).collect();
    let version = prop_oneof![prop::sample::select(known).boxed(), made.boxed()];
    // The second is often the first with a little more, or with one piece exchanged.
    let near = (version.clone(), prop::sample::select(pieces), any::<prop::sample::Index>());
    let near = near.prop_map(|(version, piece, at)| {
        let at = at.index(version.len() + 1);
        let other = format!("{}{piece}{}", version.get(..at).unwrap_or(""), version.get(at + 1..).unwrap_or(""));
        (version, other)
    });
    let pair = prop_oneof![(version.clone(), version).boxed(), near.boxed()];
    (0..count).map(|_| pair.new_tree(&mut runner).unwrap().current()).collect()
}

fn sign(order: Ordering) -> &'static str {
    match order {
        Ordering::Less => "lt",
        Ordering::Equal => "eq",
        Ordering::Greater => "gt",
    }
}

/// Runs a tool with a text as its input, which must be there.
fn run(package: &str, command: &mut Command, input: &str) -> String {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).env("LC_ALL", "C.UTF-8");
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{error}: install the package `{package}`"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{output:?}: install the package `{package}`");
    String::from_utf8(output.stdout).unwrap()
}

const DPKG_PIECES: &[&str] = &[
    "0", "1", "9", "10", "007", "20240101", ".", ".", "-", "~", "+", ":", "a", "rc", "Z", "~rc1", "-1", "+deb12u1",
    "1:", "2.36", "~bpo", "dfsg", "ubuntu",
];

#[test]
fn dpkg_agrees() {
    let installed = run("dpkg", Command::new("dpkg-query").args(["-W", "-f=${Version}\n"]), "");
    let installed: Vec<&str> = installed.split_whitespace().collect();
    let mut pairs = pairs(&installed, DPKG_PIECES, 3_000);
    // Those would be options.
    pairs.retain(|(one, other)| !one.starts_with('-') && !other.starts_with('-'));
    let mut input = String::new();
    let mut told = 0;
    for (one, other) in &pairs {
        if let Some(order) = compare(one, other, Source::Dpkg) {
            told += 1;
            writeln!(input, "{one} {} {other}", sign(order)).unwrap();
        } else {
            writeln!(input, "{one} none {other}").unwrap();
        }
    }
    assert!(told > 1_500, "{told}");
    // dpkg answers with 0 where the relation holds, 1 where not, and 2 where a text is no version.
    let script = r#"while read -r one relation other; do
        if [ "$relation" = none ]; then dpkg --compare-versions "$one" eq "$other" 2>/dev/null; [ $? = 2 ] || echo "$one none $other"
        else dpkg --compare-versions "$one" "$relation" "$other" 2>/dev/null || echo "$one $relation $other"; fi
    done"#;
    assert_eq!(run("dpkg", Command::new("sh").args(["-c", script]), &input), "");
}

const RPM_PIECES: &[&str] = &[
    "0", "1", "9", "10", "007", "20240101", ".", ".", "-", "~", "^", "_", "+", "a", "rc", "Z", "~rc1", "^git1",
    "-1.el9", "2:", "0:", "fc39", "é",
];
const RPM_PUBLISHED: &[&str] = &[
    "5.14.0-362.8.1.el9_3",
    "1:3.0.7-24.el9",
    "32:9.16.23-14.el9_3",
    "2.34-83.el9.7",
    "1.0~rc1-1",
    "1.0^20240101git-1",
    "2024a-1.fc39",
    "1.1.1k-9.el8_7",
    "4.18.0-513.5.1.el8_9",
    "0.0.99.4-5",
    "8.2.2637-20.el9_1",
    "1.0",
    "1.0-1",
    "10.0001",
    "10.1",
    "xyz10.1",
    "2.0.1a",
];

#[test]
fn rpm_agrees() {
    let pairs = pairs(RPM_PUBLISHED, RPM_PIECES, 6_000);
    let pairs: Vec<_> = pairs.into_iter().filter(|(one, other)| compare(one, other, Source::Rpm).is_some()).collect();
    assert!(pairs.len() > 4_000);
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("pairs");
    let lines: String = pairs.iter().map(|(one, other)| format!("{one} {other}\n")).collect();
    std::fs::write(&list, lines).unwrap();
    let script = format!(
        r#"%{{lua: for line in io.lines("{}") do local one, other = line:match("(%S+) (%S+)"); print(rpm.vercmp(one, other) .. "\n") end}}"#,
        list.display()
    );
    let told = run("rpm", Command::new("rpm").args(["--eval", &script]), "");
    let told: Vec<i8> = told.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(told.len(), pairs.len());
    for ((one, other), told) in pairs.iter().zip(told) {
        assert_eq!(compare(one, other, Source::Rpm), Some(told.cmp(&0)), "{one} {other}");
    }
}

const PIP_PIECES: &[&str] = &[
    "0", "1", "9", "10", "007", ".", ".", "-", "_", "+", "!", "a", "b", "rc", "c", "alpha", "preview", "post", "rev",
    "r", "dev", ".dev1", "rc1", ".post2", "1!", "+local.1", "v", "1.0", "2.0",
];
const PIP_PUBLISHED: &[&str] = &[
    "1.0",
    "1.0.0",
    "1.0.dev456",
    "1.0a1",
    "1.0a2.dev456",
    "1.0a12.dev456",
    "1.0a12",
    "1.0b1.dev456",
    "1.0b2",
    "1.0b2.post345.dev456",
    "1.0b2.post345",
    "1.0rc1.dev456",
    "1.0rc1",
    "1.0+abc.5",
    "1.0+abc.7",
    "1.0+5",
    "1.0.post456.dev34",
    "1.0.post456",
    "1.0.15",
    "1.1.dev1",
    "2024.2.2",
    "1!0.5",
    "1.0-1",
    "1.0.POST1",
    "V1.0-Alpha.2",
    "38.0.4",
    "66.1.1",
];

#[test]
fn packaging_agrees() {
    let pairs = pairs(PIP_PUBLISHED, PIP_PIECES, 8_000);
    let input: String = pairs.iter().map(|(one, other)| format!("{one} {other}\n")).collect();
    let script = "
import sys
try:
    from packaging.version import InvalidVersion, Version
except ImportError:
    from pip._vendor.packaging.version import InvalidVersion, Version
for line in sys.stdin:
    try:
        one, other = map(Version, line.split())
        print((one > other) - (one < other))
    except InvalidVersion:
        print('none')
";
    let told = run("python3-pip", Command::new("python3").args(["-c", script]), &input);
    let told: Vec<Option<i8>> = told.split_whitespace().map(|number| number.parse().ok()).collect();
    assert_eq!(told.len(), pairs.len());
    assert!(told.iter().flatten().count() > 1_500);
    for ((one, other), told) in pairs.iter().zip(told) {
        assert_eq!(compare(one, other, Source::Pip), told.map(|told| told.cmp(&0)), "{one} {other}");
    }
}

/// Versions from the oldest to the newest, each in its place with every other, as are those that are equal.
fn check(source: Source, ascending: &[&str], equal: &[(&str, &str)], none: &[&str]) {
    for (place, one) in ascending.iter().enumerate() {
        for (other_place, other) in ascending.iter().enumerate() {
            assert_eq!(compare(one, other, source), Some(place.cmp(&other_place)), "{one} {other}");
        }
    }
    for (one, other) in equal {
        assert_eq!(compare(one, other, source), Some(Ordering::Equal), "{one} {other}");
    }
    for one in none {
        assert_eq!(compare(one, "1.0.0", source), None, "{one}");
        assert_eq!(compare("1.0.0", one, source), None, "{one}");
    }
}

#[test]
fn orders_of_apk_and_npm() {
    check(
        Source::Apk,
        &[
            "0.0.9",
            "0.1.0_alpha",
            "0.1.0_alpha1_pre2",
            "0.1.0_alpha1",
            "0.1.0_beta",
            "0.1.0_pre1",
            "0.1.0_rc1",
            "0.1.0_rc2",
            "0.1.0",
            "0.1.0-r1",
            "0.1.0-r10",
            "0.1.0_cvs20010101",
            "0.1.0_git20240101",
            "0.1.0_p1",
            "0.1.0_p1-r1",
            "0.1.0a",
            "0.1.0b",
            "0.1.0.1",
            "0.1.1",
            "0.9",
            "0.10",
            "1.01",
            "1.1",
            "20050718",
            "20240101120000",
        ],
        &[("1.2.3", "1.2.3"), ("1.0_rc1-r3", "1.0_rc1-r3")],
        &["", "x", "1.", "1..2", "1.0_what", "1.0-1", "1.0-r", "1.0_rc1a", "1.0aa", "1.0 ", "1.0-r1.2", "é"],
    );
    check(
        Source::Npm,
        &[
            "0.0.0",
            "0.0.1",
            "0.9.12",
            "0.10.0",
            "1.0.0-0",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0--",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "2.0.0",
            "99999999999999999999999.0.0",
        ],
        &[("1.0.0+build", "1.0.0"), ("v1.2.3", "1.2.3"), ("= v1.2.3-a+x.y", "1.2.3-a")],
        &[
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3+",
            "latest",
            "1.2.x",
            "^1.2.3",
        ],
    );
}

#[test]
fn what_is_no_version() {
    assert_eq!(compare("", "", Source::Rpm), None);
    assert_eq!(compare("1:", "1", Source::Rpm), None);
    assert_eq!(compare("-1", "1", Source::Rpm), None);
    assert_eq!(compare("", "1", Source::Dpkg), None);
    assert_eq!(compare("99999999999:1", "1", Source::Dpkg), None);
    assert_eq!(Source::parse("rpm"), Some(Source::Rpm));
    assert_eq!(Source::parse("RPM"), None);
    assert!(Source::ALL.into_iter().all(|source| Source::parse(source.as_str()) == Some(source)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn orders_are_total(texts in prop::collection::vec("[0-9a-cr.:~^_+!é-]{0,8}|\\PC{0,8}", 3)) {
        for source in Source::ALL {
            let order = |one: usize, other: usize| compare(&texts[one], &texts[other], source);
            prop_assert_eq!(order(0, 1).map(Ordering::reverse), order(1, 0));
            prop_assert!(order(0, 0).is_none_or(Ordering::is_eq));
            if let (Some(one), Some(two), Some(both)) = (order(0, 1), order(1, 2), order(0, 2)) {
                if one == two {
                    prop_assert_eq!(both, one);
                }
                if one.is_eq() {
                    prop_assert_eq!(both, two);
                }
            }
        }
    }
}
