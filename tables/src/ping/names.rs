//! Names to addresses: what the name is itself, what `/etc/hosts` says, and what name servers say.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;

use hickory_proto::rr::{Name, RecordType};

use super::dns::{self, Answer, Question};
use super::failure::Failure;
use super::pace::Pace;
use super::resolver_files::{Config, config, hosts};
use crate::host::Host;

/// The addresses of a name, or why there are none.
pub(super) type Resolved = Result<Vec<IpAddr>, Failure>;

/// Looks up names, each once.
pub(super) struct Resolver {
    config: Config,
    hosts: String,
    known: BTreeMap<String, Resolved>,
}

impl Resolver {
    /// As this host looks up names; a file that is not there says nothing.
    pub fn of(host: &Host) -> Resolver {
        let read = |path: &str| host.read_text(Path::new(path)).unwrap_or_default();
        Resolver::new(config(&read("/etc/resolv.conf"), &host.about().name), read("/etc/hosts"))
    }

    pub fn new(config: Config, hosts: String) -> Resolver {
        Resolver { config, hosts, known: BTreeMap::new() }
    }

    /// The addresses of what may be an address already, those of IPv4 first.
    pub fn resolve(&mut self, name: &str, pace: &mut Pace<'_>) -> ControlFlow<(), Resolved> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return ControlFlow::Continue(Ok(vec![address.to_canonical()]));
        }
        if let Some(known) = self.known.get(name) {
            return ControlFlow::Continue(known.clone());
        }
        let listed = hosts(&self.hosts, name);
        let mut resolved = if listed.is_empty() { self.look_up(name, pace)? } else { Ok(listed) };
        if let Ok(addresses) = &mut resolved {
            addresses.sort_by_key(IpAddr::is_ipv6);
        }
        self.known.insert(name.to_owned(), resolved.clone());
        ControlFlow::Continue(resolved)
    }

    /// Asks for one candidate after the other; where no server speaks, it is no use to ask for the next one.
    fn look_up(&self, name: &str, pace: &mut Pace<'_>) -> ControlFlow<(), Resolved> {
        let mut failure = Failure::NoSuchHost;
        for candidate in self.config.candidates(name) {
            let Ok(mut candidate) = Name::from_str_relaxed(&candidate) else { continue };
            candidate.set_fqdn(true);
            match self.both(&candidate, pace)? {
                Answer::Addresses(addresses) => return ControlFlow::Continue(Ok(addresses)),
                Answer::Nothing => {}
                Answer::Failed => failure = Failure::NameServers,
                Answer::Silent => return ControlFlow::Continue(Err(Failure::NameServers)),
            }
        }
        ControlFlow::Continue(Err(failure))
    }

    /// The addresses of both families, or the worse of two answers without any.
    fn both(&self, name: &Name, pace: &mut Pace<'_>) -> ControlFlow<(), Answer> {
        let first = self.ask(name, RecordType::A, pace)?;
        if first == Answer::Silent {
            return ControlFlow::Continue(first);
        }
        let second = self.ask(name, RecordType::AAAA, pace)?;
        ControlFlow::Continue(match (first, second) {
            (Answer::Addresses(mut addresses), Answer::Addresses(more)) => {
                addresses.extend(more);
                Answer::Addresses(addresses)
            }
            (Answer::Addresses(addresses), _) | (_, Answer::Addresses(addresses)) => Answer::Addresses(addresses),
            (Answer::Nothing, Answer::Nothing) => Answer::Nothing,
            _ => Answer::Failed,
        })
    }

    /// What the first server says that says anything.
    fn ask(&self, name: &Name, kind: RecordType, pace: &mut Pace<'_>) -> ControlFlow<(), Answer> {
        let mut worst = Answer::Silent;
        for _ in 0..self.config.attempts {
            for server in &self.config.servers {
                let question = Question { server: *server, name, kind, timeout: self.config.timeout };
                match dns::ask(&question, pace)? {
                    Answer::Silent => {}
                    Answer::Failed => worst = Answer::Failed,
                    answer => return ControlFlow::Continue(answer),
                }
            }
            if worst == Answer::Failed {
                break;
            }
        }
        ControlFlow::Continue(worst)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use hickory_proto::op::{Message, MessageType, ResponseCode};
    use hickory_proto::rr::rdata::{A, AAAA};
    use hickory_proto::rr::{RData, Record};

    use super::super::pace::Sent;
    use super::*;

    /// Serves `names` until the last is over, each with what it says for A and AAAA; `None` is a failure of the server.
    fn with_server(
        names: &'static [(&str, Option<&[&str]>)],
        test: impl FnOnce(&mut Resolver) -> Vec<Resolved>,
    ) -> (Vec<Resolved>, Vec<String>) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let config = Config {
            servers: vec![server.local_addr().unwrap()],
            search: vec!["lan".into(), "example".into()],
            dots: 1,
            timeout: Duration::from_secs(20),
            attempts: 1,
        };
        let (over, mut resolver) =
            (AtomicBool::new(false), Resolver::new(config, "10.0.0.9 listed\n::1 listed\n".into()));
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| serve(&server, names, &over));
            let resolved = test(&mut resolver);
            over.store(true, Ordering::Relaxed);
            (resolved, serving.join().unwrap())
        })
    }

    fn serve(server: &UdpSocket, names: &[(&str, Option<&[&str]>)], over: &AtomicBool) -> Vec<String> {
        let (mut asked, mut buffer) = (Vec::new(), [0; 512]);
        while !over.load(Ordering::Relaxed) {
            let Ok((length, from)) = server.recv_from(&mut buffer) else { continue };
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            message.metadata.message_type = MessageType::Response;
            let query = message.queries[0].clone();
            let name = query.name().to_ascii();
            asked.push(format!("{name} {}", query.query_type()));
            match names.iter().find(|(known, _)| *known == name) {
                None => message.metadata.response_code = ResponseCode::NXDomain,
                Some((_, None)) => message.metadata.response_code = ResponseCode::ServFail,
                Some((_, Some(addresses))) => {
                    let data = |address: &&str| match address.parse::<IpAddr>().unwrap() {
                        IpAddr::V4(address) => (RecordType::A, RData::A(A(address))),
                        IpAddr::V6(address) => (RecordType::AAAA, RData::AAAA(AAAA(address))),
                    };
                    let data = addresses.iter().map(data).filter(|(kind, _)| *kind == query.query_type());
                    message.add_answers(data.map(|(_, data)| Record::from_rdata(query.name().clone(), 60, data)));
                }
            }
            server.send_to(&message.to_vec().unwrap(), from).unwrap();
        }
        asked
    }

    fn resolve(resolver: &mut Resolver, name: &str) -> Resolved {
        let (mut go_on, mut sent) = (|| ControlFlow::Continue(()), Sent::default());
        match resolver.resolve(name, &mut Pace { go_on: &mut go_on, sent: &mut sent }) {
            ControlFlow::Continue(resolved) => resolved,
            ControlFlow::Break(()) => panic!("nobody ended it"),
        }
    }

    #[test]
    fn names_in_order_of_their_sources() {
        const NAMES: &[(&str, Option<&[&str]>)] = &[
            ("web.example.", Some(&["fd00::1", "10.0.0.1"])),
            ("web.lan.", Some(&[])),
            ("broken.lan.", None),
            ("dark.lan.", None),
            ("broken.example.", Some(&["10.0.0.2"])),
        ];
        let names = ["10.1.1.1", "::ffff:10.1.1.2", "listed", "web", "web", "web.example", "broken", "dark", "a b..c"];
        let (resolved, asked) =
            with_server(NAMES, |resolver| names.iter().map(|name| resolve(resolver, name)).collect());
        let v4 = |last: [u8; 4]| IpAddr::from(Ipv4Addr::from(last));
        let both = Ok(vec![v4([10, 0, 0, 1]), "fd00::1".parse().unwrap()]);
        assert_eq!(
            resolved,
            [
                Ok(vec![v4([10, 1, 1, 1])]),
                Ok(vec![v4([10, 1, 1, 2])]),
                Ok(vec![v4([10, 0, 0, 9]), Ipv6Addr::LOCALHOST.into()]),
                both.clone(),
                both.clone(),
                both,
                Ok(vec![v4([10, 0, 0, 2])]),
                Err(Failure::NameServers),
                Err(Failure::NoSuchHost),
            ]
        );
        let expected = ["web.lan.", "web.example.", "web.example.", "broken.lan.", "broken.example."]
            .iter()
            .chain(&["dark.lan.", "dark.example.", "dark."])
            .flat_map(|name| [format!("{name} A"), format!("{name} AAAA")]);
        assert_eq!(asked, expected.collect::<Vec<_>>());
    }
}
