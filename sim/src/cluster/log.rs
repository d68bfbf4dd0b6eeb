//! A participant's database: its log by the rules of [`protocol::branch`], and its books in the same local transaction.
use super::books::{BookChange, Booking, Books, Order};
use super::database::Tables;
use super::message::{Entry, Listed, Owner, Reply, Tx};
use super::plan::{NAMES, Plan};
use super::witness::Fact;
use super::{Counted, World, note};
use crate::mutant::Mutant;
use protocol::Vote;
use protocol::branch::{self, BranchState, End, Prepare, Settle};
use protocol::collection::{self, may_delete_branch};
use protocol::invariants::Invariant;

/// A row of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Where the branch stands.
    pub state: BranchState,
    /// Who drives it; none on a row that a fence or an abort wrote, which does not know the branch either.
    pub owner: Option<Owner>,
}

/// The tables.
#[derive(Debug)]
pub struct Log {
    /// By transaction.
    rows: Vec<Option<Row>>,
    watermark_ms: i64,
    /// Up to which horizon END was said.
    ended_ms: i64,
    /// The business rows.
    pub books: Books,
}

/// A changed row.
#[derive(Debug)]
pub enum Change {
    /// Of the log.
    Row(Tx, Option<Row>),
    /// The watermark.
    Watermark(i64),
    /// Up to which horizon END was said.
    Ended(i64),
    /// Of the books.
    Book(BookChange),
}

impl Log {
    /// The participant at this place begins so.
    pub fn new(place: usize, plan: &Plan) -> Self {
        Log { rows: Vec::new(), watermark_ms: 0, ended_ms: 0, books: Books::new(place, plan) }
    }

    /// A transaction's row.
    pub fn row(&self, tx: Tx) -> Option<Row> {
        self.rows.get(tx).copied().flatten()
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = (Tx, Row)> {
        self.rows.iter().enumerate().filter_map(|(tx, row)| Some((tx, (*row)?)))
    }

    /// Those in doubt.
    pub fn prepared(&self) -> impl Iterator<Item = Listed> {
        let prepared = self.rows().filter(|(_, row)| row.state == BranchState::Prepared);
        prepared.filter_map(|(tx, row)| Some(Listed { tx, owner: row.owner? }))
    }
}

impl Tables for Log {
    type Change = Change;

    fn apply(&mut self, change: Change) -> Change {
        match change {
            Change::Row(tx, row) => {
                if self.rows.len() <= tx {
                    self.rows.resize(tx + 1, None);
                }
                Change::Row(tx, std::mem::replace(&mut self.rows[tx], row))
            }
            Change::Watermark(to) => Change::Watermark(std::mem::replace(&mut self.watermark_ms, to)),
            Change::Ended(to) => Change::Ended(std::mem::replace(&mut self.ended_ms, to)),
            Change::Book(change) => Change::Book(self.books.apply(change)),
        }
    }
}

impl World {
    /// Carries out a batch, kind by kind; an entry's reply at its place.
    pub(super) fn write_log(&mut self, p: usize, entries: &[Entry], forced: bool) -> Vec<Reply> {
        let mut replies = vec![Reply::Unknown; entries.len()];
        let kind = |entry: &Entry| match entry {
            Entry::Prepare(_) => 0,
            Entry::Fence(_) => 1,
            Entry::Commit { .. } => 2,
            Entry::Abort { .. } => 3,
            Entry::Forgotten(_) => 4,
            _ => 5,
        };
        for now in 0..=5 {
            for (place, entry) in entries.iter().enumerate().filter(|(_, entry)| kind(entry) == now) {
                replies[place] = self.write_entry(p, *entry);
            }
        }
        self.logs[p].commit(forced, self.now_us);
        self.check_books(p);
        replies
    }

    fn write_entry(&mut self, p: usize, entry: Entry) -> Reply {
        match entry {
            Entry::Prepare(tx) => Reply::Voted(self.prepare(p, tx)),
            Entry::Fence(tx) => Reply::Voted(self.fence(p, tx)),
            Entry::Commit { tx, .. } => {
                let (row, below) = self.standing(p, tx);
                self.settle(p, tx, branch::commit(row, below), false)
            }
            Entry::Abort { tx, duplicate } => {
                let (row, below) = self.standing(p, tx);
                self.settle(p, tx, branch::abort(row, below), duplicate)
            }
            Entry::Forgotten(_) if self.makes(Mutant::BranchIgnoresForgotten) => Reply::Settled(Settle::Ignore),
            Entry::Forgotten(tx) => {
                let settle = branch::forgotten(self.standing(p, tx).0);
                if settle == Settle::Release {
                    self.count(Counted::ForgottenReleased);
                }
                self.settle(p, tx, settle, false)
            }
            Entry::End(tx) => Reply::Ended(self.end(p, tx)),
            other => unreachable!("{other:?} is for the coordinators' records"),
        }
    }

