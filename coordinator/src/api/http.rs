//! The HTTP endpoint: metrics, for Prometheus, and the form of plans.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tidemill_sql::document::PlanDocument;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::error;

use super::ServerGuard;
use super::prometheus::{CONTENT_TYPE, render};
use crate::error::{CoordinatorError, Result};
use crate::handle::CoordinatorHandle;

/// Opens the endpoint on `address`, which must be of this machine alone: whoever reaches it is answered. Returns where
/// it listens, which differs if the port was 0.
pub async fn serve_http(coordinator: CoordinatorHandle, address: SocketAddr) -> Result<(SocketAddr, ServerGuard)> {
    if !address.ip().is_loopback() {
        return Err(CoordinatorError::PublicAddress { address });
    }
    let failed = |source| CoordinatorError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/plan.schema.json", get(plan_schema))
        .layer(from_fn_with_state(coordinator.clone(), authenticate))
        .with_state(coordinator)
        .into_make_service_with_connect_info::<SocketAddr>();
    let mut task = JoinSet::new();
    task.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            error!(%error, "HTTP endpoint ended");
        }
    });
    Ok((bound, ServerGuard { _task: task }))
}

/// What tells whoever asks that the process is there: it is asked by those who have no password.
const FOR_EVERYBODY: [&str; 2] = ["/healthz", "/readyz"];

/// Lets users in, and nobody else if there are any. Handlers find out [`Who`](crate::access::Who) it is by the request's
/// extension.
async fn authenticate(
    State(coordinator): State<CoordinatorHandle>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    if FOR_EVERYBODY.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|shown| shown.to_str().ok());
    match coordinator.access().authenticate(shown, Some(address)).await {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(error @ CoordinatorError::Unauthenticated { .. }) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"tidemill\", Bearer")];
            (StatusCode::UNAUTHORIZED, challenge, error.chain()).into_response()
        }
        Err(error @ CoordinatorError::TooManyTries { .. }) => {
            (StatusCode::TOO_MANY_REQUESTS, error.chain()).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.chain()).into_response(),
    }
}

/// The form of the plans that can be submitted.
async fn plan_schema() -> Response {
    ([(header::CONTENT_TYPE, "application/schema+json")], PlanDocument::json_schema_text()).into_response()
}

async fn metrics(State(coordinator): State<CoordinatorHandle>) -> Response {
    match coordinator.observe().await {
        Ok(jobs) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], render(&jobs)).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.chain()).into_response(),
    }
}
