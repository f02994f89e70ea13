//! `kv get|put|delete|scan|cas`.

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use rekindle_client::{Client, Expected, Row, ScanOptions, Scope};
use rekindle_recovery::exit;
use serde::Serialize;

use super::failure::Failure;
use super::output::{Out, Text};
use super::{Address, Outcome};

/// Above any value that a server accepts.
const VALUE_BYTES_MAX: u64 = 4 << 20;
/// Rows per page of a scan; the server may answer fewer.
const PAGE: u64 = 1_000;

#[derive(Args, Debug)]
pub(super) struct KvArgs {
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(subcommand)]
    command: KvCommand,
}

impl KvArgs {
    /// Where the server is.
    pub(super) fn address_mut(&mut self) -> &mut String {
        &mut self.address.addr
    }
}

/// Where keys live; nothing given: the default namespace.
#[derive(Args, Debug)]
struct ScopeArgs {
    /// Namespace: the tenant
    #[arg(long, global = true, default_value = "", hide_default_value = true)]
    tenant: String,
    /// Namespace: the application
    #[arg(long, global = true, default_value = "", hide_default_value = true)]
    app: String,
    /// Namespace: the agent
    #[arg(long, global = true, default_value = "", hide_default_value = true)]
    agent: String,
    /// Namespace: the run
    #[arg(long, global = true, default_value = "", hide_default_value = true)]
    run: String,
}

#[derive(Debug, Subcommand)]
enum KvCommand {
    /// Print a value as it is
    Get(GetArgs),
    /// Set a key
    Put(PutArgs),
    /// Delete a key
    Delete(DeleteArgs),
    /// Print keys and values in the order of their keys
    Scan(ScanArgs),
    /// Set or delete a key only if nobody changed it (compare and set)
    Cas(CasArgs),
}

#[derive(Args, Debug)]
struct GetArgs {
    /// The key
    key: String,
    /// Read the past as of this version
    #[arg(long, value_name = "VERSION")]
    at: Option<u64>,
    /// One line of JSON with the version
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct PutArgs {
    /// The key
    key: String,
    /// The value
    #[arg(required_unless_present = "file")]
    value: Option<String>,
    /// Where the value is; -: standard input
    #[arg(long, value_name = "PATH", conflicts_with = "value")]
    file: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct DeleteArgs {
    /// The key
    key: String,
}

#[derive(Args, Debug)]
struct ScanArgs {
    /// Only keys that begin with this
    #[arg(conflicts_with_all = ["start", "end"])]
    prefix: Option<String>,
    /// The first key, itself included
    #[arg(long, value_name = "KEY")]
    start: Option<String>,
    /// The end, itself excluded
    #[arg(long, value_name = "KEY")]
    end: Option<String>,
    /// The most rows [default: no limit]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// From the last row to the first
    #[arg(long)]
    reverse: bool,
    /// Read the past as of this version
    #[arg(long, value_name = "VERSION")]
    at: Option<u64>,
    /// Only keys
    #[arg(long)]
    keys_only: bool,
    /// One line of JSON per row
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct CasArgs {
    /// The key
    key: String,
    /// The new value
    #[arg(required_unless_present_any = ["file", "delete"])]
    value: Option<String>,
    /// Where the value is; -: standard input
    #[arg(long, value_name = "PATH", conflicts_with = "value")]
    file: Option<PathBuf>,
    /// Delete the key
    #[arg(long, conflicts_with_all = ["value", "file"])]
    delete: bool,
    /// The version that the key must have now; 0: it must not exist
    #[arg(long, value_name = "VERSION")]
    expect: u64,
}

#[derive(Serialize)]
struct RowLine<'a> {
    key: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Text<'a>>,
    version: u64,
}

#[derive(Serialize)]
struct WriteLine<'a> {
    version: u64,
    durability: &'a str,
}

#[derive(Serialize)]
struct DeleteLine<'a> {
    existed: bool,
    durability: &'a str,
}

pub(super) async fn run(args: KvArgs) -> Outcome {
    let client = args.address.client()?;
    let ScopeArgs { tenant, app, agent, run } = args.scope;
    let scope = Scope { tenant, app, agent, run, type_tag: 0 };
    match args.command {
        KvCommand::Get(args) => get(&client, &scope, args).await,
        KvCommand::Put(args) => put(&client, &scope, args).await,
        KvCommand::Delete(args) => delete(&client, &scope, args).await,
        KvCommand::Scan(args) => scan(&client, &scope, &args).await,
        KvCommand::Cas(args) => compare_and_set(&client, &scope, args).await,
    }
}

async fn get(client: &Client, scope: &Scope, args: GetArgs) -> Outcome {
    let found = client.kv_get(scope, args.key.clone(), args.at).await?;
    let found = found.ok_or_else(|| no_key(&args.key))?;
    let mut out = Out::new();
    if args.json {
        let (key, value) = (Text(args.key.as_bytes()), Some(Text(&found.value)));
        out.json(&RowLine { key, value, version: found.version })?;
    } else {
        out.bytes(&found.value)?;
        // Files and pipes get the value as it is; a person's prompt begins on its own line.
        if io::stdout().is_terminal() {
            out.line("")?;
        }
    }
    out.flush()?;
    Ok(0)
}

