//! Performing commands: a service computes a batch in a transaction, and only the database performs
//! it; a lost race is run again.
//!
//! Invariants: a refusal writes nothing, whatever was written before it was found; refusals and
//! repeated answers, too, wait until what they rest on is acknowledged.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use rekindle_database::{Database, Error as DatabaseError, Transaction};

use crate::alarm::Alarm;
use crate::claims::index::Index;
use crate::claims::{Run, Token};
use crate::error::{Error, Kind};
use crate::keys::Keyspaces;
use crate::limits::ABANDONED_MAX;
use crate::loops::index::LoopIndex;
use crate::loops::transcript::writer::Transcripts;
use crate::numbers::Numbers;
use crate::producers::Session;
use crate::producers::table::ProducerTable;
use crate::queues::definition::Definition;
use crate::schedules::calendar::Calendar;
use crate::tick::Ticked;
use crate::ticket::Ticket;

/// Lost races after which a command gives up. Each means that another transaction succeeded.
const RACES_MAX: usize = 100;

/// Why a command stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The state does not allow it; nothing was written.
    Refused(Error),
    /// The database failed.
    Failed(DatabaseError),
}

impl From<DatabaseError> for Stop {
    fn from(error: DatabaseError) -> Self {
        Self::Failed(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// An answer before it is acknowledged.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// What is answered.
    pub(crate) value: T,
    /// The transaction that had the effect, when it was an earlier one.
    pub(crate) version: Option<u64>,
}

impl<T> Answer<T> {
    /// An answer of this transaction.
    pub(crate) fn new(value: T) -> Self {
        Self { value, version: None }
    }
}

/// A transaction with a command in it, and the answer, or the refusal, once it is acknowledged.
type Prepared<T> = (Transaction, Result<Answer<T>, Error>);

/// One change of state.
pub(crate) trait Command {
    /// What it answers.
    type Value;

    /// Whether it takes up, ends or cleans up work, and so goes on when the store is full.
    const FREES_WORK: bool = false;

    /// The same, where it depends on what is asked for.
    fn frees_work(&self) -> bool {
        Self::FREES_WORK
    }

    /// Reads, decides, writes into the transaction, in this order. Called again after a lost race.
    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Self::Value>, Stop>;

    /// Fills in the version that the transaction was given.
    fn ordered(_value: &mut Self::Value, _version: u64) {}
}

/// Grants whose receiver went away before it had its answer. Invariant: a bounded number; what is
/// above it is not given back early, its lease runs out like any other.
#[derive(Debug, Default)]
pub(crate) struct Abandoned {
    tokens: VecDeque<Token>,
}

impl Abandoned {
    /// Takes up to `max` of them out, the oldest first.
    pub(crate) fn take(&mut self, max: usize) -> Vec<Token> {
        let count = self.tokens.len().min(max);
        self.tokens.drain(..count).collect()
    }
}

impl Extend<Token> for Abandoned {
    fn extend<I: IntoIterator<Item = Token>>(&mut self, tokens: I) {
        let room = ABANDONED_MAX.saturating_sub(self.tokens.len());
        self.tokens.extend(tokens.into_iter().take(room));
    }
}

/// What all services share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) database: Database,
    pub(crate) keyspaces: Keyspaces,
    pub(crate) numbers: Numbers,
    pub(crate) index: Arc<Index>,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) loops: Arc<LoopIndex>,
    /// The transcripts of loops, if any are written.
    pub(crate) transcripts: Option<Arc<Transcripts>>,
    pub(crate) producers: Arc<ProducerTable>,
    pub(crate) alarm: Arc<Alarm>,
    /// The run that this is.
    pub(crate) run: Run,
    /// Nothing is granted any more.
    pub(crate) closing: AtomicBool,
    /// Grants whose receiver went away before it had its answer.
    pub(crate) abandoned: Mutex<Abandoned>,
    /// Held while a person's decision is made: the next one sees what it did.
    pub(crate) deciding: Mutex<()>,
    /// Held while something is due is done: nobody does it twice.
    pub(crate) ticking: Mutex<()>,
    /// What all ticks did since recovery.
    pub(crate) ticked: Mutex<Ticked>,
    /// Log time from which on telling accepted losses is tried again.
    pub(crate) tell_at_ms: AtomicU64,
}

