//! What every request passes before anything of it is looked at: the name it calls this server by, and how often it comes.

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use canvass_protocol::openpgp::Fingerprint;
use rustls::pki_types::{CertificateDer, ServerName as Subject};
use std::net::{IpAddr, SocketAddr};
use webpki::EndEntityCert;

use super::problem::{Problem, Refused};
use super::{Peer, ServerName, State};
use crate::connections::Allowance;

/// The names that requests may call this server by.
///
/// Logins and agents' proofs are signed for a name. Whoever is called by one that is also another server's could pass on what
/// was signed for that one; and a page in a browser reaches a loopback address under any name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Lower case, without a port.
    public: Vec<String>,
    /// Those of a loopback address, where the server listens on one.
    loopback: bool,
}

impl Names {
    /// The names given, or else those of the certificate; `None` where others can reach the server and there is none.
    pub fn new(given: &[String], listen: SocketAddr, certificate: Option<&CertificateDer<'_>>) -> Option<Names> {
        let loopback = listen.ip().is_loopback();
        let public = match certificate {
            Some(certificate) if given.is_empty() => names_of(certificate, listen.ip()),
            _ => given.to_vec(),
        };
        (loopback || !public.is_empty()).then_some(Names { public, loopback })
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
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        self.loopback && is_loopback(bare) || self.public.iter().any(|public| public == name || public == bare)
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The names that a certificate is for. Those with a `*` are others' too, and those of a loopback address everybody's. Of
/// addresses only the one that the server listens on is looked for.
fn names_of(certificate: &CertificateDer<'_>, listen: IpAddr) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let names = certificate.valid_dns_names().map(str::to_ascii_lowercase);
    let mut names: Vec<String> = names.filter(|name| !name.contains('*') && !is_loopback(name)).collect();
    let address = Subject::IpAddress(listen.into());
    if !listen.is_loopback() && certificate.verify_is_valid_for_subject_name(&address).is_ok() {
        names.push(listen.to_string());
    }
    names
}

/// Refuses requests for another server.
pub async fn host(shared: State, name: ServerName, request: Request, next: Next) -> Result<Response, Problem> {
    // Nothing of this request is proved yet, whatever came over its connection before.
    if let Some(allowance) = request.extensions().get::<Allowance>() {
        allowance.begin();
    }
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

/// Writes down who was refused what for want of a role.
pub async fn note_refused(shared: State, request: Request, next: Next) -> Result<Response, Problem> {
    let asked = if request.method() == Method::GET { "GET" } else { "POST" };
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if let Some(Refused { who, role }) = response.extensions().get::<Refused>().cloned() {
        note(&shared, &who, role, &format!("{asked} {path}")).await?;
    }
    Ok(response)
}

async fn note(shared: &State, who: &Fingerprint, role: &str, asked: &str) -> Result<(), Problem> {
    // Ids in paths are of the caller's choosing, and so each role is written down once a minute.
    if !shared.rates.line(&who.0, "refused", role) {
        return Ok(());
    }
    let asked: String = asked.chars().take(super::DETAIL_CHARS_MAX).collect();
    shared.note(&who.0, "refused", None, format!("{asked} needs the role {role}")).await
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn a_server_knows_its_names() {
        let (loopback, open) = (SocketAddr::from(([127, 0, 0, 1], 1664)), SocketAddr::from(([0, 0, 0, 0], 1664)));
        let given = ["canvass.example".to_owned(), "10.0.0.8".to_owned(), "2001:db8::8".to_owned()];
        let names = |given: &[String], listen| Names::new(given, listen, None).unwrap();
        for (names, header, expected) in [
            (names(&[], loopback), "127.0.0.1:1664", true),
            (names(&[], loopback), "[::1]:1664", true),
            (names(&[], loopback), "localhost", true),
            (names(&[], loopback), "evil.example:1664", false),
            (names(&given, loopback), "canvass.example", true),
            (names(&given, loopback), "localhost:1664", true),
            (names(&given, open), "canvass.example:443", true),
            (names(&given, open), "10.0.0.8:443", true),
            (names(&given, open), "[2001:db8::8]:443", true),
            (names(&given, open), "10.0.0.7:443", false),
            // What another server on this machine, or whoever listens there, was told is not for this one.
            (names(&given, open), "localhost:1664", false),
            (names(&given, open), "127.0.0.1", false),
            (names(&given, open), "[::1]:1664", false),
        ] {
            assert_eq!(names.know(header), expected, "{names:?} {header}");
        }
        assert_eq!(Names::new(&[], open, None), None, "others reach it, and it does not know by which name");
    }

    /// Of `Canvass.example`, `*.example.org`, `localhost` and 10.0.0.7; its subject's common name counts for nothing.
    const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----
MIIByjCCAW+gAwIBAgIUcEeHTKGVsp1sU9O3udfp5CD4JikwCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPaWdub3JlZC5leGFtcGxlMCAXDTI2MTEyNzIwNDEwN1oYDzIx
MjYxMTAzMjA0MTA3WjAaMRgwFgYDVQQDDA9pZ25vcmVkLmV4YW1wbGUwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAATU/cnMcyT4QOV0MVrgtpqNpYwnFxEOLL/kWKvB
hxqjfHAKyGj4ama1D0xLQK86O88QRY+NveEPoiY+JUR3SuvUo4GQMIGNMB0GA1Ud
DgQWBBSv9EUack/eJme4n/pWcHRvZvHB7TAfBgNVHSMEGDAWgBSv9EUack/eJme4
n/pWcHRvZvHB7TAPBgNVHRMBAf8EBTADAQH/MDoGA1UdEQQzMDGCD0NhbnZhc3Mu
ZXhhbXBsZYINKi5leGFtcGxlLm9yZ4IJbG9jYWxob3N0hwQKAAAHMAoGCCqGSM49
BAMCA0kAMEYCIQDG2pf+v5boIf7/H8jF2uy+zRYN9Kf9jvxhhqgY1UAxCAIhAP9P
QNzjK2G7hwTmSpE4l3Mnvp8gWQK7lr/1YEDJjMaS
-----END CERTIFICATE-----";

    #[test]
    fn a_server_has_the_names_of_its_certificate() {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
        let names = |given: &[String], listen: [u8; 4]| {
            let names = Names::new(given, SocketAddr::from((listen, 1664)), Some(&certificate)).unwrap();
            let known =
                ["canvass.example", "a.example.org", "localhost", "10.0.0.7", "ignored.example", "given.example"];
            known.into_iter().filter(|name| names.know(name)).collect::<Vec<&str>>()
        };
        assert_eq!(names(&[], [0, 0, 0, 0]), ["canvass.example"], "who else has the wildcard is not known");
        assert_eq!(names(&[], [10, 0, 0, 7]), ["canvass.example", "10.0.0.7"]);
        assert_eq!(names(&[], [10, 0, 0, 8]), ["canvass.example"]);
        assert_eq!(names(&[], [127, 0, 0, 1]), ["canvass.example", "localhost"]);
        assert_eq!(names(&["given.example".to_owned()], [10, 0, 0, 7]), ["given.example"]);
    }
}
