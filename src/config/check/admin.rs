//! The admin listener: an address of its own or a socket in the file system, and the token that callers must know.
//!
//! Whoever reaches it can take endpoints out. So an address that is not this machine's own wants a token. A socket is
//! guarded by its file's mode.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::file::read;
use super::listener::{Placed, free_address};
use super::{below, path};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{AdminBind, AdminPlan, defaults};
use crate::config::secret::Secret;
use crate::config::wording::item;
use crate::config::yaml;

/// Characters of the shortest token.
const SHORTEST: usize = 16;
/// Bytes of a socket's path that every system takes.
const LONGEST_PATH: usize = 100;
const TOKEN: &str = "one line of 16 or more visible ASCII characters: `openssl rand -hex 32 > admin.token`";

/// `None` if there is no `admin`, or if it has a finding.
pub(super) fn check(main: &yaml::Config, listeners: &Placed, text: &mut Document<'_>) -> Option<AdminPlan> {
    let admin = main.admin.as_ref()?;
    let at = path(&["admin"]);
    let bind = bind(text, &below(&at, "bind"), admin.bind.as_deref().unwrap_or(defaults::ADMIN), listeners);
    let token_at = below(&at, "token_file");
    let token = admin.token_file.as_ref().map(|file| token(text, &token_at, file));
    let open = matches!(bind, Some(AdminBind::Tcp(address)) if !is_own(address));
    if open && token.is_none() && !text.is_broken(&token_at) {
        let bind_at = below(&at, "bind");
        let message = format!("{} is an address that others can reach, and there is no `token_file`", item(&bind_at));
        let finding = text.at(&bind_at, message);
        finding.found = admin.bind.clone();
        finding.allowed = Some("a loopback address, `unix:` and a path, or any address with `token_file`".into());
        finding.hint = Some(format!("`token_file: admin.token`, a file with {TOKEN}"));
    }
    let token_file = admin.token_file.as_ref().map(|file| text.beside(file));
    Some(AdminPlan { bind: bind?, token: token.flatten(), token_file })
}

/// True for an address of this machine that no other one reaches.
fn is_own(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn bind(text: &mut Document<'_>, at: &Path, written: &str, listeners: &Placed) -> Option<AdminBind> {
    match written.strip_prefix("unix:") {
        Some(file) => socket(text, at, written, file).map(AdminBind::Unix),
        None if written.starts_with(['/', '.']) => {
            let finding = text.at(at, format!("`{written}` is no address to listen on"));
            finding.found = Some(written.into());
            finding.hint = Some(format!("for a socket in the file system, write `unix:{written}`"));
            None
        }
        None => free_address(text, at, written, listeners).map(AdminBind::Tcp),
    }
}

/// Its folder may come into being later: a service's own folder is made at its start.
fn socket(text: &mut Document<'_>, at: &Path, written: &str, file: &str) -> Option<PathBuf> {
    let full = text.beside(file);
    let wrong = if file.is_empty() || file.ends_with('/') {
        "names no socket"
    } else if file.contains('\0') {
        "holds a NUL"
    } else if full.as_os_str().len() > LONGEST_PATH {
        "is too long for a socket"
    } else if full.is_dir() {
        "is a folder"
    } else {
        return Some(full);
    };
    let finding = text.at(at, format!("{} {wrong}", item(at)));
    finding.found = Some(written.into());
    finding.allowed = Some(format!("`unix:` and the path of a socket, {LONGEST_PATH} bytes at most"));
    None
}

/// The token; what is in the file is never shown.
fn token(text: &mut Document<'_>, at: &Path, file: &str) -> Option<Secret> {
    let content = read(text, at, file)?;
    let token = content.trim();
    if token.len() < SHORTEST || !token.bytes().all(|sign| sign.is_ascii_graphic()) {
        let what = if token.is_empty() {
            "is empty".into()
        } else if token.len() < SHORTEST {
            format!("has {} characters", token.len())
        } else {
            "holds more than one word, or a sign beyond ASCII".to_string()
        };
        text.at(at, format!("token file `{file}` {what}")).allowed = Some(TOKEN.into());
        return None;
    }
    Some(Secret::new(token))
}
