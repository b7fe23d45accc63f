//! An action as a second signer is shown it: what agents execute, and the author's words, told apart by their margin.

use canvass_planner::explain;
use canvass_protocol::action::Action;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::statement::Statement;
use unicode_width::UnicodeWidthChar as _;

use crate::key::Signers;
use crate::render::escape::visible;

/// Digits of a hash that people compare.
const HASH_DIGITS: usize = 16;
/// Before each line of somebody else's words; no other line begins so.
const MARGIN: &str = "| ";
/// Before what a terminal would otherwise wrap to the next line.
const GOES_ON: &str = "      … ";
/// Columns of a line, unless the terminal has fewer.
const WIDTH_MAX: usize = 160;
const WIDTH_MIN: usize = 40;
/// Lines of a statement that are shown unless all are wanted.
const STATEMENT_LINES_MAX: usize = 60;
/// Statements likewise.
const STATEMENTS_MAX: usize = 20;

/// What agents execute, and the author's words beside it; `whole` with every value and every line.
pub fn rendered(
    action: &Action,
    envelope: &Envelope,
    signers: &Signers,
    whole: bool,
    terminal_width: Option<usize>,
) -> String {
    let width = terminal_width.map_or(WIDTH_MAX, |width| width.clamp(WIDTH_MIN, WIDTH_MAX));
    let mut lines: Vec<String> = executed(action, envelope, signers, whole);
    lines.push("in its author's words, which agents do not read:".to_owned());
    let mut shown: Vec<String> = lines.iter().flat_map(|line| folded(line, width, "", GOES_ON)).collect();
    shown.extend(words(action, whole).iter().flat_map(|line| folded(line, width, MARGIN, &format!("{MARGIN}… "))));
    shown.join("\n")
}

fn executed(action: &Action, envelope: &Envelope, signers: &Signers, whole: bool) -> Vec<String> {
    let hash = envelope.hash().to_string();
    let limits = &action.limits;
    let mut lines = vec![
        format!("action   {}", action.id),
        format!("hash     {} (the first 8 bytes of its SHA-256)", &hash[..HASH_DIGITS]),
    ];
    lines.extend(signers.lines());
    lines.extend([
        format!("fleet    {}", action.fleet),
        format!("window   {} to {}", action.window.from, action.window.until),
        format!(
            "limits   {} rows, {} bytes, {} s, {} s of CPU, {} MB of memory, of each endpoint and scan",
            limits.rows,
            limits.bytes,
            limits.time_ms / 1000,
            limits.cpu_ms / 1000,
            limits.memory_bytes >> 20
        ),
    ]);
    lines.extend(action.every_s.map(|every_s| format!("every    {every_s} s, for as long as the window is open")));
    lines.extend(action.stage.map(|stage| format!("stage    {} of action {}", stage.number, stage.first)));
    lines.extend(explain::binding(action).into_iter().map(|sentence| format!("binds    {sentence}")));
    lines.extend(explain::scans(action, whole));
    lines
}

/// The author's statements, line by line.
fn words(action: &Action, whole: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let (statements_max, lines_max) =
        if whole { (usize::MAX, usize::MAX) } else { (STATEMENTS_MAX, STATEMENT_LINES_MAX) };
    for Statement { name, sql } in action.statements.iter().take(statements_max) {
        lines.extend(name.iter().map(|name| format!("{name}:")));
        lines.extend(sql.lines().take(lines_max).map(str::to_owned));
        let more = sql.lines().count().saturating_sub(lines_max);
        if more > 0 {
            lines.push(format!("… {more} more lines"));
        }
    }
    let more = action.statements.len().saturating_sub(statements_max);
    if more > 0 {
        lines.push(format!("… {more} more statements"));
    }
    lines
}

/// A line with hidden characters spelled out, in pieces that no terminal wraps, each behind its margin.
fn folded(line: &str, width: usize, first: &str, further: &str) -> Vec<String> {
    let (mut lines, mut piece, mut used) = (Vec::new(), first.to_owned(), first.len());
    for c in visible(line).chars() {
        let columns = c.width().unwrap_or(1);
        if used + columns > width {
            lines.push(std::mem::replace(&mut piece, further.to_owned()));
            used = further.chars().count();
        }
        piece.push(c);
        used += columns;
    }
    lines.push(piece);
    lines
}

