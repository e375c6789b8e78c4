//! The task that keeps the member alive, and hears what the coordinator wants.
//!
//! It goes on while the application is busy, and while a join waits for the others. Deliberately not here: what is done about
//! it; see `group.rs`.

use std::sync::Arc;

use tokio::time::Instant;

use super::membership::Membership;
use super::state::Phase;
use crate::code::Code;
use crate::error::Error;
use crate::offsets::Committer;

pub(super) async fn run(membership: Arc<Membership>) {
    loop {
        tokio::time::sleep(membership.settings.heartbeat_interval).await;
        let member = membership.shared.lock().member.clone();
        if member.generation >= 0 {
            let answer = membership.heartbeat(&member).await;
            membership.hear(&member, answer);
        }
    }
}

impl Membership {
    /// Takes in what the coordinator said to a heartbeat of `member`.
    fn hear(&self, member: &Committer, answer: Result<Code, Error>) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        if state.member != *member {
            return; // of an older generation
        }
        let is_joining = state.phase == Phase::Joining;
        match answer {
            Ok(Code::NONE) => {
                state.last_heard = now;
                return;
            }
            Ok(Code::REBALANCE_IN_PROGRESS) => {
                state.last_heard = now;
                if is_joining {
                    return; // as it must be
                }
                state.rejoin = true;
            }
            Ok(Code::ILLEGAL_GENERATION | Code::UNKNOWN_MEMBER_ID | Code::FENCED_INSTANCE_ID) if is_joining => {
                return; // the join's own answer tells
            }
            Ok(code @ (Code::ILLEGAL_GENERATION | Code::UNKNOWN_MEMBER_ID | Code::FENCED_INSTANCE_ID)) => {
                state.refuse(code);
            }
            // Whoever is not heard for a whole session is expired by now, and must not go on as if it were not.
            Ok(_) | Err(_) if state.last_heard + self.settings.session_timeout <= now => state.lose(),
            Ok(_) | Err(_) => return,
        }
        drop(state);
        self.shared.group.notify_one();
        self.shared.app.notify_one();
    }
}
