//! How fast the memory engine applies, hashes, and writes and loads checkpoints, on this machine.
//!
//! `cargo run --release -p rekindle-engine --example apply_speed [ROWS]`
#![allow(clippy::print_stdout, clippy::cast_precision_loss)]

use std::error::Error;
use std::ops::Bound;

use rekindle_engine::checkpoint::{self, Stamp, file_name};
use rekindle_engine::recovery::{Depth, EngineLayer};
use rekindle_engine::{Engine, KeyspaceId, Mark, MemoryEngine, Operation};
use rekindle_env::{Env, ReadDisk};
use rekindle_recovery::Layer;

const SPACE: KeyspaceId = KeyspaceId(1);
const STORE: [u8; 16] = [7; 16];

fn main() -> Result<(), Box<dyn Error>> {
    let rows = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let env = Env::real();
    let timed = |what: &str, count: u64, bytes: u64, work: &mut dyn FnMut()| {
        let start = env.clock.boot_ns();
        work();
        let took = (env.clock.boot_ns() - start) as f64;
        let each = took / count as f64;
        let rate = bytes as f64 / took;
        println!("{what:<28} {each:>7.0} ns each {:>6.2} M/s {rate:>6.2} GB/s", 1e3 / each);
    };

    let ascending = MemoryEngine::new();
    timed("apply, ascending keys", rows, rows * 116, &mut || fill(&ascending, rows, |n| n));
    let random = MemoryEngine::new();
    let mix = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    timed("apply, random keys", rows, rows * 116, &mut || fill(&random, rows, mix));
    timed("overwrite, floor follows", rows, rows * 116, &mut || overwrite(&random, rows));
    println!("history left: {} B", random.state_bytes().1);
    let (state, _) = ascending.state_bytes();
    println!(
        "accounted: {} B a row; resident: {} B a row, both engines",
        state / rows,
        resident(&env, rows)?
    );
    timed("get, random keys", rows, 0, &mut || {
        for n in 0..rows {
            let key = u128::from(mix(n)).to_be_bytes();
            assert!(random.get(SPACE, &key, u64::MAX).is_ok_and(|row| row.is_some()));
        }
    });
    timed("scan, pages of 1,000", rows, rows * 116, &mut || scan(&ascending, rows));
    timed("state hash", rows, rows * 134, &mut || assert_ne!(ascending.state_hash(), 0));
    checkpoints(&env, &ascending, rows, &timed)
}

fn fill(engine: &MemoryEngine, rows: u64, key_of: impl Fn(u64) -> u64) {
    let before = engine.mark();
    let value = [0x5A; 100];
    for n in 0..rows {
        let number = before.version + n + 1;
        let mark = Mark { position: number, term: 0, version: number, log_time_ms: number };
        let key = u128::from(key_of(n)).to_be_bytes();
        let put = Operation::Put { keyspace: SPACE, key: &key, value: &value };
        engine.apply(mark, &mut std::iter::once(put));
    }
}

fn overwrite(engine: &MemoryEngine, rows: u64) {
    let mix = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for part in 0..rows / 1_000 {
        fill(engine, 1_000, |n| mix(part * 1_000 + n));
        engine.set_floor(u64::MAX);
    }
}

fn scan(engine: &MemoryEngine, rows: u64) {
    let (mut seen, mut last) = (0, None);
    loop {
        let edge = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let page = engine.scan(SPACE, (edge, Bound::Unbounded), u64::MAX, 1_000, false);
        let page = page.unwrap_or_default();
        seen += page.len() as u64;
        match page.into_iter().next_back() {
            Some(row) => last = Some(row.key),
            None => break,
        }
    }
    assert_eq!(seen, rows);
}

/// Resident bytes per row.
fn resident(env: &Env, rows: u64) -> Result<u64, Box<dyn Error>> {
    let mut text = vec![0; 4096];
    let status = env.disk.open_read("/proc/self/status".as_ref())?;
    let read = status.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(text.get(..read).unwrap_or_default()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).map(str::trim);
    Ok(kib.map_or(Ok(0), str::parse::<u64>)? * 1024 / rows)
}

type Timed<'a> = &'a dyn Fn(&str, u64, u64, &mut dyn FnMut());

fn checkpoints(
    env: &Env,
    engine: &MemoryEngine,
    rows: u64,
    timed: Timed<'_>,
) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir_in(".")?;
    let layer = |depth| EngineLayer::new(dir.path(), "shards/0", STORE, [1, 0], depth);
    let folder = layer(Depth::Open).folder();
    let frozen = engine.freeze();
    let position = frozen.mark().position;
    let stamp = Stamp {
        id: 1,
        store_id: STORE,
        replay_from: position + 1,
        feature_level: 1,
        membership: vec![],
    };
    let bytes = rows * 134;
    let mut written = None;
    timed("checkpoint, write", rows, bytes, &mut || {
        let disk = &*env.disk;
        let go_on = &mut |_| true;
        written = Some(checkpoint::write(disk, &folder, &frozen, &stamp, position, go_on));
    });
    written.ok_or("it ran")??;
    let file = env.disk.open_read(&folder.join(file_name(1)))?;
    let mut buffer = vec![0; 1 << 20];
    timed("checkpoint, bare read (warm)", rows, bytes, &mut || {
        let mut offset = 0;
        while let Ok(read @ 1..) = file.read_at(&mut buffer, offset) {
            offset += read as u64;
        }
    });
    timed("checkpoint, verify", rows, bytes, &mut || {
        assert!(checkpoint::check(&*file, &STORE, 1).is_ok());
    });
    let disk: &dyn ReadDisk = &*env.disk;
    let mut loaded = None;
    timed("checkpoint, load", rows, bytes, &mut || {
        let layer = layer(Depth::Open);
        let pieces = layer.scan(disk).expect("it was just written");
        loaded = layer.validate(pieces).0.load(disk).ok();
    });
    let loaded = loaded.ok_or("the checkpoint loads")?;
    assert_eq!(loaded.state_hash(), engine.state_hash());
    Ok(())
}