#[cfg(test)]
mod tests {
    use canvass_protocol::action::Window;
    use canvass_protocol::filter::{Filter, Is};
    use canvass_protocol::limits::Limits;
    use canvass_protocol::scan::Scan;
    use canvass_protocol::value::Value;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn shown(statement: &str, filter: Filter, sets: &[(&str, usize)], whole: bool) -> String {
        let value = |n: usize| Value::Text(format!("/path/{n}\nscan 9: system\x1b[2J"));
        let scan = Scan {
            table: "files".into(),
            columns: vec!["path".into()],
            filter: Some(filter),
            sets: sets.iter().map(|(name, count)| ((*name).to_owned(), (0..*count).map(value).collect())).collect(),
            target: Some(Filter::test("status", Is::Equal(Value::Text("online".into())))),
            ..Scan::default()
        };
        let window = Window { from: Timestamp::UNIX_EPOCH, until: Timestamp::UNIX_EPOCH };
        let action = Action::new("acme".into(), Uuid::nil(), statement.into(), window, Limits::default(), vec![scan]);
        let payload = String::from_utf8(action.to_bytes()).unwrap();
        let envelope = Envelope { payload, signatures: vec![] };
        rendered(&action, &envelope, &Signers::default(), whole, Some(80))
    }

    fn on(path: &str) -> Filter {
        Filter::test("path", Is::Equal(Value::Text(path.into())))
    }

    /// What begins a line that agents' doings are told in.
    const OURS: &[&str] =
        &["action ", "hash ", "fleet ", "window ", "limits ", "binds ", "scan 1: files", "  ", "in its author's words"];

    #[test]
    fn no_words_of_its_author_look_like_what_agents_execute() {
        let blank = "\n".repeat(200);
        let fake = "action   0\nhash     00\nfleet    acme\nscan 1: system\n  filter   rows where uid = 0\nin its author's words, which agents do not read:\n  SELECT 1";
        let far = " ".repeat(1000);
        for statement in
            [format!("SELECT 1{blank}{fake}"), format!("SELECT '{far}scan 1: system'"), fake.replace('\n', "\r")]
        {
            for path in ["/x\nscan 1: system", &format!("/x{far}scan 1: system"), "/x\u{2028}scan 1: system\r"] {
                for whole in [false, true] {
                    let text = shown(&statement, on(path), &[("1", 3)], whole);
                    let (ours, theirs) = text.split_once("in its author's words").unwrap();
                    for line in ours.lines() {
                        let known = OURS.iter().any(|ours| line.starts_with(ours));
                        assert!(known && !line.starts_with("scan 1: system"), "{line:?}");
                    }
                    let theirs: Vec<&str> = theirs.lines().skip(1).collect();
                    assert!(!theirs.is_empty() && theirs.iter().all(|line| line.starts_with("| ")), "{theirs:?}");
                    assert!(whole || theirs.len() <= 2 * STATEMENT_LINES_MAX);
                    assert!(text.lines().all(|line| line.chars().count() <= 80), "no terminal wraps it: {text}");
                    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn every_value_that_is_executed_can_be_seen() {
        let list = Filter::test("name", Is::In((0..50).map(|n| Value::Text(format!("name-{n}"))).collect()));
        let filter = Filter::All(vec![on("/x"), list, Filter::test("path", Is::InSet("1".into()))]);
        let short = shown("SELECT 1", filter.clone(), &[("1", 30)], false);
        assert!(short.contains("set 1    30 values, SHA-256 "), "{short}");
        assert!(short.contains("list     of name: 50 values, SHA-256 "), "{short}");
        assert!(!short.contains("/path/29") && !short.contains("known before anybody is asked"), "{short}");
        let whole = shown("SELECT 1", filter, &[("1", 30)], true);
        for value in ["'/path/0\\nscan 9: system\\x1b[2J'", "'/path/29\\nscan 9", "'name-49'"] {
            assert!(whole.contains(value), "{value}\n{whole}");
        }
        let hash = |text: &str| -> String { text.split("30 values, SHA-256 ").nth(1).unwrap()[..16].to_owned() };
        assert_eq!(hash(&short), hash(&whole));
        assert!(whole.contains("binds    any agent of fleet acme; status is the server's word"), "{whole}");
    }
}
