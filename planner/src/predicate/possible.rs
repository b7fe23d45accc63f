//! Constants that a column can never hold: refused while the statement is planned, with the right spelling.
//!
//! A predicate with such a constant asks for nothing, and its empty answer looks like a clean fleet. Where a constant can
//! be read in more than one way, such as an address, it is written as the column writes it.

use std::net::{IpAddr, SocketAddr};

use canvass_protocol::filter::Place;
use canvass_tables::column::Form;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{Between, BinaryExpr, Case, Expr, Operator};

use super::globs;
use crate::error::{Error, closest, locate_constant};
use crate::form::{self, Marked};
use crate::functions;

/// Letters of a constant that a message shows.
const SHOWN_MAX: usize = 80;

/// What people call a value that goes by another name here.
const SYNONYMS: &[(&str, &str)] = &[
    ("regular", "file"),
    ("folder", "directory"),
    ("symlink", "link"),
    ("pipe", "fifo"),
    ("inet", "ipv4"),
    ("inet6", "ipv6"),
    ("close", "UNCONN"),
    ("closed", "UNCONN"),
    ("running", "R"),
    ("sleeping", "S"),
    ("zombie", "Z"),
    ("stopped", "T"),
    ("idle", "I"),
    ("dead", "X"),
];

/// What people call an operating system, and how its kernel names itself.
const SYSTEMS: &[(&str, &str)] = &[("macos", "darwin"), ("mac os", "darwin"), ("mac", "darwin"), ("osx", "darwin")];

/// Refuses constants that what stands beside them can never be, and writes addresses as columns write them.
pub fn check(expr: Expr, schema: &DFSchema, statement: &str) -> Result<Expr> {
    let judge = Judge { schema, statement };
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_judged(op) => {
            let right = judge.constant(&left, op, *right)?;
            let swapped = op.swap().unwrap_or(op);
            let left = judge.constant(&right, swapped, *left)?;
            Expr::BinaryExpr(BinaryExpr { left: left.into(), op, right: right.into() })
        }
        Expr::InList(InList { expr, list, negated }) => {
            let list = list.into_iter().map(|item| judge.constant(&expr, Operator::Eq, item));
            let list = list.collect::<Result<_>>()?;
            Expr::InList(InList { expr, list, negated })
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            judge.limit(&expr, &low)?;
            judge.limit(&expr, &high)?;
            Expr::Between(Between { expr, negated, low, high })
        }
        Expr::Case(Case { expr: Some(subject), when_then_expr, else_expr }) => {
            let branches = when_then_expr
                .into_iter()
                .map(|(when, then)| Ok((judge.constant(&subject, Operator::Eq, *when).map(Box::new)?, then)));
            Expr::Case(Case { when_then_expr: branches.collect::<Result<_>>()?, expr: Some(subject), else_expr })
        }
        Expr::Like(like) => {
            judge.like(&like)?;
            Expr::Like(like)
        }
        Expr::ScalarFunction(call) => {
            if call.func.name() == functions::UNDER
                && let [subject, Expr::Literal(ScalarValue::Utf8(Some(place)), _)] = call.args.as_slice()
            {
                judge.place(subject, place)?;
            }
            Expr::ScalarFunction(call)
        }
        other => other,
    })
}

/// The value of an enumeration that was meant, where that can be told.
pub fn meant<'a>(typed: &str, values: &[&'a str]) -> Option<&'a str> {
    let small = typed.trim().to_lowercase();
    let find = |wanted: &dyn Fn(&str) -> bool| {
        let mut fitting = values.iter().copied().filter(|value| wanted(&value.to_lowercase()));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    let synonyms = SYNONYMS.iter().chain(SYSTEMS).filter(|(theirs, _)| *theirs == small);
    let synonym = synonyms.flat_map(|(_, ours)| values.iter().copied().filter(move |value| value == ours)).next();
    find(&|value| value == small)
        .or(synonym)
        .or_else(|| closest(&small, values.iter().copied()))
        .or_else(|| find(&|value| small.len() > 1 && value.starts_with(&small)))
}

fn is_judged(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn is_equality(op: Operator) -> bool {
    use Operator::{Eq, IsDistinctFrom, IsNotDistinctFrom, NotEq};
    matches!(op, Eq | NotEq | IsDistinctFrom | IsNotDistinctFrom)
}

struct Judge<'a> {
    schema: &'a DFSchema,
    statement: &'a str,
}

