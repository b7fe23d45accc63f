//! Families of tables, and what their scans need of the kernel.

use std::os::fd::OwnedFd;

/// A family of tables that shares a permission and a cage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// By what policy's entries know it.
    pub name: &'static str,
    /// What is not among them is denied to its scans.
    pub needs: &'static [Need],
}

/// What scans may need beyond reading files, for which a module has to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Other processes' `exe`, `fd`, `ns`, `maps` and the like in `/proc` (`CAP_SYS_PTRACE`). Landlock denies them to everybody,
    /// root too, so such a scan goes without it.
    OtherProcesses,
    /// Questions to the kernel about sockets, addresses and routes (`AF_NETLINK`).
    Netlink,
    /// Questions of the kind that only an administrator of the network may ask, as about packet filters (`CAP_NET_ADMIN`).
    NetworkAdmin,
    /// Connections and datagrams to other machines (`AF_INET`, `AF_INET6`), names looked up included.
    Connect,
    /// Raw ICMP sockets (`CAP_NET_RAW`), opened before privileges are dropped and handed to the scan.
    Icmp,
}

impl Need {
    /// What it lets a scan do, for the manual.
    pub fn about(self) -> &'static str {
        match self {
            Need::OtherProcesses => {
                "other processes' `exe`, `fd` and the like in `/proc` (`CAP_SYS_PTRACE`); no Landlock, which denies them to everybody"
            }
            Need::Netlink => "questions to the kernel about sockets, addresses and routes (`AF_NETLINK`)",
            Need::NetworkAdmin => "questions about the network for its administrator (`AF_NETLINK`, `CAP_NET_ADMIN`)",
            Need::Connect => "connections and datagrams to other machines (`AF_INET`, `AF_INET6`)",
            Need::Icmp => "raw ICMP sockets, opened before privileges are dropped",
        }
    }
}

/// Sockets that a scan is handed, since it may not open such ones itself; what the kernel did not give is not there.
#[derive(Debug, Default)]
pub struct Sockets {
    pub icmp: Option<OwnedFd>,
    pub icmp_v6: Option<OwnedFd>,
}

/// Those of a scan whose module needs none.
pub static NO_SOCKETS: Sockets = Sockets { icmp: None, icmp_v6: None };

impl Module {
    /// A module whose scans read files and do nothing else.
    pub const fn reading(name: &'static str) -> Module {
        Module { name, needs: &[] }
    }
}
