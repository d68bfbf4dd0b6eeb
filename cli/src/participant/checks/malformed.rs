//! What can't be: it is refused with INVALID_ARGUMENT, as a whole, and the participant lives.
use std::pin::Pin;

use proto::assent::transaction::v1 as wire;
use tonic::{Code, Response, Status};

use crate::participant::kit::{Kit, told};
use crate::participant::probe::{Probe, now_unix_ms};
use crate::participant::run::{Check, Group, Outcome};

/// More than a request may have.
const TOO_MANY: usize = 5_001;
/// Far more than a deadline may lie ahead.
const A_YEAR_MS: i64 = 365 * 24 * 3_600_000;
/// Texts that are no UUID.
const NO_IDS: [&str; 4] = ["", "1234", "not-a-uuid", "' OR 1=1 --"];

/// The group.
pub const GROUP: Group = Group {
    title: "Malformed requests",
    checks: &[
        Check {
            title: "PREPARE and ABORT without a transaction are INVALID_ARGUMENT",
            why: "an entry without a name can neither be decided nor found again",
            run: |kit| {
                Box::pin(async move {
                    prepare(kit, "no transaction", |it| it.transaction = None).await?;
                    let branches = vec![wire::AbortBranch::default()];
                    let mut client = kit.client.clone();
                    let call = async move { client.abort(wire::AbortRequest { branches }).await.map(drop) };
                    invalid(kit, "ABORT: no transaction", call).await
                })
            },
        },
        Check {
            title: "a transaction id that is no UUID is INVALID_ARGUMENT in every message",
            why: "an id that is cut, or stored in two forms, stands for two transactions or for none",
            run: |kit| Box::pin(no_ids(kit)),
        },
        Check {
            title: "a deadline that is not positive, or a year ahead, is INVALID_ARGUMENT",
            why: "what is prepared is held until then, whatever happens: a mistaken unit must not hold it for years",
            run: |kit| {
                Box::pin(async move {
                    for deadline in [0, -1, i64::MIN, i64::MAX, now_unix_ms().saturating_add(A_YEAR_MS)] {
                        let altered = |it: &mut wire::PrepareBranch| {
                            it.transaction = it.transaction.take().map(|mut transaction| {
                                transaction.deadline_unix_ms = deadline;
                                transaction
                            });
                        };
                        prepare(kit, &format!("deadline {deadline}"), altered).await?;
                    }
                    Ok(())
                })
            },
        },
        Check {
            title: "PREPARE whose participants don't name this one is INVALID_ARGUMENT",
            why: "it went to the wrong address, or a recovery would leave this participant out: its hold would stay for ever",
            run: |kit| {
                Box::pin(async move {
                    prepare(kit, "no participants", |it| it.participants.clear()).await?;
                    prepare(kit, "another's name", |it| it.participants = vec!["somebody-else".to_owned()]).await
                })
            },
        },
        Check {
            title: "PREPARE without an owner is INVALID_ARGUMENT",
            why: "a coordinator tells by the owner whether anybody still drives the transaction",
            run: |kit| Box::pin(prepare(kit, "no owner", |it| it.owner_id.clear())),
        },
        Check {
            title: "more than 5,000 entries are refused",
            why: "one request must not keep all others waiting",
            run: |kit| Box::pin(too_many(kit)),
        },
        Check {
            title: "GetBranch and ListBranches refuse an id, state, size and token that can't be",
            why: "a page that starts somewhere else hides branches from whoever recovers them",
            run: |kit| Box::pin(reads(kit)),
        },
    ],
};

/// Insists that a call is refused as invalid, and that the participant still answers.
async fn invalid(kit: &Kit, what: &str, call: impl Future<Output = Result<(), Status>>) -> Outcome {
    is_refused(kit, what, &[Code::InvalidArgument], call).await
}

async fn is_refused(kit: &Kit, what: &str, codes: &[Code], call: impl Future<Output = Result<(), Status>>) -> Outcome {
    let expected: Vec<String> = codes.iter().map(|code| format!("{code:?}")).collect();
    let answer = kit.within(call).await;
    kit.note(format!("{what}: {}", answer.as_ref().map_or_else(told, |()| "OK".to_owned())));
    match answer {
        Err(status) if codes.contains(&status.code()) => kit.stands(&kit.probe()).await,
        Err(status) => Err(kit.broken(expected.join(" or "), told(&status))),
        Ok(()) => Err(kit.broken(expected.join(" or "), "OK")),
    }
}

