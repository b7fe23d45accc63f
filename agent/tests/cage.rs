//! The parent of a scan's process against programs that stand in for one, and against the real one.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up stops")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use canvass_agent::cage::{self, CageError, Frame, Job};
use canvass_protocol::answer::ScanRecord;
use canvass_protocol::limits::{Cut, Limits, TROUBLES_MAX};
use canvass_protocol::scan::Scan;
use canvass_tables::host::HostSpec;

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cages").join(format!("{name}.sh"))
}

fn job(limits: Limits) -> Job {
    let scan = r#"{"table":"users","columns":["name"]}"#;
    let scan: Scan = serde_json::from_str(scan).unwrap();
    let withheld = vec!["shell".to_owned()];
    let (threads, forbidden) = (NonZeroUsize::MIN.saturating_add(2), vec!["/srv".into(), "/proc/kcore".into()]);
    Job { host: HostSpec::Machine, scan, limits, threads, withheld, forbidden, whole_cage: false }
}

struct Ran {
    frames: Vec<Frame>,
    ended: Result<BTreeMap<u32, ScanRecord>, CageError>,
}

impl Ran {
    fn record(&self) -> &ScanRecord {
        &self.ended.as_ref().unwrap()[&0]
    }

    fn bodies(&self) -> Vec<&str> {
        self.frames.iter().map(|frame| std::str::from_utf8(&frame.body).unwrap()).collect()
    }
}

/// Runs one scan; `stop_at` frames the stop flag is set.
fn run_with(name: &str, limits: Limits, stop_at: Option<usize>) -> Ran {
    let (stop, mut frames) = (AtomicBool::new(stop_at == Some(0)), Vec::new());
    let ended = cage::run(&program(name), vec![(0, job(limits))], 1, &stop, &mut |frame| {
        frames.push(frame);
        stop.fetch_or(stop_at == Some(frames.len()), Ordering::Relaxed);
        Ok(())
    });
    let ended = ended.map(|ran| {
        frames.extend(ran.last);
        ran.records
    });
    Ran { frames, ended }
}

fn run(name: &str) -> Ran {
    run_with(name, Limits::default(), None)
}

#[test]
fn the_job_reaches_the_child_as_it_is() {
    let limits = Limits { rows: 5, time_ms: 60_000, ..Limits::default() };
    let ran = run_with("echo", limits, None);
    let told: Job = serde_json::from_str(ran.bodies()[0]).unwrap();
    assert_eq!(told, job(limits));
    assert_eq!(ran.record().cut, None);
}

#[test]
fn rows_and_bytes_are_the_parent_s_own_count() {
    let ran = run("answers");
    assert_eq!(ran.bodies(), ["first", "second"]);
    let counted = ScanRecord { asked: true, rows: 3, bytes: 11, examined: 9, ..ScanRecord::default() };
    assert_eq!(*ran.record(), counted);
    let ran = run("boasts");
    let record = ran.record();
    assert!(record.asked);
    assert_eq!((record.rows, record.troubles.len(), record.troubles_count), (0, TROUBLES_MAX, 128));
}

#[test]
fn what_was_found_before_a_crash_is_kept_and_marked() {
    let cases = [
        ("garbage", Cut::Crashed, "wrote what is no answer: unknown kind of message 116"),
        ("long", Cut::Crashed, "wrote what is no answer: a message of 4294967295 bytes"),
        ("torn", Cut::Crashed, "ended early with status 0"),
        ("dies", Cut::Crashed, "was ended by signal 11"),
        ("hungry", Cut::Memory, "used up its memory"),
        ("spins", Cut::Cpu, "used up its CPU time"),
        ("deaf", Cut::Crashed, "was ended by signal 9"),
    ];
    for (name, cut, reason) in cases {
        let ran = run(name);
        assert_eq!(ran.bodies(), ["good"], "{name}");
        let record = ran.record();
        assert_eq!((record.cut, record.rows, record.bytes, record.troubles_count), (Some(cut), 2, 4, 1), "{name}");
        assert!(record.troubles[0].reason.contains(reason), "{name}: {}", record.troubles[0].reason);
    }
}

#[test]
fn whoever_does_not_end_is_killed_at_its_deadline() {
    let ran = run_with("hangs", Limits { time_ms: 10, ..Limits::default() }, None);
    assert_eq!((ran.bodies(), ran.record().cut), (vec!["good"], Some(Cut::Time)));
}

