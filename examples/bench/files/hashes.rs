//! P3: hashes of programs and libraries, against `openssl speed` and coreutils' sums.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::Bench;
use crate::canvass::under;
use crate::report::{Goal, Measure, Report};
use crate::rounds::{Sample, Taking, alternate, timing};
use crate::side::{Side, check_same, children_cpu_s};

/// A column, what OpenSSL calls it, and the program that prints it.
struct Algorithm {
    column: &'static str,
    openssl: &'static str,
    sum: Option<&'static str>,
}

const fn algorithm(column: &'static str, openssl: &'static str, sum: Option<&'static str>) -> Algorithm {
    Algorithm { column, openssl, sum }
}

/// Those that have a goal.
const MAIN: [Algorithm; 3] = [
    algorithm("sha256", "sha256", Some("sha256sum")),
    algorithm("sha1", "sha1", Some("sha1sum")),
    algorithm("md5", "md5", Some("md5sum")),
];
const OTHERS: [Algorithm; 6] = [
    algorithm("sha384", "sha384", Some("sha384sum")),
    algorithm("sha512", "sha512", Some("sha512sum")),
    algorithm("sha3_224", "sha3-224", None),
    algorithm("sha3_256", "sha3-256", None),
    algorithm("sha3_384", "sha3-384", None),
    algorithm("sha3_512", "sha3-512", None),
];
const GOAL: Goal = Goal::AtLeast(0.8);
const MIG: &str = "10.1 s for 912 MB of SHA-256: 90 MB/s";

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let work = Work::find(bench)?;
    for algorithm in MAIN {
        let measure = work.one(&algorithm, bench.settings.runs)?.goal(GOAL);
        report.add(if algorithm.column == "sha256" { measure.mig(MIG) } else { measure });
    }
    report.add(work.together(&MAIN)?.goal(GOAL));
    for algorithm in OTHERS {
        if bench.canvass.can(&format!("SELECT {} FROM files WHERE path = '/etc/passwd'", algorithm.column))? {
            report.add(work.one(&algorithm, bench.settings.runs.min(3))?);
        }
    }
    Ok(())
}

/// What is hashed.
struct Work<'a> {
    bench: &'a Bench,
    roots: Vec<&'static str>,
    files: u64,
    bytes: u64,
    cores: usize,
}

