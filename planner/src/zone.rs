//! Time zones: where moments are shown, and `AT TIME ZONE` as PostgreSQL has it.

use std::sync::Arc;

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampNanosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::error::{Error, closest};

/// The function behind `x AT TIME ZONE 'zone'`.
pub(crate) const AT_TIME_ZONE: &str = "at_time_zone";

/// A zone of the IANA database, which the program brings with it, or a fixed distance from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    Named(Tz),
    /// Seconds east of UTC.
    Fixed(i32),
}

impl Default for Zone {
    fn default() -> Self {
        Zone::Named(Tz::UTC)
    }
}

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Zone::Named(zone) => f.write_str(zone.name()),
            Zone::Fixed(east_s) => {
                let (sign, minutes) = (if *east_s < 0 { '-' } else { '+' }, east_s.abs() / 60);
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

impl Zone {
    /// Reads `Europe/Paris`, in any case, or `+01:00`.
    pub fn parse(name: &str) -> std::result::Result<Zone, Error> {
        let name = name.trim();
        if let Some(east_s) = fixed(name) {
            return Ok(Zone::Fixed(east_s));
        }
        let found = TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
        found.copied().map(Zone::Named).ok_or_else(|| unknown(name))
    }

    /// Seconds east of UTC at a moment, given in nanoseconds since 1970.
    pub fn offset_s(self, at_ns: i64) -> i32 {
        match self {
            Zone::Named(zone) => zone
                .offset_from_utc_datetime(&DateTime::from_timestamp_nanos(at_ns).naive_utc())
                .fix()
                .local_minus_utc(),
            Zone::Fixed(east_s) => east_s,
        }
    }

    /// What clocks on the wall show at a moment.
    fn to_local(self, at_ns: i64) -> Option<i64> {
        at_ns.checked_add(i64::from(self.offset_s(at_ns)) * 1_000_000_000)
    }

    /// The moment at which clocks on the wall show a time: where they show it twice, when they show standard time; where they
    /// never do, as if they had not been put forward yet.
    fn utc_of_local(self, local_ns: i64) -> Option<i64> {
        let east_s = match self {
            Zone::Fixed(east_s) => east_s,
            Zone::Named(zone) => {
                let local = DateTime::from_timestamp_nanos(local_ns).naive_utc();
                offset_of_local(zone, local)
            }
        };
        local_ns.checked_sub(i64::from(east_s) * 1_000_000_000)
    }
}

fn offset_of_local(zone: Tz, local: NaiveDateTime) -> i32 {
    match zone.offset_from_local_datetime(&local) {
        MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(_, offset) => offset.fix().local_minus_utc(),
        MappedLocalTime::None => {
            let before = local - TimeDelta::days(1);
            let offset = zone.offset_from_local_datetime(&before).earliest();
            offset.map_or(0, |offset| offset.fix().local_minus_utc())
        }
    }
}

/// Seconds of `+01:00`, `-0530` or `+01`.
fn fixed(name: &str) -> Option<i32> {
    let (sign, rest) = match name.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits = rest.replacen(':', "", 1);
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = digits.get(2..4).map_or(Ok(0), str::parse).ok()?;
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn unknown(name: &str) -> Error {
    let error = Error::usage(format!("there is no time zone `{name}`"));
    let cities = || TZ_VARIANTS.iter().map(|zone| zone.name());
    // Who writes `Paris` means the zone that is called after it.
    let city = cities().find(|zone| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name)));
    match city.or_else(|| closest(name, cities())) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error.hint("write a zone such as 'Europe/Paris' or a distance from UTC such as '+01:00'"),
    }
}

/// `x AT TIME ZONE 'zone'`: a moment becomes what clocks there show, and what clocks there show becomes the moment.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct AtTimeZone {
    signature: Signature,
}

