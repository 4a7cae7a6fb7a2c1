//! Lists of every length, side by side, and structs.

use arrow::array::{FixedSizeListArray, Int64Array, LargeListArray, ListArray, StructArray};
use arrow::datatypes::{Field, Fields, Int64Type, Schema};
use expect_test::{Expect, expect};
use tidemill_plans::change::{ChangeOp, change_array, change_field};
use tidemill_plans::node::NodeKind;

use super::*;
use crate::rows::int64;
use crate::testing::{graph, show_rows};

type Rows<'a> = &'a [Option<&'a [Option<i64>]>];

fn list(rows: Rows<'_>) -> ArrayRef {
    let rows = rows.iter().map(|row| row.map(|row| row.to_vec()));
    Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows))
}

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let fields = fields.map(|field| if field.name() == "__op" { change_field() } else { field });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.iter().map(|(_, column)| Arc::clone(column)).collect()).unwrap()
}

/// Unnests a batch; what comes out, batch by batch.
fn unnest(input: &RecordBatch, columns: Vec<UnnestColumn>, keeps_empty: bool) -> Vec<RecordBatch> {
    let types = columns.iter().map(|column| match (column, input.schema_ref().field(0)) {
        (UnnestColumn::Passed(column), _) => input.schema_ref().field(*column).data_type().clone(),
        _ => DataType::Int64,
    });
    let mut fields: Vec<Field> =
        types.enumerate().map(|(index, data_type)| Field::new(format!("c{index}"), data_type, true)).collect();
    fields.extend(change_column_index(input.schema_ref()).map(|_| change_field()));
    let node = NodeKind::Unnest(UnnestNode { columns, keeps_empty });
    let mut harness = graph::harness(node, &[input.schema_ref()], Arc::new(Schema::new(fields)));
    harness.push_batch(0, input.clone()).unwrap();
    harness.batches()
}

fn check(input: &RecordBatch, columns: Vec<UnnestColumn>, keeps_empty: bool, expected: Expect) {
    let text: String = unnest(input, columns, keeps_empty).iter().map(|batch| show_rows(batch).unwrap()).collect();
    expected.assert_eq(&text);
}

#[test]
fn a_row_becomes_a_row_for_each_element() {
    let lists = list(&[Some(&[Some(1), None, Some(3)]), None, Some(&[]), Some(&[Some(4)])]);
    let input = batch(&[("k", int64([10, 20, 30, 40])), ("l", lists)]);
    let columns = vec![UnnestColumn::Elements(1), UnnestColumn::Passed(0)];
    check(
        &input,
        columns.clone(),
        false,
        expect![[r#"
            1 10
            - 10
            3 10
            4 40
        "#]],
    );
    check(
        &input,
        columns,
        true,
        expect![[r#"
            1 10
            - 10
            3 10
            - 20
            - 30
            4 40
        "#]],
    );
}

#[test]
fn shorter_lists_are_filled_up_with_nulls() {
    let a = list(&[Some(&[Some(1), Some(2)]), None, Some(&[])]);
    let b = list(&[Some(&[Some(7)]), Some(&[Some(8), Some(9)]), None]);
    let input = batch(&[("k", int64([10, 20, 30])), ("a", a), ("b", b)]);
    let columns = vec![UnnestColumn::Passed(0), UnnestColumn::Elements(1), UnnestColumn::Elements(2)];
    check(
        &input,
        columns,
        false,
        expect![[r#"
            10 1 7
            10 2 -
            20 - 8
            20 - 9
        "#]],
    );
}

#[test]
fn a_slice_of_a_list_column_and_every_kind_of_list() {
    let lists = list(&[Some(&[Some(1)]), Some(&[Some(2), Some(3)]), None, Some(&[Some(4)])]).slice(1, 3);
    let input = batch(&[("l", lists)]);
    check(
        &input,
        vec![UnnestColumn::Elements(0)],
        false,
        expect![[r#"
            2
            3
            4
        "#]],
    );
    let large: ArrayRef =
        Arc::new(LargeListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), Some(2)]), None]));
    check(
        &batch(&[("l", large)]),
        vec![UnnestColumn::Elements(0)],
        true,
        expect![[r#"
            1
            2
            -
        "#]],
    );
    let fixed = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(
        [Some(vec![Some(0), Some(0)]), Some(vec![Some(1), Some(2)]), None, Some(vec![None, Some(3)])],
        2,
    );
    let fixed: ArrayRef = Arc::new(fixed.slice(1, 3));
    check(
        &batch(&[("l", fixed)]),
        vec![UnnestColumn::Elements(0)],
        false,
        expect![[r#"
            1
            2
            -
            3
        "#]],
    );
}

#[test]
fn a_structs_fields_are_null_where_it_is() {
    let fields = Fields::from(vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Int64, true)]);
    let columns: Vec<ArrayRef> = vec![int64([1, 2, 3]), Arc::new(Int64Array::from(vec![None, Some(5), Some(6)]))];
    let nulls = NullBuffer::from(vec![true, true, false]);
    let structs: ArrayRef = Arc::new(StructArray::new(fields, columns, Some(nulls)));
    let input = batch(&[("s", structs)]);
    let columns = vec![UnnestColumn::Field { column: 0, field: 0 }, UnnestColumn::Field { column: 0, field: 1 }];
    check(
        &input,
        columns,
        false,
        expect![[r#"
            1 -
            2 5
            - -
        "#]],
    );
}

#[test]
fn changes_stay_what_they_are() {
    let lists = list(&[Some(&[Some(1), Some(2)]), Some(&[Some(3)])]);
    let ops = change_array(&[ChangeOp::Delete, ChangeOp::Insert]);
    let input = batch(&[("l", lists), ("__op", ops)]);
    check(
        &input,
        vec![UnnestColumn::Elements(0)],
        false,
        expect![[r#"
            -D 1
            -D 2
            +I 3
        "#]],
    );
}

#[test]
fn much_comes_out_in_several_batches_and_nothing_in_none() {
    let elements: Vec<Option<i64>> = (0..5).map(Some).collect();
    let rows = vec![Some(elements.as_slice()); 10];
    let out = unnest(&batch(&[("l", list(&rows))]), vec![UnnestColumn::Elements(0)], false);
    assert_eq!(out.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [10, 10, 10, 10, 10]);
    assert_eq!(unnest(&batch(&[("l", list(&[]))]), vec![UnnestColumn::Elements(0)], true).len(), 0);
}
