//! A group coordinator written by hand, for what no real one does when it is asked to: it holds answers back, and refuses.
//!
//! Requests that the test takes hold of are the test's to answer; all others are answered as usual: a topic, `t`, with ten
//! records in each partition, and a group whose only member is whoever joined last. Requests of one connection are answered
//! in order, so an answer that is held back holds up those behind it. Deliberately not here: keeping what is committed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use pagemark_client::{Consumer, ConsumerBuilder, TopicPartition};
use pagemark_wire::api::{Api, ApiInfo};
use pagemark_wire::consumer_protocol::MemberSubscription;
use pagemark_wire::frame;
use pagemark_wire::messages::api_versions_response::ApiVersion;
use pagemark_wire::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use pagemark_wire::messages::find_coordinator_response::Coordinator as Found;
use pagemark_wire::messages::join_group_response::JoinGroupResponseMember;
use pagemark_wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use pagemark_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use pagemark_wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use pagemark_wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use pagemark_wire::messages::*;
use pagemark_wire::records::BatchBuilder;
use pagemark_wire::types::{LeaderEpoch, Offset};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::support::PATIENCE;

/// The topic that there is.
pub const TOPIC: &str = "t";
/// How often the consumers of these tests say that they are alive.
pub const HEARTBEAT: Duration = Duration::from_millis(30);
const TOPIC_ID: uuid::Uuid = uuid::Uuid::from_u128(7);
/// The offset behind the last record of each partition.
const END: i64 = 10;

pub fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, index)
}

/// The coordinator. Ends with the test's runtime.
pub struct Coordinator {
    state: Arc<State>,
}

struct State {
    port: u16,
    /// Topics that there are, with their numbers of partitions.
    topics: Mutex<BTreeMap<String, i32>>,
    generation: Mutex<i32>,
    /// A generation was joined and has no assignment yet: nothing is committed until then (O-12).
    is_syncing: AtomicBool,
    connections: AtomicUsize,
    held: Mutex<BTreeMap<i16, mpsc::UnboundedSender<Asked>>>,
    asked: Mutex<BTreeMap<i16, usize>>,
    /// Something was asked, or a connection ended.
    news: Notify,
}

/// A request that waits for its answer.
pub struct Asked {
    api: Api,
    version: i16,
    correlation_id: i32,
    body: Bytes,
    reply: oneshot::Sender<Bytes>,
    state: Arc<State>,
}

/// The requests of one kind, which the test answers. Whoever drops it leaves them to be answered as usual.
pub struct Held(mpsc::UnboundedReceiver<Asked>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.close();
        while let Ok(asked) = self.0.try_recv() {
            asked.usual();
        }
    }
}

impl Held {
    pub async fn next(&mut self) -> Asked {
        tokio::time::timeout(PATIENCE / 4, self.0.recv()).await.expect("it is asked in time").expect("it goes on")
    }

    /// Whether one waits.
    pub fn is_waiting(&self) -> bool {
        !self.0.is_empty()
    }
}

impl Coordinator {
    pub async fn start(partitions: i32) -> Coordinator {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(State {
            port,
            topics: Mutex::new(BTreeMap::from([(TOPIC.to_owned(), partitions)])),
            generation: Mutex::new(0),
            is_syncing: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            held: Mutex::default(),
            asked: Mutex::default(),
            news: Notify::new(),
        });
        let accepting = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&accepting)));
            }
        });
        Coordinator { state }
    }

    /// A consumer of the group, which has its heartbeats often and its session for as long as the test runs.
    pub fn consumer(&self) -> ConsumerBuilder {
        Consumer::builder(&format!("127.0.0.1:{}", self.state.port))
            .group_id("g")
            .auto_offset_reset(pagemark_client::AutoOffsetReset::Earliest)
            .heartbeat_interval(HEARTBEAT)
            .session_timeout(PATIENCE)
    }

    /// From now on requests of this kind are the test's to answer.
    pub fn hold(&self, api: Api) -> Held {
        let (asked, held) = mpsc::unbounded_channel();
        self.state.held.lock().expect("no panic").insert(api.key(), asked);
        Held(held)
    }

    /// How often this was asked so far.
    pub fn count(&self, api: Api) -> usize {
        self.state.count(api)
    }

    /// Waits until this was asked so often.
    pub async fn until_asked(&self, api: Api, count: usize) {
        self.until(|| self.count(api) >= count).await;
    }

    /// Waits until nobody is connected.
    pub async fn until_alone(&self) {
        self.until(|| self.state.connections.load(Ordering::Relaxed) == 0).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let news = self.state.news.notified();
            if is_so() {
                return;
            }
            news.await;
        }
    }

    /// The topic has so many partitions from now on; with none it is gone.
    pub fn set_partitions(&self, partitions: i32) {
        self.set_topic(TOPIC, partitions);
    }

    /// Another topic has so many partitions from now on. It has the id of the first, so nobody may read both.
    pub fn set_topic(&self, name: &str, partitions: i32) {
        self.state.topics.lock().expect("no panic").insert(name.to_owned(), partitions);
    }
}

