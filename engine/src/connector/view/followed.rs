//! Reads what one part of a view has at an epoch, and then its changes, epoch by epoch, as long as the view is there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use tidemill_plans::ids::Epoch;

use super::held::{Held, condense};
use super::source::not_restarted;
use super::{Part, Views, lock};
use crate::connector::{Source, SourceEvent, changes};
use crate::error::{EngineError, Result};

/// How long the source sleeps where nothing has changed.
const WAIT: Duration = Duration::from_millis(5);

/// The source.
pub(super) struct FollowedView {
    view: String,
    part: Part,
    views: Arc<Views>,
    held: Arc<Mutex<Held>>,
    /// Up to which epoch everything has been read.
    epoch: Epoch,
    /// Whether the rows of the first epoch have been read.
    has_begun: bool,
    waiting: VecDeque<RecordBatch>,
}

impl FollowedView {
    pub(super) fn new(view: String, part: Part, views: Arc<Views>, held: Arc<Mutex<Held>>, epoch: Epoch) -> Self {
        Self { view, part, views, held, epoch, has_begun: false, waiting: VecDeque::new() }
    }

    /// The rows at the first epoch, as they are after all changes before.
    fn begin(&mut self) -> Result<()> {
        let (schema, keys, batches) = {
            let held = lock(&self.held);
            (Arc::clone(held.schema()), held.keys().to_vec(), held.until(self.epoch))
        };
        let batches = batches.ok_or_else(|| self.gone("newer changes are mixed with what it had"))?;
        self.waiting = match batches.is_empty() {
            true => VecDeque::new(),
            false => condense(&schema, &keys, &batches)?.iter().map(changes::only_added).collect::<Result<_>>()?,
        };
        self.has_begun = true;
        Ok(())
    }

    /// Takes the changes of epochs that are complete by now; false if there are none, and `None` if there will be none.
    fn read_on(&mut self) -> Result<Option<bool>> {
        if self.epoch == Epoch::END {
            return Ok(None);
        }
        let later = lock(&self.held).behind(self.epoch);
        let later = later.ok_or_else(|| self.gone("its changes are read more slowly than they come"))?;
        let Some((newest, _)) = later.last() else { return self.is_still_there() };
        self.epoch = *newest;
        self.waiting.extend(later.into_iter().flat_map(|(_, changes)| changes));
        Ok(Some(true))
    }

    fn is_still_there(&self) -> Result<Option<bool>> {
        match self.views.find(self.part) {
            None => Ok(None),
            Some(held) if Arc::ptr_eq(&held, &self.held) => Ok(Some(false)),
            Some(_) => Err(self.gone("its job has begun again; subscribe again")),
        }
    }

    fn gone(&self, reason: &'static str) -> EngineError {
        EngineError::ViewGone { view: self.view.clone(), epoch: self.epoch, reason }
    }
}

impl Source for FollowedView {
    fn next_event(&mut self) -> Result<SourceEvent> {
        if !self.has_begun {
            self.begin()?;
        }
        loop {
            if let Some(batch) = self.waiting.pop_front() {
                return Ok(SourceEvent::Batch(batch));
            }
            match self.read_on()? {
                None => return Ok(SourceEvent::End),
                Some(true) => {}
                Some(false) => {
                    std::thread::sleep(WAIT);
                    return Ok(SourceEvent::Idle);
                }
            }
        }
    }

    fn position(&self) -> Result<Vec<u8>> {
        Err(not_restarted())
    }

    fn seek(&mut self, _position: &[u8]) -> Result<()> {
        Err(not_restarted())
    }
}
