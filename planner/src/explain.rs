//! A plan in words: what is asked of whom, and what is left for the desk.

pub(crate) mod steps;
mod words;

use std::fmt::Write as _;
use std::sync::Arc;

use canvass_protocol::action::Action;
use canvass_protocol::scan::Scan;
use canvass_tables::Table;
use canvass_tables::bound::{self, Root};
use canvass_tables::column::Class;
use datafusion::physical_plan::{ExecutionPlan, displayable};

use crate::forget;
use crate::local::LocalFile;
use crate::narrow::Sets;
use crate::results::PastResult;
use crate::warning::Warning;
use crate::whom::{self, NotAsked};

/// Search roots named in a line; the rest is a count.
const ROOTS_SHOWN: usize = 8;

/// What the desk brought to a plan itself.
pub struct Told<'a> {
    pub files: &'a [Arc<LocalFile>],
    pub results: &'a [PastResult],
    pub sets: &'a Sets,
    /// Agents that are meant and not asked.
    pub not_asked: &'a [NotAsked],
    pub warnings: &'a [Warning],
    /// What is left for the desk, in words.
    pub steps: &'a [String],
}

/// Patterns of a set that are shown before the rest is a count.
const PATTERNS_SHOWN: usize = 20;

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
        None if asked == 0 => {
            text.push_str("no endpoint is asked\n");
            if let Some(not_asked) = whom::in_words(told.not_asked) {
                let _ = writeln!(text, "{not_asked}");
            }
        }
        None => {}
        Some(action) => {
            let scans = match action.scans.len() {
                1 => "1 scan".to_owned(),
                many => format!("{many} scans, side by side"),
            };
            let _ = writeln!(text, "asks {asked} of {known} agents: {scans} in one signed action");
            if let Some(not_asked) = whom::in_words(told.not_asked) {
                let _ = writeln!(text, "{not_asked}");
            }
            for (index, scan) in action.scans.iter().enumerate() {
                describe(&mut text, index + 1, action, scan, told.sets);
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
    for step in told.steps {
        let _ = writeln!(text, "  {step}");
    }
    if told.steps.is_empty() {
        text.push_str("  hands the rows on as they come\n");
    }
    for warning in told.warnings {
        let _ = writeln!(text, "warning: {}", warning.message);
        if let Some(hint) = &warning.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
    }
    if verbose {
        text.push_str("DataFusion's plan\n");
        let shown = forget::without_guards(plan).unwrap_or_else(|_| plan.clone());
        for line in displayable(shown.as_ref()).indent(false).to_string().lines() {
            let _ = writeln!(text, "  {line}");
        }
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
        describe(&mut text, index + 1, action, scan, &sets);
    }
    text.truncate(text.trim_end().len());
    text
}

fn describe(text: &mut String, number: usize, action: &Action, scan: &Scan, sets: &Sets) {
    let statement = usize::try_from(scan.statement).ok().and_then(|index| action.statements.get(index));
    let name = statement.and_then(|statement| statement.name.as_ref()).map(|name| format!(" for {name}"));
    let _ = writeln!(text, "scan {number}: {}{}", scan.table, name.unwrap_or_default());
    let target = scan.target.as_ref().map_or("every agent".to_owned(), |target| format!("agents where {target}"));
    let filter = scan.filter.as_ref().map_or("every row".to_owned(), |filter| format!("rows where {filter}"));
    let columns = match &scan.aggregate {
        Some(aggregate) => aggregate.to_string(),
        None if scan.columns.is_empty() => "none, rows are counted".to_owned(),
        None => scan.columns.join(", "),
    };
    let _ = writeln!(text, "  target   {target}");
    if let Some(depends_on) = &scan.depends_on {
        let _ = writeln!(text, "  runs     {depends_on}");
    }
    let _ = writeln!(text, "  filter   {filter}");
    for line in canvass_tables::find(&scan.table).map(|table| work(table, scan)).unwrap_or_default() {
        let _ = writeln!(text, "  {line}");
    }
    for (name, values) in &scan.sets {
        let values = if values.len() == 1 { "1 value".to_owned() } else { format!("{} values", values.len()) };
        let source = sets.sources.get(name).map_or("the statement", String::as_str);
        let _ = writeln!(text, "  set {name:<4} {values} from {source}, known before anybody is asked");
    }
    describe_lists(text, scan);
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
        let order: Vec<String> = scan.order.iter().map(ToString::to_string).collect();
        let order =
            if order.is_empty() { String::new() } else { format!(", the first in order of {}", order.join(", ")) };
        let _ = writeln!(text, "  limit    {limit} rows of each endpoint{order}");
    }
}

/// Lists that a scan carries beside sets: whoever signs it sees what is looked for.
fn describe_lists(text: &mut String, scan: &Scan) {
    for (name, set) in &scan.patterns {
        let shown: Vec<&str> = set.patterns.iter().take(PATTERNS_SHOWN).map(String::as_str).collect();
        let more = set.patterns.len().saturating_sub(PATTERNS_SHOWN);
        let more = if more > 0 { format!(" … {more} more") } else { String::new() };
        let case = if set.ignore_case { ", whatever their case" } else { "" };
        let _ = writeln!(text, "  patterns {name}: {}{more}{case}", shown.join(" | "));
    }
    for (name, bloom) in &scan.blooms {
        let (bytes, hashes) = (bloom.bits.len(), bloom.hashes);
        let _ = writeln!(
            text,
            "  filter {name}: a Bloom filter of {bytes} bytes and {hashes} hashes; its values cannot be seen"
        );
    }
}

/// What a scan costs an endpoint beside listing rows: where it walks, and whether it reads files.
fn work(table: &dyn Table, scan: &Scan) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(column) = table.info().bound.and_then(|bound| bound.keys.column()) {
        let roots = bound::roots_with(scan.filter.as_ref(), column, &scan.sets).unwrap_or_default();
        let (under, at): (Vec<&Root>, Vec<&Root>) = roots.iter().partition(|root| matches!(root, Root::Under(_)));
        if under.iter().any(|root| root.path() == "/") {
            lines.push("walks    /, the whole disk".to_owned());
        } else if !under.is_empty() {
            lines.push(format!("walks    {}", named(&under)));
        }
        if !at.is_empty() {
            lines.push(format!("looks at {}", named(&at)));
        }
    }
    let reads = reads(table, scan);
    if !reads.is_empty() {
        lines.push(format!("reads    whole files, for {}", reads.join(", ")));
    }
    lines
}

fn named(roots: &[&Root]) -> String {
    let shown: Vec<&str> = roots.iter().take(ROOTS_SHOWN).map(|root| root.path()).collect();
    match roots.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The columns of a scan that are read from the files themselves, each once.
fn reads(table: &dyn Table, scan: &Scan) -> Vec<&'static str> {
    let has_content = table.columns().iter().any(|column| column.class == Class::Content);
    let mut names: Vec<&str> = scan.columns.iter().map(String::as_str).collect();
    if let Some(filter) = &scan.filter {
        filter.for_each_test(&mut |test| names.push(&test.column));
    }
    let reads = table.columns().into_iter().filter(|column| {
        let read = column.class == Class::Content || (column.hex() && column.probe);
        has_content && read && names.contains(&column.name)
    });
    reads.map(|column| column.name).collect()
}
