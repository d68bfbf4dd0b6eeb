//! A payment that was authorised to be captured later, or that is refunded: what can be promised of it, and what follows.
//!
//! A promise is what a prepared branch holds of a payment. It is given only if it can be kept whatever happens to all other
//! promises, so keeping it ([`Payment::keep`]) or taking it back ([`Payment::take_back`]) never fails.
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use participant::Refusal;
use uuid::Uuid;

use super::{Branch, Part, in_units};

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The transaction that made it.
    pub payment_id: Uuid,
    /// Who pays.
    pub account: String,
    /// In which currency all amounts are.
    pub currency: String,
    /// What was authorised, or charged.
    pub authorised_minor: i64,
    /// What was captured of it.
    pub captured_minor: i64,
    /// What was refunded of that.
    pub refunded_minor: i64,
    /// What was given back without having been captured.
    pub released_minor: i64,
    /// Promised to be captured.
    pub capturing_minor: i64,
    /// Promised to be refunded.
    pub refunding_minor: i64,
    /// Promised to the authorisation that takes its place.
    pub credit_minor: i64,
    /// The transaction in doubt that will end it.
    pub closing_id: Option<Uuid>,
    /// Why nothing more can be captured.
    pub ended: Option<Ended>,
    /// When it expires; none for a charge.
    pub expire_time: Option<DateTime<Utc>>,
    /// Whether that time is over.
    pub is_overdue: bool,
    /// When it was made.
    pub create_time: DateTime<Utc>,
}

/// Why nothing more can be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All was captured, or the last of it.
    Captured,
    /// What was left was voided.
    Voided,
    /// Its time was over.
    Expired,
    /// Another has taken its place.
    Replaced,
}

/// What a payment's change does to its account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effect {
    /// What the held amount changes by.
    pub held_minor: i64,
    /// What goes from the account to the revenue; less than zero for what comes back.
    pub paid_minor: i64,
    /// Whether it gives back the last of an authorisation: none of it is held or promised any more.
    pub voids: bool,
}

impl Payment {
    /// What is still held for it.
    pub fn standing_minor(&self) -> i64 {
        self.authorised_minor - self.captured_minor - self.released_minor
    }

    /// What is held and promised to nobody.
    fn free_minor(&self) -> i64 {
        self.standing_minor() - self.capturing_minor - self.credit_minor
    }

    /// What a new capture may take.
    pub fn capturable_minor(&self) -> i64 {
        let is_open = self.ended.is_none() && self.closing_id.is_none() && !self.is_overdue;
        if is_open { self.free_minor() } else { 0 }
    }

    /// What a new refund may give back.
    pub fn refundable_minor(&self) -> i64 {
        self.captured_minor - self.refunded_minor - self.refunding_minor
    }

    /// Promises what a branch wants of it, or refuses. Answers what counts towards an authorisation that takes its place.
    pub fn promise(&mut self, transaction_id: Uuid, branch: &Branch) -> Result<i64, Refusal> {
        match branch {
            Branch::Charge(_) => (),
            Branch::Authorise { authorisation, .. } => {
                self.is_of(Some(&authorisation.account), Some(&authorisation.currency))?;
                self.close(transaction_id)?;
                let free = if self.ended.is_none() { self.free_minor() } else { 0 };
                self.credit_minor = free.min(authorisation.amount_minor);
                return Ok(self.credit_minor);
            }
            Branch::Capture { part, is_final } => {
                self.is_of(part.account.as_ref(), Some(&part.currency))?;
                self.can_capture(part.amount_minor)?;
                self.capturing_minor += part.amount_minor;
                if *is_final {
                    self.closing_id = Some(transaction_id);
                }
            }
            Branch::Void { account, .. } => {
                self.is_of(account.as_ref(), None)?;
                self.close(transaction_id)?;
            }
            Branch::Refund(part) => {
                self.is_of(part.account.as_ref(), Some(&part.currency))?;
                self.can_refund(part)?;
                self.refunding_minor += part.amount_minor;
            }
        }
        Ok(0)
    }

