//! A service that stands before the router: its calls go to it straight, all others to the router.
//!
//! The router looks each path up, copies the service and boxes what runs; for the one call that nearly all load consists of
//! that is a tenth of what the process does.
use std::convert::Infallible;
use std::future::Future;
use std::task::{Context, Poll};

use futures::future::Either;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tower::Layer;

/// Puts a gRPC service before another service, usually the router that has all of them.
#[derive(Debug, Clone)]
pub struct Front<S>(pub S);

impl<S: Clone, R> Layer<R> for Front<S> {
    type Service = Fronted<S, R>;

    fn layer(&self, others: R) -> Fronted<S, R> {
        Fronted { front: self.0.clone(), others }
    }
}

/// A service behind another.
#[derive(Debug, Clone)]
pub struct Fronted<S, R> {
    front: S,
    others: R,
}

impl<S, R> Service<Request<Body>> for Fronted<S, R>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Future> + NamedService,
    R: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, R::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.front.poll_ready(context) {
            Poll::Ready(Ok(())) => self.others.poll_ready(context),
            other => other,
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/'));
        match service {
            Some((name, _)) if name == S::NAME => Either::Left(self.front.call(request)),
            _ => Either::Right(self.others.call(request)),
        }
    }
}
