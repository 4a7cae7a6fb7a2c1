//! Rows that stand in a statement, on their way through the plan: an option of the source that gives them out.

use arrow::array::RecordBatch;

use crate::connector::option;
use crate::error::{PlanError, Result};
use crate::ipc;

/// The option that has the rows.
const ROWS: &str = "rows";

/// The options of a source of these rows.
pub fn to_options(rows: &RecordBatch) -> Result<Vec<(String, String)>> {
    let digits = ipc::of_batch(rows)?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(vec![(String::from(ROWS), digits)])
}

/// The rows of a source with these options.
pub fn from_options(options: &[(String, String)]) -> Result<RecordBatch> {
    let wrong = || PlanError::InvalidGraph(format!("a source of values has no option '{ROWS}' with rows in it"));
    let digits = option(options, ROWS).map(str::as_bytes).ok_or_else(wrong)?;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    ipc::decode(bytes.ok_or_else(wrong)?)?.batches.pop().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn rows_survive_their_option() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let rows = RecordBatch::try_from_iter_with_nullable([("a", values, true)]).unwrap();
        let mut options = to_options(&rows).unwrap();
        assert_eq!(from_options(&options).unwrap(), rows);
        options[0].1.push('x');
        assert!(from_options(&options).is_err() && from_options(&[]).is_err());
    }
}
