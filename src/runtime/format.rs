//! The bytes of a journal record and of a snapshot: what the runtime stores, and nothing about where.
//!
//! A record is what the cells of one shard changed within one append:
//!
//! ```text
//!  version: u8 = 1
//!  section*:  address: bincode · length: u32 LE · entries: u32 LE · `length` bytes: `entries` × bincode entry
//! ```
//!
//! The length comes before the entries so that a replay skips a cell whose snapshot is newer without decoding it.
//! A snapshot is a version byte and the bincode of a keyed machine. Every read is bounds checked, and bytes that are
//! left over are an error: a record says exactly what it says. Golden-bytes tests guard both.

use std::fmt;

use actors::address::Address;
use actors::bytes::End;
use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// First byte of every record.
pub const RECORD_VERSION: u8 = 1;

/// A record that changes nothing, for a test append.
pub const EMPTY_RECORD: [u8; 1] = [RECORD_VERSION];

/// First byte of every snapshot.
pub const SNAPSHOT_VERSION: u8 = 1;

/// Most bytes that one entry may claim when it is decoded: far above the largest event description.
pub const ENTRY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bytes that one snapshot may claim when it is decoded.
pub const SNAPSHOT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Room for most entries, made at once.
const ENTRY_BYTES_USUAL: usize = 128;

/// Length and number of entries, after the address.
const COUNTS_BYTES: usize = 8;

type Bounded<const MAX: usize> = Configuration<LittleEndian, Varint, Limit<MAX>>;

const ENTRY: Bounded<ENTRY_BYTES_MAX> = config::standard().with_limit();
const SNAPSHOT: Bounded<SNAPSHOT_BYTES_MAX> = config::standard().with_limit();

/// Bytes that are not what they should be. The text says what was found.
#[derive(Debug)]
pub enum FormatError {
    /// Another version, or none.
    Version {
        /// What the first byte says; `None`: there is no byte.
        found: Option<u8>,
    },
    /// The bytes end before the section does.
    Short,
    /// Bytes are left over behind what was announced.
    Long {
        /// How many.
        left: usize,
    },
    /// A section is of another machine than the one it is folded into.
    Kind,
    /// bincode refuses to read it.
    Decode(bincode::error::DecodeError),
    /// bincode refuses to write it: our bug.
    Encode(bincode::error::EncodeError),
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Version { found } => write!(f, "unknown version: found={found:?}"),
            FormatError::Short => f.write_str("bytes end too early"),
            FormatError::Long { left } => write!(f, "bytes left over: left={left}"),
            FormatError::Kind => f.write_str("section of another machine"),
            FormatError::Decode(source) => write!(f, "cannot be decoded: {source}"),
            FormatError::Encode(source) => write!(f, "cannot be encoded: {source}"),
        }
    }
}

impl std::error::Error for FormatError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FormatError::Decode(source) => Some(source),
            FormatError::Encode(source) => Some(source),
            FormatError::Version { .. } | FormatError::Short | FormatError::Long { .. } | FormatError::Kind => None,
        }
    }
}

/// Appends what one turn of one cell changed to a record; an empty record gets its version first.
///
/// # Errors
/// An entry that cannot be encoded, which is our bug; the record is as it was before.
pub fn put_section<E: Serialize>(record: &mut Vec<u8>, address: &Address, entries: &[E]) -> Result<(), FormatError> {
    let before = record.len();
    let result = try_put_section(record, address, entries);
    if result.is_err() {
        record.truncate(before);
    }
    result
}

