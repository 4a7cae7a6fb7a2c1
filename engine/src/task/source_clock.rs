//! What a source does by the clock: it says when it is idle, and moves time that follows the clock.
//!
//! Plain state that is told what time it is, so that tests need not wait. Both clocks are those of the
//! driver: operators see nothing but the signals and columns that come of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use tidemill_plans::node::SourceNode;
use tidemill_plans::time::{EventTime, Watermark};

use crate::clock;
use crate::error::Result;
use crate::task::Message;

/// How often time that follows the clock moves while no rows come, in nanoseconds.
const TICK_NS: u64 = 100_000_000;

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Nanoseconds that never go back.
    pub(crate) monotonic_ns: u64,
    /// Microseconds since 1970.
    pub(crate) wall_us: i64,
}

impl Now {
    /// By the clocks of this machine.
    pub(crate) fn read() -> Self {
        Self { monotonic_ns: clock::monotonic_ns(), wall_us: clock::wall_us() }
    }
}

/// See the [module](self).
pub(crate) struct SourceClock {
    /// Nanoseconds without rows after which the source is idle.
    idle_after_ns: Option<u64>,
    last_row_ns: u64,
    idle: bool,
    proctime: Option<Proctime>,
}

/// The time at which rows are read.
struct Proctime {
    /// The connector's columns and this time, last.
    schema: SchemaRef,
    /// Whether it is the source's event time, too.
    moves_watermark: bool,
    /// The time that was told last, and when: it never goes back, whatever becomes of the system's clock.
    last_us: i64,
    last_ns: u64,
    last_tick_ns: u64,
}

impl SourceClock {
    /// The clock of a source that is opened now.
    pub(crate) fn new(source: &SourceNode, now: Now) -> Result<Self> {
        let idle_after_ns = source.timing()?.idle_timeout_ms.map(|ms| ms.saturating_mul(1_000_000));
        let proctime = source.has_proctime().then(|| Proctime {
            schema: source.read_schema(),
            moves_watermark: source.follows_clock(),
            last_us: i64::MIN,
            last_ns: now.monotonic_ns,
            last_tick_ns: 0,
        });
        Ok(Self {
            // Time that goes on by itself holds nobody up.
            idle_after_ns: idle_after_ns.filter(|_| !source.follows_clock()),
            last_row_ns: now.monotonic_ns,
            idle: false,
            proctime,
        })
    }

    /// Goes on where one like it was: this watermark has been emitted, by a clock that may have been set back since.
    pub(crate) fn go_on_at(&mut self, watermark: Watermark) {
        if let Some(proctime) = self.proctime.as_mut().filter(|proctime| proctime.moves_watermark) {
            proctime.last_us = proctime.last_us.max(watermark.0.0);
        }
    }

    /// Notes that the source is not asked for rows: it cannot be known to have none.
    pub(crate) fn note_held_back(&mut self, now: Now) {
        self.last_row_ns = now.monotonic_ns;
    }

    /// Notes that there are rows. The signal to send before them, if any.
    pub(crate) fn note_rows(&mut self, now: Now) -> Option<Message> {
        self.last_row_ns = now.monotonic_ns;
        std::mem::take(&mut self.idle).then_some(Message::Active)
    }

    /// The rows with the time at which they were read.
    pub(crate) fn stamp(&mut self, batch: RecordBatch, now: Now) -> Result<RecordBatch> {
        let Some(proctime) = &mut self.proctime else { return Ok(batch) };
        let read_at = TimestampMicrosecondArray::from_value(proctime.move_to(now), batch.num_rows());
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(read_at) as ArrayRef);
        Ok(RecordBatch::try_new(Arc::clone(&proctime.schema), columns)?)
    }

    /// The signal that is due, rows or not: the source has become idle, or time has moved.
    pub(crate) fn due(&mut self, now: Now) -> Option<Message> {
        let waited = now.monotonic_ns.saturating_sub(self.last_row_ns);
        if !self.idle && self.idle_after_ns.is_some_and(|after| waited >= after) {
            self.idle = true;
            return Some(Message::Idle);
        }
        self.proctime.as_mut().and_then(|proctime| proctime.tick(now))
    }
}

impl Proctime {
    /// The system's time. If that has been set back, time goes on at half its pace until the other has caught up: it
    /// must not go back, and if it stood still, windows would for hours.
    fn move_to(&mut self, now: Now) -> i64 {
        let passed_us = now.monotonic_ns.saturating_sub(self.last_ns) / 1000;
        let slowly = self.last_us.saturating_add(i64::try_from(passed_us / 2).unwrap_or(i64::MAX));
        (self.last_us, self.last_ns) = (now.wall_us.max(slowly), now.monotonic_ns);
        self.last_us
    }

