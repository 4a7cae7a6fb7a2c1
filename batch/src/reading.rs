//! What the leaves of a plan have to read, and what has been done by now.
//!
//! A leaf that DataFusion reads knows that by itself: its files, the rows in their footers, and which of its partitions have
//! ended. Of other tables there are bytes, which their readers count, and the parts that have ended, which are counted here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::metrics::MetricValue;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::streaming::StreamingTableExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use tidemill_plans::batch::ReadCounts;

use crate::cluster::ReadParts;

/// What a query's tables are that the connectors' readers read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Bytes of their files, as often as these are read.
    bytes: AtomicU64,
    /// Parts that have been read to their ends.
    parts_done: AtomicU32,
}

impl Reading {
    /// A query is planned, maybe once more.
    pub(crate) fn begin(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.parts_done.store(0, Ordering::Relaxed);
    }

    /// Files of so many bytes are to be read.
    pub(crate) fn expect(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A part has been read.
    pub(crate) fn end_part(&self) {
        self.parts_done.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn parts_done(&self) -> u32 {
        self.parts_done.load(Ordering::Relaxed)
    }
}

/// What a plan has to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Partitions of its leaves.
    pub(crate) parts: u32,
    /// Bytes of their files; 0 if nobody knows.
    pub(crate) bytes: u64,
    /// Rows of all of them, if their footers say so.
    pub(crate) rows: Option<u64>,
}

impl Whole {
    /// Of a plan, some of whose tables are read by the connectors.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>, others: &Reading) -> Self {
        let bytes = others.bytes.load(Ordering::Relaxed);
        let mut whole = Self { parts: 0, bytes, rows: Some(0) };
        // The visitor does not fail.
        let _ = plan.apply(|node| {
            let partitions = count(node.properties().output_partitioning());
            if node.is::<StreamingTableExec>() || node.is::<ReadParts>() {
                whole.parts += partitions;
                whole.rows = None;
                return Ok(TreeNodeRecursion::Jump);
            }
            if let Some(scan) = scan_of(node.as_ref()) {
                whole.parts += partitions;
                whole.bytes += bytes_of(scan).iter().sum::<u64>();
                whole.rows = whole.rows.zip(rows_of(node.as_ref())).map(|(all, rows)| all + rows);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        // Who reads nothing has rows of constants.
        whole.rows = whole.rows.filter(|_| whole.parts > 0);
        whole
    }
}

/// What the leaves that DataFusion reads, and the operators above them, have done by now. A plan's depth has a bound.
pub(crate) fn done_by(plan: &dyn ExecutionPlan) -> ReadCounts {
    let mut done = ReadCounts::default();
    // Below it are numbers of parts.
    if plan.is::<ReadParts>() {
        return done;
    }
    let metrics = plan.metrics();
    if plan.is::<DataSourceExec>() {
        done.rows = metrics.and_then(|metrics| metrics.output_rows()).unwrap_or_default() as u64;
        done.bytes = scan_of(plan).map(|scan| bytes_done(plan, scan, done.rows)).unwrap_or_default();
        return done;
    }
    done.spilled_bytes = metrics.and_then(|metrics| metrics.spilled_bytes()).unwrap_or_default() as u64;
    for child in plan.children() {
        done += done_by(child.as_ref());
    }
    done
}

/// Which partitions of leaves have ended that DataFusion reads.
pub(crate) fn parts_done(plan: &dyn ExecutionPlan) -> u32 {
    match scan_of(plan) {
        Some(scan) => u32::try_from(ended(plan, scan.file_groups.len()).iter().filter(|ended| **ended).count())
            .unwrap_or(u32::MAX),
        None => plan.children().into_iter().map(|child| parts_done(child.as_ref())).sum(),
    }
}

/// Bytes of files that need not be read any more: those of partitions that have ended, whatever was left out of them, or as
/// large a part as of the rows.
fn bytes_done(plan: &dyn ExecutionPlan, scan: &FileScanConfig, rows: u64) -> u64 {
    let bytes = bytes_of(scan);
    let ended = ended(plan, bytes.len());
    let of_ended: u64 = bytes.iter().zip(ended).filter(|(_, ended)| *ended).map(|(bytes, _)| bytes).sum();
    let all: u64 = bytes.iter().sum();
    let by_rows =
        rows_of(plan).filter(|all| *all > 0).map(|of| u128::from(all) * u128::from(rows.min(of)) / u128::from(of));
    of_ended.max(by_rows.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default())
}

/// Whether each of so many partitions of a leaf has ended.
fn ended(leaf: &dyn ExecutionPlan, partitions: usize) -> Vec<bool> {
    let mut ended = vec![false; partitions];
    for metric in leaf.metrics().iter().flat_map(|metrics| metrics.iter()) {
        if let (MetricValue::EndTimestamp(time), Some(partition)) = (metric.value(), metric.partition())
            && let Some(ended) = ended.get_mut(partition)
        {
            *ended |= time.value().is_some();
        }
    }
    ended
}

fn scan_of(plan: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// Bytes of files by partition.
fn bytes_of(scan: &FileScanConfig) -> Vec<u64> {
    let of_groups = scan.file_groups.iter().map(|group| {
        let of_files = group.iter().map(|file| match &file.range {
            Some(range) => u64::try_from(range.end.saturating_sub(range.start)).unwrap_or_default(),
            None => file.object_meta.size,
        });
        of_files.sum()
    });
    of_groups.collect()
}

/// Rows of a leaf's files as their footers say.
fn rows_of(leaf: &dyn ExecutionPlan) -> Option<u64> {
    let statistics = StatisticsContext::new().compute(leaf, &StatisticsArgs::new()).ok()?;
    statistics.num_rows.get_value().map(|rows| *rows as u64)
}

fn count(partitioning: &Partitioning) -> u32 {
    u32::try_from(partitioning.partition_count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::physical_plan::collect;
    use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
    use parquet::arrow::ArrowWriter;
    use tempfile::TempDir;

    use super::*;

    /// A query of a table of two files with 1000 rows each.
    struct Query {
        context: SessionContext,
        plan: Arc<dyn ExecutionPlan>,
        /// Of both files.
        bytes: u64,
        _folder: TempDir,
    }

    async fn planned(sql: &str) -> Query {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = 0;
        for (name, first) in [("a.parquet", 0_i64), ("b.parquet", 1000)] {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + 1000));
            let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
            let path = folder.path().join(name);
            let file = fs::File::create(&path).unwrap();
            let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
            writer.write(&rows).unwrap();
            writer.close().unwrap();
            bytes += fs::metadata(&path).unwrap().len();
        }
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        let path = folder.path().to_string_lossy().into_owned();
        context.register_parquet("t", path, ParquetReadOptions::default()).await.unwrap();
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        Query { context, plan, bytes, _folder: folder }
    }

    #[tokio::test]
    async fn footers_say_how_many_rows_there_are() {
        let Query { context, plan, bytes, _folder } = planned("SELECT sum(n) FROM t WHERE n >= 0").await;
        let others = Reading::default();
        others.expect(7);
        let whole = Whole::of(&plan, &others);
        assert_eq!(whole, Whole { parts: 2, bytes: bytes + 7, rows: Some(2000) });
        assert_eq!((done_by(plan.as_ref()), parts_done(plan.as_ref())), (ReadCounts::default(), 0));
        collect(Arc::clone(&plan), context.task_ctx()).await.unwrap();
        let done = done_by(plan.as_ref());
        assert_eq!((done.rows, done.bytes, parts_done(plan.as_ref())), (2000, bytes, 2));
    }

    #[tokio::test]
    async fn what_is_left_out_is_done_too() {
        let Query { context, plan, bytes, _folder } = planned("SELECT sum(n) FROM t WHERE n > 5000").await;
        collect(Arc::clone(&plan), context.task_ctx()).await.unwrap();
        let done = done_by(plan.as_ref());
        assert_eq!((done.rows, done.bytes), (0, bytes));
    }

    #[tokio::test]
    async fn rows_of_constants_are_no_tables() {
        let context = SessionContext::new();
        let plan = context.sql("SELECT * FROM (VALUES (1), (2)) v(a)").await.unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        assert_eq!(Whole::of(&plan, &Reading::default()), Whole::default());
    }
}
