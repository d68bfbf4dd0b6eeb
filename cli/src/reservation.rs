//! `assent reservation`: what carts keep for a time.
use clap::Subcommand;
use proto::assent::inventory::v1 as wire;
use serde::Serialize;
use uuid::Uuid;

use crate::client::Services;
use crate::failure::{Call, Failure};
use crate::output::{Output, fields, table, time};
use crate::stock::unsure;

/// Reserve stock for a cart
#[derive(Debug, Subcommand)]
pub enum Reservation {
    /// Reserve: all of it or nothing
    Make {
        /// Whose cart it is
        #[arg(long, value_name = "NAME")]
        customer: String,
        /// An article and how many: SKU:QTY
        #[arg(long = "line", value_name = "SKU:QTY", required = true, value_parser = line)]
        lines: Vec<(String, i64)>,
        /// For how long; 0: as the SKUs' policies say
        #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
        ttl_ms: i64,
        /// Names the request, so that it can be repeated; made up if not given
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
    },
    /// Show one
    Get {
        /// Its id
        reservation_id: String,
    },
    /// Have it run out later, or sooner
    Extend {
        /// Its id
        reservation_id: String,
        /// How long from now it runs out
        #[arg(long, value_name = "MS", default_value_t = 600_000)]
        ttl_ms: i64,
    },
    /// End it: what it has left is available again
    Release {
        /// Its id
        reservation_id: String,
    },
    /// Set for how long a SKU is reserved, and how many of it a customer may have reserved
    Policy {
        /// The article
        sku: String,
        /// For how long; 0: the service's default
        #[arg(long, value_name = "MS", default_value_t = 0)]
        ttl_ms: i64,
        /// How many a customer may have reserved; 0: the service's default
        #[arg(long, value_name = "N", default_value_t = 0)]
        max_per_customer: i64,
        /// How long it is offered to somebody on its waitlist; 0: the service's default
        #[arg(long, value_name = "MS", default_value_t = 0)]
        offer_ttl_ms: i64,
    },
}

fn line(text: &str) -> Result<(String, i64), String> {
    let wrong = || "write a line as SKU:QTY, such as 85123A:6".to_owned();
    // From the right, so that a SKU may have colons of its own.
    let (sku, quantity) = text.rsplit_once(':').filter(|(sku, _)| !sku.is_empty()).ok_or_else(wrong)?;
    Ok((sku.to_owned(), quantity.parse().map_err(|_| wrong())?))
}

#[derive(Debug, Serialize)]
struct LineView {
    sku: String,
    quantity: i64,
}

#[derive(Debug, Serialize)]
struct ReservationView {
    reservation_id: String,
    customer: String,
    expire_time: Option<String>,
    lines: Vec<LineView>,
}

#[derive(Debug, Serialize)]
struct Done {
    done: bool,
}

impl Reservation {
    /// Runs the verb.
    pub async fn run(self, services: &Services, output: Output) -> Result<(), Failure> {
        let mut client = services.reservations().await?;
        let write = |status: tonic::Status| Failure::of_status(&status, Call::Write);
        let reservation = match self {
            Reservation::Make { customer, lines, ttl_ms, request_id } => {
                let request_id = request_id.unwrap_or_else(|| Uuid::new_v4().to_string());
                let lines = lines.into_iter().map(|(sku, quantity)| wire::ReservationLine { sku, quantity }).collect();
                let message =
                    wire::CreateReservationRequest { customer, lines, ttl_ms, request_id: request_id.clone() };
                let made = client.create_reservation(services.request(message)).await;
                made.map_err(|status| unsure(&status, &request_id))?.into_inner().reservation
            }
            Reservation::Get { reservation_id } => {
                let request = services.request(wire::GetReservationRequest { reservation_id });
                let read = client.get_reservation(request).await;
                read.map_err(|status| Failure::of_status(&status, Call::Read))?.into_inner().reservation
            }
            Reservation::Extend { reservation_id, ttl_ms } => {
                let request = services.request(wire::ExtendReservationRequest { reservation_id, ttl_ms });
                client.extend_reservation(request).await.map_err(write)?.into_inner().reservation
            }
            Reservation::Release { reservation_id } => {
                let request = services.request(wire::ReleaseReservationRequest { reservation_id });
                client.release_reservation(request).await.map_err(write)?;
                return output.print(&Done { done: true }, |_| "released".to_owned());
            }
            Reservation::Policy { sku, ttl_ms, max_per_customer, offer_ttl_ms } => {
                let policy = wire::SetReservationPolicyRequest { sku, ttl_ms, max_per_customer, offer_ttl_ms };
                let request = services.request(policy);
                client.set_reservation_policy(request).await.map_err(write)?;
                return output.print(&Done { done: true }, |_| "set".to_owned());
            }
        };
        let reservation = reservation.ok_or_else(|| Failure::new("the inventory answered without the reservation"))?;
        let view = ReservationView {
            reservation_id: reservation.reservation_id,
            customer: reservation.customer,
            expire_time: time(reservation.expire_time.as_ref()),
            lines: reservation
                .lines
                .into_iter()
                .map(|wire::ReservationLine { sku, quantity }| LineView { sku, quantity })
                .collect(),
        };
        output.print(&view, page)
    }
}

fn page(view: &ReservationView) -> String {
    let head = fields(&[
        ("reservation_id", view.reservation_id.clone()),
        ("customer", view.customer.clone()),
        ("expires", view.expire_time.clone().unwrap_or_default()),
    ]);
    let rows = view.lines.iter().map(|line| vec![line.sku.clone(), line.quantity.to_string()]).collect();
    format!("{head}\n\n{}", table(&["sku", "quantity"], &[1], rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_sku_and_how_many() {
        assert_eq!(line("a:b:2"), Ok(("a:b".to_owned(), 2)));
        for wrong in ["a", ":2", "a:", "a:x"] {
            assert!(line(wrong).is_err(), "{wrong:?}");
        }
    }
}
