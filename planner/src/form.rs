//! What the values of a column look like, as a mark in its field's metadata: it travels through aliases and sub-queries.

use canvass_tables::column::Form;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Column, DFSchema, ExprSchema as _, ScalarValue};
use datafusion::logical_expr::Expr;

use crate::catalog::AGENT;

/// The mark's key.
const KEY: &str = "canvass.form";
/// What stands before the values of an enumeration, which are separated by line ends.
const ONE_OF: &str = "one of\n";

/// The mark of a form; none where there is nothing to say.
pub fn mark(form: Form) -> Option<(String, String)> {
    let value = match form {
        Form::Any => return None,
        Form::OneOf(values) => format!("{ONE_OF}{}", values.join("\n")),
        Form::Hex(Some(digits)) => format!("hex {digits}"),
        Form::Hex(None) => "hex".to_owned(),
        Form::Ip => "ip".to_owned(),
        Form::Port => "port".to_owned(),
        Form::Octal => "octal".to_owned(),
        Form::Mode => "mode".to_owned(),
        Form::Path => "path".to_owned(),
        Form::Bytes => "bytes".to_owned(),
    };
    Some((KEY.to_owned(), value))
}

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked {
    OneOf(Vec<String>),
    /// Any other form than an enumeration.
    Form(Form),
}

/// What is declared of an expression's values: a column's, or those of a field of `agent`. With it the name that messages
/// call it by, and the column to find it in the statement.
pub fn of(expr: &Expr, schema: &DFSchema) -> Option<(Marked, String, Column)> {
    match expr {
        Expr::Column(column) => {
            let field = schema.field_from_column(column).ok()?;
            Some((of_field(field)?, column.name.clone(), column.clone()))
        }
        Expr::OuterReferenceColumn(field, column) => Some((of_field(field)?, column.name.clone(), column.clone())),
        Expr::ScalarFunction(call) if call.func.name() == "get_field" => {
            let [Expr::Column(agent), Expr::Literal(ScalarValue::Utf8(Some(name)), _)] = call.args.as_slice() else {
                return None;
            };
            let DataType::Struct(fields) = schema.field_from_column(agent).ok()?.data_type().clone() else {
                return None;
            };
            let (_, field) = fields.find(name)?;
            Some((of_field(field)?, format!("{AGENT}.{name}"), agent.clone()))
        }
        Expr::Alias(alias) => of(&alias.expr, schema),
        _ => None,
    }
}

fn of_field(field: &FieldRef) -> Option<Marked> {
    let value = field.metadata().get(KEY)?;
    if let Some(values) = value.strip_prefix(ONE_OF) {
        return Some(Marked::OneOf(values.split('\n').map(str::to_owned).collect()));
    }
    Some(Marked::Form(match value.as_str() {
        "hex" => Form::Hex(None),
        "ip" => Form::Ip,
        "port" => Form::Port,
        "octal" => Form::Octal,
        "mode" => Form::Mode,
        "path" => Form::Path,
        "bytes" => Form::Bytes,
        other => Form::Hex(Some(other.strip_prefix("hex ")?.parse().ok()?)),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::Field;

    use super::*;

    #[test]
    fn marks_read_as_they_were_written() {
        let forms = [
            Form::Hex(Some(64)),
            Form::Hex(None),
            Form::Ip,
            Form::Port,
            Form::Octal,
            Form::Mode,
            Form::Path,
            Form::Bytes,
            Form::OneOf(&["a", "b c"]),
            Form::Any,
        ];
        for form in forms {
            let field = Field::new("x", DataType::Utf8, true).with_metadata(mark(form).into_iter().collect());
            let expected = match form {
                Form::Any => None,
                Form::OneOf(values) => Some(Marked::OneOf(values.iter().map(ToString::to_string).collect())),
                other => Some(Marked::Form(other)),
            };
            assert_eq!(of_field(&Arc::new(field)), expected, "{form:?}");
        }
    }
}
