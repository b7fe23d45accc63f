//! What a final record amounts to, as servers and desks count it: one account, whoever keeps it.

use super::{Final, Outcome};
use crate::limits::{self, Cut};

/// One agent's last word on an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// `answered`, `failed`, `refused` or `interrupted`; `cancelled` where the action was withdrawn before it began there.
    pub state: &'static str,
    pub rows: u64,
    /// Bytes of frames.
    pub bytes: u64,
    pub troubles: u64,
    /// Why it failed or was refused.
    pub reason: Option<String>,
    /// What kind of reason it is, as [`crate::reason::Code`] spells it.
    pub code: Option<String>,
    /// The limits that cut its scans short, by their names.
    pub cut: Option<String>,
}

impl Final {
    pub fn summary(mut self) -> Summary {
        self.bound();
        let (mut rows, mut bytes, mut troubles) = (0_u64, 0_u64, 0_u64);
        let mut cuts: Vec<&str> = Vec::new();
        // What did not answer has no rows, whatever else it says.
        for scan in self.scans.iter().filter(|_| self.outcome == Outcome::Answered) {
            rows = rows.saturating_add(scan.rows);
            bytes = bytes.saturating_add(scan.bytes);
            troubles = troubles.saturating_add(scan.troubles_count);
            cuts.extend(scan.cut.map(Cut::as_str));
        }
        cuts.sort_unstable();
        cuts.dedup();
        // Of many answers there are sums, and they are to be numbers.
        let [rows, bytes, troubles] = [rows, bytes, troubles].map(|count| count.min(limits::COUNT_MAX));
        let cut = (!cuts.is_empty()).then(|| cuts.join(", "));
        let (state, why) = match self.outcome {
            outcome if outcome.is_withdrawn() => ("cancelled", None),
            Outcome::Answered => ("answered", None),
            Outcome::Failed(reason) => ("failed", Some(reason)),
            Outcome::Refused(reason) => ("refused", Some(reason)),
            Outcome::Interrupted => ("interrupted", None),
        };
        let (code, reason) = why.map(|why| (why.code.as_str().to_owned(), why.reason)).unzip();
        Summary { state, rows, bytes, troubles, reason, code, cut }
    }
}
