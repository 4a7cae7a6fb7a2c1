//! Snapshots as bytes: a header that names the parts, then the parts, then a checksum.
//!
//! Rows are Arrow IPC streams, so each part carries its own schema.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use tidemill_plans::codec;

use super::{Belongs, Snapshot, StateRows};
use crate::error::{EngineError, Result};

/// What every snapshot begins with; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"TDMLSTA\x01";

/// Bytes of the header's length and of the checksum.
const LENGTH_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;

/// What is in a snapshot, in the order of its bytes.
#[derive(bincode::Encode, bincode::Decode)]
struct Header {
    values: Vec<(String, Vec<u8>)>,
    rows: Vec<RowsHeader>,
}

#[derive(bincode::Encode, bincode::Decode)]
struct RowsHeader {
    name: String,
    belongs: Belongs,
    bytes: u64,
}

impl Snapshot {
    /// The snapshot's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut header = Header { values: Vec::new(), rows: Vec::new() };
        header.values.extend(self.values.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut body = Vec::new();
        for (name, rows) in &self.rows {
            let start = body.len();
            write_rows(&mut body, &rows.batches)?;
            let (name, belongs) = (name.clone(), rows.belongs.clone());
            header.rows.push(RowsHeader { name, belongs, bytes: (body.len() - start) as u64 });
        }
        let header = codec::encode(&header)?;
        let mut bytes = Vec::with_capacity(MAGIC.len() + LENGTH_BYTES + header.len() + body.len() + CHECKSUM_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        Ok(bytes)
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
        let mut rest = &content[MAGIC.len()..];
        let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or_else(|| cut_short(bytes))?;
        rest = after;
        let length = u64::from_le_bytes(*length);
        let header: Header = codec::decode(take(&mut rest, length, bytes)?)?;
        let mut snapshot = Self { values: header.values.into_iter().collect(), ..Self::default() };
        for RowsHeader { name, belongs, bytes: length } in header.rows {
            let batches = read_rows(take(&mut rest, length, bytes)?)?;
            snapshot.rows.insert(name, StateRows { belongs, batches });
        }
        match rest {
            [] => Ok(snapshot),
            more => Err(broken(format!("{} bytes follow its end", more.len()))),
        }
    }
}

/// The next so many bytes.
fn take<'a>(rest: &mut &'a [u8], length: u64, all: &[u8]) -> Result<&'a [u8]> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (part, left) = rest.split_at_checked(length).ok_or_else(|| cut_short(all))?;
    *rest = left;
    Ok(part)
}

fn write_rows(bytes: &mut Vec<u8>, batches: &[RecordBatch]) -> Result<()> {
    let Some(first) = batches.first() else { return Ok(()) };
    let mut writer = StreamWriter::try_new(bytes, first.schema_ref())?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.finish()?)
}

fn read_rows(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    Ok(reader.collect::<Result<_, _>>()?)
}

fn cut_short(bytes: &[u8]) -> EngineError {
    broken(format!("it is cut short after {} bytes", bytes.len()))
}

fn broken(what: String) -> EngineError {
    EngineError::State(what)
}
