//! A plan in words: what is asked of whom, and what is left for the desk.

mod binding;
mod lists;
pub(crate) mod steps;
mod words;

use std::sync::Arc;

use canvass_protocol::action::Action;
use canvass_protocol::scan::Scan;
use canvass_tables::Table;
use canvass_tables::bound::{self, Root};
use canvass_tables::column::Class;
use datafusion::physical_plan::{ExecutionPlan, displayable};

pub use self::binding::binding;
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

/// Lines of an explanation: whatever ends a line in what they quote is spelled out, so that no value makes a line of its own.
#[derive(Default)]
struct Text(Vec<String>);

impl Text {
    fn line(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.0.push(if line.contains(ENDS) { line.replace('\r', "\\r").replace(ENDS, "\\n") } else { line });
    }
}

/// What ends a line, for us or for a terminal.
const ENDS: [char; 6] = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}'];

/// Explains a plan. `known` is the number of agents in the inventory.
pub fn explain(
    action: Option<&Action>,
    asked: usize,
    known: usize,
    told: &Told<'_>,
    plan: &Arc<dyn ExecutionPlan>,
    verbose: bool,
) -> String {
    let mut text = Text::default();
    match action {
        None if asked == 0 => {
            text.line("no endpoint is asked");
            whom::in_words(told.not_asked).into_iter().for_each(|not_asked| text.line(not_asked));
        }
        None => {}
        Some(action) => {
            let scans = match action.scans.len() {
                1 => "1 scan".to_owned(),
                many => format!("{many} scans, side by side"),
            };
            text.line(format!("asks {asked} of {known} agents: {scans} in one signed action"));
            whom::in_words(told.not_asked).into_iter().for_each(|not_asked| text.line(not_asked));
            for (index, scan) in action.scans.iter().enumerate() {
                describe(&mut text, index + 1, action, scan, &Lists::Known(told.sets));
            }
        }
    }
    at_the_desk(&mut text, told);
    if verbose {
        text.line("DataFusion's plan");
        let shown = forget::without_guards(plan).unwrap_or_else(|_| plan.clone());
        for line in displayable(shown.as_ref()).indent(false).to_string().lines() {
            text.line(format!("  {line}"));
        }
    }
    if verbose && let Some(action) = action {
        let json = serde_json::from_slice::<serde_json::Value>(&action.to_bytes());
        let json = json.and_then(|json| serde_json::to_string_pretty(&json)).unwrap_or_default();
        text.line("action");
        json.lines().for_each(|line| text.line(line));
    }
    text.0.join("\n")
}

fn at_the_desk(text: &mut Text, told: &Told<'_>) {
    text.line("at the desk");
    told.files.iter().for_each(|file| text.line(format!("  reads {}", file.describe())));
    told.results.iter().for_each(|result| text.line(format!("  reads {}", result.describe())));
    for long in &told.sets.too_long {
        let (values, source, column) = (long.values, &long.source, &long.column);
        text.line(format!("  the {values} values of {source} are too many to send; `{column}` is compared here"));
    }
    for not_told in &told.sets.not_told {
        let (source, column) = (&not_told.source, &not_told.column);
        text.line(format!("  endpoints gave {source}, and are not told it; `{column}` is compared here"));
    }
    told.steps.iter().for_each(|step| text.line(format!("  {step}")));
    if told.steps.is_empty() {
        text.line("  hands the rows on as they come");
    }
    for warning in told.warnings {
        text.line(format!("warning: {}", warning.message));
        warning.hint.iter().for_each(|hint| text.line(format!("hint: {hint}")));
    }
}

/// What every endpoint does for an action, scan by scan, for somebody who did not write it: lists with their number of values
/// and their hash, or `whole`.
pub fn scans(action: &Action, whole: bool) -> Vec<String> {
    let mut text = Text::default();
    for (index, scan) in action.scans.iter().enumerate() {
        describe(&mut text, index + 1, action, scan, &Lists::Foreign { whole });
    }
    text.0
}

/// What is said of the values that a scan is told.
enum Lists<'a> {
    /// Where they come from: the desk that plans has put them together.
    Known(&'a Sets),
    Foreign {
        whole: bool,
    },
}

fn describe(text: &mut Text, number: usize, action: &Action, scan: &Scan, lists: &Lists<'_>) {
    let statement = usize::try_from(scan.statement).ok().and_then(|index| action.statements.get(index));
    let name = statement.and_then(|statement| statement.name.as_ref()).map(|name| format!(" for {name}"));
    text.line(format!("scan {number}: {}{}", scan.table, name.unwrap_or_default()));
    let target = scan.target.as_ref().map_or("every agent".to_owned(), |target| format!("agents where {target}"));
    let filter = scan.filter.as_ref().map_or("every row".to_owned(), |filter| format!("rows where {filter}"));
    let columns = match &scan.aggregate {
        Some(aggregate) => aggregate.to_string(),
        None if scan.columns.is_empty() => "none, rows are counted".to_owned(),
        None => scan.columns.join(", "),
    };
    text.line(format!("  target   {target}"));
    scan.depends_on.iter().for_each(|depends_on| text.line(format!("  runs     {depends_on}")));
    text.line(format!("  filter   {filter}"));
    for line in canvass_tables::find(&scan.table).map(|table| work(table, scan)).unwrap_or_default() {
        text.line(format!("  {line}"));
    }
    match lists {
        Lists::Known(sets) => {
            for (name, values) in &scan.sets {
                let values = lists::count(values.len(), "value");
                let source = sets.sources.get(name).map_or("the statement", String::as_str);
                text.line(format!("  set {name:<4} {values} from {source}, known before anybody is asked"));
            }
            lists::patterns(scan).into_iter().for_each(|line| text.line(line));
        }
        Lists::Foreign { whole } => lists::all(scan, *whole).into_iter().for_each(|line| text.line(line)),
    }
    text.line(format!("  columns  {columns}"));
    for (on, reading) in [
        (scan.options.decompress, "content and hashes see inside gzip, xz, zstd and bzip2"),
        (scan.options.follow, "folders behind links are entered"),
    ] {
        if on {
            text.line(format!("  reading  {reading}"));
        }
    }
    if let Some(limit) = scan.limit {
        let order: Vec<String> = scan.order.iter().map(ToString::to_string).collect();
        let order =
            if order.is_empty() { String::new() } else { format!(", the first in order of {}", order.join(", ")) };
        text.line(format!("  limit    {limit} rows of each endpoint{order}"));
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
