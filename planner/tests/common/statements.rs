//! Random statements of every form that the grammar has, in our dialect and in DuckDB's (see [`super::dice::both`]).

mod values;

use super::dice::{Dice, both};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    Float,
    Truth,
    Time,
    Digits,
}

use Kind::{Digits, Float, Integer, Text, Time, Truth};

/// The tables, and the columns that statements name.
pub const TABLES: &[(&str, &[(&str, Kind)])] = &[
    (
        "samples",
        &[
            ("host", Text),
            ("id", Integer),
            ("t", Text),
            ("n", Integer),
            ("m", Integer),
            ("f", Float),
            ("b", Truth),
            ("at", Time),
            ("h", Digits),
        ],
    ),
    (
        "users",
        &[
            ("host", Text),
            ("name", Text),
            ("uid", Integer),
            ("gid", Integer),
            ("full_name", Text),
            ("home", Text),
            ("shell", Text),
        ],
    ),
    ("groups", &[("host", Text), ("name", Text), ("gid", Integer)]),
    (
        "processes",
        &[
            ("host", Text),
            ("pid", Integer),
            ("parent_pid", Integer),
            ("name", Text),
            ("uid", Integer),
            ("threads", Integer),
        ],
    ),
];

/// Something with columns that a FROM clause names.
#[derive(Clone)]
pub struct Relation {
    pub alias: String,
    pub columns: Vec<(String, Kind)>,
    /// It is an endpoint table by itself, which has an `agent`.
    pub endpoint: bool,
}

impl Relation {
    fn of(&self, dice: &mut Dice, kind: Kind) -> Option<String> {
        let fitting: Vec<&String> =
            self.columns.iter().filter(|(_, other)| *other == kind).map(|(name, _)| name).collect();
        (!fitting.is_empty()).then(|| format!("{}.{}", self.alias, dice.pick(&fitting)))
    }
}

/// A statement, and whether the order of its rows is told whole.
pub struct Statement {
    pub text: String,
    pub ordered: bool,
}

/// Sub-queries nest less deep than this.
const DEEP: usize = 2;

/// Makes statements.
pub struct Maker<'a> {
    pub dice: &'a mut Dice,
    /// Names that WITH gave.
    with: Vec<Relation>,
    aliases: usize,
    /// Sub-queries within each other.
    deep: usize,
}

