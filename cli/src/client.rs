//! The way to the services: addresses, deadlines and who asks.
use std::time::Duration;

use proto::assent::inventory::v1::backorder_service_client::BackorderServiceClient;
use proto::assent::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::assent::inventory::v1::location_service_client::LocationServiceClient;
use proto::assent::inventory::v1::reservation_service_client::ReservationServiceClient;
use proto::assent::inventory::v1::waitlist_service_client::WaitlistServiceClient;
use proto::assent::order::v1::order_service_client::OrderServiceClient;
use proto::assent::order::v1::order_store_service_client::OrderStoreServiceClient;
use proto::assent::payment::v1::payment_service_client::PaymentServiceClient;
use proto::assent::transaction::v1::coordinator_service_client::CoordinatorServiceClient;
use proto::assent::transaction::v1::participant_service_client::ParticipantServiceClient;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::failure::Failure;

/// Answers may be large: a page of orders has hundreds of lines each.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// Where the services are, and how they are asked.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Services")]
pub struct Services {
    /// Address of a coordinator
    #[arg(
        long,
        global = true,
        env = "ASSENT_COORDINATOR",
        value_name = "URL",
        default_value = "http://127.0.0.1:7400"
    )]
    pub coordinator: String,
    /// Address of the inventory service
    #[arg(long, global = true, env = "ASSENT_INVENTORY", value_name = "URL", default_value = "http://127.0.0.1:7401")]
    pub inventory: String,
    /// Address of the order service
    #[arg(long, global = true, env = "ASSENT_ORDER", value_name = "URL", default_value = "http://127.0.0.1:7402")]
    pub order: String,
    /// Address of the payment service
    #[arg(long, global = true, env = "ASSENT_PAYMENT", value_name = "URL", default_value = "http://127.0.0.1:7403")]
    pub payment: String,
    /// Whose requests these are: request ids are scoped by it
    #[arg(long, global = true, env = "ASSENT_CLIENT_ID", value_name = "ID", default_value = "default", value_parser = client_id)]
    pub client_id: MetadataValue<Ascii>,
    /// How long to wait for an answer
    #[arg(long, global = true, env = "ASSENT_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
}

fn client_id(text: &str) -> Result<MetadataValue<Ascii>, String> {
    text.parse().map_err(|_| "a client id has only visible ASCII characters".to_owned())
}

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The coordinator.
    Coordinator,
    /// The inventory service.
    Inventory,
    /// The order service.
    Order,
    /// The payment service.
    Payment,
}

impl Service {
    /// The participants of an order.
    pub const PARTICIPANTS: [Service; 3] = [Service::Inventory, Service::Order, Service::Payment];

    /// Its name as a participant.
    pub fn name(self) -> &'static str {
        match self {
            Service::Coordinator => "coordinator",
            Service::Inventory => "inventory",
            Service::Order => "order",
            Service::Payment => "payment",
        }
    }
}

impl Services {
    /// Those of an `assent dev` with this base port, asked with the defaults.
    pub fn of_dev(port_base: u16) -> Self {
        let at = |offset: u16| format!("http://127.0.0.1:{}", port_base + offset);
        let client_id = MetadataValue::from_static("default");
        Services { coordinator: at(0), inventory: at(1), order: at(2), payment: at(3), client_id, timeout_ms: 10_000 }
    }

    fn address(&self, service: Service) -> &str {
        match service {
            Service::Coordinator => &self.coordinator,
            Service::Inventory => &self.inventory,
            Service::Order => &self.order,
            Service::Payment => &self.payment,
        }
    }

    async fn channel(&self, service: Service) -> Result<Channel, Failure> {
        let address = self.address(service);
        let variable = format!("ASSENT_{}", service.name().to_uppercase());
        let endpoint = endpoint(address).map_err(|failure| failure.hint(format!("set {variable} to its address")))?;
        endpoint.connect().await.map_err(|_| {
            Failure::new(format!("no {} answers at {address}", service.name()))
                .hint(format!("start one with `assent dev`, or set {variable} to its address"))
        })
    }

    /// Orders, at the coordinator's address.
    pub async fn orders(&self) -> Result<OrderServiceClient<Channel>, Failure> {
        let channel = self.channel(Service::Coordinator).await?;
        Ok(OrderServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// Transactions.
    pub async fn transactions(&self) -> Result<CoordinatorServiceClient<Channel>, Failure> {
        let channel = self.channel(Service::Coordinator).await?;
        Ok(CoordinatorServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// Stock.
    pub async fn stock(&self) -> Result<InventoryServiceClient<Channel>, Failure> {
        let channel = self.channel(Service::Inventory).await?;
        Ok(InventoryServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// What carts keep for a time.
    pub async fn reservations(&self) -> Result<ReservationServiceClient<Channel>, Failure> {
        Ok(ReservationServiceClient::new(self.channel(Service::Inventory).await?))
    }

    /// What orders are owed.
    pub async fn backorders(&self) -> Result<BackorderServiceClient<Channel>, Failure> {
        Ok(BackorderServiceClient::new(self.channel(Service::Inventory).await?))
    }

    /// Where units are.
    pub async fn locations(&self) -> Result<LocationServiceClient<Channel>, Failure> {
        Ok(LocationServiceClient::new(self.channel(Service::Inventory).await?))
    }

    /// Who waits for stock.
    pub async fn waitlist(&self) -> Result<WaitlistServiceClient<Channel>, Failure> {
        Ok(WaitlistServiceClient::new(self.channel(Service::Inventory).await?))
    }

    /// Accounts.
    pub async fn accounts(&self) -> Result<PaymentServiceClient<Channel>, Failure> {
        let channel = self.channel(Service::Payment).await?;
        Ok(PaymentServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// Orders as stored.
    pub async fn order_store(&self) -> Result<OrderStoreServiceClient<Channel>, Failure> {
        let channel = self.channel(Service::Order).await?;
        Ok(OrderStoreServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// A participant's log.
    pub async fn participant(&self, service: Service) -> Result<ParticipantServiceClient<Channel>, Failure> {
        let channel = self.channel(service).await?;
        Ok(ParticipantServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// A request with its deadline and its client.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        // Not Endpoint::timeout: that one would not tell the server.
        request.set_timeout(Duration::from_millis(self.timeout_ms));
        request.metadata_mut().insert("assent-client-id", self.client_id.clone());
        request
    }
}

/// An endpoint of this address, checked.
pub fn endpoint(address: &str) -> Result<Endpoint, Failure> {
    let with_scheme = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(with_scheme)
        .map_err(|_| Failure::usage(format!("{address:?} is no address such as http://127.0.0.1:7400")))?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .tcp_nodelay(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_is_a_usage_error() {
        assert!(endpoint("http://127.0.0.1:7400").is_ok());
        assert!(endpoint("127.0.0.1:7400").is_ok());
        for address in ["", "http://", "not an address", "http://a b"] {
            assert!(endpoint(address).is_err(), "{address:?}");
        }
    }
}
