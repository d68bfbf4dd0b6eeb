//! ReservationService: what carts keep for a time.
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::SystemTime;

use participant::own_write::Writing;
use participant::transaction::read_id;
use participant::{Pool, caller, status};
use proto::assent::inventory::v1 as api;
use proto::assent::inventory::v1::reservation_service_server::ReservationService;
use proto::limits;
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::again::run_again;
use crate::domain::{Denied, Holds, Reservation, check_range};
use crate::store::reservations::{self, Defaults, Wanted};

/// For how long something is reserved.
const TTL_MS: RangeInclusive<i64> = 1_000..=86_400_000;

/// ReservationService.
pub struct Reservations {
    pool: Pool,
    defaults: Defaults,
}

impl Reservations {
    /// The service on a database.
    pub fn new(pool: Pool, defaults: Defaults) -> Self {
        Reservations { pool, defaults }
    }

    async fn write<T, W>(&self, make: impl Fn() -> W) -> Result<T, Status>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut PgConnection) -> Writing<'c, T, Denied> + Send + 'static,
    {
        run_again(&self.pool, make).await
    }
}

fn ttl(field: &str, ttl_ms: i64) -> Result<i64, Status> {
    check_range(ttl_ms, *TTL_MS.start(), *TTL_MS.end()).map_err(|wrong| status::invalid(field, wrong))?;
    Ok(ttl_ms)
}

/// Zero is none.
fn optional(field: &str, ttl_ms: i64) -> Result<Option<i64>, Status> {
    if ttl_ms == 0 { Ok(None) } else { ttl(field, ttl_ms).map(Some) }
}

fn wire(reservation: Reservation) -> api::Reservation {
    let line = |(sku, quantity)| api::ReservationLine { sku, quantity };
    api::Reservation {
        reservation_id: reservation.reservation_id.to_string(),
        customer: reservation.customer,
        lines: reservation.lines.into_iter().map(line).collect(),
        expire_time: Some(SystemTime::from(reservation.expire_time).into()),
    }
}

/// Checks lines and sums those of one SKU.
fn lines(lines: Vec<api::ReservationLine>) -> Result<BTreeMap<String, i64>, Status> {
    limits::check_line_count(lines.len()).map_err(|wrong| status::invalid("lines", wrong))?;
    for (place, line) in lines.iter().enumerate() {
        let at = |field: &str, wrong| status::invalid(format!("lines[{place}].{field}"), wrong);
        limits::check_sku(&line.sku).map_err(|wrong| at("sku", wrong))?;
        limits::check_quantity(line.quantity).map_err(|wrong| at("quantity", wrong))?;
    }
    let summed = Holds::sum(lines.into_iter().map(|line| (line.sku, line.quantity)));
    Ok(summed.iter().map(|(sku, quantity)| (sku.to_owned(), quantity)).collect())
}

#[tonic::async_trait]
impl ReservationService for Reservations {
    async fn create_reservation(
        &self,
        request: Request<api::CreateReservationRequest>,
    ) -> Result<Response<api::CreateReservationResponse>, Status> {
        let client_id = caller::client_id(&request)?;
        let asked = request.into_inner();
        limits::check_account(&asked.customer).map_err(|wrong| status::invalid("customer", wrong))?;
        caller::check_request_id(&asked.request_id)?;
        let wanted = Wanted {
            reservation_id: Uuid::new_v4(),
            customer: asked.customer,
            lines: lines(asked.lines)?,
            ttl_ms: optional("ttl_ms", asked.ttl_ms)?,
            client_id,
            request_id: asked.request_id,
        };
        let defaults = self.defaults;
        let made = self.write(|| {
            let wanted = wanted.clone();
            move |connection: &mut PgConnection| -> Writing<'_, Reservation, Denied> {
                Box::pin(async move { reservations::reserve(connection, &wanted, defaults).await })
            }
        });
        Ok(Response::new(api::CreateReservationResponse { reservation: Some(wire(made.await?)) }))
    }

    async fn extend_reservation(
        &self,
        request: Request<api::ExtendReservationRequest>,
    ) -> Result<Response<api::ExtendReservationResponse>, Status> {
        let api::ExtendReservationRequest { reservation_id, ttl_ms } = request.into_inner();
        let (reservation_id, ttl_ms) = (read_id("reservation_id", &reservation_id)?, ttl("ttl_ms", ttl_ms)?);
        let extended = self.write(|| {
            move |connection: &mut PgConnection| -> Writing<'_, Reservation, Denied> {
                Box::pin(async move { reservations::extend(connection, reservation_id, ttl_ms).await })
            }
        });
        Ok(Response::new(api::ExtendReservationResponse { reservation: Some(wire(extended.await?)) }))
    }

    async fn release_reservation(
        &self,
        request: Request<api::ReleaseReservationRequest>,
    ) -> Result<Response<api::ReleaseReservationResponse>, Status> {
        let reservation_id = read_id("reservation_id", &request.get_ref().reservation_id)?;
        let released = self.write(|| {
            move |connection: &mut PgConnection| -> Writing<'_, (), Denied> {
                Box::pin(async move { reservations::release(connection, reservation_id).await })
            }
        });
        released.await?;
        Ok(Response::new(api::ReleaseReservationResponse {}))
    }

    async fn get_reservation(
        &self,
        request: Request<api::GetReservationRequest>,
    ) -> Result<Response<api::GetReservationResponse>, Status> {
        let reservation_id = read_id("reservation_id", &request.get_ref().reservation_id)?;
        let read =
            self.pool.run(async |connection: &mut PgConnection| reservations::get(connection, reservation_id).await);
        let found = read.await.map_err(|error| status::database(&error))?;
        let found = found.ok_or_else(|| Denied::UnknownReservation { reservation_id: reservation_id.to_string() })?;
        Ok(Response::new(api::GetReservationResponse { reservation: Some(wire(found)) }))
    }

    async fn set_reservation_policy(
        &self,
        request: Request<api::SetReservationPolicyRequest>,
    ) -> Result<Response<api::SetReservationPolicyResponse>, Status> {
        let api::SetReservationPolicyRequest { sku, ttl_ms, max_per_customer, offer_ttl_ms } = request.into_inner();
        limits::check_sku(&sku).map_err(|wrong| status::invalid("sku", wrong))?;
        let (ttl_ms, offer_ttl_ms) = (optional("ttl_ms", ttl_ms)?, optional("offer_ttl_ms", offer_ttl_ms)?);
        check_range(max_per_customer, 0, limits::MAX_QUANTITY)
            .map_err(|wrong| status::invalid("max_per_customer", wrong))?;
        let limit = Some(max_per_customer).filter(|limit| *limit != 0);
        let set = reservations::set_policy(&self.pool, &sku, ttl_ms, limit, offer_ttl_ms).await;
        set.map_err(|error| status::database(&error))?;
        Ok(Response::new(api::SetReservationPolicyResponse {}))
    }
}
