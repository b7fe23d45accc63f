//! CREATE TABLE: what a table's columns are called and where their values lie, from the text that made it.

use super::record::Value;

/// The longest declaration that is read.
const SQL_BYTES_MAX: usize = 64 << 10;
/// Words that end a column's type.
const CONSTRAINTS: [&str; 12] = [
    "AS",
    "CHECK",
    "COLLATE",
    "CONSTRAINT",
    "DEFAULT",
    "GENERATED",
    "NOT",
    "NULL",
    "ON",
    "PRIMARY",
    "REFERENCES",
    "UNIQUE",
];
/// Words that begin what is no column.
const TABLE_CONSTRAINTS: [&str; 5] = ["CHECK", "CONSTRAINT", "FOREIGN", "PRIMARY", "UNIQUE"];

/// The columns of a table.
pub struct Schema {
    pub columns: Vec<Column>,
    /// How many values a whole row has.
    pub places: usize,
}

pub struct Column {
    pub name: String,
    /// Which of a row's values it is; columns that are computed when they are read have none.
    pub place: Option<usize>,
    /// Another name of the rowid.
    pub is_rowid: bool,
    pub is_real: bool,
    /// What rows have that were written before the column was added.
    pub default: DefaultValue,
}

#[derive(Debug, PartialEq)]
pub enum DefaultValue {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
}

impl DefaultValue {
    pub fn value(&self) -> Value<'_> {
        match self {
            DefaultValue::Null => Value::Null,
            DefaultValue::Integer(number) => Value::Integer(*number),
            DefaultValue::Real(number) => Value::Real(*number),
            DefaultValue::Text(text) => Value::Text(text.as_str().into()),
        }
    }
}

/// A piece of SQL.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// An unquoted name, keyword or number.
    Word(String),
    /// A name or text in quotes of any kind.
    Quoted(String),
    Mark(char),
}

impl Token {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn is_any(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(keyword))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            Token::Mark(_) => None,
        }
    }
}

/// Reads the declaration of a table whose rows lie in order of a rowid.
pub fn parse(sql: &str) -> Result<Schema, String> {
    if sql.len() > SQL_BYTES_MAX {
        return Err("a table's declaration is too long".to_owned());
    }
    let tokens = tokens(sql);
    let virtual_at = tokens.iter().take_while(|token| !token.is("TABLE")).any(|token| token.is("VIRTUAL"));
    if virtual_at {
        return Err("a virtual table, which has no rows of its own".to_owned());
    }
    let open = tokens.iter().position(|token| *token == Token::Mark('('));
    let body = open.and_then(|open| tokens.get(open + 1..)).ok_or("a table's declaration is malformed")?;
    let (parts, after) = definitions(body);
    if after.windows(2).any(|pair| matches!(pair, [one, two] if one.is("WITHOUT") && two.is("ROWID"))) {
        return Err("a table WITHOUT ROWID, which is not read".to_owned());
    }
    let mut schema = Schema { columns: Vec::new(), places: 0 };
    let mut integers = Vec::new();
    let mut key = None;
    for part in parts {
        if part.first().is_some_and(|first| first.is_any(&TABLE_CONSTRAINTS)) {
            key = key.or_else(|| primary_key(part));
            continue;
        }
        let (mut column, is_integer) = column(part).ok_or("a table's declaration is malformed")?;
        if is_computed(part) {
            column.place = None;
        } else {
            column.place = Some(schema.places);
            schema.places += 1;
        }
        integers.push(is_integer);
        schema.columns.push(column);
    }
    for (column, is_integer) in schema.columns.iter_mut().zip(integers) {
        column.is_rowid |= is_integer && key.as_deref().is_some_and(|key| key.eq_ignore_ascii_case(&column.name));
    }
    Ok(schema)
}

