//! JSON bodies: known members only, each of its kind, and changes by merging (RFC 7396).

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::{Problem, invalid};
use crate::config::nearest;
use crate::http::request::body;
use crate::http::strict_json;

/// A JSON object as it was sent.
pub struct Document(pub Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media_type",
                "expected application/json",
            ));
        }
        let body = body(request, state).await?;
        match strict_json::parse(&body) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(Problem::bad_request(
                "malformed_json",
                "expected a JSON object",
            )),
            Err(error) => Err(Problem::bad_request("malformed_json", error.to_string())),
        }
    }
}

/// `application/json` or `application/merge-patch+json`, which is what it is.
fn is_json(headers: &HeaderMap) -> bool {
    let mime = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    ["application/json", "application/merge-patch+json"]
        .iter()
        .any(|known| mime.eq_ignore_ascii_case(known))
}

/// Refuses members that are not among `known`.
///
/// # Errors
/// The first of them, with the known one that is most like it.
pub fn refuse_unknown(members: &Map<String, Value>, known: &[&str]) -> Result<(), Problem> {
    let Some(unknown) = members.keys().find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let shown: String = unknown.chars().take(100).collect();
    let hint = nearest(unknown, known.iter().map(|name| (*name).to_owned()))
        .map_or_else(String::new, |name| format!(", did you mean `{name}`?"));
    let detail = format!("unknown member `{shown}`{hint}");
    Err(Problem::bad_request("unknown_member", detail).naming(shown))
}

/// Reads a member; `null` is absent (RFC 7396).
///
/// # Errors
/// It is not what was expected. The value is not told: it may be a secret.
pub fn member<T: DeserializeOwned>(
    members: &Map<String, Value>,
    name: &str,
    expected: &str,
) -> Result<Option<T>, Problem> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::deserialize(value)
            .map(Some)
            .map_err(|_| invalid(name, format!("{name}: expected {expected}"))),
    }
}

/// Reads a member that must be there.
///
/// # Errors
/// It is missing or not what was expected.
pub fn required<T: DeserializeOwned>(
    members: &Map<String, Value>,
    name: &str,
    expected: &str,
) -> Result<T, Problem> {
    member(members, name, expected)?.ok_or_else(|| {
        let detail = format!("{name} is missing: expected {expected}");
        Problem::bad_request("missing_member", detail).naming(name)
    })
}

/// Changes a document by another one (RFC 7396 §2).
pub fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(patch) => {
                let member = target.entry(name).or_insert(Value::Null);
                if !member.is_object() {
                    *member = Value::Object(Map::new());
                }
                if let Value::Object(member) = member {
                    merge(member, patch);
                }
            }
            value => {
                target.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// RFC 7396, appendix A, as far as both sides are objects.
    #[test]
    fn merges_as_the_rfc_does() {
        for (original, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ] {
            let (Value::Object(mut target), Value::Object(patch)) = (original, patch) else {
                unreachable!("all are objects");
            };
            merge(&mut target, patch);
            assert_eq!(Value::Object(target), result);
        }
    }
}
