//! Calls of a service's RPCs with any bytes, through the code that decodes and answers them in production: only the
//! connection is left out, and behind the service the database is closed.
use bytes::{BufMut, Bytes, BytesMut};
use clap::Parser;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use participant::postgres::connect_options;
use participant::testing::closed_pool;
use tokio::runtime::{Builder, Runtime};
use tonic::Code;
use tonic::service::Routes;
use tower_service::Service;

/// An RPC: its path, and whether bytes are a request of it.
pub type Rpc = (&'static str, fn(&[u8]) -> bool);

/// Lists the RPCs of a service: `rpcs!("package.Service", module, "Name" => Request, ...)`.
#[macro_export]
macro_rules! rpcs {
    ($service:literal, $($module:ident)::+, $($name:literal => $request:ident),+ $(,)?) => {{
        use $($module)::+ as module;
        [$((concat!("/", $service, "/", $name),
            (|bytes| <module::$request as prost::Message>::decode(bytes).is_ok()) as fn(&[u8]) -> bool)),+]
    }};
}

/// What every participant answers.
pub const PARTICIPANT: [Rpc; 12] = rpcs!(
    "assent.transaction.v1.ParticipantService", proto::assent::transaction::v1,
    "Prepare" => PrepareRequest, "Commit" => CommitRequest, "Abort" => AbortRequest, "Fence" => FenceRequest,
    "End" => EndRequest, "GetBranch" => GetBranchRequest, "ListBranches" => ListBranchesRequest,
    "Audit" => AuditRequest, "Execute" => ExecuteRequest, "Compensate" => CompensateRequest,
    "EndSteps" => EndStepsRequest, "ListSteps" => ListStepsRequest,
);

/// Of the headers that end a call, all together: what gRPC clients take by default.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// A service that can be called.
pub struct Face {
    routes: Routes,
    rpcs: Vec<Rpc>,
    runtime: Runtime,
}

impl Face {
    /// The service with these routes, which answer these RPCs. Time passes at once where anything waits for it.
    pub fn new(routes: Routes, rpcs: impl IntoIterator<Item = Rpc>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        Face { routes, rpcs: rpcs.into_iter().collect(), runtime }
    }

    /// Calls the RPC that the first byte names. The second tells how many of the next are the client's name; the rest is
    /// the request.
    ///
    /// What can't be carried out for want of a database must be answered so, anything else as invalid; and the answer must
    /// be one that clients can receive.
    pub fn call(&mut self, data: &[u8]) {
        let [rpc, name_bytes, rest @ ..] = data else { return };
        let (path, is_request) = self.rpcs[usize::from(*rpc) % self.rpcs.len()];
        let (name, message) = rest.split_at(usize::from(*name_bytes).min(rest.len()));
        let headers = self.answer(path, name, message);
        // A success tells its code only after its message.
        let code = headers.get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        let possible: &[Code] = match is_request(message) {
            // The one that says in an answer of its own that it can't be known.
            true if path.ends_with("/RecoverTransaction") => &[Code::Ok, Code::Unavailable, Code::InvalidArgument],
            true => &[Code::Unavailable, Code::InvalidArgument],
            // What the library says of bytes that it can't decode.
            false => &[Code::Internal],
        };
        let said = || String::from_utf8_lossy(headers.get("grpc-message").map_or(b"", HeaderValue::as_bytes));
        assert!(possible.contains(&code), "{path}: {code:?} {}", said());
        let header_bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(header_bytes <= MAX_HEADER_BYTES, "{path}: an answer of {header_bytes} bytes can't be received");
    }

    fn answer(&mut self, path: &str, name: &[u8], message: &[u8]) -> HeaderMap {
        let mut body = BytesMut::with_capacity(message.len() + 5);
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).expect("a short message"));
        body.put_slice(message);
        let mut request = Request::post(path).header("content-type", "application/grpc");
        if let Ok(name) = HeaderValue::from_bytes(name)
            && !name.is_empty()
        {
            request = request.header("assent-client-id", name);
        }
        let request = request.body(Full::<Bytes>::from(body.freeze())).expect("a request");
        let routes = &mut self.routes;
        self.runtime.block_on(async { routes.call(request).await }).expect("routes never fail").headers().clone()
    }
}

/// A coordinator that can reach neither its database nor any participant.
pub fn coordinator() -> Routes {
    let url = "postgres://nowhere/nothing";
    let args = coordinator::Args::parse_from(["coordinator", "--database-url", url]);
    let pool = closed_pool();
    // Its tasks end with this runtime.
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let connect = connect_options(url, "fuzz").expect("a URL");
        let store = coordinator::Store::start(pool, connect);
        let participants = coordinator::Participants::start(&args.participants).expect("participants");
        let coordinator = coordinator::Coordinator::new(args, "owner", store, participants);
        coordinator::other_services(&coordinator).add_service(coordinator::order_service(&coordinator))
    })
}
