//! SHOW and DESCRIBE: what there is to ask and to set, in our words rather than DataFusion's.
//!
//! Each becomes a question over constants, so that it is planned, run and written like any other.

use std::sync::Arc;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, ObjectName, ShowStatementIn};

use crate::catalog::{AGENT_FIELDS, AGENTS};
use crate::dialect;
use crate::error::{Error, locate};
use crate::local::LocalFile;
use crate::past::PAST;
use crate::rewrite::Find;
use crate::settings::{self, Settings};

/// Puts a question over constants in the place of a SHOW or DESCRIBE.
pub fn rewrite(statement: &mut Statement, text: &str, settings: &Settings, find: Find<'_>) -> Result<(), Error> {
    let Statement::Statement(inner) = &*statement else { return Ok(()) };
    let question = match inner.as_ref() {
        ast::Statement::ShowVariable { variable } => {
            let name = variable.iter().map(|part| part.value.to_lowercase()).collect::<Vec<_>>().join(".");
            variables(&name, settings)?
        }
        ast::Statement::ShowTables { show_options, .. } if show_options.filter_position.is_none() => tables(find),
        ast::Statement::ExplainTable { table_name, .. } => match columns(table_name, find) {
            Some(question) => question,
            None => return Ok(()),
        },
        ast::Statement::ShowColumns { show_options, .. } => {
            let name = match &show_options.show_in {
                Some(ShowStatementIn { parent_name: Some(name), .. }) => name,
                _ => return Ok(()),
            };
            if show_options.filter_position.is_some() {
                let error =
                    Error::usage("SHOW COLUMNS takes no condition").hint(format!("write SHOW COLUMNS FROM {name}"));
                return Err(error.at(locate(text, "columns")));
            }
            match columns(name, find) {
                Some(question) => question,
                None => return Ok(()),
            }
        }
        _ => return Ok(()),
    };
    *statement = dialect::parse(&question)?;
    Ok(())
}

fn variables(name: &str, settings: &Settings) -> Result<String, Error> {
    let row = |name: &str| -> Result<Vec<String>, Error> { Ok(vec![format!("canvass.{name}"), settings.get(name)?]) };
    let rows = match name {
        "all" => settings::NAMES.iter().map(|name| row(name)).collect::<Result<Vec<_>, Error>>()?,
        "timezone" | "time.zone" => vec![row("timezone")?],
        name => vec![row(name.strip_prefix("canvass.").unwrap_or(name))?],
    };
    Ok(values(&["setting", "value"], &rows))
}

fn tables(find: Find<'_>) -> String {
    let endpoints = canvass_tables::TABLES.iter().filter(|table| find(table.info().name).is_some());
    let endpoints = endpoints.map(|table| vec![table.info().name.to_owned(), table.info().about.to_owned()]);
    let agents = vec![AGENTS.to_owned(), "the inventory, answered without asking any endpoint".to_owned()];
    let past = PAST.iter().map(|table| vec![table.name.to_owned(), table.about.to_owned()]);
    values(&["table", "about"], &endpoints.chain([agents]).chain(past).collect::<Vec<_>>())
}

/// The columns of a table of ours; none where it is another.
fn columns(name: &ObjectName, find: Find<'_>) -> Option<String> {
    let name = name.0.last()?.as_ident()?.value.to_lowercase();
    let row = |name: &str, kind: &str, about: &str| vec![name.to_owned(), kind.to_owned(), about.to_owned()];
    let rows: Vec<Vec<String>> = if let Some(table) = find(&name) {
        table.columns().into_iter().map(|column| row(column.name, column.kind.as_str(), column.about)).collect()
    } else if let Some(table) = PAST.iter().find(|table| table.name == name) {
        table.columns.iter().map(|column| row(column.name, column.kind.as_str(), column.about)).collect()
    } else if name == AGENTS {
        AGENT_FIELDS.iter().map(|field| row(field.name, field.kind(), field.about)).collect()
    } else {
        return None;
    };
    Some(values(&["column", "type", "about"], &rows))
}

/// Puts a question over constants in the place of a DESCRIBE of a local file.
pub fn describe_file(statement: &mut Statement, files: &[Arc<LocalFile>]) -> Result<(), Error> {
    let Statement::Statement(inner) = &*statement else { return Ok(()) };
    let ast::Statement::ExplainTable { table_name, .. } = inner.as_ref() else { return Ok(()) };
    let name = table_name.0.last().and_then(|part| part.as_ident());
    let Some(file) = files.iter().find(|file| name.is_some_and(|name| name.value == file.name)) else { return Ok(()) };
    let row = |(name, kind): (&str, &str)| vec![name.to_owned(), kind.to_owned()];
    *statement = dialect::parse(&values(&["column", "type"], &file.columns().map(row).collect::<Vec<_>>()))?;
    Ok(())
}

/// `SELECT … FROM (VALUES …)` of texts.
fn values(names: &[&str], rows: &[Vec<String>]) -> String {
    let quoted = |text: &String| format!("'{}'", text.replace('\'', "''"));
    let rows: Vec<String> =
        rows.iter().map(|row| format!("({})", row.iter().map(quoted).collect::<Vec<_>>().join(", "))).collect();
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!("SELECT * FROM (VALUES {}) AS shown({})", rows.join(", "), names.join(", "))
}