/// Splits what follows an opening parenthesis at its own commas, up to where it is closed; gives what comes after too.
fn definitions(body: &[Token]) -> (Vec<&[Token]>, &[Token]) {
    let mut parts = Vec::new();
    let (mut depth, mut begins) = (0u32, 0);
    for (at, token) in body.iter().enumerate() {
        match token {
            Token::Mark('(') => depth += 1,
            Token::Mark(')') if depth > 0 => depth -= 1,
            Token::Mark(')') => {
                parts.extend(body.get(begins..at));
                return (parts, body.get(at + 1..).unwrap_or_default());
            }
            Token::Mark(',') if depth == 0 => {
                parts.extend(body.get(begins..at));
                begins = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(body.get(begins..));
    (parts, &[])
}

/// The column of a table's own PRIMARY KEY, where it is only one.
fn primary_key(part: &[Token]) -> Option<String> {
    let at = part
        .windows(3)
        .position(|three| matches!(three, [one, two, Token::Mark('(')] if one.is("PRIMARY") && two.is("KEY")))?;
    match definitions(part.get(at + 3..)?).0.as_slice() {
        [[first, ..]] => first.name().map(str::to_owned),
        _ => None,
    }
}

/// Reads a column, and whether its type is exactly INTEGER, as that of another name for the rowid is.
fn column(part: &[Token]) -> Option<(Column, bool)> {
    let (name, rest) = part.split_first()?;
    let ends = rest.iter().position(|token| token.is_any(&CONSTRAINTS)).unwrap_or(rest.len());
    let (types, constraints) = rest.split_at_checked(ends)?;
    let types: Vec<String> = types.iter().filter_map(Token::name).map(str::to_ascii_uppercase).collect();
    let says = |words: &[&str]| types.iter().any(|kind| words.iter().any(|word| kind.contains(word)));
    let is_integer = matches!(types.as_slice(), [one] if one == "INTEGER");
    let is_key = constraints.windows(2).enumerate().any(|(at, pair)| {
        let descends = constraints.get(at + 2).is_some_and(|next| next.is("DESC"));
        matches!(pair, [one, two] if one.is("PRIMARY") && two.is("KEY")) && !descends
    });
    let is_real = says(&["REAL", "FLOA", "DOUB"]) && !says(&["INT", "CHAR", "CLOB", "TEXT", "BLOB"]);
    let default = constraints.iter().position(|token| token.is("DEFAULT")).and_then(|at| constraints.get(at + 1..));
    let column = Column {
        name: name.name()?.to_owned(),
        place: None,
        is_rowid: is_integer && is_key,
        is_real,
        default: default.map_or(DefaultValue::Null, literal),
    };
    Some((column, is_integer))
}

/// Whether a column is computed each time it is read, so that rows hold nothing of it.
fn is_computed(part: &[Token]) -> bool {
    let computed = part.windows(2).any(|pair| matches!(pair, [one, Token::Mark('(')] if one.is("AS")));
    computed && !part.last().is_some_and(|last| last.is("STORED"))
}

/// The value of a default that is a plain number or text; an expression's is unknown.
fn literal(tokens: &[Token]) -> DefaultValue {
    let (sign, tokens) = match tokens {
        [Token::Mark('-'), rest @ ..] => ("-", rest),
        [Token::Mark('+'), rest @ ..] => ("", rest),
        all => ("", all),
    };
    match tokens.first() {
        Some(Token::Quoted(text)) if sign.is_empty() => DefaultValue::Text(text.clone()),
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => DefaultValue::Integer(1),
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => DefaultValue::Integer(0),
        Some(Token::Word(word)) if word.starts_with(|first: char| first.is_ascii_digit() || first == '.') => {
            let number = format!("{sign}{word}");
            let real = || number.parse().map_or(DefaultValue::Null, DefaultValue::Real);
            number.parse().map_or_else(|_| real(), DefaultValue::Integer)
        }
        _ => DefaultValue::Null,
    }
}

/// Splits a declaration into pieces; comments are none.
fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '-' if after.starts_with('-') => rest.split_once('\n').map_or("", |(_, next)| next),
            '/' if after.starts_with('*') => after[1..].split_once("*/").map_or("", |(_, next)| next),
            '"' | '\'' | '`' | '[' => {
                let (text, next) = quoted(after, if first == '[' { ']' } else { first });
                tokens.push(Token::Quoted(text));
                next
            }
            _ if first.is_whitespace() => after,
            _ if is_wordy(first) => {
                let ends = rest.find(|next| !is_wordy(next)).unwrap_or(rest.len());
                let (word, next) = rest.split_at(ends);
                tokens.push(Token::Word(word.to_owned()));
                next
            }
            _ => {
                tokens.push(Token::Mark(first));
                after
            }
        };
    }
    tokens
}

