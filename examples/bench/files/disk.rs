//! P5: the whole disk, and a tree of which every file is a hit: how much memory the scan's process holds.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::Bench;
use crate::canvass::under;
use crate::memory::{Peak, Watched, watch};
use crate::report::{Goal, Measure, Report};
use crate::rounds::{alternate, timing, warm_up};
use crate::side::Side;

/// So that no limit cuts an answer of any size short.
const UNLIMITED: [(&str, u64); 4] =
    [("limit_rows", 1 << 40), ("limit_bytes", 1 << 50), ("limit_time", 86_400), ("limit_cpu", 86_400)];
const GOAL: Goal = Goal::BytesAtMost(64 << 20);
/// Most runs that only memory is looked at in.
const WATCHED_MAX: usize = 3;
/// Of the generated tree.
const FILES_A_FOLDER: u64 = 500;
const FOLDERS_A_FOLDER: u64 = 50;
const MIG: &str = "RSS 15-39 MB while scanning";

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let cases = [("the whole disk, few hits", " AND name ~ '^passwd$'"), ("the whole disk, every row a hit", "")];
    for (case, also) in cases {
        let statement = format!("SELECT path FROM files WHERE {}{also}", under(&["/"]));
        let side = bench.canvass.asks_with("canvass", &UNLIMITED, &statement);
        let watched = watch_often(&side, bench.settings.runs)?;
        let measure = Measure::new("P5", case).hits(watched.rows).statement(watched.seconds);
        report.add(measure.memory(watched.peak).goal(GOAL).mig(MIG));
    }
    generated(bench, report)
}

/// A tree of our own, of which every file and folder is a row.
fn generated(bench: &Bench, report: &mut Report) -> Result<()> {
    let tree = plant(&bench.settings.tree, bench.settings.files)?;
    let root = tree.path().to_str().context("the generated tree's folder is not UTF-8")?;
    let canvass =
        bench.canvass.asks_with("canvass", &UNLIMITED, &format!("SELECT path FROM files WHERE {}", under(&[root])));
    let trivial = bench.canvass.trivial();
    let find = Side::tool("find", &bench.tools.find).with([root, "-print0"]);
    let hits = warm_up(&[&find, &canvass])?;
    let takers = vec![timing(&canvass, hits), timing(&trivial, 1), timing(&find, hits)];
    let taken = alternate(bench.settings.runs, takers)?;
    let watched = watch_often(&canvass, bench.settings.runs)?;
    if watched.rows != hits {
        bail!("canvass found {} hits after {hits} before", watched.rows);
    }
    let case = format!("{} generated files, every row a hit", bench.settings.files);
    let measure = Measure::new("P5", &case).hits(hits).scan(&taken[0], &taken[1]).also("find", &taken[2]);
    report.add(measure.memory(watched.peak).goal(GOAL));
    Ok(())
}

/// The most memory of several runs, and the time of the last.
fn watch_often(side: &Side, runs: usize) -> Result<Watched> {
    let mut most = Watched::default();
    for _ in 0..runs.min(WATCHED_MAX) {
        let watched = watch(side)?;
        let (before, now) = (most.peak, watched.peak);
        let peak = Peak {
            anonymous: before.anonymous.max(now.anonymous),
            resident: before.resident.max(now.resident),
            desk: before.desk.max(now.desk),
        };
        most = Watched { peak, ..watched };
    }
    Ok(most)
}

/// Makes a tree of empty files, which is gone when the handle is.
fn plant(place: &Path, files: u64) -> Result<TempDir> {
    let tree = tempfile::Builder::new().prefix("canvass-bench-tree-").tempdir_in(place)?;
    for number in 0..files {
        let folder = number / FILES_A_FOLDER;
        let path = tree.path().join(format!("{:04}/{:04}", folder / FOLDERS_A_FOLDER, folder % FOLDERS_A_FOLDER));
        if number % FILES_A_FOLDER == 0 {
            fs::create_dir_all(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        }
        let path = path.join(format!("file-{number:08}.dat"));
        File::create(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_as_asked_for() {
        let tree = plant(&std::env::temp_dir(), FILES_A_FOLDER * FOLDERS_A_FOLDER + 1).unwrap();
        let folder = |name: &str| fs::read_dir(tree.path().join(name)).unwrap().count() as u64;
        assert_eq!((folder("."), folder("0000"), folder("0001")), (2, FOLDERS_A_FOLDER, 1));
        assert_eq!((folder("0000/0007"), folder("0001/0000")), (FILES_A_FOLDER, 1));
    }
}
