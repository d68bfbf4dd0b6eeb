//! A participant asked directly, by someone who sends nonsense: nothing is held for it, and its neighbours don't suffer.
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use proto::assent::payment::v1::PaymentBranch;
use proto::assent::transaction::v1::{
    AbortBranch, AbortRequest, Acknowledgement, BranchState, CommitRequest, ConfirmHorizonRequest, EndHorizonRequest,
    EndRequest, FenceRequest, GetBranchRequest, ListBranchesRequest, PrepareBranch, PrepareRequest, TransactionRef,
    Vote,
};
use tests::{Client, Service, doctor, error_info, gbp, shared, timed};
use tonic::{Code, Status};
use uuid::Uuid;

fn now_unix_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn reference(transaction_id: &str, deadline_unix_ms: i64) -> TransactionRef {
    TransactionRef { transaction_id: transaction_id.to_owned(), deadline_unix_ms }
}

/// A new transaction, due soon: what is held for it is swept soon after the test.
fn fresh() -> TransactionRef {
    reference(&Uuid::now_v7().to_string(), now_unix_ms() + 1_000)
}

fn branch_of(account: &str, transaction: TransactionRef) -> PrepareBranch {
    PrepareBranch {
        transaction: Some(transaction),
        participants: vec!["payment".to_owned()],
        owner_id: "stranger".to_owned(),
        branch: PaymentBranch { account: account.to_owned(), amount: Some(gbp(100)), ..Default::default() }
            .encode_to_vec(),
    }
}

async fn prepare(client: &Client, branches: Vec<PrepareBranch>) -> Result<Vec<Vote>, Status> {
    let answer = client.participant(Service::Payment).prepare(timed(PrepareRequest { branches })).await?;
    Ok(answer.into_inner().results.iter().map(|result| result.vote()).collect())
}

fn is_invalid<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>, field: &str) {
    let status = answer.expect_err(what);
    let (reason, metadata) = error_info(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::InvalidArgument, "INVALID_ARGUMENT"), "{what}: {status:?}");
    assert!(metadata["field"].starts_with(field), "{what}: {metadata:?}");
}

#[tokio::test]
async fn a_prepare_that_can_t_be_is_refused_by_its_field_and_holds_nothing() {
    let system = shared().await;
    let client = system.client();
    client.open_account("calm", 10_000).await;
    let good = || branch_of("calm", fresh());
    let with = |transaction: TransactionRef| PrepareBranch { transaction: Some(transaction), ..good() };
    let id = Uuid::now_v7().to_string();
    let cases = [
        ("branches[0].transaction", PrepareBranch { transaction: None, ..good() }),
        ("branches[0].transaction.transaction_id", with(reference("", now_unix_ms()))),
        ("branches[0].transaction.transaction_id", with(reference("not-a-uuid", now_unix_ms()))),
        ("branches[0].transaction.deadline_unix_ms", with(reference(&id, 0))),
        ("branches[0].transaction.deadline_unix_ms", with(reference(&id, -1))),
        ("branches[0].transaction.deadline_unix_ms", with(reference(&id, i64::MIN))),
        ("branches[0].transaction.deadline_unix_ms", with(reference(&id, i64::MAX))),
        ("branches[0].participants", PrepareBranch { participants: Vec::new(), ..good() }),
        ("branches[0].participants", PrepareBranch { participants: vec!["inventory".to_owned()], ..good() }),
        ("branches[0].participants", PrepareBranch { participants: vec!["payment,order".to_owned()], ..good() }),
        ("branches[0].participants", PrepareBranch { participants: vec!["payment".to_owned(); 1_000], ..good() }),
        ("branches[0].owner_id", PrepareBranch { owner_id: String::new(), ..good() }),
        ("branches[0].branch", PrepareBranch { branch: Vec::new(), ..good() }),
        ("branches[0].branch", PrepareBranch { branch: vec![0xff; 1_000], ..good() }),
        ("branches[0].branch", branch_of("assent:revenue:GBP", fresh())),
    ];
    for (field, branch) in cases {
        is_invalid(&format!("{branch:?}"), prepare(&client, vec![branch]).await, field);
    }
    // One that can't be read among good ones: the call says which, and holds none of them.
    let poisoned = vec![good(), PrepareBranch { branch: vec![0xff], ..good() }, good()];
    is_invalid("a poisoned batch", prepare(&client, poisoned).await, "branches[1].branch");
    let many = vec![good(); 5_001];
    is_invalid("too many", prepare(&client, many).await, "branches");
    client.balance_becomes("calm", 10_000).await;
}

#[tokio::test]
async fn a_branch_that_is_refused_does_not_disturb_its_neighbours() {
    let system = shared().await;
    let client = system.client();
    client.open_account("neighbour", 250).await;
    let batch = vec![
        branch_of("neighbour", fresh()),
        branch_of("no-such-account", fresh()),
        branch_of("neighbour", fresh()),
        branch_of("neighbour", fresh()),
        // Long past: it is held none the less as long as nobody has decided otherwise, and swept at once.
        branch_of("no-such-account", reference(&Uuid::now_v7().to_string(), 1)),
    ];
    let mut twice = batch.clone();
    twice.extend(batch.clone());
    let votes = prepare(&client, twice).await.unwrap();
    let (first, second) = votes.split_at(batch.len());
    assert_eq!(first[..4], [Vote::Yes, Vote::No, Vote::Yes, Vote::No], "{votes:?}");
    assert_eq!(first, second, "a repeated branch must get the stored vote");
    // Nobody recorded them, so recovery finds that they never were.
    client.balance_becomes_within("neighbour", 250, std::time::Duration::from_secs(10)).await;
}

