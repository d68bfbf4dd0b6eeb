//! How a command fails: one line that says what happened and what to do, and the exit code.
use std::fmt::Display;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The exit codes; 0 is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It failed.
    Failed = 1,
    /// The command line, or an argument in it, is wrong.
    Usage = 2,
    /// The services refused: out of stock, payment declined.
    Refused = 3,
    /// It is not known whether it happened.
    Unknown = 4,
}

/// A command's failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The machine-readable reason, where a service gave one.
    pub reason: Option<String>,
}

/// Whether a call changes anything: only then does a lost answer leave its outcome unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Changes nothing.
    Read,
    /// Changes something.
    Write,
}

impl Failure {
    /// It failed.
    pub fn new(message: impl Display) -> Self {
        Failure { exit: Exit::Failed, message: message.to_string(), hint: None, reason: None }
    }

    /// An argument is wrong.
    pub fn usage(message: impl Display) -> Self {
        Failure { exit: Exit::Usage, ..Failure::new(message) }
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// What a service's answer means for the person who asked.
    pub fn of_status(status: &Status, call: Call) -> Self {
        let reason = reason(status);
        let message = status_message(status);
        let (exit, hint) = match status.code() {
            Code::FailedPrecondition => (Exit::Refused, None),
            Code::InvalidArgument | Code::OutOfRange => (Exit::Usage, None),
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown => match call {
                Call::Read => (Exit::Failed, Some("try again; `assent dev ps` shows what is up")),
                Call::Write => (Exit::Unknown, Some("it may have happened: repeat the same command")),
            },
            // Nothing was done for it, so nothing is in doubt.
            Code::ResourceExhausted => (Exit::Failed, Some("nothing was done: repeat the same command after a while")),
            Code::Unimplemented => (Exit::Failed, Some("does the address lead to the right service?")),
            _ => (Exit::Failed, None),
        };
        let hint = hint.or_else(|| remedy(reason.as_deref()?));
        Failure { exit, message, hint: hint.map(str::to_owned), reason }
    }

    /// The one line on stderr.
    pub fn line(&self) -> String {
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        match &self.hint {
            Some(hint) => format!("error: {} ({})", one_line(&self.message), one_line(hint)),
            None => format!("error: {}", one_line(&self.message)),
        }
    }
}

/// What to do about what is not there, whether a read or an order asked for it.
fn remedy(reason: &str) -> Option<&'static str> {
    match reason {
        "UNKNOWN_ACCOUNT" => Some("`assent account open` opens one"),
        "UNKNOWN_SKU" => Some("`assent stock set` creates one"),
        _ => None,
    }
}

/// The reason in a status' ErrorInfo.
pub fn reason(status: &Status) -> Option<String> {
    status.get_error_details().error_info().map(|info| info.reason.clone())
}

/// One value of the ErrorInfo's metadata.
pub fn metadata(status: &Status, key: &str) -> Option<String> {
    status.get_error_details().error_info()?.metadata.get(key).cloned()
}

fn status_message(status: &Status) -> String {
    let details = status.get_error_details();
    let fields: Vec<String> = details
        .bad_request()
        .map(|bad| bad.field_violations.iter().map(|one| format!("{}: {}", one.field, one.description)).collect())
        .unwrap_or_default();
    let said = if status.message().is_empty() { status.code().description() } else { status.message() };
    let new_fields: Vec<String> = fields.into_iter().filter(|field| !said.contains(field.as_str())).collect();
    if new_fields.is_empty() { said.to_owned() } else { format!("{said}: {}", new_fields.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_status_becomes_one_line_and_an_exit_code() {
        let mut details = ErrorDetails::new();
        details.set_error_info("INVALID_ARGUMENT", "assent", std::collections::HashMap::new());
        details.add_bad_request_violation("lines[0].quantity", "must be at least 1");
        let status = Status::with_error_details(Code::InvalidArgument, "the order is\nmalformed", details);
        let failure = Failure::of_status(&status, Call::Write);
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.reason.as_deref(), Some("INVALID_ARGUMENT"));
        assert_eq!(failure.line(), "error: the order is malformed: lines[0].quantity: must be at least 1");
    }

    #[test]
    fn what_is_not_there_comes_with_how_to_make_it() {
        let said = |code: Code, reason: &str, message: &str| {
            let mut details = ErrorDetails::new();
            details.set_error_info(reason, "assent", std::collections::HashMap::new());
            Failure::of_status(&Status::with_error_details(code, message, details), Call::Write).line()
        };
        let account = said(Code::FailedPrecondition, "UNKNOWN_ACCOUNT", "there is no account \"ann\"");
        assert_eq!(account, "error: there is no account \"ann\" (`assent account open` opens one)");
        let sku = said(Code::NotFound, "UNKNOWN_SKU", "there is no sku \"X\"");
        assert_eq!(sku, "error: there is no sku \"X\" (`assent stock set` creates one)");
        assert_eq!(said(Code::FailedPrecondition, "OUT_OF_STOCK", "none of X"), "error: none of X");
    }

    #[test]
    fn a_lost_answer_is_doubt_only_for_a_write() {
        let lost = Status::unavailable("connection reset");
        assert_eq!(Failure::of_status(&lost, Call::Read).exit, Exit::Failed);
        assert_eq!(Failure::of_status(&lost, Call::Write).exit, Exit::Unknown);
        assert_eq!(Failure::of_status(&Status::cancelled("Timeout expired"), Call::Write).exit, Exit::Unknown);
        assert_eq!(Failure::of_status(&Status::failed_precondition("no"), Call::Write).exit, Exit::Refused);
        let overloaded = Failure::of_status(&Status::resource_exhausted("overloaded"), Call::Write);
        assert_eq!(overloaded.exit, Exit::Failed, "nothing was done, so nothing is in doubt");
        assert!(overloaded.line().contains("repeat the same command"), "{}", overloaded.line());
    }
}
