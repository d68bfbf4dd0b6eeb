//! What all parts of one coordinator process share.
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::config::Args;
use crate::owner::{Active, Driver, StagingLane};
use crate::participants::Participants;
use crate::participants::branches::OF_AN_ORDER;
use crate::participants::encoded::Origin;
use crate::recover::Recoverer;
use crate::saga::Sagas;
use crate::store::Store;

/// One coordinator process.
pub struct Coordinator {
    /// Its command line.
    pub args: Args,
    /// Names this incarnation: fresh at every start.
    pub owner_id: Arc<str>,
    /// What the PREPAREs of an order say of it.
    pub origin: Origin,
    /// Its database.
    pub store: Store,
    /// Has the records of its attempts staged.
    pub staging: StagingLane,
    /// Whom it coordinates.
    pub participants: Participants,
    /// Which orders are let in.
    pub admission: Admission,
    /// The attempts that it drives.
    pub active: Active,
    /// Drives them.
    pub driver: Driver,
    /// The sagas that it drives.
    pub sagas: Sagas,
    /// The recoveries that it runs.
    pub recoverer: Recoverer,
    /// What must not be cut off: attempts, sagas and recoveries. A graceful stop waits for them.
    pub tasks: TaskTracker,
}

impl Coordinator {
    /// Puts the parts together.
    pub fn new(args: Args, owner_id: &str, store: Store, participants: Participants) -> Arc<Self> {
        Arc::new(Coordinator {
            admission: Admission::new(&args),
            args,
            owner_id: owner_id.into(),
            origin: Origin::new(&OF_AN_ORDER, owner_id),
            staging: StagingLane::start(store.clone(), participants.rounds()),
            store,
            participants,
            active: Active::default(),
            driver: Driver::start(),
            sagas: Sagas::default(),
            recoverer: Recoverer::default(),
            tasks: TaskTracker::new(),
        })
    }
}
