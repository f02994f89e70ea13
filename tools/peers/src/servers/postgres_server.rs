//! PostgreSQL: a table of jobs, claimed with `SKIP LOCKED`, as libraries for jobs do it (River and
//! its kind); durable by its own defaults, which are said all the same.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use postgres::{Client, NoTls, Statement};

use super::{Jobs, Peer, programs};
use crate::text;

pub(crate) const PEER: Peer = Peer { name: "PostgreSQL", command, connect };

/// Where Debian keeps the programs, by version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Who the server is when we are root, which it refuses to be.
const USER: &str = "postgres";

/// The least that a queue of jobs needs: an order, a claim, attempts, times, an end. The index
/// holds only what waits, which is the cheapest for whoever claims.
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS job (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        queue text NOT NULL,
        kind text NOT NULL,
        state text NOT NULL DEFAULT 'waiting',
        priority smallint NOT NULL DEFAULT 0,
        attempt integer NOT NULL DEFAULT 0,
        payload jsonb NOT NULL,
        submitted_at timestamptz NOT NULL DEFAULT now(),
        run_at timestamptz NOT NULL DEFAULT now(),
        claimed_at timestamptz,
        claimed_by text,
        finished_at timestamptz
    );
    CREATE INDEX IF NOT EXISTS job_waits ON job (queue, priority, run_at, id)
        WHERE state = 'waiting';
    CREATE INDEX IF NOT EXISTS job_finished ON job (finished_at) WHERE finished_at IS NOT NULL;
";
const SUBMIT_ONE: &str =
    "INSERT INTO job (queue, kind, payload) VALUES ('bench', 'resize', $1::text::jsonb)";
const SUBMIT_MANY: &str = "
    INSERT INTO job (queue, kind, payload)
    SELECT 'bench', 'resize', payload::jsonb FROM unnest($1::text[]) AS payload";
const CLAIM: &str = "
    UPDATE job
    SET state = 'worked_on', attempt = attempt + 1, claimed_at = now(), claimed_by = 'bench'
    WHERE id = (
        SELECT id FROM job
        WHERE state = 'waiting' AND queue = 'bench' AND run_at <= now()
        ORDER BY priority, run_at, id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, attempt, payload::text";
const COMPLETE: &str = "
    UPDATE job SET state = 'completed', finished_at = now()
    WHERE id = $1 AND attempt = $2 AND state = 'worked_on'";

fn command(dir: &Path, port: u16) -> Result<Option<Command>, String> {
    let further = programs::of_versions(Path::new(DEBIAN));
    let Some(place) = programs::directory_with(&["initdb", "postgres"], further) else {
        return Ok(None);
    };
    let user = if rustix::process::geteuid().is_root() {
        let (user, group) = programs::user(USER).ok_or("root may not run it; no user postgres")?;
        chown(dir, Some(user), Some(group)).map_err(text)?;
        Some((user, group))
    } else {
        None
    };
    let data = dir.join("data");
    let program = |name: &str| {
        let mut command = Command::new(place.join(name));
        command.arg("-D").arg(&data).current_dir("/");
        if let Some((user, group)) = user {
            command.uid(user).gid(group);
        }
        command
    };
    let mut made = program("initdb");
    made.args(["--username", USER, "--auth", "trust", "--locale", "C", "--encoding", "UTF8"]);
    let made = made.stdin(Stdio::null()).output().map_err(text)?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        let said = said.lines().last().unwrap_or_default();
        return Err(format!("initdb: {said} (can the user {USER} reach {}?)", dir.display()));
    }
    let mut server = program("postgres");
    for setting in [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "fsync=on".to_owned(),
        "synchronous_commit=on".to_owned(),
    ] {
        server.arg("-c").arg(setting);
    }
    Ok(Some(server))
}

fn connect(port: u16) -> Result<Box<dyn Jobs>, String> {
    Table::connect(port).map(|table| Box::new(table) as Box<dyn Jobs>).map_err(text)
}

struct Table {
    client: Client,
    submit_one: Statement,
    submit_many: Statement,
    claim: Statement,
    complete: Statement,
}

impl Table {
    fn connect(port: u16) -> Result<Self, postgres::Error> {
        let address = format!("host=127.0.0.1 port={port} user={USER} dbname=postgres");
        let mut client = Client::connect(&address, NoTls)?;
        client.batch_execute(TABLE)?;
        Ok(Self {
            submit_one: client.prepare(SUBMIT_ONE)?,
            submit_many: client.prepare(SUBMIT_MANY)?,
            claim: client.prepare(CLAIM)?,
            complete: client.prepare(COMPLETE)?,
            client,
        })
    }

    fn submit(&mut self, payloads: &[String]) -> Result<u64, postgres::Error> {
        match payloads {
            [payload] => self.client.execute(&self.submit_one, &[payload]),
            several => self.client.execute(&self.submit_many, &[&several]),
        }
    }

    fn work(&mut self) -> Result<bool, postgres::Error> {
        let Some(claimed) = self.client.query_opt(&self.claim, &[])? else { return Ok(false) };
        let (id, attempt): (i64, i32) = (claimed.try_get(0)?, claimed.try_get(1)?);
        Ok(self.client.execute(&self.complete, &[&id, &attempt])? == 1)
    }
}

impl Jobs for Table {
    fn submit(&mut self, payloads: &[String]) -> Result<(), String> {
        let submitted = Self::submit(self, payloads).map_err(text)?;
        let all = submitted == payloads.len() as u64;
        all.then_some(()).ok_or_else(|| format!("{submitted} of {} jobs", payloads.len()))
    }

    fn work(&mut self) -> Result<bool, String> {
        Self::work(self).map_err(text)
    }

    fn clear(&mut self) -> Result<(), String> {
        self.client.batch_execute("TRUNCATE job; CHECKPOINT").map_err(text)
    }

    fn settle(&mut self) -> Result<(), String> {
        // Each by itself: VACUUM cannot be part of a transaction.
        let asked = ["VACUUM ANALYZE job", "CHECKPOINT"];
        asked.into_iter().try_for_each(|asked| self.client.batch_execute(asked)).map_err(text)
    }

    fn version(&mut self) -> Result<String, String> {
        let row = self.client.query_one("SHOW server_version", &[]).map_err(text)?;
        row.try_get(0).map_err(text)
    }
}
