//! What lies beside a file's content: capabilities, extended attributes, and the flag that makes it immutable.

use std::fs::File;
use std::process::Command;

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::value::Value;
use rustix::fs::{IFlags, XattrFlags, ioctl_getflags, ioctl_setflags, setxattr};
use rustix::io::Errno;

use crate::common::tree::{Tree, alike, equal, is, null};
use crate::common::{all, at, machine, matches, not, scan};

/// Whether the file system under the tree can do what a test needs; where it cannot, its own error says so aloud.
fn can(what: &str, tried: Result<(), Errno>) -> bool {
    match tried {
        Ok(()) => true,
        Err(error) => {
            let unable = [Errno::NOTSUP, Errno::NOTTY, Errno::PERM, Errno::INVAL, Errno::NOSYS];
            assert!(unable.contains(&error), "{what}: {error}");
            eprintln!("SKIPPED: this file system or user cannot: {what}: {error}");
            false
        }
    }
}

fn files(tree: &Tree, filter: Filter) -> Vec<String> {
    tree.found(all(vec![equal("type", "file"), filter]))
}

/// Takes the flag back, whatever becomes of the test: a file that stays immutable could not be removed with its tree.
struct Fixed(File, IFlags);

impl Drop for Fixed {
    fn drop(&mut self) {
        let _ = ioctl_setflags(&self.0, self.1);
    }
}

#[test]
fn the_immutable_flag_is_told() {
    let tree = Tree::of(&[("fixed", "1"), ("free", "2")]);
    tree.folder("folder").fifo("fifo").link("link", "fixed").link("nowhere", "nothing");
    let file = File::open(tree.at("fixed")).unwrap();
    let flags = ioctl_getflags(&file);
    let set = flags.and_then(|flags| ioctl_setflags(&file, flags | IFlags::IMMUTABLE).map(|()| flags));
    if !can("set a file immutable", set.map(drop)) {
        return;
    }
    let _fixed = Fixed(file, set.unwrap());
    let rows = tree.asked(&["path", "immutable"], all(vec![]));
    let told = files(&tree, is("immutable", Is::Equal(Value::Boolean(true))));
    let free = files(&tree, not(is("immutable", Is::Equal(Value::Boolean(true)))));
    assert_eq!(told, ["fixed"]);
    assert_eq!(free, ["free"]);
    let rows = tree.relative(&rows);
    assert!(rows.contains(&"fixed true".to_owned()) && rows.contains(&"free false".to_owned()), "{rows:?}");
}

#[test]
fn extended_attributes_are_told() {
    let tree = Tree::of(&[("with", "1"), ("without", "2")]);
    tree.link("link", "with").fifo("fifo");
    let note = |name: &str, value: &[u8]| setxattr(tree.at("with"), name, value, XattrFlags::empty());
    if !can("set an extended attribute", note("user.note", b"a word")) {
        return;
    }
    note("user.other", b"\xff\0binary").unwrap();
    assert_eq!(files(&tree, matches("xattrs", "user\\.note")), ["with"]);
    assert_eq!(files(&tree, matches("xattrs", "user\\.other")), ["with"]);
    assert_eq!(files(&tree, matches("xattrs", "user\\.never")), [""; 0]);
    assert_eq!(files(&tree, not(matches("xattrs", "user\\."))).iter().filter(|name| *name == "with").count(), 0);
    let rows = tree.rows(&["name", "xattrs"], equal("name", "with"));
    assert!(rows[0].contains("user.note") && rows[0].contains("user.other"), "{rows:?}");
    let links = tree.found(all(vec![equal("type", "link"), matches("xattrs", "user")]));
    assert_eq!(links, [""; 0], "a link has its own");
}

#[test]
fn thousands_of_bytes_of_attributes_are_told_whole() {
    let tree = Tree::of(&[("with", "1")]);
    let name = |number: usize| format!("user.a-name-of-some-length-{number:03}");
    let set = |number: usize| setxattr(tree.at("with"), name(number), b"", XattrFlags::empty());
    if !can("set an extended attribute", set(0)) {
        return;
    }
    let count = (1..60).take_while(|&number| set(number).is_ok()).count();
    assert!(count > 20, "{count}");
    assert_eq!(tree.found(matches("xattrs", &name(count).replace('.', "\\."))), ["with"]);
}

#[test]
fn capabilities_are_told_by_name() {
    let tree = Tree::of(&[("ping", "1"), ("all", "2"), ("none", "3")]);
    tree.link("link", "ping").folder("folder");
    for (name, capabilities) in [("ping", "cap_net_raw+ep"), ("all", "cap_sys_admin,cap_dac_override=eip")] {
        let run = Command::new("setcap").arg(capabilities).arg(tree.at(name)).output();
        let output = run.unwrap_or_else(|error| panic!("`setcap` ({error}): install the package libcap2-bin"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            let unable = ["not supported", "not permitted"].iter().any(|reason| said.contains(reason));
            assert!(unable, "{said}");
            eprintln!("SKIPPED: this file system or user cannot: {said}");
            return;
        }
    }
    assert_eq!(files(&tree, matches("capabilities", "cap_net_raw")), ["ping"]);
    assert_eq!(files(&tree, matches("capabilities", "cap_sys_admin")), ["all"]);
    assert_eq!(files(&tree, matches("capabilities", "cap_dac_override")), ["all"]);
    assert_eq!(files(&tree, matches("capabilities", "cap_sys_ptrace")), [""; 0]);
    assert_eq!(files(&tree, null("capabilities")), ["none"]);
    assert_eq!(files(&tree, not(null("capabilities"))), ["all", "ping"]);
    assert_eq!(tree.found(all(vec![not(null("capabilities")), not(equal("type", "file"))])), [""; 0]);
}

#[test]
fn what_has_no_such_things_is_unknown_and_no_trouble() {
    for path in ["/dev/null", "/proc/self/status", "/proc/self/fd", "/sys/kernel"] {
        let question = scan("files", &["path", "capabilities", "immutable"], at(path.as_ref()));
        let answer = alike(&machine(), &question);
        assert_eq!((answer.record.rows, answer.troubles()), (1, vec![]), "{path}");
    }
    let tree = Tree::of(&[("file", "")]);
    tree.fifo("fifo").link("nowhere", "nothing").link("loop", "loop").folder("folder");
    let rows = tree.rows(&["path", "capabilities"], all(vec![]));
    assert!(rows.iter().all(|row| row.ends_with(" -")), "{rows:?}");
    assert_eq!(tree.rows(&["path"], not(null("xattrs"))).iter().filter(|row| row.contains("fifo")).count(), 0);
}
