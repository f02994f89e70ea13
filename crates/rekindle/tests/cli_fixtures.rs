//! The frozen stores of `fixtures/v1/states` through the program: exit codes and JSON of `verify`
//! and `recovery plan`, and what `serve` says where a newer program is needed.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::harness::{contents, refused, run, serve};

fn states() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/v1/states")
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in contents(from).into_iter().filter(|(path, _)| path.is_file()) {
        let to = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }
}

/// Each state has its exit code and its label in the JSON, by both commands; none changes a byte.
///
/// proves: B1
#[test]
fn every_frozen_state_is_told_as_json() {
    let mut seen = 0;
    for entry in std::fs::read_dir(states()).unwrap() {
        let fixture = entry.unwrap().path();
        let name = fixture.file_name().unwrap().to_string_lossy().into_owned();
        let expected = std::fs::read(fixture.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture.join("store"), dir.path());
        let (before, data) = (contents(dir.path()), dir.path().to_str().unwrap());
        for command in [&["verify"][..], &["recovery", "plan"]] {
            let output = run(&[command, &["--json", "--data", data]].concat());
            let code = output.status.code().map(i64::from);
            assert_eq!(code, expected["code"].as_i64(), "{name} {command:?}: {output:?}");
            let report: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{name} {command:?}: {error}, {output:?}"));
            let mut told =
                ["findings", "notes"].map(|it| report[it].as_array().unwrap().clone()).concat();
            for layer in report["layers"].as_array().unwrap() {
                told.extend(layer["actions"].as_array().unwrap().clone());
            }
            let found = told.iter().any(|it| it["label"] == expected["label"]);
            assert!(found, "{name} {command:?}: {report}");
        }
        assert_eq!(contents(dir.path()), before, "{name}");
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}

/// A newer format and an unknown required feature: 78, and both versions by name.
#[test]
fn a_newer_store_is_refused_with_both_versions() {
    for (name, parts) in [
        ("store-10", ["format 1 or older", "format 2"]),
        ("store-10-feature", ["features 0x0", "unknown required features 0x4"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        copy(&states().join(name).join("store"), dir.path());
        let (code, said) = refused(serve(dir.path(), &[]));
        assert_eq!(code, 78, "{name}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{name}: {said}");
    }
}
