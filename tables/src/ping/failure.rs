//! Why a destination was not reached.

use std::borrow::Cow;
use std::fmt;
use std::io;

use rustix::io::Errno;

/// Why no probe came back; of several the first in this order tells most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    Refused,
    /// A firewall says no, this machine's own or another.
    Prohibited,
    HostUnreachable,
    NetworkUnreachable,
    HopsExceeded,
    TimedOut,
    /// Nothing came back by UDP, which many that take a datagram do not answer.
    NoReply,
    NoSuchHost,
    /// No name server gave an answer.
    NameServers,
    /// One packet would be answered by many.
    NotUnicast,
    NoPermission,
    /// This machine could not send a probe, for a reason of its own.
    Other(String),
}

impl Failure {
    /// What it says of the destination: not reachable, or nothing.
    pub fn reachable(&self) -> Option<bool> {
        match self {
            Failure::NoReply | Failure::NotUnicast | Failure::NoPermission | Failure::Other(_) => None,
            _ => Some(false),
        }
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Failure {
        match error {
            Errno::CONNREFUSED | Errno::CONNRESET => Failure::Refused,
            Errno::ACCESS | Errno::PERM => Failure::Prohibited,
            Errno::HOSTUNREACH | Errno::HOSTDOWN => Failure::HostUnreachable,
            // Without a route there is no address to send from.
            Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT => {
                Failure::NetworkUnreachable
            }
            Errno::TIMEDOUT => Failure::TimedOut,
            other => Failure::Other(io::Error::from(other).to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Cow<'_, str> = match self {
            Failure::Refused => "connection refused".into(),
            Failure::Prohibited => "prohibited by a firewall".into(),
            Failure::HostUnreachable => "host unreachable".into(),
            Failure::NetworkUnreachable => "network unreachable".into(),
            Failure::HopsExceeded => "too many hops".into(),
            Failure::TimedOut => "timed out".into(),
            Failure::NoReply => "no reply".into(),
            Failure::NoSuchHost => "no such host".into(),
            Failure::NameServers => "no answer from a name server".into(),
            Failure::NotUnicast => "not the address of one host".into(),
            Failure::NoPermission => "no permission to send ICMP".into(),
            Failure::Other(reason) => reason.as_str().into(),
        };
        f.write_str(&words)
    }
}
