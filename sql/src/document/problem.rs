//! What is wrong with a document, and where: the path is put together on the way out.

use std::fmt::Display;

use tidemill_plans::PlanError;

use crate::error::SqlError;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Problem {
    /// The innermost part first.
    path: Vec<String>,
    message: String,
}

/// What reading a part of a document comes to.
pub(super) type Read<T> = Result<T, Problem>;

impl Problem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), message: message.into() }
    }

    /// The whole path, with dots in front of names and none in front of indexes; and what is wrong there.
    pub(super) fn into_parts(self) -> (String, String) {
        let mut path = String::new();
        for part in self.path.iter().rev() {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        (path, self.message)
    }
}

/// A part of a document that is read.
pub(super) trait Within {
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
        self.within(&format!("[{index}]"))
    }
}

/// Reads each element of a list.
pub(super) fn each<T, R>(list: &[T], mut read: impl FnMut(&T) -> Read<R>) -> Read<Vec<R>> {
    list.iter().enumerate().map(|(index, element)| read(element).at(index)).collect()
}

impl From<SqlError> for Problem {
    fn from(error: SqlError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        Self::new(error.to_string())
    }
}

/// What is wrong with a value, which says itself what.
pub(super) fn wrong(error: impl Display) -> Problem {
    Problem::new(error.to_string())
}
