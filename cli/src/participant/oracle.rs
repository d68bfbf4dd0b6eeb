//! What a participant must answer: asked of [`protocol::branch`], the rules that Assent's own services run, so that the
//! kit can't demand anything else.
use proto::assent::transaction::v1 as wire;
use protocol::Vote;
use protocol::branch::{self, BranchState, End, Prepare, Settle};
use wire::Acknowledgement;

/// A message about a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// PREPARE.
    Prepare,
    /// FENCE.
    Fence,
    /// COMMIT, which may be lazy.
    Commit,
    /// COMMIT, answered only when durable.
    CommitDurably,
    /// ABORT.
    Abort,
    /// END.
    End,
}

impl Message {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Message::Prepare => "PREPARE",
            Message::Fence => "FENCE",
            Message::Commit => "COMMIT",
            Message::CommitDurably => "COMMIT (durable)",
            Message::Abort => "ABORT",
            Message::End => "END",
        }
    }
}

/// The answer to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// To PREPARE and FENCE.
    Vote(wire::Vote),
    /// To COMMIT, ABORT and END.
    Acknowledged(Acknowledgement),
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Answer::Vote(wire::Vote::Yes) => "yes",
            Answer::Vote(wire::Vote::No) => "no",
            Answer::Vote(wire::Vote::Unknown) => "unknown",
            Answer::Vote(wire::Vote::Forgotten) => "forgotten",
            Answer::Acknowledged(Acknowledgement::Done) => "done",
            Answer::Acknowledged(Acknowledgement::Ignored) => "ignored",
            Answer::Acknowledged(Acknowledgement::Alarm) => "alarm",
            Answer::Acknowledged(Acknowledgement::Retry) => "retry",
            Answer::Vote(wire::Vote::Unspecified) | Answer::Acknowledged(Acknowledgement::Unspecified) => "unspecified",
        })
    }
}

/// Where a message is sent, as far as the answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The row that stands.
    pub row: Option<BranchState>,
    /// Whether the deadline is at or below the participant's watermark.
    pub below: bool,
    /// Whether the participant takes the branch, where it has the choice.
    pub takes: bool,
}

/// The answer to a message, and the row that stands afterwards.
pub fn expect(message: Message, Standing { row, below, takes }: Standing) -> (Answer, Option<BranchState>) {
    match message {
        Message::Prepare => match branch::prepare(row, below) {
            Prepare::Answer(standing) => (vote(standing), row),
            Prepare::TryHold if takes => (vote(Vote::Yes), Some(BranchState::Prepared)),
            Prepare::TryHold => (vote(Vote::No), Some(BranchState::Aborted)),
        },
        Message::Fence => {
            let fence = branch::fence(row, below);
            (vote(fence.vote), if fence.insert_aborted { Some(BranchState::Aborted) } else { row })
        }
        Message::Commit | Message::CommitDurably => settled(branch::commit(row, below), row),
        Message::Abort => settled(branch::abort(row, below), row),
        Message::End => match branch::end(row, below) {
            End::Delete => (Answer::Acknowledged(Acknowledgement::Done), None),
            End::Already => (Answer::Acknowledged(Acknowledgement::Done), row),
            End::Later => (Answer::Acknowledged(Acknowledgement::Retry), row),
            End::Alarm => (Answer::Acknowledged(Acknowledgement::Alarm), row),
        },
    }
}

fn settled(settle: Settle, row: Option<BranchState>) -> (Answer, Option<BranchState>) {
    let (acknowledgement, row) = match settle {
        Settle::Apply => (Acknowledgement::Done, Some(BranchState::Committed)),
        Settle::Release | Settle::InsertAborted => (Acknowledgement::Done, Some(BranchState::Aborted)),
        Settle::Already => (Acknowledgement::Done, row),
        Settle::Ignore => (Acknowledgement::Ignored, row),
        Settle::Alarm => (Acknowledgement::Alarm, row),
    };
    (Answer::Acknowledged(acknowledgement), row)
}

fn vote(vote: Vote) -> Answer {
    Answer::Vote(match vote {
        Vote::Yes => wire::Vote::Yes,
        Vote::No => wire::Vote::No,
        Vote::Unknown => wire::Vote::Unknown,
        Vote::Forgotten => wire::Vote::Forgotten,
    })
}

/// What messages sent at once may come to: for each order in which they can have arrived, their answers and the row that
/// stands afterwards. Each message comes with whether its branch would be taken.
pub fn outcomes(messages: &[(Message, bool)], standing: Standing) -> Vec<(Vec<Answer>, Option<BranchState>)> {
    let mut outcomes = Vec::new();
    let answers = vec![None; messages.len()];
    arrive(messages, standing, &answers, &mut outcomes);
    outcomes
}

fn arrive(
    messages: &[(Message, bool)],
    standing: Standing,
    answers: &[Option<Answer>],
    outcomes: &mut Vec<(Vec<Answer>, Option<BranchState>)>,
) {
    if answers.iter().all(Option::is_some) {
        let outcome = (answers.iter().copied().flatten().collect(), standing.row);
        if !outcomes.contains(&outcome) {
            outcomes.push(outcome);
        }
        return;
    }
    for (place, (message, takes)) in messages.iter().enumerate() {
        if answers.get(place).is_some_and(Option::is_some) {
            continue;
        }
        let (answer, row) = expect(*message, Standing { takes: *takes, ..standing });
        let mut answers = answers.to_vec();
        if let Some(slot) = answers.get_mut(place) {
            *slot = Some(answer);
        }
        arrive(messages, Standing { row, ..standing }, &answers, outcomes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_race_may_end_as_any_order_of_it_would_and_in_no_other_way() {
        let standing = Standing { row: None, below: false, takes: true };
        let raced = outcomes(&[(Message::Prepare, true), (Message::Fence, true)], standing);
        let both = |vote| vec![Answer::Vote(vote); 2];
        let expected =
            [(both(wire::Vote::Yes), Some(BranchState::Prepared)), (both(wire::Vote::No), Some(BranchState::Aborted))];
        assert_eq!(raced, expected);
    }
}
