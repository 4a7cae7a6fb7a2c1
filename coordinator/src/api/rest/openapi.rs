//! The OpenAPI document (spec.openapis.org/oas/v3.1.0) of the table of requests and the types of what they say.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::problem::{CONTENT_TYPE, Problem};
use super::{BASE, ENDPOINTS, Endpoint};

/// Where the document has its schemas.
const SCHEMAS: &str = "/components/schemas";

/// The document.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = SCHEMAS.into());
    // What is always written may be left out when it is read: the same type has two schemas.
    let mut answers = settings.clone().for_serialize().into_generator();
    let mut bodies = settings.for_deserialize().into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        let method = if endpoint.body.is_some() { "post" } else { "get" };
        let operation = operation(endpoint, &mut answers, &mut bodies);
        paths.entry(endpoint.path).or_default().insert(method.to_owned(), operation);
    }
    let mut schemas = answers.take_definitions(true);
    schemas.extend(bodies.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidemill",
            "description": "Jobs, checkpoints, models and the catalog of a coordinator.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{ "url": BASE }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(endpoint: &Endpoint, answers: &mut SchemaGenerator, bodies: &mut SchemaGenerator) -> Value {
    let answer = (endpoint.answer)(answers);
    let mut responses = Map::new();
    responses
        .insert(String::from("200"), content("It has been done, or here it is.", "application/json", answer.into()));
    let always = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    for status in endpoint.refusals.iter().copied().chain(always) {
        let problem = answers.subschema_for::<Problem>();
        let what = status.canonical_reason().unwrap_or_default();
        responses.insert(status.as_u16().to_string(), content(what, CONTENT_TYPE, problem.into()));
    }
    let mut operation = json!({
        "operationId": endpoint.operation,
        "summary": endpoint.summary,
        "parameters": parameters(endpoint.path),
        "responses": responses,
    });
    if let Some(body) = endpoint.body {
        let schema = body(bodies);
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": schema } },
        });
    }
    operation
}

fn content(what: &str, content_type: &str, schema: Value) -> Value {
    json!({ "description": what, "content": { content_type: { "schema": schema } } })
}

/// What stands in braces in a path.
fn parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let described = |name| match name {
        "job" => "The number of the job, or the name of something that it makes.",
        "model" => "The name of the model.",
        _ => "The name of the object.",
    };
    let parameter = |name| {
        let description = described(name);
        json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string" } })
    };
    names.map(parameter).collect()
}
