//! Appends the values of window functions: calls with OVER.
//!
//! In event-time order over new rows, a row's values are final once its frames are known: it is emitted
//! once, and only what later frames can reach is kept ([`in_order`]). Otherwise a partition is computed
//! anew when it changes, and what differs is emitted ([`updating`]). The functions are DataFusion's own
//! ([`call`]).

mod call;
mod frame;
mod in_order;
mod ranks;
mod resume;
mod updating;

use arrow::datatypes::SchemaRef;
use tidemill_plans::node::{OverEmit, OverWindowNode};

use self::in_order::InOrderOver;
use self::updating::UpdatingOver;
use super::Operator;
use crate::error::Result;
use crate::state::StateMemory;

/// The operator of a node.
pub(super) fn build(
    node: &OverWindowNode,
    input: SchemaRef,
    output: SchemaRef,
    memory: &StateMemory,
) -> Result<Box<dyn Operator>> {
    Ok(match node.emit {
        OverEmit::InOrder { time, rows_ahead, micros_ahead } => {
            Box::new(InOrderOver::new(node, time, (rows_ahead, micros_ahead), input, output, memory)?)
        }
        OverEmit::OnUpdate | OverEmit::AtEnd => Box::new(UpdatingOver::new(node, &input, output, memory)?),
    })
}

#[cfg(test)]
mod tests;
