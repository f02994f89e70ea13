//! A report on its way to the disk, while work is already accepted.
//!
//! Two syncs are little beside a long recovery and much beside a short one, and nobody's work waits
//! for them. Invariant: whoever lists reports, announces the start or closes the store waits.

use std::path::PathBuf;
use std::sync::Arc;

use rekindle_env::Env;
use rekindle_recovery::Report;
use tokio::sync::watch;

use super::write_as;

/// Whether a report was written, or could not be.
#[derive(Clone, Debug)]
pub struct Writing(watch::Receiver<bool>);

impl Writing {
    /// There is nothing to be written.
    #[must_use]
    pub fn nothing() -> Self {
        Self(watch::Sender::new(true).subscribe())
    }

    /// Writes a numbered report on a thread of its own.
    #[must_use]
    pub fn begin(env: &Env, data: PathBuf, report: &Report) -> Self {
        let sender = Arc::new(watch::Sender::new(false));
        let writing = Self(sender.subscribe());
        let (env, report, done) = (env.clone(), report.clone(), Arc::clone(&sender));
        let work = move || {
            match write_as(&env, &data, &report) {
                Ok(()) => tracing::debug!(number = report.number, "recovery report written"),
                Err(error) => tracing::warn!(%error, "the recovery report could not be written"),
            }
            done.send_replace(true);
        };
        if let Err(error) = std::thread::Builder::new().name("report".to_owned()).spawn(work) {
            tracing::warn!(%error, "the recovery report could not be written");
            sender.send_replace(true);
        }
        writing
    }

    /// Waits until it was written or could not be.
    pub async fn done(&self) {
        // A sender that is gone wrote what it could.
        let _ = self.0.clone().wait_for(|done| *done).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{next_number, read};
    use super::*;

    #[tokio::test]
    async fn a_report_is_written_beside_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::real();
        let number = next_number(&env, dir.path()).unwrap();
        let report = Report { number: Some(number), incarnation: 7, ..Report::default() };
        let writing = Writing::begin(&env, dir.path().to_path_buf(), &report);
        writing.done().await;
        assert_eq!(read(&env, dir.path(), number).unwrap().0.incarnation, 7);
        Writing::nothing().done().await;
        // What cannot be written is over as well.
        let nowhere = dir.path().join("reports/1.json/nowhere");
        Writing::begin(&env, nowhere, &report).done().await;
    }
}
