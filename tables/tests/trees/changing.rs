//! Trees that change while they are read: nothing panics, waits or leaks, and what stays is told as ever.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::scan::Options;
use rustix::fs::{CWD, Mode, RenameFlags, mkfifoat, renameat_with};

use crate::common::tree::{Tree, equal};
use crate::common::{Asked, all, answer, machine, matches, not, pattern, request, scan};

/// Asks again and again, with one worker and with several, while `change` is called without pause.
fn disturbed(
    tree: &Tree,
    times: usize,
    change: impl Fn(usize) + Sync,
    columns: &[&str],
    filter: &Filter,
    check: impl Fn(&Asked),
) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut step = 0;
            while !over.load(Ordering::Relaxed) {
                change(step);
                step += 1;
            }
        });
        // Whatever happens to this thread, the other one is told to end.
        let _over = Over(&over);
        let host = machine();
        for time in 0..times {
            for follow in [false, tree.options.follow] {
                let mut question = scan("files", columns, all(vec![tree.under(""), filter.clone()]));
                question.options = Options { follow, ..tree.options };
                let stop = AtomicBool::new(false);
                let asked = answer(&request(&host, &question, [1, 2, 8][time % 3], &stop)).unwrap();
                assert_eq!(asked.record.cut, None);
                for trouble in asked.troubles() {
                    assert!(trouble.starts_with(tree.root().to_str().unwrap()), "{trouble}");
                }
                check(&asked);
            }
        }
    });
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn no_row_twice(asked: &Asked) -> BTreeSet<String> {
    let rows = asked.rows();
    let unique: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(unique.len(), rows.len(), "{rows:?}");
    unique
}

fn ignore<T>(result: std::io::Result<T>) {
    drop(result);
}

#[test]
fn files_that_grow_are_read_to_an_end() {
    let tree = Tree::of(&[("still", "seed\n")]);
    for name in ["a", "b", "c"] {
        tree.file(name, "seed\n");
    }
    let block = "more and more\n".repeat(2000);
    let grow = |step: usize| {
        let name = ["a", "b", "c"][step % 3];
        if fs::metadata(tree.at(name)).unwrap().len() < 8 << 20 {
            OpenOptions::new().append(true).open(tree.at(name)).unwrap().write_all(block.as_bytes()).unwrap();
        }
    };
    let files = |asked: &Asked| assert_eq!(no_row_twice(asked).len(), 4);
    disturbed(&tree, 9, grow, &["name"], &matches("content", "^seed$"), files);
    disturbed(&tree, 9, grow, &["name"], &all(vec![equal("type", "file"), not(matches("content", "never"))]), files);
    let every = Filter::test("content", Is::EveryLine(pattern("^(seed|m[a-z ]*)$")));
    disturbed(&tree, 9, grow, &["name"], &every, files);
    let hashed = |asked: &Asked| {
        files(asked);
        assert!(asked.rows().iter().all(|row| row.len() - row.find(' ').unwrap() == 65), "{:?}", asked.rows());
    };
    disturbed(&tree, 6, grow, &["name", "sha256"], &equal("type", "file"), hashed);
}

/// A file cut short under the reader is shorter, and nothing worse.
#[test]
fn files_that_shrink_are_read_to_their_new_end() {
    let tree = Tree::of(&[("still", "seed\n")]);
    let long = vec![b'x'; 6 << 20];
    for name in ["a", "b"] {
        tree.file(name, &long);
    }
    let shrink = |step: usize| {
        let file = OpenOptions::new().write(true).open(tree.at(["a", "b"][step % 2])).unwrap();
        file.set_len([0, 1, 4097, 3 << 20, 6 << 20, 12 << 20][step % 6]).unwrap();
    };
    let files = |asked: &Asked| assert_eq!(no_row_twice(asked).len(), 3);
    let quiet = all(vec![equal("type", "file"), not(matches("content", "never"))]);
    disturbed(&tree, 60, shrink, &["name"], &quiet, files);
    disturbed(&tree, 60, shrink, &["name", "md5"], &equal("type", "file"), files);
    disturbed(&tree, 60, shrink, &["name", "sha1"], &quiet, files);
}

