//! Sessions of an administrator: configs, partitions, the cluster, records that are deleted.
//!
//! Deliberately not here: groups, and making and deleting topics, which every session does.

use pagemark_wire::api::Api;
use pagemark_wire::messages::create_partitions_request::CreatePartitionsTopic;
use pagemark_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use pagemark_wire::messages::describe_configs_request::DescribeConfigsResource;
use pagemark_wire::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use pagemark_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use pagemark_wire::messages::{
    AlterConfigsRequest, CreatePartitionsRequest, DeleteRecordsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, alter_configs_request,
};

use super::{ask, create, fetch, produce, text, topic};

/// What `ConfigResource` calls a topic and a broker.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub(super) fn configs() -> Vec<u8> {
    let mut session = Vec::new();
    create(&mut session);
    describe_configs(&mut session);
    let change = |name, operation, value| {
        AlterableConfig::default().with_name(text(name)).with_config_operation(operation).with_value(value)
    };
    let changes = vec![
        change("retention.ms", 0, Some(text("1000"))),
        change("cleanup.policy", 2, Some(text("delete"))),
        change("segment.bytes", 1, None),
    ];
    let orders = AlterConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text("orders"));
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![orders.with_configs(changes)]);
    ask(&mut session, Api::IncrementalAlterConfigs, 1, &request);
    let whole = alter_configs_request::AlterableConfig::default().with_name(text("max.message.bytes"));
    let orders = alter_configs_request::AlterConfigsResource::default().with_resource_type(TOPIC);
    let orders = orders.with_resource_name(text("orders")).with_configs(vec![whole.with_value(Some(text("2000")))]);
    ask(&mut session, Api::AlterConfigs, 2, &AlterConfigsRequest::default().with_resources(vec![orders]));
    produce(&mut session, -1);
    describe_configs(&mut session);
    session
}

fn describe_configs(session: &mut Vec<u8>) {
    let all = |kind, name| {
        let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(name));
        resource.with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources(vec![all(TOPIC, "orders"), all(BROKER, "0")]);
    ask(session, Api::DescribeConfigs, 4, &request.with_include_synonyms(true).with_include_documentation(true));
}

pub(super) fn topics() -> Vec<u8> {
    let mut session = Vec::new();
    create(&mut session);
    ask(&mut session, Api::DescribeCluster, 1, &DescribeClusterRequest::default());
    let more = CreatePartitionsTopic::default().with_name(topic()).with_count(5).with_assignments(None);
    ask(&mut session, Api::CreatePartitions, 2, &CreatePartitionsRequest::default().with_topics(vec![more]));
    let orders =
        DescribeTopicPartitionsRequest::default().with_topics(vec![TopicRequest::default().with_name(topic())]);
    let from_2 = Cursor::default().with_topic_name(topic()).with_partition_index(2);
    for cursor in [None, Some(from_2)] {
        let request = orders.clone().with_response_partition_limit(2).with_cursor(cursor);
        ask(&mut session, Api::DescribeTopicPartitions, 0, &request);
    }
    for _ in 0..3 {
        produce(&mut session, -1);
    }
    let first_two = DeleteRecordsPartition::default().with_partition_index(0).with_offset(2);
    let gone = DeleteRecordsTopic::default().with_name(topic()).with_partitions(vec![first_two]);
    ask(&mut session, Api::DeleteRecords, 2, &DeleteRecordsRequest::default().with_topics(vec![gone]));
    fetch(&mut session, 0, 0, 1 << 20);
    fetch(&mut session, 2, 0, 1 << 20);
    session
}