impl Core {
    /// A session of request identities for one transaction.
    pub(crate) fn session(&self, now_ms: u64) -> Session<'_> {
        Session::new(self.keyspaces.producers, &self.producers, now_ms)
    }

    /// Refuses when the store stopped: what is known in memory is no longer true.
    pub(crate) fn alive(&self) -> Result<(), Error> {
        match self.index.is_lost().then(|| self.database.poisoned()).flatten() {
            Some(reason) => Err(DatabaseError::Poisoned(reason).into()),
            None => Ok(()),
        }
    }

    /// A queue by its name.
    pub(crate) fn definition(&self, name: &str) -> Result<Arc<Definition>, Error> {
        self.index.definition(name).ok_or_else(|| Error::no_queue(name))
    }

    /// Where calls are acknowledged before they are applied, the index may not know of them yet:
    /// waits until it does.
    pub(crate) async fn settled(&self) -> Result<(), Error> {
        Ok(self.database.settled().await?)
    }

    /// The same, blocking.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        Ok(self.database.settle()?)
    }

    /// Orders and appends a command, blocking only for room in the journal.
    pub(crate) fn submit<C: Command>(&self, command: &mut C) -> Result<Ticket<C::Value>, Error> {
        for _ in 0..RACES_MAX {
            let Some((txn, answer)) = self.prepare(command)? else { continue };
            match txn.submit() {
                Ok(pending) => return Ok(ticket::<C>(pending, answer)),
                Err(error) if is_a_race(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(gave_up())
    }

    /// The same; awaits room.
    pub(crate) async fn submit_async<C: Command>(
        &self,
        command: &mut C,
    ) -> Result<Ticket<C::Value>, Error> {
        for _ in 0..RACES_MAX {
            let Some((txn, answer)) = self.prepare(command)? else { continue };
            match txn.submit_async().await {
                Ok(pending) => return Ok(ticket::<C>(pending, answer)),
                Err(error) if is_a_race(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(gave_up())
    }

    /// A transaction with the command in it, and the answer once it is acknowledged; `None`: what
    /// it read is gone, another one reads anew.
    fn prepare<C: Command>(&self, command: &mut C) -> Result<Option<Prepared<C::Value>>, Error> {
        let mut txn = self.database.begin();
        if command.frees_work() {
            txn.use_reserve();
        }
        let built = command.build(self, &mut txn);
        // Where the index is lost, it had looked at nothing: that is no reason to be told "fenced".
        self.alive()?;
        match built {
            Ok(answer) => Ok(Some((txn, Ok(answer)))),
            Err(Stop::Refused(error)) => {
                if !cfg!(planted = "refused-writes-kept") {
                    txn.discard_writes();
                }
                Ok(Some((txn, Err(error))))
            }
            Err(Stop::Failed(error)) if is_a_race(&error) => Ok(None),
            Err(Stop::Failed(error)) => Err(error.into()),
        }
    }
}

fn ticket<C: Command>(
    pending: rekindle_database::Pending,
    answer: Result<Answer<C::Value>, Error>,
) -> Ticket<C::Value> {
    let version = pending.version();
    let answer = answer.map(|mut answer| {
        if answer.version.is_none() {
            C::ordered(&mut answer.value, version);
        }
        answer
    });
    Ticket::new(pending, answer)
}

/// Whether the same command may well go through on a newer version: another one was first, or what
/// it read was given up while it waited for room.
fn is_a_race(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Conflict { .. } | DatabaseError::Compacted { .. })
}

fn gave_up() -> Error {
    Error::new(Kind::Retry, "others were faster too often; nothing was done, try again")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rekindle_database::{Env, Options};
    use rekindle_env::{ManualClock, SeededRandom, SimulatedDisk};

    use super::*;
    use crate::claims::Subject;
    use crate::services::Services;

    /// Reads, and at its first turn dawdles until what it read is given up.
    struct Dawdles<'a> {
        clock: &'a ManualClock,
        turns: u32,
    }

    impl Command for Dawdles<'_> {
        type Value = ();

        fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
            self.turns += 1;
            txn.get(core.keyspaces.kv, b"one")?;
            if self.turns == 1 {
                let mut other = core.database.begin();
                other.put(core.keyspaces.kv, b"other", b"1");
                other.commit()?;
                self.clock.advance_ms(61_000);
                core.database.tick()?;
            }
            txn.get(core.keyspaces.kv, b"two")?;
            txn.put(core.keyspaces.kv, b"one", b"1");
            Ok(Answer::new(()))
        }
    }

    /// What a command read may be given up while it waits; nothing was done, and it begins again.
    #[test]
    fn a_command_whose_view_was_given_up_begins_again() {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let env = Env {
            disk: Arc::new(SimulatedDisk::new(1)),
            clock: Arc::clone(&clock) as _,
            random: Arc::new(SeededRandom::new(1)),
        };
        let options = Options { background: false, scrub_every: None, ..Options::default() };
        let database = Database::open_with("/store", options, env).unwrap();
        let quiet = crate::Options { background: false, ..crate::Options::default() };
        let (services, _) = Services::lead(&database, quiet).unwrap();
        let mut command = Dawdles { clock: &clock, turns: 0 };
        services.core().submit(&mut command).unwrap().wait().unwrap();
        assert_eq!(command.turns, 2);
        let kv = services.core().keyspaces.kv;
        assert!(database.snapshot().unwrap().get(kv, b"one").unwrap().is_some());
    }

    #[test]
    fn abandoned_grants_stand_at_their_limit() {
        let token = |number| Token { subject: Subject { line: 1, number }, grant: 1 };
        let mut abandoned = Abandoned::default();
        abandoned.extend((0..ABANDONED_MAX as u64 - 1).map(token));
        abandoned.extend([token(8), token(9), token(10)]);
        assert_eq!(abandoned.tokens.len(), ABANDONED_MAX);
        assert_eq!(abandoned.tokens.back(), Some(&token(8)));
        assert_eq!(abandoned.take(2), [token(0), token(1)]);
        assert_eq!(abandoned.take(ABANDONED_MAX).len(), ABANDONED_MAX - 2);
        assert!(abandoned.take(1).is_empty());
    }
}
