//! Batches in one statement: what they do, and that they leave nothing where they are not as expected.
use super::*;
use sqlx::Executor as _;

use crate::group_commit::{Local, Work};
use crate::log::batches;
use crate::postgres::{Failure, classify};

impl World {
    /// Carries these out, and whether that was one statement.
    async fn carry_out(
        &self,
        work: &LogWork<Seats>,
        entries: &[Entry<String>],
    ) -> (Result<Vec<Reply>, sqlx::Error>, bool) {
        let mut connection = self.pool.acquire().await.unwrap();
        let mut is_open = false;
        let replies = work.run(&mut Local::new(&mut connection, &mut is_open, false), entries).await;
        if is_open {
            connection.execute(if replies.is_ok() { "COMMIT" } else { "ROLLBACK" }).await.unwrap();
        }
        if replies.is_ok() {
            work.committed();
        }
        (replies, !is_open)
    }

    /// The same, by one statement.
    async fn at_once(&self, work: &LogWork<Seats>, entries: &[Entry<String>]) -> Result<Vec<Reply>, sqlx::Error> {
        let (replies, is_one_statement) = self.carry_out(work, entries).await;
        assert!(is_one_statement);
        replies
    }

    /// The same, in steps.
    async fn in_steps(&self, work: &LogWork<Seats>, entries: &[Entry<String>]) -> Result<Vec<Reply>, sqlx::Error> {
        let (replies, is_one_statement) = self.carry_out(work, entries).await;
        assert!(!is_one_statement);
        replies
    }

    async fn rows(&self) -> i64 {
        let rows = "SELECT (SELECT count(*) FROM branch_log) + (SELECT count(*) FROM branch_batch)";
        sqlx::query_scalar(rows).fetch_one(&self.pool).await.unwrap()
    }
}

fn prepares(count: usize) -> Vec<Entry<String>> {
    (0..count).map(|_| prepare(transaction(), "hall")).collect()
}

#[tokio::test]
async fn what_is_all_held_is_one_statement() {
    let (world, work) = (World::with_seats(3).await, LogWork::new(Arc::new(Seats)));
    let entries = prepares(3);
    assert_eq!(world.at_once(&work, &entries).await.unwrap(), vec![Reply::Voted(Vote::Yes, None); 3]);
    assert_eq!((world.seats().await, world.rows().await), ((0, 0), 4));
    let decided = vec![
        Entry::Commit { transaction: entries[0].transaction(), durable: false },
        Entry::Abort(entries[1].transaction(), Refusal::new("TIMEOUT", "too late")),
    ];
    let replies = world.writer.submit_all(decided).await.unwrap();
    assert_eq!(replies, [Settle::Apply, Settle::Release].map(Reply::Settled));
    assert_eq!(world.seats().await, (1, 1));
    world.is_sound().await;
}

#[tokio::test]
async fn a_refusal_leaves_nothing_of_the_statement_and_the_next_batches_go_in_steps() {
    let (world, work) = (World::with_seats(2).await, LogWork::new(Arc::new(Seats)));
    let entries = prepares(3);
    let refused = world.at_once(&work, &entries).await.unwrap_err();
    assert_eq!(classify(&refused), Failure::Retry, "{refused}");
    assert_eq!((world.seats().await, world.rows().await), ((2, 0), 0));
    let votes: Vec<_> =
        world.in_steps(&work, &entries).await.unwrap().iter().map(|reply| vote(reply).unwrap()).collect();
    assert_eq!(votes, [Vote::Yes, Vote::Yes, Vote::No]);
    world.is_sound().await;
}

#[tokio::test]
async fn a_lone_branch_that_is_refused_leaves_nothing_either() {
    let (world, work) = (World::with_seats(0).await, LogWork::new(Arc::new(Seats)));
    let refused = world.at_once(&work, &prepares(1)).await.unwrap_err();
    assert_eq!(classify(&refused), Failure::Retry, "{refused}");
    assert_eq!((world.seats().await, world.rows().await), ((0, 0), 0));
}

