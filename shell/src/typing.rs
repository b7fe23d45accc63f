//! What is typed while nobody reads: kept out of sight, and kept whole for the next prompt.
//!
//! A terminal left to itself echoes keys over whatever is being written, and keeps no more than 4,096 bytes of a line. While a
//! statement runs it does neither: keys wait as they are, many lines of a paste too, and the line editor reads them when it
//! is asked again. Ctrl-C is an interrupt all the same.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal's mode before it was made quiet; a process has one terminal.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal is quiet as long as this lives.
pub struct Quiet(());

impl Quiet {
    /// Makes the terminal on standard input quiet; where there is none, nothing happens.
    pub fn begin() -> Quiet {
        *before() = tcgetattr(std::io::stdin()).ok();
        hush();
        Quiet(())
    }

    /// Makes it quiet again, after somebody else may have set it otherwise: a shell does when a stopped program goes on.
    pub fn again(&self) {
        hush();
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(mode) = before().take() {
            set(&mode);
        }
    }
}

/// A person is asked something as long as this lives: what is typed shows, and comes in lines.
pub struct Asking(());

impl Asking {
    pub fn begin() -> Asking {
        if let Some(mode) = before().as_ref() {
            set(mode);
        }
        Asking(())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        hush();
    }
}

fn before() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hush() {
    if let Some(mut mode) = before().clone() {
        mode.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
        set(&mode);
    }
}

/// A terminal that does not take a mode is used as it is.
fn set(mode: &Termios) {
    let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, mode);
}
