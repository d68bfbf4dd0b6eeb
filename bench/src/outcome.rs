//! What became of the orders, counted.
use std::collections::BTreeMap;

use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is placed.
    Confirmed,
    /// It is refused, for this reason.
    Refused(String),
    /// It was turned away before anything was done for it, because there is too much to do.
    Overloaded(String),
    /// It was given up and left nothing behind, for this reason.
    Aborted(String),
    /// Nobody could tell, for this reason.
    Unknown(String),
    /// The call failed and placed nothing, for this reason.
    Failed(String),
}

impl Outcome {
    /// What an answer other than a confirmation says.
    pub fn of_status(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let reason = info.map_or_else(|| format!("{:?}", status.code()), |info| info.reason);
        match status.code() {
            Code::FailedPrecondition => Outcome::Refused(reason),
            Code::ResourceExhausted => Outcome::Overloaded(reason),
            Code::Aborted => Outcome::Aborted(reason),
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown | Code::Internal => {
                Outcome::Unknown(reason)
            }
            _ => Outcome::Failed(reason),
        }
    }

    /// Whether it is an answer to the order itself: yes or no.
    pub fn is_answer(&self) -> bool {
        matches!(self, Outcome::Confirmed | Outcome::Refused(_))
    }
}

/// Counts by reason.
pub type Reasons = BTreeMap<String, u64>;

/// How many orders came to which end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Placed.
    pub confirmed: u64,
    /// Refused.
    pub refused: Reasons,
    /// Turned away, because there is too much to do.
    pub overloaded: Reasons,
    /// Given up, leaving nothing behind.
    pub aborted: Reasons,
    /// In doubt.
    pub unknown: Reasons,
    /// Not even begun.
    pub failed: Reasons,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        let (reasons, reason) = match outcome {
            Outcome::Confirmed => {
                self.confirmed += 1;
                return;
            }
            Outcome::Refused(reason) => (&mut self.refused, reason),
            Outcome::Overloaded(reason) => (&mut self.overloaded, reason),
            Outcome::Aborted(reason) => (&mut self.aborted, reason),
            Outcome::Unknown(reason) => (&mut self.unknown, reason),
            Outcome::Failed(reason) => (&mut self.failed, reason),
        };
        *reasons.entry(reason).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: Counts) {
        self.confirmed += other.confirmed;
        let pairs = [
            (&mut self.refused, other.refused),
            (&mut self.overloaded, other.overloaded),
            (&mut self.aborted, other.aborted),
            (&mut self.unknown, other.unknown),
            (&mut self.failed, other.failed),
        ];
        for (own, others) in pairs {
            for (reason, count) in others {
                *own.entry(reason).or_default() += count;
            }
        }
    }

    /// How many were answered: confirmed or refused.
    pub fn answered(&self) -> u64 {
        self.confirmed + self.refused.values().sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, reason: &str) -> Status {
        Status::with_error_details(code, "", ErrorDetails::with_error_info(reason, "assent", HashMap::new()))
    }

    #[test]
    fn refusals_are_counted_by_reason_and_apart_from_doubt() {
        let mut counts = Counts::default();
        counts.add(Outcome::Confirmed);
        for _ in 0..2 {
            counts.add(Outcome::of_status(&status(Code::FailedPrecondition, "OUT_OF_STOCK")));
        }
        counts.add(Outcome::of_status(&status(Code::FailedPrecondition, "INSUFFICIENT_FUNDS")));
        counts.add(Outcome::of_status(&status(Code::Aborted, "TRANSACTION_ABORTED")));
        counts.add(Outcome::of_status(&status(Code::Unavailable, "OUTCOME_UNKNOWN")));
        counts.add(Outcome::of_status(&Status::cancelled("Timeout expired")));
        counts.add(Outcome::of_status(&status(Code::ResourceExhausted, "OVERLOADED")));
        counts.add(Outcome::of_status(&status(Code::InvalidArgument, "INVALID_ARGUMENT")));
        let reasons = |list: &[(&str, u64)]| list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let expected = Counts {
            confirmed: 1,
            refused: reasons(&[("OUT_OF_STOCK", 2), ("INSUFFICIENT_FUNDS", 1)]),
            aborted: reasons(&[("TRANSACTION_ABORTED", 1)]),
            unknown: reasons(&[("OUTCOME_UNKNOWN", 1), ("Cancelled", 1)]),
            overloaded: reasons(&[("OVERLOADED", 1)]),
            failed: reasons(&[("INVALID_ARGUMENT", 1)]),
        };
        assert_eq!(counts, expected);
        assert_eq!(counts.answered(), 4);

        let mut both = expected.clone();
        both.merge(expected);
        assert_eq!((both.confirmed, both.refused["OUT_OF_STOCK"], both.answered()), (2, 4, 8));
    }
}
