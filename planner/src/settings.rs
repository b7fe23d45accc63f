//! What `SET canvass.…` can change.

use std::collections::BTreeMap;

use canvass_protocol::action::Action;
use canvass_protocol::limits::Limits;
use canvass_protocol::scan::Options;

use crate::error::{Error, closest};
use crate::functions::parse_size;
use crate::zone::Zone;

/// The settings of one session.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How long agents may still answer, in seconds.
    pub expire_s: u64,
    /// How long the prompt follows, in seconds; `None` follows to the end.
    pub wait_s: Option<u64>,
    /// Agents above which it asks for a yes.
    pub confirm_above: u64,
    pub limits: Limits,
    pub options: Options,
    /// In which moments are shown on a terminal.
    pub timezone: Zone,
    /// Whether only those agents of a server are asked that an administrator has certified.
    pub certified_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            expire_s: 300,
            wait_s: Some(30),
            confirm_above: 100,
            limits: Limits::default(),
            options: Options::default(),
            timezone: Zone::default(),
            certified_only: false,
        }
    }
}

/// The settings' names, in the order in which they are listed.
pub const NAMES: &[&str] = &[
    "expire",
    "wait",
    "confirm_above",
    "limit_rows",
    "limit_bytes",
    "limit_time",
    "limit_cpu",
    "limit_memory",
    "decompress",
    "follow",
    "timezone",
    "certified",
];

/// The settings that decide how a statement is planned, beside the limits, which an action carries anyway.
const OF_PLANS: &[&str] = &["decompress", "follow"];

impl Settings {
    /// What an action records of them, so that it can be planned again as it was.
    pub fn of_plan(&self) -> Result<BTreeMap<String, String>, Error> {
        OF_PLANS.iter().map(|name| Ok(((*name).to_owned(), self.get(name)?))).collect()
    }

    /// The settings that an action was planned with.
    pub fn then(action: &Action) -> Result<Settings, Error> {
        let mut settings = Settings { limits: action.limits, ..Settings::default() };
        for (name, value) in &action.inputs.settings {
            settings.set(name, value).map_err(|error| {
                Error::usage(format!(
                    "the action was planned with a setting that is not in this version: {}",
                    error.message
                ))
                .hint("use the version that asked")
            })?;
        }
        Ok(settings)
    }

    /// Changes one setting; `name` stands without its `canvass.`, `value` as typed without quotes.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let wrong = |reason: String| Error::usage(format!("canvass.{name} cannot be `{value}`")).hint(reason);
        let seconds = || parse_duration_s(value).map_err(wrong);
        let number = || value.trim().parse::<u64>().map_err(|_| wrong("write a whole number".into()));
        let size = || parse_size(value).map_err(wrong).map(i64::unsigned_abs);
        let truth = || match value.trim().to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(wrong("write true or false".into())),
        };
        match name {
            "expire" => self.expire_s = seconds()?,
            "wait" if value.eq_ignore_ascii_case("expire") => self.wait_s = None,
            "wait" => self.wait_s = Some(seconds()?),
            "confirm_above" => self.confirm_above = number()?,
            "limit_rows" => self.limits.rows = number()?,
            "limit_bytes" => self.limits.bytes = size()?,
            "limit_time" => self.limits.time_ms = seconds()?.saturating_mul(1000),
            "limit_cpu" => self.limits.cpu_ms = seconds()?.saturating_mul(1000),
            "limit_memory" => self.limits.memory_bytes = size()?,
            "decompress" => self.options.decompress = truth()?,
            "follow" => self.options.follow = truth()?,
            "timezone" => self.timezone = Zone::parse(value)?,
            "certified" => {
                self.certified_only = match value.trim().to_ascii_lowercase().as_str() {
                    "only" => true,
                    "any" => false,
                    _ => return Err(wrong("write only, or any".into())),
                }
            }
            "two_stage" => return Err(Error::usage("canvass.two_stage is not in this version")),
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// A setting's value as `SET` would take it.
    pub fn get(&self, name: &str) -> Result<String, Error> {
        Ok(match name {
            "expire" => format!("{}s", self.expire_s),
            "wait" => self.wait_s.map_or("expire".into(), |seconds| format!("{seconds}s")),
            "confirm_above" => self.confirm_above.to_string(),
            "limit_rows" => self.limits.rows.to_string(),
            "limit_bytes" => self.limits.bytes.to_string(),
            "limit_time" => format!("{}s", self.limits.time_ms / 1000),
            "limit_cpu" => format!("{}s", self.limits.cpu_ms / 1000),
            "limit_memory" => self.limits.memory_bytes.to_string(),
            "decompress" => self.options.decompress.to_string(),
            "follow" => self.options.follow.to_string(),
            "timezone" => self.timezone.to_string(),
            "certified" => if self.certified_only { "only" } else { "any" }.to_owned(),
            _ => return Err(unknown(name)),
        })
    }
}

fn unknown(name: &str) -> Error {
    let error = Error::usage(format!("there is no setting `canvass.{name}`"));
    match closest(name, NAMES.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `canvass.{near}`?")),
        None => error.hint(format!("the settings are {}", NAMES.join(", "))),
    }
}

/// Reads a time in words: `30s`, `5 minutes`, `6h`, `90`; a bare number is seconds.
pub fn parse_duration_s(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a time; write a number with s, m, h or d, such as '30s' or '6h'");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let number: u64 = trimmed[..digits].parse().map_err(|_| wrong())?;
    let scale = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86400,
        _ => return Err(wrong()),
    };
    number.checked_mul(scale).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_words() {
        let cases = [
            ("30s", Some(30)),
            ("5 minutes", Some(300)),
            ("6h", Some(21600)),
            ("2 days", Some(172_800)),
            ("90", Some(90)),
            ("h", None),
            ("1.5h", None),
            ("-1s", None),
            ("99999999999999999999d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration_s(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_misspelt_setting_is_named() {
        let error = Settings::default().set("expires", "6h").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean `canvass.expire`?"));
        assert!(Settings::default().set("expire", "soon").is_err());
    }
}
