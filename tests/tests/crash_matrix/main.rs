//! Every crash point of every process, under load: the process dies there, is started again, and then all must hold.
//!
//! A slice of the matrix runs by default. `ASSENT_CRASH_MATRIX=full` runs all of it, any other value the cases whose
//! names contain it (such as `payment` or `coordinator stage.after#5`); `--nocapture` shows the table.
mod case;
mod report;
mod run;

use tests::Service;

#[tokio::test]
async fn a_coordinator_may_die_anywhere() {
    run::all(case::chosen(&[Service::Coordinator])).await;
}

#[tokio::test]
async fn a_participant_may_die_anywhere() {
    run::all(case::chosen(&Service::PARTICIPANTS)).await;
}
