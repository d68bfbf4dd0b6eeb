//! A violation of each invariant, planted in sound facts.
use super::*;

const NOW: i64 = 1_000_000_000;
const RECENT: i64 = NOW - 10_000;
const ANCIENT: i64 = NOW - 10_000_000;
const CLOCK: Clock = Clock { now_unix_ms: NOW, in_doubt_grace_ms: 2_000, watermark_lag_ms: 600_000 };

fn names() -> Vec<String> {
    ["inventory", "order", "payment"].map(str::to_owned).to_vec()
}

fn record(transaction: TransactionId, state: RecordState) -> RecordFact {
    let first_decision = match state {
        RecordState::Staging => None,
        RecordState::Committed => Some(Decision::Commit),
        RecordState::Aborted => Some(Decision::Abort),
    };
    RecordFact {
        transaction,
        state,
        first_decision,
        participants: names(),
        deadline_unix_ms: RECENT,
        client_id: "shop".to_owned(),
        request_id: format!("request-{transaction}"),
        holds_request: true,
        client_answer: match state {
            RecordState::Staging => None,
            RecordState::Committed => Some(ClientAnswer::Accepted),
            RecordState::Aborted => Some(ClientAnswer::Rejected),
        },
    }
}

fn rows(transaction: TransactionId, state: BranchState) -> Vec<BranchFact> {
    let row =
        |participant| BranchFact { transaction, participant, state, participants: names(), deadline_unix_ms: RECENT };
    names().into_iter().map(row).collect()
}

/// One committed and one aborted transaction, as they should be.
fn sound() -> Facts {
    Facts {
        records: vec![record(1, RecordState::Committed), record(2, RecordState::Aborted)],
        branches: [rows(1, BranchState::Committed), rows(2, BranchState::Aborted)].concat(),
        shown: vec![
            ShownFact { transaction: 1, decision: Some(Decision::Commit) },
            ShownFact { transaction: 2, decision: Some(Decision::Abort) },
        ],
        ..Facts::default()
    }
}

fn violated(facts: &Facts) -> Vec<Invariant> {
    let violated = |check: &Check| !check.violations.is_empty();
    check(facts, &CLOCK).iter().filter(|check| violated(check)).map(|check| check.invariant).collect()
}

#[test]
fn sound_facts_hold_and_are_counted() {
    assert_eq!(violated(&sound()), []);
    for check in check(&sound(), &CLOCK) {
        use Invariant::{InDoubtResolves, NoOrphanHolds, SagaWholeness};
        let in_doubt = matches!(check.invariant, NoOrphanHolds | InDoubtResolves | SagaWholeness);
        assert_eq!(check.checked_count > 0, !in_doubt, "{}", check.invariant);
    }
}

/// A done saga and a compensated one, as they should be.
fn sound_sagas() -> Facts {
    let steps = || [("place", "order"), ("payment", "payment")].map(|(name, who)| (name.to_owned(), who.to_owned()));
    let saga = |transaction, state| SagaFact { transaction, state, paused: false, steps: steps().to_vec() };
    let row = |transaction, state, (step, participant)| StepFact {
        transaction,
        participant,
        step,
        state,
        deadline_unix_ms: RECENT,
    };
    let done = steps().map(|step| row(1, StepRow::Executed, step));
    let [place, payment] = steps();
    Facts {
        records: vec![record(1, RecordState::Committed), record(2, RecordState::Aborted)],
        sagas: vec![saga(1, SagaState::Done), saga(2, SagaState::Compensated)],
        steps: [done.to_vec(), vec![row(2, StepRow::Compensated, place), row(2, StepRow::Refused, payment)]].concat(),
        ..Facts::default()
    }
}

#[test]
fn sound_sagas_hold_and_are_counted() {
    assert_eq!(violated(&sound_sagas()), []);
    let checks = check(&sound_sagas(), &CLOCK);
    let wholeness = checks.iter().find(|check| check.invariant == Invariant::SagaWholeness).unwrap();
    assert_eq!(wholeness.checked_count, 2);
}

#[test]
fn saga_wholeness_is_violated_by_half_of_it() {
    let plant = |change: fn(&mut Facts)| {
        let mut facts = sound_sagas();
        change(&mut facts);
        violated(&facts)
    };
    let wholeness = [Invariant::SagaWholeness];
    assert_eq!(plant(|facts| facts.steps[1].state = StepRow::Compensated), wholeness);
    assert_eq!(plant(|facts| facts.steps[2].state = StepRow::Executed), wholeness);
    assert_eq!(plant(|facts| drop(facts.steps.remove(0))), wholeness);
    assert_eq!(plant(|facts| facts.steps[0].transaction = 3), wholeness, "an effect of no saga, missing elsewhere");
    assert_eq!(
        plant(|facts| facts.sagas[1].state = SagaState::Forward),
        [Invariant::InDoubtResolves, Invariant::SagaWholeness]
    );
    assert_eq!(plant(|facts| facts.sagas[0].state = SagaState::Forward), [Invariant::InDoubtResolves]);
    assert_eq!(plant(|facts| (facts.sagas[0].state, facts.sagas[0].paused) = (SagaState::Forward, true)), []);
    let collected = |facts: &mut Facts| {
        facts.records[0].deadline_unix_ms = ANCIENT;
        facts.steps.remove(0);
    };
    assert_eq!(plant(collected), []);
}

