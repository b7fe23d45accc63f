//! What a filter says of processes: which of them need not be looked at, and which of a process's libraries is meant.

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::matcher::TextMatcher;
use canvass_protocol::value::{Truth, Value};

use crate::bound::Sets;

/// The filter, as far as a process and its libraries decide it.
pub struct Asked {
    node: Option<Node>,
    /// Whether a library is asked for.
    pub library: bool,
}

enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Pid(Is),
    Name(TextMatcher),
    Library(TextMatcher),
    /// What a region decides.
    Open,
}

impl Asked {
    pub fn new(filter: Option<&Filter>, sets: &Sets) -> Asked {
        let mut library = false;
        let node = filter.map(|filter| compile(filter, sets, true, &mut library));
        Asked { node, library }
    }

    /// Whether no region of a process can pass; what is `None` is not known.
    pub fn rules_out(&self, pid: u32, name: Option<&str>, library: Option<&str>) -> bool {
        self.node.as_ref().is_some_and(|node| node.test(pid, name, library) == Truth::False)
    }
}

/// Compiles a part; `asks` is set where a library is asked for. One that is not to be there asks for none.
fn compile(filter: &Filter, sets: &Sets, positive: bool, asks: &mut bool) -> Node {
    match filter {
        Filter::All(parts) => Node::All(parts.iter().map(|part| compile(part, sets, positive, asks)).collect()),
        Filter::Any(parts) => Node::Any(parts.iter().map(|part| compile(part, sets, positive, asks)).collect()),
        Filter::Not(inner) => Node::Not(Box::new(compile(inner, sets, !positive, asks))),
        Filter::Test(test) => {
            let of_set;
            let is = match &test.is {
                Is::InSet(name) => match sets.get(name) {
                    Some(values) => {
                        of_set = Is::In(values.clone());
                        &of_set
                    }
                    None => return Node::Open,
                },
                is => is,
            };
            let text = || TextMatcher::new(is).ok().flatten();
            match test.column.as_str() {
                "pid" => Node::Pid(is.clone()),
                "name" => text().map_or(Node::Open, Node::Name),
                "library" => {
                    *asks |= positive && !matches!(is, Is::Null | Is::NotEqual(_));
                    text().map_or(Node::Open, Node::Library)
                }
                _ => Node::Open,
            }
        }
    }
}

impl Node {
    /// Unknown is what is still open, so that only what is false for certain is false.
    fn test(&self, pid: u32, name: Option<&str>, library: Option<&str>) -> Truth {
        let of_text = |matcher: &TextMatcher, text: Option<&str>| match text {
            Some(text) => matcher.test(Some(text)),
            None => Truth::Unknown,
        };
        match self {
            Node::All(parts) => parts.iter().map(|part| part.test(pid, name, library)).fold(Truth::True, Truth::and),
            Node::Any(parts) => parts.iter().map(|part| part.test(pid, name, library)).fold(Truth::False, Truth::or),
            Node::Not(inner) => inner.test(pid, name, library).negate(),
            Node::Pid(is) => of_number(is, pid.into()).into(),
            Node::Name(matcher) => of_text(matcher, name),
            Node::Library(matcher) => of_text(matcher, library),
            Node::Open => Truth::Unknown,
        }
    }
}

fn of_number(is: &Is, number: i64) -> Option<bool> {
    let order = |value: &Value| match value {
        Value::Integer(constant) => Some(number.cmp(constant)),
        _ => None,
    };
    match (is.comparison(), is) {
        (Some((comparison, value)), _) => order(value).map(|order| comparison.holds(order)),
        (None, Is::In(values)) => {
            let orders = values.iter().map(order).collect::<Option<Vec<_>>>()?;
            Some(orders.into_iter().any(std::cmp::Ordering::is_eq))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use canvass_protocol::filter::Pattern;

    use super::*;

    fn matches(column: &str, text: &str) -> Filter {
        Filter::test(column, Is::Matches(Pattern { pattern: text.to_owned(), ignore_case: false }))
    }

    fn pid(number: i64) -> Filter {
        Filter::test("pid", Is::Equal(Value::Integer(number)))
    }

    fn not(filter: Filter) -> Filter {
        Filter::Not(Box::new(filter))
    }

    #[test]
    fn only_what_cannot_pass_is_ruled_out() {
        let asked = |filter: Filter| Asked::new(Some(&filter), &Sets::from([("s".into(), vec![Value::Integer(7)])]));
        let open = || matches("path", "x");
        for (filter, seven_nginx, eight_sh) in [
            (pid(7), false, true),
            (not(pid(7)), true, false),
            (Filter::Any(vec![pid(7), open()]), false, false),
            (Filter::All(vec![pid(7), open()]), false, true),
            (matches("name", "^nginx$"), false, true),
            (not(matches("name", "ngi")), true, false),
            (Filter::test("pid", Is::InSet("s".into())), false, true),
            (Filter::test("pid", Is::InSet("none".into())), false, false),
            (Filter::test("pid", Is::In(vec![Value::Integer(8)])), true, false),
            (Filter::test("pid", Is::Less(Value::Integer(8))), false, true),
            (Filter::test("pid", Is::Less(Value::Float(1.0))), false, false),
            (not(open()), false, false),
            (Filter::test("name", Is::Null), true, true),
        ] {
            let asked = asked(filter.clone());
            assert_eq!(asked.rules_out(7, Some("nginx"), None), seven_nginx, "{filter:?}");
            assert_eq!(asked.rules_out(8, Some("sh"), None), eight_sh, "{filter:?}");
        }
        assert!(!asked(matches("name", "^nginx$")).rules_out(8, None, None));
        assert!(!Asked::new(None, &Sets::new()).rules_out(8, Some("sh"), None));
    }

    #[test]
    fn a_library_is_asked_for_where_one_has_to_be_there() {
        for (filter, asks) in [
            (matches("library", "ssl"), true),
            (not(matches("library", "ssl")), false),
            (not(not(matches("library", "ssl"))), true),
            (Filter::test("library", Is::Null), false),
            (Filter::test("library", Is::NotEqual(Value::Text("/a".into()))), false),
            (matches("path", "ssl"), false),
        ] {
            assert_eq!(Asked::new(Some(&filter), &Sets::new()).library, asks, "{filter:?}");
        }
        let filter = Filter::Any(vec![
            Filter::All(vec![pid(7), matches("library", "ssl")]),
            Filter::All(vec![pid(8), matches("library", "crypt")]),
        ]);
        let asked = Asked::new(Some(&filter), &Sets::new());
        assert!(asked.rules_out(7, None, Some("/libcrypto.so")) && !asked.rules_out(8, None, Some("/libcrypto.so")));
    }
}
