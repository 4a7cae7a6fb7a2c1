//! Functions registered from Rust, wrapped so that a wrong one ends its job with an error that names it.
//!
//! DataFusion trusts what a function returns: a column of another type or length than promised would be
//! found far from the function, or not at all. Here it is compared with the promise, and a panic inside
//! the function becomes an error too. None of these errors is one of a row, so nothing goes to the dead
//! letters. Names are in lower case, as SQL has them.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Documentation, EmitTo, Expr, GroupsAccumulator,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::error::PlanError;

/// A scalar function whose every result is checked.
pub(super) fn scalar(function: &ScalarUDF) -> ScalarUDF {
    let (name, aliases) = (function.name().to_lowercase(), lower_case(function.aliases()));
    ScalarUDF::from(CheckedScalar { name, aliases, inner: Arc::clone(function.inner()) })
}

/// An aggregate function whose every result and state is checked.
pub(super) fn aggregate(function: &AggregateUDF) -> AggregateUDF {
    let (name, aliases) = (function.name().to_lowercase(), lower_case(function.aliases()));
    AggregateUDF::from(CheckedAggregate { name, aliases, inner: Arc::clone(function.inner()) })
}

fn lower_case(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.to_lowercase()).collect()
}

/// An error in the function, which is no bad row's.
fn wrong(function: &str, message: impl fmt::Display) -> DataFusionError {
    DataFusionError::External(Box::new(PlanError::Function(format!("the function '{function}' {message}"))))
}

/// Runs the function's own code.
fn guarded<T>(function: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(wrong(function, told(panic.as_ref()))))
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| String::from("without a text")))
}

fn check_type(function: &str, what: &str, found: &DataType, promised: &DataType) -> Result<()> {
    if found == promised {
        return Ok(());
    }
    Err(wrong(function, format!("{what} {found}, but promised {promised}: correct its return type or its result")))
}

fn check_rows(function: &str, found: usize, wanted: usize) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let message =
        format!("returned {found} values for a batch of {wanted}: it has to return one for each row, in order");
    Err(wrong(function, message))
}

#[derive(Debug)]
struct CheckedScalar {
    name: String,
    aliases: Vec<String>,
    inner: Arc<dyn ScalarUDFImpl>,
}

impl PartialEq for CheckedScalar {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.inner.dyn_eq(other.inner.as_ref())
    }
}

impl Eq for CheckedScalar {}

impl Hash for CheckedScalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// What only tells an optimiser more than it needs to know is left at its default.
impl ScalarUDFImpl for CheckedScalar {
    fn name(&self) -> &str {
        &self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, argument_types: &[DataType]) -> Result<DataType> {
        guarded(&self.name, || self.inner.return_type(argument_types))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        guarded(&self.name, || self.inner.return_field_from_args(args))
    }

    fn coerce_types(&self, argument_types: &[DataType]) -> Result<Vec<DataType>> {
        guarded(&self.name, || self.inner.coerce_types(argument_types))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        guarded(&self.name, || self.inner.simplify(args, info))
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (promised, rows) = (Arc::clone(&args.return_field), args.number_rows);
        // A function of constants may return one row for all.
        let constant = !args.args.is_empty() && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let result = guarded(&self.name, || self.inner.invoke_with_args(args))?;
        check_type(&self.name, "returned", &result.data_type(), promised.data_type())?;
        match &result {
            ColumnarValue::Array(array) if !(constant && array.len() == 1) => {
                check_rows(&self.name, array.len(), rows)?;
            }
            _ => {}
        }
        Ok(result)
    }
}

#[derive(Debug)]
struct CheckedAggregate {
    name: String,
    aliases: Vec<String>,
    inner: Arc<dyn AggregateUDFImpl>,
}

impl PartialEq for CheckedAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.inner.dyn_eq(other.inner.as_ref())
    }
}

impl Eq for CheckedAggregate {}

impl Hash for CheckedAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl CheckedAggregate {
    fn promise(&self, args: &AccumulatorArgs) -> Result<Promise> {
        // Nothing tells whether the function's accumulator minds the word, so it is never passed on.
        if args.is_distinct {
            let message = "does not take DISTINCT: SELECT DISTINCT in a subquery, and aggregate around it";
            return Err(wrong(&self.name, message));
        }
        let state = self.inner.state_fields(StateFieldsArgs {
            name: args.name,
            input_fields: args.expr_fields,
            return_field: Arc::clone(&args.return_field),
            ordering_fields: &[],
            is_distinct: false,
        })?;
        let state = state.iter().map(|field| field.data_type().clone()).collect();
        Ok(Promise { function: self.name.clone(), result: args.return_field.data_type().clone(), state })
    }
}

