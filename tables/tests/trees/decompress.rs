//! `decompress`: content and hashes are of what gzip, xz, zstd and bzip2 streams hold, and only where it was asked for.

use std::sync::atomic::AtomicBool;

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::limits::{Cut, Limits};
use canvass_tables::engine::Request;

use crate::common::tree::{Tree, equal, is, null};
use crate::common::{all, answer, machine, matches, md5, not, pattern, request, scan, sha256};
use crate::packed::{PACKERS, Packer, gzip_with_all_fields, packer, zstd_frame, zstd_skippable};
use crate::published::HASHES;

const TEXT: &[u8] = b"first line\r\nsecret word\nlast";
const PACKED: [&str; 4] = ["bzip2", "gzip", "xz", "zstd"];

fn every(text: &str) -> Filter {
    is("content", Is::EveryLine(pattern(text)))
}

/// One file for each packer, all of the same content.
fn packed(bytes: &[u8]) -> Tree {
    let tree = Tree::new();
    for packer in &PACKERS {
        tree.file(packer.name, packer.pack(bytes));
    }
    tree
}

#[test]
fn content_is_what_a_stream_holds() {
    let tree = packed(TEXT).decompressing();
    for filter in [
        matches("content", "^secret word$"),
        matches("content", "last$"),
        matches("content", "^first line$"),
        is("content", Is::Like(pattern("secret%"))),
        all(vec![matches("content", "first"), matches("content", "last"), not(matches("content", "never"))]),
        Filter::Any(vec![matches("content", "never"), matches("content", "word")]),
        not(every("secret")),
        every("^[a-z ]+$"),
        not(matches("content", r"\r|\x1f|BZh|7zXZ")),
    ] {
        assert_eq!(tree.found(filter.clone()), PACKED, "{filter:?}");
        assert_eq!(tree.found(not(filter.clone())), [""; 0], "not {filter:?}");
    }
}

#[test]
fn hashes_are_of_what_a_stream_holds() {
    let tree = packed(b"abc").decompressing();
    for hash in &HASHES {
        let rows = PACKED.map(|name| format!("{name} {}", hash.abc));
        assert_eq!(tree.rows(&["name", hash.column], equal("type", "file")), rows);
        assert_eq!(tree.found(equal(hash.column, &hash.abc.to_uppercase())), PACKED);
        assert_eq!(tree.found(all(vec![equal(hash.column, hash.abc), matches("content", "^abc$")])), PACKED);
        assert_eq!(tree.found(equal(hash.column, hash.empty)), [""; 0]);
    }
    assert_eq!(tree.found(null("sha256")), ["."]);
}

#[test]
fn without_the_option_the_packed_bytes_count() {
    let text = b"first secret last ".repeat(100);
    let tree = packed(&text);
    assert_eq!(tree.found(matches("content", "(first secret last ){3}")), [""; 0]);
    assert_eq!(tree.found(matches("content", "^(?-u:BZh9|\\x1f\\x8b|\\xfd7zXZ|\\x28\\xb5\\x2f\\xfd)")), PACKED);
    for packer in &PACKERS {
        let bytes = packer.pack(&text);
        let row = format!("{} {} {}", md5(&bytes), sha256(&bytes), bytes.len());
        assert_eq!(tree.rows(&["md5", "sha256", "size"], equal("name", packer.name)), [row]);
    }
}

#[test]
fn the_size_is_that_of_the_file_and_what_is_not_packed_is_as_ever() {
    let tree = packed(TEXT).decompressing();
    tree.file("plain", TEXT)
        .file("empty", "")
        .file("name.gz", TEXT)
        .file("one", "\x1f")
        .folder("folder.xz")
        .fifo("fifo");
    tree.link("link", "gzip").link("out", "/etc/passwd");
    for packer in &PACKERS {
        let length = packer.pack(TEXT).len().to_string();
        assert_eq!(tree.rows(&["size"], equal("name", packer.name)), [length]);
    }
    let with = ["bzip2", "gzip", "link", "name.gz", "plain", "xz", "zstd"];
    assert_eq!(tree.found(matches("content", "secret")), with);
    assert_eq!(tree.found(not(matches("content", "secret"))), ["empty", "one"]);
    assert_eq!(tree.found(equal("sha256", &sha256(TEXT))), with);
    assert_eq!(tree.found(every("never")), ["empty"]);
    assert_eq!(tree.found(null("md5")), [".", "fifo", "folder.xz", "out"]);
}

