//! Starting and stopping a broker.
//!
//! A start opens the engine, brings topics and partitions together, begins to load the groups and listens; clients are
//! served while groups load (G-4). A stop closes the listeners, lets executors finish, and has the engine write a
//! checkpoint, so that the next start scans nothing. Deliberately not here: signals and exit codes (`pagemark serve`).

use std::sync::Arc;
use std::time::Duration;

use pagemark_core::coordinator::{GroupSettings, OffsetRetention};
use pagemark_storage::engine::{Compare, Engine, EngineError, TxnOutcome, Write};
use tokio::net::TcpListener;

use crate::api::init_producer_id::ProducerIds;
use crate::aside::on_a_thread;
use crate::broker::{Broker, WorkTurns};
use crate::executor::{ExecutorParts, Executors};
use crate::host::Host;
use crate::http;
use crate::metadata::OFFSETS_TOPIC;
use crate::metadata::admin::TopicAdmin;
use crate::metadata::broker_config::BrokerConfigs;
use crate::metadata::record::{CLUSTER_KEY, ClusterRecord, TopicRecord, kafka_uuid, topic_key};
use crate::metadata::registry::TopicRegistry;
use crate::metrics::Metrics;
use crate::net::budget::MemoryBudget;
use crate::net::listener;
use crate::net::network::{Listener, Network, Tcp};
use crate::progress::ProgressHub;
use crate::retention;
use crate::settings::{Address, Settings, quarter_of_memory_bytes};
use crate::watched::Watched;

/// After the log has failed, reads go on for this long; then the process ends so that a supervisor starts it anew.
pub const FAREWELL: Duration = Duration::from_secs(30);

/// How long connections may take to write their last answers when the broker stops. A client that misses one asks again.
const LAST_ANSWERS: Duration = Duration::from_millis(50);

/// How far a broker has come in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It takes connections and requests.
    Serving,
    /// It takes no new connections; what is in hand is finished.
    Finishing,
    /// Connections are closed.
    Closed,
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}. {} with --set {setting}", advice(error))]
    Listen {
        /// Which address.
        address: String,
        /// What the system says.
        error: std::io::Error,
        /// How to choose another one.
        setting: String,
    },
    /// What is stored cannot be used.
    #[error("{0}")]
    Storage(String),
}

/// What to do about an address that cannot be listened on; the setting follows.
fn advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "Is another broker running? Choose another port",
        std::io::ErrorKind::AddrNotAvailable => "This machine has no such address: choose one of its own",
        std::io::ErrorKind::PermissionDenied => "Ports below 1024 are for privileged users: choose a higher one",
        _ => "Choose another address",
    }
}

/// A broker that serves.
pub struct Server {
    broker: Arc<Broker>,
    stop: Watched<Phase>,
    /// Where it listens: the listener's name, the bound address, the advertised one.
    pub listening: Vec<(String, Address, Address)>,
    /// Where HTTP is served, if it is.
    pub http: Option<Address>,
}

