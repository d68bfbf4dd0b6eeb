//! A participant in memory, with one fault or none: its log, what of it is written, and its books.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use proto::assent::transaction::v1 as wire;
use protocol::branch::BranchState;
use tokio::sync::watch;
use uuid::Uuid;

use super::faults::Fault;
use crate::participant::oracle::{Answer, Message, Standing, expect};
use crate::participant::probe::now_unix_ms;

/// The branch that is refused.
pub const REFUSED: &[u8] = b"too much";
/// How far the watermark is behind the clock.
const LAG_MS: i64 = 60_000;
/// At most between a look and a write, where these are two steps and nobody else looks meanwhile.
const BETWEEN: Duration = Duration::from_millis(500);
/// Between an answer and its write, where that comes later.
const WRITTEN_AFTER: Duration = Duration::from_secs(1);

/// What a message comes to.
#[derive(Debug, Clone, Copy)]
pub struct Effect {
    /// The answer.
    pub answer: Answer,
    /// The row afterwards.
    pub row: Option<BranchState>,
    /// How much more is held.
    pub held: i64,
    /// How much more is taken.
    pub taken: i64,
}

impl Effect {
    fn of(answer: Answer, before: Option<BranchState>, row: Option<BranchState>) -> Self {
        let holds = |row| i64::from(row == Some(BranchState::Prepared));
        let takes = i64::from(before != row && row == Some(BranchState::Committed));
        Effect { answer, row, held: holds(row) - holds(before), taken: takes }
    }
}

/// The log and the books.
#[derive(Default)]
pub struct State {
    /// The rows that stand.
    pub rows: BTreeMap<Uuid, wire::Branch>,
    /// Those that a restart leaves.
    written: BTreeMap<Uuid, wire::Branch>,
    held: i64,
    taken: i64,
}

/// The participant; clones share it.
#[derive(Clone)]
pub struct Participant {
    /// Its fault.
    pub fault: Fault,
    state: Arc<Mutex<State>>,
    /// How often each transaction was looked at.
    looks: watch::Sender<BTreeMap<Uuid, usize>>,
    books: PathBuf,
}

impl Participant {
    /// A new one, whose figures are written to this file.
    pub fn new(fault: Fault, books: PathBuf) -> Self {
        let participant = Participant { fault, state: Arc::default(), looks: watch::Sender::default(), books };
        participant.publish(&participant.state());
        participant
    }

