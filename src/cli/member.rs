//! `name=value` arguments: members of what the administration API is sent.

use std::io::{IsTerminal, Read};
use std::path::Path;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::Environment;
use super::exit::Failure;
use crate::config::{Key, nearest};

/// One `name=value`.
#[derive(Clone, Debug)]
pub struct Member {
    name: String,
    value: String,
}

/// Splits at the first `=`.
///
/// # Errors
/// There is none.
pub fn parse(text: &str) -> Result<Member, String> {
    let (name, value) = text.split_once('=').ok_or("expected name=value")?;
    Ok(Member {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

/// The members as a document; an empty value takes a member away (RFC 7396). Members that begin
/// with `oauth_proxy_` go into `config`.
///
/// # Errors
/// A member is unknown, a secret, or given twice.
pub fn document(members: Vec<Member>, known: &[&[Key]]) -> Result<Map<String, Value>, Failure> {
    let mut document = Map::new();
    let mut config = Map::new();
    for Member { name, value } in members {
        let key = known.iter().copied().flatten().find(|key| key.name == name);
        let Some(key) = key else {
            let names = known
                .iter()
                .copied()
                .flatten()
                .map(|key| key.name.to_owned());
            let hint = nearest(&name, names).map(|near| format!(", did you mean `{near}`?"));
            let hint = hint.unwrap_or_default();
            return Err(Failure::Usage(format!("unknown member `{name}`{hint}")));
        };
        if key.secret {
            return Err(Failure::Usage(format!(
                "`{name}` is a secret: expected it in a file (--secret-file), in the environment or on standard input, never as an argument"
            )));
        }
        if LISTS.contains(&key.name) && value.starts_with('[') {
            let reason =
                format!("`{name}`: expected items with commas between, as in a,b, not JSON");
            return Err(Failure::Usage(reason));
        }
        let target = if name.starts_with("oauth_proxy_") {
            &mut config
        } else {
            &mut document
        };
        if target
            .insert(name.clone(), value_of(&name, &value))
            .is_some()
        {
            return Err(Failure::Usage(format!("`{name}` is given twice")));
        }
    }
    if !config.is_empty() {
        document.insert("config".to_owned(), Value::Object(config));
    }
    Ok(document)
}

/// Members with several items.
const LISTS: [&str; 6] = [
    "oauth_proxy_allowed_redirects",
    "oauth_proxy_allowed_subjects",
    "contacts",
    "redirect_uris",
    "grant_types",
    "response_types",
];

fn value_of(name: &str, text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    if LISTS.contains(&name) {
        return text
            .split(',')
            .map(|item| Value::from(item.trim()))
            .collect();
    }
    match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) if name.starts_with("oauth_proxy_") => {
            value
        }
        _ => Value::from(text),
    }
}

/// A secret for a command: from the named file (`-` is standard input), from the variable, or
/// from standard input if that is no terminal and `wanted` is true.
///
/// # Errors
/// It cannot be read, or is wanted and nowhere.
pub fn secret(
    file: Option<&Path>,
    variable: &str,
    environment: &Environment,
    wanted: bool,
) -> Result<Option<Zeroizing<String>>, Failure> {
    let unreadable =
        |what: &str, error: std::io::Error| Failure::Usage(format!("cannot read {what}: {error}"));
    let stdin = || {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin()
            .take(SECRET_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| unreadable("standard input", error))?;
        Ok::<_, Failure>(text)
    };
    let text = match file {
        Some(path) if path == Path::new("-") => Some(stdin()?),
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let what = path.display().to_string();
            Some(Zeroizing::new(
                text.map_err(|error| unreadable(&what, error))?,
            ))
        }
        None => match environment.get(variable) {
            Some(text) => Some(Zeroizing::new(text.clone())),
            None if wanted && !std::io::stdin().is_terminal() => Some(stdin()?),
            None => None,
        },
    };
    let text = text.map(|text| Zeroizing::new(text.trim().to_owned()));
    match text {
        Some(text) if !text.is_empty() => Ok(Some(text)),
        _ if wanted => Err(Failure::Usage(format!(
            "expected a secret in --secret-file FILE, in {variable} or on standard input"
        ))),
        _ => Ok(None),
    }
}

const SECRET_BYTES_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{PROVIDER_MEMBERS, PROXY_CONFIG_MEMBERS, PROXY_MEMBERS};

    #[track_caller]
    fn read(texts: &[&str], known: &[&[Key]]) -> Result<Value, String> {
        let members = texts
            .iter()
            .map(|text| parse(text).expect("a member"))
            .collect();
        let document = document(members, known).map_err(|failure| failure.to_string())?;
        Ok(Value::Object(document))
    }

    #[test]
    fn members_become_what_the_api_expects() {
        let members = [
            "name=123",
            "oauth_proxy_enabled=false",
            "oauth_proxy_access_token_seconds=60",
            "oauth_proxy_allowed_redirects=cursor://*, http://localhost:*",
            "oauth_proxy_scopes=",
        ];
        assert_eq!(
            read(&members, &[PROXY_MEMBERS, PROXY_CONFIG_MEMBERS]),
            Ok(json!({
                "name": "123",
                "config": {
                    "oauth_proxy_enabled": false,
                    "oauth_proxy_access_token_seconds": 60,
                    "oauth_proxy_allowed_redirects": ["cursor://*", "http://localhost:*"],
                    "oauth_proxy_scopes": null,
                }
            }))
        );
    }

    #[test]
    fn unknown_double_and_secret_members_are_refused() {
        for (members, expected) in [
            (
                &["isuer=x"][..],
                "unknown member `isuer`, did you mean `issuer`?",
            ),
            (&["name=a", "name=b"], "`name` is given twice"),
            (&["client_secret=hunter2"], "`client_secret` is a secret: "),
            (
                &["oauth_proxy_allowed_redirects=[\"cursor://*\"]"],
                "`oauth_proxy_allowed_redirects`: expected items with commas between",
            ),
        ] {
            let refused =
                read(members, &[PROVIDER_MEMBERS, PROXY_CONFIG_MEMBERS]).expect_err("refused");
            assert!(refused.starts_with(expected), "{refused}");
            assert!(!refused.contains("hunter2"));
        }
        assert!(parse("name").is_err());
    }
}
