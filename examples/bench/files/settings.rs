//! What whoever runs the benchmark may say, in the environment.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};

/// Timed runs of each side; the middle one counts.
const RUNS: usize = 7;
/// Files of the generated tree.
const FILES: u64 = 200_000;
/// The measures of files, by the names of their goals, which are made where nobody says otherwise.
const OF_FILES: [&str; 4] = ["P1", "P2", "P3", "P5"];
/// All measures there are.
const MEASURES: [&str; 5] = ["P1", "P2", "P3", "P5", "TABLES"];

pub struct Settings {
    /// `RUNS`
    pub runs: usize,
    /// `FILES`
    pub files: u64,
    /// `ONLY`, as in `P1,P3`; those of files where it is not set.
    only: Vec<String>,
    /// `TREE`: the folder in which the generated tree is made.
    pub tree: PathBuf,
    /// `CANVASS`: the program to measure; the one built beside this one where it is not set.
    pub program: Option<PathBuf>,
}

impl Settings {
    pub fn from_environment() -> Result<Settings> {
        Settings::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Settings> {
        let only: Vec<String> = match variable("ONLY") {
            Some(list) => list.split(',').map(|what| what.trim().to_uppercase()).collect(),
            None => OF_FILES.map(str::to_owned).to_vec(),
        };
        if let Some(unknown) = only.iter().find(|what| !MEASURES.contains(&what.as_str())) {
            bail!("ONLY: there is no `{unknown}`; there are {}", MEASURES.join(", "));
        }
        let settings = Settings {
            runs: number("RUNS", variable("RUNS"), RUNS)?,
            files: number("FILES", variable("FILES"), FILES)?,
            only,
            program: variable("CANVASS").map(PathBuf::from),
            tree: variable("TREE").map_or_else(std::env::temp_dir, PathBuf::from),
        };
        if settings.runs == 0 {
            bail!("RUNS: one run at least");
        }
        Ok(settings)
    }

    pub fn wants(&self, what: &str) -> bool {
        self.only.iter().any(|wanted| wanted == what)
    }
}

fn number<N: FromStr>(name: &str, written: Option<String>, default: N) -> Result<N> {
    let Some(written) = written else { return Ok(default) };
    written.replace('_', "").parse().map_err(|_| anyhow!("{name}: `{written}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::from(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let plain = settings(&[]).unwrap();
        assert_eq!((plain.runs, plain.files), (7, 200_000));
        assert_eq!(MEASURES.map(|what| plain.wants(what)), [true, true, true, true, false]);
        let said = settings(&[("RUNS", "3"), ("FILES", "2_000_000"), ("ONLY", "p1, P3")]).unwrap();
        assert_eq!((said.runs, said.files), (3, 2_000_000));
        assert_eq!(MEASURES.map(|what| said.wants(what)), [true, false, true, false, false]);
    }

    #[test]
    fn slips_are_told() {
        for (name, value) in [("RUNS", "many"), ("RUNS", "0"), ("FILES", "-1"), ("ONLY", "P4")] {
            let error = settings(&[(name, value)]).err().unwrap().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
