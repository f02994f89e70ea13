//! A shard that goes on behind a checkpoint and has no past of its own: what a restore makes.
//!
//! Invariants: nothing exists before that could be overwritten; a crash leaves files that the
//! caller removes and makes again, for the store has no identity yet.

use std::io;

use rekindle_env::{Env, durable};

use crate::codec::meta::Meta;
use crate::codec::segment::{OpenReason, SegmentHeader};
use crate::codec::tip::Tip;
use crate::layout::Layout;
use crate::meta_store::{MetaStore, SegmentRef};
use crate::writer::{create_segment, sync_segment};

/// Where a new shard goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The store.
    pub store_id: [u8; 16],
    /// The node.
    pub node: u64,
    /// The highest run before; the first start takes the next one.
    pub incarnation: u64,
    /// The number of the first segment.
    pub seq: u64,
    /// The address of its first byte.
    pub base_lsn: u64,
    /// The position of its first record.
    pub first_position: u64,
    /// Length of the segment.
    pub segment_bytes: u64,
    /// The checkpoint that holds everything before.
    pub checkpoint: u64,
}

impl Founding {
    /// Makes segment, `tip` and both copies of `meta`, closed cleanly.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn make(&self, env: &Env, layout: &Layout) -> io::Result<()> {
        assert!(self.first_position > 1 && self.checkpoint > 0, "it goes on behind something");
        let disk = &*env.disk;
        let header = SegmentHeader {
            store_id: self.store_id,
            node: self.node,
            shard: layout.shard,
            seq: self.seq,
            base_lsn: self.base_lsn,
            file_size: self.segment_bytes,
            nonce: env.random.next_u64(),
            first_position: self.first_position,
            prev_seq: 0,
            prev_end_lsn: 0,
            prev_chain: 0,
            open_reason: OpenReason::Start,
            carried_len: 0,
            incarnation: self.incarnation,
            wall_ms: env.clock.wall_ms(),
        };
        let file = create_segment(disk, layout, &header)?;
        sync_segment(disk, layout, &*file)?;
        let end_lsn = header.first_frame_lsn();
        let tip = Tip { seq: header.seq, durable_lsn: end_lsn, chain: 0 };
        durable::create_file(disk, &layout.tip(), &tip.encode(&self.store_id))?;
        let meta = Meta {
            store_id: self.store_id,
            node: self.node,
            shard: layout.shard,
            checkpoints: [self.checkpoint, 0],
            ..Meta::default()
        };
        let mut meta = MetaStore::new(env.disk.clone(), layout.clone(), meta, Vec::new());
        let named = SegmentRef { seq: header.seq, first_position: header.first_position };
        meta.name_segment(named, self.incarnation)?;
        meta.closed(end_lsn)
    }
}
