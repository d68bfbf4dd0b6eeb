//! Every known trap is caught: with the mistake made, the model finds a counterexample, and of the expected kind.
//!
//! A model that can't find these could not have found a mistake in the machines either.
use sim::config::Config;
use sim::mutant::Mutant;
use stateright::{Checker, HasDiscoveries, Model};

/// Explores until something is violated, and returns which invariants are, by the shortest way there.
fn violated_by(config: Config) -> Vec<&'static str> {
    let checker =
        config.checker().finish_when(HasDiscoveries::AnyFailures).target_state_count(20_000_000).spawn_bfs().join();
    let discoveries = checker.discoveries();
    for (name, path) in &discoveries {
        println!("{name} is violated after {} steps:", path.clone().into_actions().len());
        for action in path.clone().into_actions() {
            println!("  {action:?}");
        }
    }
    discoveries.into_keys().collect()
}

fn assert_caught(config: Config, mutant: Mutant, invariant: &str) {
    let violated = violated_by(config.with(mutant));
    assert!(violated.contains(&invariant), "{mutant:?} should violate {invariant}; found {violated:?}");
}

/// One attempt at one participant; no collection.
fn one() -> Config {
    Config::everything(1, 1).without_collection()
}

/// Two attempts at one participant; no collection, nothing lost.
fn two() -> Config {
    Config::everything(2, 1).without_collection().without_lost_writes()
}

/// Two attempts at one participant, the second after the first's request is forgotten.
fn long_apart() -> Config {
    Config {
        past_retention: true,
        owner_crashes: false,
        vote_doubt: false,
        may_refuse: 0,
        participant_collection: false,
        ..Config::everything(2, 1).without_lost_writes()
    }
}

/// Two transactions that want the last unit of one SKU; no collection.
fn last_unit() -> Config {
    Config::everything(2, 1).without_collection().of_one_sku(1)
}

macro_rules! caught {
    ($($name:ident: $mutant:ident in $config:expr, by $invariant:literal;)*) => {
        $(#[test]
        fn $name() {
            assert_caught($config, Mutant::$mutant, $invariant);
        })*

        /// Doesn't compile as long as a mistake is not listed.
        const _: fn(Mutant) = |mutant| match mutant {
            $(Mutant::$mutant => {})*
        };
    };
}

caught! {
    presumed_abort_without_a_tombstone: PresumedAbortWithoutTombstone in one(), by "atomicity";
    no_tombstone_because_the_request_is_held: NoTombstoneIfRequestHeld in long_apart(), by "answer-honesty";
    a_tombstone_over_a_staging_record: TombstoneOverStaging in one(), by "decision-stability";
    a_fence_that_writes_nothing: FenceWithoutWrite in one(), by "atomicity";
    a_no_that_is_not_durable: RefusalNotWritten in one(), by "answer-honesty";
    abort_before_the_owners_cas: OwnerAbortsBeforeCas in one(), by "agreement";
    commit_before_recovers_cas: RecoverCommitsBeforeCas in one(), by "agreement";
    accepted_before_the_record_is_durable: StagedBeforeDurable in one(), by "answer-honesty";
    rejected_before_the_record_is_durable: RejectedBeforeStaged in two(), by "answer-honesty";
    aborted_on_timeout_without_the_cas: TimeoutWithoutCas in one(), by "answer-honesty";
    yes_before_its_flush: YesBeforeFlush in one(), by "answer-honesty";
    staging_before_its_flush: StagingBeforeFlush in one(), by "answer-honesty";
    the_end_before_the_flush_of_committed: EndBeforeFlush in Config::everything(1, 1), by "agreement";
    the_end_of_a_record_that_is_not_flushed: EndOfUnflushedRecord in Config::everything(1, 1), by "decision-stability";
    an_end_horizon_that_nobody_has_confirmed: EndHorizonUnconfirmed in Config::everything(1, 1), by "agreement";
    an_end_horizon_above_a_staging_record: EndHorizonAboveStaging in Config::everything(1, 1), by "decision-stability";
    an_end_horizon_of_records_that_are_not_flushed: EndHorizonOfUnflushedRecords in Config::everything(1, 1), by "decision-stability";
    a_horizon_confirmed_before_the_flush_of_committed: HorizonConfirmedBeforeFlush in Config::everything(1, 1), by "agreement";
    a_horizon_confirmed_above_the_watermark: HorizonConfirmedAboveWatermark in Config::everything(1, 1), by "agreement";
    a_lazy_cas_of_recover: LazyRecoverCas in one(), by "decision-stability";
    a_lazy_cas_after_a_timeout: LazyTimeoutCas in one(), by "decision-stability";
    no_watermark: NoWatermark in Config::everything(1, 1), by "answer-honesty";
    forgotten_counted_as_no_by_the_owner: OwnerTakesForgottenForNo in Config::everything(1, 1), by "answer-honesty";
    doubt_counted_as_no_by_the_owner: OwnerTakesDoubtForNo in one(), by "answer-honesty";
    forgotten_counted_as_doubt_by_recover: RecoverIgnoresForgotten in Config::everything(1, 2), by "in-doubt-resolves";
    forgotten_ignored_by_a_participant: BranchIgnoresForgotten in Config::everything(1, 1), by "no-orphan-holds";
    a_collected_record_read_as_absent: CollectedReadAsAbsent in Config::everything(1, 1), by "decision-stability";
    a_loser_that_counts_its_own_votes: LoserCountsItsVotes in two(), by "answer-honesty";
    a_loser_that_touches_the_holders_record: LoserAbortsHolder in two(), by "answer-honesty";
    a_loser_that_retries_its_insert: LoserRetriesInsert in long_apart(), by "answer-honesty";
    rows_keyed_by_request: KeyedByRequest in two(), by "one-order-per-request";
    an_outcome_adopted_across_digests: AdoptedAcrossDigests in Config { digests: vec![0, 1], ..two() }, by "answer-honesty";
    a_request_held_twice: RequestNotUnique in two(), by "answer-honesty";
    stock_read_before_it_is_held: StockReadBefore in last_unit(), by "no-oversell";
    a_hold_given_back_twice: ReleasedAgain in last_unit(), by "no-oversell";
    stock_flushed_later_than_its_hold: StockFlushedLater in last_unit(), by "no-orphan-holds";
}
