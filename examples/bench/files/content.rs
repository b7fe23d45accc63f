//! P2: content below /usr/share and /usr/include, against `rg -uuu -a -l` and `grep -rE`.

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
const MIG: &str = "5.9 s for 700 MB";

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let all = [&SECRETS[1..], &[HARD]].concat();
    let cases: [(&str, &[&str], Option<&'static str>); 5] = [
        ("content ~ 'AKIA[0-9A-Z]{16}'", &[KEY], Some(MIG)),
        ("20 expressions, ORed", &SECRETS, None),
        ("20 expressions, one of which begins with no letter", &all, None),
        ("a literal", &[LITERAL], None),
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
    Ok(())
}

/// Neither rg nor grep follows links, and a link's row may match by its target: so only files are asked for.
fn statement(expressions: &[&str]) -> String {
    let tests: Vec<String> = expressions.iter().map(|text| format!("content ~ {}", quoted(text))).collect();
    format!("SELECT path FROM files WHERE {} AND type = 'file' AND ({})", under(&ROOTS), tests.join(" OR "))
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
