//! What a disk that fills up means to clients: records and topics are refused, commits go on, and all is well when there is room.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use pagemark_storage::engine::Room;
use pagemark_storage::local::{LocalEngine, LocalOptions};
use pagemark_storage::memory::MemoryEngine;

use crate::support::batches::*;
use crate::support::client::*;
use crate::support::{Rig, until};

#[test]
fn scarce_room_refuses_records_and_topics_and_lets_commits_through_r_98() {
    let engine = Arc::new(MemoryEngine::new());
    let rig = Rig::on(Arc::clone(&engine) as _, &[]);
    let mut client = rig.client();
    client.create("orders", 1, &[]);
    client.produced("orders", 0, idempotent(5, 0, 0, 1));
    for (room, commit, shown) in [(Room::Scarce, 0, 1), (Room::Exhausted, 15, 2)] {
        engine.set_room(room);
        let refused = client.produce("orders", 0, batch(&["a"]));
        assert_eq!((refused.error_code, refused.base_offset), (56, -1));
        assert!(refused.error_message.is_some_and(|why| why.contains("nearly full")), "Q-83");
        assert_eq!(client.produced("orders", 0, idempotent(5, 0, 0, 1)), 0, "a retry takes no room (R-30)");
        let created = client.ask(7, &create_request(&[new_topic("more", 1, &[])]));
        assert_eq!(created.topics[0].error_code, 44);
        assert_eq!(client.commit("readers", "orders", 0, 1), commit);
        assert_eq!(client.committed("readers", "orders", 0).committed_offset, 1);
        assert_eq!(client.end("orders", 0), 1);
        assert_eq!(crate::http::get(&rig, "/readyz").0, 200, "clients that read and commit may come");
        assert!(crate::http::get(&rig, "/metrics").1.contains(&format!("pagemark_disk_scarce {shown}")));
    }
    engine.set_room(Room::Enough);
    assert_eq!(client.produced("orders", 0, batch(&["a"])), 1);
    client.create("more", 1, &[]);
    assert_eq!(client.commit("readers", "orders", 0, 2), 0);
}

/// A file system of this size, or none where this process may not mount.
struct SmallDisk {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl SmallDisk {
    fn mount(mib: u32) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk { _dir: dir, path });
        }
        eprintln!("SKIPPED: this process may not mount a file system, so no real disk is filled");
        None
    }

    fn others(&self) -> PathBuf {
        self.path.join("of-somebody-else")
    }

    /// Somebody else takes what is free but for one MiB, the reserve too once it was given up.
    fn fill(&self, free_bytes: u64) {
        let bytes = vec![1; usize::try_from(free_bytes).unwrap().saturating_sub(1 << 20)];
        std::fs::create_dir_all(self.others()).unwrap();
        let so_far = std::fs::read_dir(self.others()).unwrap().count();
        let file = self.others().join(so_far.to_string());
        if std::fs::write(&file, &bytes).is_err() {
            std::fs::remove_file(&file).unwrap(); // the broker has taken some of it since: the next look knows
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn start(dir: &Path) -> Rig {
    let options = LocalOptions {
        first_file_bytes: 1 << 20,
        log_file_bytes: 1 << 20,
        checkpoint_bytes: 2 << 20,
        reserved_bytes: 12 << 20,
        ..LocalOptions::default()
    };
    Rig::on(LocalEngine::open(dir, options).unwrap(), &[])
}

#[test]
fn a_real_disk_is_filled_by_records_and_then_by_somebody_else_and_emptied_again() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let data = disk.path.join("data");
    let rig = start(&data);
    let mut client = rig.client();
    client.create("orders", 1, &[("retention.bytes", "-1")]);
    let mut acknowledged = 0;
    // More than the disk holds, were it taken.
    for _ in 0..60 {
        let answer = client.produce("orders", 0, batch_of_bytes(900 << 10));
        match answer.error_code {
            0 => acknowledged += 1,
            code => assert_eq!(code, 56, "{:?}", answer.error_message),
        }
    }
    assert!((20..48).contains(&acknowledged), "{acknowledged} records of 900 KiB on a disk of 48 MiB");
    for offset in 0..200 {
        assert_eq!(client.commit("readers", "orders", 0, offset), 0, "commits go on");
    }
    until("commits are refused", || {
        disk.fill(rig.broker().engine.space().unwrap().usable_bytes);
        client.commit("readers", "orders", 0, 200) == 15
    });
    assert!(rig.broker().engine.progress().failed.is_none(), "no write ever met the end of the disk");
    drop(client);
    rig.kill();
    let rig = start(&data);
    let mut client = rig.client();
    assert_eq!(client.end("orders", 0), acknowledged);
    assert!(client.committed("readers", "orders", 0).committed_offset >= 199);
    std::fs::remove_dir_all(disk.others()).unwrap();
    until("commits are taken", || client.commit("readers", "orders", 0, 300) == 0);
    assert_eq!(client.delete("orders"), 0);
    let create = create_request(&[new_topic("orders", 1, &[])]);
    until("there is room for a topic", || client.ask(7, &create).topics[0].error_code == 0);
    assert_eq!(client.produced("orders", 0, batch_of_bytes(900 << 10)), 0);
}
