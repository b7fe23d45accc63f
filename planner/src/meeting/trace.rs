//! Hosts traced through a plan: which columns hold the host of which scan, and which of them are said to be the same.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::common::{Column, DFSchemaRef, JoinConstraint, NullEquality, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Join, JoinType, LogicalPlan, Operator, Subquery, TableScan};

use crate::catalog::{AGENT, HOST};
use crate::narrow::endpoint_table;
use crate::warning::Warning;

/// Something that has a host: a scan of an endpoint table, or a column of something else that may be compared with one.
type Node = usize;

/// What was found in a plan.
#[derive(Default)]
pub struct Traced {
    pub hosts: Hosts,
    pub meetings: Vec<Meeting>,
    /// What the scans are called, by their nodes.
    names: HashMap<Node, String>,
    /// What a recursive query calls itself, and what it begins with.
    begun: HashMap<String, Side>,
}

/// Which nodes have the same host.
#[derive(Default)]
pub struct Hosts {
    parents: Vec<Node>,
    /// Nodes that a constant names the host of.
    single: Vec<Node>,
    /// Nodes whose hosts are compared, so that they may differ.
    different: Vec<(Node, Node)>,
}

impl Hosts {
    fn add(&mut self) -> Node {
        self.parents.push(self.parents.len());
        self.parents.len() - 1
    }

    fn find(&self, mut node: Node) -> Node {
        while self.parents[node] != node {
            node = self.parents[node];
        }
        node
    }

    fn equate(&mut self, one: Node, other: Node) {
        let (one, other) = (self.find(one), self.find(other));
        self.parents[one] = other;
    }

    /// Whether rows of two scans may be of different hosts, and nothing says so.
    pub fn may_differ(&self, one: Node, other: Node) -> bool {
        let (a, b) = (self.find(one), self.find(other));
        let said = self.different.iter().map(|(x, y)| (self.find(*x), self.find(*y)));
        a != b
            && !self.single.iter().any(|node| [a, b].contains(&self.find(*node)))
            && !said.into_iter().any(|(x, y)| (x, y) == (a, b) || (x, y) == (b, a))
    }
}

/// A place where rows of two sides meet.
pub struct Meeting {
    left: Side,
    right: Side,
    how: How,
}

enum How {
    /// JOIN … ON.
    On,
    /// JOIN … USING these.
    Using(Vec<String>),
    /// Nothing stands there: a comma, or ON true.
    Nothing,
    /// IN, EXISTS or a sub-query that uses columns from around it, which is on the right.
    Subquery,
}

/// A part of a plan.
#[derive(Clone)]
struct Side {
    /// The scans in it, without those whose hosts an aggregate counts or collects: whoever does so means all of them.
    scans: BTreeSet<Node>,
    /// For each column, whose host it holds.
    columns: Vec<Vec<Node>>,
    schema: DFSchemaRef,
}

impl Side {
    fn of(&self, column: &Column) -> &[Node] {
        let index = self.schema.maybe_index_of_column(column);
        index.and_then(|index| self.columns.get(index)).map_or(&[], Vec::as_slice)
    }

    /// How a column that holds the host of a scan is spelled here.
    fn spelled(&self, node: Node) -> Option<String> {
        let holds = |index: &usize| self.columns[*index].contains(&node) && self.schema.field(*index).name() != AGENT;
        let index = (0..self.columns.len()).find(holds)?;
        let (relation, field) = self.schema.qualified_field(index);
        relation.map(|relation| format!("{}.{}", relation.table(), field.name()))
    }
}

impl Meeting {
    /// Every scan of one side with every scan of the other.
    pub fn pairs(&self) -> impl Iterator<Item = (Node, Node)> {
        self.left.scans.iter().flat_map(|left| self.right.scans.iter().map(|right| (*left, *right)))
    }

