//! Plans as bytes, on their way to workers: what DataFusion and Ballista do not know of them is added here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::{internal_datafusion_err, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::proto_decode::PhysicalExprDecodeCtx;
use datafusion::physical_expr_common::physical_expr::proto_encode::PhysicalExprEncodeCtx;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalPlanNode;
use prost::Message;
use tidemill_plans::batch::{BoundedTable, TableReader};
use tidemill_plans::codec;
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::node::SourceNode;
use tidemill_plans::overflow::checked;
use tidemill_plans::prediction::{self, Question, TrainedModel};

use super::read_parts::ReadParts;
use crate::bad_rows::{GoodPredicate, GoodRows};
use crate::probe_pieces::ProbePieces;

/// What nodes of our own begin with. No message of Ballista's does: its first field has no such number.
const PREFIX: &[u8] = b"tidemill/";

/// Reads and writes plans.
#[derive(Debug)]
pub(crate) struct Codec {
    ballista: BallistaPhysicalExtensionCodec,
    /// Who reads and refuses rows where a plan is to run; nobody where it is only written.
    reader: Option<Arc<dyn TableReader>>,
}

/// What a node says beside its inputs.
#[derive(bincode::Encode, bincode::Decode)]
enum Node {
    /// [`ReadParts`].
    ReadParts(Box<Table>),
    /// [`GoodRows`]: its projection over no rows, in DataFusion's words.
    GoodRows(Vec<u8>),
    /// [`ProbePieces`].
    ProbePieces,
}

/// A table as it is read.
#[derive(bincode::Encode, bincode::Decode)]
struct Table {
    source: SourceNode,
    columns: StreamSchema,
    files: Vec<PathBuf>,
    projection: Vec<u32>,
    parts: u32,
}

/// The only expression of our own.
const GOOD_PREDICATE: &[u8] = b"tidemill/good_predicate";

impl Codec {
    /// Writes plans.
    pub(crate) fn writing() -> Self {
        Self { ballista: BallistaPhysicalExtensionCodec::default(), reader: None }
    }

    /// Reads plans whose tables this reads.
    pub(crate) fn reading(reader: Arc<dyn TableReader>) -> Self {
        Self { ballista: BallistaPhysicalExtensionCodec::default(), reader: Some(reader) }
    }

    fn reader(&self) -> Result<Arc<dyn TableReader>> {
        self.reader.clone().ok_or_else(|| internal_datafusion_err!("plans are not read here"))
    }

    fn table(&self, table: Table, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
        let Table { source, columns, files, projection, parts } = table;
        let table = BoundedTable { source, columns: columns.0, files: Some(files) };
        let projection = projection.into_iter().map(|column| column as usize).collect();
        let numbers = only(inputs)?;
        Ok(Arc::new(ReadParts::over(numbers, Arc::new(table), self.reader()?, projection, parts)?))
    }

