//! The order service's database: all its SQL.
pub mod audit;
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
    match code {
        1 => Ok(State::Pending),
        2 => Ok(State::Confirmed),
        3 => Ok(State::Refused),
        other => Err(sqlx::Error::Decode(format!("{other} is no state of an order").into())),
    }
}