fn no_key(key: &str) -> Failure {
    Failure::new(
        exit::REFUSED,
        format!("key {key:?} does not exist; write it with 'rekindle kv put {key} VALUE'"),
    )
}

async fn put(client: &Client, scope: &Scope, args: PutArgs) -> Outcome {
    let value = value(args.value, args.file.as_deref())?.unwrap_or_default();
    let (version, durability) = client.kv_put(scope, args.key, value).await?;
    written(&WriteLine { version, durability: durability.word() })
}

async fn delete(client: &Client, scope: &Scope, args: DeleteArgs) -> Outcome {
    let (existed, durability) = client.kv_delete(scope, args.key).await?;
    written(&DeleteLine { existed, durability: durability.word() })
}

async fn compare_and_set(client: &Client, scope: &Scope, args: CasArgs) -> Outcome {
    let value = value(args.value, args.file.as_deref())?;
    let expected = match args.expect {
        0 => Expected::Absent,
        version => Expected::Version(version),
    };
    let (version, durability) = client.kv_compare_and_set(scope, args.key, expected, value).await?;
    written(&WriteLine { version, durability: durability.word() })
}

fn written(line: &impl Serialize) -> Outcome {
    let mut out = Out::new();
    out.json(line)?;
    out.flush()?;
    Ok(0)
}

async fn scan(client: &Client, scope: &Scope, args: &ScanArgs) -> Outcome {
    let (start, end) = match &args.prefix {
        Some(prefix) => (Bytes::from(prefix.clone()), prefix_end(prefix.as_bytes())),
        None => {
            let bytes = |key: &Option<String>| Bytes::from(key.clone().unwrap_or_default());
            (bytes(&args.start), bytes(&args.end))
        }
    };
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut next = Some(ScanOptions {
        start,
        end,
        limit: 0,
        reverse: args.reverse,
        at_version: args.at,
        keys_only: args.keys_only,
    });
    let mut out = Out::new();
    while let Some(mut options) = next.filter(|_| left > 0) {
        options.limit = u32::try_from(left.min(PAGE)).unwrap_or(u32::MAX);
        let page = client.kv_scan(scope, &options).await?;
        for row in &page.rows {
            print(&mut out, row, args)?;
        }
        out.flush()?;
        left = left.saturating_sub(u64::try_from(page.rows.len()).unwrap_or(u64::MAX));
        next = options.following(&page);
    }
    Ok(0)
}

fn print(out: &mut Out, row: &Row, args: &ScanArgs) -> Result<(), Failure> {
    if args.json {
        let value = (!args.keys_only).then_some(Text(&row.value));
        out.json(&RowLine { key: Text(&row.key), value, version: row.version })?;
    } else {
        let key = String::from_utf8_lossy(&row.key);
        let value = String::from_utf8_lossy(&row.value);
        out.line(&if args.keys_only { key.into_owned() } else { format!("{key}\t{value}") })?;
    }
    Ok(())
}

/// The smallest key behind all keys with this prefix; empty: there is none.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end.into()
}

/// The value of an argument, or of a file.
#[allow(clippy::disallowed_types, reason = "a user's file, not a part of any store")]
fn value(argument: Option<String>, file: Option<&Path>) -> Result<Option<Bytes>, Failure> {
    let Some(path) = file else { return Ok(argument.map(Bytes::from)) };
    let read = |input: &mut dyn Read| {
        let mut bytes = Vec::new();
        input.take(VALUE_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes)
    };
    let bytes = if path == Path::new("-") {
        read(&mut io::stdin().lock())
    } else {
        std::fs::File::open(path).and_then(|mut file| read(&mut file))
    };
    match bytes {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) => {
            Err(Failure::new(exit::USAGE, format!("cannot read {}: {error}", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_behind_all_its_keys() {
        assert_eq!(prefix_end(b"ab").as_ref(), b"ac");
        assert_eq!(prefix_end(b"a\xFF").as_ref(), b"b");
        assert_eq!(prefix_end(b"\xFF\xFF").as_ref(), b"");
        assert_eq!(prefix_end(b"").as_ref(), b"");
    }

    #[test]
    fn rows_are_lines_of_json() {
        let json = |line: &RowLine<'_>| serde_json::to_string(line).expect("a line serializes");
        let row = RowLine { key: Text(b"k"), value: Some(Text(b"\xFF")), version: 7 };
        assert_eq!(json(&row), r#"{"key":"k","value":{"base64":"/w=="},"version":7}"#);
        let key = RowLine { key: Text(b"k"), value: None, version: 7 };
        assert_eq!(json(&key), r#"{"key":"k","version":7}"#);
    }
}
