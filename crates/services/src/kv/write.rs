//! Changing keys and values: one transaction each, expectations checked inside of it.

use rekindle_database::Transaction;

use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::keys::user;
use crate::kv::read::range;
use crate::kv::{Changes, Expect, Scope, Write};
use crate::limits::{
    KV_KEY_BYTES_MAX, KV_OPERATIONS_MAX, KV_TRANSACTION_BYTES_MAX, KV_VALUE_BYTES_MAX,
};
use crate::producers::{Fingerprint, Recorded, once};

impl Recorded for () {
    fn record(&self) -> Vec<u8> {
        vec![]
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

impl Recorded for bool {
    fn record(&self) -> Vec<u8> {
        vec![u8::from(*self)]
    }

    fn recall(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

/// Checks a scope; answers the bytes with which its keys begin.
pub(crate) fn check_scope(scope: &Scope) -> Result<Vec<u8>, Error> {
    scope.namespace.validate()?;
    Ok(user::scope(&scope.namespace, scope.tag))
}

/// Refuses a key that is empty or too long.
pub(crate) fn check_key(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() || key.len() > KV_KEY_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a key of {} bytes; 1 to {KV_KEY_BYTES_MAX} are allowed",
            key.len()
        )));
    }
    Ok(())
}

fn check_value(value: &[u8]) -> Result<(), Error> {
    if value.len() > KV_VALUE_BYTES_MAX {
        return Err(Error::new(
            Kind::Full,
            format!("a value of {} bytes is above the limit of {KV_VALUE_BYTES_MAX}", value.len()),
        ));
    }
    Ok(())
}

/// Refuses when a stored key is not as expected; answers whether it is there.
pub(crate) fn check_expected(
    core: &Core,
    txn: &mut Transaction,
    stored: &[u8],
    user_key: &[u8],
    expect: Expect,
) -> Result<bool, Stop> {
    let found = txn.get(core.keyspaces.kv, stored)?.map(|found| found.version);
    let fits = match expect {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::Version(version) => found == Some(version),
    };
    if fits {
        return Ok(found.is_some());
    }
    let expected = match expect {
        Expect::Version(version) => format!("version {version}"),
        Expect::Any | Expect::Absent => "no such key".to_owned(),
    };
    let found = found.map_or("no such key".to_owned(), |version| format!("version {version}"));
    Err(Stop::Refused(Error::new(
        Kind::Conflict,
        format!(
            "key \"{}\": expected {expected}, found {found}; read it again and decide anew",
            user_key.escape_ascii()
        ),
    )))
}

fn fingerprint(kind: &str, scope: &[u8], key: &[u8], expect: Expect) -> Fingerprint {
    let expected = match expect {
        Expect::Any => u64::MAX,
        Expect::Absent => 0,
        Expect::Version(version) => version,
    };
    Fingerprint::of(kind).bytes(scope).bytes(key).number(expected)
}

/// Sets a key.
pub(crate) struct Put<'a> {
    stored: Vec<u8>,
    key: &'a [u8],
    value: &'a [u8],
    expect: Expect,
    identity: Option<(Identity, u32)>,
}

impl<'a> Put<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        scope: &Scope,
        key: &'a [u8],
        value: &'a [u8],
        expect: Expect,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        let mut stored = check_scope(scope)?;
        check_key(key)?;
        check_value(value)?;
        let identity = identity.map(|identity| {
            (identity, fingerprint("put", &stored, key, expect).bytes(value).finish())
        });
        stored.extend_from_slice(key);
        Ok(Self { stored, key, value, expect, identity })
    }
}

impl Command for Put<'_> {
    type Value = ();

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
        once(core, txn, self.identity, core.database.log_time_ms(), |txn| {
            // A put that expects nothing reads nothing, so it never loses a race.
            if self.expect != Expect::Any {
                check_expected(core, txn, &self.stored, self.key, self.expect)?;
            }
            txn.put(core.keyspaces.kv, &self.stored, self.value);
            Ok(())
        })
    }
}

/// Removes a key.
pub(crate) struct Delete<'a> {
    stored: Vec<u8>,
    key: &'a [u8],
    expect: Expect,
    identity: Option<(Identity, u32)>,
}