    /// The place of a transaction's row.
    fn row_place(&self, tx: Tx) -> Tx {
        match self.makes(Mutant::KeyedByRequest) {
            true => self.witness.requests[self.witness.attempts[tx].request].attempts[0],
            false => tx,
        }
    }

    fn standing(&self, p: usize, tx: Tx) -> (Option<BranchState>, bool) {
        let below = self.witness.attempts[tx].deadline_ms <= self.logs[p].read().watermark_ms;
        let row = self.logs[p].read().row(self.row_place(tx));
        (row.map(|row| row.state), below && !self.makes(Mutant::NoWatermark))
    }

    fn prepare(&mut self, p: usize, tx: Tx) -> Vote {
        let (row, below) = self.standing(p, tx);
        match branch::prepare(row, below) {
            Prepare::Answer(Vote::Forgotten) => {
                self.count(Counted::VoteForgotten);
                Vote::Forgotten
            }
            Prepare::Answer(vote) => vote,
            Prepare::TryHold if self.hold(p, tx) => {
                self.count(Counted::VoteYes);
                self.write_row(p, tx, BranchState::Prepared, Some(self.witness.attempts[tx].owner));
                Vote::Yes
            }
            Prepare::TryHold => {
                self.count(Counted::Refused);
                if !self.makes(Mutant::RefusalNotWritten) {
                    self.write_row(p, tx, BranchState::Aborted, Some(self.witness.attempts[tx].owner));
                }
                Vote::No
            }
        }
    }

    fn fence(&mut self, p: usize, tx: Tx) -> Vote {
        let (row, below) = self.standing(p, tx);
        let fence = branch::fence(row, below);
        if fence.insert_aborted && !self.makes(Mutant::FenceWithoutWrite) {
            self.count(Counted::FenceNo);
            self.write_row(p, tx, BranchState::Aborted, None);
        }
        match fence.vote {
            Vote::Yes => self.count(Counted::FenceYes),
            Vote::Forgotten => self.count(Counted::FenceForgotten),
            Vote::No | Vote::Unknown => {}
        }
        fence.vote
    }

    fn settle(&mut self, p: usize, tx: Tx, settle: Settle, duplicate: bool) -> Reply {
        match settle {
            Settle::Apply => {
                self.release(p, tx, true);
                self.book(p, tx, Some(Order::Confirmed));
                self.write_row(p, tx, BranchState::Committed, None);
            }
            Settle::Release => {
                self.release(p, tx, false);
                self.book(p, tx, (!duplicate).then_some(Order::Refused));
                self.write_row(p, tx, BranchState::Aborted, None);
            }
            Settle::InsertAborted => {
                self.count(Counted::AbortTombstone);
                self.write_row(p, tx, BranchState::Aborted, None);
            }
            Settle::Ignore => self.count(Counted::Ignored),
            Settle::Already => {}
            Settle::Alarm => {
                let row = self.standing(p, tx).0;
                self.violated(Invariant::Agreement, format!("alarm: T{tx} is {row:?} at {}", NAMES[p]));
            }
        }
        Reply::Settled(settle)
    }

    fn end(&mut self, p: usize, tx: Tx) -> End {
        let (row, below) = self.standing(p, tx);
        let end = branch::end(row, below);
        match end {
            End::Delete => {
                self.count(Counted::RowEnded);
                let place = self.row_place(tx);
                self.logs[p].write(Change::Row(place, None));
            }
            End::Later => self.count(Counted::EndLater),
            End::Already => {}
            End::Alarm => self.violated(Invariant::Agreement, format!("alarm: END of T{tx}, {row:?} at {}", NAMES[p])),
        }
        end
    }

    fn write_row(&mut self, p: usize, tx: Tx, state: BranchState, owner: Option<Owner>) {
        let place = self.row_place(tx);
        // A decision changes the state only.
        let owner = owner.or_else(|| self.logs[p].read().row(place)?.owner);
        self.logs[p].write(Change::Row(place, Some(Row { state, owner })));
        self.saw(
            tx,
            match state {
                BranchState::Prepared => Fact::Prepared(p),
                BranchState::Committed => Fact::BranchCommitted(p),
                BranchState::Aborted => Fact::BranchAborted(p),
            },
        );
    }

