//! Checkpoints: the whole state at one version, as a file that proves itself.
//!
//! All numbers are little-endian. A file is a header, blocks in order, and a footer; its name is
//! its id in 16 hex digits and `.ckpt`. There is no padding except zeros inside the header, every
//! byte is under a checksum, and nothing may follow the footer.
//!
//! ```text
//! header, header_len bytes (a multiple of 512)
//!    0  magic 8          "RKDLCKPT"
//!    8  format 2         1
//!   10  min_reader 2     1: the oldest format a reader must know
//!   12  features 4       bits that a reader must understand; bit 0: the rows are in the files of
//!                        the engine (`shards/0/engine`), no block follows; bit 1, only with bit 0:
//!                        blocks follow with what was derived from the rows (derived.rs)
//!   16  header_len 4     512 .. 1 MiB
//!   20  feature_level 4  of the records that led here
//!   24  store_id 16
//!   40  id 8             of this checkpoint, not 0; also its name
//!   48  position 8       of the last record in the state
//!   56  term 8           of that record (0 locally)
//!   64  replay_from 8    replay begins here: at most position + 1
//!   72  version 8        of the last transaction in the state
//!   80  log_time_ms 8    of that transaction
//!   88  floor 8          the oldest version that can be read from this file: equal to version
//!   96  membership_len 4 then membership_len bytes of cluster membership (none locally), zeros
//!   header_len - 4  crc 4   CRC-32C over all bytes of the header before it
//!
//! block, as many as needed; number counts from 0
//!    0  magic 4          "RKBL"
//!    4  crc 4            CRC-32C over store_id, id, number 8, then bytes 8.. of this block
//!    8  content_len 4    1 .. 17 MiB; about 64 KiB unless one row is larger
//!   12  rows 4           at least 1
//!   16  content          rows, each: keyspace 2, key_len 4, value_len 4, version 8, key, value
//!
//! footer, 80 bytes
//!    0  magic 4          "RKFT"
//!    4  crc 4            CRC-32C over store_id, id, blocks, then bytes 8.. of the footer
//!    8  blocks 8
//!   16  rows 8           the entry count
//!   24  content_bytes 8  the sum of content_len
//!   32  state_hash 16    XXH3, 128 bits, over all content in order
//!   48  version 8        again, so that a footer of another file cannot fit
//!   56  position 8       again
//!   64  file_len 8       of the whole file
//!   72  zeros 8
//! ```
//!
//! Rows ascend strictly by keyspace and key; a row's version is from 1 to the checkpoint's. The
//! keyspace registry is keyspace 0 and therefore the first rows; it is not repeated in the header.
//! Counts and the state hash stand in the footer, because the file is streamed while writers go on.
//! A block's checksum begins with the store, the checkpoint and the block's number, so a stale,
//! misdirected or repeated block never verifies. `magic`, `format`, `min_reader`, `features`,
//! `header_len` and the checksum at the header's end keep their places in every later format, so a
//! newer file is told from a damaged one. Every length is checked against its limit and the bytes
//! left in the file before anything is allocated.
//!
//! Reading a file for a start also checks everything, the state hash included: hashing costs a
//! small share of building the rows, so there is no weaker mode.
//!
//! A checkpoint is written to `<id>.tmp`, synced, renamed to `<id>.ckpt`, and its directory synced;
//! only then may the journal's meta name it. It holds one version of each row, so after a start the
//! past begins at the checkpoint that was loaded: older versions answer *compacted*.

mod derived;
mod folder;
mod format;
mod policy;
mod read;
mod write;

pub use derived::{Derived, derived};
pub use folder::{DIRECTORY, FileName, file_name, parse_name, retire, temporary_name};
pub use format::{Footer, Header, MEMBERSHIP_BYTES_MAX};
pub use policy::{Policy, Prediction, Since};
pub(crate) use read::surface;
pub use read::{Damage, ReadError, Summary, check, load};
pub use write::{
    FrozenRows, RowStream, Stamp, WriteError, Written, write, write_anchor, write_rows,
};
