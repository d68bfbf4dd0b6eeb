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

macro_rules! caught {
    ($($name:ident: $mutant:ident in $config:expr, by $invariant:literal;)*) => {
        $(#[test]
        fn $name() {
            assert_caught($config, Mutant::$mutant, $invariant);
        })*
    };
}

caught! {
    presumed_abort_without_a_tombstone: PresumedAbortWithoutTombstone in one(), by "?";
    no_tombstone_because_the_request_is_held: NoTombstoneIfRequestHeld in two(), by "?";
    a_tombstone_over_a_staging_record: TombstoneOverStaging in one(), by "?";
    a_fence_that_writes_nothing: FenceWithoutWrite in one(), by "?";
    a_no_that_is_not_durable: RefusalNotWritten in one(), by "?";
    abort_before_the_owners_cas: OwnerAbortsBeforeCas in one(), by "?";
    commit_before_recovers_cas: RecoverCommitsBeforeCas in one(), by "?";
    accepted_before_the_record_is_durable: StagedBeforeDurable in one(), by "?";
    rejected_before_the_record_is_durable: RejectedBeforeStaged in two(), by "?";
    aborted_on_timeout_without_the_cas: TimeoutWithoutCas in one(), by "?";
    yes_before_its_flush: YesBeforeFlush in one(), by "?";
    staging_before_its_flush: StagingBeforeFlush in one(), by "?";
    the_end_before_the_flush_of_committed: EndBeforeFlush in Config::everything(1, 1), by "?";
    a_lazy_cas_of_recover: LazyRecoverCas in one(), by "?";
    a_lazy_cas_after_a_timeout: LazyTimeoutCas in one(), by "?";
    no_watermark: NoWatermark in Config::everything(1, 1), by "?";
    forgotten_counted_as_no_by_the_owner: OwnerTakesForgottenForNo in Config::everything(1, 1), by "?";
    doubt_counted_as_no_by_the_owner: OwnerTakesDoubtForNo in one(), by "?";
    forgotten_counted_as_doubt_by_recover: RecoverIgnoresForgotten in Config::everything(1, 2), by "?";
    forgotten_ignored_by_a_participant: BranchIgnoresForgotten in Config::everything(1, 1), by "?";
    a_collected_record_read_as_absent: CollectedReadAsAbsent in Config::everything(1, 1), by "?";
    a_loser_that_counts_its_own_votes: LoserCountsItsVotes in two(), by "?";
    a_loser_that_touches_the_holders_record: LoserAbortsHolder in two(), by "?";
    rows_keyed_by_request: KeyedByRequest in two(), by "?";
    an_outcome_adopted_across_digests: AdoptedAcrossDigests in Config { digests: vec![0, 1], ..two() }, by "?";
    a_request_held_twice: RequestNotUnique in two(), by "?";
}
