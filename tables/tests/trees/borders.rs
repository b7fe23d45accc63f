//! Matches that lie across the borders of whatever blocks a file may be read in.

use canvass_protocol::filter::{Filter, Is};

use crate::common::tree::{Tree, is};
use crate::common::{all, matches, not, pattern};

/// Where readers are likely to end a block.
const BORDERS: [usize; 4] = [64 << 10, 128 << 10, 256 << 10, 1 << 20];

/// A file of `length` bytes that ends in `end`, before it lines of `width`, or one line.
fn filled(length: usize, width: Option<usize>, end: &[u8]) -> Vec<u8> {
    let mut bytes = vec![b'.'; length];
    if let Some(width) = width {
        bytes.iter_mut().skip(width).step_by(width + 1).for_each(|byte| *byte = b'\n');
    }
    bytes.extend(end);
    bytes
}

/// Writes one file for each place near a border at which `end` can begin, and hands their names over.
fn near(tree: &Tree, border: usize, width: Option<usize>, end: &[u8]) -> Vec<String> {
    let first = border.saturating_sub(end.len() + 3);
    let mut names: Vec<String> = (first..border + 4)
        .map(|at| {
            let name = format!("at-{at:08}");
            tree.file(&name, filled(at, width, end));
            name
        })
        .collect();
    names.sort();
    names
}

fn every(text: &str) -> Filter {
    is("content", Is::EveryLine(pattern(text)))
}

#[test]
fn a_word_is_found_at_every_offset_near_a_border() {
    for border in BORDERS {
        for width in [Some(61), None] {
            let tree = Tree::new();
            let names = near(&tree, border, width, b"AKIA5");
            assert_eq!(tree.found(matches("content", "AKIA[0-9]")), names, "{border} {width:?}");
            assert_eq!(tree.found(matches("content", "AKIA5$")), names, "{border} {width:?}");
            assert_eq!(tree.found(not(matches("content", "AKIA"))), [""; 0]);
            assert_eq!(tree.found(matches("content", "AKIA6")), [""; 0]);
            assert_eq!(tree.found(is("content", Is::Like(pattern("%AKIA_")))), names, "{border} {width:?}");
            assert_eq!(tree.found(not(every("^[.]*$"))), names, "{border} {width:?}");
        }
    }
}

#[test]
fn a_line_of_its_own_is_found_at_every_offset_near_a_border() {
    for border in BORDERS {
        for width in [Some(61), None] {
            let tree = Tree::new();
            let names = near(&tree, border, width, b"\nline\r\nnext\n");
            assert_eq!(tree.found(matches("content", "^line$")), names, "{border} {width:?}");
            assert_eq!(tree.found(matches("content", "^next$")), names, "{border} {width:?}");
            assert_eq!(tree.found(every("^([.]*|line|next)$")), names, "{border} {width:?}");
            assert_eq!(tree.found(matches("content", r"\r")), [""; 0], "{border} {width:?}");
            assert_eq!(tree.found(matches("content", "linenext|line.next")), [""; 0]);
        }
    }
}

/// A carriage return ends a line only with the newline after it, though a border lies between them.
#[test]
fn line_ends_are_told_apart_across_a_border() {
    for border in BORDERS {
        for width in [Some(61), None] {
            let ends: [(&str, &[u8]); 4] =
                [("both", b"z\r\n"), ("alone", b"z\r"), ("twice", b"z\r\r\n"), ("within", b"z\rz\n")];
            for (name, end) in ends {
                let tree = Tree::new();
                let names = near(&tree, border, width, end);
                let ends_in_z = tree.found(matches("content", "^[.]*z$"));
                let expected = if name == "both" { names.clone() } else { vec![] };
                assert_eq!(ends_in_z, expected, "{name} {border} {width:?}");
                let returns = tree.found(matches("content", r"z\r"));
                let expected = if name == "both" { vec![] } else { names };
                assert_eq!(returns, expected, "{name} {border} {width:?}");
            }
        }
    }
}

#[test]
fn characters_of_several_bytes_cross_a_border() {
    for border in BORDERS {
        for width in [Some(61), None] {
            let tree = Tree::new();
            let names = near(&tree, border, width, "é€𝄞".as_bytes());
            assert_eq!(tree.found(matches("content", "é€𝄞")), names, "{border} {width:?}");
            assert_eq!(tree.found(matches("content", r"[^\x00-\x7f]{3}$")), names, "{border} {width:?}");
            assert_eq!(tree.found(is("content", Is::Like(pattern("%___")))), names, "{border} {width:?}");
            assert_eq!(tree.found(matches("content", r"[^\x00-\x7f]{4}")), [""; 0], "{border} {width:?}");
        }
    }
}

#[test]
fn patterns_together_say_what_each_says_alone_near_a_border() {
    for border in BORDERS {
        let tree = Tree::new();
        let names = near(&tree, border, Some(61), b"\none\ntwo three\r\n\nfour");
        let (one, two, three, four, empty) = ("^one$", "^two", "three$", "^four$", "^$");
        let tests = |patterns: &[&str]| patterns.iter().map(|pattern| matches("content", pattern)).collect::<Vec<_>>();
        assert_eq!(tree.found(all(tests(&[one, two, three, four, empty]))), names, "{border}");
        assert_eq!(tree.found(all(tests(&[one, two, three, four, empty, "five"]))), [""; 0], "{border}");
        assert_eq!(tree.found(Filter::Any(tests(&["five", "six", four]))), names, "{border}");
        let none = tests(&["five", "six", "seven"]).into_iter().map(not).collect();
        assert_eq!(tree.found(all(none)), names, "{border}");
        let mixed = all(vec![matches("content", four), not(matches("content", "two$")), every("^[a-z. ]*$")]);
        assert_eq!(tree.found(mixed), names, "{border}");
    }
}

/// Files whose sizes lie near a border, without a word to find: nothing is made up, and nothing lost at the end.
#[test]
fn files_as_long_as_a_block_end_where_they_end() {
    for border in BORDERS {
        let tree = Tree::new();
        let mut open = Vec::new();
        let mut closed = Vec::new();
        for length in border - 2..border + 3 {
            tree.file(&format!("open-{length}"), filled(length - 1, Some(61), b"$"));
            open.push(format!("open-{length}"));
            tree.file(&format!("closed-{length}"), filled(length - 2, Some(61), b"$\n"));
            closed.push(format!("closed-{length}"));
        }
        let mut both = [closed, open].concat();
        both.sort();
        assert_eq!(tree.found(matches("content", r"\$$")), both, "{border}");
        assert_eq!(tree.found(every(r"^[.]*\$?$")), both, "{border}");
        assert_eq!(tree.found(not(matches("content", r"\$."))), both, "{border}");
    }
}

/// Far into a file, lines of odd lengths: the tenth block is read as the first.
#[test]
fn a_word_is_found_wherever_it_lies_in_ten_blocks() {
    let tree = Tree::new();
    let mut expected = Vec::new();
    for step in 0..40 {
        let at = step * 34_567;
        let mut bytes = filled(1_400_000, Some(97), b"end");
        bytes[at..at + 6].copy_from_slice(b"needle");
        let name = format!("{step:02}");
        tree.file(&name, bytes);
        expected.push(name);
    }
    assert_eq!(tree.found(matches("content", "needle")), expected);
    assert_eq!(tree.found(all(vec![matches("content", "needle"), matches("content", "end$")])), expected);
    assert_eq!(tree.found(matches("content", "needles|needlf")), [""; 0]);
}
