//! A broker to test against, ours or another, and a proxy that loses answers.
//!
//! `PAGEMARK_TEST_BOOTSTRAP=HOST:PORT` names a broker that runs, such as Apache Kafka; without it each test starts our own,
//! in memory, on a free port.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pagemark_broker::host::RealHost;
use pagemark_broker::server::Server;
use pagemark_broker::settings::{Settings, SettingsSources};
use pagemark_client::{
    Admin, AutoOffsetReset, Consumer, ConsumerBuilder, NewTopic, Producer, ProducerRecord, Record, TopicPartition,
};
use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::api::Api;
use pagemark_wire::frame;
use pagemark_wire::messages::{FindCoordinatorResponse, MetadataResponse, decode_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

/// Longest wait for anything. Nothing comes near it unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A broker and names that no other test uses.
pub struct Rig {
    pub bootstrap: String,
    pub admin: Admin,
    name: String,
    _server: Option<Server>,
}

impl Rig {
    pub async fn start(name: &str) -> Rig {
        let (bootstrap, server) = match std::env::var("PAGEMARK_TEST_BOOTSTRAP") {
            Ok(address) => (address, None),
            Err(_) => {
                let server = own_broker().await;
                (format!("127.0.0.1:{}", server.listening[0].1.port), Some(server))
            }
        };
        let admin = Admin::builder(&bootstrap).build().expect("an address");
        Rig { bootstrap, admin, name: format!("{name}-{}", unique()), _server: server }
    }

    /// The name of this test's topic or group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Creates this test's topic.
    pub async fn topic(&self, partitions: i32) -> &str {
        let topic = NewTopic::new(&self.name).partitions(partitions);
        self.admin.create_topic(topic).await.expect("created");
        &self.name
    }

    pub fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(&self.name, partition)
    }

    pub fn producer(&self) -> Producer {
        Producer::builder(&self.bootstrap).build().expect("legal settings")
    }

    /// A consumer of this test's group, from the beginning, with the shortest session that Kafka allows.
    pub fn consumer(&self) -> ConsumerBuilder {
        Consumer::builder(&self.bootstrap)
            .group_id(&self.name)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .session_timeout(Duration::from_secs(6))
            .heartbeat_interval(Duration::from_millis(200))
    }

    /// The same, manual commits, subscribed to this test's topic.
    pub fn manual(&self) -> Consumer {
        self.subscribed(self.consumer().enable_auto_commit(false))
    }

    /// Subscribes to this test's topic.
    pub fn subscribed(&self, builder: ConsumerBuilder) -> Consumer {
        let mut consumer = builder.build().expect("legal settings");
        consumer.subscribe([&self.name]).expect("it has a group");
        consumer
    }

    /// What the group has committed for a partition of this test's topic.
    pub async fn committed(&self, partition: i32) -> Option<i64> {
        let all = self.admin.list_group_offsets(&self.name).await.expect("an answer");
        all.get(&self.partition(partition)).map(|committed| committed.offset)
    }

    /// Writes `range` as values into a partition, each at the offset of its number if it began at 0.
    pub async fn fill(&self, partition: i32, range: std::ops::Range<i64>) {
        let producer = self.producer();
        let mut deliveries = Vec::new();
        for n in range {
            let record = ProducerRecord::to(&self.name).partition(partition).value(n.to_string());
            deliveries.push(producer.send(record).await.expect("taken in"));
        }
        producer.flush().await;
        for delivery in deliveries {
            delivery.await.expect("written");
        }
    }
}

/// Receives this many records.
pub async fn receive(consumer: &mut Consumer, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        records.push(consumer.recv().await.expect("a record"));
    }
    records
}

/// Values as the numbers that [`Rig::fill`] made of them.
pub fn numbers(records: &[Record]) -> Vec<i64> {
    let number = |record: &Record| String::from_utf8_lossy(record.value()).parse().expect("a number");
    records.iter().map(number).collect()
}

/// Runs a test with a bound on its time.
pub fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let bounded = async { tokio::time::timeout(PATIENCE, test).await.expect("it happens in time") };
    runtime.block_on(bounded);
    runtime.shutdown_background();
}