    pub fn warning(&self, left: Node, right: Node, traced: &Traced) -> Warning {
        let name = |side: &Side, node: Node| {
            let spelled = side.spelled(node).and_then(|column| Some(column.rsplit_once('.')?.0.to_owned()));
            spelled.or_else(|| traced.names.get(&node).cloned()).unwrap_or_default()
        };
        let (one, other) = (name(&self.left, left), name(&self.right, right));
        let warning = Warning::new(format!(
            "rows of different hosts may meet: nothing says that `{one}` and `{other}` are of one host"
        ));
        let own = |node| traced.names.get(&node).map(|name| format!("{name}.{HOST}"));
        let columns = match self.how {
            // Within the sub-query its tables go by their own names.
            How::Subquery => self.left.spelled(left).zip(own(right)),
            _ => self.left.spelled(left).zip(self.right.spelled(right)),
        };
        let Some((here, there)) = columns else {
            let hidden = if self.left.spelled(left).is_none() { left } else { right };
            let column = own(hidden).unwrap_or_else(|| HOST.to_owned());
            return warning.hint(format!(
                "let the sub-query give {column} too, and compare it, or write CROSS JOIN where hosts may differ"
            ));
        };
        warning.hint(match &self.how {
            How::On => format!("add AND {here} = {there}"),
            How::Using(columns) => format!("write USING ({}, {HOST})", columns.join(", ")),
            How::Nothing => format!("add {here} = {there} to WHERE, or write CROSS JOIN where hosts may differ"),
            How::Subquery => format!("add {there} = {here} to the sub-query's WHERE"),
        })
    }
}

/// Traces hosts through a plan that was not optimised.
pub fn trace(plan: &LogicalPlan, crossed: &BTreeSet<String>) -> Result<Traced> {
    let mut tracer = Tracer { traced: Traced::default(), crossed, around: Vec::new() };
    tracer.plan(plan)?;
    Ok(tracer.traced)
}

struct Tracer<'a> {
    traced: Traced,
    crossed: &'a BTreeSet<String>,
    /// What sub-queries can refer to, outermost first.
    around: Vec<Side>,
}

