//! The outcome of checking an invariant within one database.

/// One invariant, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name in the design's list, such as `no-orphan-holds`.
    pub invariant: &'static str,
    /// How many things were checked.
    pub checked_count: i64,
    /// What violates it.
    pub violations: Vec<Violation>,
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Violation {
    /// The transaction concerned, if one can be named; else empty.
    pub transaction_id: String,
    /// What is concerned: a SKU, an account.
    pub subject: String,
    /// What is wrong, with the figures.
    pub detail: String,
}
