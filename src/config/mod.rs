//! Configuration: one value, made from flags, environment, file and defaults, in that order.
//!
//! [`Config::resolve`] is a pure function of what it is given; only [`load`] touches the process
//! environment and the disk. Each section is one file, whose field documentation is the manual
//! (`docs/configuration.md` says the same in one table, checked by a test).
//!
//! Invariants: an unknown key, in the file or in the environment, is an error that names its
//! place and the nearest known key. No error shows a secret, nor a line of the file that might
//! hold one.

mod admin;
mod environment;
mod error;
mod gateway;
mod key;
mod keys;
mod layers;
mod limits;
mod list;
mod network;
mod ops;
mod provider;
mod proxy;
mod proxy_config;
mod public_url;
mod secret;
mod section;
mod server;
mod store;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use admin::Admin;
pub use environment::variables as environment;
pub use error::{ConfigError, Place, Problem};
pub use gateway::Gateway;
pub use key::{Key, nearest};
pub use keys::Keys;
pub use limits::Limits;
pub use network::Network;
pub use ops::Ops;
pub use provider::{DeclaredProvider, MEMBERS as PROVIDER_MEMBERS};
pub use proxy::{
    CONFIG_MEMBERS as PROXY_CONFIG_MEMBERS, DeclaredProxy, MEMBERS as PROXY_MEMBERS, ProviderRef,
    unknown_provider,
};
pub use proxy_config::{Mode, ProxyConfig};
pub use public_url::{PublicUrl, is_loopback};
pub use server::Server;
pub use store::Store;

use layers::Layers;
use section::Section;

/// The file that is read where no other is named, if it exists.
pub const DEFAULT_FILE: &str = "grantlog.toml";

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`: authorization server and administration.
    pub server: Server,
    /// `[gateway]`: protected MCP endpoints.
    pub gateway: Gateway,
    /// `[ops]`: metrics and health.
    pub ops: Ops,
    /// `[store]`: where the log, the vault and the read models are.
    pub store: Store,
    /// `[keys]`: what protects the vault.
    pub keys: Keys,
    /// `[admin]`: the first operator.
    pub admin: Admin,
    /// `[network]`: who is believed about addresses.
    pub network: Network,
    /// `[limits]`: rates, sizes and lives.
    pub limits: Limits,
    /// `[[provider]]`: declared providers, in the order of the file.
    pub providers: Vec<DeclaredProvider>,
    /// `[[proxy]]`: declared proxies, in the order of the file.
    pub proxies: Vec<DeclaredProxy>,
    /// The files that secrets were read from.
    pub secret_files: Vec<PathBuf>,
}

/// What a configuration is made from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Command-line flags by key, such as `server.listen`. They win.
    pub flags: &'a BTreeMap<&'static str, String>,
    /// Environment variables that begin with `GRANTLOG_`.
    pub environment: &'a BTreeMap<String, String>,
    /// The configuration file, if there is one: its name and its text.
    pub file: Option<(&'a str, &'a str)>,
    /// Reads the file that a `…_FILE` variable or a `…_file` key names.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

type Tables = (&'static str, &'static [Key]);

/// The sections with their keys.
pub const SECTIONS: [Tables; 8] = [
    ("server", server::KEYS),
    ("gateway", gateway::KEYS),
    ("ops", ops::KEYS),
    ("store", store::KEYS),
    ("keys", keys::KEYS),
    ("admin", admin::KEYS),
    ("network", network::KEYS),
    ("limits", limits::KEYS),
];

impl Config {
    /// Makes the configuration.
    ///
    /// # Errors
    /// The file is not TOML; a key or variable is unknown; a value is missing, given twice, not
    /// of its kind, or a secret too weak.
    pub fn resolve(sources: Sources<'_>) -> Result<Self, ConfigError> {
        let secret_files = RefCell::new(Vec::new());
        let read = |path: &Path| {
            secret_files.borrow_mut().push(path.to_owned());
            (sources.read)(path)
        };
        let layers = Layers::new(Sources {
            read: &read,
            ..sources
        })?;
        layers.refuse_unknown_variables()?;
        let section = |index: usize| Section::open(&layers, SECTIONS[index].0, SECTIONS[index].1);
        let [server, gateway, ops, store] = [section(0)?, section(1)?, section(2)?, section(3)?];
        let [keys, admin, network, limits] = [section(4)?, section(5)?, section(6)?, section(7)?];
        let store = Store::read(&store)?;
        Ok(Self {
            server: Server::read(&server)?,
            gateway: Gateway::read(&gateway)?,
            ops: Ops::read(&ops)?,
            keys: Keys::read(&keys, &store)?,
            store,
            admin: Admin::read(&admin)?,
            network: Network::read(&network)?,
            limits: Limits::read(&limits)?,
            providers: provider::read_all(&layers)?,
            proxies: proxy::read_all(&layers)?,
            secret_files: secret_files.take(),
        })
    }
}

/// Makes the configuration of this process: its environment, and the named file, or
/// `GRANTLOG_CONFIG`, or [`DEFAULT_FILE`] if there is one.
///
/// # Errors
/// As [`Config::resolve`]; a named file cannot be read.
pub fn load(
    file: Option<&Path>,
    flags: &BTreeMap<&'static str, String>,
) -> Result<Config, ConfigError> {
    let environment = environment();
    let named = file
        .map(Path::to_owned)
        .or_else(|| environment.get("GRANTLOG_CONFIG").map(PathBuf::from));
    let path = match named {
        Some(path) => Some(path),
        None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
    };
    let text = match &path {
        Some(path) => Some(Zeroizing::new(
            std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?,
        )),
        None => None,
    };
    let name = path.as_deref().map(|path| path.display().to_string());
    Config::resolve(Sources {
        flags,
        environment: &environment,
        file: name.as_deref().zip(text.as_ref().map(|text| text.as_str())),
        read: &|path| std::fs::read_to_string(path),
    })
}

/// The file that `init` writes: every key with its meaning and its default, commented out.
#[must_use]
pub fn commented_default() -> String {
    include_str!("default.toml").to_owned()
}
