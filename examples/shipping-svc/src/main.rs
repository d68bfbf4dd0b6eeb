//! An example of a participant of one's own: it ships parcels, in atomic transactions and as a step of sagas.
//!
//! The library brings the log, group commit, fencing, recovery, collection, the gRPC face and health. What is written here
//! is what a shipment is. A branch is a text, such as `london 2`: so many parcels from that depot.
use clap::Parser;
use participant::audit::{Check, Violation};
use participant::config::Listen;
use participant::{InvalidBranch, ParticipantArgs, PreparedBranch, Refusal, Resource, StepBranch};
use sqlx::PgConnection;
use uuid::Uuid;

#[derive(Parser)]
struct Args {
    /// The address to serve gRPC on
    #[arg(long, env = "ASSENT_LISTEN", default_value = "127.0.0.1:7404")]
    listen: Listen,
    #[command(flatten)]
    participant: ParticipantArgs,
}

struct Shipping;

struct Parcels {
    depot: String,
    count: i64,
}

/// Sets the state of shipments, and gives their room back where they are cancelled.
async fn end(connection: &mut PgConnection, ids: Vec<Uuid>, state: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH ended AS (
             UPDATE shipment SET state = $2 WHERE transaction_id = ANY($1::uuid[]) AND state <> 'cancelled'
             RETURNING depot, parcels
         ), freed AS (SELECT depot, sum(parcels)::bigint AS parcels FROM ended GROUP BY depot)
         UPDATE depot SET taken = taken - freed.parcels FROM freed WHERE name = freed.depot AND $2 = 'cancelled'",
    )
    .bind(ids)
    .bind(state)
    .execute(connection)
    .await?;
    Ok(())
}

impl Resource for Shipping {
    type Branch = Parcels;

    fn name(&self) -> &'static str {
        "shipping"
    }

    fn decode(&self, bytes: &[u8]) -> Result<Parcels, InvalidBranch> {
        let read = || {
            let (depot, count) = std::str::from_utf8(bytes).ok()?.rsplit_once(' ')?;
            let count = count.parse().ok().filter(|count| (1..=1_000_000).contains(count))?;
            (!depot.contains('\0')).then(|| Parcels { depot: depot.to_owned(), count })
        };
        let wrong = || "is not DEPOT PARCELS, such as \"london 2\"".to_owned();
        read().ok_or_else(|| InvalidBranch { field: "branch".to_owned(), description: wrong() })
    }

    /// One statement for each: short to read. See inventory-svc for sets.
    async fn prepare(
        &self,
        connection: &mut PgConnection,
        branches: &[PreparedBranch<Parcels>],
    ) -> Result<Vec<Result<(), Refusal>>, sqlx::Error> {
        let mut votes = Vec::with_capacity(branches.len());
        for PreparedBranch { transaction_id, branch } in branches {
            let planned = sqlx::query(
                "WITH taken AS (UPDATE depot SET taken = taken + $3 WHERE name = $2 AND taken + $3 <= room RETURNING 1)
                 INSERT INTO shipment SELECT $1, $2, $3, 'planned' FROM taken",
            );
            let planned = planned.bind(transaction_id).bind(&branch.depot).bind(branch.count);
            votes.push(match planned.execute(&mut *connection).await?.rows_affected() {
                1 => Ok(()),
                _ => Err(Refusal::new("NO_ROOM", format!("{} has no room left", branch.depot))),
            });
        }
        Ok(votes)
    }

    async fn commit(&self, connection: &mut PgConnection, held: &[PreparedBranch<Parcels>]) -> Result<(), sqlx::Error> {
        end(connection, held.iter().map(|branch| branch.transaction_id).collect(), "shipped").await
    }

    async fn abort(
        &self,
        connection: &mut PgConnection,
        held: &[(PreparedBranch<Parcels>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        end(connection, held.iter().map(|(branch, _)| branch.transaction_id).collect(), "cancelled").await
    }

    /// As a step it is planned and shipped at once, which the library does; this calls it back.
    async fn compensate(
        &self,
        connection: &mut PgConnection,
        steps: &[(StepBranch<Parcels>, Refusal)],
    ) -> Result<(), sqlx::Error> {
        end(connection, steps.iter().map(|(step, _)| step.transaction_id).collect(), "cancelled").await
    }

    async fn audit(
        &self,
        connection: &mut PgConnection,
        prepared: &[PreparedBranch<Parcels>],
    ) -> Result<Vec<Check>, sqlx::Error> {
        let planned: Vec<Uuid> = sqlx::query_scalar("SELECT transaction_id FROM shipment WHERE state = 'planned'")
            .fetch_all(connection)
            .await?;
        let orphans = planned.iter().filter(|id| !prepared.iter().any(|branch| branch.transaction_id == **id));
        let violation = |id: &Uuid| Violation {
            transaction_id: id.to_string(),
            subject: id.to_string(),
            detail: "planned for no transaction in doubt".to_owned(),
        };
        let checked_count = i64::try_from(planned.len()).unwrap_or(i64::MAX);
        Ok(vec![Check { invariant: "no-orphan-holds", checked_count, violations: orphans.map(violation).collect() }])
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Args { listen, participant } = Args::parse();
    participant::run(listen, participant, Shipping, sqlx::migrate!("./migrations"), |_, routes| routes, &[]).await
}
