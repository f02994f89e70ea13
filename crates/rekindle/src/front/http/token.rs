//! The token of forms: what tells the pages of this process from those of everybody else.
//!
//! A page of another origin can make a browser send a form here, and cannot read ours. Hence the
//! invariant: a form without the token that this process drew at its start changes nothing.

use std::fmt;

use rekindle_env::Random;

/// A secret of this process, for its own pages.
#[derive(Clone, PartialEq, Eq)]
pub struct FormToken(String);

impl FormToken {
    /// The field that carries it.
    pub const FIELD: &'static str = "token";

    /// A new one, of 128 bits.
    #[must_use]
    pub fn draw(random: &dyn Random) -> Self {
        Self(format!("{:016x}{:016x}", random.next_u64(), random.next_u64()))
    }

    /// The text that a page's forms carry.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `given` is this token. Looks at every byte, so that time tells nothing.
    #[must_use]
    pub fn is(&self, given: &str) -> bool {
        let pairs = self.0.bytes().zip(given.bytes());
        let different = pairs.fold(0, |different, (ours, theirs)| different | (ours ^ theirs));
        given.len() == self.0.len() && different == 0
    }
}

/// Says nothing: logs keep no secrets.
impl fmt::Debug for FormToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_env::OsRandom;

    #[test]
    fn a_token_is_only_itself() {
        let token = FormToken::draw(&OsRandom);
        let text = token.as_str().to_owned();
        assert_eq!(text.len(), 32);
        assert!(token.is(&text));
        let longer = format!("{text}0");
        for other in ["", &text[1..], longer.as_str(), &text.replace(&text[..1], "x")] {
            assert!(!token.is(other), "{other}");
        }
        assert_ne!(token, FormToken::draw(&OsRandom));
        assert!(!format!("{token:?}").contains(&text));
    }
}
