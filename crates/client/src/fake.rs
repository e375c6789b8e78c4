//! A broker that is written by hand, for tests: it answers as a script says, and keeps what it was asked.
//!
//! What the script does not care about is answered as a good broker would: ApiVersions, Metadata of one topic, `t`, whose
//! partitions it leads, and InitProducerId, counting up. Deliberately not here: keeping records.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pagemark_wire::api::Api;
use pagemark_wire::frame;
use pagemark_wire::messages::api_versions_response::ApiVersion;
use pagemark_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use pagemark_wire::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use pagemark_wire::messages::{
    ApiVersionsResponse, BrokerId, Encodable, InitProducerIdResponse, MetadataResponse, ProduceRequest,
    ProduceResponse, ProducerId, Request, decode, text, topic_name,
};
use pagemark_wire::records::BatchHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use uuid::Uuid;

/// The topic that there is.
pub(crate) const TOPIC: &str = "t";

/// The topic's id.
pub(crate) const TOPIC_ID: Uuid = Uuid::from_u128(7);

/// What the script makes of a request.
pub(crate) enum Reply {
    /// These bytes, a whole frame.
    Frame(Bytes),
    /// Nothing, and the next request is read.
    Silence,
    /// The connection ends.
    HangUp,
    /// Nothing more is read from this connection, which stays open.
    Deaf,
    /// These bytes, once the test says so.
    After(Arc<Notify>, Bytes),
}

impl Reply {
    /// The same, once the test says so.
    pub(crate) fn after(self, when: &Arc<Notify>) -> Reply {
        match self {
            Reply::Frame(bytes) => Reply::After(Arc::clone(when), bytes),
            other => other,
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) api: Api,
    pub(crate) version: i16,
    /// The port of the broker that was asked.
    pub(crate) port: u16,
    correlation_id: i32,
    body: Bytes,
}

/// A batch as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) partition: i32,
    pub(crate) producer_id: i64,
    pub(crate) sequence: i32,
    pub(crate) records: i32,
    pub(crate) bytes: usize,
}

/// The broker. Ends with the test's runtime.
pub(crate) struct Fake {
    pub(crate) port: u16,
    state: Arc<State>,
}

type Script = Box<dyn FnMut(&Asked) -> Option<Reply> + Send>;

struct State {
    partitions: i32,
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
    news: Notify,
}

impl Fake {
    /// A broker whose topic has so many partitions. What the script answers with `None` is answered as usual.
    pub(crate) async fn start(partitions: i32, script: impl FnMut(&Asked) -> Option<Reply> + Send + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (script, asked, news) = (Mutex::new(Box::new(script) as Script), Mutex::default(), Notify::new());
        let state = Arc::new(State { partitions, script, asked, news });
        let accepting = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, port, Arc::clone(&accepting)));
            }
        });
        Fake { port, state }
    }

    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked of one API so far.
    pub(crate) fn asked(&self, api: Api) -> Vec<Asked> {
        let asked = self.state.asked.lock().expect("no panic");
        asked.iter().filter(|asked| asked.api == api).cloned().collect()
    }

    /// Waits until an API was asked so often.
    pub(crate) async fn until_asked(&self, api: Api, count: usize) {
        while self.asked(api).len() < count {
            self.state.news.notified().await;
        }
    }

    /// All batches that came, in order.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.asked(Api::Produce).iter().flat_map(Asked::batches).collect()
    }
}

impl Asked {
    /// The request's body.
    pub(crate) fn read<Q: Request>(&self) -> Q {
        decode::<Q>(self.api, self.version, self.body.clone()).expect("the client speaks the protocol").message
    }

    pub(crate) fn answer<A: Encodable>(&self, answer: &A) -> Reply {
        Reply::Frame(frame::encode_response(self.api, self.version, self.correlation_id, answer).expect("encodes"))
    }

    /// The batches of a Produce.
    pub(crate) fn batches(&self) -> Vec<Sent> {
        let request: ProduceRequest = self.read();
        let data = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
        let one = |data: &pagemark_wire::messages::produce_request::PartitionProduceData| {
            let records = data.records.as_ref().expect("records");
            let header = BatchHeader::parse(records).expect("a batch");
            Sent {
                bytes: records.len(),
                partition: data.index,
                producer_id: header.producer_id.0,
                sequence: header.base_sequence,
                records: header.record_count,
            }
        };
        data.map(one).collect()
    }

