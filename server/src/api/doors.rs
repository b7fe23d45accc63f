//! What every request passes before anything of it is looked at: the name it calls this server by, and how often it comes.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use std::net::{IpAddr, SocketAddr};

use super::problem::Problem;
use super::{Peer, ServerName, State};

/// The names that requests may call this server by: a page in a browser reaches a loopback address under any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Beside those of a loopback address; lower case, without a port.
    public: Vec<String>,
    /// Any other, too.
    any: bool,
}

impl Names {
    /// Where no name is given and others can reach the server, it does not know what they call it.
    pub fn new(public: Vec<String>, listen: SocketAddr) -> Names {
        Names { any: public.is_empty() && !listen.ip().is_loopback(), public }
    }

    /// Refuses requests for another server.
    pub fn check(&self, name: &ServerName) -> Result<(), Problem> {
        if self.know(&name.0) {
            return Ok(());
        }
        let problem = Problem::new(StatusCode::MISDIRECTED_REQUEST, format!("this server is not `{}`", name.0));
        Err(problem.hint("its owner names it with `--public-name`"))
    }

    /// Whether a `Host` header names this server.
    fn know(&self, header: &str) -> bool {
        let name = match header.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => header,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        self.any
            || name == "localhost"
            || address.is_ok_and(|address| address.is_loopback())
            || self.public.iter().any(|public| public == name)
    }
}

/// Refuses requests for another server.
pub async fn host(shared: State, name: ServerName, request: Request, next: Next) -> Result<Response, Problem> {
    shared.names.check(&name)?;
    Ok(next.run(request).await)
}

/// Refuses who comes too often.
pub async fn rate(shared: State, peer: Peer, request: Request, next: Next) -> Result<Response, Problem> {
    if let Some(peer) = peer.0 {
        shared.rates.address(peer)?;
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_knows_its_names() {
        let (loopback, open) = (SocketAddr::from(([127, 0, 0, 1], 1664)), SocketAddr::from(([0, 0, 0, 0], 1664)));
        let named = || vec!["canvass.example".to_owned()];
        for (names, header, expected) in [
            (Names::new(vec![], loopback), "127.0.0.1:1664", true),
            (Names::new(vec![], loopback), "[::1]:1664", true),
            (Names::new(vec![], loopback), "localhost", true),
            (Names::new(vec![], loopback), "evil.example:1664", false),
            (Names::new(named(), loopback), "canvass.example", true),
            (Names::new(named(), open), "canvass.example:443", true),
            (Names::new(named(), open), "10.0.0.7:443", false),
            (Names::new(vec![], open), "10.0.0.7:443", true),
        ] {
            assert_eq!(names.know(header), expected, "{names:?} {header}");
        }
    }
}