/// The numbers of system calls are this architecture's.
#[cfg(target_arch = "x86_64")]
#[test]
fn nobody_waits_for_a_process_that_cannot_be_buried() {
    let began = Instant::now();
    let ran = run_with("unreaped", Limits { time_ms: 1000, ..Limits::default() }, None);
    assert_eq!((ran.bodies(), ran.record().cut), (vec!["good"], Some(Cut::Time)));
    assert!(began.elapsed() < Duration::from_secs(45), "it waited for the tracer, which lets go after a minute");
}

#[test]
fn a_stop_keeps_what_was_found() {
    let ran = run_with("polite", Limits::default(), Some(1));
    assert_eq!((ran.bodies(), ran.record().cut), (vec!["good", "more"], Some(Cut::Stopped)));
    assert_eq!(ran.record().rows, 3);
    let ran = run_with("hangs", Limits::default(), Some(1));
    assert_eq!((ran.bodies(), ran.record().cut), (vec!["good"], Some(Cut::Stopped)));
}

#[test]
fn limits_hold_whatever_the_child_sends() {
    let ran = run_with("floods", Limits { rows: 1000, ..Limits::default() }, None);
    assert_eq!((ran.frames.len(), ran.record().rows, ran.record().cut), (5, 1000, Some(Cut::Rows)));
    let ran = run_with("floods", Limits { bytes: 17, ..Limits::default() }, None);
    assert_eq!((ran.frames.len(), ran.record().bytes, ran.record().cut), (4, 16, Some(Cut::Bytes)));
}

#[test]
fn a_scan_that_cannot_run_says_why() {
    assert_eq!(run("fails").ended, Err(CageError::Failed("unknown table `nothing`".into())));
    let ended = run("no-such-program").ended;
    assert!(matches!(&ended, Err(CageError::Start(reason)) if reason.contains("no-such-program.sh")), "{ended:?}");
}

#[test]
fn words_on_standard_error_block_nobody() {
    let ran = run("wordy");
    assert_eq!((ran.bodies(), ran.record().cut), (vec!["good"], None));
}

#[test]
fn a_job_that_nobody_reads_blocks_nobody() {
    let mut long = job(Limits::default());
    long.withheld = vec!["x".repeat(1 << 20)];
    let ended =
        cage::run(&program("answers"), vec![(0, long)], cage::SCANS_AT_ONCE, &AtomicBool::new(false), &mut |_| Ok(()));
    assert_eq!(ended.unwrap().records[&0].rows, 3);
}

#[test]
fn scans_run_side_by_side_and_each_has_its_record() {
    let jobs: Vec<(u32, Job)> = (0..20).map(|index| (index, job(Limits::default()))).collect();
    let mut frames: BTreeMap<u32, u64> = BTreeMap::new();
    let ended = cage::run(&program("answers"), jobs, cage::SCANS_AT_ONCE, &AtomicBool::new(false), &mut |frame| {
        *frames.entry(frame.scan).or_default() += frame.rows;
        Ok(())
    });
    let ended = ended.unwrap();
    ended.last.into_iter().for_each(|frame| *frames.entry(frame.scan).or_default() += frame.rows);
    assert_eq!(ended.records.into_keys().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert!(frames.len() == 20 && frames.values().all(|rows| *rows == 3));
}

#[test]
fn where_one_scan_may_run_at_once_the_next_waits_for_its_end() {
    let jobs: Vec<(u32, Job)> = (0..20).map(|index| (index, job(Limits::default()))).collect();
    let mut scans = Vec::new();
    let ended = cage::run(&program("answers"), jobs, 1, &AtomicBool::new(false), &mut |frame| {
        scans.push(frame.scan);
        Ok(())
    });
    let ended = ended.unwrap();
    scans.extend(ended.last.map(|frame| frame.scan));
    assert_eq!(ended.records.len(), 20);
    assert!(scans.len() == 40 && scans.is_sorted(), "{scans:?}");
}

#[test]
fn one_failure_and_a_lost_listener_end_all_scans() {
    let jobs = || (0..3).map(|index| (index, job(Limits::default()))).collect();
    let mut taken = 0;
    let ended = cage::run(&program("floods"), jobs(), cage::SCANS_AT_ONCE, &AtomicBool::new(false), &mut |_| {
        taken += 1;
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    assert!(ended.is_ok());
    assert_eq!(taken, 1, "whoever refused a frame is told nothing more");
    let stopped = cage::run(&program("answers"), jobs(), cage::SCANS_AT_ONCE, &AtomicBool::new(true), &mut |_| Ok(()));
    assert!(stopped.unwrap().records.len() == 3);
}