impl Judge<'_> {
    /// Judges one constant against what it is compared with.
    fn constant(&self, subject: &Expr, op: Operator, constant: Expr) -> Result<Expr> {
        let Some((marked, name, column)) = form::of(subject, self.schema) else { return Ok(constant) };
        if marked == Marked::Form(Form::Port) {
            return self.port(&name, &column, op, &constant).map(|()| constant);
        }
        let Some(text) = text_of(&constant) else { return Ok(constant) };
        if !is_equality(op) {
            return Ok(constant);
        }
        if text.is_empty() && !matches!(marked, Marked::Form(Form::Path | Form::Hex(None))) {
            let error = Error::usage(format!("`{name}` is never empty"));
            return Err(self.at(error.hint(format!("what is unknown is NULL: {name} IS NULL")), &column, "''"));
        }
        match marked {
            Marked::OneOf(values) => self.one_of(&name, &column, &values, text)?,
            Marked::Form(Form::Ip) => {
                let Ok(address) = text.parse::<IpAddr>() else { return Err(self.address(&name, &column, text)) };
                let canonical = address.to_canonical().to_string();
                return Ok(Expr::Literal(ScalarValue::Utf8(Some(canonical)), None));
            }
            Marked::Form(form @ Form::Hex(_)) => self.digits(&name, &column, form, text)?,
            Marked::Form(form @ Form::Octal) if !form.fits(text) => return Err(self.octal(&name, &column, text)),
            Marked::Form(form @ Form::Mode) if !form.fits(text) => return Err(self.mode(&name, &column, text)),
            Marked::Form(Form::Path) if !text.is_empty() && !Form::Path.fits(text) => {
                let file = text.rsplit('/').next().unwrap_or(text);
                let error = Error::usage(format!("`{text}` does not begin with `/`, as every path does"))
                    .hint(format!("write '/{text}', or ask for a name: name = '{file}'"));
                return Err(self.at(error, &column, &format!("'{text}'")));
            }
            Marked::Form(_) => {}
        }
        Ok(constant)
    }

    fn one_of(&self, name: &str, column: &Column, values: &[String], text: &str) -> Result<()> {
        if values.iter().any(|value| value == text) {
            return Ok(());
        }
        let known = listed(values.iter().map(String::as_str));
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let hint = match meant(text, &values) {
            Some(value) => format!("did you mean '{value}'? `{name}` is {known}"),
            None => format!("`{name}` is {known}"),
        };
        let error = Error::usage(format!("`{name}` is never {}", quoted(text)));
        Err(self.at(error.hint(hint), column, &quoted_whole(text)))
    }

    /// Both ends of a BETWEEN.
    fn limit(&self, subject: &Expr, limit: &Expr) -> Result<()> {
        match form::of(subject, self.schema) {
            Some((Marked::Form(Form::Port), name, column)) => self.port(&name, &column, Operator::Eq, limit),
            _ => Ok(()),
        }
    }

    /// What is no port, or a comparison that no port can pass.
    fn port(&self, name: &str, column: &Column, op: Operator, constant: &Expr) -> Result<()> {
        let Some((number, typed)) = number_of(constant) else { return Ok(()) };
        let last = i128::from(u16::MAX);
        let possible = match op {
            Operator::Lt => number > 0,
            Operator::LtEq => number >= 0,
            Operator::Gt => number < last,
            Operator::GtEq => number <= last,
            _ => (0..=last).contains(&number),
        };
        if possible {
            return Ok(());
        }
        let error = if is_equality(op) {
            Error::usage(format!("`{name}` is a port, and {number} is none"))
        } else {
            Error::usage(format!("`{name}` is never {op} {number}"))
        };
        Err(self.at(error.hint(format!("ports go from 0 to {last}")), column, &typed))
    }

    fn address(&self, name: &str, column: &Column, text: &str) -> DataFusionError {
        let network = matches!(Place::parse(text), Ok(Place::Network(_)));
        let hint = if network {
            format!("write {name} UNDER {} for a network", quoted(text))
        } else if let Ok(socket) = text.trim().parse::<SocketAddr>() {
            format!("did you mean '{}'? the port is a column of its own", socket.ip().to_canonical())
        } else if let Ok(address) = text.trim().parse::<IpAddr>() {
            format!("did you mean '{}'?", address.to_canonical())
        } else if let Some(network) = network_of(text) {
            format!("write {name} UNDER '{network}' for a network")
        } else if text.eq_ignore_ascii_case("localhost") {
            format!("write is_loopback({name})")
        } else {
            "write one such as '10.0.0.1' or 'fe80::1'; names are not looked up".to_owned()
        };
        let error = Error::usage(format!("`{name}` is an address, and {} is none", quoted(text)));
        self.at(error.hint(hint), column, &quoted_whole(text))
    }

    fn digits(&self, name: &str, column: &Column, form: Form, text: &str) -> Result<()> {
        let small = text.to_ascii_lowercase();
        if form.fits(&small) {
            return Ok(());
        }
        let wants = match form {
            Form::Hex(Some(digits)) => format!("{digits} hexadecimal digits"),
            _ => "an even number of hexadecimal digits".to_owned(),
        };
        let clean: String = small.chars().filter(|c| !c.is_whitespace() && !":-".contains(*c)).collect();
        let clean = clean.strip_prefix("0x").unwrap_or(&clean);
        let odd = clean.chars().find(|c| !c.is_ascii_hexdigit());
        let has = match odd {
            Some(odd) => format!("{} holds `{odd}`, which is none", quoted(text)),
            None => format!("{} has {}", quoted(text), text.chars().count()),
        };
        let error = Error::usage(format!("`{name}` has {wants}, and {has}"));
        let error = if form.fits(clean) {
            error.hint(format!("did you mean '{clean}'?"))
        } else if let (None, Some(other)) = (odd, self.digest_of(clean.len())) {
            error.hint(format!("so many are of `{other}`: write {other} = {}", quoted(clean)))
        } else {
            error.hint(match form {
                _ if odd.is_some() => "hexadecimal digits are 0 to 9 and a to f",
                Form::Hex(Some(digits)) if clean.len() < digits => "it was cut short; copy the whole of it",
                Form::Hex(Some(_)) => "it is too long for one; several stand in IN (…)",
                _ => "two digits are a byte",
            })
        };
        Err(self.at(error, column, &quoted_whole(text)))
    }

    /// The first column whose values have so many digits.
    fn digest_of(&self, digits: usize) -> Option<String> {
        let fits = |column: &Column| {
            let marked = form::of(&Expr::Column(column.clone()), self.schema);
            marked.is_some_and(|(marked, ..)| marked == Marked::Form(Form::Hex(Some(digits))))
        };
        self.schema.columns().into_iter().find(fits).map(|column| column.name)
    }

    fn octal(&self, name: &str, column: &Column, text: &str) -> DataFusionError {
        let digits = text.trim().trim_start_matches("0o");
        let digits = digits.get(digits.len().saturating_sub(4)..).unwrap_or(digits);
        let padded = format!("{digits:0>4}");
        let error = Error::usage(format!("`{name}` is four octal digits, and {} is not", quoted(text)));
        let error = if !digits.is_empty() && Form::Octal.fits(&padded) {
            error.hint(format!("did you mean '{padded}'?"))
        } else if text.contains(['r', 'w', 'x']) {
            error.hint("as ls prints them they are `mode`, such as '-rw-r--r--'")
        } else {
            error.hint("write them as in '0644' or '4755'")
        };
        self.at(error, column, &quoted_whole(text))
    }

    fn mode(&self, name: &str, column: &Column, text: &str) -> DataFusionError {
        let error = Error::usage(format!("`{name}` is ten letters as ls prints them, and {} is not", quoted(text)));
        let plain = format!("-{text}");
        let error = if Form::Mode.fits(&plain) {
            error.hint(format!("the first is the type: '{plain}' is a file"))
        } else if !text.is_empty() && text.chars().all(|c| c.is_digit(8)) {
            error.hint(format!("octal digits are `permissions`: permissions = '{text:0>4}'"))
        } else {
            error.hint("write it as in '-rw-r--r--' or 'drwxr-xr-x'")
        };
        self.at(error, column, &quoted_whole(text))
    }

    /// A pattern of the shell's in a LIKE, which knows no `*`; a name that has one can be asked for with `=`.
    fn like(&self, like: &Like) -> Result<()> {
        let (Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::ScalarFunction(_), Some(pattern)) =
            (like.expr.as_ref(), text_of(&like.pattern))
        else {
            return Ok(());
        };
        let escape = like.escape_char.unwrap_or('\\');
        if !pattern.contains(['*', '?']) || pattern.contains(['%', '_', escape]) {
            return Ok(());
        }
        let meant = pattern.replace('*', "%").replace('?', "_");
        let word = match (like.negated, like.case_insensitive) {
            (false, false) => "LIKE",
            (true, false) => "NOT LIKE",
            (false, true) => "ILIKE",
            (true, true) => "NOT ILIKE",
        };
        let (subject, column) = match like.expr.as_ref() {
            Expr::Column(column) | Expr::OuterReferenceColumn(_, column) => (column.name.clone(), column.clone()),
            other => match form::of(other, self.schema) {
                Some((_, name, column)) => (name, column),
                None => (other.human_display().to_string(), Column::from_name("")),
            },
        };
        let wild = if pattern.contains('*') { "*" } else { "?" };
        let error = Error::usage(format!("`{wild}` is no wildcard of {word}"))
            .hint(format!("`%` is any text and `_` any letter: {subject} {word} {}", quoted(&meant)));
        Err(self.at(error, &column, &quoted_whole(pattern)))
    }

    /// What stands right of UNDER: no pattern, and a place of the kind that stands left.
    fn place(&self, subject: &Expr, place: &str) -> Result<()> {
        let marked = form::of(subject, self.schema);
        let (name, column) = match (&marked, subject) {
            (Some((_, name, column)), _) => (name.clone(), column.clone()),
            (None, Expr::Column(column)) => (column.name.clone(), column.clone()),
            (None, _) => return Ok(()),
        };
        let is = |form| marked.as_ref().is_some_and(|(marked, ..)| *marked == Marked::Form(form));
        let parsed = Place::parse(place);
        let error = if place.starts_with('/') && place.contains('*') {
            Error::usage("`*` is no wildcard of UNDER").hint(globs::instead(&name, place))
        } else if is(Form::Ip) && matches!(parsed, Ok(Place::Folder(_))) {
            Error::usage(format!("`{name}` is an address, and {} is a folder", quoted(place)))
                .hint("write a network such as '10.0.0.0/8'")
        } else if is(Form::Path) && matches!(parsed, Ok(Place::Network(_))) {
            Error::usage(format!("`{name}` is a path, and {} is a network", quoted(place)))
                .hint("write a folder such as '/home'")
        } else {
            return Ok(());
        };
        Err(self.at(error, &column, &quoted_whole(place)))
    }

    /// The error, with its place in the statement: the constant as it is typed, after the column.
    fn at(&self, error: Error, column: &Column, typed: &str) -> DataFusionError {
        error.at(locate_constant(self.statement, column, typed)).into()
    }
}

