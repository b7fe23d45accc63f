//! Unit files of systemd: sections, settings, continued lines, and lists that an empty value empties.

/// What a unit file and its drop-ins say, as far as the table shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub description: Option<String>,
    pub exec_start: Vec<String>,
    /// Other settings that name commands.
    pub exec_other: Vec<(String, String)>,
    pub run_as: Option<String>,
    /// When a timer elapses.
    pub timers: Vec<(String, String)>,
    /// What a timer, path or socket starts, where it says so.
    pub starts: Option<String>,
    /// A socket starts an instance for each connection.
    pub accepts: bool,
    pub install: Install,
    /// Lines that are no section, setting or comment.
    pub malformed: u64,
}

/// What `systemctl enable` would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Install {
    pub aliases: Vec<String>,
    /// Units that are to want, require or uphold it.
    pub wanted_by: Vec<String>,
    pub also: Vec<String>,
    pub default_instance: Option<String>,
}

impl Settings {
    /// Lays a file over what was said before; `kind` is the unit's type, whose section is named after it.
    pub fn lay_over(&mut self, text: &str, kind: &str) {
        let mut section = "";
        let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
        while let Some(line) = lines.next() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                match name.strip_suffix(']') {
                    Some(name) => section = name,
                    None => self.malformed += 1,
                }
                continue;
            }
            let whole = continued(line, &mut lines);
            match whole.split_once('=') {
                Some((key, value)) if !section.is_empty() && !key.trim().is_empty() => {
                    self.set(section, key.trim_end(), value.trim(), kind);
                }
                _ => self.malformed += 1,
            }
        }
    }

    fn set(&mut self, section: &str, key: &str, value: &str, kind: &str) {
        let one = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match (section, key) {
            ("Unit", "Description") => self.description = one(),
            ("Install", "Alias") => words(&mut self.install.aliases, value),
            ("Install", "WantedBy" | "RequiredBy" | "UpheldBy") => words(&mut self.install.wanted_by, value),
            ("Install", "Also") => words(&mut self.install.also, value),
            ("Install", "DefaultInstance") => self.install.default_instance = one(),
            ("Timer", key) if key.starts_with("On") => named(&mut self.timers, key, value),
            ("Timer" | "Path", "Unit") | ("Socket", "Service") => self.starts = one(),
            ("Socket", "Accept") => self.accepts = matches!(value, "1" | "yes" | "y" | "true" | "t" | "on"),
            (section, key) if section.eq_ignore_ascii_case(kind) => match key {
                "ExecStart" if value.is_empty() => self.exec_start.clear(),
                "ExecStart" => self.exec_start.push(value.to_owned()),
                "User" => self.run_as = one(),
                key if key.starts_with("Exec") && is_command(key) => named(&mut self.exec_other, key, value),
                _ => {}
            },
            _ => {}
        }
    }
}

/// Whether a setting's value is a command line.
fn is_command(key: &str) -> bool {
    matches!(
        key,
        "ExecStartPre"
            | "ExecStartPost"
            | "ExecCondition"
            | "ExecReload"
            | "ExecReloadPost"
            | "ExecStop"
            | "ExecStopPre"
            | "ExecStopPost"
    )
}

/// Adds words to a list; nothing empties it.
fn words(list: &mut Vec<String>, value: &str) {
    if value.is_empty() {
        list.clear();
    }
    list.extend(value.split_whitespace().map(str::to_owned));
}

/// Adds a setting to a list; nothing empties it of those of its name.
fn named(list: &mut Vec<(String, String)>, key: &str, value: &str) {
    if value.is_empty() {
        // Timers are one list for systemd, whatever their settings are called.
        list.retain(|(known, _)| known != key && !key.starts_with("On"));
    } else {
        list.push((key.to_owned(), value.to_owned()));
    }
}

/// Joins a line with those that it goes on in; comments between them are none of it.
fn continued<'a>(line: &'a str, lines: &mut std::str::Lines<'a>) -> String {
    let mut whole = line.to_owned();
    while goes_on(&whole) {
        whole.pop();
        whole.push(' ');
        let next = lines.find(|line| !line.trim_start().starts_with(['#', ';']));
        let Some(next) = next else { break };
        whole.push_str(next.trim());
    }
    whole
}

/// Whether a line ends in a backslash that no other one escapes.
fn goes_on(line: &str) -> bool {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    backslashes % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings(texts: &[&str], kind: &str) -> Settings {
        let mut settings = Settings::default();
        texts.iter().for_each(|text| settings.lay_over(text, kind));
        settings
    }

    #[test]
    fn odd_files() {
        let odd = settings(
            &["ExecStart=/outside\n[Service\nnonsense\n[Service]\n=x\n.include /etc/x\nExecStart=a\\\n"],
            "service",
        );
        assert_eq!((odd.malformed, odd.exec_start), (5, vec!["a".to_owned()]));
        assert_eq!(
            settings(&["", "\\", "\\\\\n\\", "[]\na=b\n", "\u{feff}[Unit]\r\nDescription = x \r\n"], "service")
                .malformed,
            4
        );
    }

    #[test]
    fn lines_go_on_and_lists_are_emptied() {
        let unit = "[Unit]\nDescription=a \\\n# between\n; too\n  b\\\\\n[Service]\nExecStart=/bin/a \\\n -x\nExecStart=/bin/b\nExecStartPre=-/bin/p\n\
            User=one\nUser=two\n[Socket]\nExecStart=/not/here\n[Install]\nWantedBy=a.target b.target\n";
        let one = settings(&[unit], "service");
        assert_eq!(one.description.as_deref(), Some("a  b\\\\"));
        assert_eq!(one.exec_start, ["/bin/a  -x", "/bin/b"]);
        assert_eq!((one.run_as.as_deref(), one.install.wanted_by.len()), (Some("two"), 2));
        let both = settings(
            &[unit, "[Service]\nExecStart=\nExecStart=/bin/c\nUser=\nExecStartPre=\n[Install]\nWantedBy=\n"],
            "service",
        );
        assert_eq!((both.exec_start, both.run_as, both.exec_other.len()), (vec!["/bin/c".to_owned()], None, 0));
        assert!(both.install.wanted_by.is_empty());
    }

    #[test]
    fn timers() {
        let timer = settings(&["[Timer]\nOnBootSec=5min\nOnCalendar=daily\nUnit=x.service\nPersistent=yes\n"], "timer");
        assert_eq!(timer.timers.len(), 2);
        assert_eq!(timer.starts.as_deref(), Some("x.service"));
        assert!(settings(&["[Timer]\nOnBootSec=5min\nOnCalendar=\n"], "timer").timers.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn no_file_is_too_odd(text in "(\\[Service\\]\n|\\[Install\\]\n|ExecStart|WantedBy|[=\\\\\n #;\\[\\]a\u{e9}]){0,30}") {
            let settings = settings(&[&text], "service");
            prop_assert!(settings.malformed <= text.len() as u64);
        }
    }
}
