//! From a filter to what is to be pinged: what its branches name of destination, protocol, port and count with `=` and IN.

use std::collections::BTreeSet;

use canvass_protocol::filter::{Filter, Is, Test};
use canvass_protocol::value::{Truth, Value};

use crate::bound::Sets;

/// What one question may name; more would be a sweep of networks, which this table is not for.
pub(super) const ASKED_MAX: usize = 100;
/// Combinations that are compared on the way there.
const NAMED_MAX: usize = 10_000;
const COUNT_MAX: u16 = 10;
const COLUMNS: [&str; 4] = ["destination", "protocol", "port", "count"];
const DESTINATION: usize = 0;
const PROTOCOL: usize = 1;
const PORT: usize = 2;
const COUNT: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

impl Protocol {
    pub const NAMES: &'static [&'static str] = &["tcp", "udp", "icmp"];

    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
        }
    }

    fn parse(name: &str) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Icmp].into_iter().find(|protocol| protocol.name() == name)
    }
}

/// One row that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    pub destination: String,
    pub protocol: Protocol,
    /// Of ICMP none.
    pub port: Option<u16>,
    /// Probes to send.
    pub count: u16,
}

/// What a branch of the filter says of each column.
#[derive(Debug, Clone, Default)]
struct Named {
    values: [Option<Value>; 4],
    /// It tests the column otherwise than for a value.
    vague: [bool; 4],
}

/// What a filter asks for, and what is wrong with it in words. Where it asks for too much, it gets nothing.
pub(super) fn asked(filter: Option<&Filter>, sets: &Sets) -> (BTreeSet<Asked>, BTreeSet<String>) {
    let (mut all, mut troubles) = (BTreeSet::new(), BTreeSet::new());
    let Some(named) = filter.map_or_else(|| Some(vec![Named::default()]), |filter| named(filter, sets)) else {
        troubles.insert("the question names too many combinations, so none was tried".to_owned());
        return (all, troubles);
    };
    for named in named {
        match named.asked(&mut troubles) {
            Ok(Some(asked)) if filter.is_none_or(|filter| !is_excluded(filter, &asked, sets)) => {
                all.insert(asked);
            }
            Ok(_) => {}
            Err(trouble) => {
                troubles.insert(trouble);
            }
        }
    }
    if all.len() > ASKED_MAX {
        let count = all.len();
        troubles.insert(format!(
            "the question names {count} combinations of destination, protocol, port and count, so none was tried: {ASKED_MAX} are the most"
        ));
        all.clear();
    }
    (all, troubles)
}

/// The branches of a filter; `None` where they are too many.
fn named(filter: &Filter, sets: &Sets) -> Option<Vec<Named>> {
    match filter {
        Filter::All(parts) => {
            let mut all = vec![Named::default()];
            for part in parts {
                let more = named(part, sets)?;
                if all.len().saturating_mul(more.len()) > NAMED_MAX {
                    return None;
                }
                all = all.iter().flat_map(|one| more.iter().filter_map(|other| one.and(other))).collect();
            }
            Some(all)
        }
        Filter::Any(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(named(part, sets)?);
                if all.len() > NAMED_MAX {
                    return None;
                }
            }
            Some(all)
        }
        Filter::Not(part) => {
            let mut vague = Named::default();
            part.for_each_test(&mut |test| vague.be_vague(test));
            Some(vec![vague])
        }
        Filter::Test(test) => of_test(test, sets),
    }
}

fn of_test(test: &Test, sets: &Sets) -> Option<Vec<Named>> {
    let Some(column) = COLUMNS.iter().position(|column| *column == test.column) else {
        return Some(vec![Named::default()]);
    };
    let mut vague = Named::default();
    vague.be_vague(test);
    let values = match values(&test.is, sets) {
        Some(values) => values,
        None => return Some(vec![vague]),
    };
    let of_value = |value: &Value| {
        let mut named = Named::default();
        named.values[column] = Some(value.clone());
        named
    };
    (values.len() <= NAMED_MAX).then(|| values.iter().map(of_value).collect())
}