impl Tracer<'_> {
    fn plan(&mut self, plan: &LogicalPlan) -> Result<Side> {
        let schema = plan.schema().clone();
        Ok(match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Join(join) => return self.join(join),
            LogicalPlan::Subquery(subquery) => return self.plan(&subquery.subquery),
            LogicalPlan::SubqueryAlias(alias) => {
                let side = self.plan(&alias.input)?;
                if let LogicalPlan::TableScan(_) = alias.input.as_ref() {
                    for scan in &side.scans {
                        self.traced.names.insert(*scan, alias.alias.table().to_owned());
                    }
                }
                Side { schema, ..side }
            }
            LogicalPlan::Filter(filter) => {
                let side = self.plan(&filter.input)?;
                self.condition(&filter.predicate, &side)?;
                side
            }
            LogicalPlan::Projection(projection) => {
                let side = self.plan(&projection.input)?;
                self.subqueries(&projection.expr, &side)?;
                let columns = projection.expr.iter().map(|expr| self.nodes(expr, &side)).collect();
                Side { scans: side.scans, columns, schema }
            }
            LogicalPlan::Aggregate(aggregate) => {
                let mut side = self.plan(&aggregate.input)?;
                self.subqueries(&aggregate.aggr_expr, &side)?;
                let counted = aggregate.aggr_expr.iter().flat_map(Expr::column_refs).flat_map(|column| side.of(column));
                let counted: BTreeSet<Node> = counted.copied().collect();
                side.scans.retain(|scan| !counted.contains(scan));
                let groups = match aggregate.group_expr.as_slice() {
                    [Expr::GroupingSet(sets)] => sets.distinct_expr().into_iter().cloned().collect(),
                    plain => plain.to_vec(),
                };
                let mut columns: Vec<Vec<Node>> = groups.iter().map(|expr| self.nodes(expr, &side)).collect();
                columns.resize(schema.fields().len(), Vec::new());
                Side { scans: side.scans, columns, schema }
            }
            LogicalPlan::Window(window) => {
                let mut side = self.plan(&window.input)?;
                side.columns.resize(schema.fields().len(), Vec::new());
                Side { schema, ..side }
            }
            LogicalPlan::RecursiveQuery(query) => {
                let begun = self.plan(&query.static_term)?;
                self.traced.begun.insert(query.name.clone(), begun.clone());
                let goes_on = self.plan(&query.recursive_term)?;
                joined(vec![begun, goes_on], schema)
            }
            other => {
                let sides = other.inputs().into_iter().map(|input| self.plan(input)).collect::<Result<Vec<_>>>()?;
                self.subqueries(&other.expressions(), &joined(sides.clone(), schema.clone()))?;
                joined(sides, schema)
            }
        })
    }

    fn scan(&mut self, scan: &TableScan) -> Side {
        let (name, schema) = (scan.table_name.table(), scan.projected_schema.clone());
        if let Some(begun) = self.traced.begun.get(name) {
            return Side { schema, ..begun.clone() };
        }
        let fields = schema.fields().len();
        if endpoint_table(scan).is_none() {
            let columns = (0..fields).map(|_| vec![self.traced.hosts.add()]).collect();
            return Side { scans: BTreeSet::new(), columns, schema };
        }
        let node = self.traced.hosts.add();
        self.traced.names.insert(node, name.to_owned());
        let is_host = |index: usize| matches!(schema.field(index).name().as_str(), HOST | AGENT);
        let columns = (0..fields).map(|index| if is_host(index) { vec![node] } else { Vec::new() }).collect();
        Side { scans: [node].into(), columns, schema }
    }

    fn join(&mut self, join: &Join) -> Result<Side> {
        let left = self.plan(&join.left)?;
        // LATERAL: what stands right may refer to what stands left.
        self.around.push(left.clone());
        let right = self.plan(&join.right)?;
        self.around.pop();
        let mut columns = left.columns.clone();
        columns.extend(right.columns.iter().cloned());
        let schema = left.schema.join(&right.schema).map_or_else(|_| join.schema.clone(), Arc::new);
        let both = Side { scans: left.scans.union(&right.scans).copied().collect(), columns, schema };
        for (one, other) in &join.on {
            let (one, other) = (self.nodes(one, &both), self.nodes(other, &both));
            self.equate(&one, &other);
        }
        if let Some(filter) = &join.filter {
            self.condition(filter, &both)?;
        }
        let bare = join.on.is_empty() && join.filter.is_none();
        let how = match join.join_constraint {
            _ if bare => How::Nothing,
            JoinConstraint::Using => How::Using(join.on.iter().map(|(key, _)| name_of(key)).collect()),
            JoinConstraint::On => How::On,
        };
        let named = right.schema.iter().filter_map(|(relation, _)| relation);
        // EXCEPT and INTERSECT compare whole rows, of whatever host.
        let compares = join.null_equality == NullEquality::NullEqualsNull
            && matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti);
        let crosses = compares || bare && named.into_iter().any(|relation| self.crossed.contains(relation.table()));
        if !crosses {
            self.traced.meetings.push(Meeting { left: left.clone(), right: right.clone(), how });
        }
        let columns = match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => left.columns,
            JoinType::RightSemi | JoinType::RightAnti => right.columns,
            _ => both.columns,
        };
        let mut side = Side { scans: both.scans, columns, schema: join.schema.clone() };
        side.columns.resize(join.schema.fields().len(), Vec::new());
        Ok(side)
    }

    /// Takes from a condition what it says of hosts.
    fn condition(&mut self, condition: &Expr, side: &Side) -> Result<()> {
        for part in split_conjunction(condition) {
            match part {
                Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.comparison(left, *op, right, side),
                Expr::InList(list) if !list.negated && list.list.len() == 1 => {
                    self.comparison(&list.expr, Operator::Eq, &list.list[0], side);
                }
                Expr::Not(inner) => {
                    if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = inner.as_ref() {
                        self.comparison(left, Operator::NotEq, right, side);
                    }
                }
                _ => {}
            }
        }
        self.subqueries(std::slice::from_ref(condition), side)
    }

    fn comparison(&mut self, left: &Expr, op: Operator, right: &Expr, side: &Side) {
        let (one, other) = (self.nodes(left, side), self.nodes(right, side));
        let equal = matches!(op, Operator::Eq | Operator::IsNotDistinctFrom);
        let hosts = &mut self.traced.hosts;
        match (one.is_empty(), other.is_empty()) {
            (false, true) if equal && matches!(right, Expr::Literal(..)) => hosts.single.extend(one),
            (true, false) if equal && matches!(left, Expr::Literal(..)) => hosts.single.extend(other),
            (false, false) if equal => self.equate(&one, &other),
            (false, false) if is_comparison(op) => {
                hosts.different.extend(one.iter().flat_map(|a| other.iter().map(|b| (*a, *b))));
            }
            _ => {}
        }
    }

    fn equate(&mut self, one: &[Node], other: &[Node]) {
        for a in one {
            for b in other {
                self.traced.hosts.equate(*a, *b);
            }
        }
    }

    /// Meets what expressions hold sub-queries of.
    fn subqueries(&mut self, expressions: &[Expr], side: &Side) -> Result<()> {
        use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
        let mut found: Vec<Expr> = Vec::new();
        for expr in expressions {
            expr.apply(|part| {
                if matches!(
                    part,
                    Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)
                ) {
                    found.push(part.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        for part in found {
            let (subquery, compared): (&Subquery, Option<&Expr>) = match &part {
                Expr::InSubquery(test) => (&test.subquery, Some(&test.expr)),
                Expr::SetComparison(test) => (&test.subquery, Some(&test.expr)),
                Expr::Exists(exists) => (&exists.subquery, None),
                Expr::ScalarSubquery(subquery) => (subquery, None),
                _ => continue,
            };
            self.around.push(side.clone());
            let inner = self.plan(&subquery.subquery);
            self.around.pop();
            let inner = inner?;
            if let (Some(compared), Some(first)) = (compared, inner.columns.first()) {
                let (one, other) = (self.nodes(compared, side), first.clone());
                self.equate(&one, &other);
            }
            // What a sub-query gives that uses nothing from around it is of the whole fleet, and one value.
            if compared.is_some() || !subquery.outer_ref_columns.is_empty() {
                self.traced.meetings.push(Meeting { left: side.clone(), right: inner, how: How::Subquery });
            }
        }
        Ok(())
    }

    /// Whose host an expression is.
    fn nodes(&self, expr: &Expr, side: &Side) -> Vec<Node> {
        match expr {
            Expr::Column(column) => side.of(column).to_vec(),
            Expr::OuterReferenceColumn(_, column) => {
                let around = self.around.iter().rev();
                let mut found = around.filter(|side| side.schema.maybe_index_of_column(column).is_some());
                found.next().map(|side| side.of(column).to_vec()).unwrap_or_default()
            }
            Expr::Alias(alias) => self.nodes(&alias.expr, side),
            Expr::Cast(cast) => self.nodes(&cast.expr, side),
            Expr::ScalarFunction(call) if keeps_host(call) => {
                call.args.first().map(|subject| self.nodes(subject, side)).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }
}

/// Whether a function of a host or an agent still tells hosts apart.
fn keeps_host(call: &ScalarFunction) -> bool {
    let field = match call.args.get(1) {
        Some(Expr::Literal(ScalarValue::Utf8(Some(name)), _)) => name.as_str(),
        _ => "",
    };
    match call.func.name() {
        "get_field" => matches!(field, "id" | "name"),
        "lower" | "upper" | "trim" | "btrim" => true,
        _ => false,
    }
}

fn name_of(key: &Expr) -> String {
    match key {
        Expr::Column(column) => column.name.clone(),
        other => other.human_display().to_string(),
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Gt, GtEq, IsDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, NotEq | IsDistinctFrom | Lt | LtEq | Gt | GtEq)
}

/// Inputs whose rows stand one below the other, or one input as it is.
fn joined(sides: Vec<Side>, schema: DFSchemaRef) -> Side {
    let fields = schema.fields().len();
    let mut whole = Side { scans: BTreeSet::new(), columns: vec![Vec::new(); fields], schema };
    for side in sides {
        whole.scans.extend(&side.scans);
        for (index, all) in whole.columns.iter_mut().enumerate() {
            // Where a step adds columns, as UNNEST does, they are found by name.
            let same = side.columns.len() == fields;
            let name = whole.schema.field(index).name();
            let from =
                if same { Some(index) } else { side.schema.fields().iter().position(|field| field.name() == name) };
            all.extend(from.and_then(|from| side.columns.get(from)).into_iter().flatten());
        }
    }
    whole
}
