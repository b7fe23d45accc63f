//! What was measured: a line as soon as it is known, and a table at the end.

use crate::Bench;
use crate::memory::Peak;
use crate::rounds::Samples;

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Of the ratio of times.
    AtMost(f64),
    /// Of the ratio of rates.
    AtLeast(f64),
    /// Of the memory of the scan's process.
    BytesAtMost(u64),
}

/// The statement's time less that of the trivial one, in seconds.
#[derive(Debug, Clone, Copy)]
struct Scan {
    median: f64,
    /// Of the best runs, and of processor time: whatever else the machine does disturbs these less.
    least: f64,
    cpu: f64,
}

/// One measure under way.
#[derive(Debug, Clone)]
pub struct Measure {
    what: &'static str,
    case: String,
    fields: Vec<(String, String)>,
    /// What Canvass needed, and what the others did.
    ours: Vec<String>,
    theirs: Vec<String>,
    scan: Option<Scan>,
    rate: Option<f64>,
    ratio: Option<f64>,
    anonymous: Option<u64>,
    goal: Option<Goal>,
    mig: Option<&'static str>,
}

impl Measure {
    pub fn new(what: &'static str, case: &str) -> Measure {
        Measure {
            what,
            case: case.to_owned(),
            fields: Vec::new(),
            ours: Vec::new(),
            theirs: Vec::new(),
            scan: None,
            rate: None,
            ratio: None,
            anonymous: None,
            goal: None,
            mig: None,
        }
    }

    pub fn hits(self, hits: u64) -> Measure {
        self.text("hits", hits.to_string())
    }

    /// A whole statement's time, in seconds.
    pub fn statement(self, taken: f64) -> Measure {
        let mut measure = self.field("canvass_s", taken);
        measure.ours.push(seconds(taken));
        measure
    }

    fn field(self, name: &str, value: f64) -> Measure {
        self.text(name, format!("{value:.3}"))
    }

    /// The statement's time less that of the trivial one.
    pub fn scan(self, statement: &Samples, trivial: &Samples) -> Measure {
        let scan = Scan {
            median: statement.median() - trivial.median(),
            least: statement.least() - trivial.least(),
            cpu: statement.cpu_s() - trivial.cpu_s(),
        };
        let mut measure = self.field("canvass_s", statement.median()).field("trivial_s", trivial.median());
        measure = measure.field("scan_s", scan.median).field("scan_cpu_s", scan.cpu);
        measure.ours.push(seconds(scan.median));
        Measure { scan: Some(scan), ..measure }
    }

    /// The tool that the scan has to keep up with.
    pub fn against(self, name: &str, taken: &Samples) -> Measure {
        let Some(scan) = self.scan else { return self };
        let ratio = scan.median / taken.median();
        let measure = self.also(name, taken).field("ratio", ratio).field("ratio_of_least", scan.least / taken.least());
        let measure = measure.field("ratio_of_cpu", scan.cpu / taken.cpu_s());
        Measure { ratio: Some(ratio), ..measure }
    }

    /// Another tool, for its figure only.
    pub fn also(self, name: &str, taken: &Samples) -> Measure {
        let mut measure =
            self.field(&format!("{name}_s"), taken.median()).field(&format!("{name}_cpu_s"), taken.cpu_s());
        measure.theirs.push(format!("{name} {}", seconds(taken.median())));
        measure
    }

    /// Bytes a second, for a scan that reads so many.
    pub fn rate(self, bytes: u64, statement: &Samples, trivial: &Samples) -> Measure {
        let mut measure = self.scan(statement, trivial).field("megabytes", bytes as f64 / 1e6);
        let Some(scan) = measure.scan else { return measure };
        let rate = bytes as f64 / scan.median;
        measure.ours.push(megabytes_a_second(rate));
        Measure { rate: Some(rate), ..measure.field("canvass_mb_per_s", rate / 1e6) }
    }

    /// Rates of one second each, in bytes; the scan's has to come near to what they make one after the other.
    pub fn against_rate(self, name: &str, rates: &[Samples]) -> Measure {
        let (Some(ours), Some(scan)) = (self.rate, self.scan) else { return self };
        let after_one_another =
            |rate: fn(&Samples) -> f64| rates.iter().map(|samples| rate(samples).recip()).sum::<f64>().recip();
        let theirs = after_one_another(Samples::median);
        let theirs_of_cpu = after_one_another(|samples| samples.median() / samples.cpu_s());
        let mut measure = self.field("openssl_mb_per_s", theirs / 1e6).field("ratio", ours / theirs);
        measure = measure.field("ratio_of_cpu", ours * scan.median / scan.cpu / theirs_of_cpu);
        measure.theirs.push(format!("{name} {}", megabytes_a_second(theirs)));
        Measure { ratio: Some(ours / theirs), ..measure }
    }

    /// A tool that read as many bytes, for its figure only.
    pub fn also_rate(self, name: &str, bytes: u64, taken: &Samples) -> Measure {
        let mut measure = self.field(&format!("{name}_s"), taken.median());
        measure.theirs.push(format!("{name} {}", megabytes_a_second(bytes as f64 / taken.median())));
        measure
    }

    pub fn memory(self, peak: Peak) -> Measure {
        let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut measure = self.field("rss_anon_mib", megabytes(peak.anonymous));
        measure =
            measure.field("rss_peak_mib", megabytes(peak.resident)).field("desk_rss_anon_mib", megabytes(peak.desk));
        measure.ours.push(format!("{:.0} MiB", megabytes(peak.anonymous)));
        Measure { anonymous: Some(peak.anonymous), ..measure }
    }

