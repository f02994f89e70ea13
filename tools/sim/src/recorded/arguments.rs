//! The arguments of a call as values.
//!
//! Invariant: a string that strace cut, or that is not in hexadecimal, is an error.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::lines::Call;

impl Call {
    /// One argument as strace prints it.
    ///
    /// # Errors
    /// It has no such argument.
    pub fn text(&self, at: usize) -> Result<&str, String> {
        let text = self.arguments.get(at).map(String::as_str);
        text.ok_or_else(|| format!("{}: argument {at} is missing", self.name))
    }

    /// A number.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self, at: usize) -> Result<u64, String> {
        let text = self.text(at)?;
        text.parse().map_err(|_| format!("{}: {text} is not a number", self.name))
    }

    /// A descriptor; `None` for what stands for none (`AT_FDCWD`, -1).
    ///
    /// # Errors
    /// It has no such argument.
    pub fn descriptor(&self, at: usize) -> Result<Option<i64>, String> {
        Ok(self.text(at)?.parse().ok().filter(|descriptor| *descriptor >= 0))
    }

    /// A path.
    ///
    /// # Errors
    /// It is no whole string.
    pub fn path(&self, at: usize) -> Result<PathBuf, String> {
        Ok(PathBuf::from(OsString::from_vec(bytes(self.text(at)?)?)))
    }

    /// What a call wrote of its argument: a string, or an array of buffers.
    ///
    /// # Errors
    /// A string is not whole, or shorter than what was written.
    pub fn written(&self, at: usize) -> Result<Vec<u8>, String> {
        let text = self.text(at)?;
        let mut all = Vec::new();
        if text.starts_with('[') {
            for part in text.split("iov_base=").skip(1) {
                let end = part.find(", iov_len=").ok_or("a buffer without a length")?;
                all.extend(bytes(part.get(..end).unwrap_or_default())?);
            }
        } else {
            all = bytes(text)?;
        }
        let count = self.result.and_then(|result| usize::try_from(result).ok());
        let count = count.ok_or_else(|| format!("{} wrote nothing", self.name))?;
        if count > all.len() {
            return Err(format!("{}: {count} bytes written, {} shown", self.name, all.len()));
        }
        all.truncate(count);
        Ok(all)
    }
}

/// A string in hexadecimal, whole.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let bad = || format!("no whole string: {}", text.chars().take(60).collect::<String>());
    let inside = inside.ok_or_else(bad)?;
    let mut pairs = inside.split("\\x");
    if pairs.next() != Some("") {
        return Err(bad());
    }
    let byte = |pair: &str| u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2);
    pairs.map(|pair| byte(pair).ok_or_else(bad)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::lines::calls;
    use super::*;

    fn one(line: &str) -> Call {
        calls(&format!("1 {line}\n")).unwrap().remove(0)
    }

    #[test]
    fn numbers_paths_and_bytes() {
        let call = one("pwrite64(3, \"\\x00\\xff\\x41\", 3, 40) = 2");
        assert_eq!((call.descriptor(0).unwrap(), call.number(3).unwrap()), (Some(3), 40));
        assert_eq!(call.written(1).unwrap(), [0, 255], "as much as was written");
        assert!(call.number(1).is_err() && call.number(4).is_err());
        let call = one("openat(AT_FDCWD, \"\\x2f\\x61\", O_RDONLY) = 3");
        assert_eq!(call.descriptor(0).unwrap(), None);
        assert_eq!(call.path(1).unwrap(), PathBuf::from("/a"));
        let call =
            one("writev(3, [{iov_base=\"\\x61\\x62\", iov_len=2}, {iov_base=\"\", iov_len=0}, \
                 {iov_base=\"\\x63\", iov_len=1}], 3) = 3");
        assert_eq!(call.written(1).unwrap(), b"abc");
    }

    #[test]
    fn a_string_that_is_not_whole_is_refused() {
        for text in ["\"\\x61\"...", "\"a\"", "NULL", "\"\\x6\"", "\"\\x616\"", "0x7f00"] {
            let call = one(&format!("write(3, {text}, 1) = 1"));
            assert!(call.written(1).is_err(), "{text}");
        }
        assert!(one("write(3, \"\\x61\", 2) = 2").written(1).is_err());
    }
}
