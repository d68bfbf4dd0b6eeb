//! Which steps a saga has, what each waits for, and which of them can be undone.

/// What can become of a step once it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It can be undone by its compensation.
    Compensatable,
    /// The point of no return: once it took effect the saga only goes forward. It may refuse.
    Pivot,
    /// It comes after the pivot, and is retried until it succeeds.
    Retriable,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Step {
    /// What can become of it.
    pub kind: Kind,
    /// The steps that must have taken effect before it is started, by their places. Steps that don't wait for each other
    /// run in parallel.
    pub after: Vec<usize>,
}

/// The steps of a saga, so that from every point it can come to an end: all of it, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Definition {
    steps: Vec<Step>,
}

/// Why steps are no saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// There is none.
    Empty,
    /// This step waits for one that does not come before it.
    Order(usize),
    /// This is a second pivot.
    SecondPivot(usize),
    /// The pivot does not wait for this step, which could still fail when there is no way back.
    NotBeforePivot(usize),
    /// This step is to be retried until it succeeds, but does not wait for a pivot: until then all could be undone.
    NotAfterPivot(usize),
}

impl Definition {
    /// Checks and takes the steps.
    pub fn new(steps: Vec<Step>) -> Result<Self, Malformed> {
        if steps.is_empty() {
            return Err(Malformed::Empty);
        }
        for (place, step) in steps.iter().enumerate() {
            if step.after.iter().any(|before| *before >= place) {
                return Err(Malformed::Order(place));
            }
        }
        let definition = Definition { steps };
        let pivot = definition.pivot();
        for (place, step) in definition.steps.iter().enumerate() {
            match step.kind {
                Kind::Pivot if pivot != Some(place) => return Err(Malformed::SecondPivot(place)),
                Kind::Compensatable if pivot.is_some_and(|pivot| !definition.waits_for(pivot, place)) => {
                    return Err(Malformed::NotBeforePivot(place));
                }
                Kind::Retriable if !pivot.is_some_and(|pivot| definition.waits_for(place, pivot)) => {
                    return Err(Malformed::NotAfterPivot(place));
                }
                _ => (),
            }
        }
        Ok(definition)
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What can become of a step.
    pub fn kind(&self, step: usize) -> Option<Kind> {
        self.steps.get(step).map(|step| step.kind)
    }

    /// The place of the pivot.
    pub fn pivot(&self) -> Option<usize> {
        self.steps.iter().position(|step| step.kind == Kind::Pivot)
    }

    /// What a step waits for.
    pub fn after(&self, step: usize) -> impl Iterator<Item = usize> {
        self.steps.get(step).into_iter().flat_map(|step| step.after.iter().copied())
    }

    /// Whether `step` waits for `other`, be it through others.
    fn waits_for(&self, step: usize, other: usize) -> bool {
        self.after(step).any(|before| before == other || self.waits_for(before, other))
    }
}
