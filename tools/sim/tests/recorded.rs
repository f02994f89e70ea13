//! Records of strace, written by hand, on a disk that can crash.

use std::path::Path;

use rekindle_env::{Image, SimulatedDisk, Survival};
use rekindle_sim::recorded::replay::{Lie, Replay, differences};

/// A string as strace prints it.
fn hex(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{}\"", bytes.concat())
}

/// A record, in which `'…'` stands for a string.
fn record(text: &str) -> String {
    let mut out = String::new();
    for (number, part) in text.split('\'').enumerate() {
        out.push_str(&if number % 2 == 1 { hex(part) } else { part.to_owned() });
    }
    out
}

fn replayed(lie: Lie, processes: &[&str]) -> Result<SimulatedDisk, String> {
    let disk = SimulatedDisk::new(1);
    let mut replay = Replay::new(disk.clone(), Path::new("/r"), lie);
    for text in processes {
        replay.process(&record(text))?;
    }
    Ok(disk)
}

/// The files that surely last, with their content.
fn durable(disk: &SimulatedDisk) -> Vec<(String, String)> {
    contents(&disk.crash(Survival::None, 1).image())
}

fn contents(image: &Image) -> Vec<(String, String)> {
    let text = |path: &Path| String::from_utf8(image.read(path).unwrap()).unwrap();
    let files = image.files().into_iter();
    files.map(|(path, _)| (path.display().to_string(), text(&path))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// fault: S6
#[test]
fn a_file_lasts_with_its_sync_and_that_of_its_folder() {
    let text = "\
7 mkdir('/r/s', 0700) = 0
7 openat(AT_FDCWD, '/r/s/a', O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600) = 3
7 write(3, 'one ', 4) = 4
7 writev(3, [{iov_base='two', iov_len=3}, {iov_base='!', iov_len=1}], 2) = 4
7 fsync(3) = 0
7 openat(AT_FDCWD, '/r', O_RDONLY|O_DIRECTORY|O_CLOEXEC) = 4
7 fsync(4) = 0
7 close(4) = 0
7 openat(AT_FDCWD, '/r/s', O_RDONLY|O_CLOEXEC) = 4
7 fsync(4) = 0
7 rename('/r/s/a', '/r/s/b') = 0
7 write(1, 'test acknowledged 3\nacknowledged 9\n', 35) = 35
";
    let disk = replayed(Lie::None, &[text]).unwrap();
    assert_eq!(durable(&disk), pairs(&[("s/a", "one two!")]));
    assert_eq!(contents(&disk.image()), pairs(&[("s/b", "one two!")]));
    let trace = disk.trace();
    let marks: Vec<u64> = trace.operations().iter().filter_map(|it| it.mark()).collect();
    assert_eq!(marks, [9]);
    let renamed = format!("{text}7 fdatasync(4) = 0\n");
    let disk = replayed(Lie::None, &[&renamed]).unwrap();
    assert_eq!(durable(&disk), pairs(&[("s/b", "one two!")]));
    let disk = replayed(Lie::Folders("s"), &[&renamed]).unwrap();
    assert_eq!(durable(&disk), []);
    let disk = replayed(Lie::Files("s/a"), &[&renamed]).unwrap();
    assert_eq!(durable(&disk), pairs(&[("s/b", "")]));
}

/// fault: S3
#[test]
fn a_sync_covers_what_had_returned_before_it() {
    let text = "\
7 openat(AT_FDCWD, '/r/a', O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3
7 openat(AT_FDCWD, '/r', O_RDONLY) = 4
7 fsync(4) = 0
7 pwrite64(3, 'aa', 2, 0) = 2
7 pwrite64(3, 'b', 1, 0 <unfinished ...>
8 fsync(3 <unfinished ...>
7 <... pwrite64 resumed>) = 1
7 pwrite64(3, 'c', 1, 1) = 1
8 <... fsync resumed>) = 0
";
    let disk = replayed(Lie::None, &[text]).unwrap();
    assert_eq!(durable(&disk), pairs(&[("a", "aa")]));
    assert_eq!(contents(&disk.image()), pairs(&[("a", "bc")]));
    // One that never returned covers nothing.
    let cut = text.replace("8 <... fsync resumed>) = 0\n", "");
    assert_eq!(durable(&replayed(Lie::None, &[&cut]).unwrap()), pairs(&[("a", "")]));
}

#[test]
fn copies_of_a_descriptor_share_their_place() {
    let first = "\
7 openat(AT_FDCWD, '/r/a', O_RDWR|O_CREAT, 0600) = 3
7 fcntl(3, F_DUPFD_CLOEXEC, 3) = 5
7 write(3, '0123456789', 10) = 10
7 lseek(5, 2, SEEK_SET) = 2
7 read(3, '23', 2) = 2
7 close(3) = 0
7 write(5, 'xy', 2) = 2
7 ftruncate(5, 8) = 0
7 fallocate(5, 0, 0, 10) = 0
7 fallocate(5, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 0, 1) = 0
7 openat(AT_FDCWD, '/elsewhere', O_RDWR|O_CREAT, 0600) = 3
7 write(3, 'nothing', 7) = 7
7 linkat(AT_FDCWD, '/r/a', AT_FDCWD, '/elsewhere/a', 0) = 0
";
    let second = "\
9 write(5, 'nobody', 6) = 6
9 openat(AT_FDCWD, '/r', O_RDONLY|O_DIRECTORY) = 5
9 openat(5, 'a', O_WRONLY|O_APPEND) = 6
9 write(6, 'z', 1) = 1
9 linkat(AT_FDCWD, '/r/a', AT_FDCWD, '/r/b', 0) = 0
9 unlinkat(5, 'a', 0) = 0
9 openat(5, 'a', O_RDONLY) = -1 ENOENT (No such file or directory)
";
    let disk = replayed(Lie::None, &[first, second]).unwrap();
    assert_eq!(contents(&disk.image()), pairs(&[("b", "\x00123xy67\0\0z")]));
    let mut real = disk.image();
    assert!(differences(&disk, &real).unwrap().is_empty());
    real.flip("b", 0).unwrap();
    real.write_file("c", b"").unwrap();
    let found = differences(&disk, &real).unwrap();
    assert_eq!(found, ["c is only on one", "b has other bytes"]);
}

#[test]
fn what_could_change_a_file_unseen_is_refused() {
    let open = "7 openat(AT_FDCWD, '/r/a', O_RDWR|O_CREAT, 0600) = 3\n";
    assert!(replayed(Lie::None, &[open]).is_ok());
    for line in [
        "7 copy_file_range(9, NULL, 3, NULL, 10, 0) = 10",
        "7 sendfile(3, 9, NULL, 10) = 10",
        "7 mmap(NULL, 10, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f00",
        "7 ioctl(3, FICLONE, 9) = 0",
        "7 io_uring_setup(8, {flags=0}) = 5",
        "7 openat(AT_FDCWD, '/r/b', O_RDWR|O_CREAT|O_DIRECT, 0600) = 4",
        "7 openat(AT_FDCWD, '/r/../r/b', O_RDWR|O_CREAT, 0600) = 4",
        "7 write(3, 'x'..., 100) = 100",
        "7 write(3, 'x', 1) = -1 EIO (Input/output error)",
        "7 write(3, 'x', 1) = ?",
        "7 fsync(3) = -1 EIO (Input/output error)",
        "7 fallocate(3, FALLOC_FL_ZERO_RANGE, 0, 1) = 0",
        "7 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 12",
        "7 chdir('/r') = 0",
        "7 symlink('/r/a', '/r/b') = 0",
        "7 rename('/r/a', '/elsewhere') = 0",
        "7 rename('/r/a', '/r/b') = ?",
        "7 renameat2(AT_FDCWD, '/r/a', AT_FDCWD, '/r/b', RENAME_EXCHANGE) = 0",
        "7 syncfs(3) = 0",
    ] {
        let error = replayed(Lie::None, &[&format!("{open}{line}\n")]).unwrap_err();
        assert!(error.starts_with("line 2: "), "{line}: {error}");
    }
}