/// The values of which a test wants one.
fn values<'t>(is: &'t Is, sets: &'t Sets) -> Option<&'t [Value]> {
    match is {
        Is::Equal(value) => Some(std::slice::from_ref(value)),
        Is::In(values) => Some(values),
        Is::InSet(name) => sets.get(name).map(Vec::as_slice),
        _ => None,
    }
}

impl Named {
    fn be_vague(&mut self, test: &Test) {
        for (column, vague) in COLUMNS.iter().zip(&mut self.vague) {
            *vague |= *column == test.column;
        }
    }

    /// Both at once; `None` where they want different values of a column.
    fn and(&self, other: &Named) -> Option<Named> {
        let mut both = self.clone();
        for (value, other) in both.values.iter_mut().zip(&other.values) {
            match (&*value, other) {
                (Some(one), Some(two)) if one != two => return None,
                (None, Some(two)) => *value = Some(two.clone()),
                _ => {}
            }
        }
        for (vague, other) in both.vague.iter_mut().zip(other.vague) {
            *vague |= other;
        }
        Some(both)
    }

    /// The row that it asks for; `None` where no row can be such.
    fn asked(&self, troubles: &mut BTreeSet<String>) -> Result<Option<Asked>, String> {
        let Some(Value::Text(destination)) = &self.values[DESTINATION] else {
            return Err("a destination has to be named with = or IN, whatever else is said of it".to_owned());
        };
        let port = match &self.values[PORT] {
            None => None,
            Some(Value::Integer(port)) => match u16::try_from(*port) {
                Ok(port) => Some(port),
                Err(_) => return Ok(None),
            },
            Some(_) => return Ok(None),
        };
        let protocol = match (&self.values[PROTOCOL], port) {
            (Some(Value::Text(name)), _) => Protocol::parse(name),
            (Some(_), _) => None,
            (None, Some(_)) => Some(Protocol::Tcp),
            (None, None) => Some(Protocol::Icmp),
        };
        let Some(protocol) = protocol else { return Ok(None) };
        if protocol != Protocol::Icmp && port.is_none() || self.values[PROTOCOL].is_none() && self.lacks(PORT) {
            let name = protocol.name();
            return Err(format!("{name} needs a port that is named with = or IN: add `port = …`"));
        }
        if protocol == Protocol::Icmp && port.is_some() {
            // A row of ICMP has no port, so this one would not pass.
            return Ok(None);
        }
        if self.lacks(PROTOCOL) {
            let name = protocol.name();
            troubles.insert(format!("no protocol is named with = or IN, so {name} alone was tried"));
        }
        let count = match &self.values[COUNT] {
            None => {
                if protocol == Protocol::Icmp {
                    3
                } else {
                    1
                }
            }
            Some(Value::Integer(count)) => u16::try_from(*count).unwrap_or(0),
            Some(_) => return Ok(None),
        };
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(format!("`count` can be 1 to {COUNT_MAX}"));
        }
        if self.lacks(COUNT) {
            troubles.insert(format!("no count is named with = or IN, so {count} by {} was taken", protocol.name()));
        }
        Ok(Some(Asked { destination: destination.clone(), protocol, port, count }))
    }

    /// Whether a column is tested, and for no value.
    fn lacks(&self, column: usize) -> bool {
        self.values[column].is_none() && self.vague[column]
    }
}

/// Whether a filter rules out a row by what is known of it before anything is sent.
fn is_excluded(filter: &Filter, asked: &Asked, sets: &Sets) -> bool {
    let own = |column: &str| match column {
        "destination" => Some(Value::Text(asked.destination.clone())),
        "protocol" => Some(Value::Text(asked.protocol.name().to_owned())),
        "port" => asked.port.map(|port| Value::Integer(port.into())),
        "count" => Some(Value::Integer(asked.count.into())),
        _ => None,
    };
    let truth = filter.evaluate(&mut |test| {
        let Some(own) = own(&test.column) else { return Truth::Unknown };
        match (&test.is, values(&test.is, sets)) {
            (_, Some(values)) => Truth::from(values.contains(&own)),
            (Is::NotEqual(value), None) => Truth::from(own != *value),
            _ => Truth::Unknown,
        }
    });
    truth == Truth::False
}

#[cfg(test)]
mod tests;
