//! SUM of integers that fails where it does not fit its type. DataFusion's wraps around; PostgreSQL, DuckDB and Spark
//! either have a wider type or fail.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, cast::AsArray};
use arrow::datatypes::{DataType, FieldRef, Int64Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, Expr, GroupsAccumulator, Operator,
    ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

/// DataFusion's SUM, whose sums of integers are checked.
pub(super) fn function() -> AggregateUDF {
    AggregateUDF::from(CheckedSum { inner: Sum::new() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    inner: Sum,
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, argument_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(argument_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match args.return_field.data_type() {
            DataType::Int64 if !args.is_distinct => Ok(Box::new(IntegerSum::<Int64Type>::new(false))),
            DataType::UInt64 if !args.is_distinct => Ok(Box::new(IntegerSum::<UInt64Type>::new(false))),
            _ => self.inner.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match args.return_field.data_type() {
            DataType::Int64 if !args.is_distinct => Ok(Box::new(IntegerSum::<Int64Type>::new(true))),
            DataType::UInt64 if !args.is_distinct => Ok(Box::new(IntegerSum::<UInt64Type>::new(true))),
            _ => self.inner.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match args.return_field.data_type() {
            DataType::Int64 => Ok(CheckedGroups::boxed::<Int64Type>()),
            DataType::UInt64 => Ok(CheckedGroups::boxed::<UInt64Type>()),
            _ => self.inner.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }

    fn simplify_expr_op_literal(
        &self,
        call: &AggregateFunction,
        argument: &Expr,
        op: Operator,
        literal: &Expr,
        is_left: bool,
    ) -> Result<Option<Expr>> {
        self.inner.simplify_expr_op_literal(call, argument, op, literal, is_left)
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Integers of 64 bits.
trait Integer: ArrowPrimitiveType {
    /// The upper and the lower half of a value. Billions of halves fit into the type that they have here, so that
    /// compilers find vectors of them.
    fn halves(value: Self::Native) -> (i64, i64);

    /// A sum as a value, if it fits.
    fn value(sum: i128) -> Option<Self::Native>;

    /// Adds to a sum; whether it has overflowed.
    fn add(sum: &mut Self::Native, value: Self::Native) -> bool;
}

const HALF: u32 = 32;
const LOWER: i64 = 0xffff_ffff;

impl Integer for Int64Type {
    fn halves(value: i64) -> (i64, i64) {
        (value >> HALF, value & LOWER)
    }

    fn value(sum: i128) -> Option<i64> {
        sum.try_into().ok()
    }

    fn add(sum: &mut i64, value: i64) -> bool {
        let (added, overflows) = sum.overflowing_add(value);
        *sum = added;
        overflows
    }
}

impl Integer for UInt64Type {
    fn halves(value: u64) -> (i64, i64) {
        ((value >> HALF) as i64, (value & LOWER as u64) as i64)
    }

    fn value(sum: i128) -> Option<u64> {
        sum.try_into().ok()
    }

    fn add(sum: &mut u64, value: u64) -> bool {
        let (added, overflows) = sum.overflowing_add(value);
        *sum = added;
        overflows
    }
}

fn sum_of<T: Integer>(values: &PrimitiveArray<T>) -> i128 {
    let (mut upper, mut lower) = (0, 0);
    let mut add = |value| {
        let (more, less) = T::halves(value);
        upper += more;
        lower += less;
    };
    match values.null_count() {
        0 => values.values().iter().for_each(|value| add(*value)),
        _ => values.iter().flatten().for_each(add),
    }
    (i128::from(upper) << HALF) + i128::from(lower)
}

fn does_not_fit(data_type: &DataType) -> DataFusionError {
    let name = if *data_type == DataType::UInt64 { "BIGINT UNSIGNED" } else { "BIGINT" };
    DataFusionError::Execution(format!(
        "Overflow happened: a SUM does not fit {name}; CAST its argument to DECIMAL(38, 0)"
    ))
}

/// A sum of any number of values, which is looked at only when it is asked for: what is taken back may make it fit.
struct IntegerSum<T> {
    sum: i128,
    /// How many values there are that are not null.
    count: u64,
    /// Whether the count is part of the state.
    slides: bool,
    of: PhantomData<fn() -> T>,
}

impl<T> IntegerSum<T> {
    fn new(slides: bool) -> Self {
        Self { sum: 0, count: 0, slides, of: PhantomData }
    }
}

impl<T> fmt::Debug for IntegerSum<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntegerSum").field("sum", &self.sum).field("count", &self.count).finish()
    }
}

fn count_of(values: &dyn Array) -> u64 {
    (values.len() - values.null_count()) as u64
}

impl<T: Integer> Accumulator for IntegerSum<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<T>();
        self.count += count_of(values);
        self.sum += sum_of(values);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums = states[0].as_primitive::<T>();
        self.sum += sum_of(sums);
        self.count += match states.get(1) {
            Some(counts) => arrow::compute::sum(counts.as_primitive::<UInt64Type>()).unwrap_or(0),
            None => count_of(sums),
        };
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<T>();
        self.count -= count_of(values);
        self.sum -= sum_of(values);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.slides
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = (self.count > 0).then(|| T::value(self.sum).ok_or_else(|| does_not_fit(&T::DATA_TYPE)));
        ScalarValue::new_primitive::<T>(sum.transpose()?, &T::DATA_TYPE)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut state = vec![self.evaluate()?];
        if self.slides {
            state.push(self.count.into());
        }
        Ok(state)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// Sums of many groups, of which one may have overflowed. DataFusion's own do the work; a sum is as wide as its type
/// there, so values that would make it fit again come too late.
struct CheckedGroups {
    inner: Box<dyn GroupsAccumulator>,
    overflowed: Arc<AtomicBool>,
    data_type: DataType,
}

impl CheckedGroups {
    fn boxed<T: Integer + Send>() -> Box<dyn GroupsAccumulator> {
        let overflowed = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&overflowed);
        let add = move |sum: &mut T::Native, value: T::Native| {
            if T::add(sum, value) {
                noted.store(true, Ordering::Relaxed);
            }
        };
        let inner = Box::new(PrimitiveGroupsAccumulator::<T, _>::new(&T::DATA_TYPE, add));
        Box::new(Self { inner, overflowed, data_type: T::DATA_TYPE })
    }

    fn check(&self) -> Result<()> {
        if self.overflowed.load(Ordering::Relaxed) { Err(does_not_fit(&self.data_type)) } else { Ok(()) }
    }
}

impl GroupsAccumulator for CheckedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.inner.update_batch(values, groups, filter, total)?;
        self.check()
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, total)?;
        self.check()
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, UInt64Array};
    use proptest::prelude::*;

    use super::*;

    fn array(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    #[test]
    fn a_sum_that_fits_in_the_end_fits() {
        let mut sum = IntegerSum::<Int64Type>::new(true);
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Int64(None));
        sum.update_batch(&[array(&[Some(i64::MAX), None, Some(i64::MAX)])]).unwrap();
        assert!(sum.evaluate().unwrap_err().to_string().contains("Overflow"));
        sum.retract_batch(&[array(&[Some(i64::MAX)])]).unwrap();
        assert_eq!(sum.state().unwrap(), [ScalarValue::Int64(Some(i64::MAX)), ScalarValue::UInt64(Some(1))]);
        let mut unsigned = IntegerSum::<UInt64Type>::new(false);
        unsigned.update_batch(&[Arc::new(UInt64Array::from(vec![u64::MAX - 1, 1]))]).unwrap();
        assert_eq!(unsigned.evaluate().unwrap(), ScalarValue::UInt64(Some(u64::MAX)));
        unsigned.update_batch(&[Arc::new(UInt64Array::from(vec![1]))]).unwrap();
        unsigned.state().unwrap_err();
    }

    #[test]
    fn groups_fail_where_one_does_not_fit() {
        let mut groups = CheckedGroups::boxed::<Int64Type>();
        let values = array(&[Some(i64::MAX), Some(i64::MIN), None, Some(-1)]);
        groups.update_batch(&[Arc::clone(&values)], &[0, 1, 1, 0], None, 2).unwrap();
        let error = groups.update_batch(&[values], &[2, 1, 1, 2], None, 3).unwrap_err();
        assert!(error.to_string().contains("Overflow"), "{error}");
    }

    proptest! {
        #[test]
        fn sums_are_those_of_wider_integers(values: Vec<Option<i64>>, others: Vec<u64>) {
            let wide: i128 = values.iter().flatten().map(|value| i128::from(*value)).sum();
            prop_assert_eq!(sum_of(&Int64Array::from(values)), wide);
            let wide: i128 = others.iter().map(|value| i128::from(*value)).sum();
            prop_assert_eq!(sum_of(&UInt64Array::from(others)), wide);
        }
    }
}
