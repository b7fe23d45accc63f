//! How fast the `files` table is, beside the best tools and in the same run: `make bench-files`; and the others: `make bench-tables`.

mod canvass;
mod content;
mod disk;
mod hashes;
mod memory;
mod names;
mod report;
mod rounds;
mod settings;
mod side;
mod tables;
mod tools;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use canvass::Canvass;
use report::Report;
use settings::Settings;
use tools::Tools;

/// What every measure needs.
pub struct Bench {
    pub settings: Settings,
    pub tools: Tools,
    pub canvass: Canvass,
}

type Measuring = fn(&Bench, &mut Report) -> Result<()>;

/// A scan's process is this nice. With everybody as nice as it is, whatever else runs here slows all sides alike.
const NICENESS: i32 = 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let settings = Settings::from_environment()?;
    let tools = Tools::find()?;
    if rustix::process::getpriority_process(None)? < NICENESS {
        rustix::process::setpriority_process(None, NICENESS)?;
    }
    let bench = Bench { canvass: Canvass::prepare(settings.program.as_deref())?, settings, tools };
    let mut report = Report::new(&bench);
    let measures: [(&str, Measuring); 5] = [
        ("P1", names::measure),
        ("P2", content::measure),
        ("P3", hashes::measure),
        ("P5", disk::measure),
        ("TABLES", tables::measure),
    ];
    for (what, measure) in measures {
        if bench.settings.wants(what) {
            measure(&bench, &mut report).with_context(|| format!("{what} could not be measured"))?;
        }
    }
    report.print_table();
    Ok(())
}
