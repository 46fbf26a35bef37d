//! What a data key covers, and so what its destruction makes unreadable.

use std::fmt;

use chrono::Datelike;
use domain::Timestamp;
use domain::id::SubjectId;
use uuid::Uuid;

use super::aead::Tampered;

/// Which data key seals something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Personal data of a known person: erased with the person.
    Subject(SubjectId),
    /// Personal data of a calendar month (UTC) about nobody known yet.
    Month {
        /// The year, such as 2026.
        year: u16,
        /// 1 to 12.
        month: u8,
    },
    /// Secrets that are nobody's: provider secrets, signing keys.
    System,
}

impl Scope {
    /// The month an instant lies in (UTC).
    #[must_use]
    pub fn month_of(at: Timestamp) -> Self {
        Self::Month {
            year: u16::try_from(at.year()).unwrap_or_default(),
            month: u8::try_from(at.month()).expect("months are 1 to 12"),
        }
    }

    /// The scope that sealed these bytes, as they say themselves; opening them proves it.
    ///
    /// # Errors
    /// The bytes were not sealed by a vault.
    pub fn of_sealed(sealed: &[u8]) -> Result<Self, Tampered> {
        Self::decode(sealed).map(|(scope, _)| scope)
    }

    /// The bytes that identify the scope: none is another's beginning.
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Subject(subject) => {
                let mut out = vec![b'S'];
                out.extend_from_slice(subject.0.as_bytes());
                out
            }
            Self::Month { year, month } => {
                let [high, low] = year.to_be_bytes();
                vec![b'M', high, low, month]
            }
            Self::System => vec![b'Y'],
        }
    }

    /// The scope at the beginning of `bytes`, and its length there.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, usize), Tampered> {
        let scope = match bytes {
            [b'S', rest @ ..] => {
                let id = rest.first_chunk::<16>().ok_or(Tampered)?;
                Self::Subject(SubjectId(Uuid::from_bytes(*id)))
            }
            [b'M', high, low, month, ..] => Self::Month {
                year: u16::from_be_bytes([*high, *low]),
                month: *month,
            },
            [b'Y', ..] => Self::System,
            _ => return Err(Tampered),
        };
        let len = match scope {
            Self::Subject(_) => 17,
            Self::Month { .. } => 4,
            Self::System => 1,
        };
        Ok((scope, len))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(subject) => write!(f, "subject {subject}"),
            Self::Month { year, month } => write!(f, "month {year:04}-{month:02}"),
            Self::System => f.write_str("the system"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn says_itself_at_the_head_of_sealed_bytes() {
        let subject = Scope::Subject(SubjectId(Uuid::from_bytes(clock::random())));
        for scope in [subject, Scope::month_of(clock::now()), Scope::System] {
            let mut bytes = scope.encode();
            let len = bytes.len();
            bytes.extend_from_slice(b"rest");
            assert_eq!(Scope::decode(&bytes), Ok((scope, len)));
        }
    }

    #[test]
    fn refuses_other_bytes() {
        for bytes in [&b""[..], b"S", b"S0123456789abcde", b"M12", b"X"] {
            assert_eq!(Scope::of_sealed(bytes), Err(Tampered));
        }
    }
}
