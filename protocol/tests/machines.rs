//! What the machines keep under any events in any order, those that no driver should send included.
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::owner::{self, Holder, Owner};
use protocol::record::{Abort, Commit, RecordState, Stage};
use protocol::recovery::{self, Recovery};
use protocol::{Decision, Vote};

const PARTICIPANTS: usize = 3;

fn votes() -> impl Strategy<Value = Vote> {
    prop_oneof![4 => Just(Vote::Yes), 1 => Just(Vote::No), 1 => Just(Vote::Unknown), 1 => Just(Vote::Forgotten)]
}

fn decisions() -> impl Strategy<Value = Decision> {
    prop_oneof![Just(Decision::Commit), Just(Decision::Abort)]
}

fn record_states() -> impl Strategy<Value = RecordState> {
    prop_oneof![Just(RecordState::Staging), Just(RecordState::Committed), Just(RecordState::Aborted)]
}

fn stages() -> impl Strategy<Value = Stage> {
    prop_oneof![
        4 => Just(Stage::Staged),
        1 => Just(Stage::HeldByOther),
        1 => (record_states(), any::<bool>()).prop_map(|(state, holds_request)| Stage::Terminal { state, holds_request }),
        1 => Just(Stage::BelowWatermark),
    ]
}

fn aborts() -> impl Strategy<Value = Abort> {
    prop_oneof![
        any::<bool>().prop_map(|holds_request| Abort::Aborted { holds_request }),
        Just(Abort::Committed),
        Just(Abort::Staging),
        Just(Abort::BelowWatermark),
    ]
}

fn holders() -> impl Strategy<Value = Holder> {
    prop_oneof![
        Just(Holder::OtherDigest),
        decisions().prop_map(Holder::Terminal),
        any::<bool>().prop_map(|deadline_passed| Holder::Staging { deadline_passed }),
        Just(Holder::Gone),
    ]
}

/// A participant's place, sometimes one that there isn't.
fn places() -> impl Strategy<Value = usize> {
    0..PARTICIPANTS + 1
}

fn owner_events() -> impl Strategy<Value = owner::Event> {
    use owner::Event;
    prop_oneof![
        1 => Just(Event::Start),
        8 => (places(), votes()).prop_map(|(participant, vote)| Event::Voted { participant, vote }),
        4 => stages().prop_map(Event::Staged),
        1 => Just(Event::StageUnknown),
        1 => Just(Event::DeadlinePassed),
        2 => aborts().prop_map(Event::RecordAborted),
        1 => Just(Event::AbortUnknown),
        2 => holders().prop_map(Event::Holder),
    ]
}

fn recovery_events() -> impl Strategy<Value = recovery::Event> {
    use recovery::Event;
    prop_oneof![
        1 => Just(Event::Start),
        2 => proptest::option::of(record_states()).prop_map(Event::Read),
        2 => aborts().prop_map(Event::RecordAborted),
        2 => prop_oneof![Just(Commit::Committed), Just(Commit::Aborted), Just(Commit::Collected)]
            .prop_map(Event::RecordCommitted),
        1 => Just(Event::RecordUnknown),
        8 => (places(), votes()).prop_map(|(participant, vote)| Event::Fenced { participant, vote }),
    ]
}

/// What an owner was told and what it commanded, in order.
struct OwnerRun {
    steps: Vec<(owner::Event, Vec<owner::Command>)>,
    owner: Owner,
}

impl OwnerRun {
    /// Begins as every driver does, then takes anything.
    fn of(insert_first: bool, events: Vec<owner::Event>) -> Self {
        let mut owner = Owner::new(PARTICIPANTS, insert_first);
        let mut steps = Vec::new();
        for event in std::iter::once(owner::Event::Start).chain(events) {
            let commands = owner.on(event);
            steps.push((event, commands));
        }
        OwnerRun { steps, owner }
    }

