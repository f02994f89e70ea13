//! SIGTERM and SIGINT, for commands that have something to put in order before they end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;

/// What ends a command from a process that its signal ended: 128 and the signal's number.
const KILLED: i32 = 128;

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::io("cannot listen for signals", &error));
        let (terminate, interrupt) =
            (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    /// Waits for one of them; gives the exit code of who ends because of it.
    pub(super) async fn next(&mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        };
        KILLED + kind.as_raw_value()
    }
}
