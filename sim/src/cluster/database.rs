//! A database: tables, and what a crash takes back of them.
//!
//! A local transaction is carried out at one instant; that locks and snapshots make it so is Postgres's promise and the
//! tests on a real one show it of our SQL. What is simulated is the flush: a forced commit takes everything written
//! before with it, a lazy one is on disk some time later, and a crash loses a suffix of what was not.

/// The tables of a database.
pub trait Tables {
    /// One changed row.
    type Change;
    /// Makes the change; returns the one that takes it back.
    fn apply(&mut self, change: Self::Change) -> Self::Change;
}

/// A database.
pub struct Database<T: Tables> {
    tables: T,
    /// What takes back everything since the last flush, the newest last.
    undo: Vec<T::Change>,
    /// Where in `undo` each lazy commit ends, and when it was made.
    lazy: Vec<(usize, u64)>,
}

impl<T: Tables> Database<T> {
    /// A database that holds these tables.
    pub fn new(tables: T) -> Self {
        Database { tables, undo: Vec::new(), lazy: Vec::new() }
    }

    /// What is read.
    pub fn read(&self) -> &T {
        &self.tables
    }

    /// Changes a row within the local transaction.
    pub fn write(&mut self, change: T::Change) {
        self.undo.push(self.tables.apply(change));
    }

    /// Ends the local transaction.
    pub fn commit(&mut self, forced: bool, now_us: u64) {
        if forced {
            self.undo.clear();
            self.lazy.clear();
        } else if self.lazy.last().map_or(0, |(end, _)| *end) < self.undo.len() {
            self.lazy.push((self.undo.len(), now_us));
        }
    }

    /// How many of the lazy commits made after `since_us` are not flushed by anything later. Older ones are by now.
    pub fn unflushed(&self, since_us: u64) -> usize {
        self.lazy.iter().filter(|(_, at_us)| *at_us > since_us).count()
    }

    /// Loses the newest `commits` of the lazy commits.
    pub fn crash(&mut self, commits: usize) {
        let kept = self.lazy.len().saturating_sub(commits);
        let end = if kept == 0 { 0 } else { self.lazy[kept - 1].0 };
        let end = if commits == 0 { self.undo.len() } else { end };
        while self.undo.len() > end {
            if let Some(change) = self.undo.pop() {
                self.tables.apply(change);
            }
        }
        // Recovery ends with a checkpoint.
        self.undo.clear();
        self.lazy.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Cells([u8; 2]);

    impl Tables for Cells {
        type Change = (usize, u8);

        fn apply(&mut self, (place, value): (usize, u8)) -> (usize, u8) {
            (place, std::mem::replace(&mut self.0[place], value))
        }
    }

    #[test]
    fn a_crash_loses_the_newest_lazy_commits_and_a_forced_one_keeps_all_before_it() {
        let mut database = Database::new(Cells([0, 0]));
        database.write((0, 1));
        database.commit(false, 10);
        database.write((1, 2));
        database.commit(true, 20);
        for value in [3, 4, 5] {
            database.write((0, value));
            database.commit(false, u64::from(value) * 10);
        }
        assert_eq!((database.unflushed(0), database.unflushed(40)), (3, 1));
        database.crash(2);
        assert_eq!(database.read().0, [3, 2]);
        database.crash(9);
        assert_eq!(database.read().0, [3, 2]);
    }
}
