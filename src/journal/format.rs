//! The bytes of a segment file: what is written where. All numbers little-endian.
//!
//! ```text
//! segment  header (4096 bytes), then groups, each at a multiple of 8, then zeros
//! header   magic 8 | format u32 | crc32c u32 | segment u64 | journal u64 | zeros      crc: all of it but the crc
//! group    magic 4 | crc32c u32 | content crc32c u32 | length u32 | count u32 | segment u32 | group u64
//!          | content (length) | zeros to 8
//!          crc: journal u64, magic, the header behind the crc; content crc: content and zeros
//! records  magic "SREC"; content: frames      len u32 | crc32c u32 | shard u16 | seq u64 | payload (len)
//! tails    magic "STLS"; content: the last number of every shard      shard u16 | seq u64
//! ```
//!
//! A segment's first group is its tails, so that the oldest file left still knows the numbers of shards whose records
//! are in deleted files. The journal's random number is part of every group's checksum: bytes that a buyer sent can
//! never pass for a group. No I/O here; [`super::scan`] reads on from group to group.

use std::fmt;

use super::tails::Tails;
use super::{SegmentNo, Seq, Shard};

/// Bytes before the first group. A page, so that the header is never rewritten by an append.
pub(crate) const HEADER_BYTES: usize = 4096;
/// Bytes of a group before its content.
pub(crate) const GROUP_HEADER_BYTES: usize = 32;
/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 18;
/// Groups begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"STAMPEDE";
const RECORDS_MAGIC: [u8; 4] = *b"SREC";
const TAILS_MAGIC: [u8; 4] = *b"STLS";
const FORMAT: u32 = 1;
const TAIL_BYTES: usize = 10;

/// The random number of a journal, the same in all of its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalId(pub(crate) u64);

/// The number of a group: the first of a journal is 1, there are no gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupNo(pub(crate) u64);

impl GroupNo {
    pub(crate) fn next(self) -> GroupNo {
        GroupNo(self.0 + 1)
    }
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the text of each is its display")]
pub enum Fault {
    SegmentMagic,
    Format { found: u32 },
    HeaderChecksum,
    SegmentNumber { found: u64 },
    JournalNumber { found: u64 },
    GroupMagic { found: u32 },
    GroupHeader,
    GroupLength { found: u32 },
    GroupChecksum,
    GroupNumber { found: u64, expected: u64 },
    NoTails,
    TailsMidway,
    TailsDiffer { shard: u16, found: u64, expected: u64 },
    FrameLength,
    FrameChecksum,
    RecordNumber { shard: u16, found: u64, expected: u64 },
    Empty,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::SegmentMagic => write!(f, "not a journal segment, wrong magic"),
            Fault::Format { found } => write!(f, "unknown format version: found={found} known={FORMAT}"),
            Fault::HeaderChecksum => write!(f, "segment header fails its checksum"),
            Fault::SegmentNumber { found } => write!(f, "belongs to another segment: found={found}"),
            Fault::JournalNumber { found } => write!(f, "belongs to another journal: found={found:#x}"),
            Fault::GroupMagic { found } => write!(f, "no group begins here: found={found:#010x}"),
            Fault::GroupLength { found } => write!(f, "group reaches beyond the file: length={found}"),
            Fault::GroupHeader => write!(f, "group header fails its checksum"),
            Fault::GroupChecksum => write!(f, "group fails its checksum"),
            Fault::GroupNumber { found, expected } => {
                write!(f, "group out of order: found={found} expected={expected}")
            }
            Fault::NoTails => write!(f, "segment does not begin with its tails"),
            Fault::TailsMidway => write!(f, "tails in the middle of a segment"),
            Fault::TailsDiffer { shard, found, expected } => {
                write!(f, "tails contradict the segment before: shard={shard} found={found} expected={expected}")
            }
            Fault::FrameLength => write!(f, "frame reaches beyond its group"),
            Fault::FrameChecksum => write!(f, "frame fails its checksum"),
            Fault::RecordNumber { shard, found, expected } => {
                write!(f, "record out of order: shard={shard} found={found} expected={expected}")
            }
            Fault::Empty => write!(f, "segment is empty, but a later one is not"),
        }
    }
}

/// What a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Records,
    Tails,
}

/// A group whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    pub(crate) kind: Kind,
    pub(crate) number: GroupNo,
    pub(crate) count: u32,
    pub(crate) content: &'a [u8],
    /// Where the next group begins.
    pub(crate) end: usize,
}

/// One record as it lies in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) shard: Shard,
    pub(crate) seq: Seq,
    pub(crate) payload: &'a [u8],
}

pub(crate) fn encode_segment_header(segment: SegmentNo, journal: JournalId) -> Vec<u8> {
    let mut block = vec![0; HEADER_BYTES];
    block[..8].copy_from_slice(&SEGMENT_MAGIC);
    block[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    block[16..24].copy_from_slice(&segment.0.to_le_bytes());
    block[24..32].copy_from_slice(&journal.0.to_le_bytes());
    let crc = header_crc(&block);
    block[12..16].copy_from_slice(&crc.to_le_bytes());
    block
}

/// Reads a segment's header and says which journal it belongs to.
pub(crate) fn decode_segment_header(bytes: &[u8], segment: SegmentNo) -> Result<JournalId, Fault> {
    let block = bytes.get(..HEADER_BYTES).ok_or(Fault::SegmentMagic)?;
    if block[..8] != SEGMENT_MAGIC {
        return Err(Fault::SegmentMagic);
    }
    // The version comes before the checksum: a later format may compute it differently.
    let format = u32_at(block, 8);
    if format != FORMAT {
        return Err(Fault::Format { found: format });
    }
    if u32_at(block, 12) != header_crc(block) {
        return Err(Fault::HeaderChecksum);
    }
    let found = u64_at(block, 16);
    if found != segment.0 {
        return Err(Fault::SegmentNumber { found });
    }
    Ok(JournalId(u64_at(block, 24)))
}

fn header_crc(block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..12]), &block[16..])
}

