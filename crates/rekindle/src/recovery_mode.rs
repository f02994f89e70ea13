//! `serve --recovery-mode`: a server that starts limited on purpose, to look and to decide.
//!
//! It reads every byte as `verify` does; what can be opened is opened over an overlay that is
//! thrown away, so that reads show what the next start would make of the store. Invariants: no
//! claim is settled and nothing is dispatched; the gRPC front stays closed; the directory is
//! changed by an operator's decision and by nothing else; while this server lives no other starts
//! on the directory, but for the moment in which a decision takes it for itself.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use rekindle_database::{Database, Error as DatabaseError, RepairOptions, Salvage};
use rekindle_env::{DirectoryLock, Env, LockMode};
use rekindle_recovery::{LayerReport, Report, exit};
use rekindle_services::{Options as ServiceOptions, Services};

use crate::boot::{self, Recovered, Refused};
use crate::config::Config;
use crate::executors;
use crate::overlay;
use crate::repaired::{self, PROGRAM, Repaired};
use crate::reports::Writing;
use crate::state::Server;

/// A directory that is looked at.
#[derive(Debug)]
pub struct RecoveryMode {
    data: PathBuf,
    /// None while a decision has the directory, or when another process took it right then.
    held: Mutex<Option<Box<dyn DirectoryLock>>>,
    seen: RwLock<Seen>,
}

/// What is known of the directory.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What every byte of it says, as `verify` would.
    pub report: Report,
    /// The ranges whose loss a repair must accept; none where a repair cannot pass what is damaged.
    pub ranges: Vec<Range<u64>>,
    /// What a repair would do; why it cannot, where there is something to repair.
    pub plan: Option<Result<Repaired, String>>,
    /// What was decided here last, for people.
    pub decided: Option<Vec<String>>,
    /// Why all this is of before that decision, where it is.
    pub outdated: Option<String>,
}

/// What a look at the directory gives.
struct Look {
    seen: Seen,
    /// What can be read, as the next start would have it; nothing where that is refused.
    recovered: Option<Recovered>,
}

impl RecoveryMode {
    /// Takes the directory and looks at it. Blocking.
    pub(crate) fn begin(server: &Server) -> Result<(), Refused> {
        let (config, env) = (&server.config, &server.env);
        let held = hold(config, env).map_err(|error| boot::refuse(&error, &config.data))?;
        let look = look(config, env).map_err(|error| boot::refuse(&error, &config.data))?;
        let mode = Self {
            data: config.data.clone(),
            held: Mutex::new(Some(held)),
            seen: RwLock::new(look.seen),
        };
        server.look(mode, look.recovered);
        Ok(())
    }

    /// What is known of the directory.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What every byte of the directory says, as `verify` would.
    #[must_use]
    pub fn report(&self) -> Report {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).report.clone()
    }

    /// An operator accepts losses: the store is repaired, and looked at again. One decision at a
    /// time; blocking. A repair that was done is answered as such whatever becomes of the look.
    pub(crate) fn repair(
        &self,
        server: &Server,
        accept: Vec<Range<u64>>,
        reason: String,
        who: String,
    ) -> Result<Repaired, DatabaseError> {
        let (config, env) = (&server.config, &server.env);
        let options = RepairOptions { accept, who, reason, program: PROGRAM.to_owned() };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // A repair takes the directory for itself.
        *held = None;
        let repaired = rekindle_database::repair(&self.data, &options, env);
        let looked = hold(config, env).and_then(|lock| {
            *held = Some(lock);
            if repaired.is_ok() { look(config, env).map(Some) } else { Ok(None) }
        });
        let mut repaired = match (repaired, &looked) {
            (Ok(done), _) => Repaired::new(done, false),
            (Err(error), Ok(_)) => return Err(error),
            (Err(error), Err(lost)) => {
                self.outdate(lost);
                return Err(error);
            }
        };
        match looked {
            Ok(None) => {}
            Ok(Some(Look { seen, recovered })) => {
                self.replace(Seen { decided: Some(repaired.text()), ..seen });
                server.looked_again(recovered);
            }
            Err(error) => {
                let said = self.outdate(&error);
                repaired.warning = Some(said);
                let decided = Some(repaired.text());
                self.replace(Seen { decided, ..self.seen() });
            }
        }
        Ok(repaired)
    }

    /// An operator has everything that can be read written out. One decision at a time; blocking.
    pub(crate) fn salvage(&self, server: &Server, out: &Path) -> Result<Salvage, DatabaseError> {
        let _held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let done = rekindle_database::salvage(&self.data, out, &server.env)?;
        let (files, rows) =
            (done.files.len(), done.files.iter().map(|file| file.rows).sum::<u64>());
        let whole = if done.whole { "all of the store" } else { "what can be read of the store" };
        let out = out.display();
        let line = format!("{whole} is in {out}: {rows} rows in {files} files");
        tracing::warn!(target: "rekindle::audit", %out, whole = done.whole, rows, "salvaged");
        self.replace(Seen { decided: Some(vec![line]), ..self.seen() });
        Ok(done)
    }

    /// Waits until a decision that was begun is done; answers whether there was one. Blocking.
    pub(crate) fn await_decision(&self) -> bool {
        let busy = matches!(self.held.try_lock(), Err(TryLockError::WouldBlock));
        drop(self.held.lock());
        busy
    }

    fn replace(&self, seen: Seen) {
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// Notes that what is known is of before the last decision; says why.
    fn outdate(&self, error: &DatabaseError) -> String {
        let said = format!(
            "the directory could not be looked at again ({error}): end this server, and ask \
             'rekindle verify'"
        );
        self.replace(Seen { outdated: Some(said.clone()), ..self.seen() });
        said
    }
}

