//! How large a statement may be: what parser and planner recurse over is counted before they see it.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::Error;

/// Parentheses, CASEs and prefixes such as NOT within each other; people write ten.
pub const NESTING_MAX: usize = 40;
/// AND, OR, arithmetic, joins and unions. Planning takes time with their number; a list after IN is one, whatever its
/// length.
pub const OPERATORS_MAX: usize = 5_000;

/// What a word does to the depth of the statement.
enum Weight {
    Opens,
    Closes,
    /// Stands before what it changes; a run of them nests.
    Prefix,
    /// Stands before a value or between two.
    Sign,
    Joins,
    Nothing,
}

/// Refuses a statement that is larger than any person or program has a reason to write.
pub fn check(tokens: &[TokenWithSpan]) -> Result<(), Error> {
    let (mut open, mut prefixes, mut operators, mut deepest) = (0_usize, 0, 0, 0);
    for token in tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))) {
        let weight = weigh(&token.token);
        match weight {
            Weight::Opens => open += 1,
            Weight::Closes => open = open.saturating_sub(1),
            Weight::Joins | Weight::Sign => operators += 1,
            Weight::Prefix | Weight::Nothing => {}
        }
        prefixes = if matches!(weight, Weight::Prefix | Weight::Sign) { prefixes + 1 } else { 0 };
        deepest = deepest.max(open + prefixes);
    }
    if deepest > NESTING_MAX {
        return Err(Error::usage(format!("the statement nests {deepest} deep; at most {NESTING_MAX} is allowed")));
    }
    if operators > OPERATORS_MAX {
        let message =
            format!("the statement has {operators} operators such as AND and OR; at most {OPERATORS_MAX} are allowed");
        return Err(Error::usage(message)
            .hint("write many values as a list after IN, and many patterns as one regular expression: 'a|b|c'"));
    }
    Ok(())
}

fn weigh(token: &Token) -> Weight {
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => Weight::Opens,
        Token::RParen | Token::RBracket | Token::RBrace => Weight::Closes,
        Token::Minus | Token::Plus => Weight::Sign,
        // Between two values it is a test, and tests are joined by something that counts.
        Token::Tilde => Weight::Prefix,
        Token::Mul | Token::Div | Token::Mod | Token::StringConcat | Token::DoubleColon => Weight::Joins,
        Token::Word(word) => match word.keyword {
            Keyword::CASE => Weight::Opens,
            Keyword::END => Weight::Closes,
            Keyword::NOT => Weight::Prefix,
            Keyword::AND | Keyword::OR | Keyword::JOIN | Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => {
                Weight::Joins
            }
            _ => Weight::Nothing,
        },
        _ => Weight::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use crate::dialect::parse;

    #[test]
    fn statements_of_any_size_are_read_or_refused_at_once() {
        let nested =
            |open: &str, close: &str, depth: usize| format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth));
        let chain = |joint: &str, length: usize| format!("SELECT {}", vec!["a = 1"; length].join(joint));
        let cases = [
            (nested("(", ")", 39), true),
            (nested("(", ")", 1000), false),
            (nested("NOT (", ")", 39), true),
            (nested("NOT (", ")", 60), false),
            (nested("NOT ", "", 1000), false),
            (nested("- ", "", 1000), false),
            (nested("CASE WHEN true THEN ", " END", 1000), false),
            (nested("[", "]", 1000), false),
            (chain(" OR ", 1_000), true),
            (chain(" OR ", 100_000), false),
            (chain(" UNION SELECT ", 100_000), false),
            (format!("SELECT a IN ({})", vec!["1"; 100_000].join(",")), true),
            (format!("SELECT {}", vec!["a"; 2000].join("~")), false),
        ];
        for (statement, read) in cases {
            assert_eq!(parse(&statement).is_ok(), read, "{}", &statement[..40.min(statement.len())]);
        }
    }
}