fn try_put_section<E: Serialize>(record: &mut Vec<u8>, address: &Address, entries: &[E]) -> Result<(), FormatError> {
    if record.is_empty() {
        record.push(RECORD_VERSION);
    }
    bincode::serde::encode_into_writer(address, End(record), ENTRY).map_err(FormatError::Encode)?;
    let counts = record.len();
    record.extend_from_slice(&[0; COUNTS_BYTES]);
    for entry in entries {
        record.reserve(ENTRY_BYTES_USUAL);
        bincode::serde::encode_into_writer(entry, End(record), ENTRY).map_err(FormatError::Encode)?;
    }
    let length = (record.len() - counts - COUNTS_BYTES) as u32;
    record[counts..counts + 4].copy_from_slice(&length.to_le_bytes());
    record[counts + 4..counts + COUNTS_BYTES].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    Ok(())
}

/// What one turn of one cell changed, not decoded yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Whose.
    pub address: Address,
    /// How many entries.
    pub entries: u32,
    bytes: &'a [u8],
}

impl Section<'_> {
    /// Decodes the entries one by one.
    ///
    /// # Errors
    /// An entry that cannot be decoded, or bytes left over behind the last.
    pub fn each<E: DeserializeOwned>(&self, mut visit: impl FnMut(E)) -> Result<(), FormatError> {
        let mut rest = self.bytes;
        for _ in 0..self.entries {
            let (entry, used) = bincode::serde::decode_from_slice(rest, ENTRY).map_err(FormatError::Decode)?;
            rest = rest.get(used..).ok_or(FormatError::Short)?;
            visit(entry);
        }
        if rest.is_empty() { Ok(()) } else { Err(FormatError::Long { left: rest.len() }) }
    }
}

/// The sections of a record, in order. Stops at the first error.
///
/// # Errors
/// A record of an unknown version.
pub fn sections(record: &[u8]) -> Result<Sections<'_>, FormatError> {
    match record.split_first() {
        Some((&RECORD_VERSION, rest)) => Ok(Sections { rest }),
        Some((&found, _)) => Err(FormatError::Version { found: Some(found) }),
        None => Err(FormatError::Version { found: None }),
    }
}

/// See [`sections`].
#[derive(Debug)]
pub struct Sections<'a> {
    rest: &'a [u8],
}

impl<'a> Sections<'a> {
    fn read(&mut self) -> Result<Section<'a>, FormatError> {
        let (address, used) = bincode::serde::decode_from_slice(self.rest, ENTRY).map_err(FormatError::Decode)?;
        let counted = self.rest.get(used..).ok_or(FormatError::Short)?;
        let (length, counted) = counted.split_first_chunk::<4>().ok_or(FormatError::Short)?;
        let (entries, rest) = counted.split_first_chunk::<4>().ok_or(FormatError::Short)?;
        let length = u32::from_le_bytes(*length) as usize;
        if rest.len() < length {
            return Err(FormatError::Short);
        }
        let (bytes, rest) = rest.split_at(length);
        self.rest = rest;
        Ok(Section { address, entries: u32::from_le_bytes(*entries), bytes })
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let section = self.read();
        if section.is_err() {
            self.rest = &[];
        }
        Some(section)
    }
}

/// The bytes of a snapshot.
///
/// # Errors
/// State that cannot be encoded, which is our bug.
pub fn encode_snapshot<T: Serialize>(state: &T) -> Result<Vec<u8>, FormatError> {
    let mut bytes = vec![SNAPSHOT_VERSION];
    bincode::serde::encode_into_writer(state, End(&mut bytes), SNAPSHOT).map_err(FormatError::Encode)?;
    Ok(bytes)
}

/// The state that a snapshot holds.
///
/// # Errors
/// Another version, bytes that cannot be decoded, or bytes left over.
pub fn decode_snapshot<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    let rest = match bytes.split_first() {
        Some((&SNAPSHOT_VERSION, rest)) => rest,
        Some((&found, _)) => return Err(FormatError::Version { found: Some(found) }),
        None => return Err(FormatError::Version { found: None }),
    };
    let (state, used) = bincode::serde::decode_from_slice(rest, SNAPSHOT).map_err(FormatError::Decode)?;
    if used == rest.len() { Ok(state) } else { Err(FormatError::Long { left: rest.len() - used }) }
}

