//! Names as hostile as a file system lets them be: no UTF-8, control characters, newlines, and paths without end.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use canvass_protocol::filter::{Filter, Is};
use rustix::fs::{Mode, OFlags};

use crate::common::tree::{Tree, equal, is, null, number};
use crate::common::{all, hex, matches, not, pattern, sha256, text};

const NAMES: [&[u8]; 16] = [
    b"plain",
    b"two words",
    b"new\nline",
    b"\n",
    b"tab\tbell\x07",
    b"\x1b[31mred",
    b"\x7f",
    b"-rf",
    b"...",
    b"%_\\*?[",
    "\u{202e}gpj.exe".as_bytes(),
    "é".as_bytes(),
    "e\u{301}".as_bytes(),
    b"bad\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80surrogate",
];

fn raw(tree: &Tree, name: &[u8]) -> PathBuf {
    tree.root().join(OsStr::from_bytes(name))
}

fn named(names: &[&[u8]]) -> Tree {
    let tree = Tree::new();
    for name in names {
        std::fs::write(raw(&tree, name), *name).unwrap();
    }
    tree
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// One text column of all rows, unjoined: names hold spaces and newlines.
fn texts(tree: &Tree, column: &str, filter: Filter) -> Vec<Option<String>> {
    let answer = tree.asked(&[column], filter);
    assert_eq!(answer.troubles(), Vec::<String>::new());
    let mut texts = Vec::new();
    for batch in &answer.batches {
        let array = batch.column(0).as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
        texts.extend(array.iter().map(|text| text.map(str::to_owned)));
    }
    texts.sort();
    texts
}

#[test]
fn every_name_is_a_row_with_its_exact_bytes_where_text_cannot_say() {
    let tree = named(&NAMES);
    let mut expected: Vec<_> = NAMES.iter().map(|name| Some(shown(name))).collect();
    expected.sort();
    assert_eq!(texts(&tree, "name", equal("type", "file")), expected);
    let mut expected: Vec<_> = NAMES
        .iter()
        .map(|name| std::str::from_utf8(name).err().map(|_| hex(raw(&tree, name).as_os_str().as_bytes())))
        .collect();
    expected.sort();
    assert_eq!(texts(&tree, "path_hex", equal("type", "file")), expected);
    for name in NAMES {
        let one = all(vec![equal("type", "file"), equal("name", &shown(name))]);
        let hexed = tree.asked(&["path"], all(vec![one.clone(), not(null("path_hex"))])).record.rows;
        assert_eq!(hexed, u64::from(std::str::from_utf8(name).is_err()), "{name:?}");
        // The content under each name is that name.
        assert_eq!(texts(&tree, "sha256", one), [Some(sha256(name))], "{name:?}");
    }
}

#[test]
fn names_are_matched_as_they_are_shown() {
    let tree = named(&NAMES);
    let count = |filter: Filter| tree.asked(&["path"], all(vec![equal("type", "file"), filter])).record.rows;
    assert_eq!(count(matches("name", r"\n")), 2);
    assert_eq!(count(matches("name", "^.$")), 2, "a dot is no newline: \\x7f and é");
    assert_eq!(count(matches("name", "(?s)^.$")), 3);
    assert_eq!(count(matches("name", r"[[:cntrl:]]")), 5);
    assert_eq!(count(matches("name", "\u{fffd}")), 3);
    assert_eq!(count(is("name", Is::Like(pattern("_")))), 3);
    assert_eq!(count(is("name", Is::Like(pattern("new%line")))), 1);
    assert_eq!(count(is("name", Is::Like(pattern(r"\%\_\\%")))), 1);
    assert_eq!(count(equal("name", "é")), 1);
    assert_eq!(count(is("name", Is::In(vec![text("\n"), text("-rf"), text("...")]))), 3);
    let path = |name: &str| equal("path", tree.at(name).to_str().unwrap());
    for name in ["new\nline", "\n", "tab\tbell\u{7}", "-rf", "...", "%_\\*?[", "e\u{301}"] {
        let answer = tree.ask(&["path"], path(name));
        assert_eq!((answer.record.rows, answer.record.examined, answer.record.troubles_count), (1, 1, 0), "{name:?}");
    }
    // U+FFFD stands for bytes that it is not: the folder is looked through for names that are shown so.
    let answer = tree.ask(&["path"], path("bad\u{fffd}"));
    assert_eq!((answer.record.rows, answer.record.troubles_count), (1, 0));
}

#[test]
fn folders_with_bad_names_are_entered_and_their_files_told_exactly() {
    let tree = Tree::new();
    let folder = raw(&tree, b"bad\xfe/in\xffner");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("file"), "abc").unwrap();
    std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
    let path = |name: &str| hex(folder.join(name).as_os_str().as_bytes());
    assert_eq!(texts(&tree, "path_hex", matches("content", "abc")), [Some(path("file")), Some(path("link"))]);
    assert_eq!(texts(&tree, "name", not(null("path_hex"))).len(), 4);
    let upper = path("file").to_uppercase();
    assert_eq!(texts(&tree, "name", equal("path_hex", &upper)), [Some("file".to_owned())]);
    assert_eq!(texts(&tree, "name", is("path_hex", Is::NotEqual(text(&upper)))).len(), 3);
    assert_eq!(tree.asked(&["path"], number("depth", Is::Equal, 3)).record.rows, 2);
}

