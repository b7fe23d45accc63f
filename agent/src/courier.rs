//! The agent's part of the fleet: takes commands from the relay, has the guard decide, and sees answers to the server.

mod queue;
mod sent;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::Part;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::login::{Running, Withdrawal};
use canvass_protocol::openpgp::Revocation;
use canvass_protocol::reason::{Code, Reason};
use canvass_protocol::relay::{FromAgent, ToAgent};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use self::queue::{Offer, Queue};
use self::sent::Sent;
use crate::agent::Agent;
use crate::relay::{Delivery, Line, RelayError};
use crate::spool::{Forgotten, Message, Spool};
use crate::withdrawn::Withdrawn;

/// Actions that run at once where the policy does not say; others wait for their turn.
const RUNNING_MAX: usize = 4;
/// Bytes of the actions that wait; more are left to the server, which offers them again.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Time between two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(60);
/// How long an answer is kept after its action's answers are waited for no more.
const GRACE: SignedDuration = SignedDuration::from_hours(24);
/// How long news gather before they are told.
const TELL_AFTER: Duration = Duration::from_millis(100);
/// Bytes of an answer of one message above which it is confirmed: a short one costs little to be sent again, and a whole fleet
/// sends one within a second.
const UNCONFIRMED_BYTES_MAX: usize = 64 << 10;
/// How long the server may take to send a receipt for an answer that may have been dropped.
const RECEIPT_WITHIN: Duration = Duration::from_secs(60);
/// With `--once`: how long nothing has to come before nothing more is expected.
const QUIET: Duration = Duration::from_secs(2);

/// Carries commands in and answers out, over one line after another.
pub struct Courier {
    agent: Arc<Agent>,
    spool: Arc<Spool>,
    work: Arc<Work>,
    receipt_within: Duration,
}

/// What runs and what waits.
struct Work {
    state: Mutex<State>,
    /// Actions that are not begun, because they were withdrawn.
    withdrawn: Withdrawn,
    /// Something was added to the spool, or ended.
    changed: Notify,
}

struct State {
    running: HashMap<ActionHash, Arc<AtomicBool>>,
    waiting: Queue,
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_idle(&self) -> bool {
        let state = self.lock();
        state.running.is_empty() && state.waiting.is_empty()
    }
}

impl Courier {
    pub fn new(agent: Arc<Agent>, spool: Arc<Spool>, withdrawn: Withdrawn) -> Courier {
        Courier::bounded(agent, spool, withdrawn, WAITING_BYTES_MAX)
    }

    /// The same with another bound of what waits.
    pub fn bounded(agent: Arc<Agent>, spool: Arc<Spool>, withdrawn: Withdrawn, waiting_bytes_max: usize) -> Courier {
        let state = State { running: HashMap::new(), waiting: Queue::new(waiting_bytes_max) };
        let work = Work { state: Mutex::new(state), withdrawn, changed: Notify::new() };
        Courier { agent, spool, work: Arc::new(work), receipt_within: RECEIPT_WITHIN }
    }

    /// The same, with another time for receipts.
    #[must_use]
    pub fn with_receipts_within(self, receipt_within: Duration) -> Courier {
        Courier { receipt_within, ..self }
    }

