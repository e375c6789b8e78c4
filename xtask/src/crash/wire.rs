//! What a request and its answer say, as events: produces, fetches, commits, and who is in a group's generation.
//!
//! Read off the wire, so that any client will do and that what counts as acknowledged is what the broker answered, whether
//! the client lived to see it or not. Deliberately not here: what follows from it (`truth`).

use anyhow::{Context, Result};
use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use pagemark_wire::api::Api;
use pagemark_wire::consumer_protocol::Assignment;
use pagemark_wire::frame::{self, Request};
use pagemark_wire::messages::{
    self, Decodable, FetchRequest, FetchResponse, JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest,
    OffsetCommitResponse, ProduceRequest, ProduceResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::history::{Bookmark, Outcome};
use crate::relay::Exchange;

/// One thing that an exchange says.
#[derive(Debug)]
pub enum Heard {
    /// A batch was sent.
    Produced { partition: i32, values: Vec<String>, outcome: Outcome, base_offset: i64 },
    /// Records were read: offsets and values.
    Read { partition: i32, from: i64, records: Vec<(i64, String)>, log_start: i64, high_watermark: i64 },
    /// An offset was committed.
    Committed { group: String, member: String, generation: i32, partition: i32, bookmark: Bookmark, outcome: Outcome },
    /// A member was let into a generation.
    Joined { group: String, member: String, generation: i32 },
    /// A member was told what it has.
    Assigned { group: String, member: String, generation: i32, partitions: Vec<(String, i32)> },
}

/// Length of the base offset and the batch length in front of each batch.
const BATCH_HEAD: usize = 12;

/// A request with its answer, both without headers.
struct Pair {
    api: Api,
    version: i16,
    request: Bytes,
    answer: Option<Bytes>,
}

/// Understands an exchange. The topic is not told: there is only one.
pub fn understand(exchange: &Exchange<'_>) -> Result<Vec<Heard>> {
    let key = exchange.request.get(4..6).context("a request without a head")?;
    let of_interest = [Api::Produce, Api::Fetch, Api::OffsetCommit, Api::JoinGroup, Api::SyncGroup];
    if !of_interest.iter().any(|api| api.key().to_be_bytes() == key) {
        return Ok(Vec::new());
    }
    let request = Bytes::copy_from_slice(&exchange.request[4..]);
    let Request::Served { header, body } = frame::parse_request(&request)? else { return Ok(Vec::new()) };
    let answer = match exchange.answer {
        None => None,
        Some(bytes) => Some(frame::parse_response(header.api, header.version, &Bytes::copy_from_slice(&bytes[4..]))?.1),
    };
    let pair = Pair { api: header.api, version: header.version, request: body, answer };
    match header.api {
        Api::Produce => pair.produced(),
        Api::Fetch => pair.read(),
        Api::OffsetCommit => pair.committed(),
        Api::JoinGroup => pair.joined(),
        _ => pair.assigned(),
    }
}

impl Pair {
    fn request<Q: Decodable>(&self) -> Result<Q> {
        Ok(messages::decode(self.api, self.version, self.request.clone())?.message)
    }

    fn answer<A: Decodable>(&self) -> Result<Option<A>> {
        let decode = |body: &Bytes| messages::decode_response(self.api, self.version, body.clone());
        Ok(self.answer.as_ref().map(decode).transpose()?)
    }

    fn produced(&self) -> Result<Vec<Heard>> {
        let (request, answer) = (self.request::<ProduceRequest>()?, self.answer::<ProduceResponse>()?);
        let mut heard = Vec::new();
        for sent in request.topic_data.iter().flat_map(|topic| &topic.partition_data) {
            let told = answer.as_ref().map(|answer| {
                let mut all = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
                all.find(|told| told.index == sent.index).context("a produce was answered for other partitions")
            });
            let told = told.transpose()?;
            let records = records_of(sent.records.clone().unwrap_or_default())?;
            heard.push(Heard::Produced {
                partition: sent.index,
                values: records.into_iter().map(|(_, value)| value).collect(),
                outcome: Outcome::of(told.map(|told| told.error_code)),
                base_offset: told.map_or(-1, |told| told.base_offset),
            });
        }
        Ok(heard)
    }

    fn read(&self) -> Result<Vec<Heard>> {
        let Some(answer) = self.answer::<FetchResponse>()? else { return Ok(Vec::new()) };
        let request: FetchRequest = self.request()?;
        let mut heard = Vec::new();
        for told in answer.responses.iter().flat_map(|topic| &topic.partitions).filter(|told| told.error_code == 0) {
            let mut asked = request.topics.iter().flat_map(|topic| &topic.partitions);
            let Some(asked) = asked.find(|asked| asked.partition == told.partition_index) else { continue };
            let records = told.records.clone().unwrap_or_default();
            heard.push(Heard::Read {
                partition: told.partition_index,
                from: asked.fetch_offset,
                records: records_of(records.slice(..whole_batches(&records).0))?,
                log_start: told.log_start_offset,
                high_watermark: told.high_watermark,
            });
        }
        Ok(heard)
    }

    fn committed(&self) -> Result<Vec<Heard>> {
        let (request, answer) = (self.request::<OffsetCommitRequest>()?, self.answer::<OffsetCommitResponse>()?);
        let mut heard = Vec::new();
        for sent in request.topics.iter().flat_map(|topic| &topic.partitions) {
            let told = answer.as_ref().map(|answer| {
                let mut all = answer.topics.iter().flat_map(|topic| &topic.partitions);
                all.find(|told| told.partition_index == sent.partition_index)
                    .context("a commit was answered for other partitions")
            });
            heard.push(Heard::Committed {
                group: request.group_id.to_string(),
                member: request.member_id.to_string(),
                generation: request.generation_id_or_member_epoch,
                partition: sent.partition_index,
                bookmark: Bookmark {
                    offset: sent.committed_offset,
                    metadata: sent.committed_metadata.as_deref().unwrap_or_default().to_owned(),
                },
                outcome: Outcome::of(told.transpose()?.map(|told| told.error_code)),
            });
        }
        Ok(heard)
    }

    fn joined(&self) -> Result<Vec<Heard>> {
        let Some(answer) = self.answer::<JoinGroupResponse>()?.filter(|answer| answer.error_code == 0) else {
            return Ok(Vec::new());
        };
        let group = self.request::<JoinGroupRequest>()?.group_id.to_string();
        let (member, generation) = (answer.member_id.to_string(), answer.generation_id);
        Ok(vec![Heard::Joined { group, member, generation }])
    }

    fn assigned(&self) -> Result<Vec<Heard>> {
        let Some(answer) = self.answer::<SyncGroupResponse>()?.filter(|answer| answer.error_code == 0) else {
            return Ok(Vec::new());
        };
        let request: SyncGroupRequest = self.request()?;
        let mut partitions = Vec::new();
        for (topic, numbers) in Assignment::parse(&answer.assignment)?.partitions {
            partitions.extend(numbers.into_iter().map(|number| (topic.clone(), number)));
        }
        let (group, member) = (request.group_id.to_string(), request.member_id.to_string());
        Ok(vec![Heard::Assigned { group, member, generation: request.generation_id, partitions }])
    }
}

/// Offsets and values of whole batches.
pub fn records_of(mut batches: Bytes) -> Result<Vec<(i64, String)>> {
    let mut records = Vec::new();
    for set in RecordBatchDecoder::decode_all(&mut batches)? {
        for record in set.records {
            let value = record.value.context("a record without a value")?;
            records.push((record.offset, String::from_utf8_lossy(&value).into_owned()));
        }
    }
    Ok(records)
}

/// How many bytes of these are whole batches, and the offset behind their last record, if there is one.
pub fn whole_batches(bytes: &[u8]) -> (usize, Option<i64>) {
    let (mut at, mut next) = (0, None);
    while let Some((head, delta)) = bytes[at..].first_chunk::<BATCH_HEAD>().zip(bytes[at..].get(23..27)) {
        let base = i64::from_be_bytes([head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]]);
        let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let delta = i32::from_be_bytes([delta[0], delta[1], delta[2], delta[3]]);
        let end = usize::try_from(length).ok().and_then(|length| at.checked_add(BATCH_HEAD + length));
        let Some(end) = end.filter(|end| *end <= bytes.len()) else { break };
        (at, next) = (end, Some(base + i64::from(delta) + 1));
    }
    (at, next)
}
