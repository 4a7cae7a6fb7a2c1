//! The messages of Flight's session options (format/Flight.proto), which arrow-flight does not have yet.

use std::collections::HashMap;

/// A value of an option; none takes the option back.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OptionValue {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sfixed64, tag = "3")]
    Int64(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Texts(Texts),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Texts {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

impl OptionValue {
    /// The value as SET takes it, and nothing for one that takes the option back; `None` if no setting takes it.
    #[expect(clippy::option_option, reason = "a value that is not given is no value that is not possible")]
    pub(super) fn text(&self) -> Option<Option<String>> {
        Some(match &self.kind {
            None => None,
            Some(Kind::Text(text)) => Some(text.clone()),
            Some(Kind::Bool(value)) => Some(value.to_string()),
            Some(Kind::Int64(value)) => Some(value.to_string()),
            Some(Kind::Double(value)) => Some(value.to_string()),
            Some(Kind::Texts(_)) => return None,
        })
    }

    /// Whether it is this text, or none.
    pub(super) fn is_unset_or(&self, text: &str) -> bool {
        match &self.kind {
            None => true,
            Some(Kind::Text(given)) => given.is_empty() || given == text,
            Some(_) => false,
        }
    }
}

impl From<&str> for OptionValue {
    fn from(text: &str) -> Self {
        Self { kind: Some(Kind::Text(text.to_owned())) }
    }
}

/// Why an option is not set; the numbers are the specification's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OptionError {
    InvalidName = 1,
    InvalidValue = 2,
    Failed = 3,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    pub(super) session_options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(super) errors: HashMap<String, SetError>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SetError {
    #[prost(int32, tag = "1")]
    value: i32,
}

impl From<OptionError> for SetError {
    fn from(error: OptionError) -> Self {
        Self { value: error as i32 }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(super) session_options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CloseSessionResult {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl CloseSessionResult {
    pub(super) const CLOSED: Self = Self { status: 1 };
}
