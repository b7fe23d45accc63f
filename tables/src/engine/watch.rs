//! Says when a scan is over: its wall time, its CPU time, or a stop from outside.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use canvass_protocol::limits::{Cut, Limits};
use rustix::time::{ClockId, clock_gettime};

/// How much wall time passes between two looks at the CPU clock, which costs a system call.
const CPU_EVERY: Duration = Duration::from_millis(5);

/// What a scan and its long probes ask whether to go on; a look costs some ten nanoseconds.
pub struct Watch<'a> {
    stop: &'a AtomicBool,
    /// `None` where the limit lies past the end of the clock.
    deadline: Option<Instant>,
    cpu_deadline: Option<Duration>,
    cpu_next: Cell<Instant>,
    now: Cell<Instant>,
    cut: Cell<Option<Cut>>,
}

impl<'a> Watch<'a> {
    /// Starts the clocks.
    pub fn new(limits: &Limits, stop: &'a AtomicBool) -> Watch<'a> {
        let now = Instant::now();
        Watch {
            stop,
            deadline: now.checked_add(Duration::from_millis(limits.time_ms)),
            cpu_deadline: cpu_time().checked_add(Duration::from_millis(limits.cpu_ms)),
            cpu_next: Cell::new(now),
            now: Cell::new(now),
            cut: Cell::new(None),
        }
    }

    /// The same clocks for another worker of the scan.
    pub(super) fn fork(&self) -> Watch<'a> {
        let Watch { stop, deadline, cpu_deadline, .. } = *self;
        let (cpu_next, now) = (self.cpu_next.clone(), self.now.clone());
        Watch { stop, deadline, cpu_deadline, cpu_next, now, cut: self.cut.clone() }
    }

    /// Takes over what a copy for the same worker has seen.
    pub(super) fn learn(&self, copy: &Watch<'_>) {
        self.cpu_next.set(copy.cpu_next.get());
        self.now.set(copy.now.get());
        self.cut.set(copy.cut.get());
    }

    /// Whether the scan has to end now; once true it stays true.
    pub fn is_over(&self) -> bool {
        if self.cut.get().is_some() {
            return true;
        }
        let now = Instant::now();
        self.now.set(now);
        if self.stop.load(Ordering::Relaxed) {
            self.cut.set(Some(Cut::Stopped));
        } else if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.cut.set(Some(Cut::Time));
        } else if now >= self.cpu_next.get() {
            self.cpu_next.set(now + CPU_EVERY);
            if self.cpu_deadline.is_some_and(|deadline| cpu_time() >= deadline) {
                self.cut.set(Some(Cut::Cpu));
            }
        }
        self.cut.get().is_some()
    }

    /// Why it is over.
    pub fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }

    /// The time of the last look.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }
}

/// CPU time of the whole process: a scan has one to itself.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
