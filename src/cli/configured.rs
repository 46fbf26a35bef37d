//! Flags of the commands that run on a configuration of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::exit::Failure;
use crate::config::{self, Config};

/// Which configuration.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// The configuration file [default: GRANTLOG_CONFIG, else ./grantlog.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder (store.data_dir)
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// What `serve` can be told without a file.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    configuration: ConfigArgs,
    #[command(flatten)]
    listeners: ListenerArgs,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Configuration")]
struct ListenerArgs {
    /// Address of the authorization server (server.listen)
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Origin of the authorization server (server.public_url)
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Address of the MCP gateway (gateway.listen)
    #[arg(long, value_name = "ADDRESS:PORT")]
    gateway_listen: Option<SocketAddr>,
    /// Origin of the MCP gateway (gateway.public_url)
    #[arg(long, value_name = "URL")]
    gateway_public_url: Option<String>,
    /// Address of metrics and health (ops.listen)
    #[arg(long, value_name = "ADDRESS:PORT")]
    ops_listen: Option<SocketAddr>,
}

type Flags = BTreeMap<&'static str, String>;

impl ConfigArgs {
    /// The configuration that is meant.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn load(&self) -> Result<Config, Failure> {
        Ok(config::load(self.config.as_deref(), &self.flags())?)
    }

    fn flags(&self) -> Flags {
        let data = self.data.as_ref().map(|dir| dir.display().to_string());
        flags([("store.data_dir", data)])
    }
}

impl ServeArgs {
    /// The configuration that is meant.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn load(&self) -> Result<Config, Failure> {
        let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        let listeners = self.listeners.clone();
        let mut all = self.configuration.flags();
        all.extend(flags([
            ("server.listen", text(listeners.listen)),
            ("server.public_url", listeners.public_url),
            ("gateway.listen", text(listeners.gateway_listen)),
            ("gateway.public_url", listeners.gateway_public_url),
            ("ops.listen", text(listeners.ops_listen)),
        ]));
        Ok(config::load(self.configuration.config.as_deref(), &all)?)
    }
}

fn flags<const N: usize>(given: [(&'static str, Option<String>); N]) -> Flags {
    given
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}
