//! The HTTP endpoint: metrics, for Prometheus, and the form of plans.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
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
        .with_state(coordinator);
    let mut task = JoinSet::new();
    task.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            error!(%error, "HTTP endpoint ended");
        }
    });
    Ok((bound, ServerGuard { _task: task }))
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
