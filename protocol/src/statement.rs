//! The author's words in an action, and what they were planned with. Desks read them; agents do not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::ActionError;
use crate::limits;

/// One statement of an action; scans say which of them they belong to by its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// What tells it from the others of its action, a check's name; the only one may have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub sql: String,
}

/// What a plan depended on beside its statements, so that a desk can plan them again as they were planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Settings by name, without `canvass.`, as `SET` takes them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::strict::map")]
    pub settings: BTreeMap<String, String>,
    /// The local files that the statements name, as they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InputFile>,
}

/// A local file that only the author's desk has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// As the statement names it.
    pub name: String,
    pub bytes: u64,
    /// SHA-256 of its contents, 64 hexadecimal digits.
    pub sha256: String,
}

impl Statement {
    /// An ad hoc question.
    pub fn of(sql: impl Into<String>) -> Statement {
        Statement { name: None, sql: sql.into() }
    }
}

impl Inputs {
    pub fn is_empty(&self) -> bool {
        *self == Inputs::default()
    }

    pub(crate) fn check(&self) -> Result<(), ActionError> {
        let settings: usize = self.settings.iter().map(|(name, value)| name.len() + value.len()).sum();
        let files: usize = self.files.iter().map(|file| file.name.len() + file.sha256.len()).sum();
        if self.settings.len() + self.files.len() > limits::INPUTS_MAX || settings + files > limits::INPUTS_BYTES_MAX {
            return Err(ActionError::TooManyInputs);
        }
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        match self.files.iter().find(|file| !is_hash(&file.sha256)) {
            Some(file) => Err(ActionError::InputHash { name: file.name.clone() }),
            None => Ok(()),
        }
    }
}

pub(crate) fn check(statements: &[Statement]) -> Result<(), ActionError> {
    if statements.is_empty() {
        return Err(ActionError::NoStatement);
    }
    if statements.len() > limits::STATEMENTS_MAX {
        return Err(ActionError::TooManyStatements { count: statements.len() });
    }
    let bytes = statements.iter().map(|statement| statement.sql.len()).sum();
    if bytes > limits::STATEMENTS_BYTES_MAX {
        return Err(ActionError::StatementsTooLong { bytes });
    }
    let mut names = BTreeSet::new();
    for statement in statements {
        let name = statement.name.as_deref();
        if name.is_some_and(|name| name.is_empty() || name.len() > limits::STATEMENT_NAME_BYTES_MAX) {
            return Err(ActionError::StatementName);
        }
        if statements.len() > 1 && !name.is_some_and(|name| names.insert(name)) {
            return Err(ActionError::StatementUnnamed);
        }
    }
    Ok(())
}
