//! A call of a card gateway, as it is written down.
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// An authorisation that is being asked for: no vote yet.
    Asking,
    /// An authorisation that was given; the vote was yes.
    Approved,
    /// An authorisation that was not given; the vote was no.
    Declined,
    /// An authorisation that nobody waits for any more: it is to be found out whether it was given.
    GivenUp,
    /// An authorisation that was given up, and is voided by another call if it was given.
    Undone,
    /// To be done.
    Wanted,
    /// Done, says the gateway.
    Done,
}

impl State {
    /// From its stored form.
    pub fn of(text: &str) -> Option<Self> {
        const ALL: [State; 7] = [
            State::Asking,
            State::Approved,
            State::Declined,
            State::GivenUp,
            State::Undone,
            State::Wanted,
            State::Done,
        ];
        ALL.into_iter().find(|state| state.text() == text)
    }

    /// Its stored form.
    pub fn text(self) -> &'static str {
        match self {
            State::Asking => "asking",
            State::Approved => "approved",
            State::Declined => "declined",
            State::GivenUp => "given_up",
            State::Undone => "undone",
            State::Wanted => "wanted",
            State::Done => "done",
        }
    }
}

/// What stands where an authorisation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Where it stands.
    pub state: State,
    /// Which one it is, of those that were asked for anew.
    pub generation: i32,
    /// How often it was begun to ask.
    pub attempts: i32,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub call_id: String,
    /// Its place among all.
    pub sequence: i64,
    /// The payment.
    pub payment_id: Uuid,
    /// `authorise`, `capture`, `void` or `refund`.
    pub operation: String,
    /// Who pays.
    pub account: String,
    /// In which currency.
    pub currency: String,
    /// How much; nothing for a void.
    pub amount_minor: i64,
    /// Where it stands.
    pub state: State,
    /// Which one it is, of authorisations that were asked for anew.
    pub generation: i32,
    /// The gateway's name of the authorisation.
    pub gateway_id: Option<String>,
    /// How often it was made.
    pub attempts: i32,
    /// When it is made again.
    pub next_time: DateTime<Utc>,
    /// Why it has to be.
    pub last_error: String,
    /// When it was written down.
    pub create_time: DateTime<Utc>,
}

/// The key by which the gateway knows a repeat.
pub fn idempotency_key(call_id: &str, generation: i32) -> String {
    format!("{call_id}:{generation}")
}
