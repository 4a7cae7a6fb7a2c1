//! EMIT: when the rows of a query are emitted.
//!
//! Windows emit when they close, and what is updated emits its changes: a query says by what it is which
//! of the two it does. So ON WINDOW CLOSE and ON UPDATE are checked against that, and EVERY is the time for
//! which the query's own operators gather changes; those of its views have clauses of their own.

use crate::catalog::StreamInfo;
use crate::error::{Position, Result, SqlError};
use crate::planner::QueryPlanner;
use crate::planner::table_function::micros;
use crate::statement::{EmitClause, EmitWhen};

/// The clause of a query, and what has been lowered of the query.
#[derive(Debug, Clone)]
pub(crate) struct Emit {
    when: When,
    at: Position,
    /// Whether an operator gathers changes.
    gathers: bool,
    /// Whether a window is emitted when it closes.
    closes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    OnUpdate,
    OnWindowClose,
    /// Milliseconds.
    Every(u64),
}

impl Emit {
    pub(crate) fn new(clause: EmitClause) -> Result<Self> {
        let when = match clause.when {
            EmitWhen::OnUpdate => When::OnUpdate,
            EmitWhen::OnWindowClose => When::OnWindowClose,
            EmitWhen::Every(interval) => match u64::try_from(micros(&interval)? / 1000) {
                Ok(millis) if millis > 0 => When::Every(millis),
                _ => {
                    let message = format!("EMIT EVERY takes at least a millisecond, not {interval}");
                    return Err(SqlError::invalid(message).at(clause.at));
                }
            },
        };
        Ok(Self { when, at: clause.at, gathers: false, closes: false })
    }
}

impl QueryPlanner<'_> {
    /// For how long an operator that is being lowered gathers changes, if the query says so.
    pub(super) fn gather_ms(&mut self) -> Option<u64> {
        let emit = self.emit.as_mut()?;
        emit.gathers = true;
        match emit.when {
            When::Every(millis) => Some(millis),
            When::OnUpdate | When::OnWindowClose => None,
        }
    }

    /// A window that is being lowered emits when it closes.
    pub(super) fn note_window_close(&mut self) {
        if let Some(emit) = &mut self.emit {
            emit.closes = true;
        }
    }

    /// Refuses a clause that is not what the lowered query does.
    pub(crate) fn check_emit(&self, result: &StreamInfo) -> Result<()> {
        let Some(emit) = &self.emit else { return Ok(()) };
        match emit.when {
            When::OnWindowClose if result.changelog => {
                let message = "EMIT ON WINDOW CLOSE needs rows that are final, but the result of this query is updated; \
                               aggregate over TUMBLE, HOP, CUMULATE or SESSION and group by the window's columns, or leave \
                               EMIT out";
                Err(SqlError::invalid(message).at(emit.at))
            }
            When::OnUpdate if emit.closes => {
                let hint = "leave it out: a window's rows are emitted once, when the watermark closes it; LATE DATA UPDATE \
                            WITHIN lets late rows update them";
                Err(SqlError::unsupported("EMIT ON UPDATE of a query with windows", hint).at(emit.at))
            }
            When::Every(_) if !emit.gathers => {
                let message = "EMIT EVERY needs an aggregation without a window, or rows ranked or numbered over updates, in \
                               this query: nothing else gathers changes; leave it out";
                Err(SqlError::invalid(message).at(emit.at))
            }
            _ => Ok(()),
        }
    }
}
