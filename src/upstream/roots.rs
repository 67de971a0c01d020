//! The root certificates that endpoints name (`tls: { ca: FILE }`): read when a plan is applied, as PEM for the probes and
//! as certificates for connections. A file that cannot be used is an error, and the plan is not applied.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::Plan;

/// Roots as Pingora's connections take them.
pub type PeerRoots = [WrappedX509];

/// What one file holds.
pub struct Roots {
    /// The file itself.
    pub pem: Vec<u8>,
    /// Its certificates.
    pub for_peers: Arc<PeerRoots>,
}

/// All files of a plan.
pub type AllRoots = HashMap<PathBuf, Roots>;

/// Reads every file that the plan's endpoints name.
///
/// # Errors
/// One line for each file that cannot be read, or holds no certificate, or a broken one.
pub fn load(plan: &Plan) -> Result<AllRoots, String> {
    let endpoints = plan.pools.iter().flat_map(|pool| &pool.endpoints);
    let (mut all, mut errors) = (AllRoots::new(), Vec::new());
    for path in endpoints.filter_map(|endpoint| endpoint.tls_options.ca.as_ref()) {
        if all.contains_key(path) {
            continue;
        }
        match read(path) {
            Ok(roots) => drop(all.insert(path.clone(), roots)),
            Err(error) => errors.push(format!("{}: {error}", path.display())),
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(errors.join("\n")) }
}

fn read(path: &Path) -> Result<Roots, String> {
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let raw = certificate.map_err(|error| format!("not PEM: {error}"))?.to_vec();
        // Pingora's own reading of it panics on what is no certificate
        X509Certificate::from_der(&raw).map_err(|error| format!("not a certificate: {error}"))?;
        certificates.push(WrappedX509::new(raw, parse_x509));
    }
    if certificates.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(Roots { pem, for_peers: certificates.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_an_error() {
        let dir = std::env::temp_dir();
        let path = dir.join(format!("arriero-roots-{}", std::process::id()));
        for (text, words) in [
            ("", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "not PEM"),
        ] {
            let _ = fs::write(&path, text);
            let error = read(&path).err().unwrap_or_default();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        let _ = fs::remove_file(&path);
    }
}