impl AggregateUDFImpl for CheckedAggregate {
    fn name(&self) -> &str {
        &self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, argument_types: &[DataType]) -> Result<DataType> {
        guarded(&self.name, || self.inner.return_type(argument_types))
    }

    fn return_field(&self, argument_fields: &[FieldRef]) -> Result<FieldRef> {
        guarded(&self.name, || self.inner.return_field(argument_fields))
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn coerce_types(&self, argument_types: &[DataType]) -> Result<Vec<DataType>> {
        guarded(&self.name, || self.inner.coerce_types(argument_types))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let promise = self.promise(&args)?;
        let inner = guarded(&self.name, || self.inner.accumulator(args))?;
        Ok(Box::new(CheckedAccumulator { promise, inner }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let promise = self.promise(&args)?;
        let inner = guarded(&self.name, || self.inner.create_sliding_accumulator(args))?;
        Ok(Box::new(CheckedAccumulator { promise, inner }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let promise = self.promise(&args)?;
        let inner = guarded(&self.name, || self.inner.create_groups_accumulator(args))?;
        Ok(Box::new(CheckedGroups { promise, inner, groups: 0 }))
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.inner.simplify()
    }

    /// Nothing in a stream comes in another order than that of its rows.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::HardRequirement
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.supports_within_group_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// What an aggregate function says that it returns.
#[derive(Debug)]
struct Promise {
    function: String,
    result: DataType,
    state: Vec<DataType>,
}

impl Promise {
    fn check_result(&self, found: &DataType) -> Result<()> {
        check_type(&self.function, "returned", found, &self.result)
    }

    fn check_state<'a>(&self, found: impl ExactSizeIterator<Item = &'a DataType>) -> Result<()> {
        if found.len() != self.state.len() {
            let message = format!("has a state of {} values, but promised {}", found.len(), self.state.len());
            return Err(wrong(&self.function, message));
        }
        found
            .zip(&self.state)
            .try_for_each(|(found, promised)| check_type(&self.function, "has a state that holds", found, promised))
    }
}

#[derive(Debug)]
struct CheckedAccumulator {
    promise: Promise,
    inner: Box<dyn Accumulator>,
}

impl Accumulator for CheckedAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        guarded(&self.promise.function, || self.inner.update_batch(values))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        guarded(&self.promise.function, || self.inner.merge_batch(states))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        guarded(&self.promise.function, || self.inner.retract_batch(values))
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = guarded(&self.promise.function, || self.inner.evaluate())?;
        self.promise.check_result(&value.data_type())?;
        Ok(value)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = guarded(&self.promise.function, || self.inner.state())?;
        let types: Vec<DataType> = state.iter().map(ScalarValue::data_type).collect();
        self.promise.check_state(types.iter())?;
        Ok(state)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

struct CheckedGroups {
    promise: Promise,
    inner: Box<dyn GroupsAccumulator>,
    /// How many groups there are.
    groups: usize,
}

impl CheckedGroups {
    /// How many groups an emission takes out.
    fn emitted(&mut self, emit_to: EmitTo) -> usize {
        let emitted = match emit_to {
            EmitTo::All => self.groups,
            EmitTo::First(groups) => groups,
        };
        self.groups = self.groups.saturating_sub(emitted);
        emitted
    }
}

impl GroupsAccumulator for CheckedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups = total_num_groups;
        guarded(&self.promise.function, || self.inner.update_batch(values, group_indices, opt_filter, total_num_groups))
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups = total_num_groups;
        guarded(&self.promise.function, || self.inner.merge_batch(values, group_indices, total_num_groups))
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = self.emitted(emit_to);
        let result = guarded(&self.promise.function, || self.inner.evaluate(emit_to))?;
        self.promise.check_result(result.data_type())?;
        check_rows(&self.promise.function, result.len(), groups)?;
        Ok(result)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = self.emitted(emit_to);
        let state = guarded(&self.promise.function, || self.inner.state(emit_to))?;
        self.promise.check_state(state.iter().map(Array::data_type).collect::<Vec<_>>().into_iter())?;
        state.iter().try_for_each(|column| check_rows(&self.promise.function, column.len(), groups))?;
        Ok(state)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        guarded(&self.promise.function, || self.inner.convert_to_state(values, opt_filter))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}
