//! One connection: frames in, answers out.
//!
//! The reader decodes every complete frame that a read brought and hands all resulting work over at once; the writer writes
//! every answer that is ready with one call. Frames behind one whose answer waits are handled on arrival and only written in
//! order (P-5, G-9), at most `AHEAD` of them. Deliberately not here: what frames mean (`dispatch`).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use pagemark_wire::frame::{LENGTH_PREFIX_LEN, frame_length};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::budget::Charge;
use super::network::ReadHalf;
use super::outbox::{HELD_BYTES, Outbox};
use crate::broker::{Broker, Client};
use crate::dispatch::dispatch;

/// Requests of one connection that may be worked on at a time.
const AHEAD: usize = 32;
/// A frame that has begun, in or out, must make progress within this time, or the connection closes.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(30);
/// Frames up to this size are read even when the memory budget is spent (G-9).
const SMALL_FRAME_BYTES: usize = 64 * 1024;
/// Room made for a read at the least.
const READ_BYTES: usize = 16 * 1024;
/// Room made at once for the rest of a frame that is announced, at the most.
const AT_ONCE_BYTES: usize = 2 * 1024 * 1024;
/// Pieces written with one call, at the most: as many as the system takes.
const WRITE_BATCH: usize = 1024;

/// Serves a connection until either side closes it.
pub async fn serve(broker: Arc<Broker>, client: Client, read: impl ReadHalf, write: impl AsyncWrite + Unpin) {
    let outbox = Arc::new(Outbox::default());
    let reader = Reader {
        client: Arc::new(client),
        outbox: Arc::clone(&outbox),
        charge: broker.budget.charge(),
        buffer: BytesMut::new(),
        largest: 0,
        broker,
    };
    // However this ends, whoever still works on an answer is to know that nobody waits for it.
    let _closing = CloseOnDrop(Arc::clone(&outbox));
    // Whichever ends first ends both.
    tokio::select! {
        biased;
        () = reader.run(read) => {}
        () = write_answers(write, &outbox) => {}
    }
}

struct CloseOnDrop(Arc<Outbox>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Reader {
    broker: Arc<Broker>,
    client: Arc<Client>,
    outbox: Arc<Outbox>,
    charge: Charge,
    buffer: BytesMut,
    /// Of all frames that came whole, bytes.
    largest: usize,
}

/// Why reading ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client closed, or the socket failed.
    Closed,
    /// What came is no frame: everything before is still answered.
    BadFrame,
    /// Nothing came for too long.
    Idle,
}

impl Reader {
    async fn run(mut self, mut socket: impl ReadHalf) {
        let end = self.read_frames(&mut socket).await;
        if end == End::BadFrame {
            self.outbox.reserve().close();
            socket.closed().await; // else the writer ends the connection once it has written what was owed
        }
    }

    async fn read_frames(&mut self, socket: &mut impl ReadHalf) -> End {
        loop {
            match self.take_frames(socket).await {
                Ok(()) => {}
                Err(end) => return end,
            }
            if let Some(end) = self.fill(socket).await {
                return end;
            }
        }
    }

    /// Handles every complete frame in the buffer.
    async fn take_frames(&mut self, socket: &impl ReadHalf) -> Result<(), End> {
        let broker = Arc::clone(&self.broker);
        let mut outgoing = broker.executors.outgoing();
        while let Some(frame) = self.next_frame().inspect_err(|_| broker.executors.send(&mut outgoing))? {
            if !self.outbox.has_room(AHEAD, HELD_BYTES) {
                broker.executors.send(&mut outgoing);
                tokio::select! {
                    biased;
                    () = self.outbox.room(AHEAD, HELD_BYTES) => {}
                    () = socket.closed() => return Err(End::Closed),
                }
            }
            let mut charge = broker.budget.charge();
            charge.resize(frame.len());
            dispatch(&broker, &self.client, &mut outgoing, &frame, self.outbox.reserve_charged(charge));
        }
        broker.executors.send(&mut outgoing);
        Ok(())
    }

