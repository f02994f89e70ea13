//! The lines of strace as calls, with the lines on which each began and returned.
//!
//! Invariant: between those two lines lies the call itself: strace prints a call before the kernel
//! is asked and its result after the kernel answered.

use std::collections::BTreeMap;

/// One call of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Its arguments, as strace prints them.
    pub arguments: Vec<String>,
    /// What it returned; `None`: it never did.
    pub result: Option<i64>,
    /// The line on which it began, from 0.
    pub begin: usize,
    /// The line on which it returned; none has this number where it never did.
    pub end: usize,
}

impl Call {
    /// Whether it returned without an error.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }
}

/// The calls of a record, in the order in which they began.
///
/// # Errors
/// A line that is none of a call, with its number.
pub fn calls(text: &str) -> Result<Vec<Call>, String> {
    let mut calls = Vec::new();
    // The calls of which only the beginning was seen, by thread.
    let mut open: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let bad = |what: &str| format!("line {}: {what}: {}", number + 1, start(line));
        let (thread, body) = line.split_once(' ').ok_or_else(|| bad("no call"))?;
        let body = body.trim_start();
        if body.starts_with("+++") || body.starts_with("---") {
            continue;
        }
        if let Some(head) = body.strip_suffix("<unfinished ...>") {
            if open.insert(thread, (head, number)).is_some() {
                return Err(bad("a second call of one thread"));
            }
            continue;
        }
        let call = match body.strip_prefix("<... ") {
            None => call(body, number, number),
            Some(rest) => {
                let (head, begin) = open.remove(thread).ok_or_else(|| bad("never begun"))?;
                let (_, tail) = rest.split_once("resumed>").ok_or_else(|| bad("no call"))?;
                call(&format!("{head}{tail}"), begin, number)
            }
        };
        calls.push(call.map_err(bad)?);
    }
    for (head, begin) in open.into_values() {
        calls.push(call(&format!("{head}) = ?"), begin, usize::MAX).map_err(str::to_owned)?);
    }
    calls.sort_by_key(|call| call.begin);
    Ok(calls)
}

/// The beginning of a line that may have megabytes.
fn start(line: &str) -> String {
    line.chars().take(120).collect()
}

fn call(text: &str, begin: usize, end: usize) -> Result<Call, &'static str> {
    let (name, rest) = text.split_once('(').ok_or("no call")?;
    let (arguments, rest) = split(rest)?;
    let result = rest.trim_start().strip_prefix('=').ok_or("no result")?.trim_start();
    let word = result.split(' ').next().unwrap_or_default();
    let result = match (word, word.strip_prefix("0x")) {
        ("?", _) => None,
        // An address.
        (_, Some(digits)) => {
            let digits = u64::from_str_radix(digits, 16).map_err(|_| "no result")?;
            Some(i64::try_from(digits).map_err(|_| "no result")?)
        }
        (word, None) => Some(word.parse().map_err(|_| "no result")?),
    };
    if result.is_none() && end != usize::MAX {
        // The process ended in the middle of it.
        return Ok(Call { name: name.to_owned(), arguments, result, begin, end: usize::MAX });
    }
    Ok(Call { name: name.to_owned(), arguments, result, begin, end })
}

/// The arguments up to the bracket that ends them, and what follows it.
fn split(text: &str) -> Result<(Vec<String>, &str), &'static str> {
    let (mut arguments, mut depth, mut quoted, mut from) = (Vec::new(), 0_usize, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' | b'[' | b'{' => depth += 1,
            b')' if depth == 0 => {
                push(&mut arguments, text.get(from..at));
                return Ok((arguments, text.get(at + 1..).unwrap_or_default()));
            }
            b')' | b']' | b'}' => depth = depth.checked_sub(1).ok_or("brackets do not match")?,
            b',' if depth == 0 => {
                push(&mut arguments, text.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    Err("brackets do not match")
}

fn push(arguments: &mut Vec<String>, argument: Option<&str>) {
    let argument = argument.unwrap_or_default().trim();
    if !argument.is_empty() {
        arguments.push(argument.to_owned());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn calls_on_a_line_of_their_own() {
        let text = "\
4809  mkdir(\"\\x2f\\x73\", 0777) = 0
4809  openat(AT_FDCWD, \"\\x2f\\x61\", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600) = 3
12 openat(AT_FDCWD, \"\\x2f\\x62\", O_RDONLY) = -1 ENOENT (No such file or directory)
4809  writev(3, [{iov_base=\"\\x61\\x62\", iov_len=2}, {iov_base=\"\\x63\", iov_len=1}], 2) = 3
4809  fsync(3)                          = 0
4809  sync()                            = 0
4809  mmap(NULL, 134217728, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7fcf9ba00000
4809  +++ killed by SIGABRT +++
";
        let found = calls(text).unwrap();
        assert_eq!(found[0].arguments, ["\"\\x2f\\x73\"", "0777"]);
        let open = &found[1];
        assert_eq!((open.name.as_str(), open.arguments.len(), open.result), ("openat", 4, Some(3)));
        assert_eq!(found[2].result, Some(-1));
        assert_eq!(found[3].arguments.len(), 3, "an array is one argument");
        assert_eq!((found[4].result, found[4].begin, found[4].end), (Some(0), 4, 4));
        assert!(found[5].arguments.is_empty());
        assert_eq!(found[6].result, Some(0x7fcf_9ba0_0000));
        assert_eq!(found.len(), 7);
    }

    /// fault: S3
    #[test]
    fn calls_that_others_come_between() {
        let text = "\
4868  fsync(3 <unfinished ...>
4809  pwrite64(3, \"\\x78\", 1, 0 <unfinished ...>
4868  <... fsync resumed>)              = 0
4809  <... pwrite64 resumed>)           = 1
4868  read(5,  <unfinished ...>
4809  close(3)                          = 0
4868  <... read resumed>\"\\x2f\\x78\", 2) = 2
4868  fdatasync(3 <unfinished ...>
4809  write(3, \"\\x78\", 1)              = ?
";
        let found = calls(text).unwrap();
        let places: Vec<_> = found.iter().map(|call| (call.name.as_str(), call.result)).collect();
        assert_eq!(
            places,
            [
                ("fsync", Some(0)),
                ("pwrite64", Some(1)),
                ("read", Some(2)),
                ("close", Some(0)),
                ("fdatasync", None),
                ("write", None),
            ]
        );
        assert_eq!((found[0].begin, found[0].end), (0, 2));
        assert_eq!((found[1].begin, found[1].end), (1, 3));
        assert_eq!(found[1].arguments, ["3", "\"\\x78\"", "1", "0"]);
        assert_eq!(found[2].arguments, ["5", "\"\\x2f\\x78\"", "2"]);
        assert_eq!((found[4].begin, found[4].end), (7, usize::MAX));
        assert_eq!(found[5].end, usize::MAX);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for text in [
            "nothing\n",
            "1 close(3\n",
            "1 close(3) 0\n",
            "1 close(3)) = 0\n",
            "1 close(3) = x\n",
            "1 <... close resumed>) = 0\n",
            "1 close(3 <unfinished ...>\n1 close(4 <unfinished ...>\n",
        ] {
            assert!(calls(text).unwrap_err().starts_with("line "), "{text}");
        }
    }
}