/// What only begins like a stream is a trouble or the bytes it is; never an end, and never half.
#[test]
fn what_begins_like_a_stream_need_be_none() {
    let starts: [&[u8]; 14] = [
        b"\x1f\x8b",
        b"\x1f\x8b\x08",
        b"\x1f\x8b\x07secret",
        b"BZ",
        b"BZh",
        b"BZh9",
        b"BZh9 is how it begins\nsecret\n",
        b"\xfd7zXZ",
        b"\xfd7zXZ\0",
        b"\xfd7zXZ\0secret",
        b"\x28\xb5\x2f\xfd",
        b"\x28\xb5\x2f\xfdsecret",
        b"\x50\x2a\x4d\x18",
        b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
    ];
    for start in starts {
        let tree = Tree::of(&[("file", start), ("other", b"secret")]).decompressing();
        let answer = tree.asked(&["name", "sha256"], equal("type", "file"));
        let plain = format!("file {}", sha256(start));
        let rows = answer.rows();
        match answer.record.troubles_count {
            0 => assert_eq!(rows[0], plain, "{start:?}"),
            _ => assert_eq!(rows[0], "file -", "{start:?}"),
        }
        assert_eq!(rows[1], format!("other {}", sha256(b"secret")));
        assert_eq!(tree.asked(&["name"], matches("content", "^secret$")).rows().last().unwrap(), "other");
    }
    let text = Tree::of(&[("file", "BZhello\nsecret"), ("zip", "PK\x03\x04secret")]).decompressing();
    assert_eq!(text.found(matches("content", "secret")), ["file", "zip"]);
}

#[test]
fn streams_one_after_another_are_read_as_one() {
    for packer in &PACKERS {
        let parts: [&[u8]; 5] = [b"first\nsec", b"ret word\n", b"", b"last\r", b"\nend"];
        let whole = parts.concat();
        let tree = Tree::of(&[("joined", parts.map(|part| packer.pack(part)).concat())]).decompressing();
        assert_eq!(tree.found(matches("content", "^secret word$")), ["joined"], "{}", packer.name);
        assert_eq!(tree.found(matches("content", "^last$")), ["joined"], "{}", packer.name);
        assert_eq!(tree.found(all(vec![matches("content", "^first$"), matches("content", "^end$")])), ["joined"]);
        assert_eq!(tree.rows(&["sha256"], equal("name", "joined")), [sha256(&whole)], "{}", packer.name);
        let empty = Tree::of(&[("empty", packer.pack(b""))]).decompressing();
        assert_eq!(empty.found(every("never")), ["empty"], "{}", packer.name);
        assert_eq!(empty.found(not(matches("content", ""))), ["empty"], "{}", packer.name);
        assert_eq!(empty.rows(&["md5"], equal("name", "empty")), [md5(b"")]);
    }
}

