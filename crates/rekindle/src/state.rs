//! What the parts of one server share.
//!
//! Invariant: what is learned at the start is set once, before anything is served from it.

use std::sync::{Arc, OnceLock};

use rekindle_env::Env;
use tokio::sync::Semaphore;

use crate::alerts::Alerts;
use crate::boot::Recovered;
use crate::config::Config;
use crate::executors::{Figures, Work};
use crate::front::budget::Budget;
use crate::front::connections::Doorman;
use crate::front::http::token::FormToken;
use crate::front::limits::HTTP_WAITING_MAX;
use crate::front::ui::Board;
use crate::listen::Addresses;
use crate::metrics::Counters;
use crate::metrics::disk::DiskTimes;
use crate::progress::{Progress, Stage};
use crate::recovery_mode::RecoveryMode;
use crate::runs::RunLog;

/// One server.
#[derive(Debug)]
pub struct Server {
    /// Its settings.
    pub config: Config,
    /// How far it is.
    pub progress: Progress,
    /// The machine, with a disk that is measured.
    pub env: Env,
    /// The record of this run, and those before it.
    pub run: Arc<RunLog>,
    /// What the disk was measured to do.
    pub disk_times: DiskTimes,
    /// The alert rules, and what fires.
    pub alerts: Alerts,
    /// What was counted.
    pub counters: Counters,
    /// What executors do.
    pub executions: Arc<Figures>,
    /// Where the steps of loops work.
    pub work: Work,
    /// Connections to the HTTP front.
    pub http_doorman: Arc<Doorman>,
    /// Connections to the gRPC front.
    pub grpc_doorman: Arc<Doorman>,
    /// Bytes and calls of work in flight, of both fronts.
    pub budget: Arc<Budget>,
    /// Places for HTTP requests whose answers wait for the disk.
    pub http_waiting: Arc<Semaphore>,
    /// What the pages share.
    pub page: Board,
    /// What the forms of this process's own pages carry.
    pub form_token: FormToken,
    addresses: OnceLock<Addresses>,
    recovered: OnceLock<Recovered>,
    recovery_mode: OnceLock<RecoveryMode>,
}

impl Server {
    /// A server that is about to start.
    #[must_use]
    pub fn new(config: Config, env: &Env) -> Arc<Self> {
        let disk_times = DiskTimes::default();
        let limits = &config.limits;
        let doorman = || Doorman::new(limits.connections, limits.connections_per_address);
        Arc::new(Self {
            progress: Progress::new(env.clock.clone()),
            run: Arc::new(RunLog::new(env, config.data.clone())),
            env: disk_times.measure(env),
            disk_times,
            alerts: Alerts::new(config.alerts.thresholds.clone()),
            counters: Counters::default(),
            executions: Arc::default(),
            work: Work::of_store(&config.data),
            http_doorman: doorman(),
            grpc_doorman: doorman(),
            budget: Budget::new(limits),
            http_waiting: Arc::new(Semaphore::new(HTTP_WAITING_MAX)),
            page: Board::new(env.random.as_ref()),
            form_token: FormToken::draw(env.random.as_ref()),
            addresses: OnceLock::new(),
            recovered: OnceLock::new(),
            recovery_mode: OnceLock::new(),
            config,
        })
    }

    /// Notes where it can be reached; the first note counts.
    pub fn bind(&self, addresses: Addresses) {
        self.addresses.get_or_init(|| addresses);
    }

    /// Where it can be reached, once that is known.
    #[must_use]
    pub fn addresses(&self) -> Option<Addresses> {
        self.addresses.get().copied()
    }

    /// Hands over what was recovered.
    ///
    /// # Panics
    /// When it was handed over before: a server starts once.
    pub fn recover(&self, recovered: Recovered) -> &Recovered {
        assert!(self.recovered.get().is_none(), "a server recovers once");
        self.recovered.get_or_init(|| recovered)
    }

    /// Notes what recovery mode looks at, and what of it can be read.
    pub(crate) fn look(&self, mode: RecoveryMode, recovered: Option<Recovered>) {
        self.recovery_mode.get_or_init(|| mode);
        self.looked_again(recovered);
    }

    /// Notes what can be read now; what could be read before stays what it was.
    pub(crate) fn looked_again(&self, recovered: Option<Recovered>) {
        if let Some(recovered) = recovered {
            self.recovered.get_or_init(|| recovered);
        }
    }

    /// What recovery mode looks at, in recovery mode.
    #[must_use]
    pub fn recovery_mode(&self) -> Option<&RecoveryMode> {
        self.recovery_mode.get()
    }

    /// What was recovered, or what recovery mode can read, once there is something.
    #[must_use]
    pub fn recovered(&self) -> Option<&Recovered> {
        self.recovered.get()
    }

    /// What can be read: while work is accepted, and in recovery mode.
    #[must_use]
    pub fn readable(&self) -> Option<&Recovered> {
        let readable = [Stage::Ready, Stage::RecoveryMode].contains(&self.progress.stage());
        self.recovered.get().filter(|_| readable)
    }

    /// What was recovered, while work is accepted.
    #[must_use]
    pub fn serving(&self) -> Option<&Recovered> {
        let serving = self.progress.stage() == Stage::Ready;
        self.recovered.get().filter(|_| serving)
    }
}
