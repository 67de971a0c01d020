//! Listeners and the admin listener: addresses that can all be bound at once.

use std::net::SocketAddr;

use super::{Item, Texts, Unique, below, check_name, path};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{ListenerPlan, defaults};
use crate::config::yaml;

/// The listeners, each with where it was written.
pub(super) type Placed = Vec<(String, ListenerPlan)>;

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
        add(&mut listeners, &mut texts[0], &at, "default", listen, false);
    }
    for Item { text, path, yaml } in items {
        let text = &mut texts[text];
        let name = path.last().cloned().unwrap_or_default();
        check_name(text, &path, "a listener", &name);
        names.check(text, &path, &name, &format!("two listeners are called `{name}`"));
        let at = below(&path, "bind");
        match yaml.bind {
            Some(bind) => add(&mut listeners, text, &at, &name, &bind, yaml.h2c),
            None if text.is_broken(&at) => {}
            None => text.at(&path, format!("listener `{name}` has no `bind`")).hint = Some(EXAMPLE.into()),
        }
    }
    let damaged =
        texts.iter().any(|text| text.is_damaged(&path(&["listen"])) || text.is_damaged(&path(&["listeners"])));
    if none && !damaged {
        let finding = texts[0].at(&[], "there is no listener");
        finding.hint = Some(format!("write `listen: {}`", defaults::LISTEN));
    }
    listeners
}

const EXAMPLE: &str = "an address and a port, like `bind: \"127.0.0.1:11434\"`";

pub(super) fn admin(main: &yaml::Config, listeners: &Placed, texts: Texts<'_, '_>) -> Option<SocketAddr> {
    let admin = main.admin.as_ref()?;
    let at = path(&["admin", "bind"]);
    let bind = address(&mut texts[0], &at, admin.bind.as_deref().unwrap_or(defaults::ADMIN))?;
    collide(&mut texts[0], &at, bind, listeners);
    Some(bind)
}

fn add(listeners: &mut Placed, text: &mut Document<'_>, at: &Path, name: &str, bind: &str, h2c: bool) {
    let Some(bind) = address(text, at, bind) else { return };
    collide(text, at, bind, listeners);
    listeners.push((text.line_of(at), ListenerPlan { name: name.into(), bind, h2c }));
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
