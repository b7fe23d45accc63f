//! `version_lt(a, b[, source])` and its kin: the order of package versions, at the desk and on endpoints.
//!
//! Both sides compare by [`canvass_protocol::versions`], so that it does not matter which of them does.

use std::sync::Arc;

use canvass_protocol::filter::{Filter, Is, VersionOrder, VersionTest};
use canvass_protocol::value::Value;
use canvass_protocol::versions::{self, Source};
use datafusion::arrow::array::{Array as _, AsArray, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use crate::error::{Error, locate, locate_text};
use crate::functions;

/// The column that says by which system a package is installed.
const SOURCE: &str = "source";

/// The functions, each for one order.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let signature = || {
        let texts = |count| TypeSignature::Exact(vec![DataType::Utf8; count]);
        Signature::one_of(vec![texts(3), texts(2)], Volatility::Immutable)
    };
    let function = |(order, name)| Arc::new(ScalarUDF::from(Compare { name, order, signature: signature() }));
    VersionOrder::ALL.into_iter().map(function).collect()
}

/// The order that a function asks for, where it is one of these.
pub fn order_of(function: &str) -> Option<VersionOrder> {
    VersionOrder::ALL.iter().find(|(_, name)| *name == function).map(|(order, _)| *order)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Compare {
    name: &'static str,
    order: VersionOrder,
    signature: Signature,
}

impl ScalarUDFImpl for Compare {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.len() != 3 {
            return exec_err!("`{}` does not know by which packaging system to compare", self.name);
        }
        let (arrays, rows, constant) = functions::arrays(&args)?;
        let texts: Vec<_> = arrays.iter().map(AsArray::as_string::<i32>).collect();
        let get = |side: usize, row: usize| texts[side].is_valid(row).then(|| texts[side].value(row));
        let truths = (0..rows).map(|row| {
            let (one, other, source) = (get(0, row)?, get(1, row)?, Source::parse(get(2, row)?)?);
            versions::compare(one, other, source).map(|order| self.order.holds(order))
        });
        functions::give(Arc::new(truths.collect::<BooleanArray>()), constant)
    }
}

/// Gives a call the source column of its table where none is written, and says what is wrong with its constants.
pub fn complete(call: &mut ScalarFunction, schema: &DFSchema, statement: &str) -> Result<()> {
    if order_of(call.func.name()).is_none() {
        return Ok(());
    }
    let name = call.func.name().to_owned();
    if call.args.len() == 2 {
        let source = call.args.iter().find_map(|arg| source_beside(arg, schema)).ok_or_else(|| {
            Error::usage(format!("`{name}` does not know by which packaging system to compare"))
                .hint(format!("name it as the third argument, one of {}: {name}(a, b, 'dpkg')", sources()))
                .at(locate(statement, &name))
        })?;
        call.args.push(source);
    }
    let Some(source) = call.args.get(2).and_then(text) else { return Ok(()) };
    let Some(source) = Source::parse(source) else {
        return Err(Error::usage(format!("`{source}` is no packaging system"))
            .hint(format!("it is one of {}", sources()))
            .at(locate_text(statement, source))
            .into());
    };
    for version in call.args[..2].iter().filter_map(text) {
        if versions::compare(version, version, source).is_none() {
            return Err(Error::usage(format!("`{version}` is no version of {source}"))
                .at(locate_text(statement, version))
                .into());
        }
    }
    Ok(())
}

/// Lowers a call; `subject` makes a test of a column that holds text, and `sources` says whether a column holds the names of
/// all packaging systems and nothing else.
pub fn lower(
    call: &ScalarFunction,
    mut test: impl FnMut(&Expr, Is) -> Option<Filter>,
    holds_sources: impl Fn(&Column) -> bool,
) -> Option<Filter> {
    let order = order_of(call.func.name())?;
    let [one, other, source] = call.args.as_slice() else { return None };
    let (subject, than, is) = match (text(one), text(other)) {
        (None, Some(than)) => (one, than, order),
        (Some(than), None) => (other, than, order.swapped()),
        _ => return None,
    };
    let is = |source| Is::Version(VersionTest { is, than: than.to_owned(), source });
    if let Some(source) = text(source) {
        return test(subject, is(Source::parse(source)?));
    }
    let Expr::Column(column) = source else { return None };
    if !holds_sources(column) {
        return None;
    }
    let is_one = |value: &str| Value::Text(value.to_owned());
    let known = Is::In(Source::ALL.iter().map(|source| is_one(source.as_str())).collect());
    // False of every source, and unknown where there is none: an AND with what is false would be false there.
    let unknown = test(&Expr::Column(column.clone()), known).map(|known| Filter::Not(Box::new(known)));
    let of_each = Source::ALL.iter().map(|source| {
        let is_of = test(&Expr::Column(column.clone()), Is::Equal(is_one(source.as_str())))?;
        Some(Filter::All(vec![is_of, test(subject, is(*source))?]))
    });
    Some(Filter::Any(of_each.chain([unknown]).collect::<Option<_>>()?))
}

/// The column `source` of the table that a column is of.
fn source_beside(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::Column(column) = expr else { return None };
    let source = Column::new(column.relation.clone(), SOURCE);
    schema.has_column(&source).then_some(Expr::Column(source))
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

fn sources() -> String {
    Source::ALL.map(|source| format!("'{source}'")).join(", ")
}
