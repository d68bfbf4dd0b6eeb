//! The order's life: its states, and what may become of an order in each of them.
//!
//! [`TRANSITIONS`] is the only place that says so. Votes are given by it, the audit judges histories by it, and a test holds
//! the documentation to it.
use participant::Refusal;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Being placed.
    Pending,
    /// Placed.
    Confirmed,
    /// Refused: nothing is held, nothing is charged.
    Refused,
    /// Cancelled before it was shipped.
    Cancelled,
    /// On its way, or there.
    Shipped,
    /// Some of its units have come back.
    PartiallyReturned,
    /// All of its units have come back.
    Returned,
    /// It waits for its goods, and has got none.
    Backordered,
    /// It waits for its goods, and has got some.
    PartiallyAllocated,
}

impl State {
    /// All of them.
    pub const ALL: [State; 9] = [
        State::Pending,
        State::Confirmed,
        State::Refused,
        State::Cancelled,
        State::Shipped,
        State::PartiallyReturned,
        State::Returned,
        State::Backordered,
        State::PartiallyAllocated,
    ];

    /// As it is stored.
    pub fn code(self) -> i16 {
        match self {
            State::Pending => 1,
            State::Confirmed => 2,
            State::Refused => 3,
            State::Cancelled => 4,
            State::Shipped => 5,
            State::PartiallyReturned => 6,
            State::Returned => 7,
            State::Backordered => 8,
            State::PartiallyAllocated => 9,
        }
    }

    /// From its stored form.
    pub fn of_code(code: i16) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.code() == code)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Confirmed => "CONFIRMED",
            State::Refused => "REFUSED",
            State::Cancelled => "CANCELLED",
            State::Shipped => "SHIPPED",
            State::PartiallyReturned => "PARTIALLY_RETURNED",
            State::Returned => "RETURNED",
            State::Backordered => "BACKORDERED",
            State::PartiallyAllocated => "PARTIALLY_ALLOCATED",
        }
    }
}

/// What happened to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was written down.
    Placed,
    /// It was confirmed.
    Confirmed,
    /// It was refused.
    Refused,
    /// It was cancelled.
    Cancelled,
    /// It was marked as shipped.
    Shipped,
    /// Units of it came back.
    Returned,
    /// Money was paid back.
    Refunded,
    /// It got goods that it waited for.
    Allotted,
}

impl EventKind {
    /// All of them.
    pub const ALL: [EventKind; 8] = [
        EventKind::Placed,
        EventKind::Confirmed,
        EventKind::Refused,
        EventKind::Cancelled,
        EventKind::Shipped,
        EventKind::Returned,
        EventKind::Refunded,
        EventKind::Allotted,
    ];

    /// As it is stored.
    pub fn code(self) -> i16 {
        match self {
            EventKind::Placed => 1,
            EventKind::Confirmed => 2,
            EventKind::Refused => 3,
            EventKind::Cancelled => 4,
            EventKind::Shipped => 5,
            EventKind::Returned => 6,
            EventKind::Refunded => 7,
            EventKind::Allotted => 8,
        }
    }

