//! What the hot path costs, in counts: flushes, allocations, bytes allocated, requests for each wake-up.
//!
//! A whole broker on a directory, with clients in the same process that allocate nothing while it is counted. Nothing is timed,
//! so the figures do not depend on how busy the machine is, and those that are a promise are asserted. Deliberately not here:
//! speed.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use pagemark_broker::host::RealHost;
use pagemark_broker::server::Server;
use pagemark_broker::settings::{Settings, SettingsSources};
use pagemark_storage::local::{LocalEngine, LocalOptions};
use pagemark_wire::api::Api;
use pagemark_wire::frame::{encode_request, parse_response};
use pagemark_wire::messages::create_topics_request::CreatableTopic;
use pagemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use pagemark_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use pagemark_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use pagemark_wire::messages::*;
use pagemark_wire::records::BatchBuilder;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TOPIC: &str = "orders";
/// Flushes for a thousand acknowledgements to 64 clients at once; each alone would be 1000.
const MOST_FLUSHES: u64 = 500;
/// Bytes allocated for each byte fetched. A copy of the records would be one at the least.
const MOST_ALLOCATED: f64 = 0.02;

/// Bytes allocated for each byte produced: the request's own memory, taken at once, and none for the log's buffer.
const MOST_ALLOCATED_TO_PRODUCE: f64 = 1.1;

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = LocalEngine::open(dir.path(), LocalOptions::default()).expect("it opens");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let server = runtime.block_on(Server::start(settings(), Arc::clone(&engine) as _, Arc::new(RealHost::new()), 2));
    let server = server.expect("it starts");
    let address = SocketAddr::from(([127, 0, 0, 1], server.listening[0].1.port));
    while runtime.block_on(server.broker().executors.census()).loading_shards > 0 {}
    let mut client = Client::connect(address);
    client.ask(&create());

    for clients in [1, 64] {
        let flushes = flushes_of(&engine, address, clients);
        println!("{flushes:>8} fdatasyncs for 1,000 acks, {clients} clients");
        assert!(clients == 1 || flushes < MOST_FLUSHES, "{flushes} flushes, and {MOST_FLUSHES} is too many");
    }
    let member = client.join();
    for (name, frame) in [
        ("Produce of 1 KiB", produce(1024)),
        ("Fetch of 1 KiB", fetch(0, 1)),
        ("OffsetCommit", commit()),
        ("Heartbeat", heartbeat(&member)),
    ] {
        println!("{:>8.1} allocations for a {name}", allocations_of(&mut client, &frame));
    }
    let per_byte = allocated_per_byte_fetched(&mut client);
    println!("{per_byte:>8.4} bytes allocated for each byte fetched, in batches of 900 KiB");
    assert!(per_byte < MOST_ALLOCATED, "{per_byte} bytes for each byte: records are copied");
    let per_byte = allocated_per_byte_produced(&mut client);
    println!("{per_byte:>8.4} bytes allocated for each byte produced, in batches of 900 KiB");
    assert!(per_byte < MOST_ALLOCATED_TO_PRODUCE, "{per_byte} bytes for each byte: memory is not used again");
    let metrics = &server.broker().metrics;
    let before = metrics.reads();
    client.ask_many(&heartbeat(&member), 1000, 20);
    let per_read = 1000.0 / (metrics.reads() - before) as f64;
    println!("{per_read:>8.1} requests for each wake-up, 20 sent at a time");
    drop(client);
    runtime.block_on(server.stop()).expect("it stops");
}

fn settings() -> Settings {
    let set = ["listeners=PLAINTEXT://127.0.0.1:0", "pagemark.http.listener=", "group.initial.rebalance.delay.ms=0"];
    let sources = SettingsSources { file: None, env: Vec::new(), set: set.map(str::to_owned).into() };
    Settings::load(sources).expect("legal settings").settings
}

