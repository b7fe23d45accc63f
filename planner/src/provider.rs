//! An endpoint table as DataFusion sees it: which predicates it takes, and the scan that they become.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::scan::{Options, Scan};
use canvass_protocol::target::Target;
use canvass_protocol::value::Value;
use canvass_tables::column::{Class, Form};
use canvass_tables::table::Keys;
use canvass_tables::{Table, bound};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use crate::catalog::{AGENT, HOST, endpoint_schema};
use crate::corrected;
use crate::error::{Error, locate};
use crate::exec::FleetExec;
use crate::lower::{Lowered, lower};
use crate::narrow::{Sets, TooLong};

/// What one statement says to all of its scans; travels as an extension of the session's configuration.
#[derive(Debug, Default)]
pub struct Scanning {
    pub statement: String,
    pub options: Options,
    /// Only agents that are online, because the statement does not say.
    pub online_only: bool,
    /// The statement was asked before, and its answers are there.
    pub past: bool,
}

/// A table of every endpoint.
pub struct EndpointTable {
    table: &'static dyn Table,
    schema: SchemaRef,
}

impl EndpointTable {
    pub fn new(table: &'static dyn Table) -> EndpointTable {
        EndpointTable { table, schema: endpoint_schema(table) }
    }

    pub fn table(&self) -> &'static dyn Table {
        self.table
    }

    fn scan_of(
        &self,
        columns: Vec<String>,
        pushed: Pushed,
        limit: Option<usize>,
        scanning: &Scanning,
        sets: &Sets,
    ) -> Scan {
        let Pushed { rows, mut agents } = pushed;
        if scanning.online_only {
            agents.push(Filter::test("status", Is::Equal(Value::Text("online".into()))));
        }
        let filter = all_of(rows);
        Scan {
            table: self.table.info().name.to_owned(),
            target: all_of(agents),
            columns,
            sets: sets_of(filter.as_ref(), sets),
            filter,
            limit: limit.and_then(|limit| u64::try_from(limit).ok()),
            options: options_of(self.table, scanning.options),
            ..Scan::default()
        }
    }

    /// The filters that were taken, lowered; `None` where no row can pass them.
    ///
    /// DataFusion goes on simplifying a filter after it was taken, by what it knows of the table: `host IS NULL`, which comes
    /// from above a union or an outer join, is no test of a column any more but `false`.
    fn pushed(&self, filters: &[Expr]) -> Result<Option<Pushed>, Error> {
        let mut pushed = Pushed::default();
        for filter in filters {
            match (filter, lower(filter, self.table)) {
                (_, Some(Lowered::Filter(filter))) => pushed.rows.push(filter),
                (_, Some(Lowered::Target(filter))) => pushed.agents.push(filter),
                (Expr::Literal(ScalarValue::Boolean(Some(true)), _), None) => {}
                (Expr::Literal(ScalarValue::Boolean(_) | ScalarValue::Null, _), None) => return Ok(None),
                (filter, None) => {
                    let table = self.table.info().name;
                    return Err(Error::internal(format!("`{filter}` cannot be asked of `{table}` as it was planned"))
                        .hint(format!(
                            "write the condition above a LIMIT: FROM (SELECT … FROM {table} LIMIT …) WHERE …"
                        )));
                }
            }
        }
        Ok(Some(pushed))
    }

    /// A test of content that was not taken, since endpoints cannot decide all that it stands in an OR with.
    fn content_is_left(&self, column: &str, statement: &str) -> Error {
        Error::usage(format!(
            "`{column}` is searched on the endpoint, which does not know what this condition has beside it"
        ))
        .hint(format!(
            "join the test of {column} with AND, or write a SELECT for each side of the OR, with UNION between them"
        ))
        .at(locate(statement, column))
    }

    fn check_bound(&self, scan: &Scan, sets: &Sets, statement: &str) -> Result<(), Error> {
        let Some(required) = self.table.info().bound else { return Ok(()) };
        let Some(missing) = bound::missing(scan.filter.as_ref(), &required.keys, &scan.sets) else { return Ok(()) };
        let (table, columns) = (self.table.info().name, required.keys.columns());
        let too_long = |long: &&TooLong| long.table == table && columns.contains(&long.column.as_str());
        if let Some(long) = sets.too_long.iter().find(too_long) {
            let column = &long.column;
            return Err(Error::usage(format!(
                "the {} values of {} are too many to send, so `{column}` of `{table}` has no bound",
                long.values, long.source
            ))
            .hint(format!("bound `{column}` with UNDER as well, or take fewer values at a time")));
        }
        if let Some(told) =
            sets.not_told.iter().find(|told| told.table == table && columns.contains(&told.column.as_str()))
        {
            return Err(told.refusal().at(locate(statement, table)));
        }
        let error =
            Error::usage(format!("`{table}` has to be told {}: a bound on {missing} is missing", required.about));
        let bounds = format!("bound {missing} with {}, as in:", self.operators(&required.keys));
        // Beside a key that the statement has, the example's own would ask for nothing.
        let has_none =
            columns.iter().all(|column| bound::roots_with(scan.filter.as_ref(), column, &scan.sets).is_none());
        let corrected = has_none.then(|| corrected::with_bound(statement, table, required.example)).flatten();
        Err(match corrected {
            Some((span, corrected)) => error.hint(format!("{bounds} {corrected}")).at(Some(span)),
            None => error.hint(format!("{bounds} {}", self.table.info().example)).at(locate(statement, table)),
        })
    }

    /// How these keys can be bounded.
    fn operators(&self, keys: &Keys) -> &'static str {
        let is_path = |name: &str| self.table.column(name).is_some_and(|column| column.form == Form::Path);
        match keys {
            _ if keys.columns().into_iter().any(is_path) => "=, IN, UNDER, LIKE 'prefix%' or ~ '^prefix'",
            Keys::All(parts) if parts.iter().any(|part| matches!(part, Keys::Values(_))) => "= or IN",
            _ => "=, IN, LIKE 'prefix%' or ~ '^prefix'",
        }
    }
}

