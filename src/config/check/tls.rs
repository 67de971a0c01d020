//! TLS on both sides: a listener's certificates, and how an https endpoint is verified.
//!
//! Files are opened, not parsed: what is in them is read where TLS is made.

use rustls::pki_types::ServerName;

use super::endpoint::Origin;
use super::file::readable;
use super::{below, is_missing};
use crate::config::document::Document;
use crate::config::places::Path;
use crate::config::plan::{CertPlan, EndpointTlsPlan};
use crate::config::wording::item;
use crate::config::yaml::{Cert, Endpoint, OneOrMany};

const FILES: &str = "`{ cert: FILE, key: FILE }`, PEM files";

/// A listener's certificates; `at` is its `tls`.
pub(super) fn certificates(text: &mut Document<'_>, at: &Path, yaml: Option<OneOrMany<Cert>>) -> Vec<CertPlan> {
    let placed: Vec<(Path, Cert)> = match yaml {
        None => return Vec::new(),
        Some(OneOrMany::One(cert)) => vec![(at.clone(), cert)],
        Some(OneOrMany::Many(certs)) => {
            if certs.is_empty() && !text.is_damaged(at) {
                let finding = text.at(at, format!("{} is empty", item(at)));
                finding.allowed = Some(FILES.into());
                finding.hint = Some("leave it out to listen without TLS".into());
            }
            let indices = text.sound_items(at).into_iter();
            indices.map(|index| below(at, &index.to_string())).zip(certs).collect()
        }
    };
    placed.into_iter().filter_map(|(at, cert)| certificate(text, &at, cert)).collect()
}

fn certificate(text: &mut Document<'_>, at: &Path, yaml: Cert) -> Option<CertPlan> {
    let mut file = |key: &str, file: Option<String>| {
        let key_at = below(at, key);
        match file {
            Some(file) => readable(text, &key_at, &file),
            None => {
                if is_missing(text, at, key) {
                    text.at(at, format!("{} has no `{key}`", item(at))).allowed = Some(FILES.into());
                }
                None
            }
        }
    };
    let (cert, key) = (file("cert", yaml.cert), file("key", yaml.key));
    Some(CertPlan { cert: cert?, key: key? })
}

/// How an endpoint is verified. Pool defaults are passed over where the URL is http; own options there are a mistake.
pub(super) fn endpoint(text: &mut Document<'_>, origin: &Origin<'_>, yaml: &Endpoint, https: bool) -> EndpointTlsPlan {
    let Some(tls) = &yaml.tls else { return EndpointTlsPlan::default() };
    if !https {
        let own = below(origin.endpoint, "tls");
        if text.has(&own) {
            let finding = text.at(&own, format!("{} is for https, this URL is http", item(&own)));
            finding.found = yaml.url.clone();
            finding.hint = Some("write the URL with https://, or leave `tls` out".into());
        }
        return EndpointTlsPlan::default();
    }
    let insecure = tls.insecure.unwrap_or(false);
    let insecure_at = origin.of(text, &["tls", "insecure"]);
    if insecure && tls.ca.is_some() {
        text.at(&insecure_at, "a `ca` is given, and nothing is verified").allowed =
            Some("either `ca` or `insecure: true`".into());
    } else if insecure {
        let words = "the engine's certificate is not verified: whoever is in between can read and answer everything";
        text.warn(&insecure_at, format!("{}: {words}", item(&insecure_at)));
    }
    if let Some(name) = tls.server_name.as_deref().filter(|name| ServerName::try_from(*name).is_err()) {
        let at = origin.of(text, &["tls", "server_name"]);
        let finding = text.at(&at, format!("`{name}` is no server name"));
        finding.found = Some(name.into());
        finding.allowed = Some("a host name like engine.example.net, or an IP address".into());
    }
    let ca = tls.ca.as_ref().and_then(|file| {
        let at = origin.of(text, &["tls", "ca"]);
        readable(text, &at, file)
    });
    EndpointTlsPlan { ca, server_name: tls.server_name.clone(), insecure }
}
