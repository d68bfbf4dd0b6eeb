//! Why a check ends before all of it held.

/// Why a check ends before all of it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The participant does otherwise than it must.
    Broken {
        /// What was sent, and what came back, up to there.
        sent: Vec<String>,
        /// What should have come.
        expected: String,
        /// What came.
        came_back: String,
    },
    /// It can't be checked; why not.
    Skipped(String),
}

impl Stop {
    /// It can't be checked.
    pub fn skip(why: impl Into<String>) -> Self {
        Stop::Skipped(why.into())
    }
}
