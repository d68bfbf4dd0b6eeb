//! What one seed is about: its size, its timing, and which faults it knows. Swarm testing: every seed turns each kind of
//! fault on or off and draws its rate, so that rare combinations are not drowned by all of them at once.
use super::rng::Rng;

/// Coordinator processes.
pub const COORDINATORS: usize = 2;
/// Participants, each with a database of its own.
pub const PARTICIPANTS: usize = 3;
/// The participants' names, by their place.
pub const NAMES: [&str; PARTICIPANTS] = ["inventory", "order", "payment"];
/// How long a coordinator is taken to live after its last sign, by the database's clock.
pub const LEASE_MS: i64 = 1_000;

/// A kind of fault that happens now and then, for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A coordinator's process dies and is started again.
    CrashCoordinator,
    /// A participant's process dies and is started again.
    CrashParticipant,
    /// A database dies, loses what was not flushed, and comes back.
    CrashDatabase,
    /// A process stands still, then goes on as if nothing had been.
    Pause,
    /// Some ways of the network are cut, perhaps in one direction only.
    Partition,
    /// A clock jumps.
    ClockJump,
    /// A database takes long for everything.
    SlowDisk,
    /// Somebody calls Recover, needed or not.
    Operator,
}

const FAULTS: [Fault; 8] = [
    Fault::CrashCoordinator,
    Fault::CrashParticipant,
    Fault::CrashDatabase,
    Fault::Pause,
    Fault::Partition,
    Fault::ClockJump,
    Fault::SlowDisk,
    Fault::Operator,
];

/// What an order asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Who pays.
    pub account: usize,
    /// SKUs and quantities, in the order of the SKUs.
    pub lines: [(usize, i64); 2],
    /// What is to be paid.
    pub amount: i64,
}

/// One seed's plan.
#[derive(Debug)]
pub struct Plan {
    /// Orders that clients place, repeats not counted.
    pub jobs: usize,
    /// When faults end, in milliseconds after the start.
    pub heal_ms: u64,
    /// Stock of each SKU.
    pub stock: Vec<i64>,
    /// What each account owns.
    pub balances: Vec<i64>,
    /// How far watermarks stay behind the clock.
    pub watermark_lag_ms: i64,
    /// How long a request is remembered after its deadline.
    pub retention_ms: i64,
    /// How often garbage is collected.
    pub collect_ms: u64,
    /// Participants from this place on know of no horizons, as one that others have written may not.
    pub confirming: usize,
    /// After so many rounds a transaction that the horizon has not reached is ended by its id.
    pub late_rounds: u64,
    /// Kinds of faults that this seed knows.
    pub faults: Vec<Fault>,
    /// The mean time from one to the next.
    pub fault_every_ms: u64,
    /// Messages that are lost, in ten thousand; in half of the cases the sender learns it.
    pub lost: u64,
    /// Messages that come twice.
    pub twice: u64,
    /// Messages that take seconds.
    pub late: u64,
    /// How long a late one may take.
    pub late_ms: u64,
    /// What a message takes at most otherwise.
    pub delay_us: u64,
    /// Batches whose connection is lost in COMMIT, in ten thousand.
    pub lost_commit: u64,
    /// Coordinators that die the moment they have answered a client, in ten thousand.
    pub dies_after_answer: u64,
    /// Processes that die the moment their batch is written, before they know it.
    pub dies_after_batch: u64,
    /// Databases that die soon after a lazy commit.
    pub dies_after_lazy: u64,
    /// After how long a lazy write is on disk by itself.
    pub flush_ms: u64,
    /// How far clocks may be off.
    pub skew_ms: i64,
    /// Orders that go through both coordinators at once, in ten thousand.
    pub both: u64,
    /// Orders under a request id that another order has, in ten thousand.
    pub reused: u64,
    /// Clients that repeat a call though it was answered, in ten thousand.
    pub repeats: u64,
    /// Milliseconds until an order is given up, at least and at most.
    pub timeout_ms: (u64, u64),
}

/// `rate` or nothing.
fn perhaps(rng: &mut Rng, per_10_000: u64, most: u64) -> u64 {
    if rng.chance(per_10_000) { rng.between(1, most) } else { 0 }
}

impl Plan {
    /// Draws a plan.
    pub fn draw(rng: &mut Rng) -> Self {
        let quiet = rng.chance(500);
        let faults = if quiet { Vec::new() } else { FAULTS.into_iter().filter(|_| rng.coin()).collect() };
        let skews = !quiet && rng.coin();
        let skus = rng.between(1, 3);
        let accounts = rng.between(1, 3);
        let scarce = rng.coin();
        Plan {
            jobs: rng.between(20, 30) as usize,
            heal_ms: rng.between(3_000, 8_000),
            stock: (0..skus).map(|_| rng.between(5, if scarce { 40 } else { 400 }) as i64).collect(),
            balances: (0..accounts).map(|_| rng.between(200, if scarce { 4_000 } else { 40_000 }) as i64).collect(),
            watermark_lag_ms: rng.pick(&[300, 1_000, 2_000, 5_000, 600_000]),
            retention_ms: rng.pick(&[1_500, 4_000, 10_000, 86_400_000, 86_400_000, 86_400_000]),
            collect_ms: rng.between(100, 1_500),
            fault_every_ms: rng.pick(&[100, 300, 700, 1_500]),
            lost: if quiet { 0 } else { perhaps(rng, 5_000, 800) },
            twice: if quiet { 0 } else { perhaps(rng, 5_000, 3_000) },
            late: if quiet { 0 } else { perhaps(rng, 5_000, 800) },
            late_ms: rng.pick(&[500, 2_000, 8_000]),
            delay_us: rng.pick(&[500, 2_000, 10_000, 50_000]),
            lost_commit: if quiet { 0 } else { perhaps(rng, 5_000, 1_000) },
            dies_after_answer: if quiet { 0 } else { perhaps(rng, 3_000, 4_000) },
            dies_after_batch: if quiet { 0 } else { perhaps(rng, 3_000, 300) },
            dies_after_lazy: if quiet { 0 } else { perhaps(rng, 3_000, 1_000) },
            flush_ms: rng.pick(&[600, 600, 60_000]),
            skew_ms: if skews { rng.pick(&[50, 500, 3_000, 10_000]) } else { 0 },
            both: perhaps(rng, 7_000, 5_000),
            reused: perhaps(rng, 5_000, 2_000),
            repeats: perhaps(rng, 6_000, 5_000),
            timeout_ms: rng.pick(&[(100, 400), (300, 1_500), (1_000, 3_000)]),
            late_rounds: rng.pick(&[0, 3]),
            confirming: rng.pick(&[PARTICIPANTS, PARTICIPANTS, PARTICIPANTS - 1]),
            faults,
        }
    }

    /// Draws what an order asks for.
    pub fn content(&self, rng: &mut Rng) -> Content {
        let (one, other) = (rng.place(self.stock.len()), rng.place(self.stock.len()));
        let quantity = rng.between(1, 5) as i64;
        let second = if one == other { 0 } else { rng.between(0, 3) as i64 };
        let mut lines = [(one, quantity), (other, second)];
        lines.sort_unstable();
        Content {
            account: rng.place(self.balances.len()),
            lines,
            amount: (quantity + second) * rng.between(5, 60) as i64,
        }
    }
}
