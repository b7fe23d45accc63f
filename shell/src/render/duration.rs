//! Durations and intervals: as PostgreSQL writes them for people, as a number of seconds or ISO 8601 in JSON.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
};

use super::cell::Cell;

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;

/// The cell of a duration or an interval; none where the column holds something else.
pub fn cell(array: &dyn Array, row: usize) -> Option<Cell> {
    let duration_ns = match array.data_type() {
        DataType::Duration(TimeUnit::Second) => {
            i128::from(array.as_primitive::<DurationSecondType>().value(row)) * SECOND
        }
        DataType::Duration(TimeUnit::Millisecond) => {
            i128::from(array.as_primitive::<DurationMillisecondType>().value(row)) * 1_000_000
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            i128::from(array.as_primitive::<DurationMicrosecondType>().value(row)) * 1_000
        }
        DataType::Duration(TimeUnit::Nanosecond) => {
            i128::from(array.as_primitive::<DurationNanosecondType>().value(row))
        }
        DataType::Interval(unit) => {
            let (months, days, ns) = parts(*unit, array, row);
            return Some(Cell::Duration {
                text: words(months, days, ns),
                json: format!("\"{}\"", iso(months, days, ns)),
            });
        }
        _ => return None,
    };
    let text = words(0, duration_ns / DAY, duration_ns % DAY);
    Some(Cell::Duration { text, json: decimal(duration_ns) })
}

fn parts(unit: IntervalUnit, array: &dyn Array, row: usize) -> (i128, i128, i128) {
    match unit {
        IntervalUnit::YearMonth => (array.as_primitive::<IntervalYearMonthType>().value(row).into(), 0, 0),
        IntervalUnit::DayTime => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            (0, value.days.into(), i128::from(value.milliseconds) * 1_000_000)
        }
        IntervalUnit::MonthDayNano => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            (value.months.into(), value.days.into(), value.nanoseconds.into())
        }
    }
}

/// `1 year 2 mons 3 days 04:05:06.5`; each part with its own sign, as PostgreSQL has it.
fn words(months: i128, days: i128, ns: i128) -> String {
    let mut words = Vec::new();
    for (count, one, many) in [(months / 12, "year", "years"), (months % 12, "mon", "mons"), (days, "day", "days")] {
        if count != 0 {
            words.push(format!("{count} {}", if count == 1 { one } else { many }));
        }
    }
    if ns != 0 || words.is_empty() {
        let (sign, ns) = (if ns < 0 { "-" } else { "" }, ns.abs());
        let seconds = ns / SECOND;
        let mut clock = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        clock.push_str(&fraction(ns % SECOND));
        words.push(clock);
    }
    words.join(" ")
}

/// A number of seconds, exact.
fn decimal(ns: i128) -> String {
    let (sign, ns) = (if ns < 0 { "-" } else { "" }, ns.abs());
    format!("{sign}{}{}", ns / SECOND, fraction(ns % SECOND))
}

/// `P1Y2M3DT4H5M6.5S`: months and days have no fixed length in seconds.
fn iso(months: i128, days: i128, ns: i128) -> String {
    let mut text = String::from("P");
    for (count, letter) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if count != 0 {
            let _ = write!(text, "{count}{letter}");
        }
    }
    if ns != 0 || text.len() == 1 {
        text.push('T');
        let (sign, ns) = (if ns < 0 { "-" } else { "" }, ns.abs());
        let seconds = ns / SECOND;
        for (count, letter) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
            if count != 0 {
                let _ = write!(text, "{sign}{count}{letter}");
            }
        }
        if ns % (60 * SECOND) != 0 || text.ends_with('T') {
            let _ = write!(text, "{sign}{}{}S", seconds % 60, fraction(ns % SECOND));
        }
    }
    text
}

/// `.5` of half a second, nothing of none.
fn fraction(ns: i128) -> String {
    if ns == 0 { String::new() } else { format!(".{ns:09}").trim_end_matches('0').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_postgresql() {
        let cases = [
            ((0, 0, 0), "00:00:00", "PT0S"),
            ((0, 0, 2_720_243_716_628), "00:45:20.243716628", "PT45M20.243716628S"),
            ((0, 1, 7384 * SECOND + SECOND / 2), "1 day 02:03:04.5", "P1DT2H3M4.5S"),
            ((0, -2, -SECOND), "-2 days -00:00:01", "P-2DT-1S"),
            ((14, 3, 0), "1 year 2 mons 3 days", "P1Y2M3D"),
            ((0, 0, 100 * 3600 * SECOND), "100:00:00", "PT100H"),
        ];
        for ((months, days, ns), text, json) in cases {
            assert_eq!(words(months, days, ns), text);
            assert_eq!(iso(months, days, ns), json);
        }
        let seconds = [(0, "0"), (1, "0.000000001"), (-1_500_000_000, "-1.5"), (61 * SECOND, "61")];
        for (ns, expected) in seconds {
            assert_eq!(decimal(ns), expected);
        }
    }
}
