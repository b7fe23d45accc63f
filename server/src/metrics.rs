//! What the server counts and measures of itself, for Prometheus. No label names an agent, an action or an investigator, so
//! that the number of series is bounded.

use std::time::Duration;

use canvass_protocol::target::Status;
use jiff::Timestamp;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::scheduler::{Progress, State};

/// What all names begin with.
const PREFIX: &str = "canvass_server";

type Word = [(&'static str, &'static str); 1];
type Words = Vec<(&'static str, String)>;
type Durations = Family<Words, Histogram, fn() -> Histogram>;

/// All metrics. What happens is counted where it happens; [`Levels`] are looked up when somebody asks.
pub struct Metrics {
    registry: Registry,
    parts: Counter,
    part_bytes: Counter,
    refused: Family<Word, Counter>,
    concluded: Family<Word, Counter>,
    store_batch: Histogram,
    store_failing: Gauge,
    store_writes_failed: Counter,
    heartbeat_lag: Histogram,
    first_word: Histogram,
    last_word: Histogram,
    requests: Family<Words, Counter>,
    request: Durations,
    answer_streams: Gauge,
    agents: Family<Word, Gauge>,
    agents_pending: Gauge,
    agents_connected: Gauge,
    actions_open: Gauge,
    commands_open: Family<Word, Gauge>,
    incoming: Gauge,
    incoming_max: Gauge,
    incoming_bytes: Gauge,
    incoming_bytes_max: Gauge,
}

/// What is as it is at the moment of asking.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Levels {
    /// Admitted agents, in the order of [`Status::ALL`].
    pub agents: [usize; Status::ALL.len()],
    pub pending: usize,
    pub connected: usize,
    pub open: Vec<Progress>,
    /// What agents said and is not stored yet, and how much of it may be: in messages and in bytes.
    pub incoming: (usize, usize),
    pub incoming_bytes: (usize, usize),
}

/// What an agent sent and the server does not take.
#[derive(Debug, Clone, Copy)]
pub enum Refused {
    Part,
    Heartbeat,
}

impl Metrics {
    pub fn new() -> Metrics {
        let request: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let mut metrics = Metrics {
            registry: Registry::with_prefix(PREFIX),
            parts: Counter::default(),
            part_bytes: Counter::default(),
            refused: Family::default(),
            concluded: Family::default(),
            store_batch: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            store_failing: Gauge::default(),
            store_writes_failed: Counter::default(),
            heartbeat_lag: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            first_word: Histogram::new(exponential_buckets(0.01, 2.0, 16)),
            last_word: Histogram::new(exponential_buckets(0.01, 2.0, 16)),
            requests: Family::default(),
            request: Family::new_with_constructor(request),
            answer_streams: Gauge::default(),
            agents: Family::default(),
            agents_pending: Gauge::default(),
            agents_connected: Gauge::default(),
            actions_open: Gauge::default(),
            commands_open: Family::default(),
            incoming: Gauge::default(),
            incoming_max: Gauge::default(),
            incoming_bytes: Gauge::default(),
            incoming_bytes_max: Gauge::default(),
        };
        // What has not happened yet is there too, as nothing.
        for refused in [Refused::Part, Refused::Heartbeat] {
            drop(metrics.refused.get_or_create(&kind(refused)));
        }
        for state in [State::Answered, State::Failed, State::Refused, State::Interrupted, State::Cancelled] {
            drop(metrics.concluded.get_or_create(&[("state", state.as_str())]));
        }
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let of = &mut self.registry;
        of.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        of.register("agents", "Agents of the fleet by status", self.agents.clone());
        of.register("agents_pending", "Agents that wait for an administrator's approval", self.agents_pending.clone());
        of.register("agents_connected", "Agents with a line to this server", self.agents_connected.clone());
        of.register(
            "actions_open",
            "Actions that may still be brought to somebody or answered",
            self.actions_open.clone(),
        );
        of.register(
            "commands_open",
            "Commands of open actions: waiting for their agent, sent, concluded by its word, or ended without",
            self.commands_open.clone(),
        );
        of.register(
            "commands_concluded",
            "Last words of agents that were stored, by what they say",
            self.concluded.clone(),
        );
        of.register("incoming_messages", "Messages of agents that wait to be stored", self.incoming.clone());
        of.register(
            "incoming_messages_max",
            "Messages of agents that may wait; then agents do",
            self.incoming_max.clone(),
        );
        let bytes = self.incoming_bytes.clone();
        of.register_with_unit("incoming", "What agents said and is not stored yet", Unit::Bytes, bytes);
        let bytes_max = self.incoming_bytes_max.clone();
        of.register_with_unit(
            "incoming_max",
            "What of it may wait or be stored; then agents wait",
            Unit::Bytes,
            bytes_max,
        );
        of.register("parts", "Parts of answers that were stored", self.parts.clone());
        of.register_with_unit("part", "Bodies of parts that were stored", Unit::Bytes, self.part_bytes.clone());
        of.register(
            "messages_refused",
            "What agents sent and was dropped, since it was not theirs to say",
            self.refused.clone(),
        );
        of.register_with_unit(
            "store_batch",
            "Time that parts took to be stored, a batch",
            Unit::Seconds,
            self.store_batch.clone(),
        );
        of.register("store_failing", "1 while the latest write to the store failed", self.store_failing.clone());
        of.register("store_writes_failed", "Writes to the store that failed", self.store_writes_failed.clone());
        of.register_with_unit(
            "heartbeat_lag",
            "From the time that a heartbeat was signed, by its agent's clock, until it was stored",
            Unit::Seconds,
            self.heartbeat_lag.clone(),
        );
        of.register_with_unit(
            "first_word",
            "From an action's posting to the first agent's last word",
            Unit::Seconds,
            self.first_word.clone(),
        );
        of.register_with_unit(
            "last_word",
            "From an action's posting to the word after which nobody is waited for",
            Unit::Seconds,
            self.last_word.clone(),
        );
        of.register("http_requests", "HTTP requests by method, route and status", self.requests.clone());
        of.register_with_unit(
            "http_request",
            "Time until an HTTP request was answered, or its answer began",
            Unit::Seconds,
            self.request.clone(),
        );
        of.register("answer_streams", "Streams of answers that somebody reads", self.answer_streams.clone());
    }

