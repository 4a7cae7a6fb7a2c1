//! What can be wrong with a statement: where it is, what it is, and what would work.
//!
//! Planning happens far from the text, so an error may start without a position; whoever knows the
//! statement fills it in on the way out with [`SqlError::at`].

use std::fmt;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use thiserror::Error;
use tidemill_plans::catalog::ObjectKind;
use tidemill_plans::{ErrorDomain, PlanError};

/// The result of everything in this crate.
pub type Result<T, E = SqlError> = std::result::Result<T, E>;

/// A place in a script, both counted from 1; line 0 means that it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl Position {
    /// Somewhere in the statement.
    pub const UNKNOWN: Self = Self { line: 0, column: 0 };

    /// Whether the place is known.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.line > 0
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line, column: location.column }
    }
}

impl From<Span> for Position {
    fn from(span: Span) -> Self {
        span.start.into()
    }
}

/// Prints `line 3, column 14: `, or nothing where the place is not known: a prefix of messages.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_known() { write!(f, "line {}, column {}: ", self.line, self.column) } else { Ok(()) }
    }
}

/// An error in a statement.
#[derive(Debug, Error)]
pub enum SqlError {
    /// The text is not a statement.
    #[error("{at}{message}")]
    Syntax {
        /// Where.
        at: Position,
        /// What was expected and what was found.
        message: String,
    },
    /// The statement means something that this release cannot do.
    #[error("{at}{what} is not supported; {hint}")]
    Unsupported {
        /// Where.
        at: Position,
        /// The clause.
        what: String,
        /// What would work.
        hint: String,
    },
    /// A name that nothing has.
    #[error("{at}there is no {what} '{name}'; {hint}")]
    Unknown {
        /// Where.
        at: Position,
        /// What was looked for.
        what: String,
        /// Its name.
        name: String,
        /// The names there are.
        hint: String,
    },
    /// A name that is taken.
    #[error("{at}'{name}' already exists: it is a {kind}")]
    Duplicate {
        /// Where.
        at: Position,
        /// The name.
        name: String,
        /// What has it.
        kind: ObjectKind,
    },
    /// An object that others are made of.
    #[error("{at}cannot change or drop '{name}': {used_by} uses it; drop that first")]
    InUse {
        /// Where.
        at: Position,
        /// The object.
        name: String,
        /// The kind and name of the first object that uses it.
        used_by: String,
    },
    /// Whoever has the statement executed may not do what it does.
    #[error("{at}permission denied: {what}; {hint}")]
    Denied {
        /// Where.
        at: Position,
        /// Who lacks what.
        what: String,
        /// Who could give it.
        hint: String,
    },
    /// The statement contradicts itself, the catalog, or a type.
    #[error("{at}{message}")]
    Invalid {
        /// Where.
        at: Position,
        /// What is wrong and what would work.
        message: String,
    },
    /// The graph that was made is not valid: a bug in the planner.
    #[error("the planner made a graph that is not valid")]
    Graph(#[source] PlanError),
}

impl SqlError {
    /// The files that the statement at this place names are not what it needs.
    #[must_use]
    pub fn of_files(at: Position, message: String) -> Self {
        Self::Invalid { at, message }
    }

    /// The table of the statement at this place has to say where its rows are to be.
    #[must_use]
    pub fn of_no_place(at: Position) -> Self {
        let hint = "WITH (path = 'folder') names one";
        Self::Unsupported { at, what: String::from("a table without a place here"), hint: hint.into() }
    }

    /// The statement, its place not yet known, is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { at: Position::UNKNOWN, message: message.into() }
    }

    /// The statement, its place not yet known, asks for too much.
    pub(crate) fn unsupported(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unsupported { at: Position::UNKNOWN, what: what.into(), hint: hint.into() }
    }

    /// A function of queries as a whole is part of a stream.
    pub(crate) fn in_a_stream(function: impl fmt::Display) -> Self {
        let hint = "ask it in a query of tables that end, which runs as a whole";
        Self::unsupported(format!("{function} in a stream"), hint)
    }

    /// Whether the statement asks for what there is not, or not there.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. })
    }

    /// Fills in the place if it is not known yet.
    #[must_use]
    pub(crate) fn at(mut self, place: impl Into<Position>) -> Self {
        match &mut self {
            Self::Syntax { at, .. }
            | Self::Unsupported { at, .. }
            | Self::Unknown { at, .. }
            | Self::Duplicate { at, .. }
            | Self::InUse { at, .. }
            | Self::Denied { at, .. }
            | Self::Invalid { at, .. } => {
                if !at.is_known() {
                    *at = place.into();
                }
            }
            Self::Graph(_) => {}
        }
        self
    }

    /// Where the error is, if that is known.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Syntax { at, .. }
            | Self::Unsupported { at, .. }
            | Self::Unknown { at, .. }
            | Self::Duplicate { at, .. }
            | Self::InUse { at, .. }
            | Self::Denied { at, .. }
            | Self::Invalid { at, .. } => Some(*at).filter(|at| at.is_known()),
            Self::Graph(_) => None,
        }
    }

    /// Who must act.
    #[must_use]
    pub fn domain(&self) -> ErrorDomain {
        match self {
            Self::Graph(_) => ErrorDomain::Internal,
            _ => ErrorDomain::User,
        }
    }
}

/// DataFusion's planner says where a column or table is wrong through a diagnostic.
impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        let error = match own(error) {
            Ok(own) => return own,
            Err(error) => error,
        };
        let at = error
            .diagnostic()
            .and_then(|diagnostic| diagnostic.span)
            .map(|span| Position { line: span.start.line, column: span.start.column })
            .unwrap_or_default();
        let helps: Vec<String> = error
            .diagnostic()
            .map(|diagnostic| diagnostic.helps.iter().map(|help| help.message.clone()).collect())
            .unwrap_or_default();
        let mut message = plain_message(&error);
        for help in helps {
            if !message.contains(&help) {
                message.push_str("; ");
                message.push_str(&help);
            }
        }
        Self::Invalid { at, message }
    }
}

/// An error of this crate that has been through DataFusion, which may have said where it stands.
fn own(error: DataFusionError) -> Result<SqlError, DataFusionError> {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(own) => Ok(*own),
            Err(other) => Err(DataFusionError::External(other)),
        },
        DataFusionError::Diagnostic(diagnostic, inner) => match (own(*inner), diagnostic.span) {
            (Ok(error), Some(span)) => Ok(error.at(Position { line: span.start.line, column: span.start.column })),
            (Ok(error), None) => Ok(error),
            (Err(inner), _) => Err(DataFusionError::Diagnostic(diagnostic, Box::new(inner))),
        },
        DataFusionError::Context(context, inner) => {
            own(*inner).map_err(|inner| DataFusionError::Context(context, Box::new(inner)))
        }
        other => Err(other),
    }
}

/// The innermost message, without DataFusion's own prefixes.
fn plain_message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => plain_message(inner),
        DataFusionError::Collection(errors) => {
            errors.first().map_or_else(|| error.message().into_owned(), plain_message)
        }
        DataFusionError::Shared(inner) => plain_message(inner),
        other => other.message().trim_end_matches('.').to_owned(),
    }
}

impl From<PlanError> for SqlError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::InvalidOption(message) | PlanError::GivenOption { message, .. } => Self::invalid(message),
            error @ PlanError::TooDeep { .. } => Self::invalid(error.to_string()),
            PlanError::DataFusion(error) => error.into(),
            other => Self::Graph(other),
        }
    }
}

impl From<arrow::error::ArrowError> for SqlError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Graph(error.into())
    }
}