    fn commands(&self) -> impl Iterator<Item = owner::Command> {
        self.steps.iter().flat_map(|(_, commands)| commands.iter().copied())
    }

    fn answers(&self) -> Vec<owner::Outcome> {
        self.commands()
            .filter_map(|command| match command {
                owner::Command::Answer(outcome) => Some(outcome),
                _ => None,
            })
            .collect()
    }

    /// What it was told up to and including the step that made this command.
    fn told_before(&self, wanted: owner::Command) -> Option<Vec<owner::Event>> {
        let step = self.steps.iter().position(|(_, commands)| commands.contains(&wanted))?;
        Some(self.steps.iter().take(step + 1).map(|(event, _)| *event).collect())
    }
}

/// The first definite vote of a participant.
fn vote_of(told: &[owner::Event], place: usize) -> Option<Vote> {
    told.iter().find_map(|event| match event {
        owner::Event::Voted { participant, vote } if *participant == place && matches!(vote, Vote::Yes | Vote::No) => {
            Some(*vote)
        }
        _ => None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn an_owner_answers_at_most_once(first: bool, events in vec(owner_events(), 0..24)) {
        let run = OwnerRun::of(first, events);
        prop_assert!(run.answers().len() <= 1, "{:?}", run.steps);
    }

    #[test]
    fn an_owner_that_is_done_has_answered_and_says_nothing_more(
        first: bool,
        events in vec(owner_events(), 0..24),
        late in owner_events(),
    ) {
        let mut run = OwnerRun::of(first, events);
        if run.owner.is_done() {
            prop_assert_eq!(run.answers().len(), 1);
            prop_assert_eq!(run.owner.on(late), vec![]);
            prop_assert!(run.owner.is_done());
        }
    }

    #[test]
    fn an_owner_accepts_only_a_durable_record_with_every_vote_or_a_committed_one(
        first: bool,
        events in vec(owner_events(), 0..24),
    ) {
        let run = OwnerRun::of(first, events);
        if let Some(told) = run.told_before(owner::Command::Answer(owner::Outcome::Accepted)) {
            let staged = told.contains(&owner::Event::Staged(Stage::Staged));
            let all_yes = (0..PARTICIPANTS).all(|place| vote_of(&told, place) == Some(Vote::Yes));
            let found_committed = told.iter().any(|event| matches!(
                event,
                owner::Event::RecordAborted(Abort::Committed)
                    | owner::Event::Staged(Stage::Terminal { state: RecordState::Committed, .. })
            ));
            prop_assert!((staged && all_yes) || found_committed, "{told:?}");
            prop_assert!(run.commands().any(|command| command == owner::Command::SendCommit));
        }
    }

    #[test]
    fn an_owner_says_that_nothing_stays_only_of_a_durable_record(first: bool, events in vec(owner_events(), 0..24)) {
        let run = OwnerRun::of(first, events);
        for outcome in run.answers() {
            let told = run.told_before(owner::Command::Answer(outcome)).unwrap_or_default();
            let aborted = told.iter().any(|event| matches!(
                event,
                owner::Event::RecordAborted(Abort::Aborted { .. }) | owner::Event::Staged(Stage::Terminal { .. })
            ));
            match outcome {
                owner::Outcome::Aborted => prop_assert!(aborted, "{told:?}"),
                owner::Outcome::Rejected { participant } => {
                    prop_assert_eq!(vote_of(&told, participant), Some(Vote::No));
                    prop_assert!(aborted || told.contains(&owner::Event::Staged(Stage::Staged)), "{:?}", told);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn an_owner_inserts_its_record_once_and_asks_each_participant_once(
        first: bool,
        events in vec(owner_events(), 0..24),
    ) {
        let run = OwnerRun::of(first, events);
        let count = |wanted| run.commands().filter(|command| *command == wanted).count();
        prop_assert_eq!(count(owner::Command::InsertStaging), 1);
        for place in 0..PARTICIPANTS {
            prop_assert!(count(owner::Command::Prepare(place)) <= 1);
        }
    }

    #[test]
    fn an_owner_sends_one_decision_only_and_finishes_only_what_it_sends(
        first: bool,
        events in vec(owner_events(), 0..24),
    ) {
        let commands: Vec<_> = OwnerRun::of(first, events).commands().collect();
        let commits = commands.contains(&owner::Command::SendCommit);
        let aborts = commands.contains(&owner::Command::SendAbort);
        prop_assert!(!(commits && aborts), "{commands:?}");
        prop_assert!(commits || !commands.contains(&owner::Command::Finish(Decision::Commit)));
        prop_assert!(aborts || !commands.contains(&owner::Command::Finish(Decision::Abort)));
    }

    #[test]
    fn an_owner_always_comes_to_an_answer(first: bool, events in vec(owner_events(), 0..24)) {
        let mut run = OwnerRun::of(first, events);
        let mut commands = run.owner.on(owner::Event::DeadlinePassed);
        commands.extend(run.owner.on(owner::Event::RecordAborted(Abort::Aborted { holds_request: true })));
        commands.extend(run.owner.on(owner::Event::Holder(Holder::Terminal(Decision::Abort))));
        prop_assert!(run.owner.is_done(), "{:?}", run.owner);
    }

    #[test]
    fn a_recovery_ends_at_most_once_and_sends_only_what_it_says(events in vec(recovery_events(), 0..24)) {
        use recovery::{Command, Event, Outcome};
        let mut machine = Recovery::new(PARTICIPANTS);
        let mut commands = machine.on(Event::Start);
        for event in &events {
            commands.extend(machine.on(*event));
        }
        let answers: Vec<_> = commands.iter().filter(|command| matches!(command, Command::Answer(_))).collect();
        prop_assert!(answers.len() <= 1);
        prop_assert_eq!(machine.is_done(), answers.len() == 1);
        let says = |decision| answers == vec![&Command::Answer(Outcome::Decided(decision))];
        prop_assert_eq!(commands.contains(&Command::SendCommit), says(Decision::Commit));
        prop_assert_eq!(commands.contains(&Command::SendAbort), says(Decision::Abort));
    }

    #[test]
    fn a_recovery_decides_nothing_that_no_record_says(events in vec(recovery_events(), 0..24)) {
        use recovery::{Command, Event, Outcome};
        let mut machine = Recovery::new(PARTICIPANTS);
        let mut commands = machine.on(Event::Start);
        for event in &events {
            commands.extend(machine.on(*event));
        }
        if commands.contains(&Command::Answer(Outcome::Decided(Decision::Commit))) {
            let says_so = events.iter().any(|event| matches!(
                event,
                Event::Read(Some(RecordState::Committed))
                    | Event::RecordCommitted(Commit::Committed)
                    | Event::RecordAborted(Abort::Committed)
            ));
            prop_assert!(says_so);
        }
        if commands.contains(&Command::Answer(Outcome::Decided(Decision::Abort))) {
            let says_so = events.iter().any(|event| matches!(
                event,
                Event::Read(Some(RecordState::Aborted))
                    | Event::RecordCommitted(Commit::Aborted)
                    | Event::RecordAborted(Abort::Aborted { .. })
            ));
            prop_assert!(says_so);
        }
    }

    #[test]
    fn a_recovery_asks_for_a_commit_only_after_every_yes(events in vec(recovery_events(), 0..24)) {
        use recovery::{Command, Event};
        let mut machine = Recovery::new(PARTICIPANTS);
        machine.on(Event::Start);
        let mut told = Vec::new();
        for event in events {
            told.push(event);
            if machine.on(event).contains(&Command::CommitRecord) {
                for participant in 0..PARTICIPANTS {
                    let yes = Event::Fenced { participant, vote: Vote::Yes };
                    prop_assert!(told.contains(&yes));
                }
            }
        }
    }
}
