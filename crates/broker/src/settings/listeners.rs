//! Listeners: their syntax, and the rules that keep a broker from being unreachable or open to everybody by mistake.
//!
//! Deliberately not here: sockets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::error::{Problem, SettingError, Source};
use super::sources::Given;
use super::table::Settings;

/// A host and a port. An empty host is the wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// Port; 0 takes any free one.
    pub port: u16,
}

impl Address {
    /// Whether it means "every address of this machine", to which nobody can connect.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.host.is_empty() || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// What to give to `bind`: the host, or the IPv4 wildcard.
    #[must_use]
    pub fn bind_host(&self) -> &str {
        if self.host.is_empty() { "0.0.0.0" } else { &self.host }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A named address: one listener, or what is advertised for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name of the listener, in capitals.
    pub name: String,
    /// Where.
    pub address: Address,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, self.address)
    }
}

/// Reads `host:port`; `None` if it is not that.
pub(super) fn parse_address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let inner = rest.strip_suffix(']')?;
            inner.parse::<std::net::Ipv6Addr>().ok()?;
            inner
        }
        None => host,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_host = host.parse::<IpAddr>().is_ok() || host.chars().all(plain);
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    (is_host && is_port).then_some(Address { host: host.to_owned(), port: port.parse().ok()? })
}

/// Reads `NAME://host:port,...`; `None` if an entry is not that or a name occurs twice.
pub(super) fn parse_endpoints(text: &str) -> Option<Vec<Endpoint>> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (name, address) = entry.split_once("://")?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let name = name.to_ascii_uppercase();
        if !is_name || endpoints.iter().any(|other| other.name == name) {
            return None;
        }
        endpoints.push(Endpoint { name, address: parse_address(address)? });
    }
    Some(endpoints)
}

impl Settings {
    /// What clients of a listener are told: the advertised host and port, where port 0 stands for the one that was bound.
    #[must_use]
    pub fn advertised(&self, listener: &Endpoint, bound: SocketAddr) -> Address {
        let told = self.advertised_listeners.iter().find(|endpoint| endpoint.name == listener.name);
        let told = &told.unwrap_or(listener).address;
        Address { host: told.host.clone(), port: if told.port == 0 { bound.port() } else { told.port } }
    }

    /// The rules between settings.
    pub(super) fn check_together(&self, given: &Given, errors: &mut Vec<SettingError>) {
        let mut refuse = |key: &str, value: String, advice: String| {
            let source = given.get(key).map_or(Source::Default, |(_, source)| source.clone());
            errors.push(SettingError { key: key.to_owned(), value, source, problem: Problem::Refused { advice } });
        };
        if self.listeners.is_empty() {
            refuse("listeners", String::new(), "at least one listener is needed".to_owned());
        }
        for listener in &self.listeners {
            for advice in self.judge_listener(listener) {
                refuse("listeners", listener.to_string(), advice);
            }
        }
        for told in &self.advertised_listeners {
            if let Some(advice) = self.judge_advertised(told) {
                refuse("advertised.listeners", told.to_string(), advice);
            }
        }
        if let Some(http) = &self.pagemark_http_listener
            && !http.is_loopback()
            && !self.pagemark_insecure_listen
        {
            refuse("pagemark.http.listener", http.to_string(), INSECURE.to_owned());
        }
        if self.group_min_session_timeout_ms > self.group_max_session_timeout_ms {
            let advice = format!("must not exceed group.max.session.timeout.ms={}", self.group_max_session_timeout_ms);
            refuse("group.min.session.timeout.ms", self.group_min_session_timeout_ms.to_string(), advice);
        }
        if self.default_replication_factor > 1 && !self.pagemark_lenient_replication_factor {
            let advice =
                "there is one node, so there is one copy: use 1, or --set pagemark.lenient.replication.factor=true";
            refuse("default.replication.factor", self.default_replication_factor.to_string(), advice.to_owned());
        }
    }

    fn judge_listener(&self, listener: &Endpoint) -> Vec<String> {
        let mut advice = Vec::new();
        let map = &self.listener_security_protocol_map;
        match map.iter().find(|(name, _)| name.eq_ignore_ascii_case(&listener.name)) {
            Some((_, protocol)) if protocol == "PLAINTEXT" => {}
            Some((_, protocol)) => {
                advice.push(format!("only PLAINTEXT is served, and {} is {protocol}", listener.name))
            }
            None => advice.push(format!(
                "nothing says which protocol {0} is: --set listener.security.protocol.map={0}:PLAINTEXT",
                listener.name
            )),
        }
        let is_told = self.advertised_listeners.iter().any(|told| told.name == listener.name);
        if listener.address.is_wildcard() && !is_told {
            advice.push(format!(
                "clients cannot connect to a wildcard address: --set advertised.listeners={}://HOST:{}, where HOST is the \
                 name or address by which clients reach this machine",
                listener.name, listener.address.port
            ));
        }
        if !listener.address.is_loopback() && !self.pagemark_insecure_listen {
            advice.push(INSECURE.to_owned());
        }
        advice
    }

    fn judge_advertised(&self, told: &Endpoint) -> Option<String> {
        if told.address.is_wildcard() {
            return Some(format!(
                "clients cannot connect to a wildcard address: --set advertised.listeners={}://HOST:{}, where HOST is the \
                 name or address by which clients reach this machine",
                told.name, told.address.port
            ));
        }
        let names: Vec<&str> = self.listeners.iter().map(|listener| listener.name.as_str()).collect();
        (!names.contains(&told.name.as_str()))
            .then(|| format!("no listener has this name; listeners has {}", names.join(", ")))
    }
}

const INSECURE: &str = "this address can be reached from other machines, and nobody has to show who they are: listen on \
     127.0.0.1, or allow it with --set pagemark.insecure.listen=true";
