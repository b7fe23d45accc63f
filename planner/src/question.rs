//! Which statements are questions: only those are planned.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;

use crate::desk::StatementKind;
use crate::error::Error;

/// What kind of statement it is, and whether its explanation is to say all.
pub fn kind(statement: &Statement) -> Result<(StatementKind, bool), Error> {
    let Statement::Explain(explain) = statement else { return Ok((StatementKind::Query, false)) };
    if explain.options.analyze {
        return Err(Error::usage("EXPLAIN ANALYZE is not in this version").hint("run the statement and read `.hosts`"));
    }
    Ok((StatementKind::Explain, explain.options.verbose))
}

/// Only questions are planned; whatever would make or change something is refused by name.
pub fn check(statement: &Statement) -> Result<(), Error> {
    use ast::Statement::{
        ExplainTable, Query, ShowCatalogs, ShowColumns, ShowDatabases, ShowFunctions, ShowSchemas, ShowTables,
        ShowVariable,
    };
    match statement {
        Statement::Explain(explain) => check(&explain.statement),
        Statement::Statement(inner) => match inner.as_ref() {
            Query(_)
            | ExplainTable { .. }
            | ShowCatalogs { .. }
            | ShowColumns { .. }
            | ShowDatabases { .. }
            | ShowFunctions { .. }
            | ShowSchemas { .. }
            | ShowTables { .. }
            | ShowVariable { .. } => Ok(()),
            _ => Err(not_a_question(statement)),
        },
        _ => Err(not_a_question(statement)),
    }
}

fn not_a_question(statement: &Statement) -> Error {
    let text = statement.to_string();
    let verb = text.split_whitespace().next().unwrap_or_default().to_uppercase();
    Error::usage(format!("`{verb}` is not a question; nothing is made or changed here"))
        .hint("ask with SELECT, WITH, VALUES, EXPLAIN, SHOW or DESCRIBE; change settings with SET canvass.…")
}
