//! Executors: workers of jobs inside the server, off unless configured.
//!
//! ```text
//! [executors.command.TYPE] ─▶ pool: claim ─▶ command ─▶ shim ─▶ verdict ─▶ tell
//! [executors.webhook.TYPE] ─▶ pool: claim ─▶ webhook ─▶ POST ─▶ verdict ─▶ tell
//! [loops] ─▶ pool: claim a step ─▶ work: its directory ─▶ command ─▶ shim ─▶ steps: what is told
//! start: evidence (CommandLayer) ─▶ claims are settled by it ─▶ what goes on is taken up here
//! ```
//!
//! Invariants: an executor is a worker like any other, it has no way around the claim; the
//! directory of a command goes only after its end was acknowledged, or when the job is somebody
//! else's; what a dead server left is settled before anything new is claimed.

mod command;
mod evidence;
mod held;
mod pool;
pub mod settings;
mod steps;
mod verdict;
mod webhook;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rekindle_env::Env;
use rekindle_recovery::{Failure, LayerReport, examine};
use rekindle_services::claims::Traces;
use rekindle_services::{Loops, Services};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use evidence::{CommandLayer, Left, traces};
use held::Phase;
pub use settings::Executors as Settings;
pub use steps::StepSettings;
pub use work::{Leftover, Work};

/// The directory below the store's in which commands have theirs.
const DIRECTORY: &str = "executions";

/// The same, of loops.
const LOOPS: &str = "loops";

/// Where the commands of this store have their directories. Absolute: commands have other working
/// directories than the server.
#[must_use]
pub fn directory(data: &Path) -> PathBuf {
    let dir = data.join(DIRECTORY);
    std::path::absolute(&dir).unwrap_or(dir)
}

/// Where what there is of loops on disk lies: transcripts, working directories.
#[must_use]
pub fn loops(data: &Path) -> PathBuf {
    let dir = data.join(LOOPS);
    std::path::absolute(&dir).unwrap_or(dir)
}

/// What claims are settled by, and what a start would find of commands, decide and do about them.
/// Changes nothing.
///
/// # Errors
/// The machine does not let us look.
pub fn plan(env: &Env, data: &Path) -> Result<(Traces, LayerReport), Failure> {
    let layer = CommandLayer { dir: directory(data) };
    let examined = examine(&layer, env, env.clock.as_ref())?;
    Ok((traces(&examined.trusted), examined.report))
}

/// What executors did since the start.
#[derive(Debug, Default)]
pub struct Figures {
    running: AtomicU64,
    started: AtomicU64,
    resumed: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
}

impl Figures {
    /// Jobs that executors work on now.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    /// Jobs that executors began.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Jobs that they completed.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Attempts that went wrong.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Jobs that they took up from a server that had died.
    #[must_use]
    pub fn resumed(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }
}

/// How often it is looked for directories of executions that are over.
const SWEEP: Duration = Duration::from_secs(2);

/// Removes the directories of executions that are over, until the server ends.
async fn sweep(env: Env, work: Work, loops: Loops, mut phase: watch::Receiver<Phase>) {
    loop {
        let (env, work, loops) = (env.clone(), work.clone(), loops.clone());
        let swept = tokio::task::spawn_blocking(move || work.clean(&env, &loops));
        if let Ok(Err(error)) = swept.await {
            tracing::warn!(%error, "directories of executions are not looked through");
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            ended = phase.wait_for(|phase| *phase >= Phase::Draining) => {
                let _ = ended;
                return;
            }
        }
    }
}

/// The executors of a server that runs.
#[derive(Debug)]
pub(crate) struct Executing {
    phase: watch::Sender<Phase>,
    all: JoinHandle<()>,
}

impl Executing {
    /// Goes on with what was left, and claims jobs of the configured types.
    pub(crate) fn start(
        env: &Env,
        data: &Path,
        services: &Services,
        (settings, work): (&Settings, &Work),
        left: &[Left],
        figures: &Arc<Figures>,
    ) -> Self {
        let (phase, watched) = watch::channel(Phase::Running);
        let context = held::Context {
            env: env.clone(),
            jobs: services.jobs().clone(),
            dir: directory(data),
            phase: watched,
            figures: Arc::clone(figures),
            turns: held::Turns::default(),
            work: work.clone(),
        };
        tokio::spawn(sweep(env.clone(), work.clone(), services.loops().clone(), phase.subscribe()));
        let all = tokio::spawn(pool::all(context, settings.clone(), left.to_vec()));
        Self { phase, all }
    }

    /// Claims nothing more from now on.
    pub(crate) fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// Waits for half of this time for what runs, then asks it to end, and gives its jobs back.
    /// What does not end in time ends without us: the next start finds how.
    pub(crate) async fn stop(mut self, within: Duration) {
        self.drain();
        let half = within / 2;
        if tokio::time::timeout(half, &mut self.all).await.is_ok() {
            return;
        }
        self.phase.send_replace(Phase::Stopping);
        if tokio::time::timeout(half, &mut self.all).await.is_err() {
            tracing::warn!("commands that do not end in time are left to the next start");
        }
    }
}