#[test]
fn what_vanishes_and_comes_back_spoils_nothing_else() {
    let tree = Tree::new();
    for number in 0..200 {
        tree.file(&format!("still/{}/{number}", number % 5), "seed\n");
    }
    tree.folder("churn");
    let churn = |step: usize| {
        let folder = tree.at(&format!("churn/{}", step % 7));
        match step % 3 {
            0 => ignore(fs::create_dir_all(folder.join("deep/er"))),
            1 => {
                for number in 0..20 {
                    ignore(fs::write(folder.join(format!("deep/{number}")), "seed\n"));
                }
            }
            _ => ignore(fs::remove_dir_all(&folder)),
        }
    };
    let still = tree.at("still").to_str().unwrap().to_owned();
    let check = |asked: &Asked| {
        let rows = no_row_twice(asked);
        assert_eq!(rows.iter().filter(|row| row.starts_with(&still)).count(), 200);
    };
    disturbed(&tree, 90, churn, &["path"], &matches("content", "seed"), check);
    let whole = all(vec![equal("type", "file"), not(equal("md5", "x"))]);
    disturbed(&tree, 90, churn, &["path", "size", "mtime", "md5"], &whole, check);
}

/// Puts things of every kind in the place of a file by renames, so that the name is never missing.
#[test]
fn a_file_replaced_by_a_fifo_or_a_link_leads_nowhere() {
    let outside = Tree::of(&[("secret", "SECRET outside\n")]);
    let tree = Tree::of(&[("place", "plain\n"), ("still", "plain\n")]).following();
    let made = Tree::new();
    let replace = |step: usize| {
        let next = made.at("next");
        ignore(fs::remove_file(&next));
        ignore(fs::remove_dir(&next));
        match step % 5 {
            0 => ignore(fs::write(&next, "plain\n")),
            1 => ignore(mkfifoat(CWD, &next, Mode::RWXU).map_err(Into::into)),
            2 => ignore(symlink(outside.at("secret"), &next)),
            3 => ignore(symlink("place", &next)),
            _ => ignore(fs::create_dir(&next)),
        }
        ignore(renameat_with(CWD, &next, CWD, tree.at("place"), RenameFlags::EXCHANGE).map_err(Into::into));
    };
    let secret = crate::common::sha256(b"SECRET outside\n");
    let none = |asked: &Asked| assert_eq!(asked.rows(), [""; 0]);
    disturbed(&tree, 300, replace, &["path"], &matches("content", "SECRET"), none);
    disturbed(&tree, 300, replace, &["path"], &equal("sha256", &secret), none);
    let plain = |asked: &Asked| {
        let rows = no_row_twice(asked);
        assert!(rows.iter().any(|row| row.starts_with("still ")), "{rows:?}");
        assert!(rows.len() <= 2 && rows.iter().all(|row| !row.contains(&secret)), "{rows:?}");
    };
    let either = Filter::Any(vec![matches("content", "^plain$"), equal("sha256", &secret)]);
    disturbed(&tree, 300, replace, &["name", "sha256"], &either, plain);
}

#[test]
fn a_folder_replaced_by_a_link_is_not_a_way_out() {
    let outside = Tree::of(&[("secret/file", "SECRET\n"), ("secret/more/file", "SECRET\n")]);
    let tree = Tree::of(&[("place/file", "plain\n"), ("place/more/file", "plain\n"), ("still", "plain\n")]);
    tree.link("other", outside.at("secret"));
    let swap = |_: usize| {
        ignore(renameat_with(CWD, tree.at("place"), CWD, tree.at("other"), RenameFlags::EXCHANGE).map_err(Into::into));
    };
    let inside = |asked: &Asked| assert_eq!(asked.rows(), [""; 0]);
    disturbed(&tree, 500, swap, &["path"], &matches("content", "SECRET"), inside);
    let plain = |asked: &Asked| {
        assert!(no_row_twice(asked).iter().any(|row| row.ends_with("/still")), "{:?}", asked.rows());
    };
    disturbed(&tree, 300, swap, &["path"], &matches("content", "plain"), plain);
}