    /// A part with a body of so many bytes is in the store now.
    pub fn stored(&self, bytes: usize) {
        self.parts.inc();
        self.part_bytes.inc_by(count(bytes));
    }

    /// A batch of parts is.
    pub fn stored_batch(&self, took: Duration) {
        self.store_batch.observe(took.as_secs_f64());
    }

    /// The latest write to the store was done, or it failed.
    pub fn store_writes(&self, done: bool) {
        self.store_failing.set(i64::from(!done));
        if !done {
            self.store_writes_failed.inc();
        }
    }

    pub fn refused(&self, refused: Refused) {
        self.refused.get_or_create(&kind(refused)).inc();
    }

    /// A heartbeat of then is in the store now.
    pub fn heard(&self, signed_at: Timestamp, now: Timestamp) {
        self.heartbeat_lag.observe(seconds(signed_at, now));
    }

    /// An agent's last word on an action that was posted then is in the store now, with what it changed.
    pub fn concluded(&self, state: State, posted_at: Timestamp, now: Timestamp, before: Progress, after: Progress) {
        self.concluded.get_or_create(&[("state", state.as_str())]).inc();
        if before.concluded() == 0 && after.concluded() > 0 {
            self.first_word.observe(seconds(posted_at, now));
        }
        if !before.is_complete() && after.is_complete() {
            self.last_word.observe(seconds(posted_at, now));
        }
    }

