//! The places at which a coordinator can be told to die, besides those that every service shares.

/// The coordinator's own crash points.
pub const COORDINATOR: &[&str] = &[
    "place.received",
    "prepare.before_send",
    "prepare.after_send",
    "stage.before",
    "stage.after",
    "decide.before_answer",
    "decide.after_answer",
    "commit.before_send",
    "commit.after_send",
    "abort.before_send",
    "abort.after_send",
    "finish.before",
    "finish.after",
    "recover.before_fence",
    "recover.after_fence",
    "recover.after_decision",
    "durable.before_send",
    "durable.after_send",
    "end.before_send",
    "end.after_send",
    "confirm_horizon.before_send",
    "confirm_horizon.after_send",
    "end_horizon.before_send",
    "end_horizon.after_send",
    "ended.before",
    "ended.after",
    "saga.before_start",
    "saga.after_start",
    "saga.before_result",
    "saga.after_result",
    "saga.before_turn",
    "saga.after_turn",
    "saga.before_compensated",
    "saga.after_compensated",
    "saga.before_answer",
    "saga.after_answer",
    "execute.before_send",
    "execute.after_send",
    "compensate.before_send",
    "compensate.after_send",
    "end_steps.before_send",
    "end_steps.after_send",
];

/// All crash points of a coordinator's process.
pub fn all() -> impl Iterator<Item = &'static str> {
    COORDINATOR.iter().chain(participant::crash_point::SHARED).copied()
}
