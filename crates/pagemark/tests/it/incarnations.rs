//! Topics deleted and created again by a process that is killed in between (`kill -9`): leader epochs never come again.
//!
//! Deliberately not here: what follows from it for those who read the former topic (`broker/tests/it/incarnations.rs`).

use std::time::Duration;

use pagemark_client::blocking::Connection;
use pagemark_wire::api::Api;
use pagemark_wire::messages::create_topics_request::CreatableTopic;
use pagemark_wire::messages::metadata_request::MetadataRequestTopic;
use pagemark_wire::messages::*;

use super::process::{Broker, started};

const PATIENCE: Duration = Duration::from_secs(20);

fn orders() -> TopicName {
    TopicName(StrBytes::from_static_str("orders"))
}

fn connect(broker: &Broker) -> Connection {
    Connection::connect(broker.1.parse().expect("an address"), "tester", PATIENCE).expect("it listens")
}

fn create(connection: &mut Connection) {
    let topic = CreatableTopic::default().with_name(orders()).with_num_partitions(1).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer: CreateTopicsResponse = connection.call(Api::CreateTopics, 7, &request).expect("an answer");
    assert_eq!(answer.topics[0].error_code, 0);
}

fn delete(connection: &mut Connection) {
    let request = DeleteTopicsRequest::default().with_topic_names(vec![orders()]);
    let answer: DeleteTopicsResponse = connection.call(Api::DeleteTopics, 5, &request).expect("an answer");
    assert_eq!(answer.responses[0].error_code, 0);
}

fn epoch(connection: &mut Connection) -> i32 {
    let topic = MetadataRequestTopic::default().with_name(Some(orders()));
    let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
    let answer: MetadataResponse = connection.call(Api::Metadata, 12, &request).expect("an answer");
    answer.topics[0].partitions[0].leader_epoch
}

#[test]
fn leader_epochs_never_come_again_though_the_process_is_killed_between_r_96() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = -1;
    for life in 0..6 {
        let broker = started(directory.path());
        let mut connection = connect(&broker);
        if life % 2 == 1 {
            // The last life ended with the topic there: it is the same one, under a later epoch.
            let now = epoch(&mut connection);
            assert!(now > last, "in life {life}");
            last = now;
            delete(&mut connection);
        }
        for _ in 0..3 {
            create(&mut connection);
            assert_eq!(epoch(&mut connection), last + 1, "in life {life}");
            last += 1;
            delete(&mut connection);
        }
        if life % 2 == 0 {
            create(&mut connection);
            last = epoch(&mut connection);
        }
        drop(broker); // kill -9
    }
}
