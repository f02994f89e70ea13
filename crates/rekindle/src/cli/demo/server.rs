//! The server of the demo: a process of its own, of this same program.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rekindle_recovery::exit;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::cli::failure::Failure;

/// Far above what a start or a stop takes here.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) struct Server {
    child: Child,
    pub(super) grpc: String,
    pub(super) http: String,
}

impl Server {
    /// Starts a server on `DIRECTORY/store`, on free ports or on those of `before`, and waits until
    /// it says that it is ready.
    pub(super) async fn start(directory: &Path, before: Option<&Self>) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::io("cannot find this program", &error))?;
        let address =
            |known: Option<&String>| known.cloned().unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let log = directory.join(if before.is_some() { "server-2.log" } else { "server-1.log" });
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--data")
            .arg(directory.join("store"))
            .args(["--grpc", &address(before.map(|server| &server.grpc))])
            .args(["--http", &address(before.map(|server| &server.http))])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(create(&log)?)
            .kill_on_drop(true);
        // The demo must show the defaults, whatever the shell around it sets.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REKINDLE") {
                command.env_remove(name);
            }
        }
        let mut child =
            command.spawn().map_err(|error| Failure::io("cannot start the server", &error))?;
        let (grpc, http) = match tokio::time::timeout(PATIENCE, ports(&mut child)).await {
            Ok(Some(ports)) => ports,
            Ok(None) | Err(_) => {
                let message = format!("the server did not start; see {}", log.display());
                return Err(Failure::new(exit::IO, message));
            }
        };
        Ok(Self { child, grpc, http })
    }

    /// SIGKILL, and waits until the process is gone: until then it holds the directory.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(|error| Failure::io("cannot kill the server", &error))
    }

    /// SIGTERM, and waits for the end.
    pub(super) async fn stop(mut self) -> Result<ExitStatus, Failure> {
        let failed = |error| Failure::io("cannot stop the server", &error);
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(id) = rustix::process::Pid::from_raw(id)
        {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)
                .map_err(|error| failed(error.into()))?;
        }
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.map_err(failed),
            Err(_) => Err(Failure::new(exit::IO, "the server did not stop in time")),
        }
    }
}

/// Reads what the server prints once it is ready.
async fn ports(child: &mut Child) -> Option<(String, String)> {
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    let (mut grpc, mut http) = (None, None);
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.strip_prefix("grpc:") {
            grpc = Some(address.trim().to_owned());
        } else if let Some(address) = line.strip_prefix("http:") {
            http = Some(rekindle_client::normal_address(address).to_owned());
        }
        if let (Some(grpc), Some(http)) = (&grpc, &http) {
            return Some((grpc.clone(), http.clone()));
        }
    }
    None
}

#[allow(clippy::disallowed_types, reason = "a log file beside the store, not a part of it")]
fn create(path: &Path) -> Result<std::fs::File, Failure> {
    std::fs::File::create(path)
        .map_err(|error| Failure::io(&format!("cannot create {}", path.display()), &error))
}
