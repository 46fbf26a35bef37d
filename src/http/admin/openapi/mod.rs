//! The OpenAPI document, made from the code: the routes from the table they are served from, the
//! filters of lists from the parsers that read them, the members of documents from the keys that
//! they are checked against, the columns of rows from what renders them.

mod oauth;

use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::get;
use projections::{
    ApiKey, Client, ClientFilter, EventFilter, GrantAt, GrantFilter, Listed, Login, LoginFilter,
    Operator, Paging,
};
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;
use utoipa::openapi::OpenApi;

use super::problem::Body9457;
use super::{Admin, keys, providers, proxies};
use crate::config::{Key, PROVIDER_MEMBERS, PROXY_CONFIG_MEMBERS};
use crate::investigation::RenderedEvent;

const PATH: &str = "/api/v1/openapi.json";

/// `GET /api/v1/openapi.json`, which anybody may read: it describes this program, not this
/// installation. It is made when somebody asks for it first, which most servers never hear.
pub(super) fn route() -> Router<Admin> {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
        let document = document(super::table().into_openapi());
        serde_json::to_vec(&document).unwrap_or_default().into()
    });
    let answer = || async {
        (
            [(header::CONTENT_TYPE, "application/json")],
            DOCUMENT.clone(),
        )
    };
    Router::new().route(PATH, get(answer))
}

fn document(table: OpenApi) -> Value {
    let table = serde_json::to_value(table).unwrap_or_default();
    let mut schemas = members(&table["components"]["schemas"]);
    schemas.extend(own_schemas());
    let mut paths = members(&table["paths"]);
    for (path, item) in &mut paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            complete(path, method, operation);
        }
    }
    paths.extend(oauth::paths());
    paths.insert(PATH.to_owned(), own_path());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Grantlog",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": "administration", "description": "Providers, proxies, clients, operators, keys"},
            {"name": "investigation", "description": "The record, and containment"},
            {"name": "operations", "description": "How this node is"},
            {"name": "oauth", "description": "OAuth 2.1 for MCP clients, per proxy"},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An operator's token, gw_admin_…",
                },
            },
        },
    })
}

fn members(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn own_path() -> Value {
    json!({"get": {
        "tags": ["operations"],
        "operationId": "get_openapi",
        "summary": "This document.",
        "responses": {"200": {"description": "The OpenAPI document"}},
    }})
}

/// The schema of a list's rows, of a resource's answers, and of a resource's requests, by path.
fn schemas_of(path: &str) -> (Option<&'static str>, Option<&'static str>) {
    match path {
        "/api/v1/providers" | "/api/v1/providers/{id}" => (Some("Provider"), Some("NewProvider")),
        "/api/v1/proxies" | "/api/v1/proxies/{id}" => (Some("Proxy"), Some("NewProxy")),
        "/api/v1/clients" | "/api/v1/clients/{id}" => (Some("Client"), None),
        "/api/v1/operators" => (Some("Operator"), None),
        "/api/v1/api-keys" => (Some("ApiKey"), None),
        "/api/v1/keys" => (Some("SigningKey"), None),
        "/api/v1/logins" => (Some("Login"), None),
        "/api/v1/events" | "/api/v1/events/{position}" | "/api/v1/events/stream" => {
            (Some("Event"), None)
        }
        "/api/v1/grants" | "/api/v1/grants/{id}" => (Some("Grant"), None),
        _ => (None, None),
    }
}

/// The parameters of a list.
fn parameters_of(path: &str) -> Option<Vec<&'static str>> {
    let with_times = |own: &[&'static str]| {
        let times = ["since", "until"];
        [own, &times, &Paging::NAMES].concat()
    };
    match path {
        "/api/v1/logins" => Some(with_times(LoginFilter::NAMES)),
        "/api/v1/events" => Some(with_times(EventFilter::NAMES)),
        "/api/v1/grants" => Some(with_times(GrantFilter::NAMES)),
        "/api/v1/clients" => Some(with_times(ClientFilter::NAMES)),
        "/api/v1/events/stream" => Some([EventFilter::NAMES, &["since"]].concat()),
        "/api/v1/providers" | "/api/v1/proxies" | "/api/v1/operators" | "/api/v1/api-keys"
        | "/api/v1/keys" => Some(Paging::NAMES.to_vec()),
        _ => None,
    }
}