/// The name a snapshot is stored under: the bincode of its cell's address.
#[must_use]
pub fn encode_address(address: &Address) -> Vec<u8> {
    bincode::serde::encode_to_vec(address, ENTRY).expect("an address can be encoded")
}

/// The address that a snapshot's name stands for.
///
/// # Errors
/// Bytes that are no address.
pub fn decode_address(name: &[u8]) -> Result<Address, FormatError> {
    let (address, used) = bincode::serde::decode_from_slice(name, ENTRY).map_err(FormatError::Decode)?;
    if used == name.len() { Ok(address) } else { Err(FormatError::Long { left: name.len() - used }) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actors::address::BlockRef;
    use actors::ids::Shard;

    use super::*;

    fn block() -> Address {
        Address::Block(BlockRef { event: "e".into(), block: "A".into() })
    }

    fn record() -> Vec<u8> {
        let mut record = Vec::new();
        put_section(&mut record, &block(), &[7u64, 300]).unwrap();
        put_section(&mut record, &Address::Orders(Shard(3)), &["x".to_owned()]).unwrap();
        record
    }

    #[test]
    fn a_record_is_these_bytes() {
        let golden = [
            1, // version
            1, 1, b'e', 1, b'A', 4, 0, 0, 0, 2, 0, 0, 0, 7, 251, 44, 1, // block e/A, 4 bytes, 2 entries
            2, 3, 2, 0, 0, 0, 1, 0, 0, 0, 1, b'x', // order desk 3, 2 bytes, 1 entry
        ];
        assert_eq!(record(), golden);
    }

    #[test]
    fn a_record_reads_back_and_sections_can_be_skipped() {
        let record = record();
        let mut sections = sections(&record).unwrap();
        let first = sections.next().unwrap().unwrap();
        assert_eq!((first.address, first.entries), (block(), 2));
        let second = sections.next().unwrap().unwrap();
        let mut seen = Vec::new();
        second.each(|text: String| seen.push(text)).unwrap();
        assert_eq!(seen, ["x"]);
        assert!(sections.next().is_none());
    }

    #[test]
    fn no_cut_or_stretched_record_passes() {
        let whole = record();
        let first_section = 1 + 17;
        for length in 0..whole.len() {
            let fine = sections(&whole[..length]).is_ok_and(|mut found| found.all(|section| section.is_ok()));
            assert_eq!(fine, length == 1 || length == first_section, "cut to {length}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(sections(&longer).unwrap().any(|section| section.is_err()));
        assert!(matches!(sections(&[9]), Err(FormatError::Version { found: Some(9) })));
    }

    #[test]
    fn entries_must_fill_their_section_exactly() {
        let address = block();
        let long = Section { address: address.clone(), entries: 1, bytes: &[7, 7] };
        assert!(matches!(long.each(|_: u64| {}), Err(FormatError::Long { left: 1 })));
        let short = Section { address, entries: 3, bytes: &[7, 7] };
        assert!(matches!(short.each(|_: u64| {}), Err(FormatError::Decode(_))));
    }

    #[test]
    fn a_snapshot_reads_back_whole_or_not_at_all() {
        let bytes = encode_snapshot(&vec![1u32, 2, 300]).unwrap();
        assert_eq!(bytes, [1, 3, 1, 2, 251, 44, 1]);
        assert_eq!(decode_snapshot::<Vec<u32>>(&bytes).unwrap(), [1, 2, 300]);
        assert!(decode_snapshot::<Vec<u32>>(&bytes[..6]).is_err());
        assert!(decode_snapshot::<Vec<u32>>(&[&bytes[..], &[0]].concat()).is_err());
        assert!(decode_snapshot::<Vec<u32>>(&[2, 0]).is_err());
        assert_eq!(decode_address(&encode_address(&block())).unwrap(), block());
    }
}
