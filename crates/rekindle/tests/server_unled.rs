//! A store that opens and whose services cannot be recovered: the start's report says so.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rekindle::boot;
use rekindle::config::Config;
use rekindle::progress::Progress;
use rekindle::reports;
use rekindle_env::{Change, Env, Watch};

/// The sync behind the first frame fails: opening writes none, the services' recovery does.
#[derive(Debug, Default)]
struct FirstFrame {
    frames: AtomicU64,
}

impl Watch for FirstFrame {
    fn change(
        &self,
        change: Change<'_>,
        perform: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        match change {
            Change::Write { path, offset: 4_096.., .. }
                if path.to_string_lossy().contains("/journal/") =>
            {
                self.frames.fetch_add(1, Ordering::SeqCst);
            }
            Change::Sync { path }
                if path.to_string_lossy().contains("/journal/")
                    && self.frames.load(Ordering::SeqCst) > 0 =>
            {
                return Err(io::Error::other("injected: the device does not answer"));
            }
            _ => {}
        }
        perform()
    }
}

/// The journal fails under the first transaction of the services' recovery: exit 70, and the report
/// of that start is stored, with the layers below and the label of what stopped it.
#[test]
fn a_refusal_of_the_services_is_in_the_stored_report() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { data: dir.path().to_owned(), ..Config::default() };
    let env = Env::real().watched(Arc::new(FirstFrame::default()) as Arc<dyn Watch>);
    let progress = Progress::new(Arc::clone(&env.clock));
    let refused = boot::boot(&config, &env, &progress).unwrap_err();
    assert_eq!(refused.code, 70, "{refused}");

    let env = Env::real();
    let number = reports::newest(&env, dir.path()).unwrap().unwrap();
    let (stored, value) = reports::read(&env, dir.path(), number).unwrap();
    assert_eq!((stored.code, stored.is_refused(), stored.incarnation), (70, true, 1));
    let layers: Vec<&str> = stored.layers.iter().map(|layer| layer.layer.as_str()).collect();
    assert_eq!(layers, ["store", "meta", "engine", "journal", "database", "services"]);
    let note = value["notes"].as_array().unwrap().iter().find(|it| it["label"] == "services-2");
    assert!(note.is_some(), "{value}");
    assert!(stored.summary.starts_with("did not recover: the services cannot start"), "{value}");
    assert_eq!(reports::last_took(&env, dir.path()), None, "it says nothing of one that serves");
}
