//! Sagas: every reachable state of small worlds, with every invariant, and every known trap caught.
use protocol::saga::Kind::{Compensatable, Pivot, Retriable};
use sim::saga::{Action, SagaConfig, SagaMutant, State};
use stateright::{Checker, HasDiscoveries, Model, Property};

fn assert_holds(config: SagaConfig, states: usize) {
    let checker = config.checker().spawn_dfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states);
}

/// A step that can be undone, and the pivot.
fn two() -> SagaConfig {
    SagaConfig::new(&[(Compensatable, &[]), (Pivot, &[0])])
}

/// One of each kind, in order.
fn three() -> SagaConfig {
    SagaConfig::new(&[(Compensatable, &[]), (Pivot, &[0]), (Retriable, &[1])])
}

/// Two that can be undone, the second after the first, and no pivot.
fn chain() -> SagaConfig {
    SagaConfig::new(&[(Compensatable, &[]), (Compensatable, &[0])])
}

/// The pivot, and two in parallel after it, one of which may need a new deadline while the other is long done.
fn fan() -> SagaConfig {
    let steps: [(_, &[usize]); 3] = [(Pivot, &[]), (Retriable, &[0]), (Retriable, &[0])];
    SagaConfig { may_refuse: vec![false; 3], given_up: false, ..SagaConfig::new(&steps) }
}

/// The steps of an order: two in parallel, the pivot, and one after it.
fn of_an_order() -> SagaConfig {
    SagaConfig::new(&[(Compensatable, &[]), (Compensatable, &[]), (Pivot, &[0, 1]), (Retriable, &[2])])
}

#[test]
fn a_step_and_the_pivot_with_every_fault() {
    assert_holds(two(), 140_595);
}

#[test]
fn a_chain_without_a_pivot_with_every_fault() {
    assert_holds(SagaConfig { latest_deadline: 1, ..chain() }, 84_757);
}

#[test]
fn one_of_each_kind_taken_over_twice() {
    assert_holds(SagaConfig { takeovers: 2, ..three().without_collection() }, 41_515);
}

#[test]
fn one_of_each_kind_with_collection() {
    assert_holds(SagaConfig { may_refuse: vec![false; 3], given_up: false, ..three() }, 112_618);
}

#[test]
#[ignore = "a minute: `make verify`"]
fn one_of_each_kind_with_every_fault() {
    assert_holds(three(), 789_807);
}

#[test]
#[ignore = "a minute: `make verify`"]
fn two_after_the_pivot_with_collection_and_a_takeover() {
    assert_holds(fan(), 1_127_314);
}

#[test]
fn two_after_the_pivot_with_collection() {
    assert_holds(SagaConfig { takeovers: 0, ..fan() }, 17_536);
}

#[test]
fn an_order_taken_over() {
    assert_holds(
        SagaConfig { may_refuse: vec![true, true, true, false], ..of_an_order().without_collection() },
        26_296,
    );
}

/// The same world, asked what can happen in it.
struct Reach {
    world: SagaConfig,
    wanted: Vec<Property<Reach>>,
}

impl Model for Reach {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.world.init_states()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.world.actions(state, actions);
    }

    fn next_state(&self, last_state: &State, action: Action) -> Option<State> {
        self.world.next_state(last_state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.wanted.clone()
    }
}

#[test]
fn everything_there_is_to_reach_is_reached() {
    let wanted = vec![
        Property::sometimes("done and collected", |_, state: &State| state.row.now.is_none() && state.seen.done),
        Property::sometimes("compensated and collected", |_, state: &State| {
            state.row.now.is_none() && state.seen.compensated
        }),
        Property::sometimes("a zombie beside its successor", |_, state: &State| {
            state.drivers.iter().flatten().count() == 2
        }),
    ];
    Reach { world: two(), wanted }.checker().spawn_bfs().join().assert_properties();
    let wanted = vec![Property::sometimes("a renewed deadline", |_, state: &State| {
        state.row.now.as_ref().is_some_and(|row| row.saga.deadline == 2)
    })];
    Reach { world: SagaConfig { takeovers: 0, ..fan() }, wanted }.checker().spawn_bfs().join().assert_properties();
}

fn assert_caught(config: SagaConfig, mutant: SagaMutant, invariant: &str) {
    let checker = config.with(mutant).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let discoveries = checker.discoveries();
    for (name, path) in &discoveries {
        println!("{name} is violated after {:#?}", path.clone().into_actions());
    }
    assert!(discoveries.contains_key(invariant), "{mutant:?} should violate {invariant}");
}

macro_rules! caught {
    ($($name:ident: $mutant:ident in $config:expr, by $invariant:literal;)*) => {
        $(#[test]
        fn $name() {
            assert_caught($config, SagaMutant::$mutant, $invariant);
        })*

        /// Doesn't compile as long as a mistake is not listed.
        const _: fn(SagaMutant) = |mutant| match mutant {
            $(SagaMutant::$mutant => {})*
        };
    };
}

caught! {
    compensation_before_the_turn_is_durable: CompensatesBeforeTurn in two().without_collection(), by "step-order";
    a_lazy_turn: LazyTurn in two().without_collection(), by "in-doubt-resolves";
    a_lazy_result: LazyResult in two().without_collection(), by "answer-honesty";
    the_next_step_before_the_result_is_durable: ResultNotDurable in two().without_collection(), by "step-order";
    accepted_before_it_is_durable: AcceptedBeforeDurable in chain().without_collection(), by "answer-honesty";
    refused_before_it_is_durable: RefusedBeforeTurn in two().without_collection(), by "answer-honesty";
    a_write_that_asks_for_no_epoch: BlindWrite in two().without_collection(), by "answer-honesty";
    a_turn_when_the_pivot_may_have_run: TurnPastThePivot in two().without_collection(), by "answer-honesty";
    an_unknown_step_that_is_not_compensated: UnknownNotCompensated in two().without_collection(), by "saga-wholeness";
    compensations_in_any_order: CompensatesInAnyOrder in chain().without_collection(), by "step-order";
    an_end_before_the_compensations: EndsBeforeCompensated in two().without_collection(), by "saga-wholeness";
    no_tombstone: NoTombstone in two().without_collection(), by "saga-wholeness";
    a_compensation_that_is_not_forced: LazyCompensation in two().without_collection(), by "saga-wholeness";
    an_execution_that_is_not_forced: LazyExecution in two().without_collection(), by "step-order";
    a_refusal_that_is_not_written: RefusalNotWritten in two().without_collection(), by "saga-wholeness";
    a_key_that_is_not_written: NoKey in two().without_collection(), by "effect-once";
    a_new_deadline_before_it_is_durable: RenewNotDurable in fan(), by "effect-once";
    no_watermark: NoWatermark in two(), by "effect-once";
    an_end_by_the_rows_own_deadline: EndByOwnDeadline in SagaConfig { takeovers: 0, ..fan() }, by "effect-once";
    an_end_above_the_watermark: EndWithoutWatermark in two(), by "saga-wholeness";
    a_refusal_after_the_pivot_that_is_kept: RetriableRefusalKept in three().without_collection(), by "in-doubt-resolves";
}
