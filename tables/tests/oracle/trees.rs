//! Random trees of files, and how they are built.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::select;
use rustix::fs::{CWD, Mode, mkfifoat};

pub type Name = &'static [u8];

#[derive(Debug, Clone)]
pub enum Node {
    File { bytes: Bytes, mode: u32 },
    Folder { inside: Vec<(Name, Node)>, mode: u32 },
    Link(Target),
    Fifo,
}

/// A file's content: some filler, so that the rest comes to lie across a reader's border, and a few tokens.
#[derive(Debug, Clone)]
pub struct Bytes {
    filler: usize,
    line: usize,
    tokens: Vec<&'static [u8]>,
}

#[derive(Debug, Clone)]
pub enum Target {
    Relative(Vec<&'static str>),
    /// Below the root.
    Absolute(Vec<&'static str>),
    OutsideFile,
    OutsideFolder,
}

/// Names that are likely to meet again in predicates, and a few that are hard to bear.
const NAMES: &[Name] = &[
    b"a",
    b"a",
    b"b",
    b"b",
    b"c",
    b"ab",
    b"A",
    b"a b",
    b".a",
    b"a.b",
    b"%",
    b"new\nline",
    "é".as_bytes(),
    b"bad\xff",
    b"\xc3\x28",
    b"\\",
    "\u{212a}".as_bytes(),
    b"a\r",
];

const TOKENS: &[&[u8]] = &[
    b"a",
    b"a",
    b"b",
    b"b",
    b"A",
    b"\n",
    b"\n",
    b"\n",
    b"\r",
    b"\r\n",
    b" ",
    b"\0",
    b"\xff",
    b"\xc3",
    "é".as_bytes(),
    "\u{212a}".as_bytes(),
    b"k",
    b"ab",
    b"%",
    b"\\",
    b"\n\n",
    b"aaaa",
    b"_",
    b"\x85",
    "\u{2028}".as_bytes(),
    b".",
];

fn a_content() -> impl Strategy<Value = Bytes> {
    let tokens = || proptest::collection::vec(select(TOKENS), 0..14);
    let near = |border: usize| (border - 12..border + 3).prop_map(|filler| filler);
    let filler = prop_oneof![near(64 << 10), near(128 << 10), near(256 << 10), near(1 << 20), near(2 << 20)];
    prop_oneof![
        60 => tokens().prop_map(|tokens| Bytes { filler: 0, line: 1, tokens }),
        1 => (filler, select(&[13usize, 61, 5000, 1 << 30][..]), tokens())
            .prop_map(|(filler, line, tokens)| Bytes { filler, line, tokens }),
    ]
}

fn a_target() -> impl Strategy<Value = Target> {
    let parts =
        || proptest::collection::vec(select(&["a", "a", "b", "c", "..", "..", ".", "ab", "a b", "none"][..]), 1..4);
    prop_oneof![
        5 => parts().prop_map(Target::Relative),
        2 => parts().prop_map(Target::Absolute),
        1 => Just(Target::OutsideFile),
        1 => Just(Target::OutsideFolder),
    ]
}

fn a_node() -> impl Strategy<Value = Node> {
    let modes = select(&[0o644u32, 0o644, 0o600, 0o4755, 0o400, 0o7777, 0o1666, 0o2640][..]);
    let leaf = prop_oneof![
        8 => (a_content(), modes).prop_map(|(bytes, mode)| Node::File { bytes, mode }),
        4 => a_target().prop_map(Node::Link),
        1 => Just(Node::Fifo),
    ];
    leaf.prop_recursive(4, 20, 5, |inner| {
        let modes = select(&[0o755u32, 0o700, 0o1777, 0o2755][..]);
        let inside = proptest::collection::vec((select(NAMES), inner), 0..5);
        (inside, modes).prop_map(|(inside, mode)| Node::Folder { inside, mode })
    })
}

/// What lies in a root; of two things with one name the first counts.
pub fn a_tree() -> impl Strategy<Value = Vec<(Name, Node)>> {
    proptest::collection::vec((select(NAMES), a_node()), 0..7)
}

impl Bytes {
    pub fn get(&self) -> Vec<u8> {
        let mut bytes = vec![b'.'; self.filler];
        bytes.iter_mut().skip(self.line).step_by(self.line + 1).for_each(|byte| *byte = b'\n');
        self.tokens.iter().for_each(|token| bytes.extend_from_slice(token));
        bytes
    }
}

/// A tree on disk, gone when dropped.
pub struct Built {
    _folder: tempfile::TempDir,
    pub root: PathBuf,
    /// Contents of all files, for predicates on hashes.
    pub contents: Vec<Vec<u8>>,
}

impl Built {
    pub fn new(tree: &[(Name, Node)]) -> Built {
        let folder = tempfile::Builder::new().prefix("oracle").tempdir().unwrap();
        // Deep enough that no `..` of a link leaves the folder.
        let root = folder.path().join("1/2/3/root");
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(folder.path().join("outside/a")).unwrap();
        for name in ["outside/file", "outside/a/b"] {
            fs::write(folder.path().join(name), "a\nb\n").unwrap();
        }
        let mut built = Built { root: root.clone(), contents: Vec::new(), _folder: folder };
        built.fill(&root, tree);
        built
    }

    fn fill(&mut self, folder: &Path, inside: &[(Name, Node)]) {
        for (name, node) in inside {
            let path = folder.join(OsStr::from_bytes(name));
            if path.symlink_metadata().is_err() {
                self.make(&path, node);
            }
        }
    }

    fn make(&mut self, path: &Path, node: &Node) {
        let chmod = |mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        match node {
            Node::File { bytes, mode } => {
                self.contents.push(bytes.get());
                fs::write(path, bytes.get()).unwrap();
                chmod(*mode);
            }
            Node::Folder { inside, mode } => {
                fs::create_dir(path).unwrap();
                self.fill(path, inside);
                chmod(*mode);
            }
            Node::Link(target) => symlink(self.target(target), path).unwrap(),
            Node::Fifo => mkfifoat(CWD, path, Mode::RWXU).unwrap(),
        }
    }

    fn target(&self, target: &Target) -> PathBuf {
        let outside = self.root.ancestors().nth(4).unwrap().join("outside");
        match target {
            Target::Relative(parts) => parts.iter().collect(),
            Target::Absolute(parts) => self.root.join(parts.iter().collect::<PathBuf>()),
            Target::OutsideFile => outside.join("file"),
            Target::OutsideFolder => outside,
        }
    }
}
