//! Requests that were carried out, by the client's name for them.
use sqlx::PgConnection;

use crate::domain::Denied;

/// Notes a request that is about to be carried out in this local transaction. True: it is new; false: it was carried out
/// before. One of the same name that is under way is waited for.
pub async fn note(
    connection: &mut PgConnection,
    client_id: &str,
    request_id: &str,
    parameters: &str,
) -> Result<Result<bool, Denied>, sqlx::Error> {
    if request_id.is_empty() {
        return Ok(Ok(true));
    }
    let noted = sqlx::query(
        "INSERT INTO stock_request (client_id, request_id, parameters) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
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
        sqlx::query_scalar("SELECT parameters FROM stock_request WHERE client_id = $1 AND request_id = $2")
            .bind(client_id)
            .bind(request_id)
            .fetch_one(connection)
            .await?;
    Ok(match before == parameters {
        true => Ok(false),
        false => Err(Denied::RequestIdReused { request_id: request_id.to_owned(), parameters: before }),
    })
}