    /// Carries out what was promised.
    pub fn keep(&mut self, transaction_id: Uuid, branch: &Branch) -> Effect {
        let mut effect = Effect::default();
        match branch {
            Branch::Charge(_) => return effect,
            Branch::Authorise { .. } => {
                // The new one holds the whole amount; so far it held what this one did not.
                effect.held_minor += std::mem::take(&mut self.credit_minor);
                self.end(transaction_id, Ended::Replaced);
            }
            Branch::Capture { part, is_final } => {
                self.capturing_minor -= part.amount_minor;
                self.captured_minor += part.amount_minor;
                effect.held_minor = -part.amount_minor;
                effect.paid_minor = part.amount_minor;
                if *is_final {
                    self.end(transaction_id, Ended::Captured);
                } else if self.standing_minor() == 0 {
                    self.ended = self.ended.or(Some(Ended::Captured));
                }
            }
            Branch::Void { .. } => self.end(transaction_id, Ended::Voided),
            Branch::Refund(part) => {
                self.refunding_minor -= part.amount_minor;
                self.refunded_minor += part.amount_minor;
                effect.paid_minor = -part.amount_minor;
            }
        }
        self.settle(&mut effect);
        effect
    }

    /// Takes a promise back. (What an authorisation that would have taken its place has held beyond this one is not here.)
    pub fn take_back(&mut self, transaction_id: Uuid, branch: &Branch) -> Effect {
        match branch {
            Branch::Charge(_) => (),
            Branch::Authorise { .. } => self.credit_minor = 0,
            Branch::Capture { part, .. } => self.capturing_minor -= part.amount_minor,
            Branch::Void { .. } => (),
            Branch::Refund(part) => self.refunding_minor -= part.amount_minor,
        }
        if self.closing_id == Some(transaction_id) {
            self.closing_id = None;
        }
        let mut effect = Effect::default();
        self.settle(&mut effect);
        effect
    }

    /// Undoes a saga's step that authorised, charged or captured; what others have given back already is not given back
    /// again.
    pub fn undo(&mut self, branch: &Branch) -> Effect {
        let paid_minor = match branch {
            Branch::Authorise { .. } => {
                self.ended = self.ended.or(Some(Ended::Voided));
                let mut effect = Effect::default();
                self.settle(&mut effect);
                return effect;
            }
            Branch::Charge(authorisation) => authorisation.amount_minor,
            Branch::Capture { part, .. } => part.amount_minor,
            Branch::Void { .. } | Branch::Refund(_) => 0,
        };
        let back = paid_minor.min(self.refundable_minor());
        self.refunded_minor += back;
        Effect { paid_minor: -back, ..Effect::default() }
    }

    /// Its time is over: nothing more can be captured but what was promised before.
    pub fn expire(&mut self) -> Effect {
        self.ended = self.ended.or(Some(Ended::Expired));
        let mut effect = Effect::default();
        self.settle(&mut effect);
        effect
    }

    fn end(&mut self, transaction_id: Uuid, ended: Ended) {
        self.ended = Some(ended);
        if self.closing_id == Some(transaction_id) {
            self.closing_id = None;
        }
    }

    /// What is over holds nothing that is promised to nobody.
    fn settle(&mut self, effect: &mut Effect) {
        let back = if self.ended.is_some() { self.free_minor() } else { 0 };
        self.released_minor += back;
        effect.held_minor -= back;
        effect.voids = back > 0 && self.standing_minor() == 0;
    }

    fn is_of(&self, account: Option<&String>, currency: Option<&String>) -> Result<(), Refusal> {
        if account.is_some_and(|account| *account != self.account) {
            return Err(unknown_payment(self.payment_id));
        }
        match currency.filter(|currency| **currency != self.currency) {
            None => Ok(()),
            Some(requested) => {
                let Payment { payment_id, currency, .. } = self;
                let message = format!("payment {payment_id} is in {currency}, not in {requested}");
                Err(self.refusal("CURRENCY_MISMATCH", message).with("requested_currency", requested))
            }
        }
    }