    /// Speaks on a line until it breaks. With `once` it returns when nothing more is to be done.
    pub async fn speak(&self, line: &mut impl Line, once: bool) -> Result<(), RelayError> {
        self.beat(line).await?;
        let mut due = Instant::now() + first_pause(self.agent.id());
        // Set where there is news to tell before that.
        let mut tells_at = None;
        let mut quiet_since = Instant::now();
        let mut sent = Sent::new(self.receipt_within);
        loop {
            let changed = self.work.changed.notified();
            self.send(line, &mut sent).await?;
            if once
                && self.work.is_idle()
                && self.spool.answers(Timestamp::now()).is_empty()
                && quiet_since.elapsed() >= QUIET
            {
                return Ok(());
            }
            let wake = [Some(due), tells_at, once.then(|| Instant::now() + QUIET / 4)];
            let wake = wake.into_iter().flatten().min().unwrap_or(due);
            tokio::select! {
                message = line.hear() => {
                    quiet_since = Instant::now();
                    if self.take(message?, &mut sent) {
                        tells_at.get_or_insert(Instant::now() + TELL_AFTER);
                    }
                }
                () = changed => quiet_since = Instant::now(),
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= due || tells_at.is_some_and(|at| now >= at) {
                        self.agent.look_again();
                        self.beat(line).await?;
                        tells_at = None;
                    }
                    if now >= due {
                        due = Instant::now() + HEARTBEAT;
                    }
                }
            }
        }
    }

    async fn beat(&self, line: &mut impl Line) -> Result<(), RelayError> {
        // One that is dropped is followed by the next.
        let heartbeat = FromAgent::Heartbeat(self.agent.heartbeat(self.agent.now())).to_bytes();
        line.say(heartbeat, Delivery::Unconfirmed).await.map(drop)
    }

    /// Sends what the spool has and was not sent over this connection, or may have been dropped on its way.
    async fn send(&self, line: &mut impl Line, sent: &mut Sent) -> Result<(), RelayError> {
        for (hash, _) in self.spool.answers(Timestamp::now()) {
            let mut mark = sent.resume(hash, Instant::now());
            loop {
                match self.spool.read(hash, mark) {
                    Ok(Some(Message { bytes, next, is_whole })) => {
                        // An answer that lacks one of its messages cannot be read by the server, so each of several is confirmed.
                        let is_short = is_whole && bytes.len() <= UNCONFIRMED_BYTES_MAX;
                        let wanted = if is_short { Delivery::Unconfirmed } else { Delivery::Confirmed };
                        let delivery = line.say(bytes, wanted).await?;
                        mark = next;
                        sent.note(hash, mark, delivery, Instant::now());
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(action = %hash, %error, "an answer cannot be read and is given up");
                        self.spool.forget(hash);
                        let word = self.agent.lost(hash, &error, self.agent.now());
                        self.spool.hold(hash, useful_until(None, Timestamp::now()), 0, word, false);
                        self.work.changed.notify_one();
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes what the server says; whether that gives the agent something to say of itself.
    fn take(&self, message: ToAgent, sent: &mut Sent) -> bool {
        match message {
            ToAgent::Revocation(armored) => return self.revoke(&armored),
            ToAgent::Command(envelope) => self.command(envelope),
            ToAgent::Withdraw(envelope) => self.withdraw(&envelope),
            ToAgent::Taken(hash) => {
                sent.forget(hash);
                if self.spool.taken(hash) == Forgotten::Answer {
                    // A line at the end of a file, and nothing waits for the disk to have it.
                    self.agent.answered(hash);
                }
            }
            ToAgent::Challenge { .. } | ToAgent::Welcome | ToAgent::Replaced => {}
        }
        false
    }

    /// Heeds a revocation, whoever brings it; whether it revokes something anew. What was begun runs on, and what waits is
    /// judged when it begins.
    fn revoke(&self, armored: &str) -> bool {
        let revoked = self.agent.revoke(armored).unwrap_or_else(|reason| {
            tracing::debug!(reason, "a revocation cannot be taken");
            Vec::new()
        });
        if revoked.is_empty() {
            tracing::debug!("a revocation revokes nothing that is trusted here");
        }
        for Revocation { certificate, key, .. } in &revoked {
            tracing::info!(%key, "revoked: {certificate}");
        }
        !revoked.is_empty()
    }

    /// Runs an action, now or when there is room. What runs, or whose answer is on its way, is not begun beside it: where that
    /// was a refusal and the action has more signatures now, the server brings it again.
    ///
    /// Nothing is queued that nobody of the keyring has signed, and nothing is read before that.
    fn command(&self, envelope: Envelope) {
        let hash = envelope.hash();
        if self.spool.contains(hash) || self.work.lock().running.contains_key(&hash) {
            return;
        }
        if self.work.withdrawn.contains(hash) {
            return refuse(&self.agent, &self.spool, &self.work, hash, envelope.signatures.len());
        }
        match self.agent.look_at(&envelope, self.agent.now()) {
            Ok(looked) => {
                let until = useful_until(Some(looked.until), Timestamp::now());
                self.work.lock().waiting.push(Offer { hash, envelope, looked, until });
                self.begin();
            }
            Err(refusal) => say(&self.spool, &self.work, hash, envelope.signatures.len(), refusal),
        }
    }

    fn begin(&self) {
        let (agent, spool, work) = (self.agent.clone(), self.spool.clone(), self.work.clone());
        begin(&agent, &spool, &work);
    }

    /// Heeds a withdrawal that somebody of the keyring signed: the action is not begun, and where it runs it ends or goes on,
    /// as the withdrawal says.
    fn withdraw(&self, envelope: &Envelope) {
        let (withdrawal, signers) = match self.agent.check_withdrawal(envelope, self.agent.now()) {
            Ok(heeded) => heeded,
            Err(reason) => return tracing::warn!(reason, "a withdrawal is not heeded"),
        };
        let Withdrawal { action: hash, running, .. } = withdrawal;
        if let Err(error) = self.work.withdrawn.add(hash, &signers, Timestamp::now()) {
            tracing::error!(action = %hash, %error, "a withdrawal will be forgotten");
        }
        let mut state = self.work.lock();
        if let Some(stop) = state.running.get(&hash).filter(|_| running == Running::Ends) {
            stop.store(true, Ordering::Relaxed);
        }
        let waiting = state.waiting.remove(hash);
        drop(state);
        if let Some(offer) = waiting {
            refuse(&self.agent, &self.spool, &self.work, hash, offer.judged());
        }
    }
}

/// Answers that an action was withdrawn before it began here.
fn refuse(agent: &Agent, spool: &Spool, work: &Work, hash: ActionHash, judged: usize) {
    let reason = Reason::new(Code::Withdrawn, "the action was withdrawn");
    say(spool, work, hash, judged, agent.refuse(hash, reason, agent.now()));
}

/// Says a last word that the agent would say again, if it were asked again.
fn say(spool: &Spool, work: &Work, hash: ActionHash, judged: usize, word: Part) {
    spool.hold(hash, useful_until(None, Timestamp::now()), judged, word, true);
    work.changed.notify_one();
}

/// The time to the second heartbeat of a line, the same share of [`HEARTBEAT`] for the same agent: a fleet that came all at
/// once is heard evenly afterwards.
fn first_pause(id: &str) -> Duration {
    // Ids are hexadecimal; any other would wait as long as one may.
    let drawn = id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(u32::MAX);
    HEARTBEAT.mul_f64(f64::from(drawn) / f64::from(u32::MAX))
}

/// Until when an answer is of use: a day beyond the last moment at which its action's answers are waited for, since servers
/// and desks take an agent's word however late, and a server that was away for a night may still be brought it.
fn useful_until(awaited: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let longest = now.saturating_add(SignedDuration::from_secs(2 * limits::WINDOW_S_MAX)).unwrap_or(Timestamp::MAX);
    awaited.unwrap_or(now).clamp(now, longest).saturating_add(GRACE).unwrap_or(Timestamp::MAX)
}

/// An action's turn to run, which ends with this value, also where what runs panics.
struct Turn {
    work: Arc<Work>,
    hash: ActionHash,
    stop: Arc<AtomicBool>,
}

impl Turn {
    /// The same action may have begun its next turn by then.
    fn end(&self, state: &mut State) {
        if state.running.get(&self.hash).is_some_and(|stop| Arc::ptr_eq(stop, &self.stop)) {
            state.running.remove(&self.hash);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end(&mut self.work.lock());
        self.work.changed.notify_one();
    }
}

/// Begins what waits, as far as there is room.
fn begin(agent: &Arc<Agent>, spool: &Arc<Spool>, work: &Arc<Work>) {
    let mut most = None;
    loop {
        let mut state = work.lock();
        if state.waiting.is_empty() {
            return;
        }
        // The policy is looked at where there is something to begin.
        if state.running.len()
            >= *most.get_or_insert_with(|| agent.concurrency().map_or(RUNNING_MAX, NonZeroUsize::get))
        {
            return;
        }
        let Some(offer) = state.waiting.pop() else { return };
        if work.withdrawn.contains(offer.hash) {
            drop(state);
            refuse(agent, spool, work, offer.hash, offer.judged());
            continue;
        }
        let stop = Arc::new(AtomicBool::new(false));
        state.running.insert(offer.hash, stop.clone());
        drop(state);
        let (agent, spool, work) = (agent.clone(), spool.clone(), work.clone());
        tokio::task::spawn_blocking(move || {
            run(&agent, &spool, &work, &offer, stop);
            begin(&agent, &spool, &work);
        });
    }
}

/// Judges an action and runs it, if its answer can be kept.
fn run(agent: &Agent, spool: &Spool, work: &Arc<Work>, offer: &Offer, stop: Arc<AtomicBool>) {
    let Offer { hash, until, .. } = *offer;
    let turn = Turn { work: work.clone(), hash, stop };
    let admitted = match spool.make_room() {
        Ok(()) => agent.admit(&offer.envelope, Some(&offer.looked), agent.now()),
        Err(_) => {
            let reason = Reason::new(Code::Storage, "this agent cannot keep answers now");
            Err(agent.refuse(hash, reason, agent.now()))
        }
    };
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            // It passes from one list to the other at once: what comes again in between would be lost.
            let mut state = work.lock();
            turn.end(&mut state);
            return say(spool, work, hash, offer.judged(), refusal);
        }
    };
    let kept = agent.run(admitted, &turn.stop, &mut |part| {
        let last = part.is_last();
        spool.add(hash, until, offer.judged(), part, last)?;
        work.changed.notify_one();
        Ok(())
    });
    if let Err(error) = kept {
        tracing::error!(action = %hash, %error, "an answer could not be kept and is given up");
        spool.give_up(hash, until, offer.judged(), agent.lost(hash, &error, agent.now()));
        work.changed.notify_one();
    }
}