    /// Takes the hold if there is enough.
    fn hold(&mut self, p: usize, tx: Tx) -> bool {
        let content = &self.witness.contents[self.witness.attempts[tx].content];
        let books = &self.logs[p].read().books;
        let asks = books.asks(content);
        let enough = |(place, wanted): &(usize, i64)| {
            *wanted == 0 || books.holdings()[*place].on_hand - books.holdings()[*place].held >= *wanted
        };
        if !asks.iter().all(enough) {
            return false;
        }
        for (place, wanted) in asks.into_iter().filter(|(_, wanted)| *wanted > 0) {
            let mut holding = self.logs[p].read().books.holdings()[place];
            holding.held += wanted;
            self.logs[p].write(Change::Book(BookChange::Holding(place, holding)));
        }
        self.book(p, tx, Some(Order::Pending));
        true
    }

    /// Gives back what is held, or lets it take effect.
    fn release(&mut self, p: usize, tx: Tx, takes_effect: bool) {
        let content = self.witness.contents[self.witness.attempts[tx].content];
        for (place, wanted) in self.logs[p].read().books.asks(&content).into_iter().filter(|(_, wanted)| *wanted > 0) {
            let mut holding = self.logs[p].read().books.holdings()[place];
            holding.held -= wanted;
            if takes_effect {
                holding.on_hand -= wanted;
            }
            self.logs[p].write(Change::Book(BookChange::Holding(place, holding)));
        }
        if takes_effect && matches!(self.logs[p].read().books, Books::Payment { .. }) {
            let (account, taken) = (content.account, content.amount);
            self.logs[p].write(Change::Book(BookChange::Booked(Booking { tx, account, taken, earned: taken })));
        }
    }

    fn book(&mut self, p: usize, tx: Tx, order: Option<Order>) {
        if matches!(self.logs[p].read().books, Books::Orders(_)) {
            self.logs[p].write(Change::Book(BookChange::Order(tx, order)));
        }
    }

    /// Answers the highest horizon up to `asked_ms` at or below which nothing is in doubt here, once that is durable; if
    /// END was said up to `asked_ms`, up to which horizon it was said by now.
    pub(super) fn confirm_horizon(&mut self, p: usize, asked_ms: i64, has_ended: bool) -> i64 {
        let log = self.logs[p].read();
        let deadline = |tx: Tx| self.witness.attempts[tx].deadline_ms;
        let first_prepared = log.prepared().map(|row| deadline(row.tx)).min();
        let above = self.makes(Mutant::HorizonConfirmedAboveWatermark);
        let watermark_ms = if above { i64::MAX } else { log.watermark_ms };
        let horizon_ms = collection::horizon(asked_ms, watermark_ms, first_prepared);
        let (ended_ms, answered_ms) = match has_ended {
            true => (log.ended_ms.max(horizon_ms), log.ended_ms.max(horizon_ms)),
            false => (log.ended_ms, horizon_ms),
        };
        if has_ended {
            note!(self, "{}: ended up to {ended_ms}", NAMES[p]);
            self.logs[p].write(Change::Ended(ended_ms));
        }
        if horizon_ms < asked_ms {
            self.count(Counted::HorizonClipped);
        }
        let forced = !self.makes(Mutant::HorizonConfirmedBeforeFlush);
        self.logs[p].commit(forced, self.now_us);
        answered_ms
    }

    /// Advances the watermark and deletes the rows that it lets go, as the collector does.
    pub(super) fn delete_rows(&mut self, p: usize) {
        let process = super::message::Node::Participant(p).place();
        let to_ms = self.clock_ms(process) - self.plan.watermark_lag_ms;
        let watermark_ms = self.logs[p].read().watermark_ms.max(to_ms);
        self.logs[p].write(Change::Watermark(watermark_ms));
        let ended_ms = self.logs[p].read().ended_ms;
        let deadline = |tx: Tx| self.witness.attempts[tx].deadline_ms;
        let deletable = self.logs[p]
            .read()
            .rows()
            .filter(|(tx, row)| may_delete_branch(row.state, deadline(*tx) <= watermark_ms, deadline(*tx) <= ended_ms));
        let deletable: Vec<(Tx, BranchState)> = deletable.map(|(tx, row)| (tx, row.state)).collect();
        if !deletable.is_empty() {
            note!(self, "{}: collects {deletable:?}", NAMES[p]);
        }
        for (tx, state) in deletable {
            self.count(match state {
                BranchState::Committed => Counted::RowEndedByHorizon,
                BranchState::Prepared | BranchState::Aborted => Counted::RowCollected,
            });
            self.logs[p].write(Change::Row(tx, None));
        }
        self.logs[p].commit(true, self.now_us);
    }
}