impl Server {
    /// Starts a broker over an open engine.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        settings: Settings,
        engine: Arc<dyn Engine>,
        host: Arc<dyn Host>,
        executors: usize,
    ) -> Result<Server, StartError> {
        Server::start_on(&Tcp, settings, engine, host, executors).await
    }

    /// The same on any network.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(
        network: &impl Network,
        mut settings: Settings,
        engine: Arc<dyn Engine>,
        host: Arc<dyn Host>,
        executors: usize,
    ) -> Result<Server, StartError> {
        keep_offsets_partitions(&mut settings, engine.as_ref())?;
        let settings = Arc::new(settings);
        let listeners = bind_all(network, &settings).await?;
        let http = bind_http(&settings).await?;
        let broker = assemble(&settings, engine, host, executors).await?;
        broker.admin.recover().await.map_err(|(_, why)| StartError::Storage(why))?;
        let stop = Watched::new(Phase::Serving);
        let mut listening = Vec::new();
        for (name, listener, bound, advertised) in listeners {
            tokio::spawn(listener::accept(Arc::clone(&broker), listener, advertised.clone(), stop.watch()));
            listening.push((name, bound, advertised));
        }
        let mut http_address = None;
        if let Some((listener, address)) = http {
            tokio::spawn(http::serve(Arc::clone(&broker), listener, stop.watch()));
            http_address = Some(address);
        }
        tokio::spawn(retention::run(Arc::clone(&broker), stop.watch()));
        Ok(Server { broker, stop, listening, http: http_address })
    }

    /// The running broker.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Waits until the log has failed, or an executor has broken, and tells why. Never returns while all is well.
    pub async fn failed(&self) -> Arc<str> {
        let log = async {
            let why = self.broker.progress.failure().wait_for(Option::is_some).await;
            why.unwrap_or_else(|| Arc::from("unknown"))
        };
        tokio::select! {
            biased;
            why = log => why,
            why = self.broker.executors.broken() => why,
        }
    }

    /// Stops accepting, finishes what is in hand, and closes the engine.
    ///
    /// # Errors
    /// [`EngineError`] if what was accepted could not be made durable.
    pub async fn stop(self) -> Result<(), EngineError> {
        self.stop.set(Phase::Finishing);
        self.broker.executors.stop().await;
        // Every answer that there will be has been given; the connections get a moment to write it.
        tokio::time::sleep(LAST_ANSWERS).await;
        self.stop.set(Phase::Closed);
        let engine = Arc::clone(&self.broker.engine);
        let closed = on_a_thread(move || engine.close()).await;
        closed.unwrap_or_else(|| Err(EngineError::Stopped(Arc::from("closing the engine failed"))))
    }
}

impl Drop for Server {
    /// As a kill, as far as those who use it can tell: nobody is served any more.
    fn drop(&mut self) {
        self.stop.set(Phase::Closed);
    }
}

async fn assemble(
    settings: &Arc<Settings>,
    engine: Arc<dyn Engine>,
    host: Arc<dyn Host>,
    executors: usize,
) -> Result<Arc<Broker>, StartError> {
    let progress = ProgressHub::new(&engine);
    let registry = Arc::new(TopicRegistry::default());
    let executors = Executors::new(executors);
    let configs = BrokerConfigs::load(Arc::clone(settings), engine.as_ref()).map_err(StartError::Storage)?;
    let configs = Arc::new(configs);
    let metrics = Arc::new(Metrics::default());
    executors.start(&ExecutorParts {
        engine: Arc::clone(&engine),
        progress: Arc::clone(&progress),
        registry: Arc::clone(&registry),
        host: Arc::clone(&host),
        groups: Arc::new(group_settings(settings, host.as_ref())),
        group_shards: settings.offsets_topic_num_partitions.unsigned_abs(),
        configs: Arc::clone(&configs),
        metrics: Arc::clone(&metrics),
        allowance: Arc::default(),
    });
    let admin = TopicAdmin::new(
        Arc::clone(&engine),
        Arc::clone(&registry),
        Arc::clone(&executors),
        Arc::clone(&progress),
        Arc::clone(&host),
        Arc::clone(&configs),
    );
    let budget_bytes = match settings.pagemark_memory_budget_bytes {
        0 => quarter_of_memory_bytes(),
        bytes => bytes,
    };
    let cluster_id = cluster_id(engine.as_ref(), &progress, host.as_ref()).await?;
    Ok(Arc::new(Broker {
        settings: Arc::clone(settings),
        configs,
        engine,
        progress,
        registry,
        admin,
        executors,
        host,
        cluster_id,
        budget: MemoryBudget::new(usize::try_from(budget_bytes).unwrap_or(usize::MAX)),
        metrics,
        producer_ids: ProducerIds::default(),
        turns: WorkTurns::default(),
    }))
}

/// The number of partitions of the offsets topic is fixed once it exists, whatever the settings say now: with another one
/// groups would be looked for where they are not (G-1).
fn keep_offsets_partitions(settings: &mut Settings, engine: &dyn Engine) -> Result<(), StartError> {
    let key = topic_key(OFFSETS_TOPIC);
    let Some(stored) = engine.get(&key) else { return Ok(()) };
    let record: TopicRecord = serde_json::from_slice(&stored.value)
        .map_err(|e| StartError::Storage(format!("the stored fact '{key}' is not readable: {e}")))?;
    let kept = i32::try_from(record.partitions).unwrap_or(i32::MAX);
    let asked = settings.offsets_topic_num_partitions;
    if asked != kept {
        tracing::warn!(asked, kept, "offsets.topic.num.partitions is fixed once the directory exists; keeping it");
        settings.keep_offsets_partitions(kept);
    }
    Ok(())
}