/// Appends a frame to a group's content.
pub(crate) fn encode_frame(shard: Shard, seq: Seq, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let len = u32::try_from(payload.len()).expect("a record fits a group, whose length is a u32");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&shard.0.to_le_bytes());
    out.extend_from_slice(&seq.0.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = crc32c::crc32c(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Takes the first frame off `content`.
pub(crate) fn decode_frame<'a>(content: &mut &'a [u8]) -> Result<Frame<'a>, Fault> {
    if content.len() < FRAME_HEADER_BYTES {
        return Err(Fault::FrameLength);
    }
    let end = FRAME_HEADER_BYTES + u32_at(content, 0) as usize;
    let frame = content.get(..end).ok_or(Fault::FrameLength)?;
    if u32_at(frame, 4) != crc32c::crc32c(&frame[8..]) {
        return Err(Fault::FrameChecksum);
    }
    *content = &content[end..];
    Ok(Frame {
        shard: Shard(u16::from_le_bytes([frame[8], frame[9]])),
        seq: Seq(u64_at(frame, 10)),
        payload: &frame[FRAME_HEADER_BYTES..],
    })
}

/// The content of a tails group.
pub(crate) fn encode_tails(tails: &Tails, out: &mut Vec<u8>) -> u32 {
    let mut count = 0;
    for (shard, seq) in tails.iter() {
        out.extend_from_slice(&shard.0.to_le_bytes());
        out.extend_from_slice(&seq.0.to_le_bytes());
        count += 1;
    }
    count
}

/// Reads the content of a tails group.
pub(crate) fn decode_tails(group: &Group<'_>) -> Result<Tails, Fault> {
    if group.kind != Kind::Tails {
        return Err(Fault::NoTails);
    }
    if group.content.len() != group.count as usize * TAIL_BYTES {
        return Err(Fault::FrameLength);
    }
    let entries = group.content.chunks_exact(TAIL_BYTES);
    Ok(entries.map(|entry| (Shard(u16::from_le_bytes([entry[0], entry[1]])), Seq(u64_at(entry, 2)))).collect())
}

/// Fills in the header in front of the content and pads the end. `group` is header space plus content.
pub(crate) fn finish_group(
    group: &mut Vec<u8>,
    kind: Kind,
    count: u32,
    journal: JournalId,
    place: (SegmentNo, GroupNo),
) {
    let length = u32::try_from(group.len() - GROUP_HEADER_BYTES).expect("a group is bounded by group_bytes_max");
    group.resize(group.len().next_multiple_of(ALIGN), 0);
    group[..4].copy_from_slice(match kind {
        Kind::Records => &RECORDS_MAGIC,
        Kind::Tails => &TAILS_MAGIC,
    });
    let content_crc = crc32c::crc32c(&group[GROUP_HEADER_BYTES..]);
    group[8..12].copy_from_slice(&content_crc.to_le_bytes());
    group[12..16].copy_from_slice(&length.to_le_bytes());
    group[16..20].copy_from_slice(&count.to_le_bytes());
    group[20..24].copy_from_slice(&low_half(place.0).to_le_bytes());
    group[24..32].copy_from_slice(&place.1.0.to_le_bytes());
    let crc = group_crc(group, journal);
    group[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Enough of a segment's number to tell it from its neighbours.
fn low_half(segment: SegmentNo) -> u32 {
    (segment.0 & u64::from(u32::MAX)) as u32
}

/// Reads the group at `offset` of a segment's bytes.
pub(crate) fn decode_group(
    bytes: &[u8],
    offset: usize,
    segment: SegmentNo,
    journal: JournalId,
) -> Result<Group<'_>, Fault> {
    let rest = &bytes[offset..];
    if rest.len() < GROUP_HEADER_BYTES {
        return Err(Fault::GroupMagic { found: 0 });
    }
    let kind = kind_at(rest).ok_or(Fault::GroupMagic { found: u32_at(rest, 0) })?;
    if u32_at(rest, 4) != group_crc(rest, journal) {
        return Err(Fault::GroupHeader);
    }
    let found = u32_at(rest, 20);
    if found != low_half(segment) {
        return Err(Fault::SegmentNumber { found: u64::from(found) });
    }
    let length = u32_at(rest, 12);
    let whole = (GROUP_HEADER_BYTES + length as usize).next_multiple_of(ALIGN);
    let group = rest.get(..whole).ok_or(Fault::GroupLength { found: length })?;
    if u32_at(group, 8) != crc32c::crc32c(&group[GROUP_HEADER_BYTES..]) {
        return Err(Fault::GroupChecksum);
    }
    Ok(Group {
        kind,
        number: GroupNo(u64_at(group, 24)),
        count: u32_at(group, 16),
        content: &group[GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + length as usize],
        end: offset + whole,
    })
}

/// What kind of group seems to begin here, by its magic alone.
pub(crate) fn kind_at(bytes: &[u8]) -> Option<Kind> {
    match bytes.first_chunk::<4>() {
        Some(&RECORDS_MAGIC) => Some(Kind::Records),
        Some(&TAILS_MAGIC) => Some(Kind::Tails),
        Some(_) | None => None,
    }
}

fn group_crc(group: &[u8], journal: JournalId) -> u32 {
    let crc = crc32c::crc32c(&journal.0.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &group[..4]), &group[8..GROUP_HEADER_BYTES])
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(raw)
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests;
