//! The REST API, `/api/v1`: what SHOW JOBS, STOP JOB and others do, for programs that speak HTTP.
//!
//! One table has the requests: the router and the OpenAPI document are made of it, so none is without the other.

mod answers;
mod asking;
mod openapi;
mod problem;
mod requests;

use axum::Router;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use schemars::{Schema, SchemaGenerator};

use self::answers::{
    Catalog, Checkpoints, Cluster, Job, Jobs, Object, Operators, RescaleRequest, Savepoint, SavepointRequest,
    StopRequest, Versions,
};
pub(super) use self::asking::Asking;
pub(crate) use self::asking::Rest;
pub(super) use self::problem::Problem;
pub(super) use self::requests::{Json, read};

/// What stands in front of all paths.
pub(super) const BASE: &str = "/api/v1";

/// Where the document is.
const DOCUMENT: &str = "/openapi.json";

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A request that is answered.
struct Endpoint {
    path: &'static str,
    /// What generated clients call it.
    operation: &'static str,
    summary: &'static str,
    /// What it says, for one that changes something.
    body: Option<SchemaOf>,
    answer: SchemaOf,
    /// What else it may be answered with.
    refusals: &'static [StatusCode],
    route: fn() -> MethodRouter<Rest>,
}

const UNKNOWN: &[StatusCode] = &[StatusCode::NOT_FOUND];

const REFUSED: &[StatusCode] =
    &[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::CONFLICT, StatusCode::UNSUPPORTED_MEDIA_TYPE];

const ENDPOINTS: &[Endpoint] = &[
    reads("/jobs", "listJobs", "The jobs, as SHOW JOBS has them", SchemaGenerator::subschema_for::<Jobs>, &[], || {
        get(requests::jobs)
    }),
    reads("/jobs/{job}", "getJob", "One job", SchemaGenerator::subschema_for::<Job>, UNKNOWN, || get(requests::job)),
    Endpoint {
        path: "/jobs/{job}/stop",
        operation: "stopJob",
        summary: "Ends a job, as STOP JOB does",
        body: Some(SchemaGenerator::subschema_for::<StopRequest>),
        answer: SchemaGenerator::subschema_for::<Job>,
        refusals: REFUSED,
        route: || post(requests::stop),
    },
    Endpoint {
        path: "/jobs/{job}/savepoint",
        operation: "createSavepoint",
        summary: "Writes a savepoint of a job, which may end with it; answers when it is written",
        body: Some(SchemaGenerator::subschema_for::<SavepointRequest>),
        answer: SchemaGenerator::subschema_for::<Savepoint>,
        refusals: REFUSED,
        route: || post(requests::savepoint),
    },
    Endpoint {
        path: "/jobs/{job}/rescale",
        operation: "rescaleJob",
        summary: "Gives a job another parallelism, as ALTER JOB does: it goes on from its next checkpoint",
        body: Some(SchemaGenerator::subschema_for::<RescaleRequest>),
        answer: SchemaGenerator::subschema_for::<Job>,
        refusals: REFUSED,
        route: || post(requests::rescale),
    },
    reads(
        "/jobs/{job}/checkpoints",
        "listCheckpoints",
        "The newest checkpoints of a job, as SHOW CHECKPOINTS has them",
        SchemaGenerator::subschema_for::<Checkpoints>,
        UNKNOWN,
        || get(requests::checkpoints),
    ),
    reads(
        "/jobs/{job}/operators",
        "listOperators",
        "What the operators of a job do",
        SchemaGenerator::subschema_for::<Operators>,
        UNKNOWN,
        || get(requests::operators),
    ),
    reads("/queries", "listQueries", "The SELECTs that run", SchemaGenerator::subschema_for::<Jobs>, &[], || {
        get(requests::queries)
    }),
    reads(
        "/models",
        "listModels",
        "The newest version of each model",
        SchemaGenerator::subschema_for::<Versions>,
        &[],
        || get(requests::models),
    ),
    reads(
        "/models/{model}",
        "listVersions",
        "The versions of a model's newest run, latest first",
        SchemaGenerator::subschema_for::<Versions>,
        UNKNOWN,
        || get(requests::model),
    ),
    reads(
        "/catalog",
        "listObjects",
        "The objects of the catalog",
        SchemaGenerator::subschema_for::<Catalog>,
        &[],
        || get(requests::catalog),
    ),
    reads(
        "/catalog/{object}",
        "getObject",
        "One object of the catalog",
        SchemaGenerator::subschema_for::<Object>,
        UNKNOWN,
        || get(requests::object),
    ),
    reads(
        "/cluster",
        "getCluster",
        "The coordinator and its workers",
        SchemaGenerator::subschema_for::<Cluster>,
        &[],
        || get(requests::cluster),
    ),
];

/// A request that changes nothing.
const fn reads(
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    answer: SchemaOf,
    refusals: &'static [StatusCode],
    route: fn() -> MethodRouter<Rest>,
) -> Endpoint {
    Endpoint { path, operation, summary, body: None, answer, refusals, route }
}

/// The API, to be nested below [`BASE`].
pub(crate) fn router<S>(rest: Rest) -> Router<S> {
    let mut router = Router::new().route(DOCUMENT, get(document));
    for endpoint in ENDPOINTS {
        router = router.route(endpoint.path, (endpoint.route)());
    }
    router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(rest)
}

async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi::document().to_string())
}

async fn unknown(uri: Uri) -> Problem {
    let paths: Vec<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
    // The base has been taken away by now.
    let detail = format!("there is no {BASE}{} here; below {BASE} there are: {}", uri.path(), paths.join(", "));
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{method} is not possible for {BASE}{}; {BASE}{DOCUMENT} says what is", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