/// The text of a constant, whatever was cast to text.
fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        Expr::Cast(cast) => text_of(&cast.expr),
        Expr::Alias(alias) => text_of(&alias.expr),
        _ => None,
    }
}

/// A constant that is a whole number, also one that is written as text; and how it was typed.
fn number_of(expr: &Expr) -> Option<(i128, String)> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => Some((i128::from(*number), number.to_string())),
        Expr::Literal(ScalarValue::UInt64(Some(number)), _) => Some((i128::from(*number), number.to_string())),
        Expr::Cast(cast) => number_of(&cast.expr),
        other => text_of(other).and_then(|text| Some((text.trim().parse().ok()?, quoted_whole(text)))),
    }
}

/// The network that the beginning of an IPv4 address means: `10.1.*` is `10.1.0.0/16`.
fn network_of(text: &str) -> Option<String> {
    let text = text.trim_end_matches(['*', '%', 'x', '.']);
    let parts = text.split('.').map(|part| part.parse::<u8>().ok()).collect::<Option<Vec<_>>>()?;
    let bits = 8 * parts.len();
    let mut whole = [0; 4];
    whole.get_mut(..parts.len())?.copy_from_slice(&parts);
    (bits < 32).then(|| format!("{}/{bits}", std::net::Ipv4Addr::from(whole)))
}

/// `a, b or c`.
fn listed<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let mut values: Vec<&str> = values.collect();
    match values.pop() {
        Some(last) if !values.is_empty() => format!("{} or {last}", values.join(", ")),
        Some(only) => only.to_owned(),
        None => String::new(),
    }
}

/// A text as SQL spells it, and no more of it than a line shows.
fn quoted(text: &str) -> String {
    if text.chars().count() <= SHOWN_MAX {
        return quoted_whole(text);
    }
    let start: String = text.chars().take(SHOWN_MAX).collect();
    format!("'{}…'", start.replace('\'', "''"))
}

fn quoted_whole(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
