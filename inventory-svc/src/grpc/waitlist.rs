//! WaitlistService: who waits for stock.
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use participant::own_write::Writing;
use participant::transaction::read_id;
use participant::{Pool, caller, own_write, paging, status};
use proto::assent::inventory::v1 as api;
use proto::assent::inventory::v1::waitlist_service_server::WaitlistService;
use proto::limits;
use sqlx::PgConnection;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::again::run_again;
use crate::domain::{Denied, Entry, EntryState, Offer, check_range};
use crate::store::waitlist::{self, Defaults, Joining};

/// Who watches at one time, at most.
const WATCHERS: usize = 200;
/// How often is looked for news.
const INTERVAL: Duration = Duration::from_millis(200);

/// WaitlistService.
pub struct Waitlist {
    pool: Pool,
    defaults: Defaults,
    watchers: Arc<Semaphore>,
}

impl Waitlist {
    /// The service on a database.
    pub fn new(pool: Pool, defaults: Defaults) -> Self {
        Waitlist { pool, defaults, watchers: Arc::new(Semaphore::new(WATCHERS)) }
    }
}

fn wire(entry: Entry) -> api::WaitlistEntry {
    let state = match entry.shown_state() {
        EntryState::Waiting => api::WaitlistState::Waiting,
        EntryState::Offered => api::WaitlistState::Offered,
        EntryState::Taken => api::WaitlistState::Taken,
        EntryState::Lapsed => api::WaitlistState::Lapsed,
        EntryState::Left => api::WaitlistState::Left,
    };
    let offer = |Offer { reservation_id, quantity, expire_time }| api::WaitlistOffer {
        reservation_id: reservation_id.to_string(),
        quantity,
        expire_time: Some(SystemTime::from(expire_time).into()),
    };
    api::WaitlistEntry {
        entry_id: entry.entry_id.to_string(),
        position: if entry.state == EntryState::Waiting { entry.entries_ahead + 1 } else { 0 },
        sku: entry.sku,
        customer: entry.customer,
        quantity: entry.quantity,
        min_quantity: entry.min_quantity,
        offered_quantity: entry.offered,
        state: state.into(),
        units_ahead: entry.units_ahead,
        offers: entry.offers.into_iter().map(offer).collect(),
        create_time: Some(SystemTime::from(entry.create_time).into()),
        update_time: Some(SystemTime::from(entry.update_time).into()),
    }
}

async fn read(pool: &Pool, entry_id: Uuid) -> Result<Entry, Status> {
    let read = pool.run(async |connection: &mut PgConnection| waitlist::get(connection, entry_id).await);
    let found = read.await.map_err(|error| status::database(&error))?;
    Ok(found.ok_or_else(|| Denied::UnknownEntry { entry_id: entry_id.to_string() })?)
}

async fn follow(pool: &Pool, entry_id: Uuid, sender: &mpsc::Sender<Result<api::WatchWaitlistResponse, Status>>) {
    let mut known = None;
    loop {
        match read(pool, entry_id).await {
            Ok(entry) if known.as_ref() == Some(&entry) => tokio::time::sleep(INTERVAL).await,
            Ok(entry) => {
                let told = api::WatchWaitlistResponse { entry: Some(wire(entry.clone())) };
                if sender.send(Ok(told)).await.is_err() || entry.has_ended() {
                    return;
                }
                known = Some(entry);
            }
            Err(status) => return drop(sender.send(Err(status)).await),
        }
    }
}

