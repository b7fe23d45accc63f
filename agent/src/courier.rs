//! The agent's part of the fleet: takes commands from the relay, has the guard decide, and sees answers to the server.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::login::{Running, Withdrawal};
use canvass_protocol::reason::{Code, Reason};
use canvass_protocol::relay::{FromAgent, ToAgent};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::agent::Agent;
use crate::relay::{Line, RelayError};
use crate::spool::Spool;
use crate::withdrawn::Withdrawn;

/// Actions that run at once where the policy does not say; others wait for their turn.
const RUNNING_MAX: usize = 4;
/// Actions that wait; more are left to the server, which offers them again.
const WAITING_MAX: usize = 1000;
/// Time between two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(60);
/// How long an answer is kept after its action's answers are waited for no more.
const GRACE: SignedDuration = SignedDuration::from_hours(24);
/// With `--once`: how long nothing has to come before nothing more is expected.
const QUIET: Duration = Duration::from_secs(2);

/// Carries commands in and answers out, over one line after another.
pub struct Courier {
    agent: Arc<Agent>,
    spool: Arc<Spool>,
    work: Arc<Work>,
}

/// What runs and what waits.
struct Work {
    state: Mutex<State>,
    /// Actions that are not begun, because they were withdrawn.
    withdrawn: Withdrawn,
    /// Something was added to the spool, or ended.
    changed: Notify,
}

