//! The registry for MLflow's clients: the part of MLflow 3's REST API (`/api/2.0/mlflow`) that reads models, versions and
//! aliases, moves aliases and drops models.
//!
//! Paths, fields and error codes are those of MLflow's `model_registry.proto`. What changes something is the statement that
//! does it, executed for whoever asks: rights, the audit log and what is refused are the statement's. What MLflow can do and
//! a registry cannot whose versions come of statements is refused, with what would work.

mod answers;
mod filter;
mod parameters;
mod refusal;
mod requests;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{any, delete, get, post};

use self::refusal::Code;
pub(super) use self::refusal::Refusal;
use super::rest::Rest;

/// What stands in front of all paths.
pub(super) const BASE: &str = "/api/2.0/mlflow";

/// What MLflow has besides, and what does about the same here.
const NOT_HERE: &[(&str, &str)] = &[
    ("/registered-models/rename", "a model keeps its name; CREATE MODEL makes one of another name"),
    ("/registered-models/update", "a model's description is the statement that made it"),
    ("/registered-models/set-tag", "the tags of versions are what was measured when they were fitted"),
    ("/registered-models/delete-tag", "the tags of versions are what was measured when they were fitted"),
    (
        "/model-versions/create",
        "CREATE OR REPLACE MODEL makes the next version, CREATE MODEL … FROM FILE brings one along",
    ),
    ("/model-versions/update", "a model's description is the statement that made it"),
    ("/model-versions/transition-stage", "aliases say what a version is for: set_registered_model_alias"),
    (
        "/model-versions/delete",
        "versions without an alias go when ten newer ones are there, all of them with DROP MODEL",
    ),
    ("/model-versions/set-tag", "the tags of versions are what was measured when they were fitted"),
    ("/model-versions/delete-tag", "the tags of versions are what was measured when they were fitted"),
    (
        "/model-versions/get-download-uri",
        "EXPORT MODEL m$3 TO 'file' writes a version, WITH (format = 'onnx') for others",
    ),
];

/// The API, to be nested below [`BASE`].
pub(super) fn router<S>(rest: Rest) -> Router<S> {
    let mut router = Router::new()
        .route("/registered-models/create", post(requests::create_model))
        .route("/registered-models/search", get(requests::search_models))
        .route("/registered-models/get", get(requests::model))
        .route("/registered-models/delete", delete(requests::drop_model))
        .route("/registered-models/get-latest-versions", get(requests::latest_versions).post(requests::latest_versions))
        .route(
            "/registered-models/alias",
            get(requests::version_of_alias).post(requests::set_alias).delete(requests::unset_alias),
        )
        .route("/model-versions/search", get(requests::search_versions))
        .route("/model-versions/get", get(requests::version));
    for (path, instead) in NOT_HERE {
        let refuse = move || async move { Refusal::new(Code::NotImplemented, format!("not here: {instead}")) };
        router = router.route(path, any(refuse));
    }
    router.fallback(unknown).method_not_allowed_fallback(unknown).with_state(rest)
}

async fn unknown(method: Method, uri: Uri) -> Refusal {
    // The base has been taken away by now.
    let message = format!(
        "there is no {method} {BASE}{} here; of MLflow's REST API there are the parts of registered-models and \
         model-versions that read, move aliases and drop models",
        uri.path()
    );
    Refusal::new(Code::EndpointNotFound, message)
}
