//! What all parts of one coordinator process share.
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::config::Args;
use crate::owner::Active;
use crate::participants::Participants;
use crate::recover::Recoverer;
use crate::store::Store;

/// One coordinator process.
pub struct Coordinator {
    /// Its command line.
    pub args: Args,
    /// Names this incarnation: fresh at every start.
    pub owner_id: String,
    /// Its database.
    pub store: Store,
    /// Whom it coordinates.
    pub participants: Participants,
    /// Which orders are let in.
    pub admission: Admission,
    /// The attempts that it drives.
    pub active: Active,
    /// The recoveries that it runs.
    pub recoverer: Recoverer,
    /// What must not be cut off: attempts and recoveries. A graceful stop waits for them.
    pub tasks: TaskTracker,
}

impl Coordinator {
    /// Puts the parts together.
    pub fn new(args: Args, owner_id: String, store: Store, participants: Participants) -> Arc<Self> {
        Arc::new(Coordinator {
            admission: Admission::new(&args),
            args,
            owner_id,
            store,
            participants,
            active: Active::default(),
            recoverer: Recoverer::default(),
            tasks: TaskTracker::new(),
        })
    }
}
