//! Values of a file that no row can have: data, so no error, and what an investigator who swept for them has to know.

use canvass_protocol::value::Value;
use canvass_tables::column::Form;

use super::find::Candidate;
use super::text;
use crate::warning::Warning;

/// Letters of a value that a warning shows.
const SHOWN_MAX: usize = 80;

/// Says how many of the values that a column of digests is compared with are none.
pub fn warning(candidate: &Candidate, values: &[Value]) -> Option<Warning> {
    let column = candidate.table.column(&candidate.column.name)?;
    let Form::Hex(Some(digits)) = column.form else { return None };
    // The desk compares digits in small letters.
    let wrong: Vec<&str> =
        values.iter().filter_map(text).filter(|value| !column.form.fits(&value.to_ascii_lowercase())).collect();
    let first = wrong.first()?;
    let shown: String = first.chars().take(SHOWN_MAX).collect();
    let more = if shown.len() < first.len() { "…" } else { "" };
    let are = if wrong.len() == 1 { "is" } else { "are" };
    let (count, all, source) = (wrong.len(), values.len(), candidate.source());
    Some(
        Warning::new(format!("{count} of the {all} values of {source} {are} no `{}`: '{shown}{more}'", column.name))
            .hint(format!("`{}` has {digits} hexadecimal digits; no file is found by these values", column.name)),
    )
}
