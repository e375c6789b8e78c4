//! The machine: what it is, and what others did on it while we measured.
//!
//! Foreign load is all CPU time that was used, less that of our own processes and of the kernel's threads, which write back
//! what the brokers wrote. Deliberately not here: the brokers' own CPU time, which the load program reads.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

/// A turn is marked when others used more of the whole machine than this, percent.
pub const HEAVY_PERCENT: f64 = 10.0;
/// Of a process's flags in `/proc/PID/stat`: it is a thread of the kernel.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// What others did during a turn.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Noise {
    /// Part of the time in which somebody, we among them, waited for a CPU, percent: `/proc/pressure/cpu`.
    pub pressure_percent: f64,
    /// What others used of the whole machine, percent.
    pub foreign_percent: f64,
}

impl Noise {
    /// Whether figures of this turn mean little.
    pub fn is_heavy(&self) -> bool {
        self.foreign_percent > HEAVY_PERCENT
    }
}

/// Counters of the system at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    at: Instant,
    pressure_us: u64,
    all: u64,
    busy: u64,
    kernel: u64,
    own: u64,
}

impl Watch {
    /// From now on. Processes of ours must have ended and been waited for, now and at the end.
    pub fn start() -> Result<Watch> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let own = ticks(&stat, 11, 4).context("/proc/self/stat is not as expected")?;
        let stat = std::fs::read_to_string("/proc/stat")?;
        let (all, busy) = all_and_busy(&stat).context("/proc/stat is not as expected")?;
        let (pressure_us, kernel) = (pressure_us().unwrap_or(0), kernel_threads());
        Ok(Watch { at: Instant::now(), pressure_us, all, busy, kernel, own })
    }

    /// What others did since.
    pub fn end(&self) -> Result<Noise> {
        let now = Watch::start()?;
        let seconds = (now.at - self.at).as_secs_f64().max(0.001);
        let foreign = (now.busy - self.busy).saturating_sub(now.own - self.own);
        let foreign = foreign.saturating_sub(now.kernel.saturating_sub(self.kernel));
        let all = (now.all - self.all).max(1);
        Ok(Noise {
            pressure_percent: (now.pressure_us - self.pressure_us) as f64 / seconds / 1e4,
            foreign_percent: foreign as f64 / all as f64 * 100.0,
        })
    }
}

/// Microseconds in which somebody waited for a CPU; none where the kernel does not tell.
fn pressure_us() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    text.lines().next()?.rsplit_once("total=")?.1.parse().ok()
}

/// Ticks of all CPUs, and those among them that were not idle. What a hypervisor took is in neither.
fn all_and_busy(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).flat_map(str::parse).collect();
    let [user, nice, system, idle, waiting, irq, softirq, ..] = fields[..] else { return None };
    let busy = user + nice + system + irq + softirq;
    Some((busy + idle + waiting, busy))
}

/// The sum of so many fields of a `/proc/PID/stat`, `first` counted from 0 behind the name.
pub fn ticks(stat: &str, first: usize, count: usize) -> Option<u64> {
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(first).take(count);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

/// Ticks of all threads of the kernel so far.
fn kernel_threads() -> u64 {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let of = |entry: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let is_kernel = ticks(&stat, 6, 1)? & KERNEL_THREAD != 0;
        if is_kernel { ticks(&stat, 11, 2) } else { None }
    };
    entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit()).filter_map(of).sum()
}

/// CPUs that we may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What a reader of the figures wants to know of the machine and of what ran; `folder` is where the data lay.
pub fn description(folder: &Path) -> Value {
    let cpu = line_of("/proc/cpuinfo", "model name").unwrap_or_default();
    let memory_kib: u64 = line_of("/proc/meminfo", "MemTotal")
        .and_then(|line| line.split_whitespace().next().and_then(|number| number.parse().ok()))
        .unwrap_or(0);
    json!({
        "cpu": cpu,
        "cores": cores(),
        "memory_gib": (memory_kib as f64 / f64::from(1 << 20) * 10.0).round() / 10.0,
        "kernel": first_line("uname", &["-sr"]),
        "file_system": first_line("stat", &["-f", "-c", "%T", &folder.display().to_string()]),
        "java": first_line("java", &["--version"]),
        "rust": first_line("rustc", &["--version"]),
        "commit": first_line("git", &["rev-parse", "--short=12", "HEAD"]),
        "date": first_line("date", &["-u", "+%Y-%m-%d"]),
    })
}

fn line_of(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(crate::workspace::root()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_where_the_kernel_writes_them() {
        assert_eq!(all_and_busy("cpu  1 2 4 100 100 8 16 1000 0 0\ncpu0 1 1 1"), Some((231, 31)));
        assert_eq!(all_and_busy("cpu  1 2"), None);
        let stat = "2 (k) x) S 0 0 0 0 -1 2129984 0 0 0 0 3 4 5 6 20";
        assert_eq!((ticks(stat, 11, 2), ticks(stat, 11, 4)), (Some(7), Some(18)));
        assert_eq!(ticks(stat, 6, 1).map(|flags| flags & KERNEL_THREAD != 0), Some(true));
    }

    #[test]
    fn our_own_work_is_not_foreign() {
        let watch = Watch::start().unwrap();
        let begun = Instant::now();
        while begun.elapsed().as_millis() < 300 {
            std::hint::spin_loop();
        }
        let now = Watch::start().unwrap();
        assert!(now.own > watch.own, "{watch:?} {now:?}");
        let noise = watch.end().unwrap();
        assert!((0.0..=100.5).contains(&noise.foreign_percent), "{noise:?}");
    }
}
