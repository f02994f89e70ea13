//! Whether this server does the steps of a spec: checked before anything begins that would wait for
//! ever.

use rekindle_services::loops::Spec;
use rekindle_services::{Error, Kind};

use crate::state::Server;

/// Refuses what needs a server that runs commands of loops, where this one does not.
pub(super) fn may_begin<'a>(
    server: &Server,
    specs: impl IntoIterator<Item = &'a Spec>,
) -> Result<(), Error> {
    if !server.config.loops.commands
        && let Some(spec) = specs.into_iter().find(|spec| spec.worker.is_none())
    {
        let message = format!(
            "spec {:?} names no worker, and this server runs no commands of loops; start it with \
             --loop-commands, or set loops.commands = true",
            spec.name.chars().take(64).collect::<String>()
        );
        return Err(Error::new(Kind::Conflict, message));
    }
    Ok(())
}
