//! Whole clusters in one thread: two coordinators on one database, three participants with a database each, and clients,
//! on simulated time and a simulated network. A seed goes in, a trace and a verdict come out.
//!
//! The rules are the production machines of `protocol`, driven as `coordinator` and `participant` drive them; simulated
//! is what these use: processes that die, stand still and misread the time, databases that lose what was not flushed,
//! a network that loses, repeats, reorders and delays. Nothing here depends on anything but the seed.
//!
//! A run goes through three phases: clients place orders while faults happen; everything heals; then, within a bounded
//! time, all must be resolved and every client must have a definite answer. The invariants are checked all the time
//! ([`witness`]) and at the end ([`judge`]).
mod books;
mod client;
mod collect;
mod coordinator;
mod coverage;
mod database;
mod fault;
mod judge;
mod lanes;
mod log;
mod message;
mod mutation;
mod network;
mod owner;
mod participant;
mod plan;
mod process;
mod records;
mod recovery;
mod rng;
mod schedule;
mod seeds;
mod storage;
mod takeover;
mod trace;
mod witness;

pub use coverage::{Counted, Coverage};
pub use seeds::{Seeds, simulate_seeds};
pub use trace::hash;
pub use witness::Violation;

use crate::mutant::Mutant;
use client::Job;
use coordinator::Coordinator;
use database::Database;
use fault::Nemesis;
use log::Log;
use message::{Answer, CLIENTS, Message, Node, Query};
use network::Network;
use participant::Participant;
use plan::{COORDINATORS, PARTICIPANTS, Plan};
use process::{Process, Wake};
use protocol::invariants::Invariant;
use records::Records;
use rng::Rng;
use schedule::Schedule;
use storage::{Batch, Disk};
use trace::{Trace, note};
use witness::{Fact, Witness};

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// The first violation, if there was one.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub coverage: Coverage,
    /// How long after the heal everything was resolved, and clients had their answers.
    pub resolved_after_ms: u64,
    /// Everything that happened, if that was wanted.
    pub trace: String,
}

/// Runs the world of a seed to its end or to its first violation.
pub fn simulate(seed: u64, mutant: Option<Mutant>, traced: bool) -> Report {
    let mut world = World::new(seed, mutant, traced);
    world.run();
    Report {
        violation: world.violation,
        coverage: world.coverage,
        resolved_after_ms: world.nemesis.resolved_after_ms,
        trace: world.trace.into_text(),
    }
}

/// Where databases stand among the disks: those of the participants by their places, then the coordinators'.
const RECORDS: usize = PARTICIPANTS;
/// Unix time at the start.
const EPOCH_MS: i64 = 1_000_000_000;

enum Event {
    /// A message arrives.
    Arrive { to: Node, message: Box<Message> },
    /// A process's own timer.
    Wake { process: usize, incarnation: u32, wake: Wake },
    /// A batch reaches its database.
    BatchRuns(Box<Batch>),
    /// The writer learns of its batch; nothing where that is lost.
    BatchEnds(Box<Batch>, Option<Vec<message::Reply>>),
    /// A query reaches the coordinators' database.
    QueryRuns { coordinator: usize, incarnation: u32, ask: u64, query: Query },
    /// A coordinator learns of its query.
    QueryEnds { coordinator: usize, incarnation: u32, ask: u64, answer: Answer },
    /// A client does its next step.
    Client(usize),
    /// Now and then a fault.
    Fault,
    /// A fault ends.
    Mend(fault::Mend),
    /// All faults end.
    Heal,
    /// Is everything resolved?
    Look,
}

struct World {
    now_us: u64,
    schedule: Schedule<Event>,
    rng: Rng,
    plan: Plan,
    mutant: Option<Mutant>,
    trace: Trace,
    coverage: Coverage,
    violation: Option<Violation>,
    over: bool,
    witness: Witness,
    /// How far each clock is off: those of the processes, then that of the coordinators' database.
    skew_ms: [i64; CLIENTS + 1],
    network: Network,
    nemesis: Nemesis,
    processes: [Process; CLIENTS],
    coordinators: [Coordinator; COORDINATORS],
    participants: [Participant; PARTICIPANTS],
    disks: [Disk; PARTICIPANTS + 1],
    logs: [Database<Log>; PARTICIPANTS],
    records: Database<Records>,
    jobs: Vec<Job>,
    asks: u64,
}

/// Where the clock of the coordinators' database stands among the clocks.
const DATABASE_CLOCK: usize = CLIENTS;

impl World {
    fn new(seed: u64, mutant: Option<Mutant>, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let mut trace = Trace::new(traced);
        trace.line(0, format_args!("seed {seed}: {plan:?}"));
        World {
            now_us: 0,
            schedule: Schedule::new(),
            logs: [0, 1, 2].map(|p| Database::new(Log::new(p, &plan))),
            plan,
            rng,
            mutant,
            trace,
            coverage: Coverage::default(),
            violation: None,
            over: false,
            witness: Witness::default(),
            skew_ms: [0; CLIENTS + 1],
            network: Network::default(),
            nemesis: Nemesis::default(),
            processes: Default::default(),
            coordinators: Default::default(),
            participants: Default::default(),
            disks: Default::default(),
            records: Database::new(Records::default()),
            jobs: Vec::new(),
            asks: 0,
        }
    }