#[test]
fn a_transaction_under_way_violates_nothing() {
    let mut facts = sound();
    let mut staging = record(3, RecordState::Staging);
    staging.deadline_unix_ms = NOW + 1_000;
    facts.records.push(staging);
    facts.branches.extend(rows(3, BranchState::Prepared).into_iter().take(2).map(|mut row| {
        row.deadline_unix_ms = NOW + 1_000;
        row
    }));
    facts.shown.push(ShownFact { transaction: 3, decision: None });
    // Accepted implicitly: a row may be committed before the record says so.
    facts.records.push(record(4, RecordState::Staging));
    facts.branches.extend(rows(4, BranchState::Committed));
    assert_eq!(violated(&facts), [Invariant::InDoubtResolves]);
    facts.records.last_mut().unwrap().deadline_unix_ms = NOW;
    assert_eq!(violated(&facts), []);
}

#[test]
fn atomicity_is_violated_by_a_commit_beside_an_abort() {
    let mut facts = sound();
    facts.records.push(record(3, RecordState::Staging));
    facts.records[2].deadline_unix_ms = NOW;
    facts.branches.extend(rows(3, BranchState::Committed));
    facts.branches.last_mut().unwrap().state = BranchState::Aborted;
    // A commit that one participant never prepared is invalid as well.
    assert_eq!(violated(&facts), [Invariant::Atomicity, Invariant::Validity]);
}

#[test]
fn validity_is_violated_by_a_commit_that_a_participant_does_not_know() {
    let mut facts = sound();
    facts.branches.retain(|row| row.transaction != 1 || row.participant != "payment");
    assert_eq!(violated(&facts), [Invariant::Validity]);
    // Long ago: collected.
    facts.records[0].deadline_unix_ms = ANCIENT;
    assert_eq!(violated(&facts), []);
    // But never while another participant is still in doubt.
    facts.branches[0].state = BranchState::Prepared;
    facts.branches[0].deadline_unix_ms = NOW;
    assert_eq!(violated(&facts), [Invariant::Validity]);
}

#[test]
fn decision_stability_is_violated_by_a_record_that_changed_its_mind() {
    let mut facts = sound();
    facts.records[1].first_decision = Some(Decision::Commit);
    facts.records[1].client_answer = None;
    assert!(violated(&facts).contains(&Invariant::DecisionStability));
    let mut facts = sound();
    facts.records[0].state = RecordState::Staging;
    facts.records[0].deadline_unix_ms = NOW;
    assert_eq!(violated(&facts), [Invariant::DecisionStability]);
}

#[test]
fn answer_honesty_is_violated_by_an_answer_that_did_not_last() {
    let mut facts = sound();
    facts.records[1].client_answer = Some(ClientAnswer::Accepted);
    assert_eq!(violated(&facts), [Invariant::AnswerHonesty]);
    let mut facts = sound();
    facts.records[0].client_answer = Some(ClientAnswer::Rejected);
    assert_eq!(violated(&facts), [Invariant::AnswerHonesty]);
    let mut facts = sound();
    facts.shown[0].decision = Some(Decision::Abort);
    assert_eq!(violated(&facts), [Invariant::AnswerHonesty]);
    // Doubt that was said to be doubt is honest either way.
    let mut facts = sound();
    facts.records[0].client_answer = Some(ClientAnswer::Unknown);
    assert_eq!(violated(&facts), []);
}

#[test]
fn agreement_is_violated_by_a_log_that_contradicts_the_record() {
    let mut facts = sound();
    for row in facts.branches.iter_mut().filter(|row| row.transaction == 2) {
        row.state = BranchState::Committed;
    }
    assert!(violated(&facts).contains(&Invariant::Agreement));
    // Committed without any record.
    let mut facts = sound();
    facts.records.remove(0);
    assert_eq!(violated(&facts), [Invariant::Agreement]);
    for row in &mut facts.branches {
        row.deadline_unix_ms = ANCIENT;
    }
    assert_eq!(violated(&facts), []);
}

#[test]
fn no_orphan_holds_is_violated_by_a_hold_of_a_settled_transaction() {
    let mut facts = sound();
    facts.branches[4].state = BranchState::Prepared;
    assert_eq!(violated(&facts), [Invariant::NoOrphanHolds, Invariant::InDoubtResolves]);
    facts.branches[4].deadline_unix_ms = NOW - 1_000;
    assert_eq!(violated(&facts), []);
}

#[test]
fn one_order_per_request_is_violated_by_two_effects_or_two_holders() {
    let mut facts = sound();
    facts.records[1].request_id = facts.records[0].request_id.clone();
    assert_eq!(violated(&facts), [Invariant::OneOrderPerRequest]); // both hold it
    facts.records[1].holds_request = false;
    assert_eq!(violated(&facts), []); // an attempt that lost
    facts.records.push(RecordFact { holds_request: false, ..record(3, RecordState::Committed) });
    facts.records[2].request_id = facts.records[0].request_id.clone();
    facts.branches.extend(rows(3, BranchState::Committed));
    assert_eq!(violated(&facts), [Invariant::OneOrderPerRequest]); // both took effect
    facts.records[2].client_id = "another shop".to_owned();
    assert_eq!(violated(&facts), []);
}

#[test]
fn in_doubt_resolves_is_violated_by_what_waits_past_its_deadline() {
    let mut facts = sound();
    facts.records.push(record(3, RecordState::Staging));
    assert_eq!(violated(&facts), [Invariant::InDoubtResolves]);
    let mut facts = sound();
    facts.branches.extend(rows(3, BranchState::Prepared));
    let found = check(&facts, &CLOCK).into_iter().find(|check| check.invariant == Invariant::InDoubtResolves);
    let found = found.unwrap();
    assert_eq!((found.checked_count, found.violations.len()), (3, 3));
    assert_eq!(found.violations[0].transactions, [3]);
}

#[test]
fn names_are_found_again() {
    for invariant in Invariant::ALL {
        assert_eq!(Invariant::of_name(invariant.name()), Some(invariant));
    }
    assert_eq!(Invariant::of_name("agreeableness"), None);
}