#[test]
fn link_targets_that_are_no_text_are_shown_and_followed() {
    let tree = named(&[b"bad\xff", b"plain"]);
    tree.link("to-bad", OsStr::from_bytes(b"bad\xff")).link("nowhere", OsStr::from_bytes(b"\xff\xff\n"));
    assert_eq!(
        texts(&tree, "target", equal("type", "link")),
        [Some("bad\u{fffd}".to_owned()), Some("\u{fffd}\u{fffd}\n".to_owned())]
    );
    assert_eq!(texts(&tree, "sha256", equal("name", "to-bad")), [Some(sha256(b"bad\xff"))]);
    assert_eq!(texts(&tree, "sha256", equal("name", "nowhere")), [None]);
}

#[test]
fn the_longest_names_are_like_any_other() {
    let tree = Tree::new();
    let (ascii, wide) = ("x".repeat(255), "é".repeat(127));
    tree.file(&ascii, "abc").file(&format!("{wide}/{ascii}"), "abc").file(&format!("{wide}/{wide}/{wide}"), "abc");
    let bytes = vec![0xffu8; 255];
    std::fs::write(raw(&tree, &bytes), "abc").unwrap();
    let names = texts(&tree, "name", matches("content", "abc"));
    assert_eq!(names, [ascii.clone(), ascii.clone(), wide.clone(), "\u{fffd}".repeat(255)].map(Some));
    assert_eq!(tree.found(all(vec![equal("name", &wide), equal("type", "file")])), [format!("{wide}/{wide}/{wide}")]);
}

/// Opens a chain of folders one in another, far beyond what one path can name; the last is handed over.
fn dig(tree: &Tree, levels: usize, name: &str) -> OwnedFd {
    let mut folder: OwnedFd = File::open(tree.root()).unwrap().into();
    for _ in 0..levels {
        rustix::fs::mkdirat(&folder, name, Mode::RWXU).unwrap();
        folder = rustix::fs::openat(&folder, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    folder
}

fn write(folder: &OwnedFd, name: &str, bytes: &[u8]) {
    let file = rustix::fs::openat(folder, name, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    rustix::io::write(&file, bytes).unwrap();
}

#[test]
fn files_a_thousand_folders_deep_are_read_like_any_other() {
    let tree = Tree::new();
    let bottom = dig(&tree, 1000, "a folder of some length");
    write(&bottom, "file", b"abc\n");
    let answer = tree.asked(&["depth", "size", "sha256"], all(vec![equal("name", "file"), matches("content", "abc")]));
    assert_eq!(answer.rows(), [format!("1001 4 {}", sha256(b"abc\n"))]);
    assert_eq!(answer.record.examined, 1002);
    assert_eq!(answer.troubles(), Vec::<String>::new());
    let path = texts(&tree, "path", equal("name", "file"))[0].clone().unwrap();
    assert_eq!(path.len(), tree.root().to_str().unwrap().len() + 1000 * 24 + "/file".len());
    let deep = tree
        .asked(&["depth"], all(vec![is("path", Is::Like(pattern("%length/file"))), number("depth", Is::Greater, 900)]));
    assert_eq!(deep.rows(), ["1001"]);
}

#[test]
fn links_deeper_than_a_path_can_say_are_rows_and_their_content_a_trouble() {
    let tree = Tree::new();
    let bottom = dig(&tree, 250, "a folder of some length");
    write(&bottom, "file", b"abc\n");
    rustix::fs::symlinkat("file", &bottom, "link").unwrap();
    rustix::fs::symlinkat("../a folder of some length/file", &bottom, "round").unwrap();
    rustix::fs::symlinkat("nothing", &bottom, "dangling").unwrap();
    let answer = tree.asked(&["name", "sha256"], equal("type", "link"));
    assert_eq!(answer.rows(), ["dangling -", "link -", "round -"]);
    let told: Vec<String> = answer.troubles().iter().map(|told| told.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|told| told.ends_with(": where the link leads cannot be told")), "{told:?}");
}

#[test]
fn a_folder_of_many_names_is_listed_whole() {
    let tree = Tree::new();
    let folder: OwnedFd = File::open(tree.root()).unwrap().into();
    for number in 0..5000 {
        write(&folder, &format!("{number:0250}"), b"");
    }
    let answer = tree.asked(&["name"], all(vec![]));
    assert_eq!((answer.record.rows, answer.record.examined), (5001, 5001));
    let rows = answer.rows();
    assert!(rows.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(tree.asked(&["name"], matches("name", "777$")).record.rows, 5);
}