#[test]
fn every_way_of_writing_a_stream_is_understood() {
    let (gzip, xz, zstd, bzip2) = (packer("gzip"), packer("xz"), packer("zstd"), packer("bzip2"));
    let mut text = TEXT.to_vec();
    (0..20_000u32)
        .for_each(|number| text.extend_from_slice(format!("{}\n", number.wrapping_mul(2_654_435_761)).as_bytes()));
    let ways: Vec<(&str, &Packer, Vec<&str>)> = vec![
        ("gzip-1", gzip, vec!["-1"]),
        ("gzip-9", gzip, vec!["-9"]),
        ("bzip2-1", bzip2, vec!["-1"]),
        ("bzip2-9", bzip2, vec!["-9"]),
        ("xz-0", xz, vec!["-0"]),
        ("xz-6", xz, vec!["-6"]),
        ("xz-none", xz, vec!["--check=none"]),
        ("xz-crc32", xz, vec!["--check=crc32"]),
        ("xz-sha256", xz, vec!["--check=sha256"]),
        ("xz-blocks", xz, vec!["--block-size=100000"]),
        ("xz-x86", xz, vec!["--x86", "--lzma2"]),
        ("xz-delta", xz, vec!["--delta=dist=2", "--lzma2"]),
        ("zstd-1", zstd, vec!["-1"]),
        ("zstd-19", zstd, vec!["-19"]),
        ("zstd-fast", zstd, vec!["--fast=9"]),
        ("zstd-no-check", zstd, vec!["--no-check"]),
        ("zstd-long", zstd, vec!["--long=24"]),
    ];
    let tree = Tree::new().decompressing();
    let mut names = Vec::new();
    for (name, packer, arguments) in &ways {
        tree.file(name, packer.pack_with(arguments, &text));
        names.push((*name).to_owned());
    }
    names.sort();
    let last = String::from_utf8(text[text.len() - 11..].to_vec()).unwrap();
    let last = last.trim().rsplit('\n').next().unwrap().to_owned();
    assert_eq!(tree.found(equal("sha256", &sha256(&text))), names);
    assert_eq!(tree.found(all(vec![matches("content", "^secret"), matches("content", &format!("^{last}$"))])), names);
    let odd = Tree::new().decompressing();
    odd.file("fields", gzip_with_all_fields(TEXT));
    odd.file("skipped", [zstd_skippable(b"secret"), zstd.pack(TEXT), zstd_skippable(b"")].concat());
    odd.file("raw", zstd_frame(0x38, &[(0, TEXT, 28)]));
    odd.file("xz-padded", [xz.pack(&TEXT[..9]), vec![0; 8], xz.pack(&TEXT[9..]), vec![0; 4]].concat());
    odd.file("gzip-padded", [gzip.pack(TEXT), vec![0; 512]].concat());
    assert_eq!(TEXT.len(), 28);
    let rows = ["fields", "gzip-padded", "raw", "skipped", "xz-padded"].map(|name| format!("{name} {}", sha256(TEXT)));
    assert_eq!(odd.rows(&["name", "sha256"], equal("type", "file")), rows);
}

/// One question of a damaged stream: its hash, and whether that was a trouble.
fn damaged(bytes: Vec<u8>) -> (String, u64) {
    let tree = Tree::of(&[("damaged", bytes), ("whole", packer("gzip").pack(TEXT))]).decompressing();
    let answer = tree.asked(&["name", "sha256"], equal("type", "file"));
    let rows = answer.rows();
    assert_eq!(rows[1], format!("whole {}", sha256(TEXT)), "one bad stream spoils no other");
    let negated = tree.asked(&["name"], not(matches("content", "never")));
    let row = rows[0].strip_prefix("damaged ").unwrap().to_owned();
    assert_eq!(negated.record.rows, 1 + u64::from(row != "-"), "what was not read whole answers to no negation");
    assert_eq!(negated.record.troubles_count, answer.record.troubles_count);
    for trouble in answer.troubles() {
        assert!(trouble.contains("/damaged: "), "{trouble}");
    }
    (row, answer.record.troubles_count)
}

#[test]
fn a_truncated_stream_is_a_trouble() {
    for packer in &PACKERS {
        let whole = packer.pack(TEXT);
        for length in [12, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            let told = damaged(whole[..length].to_vec());
            assert_eq!(told, ("-".to_owned(), 1), "{} cut to {length} of {}", packer.name, whole.len());
        }
        // The second of two is cut.
        let second = [whole.as_slice(), &whole[..whole.len() - 3]].concat();
        assert_eq!(damaged(second), ("-".to_owned(), 1), "{}", packer.name);
    }
}

#[test]
fn a_corrupt_stream_is_a_trouble_and_never_another_content() {
    for packer in &PACKERS {
        let whole = packer.pack(TEXT);
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x41;
            let plain = sha256(&bytes);
            let told = damaged(bytes);
            // Spare fields and padding mean nothing, and what has another beginning is no stream.
            let harmless = told == (sha256(TEXT), 0) || (told == (plain, 0) && place < 10);
            assert!(harmless || told == ("-".to_owned(), 1), "{} at {place}: {told:?}", packer.name);
        }
    }
}

