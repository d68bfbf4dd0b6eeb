//! The checks, in groups: each file is one group, in the order in which they are made.
mod batches;
mod contents;
mod decisions;
mod ends;
mod fences;
mod forgotten;
mod malformed;
mod races;
mod reachable;
mod reads;
mod restarts;
mod votes;

use super::run::Group;

/// All checks.
pub const GROUPS: &[Group] = &[
    reachable::GROUP,
    votes::GROUP,
    fences::GROUP,
    decisions::GROUP,
    contents::GROUP,
    batches::GROUP,
    races::GROUP,
    ends::GROUP,
    forgotten::GROUP,
    malformed::GROUP,
    reads::GROUP,
    restarts::GROUP,
];
