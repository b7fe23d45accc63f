//! Waiting, and how often something may be sent: a scan that is over waits no longer, and a fleet that is asked is no flood.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Packets that a scan may send within [`PERIOD`], questions to name servers included.
const SENT_MAX: usize = 10;
const PERIOD: Duration = Duration::from_secs(1);
/// How long nobody asks whether the scan is over.
const SLICE: Duration = Duration::from_millis(100);

/// When the last packets of a scan were sent.
#[derive(Debug, Default)]
pub(super) struct Sent(VecDeque<Instant>);

impl Sent {
    /// From when on one more may be sent.
    fn free_at(&self) -> Option<Instant> {
        self.0.front().filter(|_| self.0.len() >= SENT_MAX).and_then(|first| first.checked_add(PERIOD))
    }

    fn push(&mut self, at: Instant) {
        if self.0.len() >= SENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(at);
    }
}

/// Breaks wherever the scan is over.
pub(super) struct Pace<'p> {
    pub go_on: &'p mut dyn FnMut() -> ControlFlow<()>,
    pub sent: &'p mut Sent,
}

impl Pace<'_> {
    /// Waits until one more packet may be sent; returns when that was.
    pub fn before_sending(&mut self) -> ControlFlow<(), Instant> {
        (self.go_on)()?;
        while let Some(left) = self.sent.free_at().map(|at| at.saturating_duration_since(Instant::now()))
            && !left.is_zero()
        {
            let timeout = Timespec::try_from(left.min(SLICE)).unwrap_or_default();
            // An interruption only looks at the clock earlier.
            let _ = poll(&mut [], Some(&timeout));
            (self.go_on)()?;
        }
        let now = Instant::now();
        self.sent.push(now);
        ControlFlow::Continue(now)
    }

    /// Waits for a socket; false where nothing came of it in time.
    pub fn ready(&mut self, socket: BorrowedFd<'_>, flags: PollFlags, deadline: Instant) -> ControlFlow<(), bool> {
        loop {
            (self.go_on)()?;
            let left = deadline.saturating_duration_since(Instant::now()).min(SLICE);
            let timeout = Timespec::try_from(left).unwrap_or_default();
            match poll(&mut [PollFd::from_borrowed_fd(socket, flags)], Some(&timeout)) {
                Ok(0) if left.is_zero() => return ControlFlow::Continue(false),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return ControlFlow::Continue(true),
                Err(_) => return ControlFlow::Continue(false),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_packets_a_second() {
        let (start, mut sent) = (Instant::now(), Sent::default());
        for number in 0..10 {
            assert_eq!(sent.free_at(), None);
            sent.push(start + Duration::from_millis(number));
        }
        assert_eq!(sent.free_at(), Some(start + PERIOD));
        sent.push(start + PERIOD);
        assert_eq!(sent.free_at(), Some(start + PERIOD + Duration::from_millis(1)));
    }

    #[test]
    fn a_scan_that_is_over_waits_no_longer() {
        let (mut sent, mut looks) = (Sent::default(), 0);
        (0..10).for_each(|_| sent.push(Instant::now() + Duration::from_secs(3600)));
        let mut go_on = || {
            looks += 1;
            if looks == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        assert!(Pace { go_on: &mut go_on, sent: &mut sent }.before_sending().is_break());
        assert_eq!(looks, 3);
    }
}
