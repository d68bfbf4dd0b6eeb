//! Faults: what each kind does, and how all of them end.
use super::message::{CLIENTS, Message, Node};
use super::plan::{COORDINATORS, Fault, PARTICIPANTS};
use super::{Counted, Event, RECORDS, World, note};
use protocol::invariants::Invariant;

/// How long after the heal everything must be resolved, on top of what clocks and late messages add.
const RESOLVED_WITHIN_MS: u64 = 15_000;
const LOOK_EVERY_MS: u64 = 50;

/// What the faults' side of the world remembers.
#[derive(Debug, Default)]
pub struct Nemesis {
    healed_us: u64,
    must_resolve_us: u64,
    /// How long after the heal everything was resolved.
    pub resolved_after_ms: u64,
}

/// The end of a fault.
#[derive(Debug, Clone, Copy)]
pub enum Mend {
    /// A process is started again.
    Start(usize),
    /// No end but a beginning: a database dies.
    DatabaseDies(usize),
    /// A database comes back.
    Database(usize),
    /// A way of the network is open again.
    Way(usize, usize),
    /// A process reaches its database again.
    WayToDatabase(usize),
}

impl World {
    pub(super) fn fault(&mut self) {
        if self.network.perfect || self.plan.faults.is_empty() {
            return;
        }
        let pause_ms = self.rng.between(1, 2 * self.plan.fault_every_ms);
        self.after_ms(pause_ms, Event::Fault);
        match self.rng.pick(&self.plan.faults) {
            Fault::CrashCoordinator => {
                let place = self.rng.place(COORDINATORS);
                self.crash_process(place);
            }
            Fault::CrashParticipant => {
                let place = COORDINATORS + self.rng.place(PARTICIPANTS);
                self.crash_process(place);
            }
            Fault::CrashDatabase => {
                let place = self.rng.place(self.disks.len());
                self.crash_database(place);
            }
            Fault::Pause => self.pause(),
            Fault::Partition => self.partition(),
            Fault::ClockJump if self.plan.skew_ms > 0 => {
                let clock = self.rng.place(self.skew_ms.len());
                self.skew_ms[clock] = self.rng.around_zero(self.plan.skew_ms);
                self.count(Counted::ClockJumped);
                note!(self, "clock {clock} is off by {} ms", self.skew_ms[clock]);
            }
            Fault::ClockJump => {}
            Fault::SlowDisk => {
                let disk = self.rng.place(self.disks.len());
                let for_us = self.rng.between(100, 3_000) * 1_000;
                self.disks[disk].slow_until_us = self.now_us + for_us;
                self.count(Counted::SlowDisk);
                note!(self, "database {disk} is slow for {for_us} us");
            }
            Fault::Operator => self.operate(),
        }
    }

    pub(super) fn crash_process(&mut self, place: usize) {
        if self.processes[place].up && !self.network.perfect {
            self.kill_process(place);
            let pause_ms = self.rng.pick(&[20, 200, 1_500, 3_000]);
            let pause_ms = self.rng.between(1, pause_ms);
            self.after_ms(pause_ms, Event::Mend(Mend::Start(place)));
        }
    }

    pub(super) fn crash_database(&mut self, place: usize) {
        if self.disks[place].down || self.network.perfect {
            return;
        }
        self.disks[place].down = true;
        self.disks[place].incarnation += 1;
        let since_us = self.now_us.saturating_sub(self.plan.flush_ms * 1_000);
        let unflushed = match place {
            RECORDS => self.records.unflushed(since_us),
            p => self.logs[p].unflushed(since_us),
        };
        let lost = self.rng.place(unflushed + 1);
        match place {
            RECORDS => self.records.crash(lost),
            p => self.logs[p].crash(lost),
        }
        self.count(Counted::DatabaseCrash);
        self.coverage.add(Counted::LostLazy, lost);
        note!(self, "database {place} dies, and loses {lost} of {unflushed} lazy commits");
        let pause_ms = self.rng.pick(&[5, 300, 2_000]);
        let pause_ms = self.rng.between(1, pause_ms);
        self.after_ms(pause_ms, Event::Mend(Mend::Database(place)));
    }

