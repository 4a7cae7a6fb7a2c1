//! Rows of a snapshot that wait on disk until it is written.
//!
//! Of state that fills its memory a snapshot may have most. In memory it would take as much again, for as long as the
//! storage takes: so rows are written here as they are made, and read when the snapshot is.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;

use super::scratch::{ScratchFile, ScratchFolder};
use crate::error::Result;
use crate::state::LaterRows;
use crate::state::read_at::{Section, SnapshotBytes};

/// Writes rows, some at a time; nothing if there are none.
pub(crate) fn set_aside(
    folder: &ScratchFolder,
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> Result<Option<Arc<dyn LaterRows>>> {
    let mut batches = batches.filter(|batch| batch.as_ref().map_or(true, |batch| batch.num_rows() > 0));
    let Some(first) = batches.next().transpose()? else { return Ok(None) };
    let (file, mut end) = (folder.file()?, 0);
    let mut stream = StreamWriter::try_new(Vec::new(), first.schema_ref())?;
    for batch in std::iter::once(Ok(first)).chain(batches) {
        stream.write(&batch?)?;
        append(&file, &mut end, stream.get_mut())?;
    }
    append(&file, &mut end, &mut stream.into_inner()?)?;
    Ok(Some(Arc::new(Section::of(Arc::new(SnapshotBytes::File(file.into_file())), 0..end))))
}

/// Moves bytes to the end of a file.
pub(super) fn append(file: &ScratchFile, end: &mut u64, bytes: &mut Vec<u8>) -> Result<()> {
    file.write(bytes, *end)?;
    *end += bytes.len() as u64;
    bytes.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidemill_plans::ids::Epoch;

    use super::*;
    use crate::state::{Belongs, Snapshot, StateMemory};
    use crate::testing::graph::schema;
    use crate::testing::parse_rows;

    #[test]
    fn what_waits_on_disk_is_written_as_what_waits_in_memory() {
        let schema = schema("k:int t:text");
        let scratch = ScratchFolder::new(std::env::temp_dir());
        let bytes = [None, Some(1)].map(|bytes_max| {
            let memory = StateMemory { bytes_max, scratch: scratch.clone() };
            let mut snapshot = Snapshot::default();
            let mut state = snapshot.writer(Epoch(1));
            let batches = ["1 a\n2 b", "", "3 -"].map(|rows| parse_rows(&schema, rows));
            state.behind("rows", Belongs::Anywhere, &memory, batches.into_iter()).unwrap();
            state.behind("none", Belongs::Anywhere, &memory, std::iter::empty()).unwrap();
            assert_eq!(snapshot.rows_in_memory(), if bytes_max.is_some() { 0 } else { 3 });
            let first = snapshot.to_bytes().unwrap();
            assert_eq!(first, snapshot.to_bytes().unwrap(), "they may be read again");
            first
        });
        assert_eq!(bytes[0], bytes[1]);
        assert_eq!(Snapshot::from_bytes(&bytes[0]).unwrap().row_count().unwrap(), 3);
    }
}
