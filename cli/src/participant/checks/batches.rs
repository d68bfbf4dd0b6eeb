//! Batches: every entry has its own answer, in the order of the request, and none suffers for another.
use crate::participant::kit::Kit;
use crate::participant::oracle::Message::{self, Abort, Commit, CommitDurably, End, Fence, Prepare};
use crate::participant::probe::Probe;
use crate::participant::run::{Check, Group, Outcome};
use crate::participant::stop::Stop;

/// As many as a coordinator sends at once.
const LARGEST: usize = 1_024;

/// The group.
pub const GROUP: Group = Group {
    title: "Batches",
    checks: &[
        Check {
            title: "PREPAREs of every fate are each answered for themselves, in their order",
            why: "answers that are out of order commit one customer's order for another's vote; one refused order must not \
                  refuse its neighbours",
            run: |kit| Box::pin(mixed(kit, Prepare)),
        },
        Check {
            title: "FENCEs of every fate likewise",
            why: "a yes in the place of a no commits a transaction that somebody has refused",
            run: |kit| Box::pin(mixed(kit, Fence)),
        },
        Check {
            title: "COMMITs of every fate likewise, durable or not",
            why: "a contradiction in the batch must not keep its neighbours from being carried out",
            run: |kit| {
                Box::pin(async move {
                    mixed(kit, Commit).await?;
                    mixed(kit, CommitDurably).await
                })
            },
        },
        Check {
            title: "ABORTs of every fate likewise",
            why: "a contradiction in the batch must not keep its neighbours from being given back",
            run: |kit| Box::pin(mixed(kit, Abort)),
        },
        Check {
            title: "ENDs of every fate likewise",
            why: "what is deleted for its neighbour's sake can't be answered any more",
            run: |kit| Box::pin(mixed(kit, End)),
        },
        Check {
            title: "one transaction twice in a batch is answered twice, and held and taken once",
            why: "the network and retries make duplicates; in one batch they meet in one local transaction",
            run: |kit| Box::pin(twice(kit)),
        },
        Check {
            title: "a batch of 1,024 is taken: a coordinator sends so many",
            why: "a batch that is refused as a whole stops every order under load",
            run: |kit| Box::pin(large(kit)),
        },
        Check {
            title: "an empty batch is answered with nothing",
            why: "it must not be an error that stops the next batch",
            run: |kit| {
                Box::pin(async move {
                    for message in [Prepare, Fence, Commit, Abort, End] {
                        kit.send_all(message, &mut []).await?;
                    }
                    Ok(())
                })
            },
        },
    ],
};

/// Transactions of every fate, in an order that is none of their making.
async fn fates(kit: &Kit) -> Result<Vec<Probe>, Stop> {
    let [mut prepared, mut again, mut committed, mut aborted, mut fenced] = [(); 5].map(|()| kit.probe());
    kit.send_all(Prepare, &mut [&mut prepared, &mut committed, &mut aborted, &mut again]).await?;
    kit.send(Commit, &mut committed).await?;
    kit.send(Abort, &mut aborted).await?;
    kit.send(Fence, &mut fenced).await?;
    let mut fates = vec![kit.probe(), prepared, kit.probe().long_ago(), committed, fenced, kit.probe(), aborted, again];
    if let Ok(mut refused) = kit.refused() {
        fates.push(refused.clone());
        refused.id = uuid::Uuid::now_v7();
        fates.insert(1, refused);
    }
    Ok(fates)
}

/// Sends a message to all of them, and to others of the same fates in the other direction.
async fn mixed(kit: &Kit, message: Message) -> Outcome {
    for backwards in [false, true] {
        let mut probes = fates(kit).await?;
        if backwards {
            probes.reverse();
        }
        kit.send_all(message, &mut probes.iter_mut().collect::<Vec<_>>()).await?;
        for probe in &probes {
            kit.stands(probe).await?;
        }
    }
    Ok(())
}

async fn twice(kit: &Kit) -> Outcome {
    let mut probes: Vec<Probe> = (0..3).map(|_| kit.probe()).collect();
    for message in [Prepare, Commit] {
        let mut doubled: Vec<Probe> = probes.iter().chain(probes.iter().rev()).cloned().collect();
        kit.send_all(message, &mut doubled.iter_mut().collect::<Vec<_>>()).await?;
        for probe in &mut probes {
            probe.standing.row = doubled.iter().find(|double| double.id == probe.id).and_then(|it| it.standing.row);
            kit.stands(probe).await?;
        }
    }
    Ok(())
}

async fn large(kit: &Kit) -> Outcome {
    // Mostly from before the watermark, so that it takes little and leaves nothing.
    let mut probes: Vec<Probe> = (0..LARGEST).map(|_| kit.probe().long_ago()).collect();
    for place in [0, LARGEST / 2, LARGEST - 1] {
        if let Some(probe) = probes.get_mut(place) {
            *probe = kit.probe();
        }
    }
    for message in [Prepare, Fence, Commit] {
        kit.send_all(message, &mut probes.iter_mut().collect::<Vec<_>>()).await?;
    }
    Ok(())
}