impl Asked {
    pub fn read<Q: Request>(&self) -> Q {
        decode::<Q>(self.api, self.version, self.body.clone()).expect("the client keeps to the protocol").message
    }

    pub fn answer<A: Encodable>(self, answer: &A) {
        let bytes = frame::encode_response(self.api, self.version, self.correlation_id, answer).expect("encodes");
        self.reply.send(bytes).ok(); // a client that is gone does not want it
    }

    /// Refuses a call of the group as a whole.
    pub fn refuse(self, code: i16) {
        match self.api {
            Api::JoinGroup => self.answer(&JoinGroupResponse::default().with_error_code(code)),
            Api::SyncGroup => self.answer(&SyncGroupResponse::default().with_error_code(code)),
            Api::Heartbeat => self.answer(&HeartbeatResponse::default().with_error_code(code)),
            Api::OffsetCommit => self.settle_commit(|_| code),
            api => panic!("{api:?} is not refused here"),
        }
    }

    /// Answers a commit with a code for each partition.
    pub fn settle_commit(self, code: impl Fn(i32) -> i16) {
        let request: OffsetCommitRequest = self.read();
        let one = |index: i32| {
            OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code(index))
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| one(partition.partition_index)).collect();
            OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        self.answer(&OffsetCommitResponse::default().with_topics(topics.collect()));
    }

    /// Answers as if the test did not hold it.
    pub fn usual(self) {
        match self.api {
            Api::ApiVersions => {
                let key = |info: &ApiInfo| {
                    let key = ApiVersion::default().with_api_key(info.key);
                    key.with_min_version(info.lowest).with_max_version(info.highest)
                };
                self.answer(&ApiVersionsResponse::default().with_api_keys(Api::ALL.iter().map(key).collect()));
            }
            Api::Metadata => self.metadata(),
            Api::FindCoordinator => {
                let port = i32::from(self.state.port);
                let found = Found::default().with_key(text("g")).with_node_id(BrokerId(1)).with_host(text("127.0.0.1"));
                self.answer(&FindCoordinatorResponse::default().with_coordinators(vec![found.with_port(port)]));
            }
            Api::JoinGroup => self.join(),
            Api::SyncGroup => self.sync(),
            Api::Heartbeat => self.answer(&HeartbeatResponse::default()),
            Api::LeaveGroup => self.answer(&LeaveGroupResponse::default()),
            Api::OffsetCommit => {
                let code = if self.state.is_syncing.load(Ordering::Relaxed) { 27 } else { 0 };
                self.settle_commit(|_| code);
            }
            Api::OffsetFetch => self.nothing_is_committed(),
            Api::ListOffsets => self.both_ends(),
            api => panic!("nobody said how to answer {api:?}"),
        }
    }

    fn metadata(self) {
        let there = self.state.topics.lock().expect("no panic").clone();
        let partition =
            |index| MetadataResponsePartition::default().with_partition_index(index).with_leader_id(BrokerId(1));
        let asked: MetadataRequest = self.read();
        let topics = asked.topics.into_iter().flatten().map(|topic| {
            let partitions = topic.name.as_ref().and_then(|name| there.get(name.0.as_str())).copied().unwrap_or(0);
            let answer = MetadataResponseTopic::default().with_name(topic.name);
            if partitions == 0 {
                return answer.with_error_code(3);
            }
            answer.with_topic_id(TOPIC_ID).with_partitions((0..partitions).map(partition).collect())
        });
        let broker = MetadataResponseBroker::default().with_node_id(BrokerId(1)).with_host(text("127.0.0.1"));
        let brokers = vec![broker.with_port(i32::from(self.state.port))];
        let answer = MetadataResponse::default().with_brokers(brokers).with_topics(topics.collect());
        self.answer(&answer);
    }

    fn join(self) {
        let request: JoinGroupRequest = self.read();
        if request.member_id.is_empty() && request.group_instance_id.is_none() {
            let id = text(format!("member-{}", self.state.count(Api::JoinGroup)));
            return self.answer(&JoinGroupResponse::default().with_error_code(79).with_member_id(id));
        }
        let generation = {
            let mut generation = self.state.generation.lock().expect("no panic");
            *generation += 1;
            *generation
        };
        self.lead(generation);
    }

    /// Answers a join: its member leads this generation, and is alone in it.
    pub fn lead(self, generation: i32) {
        self.lead_with(generation, &[]);
    }

    /// Answers a join: its member leads this generation, in which there is another who subscribes to these topics.
    pub fn lead_with(self, generation: i32, topics: &[&str]) {
        self.state.is_syncing.store(true, Ordering::Relaxed);
        let request: JoinGroupRequest = self.read();
        let id = if request.member_id.is_empty() { text("static") } else { request.member_id.clone() };
        let protocol = request.protocols.first().expect("an assignor");
        let member = JoinGroupResponseMember::default().with_member_id(id.clone());
        let member = member.with_metadata(protocol.metadata.clone());
        let answer =
            JoinGroupResponse::default().with_generation_id(generation).with_protocol_type(Some(text("consumer")));
        let answer = answer.with_protocol_name(Some(protocol.name.clone())).with_leader(id.clone()).with_member_id(id);
        let mut members = vec![member];
        if !topics.is_empty() {
            let topics = topics.iter().map(ToString::to_string).collect();
            let subscription = MemberSubscription { topics, generation: -1, ..MemberSubscription::default() };
            let other = JoinGroupResponseMember::default().with_member_id(text("other"));
            members.push(other.with_metadata(subscription.to_bytes().expect("short names")));
        }
        self.answer(&answer.with_members(members));
    }

    fn sync(self) {
        self.state.is_syncing.store(false, Ordering::Relaxed);
        let request: SyncGroupRequest = self.read();
        let own = request.assignments.iter().find(|assigned| assigned.member_id == request.member_id);
        let assignment = own.expect("it leads").assignment.clone();
        self.answer(&SyncGroupResponse::default().with_assignment(assignment));
    }

    fn nothing_is_committed(self) {
        let request: OffsetFetchRequest = self.read();
        let groups = request.groups.iter().map(|group| {
            let topics = group.topics.iter().flatten().map(|topic| {
                let one = |index: &i32| OffsetFetchResponsePartitions::default().with_partition_index(*index);
                let all = topic.partition_indexes.iter().map(one).map(|p| p.with_committed_offset(-1)).collect();
                OffsetFetchResponseTopics::default().with_name(topic.name.clone()).with_partitions(all)
            });
            OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_topics(topics.collect())
        });
        self.answer(&OffsetFetchResponse::default().with_groups(groups.collect()));
    }

    fn both_ends(self) {
        let request: ListOffsetsRequest = self.read();
        let topics = request.topics.iter().map(|topic| {
            let one = |asked: &list_offsets_request::ListOffsetsPartition| {
                let offset = if asked.timestamp == -1 { END } else { 0 };
                let found = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
                found.with_offset(offset)
            };
            let partitions = topic.partitions.iter().map(one).collect();
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        self.answer(&ListOffsetsResponse::default().with_topics(topics.collect()));
    }

    /// Answers a Fetch with what is left of each partition, after a moment if nothing is.
    async fn fetch(self) {
        let request: FetchRequest = self.read();
        let mut is_empty = true;
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let records = records(asked.fetch_offset);
                is_empty &= records.is_none();
                PartitionData::default()
                    .with_partition_index(asked.partition)
                    .with_high_watermark(END)
                    .with_last_stable_offset(END)
                    .with_records(records)
            });
            FetchableTopicResponse::default().with_topic_id(topic.topic_id).with_partitions(partitions.collect())
        });
        let answer = FetchResponse::default().with_responses(topics.collect());
        if is_empty {
            tokio::time::sleep(HEARTBEAT).await; // a broker waits for records
        }
        self.answer(&answer);
    }
}