    /// The next complete frame, without its length.
    fn next_frame(&mut self) -> Result<Option<Bytes>, End> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_PREFIX_LEN>() else { return Ok(None) };
        let length = frame_length(*prefix, self.broker.settings.socket_request_max_bytes).map_err(|error| {
            tracing::warn!(client = %self.client.host, %error, "closing the connection");
            End::BadFrame
        })?;
        if self.buffer.len() < LENGTH_PREFIX_LEN + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_PREFIX_LEN);
        self.largest = self.largest.max(length);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Reads once.
    async fn fill(&mut self, socket: &mut impl ReadHalf) -> Option<End> {
        let (held, room) = (self.buffer.len(), self.room());
        if held == 0 && self.buffer.capacity() > SMALL_FRAME_BYTES {
            self.buffer = BytesMut::new(); // it may be idle for ever now, and its next large frame waits for its turn
        }
        self.charge.resize(held);
        if held.max(room) > SMALL_FRAME_BYTES {
            tokio::select! {
                biased;
                () = self.broker.budget.room(held) => {}
                () = socket.closed() => return Some(End::Closed),
                () = tokio::time::sleep(PROGRESS_DEADLINE) => {
                    tracing::warn!(client = %self.client.host, "no memory for a large request; closing the connection");
                    return Some(End::Closed);
                }
            }
        }
        self.buffer.reserve(room);
        let patience = if held > 0 { PROGRESS_DEADLINE } else { self.idle_limit() };
        match tokio::time::timeout(patience, socket.read_buf(&mut self.buffer)).await {
            Ok(Ok(0) | Err(_)) => Some(End::Closed),
            Ok(Ok(_)) => {
                self.broker.metrics.read();
                None
            }
            // Someone who waits for an answer is not idle.
            Err(_) if held == 0 && !self.outbox.is_idle() => None,
            Err(_) => {
                tracing::debug!(client = %self.client.host, held, "nothing came for too long; closing the connection");
                Some(End::Idle)
            }
        }
    }

    /// How much room is made for the next read: as much again as came of a frame, never for what was merely announced; but all
    /// of it at once where a frame as large has come before, so that its beginning is not copied again and again.
    fn room(&self) -> usize {
        let held = self.buffer.len();
        let announced = self.buffer.first_chunk().map_or(0, |prefix| u32::from_be_bytes(*prefix) as usize);
        let rest = (announced + LENGTH_PREFIX_LEN).saturating_sub(held);
        let known = announced <= self.largest.min(AT_ONCE_BYTES);
        if known { rest.max(READ_BYTES) } else { held.clamp(READ_BYTES, 1 << 20) }
    }

    fn idle_limit(&self) -> Duration {
        let limit_ms = u64::try_from(self.broker.settings.connections_max_idle_ms).unwrap_or(u64::MAX >> 20);
        Duration::from_millis(limit_ms)
    }
}

async fn write_answers(mut socket: impl AsyncWrite + Unpin, outbox: &Arc<Outbox>) {
    loop {
        let ready = outbox.take();
        for lot in ready.pieces.chunks(WRITE_BATCH) {
            if write_all(&mut socket, lot).await.is_err() {
                return;
            }
        }
        let close = ready.close;
        drop(ready); // written, and so no longer held
        if close {
            let _ = socket.shutdown().await;
            return;
        }
        outbox.wait().await;
        if outbox.is_closed() {
            return;
        }
    }
}

/// Writes all of it, as long as the client takes some of it now and then.
async fn write_all(socket: &mut (impl AsyncWrite + Unpin), pieces: &[Bytes]) -> std::io::Result<()> {
    let mut slices: Vec<std::io::IoSlice<'_>> = pieces.iter().map(|piece| std::io::IoSlice::new(piece)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let written = tokio::time::timeout(PROGRESS_DEADLINE, socket.write_vectored(rest)).await??;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        std::io::IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}
