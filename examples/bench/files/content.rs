//! P2: content below /usr/share and /usr/include, against `rg -uuu -a -l` and `grep -rE`.

use std::fs;

use anyhow::Result;

use crate::Bench;
use crate::canvass::{quoted, under};
use crate::report::{Goal, Measure, Report};
use crate::rounds::{alternate, timing, warm_up};
use crate::side::Side;

const ROOTS: [&str; 2] = ["/usr/share", "/usr/include"];
const KEY: &str = "AKIA[0-9A-Z]{16}";
const LITERAL: &str = "Redistribution and use in source";
const COMMON: &str = "[Cc]opyright \\([Cc]\\) [0-9]{4}";
/// Begins with nothing that could be looked for first.
const HARD: &str = "[0-9]+-[0-9a-z]{32}\\.apps\\.googleusercontent\\.com";
/// What people look for when a secret has leaked; written so that all three programs read them alike.
const SECRETS: [&str; 20] = [
    KEY,
    "ASIA[0-9A-Z]{16}",
    "AIza[0-9A-Za-z_-]{35}",
    "gh[pousr]_[0-9A-Za-z]{36}",
    "glpat-[0-9A-Za-z_-]{20}",
    "xox[abprs]-[0-9A-Za-z-]{10,48}",
    "sk_live_[0-9A-Za-z]{24}",
    "SG\\.[0-9A-Za-z_-]{22}\\.[0-9A-Za-z_-]{43}",
    "SK[0-9a-f]{32}",
    "key-[0-9a-f]{32}",
    "npm_[0-9A-Za-z]{36}",
    "pypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{50}",
    "eyJ[0-9A-Za-z_-]{10,}\\.eyJ[0-9A-Za-z_-]{10,}\\.[0-9A-Za-z_-]{10,}",
    "-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "hooks\\.slack\\.com/services/T[0-9A-Z]{8}",
    "postgres://[a-z]+:[^@/ ]+@",
    "mongodb(\\+srv)?://[a-z]+:[^@/ ]+@",
    "sq0atp-[0-9A-Za-z_-]{22}",
    "DefaultEndpointsProtocol=https;AccountName=",
    "dop_v1_[0-9a-f]{64}",
];
/// Texts that are looked for as they are: some are found, most are not.
const LITERALS: [&str; 20] = [
    LITERAL,
    "AKIAIOSFODNN7EXAMPLE",
    "aws_secret_access_key",
    "BEGIN RSA PRIVATE KEY",
    "BEGIN OPENSSH PRIVATE KEY",
    "DefaultEndpointsProtocol",
    "Authorization: Bearer",
    "client_secret",
    "xmrig",
    "stratum\\+tcp",
    "/dev/tcp/",
    "mimikatz",
    "meterpreter",
    "powershell -enc",
    "bash -i >& /dev/tcp",
    "LD_PRELOAD=/tmp",
    "base64 -d [|] sh",
    "nc -e /bin/sh",
    "GTFOBins",
    "chmod 4755 /tmp",
];
/// Indicators of a list, beside one that is found.
const LISTED: u32 = 10_000;
const MIG: &str = "5.9 s for 700 MB";

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let all = [&SECRETS[1..], &[HARD]].concat();
    let cases: [(&str, &[&str], Option<&'static str>); 6] = [
        ("content ~ 'AKIA[0-9A-Z]{16}'", &[KEY], Some(MIG)),
        ("20 expressions, ORed", &SECRETS, None),
        ("20 expressions, one of which begins with no letter", &all, None),
        ("a literal", &[LITERAL], None),
        ("20 literals, ORed", &LITERALS, None),
        ("an expression with many hits", &[COMMON], None),
    ];
    for (case, expressions, mig) in cases {
        let canvass = bench.canvass.asks(&statement(expressions));
        let trivial = bench.canvass.trivial();
        let given = expressions.iter().flat_map(|expression| ["-e", expression]);
        let rg = Side::tool("rg", &bench.tools.rg).with(["-uuu", "-a", "-l", "-0"]).with(given.clone()).with(ROOTS);
        let grep = Side::tool("grep", &bench.tools.grep).with(["-rElaZ"]).with(given).with(ROOTS);
        let hits = warm_up(&[&rg, &grep, &canvass])?;
        let takers = vec![timing(&canvass, hits), timing(&trivial, 1), timing(&rg, hits), timing(&grep, hits)];
        let taken = alternate(bench.settings.runs, takers)?;
        let mut measure = Measure::new("P2", case).hits(hits).scan(&taken[0], &taken[1]);
        measure = measure.against("rg", &taken[2]).also("grep", &taken[3]).goal(Goal::AtMost(1.15));
        report.add(mig.into_iter().fold(measure, Measure::mig));
    }
    list(bench, report)
}

/// A list as threat intelligence has them: names, hashes and paths, given to both programs in files. What the desk does
/// with so long a statement is taken off by the same list asked of one small file.
fn list(bench: &Bench, report: &mut Report) -> Result<()> {
    let indicators: Vec<String> = (1..LISTED).map(indicator).chain([LITERAL.to_owned()]).collect();
    let expressions: Vec<&str> = indicators.iter().map(String::as_str).collect();
    let folder = tempfile::Builder::new().prefix("canvass-bench-list-").tempdir()?;
    let [list, all, one] = ["list", "all.sql", "one.sql"].map(|name| folder.path().join(name));
    fs::write(&list, format!("{}\n", indicators.join("\n")))?;
    fs::write(&all, statement(&expressions))?;
    fs::write(&one, statement_over("path = '/etc/passwd'", &expressions))?;
    let canvass = bench.canvass.asks_file("canvass", &all);
    let trivial = bench.canvass.asks_file("trivial", &one);
    let rg = Side::tool("rg", &bench.tools.rg).with(["-uuu", "-a", "-l", "-0", "-f"]).with([&list]).with(ROOTS);
    let hits = warm_up(&[&rg, &canvass])?;
    let none = trivial.hits()?.len() as u64;
    let takers = vec![timing(&canvass, hits), timing(&trivial, none), timing(&rg, hits)];
    let taken = alternate(bench.settings.runs, takers)?;
    let measure = Measure::new("P2", "10,000 literals, ORed").hits(hits).scan(&taken[0], &taken[1]);
    report.add(measure.against("rg", &taken[2]).goal(Goal::AtMost(1.0)));
    Ok(())
}

/// An indicator that is nowhere: a name, a hash or a path.
fn indicator(number: u32) -> String {
    let noise = number.wrapping_mul(2_654_435_761);
    match number % 3 {
        0 => format!("cdn-{noise:08x}\\.example"),
        1 => format!("{noise:08x}{:08x}{:08x}{number:08x}", noise.rotate_left(7), noise.rotate_left(19)),
        _ => format!("/var/tmp/\\.{noise:08x}/run"),
    }
}

/// Neither rg nor grep follows links, and a link's row may match by its target: so only files are asked for.
fn statement(expressions: &[&str]) -> String {
    statement_over(&under(&ROOTS), expressions)
}

fn statement_over(place: &str, expressions: &[&str]) -> String {
    let tests: Vec<String> = expressions.iter().map(|text| format!("content ~ {}", quoted(text))).collect();
    format!("SELECT path FROM files WHERE {place} AND type = 'file' AND ({})", tests.join(" OR "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicates_are_ored() {
        assert_eq!(
            statement(&["a", "b'"]),
            "SELECT path FROM files WHERE path UNDER ANY ('/usr/share', '/usr/include') AND type = 'file' \
             AND (content ~ 'a' OR content ~ 'b''')"
        );
    }
}
