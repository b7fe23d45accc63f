//! A very deep tree under a very low limit of descriptors, which is why this test has a program to itself.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;

use common::{all, ask, machine, matches, scan, under};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit};

#[test]
fn a_thousand_levels_are_walked_with_few_descriptors() {
    let tree = tempfile::tempdir().unwrap();
    let mut folder: OwnedFd = File::open(tree.path()).unwrap().into();
    let name = "level-of-some-length";
    for _ in 0..1000 {
        rustix::fs::mkdirat(&folder, name, Mode::RWXU).unwrap();
        rustix::fs::mkdirat(&folder, "side", Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        folder = rustix::fs::openat(&folder, name, flags, Mode::empty()).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&folder, "bottom", flags, Mode::RUSR).unwrap();
    rustix::io::write(&file, b"alpha").unwrap();
    // Far fewer descriptors than levels.
    let usual = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..usual }).unwrap();
    let question = scan("files", &["depth", "type"], all(vec![under(tree.path()), matches("content", "alpha")]));
    let answer = ask(&machine(), &question).unwrap();
    rustix::process::setrlimit(Resource::Nofile, usual).unwrap();
    assert_eq!(answer.rows(), ["1001 file"]);
    assert_eq!(answer.record.examined, 2002);
    assert_eq!(answer.troubles(), Vec::<String>::new());
}
