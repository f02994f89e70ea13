//! Compiles the protocol with a pure-Rust compiler: a build needs nothing but the toolchain.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["common", "queues", "kv", "jobs", "loops", "schedules", "transactions"];
    let files = files.map(|name| format!("rekindle/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        // Bodies, keys and values share the memory of the frame that they arrived in.
        .bytes(".rekindle.v1")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
