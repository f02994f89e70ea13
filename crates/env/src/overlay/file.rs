//! One file of an overlay: pages that were written, over the file underneath.
//!
//! Invariants: a byte comes from its page if there is one, else from the file underneath if it
//! lies below `base_len`, else it is zero; `base_len` only shrinks, so a cut never lets old bytes
//! return.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::disk::{ReadDisk, ReadFile, WriteFile};
use crate::pages::{
    PAGE_BYTES, Page, PageMap, Span, narrow, part, part_mut, piece, piece_mut, spans, widen,
};

/// What all holes share.
static ZEROS: LazyLock<Arc<Page>> = LazyLock::new(|| Arc::new([0; PAGE_BYTES]));

/// The content of a file as the overlay shows it.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// The file underneath, and its handle once it was opened.
    base: Option<(PathBuf, Option<Box<dyn ReadFile>>)>,
    /// Bytes below this show through where no page covers them.
    base_len: u64,
    pages: PageMap,
    len: u64,
}

impl FileState {
    /// A file that looks like the one underneath.
    pub(super) fn over(path: PathBuf, len: u64) -> Self {
        Self { base: Some((path, None)), base_len: len, pages: PageMap::new(), len }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Opens the file underneath, if there is one that still shows.
    pub(super) fn open(&mut self, disk: &dyn ReadDisk) -> io::Result<()> {
        if let Some((path, handle @ None)) = &mut self.base {
            *handle = Some(disk.open_read(path)?);
        }
        Ok(())
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let available = self.len.saturating_sub(offset);
        let count = buf.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        let buf = piece_mut(buf, 0..count);
        self.read_base(buf, offset)?;
        for Span { unit, inside, buffer } in spans(offset, count, PAGE_BYTES) {
            if let Some(page) = self.pages.get(&unit) {
                piece_mut(buf, buffer).copy_from_slice(part(page, inside));
            }
        }
        Ok(count)
    }

    /// Fills `buf` with what shows through, and zeros.
    fn read_base(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let shown = usize::try_from(self.base_len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (base, zeros) = buf.split_at_mut(shown.min(buf.len()));
        zeros.fill(0);
        if base.is_empty() {
            return Ok(());
        }
        let (_, handle) =
            self.base.as_ref().expect("bytes show through only where there is a file");
        let handle = handle.as_ref().expect("opened with the first handle of the overlay");
        let read = handle.read_at(base, offset)?;
        assert!(read <= base.len(), "a disk never reads more than was asked for");
        piece_mut(base, read..base.len()).fill(0);
        Ok(())
    }

    /// The page, copied from underneath if it is not here yet.
    fn page(&mut self, number: u64) -> io::Result<&mut Arc<Page>> {
        if !self.pages.contains_key(&number) {
            let mut page = [0; PAGE_BYTES];
            self.read_base(&mut page, number * widen(PAGE_BYTES))?;
            self.pages.insert(number, Arc::new(page));
        }
        Ok(self.pages.get_mut(&number).expect("inserted above"))
    }

    fn write(&mut self, buf: &[u8], offset: u64) -> io::Result<()> {
        let end = end_of(offset, widen(buf.len()))?;
        for Span { unit, inside, buffer } in spans(offset, buf.len(), PAGE_BYTES) {
            let page = if inside.len() == PAGE_BYTES {
                self.pages.entry(unit).or_insert_with(|| Arc::clone(&ZEROS))
            } else {
                self.page(unit)?
            };
            part_mut(page, inside).copy_from_slice(piece(buf, buffer));
        }
        if !buf.is_empty() {
            self.len = self.len.max(end);
        }
        self.validate();
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        end_of(len, 0)?;
        if len < self.len {
            self.zero(len, self.len)?;
            self.pages.split_off(&len.div_ceil(widen(PAGE_BYTES)));
        }
        self.len = len;
        self.validate();
        Ok(())
    }

    /// Makes `[from, to)`, clamped to the file, read as zeros.
    fn zero(&mut self, from: u64, to: u64) -> io::Result<()> {
        let to = to.min(self.len);
        if from >= to {
            return Ok(());
        }
        // A range to the end of what shows through needs no pages to hide it.
        if to >= self.base_len {
            let page_len = widen(PAGE_BYTES);
            if !from.is_multiple_of(page_len) && from < self.base_len {
                self.page(from / page_len)?;
            }
            self.base_len = self.base_len.min(from);
        }
        let (first, last) = (from / widen(PAGE_BYTES), to / widen(PAGE_BYTES));
        let (head, tail) = (narrow(from % widen(PAGE_BYTES)), narrow(to % widen(PAGE_BYTES)));
        if first == last {
            return self.zero_inside(first, head, tail);
        }
        let mut whole = first;
        if head > 0 {
            self.zero_inside(first, head, PAGE_BYTES)?;
            whole += 1;
        }
        self.zero_inside(last, 0, tail)?;
        if whole < last {
            self.pages.extract_if(whole..last, |_, _| true).for_each(drop);
        }
        let shown = self.base_len.div_ceil(widen(PAGE_BYTES));
        self.pages.extend((whole..last.min(shown)).map(|page| (page, Arc::clone(&ZEROS))));
        Ok(())
    }

    /// What holds between any two calls.
    fn validate(&self) {
        assert!(self.base_len <= self.len, "nothing shows through behind the end");
        assert!(self.base_len == 0 || self.base.is_some(), "what shows through has a file");
        let last = self.pages.last_key_value().map(|(number, _)| *number);
        let pages = self.len.div_ceil(widen(PAGE_BYTES));
        assert!(last.is_none_or(|last| last < pages), "no page lies behind the end");
    }

    fn zero_inside(&mut self, page: u64, from: usize, to: usize) -> io::Result<()> {
        let shows = page * widen(PAGE_BYTES) < self.base_len;
        if from < to && (shows || self.pages.contains_key(&page)) {
            part_mut(self.page(page)?, from..to).fill(0);
        }
        Ok(())
    }
}

/// A handle on a file of an overlay.
#[derive(Debug)]
pub(super) struct OverlayFile {
    state: Arc<Mutex<FileState>>,
}

impl OverlayFile {
    pub(super) fn new(state: Arc<Mutex<FileState>>) -> Self {
        Self { state }
    }

    fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadFile for OverlayFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.state().read(buf, offset)
    }
}

impl WriteFile for OverlayFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.state().write(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state().set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let len = len.max(state.len);
        state.set_len(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.state().zero(offset, end_of(offset, len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The end of a range that Linux takes for a file.
fn end_of(offset: u64, len: u64) -> io::Result<u64> {
    let end = offset.checked_add(len).filter(|end| i64::try_from(*end).is_ok());
    end.ok_or_else(|| Errno::FBIG.into())
}
