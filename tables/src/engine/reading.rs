//! One read of a row's content, which decides all its tests and takes all its digests, in bounded memory.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use canvass_protocol::value::Truth;

use super::Watch;
use super::content::{ContentTests, Met};
use super::digest::{Algorithm, Digests};
use super::long::LongLine;
use super::source::{Source, rewind};
use crate::column::Content;
use crate::host::reason;

/// Bytes of one read.
const BLOCK_BYTES: usize = if cfg!(fuzzing) { 64 } else { 128 << 10 };
/// The longest line held in memory; a longer one is taken byte by byte.
const LINE_BYTES_MAX: usize = if cfg!(fuzzing) { 256 } else { 1 << 20 };
/// What files of /proc say once their process has ended.
const NO_SUCH_PROCESS: i32 = rustix::io::Errno::SRCH.raw_os_error();
/// What every worker may use for decompressing at any time, where there is as much: more than enough for what gzip, bzip2,
/// `zstd -3` and `xz -6` write. More than that is used by one worker at a time.
const DECOMPRESS_BYTES: u64 = 16 << 20;

/// Reads one content after another.
#[derive(Default)]
pub(crate) struct Reader {
    algorithms: Vec<Algorithm>,
    decompress: Option<Decompress>,
    buffer: Vec<u8>,
}

#[derive(Clone)]
struct Decompress {
    memory_max: u64,
    /// Of it, what this worker may use at any time.
    share: u64,
    /// Held by the one worker that decompresses what needs much memory.
    much: Arc<Mutex<()>>,
}

/// What one read told.
#[derive(Default)]
pub(crate) struct Outcome {
    pub truths: Vec<Option<Truth>>,
    pub digests: Vec<(Algorithm, String)>,
    pub trouble: Option<String>,
}

/// Tells the filter's truth from what the tests of content say so far; `None` while that leaves it open.
pub(crate) type Judge<'j> = dyn FnMut(&mut Vec<Option<Truth>>) -> Option<Truth> + 'j;

impl Reader {
    /// A reader that takes these digests, and sees inside compressed files where `decompress` gives it memory in bytes,
    /// which it has together with so many other workers.
    pub fn new(algorithms: Vec<Algorithm>, decompress: Option<u64>, workers: NonZeroUsize) -> Reader {
        let decompress = decompress.map(|memory_max| {
            // A quarter is for all of them, the rest for the one that needs much.
            let share = DECOMPRESS_BYTES.min(memory_max / 4 / workers.get() as u64);
            Decompress { memory_max: memory_max / 4 * 3, share, much: Arc::default() }
        });
        Reader { algorithms, decompress, buffer: Vec::new() }
    }

    /// The same for another worker.
    pub fn fork(&self) -> Reader {
        Reader { algorithms: self.algorithms.clone(), decompress: self.decompress.clone(), buffer: Vec::new() }
    }

    /// Whether it takes any digest.
    pub fn hashes(&self) -> bool {
        !self.algorithms.is_empty()
    }

    /// Reads until the filter is decided and, if the row passes and shows digests, to the end. What an error left
    /// open stays so.
    pub fn read(
        &mut self,
        content: &Content,
        tests: Option<&ContentTests>,
        shows_digests: bool,
        watch: &Watch<'_>,
        judge: &mut Judge<'_>,
    ) -> Outcome {
        let Reader { algorithms, decompress, buffer } = self;
        let none = ContentTests::default();
        let tests = tests.unwrap_or(&none);
        let mut reading = Reading {
            tests,
            algorithms,
            shows_digests,
            watch,
            buffer,
            filled: 0,
            read: 0,
            decided: vec![None; tests.len()],
            changed: true,
            met: Met::default(),
            digesting: Digesting::Undecided,
            trouble: None,
        };
        let result = match decompress {
            None => reading.whole(content, None, judge),
            Some(decompress) => match reading.whole(content, Some(decompress.share), judge) {
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                    let _much = decompress.much.lock().unwrap_or_else(PoisonError::into_inner);
                    let begun = reading.begin_anew(content);
                    begun.and_then(|()| reading.whole(content, Some(decompress.memory_max), judge))
                }
                result => result,
            },
        };
        let mut outcome = Outcome { truths: reading.decided, digests: Vec::new(), trouble: reading.trouble };
        match (result, reading.digesting) {
            (Ok(true), Digesting::Along(mut digests)) => {
                outcome.digests = reading.algorithms.iter().copied().zip(digests.finish()).collect();
            }
            (Ok(_), _) => {}
            // A process that has ended meanwhile is no trouble.
            (Err(error), _) if error.raw_os_error() == Some(NO_SUCH_PROCESS) => {}
            (Err(error), _) => outcome.trouble = Some(reason(&error)),
        }
        outcome
    }
}

