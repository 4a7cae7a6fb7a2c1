//! What each request does: the same as the statement about it, by the same way to the coordinator.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidemill_plans::ids::JobId;
use tidemill_sql::JobName;

use super::answers::{
    Catalog, Checkpoints, Cluster, Job, Jobs, Object, Operators, RescaleRequest, Savepoint, SavepointRequest,
    StopRequest, Versions,
};
use super::problem::Problem;
use crate::error::CoordinatorError;
use crate::handle::{CoordinatorHandle, JobInfo};

type Coordinator = State<CoordinatorHandle>;
type Answered<T> = Result<Json<T>, Problem>;
type Body = Result<Bytes, BytesRejection>;

/// An answer in JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

/// What a request says. That it says so in its headers keeps pages of other origins from sending it: a browser asks
/// first whether they may, and they may not.
fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if said.split(';').next().is_none_or(|said| !said.trim().eq_ignore_ascii_case("application/json")) {
        let detail = "the body is to be JSON, and its Content-Type application/json; {} says nothing";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = body.map_err(|rejected| Problem::new(rejected.status(), rejected.body_text()))?;
    serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")))
}

pub(super) async fn jobs(State(coordinator): Coordinator) -> Answered<Jobs> {
    let jobs = coordinator.jobs().await?;
    Ok(Json(Jobs { jobs: jobs.into_iter().map(Job::from).collect() }))
}

/// The SELECTs that run.
pub(super) async fn queries(State(coordinator): Coordinator) -> Answered<Jobs> {
    let jobs = coordinator.jobs().await?.into_iter().filter(|job| job.is_query);
    Ok(Json(Jobs { jobs: jobs.map(Job::from).collect() }))
}

pub(super) async fn job(State(coordinator): Coordinator, Path(name): Path<String>) -> Answered<Job> {
    Ok(Json(find(&coordinator, &name).await?.into()))
}

pub(super) async fn stop(
    State(coordinator): Coordinator,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answered<Job> {
    let request: StopRequest = read(&headers, body)?;
    let job = find(&coordinator, &name).await?;
    coordinator.stop(job.id, request.mode()).await?;
    // It may have ended by now, and then there is nothing more to tell than how it was.
    let stopped = coordinator.jobs().await?.into_iter().find(|stopped| stopped.id == job.id);
    Ok(Json(stopped.unwrap_or(job).into()))
}

pub(super) async fn savepoint(
    State(coordinator): Coordinator,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answered<Savepoint> {
    let SavepointRequest { url, stop } = read(&headers, body)?;
    let job = find(&coordinator, &name).await?;
    Ok(Json(Savepoint { url: coordinator.savepoint(job.id, url, stop).await? }))
}

pub(super) async fn rescale(
    State(coordinator): Coordinator,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answered<Job> {
    let RescaleRequest { parallelism } = read(&headers, body)?;
    let job = find(&coordinator, &name).await?;
    coordinator.rescale(job.id, parallelism.get()).await?;
    Ok(Json(find(&coordinator, &job.id.to_string()).await?.into()))
}

pub(super) async fn checkpoints(State(coordinator): Coordinator, Path(name): Path<String>) -> Answered<Checkpoints> {
    let job = find(&coordinator, &name).await?;
    let checkpoints = coordinator.checkpoints(job.id).await?;
    Ok(Json(Checkpoints { checkpoints: checkpoints.into_iter().map(Into::into).collect() }))
}

pub(super) async fn operators(State(coordinator): Coordinator, Path(name): Path<String>) -> Answered<Operators> {
    let job = find(&coordinator, &name).await?.id;
    let observed = coordinator.observe().await?.into_iter().find(|observed| observed.info.id == job);
    Ok(Json(observed.ok_or(CoordinatorError::NotRunning { job })?.into()))
}

pub(super) async fn models(State(coordinator): Coordinator) -> Answered<Versions> {
    let versions = coordinator.models().await?;
    Ok(Json(Versions { versions: versions.into_iter().map(Into::into).collect() }))
}

pub(super) async fn model(State(coordinator): Coordinator, Path(name): Path<String>) -> Answered<Versions> {
    let versions = coordinator.model_versions(&name).await?;
    if versions.is_empty() {
        let detail = format!("there is no version of a model '{name}'; /api/v1/models lists the models that have any");
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    Ok(Json(Versions { versions: versions.into_iter().map(Into::into).collect() }))
}

pub(super) async fn catalog(State(coordinator): Coordinator) -> Answered<Catalog> {
    let objects = coordinator.objects().await?;
    Ok(Json(Catalog { objects: objects.into_iter().map(Into::into).collect() }))
}

pub(super) async fn object(State(coordinator): Coordinator, Path(name): Path<String>) -> Answered<Object> {
    let found = coordinator.objects().await?.into_iter().find(|object| object.name == name);
    let missing = || {
        let detail = format!("there is no '{name}' in the catalog; /api/v1/catalog lists what there is");
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    found.map(|object| Json(object.into())).ok_or_else(missing)
}

pub(super) async fn cluster(State(coordinator): Coordinator) -> Answered<Cluster> {
    let workers = coordinator.workers().await?.into_iter().map(Into::into).collect();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Json(Cluster { name: coordinator.cluster_name().to_owned(), version, workers }))
}

/// The job of this number, or that makes something of this name.
async fn find(coordinator: &CoordinatorHandle, name: &str) -> Result<JobInfo, CoordinatorError> {
    let id = match JobName::from(name.strip_prefix("job-").unwrap_or(name)) {
        JobName::Number(number) => JobId(number),
        JobName::Object(_) => coordinator.job_of(name).await?,
    };
    let found = coordinator.jobs().await?.into_iter().find(|job| job.id == id);
    found.ok_or(CoordinatorError::NotRunning { job: id })
}
