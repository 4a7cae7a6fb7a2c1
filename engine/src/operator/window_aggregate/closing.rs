//! Which windows close, and in what slices they are emitted: of a window there may be as many rows as there is state.

use tidemill_plans::node::{TimeWindow, WindowSpec};
use tidemill_plans::time::EventTime;

use super::WindowAggregate;
use crate::error::Result;
use crate::operator::panes::{Slices, WindowParts};
use crate::task::OperatorContext;

/// Partial aggregates that are put together to windows, or to a slice of one, at a time. Tests want to see some.
const CLOSE_ROWS: usize = if cfg!(test) { 4 } else { 1 << 15 };

/// What is still to be emitted of what the watermark has passed.
pub(super) enum Closing {
    /// Nothing: the watermark has been passed on.
    None,
    /// The windows that have not closed, if there are any, and the watermark.
    Next,
    /// First the slices from this one on, of so many, of a window that is in memory.
    Held(WindowParts, usize, usize),
    /// First what is left of a window that has a part on disk. Whether its panes become one with that.
    Away(TimeWindow, Slices, bool),
}

impl WindowAggregate {
    /// Emits some of the windows that the watermark has passed, or a slice of one; the watermark behind the last.
    pub(super) fn close_next(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        match std::mem::replace(&mut self.closing, Closing::Next) {
            Closing::Held(parts, slice, slices) => {
                let own = parts.slice(slice, slices)?;
                if own.rows() > 0 {
                    self.emit_windows(&[own], ctx)?;
                }
                if slice + 1 < slices {
                    self.closing = Closing::Held(parts, slice + 1, slices);
                }
            }
            Closing::Away(window, slices, collapses) => self.close_slice(window, slices, collapses, ctx)?,
            Closing::None | Closing::Next => self.close_some(ctx)?,
        }
        if !matches!(self.closing, Closing::Next) {
            return Ok(());
        }
        if let Some(end) = self.closed {
            self.drop_used_panes(end)?;
        }
        if self.next_complete_window().is_some() { Ok(()) } else { self.end_closing(ctx) }
    }

    /// All windows have closed that the watermark has passed.
    fn end_closing(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        self.close_empty_windows();
        if self.updates_within > 0 {
            self.drop_used_panes(self.watermark.0.0)?;
        }
        self.panes.clean_up()?;
        self.closing = Closing::None;
        ctx.emit_watermark(self.watermark);
        Ok(())
    }

    fn close_some(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let Some(window) = self.next_complete_window() else { return Ok(()) };
        if self.panes.is_away(window) {
            let (slices, collapses) = (self.panes.slices(window)?, self.is_collapsed(window));
            if collapses {
                self.panes.drop_window(window)?;
            }
            return self.close_slice(window, slices, collapses, ctx);
        }
        let mut windows = self.take_complete_windows()?;
        match windows.as_slice() {
            [large] if large.rows() > CLOSE_ROWS => {
                let slices = large.rows().div_ceil(CLOSE_ROWS);
                self.closing = Closing::Held(windows.remove(0), 0, slices);
                self.close_next(ctx)
            }
            _ => self.emit_windows(&windows, ctx),
        }
    }

    /// The next windows to close, as many as are worth closing together. None of them has a part on disk.
    fn take_complete_windows(&mut self) -> Result<Vec<WindowParts>> {
        let (mut windows, mut rows) = (Vec::new(), 0);
        while let Some(window) = self.next_complete_window().filter(|window| !self.panes.is_away(*window)) {
            let mut parts = self.panes.parts(window)?;
            if !windows.is_empty() && rows + parts.rows() > CLOSE_ROWS {
                break;
            }
            if self.is_collapsed(window) {
                self.panes.collapse(&mut parts)?;
            }
            rows += parts.rows();
            windows.push(parts);
            self.closed = Some(window.end);
        }
        Ok(windows)
    }

    /// Emits the next slice of a window that has a part on disk, if there is one; else the window has closed.
    fn close_slice(
        &mut self,
        window: TimeWindow,
        mut slices: Slices,
        collapses: bool,
        ctx: &mut OperatorContext,
    ) -> Result<()> {
        let Some(mut slice) = self.panes.next_slice(&mut slices)? else {
            self.closed = Some(window.end);
            return Ok(());
        };
        if collapses {
            self.panes.collapse_slice(&mut slice)?;
        }
        self.closing = Closing::Away(window, slices, collapses);
        self.emit_windows(&[slice], ctx)
    }

    fn next_complete_window(&self) -> Option<TimeWindow> {
        self.next_window().filter(|window| self.watermark.closes(EventTime(window.end)))
    }

    /// The first window to end that has rows and has not closed.
    fn next_window(&self) -> Option<TimeWindow> {
        let next = self.closed.map(|end| end.saturating_add(self.window.period()));
        // Panes that only closed windows hold may still be there: they are before this one's start.
        let from = next.map_or(i64::MIN, |end| self.window.ending_at(end).start);
        for pane in self.panes.starts(from) {
            let Some(first) = self.window.windows(EventTime(pane)).next() else { continue };
            let window = self.window.ending_at(next.map_or(first.end, |end| first.end.max(end)));
            if window.start <= pane {
                return Some(window);
            }
        }
        None
    }

    /// Whether the panes of a window become one when it closes: what has been merged once need not be again. Of floats
    /// it must be, from its parts: how often a sum was put together would show in its last bit. Nor may it be where
    /// late rows change each window by itself.
    fn is_collapsed(&self, window: TimeWindow) -> bool {
        self.waiting.is_none() && self.updates_within == 0 && self.grows(window)
    }

    /// Whether the windows that follow hold all of this one or nothing of it.
    fn grows(&self, window: TimeWindow) -> bool {
        matches!(self.window, WindowSpec::Cumulate { size, .. } if window.end - window.start < size)
    }

    /// A window that closed without rows is closed too: a late row must not open it again.
    fn close_empty_windows(&mut self) {
        let watermark = self.watermark.0;
        if watermark != EventTime::MIN && watermark != EventTime::MAX {
            self.closed = self.closed.max(Some(self.window.last_end_until(watermark)));
        }
    }
}
