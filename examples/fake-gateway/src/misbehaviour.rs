//! What goes wrong, and how often.
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the gateway misbehaves: so many of a hundred calls each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Misbehaviour {
    /// Answered late.
    pub slow_percent: u8,
    /// So late.
    pub slow_ms: u64,
    /// 500, and nothing was done.
    pub error_percent: u8,
    /// 500, but it was done.
    pub error_after_percent: u8,
    /// Done, and never answered.
    pub lost_percent: u8,
    /// Done, and answered 202.
    pub unknown_percent: u8,
    /// Authorisations declined.
    pub declined_percent: u8,
    /// Each webhook so many times more.
    pub webhook_duplicates: u8,
    /// Webhooks up to so late.
    pub webhook_late_ms: u64,
    /// No webhook.
    pub webhook_lost_percent: u8,
    /// Everything is 503.
    pub down: bool,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Done and answered.
    Well,
    /// 503.
    Down,
    /// 500 before it is done.
    Error,
    /// 500 after it was done.
    ErrorAfter,
    /// No answer after it was done.
    Lost,
    /// 202 after it was done.
    Unknown,
}

/// From JSON.
pub fn parse(text: &str) -> Result<Misbehaviour, serde_json::Error> {
    serde_json::from_str(text)
}

/// Whether it happens, so many times of a hundred.
pub fn happens(percent: u8) -> bool {
    rand::random_range(0..100) < percent
}

impl Misbehaviour {
    /// Draws what happens to a call.
    pub fn fate(&self) -> Fate {
        let all = [
            (self.error_percent, Fate::Error),
            (self.error_after_percent, Fate::ErrorAfter),
            (self.lost_percent, Fate::Lost),
            (self.unknown_percent, Fate::Unknown),
        ];
        if self.down {
            return Fate::Down;
        }
        all.into_iter().find(|(percent, _)| happens(*percent)).map_or(Fate::Well, |(_, fate)| fate)
    }

    /// Draws how long a call's answer takes.
    pub fn pause(&self) -> Duration {
        Duration::from_millis(if happens(self.slow_percent) { self.slow_ms } else { 0 })
    }
}
