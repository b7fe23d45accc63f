//! Patterns of the shell's where SQL has other ones.

use canvass_protocol::filter::Is;
use canvass_protocol::scan::Scan;
use canvass_protocol::value::Value;
use canvass_tables::Table;
use canvass_tables::column::Form;

use crate::warning::Warning;

/// What to write where a path was written as the shell would understand it.
pub fn instead(column: &str, glob: &str) -> String {
    let before = &glob[..glob.find('*').unwrap_or(glob.len())];
    let folder = before.rfind('/').map_or("", |end| &before[..end]);
    let folder = if folder.is_empty() { "/" } else { folder };
    let under = format!("{column} UNDER {}", quoted(folder));
    let last = glob.rsplit('/').next().unwrap_or_default();
    if glob.strip_suffix("/*") == Some(folder.trim_end_matches('/')) {
        return format!("what lies in a folder is under it: {under}");
    }
    // A pattern in the last part is one of names; before it, of folders that hold more.
    let whole = if last.contains('*') { glob.to_owned() } else { format!("{}/*", glob.trim_end_matches('/')) };
    let like = whole.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_").replace('*', "%");
    format!("write {under} AND {column} LIKE {}", quoted(&like))
}

/// Warns of paths that a scan compares with `=` and that look like patterns: a file may have such a name, and seldom has.
pub fn warnings(table: &dyn Table, scan: &Scan) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let Some(filter) = &scan.filter else { return warnings };
    filter.for_each_test(&mut |test| {
        if table.column(&test.column).is_none_or(|column| column.form != Form::Path) {
            return;
        }
        let values = match &test.is {
            Is::Equal(value) | Is::NotEqual(value) => std::slice::from_ref(value),
            Is::In(values) => values.as_slice(),
            _ => &[],
        };
        let globs = values.iter().filter_map(|value| match value {
            Value::Text(text) if text.contains('*') => Some(text),
            _ => None,
        });
        // One is enough to see what is wrong with all.
        for glob in globs.take(1) {
            let message =
                format!("`{}` is compared with the very name {}: `*` is no wildcard", test.column, quoted(glob));
            let warning = Warning::new(message).hint(instead(&test.column, glob));
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    });
    warnings
}

fn quoted(text: &str) -> String {
    Value::Text(text.to_owned()).to_string()
}
