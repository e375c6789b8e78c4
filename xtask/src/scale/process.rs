//! What a process costs the system: open files and memory, as the kernel counts them.
//!
//! Deliberately not here: what the broker says of itself.

use std::path::Path;

use anyhow::{Context, Result};

/// Figures of one moment.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Files, sockets and the like that are open.
    pub open_files: u64,
    /// Memory that is in RAM, KiB.
    pub rss_kib: u64,
    /// The most it ever was, MiB.
    pub most_rss_mib: u64,
}

/// What this process costs now.
pub fn cost(pid: i32) -> Result<Cost> {
    let open_files = std::fs::read_dir(format!("/proc/{pid}/fd")).context("the process is gone")?.count() as u64;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Cost {
        open_files,
        rss_kib: kib(&status, "VmRSS:").context("the kernel tells no VmRSS")?,
        most_rss_mib: kib(&status, "VmHWM:").context("the kernel tells no VmHWM")? / 1024,
    })
}

/// The number of a line such as `VmRSS:    81234 kB`.
fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The number of the newest checkpoint in a data directory; 0 if there is none.
pub fn newest_checkpoint(data: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(data.join("checkpoints")) else { return 0 };
    let number = |name: String| name.split('.').next().and_then(|digits| digits.parse().ok());
    entries.flatten().filter_map(|entry| number(entry.file_name().into_string().ok()?)).max().unwrap_or(0)
}

/// Bytes of all files below a directory.
pub fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0, // removed meanwhile
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_where_the_kernel_writes_them() {
        assert_eq!(kib("Name:\tx\nVmHWM:\t    4096 kB\nVmRSS:\t    2047 kB\n", "VmRSS:"), Some(2047));
        assert_eq!(kib("Name:\tx\n", "VmRSS:"), None);
        let me = cost(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.open_files > 2 && me.most_rss_mib >= me.rss_kib / 1024, "{me:?}");
    }

    #[test]
    fn the_newest_checkpoint_is_the_highest_number_whatever_else_lies_there() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(newest_checkpoint(data.path()), 0);
        std::fs::create_dir(data.path().join("checkpoints")).unwrap();
        for name in ["00000009.ckpt", "00000012.ckpt.tmp", "note"] {
            std::fs::write(data.path().join("checkpoints").join(name), b"12345").unwrap();
        }
        assert_eq!(newest_checkpoint(data.path()), 12);
        assert_eq!(bytes_below(data.path()), 15);
    }
}