impl Default for AtTimeZone {
    fn default() -> Self {
        AtTimeZone { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

const WALL: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &str {
        AT_TIME_ZONE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let [time, _] = kinds else { return plan_err!("AT TIME ZONE takes a time and a zone") };
        let time = match time {
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => WALL,
            DataType::Timestamp(_, Some(_)) | DataType::Utf8 | DataType::Null => utc(),
            other => return plan_err!("AT TIME ZONE asks about a time, and this is {other}"),
        };
        Ok(vec![time, DataType::Utf8])
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        Ok(if kinds.first() == Some(&WALL) { utc() } else { WALL })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [times, zone] = args.args.as_slice() else { return exec_err!("AT TIME ZONE takes a time and a zone") };
        let constant = matches!((times, zone), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let (times, zones) = (times.to_array(rows)?, zone.to_array(rows)?);
        let shown = convert(&times, &zones)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&shown, 0)?));
        }
        Ok(ColumnarValue::Array(shown))
    }
}

fn convert(times: &ArrayRef, zones: &ArrayRef) -> Result<ArrayRef> {
    let is_wall = *times.data_type() == WALL;
    let zones = zones.as_string::<i32>();
    let numbers = cast(times, &DataType::Int64)?;
    let times = numbers.as_primitive::<Int64Type>();
    // Zones are constant but for odd statements, so the last one read is the one wanted.
    let mut read: Option<(&str, Zone)> = None;
    let mut converted = Vec::with_capacity(times.len());
    for row in 0..times.len() {
        if times.is_null(row) || zones.is_null(row) {
            converted.push(None);
            continue;
        }
        let name = zones.value(row);
        let zone = match read {
            Some((last, zone)) if last == name => zone,
            _ => Zone::parse(name)?,
        };
        read = Some((name, zone));
        let time = times.value(row);
        let other = if is_wall { zone.utc_of_local(time) } else { zone.to_local(time) };
        converted.push(Some(other.ok_or_else(|| exec_datafusion_err!("the time is too far away for its zone"))?));
    }
    let converted: TimestampNanosecondArray = converted.into_iter().collect();
    let named: ArrayRef = if is_wall { Arc::new(converted.with_timezone("UTC")) } else { Arc::new(converted) };
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::Zone;

    fn ns(text: &str) -> i64 {
        i64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_nanosecond()).unwrap()
    }

    #[test]
    fn zones_are_read_in_any_case_and_by_their_distance() {
        let cases = [
            ("Europe/Paris", Some("Europe/Paris")),
            ("europe/paris", Some("Europe/Paris")),
            ("utc", Some("UTC")),
            ("+01:00", Some("+01:00")),
            ("-0530", Some("-05:30")),
            ("+1", None),
            ("+99:00", None),
            ("Europe/Pariss", None),
            ("", None),
            ("é", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Zone::parse(text).ok().map(|zone| zone.to_string()).as_deref(), expected, "{text}");
        }
        let hints = [("Europe/Pariss", "did you mean 'Europe/Paris'?"), ("Paris", "did you mean 'Europe/Paris'?")];
        for (text, hint) in hints {
            assert_eq!(Zone::parse(text).unwrap_err().hint.as_deref(), Some(hint));
        }
    }

    #[test]
    fn wall_clocks_follow_summer_time_and_back() {
        let paris = Zone::parse("Europe/Paris").unwrap();
        let cases = [
            ("2026-11-27T13:00:00Z", "2026-11-27T14:00:00Z"),
            ("2026-07-01T13:00:00Z", "2026-07-01T15:00:00Z"),
            // The hour that clocks show twice is that of standard time.
            ("2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"),
        ];
        for (moment, wall) in cases {
            assert_eq!(paris.to_local(ns(moment)), Some(ns(wall)), "{moment}");
            assert_eq!(paris.utc_of_local(ns(wall)), Some(ns(moment)), "{wall}");
        }
        // The hour that clocks never show is read as if they had not been put forward.
        assert_eq!(paris.utc_of_local(ns("2026-03-29T02:30:00Z")), Some(ns("2026-03-29T01:30:00Z")));
        assert_eq!(Zone::Fixed(3600).utc_of_local(i64::MIN), None);
    }
}
