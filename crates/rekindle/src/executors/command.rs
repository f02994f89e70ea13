//! One job by a command: started under its shim, or taken up from a server that had died.
//!
//! Invariants: the claim is kept while the command runs, and a command whose claim is lost is told
//! to end; its directory is removed only after what became of it was acknowledged.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekindle_env::Env;
use rekindle_services::jobs::Claimed;
use rekindle_services::loops::Task;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::evidence::{How, Left};
use super::held::{Context, Held, PAUSE, Phase};
use super::settings::CommandSettings;
use super::steps::{self, StepSettings};
use super::verdict::{self, LOST, STOPPED, Server, Verdict};
use super::work::Busy;
use crate::shim::{self, End, Evidence, Identity, Output, Running, Spec};

/// This program, whatever became of its file.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The stack of a thread that only waits.
const STACK_BYTES: usize = 64 << 10;

/// How long a shim that was asked to end its command may take, its grace included, before it is
/// killed itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often what a command printed is read before it is taken for damaged.
const READS: usize = 5;

/// What a command is for.
#[derive(Clone, Debug)]
pub(super) enum Aim {
    /// A job: its output is the result.
    Job,
    /// A step of a loop: how it ended is the result.
    Step(Arc<Task>),
}

/// Runs the command for a job.
pub(super) async fn run(held: Held, settings: &CommandSettings, job: &Claimed) {
    run_spec(held, settings.spec(job), job, Aim::Job).await;
}

/// Does a step of a loop.
pub(super) async fn run_step(held: Held, settings: &StepSettings, job: &Claimed) {
    let Some(task) = steps::task(job.payload()) else {
        return held.tell(&steps::not_begun("its task cannot be read")).await;
    };
    let _busy = held.context.work.busy(task.execution);
    let (env, work, task) = (held.context.env.clone(), held.context.work.clone(), Arc::new(task));
    let (asked, place) = (Arc::clone(&task), work.clone());
    let dir = held.context.dir.join(job.token.to_string());
    let reserved = dir.clone();
    // Its own directory first: what is made for it takes time, and a crash meanwhile is no unknown
    // end.
    let made = blocking(move || {
        shim::reserve(&env, &reserved)?;
        Ok(place.prepare(&env, &asked))
    });
    let verdict = match made.await {
        Ok(Ok(())) => {
            let spec = steps::spec(&task, &work, settings);
            return run_spec(held, spec, job, Aim::Step(task)).await;
        }
        Ok(Err(why)) => steps::not_begun(&why),
        Err(error) => Verdict::Release(error.to_string()),
    };
    held.tell(&verdict).await;
    give_up_later(&held, dir).await;
}

/// Nothing runs in this directory, and nothing will.
async fn give_up_later(held: &Held, dir: PathBuf) {
    let env = held.context.env.clone();
    let _gone = blocking(move || {
        give_up(&env, &dir);
        Ok(())
    })
    .await;
}

async fn run_spec(held: Held, spec: Spec, job: &Claimed, aim: Aim) {
    let dir = held.context.dir.join(job.token.to_string());
    // An earlier attempt may still be ending: its claim was lost, and it has its grace.
    let turn = tokio::select! {
        turn = held.context.turns.take(job.id) => turn,
        () = held.lost() => {
            if matches!(aim, Aim::Step(_)) {
                give_up_later(&held, dir).await;
            }
            return;
        }
        () = held.context.reached(Phase::Stopping) => {
            match aim {
                Aim::Job => held.tell(&Verdict::Stop).await,
                // Not begun, which a step has to know.
                Aim::Step(_) => {
                    held.tell(&Verdict::Release(STOPPED.to_owned())).await;
                    give_up_later(&held, dir).await;
                }
            }
            return;
        }
    };
    let (env, place) = (held.context.env.clone(), dir.clone());
    let is_reserved = matches!(aim, Aim::Step(_));
    let started = blocking(move || {
        let program = Path::new(OWN_PROGRAM);
        let started = match is_reserved {
            true => shim::start_reserved(&env, program, &place, &spec),
            false => shim::start(&env, program, &place, &spec),
        };
        if started.is_err() {
            // Whatever the error was, nothing may begin any more.
            give_up(&env, &place);
        }
        started
    });
    match started.await {
        Ok(running) => watch(held, dir, running, Server::Same, aim).await,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let why = format!("it cannot be run: {error}");
            let verdict = match aim {
                Aim::Job => Verdict::Fail(why, None),
                Aim::Step(_) => steps::not_begun(&why),
            };
            held.tell(&verdict).await;
        }
        Err(error) => {
            tracing::error!(dir = %dir.display(), %error, "the machine lets no command start");
            held.tell(&Verdict::Release(format!("no command could be started: {error}"))).await;
            tokio::time::sleep(PAUSE).await;
        }
    }
    drop(turn);
}