/// The cluster's id, made and stored at the first start (P-26a).
async fn cluster_id(engine: &dyn Engine, progress: &ProgressHub, host: &dyn Host) -> Result<String, StartError> {
    let unusable = |why: String| StartError::Storage(why);
    if let Some(stored) = engine.get(CLUSTER_KEY) {
        let record: ClusterRecord = serde_json::from_slice(&stored.value)
            .map_err(|e| unusable(format!("the stored fact '{CLUSTER_KEY}' is not readable: {e}")))?;
        return Ok(record.cluster_id);
    }
    let record = ClusterRecord { cluster_id: kafka_uuid(host.fresh_uuid()) };
    let value = serde_json::to_vec(&record).expect("a cluster's record is plain data");
    let written = engine
        .txn(&[Compare::Absent(CLUSTER_KEY.to_owned())], vec![Write::Put(CLUSTER_KEY.to_owned(), value.into())])
        .map_err(|e| unusable(e.to_string()))?;
    if let TxnOutcome::Accepted(ticket) = written {
        progress.durable(ticket).await.map_err(|e| unusable(e.to_string()))?;
    }
    Ok(record.cluster_id)
}

fn group_settings(settings: &Settings, host: &dyn Host) -> GroupSettings {
    GroupSettings {
        group_min_session_timeout_ms: settings.group_min_session_timeout_ms,
        group_max_session_timeout_ms: settings.group_max_session_timeout_ms,
        group_initial_rebalance_delay_ms: u64::from(settings.group_initial_rebalance_delay_ms.unsigned_abs()),
        group_max_size: settings.group_max_size as usize,
        offset_metadata_max_bytes: settings.offset_metadata_max_bytes as usize,
        offsets_retention_ms: settings.offsets_retention_minutes.saturating_mul(60_000),
        offset_retention: match settings.pagemark_offsets_retention_policy.as_str() {
            "time" => OffsetRetention::Time,
            _ => OffsetRetention::WhileData,
        },
        group_empty_retention_ms: settings.pagemark_group_empty_retention_ms,
        planted: host.planted(),
        ..GroupSettings::default()
    }
}

type Bound<L> = (String, L, Address, Address);

async fn bind_all<N: Network>(network: &N, settings: &Settings) -> Result<Vec<Bound<N::Listener>>, StartError> {
    let mut bound = Vec::new();
    for endpoint in &settings.listeners {
        let setting = format!("listeners={}://HOST:PORT", endpoint.name);
        let (listener, address) = bind(network, &endpoint.address, setting).await?;
        let advertised = settings.advertised_listeners.iter().find(|a| a.name == endpoint.name);
        let mut advertised = advertised.map_or_else(|| endpoint.address.clone(), |a| a.address.clone());
        if advertised.port == 0 {
            advertised.port = address.port;
        }
        bound.push((endpoint.name.clone(), listener, address, advertised));
    }
    Ok(bound)
}

async fn bind_http(settings: &Settings) -> Result<Option<(TcpListener, Address)>, StartError> {
    match &settings.pagemark_http_listener {
        None => Ok(None),
        Some(address) => {
            bind(&Tcp, address, "pagemark.http.listener=HOST:PORT (empty: no HTTP)".to_owned()).await.map(Some)
        }
    }
}

async fn bind<N: Network>(
    network: &N,
    address: &Address,
    setting: String,
) -> Result<(N::Listener, Address), StartError> {
    let failed = |error| StartError::Listen { address: address.to_string(), error, setting: setting.clone() };
    let listener = network.bind(address.bind_host(), address.port).await.map_err(failed)?;
    let port = listener.port().map_err(failed)?;
    Ok((listener, Address { host: address.host.clone(), port }))
}
