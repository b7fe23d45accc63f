//! P1: names below /usr, against `fd -uu` and `find`.

use anyhow::Result;

use crate::Bench;
use crate::canvass::{quoted, under};
use crate::report::{Goal, Measure, Report};
use crate::rounds::{alternate, timing, warm_up};
use crate::side::Side;

const ROOT: &str = "/usr";
/// A case's name, its expression, and how `find` is asked for the same.
const CASES: [(&str, &str, &[&str]); 2] = [
    ("name ~ '\\.conf$'", "\\.conf$", &["-name", "*.conf"]),
    (
        "name ~ '^lib[a-z]+\\.so\\.[0-9]+$'",
        "^lib[a-z]+\\.so\\.[0-9]+$",
        &["-regextype", "posix-extended", "-regex", ".*/lib[a-z]+\\.so\\.[0-9]+"],
    ),
];
const MIG: &str = "0.78 s for 133,000 files";

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    for (case, expression, find) in CASES {
        let statement = format!("SELECT path FROM files WHERE {} AND name ~ {}", under(&[ROOT]), quoted(expression));
        let canvass = bench.canvass.asks(&statement);
        let trivial = bench.canvass.trivial();
        // Without -s an expression in small letters would ignore case.
        let fd = Side::tool("fd", &bench.tools.fd).with(["-uu", "-s", "-0", expression, ROOT]);
        let find = Side::tool("find", &bench.tools.find).with([ROOT]).with(find).with(["-print0"]);
        let hits = warm_up(&[&fd, &find, &canvass])?;
        let takers = vec![timing(&canvass, hits), timing(&trivial, 1), timing(&fd, hits), timing(&find, hits)];
        let taken = alternate(bench.settings.runs, takers)?;
        let measure = Measure::new("P1", case).hits(hits).scan(&taken[0], &taken[1]);
        report.add(measure.against("fd", &taken[2]).also("find", &taken[3]).goal(Goal::AtMost(1.0)).mig(MIG));
    }
    Ok(())
}
