//! Who the client is behind proxies, and what the engine is told about it.
//!
//! Rule for the client: begin with the connection's peer; while the address at hand is a trusted proxy, take the one
//! that it appended to `X-Forwarded-For` (the list is read from its right end). The first address that is not trusted
//! is the client. An entry that is no address ends the walk at the proxy that wrote it: what stands left of it was
//! vouched for by nobody. Missing headers leave the peer.
//!
//! Rule for the engine: a trusted peer's headers are kept and its address appended; what any other peer says about
//! forwarding is replaced by what we saw.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// `X-Forwarded-For`: client, first proxy, second proxy, ...
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`: `http` or `https`, as the client sent it.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`: the host that the client asked for.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Names beside `x-forwarded-*` by which clients' addresses are told, and thus could be forged.
const ALSO_FORGED: [&str; 5] = ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"];

/// What the proxy learns, and has to do to a request's header before it goes out: first take away, then set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The client's address.
    pub client: IpAddr,
    /// Headers that nobody may tell us: to be taken away.
    pub remove: Vec<HeaderName>,
    /// The value of [`X_FORWARDED_FOR`].
    pub forwarded_for: HeaderValue,
    /// The value of [`X_FORWARDED_PROTO`].
    pub proto: HeaderValue,
    /// The value of [`X_FORWARDED_HOST`]; `None` if the request names no host.
    pub host: Option<HeaderValue>,
}

impl Forwarding {
    /// Judges a request of `peer`. `by_tls`: it came over TLS. `authority`: the host in the request's target (HTTP/2's
    /// `:authority`); it counts before the `Host` header.
    pub fn of(peer: IpAddr, by_tls: bool, authority: Option<&str>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = peer.to_canonical();
        let believed = is_trusted(peer, trusted);
        let told = |name: &HeaderName| headers.get(name).filter(|_| believed);
        let seen_host = || authority.and_then(|host| host.parse().ok()).or_else(|| headers.get(HOST).cloned());
        let seen_proto = HeaderValue::from_static(if by_tls { "https" } else { "http" });
        Forwarding {
            client: client_ip(peer, headers, trusted),
            remove: if believed {
                Vec::new()
            } else {
                headers.keys().filter(|name| is_forged(name)).cloned().collect()
            },
            forwarded_for: appended(peer, headers, believed),
            proto: told(&X_FORWARDED_PROTO).filter(|value| is_scheme(value)).cloned().unwrap_or(seen_proto),
            host: told(&X_FORWARDED_HOST).cloned().or_else(seen_host),
        }
    }

    /// The headers to set, each replacing all of its name.
    pub fn set(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let host = self.host.map(|host| (X_FORWARDED_HOST, host));
        [(X_FORWARDED_FOR, self.forwarded_for), (X_FORWARDED_PROTO, self.proto)].into_iter().chain(host)
    }
}

/// The address of the client that is connected to us, maybe through proxies, as `peer`.
pub fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client; // the common case: nobody's word counts
    }
    let lines = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
        let Some(address) = address(entry) else { return client };
        client = address;
        if !is_trusted(client, trusted) {
            break;
        }
    }
    client
}

/// True if `address` is one of the proxies whose word counts.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// An address, with or without brackets and port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = || text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse::<IpAddr>();
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare().or_else(|_| with_port()).ok().map(|address| address.to_canonical())
}

/// `X-Forwarded-For` with the peer at its end; only a trusted peer's own list is kept.
fn appended(peer: IpAddr, headers: &HeaderMap, believed: bool) -> HeaderValue {
    let peer = peer.to_string();
    let mut list = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR).into_iter().filter(|_| believed) {
        list.extend_from_slice(line.as_bytes().trim_ascii());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(peer.as_bytes());
    // Header values and an address make a header value, so this cannot fail.
    HeaderValue::from_bytes(&list).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// True for a header by which a client's address or scheme could be forged. Some servers read `_` in a name as `-`.
pub fn is_forged(name: &HeaderName) -> bool {
    let name = name.as_str();
    let name = if name.contains('_') { Cow::from(name.replace('_', "-")) } else { Cow::from(name) };
    name.starts_with("x-forwarded-") || ALSO_FORGED.contains(&name.as_ref())
}

fn is_scheme(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), b"http" | b"https")
}

#[cfg(test)]
mod tests;
