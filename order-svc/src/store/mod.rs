//! The order service's database: all its SQL.
pub mod audit;
pub mod changes;
pub mod history;
pub mod life;
pub mod lines;
pub mod placing;
pub mod reads;

use sqlx::migrate::Migrator;

use crate::domain::State;

/// The schema's steps.
pub fn migrator() -> Migrator {
    sqlx::migrate!("./migrations")
}

fn state_of(code: i16) -> Result<State, sqlx::Error> {
    State::of_code(code).ok_or_else(|| sqlx::Error::Decode(format!("{code} is no state of an order").into()))
}
