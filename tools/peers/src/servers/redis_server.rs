//! Redis: a list of jobs that wait and a list of those that somebody works on; durable by
//! `appendfsync always`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use redis::{Client, Connection, RedisResult, cmd};

use super::{Jobs, Peer, programs};
use crate::text;

pub(crate) const PEER: Peer = Peer { name: "Redis", command, connect };

const PROGRAM: &str = "redis-server";
const WAITING: &str = "waiting";
const WORKED_ON: &str = "worked_on";
/// How long it is waited between two looks at the rewriting of the log.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

fn command(dir: &Path, port: u16) -> Result<Option<Command>, String> {
    let Some(place) = programs::directory_with(&[PROGRAM], vec![]) else { return Ok(None) };
    let mut command = Command::new(place.join(PROGRAM));
    command.arg("--port").arg(port.to_string()).arg("--dir").arg(dir);
    command.args(["--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
    command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    Ok(Some(command))
}

fn connect(port: u16) -> Result<Box<dyn Jobs>, String> {
    let client = Client::open(format!("redis://127.0.0.1:{port}/")).map_err(text)?;
    Ok(Box::new(Lists { connection: client.get_connection().map_err(text)? }))
}

struct Lists {
    connection: Connection,
}

impl Lists {
    fn info(&mut self, section: &str, name: &str) -> Result<String, String> {
        let info: String = cmd("INFO").arg(section).query(&mut self.connection).map_err(text)?;
        let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.map(|value| value.trim().to_owned()).ok_or_else(|| format!("no {name} in INFO"))
    }

    fn submit(&mut self, payloads: &[String]) -> RedisResult<()> {
        cmd("LPUSH").arg(WAITING).arg(payloads).exec(&mut self.connection)
    }

    fn work(&mut self) -> RedisResult<bool> {
        let connection = &mut self.connection;
        let mut claim = cmd("LMOVE");
        claim.arg(WAITING).arg(WORKED_ON).arg("RIGHT").arg("LEFT");
        let Some(payload) = claim.query::<Option<String>>(connection)? else { return Ok(false) };
        let removed: u64 = cmd("LREM").arg(WORKED_ON).arg(1).arg(payload).query(connection)?;
        Ok(removed == 1)
    }
}

impl Jobs for Lists {
    fn submit(&mut self, payloads: &[String]) -> Result<(), String> {
        Self::submit(self, payloads).map_err(text)
    }

    fn work(&mut self) -> Result<bool, String> {
        Self::work(self).map_err(text)
    }

    fn clear(&mut self) -> Result<(), String> {
        cmd("FLUSHALL").exec(&mut self.connection).map_err(text)?;
        self.settle()
    }

    /// Without this the log of one load would be rewritten in the middle of the next.
    #[allow(clippy::disallowed_methods, reason = "another program says nothing when it is done")]
    fn settle(&mut self) -> Result<(), String> {
        cmd("BGREWRITEAOF").exec(&mut self.connection).map_err(text)?;
        while self.info("persistence", "aof_rewrite_in_progress")? != "0"
            || self.info("persistence", "aof_rewrite_scheduled")? != "0"
        {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    }

    fn version(&mut self) -> Result<String, String> {
        self.info("server", "redis_version")
    }
}
