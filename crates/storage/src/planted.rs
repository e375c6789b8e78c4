//! Faults planted on purpose, so that the tests can be tested: the crash explorer must catch each of them.
//!
//! Without the feature `planted-bugs` the answer is a constant `false` and the compiler removes them all. At run time one is
//! chosen by `LocalOptions::planted`. Deliberately not here: the faults, which stand where the code would be wrong.

/// One wrong turn each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// A flush is announced as durable although nothing was synced.
    AckBeforeSync,
    /// A new log file's name is not made durable.
    DirectoryNotSynced,
    /// A failed sync is called again, and its success believed.
    FailedSyncRetried,
    /// Recovery accepts a log record whose checksum does not match.
    TornRecordAccepted,
    /// What recovery found is readable before it was written again and synced.
    TailExposedBeforeRewrite,
    /// Recovery takes a recycled file's old records for new ones.
    GenerationIgnored,
    /// The producers' windows in a checkpoint are not restored.
    DuplicateWindowLost,
    /// After recovery, writing goes on in the recovered file behind the cut.
    AppendBehindCut,
    /// Log files are given free by the newest checkpoint, whose name is not durable yet.
    LogFreedByNewestCheckpoint,
    /// A pack is referred to by a checkpoint although it was not synced.
    PackNotSynced,
    /// A checkpoint does not wait until the log is durable up to its position.
    CheckpointWithoutWaitingForDurable,
    /// A recycled file's header is written after the acknowledgement of what the file holds.
    HeaderNotSyncedOnRecycle,
    /// A segment is referred to by a checkpoint although it was not synced.
    SegmentNotSynced,
    /// A failed sync of a segment is called again, and its success believed.
    SegmentSyncRetried,
    /// Data stays in a file of the log under an index that was not synced.
    KeptIndexNotSynced,
    /// A file of the log is used again although data of segments lies in it.
    KeptFileUsedAgain,
    /// The whole checkpoint that changes hang on is removed with the checkpoint that it was kept as.
    ChainNotKept,
    /// What changes while a checkpoint is written counts as written with it.
    ChangeForgotten,
    /// After a fallback to an older checkpoint, segments are appended to where that one says, over what the newer one holds.
    AppendAfterFallback,
    /// A log start is answered with what is durable already.
    LogStartAnsweredEarly,
    /// Readers see a log start before it is durable.
    LogStartShownEarly,
    /// Recovery passes over log starts.
    LogStartNotReplayed,
    /// A log start is no reason to tell of its partition in a checkpoint's changes.
    LogStartNotInChanges,
}

impl PlantedBug {
    /// All of them, in order.
    pub const ALL: [PlantedBug; 23] = [
        PlantedBug::AckBeforeSync,
        PlantedBug::DirectoryNotSynced,
        PlantedBug::FailedSyncRetried,
        PlantedBug::TornRecordAccepted,
        PlantedBug::TailExposedBeforeRewrite,
        PlantedBug::GenerationIgnored,
        PlantedBug::DuplicateWindowLost,
        PlantedBug::AppendBehindCut,
        PlantedBug::LogFreedByNewestCheckpoint,
        PlantedBug::PackNotSynced,
        PlantedBug::CheckpointWithoutWaitingForDurable,
        PlantedBug::HeaderNotSyncedOnRecycle,
        PlantedBug::SegmentNotSynced,
        PlantedBug::SegmentSyncRetried,
        PlantedBug::KeptIndexNotSynced,
        PlantedBug::KeptFileUsedAgain,
        PlantedBug::ChainNotKept,
        PlantedBug::ChangeForgotten,
        PlantedBug::AppendAfterFallback,
        PlantedBug::LogStartAnsweredEarly,
        PlantedBug::LogStartShownEarly,
        PlantedBug::LogStartNotReplayed,
        PlantedBug::LogStartNotInChanges,
    ];
}
