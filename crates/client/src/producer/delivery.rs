//! What became of a record: a future for each, over one outcome for its whole batch. If the batch is split, its outcome is
//! that of its halves.
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
    result: Option<Settled>,
    /// By the record's place in the batch.
    wakers: Vec<Option<Waker>>,
    /// Flushes that wait.
    flushing: Vec<Waker>,
}

#[derive(Debug)]
enum Settled {
    Acknowledged(Acknowledged),
    Failed(ProduceError),
    /// The batch's first so many records are one batch now, the others another.
    Split(usize, [Arc<Outcome>; 2]),
}

impl Outcome {
    /// Tells everybody. The first outcome stays.
    pub(super) fn settle(&self, result: Result<Acknowledged, ProduceError>) {
        self.tell(match result {
            Ok(acknowledged) => Settled::Acknowledged(acknowledged),
            Err(error) => Settled::Failed(error),
        });
    }

    /// The batch's first `count` records are one batch from now on, the others another.
    pub(super) fn split(&self, count: usize, halves: [Arc<Outcome>; 2]) {
        self.tell(Settled::Split(count, halves));
    }

    fn tell(&self, result: Settled) {
        let mut state = self.lock();
        if state.result.is_none() {
            state.result = Some(result);
        }
        let wakers = std::mem::take(&mut state.wakers);
        let flushing = std::mem::take(&mut state.flushing);
        drop(state);
        wakers.into_iter().flatten().chain(flushing).for_each(Waker::wake);
    }

    /// Waits until there is an outcome for all its records, whatever it is.
    pub(super) async fn settled(self: Arc<Self>) {
        let mut left = vec![self];
        while let Some(outcome) = left.pop() {
            left.extend(outcome.told().await.into_iter().flatten());
        }
    }

    /// Waits until there is an outcome; that of the halves if the batch was split.
    async fn told(&self) -> Option<[Arc<Outcome>; 2]> {
        std::future::poll_fn(|context| {
            let mut state = self.lock();
            match &state.result {
                Some(Settled::Split(_, halves)) => return Poll::Ready(Some(halves.clone())),
                Some(_) => return Poll::Ready(None),
                None => {}
            }
            if !state.flushing.iter().any(|waker| waker.will_wake(context.waker())) {
                state.flushing.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
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

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let index = self.index;
            let (count, halves) = {
                let mut state = self.outcome.lock();
                match &state.result {
                    Some(Settled::Acknowledged(batch)) => {
                        return Poll::Ready(Ok(RecordMetadata {
                            partition: batch.partition.clone(),
                            offset: batch.base_offset.map(|base| base.saturating_add(index as i64)),
                            log_append_time_ms: batch.log_append_time_ms,
                        }));
                    }
                    Some(Settled::Failed(error)) => return Poll::Ready(Err(error.clone())),
                    Some(Settled::Split(count, halves)) => (*count, halves.clone()),
                    None => {
                        if state.wakers.len() <= index {
                            state.wakers.resize(index + 1, None);
                        }
                        state.wakers[index] = Some(context.waker().clone());
                        return Poll::Pending;
                    }
                }
            };
            let [first, second] = halves;
            (self.outcome, self.index) = if index < count { (first, index) } else { (second, index - count) };
        }
    }
}
