//! One file per Kafka API: versions to values, and answers back to versions.
//!
//! Version numbers stop here. A handler takes a decoded request and the duty to answer it; it may answer at once, hand work
//! to executors, or start a task where something has to be waited for. Deliberately not here: framing and order of answers
//! (`net`), decisions (`core`).

pub mod alter_configs;
pub mod api_versions;
mod config_resource;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_topic_partitions;
pub mod fetch;
pub mod find_coordinator;
mod gather;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use pagemark_core::coordinator::{Answer, Request};
use pagemark_wire::ErrorCode;
use pagemark_wire::api::Api;
use pagemark_wire::fetch_answer::FetchAnswer;
use pagemark_wire::frame::{EncodeError, Frame, RequestHeader, encode_response};
use pagemark_wire::messages::{Encodable, StrBytes, text};
use tokio::sync::{SemaphorePermit, oneshot};

use crate::aside::{self, Turns};
use crate::broker::{Broker, Client};
use crate::executor::{GroupWork, Outgoing, Work};
use crate::metadata::admin::AdminError;
use crate::net::budget::Charge;
use crate::net::outbox::{HELD_BYTES, ReplySlot};

/// One request with everything that its handler may use.
pub struct Call {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Who asks.
    pub client: Arc<Client>,
    /// What the client calls itself; empty if it does not say.
    pub client_id: StrBytes,
    /// Which version.
    pub version: i16,
    /// The duty to answer.
    pub reply: Reply,
}

/// The duty to answer one request in its version. Dropped unanswered, it closes the connection.
pub struct Reply {
    slot: ReplySlot,
    api: Api,
    version: i16,
    correlation_id: i32,
}

impl Reply {
    /// The duty to answer the request with this header.
    #[must_use]
    pub fn new(slot: ReplySlot, header: &RequestHeader) -> Reply {
        Reply { slot, api: header.api, version: header.version, correlation_id: header.correlation_id }
    }

    /// Answers.
    pub fn send<R: Encodable>(self, body: &R) {
        let frame = encode_response(self.api, self.version, self.correlation_id, body);
        self.write(frame);
    }

    /// Answers a Fetch, whose records stay where they are until they are written; `charge` is what they cost.
    pub fn send_fetch(mut self, answer: &FetchAnswer, charge: Option<Charge>) {
        if let Some(charge) = charge {
            self.add_charge(charge);
        }
        let frame = answer.encode(self.version, self.correlation_id);
        self.write(frame);
    }

    /// Until it is answered the request costs this, too.
    pub fn add_charge(&mut self, charge: Charge) {
        self.slot.add_charge(charge);
    }

    fn write(self, frame: Result<impl Into<Frame>, EncodeError>) {
        match frame {
            Ok(frame) => self.slot.write(frame),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be encoded; the connection is closed instead");
                self.slot.close();
            }
        }
    }

    /// Waits until the connection is gone, so that nobody wants the answer any more.
    pub async fn unwanted(&self) {
        self.slot.unwanted().await;
    }

    /// Waits until this connection may hold a large answer (invariant 40).
    pub async fn turn(&self) {
        self.slot.turn(HELD_BYTES).await;
    }

    /// Whether [`Reply::turn`] need not wait.
    #[must_use]
    pub fn is_turn(&self) -> bool {
        self.slot.is_turn(HELD_BYTES)
    }

    /// Waits for both turns that a large answer needs, and never for one with the other in hand: a client that does not read
    /// would keep all others waiting. `None` if the connection is gone before.
    async fn large_turn<'a>(&self, of_all: &'a Turns) -> Option<SemaphorePermit<'a>> {
        let both = async {
            loop {
                self.turn().await;
                let turn = of_all.turn().await;
                if self.is_turn() {
                    return turn;
                }
            }
        };
        tokio::select! {
            biased;
            turn = both => turn,
            () = self.unwanted() => None,
        }
    }

    /// There is nothing to answer (acks=0, P-6).
    pub fn nothing(self) {
        self.slot.nothing();
    }

    /// Closes the connection.
    pub fn close(self) {
        self.slot.close();
    }
}

impl Call {
    /// Answers a request whose answer may be many times its size: where it keeps no other request waiting, few at a time, and
    /// not while its connection holds much already (invariant 40).
    fn answer_aside(self, answer: impl FnOnce(Call) + Send + 'static) {
        tokio::spawn(async move {
            let broker = Arc::clone(&self.broker);
            let Some(_turn) = self.reply.large_turn(&broker.turns.large_answers).await else { return };
            aside::on_a_thread(move || answer(self)).await;
        });
    }

    /// The same for an answer whose parts come from group shards. `ask` puts the questions into the lots; the turn ends when what
    /// it was given is dropped.
    fn ask_aside(self, ask: impl FnOnce(Call, &mut Outgoing, TurnEnd) + Send + 'static) {
        tokio::spawn(async move {
            let broker = Arc::clone(&self.broker);
            let Some(_turn) = self.reply.large_turn(&broker.turns.large_answers).await else { return };
            let (end, ended) = oneshot::channel();
            let mut out = broker.executors.outgoing();
            ask(self, &mut out, TurnEnd(end));
            broker.executors.send(&mut out);
            drop(out);
            let _ = ended.await;
        });
    }

    /// Asks the shard of a group; `respond` turns the answer into the version's response.
    fn ask_group(
        self,
        out: &mut Outgoing,
        group_id: &str,
        request: Request,
        respond: impl FnOnce(Reply, i16, Answer) + Send + 'static,
    ) {
        let shard = self.broker.group_shard(group_id);
        let (reply, version) = (self.reply, self.version);
        let answer = Box::new(move |answer: Answer| respond(reply, version, answer));
        send_to_shard(&self.broker, out, GroupWork { shard, request, answer });
    }
}

/// Dropped when an answer was made for which [`Call::ask_aside`] has a turn.
struct TurnEnd(#[expect(dead_code, reason = "it is only ever dropped")] oneshot::Sender<()>);

/// The first of those that are named alike: a request that names one thing very often must not be answered with many times its
/// size (invariant 40).
fn each_once<T, K: Hash + Eq>(named: Vec<T>, name: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::with_capacity(named.len());
    named.into_iter().filter(|one| seen.insert(name(one))).collect()
}

/// Puts a request to a group shard into the lot of the executor that owns it.
fn send_to_shard(broker: &Broker, out: &mut Outgoing, work: GroupWork) {
    let executor = broker.executors.owner_of(pagemark_storage::engine::ShardId(work.shard));
    out.push(executor, Work::Group(work));
}

/// How a change went, as an answer says it: 0 without a message, or why not.
fn outcome(result: Result<(), AdminError>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (ErrorCode::None.code(), None),
        Err((code, why)) => (code.code(), Some(text(why))),
    }
}

/// The bug that an answer of another kind than the question would be: logged, and the connection closed by the dropped duty.
fn wrong_kind(asked: &str, answer: &Answer) {
    tracing::error!(asked, ?answer, "a group shard gave an answer of the wrong kind");
}
