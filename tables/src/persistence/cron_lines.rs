//! Lines of crontabs: when, as whom, what.

/// Where a file's lines say whom they run as and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Five fields or a word, then the user: /etc/crontab and /etc/cron.d.
    System,
    /// Five fields or a word: a user's own.
    User,
    /// A period in days or a word, a delay in minutes, a name: /etc/anacrontab.
    Anacron,
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job<'a> {
    /// As written, blanks within made one.
    pub schedule: String,
    /// Minute, hour, day of the month, month and day of the week, where five fields say it.
    pub fields: Option<[&'a str; 5]>,
    pub user: Option<&'a str>,
    pub command: &'a str,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Blank, a comment, or a variable.
    Nothing,
    Job(Job<'a>),
    Malformed,
}

/// Words that stand for five fields; cron knows them in any case, and so does whoever hides behind one.
const WORDS: &[&str] =
    &["reboot", "yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly", "every_minute"];

/// Reads one line, without its end.
pub(super) fn parse(line: &str, format: Format) -> Line<'_> {
    let text = line.trim_end_matches('\r').trim_start_matches([' ', '\t']);
    if text.is_empty() || text.starts_with('#') || is_variable(text) {
        return Line::Nothing;
    }
    let job = if format == Format::Anacron { anacron(text) } else { cron(text, format) };
    job.map_or(Line::Malformed, Line::Job)
}

/// Whether a line sets a variable: a name, quoted or without blanks, then `=`.
fn is_variable(text: &str) -> bool {
    let after = match text.strip_prefix(['"', '\'']) {
        Some(quoted) => {
            let quote = if text.starts_with('"') { '"' } else { '\'' };
            quoted.split_once(quote).map(|(_, after)| after)
        }
        None => text.find(['=', ' ', '\t']).filter(|&at| at > 0).and_then(|at| text.get(at..)),
    };
    after.is_some_and(|after| after.trim_start_matches([' ', '\t']).starts_with('='))
}

fn cron(text: &str, format: Format) -> Option<Job<'_>> {
    // A dash in front keeps cron from noting the run, in SUSE's.
    let text = text.strip_prefix('-').unwrap_or(text);
    let (schedule, fields, rest) = if text.starts_with('@') {
        let (word, rest) = field(text)?;
        (known(word)?.to_owned(), None, rest)
    } else {
        let mut fields = [""; 5];
        let mut rest = text;
        for place in &mut fields {
            let (one, after) = field(rest)?;
            *place = Some(one).filter(|one| is_time(one))?;
            rest = after;
        }
        (fields.join(" "), Some(fields), rest)
    };
    let (user, command) = match format {
        Format::System => field(rest).map(|(user, command)| (Some(user), command))?,
        _ => (None, rest),
    };
    (!command.is_empty()).then_some(Job { schedule, fields, user, command })
}

fn anacron(text: &str) -> Option<Job<'_>> {
    let (period, rest) = field(text)?;
    let (delay, rest) = field(rest)?;
    let (_name, command) = field(rest)?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let sound = is_number(delay) && (is_number(period) || known(period).is_some()) && !command.is_empty();
    sound.then(|| Job { schedule: format!("{period} {delay}"), fields: None, user: Some("root"), command })
}

/// A word with its `@`, if there is such a one.
fn known(word: &str) -> Option<&str> {
    let name = word.strip_prefix('@')?;
    WORDS.iter().any(|known| known.eq_ignore_ascii_case(name)).then_some(word)
}

/// Parts a field from what follows it and the blanks between.
fn field(text: &str) -> Option<(&str, &str)> {
    let (one, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (!one.is_empty()).then(|| (one, rest.trim_start_matches([' ', '\t'])))
}

/// Whether a text may be one of the five fields: numbers, names, ranges, steps, and the `~` and `?` of other crons.
fn is_time(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"*,-/~?".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_digit() || byte == b'*' || byte == b'?' || byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(line: &str, format: Format) -> String {
        match parse(line, format) {
            Line::Nothing => "nothing".to_owned(),
            Line::Malformed => "malformed".to_owned(),
            Line::Job(job) => format!("{}|{}|{}", job.schedule, job.user.unwrap_or("-"), job.command),
        }
    }

    #[test]
    fn odd_lines() {
        for (line, system, user) in [
            ("", "nothing", "nothing"),
            (" \t\r", "nothing", "nothing"),
            (" # * * * * * root x", "nothing", "nothing"),
            ("A=b", "nothing", "nothing"),
            ("A = 1 2 3 4 5 6 7", "nothing", "nothing"),
            ("\"A b\" = c", "nothing", "nothing"),
            ("'A b = c", "malformed", "malformed"),
            ("'A b\" = c", "malformed", "malformed"),
            ("=x", "malformed", "malformed"),
            ("* * * * *", "malformed", "malformed"),
            ("* * * * * root", "malformed", "* * * * *|-|root"),
            ("* * * * * root\tA=b c % d # e  ", "* * * * *|root|A=b c % d # e  ", "* * * * *|-|root\tA=b c % d # e  "),
            (
                "*/5\t0-6,8 1 jan  mon-fri  root  x\r",
                "*/5 0-6,8 1 jan mon-fri|root|x",
                "*/5 0-6,8 1 jan mon-fri|-|root  x",
            ),
            ("-0 0 * * * root x", "0 0 * * *|root|x", "0 0 * * *|-|root x"),
            ("0 0 * * ; root x", "malformed", "malformed"),
            ("0 0 * * - root x", "malformed", "malformed"),
            ("@reboot root x", "@reboot|root|x", "@reboot|-|root x"),
            ("@Daily root x", "@Daily|root|x", "@Daily|-|root x"),
            ("@never root x", "malformed", "malformed"),
            ("@reboot", "malformed", "malformed"),
            ("@ root x", "malformed", "malformed"),
            ("\u{e9} * * * * root x", "malformed", "malformed"),
        ] {
            assert_eq!(
                (said(line, Format::System).as_str(), said(line, Format::User).as_str()),
                (system, user),
                "{line:?}"
            );
        }
    }

    #[test]
    fn odd_lines_of_anacron() {
        for (line, job) in [
            ("1 5 cron.daily run-parts /etc/cron.daily", "1 5|root|run-parts /etc/cron.daily"),
            ("@monthly 45 cron.monthly x", "@monthly 45|root|x"),
            ("START_HOURS_RANGE=3-22", "nothing"),
            ("1 5 cron.daily", "malformed"),
            ("1 x cron.daily y", "malformed"),
            ("@never 5 a y", "malformed"),
        ] {
            assert_eq!(said(line, Format::Anacron), job, "{line:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn no_line_is_too_odd(line in "[-@*=#%'\"a1 \t\r\u{e9}]{0,30}") {
            for format in [Format::System, Format::User, Format::Anacron] {
                if let Line::Job(job) = parse(&line, format) {
                    prop_assert!(!job.command.is_empty() && line.contains(job.command));
                }
            }
        }
    }
}
