//! A terminal with a program on it: what is typed, and what a person sees.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::pty::{Winsize, openpty};

/// How long a program may take to write what it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Terminal {
    keys: File,
    screen: Arc<Screen>,
    reader: Option<JoinHandle<()>>,
    child: Child,
    seen: usize,
}

#[derive(Default)]
struct Screen {
    written: Mutex<Vec<u8>>,
    more: Condvar,
}

/// Tells what is shown from sequences that move the cursor and the like.
#[derive(Default)]
enum Sequences {
    #[default]
    Outside,
    Escape,
    Inside,
}

impl Sequences {
    fn shows(&mut self, byte: u8) -> bool {
        let (next, shows) = match (&*self, byte) {
            (Sequences::Outside, b'\x1b') => (Sequences::Escape, false),
            (Sequences::Outside, _) => (Sequences::Outside, true),
            (Sequences::Escape, b'[') => (Sequences::Inside, false),
            (Sequences::Inside, 0x20..=0x3f) => (Sequences::Inside, false),
            (Sequences::Escape | Sequences::Inside, _) => (Sequences::Outside, false),
        };
        *self = next;
        shows
    }
}

impl Terminal {
    /// Starts a program on a terminal of its own, which it controls.
    pub fn run(command: &Command, columns: u16) -> Terminal {
        let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).unwrap();
        let slave = || pair.slave.try_clone().unwrap();
        let mut started = Command::new("setsid");
        started.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            started.current_dir(folder);
        }
        started.env("TERM", "xterm").env("NO_COLOR", "1");
        let child = started.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        let screen = Arc::new(Screen::default());
        let (mut output, written) = (File::from(pair.master.try_clone().unwrap()), screen.clone());
        let reader = std::thread::spawn(move || {
            let (mut bytes, mut sequences) = ([0; 4096], Sequences::default());
            // A terminal whose other end is closed is read with an error.
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                let shown = bytes[..length].iter().copied().filter(|byte| sequences.shows(*byte));
                written.written.lock().unwrap().extend(shown);
                written.more.notify_all();
            }
        });
        Terminal { keys: File::from(pair.master), screen, reader: Some(reader), child, seen: 0 }
    }

    /// Types these keys, all at once as a paste without brackets does.
    pub fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until these words stand, without what moves the cursor, after those that were waited for before; returns what stands in between.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) -> String {
        let written = self.screen.written.lock().unwrap();
        let from = self.seen;
        let find = |written: &[u8]| written[from..].windows(words.len()).position(|at| at == words.as_bytes());
        let (written, late) =
            self.screen.more.wait_timeout_while(written, PATIENCE, |written| find(written).is_none()).unwrap();
        assert!(!late.timed_out(), "`{words}` was not written:\n{}", String::from_utf8_lossy(&written[from..]));
        let at = from + find(&written).unwrap();
        self.seen = at + words.len();
        String::from_utf8_lossy(&written[from..at]).into_owned()
    }

    /// All that was written so far.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.screen.written.lock().unwrap()).into_owned()
    }

    /// Waits for the program's end; returns it and all that was written.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status, self.written())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