/// What may be part of a name or a number.
fn is_wordy(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$' | '.') || !letter.is_ascii() && !letter.is_whitespace()
}

/// Reads up to the closing quote, which stands for itself where it is doubled.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut inner = String::new();
    let mut rest = text;
    while let Some((part, next)) = rest.split_once(quote) {
        inner.push_str(part);
        match next.strip_prefix(quote) {
            Some(after) if quote != ']' => {
                inner.push(quote);
                rest = after;
            }
            _ => return (inner, next),
        }
    }
    (inner + rest, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(sql: &str) -> Vec<String> {
        let show = |column: &Column| {
            let mut shown = column.name.clone();
            for (is, mark) in
                [(column.is_rowid, "=rowid"), (column.is_real, "=real"), (column.place.is_none(), "=computed")]
            {
                if is {
                    shown.push_str(mark);
                }
            }
            shown
        };
        parse(sql).map_or_else(|reason| vec![reason], |schema| schema.columns.iter().map(show).collect())
    }

    #[test]
    fn declarations() {
        let malformed = "a table's declaration is malformed";
        let cases: [(&str, &[&str]); 16] = [
            ("", &[malformed]),
            ("CREATE TABLE t", &[malformed]),
            ("CREATE TABLE t()", &[malformed]),
            ("CREATE TABLE t(a,,b)", &[malformed]),
            ("CREATE TABLE t(a INTEGER PRIMARY KEY, b", &["a=rowid", "b"]),
            ("CREATE TABLE t(a INTEGER PRIMARY KEY DESC, b REAL)", &["a", "b=real"]),
            ("CREATE TABLE t(a INT PRIMARY KEY, b DOUBLE PRECISION)", &["a", "b=real"]),
            ("CREATE TABLE t(a INTEGER, b, PRIMARY KEY(A DESC))", &["a=rowid", "b"]),
            ("CREATE TABLE t(a INTEGER, b INTEGER, PRIMARY KEY(a, b))", &["a", "b"]),
            ("CREATE TABLE t(a INTEGER, b, UNIQUE(b) CONSTRAINT k PRIMARY KEY('a'))", &["a=rowid", "b"]),
            (
                "CREATE TABLE \"a (b\"(\"c \"\"d\" TEXT, [e,f] DECIMAL(10, 2), `g` -- h, i\n, 'j' /* , k */)",
                &["c \"d", "e,f", "g", "j"],
            ),
            ("CREATE TABLE t(a CHECK (a IN (1, 2)), b DEFAULT (1 + 2), c FLOATING POINT)", &["a", "b", "c"]),
            ("CREATE TABLE t(a, b AS (a + 1), c GENERATED ALWAYS AS (a) STORED, d)", &["a", "b=computed", "c", "d"]),
            ("CREATE TABLE t(a PRIMARY KEY) WITHOUT ROWID", &["a table WITHOUT ROWID, which is not read"]),
            ("CREATE VIRTUAL TABLE t USING fts5(a)", &["a virtual table, which has no rows of its own"]),
            ("CREATE TABLE t(é TEXT, \"unclosed)", &["é", "unclosed)"]),
        ];
        for (sql, expected) in cases {
            assert_eq!(columns(sql), expected, "{sql}");
        }
    }

    #[test]
    fn defaults() {
        let sql =
            "CREATE TABLE t(a DEFAULT 5, b DEFAULT -1.5 NOT NULL, c DEFAULT 'it''s', d DEFAULT (1), e DEFAULT NULL, f)";
        let defaults: Vec<DefaultValue> =
            parse(sql).unwrap().columns.into_iter().map(|column| column.default).collect();
        let text = DefaultValue::Text("it's".to_owned());
        assert_eq!(
            defaults,
            [
                DefaultValue::Integer(5),
                DefaultValue::Real(-1.5),
                text,
                DefaultValue::Null,
                DefaultValue::Null,
                DefaultValue::Null
            ]
        );
    }
}
