//! Headings in the person's own words: a column that is given no name is called what was typed.
//!
//! DataFusion would call `1 + 1` after its own reading of it, `Int64(1) + Int64(1)`. The text is put in as the column's name, so
//! that whatever reads it by name (an outer SELECT, `results('ID')`, the keys of JSON) finds it under what a person sees.

use std::ops::{ControlFlow, Range};

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Select, SelectItem, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::dialect;
use crate::rewrite::agent_heading;
use crate::source::{Source, keyword};

/// Names the columns of every SELECT that have no name.
pub fn name(statement: &mut Statement, text: &str) {
    match statement {
        Statement::Statement(inner) => {
            let _ = inner.visit(&mut Headings { source: Source::new(text) });
        }
        Statement::Explain(explain) => name(&mut explain.statement, text),
        _ => {}
    }
}

struct Headings<'a> {
    source: Source<'a>,
}

impl VisitorMut for Headings<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if !select.projection.iter().any(lacks_name) {
            return ControlFlow::Continue(());
        }
        let typed = self.items(select).filter(|items| items.len() == select.projection.len());
        let mut taken: Vec<String> = select.projection.iter().filter_map(given).collect();
        for (at, item) in select.projection.iter_mut().enumerate() {
            let SelectItem::UnnamedExpr(expr) = item else { continue };
            if has_own_name(expr) {
                continue;
            }
            let heading = match &typed {
                Some(items) => self.source.folded(items[at].clone()),
                None => expr.to_string(),
            };
            let heading = distinct(heading, &taken);
            taken.push(heading.clone());
            let expr = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
            *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', heading) };
        }
        ControlFlow::Continue(())
    }
}

impl Headings<'_> {
    /// The tokens of each item of a SELECT list, found by reading the list again.
    fn items(&self, select: &Select) -> Option<Vec<Range<usize>>> {
        let first = self.source.at(select.select_token.0.span.start)?;
        let tokens = &self.source.tokens[first..];
        let list = tokens.get(..end_of_select(tokens))?.to_vec();
        let mut parser = dialect::parser(list);
        parser.advance_token();
        parser.parse_all_or_distinct().ok()?;
        let mut items = Vec::new();
        loop {
            let start = first + parser.index();
            parser.parse_select_item().ok()?;
            items.push(start..first + parser.index());
            if !parser.consume_token(&Token::Comma) {
                return Some(items);
            }
        }
    }
}

/// How many tokens belong to the SELECT that they begin with, its sub-queries among them, and perhaps some more.
fn end_of_select(tokens: &[TokenWithSpan]) -> usize {
    let mut open = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(1) {
        match &token.token {
            Token::LParen => open += 1,
            Token::RParen if open == 0 => return at,
            Token::RParen => open -= 1,
            token if open == 0 && keyword(token) == Some(Keyword::SELECT) => return at,
            _ => {}
        }
    }
    tokens.len()
}

fn lacks_name(item: &SelectItem) -> bool {
    matches!(item, SelectItem::UnnamedExpr(expr) if !has_own_name(expr))
}

/// Whether a column is called after what it is: `name`, `u.name`, `agent.os`, `agent.tags['team']`.
fn has_own_name(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) || agent_heading(expr).is_some()
}

fn given(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    }
}

/// A SELECT has no two computed columns of one name: a second `1` is `1_2`, as in the keys of JSON.
fn distinct(heading: String, taken: &[String]) -> String {
    if !taken.contains(&heading) {
        return heading;
    }
    let numbered = (2_usize..).map(|number| format!("{heading}_{number}")).find(|name| !taken.contains(name));
    numbered.unwrap_or(heading)
}
