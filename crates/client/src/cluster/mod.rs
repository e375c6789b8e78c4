//! A cluster as a client sees it: whom to ask, over which connection, and how often.
//!
//! Everything that is shared by producers, consumers and admin clients: bootstrap, a cache of metadata and coordinators,
//! one connection per broker and purpose, waits between attempts. Deliberately not here: what is asked.

mod metadata;
mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pagemark_wire::messages::metadata_request::MetadataRequestTopic;
use pagemark_wire::messages::{FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest};
use tokio::time::Instant;

use crate::code::Code;
use crate::error::{Error, refuse};
use crate::net::{Backoff, CallError, Connection, Dial};
use pagemark_wire::messages::{Request, text, topic_name};

pub use metadata::{Broker, Partition, Topic};
pub(crate) use metadata::{Metadata, TopicIds};
use pool::Pool;
pub(crate) use pool::{Lane, To};

/// How many groups' coordinators are looked up with one request.
const GROUPS_PER_LOOKUP: usize = 1000;

/// How clients of a cluster behave, whatever they do with it. Names and defaults are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// `bootstrap.servers`: addresses to begin with, `host:port`, with commas between them.
    pub bootstrap_servers: String,
    /// `client.id`: what this client calls itself, for the broker's log.
    pub client_id: String,
    /// `request.timeout.ms`: longest wait for one answer.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`: longest time for a whole call, with its repetitions.
    pub api_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`: longest wait for a connection.
    pub connect_timeout: Duration,
    /// `retry.backoff.ms`: wait before the first repetition; doubles from there.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`: longest wait before a repetition.
    pub retry_backoff_max: Duration,
    /// `metadata.max.age.ms`: age at which metadata is asked for again without a reason.
    pub metadata_max_age: Duration,
}

impl ClientSettings {
    /// Kafka's defaults.
    pub(crate) fn new(bootstrap_servers: &str) -> ClientSettings {
        ClientSettings {
            bootstrap_servers: bootstrap_servers.to_owned(),
            client_id: "pagemark".to_owned(),
            request_timeout: Duration::from_secs(30),
            api_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            metadata_max_age: Duration::from_secs(300),
        }
    }
}

/// A cluster, shared by everything that talks to it.
#[derive(Debug)]
pub(crate) struct Cluster {
    settings: ClientSettings,
    pool: Pool,
    known: Mutex<Known>,
    /// One refresh at a time; those who waited for it take its result.
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    metadata: Arc<Metadata>,
    /// How often metadata was taken in.
    version: u64,
    /// Topics that somebody here uses.
    wanted: BTreeSet<String>,
    coordinators: BTreeMap<String, i32>,
}

impl Cluster {
    /// A cluster behind these addresses; nothing is asked yet.
    pub(crate) fn new(settings: ClientSettings) -> Result<Arc<Cluster>, Error> {
        let bootstrap = pool::addresses(&settings.bootstrap_servers)?;
        let dial = Dial {
            client_id: settings.client_id.clone(),
            connect_timeout: settings.connect_timeout,
            request_timeout: settings.request_timeout,
        };
        let backoff = Backoff::new(settings.retry_backoff, settings.retry_backoff_max);
        let pool = Pool::new(bootstrap, dial, backoff);
        Ok(Arc::new(Cluster { settings, pool, known: Mutex::default(), refreshing: tokio::sync::Mutex::new(()) }))
    }

