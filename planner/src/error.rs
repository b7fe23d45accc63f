//! What can be wrong with a statement, and where.

/// An error to show to the investigator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: ErrorKind,
    /// Lower case, names the thing in backticks, no final stop.
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
    /// Where in the statement's text, in characters.
    pub span: Option<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The statement or a setting is wrong; nothing was sent.
    Usage,
    /// The fleet cannot be reached, or does not let us in.
    Unreachable,
    /// A defect of ours.
    Internal,
}

/// A place in a statement: line and column count from 1, `length` is at least 1; all in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

impl Error {
    pub fn usage(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Usage, message: message.into(), hint: None, span: None }
    }

    pub fn internal(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Internal, message: message.into(), hint: None, span: None }
    }

    pub fn unreachable(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Unreachable, message: message.into(), hint: None, span: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    pub fn at(mut self, span: Option<Span>) -> Error {
        self.span = span;
        self
    }
}