/// Says of an operation what its annotation leaves out.
fn complete(path: &str, method: &str, operation: &mut Value) {
    let slug = path.trim_start_matches("/api/v1/");
    let slug = slug.replace(['/', '-'], "_").replace(['{', '}'], "");
    operation["operationId"] = json!(format!("{method}_{slug}"));
    operation["security"] = json!([{"operator": []}]);
    operation["responses"]["default"] = json!({
        "description": "A problem (RFC 9457) with a stable code",
        "content": {"application/problem+json": {"schema": reference("Problem")}},
    });
    let (row, sent) = schemas_of(path);
    if let (Some(sent), "post" | "patch") = (sent, method) {
        operation["requestBody"]["content"] =
            json!({"application/json": {"schema": reference(sent)}});
    }
    let is_list = method == "get" && parameters_of(path).is_some();
    if is_list {
        let mut parameters = operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let own = parameters_of(path).unwrap_or_default();
        parameters.extend(
            own.into_iter()
                .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}})),
        );
        operation["parameters"] = Value::Array(parameters);
    }
    let Some(row) = row else { return };
    for status in ["200", "201"] {
        let Some(response) = operation["responses"].get_mut(status) else {
            continue;
        };
        if response.get("content").is_some() {
            continue;
        }
        response["content"] = if is_list {
            json!({
                "application/json": {"schema": page_of(row)},
                "application/x-ndjson": {"schema": reference(row)},
                "text/csv": {"schema": {"type": "string"}},
            })
        } else {
            json!({"application/json": {"schema": reference(row)}})
        };
    }
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn page_of(row: &str) -> Value {
    json!({
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {"type": "array", "items": reference(row)},
            "next": {"type": "string", "description": "The cursor of the next page; absent: this is the last"},
            "watermark": {"type": "integer", "description": "The highest position the answer knows of"},
            "behind": {"type": "integer", "description": "How many entries of the log it does not know of yet; absent: none"},
        },
    })
}

fn own_schemas() -> Map<String, Value> {
    let mut config = object_of(PROXY_CONFIG_MEMBERS, &["oauth_proxy_provider_id"]);
    config["description"] = json!("The terms on which tokens are issued");
    let schemas = [
        ("Problem", json!(Body9457::schema())),
        ("Provider", row::<providers::Shown>()),
        ("Proxy", row::<proxies::Shown>()),
        ("Client", row::<Client>()),
        ("Operator", row::<Operator>()),
        ("ApiKey", row::<ApiKey>()),
        ("SigningKey", row::<keys::Key>()),
        ("Login", row::<Login>()),
        ("Event", row::<RenderedEvent>()),
        ("Grant", row::<GrantAt>()),
        (
            "NewProvider",
            object_of(
                PROVIDER_MEMBERS,
                &["name", "type", "client_id", "client_secret"],
            ),
        ),
        (
            "NewProxy",
            json!({
                "type": "object",
                "required": ["name", "upstream_url", "config"],
                "properties": {
                    "name": {"type": "string"},
                    "upstream_url": {"type": "string", "format": "uri"},
                    "config": config,
                },
            }),
        ),
    ];
    schemas
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

fn row<R: Listed>() -> Value {
    let columns = R::COLUMNS.iter();
    let properties: Map<_, _> = columns
        .map(|column| ((*column).to_owned(), json!({})))
        .collect();
    json!({"type": "object", "properties": properties})
}

fn object_of(keys: &[Key], required: &[&str]) -> Value {
    let properties: Map<_, _> = keys
        .iter()
        .map(|key| {
            let mut schema = json!({"description": key.expected});
            if !key.default.is_empty() {
                schema["description"] =
                    json!(format!("{} (default {})", key.expected, key.default));
            }
            if key.secret {
                schema["writeOnly"] = json!(true);
            }
            (key.name.to_owned(), schema)
        })
        .collect();
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths of a route table, as its source writes them.
    fn routes_in(source: &str) -> Vec<&str> {
        let quoted = source.split('"').skip(1).step_by(2);
        quoted.filter(|text| text.starts_with('/')).collect()
    }

    #[test]
    fn every_route_is_in_the_document() {
        let (_, table) = super::super::table().split_for_parts();
        let document = document(table);
        let mut routes = routes_in(include_str!("../../mod.rs"));
        routes.retain(|route| !route.starts_with("/assets/"));
        assert!(routes.len() > 10, "{routes:?}");
        routes.push(PATH);
        for route in routes {
            assert!(document["paths"].get(route).is_some(), "{route} is missing");
        }
    }

    #[test]
    fn operations_have_ids_of_their_own_and_say_what_they_answer() {
        let (_, table) = super::super::table().split_for_parts();
        let document = document(table);
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{id} is there twice");
                assert!(operation["summary"].is_string(), "{method} {path}");
                assert!(operation["responses"].is_object(), "{method} {path}");
            }
        }
        assert!(ids.len() > 40, "{}", ids.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let (_, table) = super::super::table().split_for_parts();
        let document = document(table);
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"].get(name).is_some(),
                "{name}"
            );
        }
    }
}