#[tokio::test]
async fn decisions_about_transactions_nobody_knows_change_nothing() {
    let system = shared().await;
    let client = system.client();
    for service in Service::PARTICIPANTS {
        let mut participant = client.participant(service);
        let unknown = fresh();
        let commit = CommitRequest { transactions: vec![unknown.clone()], durable: true };
        let answer = participant.commit(timed(commit)).await.unwrap().into_inner();
        assert_eq!(answer.acknowledgements, [i32::from(Acknowledgement::Alarm)], "{}", service.name());
        let end = EndRequest { transactions: vec![unknown.clone()] };
        participant.end(timed(end)).await.unwrap();
        let get = GetBranchRequest { transaction_id: unknown.transaction_id.clone() };
        assert_eq!(participant.get_branch(timed(get.clone())).await.unwrap().into_inner().branch, None);
        let abort = AbortRequest { branches: vec![AbortBranch { transaction: Some(unknown.clone()), refusal: None }] };
        let answer = participant.abort(timed(abort)).await.unwrap().into_inner();
        assert_eq!(answer.acknowledgements, [i32::from(Acknowledgement::Done)]);
        // The abort stays, so that a PREPARE that is late meets it.
        let branch = participant.get_branch(timed(get)).await.unwrap().into_inner().branch.unwrap();
        assert_eq!(branch.state(), BranchState::Aborted);
        let fence = FenceRequest { transactions: vec![fresh(), unknown] };
        let votes: Vec<Vote> =
            participant.fence(timed(fence)).await.unwrap().into_inner().results.iter().map(|it| it.vote()).collect();
        assert_eq!(votes, [Vote::No, Vote::No]);

        let bad = || vec![reference("nonsense", 5)];
        is_invalid(
            "COMMIT",
            participant.commit(timed(CommitRequest { transactions: bad(), durable: false })).await,
            "transactions[0]",
        );
        is_invalid("FENCE", participant.fence(timed(FenceRequest { transactions: bad() })).await, "transactions[0]");
        is_invalid("END", participant.end(timed(EndRequest { transactions: bad() })).await, "transactions[0]");
        let abort = AbortRequest { branches: vec![AbortBranch::default()] };
        is_invalid("ABORT", participant.abort(timed(abort)).await, "branches[0]");
        let get = GetBranchRequest { transaction_id: "nonsense".to_owned() };
        is_invalid("a branch", participant.get_branch(timed(get)).await, "transaction_id");
        let lists = [
            ("state", ListBranchesRequest { state: 42, ..Default::default() }),
            ("page_size", ListBranchesRequest { page_size: -1, ..Default::default() }),
            ("page_token", ListBranchesRequest { page_token: "made-up".to_owned(), ..Default::default() }),
        ];
        for (field, request) in lists {
            is_invalid("a list of branches", participant.list_branches(timed(request)).await, field);
        }
    }
    doctor::all_holds(&system).await;
}

#[tokio::test]
async fn an_end_of_everything_ends_nothing_that_is_in_doubt_or_above_the_watermark() {
    let system = shared().await;
    let client = system.client();
    client.open_account("patient", 10_000).await;
    let held = fresh();
    let branches = vec![branch_of("patient", held.clone())];
    assert_eq!(prepare(&client, branches).await.unwrap(), [Vote::Yes]);
    let participant = || client.participant(Service::Payment);
    for horizon_unix_ms in [i64::MAX, i64::MIN, 0, held.deadline_unix_ms] {
        let confirm = ConfirmHorizonRequest { horizon_unix_ms };
        let confirmed = participant().confirm_horizon(timed(confirm)).await.unwrap().into_inner().horizon_unix_ms;
        assert!(confirmed <= horizon_unix_ms && confirmed < held.deadline_unix_ms, "{confirmed}");
        let end = EndHorizonRequest { horizon_unix_ms };
        let ended = participant().end_horizon(timed(end)).await.unwrap().into_inner().horizon_unix_ms;
        assert!(ended < held.deadline_unix_ms, "{ended}");
    }
    let get = GetBranchRequest { transaction_id: held.transaction_id };
    let branch = participant().get_branch(timed(get)).await.unwrap().into_inner().branch;
    // It may have been swept meanwhile.
    assert!(branch.is_some_and(|it| matches!(it.state(), BranchState::Prepared | BranchState::Aborted)));
}

#[tokio::test]
async fn a_transaction_of_a_participant_that_does_not_exist_is_in_doubt_until_told_and_then_aborted() {
    let system = shared().await;
    let client = system.client();
    client.open_account("phantom", 1_000).await;
    let participants = vec!["payment".to_owned(), "shipping".to_owned()];
    let branch = PrepareBranch { participants, ..branch_of("phantom", fresh()) };
    assert_eq!(prepare(&client, vec![branch]).await.unwrap(), [Vote::Yes]);
    // No record stands, so it never was; who can't be asked does not matter for that.
    client.balance_becomes_within("phantom", 1_000, std::time::Duration::from_secs(10)).await;
    doctor::all_holds(&system).await;
}
