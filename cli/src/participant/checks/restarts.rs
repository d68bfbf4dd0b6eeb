//! The participant ends and starts again: what it has said still stands.
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use proto::assent::transaction::v1::GetBranchRequest;
use protocol::branch::BranchState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use uuid::Uuid;

use crate::participant::kit::{Kit, state};
use crate::participant::oracle::Answer;
use crate::participant::oracle::Message::{Abort, Commit, CommitDurably, Fence, Prepare};
use crate::participant::probe::Probe;
use crate::participant::run::{Check, Group, Outcome};
use crate::participant::stop::Stop;
use proto::assent::transaction::v1::Vote;

/// How long the command, and then the start, may take.
const WITHIN: Duration = Duration::from_secs(60);
/// How long the old process' connection may outlive it.
const CLOSES_WITHIN: Duration = Duration::from_secs(2);
/// How a connection of HTTP/2 begins: the preface and empty settings, which the server answers.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Clients that go on while it is ended.
const CLIENTS: usize = 4;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The group.
pub const GROUP: Group = Group {
    title: "After a restart (--restart-command)",
    checks: &[
        Check {
            title: "a yes still stands: the branch is prepared, held, and can be committed",
            why: "the customer was told that the order is placed, on the strength of that vote",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    restart(kit).await?;
                    kit.stands(&probe).await?;
                    for message in [Prepare, Fence, CommitDurably] {
                        kit.send(message, &mut probe).await?;
                    }
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "a no still stands: refused, fenced, or aborted before it was prepared",
            why: "the transaction was aborted for it: the PREPARE that comes late must not be held now",
            run: |kit| Box::pin(refusals_stand(kit)),
        },
        Check {
            title: "a durable COMMIT still stands, and an ABORT",
            why: "the coordinator has forgotten the transaction: what is lost now, nobody sends again",
            run: |kit| {
                Box::pin(async move {
                    let (mut committed, mut aborted) = (kit.probe(), kit.probe());
                    kit.send_all(Prepare, &mut [&mut committed, &mut aborted]).await?;
                    kit.send(CommitDurably, &mut committed).await?;
                    kit.send(Abort, &mut aborted).await?;
                    restart(kit).await?;
                    kit.stands(&committed).await?;
                    kit.stands(&aborted).await?;
                    kit.send_all(Abort, &mut [&mut committed, &mut aborted]).await
                })
            },
        },
        Check {
            title: "a lazy COMMIT stands, or the branch is prepared as before, and it can be sent again",
            why: "lost halfway, the hold is neither taken nor there to be taken",
            run: |kit| Box::pin(lazy_commit(kit)),
        },
        Check {
            title: "of what was answered while it was ended, every yes and every no stands",
            why: "a vote that leaves before it is on disk is a promise that the next crash breaks",
            run: |kit| Box::pin(under_load(kit)),
        },
    ],
};