    /// Answers a Produce with a code for each of its partitions.
    pub(crate) fn produced(&self, code: impl Fn(Sent) -> i16) -> Reply {
        let one = |sent: Sent| {
            let offset = if code(sent) == 0 { i64::from(sent.sequence) } else { -1 };
            let answer = PartitionProduceResponse::default().with_index(sent.partition).with_error_code(code(sent));
            answer.with_base_offset(offset)
        };
        let topic = TopicProduceResponse::default().with_topic_id(TOPIC_ID);
        let topic = topic.with_partition_responses(self.batches().into_iter().map(one).collect());
        self.answer(&ProduceResponse::default().with_responses(vec![topic]))
    }

    /// Answers a Metadata; `leader` says whether a partition has one.
    pub(crate) fn metadata(&self, port: u16, partitions: i32, leader: impl Fn(i32) -> bool) -> Reply {
        self.metadata_of(TOPIC_ID, port, partitions, leader)
    }

    /// The same, of a topic with this id.
    pub(crate) fn metadata_of(&self, id: Uuid, port: u16, partitions: i32, leader: impl Fn(i32) -> bool) -> Reply {
        let partition = |index| {
            let id = if leader(index) { 1 } else { -1 };
            MetadataResponsePartition::default().with_partition_index(index).with_leader_id(BrokerId(id))
        };
        let topic = MetadataResponseTopic::default().with_name(Some(topic_name(TOPIC))).with_topic_id(id);
        let topic = topic.with_partitions((0..partitions).map(partition).collect());
        let broker = MetadataResponseBroker::default().with_node_id(BrokerId(1));
        let broker = broker.with_host(text("127.0.0.1")).with_port(i32::from(port));
        self.answer(&MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]))
    }
}

async fn serve(mut stream: TcpStream, port: u16, state: Arc<State>) {
    while let Some(asked) = read(&mut stream, port).await {
        let scripted = (state.script.lock().expect("no panic"))(&asked);
        state.asked.lock().expect("no panic").push(asked.clone());
        state.news.notify_one();
        let reply = scripted.unwrap_or_else(|| usual(&asked, &state));
        match reply {
            Reply::Frame(bytes) => drop(stream.write_all(&bytes).await),
            Reply::After(when, bytes) => {
                when.notified().await;
                drop(stream.write_all(&bytes).await);
            }
            Reply::Silence => {}
            Reply::HangUp => return,
            Reply::Deaf => return std::future::pending().await,
        }
    }
}

async fn read(stream: &mut TcpStream, port: u16) -> Option<Asked> {
    let length = stream.read_u32().await.ok()?;
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await.ok()?;
    match frame::parse_request(&bytes.into()).expect("the client speaks the protocol") {
        frame::Request::Served { header, body } => {
            let (api, version, correlation_id) = (header.api, header.version, header.correlation_id);
            Some(Asked { api, version, port, correlation_id, body })
        }
        unsupported @ frame::Request::ApiVersionsUnsupported { .. } => panic!("{unsupported:?}"),
    }
}

fn usual(asked: &Asked, state: &State) -> Reply {
    match asked.api {
        Api::ApiVersions => {
            let key = |info: &pagemark_wire::api::ApiInfo| {
                ApiVersion::default()
                    .with_api_key(info.key)
                    .with_min_version(info.lowest)
                    .with_max_version(info.highest)
            };
            asked.answer(&ApiVersionsResponse::default().with_api_keys(Api::ALL.iter().map(key).collect()))
        }
        Api::Metadata => asked.metadata(asked.port, state.partitions, |_| true),
        Api::InitProducerId => {
            let so_far = state.asked.lock().expect("no panic").iter().filter(|a| a.api == Api::InitProducerId).count();
            asked.answer(&InitProducerIdResponse::default().with_producer_id(ProducerId(so_far as i64)))
        }
        Api::Produce => asked.produced(|_| 0),
        api => panic!("nobody said how to answer {api:?}"),
    }
}
