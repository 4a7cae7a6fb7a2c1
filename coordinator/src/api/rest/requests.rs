//! What each request does: the same as the statement about it, by the same way to the coordinator.

use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidemill_plans::catalog::ObjectKind;
use tidemill_sql::JobCommand;

use super::answers::{
    Catalog, Checkpoints, Cluster, Job, Jobs, Object, Operators, RescaleRequest, Savepoint, SavepointRequest,
    StopRequest, Versions,
};
use super::asking::Asking;
use super::problem::Problem;
use crate::error::CoordinatorError;
use crate::handle::JobInfo;

type Answered<T> = Result<Json<T>, Problem>;
type Body = Result<Bytes, BytesRejection>;

/// An answer in JSON.
pub(in crate::api) struct Json<T>(pub(in crate::api) T);

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
pub(in crate::api) fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if said.split(';').next().is_none_or(|said| !said.trim().eq_ignore_ascii_case("application/json")) {
        let detail = "the body is to be JSON, and its Content-Type application/json; {} says nothing";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = body.map_err(|rejected| Problem::new(rejected.status(), rejected.body_text()))?;
    serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")))
}

pub(super) async fn jobs(asking: Asking) -> Answered<Jobs> {
    Ok(Json(Jobs { jobs: asking.jobs().await?.into_iter().map(Job::from).collect() }))
}

/// The SELECTs that run.
pub(super) async fn queries(asking: Asking) -> Answered<Jobs> {
    let jobs = asking.jobs().await?.into_iter().filter(|job| job.is_query);
    Ok(Json(Jobs { jobs: jobs.map(Job::from).collect() }))
}

pub(super) async fn job(asking: Asking, Path(name): Path<String>) -> Answered<Job> {
    Ok(Json(asking.job(&name).await?.into()))
}

pub(super) async fn stop(asking: Asking, Path(name): Path<String>, headers: HeaderMap, body: Body) -> Answered<Job> {
    let request: StopRequest = read(&headers, body)?;
    let (coordinator, mode) = (asking.coordinator(), request.mode());
    let stop = |job: JobInfo| async move {
        coordinator.stop(job.id, mode).await?;
        // It may have ended by now, and then there is nothing more to tell than how it was.
        let stopped = coordinator.jobs().await?.into_iter().find(|stopped| stopped.id == job.id);
        Ok(stopped.unwrap_or(job))
    };
    Ok(Json(asking.change(&name, JobCommand::Stop, stop).await?.into()))
}

pub(super) async fn savepoint(
    asking: Asking,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answered<Savepoint> {
    let SavepointRequest { url, stop } = read(&headers, body)?;
    let (asking, url) = (&asking, &url);
    let command = |job| JobCommand::Savepoint { job, url: url.clone(), stops: stop };
    let save = |job: JobInfo| async move {
        asking.check_place(url.as_deref())?;
        asking.coordinator().savepoint(job.id, url.clone(), stop).await
    };
    Ok(Json(Savepoint { url: asking.change(&name, command, save).await? }))
}

pub(super) async fn rescale(asking: Asking, Path(name): Path<String>, headers: HeaderMap, body: Body) -> Answered<Job> {
    let RescaleRequest { parallelism } = read(&headers, body)?;
    let (asking, parallelism) = (&asking, parallelism.get());
    let rescale = |job: JobInfo| async move {
        asking.coordinator().rescale(job.id, parallelism).await?;
        asking.job(&job.id.to_string()).await
    };
    Ok(Json(asking.change(&name, |job| JobCommand::Rescale { job, parallelism }, rescale).await?.into()))
}

pub(super) async fn checkpoints(asking: Asking, Path(name): Path<String>) -> Answered<Checkpoints> {
    let job = asking.observed(&name).await?;
    let checkpoints = asking.coordinator().checkpoints(job.id).await?;
    Ok(Json(Checkpoints { checkpoints: checkpoints.into_iter().map(Into::into).collect() }))
}

pub(super) async fn operators(asking: Asking, Path(name): Path<String>) -> Answered<Operators> {
    let job = asking.observed(&name).await?.id;
    let observed = asking.coordinator().observe().await?.into_iter().find(|observed| observed.info.id == job);
    Ok(Json(observed.ok_or(CoordinatorError::NotRunning { job })?.into()))
}

pub(super) async fn models(asking: Asking) -> Answered<Versions> {
    let mut versions = Vec::new();
    for version in asking.coordinator().models().await? {
        if asking.may_see(&version.model, ObjectKind::Model)? {
            versions.push(version.into());
        }
    }
    Ok(Json(Versions { versions }))
}

pub(super) async fn model(asking: Asking, Path(name): Path<String>) -> Answered<Versions> {
    let versions = match asking.may_see(&name, ObjectKind::Model)? {
        true => asking.coordinator().model_versions(&name).await?,
        false => Vec::new(),
    };
    if versions.is_empty() {
        let detail = format!("there is no version of a model '{name}'; /api/v1/models lists the models that have any");
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    Ok(Json(Versions { versions: versions.into_iter().map(Into::into).collect() }))
}

pub(super) async fn catalog(asking: Asking) -> Answered<Catalog> {
    Ok(Json(Catalog { objects: asking.objects().await? }))
}

pub(super) async fn object(asking: Asking, Path(name): Path<String>) -> Answered<Object> {
    let missing = || {
        let detail = format!("there is no '{name}' in the catalog; /api/v1/catalog lists what there is");
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    Ok(Json(asking.object(&name).await?.ok_or_else(missing)?))
}

/// No statement shows the workers, and they are no object that something could be granted on.
pub(super) async fn cluster(asking: Asking) -> Answered<Cluster> {
    asking.check_sees_all("what the cluster is made of")?;
    let coordinator = asking.coordinator();
    let workers = coordinator.workers().await?.into_iter().map(Into::into).collect();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Json(Cluster { name: coordinator.cluster_name().to_owned(), version, workers }))
}
