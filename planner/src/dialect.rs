//! The SQL that a person types: DataFusion's, plus UNDER and the regular expression operators.
//!
//! The extra operators become calls of the functions in [`crate::functions`] while the statement is parsed, so that no
//! later step can mistake them for something it knows better (the optimiser would turn `content ~ 'x'` into a LIKE).

use std::any::TypeId;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, UnaryOperator,
};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};

use crate::error::Error;
use crate::{functions, size};

/// What the parser allows itself. When its limit stops it, it tries again another way at every level, which takes for
/// ever: [`size::check`] sees to it that no statement gets there.
const RECURSION_MAX: usize = size::NESTING_MAX * 8;

/// Parses one statement; a final `;` may stand.
pub fn parse(statement: &str) -> Result<Statement, Error> {
    let mut tokens =
        tokens(statement).map_err(|error| Error::from_datafusion(&ParserError::from(error).into(), statement))?;
    size::check(&tokens)?;
    select_all(&mut tokens);
    let mut parser = DFParserBuilder::new(tokens)
        .with_dialect(&CanvassDialect)
        .with_recursion_limit(RECURSION_MAX)
        .build()
        .map_err(|error| Error::from_datafusion(&error, statement))?;
    let mut statements = parser.parse_statements().map_err(|error| Error::from_datafusion(&error, statement))?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Error::usage("there is no statement")),
        (Some(_), false) => Err(Error::usage("more than one statement; end each with `;`")),
    }
}

/// `FROM t WHERE …` is `SELECT * FROM t WHERE …`.
fn select_all(tokens: &mut Vec<TokenWithSpan>) {
    let mut words = tokens.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_)));
    if !words.next().is_some_and(|first| is_keyword(first, Keyword::FROM)) {
        return;
    }
    let mut open = 0_usize;
    let selects = words.any(|token| {
        match token {
            Token::LParen => open += 1,
            Token::RParen => open = open.saturating_sub(1),
            _ => {}
        }
        open == 0 && is_keyword(token, Keyword::SELECT)
    });
    if !selects {
        let all = [Token::make_keyword("SELECT"), Token::Mul];
        tokens.splice(0..0, all.map(TokenWithSpan::wrap));
    }
}

/// The words of a text, white space among them.
pub(crate) fn tokens(text: &str) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    Tokenizer::new(&CanvassDialect, text).tokenize_with_location()
}

/// A parser of a part of a statement that was parsed already.
pub(crate) fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&CanvassDialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens)
}

/// Splits a text into statements at `;`, minding quotes and comments. The flag says whether the last one was ended;
/// a text that cannot be read as SQL words (an open quote) is one statement that was not ended.
pub fn split(text: &str) -> (Vec<String>, bool) {
    let Ok(tokens) = Tokenizer::new(&CanvassDialect, text).tokenize_with_location() else {
        return (vec![text.to_owned()], false);
    };
    let lines: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let offset = |line: u64, column: u64| -> usize {
        let Some(&start) = usize::try_from(line).ok().and_then(|line| lines.get(line.wrapping_sub(1))) else {
            return text.len();
        };
        let skip = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
        text[start..].char_indices().nth(skip).map_or(text.len(), |(at, _)| start + at)
    };
    let mut statements = Vec::new();
    let (mut start, mut words) = (0, false);
    for token in tokens {
        match token.token {
            Token::SemiColon => {
                let end = offset(token.span.start.line, token.span.start.column);
                if words {
                    statements.push(text[start..end].to_owned());
                }
                start = end + 1;
                words = false;
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => words = true,
        }
    }
    if words {
        statements.push(text[start..].to_owned());
    }
    (statements, !words)
}

/// DataFusion's generic dialect with our operators.
#[derive(Debug)]
struct CanvassDialect;

macro_rules! as_generic {
    ($($flag:ident),* $(,)?) => { $(fn $flag(&self) -> bool { GenericDialect.$flag() })* };
}

impl Dialect for CanvassDialect {
    fn dialect(&self) -> TypeId {
        GenericDialect.dialect()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    as_generic!(
        allow_extract_custom,
        allow_extract_single_quotes,
        support_map_literal_syntax,
        supports_array_typedef_with_brackets,
        supports_bitwise_shift_operators,
        supports_explain_with_utility_options,
        supports_extract_comma_syntax,
        supports_filter_during_aggregation,
        supports_from_first_select,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_interval_options,
        supports_left_associative_joins_without_parens,
        supports_limit_comma,
        supports_named_fn_args_with_assignment_operator,
        supports_nested_comments,
        supports_parens_around_table_factor,
        supports_partition_by_after_order_by,
        supports_select_wildcard_except,
        supports_select_wildcard_exclude,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
        supports_select_wildcard_replace,
        supports_string_escape_constant,
        supports_struct_literal,
        supports_unicode_string_literal,
        supports_values_as_table_factor,
        supports_window_clause_named_window_reference,
        supports_window_function_null_treatment_arg,
    );

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        infix(parser).map(|operator| Ok(self.prec_value(operator.precedence())))
    }

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        infix(parser).map(|operator| operator.parse(parser, left.clone(), precedence))
    }
}

/// One of our operators, as it stands next in the text.
#[derive(Debug, Clone, Copy)]
enum Infix {
    /// Read here because the parser takes all that follows for its right side: `a IS DISTINCT FROM (1 AND b)`.
    Distinct {
        negated: bool,
    },
    Under {
        negated: bool,
    },
    Matches {
        negated: bool,
        function: &'static str,
    },
}

