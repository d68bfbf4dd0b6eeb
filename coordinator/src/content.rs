//! What a transaction is to do: an order, or branches that the coordinator does not understand.
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use participant::{TransactionRef, names};
use protocol::saga::{Definition, Kind, Malformed, Step};
use sha2::{Digest, Sha256};

use crate::coordinator::Coordinator;
use crate::domain::{Invalid, Order};
use crate::participants::branches::{self, Asked};
use crate::participants::encoded::{self, Origin};
use crate::saga::{self, group};
use crate::store::NewStep;

/// What a transaction is to do.
#[derive(Clone)]
pub enum Content {
    /// An order.
    Order(Arc<Order>),
    /// An order that is shipped in between.
    Hybrid(Arc<Hybrid>),
    /// One branch, or step, for each of these.
    Branches(Branches),
}

/// An order whose stock, order and authorisation commit together, and which is shipped before it is paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hybrid {
    /// The order.
    pub order: Arc<Order>,
    /// What is to be shipped, in the language of the participant that does it.
    pub shipping: Vec<u8>,
}

/// Branches, or steps, and what names them all.
#[derive(Clone)]
pub struct Branches {
    steps: Arc<[NewStep]>,
    /// The digest of what was asked for, where the branches were worked out from that; none: they are what was asked for.
    digest: Option<Arc<[u8]>>,
}

impl Branches {
    /// Branches that were worked out from what this is the digest of, one for each participant.
    pub fn named(branches: Vec<NewStep>, digest: Vec<u8>) -> Self {
        Branches { steps: branches.into(), digest: Some(digest.into()) }
    }
}

impl From<Vec<NewStep>> for Branches {
    fn from(steps: Vec<NewStep>) -> Self {
        Branches { steps: steps.into(), digest: None }
    }
}

impl Content {
    /// Branches of an atomic transaction, checked: one for each participant.
    pub fn of_branches(branches: Vec<NewStep>) -> Result<Self, Invalid> {
        check_names(&branches)?;
        let mut seen = HashSet::new();
        for (place, branch) in branches.iter().enumerate() {
            if !seen.insert(branch.participant.as_str()) {
                let field = format!("branches[{place}].participant");
                return Err(Invalid::new(field, "has a branch of this transaction already; only a saga may have more"));
            }
        }
        Ok(Content::Branches(branches.into()))
    }

    /// Steps of a saga, checked: their names are unique, and from everywhere there is an end.
    pub fn of_steps(steps: Vec<NewStep>) -> Result<Self, Invalid> {
        check_names(&steps)?;
        let mut seen = HashSet::new();
        for (place, step) in steps.iter().enumerate() {
            let field = format!("branches[{place}].step");
            names::check_one(&step.name).map_err(|wrong| Invalid::new(field.clone(), wrong))?;
            if !seen.insert(step.name.as_str()) {
                return Err(Invalid::new(field, "is the name of another step; give each its own"));
            }
        }
        let definition =
            Definition::new(steps.iter().map(|it| Step { kind: it.kind, after: it.after.clone() }).collect());
        match definition {
            Ok(_) => Ok(Content::Branches(steps.into())),
            Err(malformed) => Err(of_malformed(malformed)),
        }
    }

    /// Digest of all of it: what one request id must always stand for.
    pub fn digest(&self) -> Vec<u8> {
        match self {
            Content::Order(order) => order.digest(),
            Content::Hybrid(hybrid) => {
                let mut hash = Sha256::new();
                hash.update(b"\0hybrid");
                hash.update(hybrid.order.digest());
                hash.update(&hybrid.shipping);
                hash.finalize().to_vec()
            }
            Content::Branches(Branches { digest: Some(digest), .. }) => digest.to_vec(),
            Content::Branches(Branches { steps: branches, .. }) => {
                let mut hash = Sha256::new();
                let mut part = |part: &[u8]| {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                };
                // Unlike any order's, which begins with an account.
                part(b"\0branches");
                for NewStep { name, participant, kind, after, branch, timeout_ms } in branches.iter() {
                    part(participant.as_bytes());
                    part(branch);
                    part(name.as_bytes());
                    part(format!("{kind:?} {after:?}").as_bytes());
                    // Without one, as it was before there were any.
                    if let Some(timeout_ms) = timeout_ms {
                        part(format!("within {timeout_ms}").as_bytes());
                    }
                }
                hash.finalize().to_vec()
            }
        }
    }

