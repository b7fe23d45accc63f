//! Content: what a line is, and what `~ ~* !~ !~*`, LIKE and `every_line` say of a file's lines.

use canvass_protocol::filter::{Filter, Is, Pattern};

use crate::common::tree::{Tree, equal, is};
use crate::common::{all, matches, not, pattern};

fn like(pattern: &str) -> Filter {
    is("content", Is::Like(crate::common::pattern(pattern)))
}

fn ilike(pattern: &str) -> Filter {
    is("content", Is::Like(Pattern { pattern: pattern.to_owned(), ignore_case: true }))
}

fn imatches(pattern: &str) -> Filter {
    is("content", Is::Matches(Pattern { pattern: pattern.to_owned(), ignore_case: true }))
}

fn every(text: &str) -> Filter {
    is("content", Is::EveryLine(pattern(text)))
}

/// Asks one test of many files: `1` where it is true, `0` where its negation is, `?` where neither.
fn verdicts(tree: &Tree, test: &Filter, count: usize) -> String {
    let yes = tree.found(test.clone());
    let no = tree.found(not(test.clone()));
    let verdict = |index: usize| {
        let name = format!("{index:02}");
        match (yes.contains(&name), no.contains(&name)) {
            (true, false) => '1',
            (false, true) => '0',
            (false, false) => '?',
            (true, true) => '!',
        }
    };
    (0..count).map(verdict).collect()
}

fn numbered(contents: &[&[u8]]) -> Tree {
    let tree = Tree::new();
    for (index, bytes) in contents.iter().enumerate() {
        tree.file(&format!("{index:02}"), bytes);
    }
    tree
}

#[test]
fn lines_end_at_newlines_and_a_carriage_return_before_one_is_no_part() {
    let contents: [&[u8]; 12] =
        [b"", b"\n", b"a", b"a\n", b"a\r\n", b"a\r", b"a\n\n", b"b\na", b"a\r\r\n", b"\r\n", b"\ra\n", b"a\n\r\nb\r\n"];
    let tree = numbered(&contents);
    for (test, expected) in [
        (matches("content", "^a$"), "001110110001"),
        (matches("content", "^$"), "010000100101"),
        (matches("content", "^"), "011111111111"),
        (matches("content", ""), "011111111111"),
        (matches("content", r"\r"), "000001001010"),
        (matches("content", r"\r$"), "000001001000"),
        (matches("content", r"a\s$"), "000001001000"),
        (matches("content", r"\n"), "000000000000"),
        (matches("content", r"(?s)a.b"), "000000000000"),
        (matches("content", r"[^x]"), "001111111011"),
        (matches("content", r"\Aa\z"), "001110110001"),
        (matches("content", r"(?m)^a$"), "001110110001"),
        (matches("content", r"(?mR)^a$"), "001111111011"),
        (every("^a$"), "101110000000"),
        (every("^$"), "110000000100"),
        (every("a"), "101111001010"),
        (every("a|^$"), "111111101110"),
        (every("never"), "100000000000"),
        (every(""), "111111111111"),
        (like("a"), "001110110001"),
        (like(""), "010000100101"),
        (like("%"), "011111111111"),
        (like("a_"), "000001001000"),
        (like("_a"), "000000000010"),
    ] {
        assert_eq!(verdicts(&tree, &test, contents.len()), expected, "{test:?}");
    }
}

#[test]
fn operators_differ_in_case_and_negation() {
    let contents: [&[u8]; 7] =
        [b"Secret\n", b"secret\n", b"SECRET", b"public\nSecret\n", b"public", b"", b"caf\xc3\x89 STRASSE"];
    let tree = numbered(&contents);
    for (test, expected) in [
        (matches("content", "secret"), "0100000"),
        (imatches("secret"), "1111000"),
        (not(matches("content", "Secret")), "0110111"),
        (not(imatches("SECRET")), "0000111"),
        (imatches("CAFé stra"), "0000001"),
        (matches("content", "(?i)caf. s"), "0000001"),
        (like("secret"), "0100000"),
        (like("Sec%"), "1001000"),
        (not(like("Sec%")), "0110111"),
        (ilike("SEC%"), "1111000"),
        (ilike("%É str%"), "0000001"),
        (every("(?i)^secret$"), "1110010"),
        (is("content", Is::EveryLine(Pattern { pattern: "^SECRET$".into(), ignore_case: true })), "1110010"),
    ] {
        assert_eq!(verdicts(&tree, &test, contents.len()), expected, "{test:?}");
    }
}

