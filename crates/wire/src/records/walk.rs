//! The second judgement of a produced batch: one pass over its records.
//!
//! Uncompressed records are walked in place, compressed ones as they stream out of the decompressor, with a cap on output.
//! Keys, values and headers are skipped, never copied or kept. Deliberately not here: reading records (`read.rs`).

use std::io::Read;

use super::codec::Decompressor;
use super::header::{BATCH_HEADER_LEN, BatchHeader};
use super::rules::{BatchError, BatchRules, TimestampType};
use super::varint::{read_varint, read_varlong};

/// Fewest bytes of a record: its length, attributes, two deltas, key, value, header count, one byte each.
const LEAST_RECORD_LEN: u64 = 7;
/// Bytes that are decompressed at a time.
const CHUNK_LEN: usize = 16 * 1024;
/// "No timestamp" on the wire, always allowed.
const NO_TIMESTAMP: i64 = -1;

/// What the walk found out about an acceptable batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Greatest timestamp of the records, milliseconds since 1970, -1 if none has any.
    pub max_timestamp_ms: i64,
    /// Offset delta of the first record that has it.
    pub max_timestamp_delta: i32,
}

/// Walks the records of a batch that [`super::check_shape`] accepted.
///
/// # Errors
/// [`BatchError`] for the first thing that is wrong, with the record's index where it is a record; of records that are whole
/// and break the topic's rules all are named, since a producer tells its application of each.
pub fn walk(header: &BatchHeader, batch: &[u8], rules: &BatchRules) -> Result<Walked, BatchError> {
    walk_counted(header, batch, rules).0
}

/// The same, and how many bytes came out of the decompressor, also where something is wrong; 0 for uncompressed records.
pub fn walk_counted(header: &BatchHeader, batch: &[u8], rules: &BatchRules) -> (Result<Walked, BatchError>, u64) {
    let Some(records) = batch.get(BATCH_HEADER_LEN..) else { return (Err(BatchError::NotOneBatch), 0) };
    let judge = Judge::new(header, rules);
    if header.codec() == 0 {
        return (walk_records(header, &mut InPlace { bytes: records, position: 0 }, judge), 0);
    }
    let limit = rules.max_decompressed_bytes;
    let Ok(decompressor) = Decompressor::new(header.codec(), records, limit) else {
        return (Err(BatchError::Decompression), 0);
    };
    let mut input = Streamed::new(decompressor, limit);
    let walked = walk_records(header, &mut input, judge);
    (walked, input.before + input.end as u64)
}

fn walk_records<I: Input>(header: &BatchHeader, input: &mut I, mut judge: Judge<'_>) -> Result<Walked, BatchError> {
    let record_count = header.record_count;
    let least = u64::try_from(record_count).unwrap_or(0) * LEAST_RECORD_LEN;
    if least > input.limit() {
        return Err(BatchError::Record { index: record_count, reason: "there are more records than bytes for them" });
    }
    for index in 0..record_count {
        let record = walk_record(input).map_err(|fault| fault.at_record(index))?;
        if record.offset_delta != index {
            return Err(BatchError::Record { index, reason: "its offset delta is not the next" });
        }
        judge.record(index, &record);
    }
    match input.at_clean_end() {
        Ok(true) => judge.verdict(),
        Ok(false) => Err(BatchError::Trailing { record_count }),
        Err(fault) => Err(fault.at_record(record_count)),
    }
}

/// What is looked at of a record.
struct Seen {
    timestamp_delta: i64,
    offset_delta: i32,
    has_key: bool,
}

