//! GetBranch and ListBranches: by them whoever recovers finds what is in doubt.
use std::collections::BTreeSet;

use proto::assent::transaction::v1 as wire;
use uuid::Uuid;

use crate::participant::kit::{Kit, state, told};
use crate::participant::oracle::Message::{Abort, Commit, Fence, Prepare};
use crate::participant::probe::{Probe, state_name};
use crate::participant::run::{Check, Group, Outcome};
use crate::participant::stop::Stop;

/// Branches that are looked for in lists.
const BRANCHES: usize = 5;
/// Pages that are turned, at most.
const MAX_PAGES: usize = 5_000;

/// The group.
pub const GROUP: Group = Group {
    title: "What stands can be read",
    checks: &[
        Check {
            title: "GetBranch tells the row: transaction, deadline, participants, owner, times",
            why: "an operator, and a recovery, have nothing else to go by",
            run: |kit| Box::pin(row_is_told(kit)),
        },
        Check {
            title: "GetBranch of a row that a fence or an abort wrote tells why",
            why: "an operator must see whether the participant refused or somebody gave up",
            run: |kit| Box::pin(reasons(kit)),
        },
        Check {
            title: "ListBranches of PREPARED rows has each one, once, in the order of the ids, page by page",
            why: "a coordinator finds abandoned branches there: one that is not listed is held for ever",
            run: |kit| Box::pin(lists(kit)),
        },
        Check {
            title: "a branch that was decided is listed in its new state, and as PREPARED no more",
            why: "every recovery would begin again with what is long settled",
            run: |kit| Box::pin(decided(kit)),
        },
    ],
};

async fn row_is_told(kit: &Kit) -> Outcome {
    let mut probe = kit.probe();
    kit.send(Prepare, &mut probe).await?;
    for decision in [None, Some(Commit)] {
        if let Some(decision) = decision {
            kit.send(decision, &mut probe).await?;
        }
        let row = kit.row(probe.id).await?.unwrap_or_default();
        let found = (row.transaction, state(Some(&row_of(row.state))), row.participants, row.owner_id);
        let expected =
            (Some(probe.reference()), probe.standing.row, probe.participants.clone(), probe.owner_id.clone());
        if found != expected {
            return Err(kit.broken(format!("{expected:?}"), format!("{found:?}")));
        }
        if row.create_time.is_none() || row.decide_time.is_some() != decision.is_some() {
            let found = format!("create_time {:?}, decide_time {:?}", row.create_time, row.decide_time);
            return Err(kit.broken("create_time, and decide_time once it is decided", found));
        }
    }
    Ok(())
}

fn row_of(state: i32) -> wire::Branch {
    wire::Branch { state, ..wire::Branch::default() }
}

async fn reasons(kit: &Kit) -> Outcome {
    let (mut fenced, mut aborted) = (kit.probe(), kit.probe());
    kit.send(Fence, &mut fenced).await?;
    kit.send(Abort, &mut aborted).await?;
    for (probe, expected) in [(fenced, None), (aborted, Some("CONFORMANCE"))] {
        let reason = kit.row(probe.id).await?.and_then(|row| row.refusal).map(|refusal| refusal.reason);
        let told = reason.as_ref().is_some_and(|reason| !reason.is_empty());
        if !told || expected.is_some_and(|expected| reason.as_deref() != Some(expected)) {
            let expected =
                expected.map_or("a reason".to_owned(), |expected| format!("the reason {expected} that ABORT gave"));
            return Err(kit.broken(expected, format!("{reason:?}")));
        }
    }
    Ok(())
}

/// The ids of a state, by pages of this size.
async fn listed(kit: &Kit, state: wire::BranchState, page_size: i32) -> Result<Vec<Uuid>, Stop> {
    let mut ids: Vec<Uuid> = Vec::new();
    let mut page_token = String::new();
    for _ in 0..MAX_PAGES {
        let request = wire::ListBranchesRequest { state: state.into(), page_size, page_token };
        let mut client = kit.client.clone();
        let page = kit.within(async move { client.list_branches(request).await }).await;
        let page = page.map_err(|status| kit.broken("a page of ListBranches", told(&status)))?.into_inner();
        kit.note(format!("ListBranches of {} by {page_size}: {} rows", state.as_str_name(), page.branches.len()));
        if page_size > 0 && i32::try_from(page.branches.len()).is_ok_and(|count| count > page_size) {
            return Err(kit.broken(format!("at most {page_size} rows on a page"), page.branches.len()));
        }
        for row in page.branches {
            let id = row.transaction.as_ref().map(|it| it.transaction_id.clone()).unwrap_or_default();
            let id = Uuid::try_parse(&id).map_err(|_| kit.broken("the id of each row", format!("{id:?}")))?;
            if row.state() != state || ids.last().is_some_and(|last| *last >= id) {
                let found = format!("{id} ({}) after {:?}", row.state().as_str_name(), ids.last());
                return Err(
                    kit.broken(format!("rows that are {}, in the order of their ids", state.as_str_name()), found)
                );
            }
            ids.push(id);
        }
        if page.next_page_token.is_empty() {
            return Ok(ids);
        }
        page_token = page.next_page_token;
    }
    Err(Stop::skip(format!("its list has more than {MAX_PAGES} pages")))
}

async fn lists(kit: &Kit) -> Outcome {
    let mut probes: Vec<Probe> = (0..BRANCHES).map(|_| kit.probe()).collect();
    kit.send_all(Prepare, &mut probes.iter_mut().rev().collect::<Vec<_>>()).await?;
    let wanted: BTreeSet<Uuid> = probes.iter().map(|probe| probe.id).collect();
    for page_size in [0, 1, 2, 5_000] {
        let listed: BTreeSet<Uuid> = listed(kit, wire::BranchState::Prepared, page_size).await?.into_iter().collect();
        let missing: Vec<String> = wanted.difference(&listed).map(Uuid::to_string).collect();
        if !missing.is_empty() {
            return Err(kit.broken("all that was prepared", format!("{} is missing", missing.join(", "))));
        }
    }
    Ok(())
}

async fn decided(kit: &Kit) -> Outcome {
    let (mut committed, mut aborted) = (kit.probe(), kit.probe());
    kit.send_all(Prepare, &mut [&mut committed, &mut aborted]).await?;
    kit.send(Commit, &mut committed).await?;
    kit.send(Abort, &mut aborted).await?;
    let states = [wire::BranchState::Prepared, wire::BranchState::Committed, wire::BranchState::Aborted];
    for listed_state in states {
        let ids = listed(kit, listed_state, 1_000).await?;
        for probe in [&committed, &aborted] {
            let belongs = state(Some(&row_of(listed_state.into()))) == probe.standing.row;
            if ids.contains(&probe.id) != belongs {
                let expected = format!("{} listed as {} only", probe.id, state_name(probe.standing.row));
                let found = format!("{} as {}", if belongs { "missing" } else { "listed" }, listed_state.as_str_name());
                return Err(kit.broken(expected, found));
            }
        }
    }
    Ok(())
}
