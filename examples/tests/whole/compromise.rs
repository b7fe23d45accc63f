//! What somebody gains who has taken the server's database or the line between an agent and the server: the rows of the table in
//! `docs/threat-model.md` that need whole programs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use canvass_examples::yard::Yard;

use crate::desk::{stderr, stdout};

const HOSTS: [&str; 3] = ["web-1", "db-1", "laptop-7"];

fn yard() -> Yard {
    let mut yard = Yard::open(&[]).unwrap();
    for host in HOSTS {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
    yard
}

/// Asks, and returns the action's id.
fn hunt(yard: &Yard, statement: &str, rows: &str) -> String {
    let output = yard.ask(&["--format", "csv", "--expire", "5m", "-c", statement]).unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), rows), "{}", stderr(&output));
    let newest = "SELECT id FROM actions ORDER BY created_at DESC LIMIT 1";
    stdout(&yard.ask(&["-q", "--format", "csv", "-c", newest]).unwrap()).lines().nth(1).unwrap().to_owned()
}

/// Runs Python over the server's database, as whoever has taken it may.
pub fn with_database(yard: &Yard, script: &str, arguments: &[&str]) -> String {
    let opens = "import hashlib, json, sqlite3, sys, time\ndb = sqlite3.connect(sys.argv[1], timeout=20)\n";
    let output = Command::new("python3")
        .args(["-c", &format!("{opens}{script}\ndb.commit()\n")])
        .arg(yard.path().join("server/server.sqlite"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// The action is brought again to the agent that has run it, brought to agents for which it is not meant, and brought to all with
/// other bytes.
const REPLAY_REDIRECT_ALTER: &str = r#"
names = dict(db.execute("SELECT id, name FROM agents"))
db.execute("DELETE FROM parts")
db.execute("UPDATE commands SET state = 'waiting', sent_at = NULL, finished_at = NULL, rows = 0")
db.execute("UPDATE actions SET closed = 0")
(hash, envelope), = db.execute("SELECT hash, envelope FROM actions")
for agent, name in names.items():
    if name != 'web-1':
        db.execute("INSERT INTO commands (action, agent, state) VALUES (?, ?, 'waiting')", (hash, agent))
altered = json.loads(envelope)
before = altered['payload']
altered['payload'] = before.replace('"uid"', '"gid"').replace('web-1', 'web-2')
assert altered['payload'] != before
other = hashlib.sha256(altered['payload'].encode()).hexdigest()
columns = [row[1] for row in db.execute("PRAGMA table_info(actions)")]
row = dict(zip(columns, db.execute("SELECT * FROM actions").fetchone()))
row.update(hash=other, envelope=json.dumps(altered), id=row['id'][:-1] + ('0' if row['id'][-1] != '0' else '1'))
db.execute(f"INSERT INTO actions ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
for agent in names:
    db.execute("INSERT INTO commands (action, agent, state) VALUES (?, ?, 'waiting')", (other, agent))
"#;

/// What became of each command, once nothing is waited for any more.
const OUTCOMES: &str = r#"
for _ in range(300):
    rows = db.execute("SELECT c.state, c.code, a.name, c.action = ? FROM commands c JOIN agents a ON a.id = c.agent ORDER BY 4, 3", (sys.argv[2],)).fetchall()
    if all(state not in ('waiting', 'sent') for state, _, _, _ in rows):
        break
    time.sleep(0.1)
for state, code, name, first in rows:
    print('signed' if first else 'altered', name, state, code)
"#;

#[test]
fn whoever_has_the_database_makes_no_agent_run_what_was_not_signed_for_it() {
    let mut yard = yard();
    hunt(&yard, "SELECT host, name FROM users WHERE uid = 0 AND host = 'web-1'", "host,name\nweb-1,root\n");
    let hash = with_database(&yard, "print(*db.execute('SELECT hash FROM actions').fetchone())", &[]);
    yard.kill_server();
    with_database(&yard, REPLAY_REDIRECT_ALTER, &[]);
    yard.start_server().unwrap();
    yard.wait_for(3).unwrap();
    let outcomes = with_database(&yard, OUTCOMES, &[hash.trim()]);
    assert_eq!(
        outcomes,
        "altered db-1 refused signature\naltered laptop-7 refused signature\naltered web-1 refused signature\n\
         signed db-1 refused target\nsigned laptop-7 refused target\nsigned web-1 refused ended\n"
    );
}

/// One way to change the answer of `web-1` in the database; `hunt` is the hash of the action, `web` the agent's id.
const FORGERIES: [(&str, &str); 5] = [
    (
        "other bytes",
        "for p, body in db.execute('SELECT position, body FROM parts WHERE action = ? AND agent = ?', (hunt, web)).fetchall():
    if body: db.execute('UPDATE parts SET body = ? WHERE position = ?', (body[:-1] + bytes([body[-1] ^ 1]), p))",
    ),
    (
        "other words",
        "db.execute(\"UPDATE parts SET statement = replace(statement, 'web-1', 'web-2') WHERE action = ? AND agent = ?\", (hunt, web))",
    ),
    ("nothing", "db.execute('DELETE FROM parts WHERE action = ? AND agent = ?', (hunt, web))"),
    (
        "the words of another host",
        "db.execute('DELETE FROM parts WHERE action = ? AND agent = ?', (hunt, web))
(db1,), = db.execute(\"SELECT id FROM agents WHERE name = 'db-1'\")
db.execute('INSERT INTO parts (action, agent, signature, statement, body, run) SELECT action, ?, signature, statement, body, run FROM parts WHERE action = ? AND agent = ?', (web, hunt, db1))",
    ),
    (
        "its answer to another question",
        "db.execute('DELETE FROM parts WHERE action = ? AND agent = ?', (hunt, web))
(other,), = db.execute('SELECT hash FROM actions ORDER BY created_at LIMIT 1')
db.execute('INSERT INTO parts (action, agent, signature, statement, body, run) SELECT ?, agent, signature, statement, body, run FROM parts WHERE action = ? AND agent = ?', (hunt, other, web))",
    ),
];

#[test]
fn whoever_has_the_database_makes_no_desk_believe_what_was_not_answered() {
    let mut yard = yard();
    let first = "SELECT host, name FROM users WHERE uid = 0 ORDER BY host";
    hunt(&yard, first, "host,name\ndb-1,root\ndb-1,toor\nlaptop-7,root\nweb-1,root\n");
    let statement = "SELECT host, count(*) AS n FROM users GROUP BY host ORDER BY host";
    let hunts: Vec<String> =
        FORGERIES.iter().map(|_| hunt(&yard, statement, "host,n\ndb-1,7\nlaptop-7,4\nweb-1,8\n")).collect();
    for host in HOSTS {
        yard.kill_agent(host);
    }
    yard.kill_server();
    for ((_, forgery), id) in FORGERIES.iter().zip(&hunts) {
        let finds = "(hunt,), = db.execute('SELECT hash FROM actions WHERE id = ?', (sys.argv[2],))\n(web,), = db.execute(\"SELECT id FROM agents WHERE name = 'web-1'\")\n";
        with_database(&yard, &format!("{finds}{forgery}"), &[id]);
    }
    yard.start_server().unwrap();
    for ((what, _), id) in FORGERIES.iter().zip(&hunts) {
        let resume = format!(".resume {id}");
        let output = yard.ask(&["--wait", "1s", "--format", "csv", "-c", &resume]).unwrap();
        let said = stderr(&output);
        assert_eq!(
            (output.status.code(), stdout(&output).as_str()),
            (Some(4), "host,n\ndb-1,7\nlaptop-7,4\n"),
            "{what}: {said}"
        );
        assert!(said.contains("2 of 3 hosts · 2 answered, 1 waiting"), "{what}: {said}");
    }
}

/// What a relay does to the messages that it carries.
#[derive(Clone, Copy, PartialEq)]
enum Relay {
    AltersCommands,
    AltersAnswers,
    RepeatsCommands,
    WithholdsCommands,
}

/// A hostile relay in front of a server: connections are passed on byte by byte, and the messages of agents' sockets as it pleases.
/// It ends with the program.
struct HostileRelay {
    url: String,
    /// Messages that it changed, repeated or kept back.
    touched: Arc<AtomicUsize>,
}

impl HostileRelay {
    fn start(server: &str, relay: Relay) -> HostileRelay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let touched = Arc::new(AtomicUsize::new(0));
        let (count, server) = (touched.clone(), server.strip_prefix("http://").unwrap().to_owned());
        thread::spawn(move || {
            for agent in listener.incoming().flatten() {
                let server = TcpStream::connect(&server).unwrap();
                let ways = [(agent.try_clone(), server.try_clone()), (server.try_clone(), agent.try_clone())];
                for (from, to) in ways {
                    let (from, to, count) = (from.unwrap(), to.unwrap(), count.clone());
                    thread::spawn(move || {
                        let ends = to.try_clone();
                        // Either side may leave at any time.
                        let _ = carry(from, to, relay, &count);
                        let _ = ends.map(|ends| ends.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        HostileRelay { url, touched }
    }
}

/// Passes on what comes until one side ends.
fn carry(mut from: TcpStream, mut to: TcpStream, relay: Relay, touched: &AtomicUsize) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            from.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        to.write_all(&head)?;
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if text.contains("\r\nupgrade: websocket\r\n") {
            break;
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        to.write_all(&body)?;
    }
    loop {
        let (head, mask, mut payload) = read_frame(&mut from)?;
        let masked =
            |payload: &mut [u8]| payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        masked(&mut payload);
        let is_command = payload.starts_with(br#"{"command":"#);
        let is_part = payload.starts_with(br#"{"part":"#);
        let times = match relay {
            Relay::AltersCommands if is_command => {
                let text = String::from_utf8(payload).unwrap();
                payload = text.replace(r#"\"uid\""#, r#"\"gid\""#).into_bytes();
                1
            }
            Relay::AltersAnswers if is_part => {
                *payload.last_mut().unwrap() ^= 1;
                1
            }
            Relay::RepeatsCommands if is_command => 3,
            Relay::WithholdsCommands if is_command => 0,
            _ => {
                masked(&mut payload);
                to.write_all(&head)?;
                to.write_all(&payload)?;
                continue;
            }
        };
        touched.fetch_add(1, Ordering::Relaxed);
        masked(&mut payload);
        for _ in 0..times {
            to.write_all(&head)?;
            to.write_all(&payload)?;
        }
    }
}

/// A frame of a WebSocket: its head, the key that its payload is masked with (zeros where it is not), and the payload as it travels.
fn read_frame(from: &mut TcpStream) -> std::io::Result<(Vec<u8>, [u8; 4], Vec<u8>)> {
    let mut head = vec![0; 2];
    from.read_exact(&mut head)?;
    let more = match head[1] & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mut length = u64::from(head[1] & 0x7f);
    if more > 0 {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes[8 - more..])?;
        head.extend_from_slice(&bytes[8 - more..]);
        length = u64::from_be_bytes(bytes);
    }
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        from.read_exact(&mut mask)?;
        head.extend_from_slice(&mask);
    }
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    from.read_exact(&mut payload)?;
    Ok((head, mask, payload))
}

/// An agent that ends with this value.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts an agent that reaches its server over the relay alone.
fn start_behind(yard: &Yard, relay: &HostileRelay, name: &str) -> Agent {
    let usual = yard.agent(name, name, &[]).unwrap();
    let mut command = Command::new(usual.get_program());
    let server = yard.url();
    command
        .args(usual.get_args().map(|argument| if argument == server.as_str() { relay.url.as_ref() } else { argument }));
    Agent(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn whoever_has_the_relay_delays_and_withholds_and_no_more() {
    for (relay, code, rows, words) in [
        // What the agent refuses is another action than the one that was asked.
        (Relay::AltersCommands, 4, "host,name\n", "1 waiting"),
        (Relay::AltersAnswers, 4, "host,name\n", "1 waiting"),
        (Relay::RepeatsCommands, 0, "host,name\nweb-1,root\n", "1 row from 1 of 1 hosts · 1 answered"),
        (Relay::WithholdsCommands, 4, "host,name\n", "1 waiting"),
    ] {
        let yard = Yard::open(&[]).unwrap();
        let hostile = HostileRelay::start(&yard.url(), relay);
        let _agent = start_behind(&yard, &hostile, "web-1");
        yard.wait_for(1).unwrap();
        let wait = if code == 0 { "20s" } else { "3s" };
        let statement = "SELECT host, name FROM users WHERE uid = 0";
        let output = yard.ask(&["--wait", wait, "--expire", "5m", "--format", "csv", "-c", statement]).unwrap();
        let said = stderr(&output);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(code), rows), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(hostile.touched.load(Ordering::Relaxed) > 0, "the relay carried nothing that it is hostile to");
    }
}
