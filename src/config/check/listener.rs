//! Listeners: addresses that can all be bound at once, and what each takes.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Item, Texts, Unique, below, check_name, is_missing, path, range, tls};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{ListenerPlan, defaults};
use crate::config::wording::item;
use crate::config::yaml;

/// The listeners, each with where it was written.
pub(super) type Placed = Vec<(String, ListenerPlan)>;

/// Every listener's name.
pub(super) fn names(main: &yaml::Config, items: &[Item<yaml::Listener>]) -> Vec<String> {
    let short = main.listen.iter().map(|_| DEFAULT.to_string());
    short.chain(items.iter().filter_map(|item| item.path.last().cloned())).collect()
}

pub(super) fn check(main: &yaml::Config, items: Vec<Item<yaml::Listener>>, texts: Texts<'_, '_>) -> Placed {
    let mut listeners = Placed::new();
    let mut names = Unique::default();
    let none = items.is_empty() && main.listen.is_none();
    if let Some(listen) = &main.listen {
        let at = path(&["listen"]);
        if !items.is_empty() {
            texts[0].at_key(&at, "`listen` is short for one listener; here `listeners` names them too").hint =
                Some("move this address into `listeners`".into());
        }
        if let Some(bind) = free_address(&mut texts[0], &at, listen, &listeners) {
            listeners.push((texts[0].line_of(&at), plain(DEFAULT, bind)));
        }
    }
    for Item { text, path, yaml } in items {
        let text = &mut texts[text];
        let name = path.last().cloned().unwrap_or_default();
        check_name(text, &path, "a listener", &name);
        names.check(text, &path, &name, &format!("two listeners are called `{name}`"));
        let at = below(&path, "bind");
        let bind = match &yaml.bind {
            Some(bind) => free_address(text, &at, bind, &listeners),
            None => {
                if is_missing(text, &path, "bind") {
                    text.at(&path, format!("listener `{name}` has no `bind`")).hint = Some(EXAMPLE.into());
                }
                None
            }
        };
        let options = options(text, &path, &name, yaml);
        listeners.extend(bind.map(|bind| (text.line_of(&at), ListenerPlan { bind, ..options })));
    }
    let damaged =
        texts.iter().any(|text| text.is_damaged(&path(&["listen"])) || text.is_damaged(&path(&["listeners"])));
    if none && !damaged {
        let finding = texts[0].at(&[], "there is no listener");
        finding.hint = Some(format!("write `listen: {}`", defaults::LISTEN));
    }
    listeners
}

/// A listener without options.
fn plain(name: &str, bind: SocketAddr) -> ListenerPlan {
    ListenerPlan {
        name: name.into(),
        bind,
        h2c: false,
        tls: Vec::new(),
        trusted_proxies: Vec::new(),
        max_connections: None,
    }
}

/// All but the address, which is still to come.
fn options(text: &mut Document<'_>, at: &Path, name: &str, yaml: yaml::Listener) -> ListenerPlan {
    let trusted_proxies = networks(text, &below(at, "trusted_proxies"), &yaml.trusted_proxies);
    if yaml.max_connections == Some(0) {
        range(text, &below(at, "max_connections"), "0", "1 or more; leave it out for no limit");
    }
    if yaml.h2c && yaml.tls.is_some() {
        let finding = text.at(&below(at, "h2c"), "`h2c` is HTTP/2 without TLS, and this listener has `tls`");
        finding.hint = Some("leave `h2c` out: with TLS, HTTP/2 is negotiated".into());
    }
    let tls = tls::certificates(text, &below(at, "tls"), yaml.tls);
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let plain = plain(name, nowhere);
    ListenerPlan { h2c: yaml.h2c, tls, trusted_proxies, max_connections: yaml.max_connections, ..plain }
}

/// Networks, or single addresses.
fn networks(text: &mut Document<'_>, at: &Path, written: &[String]) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (index, written) in text.sound_items(at).into_iter().zip(written) {
        let item_at = below(at, &index.to_string());
        match written.parse::<IpNet>().or_else(|_| written.parse::<IpAddr>().map(IpNet::from)) {
            Ok(network) if network == network.trunc() => networks.push(network),
            Ok(network) => {
                let message = format!("{} is an address in a network, not a network", item(&item_at));
                let finding = text.at(&item_at, message);
                finding.found = Some(written.clone());
                finding.hint =
                    Some(format!("write `{}`, or `{}` for this one address", network.trunc(), network.addr()));
            }
            Err(_) => {
                let finding = text.at(&item_at, format!("{} is no address and no network", item(&item_at)));
                finding.found = Some(written.clone());
                finding.allowed = Some("an IP address or a network: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`".into());
            }
        }
    }
    networks
}

/// The name of the listener of `listen`.
const DEFAULT: &str = "default";
const EXAMPLE: &str = "an address and a port, like `bind: \"127.0.0.1:11434\"`";

/// The address as written; also if it is taken, which is a finding.
pub(super) fn free_address(
    text: &mut Document<'_>,
    at: &Path,
    written: &str,
    listeners: &Placed,
) -> Option<SocketAddr> {
    let bind = address(text, at, written)?;
    collide(text, at, bind, listeners);
    Some(bind)
}

fn address(text: &mut Document<'_>, at: &Path, written: &str) -> Option<SocketAddr> {
    if let Ok(address) = written.parse() {
        return Some(address);
    }
    let port = written.trim_start_matches(['*', ':']);
    let hint = match port.parse::<u16>() {
        Ok(port) => format!("write `127.0.0.1:{port}` for this machine only, `0.0.0.0:{port}` for everyone"),
        Err(_) if written.starts_with("localhost:") => written.replace("localhost", "write 127.0.0.1"),
        Err(_) => "an address, not a host name: `127.0.0.1:11434`, `0.0.0.0:11434`, `[::]:11434`".into(),
    };
    let finding = text.at(at, format!("`{written}` is no address to listen on"));
    finding.found = Some(written.into());
    finding.allowed = Some("an IP address and a port from 0 to 65535".into());
    finding.hint = Some(hint);
    None
}

/// Two sockets cannot have one port if their addresses are equal or one of them means "all".
fn collide(text: &mut Document<'_>, at: &Path, bind: SocketAddr, listeners: &Placed) {
    let overlap = |other: SocketAddr| {
        let (own, theirs) = (bind.ip(), other.ip());
        let same_family = own.is_ipv4() == theirs.is_ipv4();
        bind.port() != 0
            && bind.port() == other.port()
            && (own == theirs || same_family && (own.is_unspecified() || theirs.is_unspecified()))
    };
    if let Some((place, other)) = listeners.iter().find(|(_, other)| overlap(other.bind)) {
        let message = format!("{bind} is taken by listener `{}`", other.name);
        let found = format!("`{}` has {} at {place}", other.name, other.bind);
        text.at(at, message).found = Some(found);
    }
}