/// Goes on with what an earlier server started.
pub(super) async fn resume(context: Context, left: Left) {
    let Left { token, how } = left;
    let dir = context.dir.join(token.to_string());
    let Some(held) = context.resume(token).await else {
        // Nobody knows the job any more.
        return discard(&context, dir, how).await;
    };
    let aim = held.context.aim(token);
    let _busy = aim.busy(&held.context);
    let turn = held.context.turns.take(token.subject()).await;
    match how {
        // Only an executor's claim is gone on with, whatever the directory says.
        How::Finished(_) if held.is_over().await => discard(&context, dir, how).await,
        How::Finished(end) => finish(held, dir, Evidence::Finished(end), Server::Next, aim).await,
        How::Running(identity) => {
            let running = loop {
                let (env, place, identity) = (context.env.clone(), dir.clone(), identity.clone());
                match blocking(move || shim::adopt(&env, &place, &identity)).await {
                    Ok(running) => break running,
                    Err(error) => {
                        tracing::error!(dir = %dir.display(), %error, "not taken over yet");
                    }
                }
                // It runs: its claim is kept until it can be watched.
                if let Err(error) = held.beat().await {
                    tracing::warn!(%token, %error, "a heartbeat was not taken");
                }
                tokio::time::sleep(PAUSE).await;
            };
            watch(held, dir, running, Server::Adopted, aim).await;
        }
    }
    drop(turn);
}

/// Ends and forgets a command whose job is gone.
async fn discard(context: &Context, dir: PathBuf, how: How) {
    let env = context.env.clone();
    let done = blocking(move || match how {
        How::Running(identity) => end_and_remove(&env, &dir, &identity),
        How::Finished(_) => shim::remove(&env, &dir),
    });
    if let Err(error) = done.await {
        tracing::error!(%error, "a command whose job is gone is left to the next start");
    }
}

/// Watches a command to its end.
async fn watch(held: Held, dir: PathBuf, running: Running, server: Server, aim: Aim) {
    let running = Arc::new(Mutex::new(running));
    let ask = |reason: &'static str| {
        let running = Arc::clone(&running);
        blocking(move || lock(&running).kill(reason))
    };
    let evidence = {
        let mut ended = std::pin::pin!(ended(&running));
        let mut lost = std::pin::pin!(held.lost());
        let mut stopping = std::pin::pin!(held.context.reached(Phase::Stopping));
        let mut draining = std::pin::pin!(held.context.reached(Phase::Draining));
        let outlives = matches!(aim, Aim::Step(_));
        // Why it is to end, and whether it was told.
        let (mut reason, mut asked) = (None, false);
        let mut patience = PATIENCE;
        loop {
            tokio::select! {
                evidence = &mut ended => break evidence,
                () = &mut lost, if reason.is_none() => reason = Some(LOST),
                // The next server goes on with it.
                () = &mut draining, if outlives && reason.is_none() => return,
                () = &mut stopping, if reason.is_none() => reason = Some(STOPPED),
                () = tokio::time::sleep(PAUSE), if reason.is_some() => {
                    patience = patience.saturating_sub(PAUSE);
                }
            }
            if patience.is_zero() {
                // It does not do what it is asked to: it may be stopped.
                patience = PATIENCE;
                let running = Arc::clone(&running);
                let killed = move || lock(&running).kill_shim();
                if let Err(error) = blocking(killed).await {
                    tracing::warn!(dir = %dir.display(), %error, "a shim could not be killed");
                }
            }
            if let Some(reason) = reason.filter(|_| !asked) {
                match ask(reason).await {
                    Ok(()) => asked = true,
                    Err(error) => {
                        tracing::warn!(dir = %dir.display(), %error, "it is told to end again");
                    }
                }
            }
        }
    };
    finish(held, dir, evidence, server, aim).await;
}

