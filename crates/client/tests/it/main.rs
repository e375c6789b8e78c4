//! The client against a broker: ours by default, any other by `PAGEMARK_TEST_BOOTSTRAP=HOST:PORT`, such as Apache Kafka.
//!
//! Every test passes against both. Deliberately not here: what can be tested without a broker.

mod support;

use pagemark_client::*;
use pagemark_wire::api::Api;
use support::{Proxy, Rig, run};

#[test]
fn topics_are_created_described_listed_and_deleted() {
    run(async {
        let rig = Rig::start("topics").await;
        let admin = &rig.admin;
        let missing = admin.describe_topic(rig.name()).await.expect_err("not there yet");
        assert_eq!(missing.code(), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
        admin.validate_topic(&NewTopic::new(rig.name()).partitions(3)).await.expect("legal");
        let name = rig.topic(3).await;
        let topic = admin.describe_topic(name).await.expect("there");
        assert_eq!(topic.partitions.len(), 3);
        assert!(topic.partitions.iter().all(|p| p.leader.is_some() && p.replicas.len() == 1), "{topic:?}");
        assert!(admin.list_topics().await.expect("a list").contains(&topic));
        let again = admin.create_topic(NewTopic::new(name)).await.expect_err("it exists");
        assert_eq!(again.code(), Some(Code::TOPIC_ALREADY_EXISTS));
        let illegal = admin.create_topic(NewTopic::new("no/slash")).await.expect_err("an illegal name");
        assert_eq!(illegal.code(), Some(Code(17)));
        admin.delete_topic(name).await.expect("deleted");
        let gone = admin.delete_topic(name).await.expect_err("gone");
        assert_eq!(gone.code(), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
        let cluster = admin.describe_cluster().await.expect("a cluster");
        assert!(cluster.brokers.len() == 1 && cluster.cluster_id.is_some());
    });
}

#[test]
fn what_is_repeated_after_a_lost_answer_is_written_once_and_in_order() {
    run(async {
        let rig = Rig::start("idempotence").await;
        let topic = rig.topic(1).await;
        let proxy = Proxy::to(&rig.bootstrap).await;
        let producer = Producer::builder(&proxy.bootstrap).batch_size(2_000).build().expect("legal settings");
        let first = producer.send(ProducerRecord::to(topic).value("0")).await.expect("taken in");
        assert_eq!(first.await.expect("written").offset, Some(0));
        proxy.lose_answers(Api::Produce, 3);
        let mut deliveries = Vec::new();
        for n in 1..200 {
            let record = ProducerRecord::to(topic).value(n.to_string());
            deliveries.push(producer.send(record).await.expect("taken in"));
        }
        for (delivery, n) in deliveries.into_iter().zip(1..) {
            assert_eq!(delivery.await.expect("written").offset, Some(n));
        }
        assert_eq!(proxy.lost(), 3);
        let end = rig.admin.list_offsets([(rig.partition(0), OffsetSpec::Latest)]).await.expect("an end");
        assert_eq!(end[&rig.partition(0)].offset, Some(200));
        producer.close().await;
    });
}

#[test]
fn a_record_that_cannot_be_written_says_what_to_do() {
    run(async {
        let rig = Rig::start("refused").await;
        let topic = NewTopic::new(rig.name()).partitions(1).config("max.message.bytes", "1000");
        rig.admin.create_topic(topic).await.expect("created");
        let producer = rig.producer();
        let record = || ProducerRecord::to(rig.name()).partition(0);
        let large = producer.send(record().value(vec![b'x'; 5_000])).await.expect("taken in").await;
        assert!(matches!(large, Err(ProduceError::Refused { code: Code::MESSAGE_TOO_LARGE, .. })), "{large:?}");
        let small = producer.send(record().value("small")).await.expect("taken in").await;
        assert_eq!(small.expect("written").offset, Some(0));
        let huge = producer.send(record().value(vec![b'x'; 2 << 20])).await;
        assert!(matches!(huge, Err(ProduceError::TooLarge { .. })));
        let nowhere = producer.send(record().partition(7)).await;
        assert!(matches!(nowhere, Err(ProduceError::Refused { code: Code::UNKNOWN_TOPIC_OR_PARTITION, .. })));
        let impatient = Producer::builder(&rig.bootstrap).max_block(std::time::Duration::from_millis(200));
        let impatient = impatient.build().expect("legal settings");
        let unknown = impatient.send(ProducerRecord::to("there-is-no-such-topic")).await;
        assert!(matches!(unknown, Err(ProduceError::Refused { code: Code::UNKNOWN_TOPIC_OR_PARTITION, .. })));
    });
}

#[test]
fn offsets_are_found_at_both_ends_and_by_time() {
    run(async {
        let rig = Rig::start("offsets").await;
        let topic = rig.topic(2).await;
        let producer = rig.producer();
        for n in 0..3 {
            let record = ProducerRecord::to(topic).partition(0).value("x").timestamp_ms(1_700_000_000_000 + n);
            producer.send(record).await.expect("taken in").await.expect("written");
        }
        rig.fill(1, 0..5).await;
        let offset = async |partition, spec| {
            let found = rig.admin.list_offsets([(rig.partition(partition), spec)]).await.expect("found");
            found[&rig.partition(partition)].offset
        };
        assert_eq!(offset(0, OffsetSpec::Earliest).await, Some(0));
        assert_eq!(offset(0, OffsetSpec::Latest).await, Some(3));
        assert_eq!(offset(1, OffsetSpec::Latest).await, Some(5));
        assert_eq!(offset(0, OffsetSpec::Timestamp(1_700_000_000_001)).await, Some(1));
        assert_eq!(offset(0, OffsetSpec::Timestamp(1_700_000_000_003)).await, None);
    });
}
