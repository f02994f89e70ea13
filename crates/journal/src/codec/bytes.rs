//! Fixed-width fields in a byte slice, without a panic for short input.

/// A fixed-width field; zeros where the slice is too short (callers check the length first).
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        out.copy_from_slice(found);
    }
    out
}

/// One byte.
#[must_use]
pub fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Two bytes.
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

/// Four bytes.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

/// Eight bytes.
#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// Sixteen bytes.
#[must_use]
pub fn id_at(bytes: &[u8], at: usize) -> [u8; 16] {
    field(bytes, at)
}

/// Writes `field` at `at`.
///
/// # Panics
/// When the buffer is too short: the encoders here own buffers of fixed size.
pub fn put(buffer: &mut [u8], at: usize, field: &[u8]) {
    let target = buffer.get_mut(at..at + field.len());
    target.expect("encoders write inside their fixed-size buffer").copy_from_slice(field);
}

/// Whether all bytes are zero.
#[must_use]
pub fn all_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| *word == [0; 8]) && rest.iter().all(|&byte| byte == 0)
}