fn infix(parser: &Parser) -> Option<Infix> {
    let matches = |negated, function| Some(Infix::Matches { negated, function });
    match &parser.peek_token_ref().token {
        Token::Tilde => matches(false, functions::MATCHES),
        Token::TildeAsterisk => matches(false, functions::MATCHES_IGNORING_CASE),
        Token::ExclamationMarkTilde => matches(true, functions::MATCHES),
        Token::ExclamationMarkTildeAsterisk => matches(true, functions::MATCHES_IGNORING_CASE),
        token if is_under(token) => Some(Infix::Under { negated: false }),
        token if is_keyword(token, Keyword::IS) => {
            let negated = is_keyword(&parser.peek_nth_token_ref(1).token, Keyword::NOT);
            let next = |at: usize| &parser.peek_nth_token_ref(at + usize::from(negated)).token;
            let distinct = is_keyword(next(1), Keyword::DISTINCT) && is_keyword(next(2), Keyword::FROM);
            distinct.then_some(Infix::Distinct { negated })
        }
        Token::Word(word) if word.keyword == Keyword::NOT && is_under(&parser.peek_nth_token_ref(1).token) => {
            Some(Infix::Under { negated: true })
        }
        _ => None,
    }
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword)
}

fn is_under(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("under"))
}

impl Infix {
    fn precedence(self) -> Precedence {
        match self {
            Infix::Distinct { .. } => Precedence::Is,
            Infix::Under { .. } | Infix::Matches { .. } => Precedence::Like,
        }
    }

    fn parse(self, parser: &mut Parser, left: Expr, precedence: u8) -> Result<Expr, ParserError> {
        parser.advance_token();
        let (test, negated) = match self {
            Infix::Distinct { negated } => {
                if negated {
                    parser.advance_token();
                }
                parser.expect_keyword(Keyword::DISTINCT)?;
                parser.expect_keyword(Keyword::FROM)?;
                let (left, right) = (Box::new(left), Box::new(parser.parse_subexpr(precedence)?));
                return Ok(if negated {
                    Expr::IsNotDistinctFrom(left, right)
                } else {
                    Expr::IsDistinctFrom(left, right)
                });
            }
            Infix::Matches { negated, function } => {
                (call(function, vec![left, parser.parse_subexpr(precedence)?]), negated)
            }
            Infix::Under { negated } => {
                if negated {
                    parser.advance_token();
                }
                (parse_places(parser, left, precedence)?, negated)
            }
        };
        Ok(if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(test) } } else { test })
    }
}

/// Reads `'/a'` or `ANY ('/a', '/b')`.
fn parse_places(parser: &mut Parser, left: Expr, precedence: u8) -> Result<Expr, ParserError> {
    if !parser.parse_keyword(Keyword::ANY) {
        return Ok(call(functions::UNDER, vec![left, parser.parse_subexpr(precedence)?]));
    }
    parser.expect_token(&Token::LParen)?;
    let places = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RParen)?;
    let any = places
        .into_iter()
        .map(|place| call(functions::UNDER, vec![left.clone(), place]))
        .reduce(|left, right| Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::Or, right: Box::new(right) })
        .ok_or_else(|| ParserError::ParserError("UNDER ANY needs at least one place".into()))?;
    Ok(Expr::Nested(Box::new(any)))
}

pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_operators_become_functions() {
        let cases = [
            ("path UNDER '/a'", "under(path, '/a')"),
            ("path NOT UNDER '/a' AND x", "NOT under(path, '/a') AND x"),
            ("path UNDER ANY ('/a', '/b') AND x", "(under(path, '/a') OR under(path, '/b')) AND x"),
            ("a ~ 'x' OR b ~* 'y'", "matches(a, 'x') OR matches_ignoring_case(b, 'y')"),
            ("NOT a !~ 'x' || 'y'", "NOT NOT matches(a, 'x' || 'y')"),
            ("a !~* 'x'", "NOT matches_ignoring_case(a, 'x')"),
        ];
        for (typed, expected) in cases {
            let statement = parse(&format!("SELECT 1 FROM t WHERE {typed}")).unwrap();
            assert_eq!(statement.to_string(), format!("SELECT 1 FROM t WHERE {expected}"));
        }
    }

    #[test]
    fn from_alone_selects_all() {
        let cases = [
            ("FROM t WHERE a = (SELECT 1) LIMIT 3", "SELECT * FROM t WHERE a = (SELECT 1) LIMIT 3"),
            ("-- all\nfrom t", "SELECT * FROM t"),
            ("FROM t SELECT a", "FROM t SELECT a"),
            ("SELECT a FROM (FROM t)", "SELECT a FROM (FROM t)"),
        ];
        for (typed, expected) in cases {
            assert_eq!(parse(typed).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn the_column_group_needs_no_quotes() {
        let cases = [
            "SELECT path, group FROM files WHERE group = 'root'",
            "SELECT group, count(*) FROM files GROUP BY group ORDER BY group",
            "SELECT owner, f.group, path FROM files f",
        ];
        for statement in cases {
            assert_eq!(parse(statement).unwrap().to_string(), statement);
        }
    }

    #[test]
    fn statements_split_at_semicolons_outside_of_quotes() {
        let cases: [(&str, &[&str], bool); 6] = [
            ("SELECT 1; SELECT 2;", &["SELECT 1", " SELECT 2"], true),
            ("SELECT ';' -- no; end\n", &["SELECT ';' -- no; end\n"], false),
            ("SELECT 'open", &["SELECT 'open"], false),
            (" ;; ", &[], true),
            ("SELECT 'é;';\nSELECT /* ; */ 2", &["SELECT 'é;'", "\nSELECT /* ; */ 2"], false),
            ("SELECT 'content ~';", &["SELECT 'content ~'"], true),
        ];
        for (text, expected, ended) in cases {
            assert_eq!(split(text), (expected.iter().map(ToString::to_string).collect(), ended), "{text}");
        }
    }
}
