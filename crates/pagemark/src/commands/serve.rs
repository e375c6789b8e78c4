//! `pagemark serve`: run a broker until SIGTERM or SIGINT.
//!
//! Reads the settings, opens the data directory, prints what it listens on, and stops cleanly: no new connections, what is
//! accepted made durable, a checkpoint, exit 0. Deliberately not here: the settings themselves (`broker/src/settings`).

use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use pagemark_broker::host::{Host, RealHost};
use pagemark_broker::server::{FAREWELL, Server};
use pagemark_broker::settings::{self, Loaded, Settings, SettingsSources};
use pagemark_storage::disk::LockError;
use pagemark_storage::engine::{Engine, Progress};
use pagemark_storage::local::{LocalEngine, LocalOptions, OpenError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::open_files;

/// The disk failed: a supervisor should start the broker anew, which recovers.
const EXIT_DISK_FAILED: u8 = 74;
/// A clean stop takes at most this long before the process ends all the same; nothing acknowledged is lost then either.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How long a data directory that is in use is waited for, and how often it is tried.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(20);

const EXAMPLES: &str = "Examples:
  pagemark serve
      Data in ./pagemark-data, Kafka on 127.0.0.1:9092, HTTP on 127.0.0.1:9080
  pagemark serve --config server.properties --set num.partitions=12
  PAGEMARK_LOG_DIRS=/var/lib/pagemark pagemark serve
  pagemark serve --list-settings
      Every setting with its default and meaning";

/// Arguments of `pagemark serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    /// A file of settings in Java's properties syntax
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, under Kafka's name; wins over the environment, which wins over the file. May be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print every setting with its default and meaning, and exit
    #[arg(long)]
    list_settings: bool,
    /// Stop cleanly when standard input ends: for a program that starts a broker and may be killed
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

/// Runs the command.
pub fn run(arguments: Serve) -> ExitCode {
    if arguments.list_settings {
        say(&settings::help());
        return ExitCode::SUCCESS;
    }
    let filter = EnvFilter::try_from_env("PAGEMARK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // What is wrong with the log itself cannot be said in the log, least of all that nobody reads it any more.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.log_internal_errors(false);
    // Colours are for terminals; there NO_COLOR still counts.
    if std::io::stderr().is_terminal() {
        log.init()
    } else {
        log.with_ansi(false).init()
    }
    let loaded = settings::own_environment(std::env::vars_os())
        .and_then(|env| Settings::load(SettingsSources { file: arguments.config, env, set: arguments.set }));
    let Loaded { settings, warnings } = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => {
            for error in errors {
                let _ = failed(&error.to_string());
            }
            return ExitCode::from(2);
        }
    };
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start threads: {error}")),
    };
    let code = runtime.block_on(serve(settings, arguments.until_stdin_ends));
    runtime.shutdown_background();
    code
}

async fn serve(settings: Settings, until_stdin_ends: bool) -> ExitCode {
    let most_connections = match open_files::most_connections() {
        Ok(connections) => connections,
        Err(why) => return failed(&why),
    };
    let directory = settings.log_dirs.clone();
    let host = Arc::new(RealHost::new().with_most_connections(most_connections));
    let engine = match open(&directory, &settings, host.as_ref()).await {
        Ok(engine) => engine,
        Err(error) => return failed(&why_not_opened(&directory, &error)),
    };
    report_recovery(&engine);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let started = Server::start(settings, Arc::clone(&engine) as Arc<dyn Engine>, host, cores).await;
    let server = match started {
        Ok(server) => server,
        Err(error) => {
            let _ = engine.close();
            return failed(&error.to_string());
        }
    };
    announce(&server, &directory);
    wait_for_the_end(server, engine.as_ref(), until_stdin_ends).await
}

/// Opens the data directory. One that is in use is tried for a moment longer: a process that was just killed keeps its lock
/// until the system has taken it apart.
async fn open(directory: &Path, settings: &Settings, host: &dyn Host) -> Result<Arc<LocalEngine>, OpenError> {
    let give_up = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        match LocalEngine::open(directory, options(settings, host)) {
            Err(OpenError::Lock(LockError::Held { .. })) if tokio::time::Instant::now() < give_up => {
                tokio::time::sleep(LOCK_RETRY).await;
            }
            opened => return opened,
        }
    }
}

