//! Ctrl-C, as whoever waits or writes hears it.

use std::io;

use futures::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The interrupts of this process. Several that nobody has heard yet count as one.
pub struct Interrupts(Signal);

impl Interrupts {
    /// Begins to listen; from now on an interrupt no longer ends the process. Needs a tokio runtime.
    pub fn listen() -> io::Result<Interrupts> {
        signal(SignalKind::interrupt()).map(Interrupts)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // The listening has ended; nothing will ever come.
            std::future::pending::<()>().await;
        }
    }

    /// Whether one has come, for whoever is busy and does not wait.
    pub fn has_come(&mut self) -> bool {
        // Whoever never waits would use up what a task may do between two waits, and then hear nothing.
        let next = tokio::task::unconstrained(self.0.recv());
        matches!(next.now_or_never(), Some(Some(())))
    }

    /// Forgets one that came when nothing ran any more, so that it does not stop what is typed next.
    pub fn forget(&mut self) {
        while self.has_come() {}
    }
}
