//! `[network]`: who is believed about addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::ConfigError;
use super::key::Key;
use super::list::List;
use super::section::Section;

/// Who is believed about addresses.
#[derive(Clone, Debug)]
pub struct Network {
    /// The networks whose forwarding headers are believed; the rightmost address that is not in
    /// one of them is the client's. Default: none.
    pub trusted_proxies: Vec<IpNet>,
}

pub(super) const KEYS: &[Key] = &[Key::plain(
    "trusted_proxies",
    "",
    "networks such as 10.0.0.0/8, or addresses",
)];

impl Network {
    pub(super) fn read(section: &Section<'_, '_>) -> Result<Self, ConfigError> {
        let networks: Option<List<NetworkOrAddress>> = section.get("trusted_proxies")?;
        let networks = networks.map_or_else(Vec::new, |List(networks)| networks);
        Ok(Self {
            trusted_proxies: networks.into_iter().map(|network| network.0).collect(),
        })
    }
}

struct NetworkOrAddress(IpNet);

impl<'de> Deserialize<'de> for NetworkOrAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let address = |_| text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse::<IpNet>().or_else(address);
        network.map(Self).map_err(serde::de::Error::custom)
    }
}
