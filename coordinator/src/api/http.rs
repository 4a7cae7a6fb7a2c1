//! The HTTP endpoint: metrics, for Prometheus, and the form of plans.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tidemill_net::Listener;
use tidemill_sql::document::PlanDocument;

use super::prometheus::{CONTENT_TYPE, render};
use super::{ServerGuard, http_server};
use crate::handle::CoordinatorHandle;

/// Serves the endpoint; whoever reaches it is answered.
pub fn serve_http(coordinator: CoordinatorHandle, listener: Listener) -> ServerGuard {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/plan.schema.json", get(plan_schema))
        .with_state(coordinator);
    http_server::serve(router, listener)
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
