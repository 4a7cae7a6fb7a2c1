//! Functions whose body is SQL, as DataFusion's planner sees them.
//!
//! A call is planned and typed like that of any function, so a column is named for the call, and aggregates
//! may stand in its arguments. Simplification then puts the body in its place, over the arguments cast to
//! the parameters' types: neither EXPLAIN nor a worker ever sees the call itself.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility, cast,
};
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::expr::StreamExpr;

use super::source::type_name;

/// How many parts an expression may have behind the inlining of a call: each use of a parameter copies its
/// argument, so a few calls within each other could otherwise grow without end.
pub(crate) const PARTS_MAX: usize = 4_096;

/// How deep it may nest: those who copy, send and evaluate it recurse, on threads with 2 MiB of stack.
pub(crate) const DEPTH_MAX: usize = 32;

/// A function with a body.
#[derive(Debug)]
pub(crate) struct InlinedFunction {
    name: String,
    /// Name and types, as errors show them.
    shown: String,
    parameters: SchemaRef,
    returns: DataType,
    /// An expression over the parameters as columns, of the type that is returned.
    body: Expr,
    /// The same, for calls that are evaluated while they are planned.
    evaluated: Arc<dyn PhysicalExpr>,
    signature: Signature,
}

impl InlinedFunction {
    /// A function of a planned body.
    pub(crate) fn new(name: &str, shown: String, parameters: Vec<Field>, body: Expr) -> crate::error::Result<Self> {
        let parameters = Arc::new(Schema::new(parameters));
        let returns = body.get_type(&datafusion::common::DFSchema::try_from(Arc::clone(&parameters))?)?;
        let evaluated = StreamExpr(body.clone()).to_physical(&parameters)?;
        // Any types as far as DataFusion knows: `return_type` says what is wrong with them in better words.
        let signature = match parameters.fields().len() {
            0 => Signature::nullary(Volatility::Immutable),
            count => Signature::any(count, Volatility::Immutable),
        };
        Ok(Self { name: name.to_owned(), shown, parameters, returns, body, evaluated, signature })
    }

    /// The body over these arguments.
    fn inline(&self, arguments: &[Expr], info: &SimplifyContext) -> Result<Expr> {
        self.check_size(arguments)?;
        let given = self.parameters.fields().iter().zip(arguments).map(|(parameter, argument)| {
            match info.get_data_type(argument) {
                Ok(found) if &found == parameter.data_type() => argument.clone(),
                _ => cast(argument.clone(), parameter.data_type().clone()),
            }
        });
        let given: Vec<Expr> = given.collect();
        // From the leaves up: what has been put in is not looked at again.
        let inlined = self.body.clone().transform_up(|part| match part {
            Expr::Column(column) => match self.place(&column.name).and_then(|place| given.get(place)) {
                Some(argument) => Ok(Transformed::yes(argument.clone())),
                None => Ok(Transformed::no(Expr::Column(column))),
            },
            other => Ok(Transformed::no(other)),
        })?;
        Ok(inlined.data)
    }

    fn place(&self, parameter: &str) -> Option<usize> {
        self.parameters.index_of(parameter).ok()
    }

    /// Refuses a call that would become too large, before it does.
    fn check_size(&self, arguments: &[Expr]) -> Result<()> {
        let sizes: Vec<Size> = arguments.iter().map(|argument| size(argument, &|_| None)).collect::<Result<_>>()?;
        let inlined = size(&self.body, &|parameter| sizes.get(self.place(parameter)?).copied())?;
        if inlined.parts <= PARTS_MAX && inlined.depth <= DEPTH_MAX {
            return Ok(());
        }
        let found = match inlined.parts > PARTS_MAX {
            true => format!("{} parts; the limit is {PARTS_MAX}", inlined.parts),
            false => format!("{} levels; the limit is {DEPTH_MAX}", inlined.depth),
        };
        Err(DataFusionError::Plan(format!(
            "with its body in its place, a call of {} becomes an expression of {found}: name the inner calls in a \
             subquery or a view",
            self.name
        )))
    }

    /// Refuses arguments that need a CAST.
    fn check_types(&self, types: &[DataType]) -> Result<()> {
        let wrong = types.iter().zip(self.parameters.fields()).find(|(given, wanted)| !fits(given, wanted.data_type()));
        let Some((given, wanted)) = wrong else { return Ok(()) };
        let (given, wanted, name) = (type_name(given), type_name(wanted.data_type()), wanted.name());
        let message = format!("{} takes {wanted} for {name}, not {given}: write CAST(… AS {wanted})", self.shown);
        Err(DataFusionError::Plan(message))
    }
}

/// The size of an expression.
#[derive(Clone, Copy)]
struct Size {
    parts: usize,
    depth: usize,
}

/// The size of an expression whose columns are as large as `column` says, one part if it says nothing.
fn size(expr: &Expr, column: &impl Fn(&str) -> Option<Size>) -> Result<Size> {
    if let Expr::Column(name) = expr
        && let Some(size) = column(&name.name)
    {
        return Ok(size);
    }
    let mut whole = Size { parts: 1, depth: 0 };
    expr.apply_children(|child| {
        let child = size(child, column)?;
        whole.parts = whole.parts.saturating_add(child.parts);
        whole.depth = whole.depth.max(child.depth);
        Ok(TreeNodeRecursion::Continue)
    })?;
    // On its way to a worker, a CASE has one more message around each branch.
    whole.depth += if matches!(expr, Expr::Case(_)) { 2 } else { 1 };
    Ok(whole)
}

/// Whether a value of a type may stand for one of another without a CAST: as for SQL's own functions, and
/// integers fit each other, for a literal is a BIGINT; a value that is too large makes a bad row.
fn fits(given: &DataType, wanted: &DataType) -> bool {
    if given == wanted || given.is_null() {
        return true;
    }
    let is_text = |data_type: &DataType| data_type.is_string();
    let is_time =
        |data_type: &DataType| matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
    let kind = match wanted {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        wanted if wanted.is_integer() => given.is_integer(),
        wanted if wanted.is_numeric() => given.is_numeric(),
        wanted if is_time(wanted) => is_time(given) || is_text(given),
        DataType::Interval(_) => is_text(given),
        DataType::List(_) | DataType::LargeList(_) => {
            matches!(given, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
        }
        _ => false,
    };
    kind && can_cast_types(given, wanted)
}

impl PartialEq for InlinedFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.parameters == other.parameters && self.body == other.body
    }
}

impl Eq for InlinedFunction {}

impl Hash for InlinedFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.body.hash(state);
    }
}

impl ScalarUDFImpl for InlinedFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.check_types(types)?;
        Ok(self.returns.clone())
    }

    fn simplify(&self, arguments: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inline(&arguments, info).map(ExprSimplifyResult::Simplified)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given = args.args.iter().zip(self.parameters.fields());
        let columns = given
            .map(|(argument, parameter)| argument.cast_to(parameter.data_type(), None)?.into_array(args.number_rows));
        let columns = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(args.number_rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.parameters), columns, &options)?;
        self.evaluated.evaluate(&batch)
    }
}
