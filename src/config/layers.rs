//! What a configuration is made from, parsed and checked for unknown names.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use super::error::Excerpt;
use super::key::{names, nearest};
use super::{
    ConfigError, PROVIDER_MEMBERS, PROXY_CONFIG_MEMBERS, PROXY_MEMBERS, Place, Problem, SECTIONS,
    Sources,
};

/// All layers but the defaults, parsed.
pub(super) struct Layers<'a> {
    pub(super) flags: &'a BTreeMap<&'static str, String>,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) file: Option<(&'a str, &'a str)>,
    pub(super) root: DeTable<'a>,
    pub(super) read: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// A declared table of the file, such as one `[[provider]]`.
pub(super) struct Declared<'l, 'a> {
    /// Its `name`.
    pub(super) name: String,
    /// Where it stands.
    pub(super) span: Range<usize>,
    pub(super) table: &'l DeTable<'a>,
}

impl<'a> Layers<'a> {
    pub(super) fn new(sources: Sources<'a>) -> Result<Self, ConfigError> {
        let mut layers = Self {
            flags: sources.flags,
            environment: sources.environment,
            file: sources.file,
            root: DeTable::default(),
            read: sources.read,
        };
        if let Some((_, text)) = sources.file {
            layers.root = match DeTable::parse(text) {
                Ok(root) => root.into_inner(),
                Err(error) => {
                    let span = error.span().unwrap_or_default();
                    return Err(ConfigError {
                        place: layers.hidden(span),
                        problem: Problem::Syntax {
                            reason: error.message().replace('\n', ", "),
                        },
                    });
                }
            };
        }
        let tables = ["provider", "proxy"].map(str::to_owned);
        let sections = SECTIONS.map(|(name, _)| name.to_owned());
        let known: Vec<_> = sections.into_iter().chain(tables).collect();
        layers.refuse_unknown_keys("", &layers.root, &known)?;
        Ok(layers)
    }

    /// The `[[kind]]` tables. Each has a name of its own.
    pub(super) fn declared(&self, kind: &str) -> Result<Vec<Declared<'_, 'a>>, ConfigError> {
        let Some(value) = self.root.get(kind) else {
            return Ok(Vec::new());
        };
        let invalid = |key: String, expected: String, span| ConfigError {
            problem: Problem::Invalid {
                key,
                expected,
                found: None,
            },
            place: self.hidden(span),
        };
        let not_tables = || invalid(kind.to_owned(), format!("[[{kind}]] tables"), value.span());
        let mut all: Vec<Declared<'_, 'a>> = Vec::new();
        for item in value.get_ref().as_array().ok_or_else(not_tables)?.iter() {
            let table = item.get_ref().as_table().ok_or_else(not_tables)?;
            let name = table.get("name").and_then(|name| name.get_ref().as_str());
            let Some(name) = name.filter(|name| !name.trim().is_empty()) else {
                let expected = "a name of its own".to_owned();
                return Err(invalid(format!("{kind}.name"), expected, item.span()));
            };
            if all
                .iter()
                .any(|other| variable(&other.name) == variable(name))
            {
                return Err(ConfigError {
                    problem: Problem::Duplicate {
                        key: format!("{kind}.{name}"),
                    },
                    place: self.hidden(item.span()),
                });
            }
            all.push(Declared {
                name: name.to_owned(),
                span: item.span(),
                table,
            });
        }
        Ok(all)
    }

    /// Variables with `__` are keys; others (`GRANTLOG_URL`, what container platforms add) are not, unless a key is spelt with `_`
    /// for `__`.
    pub(super) fn refuse_unknown_variables(&self) -> Result<(), ConfigError> {
        let mut known: Vec<String> = Vec::new();
        for (section, keys) in SECTIONS {
            known.extend(names(keys).map(|name| format!("{section}__{name}")));
        }
        for (kind, keys) in [
            ("provider", PROVIDER_MEMBERS),
            ("proxy", PROXY_MEMBERS),
            ("proxy", PROXY_CONFIG_MEMBERS),
        ] {
            for declared in self.declared(kind)? {
                let owner = variable(&declared.name);
                known.extend(names(keys).map(|name| format!("{kind}__{owner}__{name}")));
            }
        }
        let known: Vec<String> = known
            .iter()
            .map(|name| format!("GRANTLOG_{}", name.to_ascii_uppercase()))
            .collect();
        let unknown = self.environment.keys().find(|name| {
            !known.contains(name) && (name.contains("__") || is_misspelt(name, &known))
        });
        match unknown {
            None => Ok(()),
            Some(name) => Err(ConfigError {
                problem: Problem::UnknownKey {
                    key: name.clone(),
                    nearest: nearest(name, known),
                },
                place: Place::Variable(name.clone()),
            }),
        }
    }

    pub(super) fn refuse_unknown_keys(
        &self,
        path: &str,
        table: &DeTable<'_>,
        known: &[String],
    ) -> Result<(), ConfigError> {
        let full = |name: &str| match path {
            "" => name.to_owned(),
            _ => format!("{path}.{name}"),
        };
        let mut unknown: Vec<_> = table
            .keys()
            .filter(|key| !known.iter().any(|name| name == key.get_ref()))
            .collect();
        unknown.sort_by_key(|key| key.span().start);
        match unknown.first() {
            None => Ok(()),
            Some(key) => Err(ConfigError {
                problem: Problem::UnknownKey {
                    key: full(key.get_ref()),
                    nearest: nearest(key.get_ref(), known.to_vec()).map(|name| full(&name)),
                },
                place: self.shown(key.span()),
            }),
        }
    }

    pub(super) fn shown(&self, span: Range<usize>) -> Place {
        self.place(span, true)
    }

    pub(super) fn hidden(&self, span: Range<usize>) -> Place {
        self.place(span, false)
    }

    fn place(&self, span: Range<usize>, shown: bool) -> Place {
        self.file.map_or(Place::Unset, |(name, text)| {
            Place::File(Box::new(Excerpt::new(name, text, span, shown)))
        })
    }
}

fn is_misspelt(name: &str, known: &[String]) -> bool {
    known.iter().any(|known| known.replace("__", "_") == *name)
}

/// How a declared table's name is written in environment variables.
pub(super) fn variable(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect::<String>()
        .to_ascii_uppercase()
}
