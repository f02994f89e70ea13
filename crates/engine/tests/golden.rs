//! The frozen bytes of a checkpoint: what this version writes is, byte for byte, what
//! `fixtures/v1/golden` holds, and that loads.
//!
//! A difference is a change of the disk format: it needs a new format number, not a new fixture.

#![allow(clippy::disallowed_methods, reason = "fixtures are read from the repository")]

use std::path::{Path, PathBuf};

use rekindle_engine::Engine;
use rekindle_env::durable;

use crate::support::{load, new_disk, path, read_bytes, small_engine, value_of, write};

fn fixture() -> PathBuf {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/v1/golden");
    frozen.join("checkpoint.bin")
}

fn written() -> Vec<u8> {
    let disk = new_disk();
    write(&disk, &small_engine(), 4);
    read_bytes(&disk, &path(4))
}

#[test]
fn checkpoint() {
    let (frozen, bytes) = (std::fs::read(fixture()).unwrap(), written());
    let differs = frozen.iter().zip(&bytes).position(|(a, b)| a != b);
    assert_eq!(differs, None, "the first byte that differs");
    assert_eq!(frozen.len(), bytes.len());
    let disk = new_disk();
    durable::create_file(&disk, &path(4), &frozen).unwrap();
    let loaded = load(&disk, 4);
    assert_eq!(loaded.state_hash(), small_engine().state_hash());
    assert_eq!(value_of(&loaded, 900, &[9; 40]), Some(vec![7; 60]));
}

/// Writes the fixture where there is none.
#[test]
#[ignore = "writes into the repository"]
fn make_the_fixture() {
    assert!(!fixture().exists(), "it is frozen");
    std::fs::write(fixture(), written()).unwrap();
}