impl<'a> Delete<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        scope: &Scope,
        key: &'a [u8],
        expect: Expect,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        let mut stored = check_scope(scope)?;
        check_key(key)?;
        let identity = identity
            .map(|identity| (identity, fingerprint("delete", &stored, key, expect).finish()));
        stored.extend_from_slice(key);
        Ok(Self { stored, key, expect, identity })
    }
}

impl Command for Delete<'_> {
    type Value = bool;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<bool>, Stop> {
        once(core, txn, self.identity, core.database.log_time_ms(), |txn| {
            let existed = check_expected(core, txn, &self.stored, self.key, self.expect)?;
            if existed {
                txn.delete(core.keyspaces.kv, &self.stored);
            }
            Ok(existed)
        })
    }
}

/// Does all writes when all checks hold.
pub(crate) struct Transact<'a> {
    scope: Vec<u8>,
    changes: &'a Changes<'a>,
    identity: Option<(Identity, u32)>,
}

impl<'a> Transact<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        scope: &Scope,
        changes: &'a Changes<'a>,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        let scope = check_scope(scope)?;
        let count = changes.checks.len() + changes.writes.len();
        if count > KV_OPERATIONS_MAX {
            return Err(Error::invalid(format!(
                "{count} checks and writes; a transaction has at most {KV_OPERATIONS_MAX}"
            )));
        }
        let mut bytes = 0;
        for (key, _) in changes.checks {
            check_key(key)?;
        }
        for write in changes.writes {
            bytes += check_write(write)?;
        }
        if bytes > KV_TRANSACTION_BYTES_MAX {
            return Err(Error::new(
                Kind::Full,
                format!("{bytes} bytes; a transaction has at most {KV_TRANSACTION_BYTES_MAX}"),
            ));
        }
        let identity = identity.map(|identity| (identity, transact_fingerprint(&scope, changes)));
        Ok(Self { scope, changes, identity })
    }
}

/// Refuses what is above a limit; answers its bytes.
pub(crate) fn check_write(write: &Write<'_>) -> Result<usize, Error> {
    match write {
        Write::Put { key, value } => {
            check_key(key)?;
            check_value(value)?;
            Ok(key.len() + value.len())
        }
        Write::Delete { key } => {
            check_key(key)?;
            Ok(key.len())
        }
        Write::DeleteRange { start, end } => {
            if start.len() > KV_KEY_BYTES_MAX || end.len() > KV_KEY_BYTES_MAX {
                return Err(Error::invalid(format!(
                    "a key of more than {KV_KEY_BYTES_MAX} bytes is not allowed"
                )));
            }
            Ok(start.len() + end.len())
        }
    }
}

fn transact_fingerprint(scope: &[u8], changes: &Changes<'_>) -> u32 {
    let mut all = Fingerprint::of("transact");
    for (key, expect) in changes.checks {
        let check = fingerprint("check", scope, key, *expect).finish();
        all = all.number(u64::from(check));
    }
    for write in changes.writes {
        all = match write {
            Write::Put { key, value } => all.bytes(b"put").bytes(key).bytes(value),
            Write::Delete { key } => all.bytes(b"delete").bytes(key),
            Write::DeleteRange { start, end } => all.bytes(b"range").bytes(start).bytes(end),
        };
    }
    all.bytes(scope).finish()
}

impl Command for Transact<'_> {
    type Value = ();

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<()>, Stop> {
        let (scope, changes) = (&self.scope, self.changes);
        once(core, txn, self.identity, core.database.log_time_ms(), |txn| {
            for (key, expect) in changes.checks {
                check_expected(core, txn, &[scope, *key].concat(), key, *expect)?;
            }
            for write in changes.writes {
                apply(core, txn, scope, write);
            }
            Ok(())
        })
    }
}

/// Writes one change into a transaction.
pub(crate) fn apply(core: &Core, txn: &mut Transaction, scope: &[u8], write: &Write<'_>) {
    let keyspace = core.keyspaces.kv;
    match write {
        Write::Put { key, value } => txn.put(keyspace, &[scope, *key].concat(), value),
        Write::Delete { key } => txn.delete(keyspace, &[scope, *key].concat()),
        Write::DeleteRange { start, end } => {
            let (start, end) = range(scope, start, end);
            if start < end {
                txn.delete_range(keyspace, &start, &end);
            }
        }
    }
}
