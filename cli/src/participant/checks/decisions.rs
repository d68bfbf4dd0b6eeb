//! COMMIT and ABORT: done once, acknowledged as often as they are sent, and never against what stands.
use crate::participant::oracle::Message::{Abort, Commit, CommitDurably, Fence, Prepare};
use crate::participant::run::{Check, Group};

/// The group.
pub const GROUP: Group = Group {
    title: "Decisions",
    checks: &[
        Check {
            title: "COMMIT of a prepared branch is done, and takes what was held",
            why: "the customer was told that the order is placed",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(Commit, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "COMMIT again is done again, and takes nothing more",
            why: "a decision is sent until it is acknowledged: carried out twice, it charges twice",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    for message in [Commit, Commit, CommitDurably] {
                        kit.send(message, &mut probe).await?;
                    }
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "a durable COMMIT is done, and so is the one after a lazy COMMIT",
            why: "the coordinator asks for it before it forgets the transaction: one that is refused keeps rows for ever",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(CommitDurably, &mut probe).await?;
                    kit.stands(&probe).await?;
                    let mut lazy = kit.probe();
                    kit.send(Prepare, &mut lazy).await?;
                    kit.send(Commit, &mut lazy).await?;
                    kit.send(CommitDurably, &mut lazy).await?;
                    kit.stands(&lazy).await
                })
            },
        },
        Check {
            title: "ABORT again is done again, and gives nothing more back",
            why: "given back twice, the same stock or money is promised to two customers",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    for _ in 0..3 {
                        kit.send(Abort, &mut probe).await?;
                    }
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "ABORT after COMMIT is an alarm, and changes nothing",
            why: "an end that changes is money back for goods that are sent; acknowledged as done, nobody would ever know \
                  that two decisions were made",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(Commit, &mut probe).await?;
                    kit.send(Abort, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "COMMIT after ABORT is an alarm, and changes nothing",
            why: "what was held has been given back, perhaps sold to another: committing takes what is not there",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    kit.send(Abort, &mut probe).await?;
                    kit.send(Commit, &mut probe).await?;
                    kit.stands(&probe).await?;
                    kit.send(CommitDurably, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "COMMIT of a fenced transaction is an alarm, and changes nothing",
            why: "the others were aborted for the fence's no",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Fence, &mut probe).await?;
                    kit.send(Commit, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "COMMIT of an unknown transaction is an alarm, and leaves no row",
            why: "no vote stands here, so nothing can have been committed: acknowledged as done, this participant's part \
                  is lost, and nobody notices",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Commit, &mut probe).await?;
                    kit.stands(&probe).await?;
                    kit.send(CommitDurably, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
    ],
};
