//! A file that is summed up while it is checked, so that each byte is read once.
//!
//! Invariant: the sum is that of the first `used` bytes in their order, each counted once, as they
//! were handed out to whoever checks; what nobody asked for is read at the end.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rekindle_env::{ReadFile, durable};

/// How much is read at a time of what nobody asked for.
const CHUNK_BYTES: u64 = 1 << 20;

/// The sum so far.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    crc32c: u32,
    /// It is that of the bytes in front of this offset.
    until: u64,
}

/// A file, and the sum of its first bytes.
#[derive(Debug)]
pub(super) struct Summed<'a> {
    file: &'a dyn ReadFile,
    used: u64,
    sum: Mutex<Sum>,
}

impl<'a> Summed<'a> {
    /// Sums up the first `used` bytes.
    pub(super) fn new(file: &'a dyn ReadFile, used: u64) -> Self {
        Self { file, used, sum: Mutex::default() }
    }

    fn sum(&self) -> MutexGuard<'_, Sum> {
        self.sum.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// CRC-32C of the bytes that count.
    pub(super) fn finish(self) -> io::Result<u32> {
        let mut buffer = Vec::new();
        loop {
            let Sum { crc32c, until } = *self.sum();
            if until >= self.used {
                assert!(until == self.used, "nothing behind what counts is summed");
                return Ok(crc32c);
            }
            let want = (self.used - until).min(CHUNK_BYTES);
            buffer.resize(usize::try_from(want).unwrap_or_default(), 0);
            durable::read_exact_at(self.file, &mut buffer, until)?;
            self.note(&buffer, until);
        }
    }

    /// Bytes that were read at `offset`: those that follow on are summed.
    fn note(&self, bytes: &[u8], offset: u64) {
        let mut sum = self.sum();
        let Some(known) = sum.until.checked_sub(offset) else { return };
        let end = (offset + bytes.len() as u64).min(self.used);
        let range =
            usize::try_from(known).ok().zip(usize::try_from(end.saturating_sub(offset)).ok());
        let Some(new) = range.and_then(|(from, to)| bytes.get(from..to)) else { return };
        sum.crc32c = crc32c::crc32c_append(sum.crc32c, new);
        sum.until += new.len() as u64;
    }
}

impl ReadFile for Summed<'_> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buf, offset)?;
        self.note(buf.get(..read).unwrap_or_default(), offset);
        Ok(read)
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        self.file.next_data(offset)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use rekindle_env::{Image, ReadDisk as _, SimulatedDisk};

    use super::*;

    proptest! {
        /// Whatever is read in whatever order, the sum is that of the first bytes.
        #[test]
        fn the_order_of_reads_does_not_matter(
            bytes in prop::collection::vec(any::<u8>(), 0..3_000),
            cut in any::<prop::sample::Index>(),
            reads in prop::collection::vec((0..3_500_u64, 0..900_usize), 0..12),
        ) {
            let mut image = Image::new();
            image.write_file("/file", &bytes).unwrap();
            let disk = SimulatedDisk::from_image(image, 1);
            let file = disk.open_read(Path::new("/file")).unwrap();
            let used = cut.index(bytes.len() + 1);
            let summed = Summed::new(&*file, used as u64);
            for (offset, len) in reads {
                let (mut through, mut direct) = (vec![0; len], vec![0; len]);
                let read = summed.read_at(&mut through, offset).unwrap();
                prop_assert_eq!(file.read_at(&mut direct, offset).unwrap(), read);
                prop_assert_eq!(through, direct);
            }
            prop_assert_eq!(summed.finish().unwrap(), crc32c::crc32c(&bytes[..used]));
        }
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error() {
        let mut image = Image::new();
        image.write_file("/file", b"short").unwrap();
        let disk = SimulatedDisk::from_image(image, 1);
        let file = disk.open_read(Path::new("/file")).unwrap();
        assert!(Summed::new(&*file, 6).finish().is_err());
        assert_eq!(Summed::new(&*file, 0).finish().unwrap(), 0);
    }
}
