//! InitProducerId (key 22), versions 0 to 5: an id for an idempotent producer.
//!
//! v2 is flexible, v3 may present an id that is to be continued (KIP-360). Ids are taken from the engine in blocks and never
//! given twice, whatever happens (R-37, T-10). Deliberately not here: transactional ids; they are refused until transactions
//! are served.

use std::sync::{Arc, Mutex};

use pagemark_storage::engine::Ticket;
use pagemark_wire::ErrorCode;
use pagemark_wire::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Call;
use crate::broker::Broker;
use crate::executor::Outgoing;
use crate::metadata::record::PRODUCER_ID_COUNTER;

/// Ids reserved with one write.
const BLOCK: u32 = 1_000;
/// Kafka's default for `transaction.max.timeout.ms`.
const MAX_TRANSACTION_TIMEOUT_MS: i32 = 900_000;

/// The block of producer ids that is being given out.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: Mutex<Option<Block>>,
}

#[derive(Debug)]
struct Block {
    next: i64,
    end: i64,
    /// Ids may be given once this is durable.
    ticket: Ticket,
}

impl ProducerIds {
    /// The next id, and the write that must be durable before it is told to anyone.
    fn next(&self, broker: &Broker) -> Result<(i64, Ticket), ErrorCode> {
        let mut block = self.block.lock().expect("nothing panics while holding the block");
        if block.as_ref().is_none_or(|b| b.next == b.end) {
            let (first, ticket) = broker
                .engine
                .reserve_ids(PRODUCER_ID_COUNTER, BLOCK)
                .map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
            *block = Some(Block { next: first, end: first + i64::from(BLOCK), ticket });
        }
        let block = block.as_mut().expect("a block was just made sure of");
        block.next += 1;
        Ok((block.next - 1, block.ticket))
    }
}

/// Gives an id at epoch 0.
pub fn handle(call: Call, _out: &mut Outgoing, request: InitProducerIdRequest) {
    if let Some(id) = &request.transactional_id {
        // Whether a transaction timeout is legal is judged before its coordinator is looked for (T-10).
        let code = match (id.is_empty(), request.transaction_timeout_ms) {
            (true, _) => ErrorCode::InvalidRequest,
            (false, 1..=MAX_TRANSACTION_TIMEOUT_MS) => ErrorCode::CoordinatorNotAvailable,
            (false, _) => ErrorCode::InvalidTransactionTimeout,
        };
        return call.reply.send(&refusal(code));
    }
    tokio::spawn(async move {
        let broker = Arc::clone(&call.broker);
        let id = match broker.producer_ids.next(&broker) {
            Ok((id, ticket)) => broker.progress.durable(ticket).await.map(|()| id).ok(),
            Err(_) => None,
        };
        match id {
            Some(id) => call
                .reply
                .send(&InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0)),
            None => call.reply.send(&refusal(ErrorCode::CoordinatorNotAvailable)),
        }
    });
}

fn refusal(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}
