//! How large partitions are, as DescribeLogDirs tells it (P-29c).

use std::sync::Arc;

use pagemark_storage::memory::MemoryEngine;
use pagemark_wire::messages::describe_log_dirs_request::DescribableLogDirTopic;
use pagemark_wire::messages::describe_log_dirs_response::DescribeLogDirsResult;
use pagemark_wire::messages::*;

use crate::support::Rig;
use crate::support::batches::{batch, batch_of_bytes};
use crate::support::client::*;
use crate::support::raw::Raw;

fn request(topics: Option<&[(&str, &[i32])]>) -> DescribeLogDirsRequest {
    let topic = |(name, partitions): &(&str, &[i32])| {
        DescribableLogDirTopic::default().with_topic(topic_name(name)).with_partitions(partitions.to_vec())
    };
    DescribeLogDirsRequest::default().with_topics(topics.map(|topics| topics.iter().map(topic).collect()))
}

fn ask(client: &mut Client, topics: Option<&[(&str, &[i32])]>) -> DescribeLogDirsResult {
    let mut answer = client.ask(4, &request(topics));
    assert_eq!((answer.error_code, answer.results.len()), (0, 1), "one directory");
    answer.results.remove(0)
}

fn sizes(result: &DescribeLogDirsResult) -> Vec<(&str, i32, i64)> {
    let plain = |topic: &'_ describe_log_dirs_response::DescribeLogDirsTopic| -> Vec<(i32, i64)> {
        assert!(topic.partitions.iter().all(|p| (p.offset_lag, p.is_future_key) == (0, false)));
        topic.partitions.iter().map(|p| (p.partition_index, p.partition_size)).collect()
    };
    result.topics.iter().flat_map(|t| plain(t).into_iter().map(|(p, size)| (t.name.as_str(), p, size))).collect()
}

#[test]
fn partitions_are_as_large_as_their_batches_p_29c() {
    let rig = Rig::memory();
    let mut client = rig.client();
    client.create("orders", 2, &[]);
    client.create("sales", 1, &[]);
    let sent = [batch_of_bytes(5_000), batch(&["a"])];
    let bytes: i64 = sent.iter().map(|batch| batch.len() as i64).sum();
    sent.into_iter().for_each(|batch| assert!(client.produced("orders", 1, batch) >= 0));
    let some = [("orders", &[1, 0, 1, 7, -1][..]), ("nobody", &[0]), ("sales", &[]), ("orders", &[1])];
    assert_eq!(sizes(&ask(&mut client, Some(&some))), [("orders", 0, 0), ("orders", 1, bytes)]);
    assert_eq!(sizes(&ask(&mut client, Some(&[]))), []);
    let all = ask(&mut client, None);
    let with_records: Vec<_> = sizes(&all).into_iter().filter(|(_, _, size)| *size > 0).collect();
    assert_eq!(with_records, [("orders", 1, bytes)]);
    assert_eq!(sizes(&all).len(), 4 + 2 + 1, "with those of the internal topic");
    assert_eq!((all.total_bytes, all.usable_bytes), (-1, -1), "memory has no file system");
}

#[test]
fn the_directory_and_its_room_are_told_p_29c() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::local(dir.path());
    let result = ask(&mut rig.client(), None);
    assert!(result.log_dir.starts_with('/') && result.error_code == 0, "{}", result.log_dir);
    assert!(0 < result.usable_bytes && result.usable_bytes <= result.total_bytes);
    for version in 1..=4 {
        let mut raw = Raw::connect(rig.address);
        raw.request(version, &request(None));
        let answer = raw.answer::<DescribeLogDirsRequest>(version).results.remove(0);
        assert_eq!(answer.total_bytes > 0, version >= 4);
        assert_eq!(answer.topics[0].partitions.len(), 4);
    }
}

#[test]
fn after_the_log_has_failed_the_directory_is_an_error_p_29c() {
    let engine = Arc::new(MemoryEngine::new());
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    engine.fail("the disk is gone");
    let result = ask(&mut rig.client(), None);
    assert_eq!((result.error_code, result.topics.len()), (56, 0));
}
