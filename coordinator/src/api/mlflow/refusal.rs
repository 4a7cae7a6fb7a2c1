//! What is wrong with a request, in MLflow's form: a code that its clients know, and a message.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::rest::Problem;
use crate::error::CoordinatorError;

/// The codes of MLflow's `databricks.proto` that are answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// A parameter is missing, is none, or asks for what cannot be.
    InvalidParameterValue,
    /// The request is not one.
    BadRequest,
    Unauthenticated,
    PermissionDenied,
    /// A model, a version or an alias is not there.
    ResourceDoesNotExist,
    ResourceAlreadyExists,
    ResourceConflict,
    /// There is no such request.
    EndpointNotFound,
    RequestLimitExceeded,
    /// MLflow has it, and this registry has something else for it.
    NotImplemented,
    TemporarilyUnavailable,
    InternalError,
}

impl Code {
    /// What goes over the wire: the status, and the code's name.
    fn told(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidParameterValue => (StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE"),
            Self::BadRequest => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            Self::PermissionDenied => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
            Self::ResourceDoesNotExist => (StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST"),
            Self::ResourceAlreadyExists => (StatusCode::BAD_REQUEST, "RESOURCE_ALREADY_EXISTS"),
            Self::ResourceConflict => (StatusCode::CONFLICT, "RESOURCE_CONFLICT"),
            Self::EndpointNotFound => (StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND"),
            Self::RequestLimitExceeded => (StatusCode::TOO_MANY_REQUESTS, "REQUEST_LIMIT_EXCEEDED"),
            Self::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED"),
            Self::TemporarilyUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "TEMPORARILY_UNAVAILABLE"),
            Self::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
        }
    }

    /// The code of what the REST API tells by a status.
    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND => Self::ResourceDoesNotExist,
            StatusCode::CONFLICT => Self::ResourceConflict,
            StatusCode::TOO_MANY_REQUESTS => Self::RequestLimitExceeded,
            StatusCode::SERVICE_UNAVAILABLE => Self::TemporarilyUnavailable,
            StatusCode::BAD_REQUEST => Self::InvalidParameterValue,
            status if status.is_client_error() => Self::BadRequest,
            _ => Self::InternalError,
        }
    }
}

/// What a request is refused with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct Refusal {
    code: Code,
    message: String,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameterValue, message)
    }

    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceDoesNotExist, message)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::new(Code::of(problem.code()), problem.into_detail())
    }
}

impl From<CoordinatorError> for Refusal {
    fn from(error: CoordinatorError) -> Self {
        Problem::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.code.told();
        let body = json!({ "error_code": code, "message": self.message }).to_string();
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
