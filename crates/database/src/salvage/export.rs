//! The folder of a salvage: a file of JSON lines for each keyspace, and `salvage.json`.
//!
//! Invariants: a folder that holds anything else is not touched; `salvage.json` gets its name last,
//! when everything else is durable; before that its place is held by `salvage.json.tmp`, by which
//! an unfinished salvage is known.

use std::fmt::Write as _;
use std::ops::Bound;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekindle_engine::KeyspaceId;
use rekindle_env::{Disk, EntryKind, Env, durable};

use super::state::State;
use super::{Salvage, SalvagedFile};
use crate::error::Error;
use crate::keyspaces::{REGISTRY, number};
use crate::repair::quoted;

const DONE: &str = "salvage.json";
const UNFINISHED: &str = "salvage.json.tmp";
const SUFFIX: &str = ".jsonl";

/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 1_000;
/// Bytes that are written at once, about.
const BUFFER_BYTES: usize = 1 << 20;

/// Refuses a folder that is in use.
pub(super) fn check(disk: &(dyn Disk + 'static), out: &Path) -> Result<(), Error> {
    let context = |error| Error::io(format!("looking at {}", out.display()), error);
    let refuse = |why: &str| {
        let text = format!("{} {why}; name a new or an empty folder", out.display());
        Err(Error::Invalid(text))
    };
    let entries = match disk.stat(out).map_err(context)? {
        None => return Ok(()),
        Some(entry) if entry.kind != EntryKind::Directory => return refuse("is no folder"),
        Some(_) => disk.list(out).map_err(context)?,
    };
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let ours = |name: &str| name == UNFINISHED || name.ends_with(SUFFIX);
    if has(DONE) {
        return refuse("holds a finished salvage");
    }
    let unfinished = has(UNFINISHED) && entries.iter().all(|it| ours(&it.name));
    if entries.is_empty() || unfinished {
        return Ok(());
    }
    refuse("is not empty")
}

/// Writes a state.
pub(super) fn write(state: &State, out: &Path, env: &Env) -> Result<Salvage, Error> {
    let disk = &*env.disk;
    let context = |error| Error::io(format!("writing to {}", out.display()), error);
    begin(disk, out).map_err(context)?;
    let mut files = Vec::new();
    let names = names(state)?;
    for keyspace in (1..=u16::MAX).map(KeyspaceId) {
        let name = names.iter().find(|(id, _)| *id == keyspace.0).map(|(_, name)| name.clone());
        if name.is_none() && state.keyspaces.binary_search(&keyspace).is_err() {
            continue;
        }
        let file = file_name(keyspace, name.as_deref(), &files);
        let shown = name.as_deref().map_or_else(|| numbered(keyspace), text);
        let rows = write_rows(state, keyspace, &shown, disk, &out.join(&file))?;
        files.push(SalvagedFile { keyspace: keyspace.0, name, file, rows });
    }
    disk.sync_dir(out).map_err(context)?;
    let json = summary(state, &files);
    let unfinished = out.join(UNFINISHED);
    durable::overwrite(disk, &unfinished, format!("{json}\n").as_bytes()).map_err(context)?;
    durable::rename(disk, &unfinished, &out.join(DONE)).map_err(context)?;
    Ok(Salvage {
        whole: state.unreadable_total == 0,
        version: state.engine.mark().version,
        checkpoint: state.checkpoint,
        files,
        unreadable: state.unreadable.clone(),
        json,
    })
}

/// Makes the folder, or empties an unfinished one.
fn begin(disk: &dyn Disk, out: &Path) -> std::io::Result<()> {
    durable::create_dir_all(disk, out)?;
    let entries = disk.list(out)?;
    if !entries.iter().any(|entry| entry.name == UNFINISHED) {
        return durable::create_file(disk, &out.join(UNFINISHED), b"{}\n");
    }
    for entry in entries.iter().filter(|entry| entry.name.ends_with(SUFFIX)) {
        disk.remove_file(&out.join(&entry.name))?;
    }
    disk.sync_dir(out)
}

/// Numbers and names of the keyspaces, as far as the registry says.
fn names(state: &State) -> Result<Vec<(u16, Vec<u8>)>, Error> {
    let (at, all) = (state.engine.mark().version, (Bound::Unbounded, Bound::Unbounded));
    let rows = state.engine.scan(REGISTRY, all, at, usize::MAX, false)?;
    Ok(rows.iter().filter_map(|row| Some((number(&row.value)?, row.key.to_vec()))).collect())
}

/// The name of a keyspace's file: its own, where that is a plain one and nobody else's.
fn file_name(keyspace: KeyspaceId, name: Option<&[u8]>, files: &[SalvagedFile]) -> String {
    let plain = |name: &&[u8]| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        name.len() <= 100 && name.iter().all(plain) && !name.starts_with(b"keyspace-")
    };
    let own = name.filter(plain).map(|name| String::from_utf8_lossy(name).into_owned());
    let own = own.map(|name| format!("{name}{SUFFIX}"));
    // Some file systems do not tell case apart.
    let free = |own: &String| !files.iter().any(|it| it.file.eq_ignore_ascii_case(own));
    own.filter(free).unwrap_or_else(|| format!("keyspace-{}{SUFFIX}", keyspace.0))
}

