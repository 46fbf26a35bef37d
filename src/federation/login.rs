//! Who logged in, and the provider's tokens that came with them.

use std::fmt;

use serde_json::{Map, Value};

use super::LoginFailure;
use crate::vault::UpstreamTokens;

/// OpenID Connect Core §2.
pub(super) const SUB_BYTES_MAX: usize = 255;
/// RFC 5321 §4.5.3.1: 64 before the sign, 255 behind it. Address and name are kept for ever.
const EMAIL_BYTES_MAX: usize = 320;
const NAME_CHARS_MAX: usize = 256;
/// More than any directory puts a person in; a distinguished name is a long one.
const GROUPS_MAX: usize = 2048;
const GROUP_BYTES_MAX: usize = 1024;

/// A person, as their provider vouches for them. The subject is (provider, `issuer`, `sub`).
pub struct Login {
    /// Who vouches: the provider's issuer, verified where there is an ID token, always by the same name.
    pub issuer: String,
    /// Who it is at that issuer; never an e-mail address.
    pub sub: String,
    /// What they can be written to at, if the provider tells.
    pub email: Option<String>,
    /// Whether the provider says that the address is theirs. Without it the address grants nothing.
    pub email_verified: bool,
    /// What to call them.
    pub name: Option<String>,
    /// The groups the provider puts them in, as it names them.
    pub groups: Vec<String>,
    /// Why not everything could be found out that was asked for.
    pub missing: Option<LoginFailure>,
    /// What the provider gave us to act for them.
    pub tokens: UpstreamTokens,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// What a set of claims tells about a person, beside who it is.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) email: Option<String>,
    /// Absent: nothing is said of it.
    pub(super) email_verified: Option<bool>,
    pub(super) name: Option<String>,
    pub(super) groups: Vec<String>,
}

impl Profile {
    /// Reads the standard claims (OpenID Connect Core §5.1) and `groups`.
    pub(super) fn of(claims: &Map<String, Value>) -> Self {
        let email = email(claims);
        let name = text(claims, "name").or_else(|| text(claims, "preferred_username"));
        let told = claims.get("email_verified");
        let told = told.filter(|told| email.is_some() && !told.is_null());
        Self {
            email_verified: told.map(|told| is_true(Some(told))),
            email,
            name: name.map(shortened),
            groups: groups(claims),
        }
    }

    /// Whether there is all that people are admitted by.
    pub(super) fn is_full(&self) -> bool {
        self.email_verified.is_some() && !self.groups.is_empty()
    }

    /// Fills what is missing here from `other`. An address and its verification go together, and what was signed stands: an
    /// address that the ID token calls unverified is not verified by userinfo.
    pub(super) fn or(self, other: Self) -> Self {
        let (email, email_verified) = match self.email {
            Some(email) => {
                let theirs = other.email_verified;
                let theirs = theirs.filter(|_| other.email.as_ref() == Some(&email));
                (Some(email), self.email_verified.or(theirs))
            }
            None => (other.email, other.email_verified),
        };
        Self {
            email,
            email_verified,
            name: self.name.or(other.name),
            groups: if self.groups.is_empty() {
                other.groups
            } else {
                self.groups
            },
        }
    }
}

/// A claim that is a string with something in it.
pub(super) fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let value = claims.get(name)?.as_str()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// An address that can be one.
pub(super) fn email(claims: &Map<String, Value>) -> Option<String> {
    text(claims, "email").filter(|email| email.len() <= EMAIL_BYTES_MAX)
}

/// As much of a name as anybody reads.
pub(super) fn shortened(name: String) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => name[..end].to_owned(),
        None => name,
    }
}

/// Some providers write booleans as strings or as one; nothing else is yes.
pub(super) fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(yes)) => *yes,
        Some(Value::String(text)) => text == "true" || text == "1",
        Some(Value::Number(number)) => number.as_u64() == Some(1),
        _ => false,
    }
}

fn groups(claims: &Map<String, Value>) -> Vec<String> {
    let groups = match claims.get("groups") {
        Some(Value::Array(groups)) => groups.as_slice(),
        Some(group) => std::slice::from_ref(group),
        None => &[],
    };
    let groups = groups.iter().filter_map(Value::as_str);
    let groups = groups.filter(|group| group.len() <= GROUP_BYTES_MAX);
    groups.take(GROUPS_MAX).map(str::to_owned).collect()
}
