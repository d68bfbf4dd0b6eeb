//! Requests to a service's own RPCs that were carried out, by the client's name for them, so that a repeat changes nothing
//! more.
use std::collections::BTreeMap;

use sqlx::PgConnection;
use tonic::{Code, Status};

use crate::{Pool, status};

/// A request id that stands for another request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("request id {request_id:?} was used for another request ({parameters}); use a new one")]
pub struct Reused {
    /// The request id.
    pub request_id: String,
    /// What it was used for.
    pub parameters: String,
}

impl From<Reused> for Status {
    fn from(reused: Reused) -> Status {
        let message = reused.to_string();
        let metadata = BTreeMap::from([("request_id".to_owned(), reused.request_id)]);
        status::error(Code::AlreadyExists, "REQUEST_ID_REUSED", message, &metadata)
    }
}

/// Notes a request that is about to be carried out in this local transaction. True: it is new, or has no name; false: it was
/// carried out before. One of the same name that is under way is waited for.
pub async fn note(
    connection: &mut PgConnection,
    client_id: &str,
    request_id: &str,
    parameters: &str,
) -> Result<Result<bool, Reused>, sqlx::Error> {
    if request_id.is_empty() {
        return Ok(Ok(true));
    }
    let noted = sqlx::query(
        "INSERT INTO own_request (client_id, request_id, parameters) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(client_id)
    .bind(request_id)
    .bind(parameters)
    .execute(&mut *connection)
    .await?;
    if noted.rows_affected() == 1 {
        return Ok(Ok(true));
    }
    let before: String =
        sqlx::query_scalar("SELECT parameters FROM own_request WHERE client_id = $1 AND request_id = $2")
            .bind(client_id)
            .bind(request_id)
            .fetch_one(connection)
            .await?;
    Ok(match before == parameters {
        true => Ok(false),
        false => Err(Reused { request_id: request_id.to_owned(), parameters: before }),
    })
}

/// Forgets requests older than the retention, at most `limit` of them; returns how many went.
pub async fn forget(pool: &Pool, retention_ms: i64, limit: i64) -> Result<u64, sqlx::Error> {
    let forgotten = sqlx::query(
        "DELETE FROM own_request WHERE (client_id, request_id) IN (
            SELECT client_id, request_id FROM own_request
            WHERE create_time < now() - $1 * interval '1 millisecond' ORDER BY create_time LIMIT $2
         )",
    )
    .bind(retention_ms)
    .bind(limit)
    .execute(pool)
    .await?;
    Ok(forgotten.rows_affected())
}