impl Maker<'_> {
    pub fn new(dice: &mut Dice) -> Maker<'_> {
        Maker { dice, with: Vec::new(), aliases: 0, deep: 0 }
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("r{}", self.aliases)
    }

    /// A whole statement.
    pub fn statement(&mut self) -> Statement {
        let mut with = String::new();
        if self.dice.once_in(5) {
            let (name, kinds) = (self.alias(), self.kinds());
            let names = ["a", "b", "c", "d"];
            let body = self.select(&kinds, &names[..kinds.len()]);
            with = format!("WITH {name} AS ({body}) ");
            let columns = names.iter().map(ToString::to_string).zip(kinds).collect();
            self.with.push(Relation { alias: name, columns, endpoint: false });
        } else if self.dice.once_in(12) {
            with = "WITH RECURSIVE tree AS (SELECT host, pid, 0 AS depth FROM processes WHERE parent_pid = 0 \
                    UNION ALL SELECT p.host, p.pid, tree.depth + 1 FROM processes p JOIN tree \
                    ON p.parent_pid = tree.pid AND p.host = tree.host AND tree.depth < 9) "
                .to_owned();
            let columns = [("host", Text), ("pid", Integer), ("depth", Integer)];
            let columns = columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
            self.with.push(Relation { alias: "tree".to_owned(), columns, endpoint: false });
        }
        let kinds = self.kinds();
        let names = ["w", "x", "y", "z"];
        let mut body = self.select(&kinds, &names[..kinds.len()]);
        if self.dice.once_in(5) {
            let operator = *self.dice.pick(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]);
            let other = self.select(&kinds, &names[..kinds.len()]);
            body = format!("{body} {operator} {other}");
        }
        let mut ordered = false;
        let mut end = String::new();
        if self.dice.once_in(2) {
            let orders = (1..=kinds.len()).map(|at| {
                let nulls = self.dice.pick(&["", " NULLS FIRST", " NULLS LAST"]);
                format!("{at}{}{nulls}", self.dice.pick(&["", " DESC"]))
            });
            end = format!(" ORDER BY {}", orders.collect::<Vec<_>>().join(", "));
            ordered = true;
            if self.dice.once_in(2) {
                end += &format!(" LIMIT {}", self.dice.between(0, 8));
                if self.dice.once_in(3) {
                    end += &format!(" OFFSET {}", self.dice.between(0, 3));
                }
            }
        }
        Statement { text: format!("{with}{body}{end}"), ordered }
    }

    /// FROM and the relations in it, and a predicate over them, for what is only counted.
    pub fn rows(&mut self) -> (String, String, String) {
        let (from, relations) = self.from();
        let mut columns = Vec::new();
        for relation in &relations {
            columns.push(format!("{}.{}", relation.alias, relation.columns[0].0));
            columns.extend(relation.of(self.dice, Integer));
        }
        let columns = columns.iter().enumerate().map(|(at, column)| format!("{column} AS c{at}"));
        (columns.collect::<Vec<_>>().join(", "), from, self.predicate(&relations, 3))
    }

    fn kinds(&mut self) -> Vec<Kind> {
        let count = self.dice.between(1, 3);
        (0..count).map(|_| *self.dice.pick(&[Text, Text, Integer, Integer, Integer, Float, Truth])).collect()
    }

    /// A SELECT whose columns have these kinds and names.
    fn select(&mut self, kinds: &[Kind], names: &[&str]) -> String {
        let (from, relations) = self.from();
        let mut condition = self.predicate(&relations, 3);
        let endpoints: Vec<&Relation> = relations.iter().filter(|relation| relation.endpoint).collect();
        if !endpoints.is_empty() && self.dice.once_in(6) && !from.contains(" JOIN ") {
            let test =
                *self.dice.pick(&[".os = 'linux'", ".tags['team'] = 'data'", ".arch <> 'x86_64'", ".name LIKE '%-1'"]);
            let each = endpoints.iter().map(|endpoint| format!("{}.agent{test}", endpoint.alias)).collect::<Vec<_>>();
            condition =
                format!("({condition}) AND {}", both(&format!("agent{test}"), &format!("({})", each.join(" AND "))));
        }
        let filtered = if self.dice.once_in(4) { String::new() } else { format!(" WHERE {condition}") };
        let named = |items: Vec<String>| {
            items.iter().zip(names).map(|(item, name)| format!("{item} AS {name}")).collect::<Vec<_>>().join(", ")
        };
        match self.dice.roll(5) {
            0 | 1 => {
                let items = kinds.iter().map(|kind| self.value(&relations, *kind, 2)).collect();
                let distinct = if self.dice.once_in(4) { "DISTINCT " } else { "" };
                format!("SELECT {distinct}{} FROM {from}{filtered}", named(items))
            }
            2 => {
                let items = kinds.iter().map(|kind| self.windowed(&relations, *kind)).collect();
                format!("SELECT {} FROM {from}{filtered}", named(items))
            }
            _ => self.grouped(kinds, &relations, &format!("{from}{filtered}"), &named),
        }
    }

    fn grouped(
        &mut self,
        kinds: &[Kind],
        relations: &[Relation],
        from: &str,
        named: &dyn Fn(Vec<String>) -> String,
    ) -> String {
        let keys = self.dice.between(0, 2).min(kinds.len() - 1);
        let mut items: Vec<String> = kinds[..keys].iter().map(|kind| self.value(relations, *kind, 1)).collect();
        // A constant is no key: DuckDB takes a number for a position.
        items.iter_mut().for_each(|item| {
            if !item.contains('r') {
                *item = format!("coalesce({item}, {item})");
            }
        });
        items.dedup();
        let keys = items.len();
        let grouping = items.clone();
        items.extend(kinds[keys..].iter().map(|kind| self.aggregate(relations, *kind)));
        let list = grouping.join(", ");
        let group_by = match (keys, self.dice.roll(8)) {
            (0, _) => String::new(),
            (_, 0) => format!(" GROUP BY ROLLUP ({list})"),
            (_, 1) => format!(" GROUP BY CUBE ({list})"),
            (_, 2) => format!(" GROUP BY {}", both(&format!("{list} WITH ROLLUP"), &format!("ROLLUP ({list})"))),
            (_, 3) => format!(" GROUP BY GROUPING SETS (({list}), ())"),
            _ => format!(" GROUP BY {list}"),
        };
        let having = match self.dice.roll(5) {
            0 if keys > 0 => format!(" HAVING count(*) {} {}", self.dice.pick(&[">", "<="]), self.dice.between(1, 4)),
            1 if keys > 0 => format!(" HAVING {} IS NOT NULL", self.aggregate(relations, Integer)),
            _ => String::new(),
        };
        format!("SELECT {} FROM {from}{group_by}{having}", named(items))
    }

    fn aggregate(&mut self, relations: &[Relation], kind: Kind) -> String {
        let before = std::mem::replace(&mut self.deep, DEEP);
        let aggregate = self.aggregated(relations, kind);
        self.deep = before;
        aggregate
    }

    fn aggregated(&mut self, relations: &[Relation], kind: Kind) -> String {
        let filter = if self.dice.once_in(5) {
            format!(" FILTER (WHERE {})", self.predicate(relations, 1))
        } else {
            String::new()
        };
        let call = match (kind, self.dice.roll(5)) {
            (Integer, 0) => "count(*)".to_owned(),
            (Integer, 1) => format!("count({})", self.value(relations, Text, 1)),
            (Integer, 2) => format!("count(DISTINCT {})", self.value(relations, Text, 1)),
            (Integer, 3) => format!("sum({})", self.value(relations, Integer, 1)),
            (Float, _) => format!("avg({})", self.value(relations, Integer, 1)),
            (Truth, at) => format!("{}({})", if at < 3 { "bool_and" } else { "bool_or" }, self.predicate(relations, 1)),
            (Text, 0) => {
                let text = self.value(relations, Text, 1);
                if text.contains('.') {
                    format!("string_agg({text}, ',' ORDER BY {text})")
                } else {
                    format!("min({text})")
                }
            }
            (kind, at) => {
                let value = self.value(relations, kind, 1);
                let order = if at == 4 && value.contains('.') {
                    both(&format!(" ORDER BY {value}"), "")
                } else {
                    String::new()
                };
                format!("{}({value}{order})", if at < 3 { "min" } else { "max" })
            }
        };
        format!("{call}{filter}")
    }

    fn windowed(&mut self, relations: &[Relation], kind: Kind) -> String {
        let key = *self.dice.pick(&[Text, Integer]);
        let partition = format!("PARTITION BY {}", self.value(relations, key, 1));
        let order =
            format!("ORDER BY {}{}", self.value(relations, Integer, 1), self.dice.pick(&["", " DESC", " NULLS FIRST"]));
        let over = match self.dice.roll(3) {
            0 => format!("OVER ({partition})"),
            1 => format!("OVER ({order})"),
            _ => format!("OVER ({partition} {order})"),
        };
        match (kind, self.dice.roll(4)) {
            (Integer, 0) if over.contains("ORDER") => format!("rank() {over}"),
            (Integer, 1) if over.contains("ORDER") => format!("dense_rank() {over}"),
            (Integer, 2) => format!("count(*) {over}"),
            (Integer, _) => format!("sum({}) {over}", self.value(relations, Integer, 1)),
            (Float, _) => format!("avg({}) OVER ({partition})", self.value(relations, Integer, 1)),
            (Text, at) => format!("{}({}) {over}", if at < 2 { "min" } else { "max" }, self.value(relations, Text, 1)),
            (other, _) => self.value(relations, other, 1),
        }
    }

    /// A FROM clause and what it names.
    fn from(&mut self) -> (String, Vec<Relation>) {
        let (mut text, first) = self.relation();
        let mut relations = vec![first];
        let more = if self.deep > 0 { self.dice.roll(2) } else { *self.dice.pick(&[0, 0, 1, 1, 2]) };
        for _ in 0..more {
            let (other, right) = self.relation();
            let left = relations.last().expect("there is one").clone();
            let shared = |relation: &Relation| relation.columns.iter().any(|(name, _)| name == "host");
            match self.dice.roll(9) {
                0 => {
                    text = format!("{text} CROSS JOIN {other}");
                    relations.push(right);
                }
                at @ (1 | 2) if relations.len() == 1 => {
                    let kind = if at == 1 { "SEMI" } else { "ANTI" };
                    let on = self.on(&left, &right);
                    text = format!(
                        "{text} {} {other} ON {on}",
                        both(&format!("LEFT {kind} JOIN"), &format!("{kind} JOIN"))
                    );
                    return (text, relations);
                }
                3 if relations.len() == 1 && shared(&left) && shared(&right) => {
                    text = format!(
                        "{text} {} {other} USING (host)",
                        self.dice.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
                    );
                    relations.push(right);
                }
                at => {
                    let kind = ["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"][at % 5];
                    let on = self.on(&left, &right);
                    text = format!("{text} {kind} {other} ON {on}");
                    relations.push(right);
                }
            }
        }
        (text, relations)
    }

    /// An equality of two columns at least, so that FULL JOIN can be done by all.
    fn on(&mut self, left: &Relation, right: &Relation) -> String {
        let kind = *self.dice.pick(&[Text, Text, Integer, Digits]);
        let equal = |dice: &mut Dice, kind| Some((left.of(dice, kind)?, right.of(dice, kind)?));
        let pair = equal(self.dice, kind).or_else(|| equal(self.dice, Text)).or_else(|| equal(self.dice, Integer));
        let Some((one, other)) = pair else { return "1 = 1".to_owned() };
        if self.dice.once_in(4)
            && let Some((a, b)) = equal(self.dice, Integer)
        {
            return format!("{one} = {other} AND {a} {} {b}", self.dice.pick(&["<", ">=", "<>"]));
        }
        format!("{one} = {other}")
    }

    fn relation(&mut self) -> (String, Relation) {
        let alias = self.alias();
        if !self.with.is_empty() && self.dice.once_in(2) {
            let known = self.dice.pick(&self.with).clone();
            return (format!("{} AS {alias}", known.alias), Relation { alias, ..known });
        }
        let (table, columns) = *self.dice.pick(TABLES);
        let columns: Vec<(String, Kind)> = columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        let relation = Relation { alias: alias.clone(), columns, endpoint: true };
        match self.dice.roll(12) {
            0 if self.deep < 1 => {
                self.deep += 1;
                let condition = self.predicate(std::slice::from_ref(&relation), 1);
                self.deep -= 1;
                let text = format!("(SELECT * FROM {table} AS {alias} WHERE {condition}) AS {alias}");
                // DuckDB's `*` has columns that ours has not; none of them is named.
                (text, Relation { endpoint: false, ..relation })
            }
            1 => {
                let values = (0..3).map(|at| format!("({at}, {})", self.literal(Text))).collect::<Vec<_>>().join(", ");
                let columns = vec![("k".to_owned(), Integer), ("v".to_owned(), Text)];
                (format!("(VALUES {values}) AS {alias} (k, v)"), Relation { alias, columns, endpoint: false })
            }
            2 if self.deep < 1 => {
                self.deep += 1;
                let one = format!(
                    "SELECT host, {} AS v, 7 AS c FROM {table} AS {alias}",
                    self.value(std::slice::from_ref(&relation), Integer, 1)
                );
                let two =
                    format!("SELECT {}, {}, {}", self.literal(Text), self.literal(Integer), self.literal(Integer));
                self.deep -= 1;
                let columns = vec![("host".to_owned(), Text), ("v".to_owned(), Integer), ("c".to_owned(), Integer)];
                let union = if self.dice.once_in(2) { format!(" UNION ALL {two}") } else { String::new() };
                (format!("({one}{union}) AS {alias}"), Relation { alias, columns, endpoint: false })
            }
            _ => (format!("{table} AS {alias}"), relation),
        }
    }
}

pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