fn write_rows(
    state: &State,
    keyspace: KeyspaceId,
    shown: &str,
    disk: &dyn Disk,
    path: &Path,
) -> Result<u64, Error> {
    let context = |error| Error::io(format!("writing {}", path.display()), error);
    let file = disk.create(path).map_err(context)?;
    let at = state.engine.mark().version;
    let (mut lines, mut offset, mut rows) = (String::new(), 0_u64, 0_u64);
    let mut last: Option<std::sync::Arc<[u8]>> = None;
    loop {
        let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = (from, Bound::Unbounded);
        let found = state.engine.scan(keyspace, range, at, ROWS_AT_ONCE, false)?;
        for row in &found {
            let (key, value) = (text(&row.key), text(&row.value));
            let version = row.version;
            let _ = writeln!(
                lines,
                "{{\"keyspace\":{shown},\"key\":{key},\"value\":{value},\"version\":{version}}}"
            );
            if lines.len() >= BUFFER_BYTES {
                file.write_at(lines.as_bytes(), offset).map_err(context)?;
                offset += lines.len() as u64;
                lines.clear();
            }
        }
        rows += found.len() as u64;
        let Some(row) = found.last().filter(|_| found.len() == ROWS_AT_ONCE) else { break };
        last = Some(row.key.clone());
    }
    file.write_at(lines.as_bytes(), offset).map_err(context)?;
    file.sync_all().map_err(context)?;
    Ok(rows)
}

/// Bytes as JSON: text where they are UTF-8, `{"base64":"…"}` otherwise.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => quoted(text),
        Err(_) => format!("{{\"base64\":\"{}\"}}", STANDARD.encode(bytes)),
    }
}

/// A keyspace whose name is lost.
fn numbered(keyspace: KeyspaceId) -> String {
    format!("{{\"number\":{}}}", keyspace.0)
}

/// What `salvage.json` says, on one line.
fn summary(state: &State, files: &[SalvagedFile]) -> String {
    let mark = state.engine.mark();
    let store: String = state.who.store_id.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let mut json = format!(
        "{{\"whole\":{},\"store\":\"{store}\",\"version\":{},\"position\":{},\"checkpoint\":{},\
         \"replay_from\":{},\"transactions\":{},\"discarded\":{},\"keyspaces\":[",
        state.unreadable_total == 0,
        mark.version,
        mark.position,
        state.checkpoint.map_or_else(|| "null".to_owned(), |id| id.to_string()),
        state.replay_from,
        state.transactions,
        state.incomplete
    );
    for (at, file) in files.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let name = file.name.as_deref().map_or_else(|| "null".to_owned(), text);
        let _ = write!(
            json,
            "{comma}{{\"number\":{},\"name\":{name},\"file\":{},\"rows\":{}}}",
            file.keyspace,
            quoted(&file.file),
            file.rows
        );
    }
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let lines: Vec<String> = state.unreadable.iter().map(|line| quoted(line)).collect();
    let _ = write!(
        json,
        "],\"rows\":{rows},\"unreadable\":[{}],\"unreadable_total\":{}}}",
        lines.join(","),
        state.unreadable_total
    );
    json
}
