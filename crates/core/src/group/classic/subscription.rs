//! Which topics a group is subscribed to, as far as a broker can know (G-25).
//!
//! Deliberately not here: what follows from it (deleting and expiring offsets).

use std::collections::BTreeSet;

use pagemark_wire::consumer_protocol::Subscription;

use crate::group::Group;

/// The topics that members of a group are subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscribedTopics {
    /// A member's subscription cannot be read: take it that the group reads every topic.
    Everything,
    /// Exactly these.
    Topics(BTreeSet<String>),
}

impl Group {
    /// `None` if the group's protocol type is not `consumer`, so that nothing is known.
    pub(crate) fn subscribed_topics(&self) -> Option<SubscribedTopics> {
        let recorded = self.recorded().filter(|recorded| recorded.protocol_type == "consumer")?;
        let mut topics = BTreeSet::new();
        for member in &recorded.members {
            match Subscription::parse(&member.subscription) {
                Ok(subscription) => topics.extend(subscription.topics),
                Err(_) => return Some(SubscribedTopics::Everything),
            }
        }
        Some(SubscribedTopics::Topics(topics))
    }
}
