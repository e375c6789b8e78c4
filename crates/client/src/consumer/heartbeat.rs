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
    let settings = &membership.settings;
    let now = || {
        let state = membership.shared.lock();
        let is_member = state.member.generation >= 0;
        (is_member.then(|| state.member.clone()), state.last_heard + settings.session_timeout)
    };
    loop {
        let next = Instant::now() + settings.heartbeat_interval;
        let (member, session_ends) = now();
        tokio::time::sleep_until(if member.is_some() { next.min(session_ends) } else { next }).await;
        if let (Some(member), session_ends) = now() {
            // All of it, also finding the coordinator and connecting: who is not heard for a session must know at its end.
            let answer = tokio::time::timeout_at(session_ends, membership.heartbeat(&member)).await;
            let too_late = |_| Err(Error::Unavailable("no heartbeat was answered within the session".to_owned()));
            membership.hear(&member, answer.unwrap_or_else(too_late));
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
