//! The HTTP endpoint: whether the coordinator is well, metrics for Prometheus, the form of plans, the REST API, and the
//! registry for MLflow.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tidemill_net::Listener;
use tidemill_sql::document::PlanDocument;
use tokio::sync::Mutex;

use super::prometheus::{CONTENT_TYPE, render};
use super::rest::{self, Problem, Rest};
use super::{ServerGuard, http_server, mlflow};
use crate::error::CoordinatorError;
use crate::handle::CoordinatorHandle;
use crate::session::SqlSession;

/// Serves the endpoint; whoever reaches it is answered. The session knows what users may do with jobs.
pub fn serve_http(coordinator: CoordinatorHandle, session: Arc<Mutex<SqlSession>>, listener: Listener) -> ServerGuard {
    let router = router(Rest { coordinator, session });
    // What other machines reach has names of which nothing is known here.
    let is_private = listener.address.ip().is_loopback();
    http_server::serve(if is_private { router.layer(middleware::from_fn(check_host)) } else { router }, listener)
}

fn router(rest: Rest) -> Router {
    let coordinator = rest.coordinator.clone();
    Router::new()
        .route("/healthz", get(is_alive))
        .route("/readyz", get(is_ready))
        .route("/metrics", get(metrics))
        .route("/plan.schema.json", get(plan_schema))
        .nest(rest::BASE, rest::router(rest.clone()))
        .nest(mlflow::BASE, mlflow::router(rest))
        .layer(from_fn_with_state(coordinator.clone(), authenticate))
        .with_state(coordinator)
}

/// Refuses what a browser asks for a page from elsewhere, whose name has been made to mean this machine.
async fn check_host(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    if is_local(host) {
        return next.run(request).await;
    }
    let detail = format!("'{host}' is no name of this machine; 127.0.0.1 and localhost are");
    Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response()
}

/// Whether a `Host` header names this machine: by its address, for which nobody else answers, or as localhost.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|char| char.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// Whoever answers is alive.
async fn is_alive() -> &'static str {
    "ok\n"
}

/// A coordinator is ready that leads, and has workers to give work to.
async fn is_ready(State(coordinator): State<CoordinatorHandle>) -> Response {
    let check = async {
        coordinator.check_leads().await?;
        match coordinator.workers().await?.iter().any(|worker| !worker.is_leaving) {
            true => Ok(()),
            false => Err(CoordinatorError::NoWorkers),
        }
    };
    match check.await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.chain()).into_response(),
    }
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
    let is_mlflow = request.uri().path().starts_with(mlflow::BASE);
    let refused = |problem: Problem| match is_mlflow {
        true => mlflow::Refusal::from(problem).into_response(),
        false => problem.into_response(),
    };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|shown| shown.to_str().ok());
    match coordinator.access().authenticate(shown, Some(address)).await {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(error @ CoordinatorError::Unauthenticated { .. }) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"tidemill\", Bearer")];
            (challenge, refused(error.into())).into_response()
        }
        Err(error) => refused(error.into()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for local in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.0.0.1", "[::1]:8080", "[::1]"] {
            assert!(is_local(local), "{local}");
        }
        for other in ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io:80", ""] {
            assert!(!is_local(other), "{other}");
        }
    }
}
