//! What the gateway did: payments, and the answer to every key. Each is a line of a file before it is answered, so that a
//! killed process knows it again.
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A payment at the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The gateway's name of it.
    pub id: String,
    /// The shop's name of it.
    pub reference: String,
    /// Whose card it is.
    pub source: String,
    /// ISO 4217.
    pub currency: String,
    /// What was authorised.
    pub authorised_minor: i64,
    /// What was captured of it.
    pub captured_minor: i64,
    /// How many captures there were.
    pub captures: u32,
    /// What was given back without having been captured.
    pub voided_minor: i64,
    /// What was refunded.
    pub refunded_minor: i64,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// An authorisation.
    Authorise {
        /// The shop's name of it.
        reference: String,
        /// Whose card.
        source: String,
        /// How much.
        amount_minor: i64,
        /// ISO 4217.
        currency: String,
    },
    /// A capture of it, or of a part.
    Capture {
        /// Which payment.
        id: String,
        /// How much.
        amount_minor: i64,
    },
    /// What is left is given back.
    Void {
        /// Which payment.
        id: String,
    },
    /// What was captured is given back.
    Refund {
        /// Which payment.
        id: String,
        /// How much.
        amount_minor: i64,
    },
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    call: Call,
    answer: Answer,
    /// The payment after it, if it changed.
    payment: Option<Payment>,
}

/// What the gateway did.
#[derive(Debug)]
pub struct Book {
    file: File,
    payments: BTreeMap<String, Payment>,
    answers: HashMap<String, (Call, Answer)>,
}

fn refused(status: u16, code: &str, message: &str) -> (Answer, Option<Payment>) {
    (Answer { status, body: json!({"error": {"code": code, "message": message}}) }, None)
}

impl Book {
    /// Opens the file, and reads what it did before. A line that was cut off was never answered.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut book = Book { file, payments: BTreeMap::new(), answers: HashMap::new() };
        let mut whole = 0;
        let mut reader = BufReader::new(book.file.try_clone()?);
        reader.seek(SeekFrom::Start(0))?;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            let Ok(Line { key, call, answer, payment }) = serde_json::from_str(&line) else { break };
            book.payments.extend(payment.map(|payment| (payment.id.clone(), payment)));
            book.answers.insert(key, (call, answer));
            whole += line.len() as u64;
            line.clear();
        }
        book.file.set_len(whole)?;
        Ok(book)
    }

    /// All payments.
    pub fn payments(&self) -> impl Iterator<Item = &Payment> {
        self.payments.values()
    }

    /// Does what is asked for, unless this key was answered before. Answers the payment as well, if it has just changed.
    pub fn carry_out(
        &mut self,
        key: &str,
        call: Call,
        is_declined: bool,
    ) -> std::io::Result<(Answer, Option<Payment>)> {
        if let Some((before, answer)) = self.answers.get(key) {
            return Ok(match *before == call {
                true => (answer.clone(), None),
                false => refused(422, "idempotency_key_reused", "the key stands for another call"),
            });
        }
        let (answer, payment) = self.decide(&call, is_declined);
        let line = Line { key: key.to_owned(), call, answer, payment };
        let text = serde_json::to_string(&line)? + "\n";
        self.file.write_all(text.as_bytes())?;
        let Line { key, call, answer, payment } = line;
        self.payments.extend(payment.clone().map(|payment| (payment.id.clone(), payment)));
        self.answers.insert(key, (call, answer.clone()));
        Ok((answer, payment))
    }

    fn decide(&self, call: &Call, is_declined: bool) -> (Answer, Option<Payment>) {
        let mut payment = match call {
            Call::Authorise { .. } if is_declined => return refused(402, "card_declined", "the card was declined"),
            Call::Authorise { reference, source, amount_minor, currency } => {
                if *amount_minor <= 0 {
                    return refused(400, "invalid_amount", "the amount must be more than zero");
                }
                Payment {
                    id: format!("pay_{:08}", self.payments.len() + 1),
                    reference: reference.clone(),
                    source: source.clone(),
                    currency: currency.clone(),
                    authorised_minor: *amount_minor,
                    ..Payment::default()
                }
            }
            Call::Capture { id, .. } | Call::Void { id } | Call::Refund { id, .. } => match self.payments.get(id) {
                Some(payment) => payment.clone(),
                None => return refused(404, "unknown_payment", "there is no such payment"),
            },
        };
        let left = payment.authorised_minor - payment.captured_minor - payment.voided_minor;
        match call {
            Call::Authorise { .. } => (),
            Call::Capture { amount_minor, .. } => {
                if *amount_minor <= 0 || *amount_minor > left {
                    return refused(409, "capture_exceeds_authorised", "there is not so much left to capture");
                }
                payment.captured_minor += amount_minor;
                payment.captures += 1;
            }
            Call::Void { .. } => {
                if left == 0 {
                    return refused(409, "nothing_to_void", "nothing is left to void");
                }
                payment.voided_minor += left;
            }
            Call::Refund { amount_minor, .. } => {
                if *amount_minor <= 0 || *amount_minor > payment.captured_minor - payment.refunded_minor {
                    return refused(409, "refund_exceeds_captured", "there is not so much left to refund");
                }
                payment.refunded_minor += amount_minor;
            }
        }
        (Answer { status: 200, body: json!({"id": payment.id, "reference": payment.reference}) }, Some(payment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorise(reference: &str) -> Call {
        let [reference, source, currency] = [reference, "ann", "GBP"].map(str::to_owned);
        Call::Authorise { reference, source, amount_minor: 100, currency }
    }

    #[test]
    fn a_key_is_carried_out_once_also_after_a_crash_that_cut_a_line_off() {
        let path = std::env::temp_dir().join(format!("fake-gateway-{}.jsonl", std::process::id()));
        let mut book = Book::open(&path).unwrap();
        let (first, _) = book.carry_out("a", authorise("order"), false).unwrap();
        let capture = Call::Capture { id: "pay_00000001".to_owned(), amount_minor: 60 };
        assert_eq!(book.carry_out("b", capture.clone(), false).unwrap().0.status, 200);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"key\":\"c\",\"ca").unwrap();
        let mut book = Book::open(&path).unwrap();
        assert_eq!(book.carry_out("a", authorise("order"), true).unwrap(), (first, None));
        assert_eq!(book.carry_out("b", capture.clone(), false).unwrap().0.status, 200);
        assert_eq!(book.carry_out("a", authorise("other"), false).unwrap().0.status, 422);
        assert_eq!(book.carry_out("c", capture, false).unwrap().0.status, 409);
        let payment = book.payments().next().unwrap();
        assert_eq!((payment.captured_minor, payment.captures, book.payments().count()), (60, 1, 1));
        std::fs::remove_file(path).unwrap();
    }
}
