//! What comes from before the watermark, about which nothing is known any more.
use crate::participant::oracle::Message::{Abort, Commit, CommitDurably, End, Fence, Prepare};
use crate::participant::run::{Check, Group};

/// The group.
pub const GROUP: Group = Group {
    title: "From before the watermark",
    checks: &[
        Check {
            title: "PREPARE is answered forgotten, and nothing is inserted or held",
            why: "its transaction may have been decided and collected: a hold for it is never released, and a no would be \
                  a refusal of what may be committed",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe().long_ago();
                    kit.send(Prepare, &mut probe).await?;
                    kit.stands(&probe).await?;
                    kit.send(Prepare, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "FENCE is answered forgotten, and nothing is inserted",
            why: "a no inserted below the watermark is deleted again at once: what it promised does not hold",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe().long_ago();
                    kit.send(Fence, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "COMMIT is ignored, durable or not",
            why: "it is the late duplicate of one that was done and collected: an alarm would cry wolf, a row would never go",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe().long_ago();
                    kit.send(Commit, &mut probe).await?;
                    kit.send(CommitDurably, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "ABORT is ignored, and leaves no tombstone",
            why: "tombstones below the watermark would never end",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe().long_ago();
                    kit.send(Abort, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "END is done",
            why: "the row went when END came first: the coordinator keeps its record until that is acknowledged",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe().long_ago();
                    kit.send(End, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
    ],
};
