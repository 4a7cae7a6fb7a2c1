//! Expressions and schemas as parts of a plan: DataFusion's own types with a wire form.
//!
//! An expression travels as datafusion-proto, a schema as an Arrow IPC schema message. Columns in an
//! expression are unqualified names of the input's fields, which are unique within a stream.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::{IpcSchemaEncoder, fb_to_schema};
use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::sql::unparser::expr_to_sql;
use datafusion_proto::bytes::Serializeable;

use crate::error::Result;
use crate::functions;
use crate::overflow::checked;

/// Bytes of stack for the wire form of an expression, whose every level is a call: the parser's limit of depth
/// takes more than the 2 MiB of a thread in a debug build.
const STACK_BYTES: usize = 32 << 20;

/// Does some work on a stack with room for deep expressions; nothing of it is mapped that is not used.
fn on_deep_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK_BYTES / 2, STACK_BYTES, work)
}

/// A scalar or aggregate expression over the fields of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamExpr(pub Expr);

impl StreamExpr {
    /// The expression ready to evaluate over batches of `input`. Arithmetic fails where a result does not fit.
    pub fn to_physical(&self, input: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
        let (schema, props) = (DFSchema::try_from(input.clone())?, ExecutionProps::new());
        let expr = create_physical_expr(&self.0, &schema, &props, &PhysicalPlanningContext::default())?;
        Ok(checked(expr)?.data)
    }
}

impl fmt::Display for StreamExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As SQL, so that literals keep their types; the other form can print any expression.
        match expr_to_sql(&self.0) {
            Ok(sql) => write!(f, "{sql}"),
            Err(_) => write!(f, "{}", self.0.human_display()),
        }
    }
}

impl Encode for StreamExpr {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let bytes = on_deep_stack(|| self.0.to_bytes());
        let bytes = bytes.map_err(|error| EncodeError::OtherString(error.to_string()))?;
        bytes.to_vec().encode(encoder)
    }
}

impl<C> Decode<C> for StreamExpr {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let bytes = Vec::<u8>::decode(decoder)?;
        on_deep_stack(|| Expr::from_bytes_with_ctx(&bytes, &functions::task_context()))
            .map(Self)
            .map_err(|error| DecodeError::OtherString(undecodable(&error.to_string())))
    }
}

/// Why an expression cannot be decoded. Both sides are of one version of Tidemill, so a function that is not
/// there is one that was registered elsewhere.
fn undecodable(error: &str) -> String {
    let missing = error.split_once("LogicalExtensionCodec is not provided for ");
    let name = missing.and_then(|(_, call)| call.split_once("function ")?.1.split(['"', '\\']).next());
    match name {
        Some(name) => format!(
            "the function '{name}' is not there in the worker's process: register it there before \
             tidemill::cli::main(), or run the script without worker processes"
        ),
        None => error.to_owned(),
    }
}

bincode::impl_borrow_decode!(StreamExpr);

/// The schema of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSchema(pub SchemaRef);

impl std::ops::Deref for StreamSchema {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        &self.0
    }
}

impl Encode for StreamSchema {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        IpcSchemaEncoder::new().schema_to_fb(&self.0).finished_data().to_vec().encode(encoder)
    }
}

impl<C> Decode<C> for StreamSchema {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let bytes = Vec::<u8>::decode(decoder)?;
        let schema = arrow::ipc::root_as_schema(&bytes).map_err(|error| DecodeError::OtherString(error.to_string()))?;
        // A buffer can be sound and still say nonsense, such as an integer of 7 bits: Arrow panics on it.
        let schema = catch_unwind(AssertUnwindSafe(|| fb_to_schema(schema)))
            .map_err(|_| DecodeError::Other("the schema has a field without a type that Arrow knows"))?;
        Ok(Self(Arc::new(schema)))
    }
}

bincode::impl_borrow_decode!(StreamSchema);

#[cfg(test)]
mod tests;
