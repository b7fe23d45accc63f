//! Tests of content against the plain meaning: each line asked by itself.

use canvass_protocol::filter::Pattern;
use proptest::prelude::*;
use regex::bytes::RegexBuilder;

use super::*;
use crate::engine::long::LongLine;

fn matches(text: &str) -> Is {
    Is::Matches(Pattern { pattern: text.to_owned(), ignore_case: false })
}

fn compile(tests: &[Is]) -> ContentTests {
    let mut compiled = ContentTests::default();
    for (index, is) in tests.iter().enumerate() {
        assert_eq!(compiled.add(is), Ok(index));
    }
    compiled.combined()
}

/// Takes a content in blocks that end where lines do; a line that `cuts` go through is taken in pieces.
fn taken(tests: &ContentTests, content: &[u8], cuts: &[usize]) -> Vec<Option<Truth>> {
    let (mut decided, mut met) = (vec![None; tests.len()], Met::default());
    let (mut block, mut at) = (Vec::new(), 0);
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let inside: Vec<usize> =
            cuts.iter().filter_map(|cut| cut.checked_sub(at)).filter(|&cut| cut < text.len()).collect();
        match inside.as_slice() {
            [] => block.extend_from_slice(line),
            // The first byte of a line only ends the block before it.
            [0] => {
                tests.block(&std::mem::replace(&mut block, line.to_vec()), &mut decided, &mut met);
            }
            cuts => {
                tests.block(&std::mem::take(&mut block), &mut decided, &mut met);
                let mut long = LongLine::new(tests, &decided);
                let (mut from, mut sorted) = (0, cuts.to_vec());
                sorted.sort_unstable();
                for cut in sorted.into_iter().chain([text.len()]) {
                    long.feed(&text[from..cut]);
                    from = cut;
                }
                assert_eq!(long.finish(text.len() < line.len(), &mut decided), None);
            }
        }
        at += line.len();
    }
    tests.block(&block, &mut decided, &mut met);
    decided.iter().enumerate().map(|(test, truth)| truth.or(Some(tests.at_end(test)))).collect()
}

/// What a test says of a content by the book.
fn plain(is: &Is) -> impl Fn(&[u8]) -> Truth {
    let (pattern, regex, every) = match is {
        Is::Matches(pattern) => (pattern, pattern.pattern.clone(), false),
        Is::EveryLine(pattern) => (pattern, pattern.pattern.clone(), true),
        Is::Like(pattern) => {
            let parts: Vec<String> = pattern.pattern.split('%').map(regex::escape).collect();
            (pattern, format!("\\A{}\\z", parts.join("(?s-u:.)*")), false)
        }
        _ => unreachable!("no such test is made here"),
    };
    let regex = RegexBuilder::new(&regex).case_insensitive(pattern.ignore_case).build().unwrap();
    move |content| {
        let mut lines = content.split_inclusive(|&byte| byte == b'\n').map(|line| match line.strip_suffix(b"\n") {
            Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
            None => line,
        });
        if every { lines.all(|line| regex.is_match(line)) } else { lines.any(|line| regex.is_match(line)) }.into()
    }
}

fn tests() -> impl Strategy<Value = Is> {
    let literal = "[abk]{1,5}|[absk_]{3,8}";
    // Parts before, between and after letters that make more of them than a literal.
    let before = r"(\^|\(\?m\)\^|\(\?i\)|\(\?-u\)\\xff)?";
    let between = r"(\[ab_\]|\.|\\s\*|a\+|b\?|\(ab\|ba\|k\)|_\{2\}|\[\^a\]|\\r|\\n|é)";
    let more = format!(r"{before}[abk]{{0,3}}{between}[abk]{{0,3}}(\$|\[0-9\]\+|\\z)?");
    let more = proptest::string::string_regex(&more).unwrap();
    let pattern = prop_oneof![3 => literal.boxed(), 3 => more.boxed()];
    let like = "%?[abk]{0,4}%?[ab]{0,3}%?";
    let is = prop_oneof![
        6 => pattern.clone().prop_map(|text| (text, 0)),
        1 => like.prop_map(|text| (text, 1)),
        1 => pattern.prop_map(|text| (text, 2)),
    ];
    (is, proptest::bool::weighted(0.3)).prop_map(|((pattern, kind), ignore_case)| {
        let pattern = Pattern { pattern, ignore_case };
        match kind {
            0 => Is::Matches(pattern),
            1 => Is::Like(pattern),
            _ => Is::EveryLine(pattern),
        }
    })
}

