//! A participant that takes part in nothing and knows no horizons, as one that others have written may not.
use proto::assent::transaction::v1 as wire;
use proto::assent::transaction::v1::participant_service_server::{ParticipantService, ParticipantServiceServer};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

struct Bystander;

/// Serves one until the runtime ends; returns its address.
pub async fn bystander() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let server = tonic::transport::Server::builder().add_service(ParticipantServiceServer::new(Bystander));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    format!("http://{address}")
}

#[tonic::async_trait]
impl ParticipantService for Bystander {
    async fn get_branch(
        &self,
        _: Request<wire::GetBranchRequest>,
    ) -> Result<Response<wire::GetBranchResponse>, Status> {
        Ok(Response::new(wire::GetBranchResponse::default()))
    }

    async fn list_branches(
        &self,
        _: Request<wire::ListBranchesRequest>,
    ) -> Result<Response<wire::ListBranchesResponse>, Status> {
        Ok(Response::new(wire::ListBranchesResponse::default()))
    }
}