    pub fn goal(self, goal: Goal) -> Measure {
        Measure { goal: Some(goal), ..self }
    }

    /// What MIG's agent needed, which is quoted and not measured.
    pub fn mig(self, quoted: &'static str) -> Measure {
        Measure { mig: Some(quoted), ..self }
    }

    fn text(mut self, name: &str, value: String) -> Measure {
        self.fields.push((name.to_owned(), value));
        self
    }

    fn is_met(&self) -> Option<bool> {
        match self.goal? {
            Goal::AtMost(most) => self.ratio.map(|ratio| ratio <= most),
            Goal::AtLeast(least) => self.ratio.map(|ratio| ratio >= least),
            Goal::BytesAtMost(most) => self.anonymous.map(|bytes| bytes <= most),
        }
    }

    fn line(&self) -> String {
        let mut line = format!("bench-files what={} case=\"{}\"", self.what, self.case);
        for (name, value) in &self.fields {
            line += &format!(" {name}={value}");
        }
        let goal = match self.goal {
            Some(Goal::AtMost(goal) | Goal::AtLeast(goal)) => format!(" goal={goal}"),
            Some(Goal::BytesAtMost(bytes)) => format!(" goal_mib={}", bytes >> 20),
            None => String::new(),
        };
        let met = self.is_met().map_or("", |met| if met { " met=yes" } else { " met=no" });
        format!("{line}{goal}{met}")
    }

    fn row(&self) -> String {
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let goal = match self.goal {
            Some(Goal::AtMost(most)) => format!("≤ {most}"),
            Some(Goal::AtLeast(least)) => format!("≥ {least}"),
            Some(Goal::BytesAtMost(bytes)) => format!("≤ {} MiB", bytes >> 20),
            None => String::new(),
        };
        let met = self.is_met().map_or("", |met| if met { "met" } else { "missed" });
        let case = self.case.replace('|', "\\|");
        let (ours, theirs) = (self.ours.join(", "), self.theirs.join(", "));
        format!(
            "| {} | {case} | {ours} | {theirs} | {ratio} | {goal} | {met} | {} |",
            self.what,
            self.mig.unwrap_or("")
        )
    }
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.3} s")
}

fn megabytes_a_second(bytes: f64) -> String {
    format!("{:.0} MB/s", bytes / 1e6)
}

/// All measures of a run.
pub struct Report {
    measures: Vec<Measure>,
}

impl Report {
    /// Says first what is measured, where and with what.
    pub fn new(bench: &Bench) -> Report {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        println!("bench-files cores={cores} kernel={} load={load} runs={}", kernel.trim(), bench.settings.runs);
        println!("bench-files program={}", bench.canvass.program().display());
        for version in bench.tools.versions() {
            println!("bench-files with=\"{version}\"");
        }
        Report { measures: Vec::new() }
    }

    pub fn add(&mut self, measure: Measure) {
        println!("{}", measure.line());
        self.measures.push(measure);
    }

    /// The table as `docs/performance.md` has it.
    pub fn print_table(&self) {
        println!("\n| goal of | question | canvass | beside | ratio | goal | | MIG's agent, quoted |");
        println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
        for measure in &self.measures {
            println!("{}", measure.row());
        }
        println!(
            "\nMedians of runs that took turns with warm caches, all sides equally nice. A scan's time is its statement's less that of\n\
             a trivial one. MIG's figures were taken once on a two-core machine and are quoted, not measured here."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::{Sample, Taking, alternate};

    fn samples(seconds: f64) -> Samples {
        let taker: Taking<'_> = Box::new(move || Ok(Sample { value: seconds, cpu_s: 2.0 * seconds }));
        alternate(1, vec![taker]).unwrap().remove(0)
    }

    #[test]
    fn a_time_is_told_in_a_line_and_a_row() {
        let measure = Measure::new("P1", "names").hits(558).scan(&samples(0.5), &samples(0.25));
        let measure =
            measure.against("fd", &samples(0.5)).also("find", &samples(1.0)).goal(Goal::AtMost(1.0)).mig("0.78 s");
        assert_eq!(
            measure.line(),
            "bench-files what=P1 case=\"names\" hits=558 canvass_s=0.500 trivial_s=0.250 scan_s=0.250 scan_cpu_s=0.500 \
             fd_s=0.500 fd_cpu_s=1.000 ratio=0.500 ratio_of_least=0.500 ratio_of_cpu=0.500 find_s=1.000 find_cpu_s=2.000 goal=1 met=yes"
        );
        assert_eq!(measure.row(), "| P1 | names | 0.250 s | fd 0.500 s, find 1.000 s | 0.50 | ≤ 1 | met | 0.78 s |");
    }

    #[test]
    fn a_rate_must_be_high_and_memory_low() {
        let rate = Measure::new("P3", "md5").rate(1_000_000_000, &samples(2.5), &samples(0.5)).goal(Goal::AtLeast(0.8));
        let rate = rate.against_rate("openssl", &[samples(1e9)]).also_rate("md5sum", 1_000_000_000, &samples(4.0));
        assert_eq!(
            rate.row(),
            "| P3 | md5 | 2.000 s, 500 MB/s | openssl 1000 MB/s, md5sum 250 MB/s | 0.50 | ≥ 0.8 | missed |  |"
        );
        let peak = Peak { anonymous: 65 << 20, resident: 70 << 20, desk: 1 << 20 };
        let memory = Measure::new("P5", "disk").memory(peak).goal(Goal::BytesAtMost(64 << 20));
        assert!(
            memory
                .line()
                .ends_with("rss_anon_mib=65.000 rss_peak_mib=70.000 desk_rss_anon_mib=1.000 goal_mib=64 met=no")
        );
    }
}
