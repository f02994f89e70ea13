//! Backups and restores: what is in them, what they refuse, what crashes and damage do to them.

mod crash;
mod damage;
mod history;
mod load;
mod places;
mod prune;
mod repaired;
mod rolled_back;
mod travel;

use std::path::Path;

use rekindle_database::{Backup, Database, Error, Moment, Restored, restore};
use rekindle_env::Env;

use crate::support::quiet;

pub(crate) const BACKUPS: &str = "/backups";
pub(crate) const RESTORED: &str = "/restored";

/// Takes a backup.
pub(crate) fn back_up(database: &Database) -> Backup {
    database.backup(Path::new(BACKUPS)).unwrap()
}

/// Restores a moment.
pub(crate) fn bring_back(env: &Env, to: &str, moment: Moment) -> Result<Restored, Error> {
    restore(Path::new(BACKUPS), Path::new(to), moment, env)
}

/// Opens what was restored.
pub(crate) fn open_at(env: &Env, path: &str) -> Database {
    let options = rekindle_database::Options { create: false, ..quiet() };
    Database::open_with(Path::new(path), options, env.clone()).unwrap()
}
