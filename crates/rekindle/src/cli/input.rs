//! Messages and jobs from a file or standard input: one per line, or the whole input as one.
//!
//! Invariants: memory is bounded whatever comes: a line that is too long is skipped, not kept; a
//! line has its number whether it is sent, empty or refused; nothing is read unasked.

use std::io::{self, Read};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use rekindle::front::limits::REQUEST_BYTES_MAX;
use rekindle_client::limits::MESSAGE_BYTES_MAX;
use tokio::sync::mpsc;

use crate::cli::failure::Failure;

/// Bytes per read.
const CHUNK_BYTES: usize = 64 << 10;

/// One line without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A message.
    Body(Bytes),
    /// A line with that many bytes, which no message can have.
    TooLong(u64),
}

/// Splits a stream of bytes at LF or CRLF.
#[derive(Debug)]
pub(super) struct Splitter {
    /// The beginning of a line whose end has not come.
    partial: BytesMut,
    /// Bytes of a line that is being skipped, those already dropped included.
    skipped: u64,
    max: usize,
}

impl Splitter {
    pub(super) fn new(max: usize) -> Self {
        Self { partial: BytesMut::new(), skipped: 0, max }
    }

    /// Adds the lines that end in this chunk.
    pub(super) fn feed(&mut self, mut chunk: Bytes, lines: &mut Vec<Line>) {
        while let Some(end) = chunk.iter().position(|&byte| byte == b'\n') {
            let mut piece = chunk.split_to(end + 1);
            piece.truncate(end);
            if self.skipped == 0 && self.partial.is_empty() {
                lines.push(self.judge(without_cr(piece)));
            } else {
                self.keep(&piece);
                lines.push(self.take(true));
            }
        }
        self.keep(&chunk);
    }

    /// The last line, when the input does not end with a line's end.
    pub(super) fn finish(&mut self) -> Option<Line> {
        let something = self.skipped > 0 || !self.partial.is_empty();
        something.then(|| self.take(false))
    }

    /// Keeps the beginning of a line as far as a message may be long, and a CR.
    fn keep(&mut self, piece: &[u8]) {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if self.skipped > 0 {
            self.skipped += length;
        } else if self.partial.len() + piece.len() > self.max + 1 {
            self.skipped = length + u64::try_from(self.partial.len()).unwrap_or(u64::MAX);
            self.partial = BytesMut::new();
        } else {
            self.partial.extend_from_slice(piece);
        }
    }

    fn take(&mut self, ended: bool) -> Line {
        if self.skipped > 0 {
            return Line::TooLong(std::mem::take(&mut self.skipped));
        }
        let line = self.partial.split().freeze();
        self.judge(if ended { without_cr(line) } else { line })
    }

    fn judge(&self, line: Bytes) -> Line {
        if line.len() > self.max {
            return Line::TooLong(u64::try_from(line.len()).unwrap_or(u64::MAX));
        }
        Line::Body(line)
    }
}

fn without_cr(mut line: Bytes) -> Bytes {
    if line.ends_with(b"\r") {
        line.truncate(line.len() - 1);
    }
    line
}

/// Lines as they are asked for, a chunk at a time, from a thread that may block on the input.
#[derive(Debug)]
pub(super) struct Lines {
    ask: mpsc::Sender<()>,
    chunks: mpsc::Receiver<io::Result<Vec<Line>>>,
    asked: bool,
}

impl Lines {
    /// Opens the input; `None` and `-` are standard input.
    pub(super) fn open(file: Option<&Path>, whole: bool) -> Result<Self, Failure> {
        let input = open(file)?;
        let (ask, mut asked) = mpsc::channel(1);
        let (answer, chunks) = mpsc::channel(1);
        std::thread::spawn(move || {
            let mut reader = Reader::new(input, whole);
            while asked.blocking_recv().is_some() {
                let Some(lines) = reader.next().transpose() else { return };
                if answer.blocking_send(lines).is_err() {
                    return;
                }
            }
        });
        Ok(Self { ask, chunks, asked: false })
    }

    /// The next lines; `None` at the end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<io::Result<Vec<Line>>> {
        if !self.asked {
            self.ask.send(()).await.ok()?;
            self.asked = true;
        }
        let lines = self.chunks.recv().await;
        self.asked = false;
        lines
    }
}

/// All of an input, up to the largest that a server takes; `None` and `-` are standard input.
pub(super) fn read_whole(file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
    let read = open(file)?.take(most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| Failure::io("cannot read the input", &error))?;
    if bytes.len() > REQUEST_BYTES_MAX {
        let message = format!("the input has more than {REQUEST_BYTES_MAX} bytes");
        return Err(Failure::new(rekindle_recovery::exit::REFUSED, message));
    }
    Ok(bytes)
}

#[allow(clippy::disallowed_types, reason = "a user's file, not a part of any store")]
fn open(file: Option<&Path>) -> Result<Box<dyn Read + Send>, Failure> {
    match file.filter(|path| *path != Path::new("-")) {
        None => Ok(Box::new(io::stdin())),
        Some(path) => match std::fs::File::open(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => {
                let code = rekindle_recovery::exit::USAGE;
                Err(Failure::new(code, format!("cannot read {}: {error}", path.display())))
            }
        },
    }
}

/// Reads lines, or everything.
struct Reader {
    input: Box<dyn Read + Send>,
    splitter: Splitter,
    whole: bool,
    ended: bool,
}

impl Reader {
    fn new(input: Box<dyn Read + Send>, whole: bool) -> Self {
        Self { input, splitter: Splitter::new(MESSAGE_BYTES_MAX), whole, ended: false }
    }

    /// What comes next, at least one line; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Vec<Line>>> {
        if self.whole {
            return self.everything();
        }
        let mut lines = Vec::new();
        while lines.is_empty() && !self.ended {
            let mut chunk = BytesMut::zeroed(CHUNK_BYTES);
            let read = match self.input.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                self.ended = true;
                lines.extend(self.splitter.finish());
            } else {
                chunk.truncate(read);
                self.splitter.feed(chunk.freeze(), &mut lines);
            }
        }
        Ok((!lines.is_empty()).then_some(lines))
    }

    /// The whole input as one message. What is too long is read to its end to know its length.
    fn everything(&mut self) -> io::Result<Option<Vec<Line>>> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(None);
        }
        let limit = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
        let mut body = Vec::new();
        let kept = (&mut self.input).take(limit + 1).read_to_end(&mut body)?;
        if body.len() <= MESSAGE_BYTES_MAX {
            return Ok(Some(vec![Line::Body(body.into())]));
        }
        let rest = io::copy(&mut self.input, &mut io::sink())?;
        Ok(Some(vec![Line::TooLong(u64::try_from(kept).unwrap_or(u64::MAX) + rest)]))
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
