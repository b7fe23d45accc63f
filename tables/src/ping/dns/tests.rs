//! Tests of [`super`].
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::str::FromStr as _;

use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use proptest::prelude::*;

use super::super::pace::Sent;
use super::*;

/// Longer than any test has to wait.
const LONG: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

fn a(owner: &str, last: u8) -> Record {
    Record::from_rdata(name(owner), 60, RData::A(A(Ipv4Addr::new(10, 0, 0, last))))
}

fn alias(owner: &str, of: &str) -> Record {
    Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(of))))
}

/// What an honest server says to a question.
fn response(question: &[u8], records: Vec<Record>) -> Message {
    let mut message = Message::from_vec(question).unwrap();
    message.metadata.message_type = MessageType::Response;
    message.add_answers(records);
    message
}

fn bytes(question: &[u8], records: Vec<Record>) -> Vec<u8> {
    response(question, records).to_vec().unwrap()
}

/// Asks for the IPv4 addresses of `web.example.` a server that sends these datagrams to a question, each from its own port or
/// another.
fn answered(respond: impl Fn(&[u8]) -> Vec<(bool, Vec<u8>)> + Send + 'static) -> Answer {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut buffer = [0; 512];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        for (own_port, bytes) in respond(&buffer[..length]) {
            let socket = if own_port { &server } else { &other };
            socket.send_to(&bytes, from).unwrap();
        }
    });
    let answer = asked(address, LONG);
    thread.join().unwrap();
    answer
}

fn asked(server: SocketAddr, timeout: Duration) -> Answer {
    let (mut go_on, mut sent) = (|| ControlFlow::Continue(()), Sent::default());
    let question = Question { server, name: &name("web.example."), kind: RecordType::A, timeout };
    match ask(&question, &mut Pace { go_on: &mut go_on, sent: &mut sent }) {
        ControlFlow::Continue(answer) => answer,
        ControlFlow::Break(()) => panic!("nobody ended it"),
    }
}

fn found(last: &[u8]) -> Answer {
    Answer::Addresses(last.iter().map(|last| Ipv4Addr::new(10, 0, 0, *last).into()).collect())
}

#[test]
fn an_honest_answer() {
    let records = || vec![a("WEB.example.", 1), a("web.example.", 2), a("other.example.", 3)];
    assert_eq!(answered(move |question| vec![(true, bytes(question, records()))]), found(&[1, 2]));
    assert_eq!(answered(|question| vec![(true, bytes(question, Vec::new()))]), Answer::Nothing);
    let ipv6 = || Record::from_rdata(name("web.example."), 60, RData::AAAA(AAAA("::1".parse().unwrap())));
    assert_eq!(answered(move |question| vec![(true, bytes(question, vec![ipv6()]))]), Answer::Nothing);
}

#[test]
fn aliases_are_followed_in_any_order_and_not_for_ever() {
    let chain = || vec![a("c.example.", 7), alias("b.example.", "c.example."), alias("web.example.", "b.example.")];
    assert_eq!(answered(move |question| vec![(true, bytes(question, chain()))]), found(&[7]));
    let circle = || vec![alias("web.example.", "b.example."), alias("b.example.", "web.example.")];
    assert_eq!(answered(move |question| vec![(true, bytes(question, circle()))]), Answer::Nothing);
    let dangling = || vec![alias("web.example.", "b.example.")];
    assert_eq!(answered(move |question| vec![(true, bytes(question, dangling()))]), Answer::Nothing);
}

#[test]
fn codes_of_servers() {
    for (code, expected) in [
        (ResponseCode::NXDomain, Answer::Nothing),
        (ResponseCode::ServFail, Answer::Failed),
        (ResponseCode::Refused, Answer::Failed),
    ] {
        let answer = answered(move |question| {
            let mut message = response(question, vec![a("web.example.", 1)]);
            message.metadata.response_code = code;
            vec![(true, message.to_vec().unwrap())]
        });
        assert_eq!(answer, expected, "{code}");
    }
}

