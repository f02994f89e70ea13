//! The settings of a type of jobs: set durably, in the audit log, in force at once.

use rekindle_database::Transaction;

use crate::audit::{self, NewAudit};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::jobs::kind::{JobType, check, check_own};
use crate::jobs::submit::{damaged, ensure};
use crate::jobs::{JobSettings, JobSettingsChange};
use crate::keys::queue as name_key;
use crate::producers::{Fingerprint, once};

/// Sets the settings of a type, which begins now where there is none.
pub(crate) struct SetType<'a> {
    name: &'a str,
    change: JobSettingsChange,
    who: &'a str,
    identity: Option<(Identity, u32)>,
}

impl<'a> SetType<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        name: &'a str,
        change: JobSettingsChange,
        who: &'a str,
        identity: Option<Identity>,
    ) -> Result<Self, crate::Error> {
        check_own(name)?;
        NewAudit { who, ..NewAudit::default() }.check()?;
        let identity = identity.map(|identity| (identity, fingerprint(name, &change)));
        Ok(Self { name, change, who, identity })
    }
}

impl Command for SetType<'_> {
    /// Whether anything changed.
    type Value = bool;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<bool>, Stop> {
        let set = &*self;
        let now_ms = core.database.log_time_ms();
        once(core, txn, set.identity, now_ms, |txn| {
            let key = name_key::encode(set.name);
            let row = txn.get(core.keyspaces.job_types, &key)?;
            let known = row.map(|row| JobType::parse(set.name, &row.bytes)).transpose();
            let known = known.map_err(|_| damaged(set.name))?;
            let before = known.as_ref().map(|known| known.settings).unwrap_or_default();
            let settings = set.change.of(&before);
            check(set.name, &settings)?;
            if known.is_some() && settings == before {
                return Ok(false);
            }
            let created_ms = known.as_ref().map_or(now_ms, |known| known.created_ms);
            let id = match known {
                Some(known) => known.id,
                None => ensure(core, txn, set.name, now_ms)?,
            };
            let kind = JobType { id, name: set.name.to_owned(), settings, created_ms };
            txn.put(core.keyspaces.job_types, &key, &kind.encode());
            let result = described(&settings);
            let (who, action, target) = (set.who, "job_type.set", set.name);
            audit::add(core, txn, &NewAudit { who, action, target, why: "", result: &result })?;
            Ok(true)
        })
    }
}

/// Tells requests apart.
fn fingerprint(name: &str, change: &JobSettingsChange) -> u32 {
    let rate = change.rate.map(|rate| (u64::from(rate.count), rate.per_ms));
    let numbers = [
        change.lease_ms,
        change.max_attempts.map(u64::from),
        change.backoff_base_ms,
        change.backoff_max_ms,
        change.concurrency.map(u64::from),
        rate.map(|(count, _)| count),
        rate.map(|(_, per_ms)| per_ms),
        change.max_waiting,
        change.keep_completed_ms,
        change.keep_failed_ms,
        change.keep_cancelled_ms,
    ];
    let begun = Fingerprint::of("set type").bytes(name.as_bytes());
    let all = numbers.iter().fold(begun, |fingerprint, number| {
        fingerprint.number(u64::from(number.is_some())).number(number.unwrap_or(0))
    });
    all.finish()
}

/// Settings in words.
fn described(settings: &JobSettings) -> String {
    let JobSettings { lease_ms, max_attempts, backoff, concurrency, rate, max_waiting, .. } =
        settings;
    let [completed, failed, cancelled] = settings.kept_ms();
    format!(
        "lease {lease_ms} ms, max attempts {max_attempts}, back-off {} ms to {} ms, concurrency \
         {concurrency}, rate {} in {} ms, max waiting {max_waiting}, kept {completed} ms, {failed} \
         ms, {cancelled} ms",
        backoff.base_ms, backoff.max_ms, rate.count, rate.per_ms
    )
}
