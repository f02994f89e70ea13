//! A crash at every disk operation of writing reports: what was written stays whole, what was not
//! leaves nothing behind that a list would stumble over.

use std::path::Path;
use std::sync::Arc;

use rekindle::reports::{self, KEPT, Listed};
use rekindle_env::{Disk, Env, Image, SimulatedDisk, Survival};
use rekindle_recovery::{LayerReport, Report};

const DATA: &str = "/srv/data";

fn on(disk: &SimulatedDisk) -> Env {
    Env { disk: Arc::new(disk.clone()), ..Env::real() }
}

fn report(incarnation: u64) -> Report {
    let mut report = Report { incarnation, ..Report::default() };
    report.add(LayerReport::new("journal"));
    report
}

/// Above the number that is kept, so that each write removes one as well.
///
/// fault: S6, S20
#[test]
fn a_crash_at_every_operation_leaves_whole_reports() {
    let data = Path::new(DATA);
    let full = SimulatedDisk::new(1);
    for dir in ["/srv", DATA] {
        full.create_dir(Path::new(dir)).unwrap();
    }
    full.sync_dir(Path::new("/")).unwrap();
    full.sync_dir(Path::new("/srv")).unwrap();
    for run in 1..=KEPT as u64 {
        assert_eq!(reports::write(&on(&full), data, &report(run)).unwrap(), run);
    }
    let image: Image = full.crash(Survival::All, 0).image();
    let disk = SimulatedDisk::from_image(image.clone(), 2);
    for run in [101, 102] {
        assert_eq!(reports::write(&on(&disk), data, &report(run)).unwrap(), run);
        disk.mark(run);
    }
    let (mut points, mut written, mut crashes) = (disk.trace().crash_points(image), 100, 0);
    while let Some(operation) = points.advance().map(|it| it.mark()) {
        written = operation.unwrap_or(written);
        for survival in Survival::EVERY {
            let what = format!("operation {}, {survival:?}, written {written}", points.position());
            let crashed = SimulatedDisk::from_image(points.survivors(survival, 3), 3);
            let env = on(&crashed);
            let page = reports::list(&env, data, None, 2 * KEPT).unwrap();
            let numbers: Vec<u64> = page
                .recoveries
                .iter()
                .map(|it| match it {
                    Listed::Report(short) => short.number,
                    Listed::Unreadable { error, .. } => panic!("{what}: {error}"),
                })
                .collect();
            assert!(numbers.len() >= KEPT - 1, "{what}: {numbers:?}");
            assert!(numbers[0] >= written, "{what}: {numbers:?}");
            // And the next one is written as if nothing had happened.
            let next = reports::write(&env, data, &report(7)).unwrap();
            assert_eq!(next, numbers[0] + 1, "{what}");
            crashes += 1;
        }
    }
    assert_eq!(written, 102);
    assert!(crashes >= 40, "{crashes} crashes");
}