/// One connection that asks with frames made before and reads into memory taken before.
struct Client {
    socket: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).expect("it accepts");
        socket.set_nodelay(true).expect("a socket");
        Client { socket, answer: vec![0; 2 << 20] }
    }

    /// Asks once; the length of the answer.
    fn ask(&mut self, frame: &[u8]) -> usize {
        self.socket.write_all(frame).expect("it is read");
        self.receive()
    }

    fn receive(&mut self) -> usize {
        let mut prefix = [0; 4];
        self.socket.read_exact(&mut prefix).expect("an answer");
        let length = u32::from_be_bytes(prefix) as usize;
        self.socket.read_exact(&mut self.answer[..length]).expect("all of it");
        length
    }

    /// Asks so many times, some at a time in one write.
    fn ask_many(&mut self, frame: &[u8], times: usize, at_a_time: usize) {
        let lot = frame.repeat(at_a_time);
        for _ in 0..times / at_a_time {
            self.socket.write_all(&lot).expect("it is read");
            for _ in 0..at_a_time {
                self.receive();
            }
        }
    }

    /// Becomes the member of a group, which gives its id.
    fn join(&mut self) -> StrBytes {
        let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(text("range"));
        let join = JoinGroupRequest::default()
            .with_group_id(GroupId(text("readers")))
            .with_session_timeout_ms(300_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let length = self.ask(&encoded(Api::JoinGroup, 3, &join));
        let frame = Bytes::copy_from_slice(&self.answer[..length]);
        let (_, body) = parse_response(Api::JoinGroup, 3, &frame).expect("an answer");
        let member = decode_response::<JoinGroupResponse>(Api::JoinGroup, 3, body).expect("an answer").member_id;
        let sync = SyncGroupRequest::default().with_group_id(GroupId(text("readers"))).with_generation_id(1);
        self.ask(&encoded(Api::SyncGroup, 3, &sync.with_member_id(member.clone())));
        member
    }
}

fn encoded<Q: Encodable>(api: Api, version: i16, request: &Q) -> Bytes {
    encode_request(api, version, 1, Some("counts"), request).expect("it can be encoded")
}

fn create() -> Bytes {
    let topic = CreatableTopic::default().with_name(TopicName(text(TOPIC))).with_num_partitions(2);
    let request = CreateTopicsRequest::default().with_topics(vec![topic.with_replication_factor(1)]);
    encoded(Api::CreateTopics, 7, &request.with_timeout_ms(10_000))
}

/// A batch for partition 0, or for partition 1 if it is large.
fn produce(bytes: usize) -> Bytes {
    let mut batch = BatchBuilder::new(1_700_000_000_000);
    batch.push(None, Some(&vec![b'x'; bytes]));
    let partition =
        PartitionProduceData::default().with_index(i32::from(bytes > 1024)).with_records(Some(batch.finish()));
    let topic = TopicProduceData::default().with_name(TopicName(text(TOPIC))).with_partition_data(vec![partition]);
    encoded(Api::Produce, 9, &ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]))
}

fn fetch(partition: i32, max_bytes: i32) -> Bytes {
    let partition = FetchPartition::default().with_partition(partition).with_partition_max_bytes(max_bytes);
    let topic = FetchTopic::default().with_topic(TopicName(text(TOPIC))).with_partitions(vec![partition]);
    let request = FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_bytes(max_bytes);
    encoded(Api::Fetch, 12, &request.with_session_epoch(-1).with_topics(vec![topic]))
}

fn commit() -> Bytes {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(7).with_committed_leader_epoch(-1);
    let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text(TOPIC))).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default().with_group_id(GroupId(text("others"))).with_topics(vec![topic]);
    encoded(Api::OffsetCommit, 8, &request.with_generation_id_or_member_epoch(-1))
}

fn heartbeat(member: &StrBytes) -> Bytes {
    let request = HeartbeatRequest::default().with_group_id(GroupId(text("readers"))).with_generation_id(1);
    encoded(Api::Heartbeat, 4, &request.with_member_id(member.clone()))
}

/// Flushes for a thousand acknowledgements.
fn flushes_of(engine: &LocalEngine, address: SocketAddr, clients: usize) -> u64 {
    let each = 6400 / clients;
    let before = engine.stats().syncs;
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| Client::connect(address).ask_many(&produce(1024), each, 1));
        }
    });
    (engine.stats().syncs - before) * 1000 / (each * clients) as u64
}

fn allocations_of(client: &mut Client, frame: &[u8]) -> f64 {
    const TIMES: usize = 1000;
    client.ask_many(frame, 100, 1);
    let region = Region::new(ALLOCATOR);
    client.ask_many(frame, TIMES, 1);
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / TIMES as f64
}

fn allocated_per_byte_fetched(client: &mut Client) -> f64 {
    const TIMES: usize = 100;
    client.ask(&produce(900 << 10));
    let frame = fetch(1, 1 << 20);
    let length = client.ask(&frame);
    assert!(length > 900 << 10, "the batch was fetched");
    let region = Region::new(ALLOCATOR);
    client.ask_many(&frame, TIMES, 1);
    region.change().bytes_allocated as f64 / (length * TIMES) as f64
}

fn allocated_per_byte_produced(client: &mut Client) -> f64 {
    const TIMES: usize = 200;
    let frame = produce(900 << 10);
    client.ask_many(&frame, TIMES, 1); // until the cache of the log's end is full, and gives memory back
    let region = Region::new(ALLOCATOR);
    client.ask_many(&frame, TIMES, 1);
    region.change().bytes_allocated as f64 / (frame.len() * TIMES) as f64
}
