//! A data directory with damage in it: the engine opens it or says why not, and serves no byte that is not as it was written.
//!
//! The input is the directory itself: for each file the length of its path, its path, the length of its bytes, its bytes.
//! Deliberately not here: crashes and disks that fail, which the simulated disk has.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pagemark_storage::contract::{TestBatch, partition, single};
use pagemark_storage::disk::{Disk, FileId};
use pagemark_storage::engine::{Compare, Engine, LogStore, MetaStore, ShardEpoch, ShardId, Write};
use pagemark_storage::local::{LocalOptions, ManualEngine};
use pagemark_wire::records::is_intact;
use pagemark_wire::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey};

/// No file becomes longer, whatever a damaged length says.
const MAX_FILE_BYTES: u64 = 16 << 20;

fn options() -> LocalOptions {
    LocalOptions {
        first_file_bytes: 8192,
        log_file_bytes: 8192,
        ready_files: 0,
        checkpoint_bytes: 4096,
        tail_cache_bytes: 4096,
        max_record_bytes: 4096,
        ..LocalOptions::default()
    }
}

/// Opens the directory and reads all that is in it.
pub(crate) fn run(bytes: &[u8]) {
    let Some(files) = unpack(bytes) else { return };
    let disk = Arc::new(MemoryDisk::new(files));
    let Ok(manual) = ManualEngine::open(disk, options()) else { return };
    let engine = manual.engine();
    for (topic, partitions) in engine.topics() {
        for index in 0..partitions.min(8) {
            read_all(engine.as_ref(), PartitionKey { topic, partition: PartitionIndex(index as i32) });
        }
    }
    engine.scan("").into_iter().for_each(drop);
    let _ = engine.close();
}

fn read_all(engine: &dyn Engine, key: PartitionKey) {
    let extent = engine.extent(key).expect("the engine named it");
    let mut from = extent.log_start;
    while from < extent.durable_end {
        let Ok(slice) = engine.read(key, from, 1 << 20, extent.durable_end) else { return };
        let Some(last) = slice.batches.last() else { return };
        assert!(slice.batches.iter().all(|batch| is_intact(batch)), "{key:?}: a rotten batch is served");
        let header = pagemark_wire::records::BatchHeader::parse(last).expect("it is intact");
        let next = Offset(header.base_offset.0 + i64::from(header.last_offset_delta) + 1);
        assert!(next > from, "{key:?}: reading goes on");
        from = next;
    }
}

/// A directory with a checkpoint, packs, a log and a topic that is gone.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let disk = Arc::new(MemoryDisk::new(BTreeMap::new()));
    let manual = ManualEngine::open(Arc::clone(&disk) as _, options()).expect("an empty directory");
    let engine = manual.engine();
    let mut images = Vec::new();
    let settle = || {
        while manual.step_flush() {}
    };
    for topic in [1, 2, 3] {
        engine.create(partition(topic, 0).topic, 2, LeaderEpoch(0)).expect("a topic");
    }
    settle();
    let keys = [partition(1, 0), partition(1, 1), partition(2, 0), partition(2, 1)];
    engine.open(ShardId(1), ShardEpoch(1), &keys).expect("they are there");
    for round in 0..20 {
        for key in keys {
            let batch = TestBatch { producer_id: 7, base_sequence: round, ..TestBatch::at(i64::from(round)) };
            engine.append(ShardId(1), ShardEpoch(1), &[single(key, batch)]).expect("the owner appends");
        }
        let put = Write::Put(format!("topics/{round}"), Bytes::from_static(b"{}"));
        let _ = engine.txn(&[] as &[Compare], vec![put]);
        settle();
        if round % 6 == 5 {
            manual.request_checkpoint();
            manual.run_background();
            settle();
        }
        if round % 4 == 3 {
            images.push(pack(&disk.image()));
        }
    }
    engine.delete(partition(3, 0).topic).expect("it is there");
    settle();
    images.push(pack(&disk.image()));
    let _ = engine.close();
    images.push(pack(&disk.image()));
    images
}

