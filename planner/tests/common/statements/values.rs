//! Values and predicates of the statements that are made up.

use super::super::dice::both;
use super::super::samples::{DIGITS, TEXTS, TIMES};
use super::Kind::{self, Digits, Float, Integer, Text, Time, Truth};
use super::{DEEP, Maker, Relation, quoted};

impl Maker<'_> {
    pub(super) fn column(&mut self, relations: &[Relation], kind: Kind) -> Option<String> {
        let start = self.dice.roll(relations.len());
        (0..relations.len()).find_map(|at| relations[(start + at) % relations.len()].of(self.dice, kind))
    }

    pub(super) fn literal(&mut self, kind: Kind) -> String {
        match kind {
            Text => quoted(self.dice.pick::<&str>(TEXTS)),
            Integer => self.dice.pick(&["-1", "0", "1", "2", "3", "27", "1000"]).to_string(),
            Float => self.dice.pick(&["-1.5", "0.0", "0.5", "2.25"]).to_string(),
            Truth => self.dice.pick(&["true", "false"]).to_string(),
            Time => {
                let time = self.dice.pick(TIMES).1;
                both(&quoted(time), &format!("TIMESTAMP {}", quoted(time.trim_end_matches('Z'))))
            }
            Digits => {
                let digits = *self.dice.pick(DIGITS);
                let typed = if self.dice.once_in(2) { digits.to_uppercase() } else { digits.to_owned() };
                both(&quoted(&typed), &quoted(digits))
            }
        }
    }

    /// A value of a kind; sub-queries in one are rare, since DataFusion decides them in WHERE alone.
    pub(super) fn value(&mut self, relations: &[Relation], kind: Kind, deep: usize) -> String {
        let before = self.deep;
        if !self.dice.once_in(50) {
            self.deep = DEEP;
        }
        let value = self.computed(relations, kind, deep);
        self.deep = before;
        value
    }

    pub(super) fn computed(&mut self, relations: &[Relation], kind: Kind, deep: usize) -> String {
        let plain = self.column(relations, kind);
        if deep == 0 || self.dice.once_in(2) {
            return plain.unwrap_or_else(|| self.literal(kind));
        }
        let deep = deep - 1;
        match (kind, self.dice.roll(7)) {
            (Truth, _) => format!("({})", self.predicate(relations, deep)),
            (kind @ (Text | Integer | Float), 0) => {
                let (then, other) = (self.value(relations, kind, deep), self.value(relations, kind, deep));
                format!("CASE WHEN {} THEN {then} ELSE {other} END", self.predicate(relations, deep))
            }
            (kind @ (Text | Integer), 1) => {
                let (subject, when) = (self.value(relations, kind, deep), self.literal(kind));
                format!("CASE {subject} WHEN {when} THEN {} END", self.value(relations, kind, deep))
            }
            (kind @ (Text | Integer | Float), 2) => {
                format!("coalesce({}, {})", self.value(relations, kind, deep), self.literal(kind))
            }
            (kind @ (Text | Integer), 3) => {
                format!("nullif({}, {})", self.value(relations, kind, deep), self.literal(kind))
            }
            (Integer, 4) => format!("({} + {})", self.value(relations, kind, deep), self.value(relations, kind, deep)),
            (Integer, 5) => format!("({} % 3)", self.value(relations, kind, deep)),
            (Integer, _) => format!("length({})", self.value(relations, Text, deep)),
            (Float, _) => format!("({} * 2.0)", plain.unwrap_or_else(|| "1.5".to_owned())),
            (Text, 4) => format!("({} || {})", self.value(relations, kind, deep), self.value(relations, kind, deep)),
            (Text, _) => format!("{}({})", self.dice.pick(&["lower", "upper"]), self.value(relations, kind, deep)),
            (kind, _) => plain.unwrap_or_else(|| self.literal(kind)),
        }
    }

    /// A predicate over relations.
    pub fn predicate(&mut self, relations: &[Relation], deep: usize) -> String {
        if deep > 0 && !self.dice.once_in(3) {
            let one = self.predicate(relations, deep - 1);
            return match self.dice.roll(6) {
                0 | 1 => format!("({one} AND {})", self.predicate(relations, deep - 1)),
                2 | 3 => format!("({one} OR {})", self.predicate(relations, deep - 1)),
                4 => format!("NOT ({one})"),
                _ => format!("({one}) IS {}TRUE", self.dice.pick(&["", "NOT "])),
            };
        }
        self.test(relations, deep)
    }

    pub(super) fn test(&mut self, relations: &[Relation], deep: usize) -> String {
        let kind = *self.dice.pick(&[Text, Text, Integer, Integer, Float, Truth, Time, Digits]);
        let Some(column) = self.column(relations, kind) else { return self.test_of(relations, "1", Integer) };
        if self.deep < DEEP && deep > 0 && matches!(kind, Text | Integer | Digits) && self.dice.once_in(3) {
            return self.subquery(relations, &column, kind);
        }
        if matches!(kind, Text | Integer) && self.dice.once_in(3) {
            let value = self.value(relations, kind, 1);
            return self.test_of(relations, &value, kind);
        }
        self.test_of(relations, &column, kind)
    }

    pub(super) fn test_of(&mut self, relations: &[Relation], subject: &str, kind: Kind) -> String {
        let not = *self.dice.pick(&["", "", "NOT "]);
        match (kind, self.dice.roll(12)) {
            (Truth, 0..=5) => format!("{not}{subject}"),
            (_, 0) => format!("{subject} IS {not}NULL"),
            (Text, 1) => {
                let pattern =
                    quoted(self.dice.pick::<&str>(&["", "%", "a%", "%o%", "_", "a\\_b", "%\\%%", "A%", "root"]));
                let like = *self.dice.pick(&["LIKE", "ILIKE"]);
                format!("{subject} {not}{like} {}", both(&pattern, &format!("{pattern} ESCAPE '\\'")))
            }
            (Text, 2) => {
                let pattern = quoted(self.dice.pick::<&str>(&["", "a", "^a", "o$", "^/etc", "[A-Z]", "^r.*t$"]));
                let ours = format!("{subject} {}~ {pattern}", if not.is_empty() { "" } else { "!" });
                both(&ours, &format!("{not}regexp_matches({subject}, {pattern})"))
            }
            (Text, 3) => {
                let theirs = format!("({subject} = '/etc' OR starts_with({subject}, '/etc/'))");
                both(&format!("{subject} {not}UNDER '/etc'"), &format!("{not}{theirs}"))
            }
            (Text, 4) => {
                // DuckDB's rows are values, of which a NULL inside makes no NULL.
                let (n, other) = (self.value(relations, Integer, 0), self.literal(Integer));
                let (one, two) = (self.literal(Text), self.literal(Text));
                both(
                    &format!("({subject}, {n}) {not}IN (({one}, {other}), ({two}, 0))"),
                    &format!("{not}(({subject} = {one} AND {n} = {other}) OR ({subject} = {two} AND {n} = 0))"),
                )
            }
            (Digits, 1) => format!("{subject} LIKE {}", both("'DE%'", "'de%'")),
            (_, 5 | 6) => {
                let mut values: Vec<String> = (0..self.dice.between(1, 4)).map(|_| self.literal(kind)).collect();
                if self.dice.once_in(4) {
                    values.push("NULL".to_owned());
                }
                format!("{subject} {not}IN ({})", values.join(", "))
            }
            (Text | Integer | Float | Time, 7) => {
                format!("{subject} {not}BETWEEN {} AND {}", self.literal(kind), self.literal(kind))
            }
            (_, 8) => format!("{subject} IS {not}DISTINCT FROM {}", self.literal(kind)),
            (Text | Integer | Float, 9) => {
                format!("{subject} {} {}", self.dice.pick(&["=", "<>", "<", ">="]), self.value(relations, kind, 0))
            }
            (Truth, _) => format!("{subject} = {}", self.literal(Truth)),
            _ => format!("{subject} {} {}", self.dice.pick(&["=", "<>", "<", "<=", ">", ">="]), self.literal(kind)),
        }
    }

    pub(super) fn subquery(&mut self, relations: &[Relation], column: &str, kind: Kind) -> String {
        self.deep += 1;
        let (from, inner) = self.relation();
        let inner = vec![inner];
        let text = match inner[0].of(self.dice, kind) {
            None => format!("{column} IS NOT NULL"),
            Some(value) => {
                let condition = self.predicate(&inner, 1);
                let outer = self.column(relations, Text).zip(inner[0].of(self.dice, Text));
                match (self.dice.roll(7), outer) {
                    (0, _) => format!("{column} IN (SELECT {value} FROM {from} WHERE {condition})"),
                    (1, _) => format!("{column} NOT IN (SELECT {value} FROM {from} WHERE {condition})"),
                    (2, _) => format!("{column} = ANY (SELECT {value} FROM {from} WHERE {condition})"),
                    (3, _) => format!("{column} <> ALL (SELECT {value} FROM {from} WHERE {condition})"),
                    (4, _) if kind != Digits => format!(
                        "{column} {} (SELECT max({value}) FROM {from} WHERE {condition})",
                        self.dice.pick(&["=", "<", ">="])
                    ),
                    (5, Some((outer, own))) => {
                        format!("NOT EXISTS (SELECT 1 FROM {from} WHERE {own} = {outer} AND {condition})")
                    }
                    (_, Some((outer, own))) => {
                        format!("EXISTS (SELECT 1 FROM {from} WHERE {own} = {outer} AND {condition})")
                    }
                    _ => format!("{column} IN (SELECT {value} FROM {from})"),
                }
            }
        };
        self.deep -= 1;
        text
    }
}
