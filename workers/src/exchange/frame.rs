//! What travels between two workers: frames, each for one channel.
//!
//! A frame is a `FlightData`: the header below in `app_metadata`, and for a batch its Arrow IPC
//! message in `data_header` and `data_body`. The sender opens, fills and ends or closes a channel on
//! the request stream; the receiver grants credit or refuses on the response stream.

use arrow_flight::FlightData;
use bytes::Bytes;
use tidemill_engine::task::EndReason;
use tidemill_plans::codec;
use tidemill_plans::error::chain;
use tidemill_plans::ids::{Barrier, ChannelId};
use tidemill_plans::time::Watermark;

use crate::error::{Result, WorkersError};

/// The largest gRPC message that either side takes, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Batches are cut by rows until their frames are about this large at most, in bytes.
pub(crate) const FRAME_BYTES_AIM: usize = 16 << 20;

/// A frame's header.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(crate) struct FrameHeader {
    /// The channel that the frame belongs to.
    pub(crate) channel: ChannelId,
    /// Its place among the channel's frames in this direction, from 0; replies are not numbered.
    pub(crate) sequence: u64,
    /// What it says.
    pub(crate) kind: FrameKind,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(crate) enum FrameKind {
    /// The sender is there; the receiver answers with credit.
    Open,
    /// Rows, which the sender counts as this many bytes of credit.
    Batch {
        /// The bytes.
        size: u64,
    },
    /// No later row on this channel is older.
    Watermark(Watermark),
    /// No rows come for the time being.
    Idle,
    /// Rows come again.
    Active,
    /// A checkpoint's barrier.
    Barrier(Barrier),
    /// Nothing follows, as planned.
    End(EndKind),
    /// Nothing follows, because the sending task is gone.
    Close,
    /// Reply: the sender may send this many bytes more.
    Credit {
        /// The bytes.
        bytes: u64,
    },
    /// Reply: the receiver does not take this channel (any more).
    Reject {
        /// Why.
        reason: String,
    },
}

/// [`EndReason`] on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(crate) enum EndKind {
    /// The input is complete.
    Finished,
    /// The job was stopped.
    Stopped,
}

impl From<EndReason> for EndKind {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Finished => Self::Finished,
            EndReason::Stopped => Self::Stopped,
        }
    }
}

impl From<EndKind> for EndReason {
    fn from(kind: EndKind) -> Self {
        match kind {
            EndKind::Finished => Self::Finished,
            EndKind::Stopped => Self::Stopped,
        }
    }
}

impl FrameHeader {
    /// A reply about a channel.
    pub(crate) fn reply(channel: ChannelId, kind: FrameKind) -> Self {
        Self { channel, sequence: 0, kind }
    }

    /// The frame without a body.
    pub(crate) fn to_frame(&self) -> Result<FlightData> {
        self.to_batch_frame(Bytes::new(), Bytes::new())
    }

    /// The frame with the two parts of a batch.
    pub(crate) fn to_batch_frame(&self, data_header: Bytes, data_body: Bytes) -> Result<FlightData> {
        let app_metadata = Bytes::from(codec::encode(self)?);
        Ok(FlightData { flight_descriptor: None, data_header, app_metadata, data_body })
    }

    /// Reads a frame's header.
    pub(crate) fn of(frame: &FlightData, peer: &str) -> Result<Self> {
        codec::decode(&frame.app_metadata)
            .map_err(|error| WorkersError::BadFrame { peer: String::from(peer), reason: chain(&error) })
    }
}
