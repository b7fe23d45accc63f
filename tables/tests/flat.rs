//! Memory stays flat, whatever a file claims or unpacks to; measured, which is why these tests have a program to
//! themselves and one at a time.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;
#[path = "trees/packed.rs"]
mod packed;

use std::fs::File;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::limits::{Cut, Limits};
use canvass_protocol::scan::Options;
use canvass_tables::engine::Request;
use common::tree::{Tree, is};
use common::{Asked, all, answer, machine, matches, not, pattern, request, scan};
use packed::{packer, xz_with_huge_dictionary, zstd_frame};

/// What a scan may take beside what the program has already.
const MEGABYTES_MAX: u64 = 64;

static ALONE: Mutex<()> = Mutex::new(());

/// The most memory that the program has had since the last look, in megabytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Asks with several workers; what that took more is little.
fn lean(tree: &Tree, columns: &[&str], filter: Filter, limits: Limits) -> Asked {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut question = scan("files", columns, all(vec![tree.under(""), filter]));
    question.options = Options { decompress: tree.options.decompress, ..Options::default() };
    let (host, stop) = (machine(), AtomicBool::new(false));
    forget_peak();
    let before = peak();
    let asked = answer(&Request { limits, ..request(&host, &question, 4, &stop) }).unwrap();
    let more = peak().saturating_sub(before);
    assert!(more <= MEGABYTES_MAX, "{more} MB for {question:?}");
    asked
}

/// A sparse file far larger than the memory, and but one line.
#[test]
fn files_larger_than_memory_are_read_in_blocks() {
    let tree = Tree::new();
    let file = File::create(tree.at("file")).unwrap();
    file.set_len(300 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"tail", (300 << 20) - 4).unwrap();
    let every = is("content", Is::EveryLine(pattern("(?-u)^\\x00+tail$")));
    let like = is("content", Is::Like(pattern("%tail")));
    let together = all(vec![matches("content", "tail$"), not(matches("content", "never")), every, like]);
    let asked = lean(&tree, &["name", "sha256"], together, Limits::default());
    assert_eq!(asked.troubles(), Vec::<String>::new());
    assert_eq!(asked.rows(), ["file b5eaddeac722a11568a8ebe46a43715b6a0e8aff469b7b19e938d1a8e286abaa"]);
    let none = lean(&tree, &["name"], matches("content", "never"), Limits::default());
    assert_eq!((none.record.rows, none.record.cut, none.record.troubles_count), (0, None, 0));
}

#[test]
fn bombs_take_no_memory() {
    let zeros = vec![0u8; 16 << 20];
    for name in ["gzip", "xz", "bzip2", "zstd"] {
        let bomb = match name {
            "zstd" => zstd_frame(0x38, &vec![(1, &b"\0"[..], 128 << 10); 10_000]),
            _ => packer(name).pack(&zeros).repeat(64),
        };
        let tree = Tree::new().decompressing();
        for name in ["a", "b", "c", "d"] {
            tree.file(name, &bomb);
        }
        let limits = Limits { time_ms: 1000, ..Limits::default() };
        let asked = lean(&tree, &["path", "md5"], matches("content", "never"), limits);
        assert_eq!(asked.record.rows, 0, "{name}");
        assert!(matches!(asked.record.cut, None | Some(Cut::Time)), "{name}");
    }
}

/// A header may claim a window or a dictionary of gigabytes: it gets none.
#[test]
fn claims_of_memory_are_not_believed() {
    let text = b"secret word\n";
    let tree = Tree::new().decompressing();
    tree.file("xz", xz_with_huge_dictionary(&packer("xz").pack(text)));
    let window = |exponent: u8| zstd_frame(exponent << 3, &[(0, text, 12)]);
    for exponent in [12, 17, 21, 22, 31] {
        tree.file(&format!("zstd-{exponent}"), window(exponent));
    }
    let asked = lean(&tree, &["name"], matches("content", "^secret word$"), Limits::default());
    // Each is read all the same or is a trouble; none is left out in silence.
    assert_eq!(asked.record.rows + asked.record.troubles_count, 6, "{:?} {:?}", asked.rows(), asked.troubles());
    assert!(asked.rows().contains(&"zstd-12".to_owned()), "{:?}", asked.rows());
    let little = Limits { memory_bytes: 16 << 20, ..Limits::default() };
    let asked = lean(&tree, &["name"], matches("content", "^secret word$"), little);
    assert_eq!(asked.record.rows + asked.record.troubles_count, 6, "{:?} {:?}", asked.rows(), asked.troubles());
}

#[test]
fn many_rows_leave_in_batches() {
    let tree = Tree::new();
    let long = "n".repeat(200);
    for folder in 0..20 {
        tree.folder(&format!("{folder}"));
        for number in 0..1000 {
            File::create(tree.at(&format!("{folder}/{long}{number}"))).unwrap();
        }
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let columns = vec!["path"; 20];
    let question = scan("files", &columns, tree.under(""));
    let (host, stop) = (machine(), AtomicBool::new(false));
    forget_peak();
    let before = peak();
    let mut largest = 0;
    let record = canvass_tables::engine::run(&request(&host, &question, 4, &stop), &mut |_, bytes| {
        largest = largest.max(bytes.len());
        Ok(())
    })
    .unwrap();
    let more = peak().saturating_sub(before);
    assert_eq!((record.rows, record.cut), (20_021, None));
    assert!(record.bytes > 80 << 20 && largest <= 4 << 20, "{record:?} {largest}");
    assert!(more <= MEGABYTES_MAX, "{more} MB");
}