/// Branches are moved about while they are walked; those that stay are told once each.
#[test]
fn folders_that_are_moved_while_walked_end_no_walk() {
    let tree = Tree::new();
    for number in 0..30 {
        tree.file(&format!("still/{number}/{number}/{number}"), "");
        tree.file(&format!("moving/{number}/a/b/c/d/e/file"), "");
    }
    let shuffle = |step: usize| {
        let (from, to) = (step % 30, (step * 7 + 3) % 30);
        let place = |number: usize, end: &str| tree.at(&format!("moving/{number}{end}"));
        ignore(fs::rename(place(from, "/a/b"), place(to, "/b")));
        ignore(fs::rename(place(to, "/b"), place(from, "/a/b")));
        ignore(renameat_with(CWD, place(from, "/a"), CWD, place(to, "/a"), RenameFlags::EXCHANGE).map_err(Into::into));
    };
    let still = tree.at("still").to_str().unwrap().to_owned();
    let check = |asked: &Asked| {
        let rows = asked.rows();
        let stayed: Vec<_> = rows.iter().filter(|row| row.starts_with(&still)).collect();
        assert_eq!(stayed.len(), 91, "{:?}", asked.troubles());
        assert_eq!(stayed.iter().collect::<BTreeSet<_>>().len(), 91);
    };
    disturbed(&tree, 150, shuffle, &["path"], &all(vec![]), check);
}

/// Links below the root come and go while they are followed.
#[test]
fn a_loop_that_appears_while_it_is_followed_has_an_end() {
    let tree = Tree::of(&[("a/b/file", ""), ("c/d/file", "")]).following();
    let tie = |step: usize| {
        for (link, target) in [("a/b/loop", "../../c"), ("c/d/loop", "../../a"), ("c/self", ".")] {
            if step.is_multiple_of(2) {
                ignore(symlink(target, tree.at(link)));
            } else {
                ignore(fs::remove_file(tree.at(link)));
            }
        }
    };
    let check = |asked: &Asked| {
        let rows = no_row_twice(asked);
        assert!(rows.len() >= 7 && rows.len() < 100, "{rows:?}");
    };
    disturbed(&tree, 200, tie, &["path"], &all(vec![]), check);
}

/// Files of /proc claim no size and are read to their end; processes come and go meanwhile.
#[test]
fn processes_that_end_while_their_files_are_read_spoil_nothing() {
    let roots = scan(
        "files",
        &["path"],
        all(vec![
            Filter::test("path", Is::Under(canvass_protocol::filter::Place::Folder("/proc".into()))),
            crate::common::tree::number("depth", Is::LessOrEqual, 2),
            Filter::test("name", Is::In(vec![crate::common::text("status"), crate::common::text("meminfo")])),
            matches("content", "^(State|MemTotal):"),
        ]),
    );
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = std::process::Command::new("true").status();
            }
        });
        let _over = Over(&over);
        let host = machine();
        let own = format!("/proc/{}/status", std::process::id());
        for time in 0..30 {
            let stop = AtomicBool::new(false);
            let asked = answer(&request(&host, &roots, [1, 4][time % 2], &stop)).unwrap();
            let rows = no_row_twice(&asked);
            assert!(rows.contains(&own) && rows.contains("/proc/meminfo"), "{rows:?}");
        }
    });
    assert!(File::open(Path::new("/proc/self/status")).is_ok());
}
