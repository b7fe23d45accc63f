//! Limits: each cuts where it says, keeps what was found, and is told; LIMIT is no cut.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::limits::{Cut, Limits};
use canvass_protocol::scan::Scan;
use canvass_tables::engine::{Request, ScanError, run};

use crate::common::tree::{Tree, equal, is};
use crate::common::{Asked, all, answer, machine, matches, not, pattern, request, scan, text};

const WORKERS: [usize; 3] = [1, 2, 8];

fn many(files: usize) -> Tree {
    let tree = Tree::new();
    for number in 0..files {
        let folder = format!("{}/{}", number % 10, number % 3);
        if number < 30 {
            tree.folder(&folder);
        }
        std::fs::write(tree.at(&format!("{folder}/file-{number:06}")), "x\n").unwrap();
    }
    tree
}

fn limited(question: &Scan, limits: Limits, threads: usize) -> Asked {
    let (host, stop) = (machine(), AtomicBool::new(false));
    answer(&Request { limits, ..request(&host, question, threads, &stop) }).unwrap()
}

fn files(tree: &Tree) -> Scan {
    scan("files", &["path"], all(vec![tree.under(""), equal("type", "file")]))
}

fn no_row_twice(asked: &Asked) {
    assert!(asked.rows().windows(2).all(|pair| pair[0] != pair[1]), "{:?}", asked.rows());
}

#[test]
fn rows_are_cut_at_the_number_and_not_one_before() {
    let tree = many(500);
    for threads in WORKERS {
        for (rows, expected, cut) in [
            (0, 0, Some(Cut::Rows)),
            (1, 1, Some(Cut::Rows)),
            (499, 499, Some(Cut::Rows)),
            (500, 500, None),
            (501, 500, None),
            (u64::MAX, 500, None),
        ] {
            let asked = limited(&files(&tree), Limits { rows, ..Limits::default() }, threads);
            assert_eq!((asked.record.rows, asked.record.cut), (expected, cut), "{rows} rows, {threads} workers");
            no_row_twice(&asked);
        }
    }
}

#[test]
fn enough_rows_are_no_cut() {
    let tree = many(500);
    for threads in WORKERS {
        for (limit, rows, expected, cut) in [
            (0, u64::MAX, 0, None),
            (1, u64::MAX, 1, None),
            (7, 7, 7, None),
            (7, 8, 7, None),
            (8, 7, 7, Some(Cut::Rows)),
            (499, u64::MAX, 499, None),
            (500, 500, 500, None),
            (501, u64::MAX, 500, None),
            (u64::MAX, u64::MAX, 500, None),
        ] {
            for content in [false, true] {
                let mut question = files(&tree);
                if content {
                    question.filter = Some(all(vec![tree.under(""), matches("content", "^x$")]));
                }
                question.limit = Some(limit);
                let asked = limited(&question, Limits { rows, ..Limits::default() }, threads);
                let told = (asked.record.rows, asked.record.cut);
                assert_eq!(told, (expected, cut), "LIMIT {limit} of {rows} rows, {threads} workers");
                no_row_twice(&asked);
            }
        }
    }
}

#[test]
fn bytes_are_those_of_the_frames() {
    let tree = many(1500);
    for threads in WORKERS {
        let whole = limited(&files(&tree), Limits::default(), threads).record;
        assert_eq!((whole.rows, whole.cut), (1500, None));
        for bytes in [0, 1, 700, 4096, 50_000, whole.bytes / 2] {
            let record = limited(&files(&tree), Limits { bytes, ..Limits::default() }, threads).record;
            assert_eq!(record.cut, Some(Cut::Bytes), "{bytes} bytes, {threads} workers");
            assert!(record.bytes <= bytes && record.rows < 1500, "{bytes}: {record:?}");
            assert!(bytes < 4096 || record.rows > 0, "{bytes}: {record:?}");
        }
        let record = limited(&files(&tree), Limits { bytes: whole.bytes * 2, ..Limits::default() }, threads).record;
        assert_eq!((record.rows, record.cut), (1500, None));
        let mut counted = files(&tree);
        counted.columns.clear();
        let counted = limited(&counted, Limits { bytes: 4096, ..Limits::default() }, threads).record;
        assert_eq!((counted.rows, counted.cut), (1500, None), "rows without columns weigh next to nothing");
    }
}

