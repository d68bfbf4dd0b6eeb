//! The machines as they are: every reachable state of small worlds, with every invariant. The numbers of states are
//! pinned, so that nobody makes the world smaller, or the rules different, without noticing.
use sim::config::Config;
use stateright::{Checker, Model};

fn assert_holds(config: Config, states: usize) {
    let checker = config.checker().spawn_dfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states);
}

#[test]
fn one_attempt_at_one_participant_with_every_fault() {
    assert_holds(Config::everything(1, 1), 38_707);
}

#[test]
fn one_attempt_at_two_participants_with_every_fault() {
    assert_holds(Config::everything(1, 2), 1_313_608);
}

#[test]
fn one_attempt_at_two_participants_with_two_recoveries() {
    assert_holds(Config { recoveries: 2, ..Config::everything(1, 2).without_collection() }, 64_084);
}

#[test]
fn one_attempt_known_to_be_a_retry() {
    assert_holds(Config { insert_first: vec![true], ..Config::everything(1, 2) }, 520_971);
}

#[test]
fn two_attempts_at_one_participant_with_lost_writes() {
    assert_holds(Config { vote_doubt: false, ..Config::everything(2, 1).without_collection() }, 762_099);
}

#[test]
fn two_attempts_with_different_contents() {
    assert_holds(
        Config { digests: vec![0, 1], ..Config::everything(2, 1).without_collection().without_lost_writes() },
        680_227,
    );
}

#[test]
fn two_attempts_further_apart_than_requests_are_retained() {
    assert_holds(
        Config {
            past_retention: true,
            vote_doubt: false,
            participant_collection: false,
            owner_crashes: false,
            may_refuse: 0,
            ..Config::everything(2, 1).without_lost_writes()
        },
        2_584_893,
    );
}

#[test]
fn two_attempts_and_recoveries_that_know_the_request() {
    assert_holds(
        Config { recoveries_know_request: true, ..Config::everything(2, 1).without_collection().without_lost_writes() },
        612_463,
    );
}

#[test]
fn one_attempt_at_three_participants_with_lost_writes() {
    assert_holds(Config::everything(1, 3).without_collection(), 216_209);
}

#[test]
fn two_transactions_on_the_last_unit_of_one_sku() {
    assert_holds(Config::everything(2, 1).without_collection().of_one_sku(1), 1_134_656);
}

#[test]
#[ignore = "half a minute: `make verify`"]
fn one_attempt_at_three_participants_with_two_recoveries() {
    assert_holds(Config { recoveries: 2, ..Config::everything(1, 3).without_collection() }, 2_516_745);
}

#[test]
#[ignore = "two minutes: `make verify`"]
fn one_attempt_at_three_participants_with_every_fault_and_end_by_id() {
    assert_holds(Config::everything(1, 3).without_horizons(), 13_804_807);
}
