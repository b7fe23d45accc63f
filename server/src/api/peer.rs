//! Where a request came from: the other end of its connection, or whom a trusted proxy names.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::FORWARDED;
use axum::http::request::Parts;
use ipnet::IpNet;

use super::Shared;

/// The older header of those that proxies write.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Where the request came from, as far as that is known.
pub struct Peer(pub Option<IpAddr>);

impl FromRequestParts<Arc<Shared>> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Peer, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        Ok(Peer(peer.map(|peer| origin(peer, &parts.headers, &shared.trusted_proxies))))
    }
}

/// Goes back from the connection's other end as long as a trusted proxy says who was before it. What is further back anybody
/// may have written, and so is whichever header the proxies do not write: where both are there and disagree, neither is
/// believed.
fn origin(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let values = |name: &str| -> Option<Vec<String>> {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek()?;
        let texts = values.map(|value| value.to_str().unwrap_or_default());
        Some(texts.flat_map(|text| text.split(',')).map(str::to_owned).collect())
    };
    let back = |chain: Vec<Option<IpAddr>>| {
        let mut last = peer;
        for address in chain.into_iter().rev() {
            // Whoever is not named is not known, and nor is anybody before it.
            let Some(address) = address else { return last };
            last = address;
            if !is_trusted(&last) {
                break;
            }
        }
        last
    };
    let older = values(X_FORWARDED_FOR).map(|chain| back(chain.iter().map(|text| address(text)).collect()));
    let newer = values(FORWARDED.as_str()).map(|chain| back(chain.iter().map(|text| forwarded_for(text)).collect()));
    match (older, newer) {
        (Some(older), Some(newer)) if older == newer => older,
        (Some(_), Some(_)) | (None, None) => peer,
        (Some(only), None) | (None, Some(only)) => only,
    }
}

/// The `for` of an element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    address(named.next()?.1.trim().trim_matches('"'))
}

/// An address, with a port or without one, and in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address.or_else(bare).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_is_believed_and_nobody_behind_it() {
        let one = ["10.0.0.0/24"].as_slice();
        let two = ["10.0.0.0/24", "192.0.2.1/32"].as_slice();
        let (older, newer) = ("x-forwarded-for", "forwarded");
        for (trusted, peer, headers, expected) in [
            (&[] as &[&str], "10.0.0.7", vec![(older, "203.0.113.9")], "10.0.0.7"),
            (one, "198.51.100.1", vec![(older, "203.0.113.9")], "198.51.100.1"),
            (one, "10.0.0.7", vec![], "10.0.0.7"),
            (one, "10.0.0.7", vec![(older, "203.0.113.9")], "203.0.113.9"),
            (one, "::ffff:10.0.0.7", vec![(older, "203.0.113.9")], "203.0.113.9"),
            // What the agent wrote itself stands to the left of what the proxy wrote.
            (one, "10.0.0.7", vec![(older, "1.1.1.1, 203.0.113.9")], "203.0.113.9"),
            (one, "10.0.0.7", vec![(older, "1.1.1.1"), (older, "203.0.113.9")], "203.0.113.9"),
            (one, "10.0.0.7", vec![(older, "203.0.113.9, 192.0.2.1")], "192.0.2.1"),
            (two, "10.0.0.7", vec![(older, "203.0.113.9, 192.0.2.1")], "203.0.113.9"),
            (two, "10.0.0.7", vec![(older, "10.0.0.9, 192.0.2.1")], "10.0.0.9"),
            (one, "10.0.0.7", vec![(older, "203.0.113.9:4711")], "203.0.113.9"),
            (one, "10.0.0.7", vec![(older, "2001:db8::9")], "2001:db8::9"),
            (one, "10.0.0.7", vec![(older, "unknown")], "10.0.0.7"),
            (one, "10.0.0.7", vec![(older, "203.0.113.9, ")], "10.0.0.7"),
            (one, "10.0.0.7", vec![(newer, "for=203.0.113.9;proto=https")], "203.0.113.9"),
            (one, "10.0.0.7", vec![(newer, "for=1.1.1.1, By=x;For=\"[2001:db8::9]:4711\"")], "2001:db8::9"),
            (one, "10.0.0.7", vec![(newer, "for=\"_hidden\"")], "10.0.0.7"),
            (one, "10.0.0.7", vec![(newer, "proto=https")], "10.0.0.7"),
            // One of them is the agent's own.
            (one, "10.0.0.7", vec![(older, "203.0.113.9"), (newer, "for=1.1.1.1")], "10.0.0.7"),
            (one, "10.0.0.7", vec![(older, "203.0.113.9"), (newer, "for=203.0.113.9")], "203.0.113.9"),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.append(*name, value.parse().unwrap());
            }
            let networks: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
            let found = origin(peer.parse().unwrap(), &map, &networks);
            assert_eq!(found.to_string(), expected, "{peer} {headers:?}");
        }
    }
}
