//! The predicates a scan or a target may hold, and how they combine in three-valued logic.

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::value::{Truth, Value};
use crate::versions::{self, Source};

/// A predicate over the columns of one table, or over the facts of an agent.
///
/// An empty `All` is true and an empty `Any` is false.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Test(Test),
}

/// One question about one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    pub column: String,
    pub is: Is,
}

/// What a column is tested for. A NULL column answers `Unknown` to all but `Null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Is {
    Equal(Value),
    NotEqual(Value),
    Less(Value),
    LessOrEqual(Value),
    Greater(Value),
    GreaterOrEqual(Value),
    In(Vec<Value>),
    /// One of the values of the scan's set of this name: long lists are sent once.
    InSet(String),
    /// A pattern of the scan's set of this name is found anywhere in the value; for content in any line.
    MatchesAny(String),
    /// The scan's Bloom filter of this name may hold the value: true of all that it was made of, and of a few others.
    InBloom(String),
    /// SQL LIKE with `%`, `_` and the escape `\`; over the whole value, for content over any line.
    Like(Pattern),
    /// Rust `regex` syntax, found anywhere in the value; for content in any line.
    Matches(Pattern),
    /// All lines match the regular expression; only content may be asked.
    EveryLine(Pattern),
    /// The folder itself and what lies below it, or an address in a network.
    Under(Place),
    Null,
    /// The address is of a private range (RFC 1918, RFC 4193, link-local or loopback).
    Private,
    Loopback,
    /// How the value, a package's version, stands to another one; `Unknown` where either is no version.
    Version(VersionTest),
}

/// A comparison with a version, in the order of one packaging system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionTest {
    pub is: VersionOrder,
    pub than: String,
    pub source: Source,
}

/// How one version stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionOrder {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

impl VersionOrder {
    /// Each with the function that asks for it in SQL.
    pub const ALL: [(VersionOrder, &str); 5] = [
        (VersionOrder::Less, "version_lt"),
        (VersionOrder::LessOrEqual, "version_le"),
        (VersionOrder::Greater, "version_gt"),
        (VersionOrder::GreaterOrEqual, "version_ge"),
        (VersionOrder::Equal, "version_eq"),
    ];

    /// The function that asks for it in SQL.
    pub fn function(self) -> &'static str {
        VersionOrder::ALL.iter().find(|(order, _)| *order == self).map_or("", |(_, function)| function)
    }

    /// The same with both sides changed over.
    #[must_use]
    pub fn swapped(self) -> VersionOrder {
        match self {
            VersionOrder::Less => VersionOrder::Greater,
            VersionOrder::LessOrEqual => VersionOrder::GreaterOrEqual,
            VersionOrder::Greater => VersionOrder::Less,
            VersionOrder::GreaterOrEqual => VersionOrder::LessOrEqual,
            VersionOrder::Equal => VersionOrder::Equal,
        }
    }

    pub fn holds(self, order: Ordering) -> bool {
        match self {
            VersionOrder::Less => order.is_lt(),
            VersionOrder::LessOrEqual => order.is_le(),
            VersionOrder::Greater => order.is_gt(),
            VersionOrder::GreaterOrEqual => order.is_ge(),
            VersionOrder::Equal => order.is_eq(),
        }
    }
}

impl VersionTest {
    /// Whether a version stands so to the other; `None` where either is no version of this system.
    pub fn holds(&self, version: &str) -> Option<bool> {
        versions::compare(version, &self.than, self.source).map(|order| self.is.holds(order))
    }
}

/// A pattern and whether it ignores case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    pub pattern: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
}

/// The right side of UNDER, which decides what UNDER means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "WrittenPlace")]
pub enum Place {
    /// An absolute folder without a trailing slash (but `/` itself), and without `.` or `..`.
    Folder(String),
    /// Without host bits, and never of IPv4-mapped IPv6 addresses, which are IPv4.
    Network(IpNet),
}

/// A place as it stands in an action, before it is known to be one.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenPlace {
    Folder(String),
    Network(IpNet),
}

impl TryFrom<WrittenPlace> for Place {
    type Error = PlaceError;

