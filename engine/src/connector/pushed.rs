//! Rows that clients have pushed: the log of a stream, for ever, or of a table, up to where it was complete when the job
//! began.
//!
//! A stream that is backfilled has a seam, too: where the log was when the job began for the first time.
//!
//! One task reads: the log has an order, and rows that come now and then would leave the time of the other tasks behind.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::PlanError;
use tidemill_plans::codec;
use tidemill_plans::connector::StartupMode;
use tidemill_plans::node::SourceNode;
use tidemill_plans::pushed::{FOLDER, LogNeed, LogReader, Place, SEAM, TABLE_CONNECTOR, UNTIL, oldest_place};

use super::pace::{Pace, Paced};
use super::share::Share;
use super::{Source, SourceEvent, number, option};
use crate::error::{EngineError, Result};
use crate::task::TaskEnv;

/// How long the source sleeps where there is nothing yet.
const WAIT: Duration = Duration::from_millis(5);

/// How far the task has come.
#[derive(bincode::Encode, bincode::Decode)]
enum Position {
    V1 {
        /// In front of the frame that is being read.
        place: Place,
        /// Rows of it that have been given out.
        given: u64,
        /// Where a table ends.
        until: Option<Place>,
    },
    /// In front of the seam.
    V2 {
        /// As above.
        place: Place,
        /// As above.
        given: u64,
        /// Behind all that was there.
        seam: Place,
    },
}

/// The source.
struct Pushed {
    table: String,
    folder: PathBuf,
    reader: LogReader,
    until: Option<Place>,
    /// Whether what was there is told from the rest.
    is_backfilled: bool,
    /// Behind what was there when the job began, until that has been read.
    seam: Option<Place>,
    columns: SchemaRef,
    /// The rows of the frame that was read last, and where that is.
    rows: Option<RecordBatch>,
    place: Place,
    given: usize,
    batch_rows: usize,
}

/// Opens the one task of a source.
pub(super) fn open_source(node: &SourceNode, env: &TaskEnv, share: Share) -> Result<Box<dyn Source>> {
    if share.parallelism > 1 {
        let message = format!("source '{}' of pushed rows is read by one task, not {}", node.table, share.parallelism);
        return Err(PlanError::InvalidGraph(message).into());
    }
    let wanted = |name: &str| {
        let missing = || PlanError::InvalidGraph(format!("reading what is pushed needs the option '{name}'"));
        option(&node.options, name).ok_or_else(missing)
    };
    let until = match node.connector == TABLE_CONNECTOR {
        true => Some(wanted(UNTIL)?.parse::<Place>()?),
        false => None,
    };
    let folder = PathBuf::from(wanted(FOLDER)?);
    let columns = Arc::clone(&node.columns.0);
    let batch_rows = env.settings.source_batch_rows as usize;
    let mut source = Pushed::open(node.table.clone(), folder, until, columns, batch_rows)?;
    match StartupMode::of(&node.options) {
        StartupMode::Earliest => {}
        StartupMode::Latest => source.begin_at(wanted(SEAM)?.parse()?),
        StartupMode::Backfill => source.backfill(wanted(SEAM)?.parse()?),
    }
    let pace = number(&node.options, "rows_per_second").map(|rate| Pace::new(rate, share, 1));
    Ok(Box::new(Paced::new(source, pace, node)))
}

impl Pushed {
    /// In front of all rows that there are.
    fn open(
        table: String,
        folder: PathBuf,
        until: Option<Place>,
        columns: SchemaRef,
        batch_rows: usize,
    ) -> Result<Self> {
        let place = oldest_place(&folder);
        let place = place.map_err(|source| EngineError::File { action: "read", path: folder.clone(), source })?;
        let reader = LogReader::new(folder.clone(), place);
        let (is_backfilled, seam, rows, given) = (false, None, None, 0);
        Ok(Self { table, folder, reader, until, is_backfilled, seam, columns, rows, place, given, batch_rows })
    }

