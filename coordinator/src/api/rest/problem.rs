//! What is wrong with a request, in the form of RFC 9457.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tidemill_plans::ErrorDomain;
use tidemill_sql::SqlError;

use crate::error::CoordinatorError;

/// The type of such an answer.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// What is wrong with a request (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// A URI of the kind of problem; `about:blank` says that the status is all there is to it.
    r#type: &'static str,
    /// The status in words.
    title: String,
    /// The status of the answer.
    status: u16,
    /// What is wrong, and what would work.
    detail: String,
    /// Who has to do something about it.
    domain: Domain,
}

/// Who has to do something about a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Domain {
    /// Whoever has sent the request: sent again, it comes to the same.
    User,
    /// Something outside: trying again may help.
    External,
    /// It is a bug in Tidemill.
    Internal,
}

impl Problem {
    /// A problem with a request.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let domain = match status {
            StatusCode::INTERNAL_SERVER_ERROR => Domain::Internal,
            status if status.is_server_error() => Domain::External,
            _ => Domain::User,
        };
        let title = status.canonical_reason().unwrap_or_default().to_owned();
        Self { r#type: "about:blank", title, status: status.as_u16(), detail: detail.into(), domain }
    }

    /// The status of the answer.
    pub(in crate::api) fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What is wrong, and what would work.
    pub(in crate::api) fn into_detail(self) -> String {
        self.detail
    }
}

impl From<CoordinatorError> for Problem {
    fn from(error: CoordinatorError) -> Self {
        let status = match &error {
            CoordinatorError::NotRunning { .. }
            | CoordinatorError::NoSuchJob { .. }
            | CoordinatorError::UnknownObject { .. } => StatusCode::NOT_FOUND,
            CoordinatorError::NoCheckpoints { .. } | CoordinatorError::AlreadyRuns { .. } => StatusCode::CONFLICT,
            CoordinatorError::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            CoordinatorError::TooManyTries { .. } => StatusCode::TOO_MANY_REQUESTS,
            CoordinatorError::Denied { .. } => StatusCode::FORBIDDEN,
            CoordinatorError::Sql(sql) if matches!(**sql, SqlError::Denied { .. }) => StatusCode::FORBIDDEN,
            // Numbers and addresses that do not fit what they are for come from the request.
            CoordinatorError::Plan(_) => StatusCode::BAD_REQUEST,
            other => match other.domain() {
                ErrorDomain::User => StatusCode::BAD_REQUEST,
                ErrorDomain::External => StatusCode::SERVICE_UNAVAILABLE,
                ErrorDomain::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            },
        };
        Self::new(status, error.chain())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code();
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use tidemill_plans::ids::JobId;

    use super::*;

    #[test]
    fn errors_become_statuses_that_say_who_has_to_act() {
        let job = JobId(7);
        for (error, status, domain) in [
            (CoordinatorError::NotRunning { job }, 404, Domain::User),
            (CoordinatorError::NoCheckpoints { job, what: "a savepoint" }, 409, Domain::User),
            (CoordinatorError::Statement { message: String::from("x") }, 400, Domain::User),
            (CoordinatorError::ShutDown, 503, Domain::External),
            (CoordinatorError::Lost { part: "planner" }, 500, Domain::Internal),
        ] {
            let detail = error.chain();
            let problem = Problem::from(error);
            assert_eq!((problem.status, problem.domain, problem.detail), (status, domain, detail));
        }
        let json = serde_json::to_value(Problem::new(StatusCode::NOT_FOUND, "no")).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Not Found", "status": 404, "detail": "no", "domain": "user",
        });
        assert_eq!(json, expected);
    }
}