/// The error with the directory's name, once, and with what to do where the system's words do not say it.
fn why_not_opened(directory: &Path, error: &OpenError) -> String {
    let named = match error {
        OpenError::Lock(_) => error.to_string(),
        _ => format!("{}: {error}", directory.display()),
    };
    match error {
        OpenError::Io { error, .. } | OpenError::Lock(LockError::Io { error, .. }) => match error.kind() {
            ErrorKind::StorageFull => format!("{named}. Make room on that disk"),
            ErrorKind::QuotaExceeded => format!("{named}. Make room within this user's quota"),
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::NotFound => {
                format!("{named}. Choose a directory that this user may make and write to with --set log.dirs=PATH")
            }
            _ => named,
        },
        _ => named,
    }
}

fn options(settings: &Settings, host: &dyn Host) -> LocalOptions {
    LocalOptions {
        incarnation: host.fresh_uuid().as_u64_pair().1,
        log_file_bytes: settings.pagemark_log_file_bytes,
        segment_bytes: settings.log_segment_bytes.unsigned_abs(),
        checkpoint_bytes: settings.pagemark_checkpoint_bytes,
        reserved_bytes: reserved_bytes(settings),
        tail_cache_bytes: usize::try_from(settings.pagemark_tail_cache_bytes).unwrap_or(usize::MAX),
        ..LocalOptions::default()
    }
}

/// How much of the disk is kept back: as given, or enough for what commits write until somebody has made room.
fn reserved_bytes(settings: &Settings) -> u64 {
    const LEAST: u64 = 256 << 20;
    let automatic = || settings.pagemark_checkpoint_bytes.saturating_mul(2).max(LEAST);
    u64::try_from(settings.pagemark_log_reserved_bytes).unwrap_or_else(|_| automatic())
}

fn announce(server: &Server, directory: &Path) {
    let mut text = format!("pagemark {} serves {}\n", env!("CARGO_PKG_VERSION"), directory.display());
    if cfg!(feature = "without-fsync") {
        text.push_str("  THIS BUILD KEEPS NO PROMISE: it never syncs; it is only there to be seen losing records\n");
    }
    for (name, bound, advertised) in &server.listening {
        let _ = writeln!(text, "  {name}: listens on {bound}, clients are told {advertised}");
    }
    let _ = match &server.http {
        Some(address) => writeln!(text, "  HTTP: http://{address}/metrics, /healthz, /readyz"),
        None => writeln!(text, "  HTTP: off"),
    };
    say(&text);
}

/// Writes to standard output; that nobody may read it is no reason to fail.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn report_recovery(engine: &LocalEngine) {
    let summary = engine.recovery_summary();
    tracing::info!(?summary, "data directory opened");
}

/// Resolves when standard input ends, as it does with the process that holds its other end; never unless `is_watched`.
async fn stdin_ended(is_watched: bool) {
    if !is_watched {
        return std::future::pending().await;
    }
    // An error means that nobody is there either.
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
}

async fn wait_for_the_end(server: Server, engine: &dyn Engine, until_stdin_ends: bool) -> ExitCode {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return failed("cannot listen for signals");
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stdin_ended(until_stdin_ends) => {}
        why = server.failed() => {
            tracing::error!(%why, farewell_s = FAREWELL.as_secs(),
                "the log has failed: nothing is accepted any more, reads go on for a while");
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = tokio::time::sleep(FAREWELL) => {}
            }
            return ExitCode::from(EXIT_DISK_FAILED);
        }
    }
    tracing::info!("stopping");
    let why = match tokio::time::timeout(STOP_LIMIT, server.stop()).await {
        Ok(Ok(())) => {
            tracing::info!("stopped cleanly");
            return ExitCode::SUCCESS;
        }
        Ok(Err(error)) => format!("the stop was not clean: {error}; the next start recovers"),
        Err(_) => "the stop took too long; the next start recovers".to_owned(),
    };
    unclean_stop(&why, &engine.progress())
}

/// Which exit code a stop has that was not clean: a disk that failed meanwhile is told from everything else.
fn unclean_stop(why: &str, progress: &Progress) -> ExitCode {
    let code = failed(why);
    if progress.failed.is_some() { ExitCode::from(EXIT_DISK_FAILED) } else { code }
}

fn failed(why: &str) -> ExitCode {
    // Not `eprintln`, which panics when nobody holds the other end.
    let _ = writeln!(std::io::stderr(), "pagemark: {why}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use pagemark_storage::engine::Lsn;

    use super::*;

    #[test]
    fn a_disk_that_fails_during_the_stop_has_its_own_exit_code() {
        let progress = |failed: Option<&str>| Progress { durable: Lsn(7), failed: failed.map(Arc::from) };
        let code = |failed| format!("{:?}", unclean_stop("a test", &progress(failed)));
        assert_eq!(code(Some("no space")), format!("{:?}", ExitCode::from(74)));
        assert_eq!(code(None), format!("{:?}", ExitCode::from(1)));
    }
}