/// Keeps every process away that would change the directory.
fn hold(config: &Config, env: &Env) -> Result<Box<dyn DirectoryLock>, DatabaseError> {
    let data = config.data.display();
    match env.disk.lock(&config.data, LockMode::Shared) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(DatabaseError::Locked(data.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(DatabaseError::NotAStore(format!("{data} does not exist")))
        }
        Err(source) => Err(DatabaseError::Io { context: format!("locking {data}"), source }),
    }
}

/// Reads every byte, and opens what a start would open.
fn look(config: &Config, env: &Env) -> Result<Look, DatabaseError> {
    let mut report = rekindle_database::verify(&config.data, env)?;
    if report.refusal().is_some() {
        return Ok(Look { seen: damaged(report, config, env), recovered: None });
    }
    match over(config, env) {
        Ok((database, Ok((services, layers)))) => {
            layers.iter().cloned().for_each(|layer| report.add(layer));
            let mut own = database.report().clone();
            layers.into_iter().for_each(|layer| own.add(layer));
            let writing = Writing::nothing();
            let recovered =
                Recovered { database, services, report: own, writing, left: Arc::new([]) };
            Ok(Look { seen: seen(report), recovered: Some(recovered) })
        }
        Ok((_, Err(error))) => {
            boot::add_unled(&mut report, &error);
            Ok(Look { seen: seen(report), recovered: None })
        }
        // What a start refuses is the verdict, whatever was found before.
        Err(DatabaseError::Corrupt(report) | DatabaseError::Refused { report, .. }) => {
            Ok(Look { seen: damaged(*report, config, env), recovered: None })
        }
        Err(error) => Err(error),
    }
}

/// A report, with nothing to decide.
fn seen(report: Report) -> Seen {
    Seen { report, ranges: vec![], plan: None, decided: None, outdated: None }
}

/// A report of a store that is refused, with what a repair would make of it.
fn damaged(report: Report, config: &Config, env: &Env) -> Seen {
    let ranges = repaired::ranges(&report);
    let plan = (!ranges.is_empty()).then(|| {
        let accept = ranges.clone();
        let (who, reason) = (String::new(), String::new());
        let options = RepairOptions { accept, who, reason, program: PROGRAM.to_owned() };
        let plan = rekindle_database::plan_repair(&config.data, &options, env);
        plan.map(|plan| Repaired::new(plan, true)).map_err(|error| error.to_string())
    });
    Seen { ranges, plan, ..seen(report) }
}

/// Services over an overlay, or why they could not be recovered.
type Led = Result<(Services, Vec<LayerReport>), rekindle_services::Error>;

/// A start over an overlay, whose changes end with it.
fn over(config: &Config, env: &Env) -> Result<(Database, Led), DatabaseError> {
    let database = overlay::open(&config.data, config.max_state_bytes, env)?;
    let (traces, commands) = executors::plan(env, &config.data)?;
    let options = ServiceOptions { background: false, traces, ..ServiceOptions::default() };
    let led = Services::lead(&database, options).map(|(services, mut reports)| {
        reports.push(commands);
        (services, reports)
    });
    Ok((database, led))
}

/// What a person reads on the terminal: what there is, and the next command.
pub(crate) fn announcement(server: &Server, mode: &RecoveryMode) -> String {
    let Seen { report, ranges, .. } = mode.seen();
    let data = std::path::absolute(&mode.data).unwrap_or_else(|_| mode.data.clone());
    let data = data.display();
    let http = server.addresses().map_or_else(String::new, |it| it.http.to_string());
    let next = match (report.code, ranges.as_slice()) {
        (exit::CLEAN | exit::TORN | exit::HEALED, _) => {
            "nothing stands in the way: end this one and start without --recovery-mode".to_owned()
        }
        (_, []) => "bring the named file back from a copy, or restore a backup".to_owned(),
        (_, ranges) => {
            let accepted = repaired::accept_flags(ranges);
            format!("rekindle repair --http {http} {accepted} --reason TEXT")
        }
    };
    format!(
        "rekindle {version} is in recovery mode: it serves no work\n\
         data:       {data}\n\
         http:       http://{http}\n\
         verdict:    {verdict}\n\
         next:       {next}\n",
        version = env!("CARGO_PKG_VERSION"),
        verdict = report.verdict_line(),
    )
}
