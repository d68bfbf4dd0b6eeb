//! A transaction's id stands for one branch: whatever comes under it later, the first one stands.
use crate::participant::kit::{Kit, state};
use crate::participant::oracle::Message::{Abort, Commit, Fence, Prepare};
use crate::participant::probe::Probe;
use crate::participant::run::{Check, Group, Outcome};

/// The group.
pub const GROUP: Group = Group {
    title: "Other contents under the same id",
    checks: &[
        Check {
            title: "PREPARE with another branch does not change one that is held",
            why: "the decision is about what was voted on: replaced, something else is charged than was agreed",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    let other = kit.refused()?;
                    let mut altered = Probe { branch: other.branch, ..probe.clone() };
                    kit.send(Prepare, &mut altered).await?;
                    kit.stands(&probe).await?;
                    kit.send(Commit, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "PREPARE with a better branch does not change one that was refused",
            why: "the transaction is refused already, everywhere: what is held now is held for nobody",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.refused()?;
                    kit.send(Prepare, &mut probe).await?;
                    let mut altered = Probe { branch: kit.probe().branch, ..probe.clone() };
                    altered.standing.takes = true;
                    kit.send(Prepare, &mut altered).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "PREPARE with other participants, another owner and another deadline does not change the row",
            why: "who recovers the transaction asks those whom the row names: a participant that is left out is never told",
            run: |kit| Box::pin(altered_names(kit)),
        },
        Check {
            title: "a row that stands is answered, whatever deadline the message names",
            why: "a watermark may pass an open transaction: answered as forgotten, it would be neither committed nor aborted",
            run: |kit| {
                Box::pin(async move {
                    for (decision, late) in [(Commit, Fence), (Abort, Prepare)] {
                        let mut probe = kit.probe();
                        kit.send(Prepare, &mut probe).await?;
                        let mut old = probe.clone().long_ago();
                        for message in [Prepare, Fence, decision, late] {
                            kit.send(message, &mut old).await?;
                        }
                        kit.stands(&old).await?;
                    }
                    Ok(())
                })
            },
        },
    ],
};

async fn altered_names(kit: &Kit) -> Outcome {
    let mut probe = kit.probe();
    kit.send(Prepare, &mut probe).await?;
    let mut altered = Probe {
        participants: vec![kit.plan.name.clone(), "stranger".to_owned()],
        owner_id: "another-owner".to_owned(),
        deadline_unix_ms: probe.deadline_unix_ms - 1_000,
        ..probe.clone()
    };
    kit.send(Prepare, &mut altered).await?;
    kit.send(Fence, &mut altered).await?;
    let row = kit.row(probe.id).await?.unwrap_or_default();
    let words = |participants: &[String], owner: &str, deadline: i64, state: &str| {
        format!("{state}, participants {participants:?}, owner {owner:?}, deadline {deadline}")
    };
    let deadline = row.transaction.as_ref().map_or(0, |transaction| transaction.deadline_unix_ms);
    let found_state = format!("{:?}", state(Some(&row)));
    let expected_state = format!("{:?}", probe.standing.row);
    let found = words(&row.participants, &row.owner_id, deadline, &found_state);
    let expected = words(&probe.participants, &probe.owner_id, probe.deadline_unix_ms, &expected_state);
    if found == expected { Ok(()) } else { Err(kit.broken(expected, found)) }
}
