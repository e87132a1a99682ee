//! Which networks may send keys.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Networks in CIDR form, or addresses; an empty list allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<IpNet>);

/// Not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither an address nor a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct BadNetwork {
    /// What was given.
    pub text: String,
}

impl AllowList {
    /// A list of networks, each as text.
    pub fn parse<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self, BadNetwork> {
        let parse = |text: &str| {
            let text = text.trim();
            IpNet::from_str(text).or_else(|_| IpAddr::from_str(text).map(IpNet::from)).map_err(|_| text.to_owned())
        };
        networks.into_iter().map(parse).collect::<Result<_, _>>().map(Self).map_err(|text| BadNetwork { text })
    }

    /// Whether `addr` may send. An IPv4 address in IPv6 form (`::ffff:10.1.2.3`) counts as IPv4.
    pub fn allows(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        self.0.is_empty() || self.0.iter().any(|network| network.contains(&addr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_addresses_and_mapped_addresses() {
        let list = AllowList::parse(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]).unwrap();
        for (addr, allowed) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(list.allows(addr.parse().unwrap()), allowed, "{addr}");
        }
        assert!(AllowList::default().allows("203.0.113.1".parse().unwrap()));
        assert_eq!(AllowList::parse(["10.0.0.0/8", "x"]).unwrap_err(), BadNetwork { text: "x".into() });
    }
}
