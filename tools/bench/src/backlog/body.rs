//! Bodies of messages that say who sent them, as the how manieth, and that are whole.
//!
//! ```text
//! sender   8 bytes, little-endian
//! number   8 bytes, little-endian, from 0 for each sender
//! filling  made from both, so that no two bodies are alike and nothing can be packed
//! ```
//!
//! Invariant: a body that was changed anywhere is noticed.

/// The least that a body has.
pub(crate) const BYTES_MIN: usize = 16;

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Who sent it.
    pub(crate) sender: u64,
    /// As the how manieth.
    pub(crate) number: u64,
}

/// The body of that message.
pub(crate) fn write(name: Name, bytes: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes.max(BYTES_MIN) + 8);
    body.extend(name.sender.to_le_bytes());
    body.extend(name.number.to_le_bytes());
    let mut state = seed(name);
    while body.len() < bytes {
        state = step(state);
        body.extend(state.to_le_bytes());
    }
    body.truncate(bytes.max(BYTES_MIN));
    body
}

/// Which message a body is of; `None` where it is of none.
pub(crate) fn read(body: &[u8]) -> Option<Name> {
    let (sender, rest) = body.split_first_chunk()?;
    let (number, filling) = rest.split_first_chunk()?;
    let name = Name { sender: u64::from_le_bytes(*sender), number: u64::from_le_bytes(*number) };
    let mut state = seed(name);
    for piece in filling.chunks(8) {
        state = step(state);
        if !state.to_le_bytes().starts_with(piece) {
            return None;
        }
    }
    Some(name)
}

/// Never 0, where the steps below would stand still.
fn seed(name: Name) -> u64 {
    ((name.sender << 48) ^ name.number).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

/// Marsaglia's xorshift, 64 bits (Journal of Statistical Software 8, 14).
fn step(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_which_it_is_and_whether_it_is_whole() {
        for bytes in [16, 17, 100, 1_024] {
            let name = Name { sender: 3, number: 1_000_007 };
            let body = write(name, bytes);
            assert_eq!((body.len(), read(&body)), (bytes, Some(name)));
            for at in 16..bytes {
                let mut other = body.clone();
                other[at] ^= 1;
                assert_eq!(read(&other), None, "byte {at} of {bytes}");
            }
        }
        assert_eq!(read(&[0; 15]), None);
    }

    #[test]
    fn no_two_are_alike() {
        let filling = |sender, number| write(Name { sender, number }, 64).split_off(16);
        assert_ne!(filling(0, 0), filling(0, 1));
        assert_ne!(filling(0, 1), filling(1, 0));
    }
}