/// The target that a statement's own predicates give a scan.
pub(crate) fn target_of(filters: &[Expr], table: &dyn Table) -> Target {
    let agents = filters.iter().filter_map(|filter| match lower(filter, table) {
        Some(Lowered::Target(filter)) => Some(filter),
        _ => None,
    });
    all_of(agents.collect())
}

/// What a scan's filters were lowered to.
#[derive(Default)]
struct Pushed {
    rows: Vec<Filter>,
    agents: Vec<Filter>,
}

/// How files are read, for tables that look into files.
fn options_of(table: &dyn Table, options: Options) -> Options {
    let reads_files = table.columns().iter().any(|column| column.class == Class::Content);
    Options { decompress: options.decompress && reads_files, follow: options.follow && table.info().follows }
}

/// The sets that a filter names.
fn sets_of(filter: Option<&Filter>, sets: &Sets) -> BTreeMap<String, Vec<Value>> {
    let mut named = BTreeMap::new();
    if let Some(filter) = filter {
        filter.for_each_test(&mut |test| {
            if let Is::InSet(name) = &test.is
                && let Some(values) = sets.values.get(name)
            {
                named.insert(name.clone(), values.clone());
            }
        });
    }
    named
}

/// The conjunction of filters, as flat as it can be; `None` where there is none.
fn all_of(filters: Vec<Filter>) -> Option<Filter> {
    let mut parts = Vec::new();
    for filter in filters {
        match filter {
            Filter::All(inner) => parts.extend(inner),
            other => parts.push(other),
        }
    }
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(Filter::All(parts)),
    }
}

impl std::fmt::Debug for EndpointTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointTable").field("table", &self.table.info().name).finish()
    }
}

#[async_trait]
impl TableProvider for EndpointTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match lower(filter, self.table) {
                Some(_) => TableProviderFilterPushDown::Exact,
                None => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scanning = session.config().get_extension::<Scanning>().unwrap_or_default();
        let schema: SchemaRef = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => self.schema.clone(),
        };
        let columns = own_columns(&schema);
        for column in columns.iter().filter_map(|name| self.table.column(name)) {
            if column.class == Class::Content {
                return Err(self.content_is_left(column.name, &scanning.statement).into());
            }
        }
        let Some(pushed) = self.pushed(filters)? else { return Ok(Arc::new(EmptyExec::new(schema))) };
        let sets = session.config().get_extension::<Sets>().unwrap_or_default();
        let scan = self.scan_of(columns, pushed, limit, &scanning, &sets);
        // What was bound as it would not be today was asked all the same.
        if !scanning.past {
            self.check_bound(&scan, &sets, &scanning.statement)?;
        }
        Ok(Arc::new(FleetExec::new(self.table, scan, schema)))
    }
}

/// The columns of an endpoint table's schema that the endpoint answers; `host` and `agent` are the desk's.
pub(crate) fn own_columns(schema: &Schema) -> Vec<String> {
    let names = schema.fields().iter().map(|field| field.name());
    names.filter(|name| *name != HOST && *name != AGENT).cloned().collect()
}
