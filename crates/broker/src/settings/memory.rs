//! How much memory this process may use: what the cgroup allows, or what the machine has.
//!
//! Deliberately not here: dividing it.

use std::path::Path;

/// A quarter of the memory that this process may use, in bytes; of 1 GiB if nothing can be found out.
#[must_use]
pub fn quarter_of_memory_bytes() -> u64 {
    let found = [cgroup_limit_bytes(Path::new("/")), machine_bytes(Path::new("/"))];
    found.into_iter().flatten().min().unwrap_or(1 << 30) / 4
}

/// The least limit on the way from this process's cgroup to the root; version 2, or version 1's memory controller.
fn cgroup_limit_bytes(root: &Path) -> Option<u64> {
    let own = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mut limits = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        for folder in Path::new(path.trim_start_matches('/')).ancestors() {
            let text = std::fs::read_to_string(root.join(base).join(folder).join(file)).unwrap_or_default();
            limits.extend(text.trim().parse::<u64>());
        }
    }
    limits.into_iter().min()
}

fn machine_bytes(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_limit_on_the_way_to_the_root_counts() {
        let root = root(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "4096\n"),
            ("sys/fs/cgroup/memory.max", "8192\n"),
        ]);
        assert_eq!(cgroup_limit_bytes(root.path()), Some(4096));
    }

    #[test]
    fn version_1_is_understood_too() {
        let root = root(&[
            ("proc/self/cgroup", "5:cpu:/x\n4:hugetlb,memory:/x\n"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "12345\n"),
        ]);
        assert_eq!(cgroup_limit_bytes(root.path()), Some(12345));
    }

    #[test]
    fn without_a_limit_the_machine_counts() {
        let root = root(&[("proc/self/cgroup", "0::/\n"), ("proc/meminfo", "MemTotal:       1000 kB\n")]);
        assert_eq!(cgroup_limit_bytes(root.path()), None);
        assert_eq!(machine_bytes(root.path()), Some(1_024_000));
        assert!(quarter_of_memory_bytes() > 0);
    }
}