    pub(crate) fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// When a call that begins now gives up.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.api_timeout
    }

    /// Waits between attempts, until `deadline`.
    pub(crate) fn retries(&self, deadline: Instant) -> Retries {
        Retries { backoff: Backoff::new(self.settings.retry_backoff, self.settings.retry_backoff_max), deadline }
    }

    /// Repeats an attempt while its error may pass by itself and there is time.
    pub(crate) async fn retrying<T, F: Future<Output = Result<T, Error>>>(
        &self,
        deadline: Instant,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error> {
        let mut retries = self.retries(deadline);
        loop {
            match attempt().await {
                Err(error) if error.is_retriable() && retries.wait().await => {}
                settled => return settled,
            }
        }
    }

    /// One request, one answer. Safe to drop.
    pub(crate) async fn call<Q: Request>(
        &self,
        to: To,
        lane: Lane,
        make: impl FnOnce(i16) -> Q,
    ) -> Result<Q::Answer, CallError> {
        self.call_within(to, lane, self.settings.request_timeout, make).await
    }

    /// As [`Cluster::call`], for an answer that may take longer or must come sooner.
    pub(crate) async fn call_within<Q: Request>(
        &self,
        to: To,
        lane: Lane,
        timeout: Duration,
        make: impl FnOnce(i16) -> Q,
    ) -> Result<Q::Answer, CallError> {
        self.pool.get(to, lane).await?.call(make, timeout).await
    }

    /// An open connection, waited for.
    pub(crate) async fn connect(&self, to: To, lane: Lane) -> Result<Arc<Connection>, CallError> {
        self.pool.get(to, lane).await
    }

    /// The open connection to a broker, if there is one at the moment.
    pub(crate) fn connection(&self, node: i32, lane: Lane) -> Option<Arc<Connection>> {
        self.pool.peek(node, lane)
    }

    /// What is known, and how often it was taken in.
    pub(crate) fn metadata(&self) -> (Arc<Metadata>, u64) {
        let known = self.known();
        (Arc::clone(&known.metadata), known.version)
    }

    /// Names topics that every refresh is to ask for.
    pub(crate) fn want<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        self.known().wanted.extend(topics.into_iter().map(str::to_owned));
    }

    /// Asks for metadata of all wanted topics, unless somebody did since version `seen`. An answer that was asked for before
    /// a topic was wanted says nothing of it, and does not do.
    pub(crate) async fn refresh(&self, seen: u64) -> Result<Arc<Metadata>, Error> {
        let _one_at_a_time = self.refreshing.lock().await;
        let wanted = {
            let known = self.known();
            if known.version > seen && known.wanted.iter().all(|topic| known.metadata.mentions(topic)) {
                return Ok(Arc::clone(&known.metadata));
            }
            known.wanted.clone()
        };
        let topics = wanted.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        self.ask_metadata(Some(topics.collect())).await
    }

    /// Asks for metadata of all wanted topics, whatever is known.
    pub(crate) async fn refresh_now(&self) -> Result<Arc<Metadata>, Error> {
        let seen = self.metadata().1;
        self.refresh(seen).await
    }

    /// Asks for metadata of all topics there are.
    pub(crate) async fn refresh_all(&self) -> Result<Arc<Metadata>, Error> {
        self.ask_metadata(None).await
    }

    async fn ask_metadata(&self, topics: Option<Vec<MetadataRequestTopic>>) -> Result<Arc<Metadata>, Error> {
        let everything = topics.is_none();
        // Version 0 says "all" by an empty list, which is what an empty list would say to the others by null (P-22).
        let make = |version| {
            let topics = if everything && version == 0 { Some(Vec::new()) } else { topics };
            MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(version < 4)
        };
        let answer = self.call(To::Any, Lane::Control, make).await?;
        refuse(answer.error_code, None)?;
        let mut known = self.known();
        let mut metadata = Metadata::clone(&known.metadata);
        metadata.take_in(&answer, everything);
        self.pool.learn(metadata.brokers.values().map(|b| (b.id, b.host.clone(), b.port)));
        known.metadata = Arc::new(metadata);
        known.version += 1;
        Ok(Arc::clone(&known.metadata))
    }

    /// A topic, asked for until it is there or the deadline passes. If it is there, every refresh asks for it from now on.
    pub(crate) async fn topic(&self, name: &str, deadline: Instant) -> Result<Topic, Error> {
        if let Some(topic) = self.metadata().0.topics.get(name) {
            return Ok(topic.clone());
        }
        let found = self.retrying(deadline, || async {
            self.want([name]);
            let metadata = self.refresh_now().await?;
            match metadata.topics.get(name) {
                Some(topic) => Ok(topic.clone()),
                None => {
                    Err(Error::refused(metadata.missing.get(name).copied().unwrap_or(Code::UNKNOWN_TOPIC_OR_PARTITION)))
                }
            }
        });
        let found = found.await;
        if found.is_err() {
            self.known().wanted.remove(name); // any name may be asked for, and most do not exist
        }
        found
    }

    /// The broker that coordinates a group, looked up if need be.
    pub(crate) async fn coordinator(&self, group: &str) -> Result<i32, Error> {
        let found = self.coordinators(&[group]).await.remove(group);
        found.unwrap_or_else(|| Err(Error::Protocol("no answer about the coordinator".to_owned())))
    }

    /// The brokers that coordinate these groups. Those that are not known are looked up, many at a time from version 4 on.
    /// Every group has a result.
    pub(crate) async fn coordinators<G: AsRef<str>>(&self, groups: &[G]) -> BTreeMap<String, Result<i32, Error>> {
        let mut found = BTreeMap::new();
        let mut left: Vec<&str> = Vec::new();
        for group in groups.iter().map(AsRef::as_ref) {
            match self.known().coordinators.get(group) {
                Some(node) => drop(found.insert(group.to_owned(), Ok(*node))),
                None => left.push(group),
            }
        }
        while !left.is_empty() {
            let asked = &left[..left.len().min(GROUPS_PER_LOOKUP)];
            match self.call(To::Any, Lane::Control, |version| find_coordinators(version, asked)).await {
                Ok(answer) => found.extend(self.learn_coordinators(asked, &answer)),
                Err(error) => {
                    let error = Error::from(error);
                    found.extend(asked.iter().map(|group| ((*group).to_owned(), Err(error.clone()))));
                }
            }
            left.retain(|group| !found.contains_key(*group));
        }
        found
    }

    /// Old versions answer about the first group alone.
    fn learn_coordinators(
        &self,
        asked: &[&str],
        answer: &FindCoordinatorResponse,
    ) -> BTreeMap<String, Result<i32, Error>> {
        let learn = |group: &str, found: Result<(i32, String, u16), Error>| {
            let node = found.map(|(node, host, port)| {
                self.pool.learn([(node, host, port)]);
                self.known().coordinators.insert(group.to_owned(), node);
                node
            });
            (group.to_owned(), node)
        };
        if answer.coordinators.is_empty() {
            let found = refuse(answer.error_code, answer.error_message.as_ref())
                .and_then(|()| read_coordinator(answer.node_id.0, &answer.host, answer.port));
            return asked.first().map(|group| learn(group, found)).into_iter().collect();
        }
        let one = |group: &&str| {
            let found = answer.coordinators.iter().find(|coordinator| coordinator.key.as_str() == *group);
            let found = found.ok_or_else(|| Error::Protocol("no answer about the coordinator".to_owned()));
            let found = found.and_then(|c| {
                refuse(c.error_code, c.error_message.as_ref())?;
                read_coordinator(c.node_id.0, &c.host, c.port)
            });
            learn(group, found)
        };
        asked.iter().map(one).collect()
    }

    /// Forgets who coordinates a group: it was the wrong one, or is not there.
    pub(crate) fn forget_coordinator(&self, group: &str) {
        self.known().coordinators.remove(group);
    }

    /// One request to a group's coordinator. Forgets the coordinator if it cannot be reached.
    pub(crate) async fn call_coordinator<Q: Request>(
        &self,
        group: &str,
        lane: Lane,
        timeout: Duration,
        make: impl FnOnce(i16) -> Q,
    ) -> Result<Q::Answer, Error> {
        let node = self.coordinator(group).await?;
        let answer = self.call_within(To::Node(node), lane, timeout, make).await;
        if matches!(answer, Err(CallError::Broken { .. })) {
            self.forget_coordinator(group);
        }
        Ok(answer?)
    }

    /// A code of a coordinator's answer as an error. Forgets the coordinator if it says that it is the wrong one.
    pub(crate) fn judge_coordinator(&self, group: &str, code: i16) -> Result<(), Error> {
        if Code(code).is_stale_coordinator() {
            self.forget_coordinator(group);
        }
        refuse(code, None)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find_coordinators(version: i16, groups: &[&str]) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default();
    let first = text(groups.first().copied().unwrap_or_default());
    match version {
        0 => request.with_key(first),
        1..=3 => request.with_key(first).with_key_type(0),
        _ => request.with_coordinator_keys(groups.iter().copied().map(text).collect()),
    }
}

