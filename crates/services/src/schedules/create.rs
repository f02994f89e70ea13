//! `create` and `delete`: a schedule's row with its audit record, in one transaction.

use rekindle_database::Transaction;

use crate::audit::{self, NewAudit};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::keys::queue as name_key;
use crate::limits::SCHEDULES_MAX;
use crate::producers::{Fingerprint, once};
use crate::schedules::row::{Stored, check, check_name};
use crate::schedules::{NewSchedule, no_schedule};

/// Makes a schedule.
pub(crate) struct Create<'a> {
    name: &'a str,
    new: &'a NewSchedule<'a>,
    who: &'a str,
    identity: Option<(Identity, u32)>,
    wall_ms: u64,
}

impl<'a> Create<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        core: &Core,
        name: &'a str,
        new: &'a NewSchedule<'a>,
        who: &'a str,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        let wall_ms = core.database.env().clock.wall_ms();
        check(name, new, wall_ms)?;
        NewAudit { who, ..NewAudit::default() }.check()?;
        let identity = identity.map(|identity| {
            let stored = Stored::of(1, new, 0).encode();
            let fingerprint = Fingerprint::of("schedule").bytes(name.as_bytes()).bytes(&stored);
            (identity, fingerprint.finish())
        });
        Ok(Self { name, new, who, identity, wall_ms })
    }
}

impl Command for Create<'_> {
    /// Whether it is new.
    type Value = bool;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<bool>, Stop> {
        let create = &*self;
        once(core, txn, create.identity, core.database.log_time_ms(), |txn| {
            let key = name_key::encode(create.name);
            if let Some(row) = txn.get(core.keyspaces.schedules, &key)? {
                let known = Stored::parse(&row.bytes);
                let (known, _) = known.map_err(|bad| {
                    Error::corrupt(format!("schedule \"{}\": {bad}", create.name))
                })?;
                if known.is(create.new) {
                    return Ok(false);
                }
                let message = format!(
                    "schedule \"{}\" exists and is another one; delete it first",
                    create.name
                );
                return Err(Stop::Refused(Error::new(Kind::Exists, message)));
            }
            if core.calendar.count() >= SCHEDULES_MAX {
                let message = format!("there are {SCHEDULES_MAX} schedules already");
                return Err(Stop::Refused(Error::new(Kind::Full, message)));
            }
            let stored = Stored::of(core.numbers.next()?, create.new, create.wall_ms);
            txn.put(core.keyspaces.schedules, &key, &stored.encode());
            let Stored { cron, zone, kind, missed, .. } = &stored;
            let result = format!("{cron} in {zone}, jobs of {kind}, missed {}", missed.as_str());
            let entry = NewAudit {
                who: create.who,
                action: "schedule.create",
                target: create.name,
                why: "",
                result: &result,
            };
            audit::add(core, txn, &entry)?;
            Ok(true)
        })
    }
}

/// Deletes a schedule.
pub(crate) struct Delete<'a> {
    name: &'a str,
    who: &'a str,
    identity: Option<(Identity, u32)>,
}

impl<'a> Delete<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        name: &'a str,
        who: &'a str,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        check_name(name)?;
        NewAudit { who, ..NewAudit::default() }.check()?;
        let fingerprint = Fingerprint::of("delete schedule").bytes(name.as_bytes()).finish();
        Ok(Self { name, who, identity: identity.map(|identity| (identity, fingerprint)) })
    }
}

impl Command for Delete<'_> {
    type Value = ();
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
        let Self { name, who, identity } = *self;
        once(core, txn, identity, core.database.log_time_ms(), |txn| {
            let key = name_key::encode(name);
            if txn.get(core.keyspaces.schedules, &key)?.is_none() {
                return Err(Stop::Refused(no_schedule(name)));
            }
            txn.delete(core.keyspaces.schedules, &key);
            let action = "schedule.delete";
            let entry = NewAudit { who, action, target: name, why: "", result: "deleted" };
            audit::add(core, txn, &entry)?;
            Ok(())
        })
    }
}
