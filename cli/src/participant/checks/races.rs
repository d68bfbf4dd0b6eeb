//! Messages at the same time: whatever the order in which they take effect, it must have been one order for all of them.
use futures::future::try_join_all;

use crate::participant::kit::{Kit, state};
use crate::participant::oracle::Message::{self, Abort, Commit, Fence, Prepare};
use crate::participant::oracle::outcomes;
use crate::participant::probe::{Probe, state_name};
use crate::participant::run::{Check, Group, Outcome};
use crate::participant::stop::Stop;

/// Duplicates that are sent at once.
const DUPLICATES: usize = 32;
/// Transactions that each race is run with.
const ROUNDS: usize = 24;

/// The group.
pub const GROUP: Group = Group {
    title: "At the same time",
    checks: &[
        Check {
            title: "32 PREPAREs of one branch at once all vote yes, and hold once",
            why: "checking for a row and inserting it in two steps lets two of them through: the second hold stays for ever, \
                  and an error in place of the yes aborts a good order",
            run: |kit| Box::pin(duplicates(kit, Prepare, &[])),
        },
        Check {
            title: "32 COMMITs of one branch at once are all done, and take once",
            why: "taken twice is charged twice",
            run: |kit| Box::pin(duplicates(kit, Commit, &[Prepare])),
        },
        Check {
            title: "32 ABORTs of one branch at once are all done, and give back once",
            why: "given back twice, the same stock or money is promised to two customers",
            run: |kit| Box::pin(duplicates(kit, Abort, &[Prepare])),
        },
        Check {
            title: "PREPARE and FENCE at once agree on the vote",
            why: "a yes to the owner and a no to the recovery: the customer is told that the order is placed, and it is aborted",
            run: |kit| Box::pin(races(kit, &[], &[(Prepare, true), (Fence, true)])),
        },
        Check {
            title: "PREPARE and ABORT at once leave the branch aborted",
            why: "the ABORT is sent once it is acknowledged never again: what it did not find is held for ever",
            run: |kit| Box::pin(races(kit, &[], &[(Prepare, true), (Abort, true)])),
        },
        Check {
            title: "COMMIT and ABORT at once: one is done, the other is an alarm",
            why: "both acknowledged, nobody learns of the contradiction, and the hold is taken and given back",
            run: |kit| Box::pin(races(kit, &[Prepare], &[(Commit, true), (Abort, true)])),
        },
        Check {
            title: "PREPAREs of a branch that can be met and one that can't at once agree on the vote",
            why: "a yes and a no under one id: one coordinator commits what another aborts",
            run: |kit| {
                Box::pin(async move {
                    kit.refused()?;
                    races(kit, &[], &[(Prepare, true), (Prepare, false), (Fence, true)]).await
                })
            },
        },
    ],
};

async fn duplicates(kit: &Kit, message: Message, before: &[Message]) -> Outcome {
    let mut probe = kit.probe();
    for message in before {
        kit.send(*message, &mut probe).await?;
    }
    let sent = (0..DUPLICATES).map(|_| {
        let mut probe = probe.clone();
        async move { kit.send(message, &mut probe).await.map(|()| probe) }
    });
    // What was sent at once can't be expected one by one, but duplicates all have the answer that the first has.
    let sent: Vec<Probe> = try_join_all(sent).await?;
    match sent.into_iter().next() {
        Some(probe) => kit.stands(&probe).await,
        None => Ok(()),
    }
}

async fn races(kit: &Kit, before: &[Message], messages: &[(Message, bool)]) -> Outcome {
    let mut probes: Vec<Probe> = (0..ROUNDS).map(|_| kit.probe()).collect();
    for message in before {
        kit.send_all(*message, &mut probes.iter_mut().collect::<Vec<_>>()).await?;
    }
    // On one connection, what is sent first mostly arrives first: each message has to be it in some of the rounds.
    let rounds = probes.iter_mut().enumerate();
    try_join_all(rounds.map(|(round, probe)| race(kit, probe, messages, round % messages.len()))).await?;
    Ok(())
}

/// Sends messages about one transaction at once, from this one on.
async fn race(kit: &Kit, probe: &mut Probe, messages: &[(Message, bool)], first: usize) -> Result<(), Stop> {
    let refused = kit.plan.refused.clone().unwrap_or_default();
    let sent = messages.iter().map(|(message, takes)| {
        let branch = if *takes { probe.branch.clone() } else { refused.clone() };
        let one = Probe { branch, ..probe.clone() };
        async move { kit.answers(*message, std::slice::from_ref(&one)).await }
    });
    let mut sent: Vec<_> = sent.collect();
    sent.rotate_left(first);
    let mut answers: Vec<_> = try_join_all(sent).await?.into_iter().flatten().map(|(answer, _)| answer).collect();
    answers.rotate_right(first);
    let row = state(kit.row(probe.id).await?.as_ref());
    let possible = outcomes(messages, probe.standing);
    if possible.iter().any(|(expected, stands)| (expected, *stands) == (&answers, row)) {
        kit.now_stands(probe, row);
        return Ok(());
    }
    let names: Vec<&str> = messages.iter().map(|(message, _)| message.name()).collect();
    let words = |answers: &[crate::participant::oracle::Answer], row| {
        let each: Vec<String> = names.iter().zip(answers).map(|(name, answer)| format!("{answer} to {name}")).collect();
        format!("{}, then {}", each.join(" and "), state_name(row))
    };
    let expected: Vec<String> = possible.iter().map(|(answers, row)| words(answers, *row)).collect();
    Err(kit.broken(expected.join("; or "), words(&answers, row)))
}
