//! Moments as a person reads them: in the session's time zone, with as many digits in each row as the column needs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use canvass_planner::zone::Zone;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::{Offset, TimeZone};

/// Digits of a nanosecond.
pub const ALL_DIGITS: u8 = 9;

/// The batches of one result with their moments as text. `digits` behind the second; `None` takes the fewest of 0, 3, 6 and 9
/// that show every moment of a column whole.
pub fn shown(batches: Vec<Vec<ArrayRef>>, zone: Option<Zone>, digits: Option<u8>) -> Vec<Vec<ArrayRef>> {
    let columns = batches.first().map_or(0, Vec::len);
    let needed: Vec<u8> = (0..columns)
        .map(|column| {
            let moments = batches.iter().filter_map(|batch| nanoseconds(batch.get(column)?));
            digits.unwrap_or_else(|| moments.flatten().flatten().map(digits_of).max().unwrap_or_default())
        })
        .collect();
    let show = |batch: Vec<ArrayRef>| -> Vec<ArrayRef> {
        batch.into_iter().zip(&needed).map(|(column, digits)| text(&column, zone, *digits).unwrap_or(column)).collect()
    };
    batches.into_iter().map(show).collect()
}

/// The moments of a column, since 1970; none where it has others.
fn nanoseconds(column: &ArrayRef) -> Option<Vec<Option<i128>>> {
    let DataType::Timestamp(unit, _) = column.data_type() else { return None };
    let scale = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    let numbers = cast(column, &DataType::Int64).ok()?;
    Some(numbers.as_primitive::<Int64Type>().iter().map(|at| at.map(|at| i128::from(at) * scale)).collect())
}

fn digits_of(at_ns: i128) -> u8 {
    let digits = [(1_000_000_000, 0), (1_000_000, 3), (1_000, 6)];
    digits.iter().find(|(unit, _)| at_ns % unit == 0).map_or(ALL_DIGITS, |(_, digits)| *digits)
}

/// A column of moments as text; none where it has others, or one that is too far away to be told.
fn text(column: &ArrayRef, zone: Option<Zone>, digits: u8) -> Option<ArrayRef> {
    let DataType::Timestamp(_, named) = column.data_type() else { return None };
    let printer = DateTimePrinter::new().precision(Some(digits));
    let one = |at_ns: i128| -> Option<String> {
        let at = Timestamp::from_nanosecond(at_ns).ok()?;
        if named.is_none() {
            return Some(printer.datetime_to_string(&at.to_zoned(TimeZone::UTC).datetime()));
        }
        match zone.filter(|zone| *zone != Zone::default()) {
            None => Some(printer.timestamp_to_string(&at)),
            Some(zone) => {
                let east_s = zone.offset_s(i64::try_from(at_ns).ok()?);
                Some(printer.timestamp_with_offset_to_string(&at, Offset::from_seconds(east_s).ok()?))
            }
        }
    };
    let mut texts = Vec::with_capacity(column.len());
    for at in nanoseconds(column)? {
        texts.push(match at {
            Some(at_ns) => Some(one(at_ns)?),
            None => None,
        });
    }
    Some(Arc::new(texts.into_iter().collect::<StringArray>()))
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampNanosecondArray;

    use super::*;

    fn check(moments: &[i64], named: bool, zone: Option<&str>, digits: Option<u8>, expected: &[&str]) {
        let column = TimestampNanosecondArray::from(moments.to_vec());
        let column: ArrayRef = if named { Arc::new(column.with_timezone("UTC")) } else { Arc::new(column) };
        let zone = zone.map(|zone| Zone::parse(zone).unwrap());
        let batches = shown(vec![vec![column]], zone, digits);
        assert_eq!(batches[0][0].as_string::<i32>().iter().flatten().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_row_of_a_column_has_as_many_digits() {
        let whole = 1_795_300_000_000_000_000;
        check(&[whole, 0], true, None, None, &["2026-11-21T22:26:40Z", "1970-01-01T00:00:00Z"]);
        check(
            &[whole, whole + 120_000_000],
            true,
            None,
            None,
            &["2026-11-21T22:26:40.000Z", "2026-11-21T22:26:40.120Z"],
        );
        check(
            &[whole + 1, -1],
            true,
            None,
            None,
            &["2026-11-21T22:26:40.000000001Z", "1969-12-31T23:59:59.999999999Z"],
        );
        check(&[whole], true, None, Some(ALL_DIGITS), &["2026-11-21T22:26:40.000000000Z"]);
    }

    #[test]
    fn a_zone_moves_moments_and_not_what_clocks_showed() {
        let whole = 1_795_300_000_000_000_000;
        check(&[whole], true, Some("Europe/Paris"), None, &["2026-11-21T23:26:40+01:00"]);
        check(&[whole], true, Some("UTC"), None, &["2026-11-21T22:26:40Z"]);
        check(&[whole], false, Some("Europe/Paris"), None, &["2026-11-21T22:26:40"]);
    }
}
