//! What `SET canvass.…` can change.

use canvass_protocol::limits::Limits;
use canvass_protocol::scan::Options;

/// The settings of one session.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How long agents may still answer, in seconds.
    pub expire_s: u64,
    /// How long the prompt follows, in seconds; `None` follows to the end.
    pub wait_s: Option<u64>,
    /// Agents above which it asks for a yes.
    pub confirm_above: u64,
    pub limits: Limits,
    pub options: Options,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            expire_s: 300,
            wait_s: Some(30),
            confirm_above: 100,
            limits: Limits::default(),
            options: Options::default(),
        }
    }
}