#[derive(Default)]
struct State {
    running: HashMap<ActionHash, Arc<AtomicBool>>,
    waiting: VecDeque<(ActionHash, Envelope)>,
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
        let work = Work { state: Mutex::default(), withdrawn, changed: Notify::new() };
        Courier { agent, spool, work: Arc::new(work) }
    }

    /// Speaks on a line until it breaks. With `once` it returns when nothing more is to be done.
    pub async fn speak(&self, line: &mut impl Line, once: bool) -> Result<(), RelayError> {
        self.beat(line).await?;
        let mut due = Instant::now() + first_pause(self.agent.id());
        let mut quiet_since = Instant::now();
        // How much of each answer went over this line.
        let mut sent: HashMap<ActionHash, u64> = HashMap::new();
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
            let wake = if once { due.min(Instant::now() + QUIET / 4) } else { due };
            tokio::select! {
                message = line.hear() => {
                    quiet_since = Instant::now();
                    self.take(message?, &mut sent);
                }
                () = changed => quiet_since = Instant::now(),
                () = tokio::time::sleep_until(wake) => {
                    if Instant::now() >= due {
                        self.agent.look_again();
                        self.beat(line).await?;
                        due = Instant::now() + HEARTBEAT;
                    }
                }
            }
        }
    }

    async fn beat(&self, line: &mut impl Line) -> Result<(), RelayError> {
        line.say(FromAgent::Heartbeat(self.agent.heartbeat(self.agent.now())).to_bytes()).await
    }

    /// Sends what the spool has and this line has not seen.
    async fn send(&self, line: &mut impl Line, sent: &mut HashMap<ActionHash, u64>) -> Result<(), RelayError> {
        for (hash, _) in self.spool.answers(Timestamp::now()) {
            let offset = sent.entry(hash).or_default();
            loop {
                match self.spool.read(hash, *offset) {
                    Ok(Some((message, next))) => {
                        line.say(message).await?;
                        *offset = next;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(action = %hash, %error, "an answer cannot be read and is given up");
                        self.spool.forget(hash);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&self, message: ToAgent, sent: &mut HashMap<ActionHash, u64>) {
        match message {
            ToAgent::Command(envelope) => self.command(envelope),
            ToAgent::Withdraw(envelope) => self.withdraw(&envelope),
            ToAgent::Taken(hash) => {
                sent.remove(&hash);
                self.spool.forget(hash);
            }
            ToAgent::Challenge { .. } | ToAgent::Welcome | ToAgent::Replaced => {}
        }
    }

    /// Runs an action, now or when there is room. What runs, or whose answer is on its way, is not begun beside it: where that
    /// was a refusal and the action has more signatures now, the server brings it again.
    fn command(&self, envelope: Envelope) {
        let hash = envelope.hash();
        let mut state = self.work.lock();
        if self.spool.contains(hash) {
            return;
        }
        if self.work.withdrawn.contains(hash) {
            drop(state);
            return refuse(&self.agent, &self.spool, &self.work, hash, &envelope);
        }
        let room = state.waiting.len() < WAITING_MAX && !state.running.contains_key(&hash);
        match state.waiting.iter_mut().find(|(waiting, _)| *waiting == hash) {
            Some((_, waiting)) => *waiting = envelope,
            None if room => state.waiting.push_back((hash, envelope)),
            None => return,
        }
        drop(state);
        self.begin();
    }

    fn begin(&self) {
        let (agent, spool, work) = (self.agent.clone(), self.spool.clone(), self.work.clone());
        begin(&agent, &spool, &work);
    }

    /// Heeds a withdrawal that somebody of the keyring signed: the action is not begun, and where it runs it ends or goes on,
    /// as the withdrawal says.
    fn withdraw(&self, envelope: &Envelope) {
        let Withdrawal { action: hash, running, .. } = match self.agent.check_withdrawal(envelope, Timestamp::now()) {
            Ok(withdrawal) => withdrawal,
            Err(reason) => return tracing::warn!(reason, "a withdrawal is not heeded"),
        };
        if let Err(error) = self.work.withdrawn.add(hash, Timestamp::now()) {
            tracing::error!(action = %hash, %error, "a withdrawal will be forgotten");
        }
        let mut state = self.work.lock();
        if let Some(stop) = state.running.get(&hash).filter(|_| running == Running::Ends) {
            stop.store(true, Ordering::Relaxed);
        }
        let place = state.waiting.iter().position(|(waiting, _)| *waiting == hash);
        let waiting = place.and_then(|place| state.waiting.remove(place));
        drop(state);
        if let Some((_, envelope)) = waiting {
            refuse(&self.agent, &self.spool, &self.work, hash, &envelope);
        }
    }
}

/// Answers that an action was withdrawn before it began here.
fn refuse(agent: &Agent, spool: &Spool, work: &Work, hash: ActionHash, envelope: &Envelope) {
    let now = Timestamp::now();
    let reason = Reason::new(Code::Withdrawn, "the action was withdrawn");
    let refusal = agent.refuse(hash, reason, now);
    if let Err(error) = spool.add(hash, useful_until(envelope, now), envelope.signatures.len(), refusal, true) {
        tracing::error!(action = %hash, %error, "an answer cannot be kept");
    }
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
fn useful_until(envelope: &Envelope, now: Timestamp) -> Timestamp {
    let longest = now.saturating_add(SignedDuration::from_secs(2 * limits::WINDOW_S_MAX)).unwrap_or(Timestamp::MAX);
    let awaited = Action::parse(envelope.payload.as_bytes()).map_or(now, |action| action.answers_until());
    awaited.clamp(now, longest).saturating_add(GRACE).unwrap_or(Timestamp::MAX)
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
        let Some((hash, envelope)) = state.waiting.pop_front() else { return };
        if work.withdrawn.contains(hash) {
            drop(state);
            refuse(agent, spool, work, hash, &envelope);
            continue;
        }
        let stop = Arc::new(AtomicBool::new(false));
        state.running.insert(hash, stop.clone());
        drop(state);
        let (agent, spool, work) = (agent.clone(), spool.clone(), work.clone());
        tokio::task::spawn_blocking(move || {
            let turn = Turn { work: work.clone(), hash, stop };
            let until = useful_until(&envelope, Timestamp::now());
            agent.handle(&envelope.to_bytes(), &turn.stop, &mut |part| {
                let last = part.is_last();
                let mut state = work.lock();
                if last {
                    // It passes from one list to the other at once: what comes again in between would be lost.
                    turn.end(&mut state);
                }
                spool.add(hash, until, envelope.signatures.len(), part, last)?;
                drop(state);
                work.changed.notify_one();
                Ok(())
            });
            drop(turn);
            begin(&agent, &spool, &work);
        });
    }
}
