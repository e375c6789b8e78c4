//! Reading a log file at recovery: what lies at a place, and what lies anywhere behind it.
//!
//! Bytes come in windows, so that a file is never in memory as a whole. Deliberately not here: judging what a missing record
//! means (`replay.rs`). Read errors are passed on: a record that cannot be read now might be readable later.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::log_file::{FIRST_RECORD_AT, FileHeader};
use super::options::{LocalOptions, planted};
use super::record::{self, ALIGN, Body, HEAD_LEN, Head, Legible, Parsed, Record, Seal};
use crate::disk::{Disk, FileId};
use crate::planted::PlantedBug;

const WINDOW_BYTES: u64 = 1 << 20;

/// A log file as found at the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundFile {
    pub slot: u64,
    pub file: FileId,
    /// Bytes the file has.
    pub len: u64,
    pub header: FileHeader,
}

/// A window over one log file.
pub(super) struct LogScan<'a> {
    disk: &'a dyn Disk,
    found: FoundFile,
    window: Bytes,
    window_at: u64,
    check_crc: bool,
    check_place: bool,
}

impl<'a> LogScan<'a> {
    pub(super) fn new(disk: &'a dyn Disk, found: FoundFile, options: &LocalOptions) -> LogScan<'a> {
        // Behind that may lie indexes of what stays in the file.
        let len = found.len.min(found.header.capacity);
        LogScan {
            disk,
            found: FoundFile { len, ..found },
            window: Bytes::new(),
            window_at: 0,
            check_crc: !planted(options, PlantedBug::TornRecordAccepted),
            check_place: !planted(options, PlantedBug::GenerationIgnored),
        }
    }

    /// The bytes at a place; `None` if the file ends before.
    pub(super) fn bytes(&mut self, at: u64, length: usize) -> io::Result<Option<Bytes>> {
        Ok(self.reach(at, length)?.map(|place| self.window.slice(place)))
    }

    /// Reads on if need be, until these bytes are in the window; where they are in it.
    fn reach(&mut self, at: u64, length: usize) -> io::Result<Option<Range<usize>>> {
        let Some(end) = at.checked_add(length as u64).filter(|end| *end <= self.found.len) else { return Ok(None) };
        let window_end = self.window_at + self.window.len() as u64;
        if at < self.window_at || end > window_end {
            let wanted = (length as u64).max(WINDOW_BYTES).min(self.found.len - at);
            self.window = self.disk.read_at(self.found.file, at, wanted as usize)?;
            self.window_at = at;
        }
        let from = (at - self.window_at) as usize;
        Ok(Some(from..from + length))
    }

    /// The head at a place, if it is one of this file and generation. Asked of every eighth byte behind the log's end, so nothing is
    /// allocated or counted for it.
    fn head(&mut self, at: u64) -> io::Result<Option<Head>> {
        let room = usize::try_from(self.found.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let Some(place) = self.reach(at, HEAD_LEN)? else { return Ok(None) };
        let bytes = &self.window[place];
        let head = Head::peek(bytes, room);
        let sealed = |head: &Head| !self.check_crc || head.is_sealed(bytes, self.seal(head));
        let placed = |head: &Head| !self.check_place || head.generation == self.found.header.generation;
        Ok(head.filter(placed).filter(sealed))
    }

    /// What a record of this file is sealed with.
    fn seal(&self, head: &Head) -> Seal {
        Seal::new(self.found.header.incarnation, head.generation)
    }

    /// The record at a place, if it is the one with this sequence number and of this file's generation.
    pub(super) fn record(&mut self, at: u64, lsn: u64) -> io::Result<Parsed> {
        let Some(head) = self.head(at)?.filter(|h| h.lsn == lsn || !self.check_place) else {
            return Ok(Parsed::Invalid);
        };
        let seal = self.seal(&head);
        let bytes = self.bytes(at, head.len)?;
        Ok(bytes.map_or(Parsed::Invalid, |bytes| record::parse(&bytes, seal, self.check_crc)))
    }

    /// What a damaged record at a place still says of itself.
    pub(super) fn legible(&mut self, at: u64, lsn: u64) -> io::Result<Option<Legible>> {
        let seal = self.found.header.seal();
        let Some(head) = self.head(at)?.filter(|h| h.lsn == lsn) else { return Ok(None) };
        Ok(self.bytes(at, head.len)?.and_then(|bytes| record::parse_head(&bytes, seal)))
    }

    /// The first valid record at or behind a place with a sequence number above this one, and where it lies.
    ///
    /// Every eighth byte may begin one, but no more than a head is looked at unless that is sealed; and a record whose head is, is
    /// stepped over as a whole. So this reads every byte about once, whatever clients have written.
    pub(super) fn next_valid(&mut self, from: u64, above_lsn: u64) -> io::Result<Option<(u64, Record)>> {
        let (seal, generation) = (self.found.header.seal(), self.found.header.generation);
        let mut at = from.max(FIRST_RECORD_AT).next_multiple_of(ALIGN as u64);
        while at.saturating_add(HEAD_LEN as u64) <= self.found.len {
            let head = self.head(at)?.filter(|h| h.generation == generation);
            let Some(head) = head else {
                at += ALIGN as u64;
                continue;
            };
            if head.lsn > above_lsn
                && let Some(bytes) = self.bytes(at, head.len)?
                && let Parsed::Valid(record) = record::parse(&bytes, seal, true)
            {
                return Ok(Some((at, record)));
            }
            at += if self.check_crc { head.size() as u64 } else { ALIGN as u64 };
        }
        Ok(None)
    }

    /// The greatest `durable_lsn` that any valid record at or behind a place carries.
    pub(super) fn greatest_durable(&mut self, from: u64) -> io::Result<u64> {
        let (mut greatest, mut at) = (0, from);
        while let Some((place, record)) = self.next_valid(at, 0)? {
            if let Body::Flush { durable_lsn } = record.body {
                greatest = greatest.max(durable_lsn);
            }
            at = place + record.size as u64;
        }
        Ok(greatest)
    }
}