#[test]
fn what_answers_another_question_is_passed_over() {
    let answer = answered(|question| {
        let honest = bytes(question, vec![a("web.example.", 1)]);
        let forged = bytes(question, vec![a("web.example.", 66)]);
        let mut wrong_id = forged.clone();
        wrong_id[0] ^= 1;
        let mut no_response = forged.clone();
        no_response[2] &= 0x7f;
        let mut other_name = response(question, vec![a("web.example.", 66)]);
        other_name.queries[0].set_name(name("mail.example."));
        let mut no_question = response(question, vec![a("web.example.", 66)]);
        no_question.queries.clear();
        // A name that points at itself.
        let mut circle = question[..12].to_vec();
        circle[2] |= 0x80;
        circle.extend([0xc0, 12, 0, 1, 0, 1]);
        vec![
            (false, forged.clone()),
            (true, wrong_id),
            (true, no_response),
            (true, other_name.to_vec().unwrap()),
            (true, no_question.to_vec().unwrap()),
            (true, circle),
            (true, Vec::new()),
            (true, forged[..forged.len() - 1].to_vec()),
            (true, honest),
        ]
    });
    assert_eq!(answer, found(&[1]));
}

#[test]
fn silence_and_nobody() {
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(asked(mute.local_addr().unwrap(), Duration::from_millis(50)), Answer::Silent);
    assert_eq!(answered(|question| vec![(true, question.to_vec()); OTHERS_MAX + 1]), Answer::Silent);
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(asked(free, LONG), Answer::Silent);
}

/// Asks a server whose answer by UDP is cut, and that sends these bytes by TCP.
fn truncated(by_tcp: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Answer {
    // A port that is free for both.
    let (udp, tcp) = (0..100)
        .find_map(|_| {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok()?;
            Some((udp, tcp))
        })
        .unwrap();
    let address = udp.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let (length, from) = udp.recv_from(&mut buffer).unwrap();
        let mut cut = bytes(&buffer[..length], vec![a("web.example.", 66)]);
        cut[2] |= 0x02;
        udp.send_to(&cut[..cut.len() - 3], from).unwrap();
        let (mut stream, _) = tcp.accept().unwrap();
        let mut question = vec![0; 2 + length];
        stream.read_exact(&mut question).unwrap();
        stream.write_all(&by_tcp(&question[2..])).unwrap();
    });
    let answer = asked(address, LONG);
    thread.join().unwrap();
    answer
}

#[test]
fn what_is_cut_is_asked_by_tcp() {
    let framed = |bytes: Vec<u8>| {
        let mut whole = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        whole.extend(bytes);
        whole
    };
    let many = (0..40).map(|last| a("web.example.", last)).collect::<Vec<_>>();
    let first: Vec<u8> = (0..16).collect();
    assert_eq!(truncated(move |question| framed(bytes(question, many.clone()))), found(&first));
    assert_eq!(truncated(|_| vec![0xff, 0xff, 1, 2, 3]), Answer::Silent);
    assert_eq!(truncated(|_| Vec::new()), Answer::Silent);
    assert_eq!(truncated(move |_| framed(b"nonsense".to_vec())), Answer::Failed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn any_bytes_are_read(mut answer in proptest::collection::vec(any::<u8>(), 0..200), at: u16, byte: u8) {
        let (web, server) = (name("web.example."), "127.0.0.1:53".parse().unwrap());
        let question = Question { server, name: &web, kind: RecordType::A, timeout: Duration::ZERO };
        let _ = read(&answer, 1, &question);
        if let [first, second, flags, ..] = &mut answer[..] {
            (*first, *second, *flags) = (0, 1, 0x80);
        }
        let _ = read(&answer, 1, &question);
        let asked = packet(1, &question).unwrap();
        let mut changed = bytes(&asked, vec![alias("web.example.", "b.example."), a("b.example.", 1)]);
        let at = usize::from(at) % changed.len();
        changed[at] = byte;
        let _ = read(&changed, 1, &question);
    }
}