fn records(from: i64) -> Option<Bytes> {
    let mut batch = BatchBuilder::new(0).placed_at(Offset(from), LeaderEpoch(0));
    (from..END).for_each(|offset| batch.push(None, Some(offset.to_string().as_bytes())));
    (from < END).then(|| batch.finish())
}

impl State {
    fn count(&self, api: Api) -> usize {
        self.asked.lock().expect("no panic").get(&api.key()).copied().unwrap_or(0)
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    state.connections.fetch_add(1, Ordering::Relaxed);
    answer_all(stream, &state).await;
    state.connections.fetch_sub(1, Ordering::Relaxed);
    state.news.notify_waiters();
}

async fn answer_all(mut stream: TcpStream, state: &Arc<State>) {
    while let Some(bytes) = read(&mut stream).await {
        let Ok(frame::Request::Served { header, body }) = frame::parse_request(&bytes) else { panic!("{bytes:?}") };
        *state.asked.lock().expect("no panic").entry(header.api.key()).or_default() += 1;
        state.news.notify_waiters();
        let (reply, replied) = oneshot::channel();
        let (api, version, correlation_id) = (header.api, header.version, header.correlation_id);
        let asked = Asked { api, version, correlation_id, body, reply, state: Arc::clone(state) };
        let held = state.held.lock().expect("no panic").get(&api.key()).cloned();
        let left = match held {
            Some(held) => held.send(asked).err().map(|unsent| unsent.0),
            None => Some(asked),
        };
        match left {
            Some(asked) if api == Api::Fetch => asked.fetch().await,
            Some(asked) => asked.usual(),
            None => {}
        }
        let Ok(answer) = replied.await else { return };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Bytes> {
    let length = stream.read_u32().await.ok()?;
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes.into())
}