    /// Its log and books.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn publish(&self, state: &State) {
        // The folder goes when the test ends, perhaps before the last call.
        let _ = std::fs::write(&self.books, format!("{} {}\n", state.held, state.taken));
    }

    /// What was not written is lost.
    pub fn crash(&self) {
        let mut state = self.state();
        state.rows = state.written.clone();
        let prepared = state.rows.values().filter(|row| row.state() == wire::BranchState::Prepared).count();
        state.held = i64::try_from(prepared).unwrap();
        self.publish(&state);
    }

    /// Carries out one message.
    pub async fn act(&self, message: Message, asked: &wire::PrepareBranch, refusal: Option<wire::Refusal>) -> Answer {
        let reference = asked.transaction.clone().unwrap_or_default();
        let id = Uuid::try_parse(&reference.transaction_id).unwrap_or_default();
        let (effect, looks) = {
            let mut state = self.state();
            self.looks.send_modify(|looks| *looks.entry(id).or_default() += 1);
            let looks = self.looks.borrow().get(&id).copied();
            let effect = self.effect(&state, message, id, &reference, asked);
            if self.fault != Fault::LooksThenWrites(message) {
                self.write(&mut state, message, id, effect, asked, refusal);
                return effect.answer;
            }
            (effect, looks)
        };
        let mut all_looks = self.looks.subscribe();
        let another = all_looks.wait_for(|now| now.get(&id).copied() > looks);
        // Perhaps nobody else comes, or all have come before.
        let _ = tokio::time::timeout(BETWEEN, another).await;
        self.write(&mut self.state(), message, id, effect, asked, refusal);
        effect.answer
    }

    fn effect(
        &self,
        state: &State,
        message: Message,
        id: Uuid,
        reference: &wire::TransactionRef,
        asked: &wire::PrepareBranch,
    ) -> Effect {
        let row = state.rows.get(&id);
        let refused_before = row.and_then(|row| row.refusal.as_ref()).is_some_and(|why| why.reason == "TOO_MUCH");
        let standing = Standing {
            row: state_of(row),
            below: reference.deadline_unix_ms <= now_unix_ms() - LAG_MS,
            takes: asked.branch != REFUSED,
        };
        let standing = self.fault.mistakes(message, standing, refused_before);
        let (answer, new) = expect(message, standing);
        self.fault.alter(message, standing, Effect::of(answer, standing.row, new))
    }

    fn write(
        &self,
        state: &mut State,
        message: Message,
        id: Uuid,
        effect: Effect,
        asked: &wire::PrepareBranch,
        refusal: Option<wire::Refusal>,
    ) {
        state.held += effect.held;
        state.taken += effect.taken;
        if (effect.held, effect.taken) != (0, 0) {
            self.publish(state);
        }
        let before = state.rows.get(&id).cloned();
        match effect.row {
            None => drop(state.rows.remove(&id)),
            Some(new) if state_of(before.as_ref()) == Some(new) => {
                if let (Fault::ReplacesNames, Message::Prepare, Some(row)) =
                    (self.fault, message, state.rows.get_mut(&id))
                {
                    row.participants.clone_from(&asked.participants);
                    row.owner_id.clone_from(&asked.owner_id);
                }
            }
            Some(new) => {
                let mut row = before.unwrap_or_else(|| wire::Branch {
                    transaction: asked.transaction.clone(),
                    participants: asked.participants.clone(),
                    owner_id: if self.fault == Fault::ForgetsOwner { String::new() } else { asked.owner_id.clone() },
                    create_time: Some(prost_types::Timestamp::default()),
                    ..wire::Branch::default()
                });
                row.set_state(match new {
                    BranchState::Prepared => wire::BranchState::Prepared,
                    BranchState::Committed => wire::BranchState::Committed,
                    BranchState::Aborted => wire::BranchState::Aborted,
                });
                row.decide_time = (new != BranchState::Prepared).then(prost_types::Timestamp::default);
                if new == BranchState::Aborted {
                    row.refusal = refusal.or_else(|| self.why(message));
                }
                state.rows.insert(id, row);
            }
        }
        self.make_durable(state, message, id);
    }

    fn make_durable(&self, state: &mut State, message: Message, id: Uuid) {
        let row = state.rows.get(&id).cloned();
        match (self.fault, message, row) {
            (Fault::VotesNotWritten, Message::Prepare, _)
            | (Fault::RefusalsNotWritten, Message::Fence | Message::Abort, _)
            | (Fault::DurableCommitsNotWritten, Message::CommitDurably, _) => (),
            (Fault::LazyCommitsLoseRow, Message::Commit, _) | (_, _, None) => drop(state.written.remove(&id)),
            (Fault::AnswersBeforeWritten, Message::Prepare, Some(row)) => {
                let later = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(WRITTEN_AFTER).await;
                    later.state().written.insert(id, row);
                });
            }
            (_, _, Some(row)) => drop(state.written.insert(id, row)),
        }
    }

    fn why(&self, message: Message) -> Option<wire::Refusal> {
        let reason = match (self.fault, message) {
            (Fault::NoReason, Message::Prepare) | (Fault::FenceGivesNoReason, Message::Fence) => return None,
            (_, Message::Prepare) => "TOO_MUCH",
            _ => "FENCED",
        };
        Some(wire::Refusal { reason: reason.to_owned(), ..wire::Refusal::default() })
    }

    /// Gives up, in its mistake, what is past its deadline.
    pub fn give_up(&self) {
        if self.fault == Fault::GivesUpAtDeadline {
            let mut state = self.state();
            let now = now_unix_ms();
            let due = |row: &wire::Branch| row.transaction.as_ref().is_some_and(|it| it.deadline_unix_ms < now);
            for row in state.rows.values_mut().filter(|row| row.state() == wire::BranchState::Prepared && due(row)) {
                row.set_state(wire::BranchState::Aborted);
            }
        }
    }
}

fn state_of(row: Option<&wire::Branch>) -> Option<BranchState> {
    crate::participant::kit::state(row)
}