    fn good_rows(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = PhysicalPlanNode::decode(bytes).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let plan = converter.proto_to_execution_plan(&plan, &PhysicalPlanDecodeContext::new(context, self))?;
        let projection = plan.downcast_ref::<ProjectionExec>();
        let projection = projection.ok_or_else(|| internal_datafusion_err!("good rows of no projection"))?;
        // Whether arithmetic is checked is not in DataFusion's words.
        let column = |column: &ProjectionExpr| {
            let expr = checked(Arc::clone(&column.expr))?.data;
            Ok(ProjectionExpr { expr, alias: column.alias.clone() })
        };
        let columns = projection.expr().iter().map(column).collect::<Result<Vec<_>>>()?;
        let projection = Arc::new(ProjectionExec::try_new(columns, only(inputs)?)?);
        Ok(Arc::new(GoodRows { projection, reader: self.reader()? }))
    }
}

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(own) = buf.strip_prefix(PREFIX) else {
            return self.ballista.try_decode(buf, inputs, ctx, proto_converter);
        };
        match codec::decode(own).map_err(external)? {
            Node::ReadParts(table) => self.table(*table, inputs),
            Node::GoodRows(projection) => self.good_rows(&projection, inputs, ctx, proto_converter),
            Node::ProbePieces => Ok(Arc::new(ProbePieces::of(only(inputs)?))),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        proto_converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let own = if let Some(parts) = node.downcast_ref::<ReadParts>() {
            Node::ReadParts(Box::new(table_of(parts)?))
        } else if let Some(good) = node.downcast_ref::<GoodRows>() {
            let none = Arc::new(EmptyExec::new(good.projection.input().schema()));
            let projection = ProjectionExec::try_new(good.projection.expr().to_vec(), none)?;
            let projection: Arc<dyn ExecutionPlan> = Arc::new(projection);
            let message = proto_converter.execution_plan_to_proto(&projection, self)?;
            Node::GoodRows(message.encode_to_vec())
        } else if node.is::<ProbePieces>() {
            Node::ProbePieces
        } else {
            return self.ballista.try_encode(node, buf, proto_converter);
        };
        buf.extend_from_slice(PREFIX);
        buf.extend(codec::encode(&own).map_err(external)?);
        Ok(())
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        let Some(weights) = buf.strip_prefix(PREFIX) else { return self.ballista.try_decode_udf(name, buf) };
        let (weights, question) = codec::decode(weights).map_err(external)?;
        let model = TrainedModel::restore(weights).map_err(external)?;
        Ok(Arc::new(prediction::function(Arc::new(model), question)))
    }

    /// Models are known by what they have learnt and are asked, all other functions by their names.
    fn try_encode_udf(&self, node: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        let Some((model, question)) = prediction::asked_by(node) else {
            return self.ballista.try_encode_udf(node, buf);
        };
        if matches!(question, Question::LocalExplanation { .. }) {
            let why = "explanations by LIME have the rows of the training set in one process";
            return Err(DataFusionError::NotImplemented(String::from(why)));
        }
        buf.extend_from_slice(PREFIX);
        buf.extend(codec::encode(&(model.weights(), question)).map_err(external)?);
        Ok(())
    }

    fn try_decode_expr(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn PhysicalExpr>],
        ctx: &PhysicalExprDecodeCtx<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        if buf != GOOD_PREDICATE {
            return self.ballista.try_decode_expr(buf, inputs, ctx);
        }
        let [inner] = inputs else { return internal_err!("a predicate of {} parts", inputs.len()) };
        let inner = checked(Arc::clone(inner))?.data;
        Ok(Arc::new(GoodPredicate { inner, reader: self.reader()? }))
    }

    fn try_encode_expr(
        &self,
        node: &Arc<dyn PhysicalExpr>,
        buf: &mut Vec<u8>,
        ctx: &PhysicalExprEncodeCtx<'_>,
    ) -> Result<()> {
        if !node.as_ref().is::<GoodPredicate>() {
            return self.ballista.try_encode_expr(node, buf, ctx);
        }
        buf.extend_from_slice(GOOD_PREDICATE);
        Ok(())
    }
}

fn table_of(parts: &ReadParts) -> Result<Table> {
    // Workers have folders of their own that paths would be relative to.
    let absolute = |file: &PathBuf| std::path::absolute(file as &Path).map_err(external);
    Ok(Table {
        source: parts.table.source.clone(),
        columns: StreamSchema(Arc::clone(&parts.table.columns)),
        files: parts.table.files.iter().flatten().map(absolute).collect::<Result<_>>()?,
        projection: parts
            .columns
            .iter()
            .map(|column| u32::try_from(*column))
            .collect::<Result<_, _>>()
            .map_err(external)?,
        parts: parts.of,
    })
}

fn only(inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
    match inputs {
        [input] => Ok(Arc::clone(input)),
        _ => internal_err!("a node with {} inputs, and not one", inputs.len()),
    }
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
