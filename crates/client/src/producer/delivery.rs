//! What became of a record: a future for each, over one outcome for its whole batch.
//!
//! Deliberately not here: deciding the outcome.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::code::Code;
use crate::error::Error;
use crate::partition::TopicPartition;

/// Where a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its partition.
    pub partition: TopicPartition,
    /// Its offset; `None` if the broker was not asked to tell (acks=0), or had it already and did not say where.
    pub offset: Option<i64>,
    /// The time that the broker gave it, in milliseconds since 1970, if the topic has `LogAppendTime`.
    pub log_append_time_ms: Option<i64>,
}

/// Why a record was not acknowledged. Named by what the caller should do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// Send it again if it is still wanted: it was not written.
    #[error("not written: {0}")]
    NotWritten(String),
    /// Find out, or send it again and accept that it may be there twice: it may have been written.
    #[error("it may have been written: {0}")]
    Unknown(String),
    /// Send something else, or change the topic: the broker refused, and nothing was written.
    #[error("refused with {code}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Refused {
        /// The broker's error code.
        code: Code,
        /// The broker's own words, if it had any.
        message: String,
    },
    /// Send something smaller: nothing was sent.
    #[error("a record of about {bytes} bytes exceeds max.request.size, {limit}")]
    TooLarge {
        /// About how large it would be.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The producer cannot go on: correct its settings or its permissions, and build another.
    #[error("the producer cannot go on: {0}")]
    Fatal(Error),
}

impl ProduceError {
    /// The same of a record that a broker may have all the same.
    pub(super) fn in_doubt(self) -> ProduceError {
        ProduceError::Unknown(match self {
            ProduceError::NotWritten(why) | ProduceError::Unknown(why) => why,
            ProduceError::Refused { .. } => format!("{self} after an attempt without a clear answer"),
            ProduceError::TooLarge { .. } | ProduceError::Fatal(_) => self.to_string(),
        })
    }
}

/// A batch's acknowledgement.
#[derive(Debug, Clone)]
pub(super) struct Acknowledged {
    pub(super) partition: TopicPartition,
    pub(super) base_offset: Option<i64>,
    pub(super) log_append_time_ms: Option<i64>,
}

/// The outcome of a batch, which all its records wait for.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    result: Option<Result<Acknowledged, ProduceError>>,
    /// By the record's place in the batch.
    wakers: Vec<Option<Waker>>,
    /// Flushes that wait.
    flushing: Vec<Waker>,
}

impl Outcome {
    /// Tells everybody. The first outcome stays.
    pub(super) fn settle(&self, result: Result<Acknowledged, ProduceError>) {
        let mut state = self.lock();
        if state.result.is_none() {
            state.result = Some(result);
        }
        let wakers = std::mem::take(&mut state.wakers);
        let flushing = std::mem::take(&mut state.flushing);
        drop(state);
        wakers.into_iter().flatten().chain(flushing).for_each(Waker::wake);
    }

    /// Waits until there is an outcome, whatever it is.
    pub(super) async fn settled(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.lock();
            if state.result.is_some() {
                return Poll::Ready(());
            }
            if !state.flushing.iter().any(|waker| waker.will_wake(context.waker())) {
                state.flushing.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What will become of a record. Resolves when the broker has acknowledged it or it has failed for good.
///
/// Dropping it changes nothing: the record is sent all the same.
#[derive(Debug)]
#[must_use = "a record is written when its delivery says so"]
pub struct Delivery {
    outcome: Arc<Outcome>,
    /// The record's place in its batch.
    index: usize,
}

impl Delivery {
    pub(super) fn new(outcome: Arc<Outcome>, index: usize) -> Delivery {
        Delivery { outcome, index }
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.outcome.lock();
        match &state.result {
            Some(Ok(batch)) => Poll::Ready(Ok(RecordMetadata {
                partition: batch.partition.clone(),
                offset: batch.base_offset.map(|base| base.saturating_add(self.index as i64)),
                log_append_time_ms: batch.log_append_time_ms,
            })),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None => {
                if state.wakers.len() <= self.index {
                    state.wakers.resize(self.index + 1, None);
                }
                state.wakers[self.index] = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
