//! What a vote is: durable, the same for ever, and not taken back.
use std::time::Duration;

use crate::participant::kit::Kit;
use crate::participant::oracle::Message::{Abort, Commit, Prepare};
use crate::participant::probe::now_unix_ms;
use crate::participant::run::{Check, Group, Outcome};

/// How soon the branch is due that is left prepared, in milliseconds.
const DUE_IN_MS: i64 = 300;
/// How long it is left so after that: longer than a coordinator takes to find it.
const LEFT: Duration = Duration::from_millis(1_500);

/// The group.
pub const GROUP: Group = Group {
    title: "Votes",
    checks: &[
        Check {
            title: "the same PREPARE again votes yes again, and holds once",
            why: "PREPAREs are repeated when an answer is lost: a second hold is never released, and a second row could be \
                  decided otherwise",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    for _ in 0..3 {
                        kit.send(Prepare, &mut probe).await?;
                    }
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "a repeated PREPARE of a committed branch votes yes, and nothing comes of it",
            why: "the late duplicate would be held, and perhaps committed, a second time",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(Commit, &mut probe).await?;
                    kit.send(Prepare, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "a branch that can't be met is voted no, leaves an ABORTED row, and holds nothing",
            why: "a refusal that is not written down can become a yes when the PREPARE is repeated, after others were told \
                  that the transaction is refused",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.refused()?;
                    kit.send(Prepare, &mut probe).await?;
                    kit.stands(&probe).await?;
                    kit.send(Prepare, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "a no says why",
            why: "the reason is what the customer is told; without one nobody knows what to change",
            run: |kit| Box::pin(no_says_why(kit)),
        },
        Check {
            title: "a prepared branch waits for its decision, past its deadline too",
            why: "who has voted yes can't decide alone: others may have committed already, and their part would be paid for \
                  while this one is gone. (If a coordinator that knows this participant is running, it did this: stop it.)",
            run: |kit| Box::pin(waits(kit)),
        },
        Check {
            title: "an ABORT gives back what a yes held, and a late PREPARE does not take it again",
            why: "the coordinator has given the transaction up: whatever is held for it from now on is held for ever",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(Abort, &mut probe).await?;
                    kit.stands(&probe).await?;
                    kit.send(Prepare, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
    ],
};

async fn no_says_why(kit: &Kit) -> Outcome {
    let probe = kit.refused()?;
    let answers = kit.answers(Prepare, std::slice::from_ref(&probe)).await?;
    let reason = answers.into_iter().find_map(|(_, refusal)| refusal).map(|refusal| refusal.reason);
    let row = kit.row(probe.id).await?.and_then(|row| row.refusal).map(|refusal| refusal.reason);
    match (reason, row) {
        (Some(told), Some(kept)) if !told.is_empty() && told == kept => Ok(()),
        (told, kept) => Err(kit.broken(
            "a refusal with a reason, in the vote and in GetBranch",
            format!("{told:?} in the vote, {kept:?} in GetBranch"),
        )),
    }
}

async fn waits(kit: &Kit) -> Outcome {
    let mut probe = kit.probe().due(now_unix_ms() + DUE_IN_MS);
    kit.send(Prepare, &mut probe).await?;
    tokio::time::sleep(LEFT).await;
    kit.stands(&probe).await?;
    kit.send(Commit, &mut probe).await?;
    kit.stands(&probe).await
}
