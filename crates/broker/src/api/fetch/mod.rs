//! Fetch (key 1), versions 4 to 18: record batches, and waiting for them.
//!
//! v5 added the log start offset, v7 sessions, v9 the caller's leader epoch (KIP-320), v11 racks, v12 is flexible and can say
//! that logs diverge, v13 names topics by id, v15 moved the replica id into a tag, v16 added node endpoints.
//! What is in memory is answered at once. A fetch with too little to answer is parked and woken by the append itself (P-32).
//! While it is parked it holds no records: what has come since is counted, and all of it read when it is answered. What is on
//! the disk is read aside, by few at a time. No sessions are kept: session id 0 is answered always, which is legal (P-39).
//! Deliberately not here: reading bytes (`storage`), followers (there are none).

mod plan;
mod read;
mod wait;

use pagemark_wire::ErrorCode;
use pagemark_wire::fetch_answer::{FetchAnswer, PartitionAnswer, TopicAnswer};
use pagemark_wire::messages::FetchRequest;
use pagemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use pagemark_wire::types::{PartitionIndex, TopicId};

use super::Call;
use crate::aside;
use crate::executor::Outgoing;

use plan::Plan;
use read::{Found, From};

pub(super) use plan::{check_leader_epoch, read_error};

/// Answers at once if there is enough in memory, else in a task of its own.
pub fn handle(call: Call, _out: &mut Outgoing, request: FetchRequest) {
    if let Some(code) = refuse(&request) {
        return call.reply.send_fetch(&refusal(&request, call.version, code), None);
    }
    let plan = Plan::of(&call.broker, &request, call.version);
    match Found::read(&call.broker, &call.client, &plan, From::Memory) {
        Some(found) if found.answers(&plan) => send(call, &plan, found),
        _ => drop(tokio::spawn(answer_later(call, plan))), // whoever waits holds nothing
    }
}

fn send(call: Call, plan: &Plan, found: Found) {
    call.broker.metrics.fetched(found.bytes);
    call.client.fetch_next_from(found.starved);
    let (answer, charge) = found.answer(plan);
    call.reply.send_fetch(&answer, Some(charge));
}

/// Waits until there is enough or the time is up, and then until it is this request's turn to hold records.
async fn answer_later(call: Call, plan: Plan) {
    tokio::select! {
        biased;
        () = plan.wait(&call.broker) => {}
        () = call.reply.unwanted() => return,
    }
    loop {
        call.reply.turn().await;
        if let Some(found) = Found::read(&call.broker, &call.client, &plan, From::Memory) {
            return send(call, &plan, found);
        }
        let (broker, client) = (call.broker.clone(), call.client.clone());
        let _of_connection = client.disk_turns.turn().await;
        if !call.reply.is_turn() {
            continue; // an answer has come between; to wait for it here might keep it from coming
        }
        let _of_all = broker.turns.disk_reads.turn().await;
        return read_aside(call, plan).await;
    }
}

async fn read_aside(call: Call, plan: Plan) {
    let read = aside::on_a_thread(move || {
        let found = Found::read(&call.broker, &call.client, &plan, From::Anywhere);
        if let Some(found) = found {
            send(call, &plan, found);
        }
    });
    read.await;
}

/// What is wrong with the request as a whole.
fn refuse(request: &FetchRequest) -> Option<ErrorCode> {
    let replica = if request.replica_id.0 >= 0 { request.replica_id.0 } else { request.replica_state.replica_id.0 };
    if replica >= 0 {
        return Some(ErrorCode::NotLeaderOrFollower);
    }
    if !matches!(request.isolation_level, 0 | 1) || request.max_bytes < 0 {
        return Some(ErrorCode::InvalidRequest);
    }
    // Any session the caller goes on with is not ours: we never gave one. Epochs 0 and -1 end the one named, if any, and ask
    // for everything (P-39).
    let goes_on = !matches!(request.session_epoch, 0 | -1);
    (request.session_id != 0 && goes_on).then_some(ErrorCode::FetchSessionIdNotFound)
}

/// The answer to a request that is wrong as a whole. Versions before 7 have no error on top, and clients below 13 look for it
/// in the partitions; only sessions are told of on top alone (P-39).
fn refusal(request: &FetchRequest, version: i16, code: ErrorCode) -> FetchAnswer {
    if version >= 13 || code == ErrorCode::FetchSessionIdNotFound {
        return FetchAnswer { error: code, topics: Vec::new() };
    }
    let refused = |topic: &FetchTopic| {
        let partition = |p: &FetchPartition| PartitionAnswer::nothing(PartitionIndex(p.partition), code);
        let partitions = topic.partitions.iter().map(partition).collect();
        TopicAnswer { name: topic.topic.0.clone(), id: TopicId(topic.topic_id), partitions }
    };
    FetchAnswer { error: code, topics: request.topics.iter().map(refused).collect() }
}
