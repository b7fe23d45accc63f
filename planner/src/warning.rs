//! What a person is told beside the rows: a statement was understood, and may not mean what its author does.

/// A sentence and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Lower case, without a final stop.
    pub message: String,
    pub hint: Option<String>,
}

impl Warning {
    pub fn new(message: impl Into<String>) -> Warning {
        Warning { message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Warning {
        self.hint = Some(hint.into());
        self
    }
}