#[test]
fn like_is_of_a_whole_line_and_escapes() {
    let contents: [&[u8]; 10] = [
        b"100%\n",
        b"100x\n",
        b"a_b",
        b"axb",
        b"first\nalpha beta\nlast",
        b"alpha\nbeta",
        b"a\\b",
        b"\xc3\xa9\n",
        b"x.y\n",
        b"alpha  beta tail",
    ];
    let tree = numbered(&contents);
    for (test, expected) in [
        (like(r"100\%"), "1000000000"),
        (like("100%"), "1100000000"),
        (like("100_"), "1100000000"),
        (like(r"a\_b"), "0010000000"),
        (like("a_b"), "0011001000"),
        (like("alpha%beta"), "0000100000"),
        (like("%alpha%beta%"), "0000100001"),
        (like("alpha%"), "0000110001"),
        (like("%beta"), "0000110000"),
        (like("%pha"), "0000010000"),
        (like(r"a\\b"), "0000001000"),
        (like("_"), "0000000100"),
        (like("x.y"), "0000000010"),
        (like("x_y"), "0000000010"),
        (like("%%%alpha%%"), "0000110001"),
    ] {
        assert_eq!(verdicts(&tree, &test, contents.len()), expected, "{test:?}");
    }
}

#[test]
fn binary_files_have_lines_too() {
    let contents: [&[u8]; 7] = [
        b"\x7fELF\0\0\x01key\xff\xfe\n\0tail",
        b"\0\0\0\0",
        b"\xff\xfek\0e\0y\0",
        b"\xc3\n\xa9key",
        b"key\0",
        b"\0\n\0\n",
        b"\x80\x80\n",
    ];
    let tree = numbered(&contents);
    for (test, expected) in [
        (matches("content", "key"), "1001100"),
        (not(matches("content", "key")), "0110011"),
        (matches("content", "^\\x7fELF"), "1000000"),
        (matches("content", r"(?-u)key\xff\xfe$"), "1000000"),
        (matches("content", r"(?-u)^\x00*$"), "0100010"),
        (matches("content", r"\x00"), "1110110"),
        (matches("content", r"(?-u)^[\x80-\xff]+$"), "0001001"),
        (matches("content", "é"), "0000000"),
        (matches("content", "k.e.y"), "0010000"),
        (every(r"\x00"), "1110110"),
        (every(r"(?-u:[\x80-\xff])"), "0011001"),
        (like("%key%"), "1001100"),
        (like("\0%tail"), "1000000"),
    ] {
        assert_eq!(verdicts(&tree, &test, contents.len()), expected, "{test:?}");
    }
}

#[test]
fn tests_are_combined_by_and_or_and_not() {
    let contents: [&[u8]; 5] = [b"alpha\nbeta", b"alpha", b"beta\n", b"gamma\nalpha beta", b""];
    let tree = numbered(&contents);
    let (alpha, beta, gamma) = (matches("content", "alpha"), matches("content", "^beta"), like("gamma"));
    for (test, expected) in [
        (all(vec![alpha.clone(), beta.clone()]), "10000"),
        (Filter::Any(vec![alpha.clone(), beta.clone()]), "11110"),
        (all(vec![alpha.clone(), not(beta.clone())]), "01010"),
        (all(vec![not(alpha.clone()), not(beta.clone())]), "00001"),
        (not(Filter::Any(vec![alpha.clone(), beta.clone()])), "00001"),
        (not(all(vec![alpha.clone(), beta.clone()])), "01111"),
        (
            Filter::Any(vec![all(vec![alpha.clone(), gamma.clone()]), all(vec![beta.clone(), not(alpha.clone())])]),
            "00110",
        ),
        (all(vec![Filter::Any(vec![gamma.clone(), beta.clone()]), every("[abm]+")]), "10110"),
        (all(vec![alpha.clone(), not(alpha.clone())]), "00000"),
        (Filter::Any(vec![alpha.clone(), not(alpha.clone())]), "11111"),
        (all(vec![alpha.clone(), alpha.clone(), matches("content", "alpha")]), "11010"),
    ] {
        assert_eq!(verdicts(&tree, &test, contents.len()), expected, "{test:?}");
    }
}

#[test]
fn twenty_patterns_at_once_on_the_same_and_on_different_lines() {
    let words: Vec<String> = (0..20).map(|number| format!("word{number:02}x")).collect();
    let tree = Tree::new();
    tree.file("same", words.join(" "));
    tree.file("lines", words.join("\n"));
    let far: Vec<String> = words.iter().map(|word| format!("{word}\n{}", "filler line\n".repeat(7000))).collect();
    tree.file("far", far.concat());
    tree.file("reverse", words.iter().rev().map(|word| format!("{word}\r\n")).collect::<String>());
    tree.file("but-last", words[..19].join("\n"));
    tree.file("last", words[19].as_bytes());
    tree.file("none", "nothing at all\n");
    let tests = || words.iter().map(|word| matches("content", word));
    assert_eq!(tree.found(all(tests().collect())), ["far", "lines", "reverse", "same"]);
    let any = ["but-last", "far", "last", "lines", "reverse", "same"];
    assert_eq!(tree.found(Filter::Any(tests().collect())), any);
    assert_eq!(tree.found(all(tests().map(not).collect())), ["none"]);
    assert_eq!(tree.found(Filter::Any(tests().map(not).collect())), ["but-last", "last", "none"]);
    let but_last: Vec<Filter> =
        tests().enumerate().map(|(index, test)| if index == 19 { not(test) } else { test }).collect();
    assert_eq!(tree.found(all(but_last)), ["but-last"]);
    let anchored = words.iter().map(|word| matches("content", &format!("^{word}$"))).collect();
    assert_eq!(tree.found(all(anchored)), ["far", "lines", "reverse"]);
    // Each alone says the same.
    for (index, word) in words.iter().enumerate() {
        let expected: &[&str] = if index == 19 {
            &["far", "last", "lines", "reverse", "same"]
        } else {
            &["but-last", "far", "lines", "reverse", "same"]
        };
        assert_eq!(tree.found(like(&format!("%{word}%"))), expected, "{word}");
    }
    let mixed = all(vec![
        matches("content", &words[0]),
        imatches("WORD05X"),
        like("%word10x%"),
        not(every("word")),
        not(matches("content", "filler")),
    ]);
    assert_eq!(tree.found(mixed), [""; 0]);
    let mixed = all(vec![imatches("WORD05X"), like("%word10x%"), every("^(word..x ?)+$")]);
    assert_eq!(tree.found(mixed), ["but-last", "lines", "reverse", "same"]);
}

