//! Looking a key up: flag, then environment, then file, then default.

use std::path::Path;

use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use zeroize::Zeroizing;

use super::key::{Key, names};
use super::layers::{Declared, Layers, variable};
use super::{ConfigError, Place, Problem};
use crate::secret::Secret;

/// One table of the configuration with its known keys.
pub(super) struct Section<'l, 'a> {
    layers: &'l Layers<'a>,
    path: String,
    variable: String,
    keys: &'static [Key],
    table: Option<&'l DeTable<'a>>,
}

enum Value<'l, 'a> {
    Text(&'l str),
    Toml(&'l Spanned<DeValue<'a>>),
}

enum SecretSource<'l, 'a> {
    Value(Value<'l, 'a>),
    File(Zeroizing<String>),
}

impl<'l, 'a> Section<'l, 'a> {
    /// `[name]`.
    pub(super) fn open(
        layers: &'l Layers<'a>,
        name: &'static str,
        keys: &'static [Key],
    ) -> Result<Self, ConfigError> {
        let table = table_of(layers, name.to_owned(), layers.root.get(name))?;
        let variable = format!("GRANTLOG_{}__", name.to_ascii_uppercase());
        Self::new(layers, name.to_owned(), variable, keys, table)
    }

    /// One `[[kind]]`.
    pub(super) fn declared(
        layers: &'l Layers<'a>,
        kind: &str,
        declared: &Declared<'l, 'a>,
        keys: &'static [Key],
    ) -> Result<Self, ConfigError> {
        let owner = variable(&declared.name);
        let variable = format!("GRANTLOG_{}__{owner}__", kind.to_ascii_uppercase());
        let path = format!("{kind}.{}", declared.name);
        Self::new(layers, path, variable, keys, Some(declared.table))
    }

    /// A table within a declared table; its variables are those of the table it is in.
    pub(super) fn nested(&self, name: &str, keys: &'static [Key]) -> Result<Self, ConfigError> {
        let value = self.table.and_then(|table| table.get(name));
        let table = table_of(self.layers, self.full(name), value)?;
        let variable = self.variable.clone();
        Self::new(self.layers, self.full(name), variable, keys, table)
    }

    fn new(
        layers: &'l Layers<'a>,
        path: String,
        variable: String,
        keys: &'static [Key],
        table: Option<&'l DeTable<'a>>,
    ) -> Result<Self, ConfigError> {
        if let Some(table) = table {
            let known: Vec<_> = names(keys).collect();
            layers.refuse_unknown_keys(&path, table, &known)?;
        }
        Ok(Self {
            layers,
            path,
            variable,
            keys,
            table,
        })
    }