impl Work<'_> {
    fn find(bench: &Bench) -> Result<Work<'_>> {
        let libraries = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
        let library =
            libraries.into_iter().find(|folder| Path::new(folder).is_dir()).context("no folder of libraries")?;
        let roots = vec!["/usr/bin", library];
        let sizes = format!("SELECT size FROM files WHERE {} AND type = 'file'", under(&roots));
        let sizes = bench.canvass.asks(&sizes).hits()?;
        let bytes =
            sizes.iter().map(|size| size.parse::<u64>().context("a size that is no number")).sum::<Result<u64>>()?;
        let cores = std::thread::available_parallelism()?.get();
        Ok(Work { bench, roots, files: sizes.len() as u64, bytes, cores })
    }

    fn asks(&self, columns: &[&str]) -> Side {
        let statement =
            format!("SELECT {}, path FROM files WHERE {} AND type = 'file'", columns.join(", "), under(&self.roots));
        self.bench.canvass.asks(&statement)
    }

    /// Prints `HASH  PATH` for every file; `parallel` programs at once.
    fn sums(&self, sum: &'static str, parallel: usize) -> Side {
        let pipeline = format!("find \"$@\" -type f -print0 | xargs -0 -n 32 -P {parallel} {sum} -z");
        let side = Side::tool(sum, &self.bench.tools.sh).with(["-c", &pipeline, "sh"]).with(&self.roots);
        // Where a file cannot be read xargs says 123.
        Side { codes: &[0, 123], ..side }
    }

    /// One hash: all three sides.
    fn one(&self, algorithm: &Algorithm, runs: usize) -> Result<Measure> {
        let (canvass, trivial) = (self.asks(&[algorithm.column]), self.bench.canvass.trivial());
        let rows = canvass.hits()?;
        let sums = algorithm.sum.map(|sum| self.sums(sum, self.cores));
        if let Some(sum) = algorithm.sum {
            check_same((sum, &as_rows(&self.sums(sum, 1).hits()?)), ("canvass", &readable_files(&rows)))?;
        }
        let mut takers = vec![timing(&canvass, self.files), timing(&trivial, 1), self.openssl(algorithm)];
        takers.extend(sums.as_ref().map(|sums| timing(sums, readable_files(&rows).len() as u64)));
        let taken = alternate(runs, takers)?;
        let case = format!("{} of {} files", algorithm.column, self.files);
        let measure = Measure::new("P3", &case).rate(self.bytes, &taken[0], &taken[1]);
        let measure = measure.against_rate(&format!("openssl speed -multi {}", self.cores), &taken[2..3]);
        let sums = algorithm.sum.zip(taken.get(3));
        Ok(sums.into_iter().fold(measure, |measure, (sum, taken)| measure.also_rate(sum, self.bytes, taken)))
    }

    /// Several hashes of one read, against what OpenSSL needs for one after the other.
    fn together(&self, algorithms: &[Algorithm]) -> Result<Measure> {
        let columns: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.column).collect();
        let (canvass, trivial) = (self.asks(&columns), self.bench.canvass.trivial());
        canvass.hits()?;
        let mut takers = vec![timing(&canvass, self.files), timing(&trivial, 1)];
        takers.extend(algorithms.iter().map(|algorithm| self.openssl(algorithm)));
        let taken = alternate(self.bench.settings.runs, takers)?;
        let measure = Measure::new("P3", &format!("{} in one read", columns.join(", ")));
        let measure = measure.rate(self.bytes, &taken[0], &taken[1]);
        Ok(measure.against_rate(&format!("openssl speed -multi {}, one after the other", self.cores), &taken[2..]))
    }

    /// Bytes per second that OpenSSL hashes on all cores, from 16 kB at a time.
    fn openssl(&self, algorithm: &Algorithm) -> Taking<'_> {
        let mut command = Command::new(&self.bench.tools.openssl);
        command.args(["speed", "-elapsed", "-multi", &self.cores.to_string(), "-bytes", "16384", "-seconds", "1"]);
        command.args(["-evp", algorithm.openssl]).env("LC_ALL", "C").stdin(Stdio::null());
        Box::new(move || {
            let cpu_before = children_cpu_s()?;
            let output = command.output().context("`openssl` cannot be started")?;
            let said = String::from_utf8_lossy(&output.stdout);
            match rate(&said) {
                Some(value) if output.status.success() => Ok(Sample { value, cpu_s: children_cpu_s()? - cpu_before }),
                _ => bail!("`openssl speed` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
            }
        })
    }
}

/// The last figure of `openssl speed`, which is in thousands of bytes per second: `sha256  377880.58k`.
fn rate(said: &str) -> Option<f64> {
    let mut figures =
        said.lines().filter_map(|line| line.split_whitespace().last()?.strip_suffix('k')?.parse::<f64>().ok());
    figures.next_back().map(|thousands| thousands * 1000.0)
}

/// `HASH  PATH` as a row of Canvass's.
fn as_rows(sums: &[String]) -> Vec<String> {
    let mut rows: Vec<String> = sums.iter().map(|sum| sum.replacen("  ", "\t", 1)).collect();
    rows.sort_unstable();
    rows
}

/// Rows with a hash; a file that cannot be read has none.
fn readable_files(rows: &[String]) -> Vec<String> {
    rows.iter().filter(|row| !row.starts_with('\t')).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssl_s_figure_is_the_last_one() {
        let said = "Forked child 0\nGot: +H:16384 from 0\nGot: +F:25:sha256:189366272.00 from 0\nversion: 3.0.19\n\
                    options: bn(64,64)\nsha256          377880.58k\n";
        assert!((rate(said).unwrap() - 377_880_580.0).abs() < 1.0);
        assert_eq!(rate("nothing of the kind"), None);
    }

    #[test]
    fn sums_become_rows() {
        let sums = ["bb  /usr/bin/a  b".to_owned(), "aa  /z".to_owned()];
        assert_eq!(as_rows(&sums), ["aa\t/z", "bb\t/usr/bin/a  b"]);
        assert_eq!(readable_files(&["\t/secret".into(), "aa\t/z".into()]), ["aa\t/z"]);
    }
}
