//! `cargo xtask campaign`: the long runs, one command each.
//!
//! A campaign is a set of tests that the ordinary run leaves out: they are marked `#[ignore]` and
//! their names begin with `campaign_NAME_`. They read `REKINDLE_SEED` and `REKINDLE_SCALE`, print
//! the seed, and fail by panicking. Invariant: a campaign that runs no test fails.

mod coverage;
mod planted;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::process;

/// A campaign of ignored tests.
struct Campaign {
    name: &'static str,
    about: &'static str,
    /// How many times the work of the ordinary test.
    scale: u32,
    /// A program that it needs beside the toolchain.
    needs: Option<&'static str>,
}

const CAMPAIGNS: [Campaign; 7] = [
    Campaign { name: "crash", about: "crash points and survivals", scale: 10, needs: None },
    Campaign { name: "corruption", about: "every flipped bit", scale: 1, needs: None },
    Campaign { name: "kill", about: "SIGKILL under load", scale: 10, needs: None },
    Campaign { name: "strace", about: "failing system calls", scale: 1, needs: Some("strace") },
    Campaign { name: "page", about: "the page in Chromium", scale: 1, needs: Some("chromedriver") },
    Campaign { name: "disk", about: "a disk filled and drained", scale: 1, needs: Some("mount") },
    Campaign {
        name: "interface",
        about: "the document under SIGKILL",
        scale: 10,
        needs: Some("schemathesis"),
    },
];

/// Those that are not sets of ignored tests.
const OTHERS: [&str; 2] = ["planted", "coverage"];

/// The whole of one campaign; a bound, not an aim.
const DEADLINE: Duration = Duration::from_secs(6 * 3600);

/// Runs one campaign, or all.
pub(crate) fn run(root: &Path, name: &str, seed: Option<&str>) -> Result<(), String> {
    let seed = match seed {
        Some(text) => text.parse().map_err(|_| format!("--seed {text}: not a number"))?,
        None => fresh_seed(),
    };
    let names: Vec<&str> = match name {
        "all" => CAMPAIGNS.iter().map(|campaign| campaign.name).chain(OTHERS).collect(),
        name => vec![name],
    };
    let mut failed = vec![];
    for name in names {
        say!("campaign {name}: seed {seed}");
        let start = Instant::now();
        let result = one(root, name, seed);
        let verdict = if result.is_ok() { "passed" } else { "FAILED" };
        say!("campaign {name}: {verdict} in {:.0?} (seed {seed})", start.elapsed());
        if let Err(message) = result {
            say!("{message}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("campaign: failed: {} (repeat with --seed {seed})", failed.join(", ")))
}

fn one(root: &Path, name: &str, seed: u64) -> Result<(), String> {
    match name {
        "planted" => planted::run(root),
        "coverage" => coverage::run(root),
        name => {
            let campaign = CAMPAIGNS.iter().find(|each| each.name == name).ok_or_else(|| {
                let names: Vec<_> = CAMPAIGNS.iter().map(|each| each.name).chain(OTHERS).collect();
                format!("no campaign {name}; there are {}, all", names.join(", "))
            })?;
            ignored_tests(root, campaign, seed)
        }
    }
}

/// Runs the ignored tests of a campaign in every crate.
fn ignored_tests(root: &Path, campaign: &Campaign, seed: u64) -> Result<(), String> {
    if let Some(program) = campaign.needs {
        let there = Command::new(program).arg("--version").output().is_ok();
        if !there {
            return Err(format!("{program} is missing; install it (docs/testing.md)"));
        }
    }
    say!("campaign {}: {}", campaign.name, campaign.about);
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(root)
        .args(["test", "--release", "--workspace", "--tests", "--no-fail-fast", "--"])
        .arg("--ignored")
        .args(["--nocapture", &format!("campaign_{}_", campaign.name)])
        .env("REKINDLE_SEED", seed.to_string())
        .env("REKINDLE_SCALE", campaign.scale.to_string());
    let ended = process::run(&mut command, DEADLINE, true)?;
    if !ended.success() {
        return Err(format!("cargo test: {}", ended.how()));
    }
    match tests_run(&ended.output) {
        0 => Err(format!("no ignored test is called campaign_{}_…", campaign.name)),
        count => {
            say!("campaign {}: {count} tests", campaign.name);
            Ok(())
        }
    }
}

/// How many tests ran, over all the summaries of the test harness.
fn tests_run(output: &str) -> u64 {
    let summaries = output.lines().filter_map(|line| line.trim().strip_prefix("running "));
    summaries.filter_map(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() ^ (u64::from(now.subsec_nanos()) << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_over_all_binaries() {
        let output = "running 2 tests\ntest a ... ok\n\nrunning 0 tests\n\nrunning 1 test\n";
        assert_eq!(tests_run(output), 3);
        assert_eq!(tests_run("nothing"), 0);
    }

    #[test]
    fn unknown_campaigns_and_seeds_are_refused() {
        let root = Path::new(".");
        let error = run(root, "nothing", None).expect_err("it does not exist");
        assert!(error.contains("nothing"), "{error}");
        let error = run(root, "crash", Some("x")).expect_err("no number");
        assert_eq!(error, "--seed x: not a number");
    }
}