    fn pause(&mut self) {
        let place = self.rng.place(CLIENTS);
        let for_ms = self.rng.pick(&[100, 1_000, 4_000]);
        let for_ms = self.rng.between(1, for_ms);
        self.processes[place].paused_until_us = self.now_us + for_ms * 1_000;
        self.count(Counted::Paused);
        note!(self, "{} stands still for {for_ms} ms", Node::process(place));
    }

    /// Cuts some ways from or to one node, or a process from its database.
    fn partition(&mut self) {
        let node = self.rng.place(CLIENTS);
        let for_ms = self.rng.pick(&[100, 1_000, 4_000]);
        let for_ms = self.rng.between(1, for_ms);
        self.count(Counted::Partitioned);
        if self.rng.chance(2_500) {
            self.network.cut_from_database[node] = true;
            note!(self, "{} is cut from its database for {for_ms} ms", Node::process(node));
            return self.after_ms(for_ms, Event::Mend(Mend::WayToDatabase(node)));
        }
        let (outwards, inwards) = self.rng.pick(&[(true, true), (true, false), (false, true)]);
        let from_all = self.rng.coin();
        let one = self.rng.place(CLIENTS + 1);
        for other in (0..=CLIENTS).filter(|other| *other != node && (from_all || *other == one)) {
            for (from, to) in [(node, other), (other, node)] {
                if if from == node { outwards } else { inwards } {
                    self.network.cut[from][to] = true;
                    note!(self, "cut from {from} to {to} for {for_ms} ms");
                    self.after_ms(for_ms, Event::Mend(Mend::Way(from, to)));
                }
            }
        }
    }

    /// Somebody has a transaction recovered, needed or not.
    fn operate(&mut self) {
        let count = self.witness.attempts.len();
        if count > 0 {
            let tx = count - 1 - self.rng.place(count.min(6));
            let coordinator = Node::Coordinator(self.rng.place(COORDINATORS));
            note!(self, "an operator has {coordinator} recover T{tx}");
            self.send(Node::Clients, coordinator, Message::Recover { tx, ask: None });
        }
    }

    pub(super) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Start(place) if !self.processes[place].up => self.start_process(place),
            Mend::Start(_) => {}
            Mend::DatabaseDies(place) => self.crash_database(place),
            Mend::Database(place) => self.disks[place].down = false,
            Mend::Way(from, to) => self.network.cut[from][to] = false,
            Mend::WayToDatabase(place) => self.network.cut_from_database[place] = false,
        }
    }

    /// Everything up, the network perfect, the clocks right.
    pub(super) fn heal(&mut self) {
        note!(self, "everything heals");
        self.network = super::network::Network { perfect: true, ..Default::default() };
        self.skew_ms = Default::default();
        for disk in &mut self.disks {
            disk.down = false;
            disk.slow_until_us = 0;
        }
        for place in 0..CLIENTS {
            self.processes[place].paused_until_us = self.processes[place].paused_until_us.min(self.now_us);
            if !self.processes[place].up {
                self.start_process(place);
            }
        }
        self.check_facts(i64::MAX);
        self.nemesis.healed_us = self.now_us;
        let within_ms = RESOLVED_WITHIN_MS + self.plan.skew_ms.unsigned_abs() + self.plan.late_ms;
        self.nemesis.must_resolve_us = self.now_us + within_ms * 1_000;
        self.after_ms(LOOK_EVERY_MS, Event::Look);
    }

    /// Ends the run when all is resolved; it must be by its time.
    pub(super) fn look(&mut self) {
        match self.unresolved() {
            None => {
                self.nemesis.resolved_after_ms = (self.now_us - self.nemesis.healed_us) / 1_000;
                note!(self, "all is resolved {} ms after the heal", self.nemesis.resolved_after_ms);
                self.over = true;
            }
            Some(what) if self.now_us >= self.nemesis.must_resolve_us => {
                let within_ms = (self.now_us - self.nemesis.healed_us) / 1_000;
                self.violated(Invariant::InDoubtResolves, format!("{what}, {within_ms} ms after the heal"));
            }
            Some(_) => self.after_ms(LOOK_EVERY_MS, Event::Look),
        }
    }
}
