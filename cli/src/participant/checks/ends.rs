//! END: the only way in which a committed row may go, and not before late messages are kept out by the watermark.
use std::time::{Duration, Instant};

use crate::participant::kit::Kit;
use crate::participant::oracle::Answer;
use crate::participant::oracle::Message::{Abort, Commit, CommitDurably, End, Fence, Prepare};
use crate::participant::probe::{Probe, now_unix_ms};
use crate::participant::run::{Check, Group, Outcome};
use crate::participant::stop::Stop;
use proto::assent::transaction::v1::{Acknowledgement, Vote};

/// How far above the watermark a deadline is put that it is to reach soon.
const ABOVE_MS: i64 = 500;
/// How exactly the watermark is searched for.
const NEAR_MS: i64 = 100;
/// How often it may run away from the search.
const TRIES: usize = 5;
/// How often it is asked whether the row may go.
const PAUSE: Duration = Duration::from_millis(100);

/// The group.
pub const GROUP: Group = Group {
    title: "END",
    checks: &[
        Check {
            title: "END of an unknown transaction is done",
            why: "its acknowledgement may have been lost: the coordinator keeps its record until it gets one",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(End, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "END of a committed branch above the watermark is answered retry, and the row stays",
            why: "a PREPARE that comes late finds no row and is held, for ever",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    for message in [Prepare, CommitDurably, End] {
                        kit.send(message, &mut probe).await?;
                    }
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "END of a prepared branch is an alarm, and changes nothing",
            why: "the decision is not known here: with its row the hold could never be taken or given back",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(End, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "END of an aborted branch is an alarm, and changes nothing",
            why: "END says that it was committed: acknowledged, a torn transaction is swept away with its traces",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    for message in [Prepare, Abort, End] {
                        kit.send(message, &mut probe).await?;
                    }
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "END below the watermark deletes the committed row, and late messages meet the watermark",
            why: "a row that never goes fills the disk; a late PREPARE or COMMIT of a collected transaction must not be \
                  held or taken a second time",
            run: |kit| Box::pin(collected(kit)),
        },
    ],
};

async fn collected(kit: &Kit) -> Outcome {
    let (mut ended, mut tombstone) = soon_below(kit).await?;
    kit.send(CommitDurably, &mut ended).await?;
    let deadline = Instant::now() + Duration::from_millis(kit.plan.watermark_wait_ms);
    loop {
        let answers = kit.answers(End, std::slice::from_ref(&ended)).await?;
        match answers.first() {
            Some((Answer::Acknowledged(Acknowledgement::Done), _)) => break,
            Some((Answer::Acknowledged(Acknowledgement::Retry), _)) if Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            Some((Answer::Acknowledged(Acknowledgement::Retry), _)) => {
                return Err(Stop::skip(format!(
                    "the watermark did not move on by {ABOVE_MS} ms within {} ms; a longer --watermark-wait-ms, or \
                     collecting more often, shows it",
                    kit.plan.watermark_wait_ms
                )));
            }
            answer => {
                let came = answer.map_or_else(|| "nothing".to_owned(), |(answer, _)| answer.to_string());
                return Err(kit.broken("retry, and done once the watermark has passed the deadline", came));
            }
        }
    }
    ended.standing.below = true;
    kit.now_stands(&mut ended, None);
    kit.stands(&ended).await?;
    for message in [Prepare, Commit, Fence, Abort, End] {
        kit.send(message, &mut ended).await?;
    }
    kit.stands(&ended).await?;
    // An aborted row of that age may have been collected as well; its late PREPARE is not taken either way.
    tombstone.standing.below = true;
    match kit.answers(Prepare, std::slice::from_ref(&tombstone)).await?.first() {
        Some((Answer::Vote(Vote::No | Vote::Forgotten), _)) => Ok(()),
        _ => Err(kit.broken("no, or forgotten if the row was collected, to PREPARE of an aborted branch", "otherwise")),
    }
}

/// A prepared branch, and an aborted one, whose deadline the watermark reaches soon.
async fn soon_below(kit: &Kit) -> Result<(Probe, Probe), Stop> {
    for _ in 0..TRIES {
        let deadline = above_watermark(kit).await?.saturating_add(ABOVE_MS);
        let (prepared, mut tombstone) = (kit.probe().due(deadline), kit.probe().due(deadline));
        let votes = kit.answers(Prepare, &[prepared.clone(), tombstone.clone()]).await?;
        if votes.iter().all(|(answer, _)| *answer == Answer::Vote(Vote::Yes)) {
            let mut prepared = prepared;
            kit.now_stands(&mut prepared, Some(protocol::branch::BranchState::Prepared));
            kit.now_stands(&mut tombstone, Some(protocol::branch::BranchState::Prepared));
            kit.send(Abort, &mut tombstone).await?;
            return Ok((prepared, tombstone));
        }
    }
    Err(Stop::skip("the watermark moves faster than it can be followed"))
}

/// A deadline that is above the watermark, and just so: found by FENCE, which asks nothing else.
async fn above_watermark(kit: &Kit) -> Result<i64, Stop> {
    let (mut below, mut above) = (0, now_unix_ms());
    let first = kit.probe().long_ago();
    if kit.answers(Fence, std::slice::from_ref(&first)).await?.first().map(|(answer, _)| *answer)
        != Some(Answer::Vote(Vote::Forgotten))
    {
        return Err(Stop::skip("it seems to have no watermark: see the next group"));
    }
    while above - below > NEAR_MS {
        let middle = below + (above - below) / 2;
        let probe = kit.probe().due(middle.max(1));
        match kit.answers(Fence, std::slice::from_ref(&probe)).await?.first() {
            Some((Answer::Vote(Vote::Forgotten), _)) => below = middle,
            _ => above = middle,
        }
    }
    Ok(above)
}