    /// Begins somewhere else.
    fn begin_at(&mut self, place: Place) {
        self.reader = LogReader::new(self.folder.clone(), place);
        self.place = place;
    }

    /// Tells what is in front of this place from the rest.
    fn backfill(&mut self, seam: Place) {
        self.is_backfilled = true;
        self.seam = Some(seam);
    }

    /// Whether nothing is left of the frame that is being read.
    fn is_given_out(&self) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows.num_rows() == self.given)
    }

    /// Sees to it that there are rows to give out; false if there are none yet, or none in front of the seam.
    fn fill(&mut self) -> Result<bool> {
        while self.is_given_out() {
            if self.seam.is_some_and(|seam| self.reader.place() >= seam) {
                return Ok(false);
            }
            let failed = |source| EngineError::File { action: "read", path: self.folder.clone(), source };
            let read = self.reader.next_rows().map_err(failed)?;
            let Some(rows) = read else { return Ok(false) };
            self.rows = Some(self.own_columns(&rows)?);
            self.given = 0;
        }
        Ok(true)
    }

    /// The columns that somebody reads, by name: the log has all that are declared.
    fn own_columns(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let schema = rows.schema();
        let place = |name: &String| schema.index_of(name);
        let places: Result<Vec<usize>, _> = self.columns.fields().iter().map(|field| place(field.name())).collect();
        let rows = rows.project(&places?)?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.columns), rows.columns().to_vec(), &options)?)
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| self.reader.place() >= until)
    }

    fn ended_early(&self) -> EngineError {
        let until = self.until.unwrap_or_default();
        EngineError::State(format!("{} ends at {}, in front of {until}", self.folder.display(), self.reader.place()))
    }
}

impl Source for Pushed {
    fn next_event(&mut self) -> Result<SourceEvent> {
        if self.is_given_out() && self.is_over() {
            return Ok(SourceEvent::End);
        }
        let before = self.reader.place();
        if !self.fill()? {
            if self.until.is_some() {
                return if self.is_over() { Ok(SourceEvent::End) } else { Err(self.ended_early()) };
            }
            // Also where the log ends before it: what nobody was told of has been cut off since.
            if self.seam.take().is_some() {
                return Ok(SourceEvent::CaughtUp);
            }
            std::thread::sleep(WAIT);
            return Ok(SourceEvent::Idle);
        }
        if self.given == 0 {
            self.place = before;
        }
        let Some(rows) = &self.rows else { return Ok(SourceEvent::Idle) };
        let count = (rows.num_rows() - self.given).min(self.batch_rows);
        self.given += count;
        Ok(SourceEvent::Batch(rows.slice(self.given - count, count)))
    }

    fn position(&self) -> Result<Vec<u8>> {
        let (place, given) =
            if self.is_given_out() { (self.reader.place(), 0) } else { (self.place, self.given as u64) };
        Ok(codec::encode(&match self.seam {
            Some(seam) => Position::V2 { place, given, seam },
            None => Position::V1 { place, given, until: self.until },
        })?)
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let (place, given, until, seam) = match codec::decode(position)? {
            Position::V1 { place, given, until } => (place, given, until, None),
            Position::V2 { place, given, seam } => (place, given, None, Some(seam)),
        };
        self.seam = None;
        self.reader = LogReader::new(self.folder.clone(), place);
        (self.place, self.until, self.rows, self.given) = (place, until, None, 0);
        if given > 0 {
            let found = self.fill()?;
            let rows = self.rows.as_ref().filter(|_| found).map_or(0, RecordBatch::num_rows);
            let behind = || EngineError::State(format!("{given} rows at {place} were read, and there are {rows}"));
            self.given = usize::try_from(given).ok().filter(|given| *given <= rows).ok_or_else(behind)?;
        }
        // The job's, and not that of a new one which begins from its savepoint.
        self.seam = seam.filter(|_| self.is_backfilled);
        Ok(())
    }