    /// Promises to end it. One that has expired can be ended too: to be voided is what it is already, and one may still
    /// take its place.
    fn close(&mut self, transaction_id: Uuid) -> Result<(), Refusal> {
        if !matches!(self.ended, None | Some(Ended::Expired)) || self.closing_id.is_some() {
            return Err(self.not_authorised());
        }
        self.closing_id = Some(transaction_id);
        Ok(())
    }

    fn can_capture(&self, amount_minor: i64) -> Result<(), Refusal> {
        let Payment { payment_id, .. } = self;
        match self.ended {
            Some(Ended::Expired) => return Err(self.expired()),
            Some(Ended::Captured) if self.expire_time.is_some() => (),
            Some(_) => return Err(self.not_authorised()),
            None if self.is_overdue => return Err(self.expired()),
            None if self.closing_id.is_some() => return Err(self.not_authorised()),
            None => (),
        }
        let capturable = self.capturable_minor();
        if amount_minor <= capturable && self.ended.is_none() {
            return Ok(());
        }
        let left = in_units(capturable.into(), &self.currency);
        let message = format!("payment {payment_id} has {left} {} left to capture", self.currency);
        let refusal = self.refusal("CAPTURE_EXCEEDS_AUTHORISED", message);
        Err(refusal.with("requested_minor", amount_minor).with("available_minor", capturable))
    }

    fn can_refund(&self, part: &Part) -> Result<(), Refusal> {
        let Payment { payment_id, currency, .. } = self;
        let refundable = self.refundable_minor();
        if part.amount_minor <= refundable {
            return Ok(());
        }
        let left = in_units(refundable.into(), currency);
        let message = format!("payment {payment_id} has {left} {currency} left to refund");
        let refusal = self.refusal("REFUND_EXCEEDS_CAPTURED", message);
        Err(refusal.with("requested_minor", part.amount_minor).with("available_minor", refundable))
    }

    fn not_authorised(&self) -> Refusal {
        let Payment { payment_id, .. } = self;
        let message = match (self.ended, self.closing_id) {
            (Some(Ended::Captured), _) if self.expire_time.is_none() => {
                format!("payment {payment_id} was charged, and is no authorisation")
            }
            (Some(Ended::Captured), _) => format!("payment {payment_id} was captured for good already"),
            (Some(Ended::Voided), _) => format!("the authorisation of payment {payment_id} was voided"),
            (Some(Ended::Replaced), _) => format!("another authorisation has taken the place of payment {payment_id}"),
            (_, Some(closing)) => format!("transaction {closing}, in doubt, is about to end payment {payment_id}"),
            (_, None) => format!("payment {payment_id} is not authorised"),
        };
        self.refusal("NOT_AUTHORISED", message)
    }

    fn expired(&self) -> Refusal {
        let message = format!("the authorisation of payment {} has expired; authorise anew", self.payment_id);
        self.refusal("AUTHORISATION_EXPIRED", message)
    }

    fn refusal(&self, reason: &str, message: String) -> Refusal {
        let refusal = Refusal::new(reason, message).with("payment_id", self.payment_id);
        refusal.with("account", &self.account).with("currency", &self.currency)
    }
}

/// There is no such payment, or it is another account's.
pub fn unknown_payment(payment_id: Uuid) -> Refusal {
    Refusal::new("UNKNOWN_PAYMENT", format!("there is no payment {payment_id}")).with("payment_id", payment_id)
}

/// The transaction that makes the payment is not decided here yet.
pub fn payment_in_doubt(payment_id: Uuid) -> Refusal {
    let message = format!("payment {payment_id} is not decided here yet; try again in a moment");
    Refusal::new("PAYMENT_IN_DOUBT", message).with("payment_id", payment_id)
}