async fn own_broker() -> Server {
    let set = [
        "listeners=PLAINTEXT://127.0.0.1:0",
        "pagemark.http.listener=127.0.0.1:0",
        "offsets.topic.num.partitions=4",
        "group.initial.rebalance.delay.ms=0",
    ];
    let set = set.iter().map(ToString::to_string).collect();
    let sources = SettingsSources { file: None, env: Vec::new(), set };
    let settings = Settings::load(sources).expect("legal settings").settings;
    Server::start(settings, Arc::new(MemoryEngine::new()), Arc::new(RealHost::new()), 2).await.expect("it starts")
}

#[allow(clippy::disallowed_methods, reason = "names of a test's own on a broker that others use too")]
fn unique() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    format!("{:x}-{:x}", since.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A proxy in front of a broker, to which all clients are led, and which can lose the answers to one kind of request.
pub struct Proxy {
    pub bootstrap: String,
    state: Arc<ProxyState>,
}

struct ProxyState {
    port: u16,
    broker: String,
    /// Which answers to lose, and how many; the connection goes with each.
    lose: Mutex<Option<(Api, usize)>>,
    lost: AtomicUsize,
    /// How many requests came.
    asked: AtomicUsize,
}

impl Proxy {
    pub async fn to(broker: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = ProxyState {
            port,
            broker: broker.to_owned(),
            lose: Mutex::new(None),
            lost: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        };
        let state = Arc::new(state);
        let accepting = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&accepting)));
            }
        });
        Proxy { bootstrap: format!("127.0.0.1:{port}"), state }
    }

    /// Lets the next `count` requests of this kind reach the broker, and loses their answers.
    pub fn lose_answers(&self, api: Api, count: usize) {
        *self.state.lose.lock().expect("no panic") = Some((api, count));
    }

    pub fn lost(&self) -> usize {
        self.state.lost.load(Ordering::Relaxed)
    }

    /// How many requests came so far.
    pub fn asked(&self) -> usize {
        self.state.asked.load(Ordering::Relaxed)
    }
}

impl ProxyState {
    fn loses(&self, api: i16) -> bool {
        let mut lose = self.lose.lock().expect("no panic");
        match &mut *lose {
            Some((which, count)) if which.key() == api && *count > 0 => {
                *count -= 1;
                self.lost.fetch_add(1, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }
}

/// One connection: requests pass as they are; answers that name the broker name the proxy instead.
async fn serve(client: TcpStream, state: Arc<ProxyState>) {
    let Ok(broker) = TcpStream::connect(&state.broker).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel::<(i16, i16)>();
    let up = async {
        while let Some(request) = read_frame(&mut from_client).await {
            let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
            asked.send((number(4), number(6))).ok();
            state.asked.fetch_add(1, Ordering::Relaxed);
            if to_broker.write_all(&request).await.is_err() {
                break;
            }
        }
    };
    let down = async {
        while let Some(answer) = read_frame(&mut from_broker).await {
            let Some((key, version)) = was_asked.recv().await else { break };
            if state.loses(key) || to_client.write_all(&readdress(key, version, answer, state.port)).await.is_err() {
                break;
            }
        }
    };
    tokio::select! { () = up => {}, () = down => {} }
}

/// A whole frame with its length in front.
async fn read_frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + length as usize, 0);
    from.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame)
}

fn readdress(key: i16, version: i16, answer: Vec<u8>, port: u16) -> Vec<u8> {
    let Some(api @ (Api::Metadata | Api::FindCoordinator)) = Api::from_key(key) else { return answer };
    let (correlation, body) = frame::parse_response(api, version, &answer[4..].to_vec().into()).expect("a header");
    let port = i32::from(port);
    if api == Api::Metadata {
        let mut metadata: MetadataResponse = decode_response(api, version, body).expect("metadata");
        metadata.brokers.iter_mut().for_each(|broker| broker.port = port);
        return frame::encode_response(api, version, correlation, &metadata).expect("encodes").to_vec();
    }
    let mut found: FindCoordinatorResponse = decode_response(api, version, body).expect("a coordinator");
    found.coordinators.iter_mut().for_each(|coordinator| coordinator.port = port);
    if version < 4 {
        found.port = port;
    }
    frame::encode_response(api, version, correlation, &found).expect("encodes").to_vec()
}
