//! Every crash point of every service, under load: there its process dies, or its Postgres, or both; what died is started
//! again, and then all must hold.
//!
//! A slice of the matrix runs by default. `ASSENT_CRASH_MATRIX=full` runs all of it, any other value the cases whose
//! names contain it (such as `payment` or `coordinator stage.after#5 both`); `--nocapture` shows the table, which is
//! written to the file `ASSENT_CRASH_REPORT` as well.
mod case;
mod report;
mod run;
mod slice;
mod systems;

use report::Report;

#[test]
fn every_service_and_its_postgres_may_die_anywhere() {
    let mut report = Report::default();
    report.begin();
    systems::run(case::chosen(), |outcome| report.take(outcome));
    report.conclude();
}
