//! What happens next: events in the order of simulated time, and of their making where times are equal.
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Events to come.
pub struct Schedule<E> {
    heap: BinaryHeap<Scheduled<E>>,
    made: u64,
}

struct Scheduled<E> {
    at_us: u64,
    made: u64,
    event: E,
}

impl<E> Schedule<E> {
    /// Nothing is to come.
    pub fn new() -> Self {
        Schedule { heap: BinaryHeap::with_capacity(256), made: 0 }
    }

    /// Adds an event.
    pub fn at(&mut self, at_us: u64, event: E) {
        self.made += 1;
        self.heap.push(Scheduled { at_us, made: self.made, event });
    }

    /// Takes the next one, and when it happens.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        self.heap.pop().map(|next| (next.at_us, next.event))
    }
}

impl<E> Ord for Scheduled<E> {
    /// The earliest is the greatest, which is what the heap gives first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.made).cmp(&(self.at_us, self.made))
    }
}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.made == other.made
    }
}

impl<E> Eq for Scheduled<E> {}