    fn tick(&mut self, now: Now) -> Option<Message> {
        if !self.moves_watermark || now.monotonic_ns.saturating_sub(self.last_tick_ns) < TICK_NS {
            return None;
        }
        self.last_tick_ns = now.monotonic_ns;
        // What is read later is stamped with this time at least.
        Some(Message::Watermark(Watermark(EventTime(self.move_to(now)))))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{Expr, col};
    use expect_test::{Expect, expect};
    use tidemill_plans::expr::{StreamExpr, StreamSchema};
    use tidemill_plans::node::{EventTimeSpec, NullEventTime, PROCTIME_COLUMN, Projection};

    use super::*;
    use crate::testing::graph::schema;
    use crate::testing::{parse_rows, show_rows};

    fn at(seconds: f64) -> Now {
        Now { monotonic_ns: (seconds * 1e9) as u64, wall_us: 1000 + (seconds * 1e6) as i64 }
    }

    /// A source of `k`, with `pt` beside it if wanted, and these options.
    fn clock(proctime: bool, options: &[(&str, &str)]) -> SourceClock {
        let column = |name: &str, expr: Expr| Projection { name: String::from(name), expr: StreamExpr(expr) };
        let mut projection = vec![column("k", col("k"))];
        let watermark = StreamExpr(col("pt"));
        let event_time = EventTimeSpec { column: 1, watermark, on_null: NullEventTime::DeadLetter };
        if proctime {
            let read_at = datafusion::common::Column::from_name(PROCTIME_COLUMN);
            projection.push(column("pt", Expr::Column(read_at)));
        }
        let source = SourceNode {
            table: String::from("t"),
            connector: String::from("files"),
            options: options.iter().map(|(key, value)| (String::from(*key), String::from(*value))).collect(),
            declared: vec![String::from("k")],
            columns: StreamSchema(schema("k:text")),
            projection,
            event_time: proctime.then_some(event_time),
            upsert_key: Vec::new(),
        };
        SourceClock::new(&source, at(0.0)).unwrap()
    }

    /// What is due at each of these seconds; rows come where a second is negative.
    fn check(mut clock: SourceClock, seconds: &[f64], expected: Expect) {
        let mut text = String::new();
        for second in seconds {
            let now = at(second.abs());
            let message = if *second < 0.0 { clock.note_rows(now) } else { clock.due(now) };
            if let Some(message) = message {
                text.push_str(&format!("{}: {message:?}\n", second.abs()));
            }
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn a_source_without_rows_for_the_timeout_is_idle_until_its_next_row() {
        let seconds = [29.0, -29.5, 59.0, 60.0, 99.0, -100.0, 129.0, 130.0];
        check(
            clock(false, &[]),
            &seconds,
            expect![[r#"
            60: Idle
            100: Active
            130: Idle
        "#]],
        );
        check(
            clock(false, &[("idle_timeout", "2s")]),
            &[1.9, 2.0],
            expect![[r#"
            2: Idle
        "#]],
        );
        check(clock(false, &[("idle_timeout", "0")]), &[1e6], expect![""]);
    }

    #[test]
    fn time_that_follows_the_clock_moves_without_rows_and_is_never_idle() {
        let seconds = [0.15, 0.2, 0.26, 100.0];
        check(
            clock(true, &[]),
            &seconds,
            expect![[r#"
            0.15: Watermark(Watermark(EventTime(151000)))
            0.26: Watermark(Watermark(EventTime(261000)))
            100: Watermark(Watermark(EventTime(100001000)))
        "#]],
        );
    }

    /// What a row is stamped with that is read at a second, by a wall clock that is wrong by so many.
    fn stamp(clock: &mut SourceClock, second: f64, wrong_by: i64) -> String {
        let now = at(second);
        let now = Now { wall_us: now.wall_us + wrong_by * 1_000_000, ..now };
        let rows = parse_rows(&schema("k:text"), "a").unwrap();
        show_rows(&clock.stamp(rows, now).unwrap()).unwrap().trim().to_owned()
    }

    #[test]
    fn time_follows_a_clock_that_jumps_ahead_and_goes_on_slowly_if_it_is_set_back() {
        let mut clock = clock(true, &[]);
        assert_eq!(stamp(&mut clock, 2.0, 0), "a @2.001");
        assert_eq!(stamp(&mut clock, 3.0, 7200), "a @7203.001");
        assert_eq!(stamp(&mut clock, 5.0, 7200), "a @7205.001");
        // Two hours back: the first second, the second hour, and until it has been caught up with.
        assert_eq!(stamp(&mut clock, 6.0, 0), "a @7205.501");
        assert_eq!(stamp(&mut clock, 7206.0, 0), "a @10805.501");
        assert_eq!(stamp(&mut clock, 14_404.0, 0), "a @14404.501");
        assert_eq!(stamp(&mut clock, 14_406.0, 0), "a @14406.001");
        // Another hour back, and more than all there is.
        assert_eq!(stamp(&mut clock, 14_408.0, -3600), "a @14407.001");
        assert_eq!(stamp(&mut clock, 14_410.0, -1_000_000), "a @14408.001");
    }

    #[test]
    fn idleness_does_not_depend_on_the_wall_clock() {
        let mut clock = clock(false, &[("idle_timeout", "2s")]);
        let at = |second: f64, wall_us| Now { wall_us, ..at(second) };
        assert_eq!(clock.due(at(1.0, i64::MAX)), None);
        assert_eq!(clock.due(at(1.9, 0)), None);
        assert_eq!(clock.due(at(2.0, -5)), Some(Message::Idle));
    }

    #[test]
    fn time_goes_on_behind_what_was_promised_before_a_restart() {
        let mut clock = clock(true, &[]);
        clock.go_on_at(Watermark(EventTime(9_000_000)));
        assert_eq!(stamp(&mut clock, 2.0, 0), "a @10");
        assert_eq!(stamp(&mut clock, 30.0, 0), "a @30.001");
    }
}
