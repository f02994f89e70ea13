//! The raw disk and the processor: what a journal cannot be faster than.
//!
//! Invariant: the bytes and their preparation are the journal's own: an allocated 64 MiB file whose
//! header was written and synced, one `pwrite` of a frame and one `fdatasync` at a time.

use std::path::Path;
use std::time::Duration;

use rekindle_env::{Disk, ReadDisk, WriteFile};

use crate::Failed;
use crate::disks::{self, Place};
use crate::phase::{self, Reached, Work};

/// A segment, as the journal makes it.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Its header.
const HEADER_BYTES: usize = 4_096;
/// One transaction of 16 B + 100 B as a frame: headers of frame and record, prefix, padding.
pub(crate) const FRAME_BYTES: usize = 256;
/// What a busy group writes at once.
pub(crate) const GROUP_BYTES: usize = 64 << 10;

fn segment(disk: &dyn Disk, path: &Path) -> std::io::Result<Box<dyn WriteFile>> {
    let file = disk.create(path)?;
    file.allocate(SEGMENT_BYTES)?;
    file.write_at(&[1; HEADER_BYTES], 0)?;
    file.sync_all()?;
    Ok(file)
}

/// Appends of `frame_bytes` each, synced one by one, on a disk whose syncs take `longer`.
pub(crate) fn appends(
    dir: &Path,
    frame_bytes: usize,
    longer: Duration,
    time: Duration,
) -> Result<Reached, Failed> {
    let place = Place::new(dir)?;
    let disk = disks::env_on(&disks::counting(longer)).disk;
    let first = segment(&*disk, &place.path().join("0"))?;
    let frame = vec![7; frame_bytes];
    Ok(phase::threads(1, time, |_, phase| {
        let mut work = Work::default();
        let (mut offset, mut number) = (HEADER_BYTES as u64, 0_u64);
        let mut next = None;
        while phase.goes_on() {
            if offset + frame_bytes as u64 > SEGMENT_BYTES {
                number += 1;
                let path = place.path().join(number.to_string());
                next = Some(segment(&*disk, &path).expect("the first segment could be made"));
                offset = HEADER_BYTES as u64;
            }
            let file = next.as_ref().unwrap_or(&first);
            let began = phase::now_ns();
            file.write_at(&frame, offset).expect("the disk has room");
            file.sync_data().expect("a sync of a benchmark's file");
            work.done_since(phase, began);
            offset += frame_bytes as u64;
        }
        work
    }))
}

/// Reads a file from begin to end; bytes per second.
pub(crate) fn read_rate(disk: &dyn ReadDisk, path: &Path) -> Result<f64, Failed> {
    let file = disk.open_read(path)?;
    let mut buffer = vec![0; 1 << 20];
    let (mut offset, began) = (0_u64, phase::now_ns());
    loop {
        let read = file.read_at(&mut buffer, offset)? as u64;
        offset += read;
        if read < buffer.len() as u64 {
            break;
        }
    }
    Ok(offset as f64 * 1e9 / phase::now_ns().saturating_sub(began).max(1) as f64)
}

/// Checksums of blocks of this size; bytes per second.
pub(crate) fn checksums(block_bytes: usize, time: Duration) -> f64 {
    let block = vec![7; block_bytes];
    let rounds = (1 << 20) / block_bytes.max(1);
    let reached = phase::threads(1, time, |_, phase| {
        let mut work = Work::default();
        while phase.goes_on() {
            for _ in 0..rounds {
                std::hint::black_box(crc32c::crc32c(std::hint::black_box(&block)));
            }
            work.done(phase, rounds as u64);
        }
        work
    });
    reached.per_second * block_bytes as f64
}