/// Sends a PREPARE that something is wrong with, alone and behind a good one, for which nothing may come of it either:
/// the caller, who gets no votes, takes none of them for prepared.
async fn prepare(kit: &Kit, what: &str, alter: impl Fn(&mut wire::PrepareBranch)) -> Outcome {
    let (good, bad) = (kit.probe(), kit.probe());
    let mut wrong = bad.to_prepare();
    alter(&mut wrong);
    for branches in [vec![wrong.clone()], vec![good.to_prepare(), wrong]] {
        let mut client = kit.client.clone();
        let call = async move { client.prepare(wire::PrepareRequest { branches }).await.map(drop) };
        invalid(kit, &format!("PREPARE: {what}"), call).await?;
    }
    // Noted, so that it is looked for and aborted if it was prepared.
    for mut probe in [good, bad] {
        kit.now_stands(&mut probe, None);
        kit.stands(&probe).await?;
    }
    Ok(())
}

async fn no_ids(kit: &Kit) -> Outcome {
    for text in NO_IDS {
        let reference = wire::TransactionRef { transaction_id: text.to_owned(), deadline_unix_ms: now_unix_ms() };
        prepare(kit, &format!("transaction id {text:?}"), |it| it.transaction = Some(reference.clone())).await?;
        let transactions = vec![kit.probe().reference(), reference.clone()];
        let client = || kit.client.clone();
        let (fences, commits, ends) = (transactions.clone(), transactions.clone(), transactions);
        let branches = vec![wire::AbortBranch { transaction: Some(reference), refusal: None }];
        let (mut one, mut two, mut three, mut four, mut five) = (client(), client(), client(), client(), client());
        type Call = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;
        let calls: [(&str, Call); 5] = [
            ("FENCE", Box::pin(async move { one.fence(wire::FenceRequest { transactions: fences }).await.map(drop) })),
            (
                "COMMIT",
                Box::pin(async move {
                    two.commit(wire::CommitRequest { transactions: commits, durable: false }).await.map(drop)
                }),
            ),
            ("END", Box::pin(async move { three.end(wire::EndRequest { transactions: ends }).await.map(drop) })),
            ("ABORT", Box::pin(async move { four.abort(wire::AbortRequest { branches }).await.map(drop) })),
            (
                "GetBranch",
                Box::pin(async move {
                    five.get_branch(wire::GetBranchRequest { transaction_id: text.to_owned() }).await.map(drop)
                }),
            ),
        ];
        for (name, call) in calls {
            invalid(kit, &format!("{name}: transaction id {text:?}"), call).await?;
        }
    }
    Ok(())
}

async fn too_many(kit: &Kit) -> Outcome {
    // COMMITs from before the watermark: ignored, where they are taken after all.
    let transactions: Vec<wire::TransactionRef> =
        (0..TOO_MANY).map(|_| Probe::long_ago(kit.probe()).reference()).collect();
    let mut client = kit.client.clone();
    let call = async move { client.commit(wire::CommitRequest { transactions, durable: false }).await.map(drop) };
    // The transport's own limit is as good.
    let codes = [Code::InvalidArgument, Code::ResourceExhausted, Code::OutOfRange];
    is_refused(kit, "COMMIT of 5,001 transactions", &codes, call).await
}

async fn reads(kit: &Kit) -> Outcome {
    let cases = [
        wire::ListBranchesRequest { state: 99, ..Default::default() },
        wire::ListBranchesRequest { page_size: -1, ..Default::default() },
        wire::ListBranchesRequest { page_token: "made-up".to_owned(), ..Default::default() },
    ];
    for case in cases {
        let what = format!(
            "ListBranches: state {}, page_size {}, page_token {:?}",
            case.state, case.page_size, case.page_token
        );
        let mut client = kit.client.clone();
        let call = async move { client.list_branches(case).await.map(|answer: Response<_>| drop(answer)) };
        invalid(kit, &what, call).await?;
    }
    Ok(())
}