#[test]
fn lines_may_be_longer_than_any_buffer() {
    let tree = Tree::new();
    for (index, length) in [(65 << 10), (1 << 20) + 1, (5 << 20) + 3].into_iter().enumerate() {
        let middle = length / 2;
        let mut line = vec![b'x'; length];
        line[..4].copy_from_slice(b"head");
        line[middle..middle + 4].copy_from_slice(b"body");
        line[length - 4..].copy_from_slice(b"tail");
        tree.file(&format!("alone-{index}"), &line);
        tree.file(&format!("inside-{index}"), [b"before\n", line.as_slice(), b"\nafter\n"].concat());
        tree.file(&format!("windows-{index}"), [line.as_slice(), b"\r\n"].concat());
        tree.file(&format!("plain-{index}"), vec![b'x'; length]);
    }
    let named = |kinds: &[&str]| {
        let mut names: Vec<String> =
            kinds.iter().flat_map(|kind| (0..3).map(move |index| format!("{kind}-{index}"))).collect();
        names.sort();
        names
    };
    let marked = named(&["alone", "inside", "windows"]);
    for (test, expected) in [
        (matches("content", "head"), marked.clone()),
        (matches("content", "^head"), marked.clone()),
        (matches("content", "xbodyx"), marked.clone()),
        (matches("content", "tail$"), marked.clone()),
        (matches("content", "^headx+bodyx+tail$"), marked.clone()),
        (matches("content", "^head(?s:.)*tail$"), marked.clone()),
        (imatches("XBODYX"), marked.clone()),
        (like("head%body%tail"), marked.clone()),
        (like("%body%"), marked.clone()),
        (ilike("HEAD%TAIL"), marked.clone()),
        (matches("content", "^body"), vec![]),
        (matches("content", "tail.$"), vec![]),
        (matches("content", r"tail\r$"), vec![]),
        (matches("content", "^after$"), named(&["inside"])),
        (matches("content", "tail\\nafter"), vec![]),
        (not(matches("content", "body")), named(&["plain"])),
        (all(vec![equal("type", "file"), not(like("%body%"))]), named(&["plain"])),
        (every("x"), named(&["alone", "plain", "windows"])),
        (every("^[a-z]+$"), named(&["alone", "inside", "plain", "windows"])),
        (not(every("^headx")), named(&["inside", "plain"])),
        (matches("content", "^x+$"), named(&["plain"])),
        (matches("content", r"(?-u)\bhead|tail\b"), marked.clone()),
    ] {
        assert_eq!(tree.found(test.clone()), expected, "{test:?}");
    }
}

/// What stands behind a long line in the same read is tested like everything else.
#[test]
fn what_follows_a_long_line_is_not_lost() {
    let tree = Tree::new();
    let long = vec![b'y'; (2 << 20) + 77];
    let files: [(&str, &[u8]); 4] =
        [("unix", b"\nhit\nmore"), ("windows", b"\r\nhit\r\nmore"), ("empty", b"\n\n\nhit"), ("twice", b"\nhit\n")];
    for (name, end) in files {
        tree.file(name, [&long, end].concat());
    }
    tree.file("two-long", [&long, &b"\n"[..], &long, b"\nhit\n"].concat());
    tree.file("three", [&long, &b"\n"[..], &long, b"\r\n", &long].concat());
    assert_eq!(tree.found(matches("content", "^hit$")), ["empty", "twice", "two-long", "unix", "windows"]);
    assert_eq!(tree.found(not(matches("content", "^hit$"))), ["three"]);
    assert_eq!(tree.found(every("^y+$")), ["three"]);
    assert_eq!(tree.found(matches("content", "^$")), ["empty"]);
    assert_eq!(tree.found(every("^(y+|hit|more)$")), ["three", "twice", "two-long", "unix", "windows"]);
}