type Files = BTreeMap<String, Vec<u8>>;

/// Files whose end is zeros are cut there, so that inputs stay small; the disk reads zeros again.
fn pack(files: &Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, content) in files {
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.push(path.len() as u8);
        bytes.extend_from_slice(path.as_bytes());
        bytes.extend_from_slice(&(content.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&(used as u16).to_be_bytes());
        bytes.extend_from_slice(&content[..used]);
    }
    bytes
}

fn unpack(mut bytes: &[u8]) -> Option<Files> {
    let mut files = Files::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (path, rest) = rest.split_at_checked(usize::from(*length))?;
        let (sizes, rest) = rest.split_first_chunk::<4>()?;
        let size = usize::from(u16::from_be_bytes([sizes[0], sizes[1]]));
        let used = usize::from(u16::from_be_bytes([sizes[2], sizes[3]]));
        let (content, rest) = rest.split_at(used.min(rest.len()));
        let mut content = content.to_vec();
        content.resize(size.max(content.len()), 0);
        files.insert(std::str::from_utf8(path).ok()?.to_owned(), content);
        bytes = rest;
    }
    Some(files)
}

/// A disk in memory on which nothing fails and everything written is there.
struct MemoryDisk(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    names: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Vec<u8>>,
}

impl MemoryDisk {
    fn new(files: Files) -> MemoryDisk {
        let mut inner = Inner::default();
        for (path, content) in files {
            inner.add(path, content);
        }
        MemoryDisk(Mutex::new(inner))
    }

    fn image(&self) -> Files {
        let inner = self.inner();
        inner.names.iter().map(|(path, id)| (path.clone(), inner.contents[id].clone())).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, path: String, content: Vec<u8>) -> FileId {
        let id = self.contents.len() as u64;
        self.contents.insert(id, content);
        self.names.insert(path, id);
        FileId(id)
    }

    fn content(&mut self, file: FileId) -> &mut Vec<u8> {
        self.contents.get_mut(&file.0).expect("an id that was given")
    }
}

fn missing() -> Error {
    ErrorKind::NotFound.into()
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _path: &str) -> Result<()> {
        Ok(())
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        let name = |path: &String| {
            let name = if dir.is_empty() { path.as_str() } else { path.strip_prefix(dir)?.strip_prefix('/')? };
            (!name.contains('/')).then(|| name.to_owned())
        };
        Ok(self.inner().names.keys().filter_map(name).collect())
    }

    fn create(&self, path: &str) -> Result<FileId> {
        let mut inner = self.inner();
        if inner.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        Ok(inner.add(path.to_owned(), Vec::new()))
    }

    fn open(&self, path: &str) -> Result<FileId> {
        self.inner().names.get(path).map(|id| FileId(*id)).ok_or_else(missing)
    }

    fn close(&self, _file: FileId) {}

    fn len(&self, file: FileId) -> Result<u64> {
        Ok(self.inner().content(file).len() as u64)
    }

    fn read_at(&self, file: FileId, offset: u64, length: usize) -> Result<Bytes> {
        let mut inner = self.inner();
        let content = inner.content(file);
        let end = offset.checked_add(length as u64).filter(|end| *end <= content.len() as u64);
        let end = end.ok_or(Error::from(ErrorKind::UnexpectedEof))?;
        Ok(Bytes::copy_from_slice(&content[offset as usize..end as usize]))
    }

    fn write_at(&self, file: FileId, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        assert!(end <= MAX_FILE_BYTES, "a file grows to {end} bytes");
        let mut inner = self.inner();
        let content = inner.content(file);
        content.resize(content.len().max(end as usize), 0);
        content[offset as usize..end as usize].copy_from_slice(bytes);
        Ok(())
    }

    fn sync_data(&self, _file: FileId) -> Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut inner = self.inner();
        let id = inner.names.remove(from).ok_or_else(missing)?;
        inner.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.inner().names.remove(path).map(|_| ()).ok_or_else(missing)
    }

    fn sync_dir(&self, _dir: &str) -> Result<()> {
        Ok(())
    }
}
