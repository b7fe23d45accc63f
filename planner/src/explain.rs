//! A plan in words: what is asked of whom, and what is left for the desk.

use std::fmt::Write as _;
use std::sync::Arc;

use canvass_protocol::action::Action;
use canvass_protocol::scan::Scan;
use datafusion::physical_plan::{ExecutionPlan, displayable};

use crate::local::LocalFile;
use crate::narrow::Sets;
use crate::results::PastResult;

/// What the desk brought to a plan itself.
pub struct Told<'a> {
    pub files: &'a [Arc<LocalFile>],
    pub results: &'a [PastResult],
    pub sets: &'a Sets,
}

/// Explains a plan. `known` is the number of agents in the inventory.
pub fn explain(
    action: Option<&Action>,
    asked: usize,
    known: usize,
    told: &Told<'_>,
    plan: &Arc<dyn ExecutionPlan>,
    verbose: bool,
) -> String {
    let mut text = String::new();
    match action {
        None if asked == 0 => text.push_str("no endpoint is asked\n"),
        None => {}
        Some(action) => {
            let scans = match action.scans.len() {
                1 => "1 scan".to_owned(),
                many => format!("{many} scans, side by side"),
            };
            let _ = writeln!(text, "asks {asked} of {known} agents: {scans} in one signed action");
            for (index, scan) in action.scans.iter().enumerate() {
                describe(&mut text, index + 1, scan, told.sets);
            }
        }
    }
    text.push_str("at the desk\n");
    for file in told.files {
        let _ = writeln!(text, "  reads {}", file.describe());
    }
    for result in told.results {
        let _ = writeln!(text, "  reads {}", result.describe());
    }
    for long in &told.sets.too_long {
        let (values, source) = (long.values, &long.source);
        let _ = writeln!(
            text,
            "  the {values} values of {source} are too many to send; `{}` is compared here",
            long.column
        );
    }
    for line in displayable(plan.as_ref()).indent(false).to_string().lines() {
        let _ = writeln!(text, "  {line}");
    }
    if verbose && let Some(action) = action {
        let json = serde_json::from_slice::<serde_json::Value>(&action.to_bytes());
        let json = json.and_then(|json| serde_json::to_string_pretty(&json)).unwrap_or_default();
        let _ = writeln!(text, "action\n{json}");
    }
    text.truncate(text.trim_end().len());
    text
}

/// What every endpoint does for an action, scan by scan.
pub fn scans(action: &Action) -> String {
    let (mut text, sets) = (String::new(), Sets::default());
    for (index, scan) in action.scans.iter().enumerate() {
        describe(&mut text, index + 1, scan, &sets);
    }
    text.truncate(text.trim_end().len());
    text
}

fn describe(text: &mut String, number: usize, scan: &Scan, sets: &Sets) {
    let _ = writeln!(text, "scan {number}: {}", scan.table);
    let target = scan.target.as_ref().map_or("every agent".to_owned(), |target| format!("agents where {target}"));
    let filter = scan.filter.as_ref().map_or("every row".to_owned(), |filter| format!("rows where {filter}"));
    let columns = if scan.columns.is_empty() { "none, rows are counted".to_owned() } else { scan.columns.join(", ") };
    let _ = writeln!(text, "  target   {target}");
    let _ = writeln!(text, "  filter   {filter}");
    for (name, values) in &scan.sets {
        let values = if values.len() == 1 { "1 value".to_owned() } else { format!("{} values", values.len()) };
        let source = sets.sources.get(name).map_or("the statement", String::as_str);
        let _ = writeln!(text, "  set {name:<4} {values} from {source}, known before anybody is asked");
    }
    let _ = writeln!(text, "  columns  {columns}");
    for (on, reading) in [
        (scan.options.decompress, "content and hashes see inside gzip, xz, zstd and bzip2"),
        (scan.options.follow, "folders behind links are entered"),
    ] {
        if on {
            let _ = writeln!(text, "  reading  {reading}");
        }
    }
    if let Some(limit) = scan.limit {
        let _ = writeln!(text, "  limit    {limit} rows of each endpoint");
    }
}
