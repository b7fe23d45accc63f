//! Sides take turns, and the middle of each side's runs counts.

use anyhow::{Result, bail};

use crate::side::{Side, check_same};

/// What one run gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Seconds by the clock, or whatever else is compared.
    pub value: f64,
    /// Processor time of all its threads and processes, which other work on the machine does not lengthen; in seconds.
    pub cpu_s: f64,
}

/// What all runs of one side gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples(Vec<Sample>);

impl Samples {
    pub fn median(&self) -> f64 {
        median(self.0.iter().map(|sample| sample.value).collect())
    }

    pub fn cpu_s(&self) -> f64 {
        median(self.0.iter().map(|sample| sample.cpu_s).collect())
    }

    pub fn least(&self) -> f64 {
        self.0.iter().map(|sample| sample.value).fold(f64::INFINITY, f64::min)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// Gives one sample.
pub type Taking<'a> = Box<dyn FnMut() -> Result<Sample> + 'a>;

/// Lets each take a sample in turn, `runs` times.
pub fn alternate(runs: usize, mut takers: Vec<Taking<'_>>) -> Result<Vec<Samples>> {
    let mut samples = vec![Samples(Vec::new()); takers.len()];
    for _ in 0..runs {
        for (taker, samples) in takers.iter_mut().zip(&mut samples) {
            samples.0.push(taker()?);
        }
    }
    Ok(samples)
}

/// Times a side in turn with others; a run that finds more or fewer hits than the first one ends the measure.
pub fn timing(side: &Side, hits: u64) -> Taking<'_> {
    Box::new(move || {
        let (sample, found) = side.time()?;
        if found != hits {
            bail!("{} found {found} hits after {hits} before", side.name);
        }
        Ok(sample)
    })
}

/// Runs every side once, untimed, so that all find the same caches; returns the hits, which all must have in common.
pub fn warm_up(sides: &[&Side]) -> Result<u64> {
    let mut first: Option<(&str, Vec<String>)> = None;
    for side in sides {
        let hits = side.hits()?;
        match &first {
            None => first = Some((side.name, hits)),
            Some((name, expected)) => check_same((name, expected), (side.name, &hits))?,
        }
    }
    Ok(first.map_or(0, |(_, hits)| hits.len() as u64))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_middle_counts() {
        let cases: [(&[f64], f64, f64); 3] =
            [(&[3.0], 3.0, 3.0), (&[9.0, 1.0, 2.0], 2.0, 1.0), (&[4.0, 2.0], 3.0, 2.0)];
        for (samples, median, least) in cases {
            let samples = Samples(samples.iter().map(|value| Sample { value: *value, cpu_s: 1.0 }).collect());
            assert!((samples.median() - median).abs() < 1e-9 && (samples.least() - least).abs() < 1e-9, "{samples:?}");
        }
    }

    #[test]
    fn sides_take_turns() {
        let order = RefCell::new(String::new());
        let taker = |name: char| -> Taking<'_> {
            let order = &order;
            Box::new(move || {
                order.borrow_mut().push(name);
                Ok(Sample { value: 1.0, cpu_s: 1.0 })
            })
        };
        let samples = alternate(3, vec![taker('a'), taker('b')]).unwrap();
        assert_eq!((order.borrow().as_str(), samples.len()), ("ababab", 2));
    }
}