fn read_coordinator(node: i32, host: &str, port: i32) -> Result<(i32, String, u16), Error> {
    let port = u16::try_from(port).map_err(|_| Error::Protocol(format!("a coordinator with port {port}")))?;
    Ok((node, host.to_owned(), port))
}

/// Waits between attempts.
#[derive(Debug)]
pub(crate) struct Retries {
    backoff: Backoff,
    deadline: Instant,
}

impl Retries {
    /// Waits, unless the deadline comes first; whether there is time for another attempt.
    pub(crate) async fn wait(&mut self) -> bool {
        let until = Instant::now() + self.backoff.next();
        if until >= self.deadline {
            return false;
        }
        tokio::time::sleep_until(until).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use pagemark_wire::api::Api;
    use pagemark_wire::messages::MetadataResponse;
    use pagemark_wire::messages::metadata_response::MetadataResponseTopic;

    use super::*;
    use crate::fake::Fake;

    /// The answer that one waits for was asked for before the other's topic was wanted.
    #[tokio::test]
    async fn two_who_ask_for_topics_at_once_both_hear_of_their_own() {
        let gate = Arc::new(tokio::sync::Notify::new());
        let (held, mut is_first) = (Arc::clone(&gate), true);
        let fake = Fake::start(1, move |asked| {
            if asked.api != Api::Metadata {
                return None;
            }
            let request: MetadataRequest = asked.read();
            let there = |topic: MetadataRequestTopic| MetadataResponseTopic::default().with_name(topic.name);
            let topics = request.topics.into_iter().flatten().map(there).collect();
            let reply = asked.answer(&MetadataResponse::default().with_topics(topics));
            Some(if std::mem::take(&mut is_first) { reply.after(&held) } else { reply })
        });
        let fake = fake.await;
        let cluster = Cluster::new(ClientSettings::new(&fake.bootstrap())).unwrap();
        let no_time = Instant::now(); // for a second attempt
        let late = async {
            fake.until_asked(Api::Metadata, 1).await;
            let asking = cluster.topic("b", no_time);
            tokio::pin!(asking);
            tokio::select! {
                biased;
                _ = &mut asking => panic!("it was not answered yet"),
                () = std::future::ready(()) => gate.notify_one(),
            }
            asking.await
        };
        let (a, b) = tokio::join!(cluster.topic("a", no_time), late);
        assert_eq!((a.map(|topic| topic.name), b.map(|topic| topic.name)), (Ok("a".to_owned()), Ok("b".to_owned())));
    }

    /// An admin client may be asked for any number of names; every refresh named all of them.
    #[tokio::test]
    async fn a_topic_that_is_not_there_is_not_asked_for_again() {
        let fake = Fake::start(1, |_| None).await;
        let cluster = Cluster::new(ClientSettings::new(&fake.bootstrap())).unwrap();
        cluster.want([crate::fake::TOPIC]);
        cluster.topic("missing", Instant::now()).await.expect_err("it is not there");
        cluster.refresh_now().await.unwrap();
        let asked = fake.asked(Api::Metadata);
        let names = |asked: &crate::fake::Asked| asked.read::<MetadataRequest>().topics.unwrap().len();
        assert_eq!(asked.iter().map(names).collect::<Vec<_>>(), [2, 1]);
    }
}
