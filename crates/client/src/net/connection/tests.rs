//! A connection against a broker that is written by hand, polite and hostile.

use std::future::Future;

use pagemark_wire::messages::api_versions_response::ApiVersion;
use pagemark_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use pagemark_wire::messages::{
    Encodable, HeartbeatRequest, HeartbeatResponse, MetadataRequest, MetadataResponse, ProduceRequest,
};
use tokio::net::TcpListener;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn dial() -> Dial {
    Dial { client_id: "tester".to_owned(), connect_timeout: SECOND, request_timeout: SECOND }
}

struct Broker {
    stream: TcpStream,
}

impl Broker {
    async fn frame(&mut self) -> Bytes {
        let length = self.stream.read_u32().await.expect("a request");
        let mut bytes = vec![0; length as usize];
        self.stream.read_exact(&mut bytes).await.expect("a whole request");
        bytes.into()
    }

    async fn answer<A: Encodable>(&mut self, api: Api, version: i16, correlation_id: i32, answer: &A) {
        let bytes = frame::encode_response(api, version, correlation_id, answer).expect("encodes");
        self.stream.write_all(&bytes).await.expect("the client reads");
    }
}

fn table() -> ApiVersionsResponse {
    let key = |api: Api, max| ApiVersion::default().with_api_key(api.key()).with_max_version(max);
    let keys = vec![key(Api::ApiVersions, 3), key(Api::Metadata, 12), key(Api::Heartbeat, 99), key(Api::Produce, 13)];
    ApiVersionsResponse::default().with_api_keys(keys)
}

/// A connection that has been negotiated, and its broker.
async fn pair() -> (Connection, Broker) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (connection, broker) = both(Connection::open("127.0.0.1", port, &dial()), async {
        let mut broker = Broker { stream: listener.accept().await.unwrap().0 };
        broker.frame().await;
        broker.answer(Api::ApiVersions, 4, 0, &table()).await;
        broker
    })
    .await;
    (connection.expect("negotiated"), broker)
}

async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    tokio::join!(a, b)
}

fn metadata(connection: &Connection) -> impl Future<Output = Result<MetadataResponse, CallError>> + '_ {
    connection.call(|_| MetadataRequest::default(), SECOND)
}

#[tokio::test]
async fn each_api_is_spoken_in_the_highest_version_that_both_sides_have() {
    let (connection, _broker) = pair().await;
    assert_eq!(connection.version(Api::Metadata), Ok(12));
    assert_eq!(connection.version(Api::Heartbeat), Ok(4));
    assert_eq!(connection.version(Api::Fetch), Err(CallError::Unsupported(Api::Fetch)));
}

#[tokio::test]
async fn a_broker_that_lacks_our_version_of_api_versions_is_asked_again_p_11() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (connection, ()) = both(Connection::open("127.0.0.1", port, &dial()), async {
        let mut broker = Broker { stream: listener.accept().await.unwrap().0 };
        assert_eq!(broker.frame().await[2..4], [0, 4]);
        broker.answer(Api::ApiVersions, 0, 0, &table().with_error_code(35)).await;
        assert_eq!(broker.frame().await[2..4], [0, 3]);
        broker.answer(Api::ApiVersions, 3, 1, &table()).await;
    })
    .await;
    assert_eq!(connection.expect("negotiated").version(Api::Metadata), Ok(12));
}

#[tokio::test]
async fn requests_are_pipelined_and_a_dropped_caller_disturbs_nobody_p_5() {
    let (connection, mut broker) = pair().await;
    let mut dropped = Box::pin(metadata(&connection));
    assert!(tokio::time::timeout(Duration::ZERO, &mut dropped).await.is_err());
    drop(dropped);
    let heartbeat = connection.call(|_| HeartbeatRequest::default(), SECOND);
    let (answers, ()) = both(async { tokio::join!(metadata(&connection), heartbeat) }, async {
        for _ in 0..3 {
            broker.frame().await;
        }
        broker.answer(Api::Metadata, 12, 1, &MetadataResponse::default().with_throttle_time_ms(1)).await;
        broker.answer(Api::Metadata, 12, 2, &MetadataResponse::default().with_throttle_time_ms(2)).await;
        broker.answer(Api::Heartbeat, 4, 3, &HeartbeatResponse::default().with_throttle_time_ms(3)).await;
    })
    .await;
    assert_eq!((answers.0.unwrap().throttle_time_ms, answers.1.unwrap().throttle_time_ms), (2, 3));
}

#[tokio::test]
async fn hostile_answers_end_the_connection_and_nothing_else() {
    let hostile: [&[u8]; 6] = [
        &[0xff, 0xff, 0xff, 0xff],                                            // a negative length
        &[0x7f, 0, 0, 0],                                                     // 2 GB announced
        &[0, 0, 0, 2, 0, 0],                                                  // too short for a header
        &[0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 0, 0],                             // somebody else's answer
        &[0, 0, 0, 9, 0, 0],                                                  // cut short
        &[0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 7], // two billion brokers
    ];
    for bytes in hostile {
        let (connection, mut broker) = pair().await;
        let (answer, ()) = both(metadata(&connection), async {
            broker.frame().await;
            broker.stream.write_all(bytes).await.unwrap();
            broker.stream.shutdown().await.unwrap();
        })
        .await;
        assert!(answer.as_ref().is_err_and(CallError::may_be_done), "{bytes:?}: {answer:?}");
        assert!(!connection.is_open(), "{bytes:?}");
        let next = metadata(&connection).await;
        assert!(next.as_ref().is_err_and(|e| !e.may_be_done()), "{bytes:?}: {next:?}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_costs_the_connection() {
    let (connection, _broker) = pair().await;
    let answer = connection.call(|_| MetadataRequest::default(), Duration::from_millis(20)).await;
    assert!(matches!(answer, Err(CallError::Broken { sent: true, .. })), "{answer:?}");
    assert!(!connection.is_open());
}

/// Who is told that the connection broke asks again over another one: what had not left by then must not come after that.
#[tokio::test]
async fn what_waits_to_be_written_never_leaves_once_the_connection_is_closed() {
    let (connection, mut broker) = pair().await;
    let records = Bytes::from(vec![0; 64 << 20]); // more than any socket takes in
    let data = PartitionProduceData::default().with_records(Some(records.clone()));
    let topic = TopicProduceData::default().with_partition_data(vec![data]);
    let told = connection.tell(|_| ProduceRequest::default().with_topic_data(vec![topic]), SECOND);
    let (told, asked) = both(told, connection.call(|_| MetadataRequest::default(), Duration::from_millis(20))).await;
    for lost in [told, asked.map(drop)] {
        assert!(matches!(lost, Err(CallError::Broken { sent: true, .. })), "{lost:?}");
    }
    let mut bytes = Vec::new();
    broker.stream.read_to_end(&mut bytes).await.ok(); // it may end in a reset
    assert!(bytes.len() < records.len(), "{} bytes came", bytes.len());
}
