//! Whom a request names as its server: the guard against web pages that reach for this machine.
//!
//! A page in a browser on this machine can send requests to a loopback port. Two things tell them
//! apart: `Origin` names the page, and after DNS rebinding `Host` names the page's own domain.
//! Hence the invariant: a request is served only when `Host` is an IP address, `localhost` or a
//! name that the operator listed, and when `Origin`, if any, is the very same place.

use std::net::IpAddr;

/// The names besides addresses and `localhost` by which this server may be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    /// Names separated by commas.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let names = text.split(',').map(|name| name.trim().to_lowercase());
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Whether a `Host` header or an `:authority` names this server.
    #[must_use]
    pub fn host_is_ours(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority) else { return false };
        let host = host.to_lowercase();
        host == "localhost" || host.parse::<IpAddr>().is_ok() || self.0.contains(&host)
    }

    /// Whether a request with this `Host` and `Origin` may be served.
    #[must_use]
    pub fn allow(&self, authority: &str, origin: Option<&str>) -> bool {
        let same = |origin: &str| {
            let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            place.is_some_and(|place| place.eq_ignore_ascii_case(authority))
        };
        self.host_is_ours(authority) && origin.is_none_or(same)
    }
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`; `None` when it is none of these.
fn host_of(authority: &str) -> Option<&str> {
    let valid_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let port = if after.is_empty() { "" } else { after.strip_prefix(':')? };
        return valid_port(port).then_some(host);
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    (valid_port(port) && !host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses and `localhost` are ours; names are foreign unless they are listed.
    #[test]
    fn hosts() {
        let names = Names::parse("Queue.example, rekindle");
        for ours in [
            "127.0.0.1:7610",
            "127.0.0.1",
            "localhost:1",
            "LOCALHOST",
            "[::1]:7610",
            "[::1]",
            "10.1.2.3:80",
            "queue.example:7610",
            "rekindle",
        ] {
            assert!(names.host_is_ours(ours), "{ours}");
        }
        for foreign in [
            "",
            ":7610",
            "attacker.example:7610",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example",
            "127.0.0.1:7610@attacker.example",
            "localhost:port",
            "[::1",
            "[::1]x",
            "127.0.0.1:99999",
        ] {
            assert!(!names.host_is_ours(foreign), "{foreign}");
        }
    }

    /// An origin must be the place that is asked, port included.
    #[test]
    fn origins() {
        let names = Names::default();
        assert!(names.allow("localhost:7610", None));
        assert!(names.allow("localhost:7610", Some("http://localhost:7610")));
        for foreign in
            ["null", "http://localhost:3000", "http://attacker.example", "localhost:7610"]
        {
            assert!(!names.allow("localhost:7610", Some(foreign)), "{foreign}");
        }
    }
}
