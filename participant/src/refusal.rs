//! Why a branch was refused or aborted: kept in the log, told to the client.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Why a branch was refused or aborted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Machine-readable, UPPER_SNAKE_CASE, such as `OUT_OF_STOCK`.
    pub reason: String,
    /// One sentence for a person.
    pub message: String,
    /// Details such as sku, requested and available.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// The reason of an abort whose attempt lost its request to another one: nothing was ever refused to anyone.
pub const DUPLICATE_REQUEST: &str = "DUPLICATE_REQUEST";

impl Refusal {
    /// A refusal without details.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Refusal { reason: reason.into(), message: message.into(), metadata: BTreeMap::new() }
    }

    /// One that another process gives: Postgres takes no NUL in a text, and nobody reads a novel.
    pub fn from_outside(reason: String, message: String, metadata: impl IntoIterator<Item = (String, String)>) -> Self {
        let short = |text: String| without_nul(&text).chars().take(1_000).collect::<String>();
        Refusal {
            reason: short(reason),
            message: short(message),
            metadata: metadata.into_iter().take(50).map(|(key, value)| (short(key), short(value))).collect(),
        }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// As JSON, the form in which it is stored; without any NUL, because a reason that can't be stored would keep the
    /// decision that it explains from being stored.
    pub fn to_json(&self) -> String {
        let metadata = self.metadata.iter().map(|(key, value)| (without_nul(key), without_nul(value))).collect();
        let storable = Refusal { reason: without_nul(&self.reason), message: without_nul(&self.message), metadata };
        // A struct of strings always serialises; an empty object would still be a readable refusal.
        serde_json::to_string(&storable).unwrap_or_else(|_| "{}".to_owned())
    }

    /// From its stored form. What can't be read becomes a refusal that says so.
    pub fn from_json(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_else(|_| Refusal::new("UNREADABLE", json))
    }
}

/// Postgres takes no NUL in a text.
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_can_be_stored_whatever_was_said() {
        let said = Refusal::new("A\0B", "a\0 \\u0000 c").with("k\0ey", "\0");
        let stored = Refusal::new("AB", "a \\u0000 c").with("key", "");
        assert_eq!(Refusal::from_json(&said.to_json()), stored);
        let long = |text: &str| (text.repeat(600), text.repeat(600));
        let Refusal { reason, message, .. } = said;
        let novel = Refusal::from_outside(reason, message.repeat(600), (0..60).map(|key| long(&key.to_string())));
        assert_eq!((novel.reason.as_str(), novel.message.chars().count(), novel.metadata.len()), ("AB", 1_000, 50));
    }
}