fn walk_record(input: &mut impl Input) -> Result<Seen, Fault> {
    let length = length(input)?;
    let end = input.position() + length;
    input.byte()?; // attributes, unused
    let timestamp_delta = read_varlong(|| input.byte())?.ok_or(TOO_LONG)?;
    let offset_delta = read_varint(|| input.byte())?.ok_or(TOO_LONG)?;
    let has_key = skip_nullable(input, end)?;
    skip_nullable(input, end)?; // value
    let headers = read_varint(|| input.byte())?.ok_or(TOO_LONG)?;
    if headers < 0 {
        return Err(Fault::Record("its header count is negative"));
    }
    for _ in 0..headers {
        if !skip_nullable(input, end)? {
            return Err(Fault::Record("a header has no key"));
        }
        skip_nullable(input, end)?;
    }
    if input.position() != end {
        return Err(Fault::Record("its length is not the length of its parts"));
    }
    Ok(Seen { timestamp_delta, offset_delta, has_key })
}

/// A record's own length, which must fit into what is left of the input.
fn length(input: &mut impl Input) -> Result<u64, Fault> {
    let length = read_varint(|| input.byte())?.ok_or(TOO_LONG)?;
    let length = u64::try_from(length).map_err(|_| Fault::Record("its length is negative"))?;
    input.fits(length)?;
    Ok(length)
}

/// Skips a length and that many bytes; whether it was not null.
fn skip_nullable(input: &mut impl Input, end: u64) -> Result<bool, Fault> {
    let length = read_varint(|| input.byte())?.ok_or(TOO_LONG)?;
    match u64::try_from(length) {
        Ok(length) if length > end.saturating_sub(input.position()) => Err(Fault::Record("a length goes past its end")),
        Ok(length) => input.skip(length).map(|()| true),
        Err(_) if length == -1 => Ok(false),
        Err(_) => Err(Fault::Record("a length is below -1")),
    }
}

/// The rules that concern single records, and what they leave behind.
struct Judge<'a> {
    rules: &'a BatchRules,
    base_timestamp_ms: i64,
    earliest_ms: i64,
    latest_ms: i64,
    found: Walked,
    /// Records without a key that need one.
    no_key: Vec<i32>,
    /// Records outside the topic's range of time, and the first one's timestamp.
    off_time: Vec<i32>,
    off_time_ms: i64,
}

impl<'a> Judge<'a> {
    fn new(header: &BatchHeader, rules: &'a BatchRules) -> Judge<'a> {
        Judge {
            rules,
            base_timestamp_ms: header.base_timestamp_ms,
            earliest_ms: rules.now_ms.saturating_sub(rules.timestamp_before_max_ms),
            latest_ms: rules.now_ms.saturating_add(rules.timestamp_after_max_ms),
            found: Walked { max_timestamp_ms: NO_TIMESTAMP, max_timestamp_delta: 0 },
            no_key: Vec::new(),
            off_time: Vec::new(),
            off_time_ms: 0,
        }
    }

    fn record(&mut self, index: i32, record: &Seen) {
        if self.rules.compacted && !record.has_key {
            name(&mut self.no_key, index);
        }
        let timestamp_ms = self.base_timestamp_ms.saturating_add(record.timestamp_delta);
        if self.rules.timestamp_type == TimestampType::CreateTime
            && timestamp_ms != NO_TIMESTAMP
            && !(self.earliest_ms..=self.latest_ms).contains(&timestamp_ms)
        {
            if self.off_time.is_empty() {
                self.off_time_ms = timestamp_ms;
            }
            name(&mut self.off_time, index);
        }
        if index == 0 || timestamp_ms > self.found.max_timestamp_ms {
            self.found = Walked { max_timestamp_ms: timestamp_ms, max_timestamp_delta: index };
        }
    }

    /// Once all records have been seen.
    fn verdict(self) -> Result<Walked, BatchError> {
        let Judge { earliest_ms, latest_ms, found, no_key, off_time, off_time_ms, .. } = self;
        match (off_time.is_empty(), no_key.is_empty()) {
            (false, _) => {
                Err(BatchError::Timestamp { indexes: off_time, timestamp_ms: off_time_ms, earliest_ms, latest_ms })
            }
            (true, false) => Err(BatchError::NoKey { indexes: no_key }),
            (true, true) => Ok(found),
        }
    }
}

/// Most records of a batch that an answer names: it must not become larger than what was sent.
const MOST_NAMED: usize = 1000;

fn name(named: &mut Vec<i32>, index: i32) {
    if named.len() < MOST_NAMED {
        named.push(index);
    }
}

/// What stops a walk, before it is known which record it was in.
#[derive(Clone, Copy)]
enum Fault {
    Record(&'static str),
    Decompression,
    DecompressedTooLarge(u64),
}

const TOO_LONG: Fault = Fault::Record("a number is too long");
const PAST_END: Fault = Fault::Record("it goes past the end of the batch");

impl Fault {
    fn at_record(self, index: i32) -> BatchError {
        match self {
            Fault::Record(reason) => BatchError::Record { index, reason },
            Fault::Decompression => BatchError::Decompression,
            Fault::DecompressedTooLarge(limit) => BatchError::DecompressedTooLarge { limit },
        }
    }
}

/// Bytes of records from the front, whether they lie there or come out of a decompressor.
trait Input {
    fn byte(&mut self) -> Result<u8, Fault>;
    fn skip(&mut self, count: u64) -> Result<(), Fault>;
    /// Bytes passed so far.
    fn position(&self) -> u64;
    /// How many bytes there can be in all.
    fn limit(&self) -> u64;
    /// Refuses a length that cannot be satisfied from here.
    fn fits(&self, length: u64) -> Result<(), Fault>;
    /// Whether nothing follows.
    fn at_clean_end(&mut self) -> Result<bool, Fault>;
}

struct InPlace<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Input for InPlace<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.position).ok_or(PAST_END)?;
        self.position += 1;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, count: u64) -> Result<(), Fault> {
        self.fits(count)?;
        self.position += count as usize;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position as u64
    }

    fn limit(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn fits(&self, length: u64) -> Result<(), Fault> {
        if length > self.limit() - self.position() { Err(PAST_END) } else { Ok(()) }
    }

    fn at_clean_end(&mut self) -> Result<bool, Fault> {
        Ok(self.position == self.bytes.len())
    }
}

