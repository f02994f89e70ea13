//! A directory of a command that is copied or moved: a copy is none of ours.

use std::path::{Path, PathBuf};

use rekindle::shim::{self, Evidence, Outcome};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::copy;
use crate::shim_harness::{Fifo, Place, Watched, evidence, finished, script};

/// A command that says its number and waits for a line.
fn waiting(place: &Place) -> (Fifo, Fifo, String) {
    let (ready, go) = (place.fifo("ready"), place.fifo("go"));
    let text = format!("echo $$ >{}; read x <{}; echo got $x; exit 4", ready.path(), go.path());
    (ready, go, text)
}

fn copied(place: &Place, name: &str) -> PathBuf {
    copy(&place.dir(), &place.at(name));
    place.at(name)
}

/// It is told as another's, and nothing of it is ended; gives the sentence.
fn elsewhere(place: &Place, dir: &Path) -> String {
    let Evidence::Elsewhere { why } = shim::look(&place.env, dir).unwrap() else {
        panic!("{:?}", shim::look(&place.env, dir));
    };
    assert_eq!(why.label.0, "command-12");
    assert_eq!(shim::kill_orphans(&place.env, dir).unwrap(), 0);
    why.text
}

/// A copy is told from the directory as long as the command has no end, whichever of its files were
/// copied; an end is one wherever it is read.
///
/// produces: command-12
#[test]
fn a_copy_of_a_command_is_left_alone() {
    let place = Place::new();
    let (mut ready, mut go, text) = waiting(&place);
    let mut running = place.start(&script(&text));
    let command = Watched::named(&ready.line());
    let whole = copied(&place, "whole");
    let shim = format!("its shim is process {}", running.shim().pid);
    assert!(elsewhere(&place, &whole).contains(&shim));
    for (name, gone) in [("unclaimed", "identity.json"), ("unasked", "spec.json")] {
        let copy = copied(&place, name);
        std::fs::remove_file(copy.join(gone)).unwrap();
        elsewhere(&place, &copy);
        std::fs::write(copy.join(gone), "damaged").unwrap();
        elsewhere(&place, &copy);
        std::fs::write(copy.join("end.json"), "damaged").unwrap();
        elsewhere(&place, &copy);
        shim::remove(&place.env, &copy).unwrap();
    }
    shim::remove(&place.env, &whole).unwrap();
    assert!(!command.is_over());
    go.send("it");
    let end = finished(&mut running);
    assert_eq!(end.outcome, Outcome::Exited(4));
    let late = copied(&place, "late");
    assert_eq!(shim::look(&place.env, &late).unwrap(), Evidence::Finished(end.clone()));
    assert_eq!(shim::output(&place.env, &late, &end).unwrap().stdout, b"got it\n");
}

/// What a shim left that was killed is ended where it belongs, and not by a copy.
#[test]
fn a_copy_ends_no_orphans() {
    let place = Place::new();
    let mut ready = place.fifo("ready");
    let text =
        format!("(setsid sh -c 'echo $$ >{}; exec sleep 1000' &); exec sleep 1000", ready.path());
    let mut running = place.start(&script(&text));
    let daemon = Watched::named(&ready.line());
    let copy = copied(&place, "copy");
    let shim = running.shim();
    let watched = Watched::of(shim.pid);
    kill_process(Pid::from_raw(shim.pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    assert!(watched.ends());
    assert!(!elsewhere(&place, &copy).contains("its shim"), "nobody knows");
    assert!(!daemon.is_over());
    assert!(matches!(evidence(&mut running), Evidence::Unknown { .. }));
    assert!(daemon.is_over());
}

/// A directory that is moved is the same one: the shim follows it.
#[test]
fn a_command_follows_its_directory() {
    let place = Place::new();
    let (mut ready, mut go, text) = waiting(&place);
    let mut running = place.start(&script(&text));
    ready.line();
    let moved = place.at("moved");
    std::fs::rename(place.dir(), &moved).unwrap();
    let copy = place.dir();
    std::fs::create_dir(&copy).unwrap();
    let Evidence::Running(identity) = shim::look(&place.env, &moved).unwrap() else {
        panic!("{:?}", shim::look(&place.env, &moved));
    };
    let mut adopted = shim::adopt(&place.env, &moved, &identity).unwrap();
    go.send("it");
    let end = finished(&mut adopted);
    assert_eq!(end.outcome, Outcome::Exited(4));
    assert_eq!(shim::output(&place.env, &moved, &end).unwrap().stdout, b"got it\n");
    assert_eq!(std::fs::read_dir(&copy).unwrap().count(), 0);
    assert_eq!(evidence(&mut running), Evidence::NotStarted, "its directory is another one");
    shim::remove(&place.env, &moved).unwrap();
}

/// Records that do not say where they were written are nobody's: another version wrote them.
#[test]
fn records_without_a_directory_are_left_alone() {
    let place = Place::new();
    let (mut ready, mut go, text) = waiting(&place);
    let mut running = place.start(&script(&text));
    ready.line();
    let whole = place.read("identity.json");
    place.edit("identity.json", |claim| {
        claim["shim"].as_object_mut().unwrap().remove("directory");
    });
    elsewhere(&place, &place.dir());
    place.put("identity.json", &whole);
    go.send("on");
    assert_eq!(finished(&mut running).code(), 4);
}
