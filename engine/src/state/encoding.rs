//! Snapshots as bytes: the parts, then what they are, then a checksum.
//!
//! Rows are Arrow IPC streams, so each part carries its own schema. What says where they are comes behind them, so
//! that nothing has to be copied once its length is known.

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use tidemill_plans::codec;
use tidemill_plans::ids::Epoch;

use super::read_at::{Section, SnapshotBytes};
use super::{Belongs, Changes, LaterRows, RowKeys, Rows, Snapshot, StateRows};
use crate::error::{EngineError, Result};

/// What every snapshot begins with; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"TDMLSTA\x02";

/// Bytes of the contents' length and of the checksum.
const LENGTH_BYTES: u64 = 8;
const CHECKSUM_BYTES: u64 = 4;

/// What is in a snapshot, in the order of its bytes.
#[derive(bincode::Encode, bincode::Decode)]
struct Contents {
    epoch: Epoch,
    after: Option<Epoch>,
    values: Vec<(String, Vec<u8>)>,
    rows: Vec<RowsPart>,
}

#[derive(bincode::Encode, bincode::Decode)]
struct RowsPart {
    name: String,
    belongs: Belongs,
    bytes: u64,
    changes: Option<ChangesPart>,
}

#[derive(bincode::Encode, bincode::Decode)]
struct ChangesPart {
    keys: RowKeys,
    /// Bytes of the keys that are gone, behind those of the rows.
    gone_bytes: u64,
}

impl Snapshot {
    /// The snapshot's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes the snapshot's bytes, and with them the rows that were left until now. They are never all in memory.
    pub fn write(&self, to: &mut dyn Write) -> Result<()> {
        let mut out = Checked { to, bytes: 0, checksum: crc32fast::Hasher::new() };
        out.write_all(MAGIC).map_err(ArrowError::from)?;
        let values = self.values.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut contents = Contents { epoch: self.epoch, after: self.after, values, rows: Vec::new() };
        for (name, rows) in &self.rows {
            let (name, belongs) = (name.clone(), rows.belongs.clone());
            let mut part = RowsPart { name, belongs, bytes: write_rows(&mut out, rows.rows.all()?)?, changes: None };
            if let Some(Changes { keys, gone }) = &rows.changes {
                let gone_bytes = write_rows(&mut out, gone.all()?)?;
                part.changes = Some(ChangesPart { keys: keys.clone(), gone_bytes });
            }
            contents.rows.push(part);
        }
        let contents = codec::encode(&contents)?;
        out.write_all(&contents).map_err(ArrowError::from)?;
        out.write_all(&(contents.len() as u64).to_le_bytes()).map_err(ArrowError::from)?;
        let checksum = out.checksum.finalize();
        Ok(out.to.write_all(&checksum.to_le_bytes()).map_err(ArrowError::from)?)
    }

    /// Reads what [`Self::to_bytes`] wrote, as [`Self::open`] does.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::open(SnapshotBytes::Held(bytes.to_vec()))
    }

    /// Reads what [`Self::write`] wrote. Bytes that are not whole are an error that says so; rows stay where they are
    /// until somebody asks for them.
    pub fn open(bytes: SnapshotBytes) -> Result<Self> {
        let length = bytes.length()?;
        let whole = Section::of(Arc::new(bytes), 0..length);
        let (content, checksum) = whole.split_back(CHECKSUM_BYTES).ok_or_else(|| cut_short(length))?;
        check_magic(&content)?;
        let (computed, stored) = (content.clone().checksum()?, u32::from_le_bytes(checksum.array()?));
        if computed != stored {
            return Err(broken(format!("its checksum is {computed:08x} instead of {stored:08x}")));
        }
        let content = content.split_front(MAGIC.len() as u64).ok_or_else(|| cut_short(length))?.1;
        let (content, contents_bytes) = content.split_back(LENGTH_BYTES).ok_or_else(|| cut_short(length))?;
        let contents_bytes = u64::from_le_bytes(contents_bytes.array()?);
        let (rows, contents) = content.split_back(contents_bytes).ok_or_else(|| cut_short(length))?;
        read_parts(codec::decode(&contents.held()?)?, rows, length)
    }
}

fn check_magic(content: &Section) -> Result<()> {
    let begin = content.split_front(MAGIC.len() as u64).map(|(begin, _)| begin.array::<8>()).transpose()?;
    match begin {
        Some(begin) if begin == *MAGIC => Ok(()),
        Some([name @ .., version]) if MAGIC.starts_with(&name) => {
            Err(broken(format!("it has version {version}, which this build cannot read")))
        }
        _ => Err(broken(String::from("it does not begin as state does"))),
    }
}

fn read_parts(contents: Contents, mut rest: Section, length: u64) -> Result<Snapshot> {
    let Contents { epoch, after, values, rows } = contents;
    let mut snapshot = Snapshot { epoch, after, values: values.into_iter().collect(), ..Snapshot::default() };
    for RowsPart { name, belongs, bytes, changes } in rows {
        let rows = take_rows(&mut rest, bytes, length)?;
        let changes = match changes {
            Some(ChangesPart { keys, gone_bytes }) => {
                Some(Changes { keys, gone: take_rows(&mut rest, gone_bytes, length)? })
            }
            None => None,
        };
        snapshot.rows.insert(name, StateRows { belongs, rows, changes });
    }
    match rest.length() {
        0 => Ok(snapshot),
        more => Err(broken(format!("{more} bytes are of no part"))),
    }
}

/// The rows in the next so many bytes; none in none.
fn take_rows(rest: &mut Section, bytes: u64, length: u64) -> Result<Rows> {
    let (part, left) = rest.split_front(bytes).ok_or_else(|| cut_short(length))?;
    *rest = left;
    Ok(if bytes == 0 { Rows::default() } else { Rows::later(Arc::new(part)) })
}

impl LaterRows for Section {
    /// The batches of an Arrow IPC stream.
    fn batches(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>> {
        let reader = StreamReader::try_new(self.clone(), None)?;
        Ok(Box::new(reader.map(|batch| Ok(batch?))))
    }
}

/// Counts what is written, and computes its checksum.
struct Checked<'a> {
    to: &'a mut dyn Write,
    bytes: u64,
    checksum: crc32fast::Hasher,
}

impl Write for Checked<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.checksum.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Writes rows; says how many bytes they take, none if there are none.
fn write_rows(out: &mut Checked<'_>, batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<u64> {
    let (start, mut batches) = (out.bytes, batches);
    let Some(first) = batches.next().transpose()? else { return Ok(0) };
    let mut writer = StreamWriter::try_new(&mut *out, first.schema_ref())?;
    writer.write(&first)?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(out.bytes - start)
}

fn cut_short(bytes: u64) -> EngineError {
    broken(format!("it is cut short after {bytes} bytes"))
}

fn broken(what: String) -> EngineError {
    EngineError::State(what)
}