    fn try_from(written: WrittenPlace) -> Result<Place, PlaceError> {
        let place = match written {
            WrittenPlace::Folder(folder) => Place::Folder(folder),
            WrittenPlace::Network(network) => Place::Network(network),
        };
        place.check().map(|()| place)
    }
}

impl Filter {
    /// Tests one column; the usual leaf.
    pub fn test(column: impl Into<String>, is: Is) -> Filter {
        Filter::Test(Test { column: column.into(), is })
    }

    /// Evaluates the filter, asking `leaf` for the truth of each test that can still matter.
    pub fn evaluate(&self, leaf: &mut dyn FnMut(&Test) -> Truth) -> Truth {
        match self {
            Filter::All(parts) => {
                let mut truth = Truth::True;
                for part in parts {
                    truth = truth.and(part.evaluate(leaf));
                    if truth == Truth::False {
                        break;
                    }
                }
                truth
            }
            Filter::Any(parts) => {
                let mut truth = Truth::False;
                for part in parts {
                    truth = truth.or(part.evaluate(leaf));
                    if truth == Truth::True {
                        break;
                    }
                }
                truth
            }
            Filter::Not(inner) => inner.evaluate(leaf).negate(),
            Filter::Test(test) => leaf(test),
        }
    }

    /// Visits every test, left to right.
    pub fn for_each_test<'a>(&'a self, visit: &mut dyn FnMut(&'a Test)) {
        match self {
            Filter::All(parts) | Filter::Any(parts) => parts.iter().for_each(|part| part.for_each_test(visit)),
            Filter::Not(inner) => inner.for_each_test(visit),
            Filter::Test(test) => visit(test),
        }
    }

    /// The deepest nesting and the number of tests; what [`crate::limits`] bounds.
    pub fn size(&self) -> (usize, usize) {
        match self {
            Filter::All(parts) | Filter::Any(parts) => parts.iter().fold((1, 0), |(depth, tests), part| {
                let (inner, more) = part.size();
                (depth.max(inner + 1), tests + more)
            }),
            Filter::Not(inner) => {
                let (depth, tests) = inner.size();
                (depth + 1, tests)
            }
            Filter::Test(_) => (1, 1),
        }
    }
}

/// An error in the right side of UNDER, with what was meant where that can be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither an absolute folder nor a network")]
pub struct PlaceError {
    pub text: String,
    /// What the author may have meant, in words.
    pub hint: String,
}

impl Place {
    /// Reads what stands right of UNDER: `/…` is a folder, an address or CIDR a network.
    pub fn parse(text: &str) -> Result<Place, PlaceError> {
        let error = |hint: String| PlaceError { text: text.to_owned(), hint };
        if text.starts_with('/') {
            let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
            if parts.contains(&"..") {
                return Err(error("a folder is written without `..`".into()));
            }
            return Ok(Place::Folder(format!("/{}", parts.join("/"))));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Place::Network(address.to_canonical().into()));
        }
        match text.parse::<IpNet>().map(unmapped) {
            Ok(network) if network.addr() == network.network() => Ok(Place::Network(network)),
            Ok(network) => Err(error(format!("host bits are set; the network is '{}'", network.trunc()))),
            Err(_) => Err(error("write a folder such as '/home' or a network such as '10.0.0.0/8'".into())),
        }
    }

    /// Checks that a place is written as [`Place::parse`] writes it; a hostile desk may have written another.
    pub fn check(&self) -> Result<(), PlaceError> {
        let text = self.to_string();
        match Place::parse(&text)? {
            place if place == *self => Ok(()),
            meant => Err(PlaceError { text, hint: format!("write '{meant}'") }),
        }
    }

    /// Whether a path or an address lies here; `None` where `text` is not an address.
    pub fn holds(&self, text: &str) -> Option<bool> {
        match self {
            Place::Folder(folder) if folder == "/" => Some(text.starts_with('/')),
            Place::Folder(folder) => {
                Some(text.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
            }
            Place::Network(network) => {
                text.parse::<IpAddr>().ok().map(|address| network.contains(&address.to_canonical()))
            }
        }
    }
}

/// A network of IPv4-mapped addresses as the IPv4 network it means; every other as it is.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Folder(folder) => f.write_str(folder),
            Place::Network(network) => write!(f, "{network}"),
        }
    }
}
