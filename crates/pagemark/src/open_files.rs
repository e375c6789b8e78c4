//! How many files this process may have open, and that connections leave enough of them to the log.
//!
//! A connection is an open file too. If clients took them all, the log could not begin its next file, and a log that cannot
//! be written ends the broker. So some are kept back; connections beyond the rest are closed, as those beyond
//! `max.connections` are.
//! The number of partitions does not matter: they share their files. Deliberately not here: counting connections.

use pagemark_storage::disk::lent_handles;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files kept for everything but connections and the packs and segments that are read: log, directories, listeners, HTTP.
const KEPT: u64 = 256;
/// With fewer than this a broker is of no use.
const LEAST: u64 = 512;

/// Raises the limit as far as the system allows, and tells how many connections it then leaves room for.
///
/// # Errors
/// What to do, if the limit is too low.
pub fn most_connections() -> Result<usize, String> {
    let limit = raised_limit();
    if limit < LEAST {
        return Err(format!(
            "this process may have {limit} files open, and at least {LEAST} are needed: raise the limit with \
             `ulimit -n 65536`, or with LimitNOFILE=65536 for a service of systemd"
        ));
    }
    let read = lent_handles(Some(limit)) as u64;
    Ok(usize::try_from(limit - KEPT - read).unwrap_or(usize::MAX))
}

/// The limit on open files, after the soft one was set to the hard one; unlimited is the greatest number.
fn raised_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}