struct Streamed<'a> {
    from: Decompressor<'a>,
    chunk: Vec<u8>,
    /// Where in the chunk unread bytes begin and end.
    start: usize,
    end: usize,
    /// Bytes passed before this chunk.
    before: u64,
    limit: u64,
}

impl<'a> Streamed<'a> {
    fn new(from: Decompressor<'a>, limit: u64) -> Streamed<'a> {
        Streamed { from, chunk: vec![0; CHUNK_LEN], start: 0, end: 0, before: 0, limit }
    }

    /// Gets the next chunk once this one is used up. False at the end.
    fn refill(&mut self) -> Result<bool, Fault> {
        self.before += self.end as u64;
        (self.start, self.end) = (0, 0);
        self.end = self.from.read(&mut self.chunk).map_err(|_| Fault::Decompression)?;
        if self.before + self.end as u64 > self.limit {
            return Err(Fault::DecompressedTooLarge(self.limit));
        }
        Ok(self.end > 0)
    }
}

impl Input for Streamed<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Fault> {
        if self.start == self.end && !self.refill()? {
            return Err(PAST_END);
        }
        let byte = self.chunk[self.start];
        self.start += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Fault> {
        self.fits(count)?;
        loop {
            let here = count.min((self.end - self.start) as u64);
            self.start += here as usize;
            count -= here;
            if count == 0 {
                return Ok(());
            }
            if !self.refill()? {
                return Err(PAST_END);
            }
        }
    }

    fn position(&self) -> u64 {
        self.before + self.start as u64
    }

    fn limit(&self) -> u64 {
        self.limit
    }

    fn fits(&self, length: u64) -> Result<(), Fault> {
        if length > self.limit - self.position() { Err(Fault::DecompressedTooLarge(self.limit)) } else { Ok(()) }
    }

    fn at_clean_end(&mut self) -> Result<bool, Fault> {
        Ok(self.start == self.end && !self.refill()? && self.from.ended_cleanly())
    }
}