/// Has the participant ended and started again; returns when it answers.
async fn restart(kit: &Kit) -> Outcome {
    let command = kit.plan.restart.as_ref().ok_or_else(|| Stop::skip("give --restart-command"))?;
    let old = tokio::time::timeout(CLOSES_WITHIN, greeted(&kit.authority)).await;
    let Ok(Ok(mut old)) = old else { return Err(kit.broken("a connection", "none")) };
    let mut child = Command::new("sh");
    // Its output is the user's own, and no data: to stderr. A process that it leaves behind may keep that open.
    child.arg("-c").arg(command).stdin(Stdio::null()).stdout(std::io::stderr()).stderr(Stdio::inherit());
    let begun = Instant::now();
    let ended = tokio::time::timeout(WITHIN, child.status()).await;
    kit.note(format!("{command}: {} ms", begun.elapsed().as_millis()));
    match ended {
        Ok(Ok(status)) if status.success() => (),
        Ok(Ok(status)) => return Err(kit.broken("the restart command succeeds", status)),
        Ok(Err(error)) => return Err(kit.broken("the restart command runs", error)),
        Err(_) => return Err(kit.broken("the restart command returns once the participant is started", "it goes on")),
    }
    let mut buffer = [0; 1_024];
    let closed = async { while old.read(&mut buffer).await.is_ok_and(|count| count > 0) {} };
    if tokio::time::timeout(CLOSES_WITHIN, closed).await.is_err() {
        return Err(kit.broken("the restart command ends the participant", "a connection from before it is still open"));
    }
    while begun.elapsed() < WITHIN {
        let mut client = kit.client.clone();
        let request = GetBranchRequest { transaction_id: Uuid::now_v7().to_string() };
        if kit.within(client.get_branch(request)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(kit.broken("the participant answers again after the restart command", "nothing answers"))
}

/// A connection that the participant has taken, not only its kernel.
async fn greeted(authority: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(authority).await?;
    stream.write_all(HELLO).await?;
    stream.read_u8().await?;
    Ok(stream)
}

async fn refusals_stand(kit: &Kit) -> Outcome {
    let (mut fenced, mut aborted) = (kit.probe(), kit.probe());
    kit.send(Fence, &mut fenced).await?;
    kit.send(Abort, &mut aborted).await?;
    let mut probes = vec![fenced, aborted];
    if let Ok(mut refused) = kit.refused() {
        kit.send(Prepare, &mut refused).await?;
        // Asked again with a branch that could be met.
        probes.push(Probe { branch: kit.probe().branch, ..refused });
    }
    restart(kit).await?;
    for probe in &mut probes {
        kit.stands(probe).await?;
        kit.send(Prepare, probe).await?;
    }
    Ok(())
}

async fn lazy_commit(kit: &Kit) -> Outcome {
    let mut probe = kit.probe();
    kit.send(Prepare, &mut probe).await?;
    kit.send(Commit, &mut probe).await?;
    restart(kit).await?;
    let row = state(kit.row(probe.id).await?.as_ref());
    if !matches!(row, Some(BranchState::Committed | BranchState::Prepared)) {
        return Err(kit.broken("COMMITTED, or PREPARED if the lazy commit was lost", format!("{row:?}")));
    }
    kit.send(CommitDurably, &mut probe).await?;
    kit.stands(&probe).await
}

/// Clients prepare and fence one transaction after the other while the participant is ended.
async fn under_load(kit: &Kit) -> Outcome {
    let over = AtomicBool::new(false);
    let client = async || {
        let mut asked: Vec<(Probe, BranchState, Option<Vote>)> = Vec::new();
        while !over.load(Ordering::Relaxed) {
            for (message, row) in [(Prepare, BranchState::Prepared), (Fence, BranchState::Aborted)] {
                let probe = kit.probe();
                let vote = match kit.answers(message, std::slice::from_ref(&probe)).await.as_deref() {
                    Ok([(Answer::Vote(vote @ (Vote::Yes | Vote::No)), _)]) => Some(*vote),
                    // It is being ended, or starts.
                    _ => None,
                };
                if vote.is_none() {
                    tokio::time::sleep(PAUSE).await;
                }
                asked.push((probe, row, vote));
            }
        }
        asked
    };
    let clients = join_all((0..CLIENTS).map(|_| client()));
    let restarted = async {
        tokio::time::sleep(PAUSE * 10).await;
        let restarted = restart(kit).await;
        over.store(true, Ordering::Relaxed);
        restarted
    };
    let (asked, restarted) = tokio::join!(clients, restarted);
    restarted?;
    for (mut probe, row, vote) in asked.into_iter().flatten() {
        match vote {
            Some(Vote::Yes) => kit.now_stands(&mut probe, Some(BranchState::Prepared)),
            Some(_) => kit.now_stands(&mut probe, Some(BranchState::Aborted)),
            // Nobody knows: it was carried out, or not.
            None => {
                let found = state(kit.row(probe.id).await?.as_ref());
                kit.now_stands(&mut probe, found.filter(|found| *found == row));
            }
        }
        kit.stands(&probe).await?;
    }
    Ok(())
}