    fn is_backfilling(&self) -> bool {
        self.seam.is_some()
    }

    /// The frame that was read last may be read again: rows of it may be held back.
    fn needs(&self) -> Option<LogNeed> {
        Some(LogNeed { source: self.table.clone(), segment: self.place.segment })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use arrow::array::{ArrayRef, Int64Array};
    use tidemill_plans::ids::{JobId, OperatorId};
    use tidemill_plans::pushed::{frame, segment_path};

    use super::*;
    use crate::connector::positions::check_positions;
    use crate::metrics::OperatorStats;
    use crate::testing::graph::schema;
    use crate::testing::show_rows;

    fn rows(values: std::ops::Range<i64>) -> RecordBatch {
        let all: ArrayRef = Arc::new(Int64Array::from_iter_values(values.clone()));
        let doubled: ArrayRef = Arc::new(Int64Array::from_iter_values(values.map(|value| 2 * value)));
        RecordBatch::try_from_iter([("b", all), ("a", doubled)]).unwrap()
    }

    /// Two segments, of frames of 5, 0 and 2 rows.
    fn log(folder: &Path) -> Place {
        let second = frame(&rows(5..7)).unwrap();
        fs::write(segment_path(folder, 1), [frame(&rows(0..5)).unwrap(), frame(&rows(5..5)).unwrap()].concat())
            .unwrap();
        fs::write(segment_path(folder, 2), &second).unwrap();
        Place { segment: 2, byte: second.len() as u64 }
    }

    fn open(folder: &Path, until: Option<Place>) -> Pushed {
        Pushed::open(String::from("t"), folder.to_owned(), until, schema("a:int"), 2).unwrap()
    }

    #[test]
    fn a_table_ends_where_it_ended_and_is_read_on_from_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let until = log(folder.path());
        let open_table = || -> (Box<dyn Source>, _) {
            (Box::new(open(folder.path(), Some(until))), Arc::new(OperatorStats::new(JobId(1), OperatorId(0), 0)))
        };
        assert_eq!(check_positions(open_table), 4);
        // Rows that have come since are not read, and those that are not there any more are missed.
        let more = Place { byte: until.byte + 1, ..until };
        let mut cut = open(folder.path(), Some(more));
        let error = loop {
            match cut.next_event() {
                Ok(event) => assert!(matches!(event, SourceEvent::Batch(_)), "{event:?}"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("in front of 2:"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(open(empty.path(), Some(Place::default())).next_event().unwrap(), SourceEvent::End);
    }

    #[test]
    fn a_stream_waits_for_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = open(folder.path(), None);
        assert_eq!(stream.next_event().unwrap(), SourceEvent::Idle);
        log(folder.path());
        let mut read = String::new();
        loop {
            match stream.next_event().unwrap() {
                SourceEvent::Batch(batch) => read.push_str(&show_rows(&batch).unwrap()),
                SourceEvent::Idle => break,
                other => panic!("a stream has no end and tells nothing from the rest: {other:?}"),
            }
        }
        assert_eq!(read.lines().collect::<Vec<_>>(), ["0", "2", "4", "6", "8", "10", "12"]);
        fs::write(segment_path(folder.path(), 3), frame(&rows(7..8)).unwrap()).unwrap();
        assert!(matches!(stream.next_event().unwrap(), SourceEvent::Batch(_)));
    }

    #[test]
    fn a_stream_begins_with_what_is_kept_and_goes_on_only_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let before = open(folder.path(), None).position().unwrap();
        log(folder.path());
        let mut early = open(folder.path(), None);
        assert!(matches!(early.next_event().unwrap(), SourceEvent::Batch(_)));
        assert_eq!(early.needs(), Some(LogNeed { source: String::from("t"), segment: 1 }));
        let within = early.position().unwrap();
        fs::remove_file(segment_path(folder.path(), 1)).unwrap();

        let mut late = open(folder.path(), None);
        assert_eq!(late.needs().map(|need| need.segment), Some(2));
        let SourceEvent::Batch(batch) = late.next_event().unwrap() else { panic!("no rows") };
        assert_eq!(show_rows(&batch).unwrap(), "10\n12\n");
        let at_end = late.position().unwrap();
        open(folder.path(), None).seek(&at_end).unwrap();
        // In front of all, when there was nothing, is where nobody comes any more, too.
        let mut empty = open(folder.path(), None);
        empty.seek(&before).unwrap();
        let gone = |error: EngineError| error.chain().contains("begin at segment 2");
        assert!(gone(empty.next_event().unwrap_err()));
        assert!(gone(open(folder.path(), None).seek(&within).unwrap_err()));
    }

    /// A stream that is told where it was when its job began.
    fn backfilled(folder: &Path, seam: Place) -> Pushed {
        let mut stream = open(folder, None);
        stream.backfill(seam);
        stream
    }

    /// Reads until there is nothing; each time, another goes on if that is wanted.
    fn read(mut stream: Pushed, seam: Place, goes_on: bool) -> String {
        let mut text = String::new();
        loop {
            match stream.next_event().unwrap() {
                SourceEvent::Batch(batch) => text.push_str(&show_rows(&batch).unwrap().replace('\n', " ")),
                SourceEvent::CaughtUp => text.push_str("| "),
                SourceEvent::Idle => return text,
                SourceEvent::End => panic!("a stream has no end"),
            }
            if goes_on {
                // Of another job, which began later.
                let mut other = backfilled(&stream.folder, Place { segment: seam.segment + 1, byte: 7 });
                other.seek(&stream.position().unwrap()).unwrap();
                stream = other;
            }
        }
    }

    #[test]
    fn what_was_there_is_told_from_what_comes_wherever_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(backfilled(folder.path(), Place::default()), Place::default(), false), "| ");
        let end = log(folder.path());
        let first = fs::metadata(segment_path(folder.path(), 1)).unwrap().len();
        let frame = frame(&rows(0..5)).unwrap().len() as u64;
        let at = |segment, byte| Place { segment, byte };
        for (seam, wanted) in [
            (Place::default(), "| 0 2 4 6 8 10 12 "),
            (at(1, frame), "0 2 4 6 8 | 10 12 "),
            (at(1, first), "0 2 4 6 8 | 10 12 "),
            // A segment that was begun, and had nothing yet: whoever comes to it has read its first frame.
            (at(2, 0), "0 2 4 6 8 10 12 | "),
            (end, "0 2 4 6 8 10 12 | "),
            // Nobody was told of what was behind, and it has been cut off.
            (at(2, end.byte + 9), "0 2 4 6 8 10 12 | "),
        ] {
            for goes_on in [false, true] {
                assert_eq!(read(backfilled(folder.path(), seam), seam, goes_on), wanted, "{seam}, {goes_on}");
            }
        }
        let mut latest = open(folder.path(), None);
        latest.begin_at(at(2, 0));
        assert_eq!(latest.needs().map(|need| need.segment), Some(2));
        assert_eq!(read(latest, at(2, 0), false), "10 12 ");
    }

    #[test]
    fn a_stream_that_was_live_has_no_past_when_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let end = log(folder.path());
        let mut live = open(folder.path(), None);
        live.next_event().unwrap();
        let mut other = backfilled(folder.path(), end);
        assert!(other.is_backfilling());
        other.seek(&live.position().unwrap()).unwrap();
        assert!(!other.is_backfilling());
        let mut stream = open(folder.path(), None);
        stream.seek(&backfilled(folder.path(), end).position().unwrap()).unwrap();
        assert_eq!(read(stream, end, false), "0 2 4 6 8 10 12 ");
    }
}
