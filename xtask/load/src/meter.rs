//! What a stretch of time cost: the broker's CPU time and our own, from `/proc/PID/stat`.
//!
//! Deliberately not here: what others used meanwhile, which the one who starts us counts.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// Reads clocks of the broker's process and of ours.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    broker: i32,
}

/// The clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    at: Instant,
    broker_s: f64,
    client_s: f64,
}

impl Meter {
    /// Of this broker.
    pub fn new(broker: i32) -> Meter {
        Meter { broker }
    }

    /// Now.
    pub fn now(&self) -> Result<Moment> {
        let (broker_s, client_s) = (cpu_s(self.broker)?, cpu_s(std::process::id() as i32)?);
        Ok(Moment { at: Instant::now(), broker_s, client_s })
    }

    /// What passed since then: `seconds`, `broker_cpu_s` and `client_cpu_s`.
    pub fn since(&self, then: Moment) -> Result<Map<String, Value>> {
        let now = self.now()?;
        let told = json!({
            "seconds": (now.at - then.at).as_secs_f64(),
            "broker_cpu_s": now.broker_s - then.broker_s,
            "client_cpu_s": now.client_s - then.client_s,
        });
        Ok(told.as_object().cloned().unwrap_or_default())
    }
}

/// User and system time of a process so far, seconds.
fn cpu_s(pid: i32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the broker is gone")?;
    let ticks = ticks(&stat).context("/proc/PID/stat is not as expected")?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// utime and stime: the 14th and 15th fields, counted behind the name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The latency below which so many of a thousand lie, milliseconds. Sorts.
pub fn permille_ms(of: &mut [Duration], permille: usize) -> f64 {
    of.sort_unstable();
    let at = (of.len() * permille / 1000).min(of.len().saturating_sub(1));
    of.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_of_any_shape() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a"), None);
        assert!(cpu_s(std::process::id() as i32).is_ok());
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let mut all: Vec<Duration> = (1..=1000).rev().map(Duration::from_millis).collect();
        assert_eq!((permille_ms(&mut all, 500), permille_ms(&mut all, 990)), (501.0, 991.0));
        assert_eq!(permille_ms(&mut [], 990), 0.0);
    }
}