/// Files so long that no reader comes to their end, and questions that only the end could answer.
fn endless() -> Tree {
    let tree = Tree::new();
    for name in ["one", "two", "three"] {
        File::create(tree.at(name)).unwrap().set_len(1 << 43).unwrap();
    }
    tree
}

fn long_questions(tree: &Tree) -> Vec<Scan> {
    let ask = |columns: &[&str], filter: Filter| {
        scan("files", columns, all(vec![tree.under(""), equal("type", "file"), filter]))
    };
    let lines = is("content", Is::EveryLine(pattern("(?-u)^\\x00*$")));
    vec![
        ask(&["path"], matches("content", "never")),
        ask(&["path"], not(matches("content", "never"))),
        ask(&["path"], not(matches("content", "^never$"))),
        ask(&["path"], not(matches("content", "(?i)nev[e]r|x$"))),
        ask(&["path"], is("content", Is::Like(pattern("%never")))),
        ask(&["path"], lines),
        ask(&["path", "sha256"], all(vec![])),
        ask(&["path"], equal("md5", "x")),
        ask(&["path", "sha1"], not(matches("content", "never"))),
    ]
}

#[test]
fn time_ends_the_longest_read() {
    let tree = endless();
    for question in long_questions(&tree) {
        for threads in WORKERS {
            let record = limited(&question, Limits { time_ms: 60, ..Limits::default() }, threads).record;
            assert_eq!((record.rows, record.cut), (0, Some(Cut::Time)), "{question:?} {threads}");
        }
    }
}

#[test]
fn processor_time_ends_the_longest_read() {
    let tree = endless();
    for question in long_questions(&tree) {
        for threads in WORKERS {
            let record = limited(&question, Limits { cpu_ms: 60, ..Limits::default() }, threads).record;
            assert_eq!((record.rows, record.cut), (0, Some(Cut::Cpu)), "{question:?} {threads}");
        }
    }
}

#[test]
fn no_time_at_all_finds_nothing_and_says_so() {
    let tree = many(30);
    for threads in WORKERS {
        let record = limited(&files(&tree), Limits { time_ms: 0, ..Limits::default() }, threads).record;
        assert_eq!((record.rows, record.cut), (0, Some(Cut::Time)));
        let record = limited(&files(&tree), Limits { cpu_ms: 0, ..Limits::default() }, threads).record;
        assert_eq!((record.rows, record.cut), (0, Some(Cut::Cpu)));
        let forever =
            Limits { time_ms: u64::MAX, cpu_ms: u64::MAX, rows: u64::MAX, bytes: u64::MAX, memory_bytes: u64::MAX };
        let record = limited(&files(&tree), forever, threads).record;
        assert_eq!((record.rows, record.cut), (30, None));
    }
}