    /// A value, if it is set. An empty variable counts as not set.
    pub(super) fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        let key = self.key(name);
        let Some((value, place)) = self.find(name) else {
            return Ok(None);
        };
        let (parsed, span) = match value {
            Value::Text(text) if text.trim().is_empty() => return Ok(None),
            Value::Text(text) => (from_text(text).ok(), None),
            Value::Toml(value) => match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(parsed) => (Some(parsed), None),
                Err(error) => (None, Some(error.span().unwrap_or_else(|| value.span()))),
            },
        };
        parsed.map(Some).ok_or_else(|| {
            let (found, place) = match (key.secret, value, span) {
                (true, Value::Text(_), _) => (None, place),
                (true, Value::Toml(value), _) => (None, self.layers.hidden(value.span())),
                (false, Value::Text(text), _) => (Some(format!("`{text}`")), place),
                (false, Value::Toml(value), span) => {
                    let span = span.unwrap_or_else(|| value.span());
                    let text = self.layers.file.map_or("", |(_, text)| text);
                    let found = text.get(span.clone()).map(|found| format!("`{found}`"));
                    (found, self.layers.shown(span))
                }
            };
            ConfigError {
                problem: Problem::Invalid {
                    key: self.full(name),
                    expected: key.expected.to_owned(),
                    found,
                },
                place,
            }
        })
    }

    /// A value, or what the key's default says.
    pub(super) fn or_default<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigError> {
        match self.get(name)? {
            Some(value) => Ok(value),
            None => from_text(self.key(name).default).map_err(|_| self.missing(name)),
        }
    }

    /// A value that has no default.
    pub(super) fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigError> {
        self.get(name)?.ok_or_else(|| self.missing(name))
    }

    /// A secret: the value itself, or the contents of the file that its twin names. A list
    /// becomes one item a line.
    pub(super) fn secret(&self, name: &str) -> Result<Option<(Secret, Place)>, ConfigError> {
        let Some((source, place)) = self.secret_source(name)? else {
            return Ok(None);
        };
        let secret = match source {
            SecretSource::Value(Value::Text(text)) => Some(Secret::new(text)),
            SecretSource::Value(Value::Toml(value)) => secret_of(value.get_ref()),
            SecretSource::File(text) => Some(Secret::new(text.trim())),
        };
        match secret {
            Some(secret) => Ok(Some((secret, place))),
            None => Err(self.invalid_secret(name, None, place)),
        }
    }

    /// A table of secrets: in the file itself, or as a JSON object in the environment or in the
    /// file that its twin names.
    pub(super) fn secret_table<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some((source, place)) = self.secret_source(name)? else {
            return Ok(None);
        };
        let table = match source {
            SecretSource::Value(Value::Text(text)) => serde_json::from_str(text).ok(),
            SecretSource::Value(Value::Toml(value)) => {
                T::deserialize(ValueDeserializer::from(value.clone())).ok()
            }
            SecretSource::File(text) => serde_json::from_str(&text).ok(),
        };
        match table {
            Some(table) => Ok(Some(table)),
            None => Err(self.invalid_secret(name, None, place)),
        }
    }

    fn secret_source(
        &self,
        name: &str,
    ) -> Result<Option<(SecretSource<'l, 'a>, Place)>, ConfigError> {
        let layer = |name: &str| {
            let found = self.find(name);
            found.map(|(value, place)| (matches!(value, Value::Text(_)), value, place))
        };
        // either form in the environment wins over both forms in the file
        let (path, place) = match (layer(name), layer(&format!("{name}_file"))) {
            (Some((a, ..)), Some((b, _, place))) if a == b => {
                let key = self.full(name);
                return Err(ConfigError {
                    problem: Problem::Twice { key },
                    place,
                });
            }
            (Some((_, value, place)), Some((false, ..)) | None) => {
                return Ok(Some((SecretSource::Value(value), place)));
            }
            (_, Some((_, Value::Text(path), place))) => (path, place),
            (_, Some((_, Value::Toml(value), place))) => {
                (value.get_ref().as_str().unwrap_or_default(), place)
            }
            (None, None) => return Ok(None),
        };
        match (self.layers.read)(Path::new(path)) {
            Ok(text) => Ok(Some((SecretSource::File(Zeroizing::new(text)), place))),
            Err(error) => Err(ConfigError {
                place,
                ..ConfigError::unreadable(Path::new(path), &error)
            }),
        }
    }

    /// A secret that is set but not good enough.
    pub(super) fn invalid_secret(
        &self,
        name: &str,
        found: Option<String>,
        place: Place,
    ) -> ConfigError {
        ConfigError {
            problem: Problem::Invalid {
                key: self.full(name),
                expected: self.key(name).expected.to_owned(),
                found,
            },
            place,
        }
    }

    pub(super) fn missing(&self, name: &str) -> ConfigError {
        ConfigError {
            problem: Problem::Missing {
                key: self.full(name),
                expected: self.key(name).expected.to_owned(),
            },
            place: Place::Unset,
        }
    }

    fn full(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn key(&self, name: &str) -> &'static Key {
        self.keys
            .iter()
            .find(|key| key.name == name)
            .expect("sections ask for their own keys only; a test reads every key")
    }

    fn find(&self, name: &str) -> Option<(Value<'l, 'a>, Place)> {
        if let Some(text) = self.layers.flags.get(self.full(name).as_str()) {
            return Some((Value::Text(text), Place::Flag));
        }
        let variable = format!("{}{}", self.variable, name.to_ascii_uppercase());
        if let Some(text) = self.layers.environment.get(&variable) {
            return Some((Value::Text(text), Place::Variable(variable)));
        }
        let value = self.table?.get(name)?;
        Some((Value::Toml(value), self.layers.hidden(value.span())))
    }
}

fn table_of<'l, 'a>(
    layers: &Layers<'_>,
    path: String,
    value: Option<&'l Spanned<DeValue<'a>>>,
) -> Result<Option<&'l DeTable<'a>>, ConfigError> {
    let Some(value) = value else {
        return Ok(None);
    };
    match value.get_ref().as_table() {
        Some(table) => Ok(Some(table)),
        None => Err(ConfigError {
            problem: Problem::Invalid {
                expected: format!("a [{path}] table"),
                key: path,
                found: None,
            },
            place: layers.hidden(value.span()),
        }),
    }
}

/// Text is taken as it is where the kind is written as text, and else as it would be written
/// in the file.
fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, toml::de::Error> {
    let plain: serde::de::value::StrDeserializer<'_, toml::de::Error> = text.into_deserializer();
    T::deserialize(plain).or_else(|_| T::deserialize(ValueDeserializer::parse(text)?))
}

fn secret_of(value: &DeValue<'_>) -> Option<Secret> {
    if let Some(items) = value.as_array() {
        let items: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
        return items.map(|items| Secret::new(items.join("\n")));
    }
    value.as_str().map(Secret::new)
}
