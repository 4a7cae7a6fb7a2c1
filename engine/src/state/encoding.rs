//! Snapshots as bytes: the parts, then what they are, then a checksum.
//!
//! Rows are Arrow IPC streams, so each part carries its own schema. What says where they are comes behind them, so
//! that nothing has to be copied once its length is known.

use std::io::{Cursor, Write};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use tidemill_plans::codec;
use tidemill_plans::ids::Epoch;

use super::{Belongs, Changes, RowKeys, Snapshot, StateRows};
use crate::error::{EngineError, Result};

/// What every snapshot begins with; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"TDMLSTA\x02";

/// Bytes of the contents' length and of the checksum.
const LENGTH_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;

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
            let mut part = RowsPart { name, belongs, bytes: write_rows(&mut out, rows.all()?)?, changes: None };
            if let Some(Changes { keys, gone }) = &rows.changes {
                let gone_bytes = write_rows(&mut out, gone.iter().cloned().map(Ok))?;
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

    /// Reads what [`Self::to_bytes`] wrote. Bytes that are not whole are an error that says so.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| cut_short(bytes))?;
        let version = content.get(MAGIC.len() - 1);
        match content.strip_prefix(&MAGIC[..MAGIC.len() - 1]) {
            Some(_) if version == MAGIC.last() => {}
            Some([version, ..]) => {
                return Err(broken(format!("it has version {version}, which this build cannot read")));
            }
            _ => return Err(broken(String::from("it does not begin as state does"))),
        }
        let (computed, stored) = (crc32fast::hash(content), u32::from_le_bytes(*checksum));
        if computed != stored {
            return Err(broken(format!("its checksum is {computed:08x} instead of {stored:08x}")));
        }
        let (content, length) =
            content[MAGIC.len()..].split_last_chunk::<LENGTH_BYTES>().ok_or_else(|| cut_short(bytes))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let start = content.len().checked_sub(length).ok_or_else(|| cut_short(bytes))?;
        let (rest, contents) = content.split_at(start);
        read_parts(codec::decode(contents)?, rest, bytes)
    }
}

fn read_parts(contents: Contents, mut rest: &[u8], all: &[u8]) -> Result<Snapshot> {
    let Contents { epoch, after, values, rows } = contents;
    let mut snapshot = Snapshot { epoch, after, values: values.into_iter().collect(), ..Snapshot::default() };
    for RowsPart { name, belongs, bytes: length, changes } in rows {
        let batches = read_rows(take(&mut rest, length, all)?)?;
        let changes = match changes {
            Some(ChangesPart { keys, gone_bytes }) => {
                Some(Changes { keys, gone: read_rows(take(&mut rest, gone_bytes, all)?)? })
            }
            None => None,
        };
        snapshot.rows.insert(name, StateRows { belongs, batches, later: None, changes });
    }
    match rest {
        [] => Ok(snapshot),
        more => Err(broken(format!("{} bytes are of no part", more.len()))),
    }
}

/// The next so many bytes.
fn take<'a>(rest: &mut &'a [u8], length: u64, all: &[u8]) -> Result<&'a [u8]> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (part, left) = rest.split_at_checked(length).ok_or_else(|| cut_short(all))?;
    *rest = left;
    Ok(part)
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

fn read_rows(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    Ok(reader.collect::<Result<_, _>>()?)
}

fn cut_short(bytes: &[u8]) -> EngineError {
    broken(format!("it is cut short after {} bytes", bytes.len()))
}

fn broken(what: String) -> EngineError {
    EngineError::State(what)
}
