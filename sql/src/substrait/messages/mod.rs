//! The messages of Substrait (substrait.io) that are read, as far as they are.
//!
//! Names and numbers of fields are the specification's. What is refused by name is declared as [`Unread`]; what is not
//! declared at all, such as hints, is passed over, as in every Protocol Buffers message.

mod expression;
mod function;
mod literal;
mod plan;
mod relation;
mod types;

pub(crate) use self::expression::*;
pub(crate) use self::function::*;
pub(crate) use self::literal::*;
pub(crate) use self::plan::*;
pub(crate) use self::relation::*;
pub(crate) use self::types::*;

use prost::Message;

/// A message of which nothing matters but that it is there.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Unread {}