#[test]
fn garbage_behind_a_stream_is_passed_over_or_a_trouble() {
    for packer in &PACKERS {
        for garbage in [&b"garbage"[..], b"\0", b"\n", &[0xff; 5000], b"\x1f\x8b", b"BZh", b"secret word\n"] {
            let told = damaged([packer.pack(TEXT), garbage.to_vec()].concat());
            let passed_over = told.0 == sha256(TEXT) && told.1 <= 1;
            assert!(passed_over || told == ("-".to_owned(), 1), "{} {garbage:?}: {told:?}", packer.name);
        }
    }
}

#[test]
fn a_stream_in_a_stream_is_not_opened() {
    for packer in &PACKERS {
        let inner = packer.pack(&b"secret ".repeat(2000));
        let tree = Tree::of(&[("twice", packer.pack(&inner))]).decompressing();
        assert_eq!(tree.found(not(matches("content", "secret secret"))), ["twice"]);
        assert_eq!(tree.rows(&["md5"], equal("name", "twice")), [md5(&inner)]);
    }
}

#[test]
fn long_streams_are_read_across_all_borders() {
    let mut text = "a line of filler text\n".repeat(180_000);
    for (number, place) in [65_530usize, 131_070, 1_048_570, 2_500_000, 3_900_000].into_iter().enumerate() {
        let word = format!("needle{number}");
        text.replace_range(place..place + word.len(), &word);
    }
    text.push_str("end");
    let tree = packed(text.as_bytes()).decompressing();
    let needles = |negated: bool| {
        (0..5)
            .map(|number| matches("content", &format!("needle{number}")))
            .map(|test| if negated { not(test) } else { test })
            .collect()
    };
    assert_eq!(tree.found(all(needles(false))), PACKED);
    assert_eq!(tree.found(Filter::Any(needles(true))), [""; 0]);
    assert_eq!(tree.found(matches("content", "^end$")), PACKED);
    assert_eq!(tree.found(matches("content", "needle5")), [""; 0]);
    assert_eq!(tree.found(equal("sha256", &sha256(text.as_bytes()))), PACKED);
}

/// The dictionary of xz as it comes, 8 MiB, is filled and wraps round.
#[test]
fn dictionaries_are_filled_and_wrap_round() {
    for lines in [500_000, 1_300_000] {
        let mut bytes = b"a line\n".repeat(lines);
        bytes.extend_from_slice(b"end");
        let tree = Tree::of(&[("xz", packer("xz").pack(&bytes))]).decompressing();
        assert_eq!(tree.rows(&["sha256"], matches("content", "^end$")), [sha256(&bytes)], "{lines}");
    }
}

/// A little file that unpacks to gigabytes is read to its end, or is a trouble, or is cut by a limit; nothing else.
#[test]
fn a_bomb_has_an_end() {
    let zeros = vec![0u8; 32 << 20];
    for packer in &PACKERS {
        let bomb = match packer.name {
            "zstd" => zstd_frame(0x38, &vec![(1, &b"\0"[..], 128 << 10); 20_000]),
            _ => packer.pack(&zeros).repeat(80),
        };
        assert!(bomb.len() < 4 << 20, "{} {}", packer.name, bomb.len());
        let tree = Tree::of(&[("bomb", bomb)]).decompressing();
        for filter in [not(matches("content", "never")), equal("md5", "x"), every("^never$")] {
            let mut question = scan("files", &["name"], all(vec![tree.under(""), equal("type", "file"), filter]));
            question.options = tree.options;
            let (host, stop) = (machine(), AtomicBool::new(false));
            let limits = Limits { time_ms: 300, ..Limits::default() };
            let record = answer(&Request { limits, ..request(&host, &question, 2, &stop) }).unwrap().record;
            let ended = match record.cut {
                Some(cut) => cut == Cut::Time && record.rows == 0,
                None => record.rows == 0 || record.troubles_count == 0,
            };
            assert!(ended, "{}: {record:?}", packer.name);
        }
    }
}