fn contents() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    // Half are letters that the expressions are made of.
    let letters = [b"a", b"b", b"k", b"_"].into_iter().cycle().take(16).map(|byte| &byte[..]);
    let ends = [&b"\n"[..], b"\n", b"\n", b"\r", b"\r\n"];
    let others = [&b"A"[..], b"B", b"K", b"S", b"s", b"0", b"\0", b"\xff", b"\xe2"];
    let spelled = ["\u{212a}", "\u{17f}", "é"].map(str::as_bytes);
    let pieces: Vec<&[u8]> = letters.chain(ends).chain(others).chain(spelled).collect();
    let bytes = proptest::collection::vec(proptest::sample::select(pieces), 0..80).prop_map(|pieces| pieces.concat());
    let cuts = prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec(0..120_usize, 1..6)];
    (bytes, cuts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Tests taken together say what each says of each line by itself.
    #[test]
    fn all_tests_at_once_say_what_each_says(
        tests in proptest::collection::vec(tests(), 1..9),
        contents in proptest::collection::vec(contents(), 40),
    ) {
        let compiled = compile(&tests);
        let plain: Vec<_> = tests.iter().map(plain).collect();
        for (content, cuts) in &contents {
            let expected: Vec<Option<Truth>> = plain.iter().map(|test| Some(test(content))).collect();
            prop_assert_eq!(taken(&compiled, content, cuts), expected, "{:?} of {:?} cut at {:?}", tests, content, cuts);
        }
    }
}

#[test]
fn ten_thousand_tests_are_told_apart() {
    let name = |number: usize| format!("indicator-{:08x}.example", number.wrapping_mul(2_654_435_761) & 0xffff_ffff);
    let tests: Vec<Is> = (0..10_000).map(|number| matches(&regex::escape(&name(number)))).collect();
    let compiled = compile(&tests);
    let held = [3, 4_711, 9_999];
    let mut content = "nothing of the kind, but an indicator- here and there\n".repeat(500);
    held.iter().for_each(|&number| content.push_str(&format!("x {} y\n", name(number))));
    let told = taken(&compiled, content.as_bytes(), &[]);
    let found: Vec<usize> = (0..tests.len()).filter(|&test| told[test] == Some(Truth::True)).collect();
    assert_eq!(found, held);

    let mut joined = (ContentTests::default(), None);
    for is in &tests {
        assert_eq!(joined.0.add_or_join(is, &mut joined.1), Ok(0));
    }
    let joined = joined.0.combined();
    assert_eq!(taken(&joined, content.as_bytes(), &[]), [Some(Truth::True)]);
    assert_eq!(taken(&joined, b"indicator-, and nothing else\n", &[3, 7]), [Some(Truth::False)]);
}

#[test]
fn a_line_told_late_is_tested() {
    // The longer spelling is of another search, which comes to the first line after the other one was on the second.
    let pattern = |text: &str| Pattern { pattern: text.to_owned(), ignore_case: true };
    let compiled = compile(&[Is::Like(pattern("%ka")), Is::Matches(pattern("nothing"))]);
    let told = taken(&compiled, "\u{212a}a\nka_".as_bytes(), &[]);
    assert_eq!(told, [Some(Truth::True), Some(Truth::False)]);
}

#[test]
fn what_is_decided_costs_no_more_search() {
    let compiled = compile(&[matches("needle"), matches("seldom"), matches("needle[0-9]+")]);
    let block = "needle needle needle\n".repeat(2_000);
    let (mut decided, mut met) = (vec![None; 3], Met::default());
    assert!(compiled.block(block.as_bytes(), &mut decided, &mut met));
    assert_eq!(decided, [Some(Truth::True), None, None]);
    // The third test looks for itself after so many lines in vain, so that the second is all that is searched for.
    assert!(met.is_in_vain(2));
    assert_eq!(met.narrowed.as_ref().map(Search::len), Some(1));
    assert!(compiled.block(b"seldom\nneedle7\n", &mut decided, &mut met));
    assert_eq!(decided, [Some(Truth::True); 3]);
}
