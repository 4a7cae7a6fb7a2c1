//! The dialect: parse, bind, optimise, lower to a dataflow graph.
//!
//! A script goes through [`parse_script`]; each statement through [`Session::execute`], which answers
//! at once, changes the session, or gives a job; jobs go into a [`JobBuilder`], whose graph the
//! coordinator runs. Nothing here reads a file or knows a connector's code.
//!
//! Reading order: `parser` (text to statements), `session` (what a statement does), `planner` (a query
//! to a DataFusion plan over streams), `lower` (that plan to operators), `job` (operators to a graph); `batch` (a query that runs as a whole).

pub mod access;
mod append;
mod ast;
mod batch;
mod catalog;
mod constant;
mod create_table_as;
mod describe;
mod dialect;
pub mod document;
mod error;
mod insert;
mod interval;
mod job;
mod lower;
mod model_files;
mod model_versions;
mod parameters;
mod parser;
mod planner;
mod problem;
mod pushed;
mod session;
mod show;
mod stack;
mod statement;
mod substrait;
pub mod system;
mod training_set;
mod view_rows;

pub use catalog::Catalog;
pub use describe::{Description, TableInfo, sql_type_name};
pub use error::{Position, Result, SqlError};
pub use job::{Added, JobBuilder, JobStatement, ResultColumns, RunningView};
pub use model_files::{ExportCommand, FoundModel, WantedFile, texts_of};
pub use model_versions::AliasCommand;
pub use parameters::ParameterValue;
pub use parser::{ParsedStatement, note_shared_sinks, parse_script};
pub use pushed::{PushTarget, create_table};
pub use session::{Outcome, Session};
pub use statement::{JobCommand, JobName};
pub use substrait::parse_substrait;
pub use training_set::ReplacedModel;

#[cfg(test)]
mod tests;