    fn run(&mut self) {
        for place in 0..CLIENTS {
            self.start_process(place);
        }
        self.draw_jobs();
        self.after_ms(self.plan.heal_ms, Event::Heal);
        self.after_ms(self.plan.fault_every_ms, Event::Fault);
        while self.violation.is_none() && !self.over {
            let Some((at_us, event)) = self.schedule.pop() else { break };
            self.now_us = at_us;
            self.happens(event);
        }
        if self.violation.is_none() {
            self.judge();
        }
        if let Some(violation) = &self.violation {
            note!(self, "VIOLATED {}: {}", violation.invariant, violation.detail);
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrive { to: Node::Clients, message } => self.client_receives(*message),
            Event::Arrive { to, message } => match self.processes[to.place()].awake_at(self.now_us) {
                None => self.refused(to, *message),
                Some(at_us) if at_us > self.now_us => self.postpone(at_us, Event::Arrive { to, message }),
                Some(_) => self.receives(to, *message),
            },
            Event::Wake { process, incarnation, wake } => {
                if let Some(wake) =
                    self.attends(process, incarnation, wake, |wake| Event::Wake { process, incarnation, wake })
                {
                    self.wakes(process, wake);
                }
            }
            Event::BatchRuns(batch) => self.batch_runs(batch),
            Event::BatchEnds(batch, replies) => {
                let (process, incarnation) = (batch.process, batch.incarnation);
                if let Some((batch, replies)) =
                    self.attends(process, incarnation, (batch, replies), |(batch, replies)| {
                        Event::BatchEnds(batch, replies)
                    })
                {
                    self.batch_ends(batch, replies);
                }
            }
            // A pool waits for a database that is away, for as long as somebody waits for the answer.
            Event::QueryRuns { coordinator, ask, query, .. } if self.disks[RECORDS].down => {
                if self.coordinators[coordinator].asked.contains_key(&ask) {
                    let incarnation = self.processes[coordinator].incarnation;
                    self.after_us(20_000, Event::QueryRuns { coordinator, incarnation, ask, query });
                }
            }
            Event::QueryRuns { coordinator, incarnation, ask, query } => {
                if self.records.unflushed(0) > 0 && self.rng.chance(self.plan.dies_after_lazy) {
                    let delay_us = self.rng.below(2_000);
                    self.after_us(delay_us, Event::Mend(fault::Mend::DatabaseDies(RECORDS)));
                }
                let answer = self.query_runs(coordinator, query);
                let delay_us = self.rng.between(50, 500);
                self.after_us(delay_us, Event::QueryEnds { coordinator, incarnation, ask, answer });
            }
            Event::QueryEnds { coordinator, incarnation, ask, answer } => {
                let again = |answer| Event::QueryEnds { coordinator, incarnation, ask, answer };
                if let Some(answer) = self.attends(coordinator, incarnation, answer, again) {
                    self.answered(coordinator, ask, answer);
                }
            }
            Event::Client(job) => self.client_steps(job),
            Event::Fault => self.fault(),
            Event::Mend(mend) => self.mend(mend),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    /// What happens to a process: nothing if that incarnation is dead, later if it stands still.
    fn attends<T>(&mut self, process: usize, incarnation: u32, what: T, again: impl FnOnce(T) -> Event) -> Option<T> {
        let of = &self.processes[process];
        if of.incarnation != incarnation {
            return None;
        }
        match of.awake_at(self.now_us) {
            None => None,
            Some(at_us) if at_us > self.now_us => {
                self.postpone(at_us, again(what));
                None
            }
            Some(_) => Some(what),
        }
    }

    /// What a process that stands still finds when it goes on, it finds all at once, and takes it in any order.
    fn postpone(&mut self, at_us: u64, event: Event) {
        let jitter_us = self.rng.below(1_000);
        self.schedule.at(at_us + jitter_us, event);
    }

    fn after_us(&mut self, delay_us: u64, event: Event) {
        self.schedule.at(self.now_us + delay_us, event);
    }

    fn after_ms(&mut self, delay_ms: u64, event: Event) {
        self.after_us(delay_ms * 1_000, event);
    }

    /// What the clock at this place says.
    fn clock_ms(&self, place: usize) -> i64 {
        EPOCH_MS + (self.now_us / 1_000) as i64 + self.skew_ms[place]
    }

    fn makes(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn count(&mut self, counted: Counted) {
        self.coverage.add(counted, 1);
    }

    fn saw(&mut self, tx: usize, fact: Fact) {
        if let Some((invariant, detail)) = self.witness.saw(tx, fact) {
            self.violated(invariant, detail);
        }
    }

    /// Keeps the first violation; what follows from it says little.
    fn violated(&mut self, invariant: Invariant, detail: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, at_us: self.now_us, detail });
        }
    }
}