    /// From its stored form.
    pub fn of_code(code: i16) -> Option<Self> {
        EventKind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// From which state, by what, to which states: the first that applies. None: there was no order yet.
pub const TRANSITIONS: &[(Option<State>, EventKind, &[State])] = &[
    (None, EventKind::Placed, &[State::Pending]),
    (Some(State::Pending), EventKind::Confirmed, &[State::Confirmed, State::Backordered]),
    (Some(State::Pending), EventKind::Refused, &[State::Refused]),
    (Some(State::Backordered), EventKind::Allotted, &[State::PartiallyAllocated, State::Confirmed]),
    (Some(State::Backordered), EventKind::Cancelled, &[State::Cancelled]),
    (Some(State::PartiallyAllocated), EventKind::Allotted, &[State::PartiallyAllocated, State::Confirmed]),
    (Some(State::Confirmed), EventKind::Cancelled, &[State::Cancelled]),
    (Some(State::Confirmed), EventKind::Shipped, &[State::Shipped]),
    (Some(State::Confirmed), EventKind::Refunded, &[State::Confirmed]),
    (Some(State::Shipped), EventKind::Returned, &[State::PartiallyReturned, State::Returned]),
    (Some(State::Shipped), EventKind::Refunded, &[State::Shipped]),
    (Some(State::PartiallyReturned), EventKind::Returned, &[State::PartiallyReturned, State::Returned]),
    (Some(State::PartiallyReturned), EventKind::Refunded, &[State::PartiallyReturned]),
    (Some(State::Returned), EventKind::Refunded, &[State::Returned]),
];

/// The states that an order can come to from this one by this; none if that can't happen to it.
pub fn outcomes(from: Option<State>, kind: EventKind) -> &'static [State] {
    let found = TRANSITIONS.iter().find(|(of, by, _)| (*of, *by) == (from, kind));
    found.map_or(&[], |(_, _, to)| to)
}

/// Why an order in this state can't have that happen to it.
pub fn denied(state: State, kind: EventKind) -> Refusal {
    let (reason, message) = match (state, kind) {
        (State::Pending, _) => return busy("it is still being placed"),
        (_, EventKind::Allotted) => ("ORDER_NOT_WAITING", "the order does not wait for goods"),
        (State::Refused, _) => ("ORDER_REFUSED", "the order was refused: there is nothing that could be changed"),
        (State::PartiallyAllocated, EventKind::Cancelled) => (
            "PARTIALLY_ALLOCATED",
            "the order has got some of its goods: wait for the rest, ship it, and return what is not wanted",
        ),
        (State::Backordered | State::PartiallyAllocated, _) => {
            ("NOT_ALLOCATED", "the order still waits for goods, which are not paid yet")
        }
        (State::Cancelled, _) => ("ALREADY_CANCELLED", "the order was cancelled"),
        (State::Confirmed, EventKind::Returned) => ("NOT_SHIPPED", "the order was not shipped yet: cancel it instead"),
        (State::Shipped | State::PartiallyReturned | State::Returned, EventKind::Cancelled) => {
            ("ALREADY_SHIPPED", "the order was shipped: what comes back of it is a return")
        }
        (State::Shipped | State::PartiallyReturned | State::Returned, EventKind::Shipped) => {
            ("ALREADY_SHIPPED", "the order was shipped before")
        }
        (State::Returned, EventKind::Returned) => ("RETURN_EXCEEDS_BOUGHT", "all of the order has come back already"),
        _ => ("ILLEGAL_TRANSITION", "an order in this state can't have that happen to it"),
    };
    Refusal::new(reason, message).with("state", state.name())
}

/// Another change of the order is under way, or came in between.
pub fn busy(why: &str) -> Refusal {
    Refusal::new("ORDER_BUSY", format!("the order can't be changed just now: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as the documentation shows it.
    fn markdown() -> String {
        let mut text = "| From | By | To |\n|---|---|---|\n".to_owned();
        for (from, kind, to) in TRANSITIONS {
            let by = match kind {
                EventKind::Placed => "PlaceOrder",
                EventKind::Confirmed => "PlaceOrder's transaction commits",
                EventKind::Refused => "PlaceOrder's transaction aborts",
                EventKind::Cancelled => "CancelOrder",
                EventKind::Shipped => "ShipOrder",
                EventKind::Returned => "ReturnOrder",
                EventKind::Refunded => "RefundOrder",
                EventKind::Allotted => "goods come",
            };
            let from = from.map_or("(none)", State::name);
            let to: Vec<&str> = to.iter().map(|state| state.name()).collect();
            text.push_str(&format!("| {from} | {by} | {} |\n", to.join(" or ")));
        }
        text
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let docs = include_str!("../../../docs/ORDERS.md");
        assert!(docs.contains(&markdown()), "docs/ORDERS.md must contain:\n{}", markdown());
    }

    #[test]
    fn every_state_can_be_reached_and_codes_are_read_as_they_are_written() {
        for state in State::ALL {
            assert!(TRANSITIONS.iter().any(|(_, _, to)| to.contains(&state)), "{state:?}");
            assert_eq!(State::of_code(state.code()), Some(state));
        }
        for kind in EventKind::ALL {
            assert_eq!(EventKind::of_code(kind.code()), Some(kind));
        }
        assert_eq!(State::of_code(0), None);
    }

    #[test]
    fn what_the_table_does_not_allow_has_a_reason_of_its_own() {
        let changes = [EventKind::Cancelled, EventKind::Shipped, EventKind::Returned, EventKind::Refunded];
        for (state, kind) in State::ALL.into_iter().flat_map(|state| changes.map(|kind| (state, kind))) {
            if outcomes(Some(state), kind).is_empty() {
                assert_ne!(denied(state, kind).reason, "ILLEGAL_TRANSITION", "{state:?} {kind:?}");
            }
        }
    }
}