/// What becomes of the digests of a content.
enum Digesting {
    /// The first block has not been judged.
    Undecided,
    /// Nobody needs them unless a test says something that it has not said so far.
    Postponed,
    Along(Digests),
}

struct Reading<'a> {
    tests: &'a ContentTests,
    algorithms: &'a [Algorithm],
    shows_digests: bool,
    watch: &'a Watch<'a>,
    /// What was read and not yet tested is `buffer[..filled]`.
    buffer: &'a mut Vec<u8>,
    filled: usize,
    /// Bytes read in all.
    read: u64,
    decided: Vec<Option<Truth>>,
    /// Something was decided since the filter was judged.
    changed: bool,
    /// What the tests have met in this content, which makes the next blocks cheaper.
    met: Met,
    digesting: Digesting,
    trouble: Option<String>,
}

/// What is still to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Tests are open, and digests are not needed if nothing else comes.
    Tests,
    /// Digests are needed, whether tests are open or not.
    Digests,
}

impl Reading<'_> {
    /// Reads a content to the end or as far as needed; false where the scan was over first.
    fn whole(&mut self, content: &Content, memory_max: Option<u64>, judge: &mut Judge<'_>) -> io::Result<bool> {
        let Some(again) = self.pass(content, memory_max, judge)? else { return Ok(false) };
        if again {
            // A test let the row pass after its first block was gone, so its digests begin anew.
            rewind(content)?;
            self.filled = 0;
            self.read = 0;
            self.digesting = Digesting::Along(Digests::new(self.algorithms));
            return Ok(self.pass(content, memory_max, judge)?.is_some());
        }
        Ok(true)
    }

    fn begin_anew(&mut self, content: &Content) -> io::Result<()> {
        rewind(content)?;
        self.filled = 0;
        self.read = 0;
        self.decided.iter_mut().for_each(|truth| *truth = None);
        self.changed = true;
        self.met = Met::default();
        self.digesting = Digesting::Undecided;
        self.trouble = None;
        Ok(())
    }

    /// Reads once. `None` where the scan was over first, `Some(true)` where digests are needed that were not taken.
    fn pass(&mut self, content: &Content, memory_max: Option<u64>, judge: &mut Judge<'_>) -> io::Result<Option<bool>> {
        let (mut source, size) = Source::open(content, memory_max, self.watch)?;
        if self.buffer.len() < BLOCK_BYTES {
            self.buffer.resize(BLOCK_BYTES, 0);
        }
        loop {
            if self.filled == self.buffer.len() {
                if self.buffer.len() < LINE_BYTES_MAX {
                    self.buffer.resize(self.buffer.len() * 2, 0);
                } else if !self.long_line(&mut source)? {
                    return Ok(None);
                }
                continue;
            }
            let seen = self.filled;
            let Some(count) = self.fill(&mut source)? else { return Ok(None) };
            // A file that holds what it claims, and gave less than it was asked for, has no more.
            let ended = count == 0 || self.read == size && self.filled < self.buffer.len();
            let lines = if ended {
                self.filled
            } else {
                memchr::memrchr(b'\n', &self.buffer[seen..self.filled]).map_or(0, |end| seen + end + 1)
            };
            self.test(lines);
            if ended {
                self.nothing_else_comes();
            }
            match self.need(ended, judge) {
                Need::Nothing => return Ok(Some(false)),
                Need::Digests if !self.digest() => return Ok(Some(true)),
                Need::Digests | Need::Tests if ended => return Ok(Some(false)),
                Need::Digests | Need::Tests => {}
            }
            if self.is_decided() { self.filled = 0 } else { self.drop_front(lines) }
        }
    }

    fn is_decided(&self) -> bool {
        self.decided.iter().all(Option::is_some)
    }

    /// Reads into the free end of the buffer; `None` where the scan is over.
    fn fill(&mut self, source: &mut Source<'_>) -> io::Result<Option<usize>> {
        loop {
            if self.watch.is_over() {
                return Ok(None);
            }
            match source.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.watch.is_over() => return Ok(None),
                Err(error) => return Err(error),
                Ok(count) => {
                    let read = self.filled..self.filled + count;
                    if let Digesting::Along(digests) = &mut self.digesting {
                        digests.update(&self.buffer[read.clone()]);
                    }
                    self.filled = read.end;
                    self.read += count as u64;
                    return Ok(Some(count));
                }
            }
        }
    }

    /// Tests the whole lines that lie before `end`.
    fn test(&mut self, end: usize) {
        if end > 0 && !self.is_decided() {
            self.changed |= self.tests.block(&self.buffer[..end], &mut self.decided, &mut self.met);
        }
    }

    /// The end decides what no line has.
    fn nothing_else_comes(&mut self) {
        for (test, decided) in self.decided.iter_mut().enumerate() {
            if decided.is_none() {
                *decided = Some(self.tests.at_end(test));
                self.changed = true;
            }
        }
    }

    /// Judges the row by what is known, and by what would be if no line that comes decided anything.
    fn need(&mut self, ended: bool, judge: &mut Judge<'_>) -> Need {
        if !self.changed && !ended {
            return match self.digesting {
                Digesting::Along(_) => Need::Digests,
                _ => Need::Tests,
            };
        }
        self.changed = false;
        match judge(&mut self.decided) {
            Some(Truth::True) if self.shows_digests => Need::Digests,
            Some(_) => Need::Nothing,
            None if self.is_decided() => Need::Digests,
            None => {
                let tests = self.tests;
                let mut supposed: Vec<Option<Truth>> = self.decided.clone();
                supposed.iter_mut().enumerate().for_each(|(test, truth)| {
                    truth.get_or_insert_with(|| tests.at_end(test));
                });
                let digests = match judge(&mut supposed) {
                    Some(Truth::True) => self.shows_digests,
                    Some(_) => false,
                    None => true,
                };
                if digests {
                    Need::Digests
                } else {
                    if let Digesting::Undecided = self.digesting {
                        self.digesting = Digesting::Postponed;
                    }
                    Need::Tests
                }
            }
        }
    }

    /// Makes sure that the digests hold all that was read; false where some of it is gone.
    fn digest(&mut self) -> bool {
        if let Digesting::Along(_) = self.digesting {
            return true;
        }
        if self.read != self.filled as u64 {
            return false;
        }
        let mut digests = Digests::new(self.algorithms);
        digests.update(&self.buffer[..self.filled]);
        self.digesting = Digesting::Along(digests);
        true
    }

    fn drop_front(&mut self, count: usize) {
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
    }

    /// Takes a line that fills the buffer, and the rest of it as it is read; returns whether the scan goes on.
    fn long_line(&mut self, source: &mut Source<'_>) -> io::Result<bool> {
        let mut line = LongLine::new(self.tests, &self.decided);
        let terminated = loop {
            let end = memchr::memchr(b'\n', &self.buffer[..self.filled]);
            line.feed(&self.buffer[..end.unwrap_or(self.filled)]);
            if let Some(end) = end {
                self.drop_front(end + 1);
                break true;
            }
            self.filled = 0;
            match self.fill(source)? {
                None => return Ok(false),
                Some(0) => break false,
                Some(_) => {}
            }
        };
        if let Some(trouble) = line.finish(terminated, &mut self.decided) {
            self.trouble = Some(trouble);
        }
        self.changed = true;
        // Lines that were read along with the end of the long one are tested like any other.
        if let Some(end) = memchr::memrchr(b'\n', &self.buffer[..self.filled]) {
            self.test(end + 1);
            self.drop_front(end + 1);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use canvass_protocol::filter::{Is, Pattern};
    use canvass_protocol::limits::Limits;

    use std::io::{Seek as _, Write as _};

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern { pattern: text.to_owned(), ignore_case: false }
    }

    /// Reads bytes as a file of /proc is read, which does not say how many there are.
    fn read(tests: &[&Is], bytes: &[u8]) -> Outcome {
        let mut compiled = ContentTests::default();
        for is in tests {
            compiled.add(is).unwrap();
        }
        let compiled = compiled.combined();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let stop = AtomicBool::new(false);
        let watch = Watch::new(&Limits::default(), &stop);
        let mut judge = |_: &mut Vec<Option<Truth>>| None;
        Reader::default().read(&Content::File { file, size: 0 }, Some(&compiled), false, &watch, &mut judge)
    }

    fn run(is: &Is, bytes: &[u8]) -> (Truth, Option<String>) {
        let outcome = read(&[is], bytes);
        (outcome.truths[0].unwrap(), outcome.trouble)
    }

    #[test]
    fn lines_end_as_documented() {
        for (text, bytes, some, every) in [
            ("^a$", &b"a\n"[..], true, true),
            ("^a$", b"a\r\n", true, true),
            ("^a$", b"a", true, true),
            ("^a$", b"a\r", false, false),
            ("^a$", b"b\na", true, false),
            ("a", b"", false, true),
            ("^$", b"", false, true),
            ("^$", b"\n", true, true),
            ("^$", b"a\n", false, false),
            ("^$", b"a\n\n", true, false),
            ("^$", b"\r\n", true, true),
            ("^$", b"\r\r\n", false, false),
            ("a\\nb", b"a\nb\n", false, false),
            ("a\\s*b", b"a\nb\n", false, false),
            ("(?s)a.b", b"a\nb", false, false),
            ("a[^x]b", b"a\rb\n", true, true),
            ("(?-u)\\xff", b"\x00\xff\x00", true, true),
            ("\\Aa", b"b\na\n", true, false),
            ("b\\z", b"b\r\na\n", true, false),
        ] {
            assert_eq!(run(&Is::Matches(pattern(text)), bytes).0, some.into(), "{text} in {bytes:?}");
            assert_eq!(run(&Is::EveryLine(pattern(text)), bytes).0, every.into(), "every {text} in {bytes:?}");
        }
    }

    #[test]
    fn lines_longer_than_memory_are_tested() {
        let long = |end: &[u8]| [b"head", vec![b'x'; 3 << 20].as_slice(), end].concat();
        for (text, end, expected) in [
            ("^head", &b"tail"[..], true),
            ("tail$", b"tail", true),
            ("tail$", b"tail\r\nmore\n", true),
            ("tail$", b"tail\r", false),
            ("^headx*tail$", b"tail\n", true),
            ("^tail", b"tail\n", false),
            ("^next$", b"\nnext\r\n", true),
            ("^$", b"\n\n", true),
            ("xtail", b"\ntail", false),
            ("^head.*y", b"y\r-", true),
        ] {
            assert_eq!(run(&Is::Matches(pattern(text)), &long(end)).0, expected.into(), "{text} {end:?}");
        }
        assert_eq!(run(&Is::EveryLine(pattern("x")), &long(b"\nxx\n")).0, Truth::True);
        assert_eq!(run(&Is::EveryLine(pattern("x")), &long(b"\nyy\n")).0, Truth::False);
        assert_eq!(run(&Is::Like(pattern("head%tail")), &long(b"tail\n")).0, Truth::True);
        let (truth, trouble) = run(&Is::Matches(pattern("\\bword\\b")), &long("é".as_bytes()));
        assert_eq!(truth, Truth::Unknown);
        assert!(trouble.unwrap().contains("too long"));
    }
}