    /// How many branches it has as an atomic transaction.
    pub fn len(&self) -> usize {
        match self {
            Content::Order(_) | Content::Hybrid(_) => branches::OF_AN_ORDER.len(),
            Content::Branches(branches) => branches.steps.len(),
        }
    }

    /// The name of a branch's participant, by its place.
    pub fn participant(&self, place: usize) -> &str {
        match self {
            Content::Order(_) | Content::Hybrid(_) => branches::OF_AN_ORDER.get(place).copied().unwrap_or_default(),
            Content::Branches(branches) => branches.steps.get(place).map_or("", |branch| branch.participant.as_str()),
        }
    }

    /// The participants, as a record keeps them.
    pub fn joined(&self) -> Cow<'static, str> {
        match self {
            Content::Order(_) => branches::JOINED.into(),
            Content::Hybrid(_) => format!("{},{}", group::NAME, group::SHIPPING).into(),
            Content::Branches(branches) => {
                let mut names: Vec<&str> = branches.steps.iter().map(|branch| branch.participant.as_str()).collect();
                names.sort_unstable();
                names.dedup();
                names.join(",").into()
            }
        }
    }

    /// Its branches, encoded for PREPARE.
    pub fn prepares(&self, coordinator: &Coordinator, transaction: TransactionRef, asked: Asked<'_>) -> Vec<Bytes> {
        match self {
            Content::Order(order) => branches::prepares(transaction, &coordinator.origin, order, asked).to_vec(),
            // Only its group is atomic, and that is a transaction of its own.
            Content::Hybrid(hybrid) => {
                branches::prepares(transaction, &coordinator.origin, &hybrid.order, asked).to_vec()
            }
            Content::Branches(Branches { steps: branches, .. }) => {
                let names: Vec<&str> = branches.iter().map(|branch| branch.participant.as_str()).collect();
                let origin = Origin::new(&names, &coordinator.owner_id);
                let buffer = &mut BytesMut::new();
                branches.iter().map(|it| encoded::raw(buffer, transaction, &origin, &it.branch)).collect()
            }
        }
    }

    /// Its steps, as a saga.
    pub fn steps(&self, asked: Asked<'_>) -> Vec<NewStep> {
        match self {
            Content::Order(order) => saga::steps_of(order, asked),
            Content::Hybrid(hybrid) => group::steps_of(hybrid, asked),
            Content::Branches(branches) => branches.steps.to_vec(),
        }
    }
}

fn check_names(branches: &[NewStep]) -> Result<(), Invalid> {
    if branches.is_empty() {
        return Err(Invalid::new("branches", "must be at least one"));
    }
    let participants: Vec<String> = branches.iter().map(|branch| branch.participant.clone()).collect();
    names::check(&participants).map_err(|wrong| Invalid::new("branches", wrong))
}

fn of_malformed(malformed: Malformed) -> Invalid {
    let at = |place: usize, field: &str| format!("branches[{place}].{field}");
    match malformed {
        Malformed::Empty => Invalid::new("branches", "must be at least one"),
        Malformed::Order(place) => Invalid::new(at(place, "after"), "must name steps that come before it"),
        Malformed::SecondPivot(place) => Invalid::new(at(place, "kind"), "is a second pivot; a saga has one at most"),
        Malformed::NotBeforePivot(place) => Invalid::new(
            at(place, "kind"),
            "can be undone, so the pivot must wait for it: name it in what the pivot is after",
        ),
        Malformed::NotAfterPivot(place) => {
            Invalid::new(at(place, "after"), "must lead to the pivot, because the step is retried until it succeeds")
        }
    }
}

/// The kind of a step that does not say.
pub const DEFAULT_KIND: Kind = Kind::Compensatable;