/// Waits until the command is over; tells how.
async fn ended(running: &Arc<Mutex<Running>>) -> Evidence {
    loop {
        let descriptor = {
            let running = lock(running);
            running.descriptor().map(|fd| fd.try_clone_to_owned()).transpose()
        };
        let looked = match descriptor {
            Ok(descriptor) => {
                if let Some(descriptor) = descriptor {
                    readable(descriptor).await;
                }
                let running = Arc::clone(running);
                blocking(move || lock(&running).poll()).await
            }
            Err(error) => Err(error),
        };
        match looked {
            Ok(Some(evidence)) => return evidence,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the end of a command is looked at again"),
        }
        // There was nothing to wait for, or the machine did not let us look.
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until a descriptor is readable, on a thread of its own: commands run for hours, and the
/// threads that wait for the disk are others'. Where there is none it is looked at again.
async fn readable(descriptor: OwnedFd) {
    let (tell, told) = tokio::sync::oneshot::channel();
    let wait = move || {
        let mut descriptors = [PollFd::new(&descriptor, PollFlags::IN)];
        while poll(&mut descriptors, None) == Err(Errno::INTR) {}
        // Nobody listens any more when the server ends.
        let _ = tell.send(());
    };
    let thread = std::thread::Builder::new().name("rekindle-command".to_owned());
    if thread.stack_size(STACK_BYTES).spawn(wait).is_ok() {
        let _ = told.await;
    }
}

/// Tells what became of the command, and removes its directory.
async fn finish(held: Held, dir: PathBuf, evidence: Evidence, server: Server, aim: Aim) {
    let verdict = match evidence {
        Evidence::Finished(end) => of_end(&held.context, &dir, end, server, &aim).await,
        Evidence::Unknown { why } | Evidence::Elsewhere { why } => {
            verdict::of_unknown(&why, server != Server::Same)
        }
        Evidence::NotStarted if is_gone(&held.context, &dir) => {
            Verdict::WorkerDied("the directory of the command is gone".to_owned())
        }
        Evidence::NotStarted => Verdict::Release("its shim gave up before it began".to_owned()),
        // It was waited for.
        Evidence::Running(_) => return,
    };
    if let Verdict::Release(reason) = &verdict {
        tracing::error!(dir = %dir.display(), reason, "a command did not begin");
        tokio::time::sleep(PAUSE).await;
    }
    held.tell(&verdict).await;
    if let Aim::Step(task) = &aim {
        steps::forget_report(&held.context.env, task, &held.context.work);
    }
    let (env, place) = (held.context.env.clone(), dir.clone());
    if let Err(error) = blocking(move || shim::remove(&env, &place)).await {
        tracing::warn!(dir = %dir.display(), %error, "the directory of a command stays");
    }
}

/// What the end means; reads what the command printed.
async fn of_end(context: &Context, dir: &Path, end: End, server: Server, aim: &Aim) -> Verdict {
    if end.left > 0 {
        tracing::error!(dir = %dir.display(), left = end.left, "processes of a command do not die");
    }
    let mut reads = 0;
    loop {
        reads += 1;
        let (env, place, read) = (context.env.clone(), dir.to_path_buf(), end.clone());
        match blocking(move || shim::output(&env, &place, &read)).await {
            Ok(output) => {
                let ending = context.is(Phase::Draining);
                let server = match server {
                    Server::Same if ending => Server::Ending,
                    server => server,
                };
                return match aim {
                    Aim::Job => verdict::of_end(&end, output, server),
                    Aim::Step(task) => {
                        steps::of_end(&context.env, task, &context.work, &end, output, server)
                    }
                };
            }
            Err(error) if reads == READS || error.kind() == io::ErrorKind::InvalidData => {
                return match aim {
                    Aim::Job => Verdict::Fail(format!("what it printed is damaged: {error}"), None),
                    // How it ended is known all the same.
                    Aim::Step(task) => {
                        let output = Output::default();
                        steps::of_end(&context.env, task, &context.work, &end, output, server)
                    }
                };
            }
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "its output is read again");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Aim {
    /// The directory that it works in stays while this lives.
    fn busy(&self, context: &Context) -> Option<Busy> {
        match self {
            Self::Job => None,
            Self::Step(task) => Some(context.work.busy(task.execution)),
        }
    }
}

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a directory that was made is not there any more.
fn is_gone(context: &Context, dir: &Path) -> bool {
    matches!(context.env.disk.stat(dir), Ok(None))
}

/// Makes sure that nothing begins in this directory, and removes it.
fn give_up(env: &Env, dir: &Path) {
    let given = || {
        if !shim::forbid(env, dir)?
            && let Evidence::Running(identity) = shim::look(env, dir)?
        {
            return end_and_remove(env, dir, &identity);
        }
        shim::remove(env, dir)
    };
    if let Err(error) = given() {
        tracing::warn!(dir = %dir.display(), %error, "the directory of a command stays");
    }
}

/// Ends a command that nobody wants, and removes its directory.
fn end_and_remove(env: &Env, dir: &Path, identity: &Identity) -> io::Result<()> {
    let mut running = shim::adopt(env, dir, identity)?;
    running.kill(LOST)?;
    running.wait()?;
    shim::remove(env, dir)
}

/// Does what waits for the machine on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(io::Error::other(error)),
    }
}