#[tonic::async_trait]
impl WaitlistService for Waitlist {
    async fn join_waitlist(
        &self,
        request: Request<api::JoinWaitlistRequest>,
    ) -> Result<Response<api::JoinWaitlistResponse>, Status> {
        let client_id = caller::client_id(&request)?;
        let api::JoinWaitlistRequest { sku, quantity, customer, request_id, min_quantity } = request.into_inner();
        limits::check_sku(&sku).map_err(|wrong| status::invalid("sku", wrong))?;
        limits::check_quantity(quantity).map_err(|wrong| status::invalid("quantity", wrong))?;
        limits::check_account(&customer).map_err(|wrong| status::invalid("customer", wrong))?;
        check_range(min_quantity, 0, quantity).map_err(|wrong| status::invalid("min_quantity", wrong))?;
        caller::check_request_id(&request_id)?;
        let (entry_id, min_quantity, defaults) = (Uuid::new_v4(), min_quantity.max(1), self.defaults);
        let joining = Joining { entry_id, sku, customer, quantity, min_quantity, client_id, request_id };
        let joined = own_write::run(&self.pool, move |connection| {
            Box::pin(async move { waitlist::join(connection, &joining, defaults).await })
        });
        Ok(Response::new(api::JoinWaitlistResponse { entry: Some(wire(joined.await?)) }))
    }

    async fn leave_waitlist(
        &self,
        request: Request<api::LeaveWaitlistRequest>,
    ) -> Result<Response<api::LeaveWaitlistResponse>, Status> {
        let entry_id = read_id("entry_id", &request.get_ref().entry_id)?;
        let left = run_again(&self.pool, || {
            move |connection: &mut PgConnection| -> Writing<'_, Entry, Denied> {
                Box::pin(async move { waitlist::leave(connection, entry_id).await })
            }
        });
        Ok(Response::new(api::LeaveWaitlistResponse { entry: Some(wire(left.await?)) }))
    }

    async fn get_waitlist_entry(
        &self,
        request: Request<api::GetWaitlistEntryRequest>,
    ) -> Result<Response<api::GetWaitlistEntryResponse>, Status> {
        let entry_id = read_id("entry_id", &request.get_ref().entry_id)?;
        let entry = read(&self.pool, entry_id).await?;
        Ok(Response::new(api::GetWaitlistEntryResponse { entry: Some(wire(entry)) }))
    }

    async fn list_waitlist(
        &self,
        request: Request<api::ListWaitlistRequest>,
    ) -> Result<Response<api::ListWaitlistResponse>, Status> {
        let api::ListWaitlistRequest { sku, customer, show_ended, page_size, page_token } = request.into_inner();
        limits::check_sku(&sku).map_err(|wrong| status::invalid("sku", wrong))?;
        if !customer.is_empty() {
            limits::check_account(&customer).map_err(|wrong| status::invalid("customer", wrong))?;
        }
        let page_size = paging::page_size(page_size)?;
        let list = ["waitlist", &sku, &customer, if show_ended { "all" } else { "live" }];
        let after = match paging::position(&page_token, &list)? {
            None => 0,
            Some(position) => {
                position.parse().map_err(|_| status::invalid("page_token", "is none that this service gave out"))?
            }
        };
        let read = self.pool.run(async |connection: &mut PgConnection| {
            waitlist::list(connection, (&sku, &customer, show_ended), after, page_size + 1).await
        });
        let read = read.await.map_err(|error| status::database(&error))?;
        let (page, next_page_token) = paging::cut(read, page_size, &list, |last| last.place.to_string());
        Ok(Response::new(api::ListWaitlistResponse { entries: page.into_iter().map(wire).collect(), next_page_token }))
    }

    async fn watch_waitlist(
        &self,
        request: Request<api::WatchWaitlistRequest>,
    ) -> Result<Response<BoxStream<api::WatchWaitlistResponse>>, Status> {
        let entry_id = read_id("entry_id", &request.get_ref().entry_id)?;
        read(&self.pool, entry_id).await?;
        let permit = self.watchers.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{WATCHERS} watch already");
            status::error(Code::ResourceExhausted, "TOO_MANY_WATCHERS", message, &Default::default())
        })?;
        let (sender, events) = mpsc::channel(1);
        let pool = self.pool.clone();
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = sender.closed() => (),
                () = follow(&pool, entry_id, &sender) => (),
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }
}