#[tokio::test]
async fn what_is_late_or_a_repeat_leaves_nothing_of_the_statement() {
    let (world, work) = (World::with_seats(5).await, LogWork::new(Arc::new(Seats)));
    let known = transaction();
    world.at_once(&work, &[prepare(known, "hall")]).await.unwrap();
    let entries = [prepare(transaction(), "hall"), prepare(known, "hall")];
    let repeat = world.at_once(&work, &entries).await.unwrap_err();
    assert_eq!(classify(&repeat), Failure::Retry, "{repeat}");
    assert_eq!((world.seats().await, world.rows().await), ((4, 0), 2));
    // With care now, and as it is asked for.
    assert_eq!(world.in_steps(&work, &entries).await.unwrap(), vec![Reply::Voted(Vote::Yes, None); 2]);
    assert_eq!((world.seats().await, world.rows().await), ((3, 0), 4));

    let work = LogWork::new(Arc::new(Seats));
    let late = transaction();
    world.log.advance_watermark(late.deadline_unix_ms).await.unwrap();
    let entries =
        [prepare(TransactionRef { deadline_unix_ms: i64::MAX, ..transaction() }, "hall"), prepare(late, "hall")];
    // Their deadlines are too far apart to be one batch.
    world.in_steps(&work, &entries).await.unwrap_err();
    let work = LogWork::new(Arc::new(Seats));
    let below = world.at_once(&work, &entries[1..]).await.unwrap_err();
    assert_eq!(classify(&below), Failure::Retry, "{below}");
    assert_eq!((world.seats().await, world.rows().await), ((3, 0), 4));
    assert_eq!(vote(&world.prepare(late).await), Some(Vote::Forgotten));
}

/// Two that are prepared, and their commits with a PREPARE of a third.
async fn two_and_their_commits(world: &World, work: &LogWork<Seats>) -> ([TransactionRef; 2], Vec<Entry<String>>) {
    let entries = prepares(2);
    world.at_once(work, &entries).await.unwrap();
    let two = [0, 1].map(|place: usize| entries[place].transaction());
    let mut entries = prepares(1);
    entries.extend(two.map(|transaction| Entry::Commit { transaction, durable: false }));
    (two, entries)
}

#[tokio::test]
async fn batches_are_closed_with_what_is_prepared_next() {
    let (world, work) = (World::with_seats(5).await, LogWork::new(Arc::new(Seats)));
    let (_, entries) = two_and_their_commits(&world, &work).await;
    let replies = world.at_once(&work, &entries).await.unwrap();
    assert_eq!(replies[0], Reply::Voted(Vote::Yes, None));
    assert_eq!(replies[1..], [Settle::Apply, Settle::Apply].map(Reply::Settled));
    assert_eq!((world.batches().await, world.seats().await), (vec![(2, 0), (1, 1)], (2, 2)));
    world.is_sound().await;
}

#[tokio::test]
async fn a_batch_of_which_another_process_has_decided_a_part_is_not_closed_with_what_is_prepared_next() {
    let (world, work) = (World::with_seats(5).await, LogWork::new(Arc::new(Seats)));
    let ([aborted, _], entries) = two_and_their_commits(&world, &work).await;
    assert_eq!(world.abort(aborted).await, Reply::Settled(Settle::Release));
    let unexpected = world.at_once(&work, &entries).await.unwrap_err();
    assert_eq!(classify(&unexpected), Failure::Retry, "{unexpected}");
    assert_eq!(world.seats().await, (4, 0), "nothing was sold");
    let replies = world.in_steps(&work, &entries).await.unwrap();
    assert_eq!(replies[0], Reply::Voted(Vote::Yes, None));
    assert_eq!(replies[1..], [Settle::Alarm, Settle::Apply].map(Reply::Settled));
    assert_eq!(world.seats().await, (3, 1), "one was sold, and one is held");
    world.is_sound().await;
}

#[tokio::test]
async fn a_batch_that_is_closed_is_locked_before_what_its_branches_hold() {
    let (world, work) = (World::with_seats(5).await, LogWork::new(Arc::new(Seats)));
    let ([aborted, _], entries) = two_and_their_commits(&world, &work).await;
    let mut other = world.pool.begin().await.unwrap();
    assert_eq!(batches::lock(&mut other, &[aborted]).await.unwrap().len(), 1);
    let (unexpected, ()) = tokio::join!(world.at_once(&work, &entries), async {
        world.waits("test").await;
        // Whoever decides the row gives back what it holds, which must not wait for the one that waits.
        sqlx::raw_sql("SET LOCAL lock_timeout = '1ms'; UPDATE room SET free = free + 1")
            .execute(&mut *other)
            .await
            .unwrap();
        let rows = [(aborted, Some(&Refusal::new("TIMEOUT", "too late")))];
        let batch_ids = batches::lock(&mut other, &[aborted]).await.unwrap().iter().map(|(id, _)| *id).collect();
        let decision = batches::Decision { state: BranchState::Aborted, rows: &rows, batch_ids, with_branches: false };
        batches::decide(&mut other, &decision, Uuid::now_v7()).await.unwrap();
        other.commit().await.unwrap();
    });
    assert_eq!(classify(&unexpected.unwrap_err()), Failure::Retry);
    assert_eq!(world.seats().await, (4, 0));
    world.is_sound().await;
}
