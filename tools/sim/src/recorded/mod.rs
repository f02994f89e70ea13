//! What a real process did to its files, replayed onto a disk that can crash.
//!
//! Code that reads and writes by itself does not pass the simulated disk. So a real process runs
//! under strace on a real folder; [`lines`] reads the record, [`replay`] does the same on a
//! [`SimulatedDisk`](rekindle_env::SimulatedDisk), and the power fails there at each operation, as
//! ALICE did it (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014).
//!
//! Invariants: a sync covers what had returned before it was called, and counts from its return
//! on; any call by which a file could change unseen is an error, never passed over.

pub mod arguments;
pub mod descriptors;
pub mod lines;
pub mod order;
pub mod replay;

/// The calls that are recorded. Those that a machine does not have are left out by strace.
pub const CALLS: [&str; 56] = [
    "open",
    "openat",
    "openat2",
    "creat",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "read",
    "readv",
    "lseek",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "truncate",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "sync",
    "syncfs",
    "sync_file_range",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "mknod",
    "mknodat",
    "copy_file_range",
    "sendfile",
    "splice",
    "ioctl",
    "mmap",
    "msync",
    "io_uring_setup",
    "io_submit",
    "pidfd_getfd",
    "chdir",
    "fchdir",
    "chroot",
    "clone",
    "clone3",
    "fork",
    "vfork",
];

/// How strace is asked for such a record: the arguments in front of `-o FILE PROGRAM …`.
#[must_use]
pub fn strace_arguments() -> Vec<String> {
    let calls: Vec<String> = CALLS.iter().map(|name| format!("?{name}")).collect();
    // Every byte of every string in hexadecimal, none left out.
    let fixed = ["-f", "-qq", "-v", "-xx", "-s", "268435456", "-e", "signal=none", "-e"];
    let fixed = fixed.map(str::to_owned).into_iter();
    fixed.chain([format!("trace={}", calls.join(","))]).collect()
}