#[test]
fn a_stop_ends_the_longest_read_and_keeps_what_was_found() {
    let tree = endless();
    for threads in WORKERS {
        for question in long_questions(&tree) {
            let (host, stop) = (machine(), AtomicBool::new(false));
            let record = std::thread::scope(|scope| {
                let asking = scope.spawn(|| answer(&request(&host, &question, threads, &stop)).unwrap().record);
                stop.store(true, Ordering::Relaxed);
                asking.join().unwrap()
            });
            assert_eq!((record.rows, record.cut), (0, Some(Cut::Stopped)));
        }
    }
    let tree = many(30_000);
    let question = files(&tree);
    for threads in WORKERS {
        let (host, stop) = (machine(), AtomicBool::new(false));
        let mut handed = 0;
        let record = run(&request(&host, &question, threads, &stop), &mut |rows, _| {
            handed += rows;
            stop.store(true, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert_eq!((record.rows, record.cut), (handed, Some(Cut::Stopped)), "{threads} workers");
        assert!(handed > 0 && handed < 30_000, "{handed} rows, {threads} workers");
    }
}

#[test]
fn a_sink_that_fails_ends_the_scan_whatever_its_workers_do() {
    let tree = many(20_000);
    let question = files(&tree);
    for threads in WORKERS {
        let (host, stop) = (machine(), AtomicBool::new(false));
        let mut calls = 0;
        let ended = run(&request(&host, &question, threads, &stop), &mut |_, _| {
            calls += 1;
            Err(std::io::Error::other("gone"))
        });
        assert!(matches!(ended, Err(ScanError::Sink(_))), "{ended:?}");
        assert_eq!(calls, 1, "{threads} workers");
    }
}

#[test]
fn frames_are_bounded_and_sum_up_to_the_account() {
    let tree = many(9000);
    let mut question = files(&tree);
    question.columns = ["path", "name", "directory", "path", "mode"].map(str::to_owned).to_vec();
    for threads in WORKERS {
        let (host, stop) = (machine(), AtomicBool::new(false));
        let mut frames = Vec::new();
        let record = run(&request(&host, &question, threads, &stop), &mut |rows, bytes| {
            frames.push((rows, bytes.len() as u64));
            Ok(())
        })
        .unwrap();
        assert_eq!((record.rows, record.cut), (9000, None));
        assert_eq!(frames.iter().map(|(rows, _)| rows).sum::<u64>(), 9000);
        assert_eq!(frames.iter().map(|(_, bytes)| bytes).sum::<u64>(), record.bytes);
        assert!(frames.iter().all(|(rows, bytes)| *rows > 0 && *rows <= 8192 && *bytes <= 4 << 20), "{frames:?}");
    }
}

#[test]
fn the_first_hundred_troubles_are_listed_and_all_are_counted() {
    let tree = many(30);
    for count in [1, 99, 100, 101, 2500] {
        let missing = (0..count).map(|number| text(&format!("{}/missing-{number}", tree.root().display())));
        let filter = Filter::Any(vec![is("path", Is::In(missing.collect())), tree.under("0")]);
        let asked = tree.ask(&["path"], all(vec![filter, equal("type", "file")]));
        assert_eq!(asked.record.troubles_count, count);
        assert_eq!(asked.record.troubles.len() as u64, count.min(100));
        assert_eq!((asked.record.rows, asked.record.cut), (3, None));
    }
}

#[test]
fn forbidden_places_are_not_entered_by_any_way() {
    let tree = Tree::of(&[("own/key", "KEY\n"), ("own/deep/key", "KEY\n"), ("file", "KEY\n"), ("free", "KEY\n")]);
    tree.link("door", "own").link("inner", "own/deep").link("way", "own/key").link("chain", "door/deep/key");
    std::fs::hard_link(tree.at("own/key"), tree.at("twin")).unwrap();
    let forbidden = ["own", "file"].map(|name| tree.at(name).to_str().unwrap().to_owned());
    for threads in WORKERS {
        for follow in [false, true] {
            let ask = |columns: &[&str], filter: Filter| {
                let (host, stop) = (machine(), AtomicBool::new(false));
                let mut question = scan("files", columns, filter);
                question.options.follow = follow;
                let request = Request { forbidden: &forbidden, ..request(&host, &question, threads, &stop) };
                let asked = answer(&request).unwrap();
                (tree.relative(&asked), asked.troubles())
            };
            let (rows, troubles) = ask(&["path"], all(vec![tree.under(""), matches("content", "KEY")]));
            assert_eq!(rows, ["free"], "follow {follow}: {troubles:?}");
            assert!(troubles.iter().all(|trouble| trouble.contains("forbidden")), "{troubles:?}");
            let hashed = ask(&["path"], all(vec![tree.under(""), not(is("md5", Is::Null))])).0;
            assert_eq!(hashed, ["free"], "follow {follow}");
            let names =
                ask(&["name"], all(vec![tree.under(""), is("name", Is::In(vec![text("key"), text("deep")]))])).0;
            assert_eq!(names, [""; 0], "follow {follow}");
            for root in ["own", "own/deep", "own/key", "file", "door", "door/deep", "inner", "way", "chain"] {
                let (rows, troubles) = ask(&["path"], tree.under(root));
                assert_eq!((rows.len(), troubles.len()), (0, 1), "{root}, follow {follow}: {rows:?} {troubles:?}");
                assert!(troubles[0].contains("forbidden"), "{troubles:?}");
            }
        }
    }
}