    /// A request to one of our routes was answered, or its answer begins.
    pub fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let route = ("route", route.to_owned());
        self.request.get_or_create(&vec![("method", method.to_owned()), route.clone()]).observe(took.as_secs_f64());
        let labels = vec![("method", method.to_owned()), route, ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a stream of answers for as long as the value lives.
    pub fn stream(&self) -> Stream {
        self.answer_streams.inc();
        Stream(self.answer_streams.clone())
    }

    /// Everything in Prometheus' text format.
    pub fn text(&self, levels: &Levels) -> String {
        let set = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        for (status, agents) in Status::ALL.iter().zip(levels.agents) {
            set(&self.agents.get_or_create(&[("status", status.as_str())]), agents);
        }
        set(&self.agents_pending, levels.pending);
        set(&self.agents_connected, levels.connected);
        set(&self.actions_open, levels.open.len());
        let sum = |of: fn(&Progress) -> usize| levels.open.iter().map(of).sum();
        for (state, commands) in [
            ("waiting", sum(|open| open.waiting)),
            ("sent", sum(|open| open.sent)),
            ("concluded", sum(Progress::concluded)),
            ("ended", sum(|open| open.ended)),
        ] {
            set(&self.commands_open.get_or_create(&[("state", state)]), commands);
        }
        set(&self.incoming, levels.incoming.0);
        set(&self.incoming_max, levels.incoming.1);
        set(&self.incoming_bytes, levels.incoming_bytes.0);
        set(&self.incoming_bytes_max, levels.incoming_bytes.1);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

/// A stream of answers that somebody reads.
pub struct Stream(Gauge);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn kind(refused: Refused) -> Word {
    let kind = match refused {
        Refused::Part => "part",
        Refused::Heartbeat => "heartbeat",
    };
    [("kind", kind)]
}

/// Clocks differ, and what would be before its cause is at once.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn busy() -> Metrics {
        let (metrics, at) = (Metrics::new(), |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap());
        let progress = |sent, ended| Progress { asked: 3, waiting: 0, sent, ended };
        metrics.stored(100);
        metrics.stored(200);
        metrics.stored_batch(Duration::from_millis(3));
        metrics.store_writes(false);
        metrics.refused(Refused::Part);
        metrics.heard(at(0), at(2));
        metrics.heard(at(9), at(2));
        metrics.concluded(State::Answered, at(0), at(1), progress(3, 0), progress(2, 0));
        metrics.concluded(State::Failed, at(0), at(4), progress(2, 0), progress(1, 0));
        metrics.concluded(State::Answered, at(0), at(6), progress(1, 0), progress(0, 0));
        metrics.answered("GET", "/v1/actions/{id}", 200, Duration::from_millis(2));
        metrics.answered("GET", "\"\\\n", 404, Duration::from_millis(2));
        metrics
    }

    #[test]
    fn what_happened_is_told() {
        let metrics = busy();
        let stream = metrics.stream();
        drop(metrics.stream());
        let open = vec![Progress { asked: 10, waiting: 3, sent: 2, ended: 1 }];
        let (incoming, incoming_bytes) = ((7, 4096), (700, 1 << 20));
        let levels = Levels { agents: [5, 1, 0], pending: 2, connected: 4, open, incoming, incoming_bytes };
        let text = metrics.text(&levels);
        for line in [
            "build_info{version=\"0.1.0\"} 1",
            "agents{status=\"online\"} 5",
            "agents{status=\"offline\"} 0",
            "agents_pending 2",
            "agents_connected 4",
            "actions_open 1",
            "commands_open{state=\"waiting\"} 3",
            "commands_open{state=\"sent\"} 2",
            "commands_open{state=\"concluded\"} 4",
            "commands_open{state=\"ended\"} 1",
            "commands_concluded_total{state=\"answered\"} 2",
            "commands_concluded_total{state=\"interrupted\"} 0",
            "incoming_messages 7",
            "incoming_bytes 700",
            "incoming_max_bytes 1048576",
            "parts_total 2",
            "part_bytes_total 300",
            "messages_refused_total{kind=\"part\"} 1",
            "messages_refused_total{kind=\"heartbeat\"} 0",
            "store_batch_seconds_count 1",
            "store_failing 1",
            "store_writes_failed_total 1",
            "heartbeat_lag_seconds_count 2",
            "heartbeat_lag_seconds_sum 2.0",
            "first_word_seconds_count 1",
            "first_word_seconds_sum 1.0",
            "last_word_seconds_count 1",
            "last_word_seconds_sum 6.0",
            "http_requests_total{method=\"GET\",route=\"/v1/actions/{id}\",status=\"200\"} 1",
            "http_request_seconds_count{method=\"GET\",route=\"/v1/actions/{id}\"} 1",
            "answer_streams 1",
        ] {
            assert!(text.lines().any(|there| there == format!("{PREFIX}_{line}")), "{line} in\n{text}");
        }
        drop(stream);
        assert!(metrics.text(&levels).contains("answer_streams 0"));
        // What is no more is told as nothing.
        assert!(metrics.text(&Levels::default()).contains("agents{status=\"online\"} 0"));
    }

    /// The format's rules, as its specification gives them.
    #[test]
    fn the_text_is_what_prometheus_reads() {
        let text = busy().text(&Levels::default());
        let (mut types, mut series, mut buckets) = (BTreeSet::new(), BTreeSet::new(), (String::new(), -1.0, -1.0));
        assert!(text.ends_with('\n') && !text.contains("# EOF"));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let (keyword, rest) = rest.split_once(' ').unwrap();
                let (name, said) = rest.split_once(' ').unwrap();
                assert!(!said.is_empty() && matches!(keyword, "HELP" | "TYPE"), "{line}");
                if keyword == "TYPE" {
                    assert!(types.insert((name.to_owned(), said.to_owned())), "{line} comes once");
                    assert_eq!(said == "counter", name.ends_with("_total"), "{line}");
                }
                continue;
            }
            let (head, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0, "{line}");
            assert!(series.insert(head.to_owned()), "{line} comes once");
            let (name, labels) = head.split_once('{').unwrap_or((head, ""));
            let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(plain && name.starts_with(PREFIX), "{line}");
            let known = types.iter().any(|(of, kind)| match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"].iter().any(|end| name == format!("{of}{end}")),
                _ => name == of,
            });
            assert!(known, "{line} has a type before it");
            if let Some((before, bound)) = labels.split_once("le=\"") {
                let bound: f64 = bound.trim_end_matches("\"}").parse().unwrap();
                let of = format!("{name}{before}");
                if buckets.0 == of {
                    assert!(bound > buckets.1 && value >= buckets.2, "{line}: buckets grow");
                }
                buckets = (of, bound, value);
            }
        }
        assert!(series.len() > 50);
    }
}
