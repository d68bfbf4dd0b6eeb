//! FENCE, and ABORT of what was never prepared: a no before the question, which a late PREPARE must meet.
use crate::participant::oracle::Message::{Abort, Commit, Fence, Prepare};
use crate::participant::run::{Check, Group};

/// The group.
pub const GROUP: Group = Group {
    title: "A no before the PREPARE",
    checks: &[
        Check {
            title: "FENCE of an unknown transaction votes no, and leaves an ABORTED row",
            why: "a recovery aborts the transaction for that no: it must still be there when the PREPARE comes",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Fence, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "FENCE twice votes no twice",
            why: "several recoveries may ask: they must come to one decision",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Fence, &mut probe).await?;
                    kit.send(Fence, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "a PREPARE after FENCE votes no, and holds nothing",
            why: "the transaction was aborted for the fence's no: a yes now is held for ever, or committed while the others \
                  are aborted",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Fence, &mut probe).await?;
                    kit.send(Prepare, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "FENCE of a prepared branch votes yes, and leaves it prepared",
            why: "a recovery commits the transaction for that yes: a fence that aborts the branch, or says no of it, tears \
                  the transaction",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(Fence, &mut probe).await?;
                    kit.stands(&probe).await?;
                    kit.send(Fence, &mut probe).await?;
                    kit.send(Commit, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "FENCE of a committed branch votes yes",
            why: "a recovery that runs late would abort what the customer was told is placed",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(Commit, &mut probe).await?;
                    kit.send(Fence, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "FENCE of a refused branch votes no",
            why: "a refusal is a vote: it must be the same for whoever asks",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.refused()?;
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(Fence, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "ABORT before PREPARE leaves an ABORTED row (a tombstone)",
            why: "messages overtake each other: without the tombstone the PREPARE that comes late is held for ever",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Abort, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "a PREPARE after ABORT votes no, and holds nothing",
            why: "nobody will ever decide this transaction again: the hold would stay",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Abort, &mut probe).await?;
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(Fence, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
    ],
};
