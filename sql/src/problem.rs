//! What is wrong with a document or a plan from outside, and where: the path is put together on the way out.

use std::fmt::{self, Display};

use datafusion::error::DataFusionError;
use tidemill_plans::PlanError;

use crate::error::SqlError;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Problem {
    /// The innermost part first.
    path: Vec<String>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// It contradicts itself, the catalog, or a type.
    Wrong(String),
    /// It means something that this release cannot do; what would work.
    Unsupported(String, String),
}

/// What reading a part of a document comes to.
pub(crate) type Read<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), what: What::Wrong(message.into()) }
    }

    pub(crate) fn unsupported(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: Vec::new(), what: What::Unsupported(what.into(), hint.into()) }
    }

    /// The whole path, with dots in front of names and none in front of indexes; and what is wrong there.
    pub(crate) fn into_parts(self) -> (String, String) {
        (self.path(), self.what.to_string())
    }

    /// An error that says in front of what is wrong where that is.
    pub(crate) fn into_error(self) -> SqlError {
        let path = self.path();
        match self.what {
            What::Wrong(message) => SqlError::invalid(format!("{path}: {message}")),
            What::Unsupported(what, hint) => SqlError::unsupported(format!("{path}: {what}"), hint),
        }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for part in self.path.iter().rev() {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        path
    }
}

impl Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(message) => f.write_str(message),
            Self::Unsupported(what, hint) => write!(f, "{what} is not supported; {hint}"),
        }
    }
}

/// A part of a document that is read.
pub(crate) trait Within {
    /// The same; what is wrong is in this member.
    fn within(self, member: &str) -> Self;

    /// The same; what is wrong is in this element.
    fn at(self, index: usize) -> Self;
}

impl<T> Within for Read<T> {
    fn within(self, member: &str) -> Self {
        self.map_err(|mut problem| {
            problem.path.push(member.to_owned());
            problem
        })
    }

    fn at(self, index: usize) -> Self {
        self.map_err(|mut problem| {
            problem.path.push(format!("[{index}]"));
            problem
        })
    }
}

/// Reads each element of a list.
pub(crate) fn each<T, R>(list: &[T], mut read: impl FnMut(&T) -> Read<R>) -> Read<Vec<R>> {
    list.iter().enumerate().map(|(index, element)| read(element).at(index)).collect()
}

impl From<SqlError> for Problem {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Unsupported { at, what, hint } if !at.is_known() => Self::unsupported(what, hint),
            error => Self::new(error.to_string()),
        }
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<DataFusionError> for Problem {
    fn from(error: DataFusionError) -> Self {
        SqlError::from(error).into()
    }
}

/// What is wrong with a value, which says itself what.
pub(crate) fn wrong(error: impl Display) -> Problem {
    Problem::new(error.to_string())
}
