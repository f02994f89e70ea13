//! `create`: a queue, and its dead-letter queue where attempts are limited, in one transaction.

use rekindle_database::Transaction;

use crate::audit::{self, NewAudit};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::keys::queue as key;
use crate::limits::QUEUES_MAX;
use crate::producers::{Fingerprint, once};
use crate::queues::definition::{Definition, check_path, resolve};
use crate::queues::{Created, QueueSettings};

/// Creates a queue.
pub(crate) struct Create<'a> {
    name: &'a str,
    settings: QueueSettings,
    identity: Option<(Identity, u32)>,
    who: Option<&'a str>,
}

impl<'a> Create<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        name: &'a str,
        settings: &QueueSettings,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        let settings = resolve(name, settings)?;
        for name in [Some(name), settings.dead_letter.as_deref()].into_iter().flatten() {
            check_path(name)?;
        }
        let identity = identity.map(|identity| {
            let fingerprint = Fingerprint::of("create")
                .bytes(name.as_bytes())
                .number(settings.visibility_ms)
                .number(u64::from(settings.max_attempts))
                .bytes(settings.dead_letter.as_deref().unwrap_or_default().as_bytes());
            (identity, fingerprint.finish())
        });
        Ok(Self { name, settings, identity, who: None })
    }

    /// Who asks, for the audit log.
    pub(crate) fn by(self, who: Option<&'a str>) -> Self {
        Self { who, ..self }
    }
}

impl Command for Create<'_> {
    type Value = Created;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Created>, Stop> {
        let now_ms = core.database.log_time_ms();
        once(core, txn, self.identity, now_ms, |txn| {
            if let Some(existing) = load(core, txn, self.name)? {
                return if existing.settings == self.settings {
                    Ok(Created { new: false })
                } else {
                    Err(Stop::Refused(exists(&existing)))
                };
            }
            if core.index.queue_count() >= QUEUES_MAX {
                return Err(Stop::Refused(Error::new(
                    Kind::Full,
                    format!("there are {QUEUES_MAX} queues already; delete one that is not used"),
                )));
            }
            let dead_letter = self.settings.dead_letter.clone();
            if let Some(target) = dead_letter {
                ensure(core, txn, &target, now_ms)?;
            }
            put(core, txn, self.name, &self.settings, now_ms)?;
            if let Some(who) = self.who {
                let result = described(&self.settings);
                let (action, target) = ("queue.create", self.name);
                let entry = NewAudit { who, action, target, why: "", result: &result };
                audit::add(core, txn, &entry)?;
            }
            Ok(Created { new: true })
        })
    }
}

/// The stored definition of a queue.
pub(crate) fn load(
    core: &Core,
    txn: &mut Transaction,
    name: &str,
) -> Result<Option<Definition>, Stop> {
    let Some(row) = txn.get(core.keyspaces.queues, &key::encode(name))? else { return Ok(None) };
    let definition = Definition::parse(name, &row.bytes).map_err(|malformed| {
        Error::corrupt(format!("the definition of queue \"{name}\" is damaged ({malformed})"))
    })?;
    Ok(Some(definition))
}

/// The number of this queue; created with the defaults where it does not exist.
pub(crate) fn ensure(
    core: &Core,
    txn: &mut Transaction,
    name: &str,
    now_ms: u64,
) -> Result<u64, Stop> {
    match load(core, txn, name)? {
        Some(existing) => Ok(existing.id),
        None => put(core, txn, name, &QueueSettings::default(), now_ms),
    }
}

fn put(
    core: &Core,
    txn: &mut Transaction,
    name: &str,
    settings: &QueueSettings,
    now_ms: u64,
) -> Result<u64, Stop> {
    let id = core.numbers.next()?;
    let settings = settings.clone();
    let definition = Definition { id, name: name.to_owned(), settings, created_ms: now_ms };
    txn.put(core.keyspaces.queues, &key::encode(name), &definition.encode());
    Ok(id)
}

fn exists(existing: &Definition) -> Error {
    let (name, settings) = (&existing.name, described(&existing.settings));
    let message = format!(
        "queue \"{name}\" exists with other settings ({settings}); use those, or delete it first"
    );
    Error::new(Kind::Exists, message)
}

/// Settings in words.
fn described(settings: &QueueSettings) -> String {
    format!(
        "visibility {} ms, max attempts {}, dead-letter queue {}",
        settings.visibility_ms,
        settings.max_attempts,
        settings.dead_letter.as_deref().unwrap_or("none"),
    )
}
