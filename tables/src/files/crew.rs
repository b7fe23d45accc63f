//! Workers that share work: each keeps to its own until another has none, and then gives some away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What the workers of one phase have in common: tasks of type `T` that nobody has begun.
pub(super) struct Crew<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    /// Tasks that would be taken up at once if they were given.
    wanted: AtomicUsize,
    workers_max: usize,
}

struct State<T> {
    tasks: Vec<T>,
    /// Workers that were started, the first included.
    workers: usize,
    idle: usize,
    over: bool,
}

impl<T> Crew<T> {
    /// A crew of one worker, which may become `workers_max`, with its first tasks.
    pub fn new(workers_max: usize, tasks: Vec<T>) -> Crew<T> {
        let state = State { tasks, workers: 1, idle: 0, over: false };
        let crew = Crew { state: Mutex::new(state), wake: Condvar::new(), wanted: AtomicUsize::new(0), workers_max };
        crew.count(&crew.state());
        crew
    }

    /// Whether somebody has nothing to do.
    pub fn is_hungry(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Gives a task away; returns whether one more worker should be started for it.
    pub fn give(&self, task: T) -> bool {
        let mut state = self.state();
        state.tasks.push(task);
        let start = state.idle < state.tasks.len() && state.workers < self.workers_max;
        if start {
            state.workers += 1;
        }
        self.count(&state);
        drop(state);
        self.wake.notify_one();
        start
    }

    /// A worker that was to be started could not be.
    pub fn not_started(&self) {
        let mut state = self.state();
        state.workers -= 1;
        self.count(&state);
    }

    /// Takes a task that is there.
    pub fn take_now(&self) -> Option<T> {
        let mut state = self.state();
        let task = state.tasks.pop();
        self.count(&state);
        task
    }

    /// Makes room for one more worker beside those that tasks were given for; false where there is none.
    pub fn recruit(&self) -> bool {
        let mut state = self.state();
        let room = state.workers < self.workers_max;
        state.workers += usize::from(room);
        self.count(&state);
        room
    }

    /// Takes a task, waiting while others work and might give one; `None` where there will be none.
    pub fn take(&self) -> Option<T> {
        let mut state = self.state();
        state.idle += 1;
        loop {
            if state.over {
                return None;
            }
            if let Some(task) = state.tasks.pop() {
                state.idle -= 1;
                self.count(&state);
                return Some(task);
            }
            if state.idle == state.workers {
                state.over = true;
                self.wake.notify_all();
                return None;
            }
            self.count(&state);
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the phase: nobody takes a task any more.
    pub fn stop(&self) {
        let mut state = self.state();
        state.over = true;
        state.tasks.clear();
        self.wanted.store(0, Ordering::Relaxed);
        self.wake.notify_all();
    }

    fn count(&self, state: &State<T>) {
        let hands = state.idle + (self.workers_max - state.workers);
        self.wanted.store(hands.saturating_sub(state.tasks.len()), Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A worker that panics takes the process with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
