//! Certificates of a listener, chosen by the server name that the client asks for, exchanged while connections run.
//!
//! Choice: a certificate for exactly that name, else for its wildcard (`*.` in place of the first label), else the
//! first of the list; among several for one name, the first whose key the client can check. Only DNS names in
//! subjectAltName count. Loading is all or nothing: if any file is missing, broken, or a key is not its
//! certificate's, everything stays as it was. Connections keep the certificate they began with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::watch::Stamp;

/// Two PEM files (they may be one): a certificate with its chain, leaf first, and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFiles {
    /// The certificate and what leads to its root.
    pub cert: PathBuf,
    /// The private key, not encrypted: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// The certificates of one listener: a resolver for rustls that reads its files again on demand.
#[derive(Debug)]
pub struct Certificates {
    now: ArcSwap<Loaded>,
    /// One exchange at a time: the watcher's must not undo a reload's.
    changing: Mutex<()>,
}

impl Certificates {
    /// Reads all files. The errors name the files, one line each.
    pub fn load(files: &[CertFiles]) -> Result<Arc<Certificates>, Vec<String>> {
        Ok(Arc::new(Certificates { now: ArcSwap::from_pointee(Loaded::read(files)?), changing: Mutex::new(()) }))
    }

    /// Reads the same files again. On any error nothing changes.
    pub fn reload(&self) -> Result<(), Vec<String>> {
        let _one_at_a_time = self.changing.lock();
        self.now.store(Arc::new(Loaded::read(&self.files())?));
        Ok(())
    }

    /// Takes these files from now on. On any error nothing changes.
    pub fn replace(&self, files: &[CertFiles]) -> Result<(), Vec<String>> {
        let _one_at_a_time = self.changing.lock();
        self.now.store(Arc::new(Loaded::read(files)?));
        Ok(())
    }

    /// Where the certificates came from.
    pub fn files(&self) -> Vec<CertFiles> {
        self.now.load().files.clone()
    }

    /// The certificate for `name`; `is_usable` tells whether the client can check its key.
    pub fn choose(&self, name: Option<&str>, is_usable: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<CertifiedKey>> {
        self.now.load().choose(name, is_usable)
    }

    /// True if the files are still the ones that were read.
    pub(super) fn is_current(&self) -> bool {
        let now = self.now.load();
        Stamp::of_files(&now.files) == now.stamps
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), |cert| cert.key.choose_scheme(hello.signature_schemes()).is_some())
    }
}

/// One generation.
#[derive(Debug)]
struct Loaded {
    files: Vec<CertFiles>,
    /// What the files looked like just before they were read.
    stamps: Vec<Option<Stamp>>,
    default: Vec<Arc<CertifiedKey>>,
    /// By name in lower case; a wildcard begins with `*.`.
    named: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Loaded {
    fn read(files: &[CertFiles]) -> Result<Loaded, Vec<String>> {
        let stamps = Stamp::of_files(files); // first: what changes from here on will be noticed
        let provider = ring::default_provider();
        let mut loaded = Loaded { files: files.to_vec(), stamps, default: Vec::new(), named: BTreeMap::new() };
        let mut errors = Vec::new();
        for pair in files {
            match certified(pair, &provider) {
                Ok((certified, names)) => {
                    if names.is_empty() && !loaded.default.is_empty() {
                        errors.push(format!(
                            "{}: the certificate names no host (subjectAltName), so no client would be given it; \
                             only the first of a listener may be so",
                            pair.cert.display()
                        ));
                    }
                    loaded.add(certified, names);
                }
                Err(error) => errors.push(error),
            }
        }
        if files.is_empty() {
            errors.push("no certificate is configured".to_owned());
        }
        if errors.is_empty() { Ok(loaded) } else { Err(errors) }
    }

    fn add(&mut self, certified: Arc<CertifiedKey>, names: Vec<String>) {
        if self.default.is_empty() {
            self.default.push(certified.clone());
        }
        for name in names {
            self.named.entry(name).or_default().push(certified.clone());
        }
    }

    fn choose(&self, name: Option<&str>, is_usable: impl Fn(&CertifiedKey) -> bool) -> Option<Arc<CertifiedKey>> {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let wildcard = name.as_deref().and_then(|name| Some(format!("*.{}", name.split_once('.')?.1)));
        let of = |name: Option<String>| name.and_then(|name| self.named.get(&name));
        let fitting = of(name).or_else(|| of(wildcard)).unwrap_or(&self.default);
        fitting.iter().find(|cert| is_usable(cert)).or(fitting.first()).cloned()
    }
}

/// A certificate with its key, and the names it stands for.
fn certified(files: &CertFiles, provider: &CryptoProvider) -> Result<(Arc<CertifiedKey>, Vec<String>), String> {
    let (cert, key) = (files.cert.display(), files.key.display());
    let chain = chain(&files.cert)?;
    let names = names(&chain).map_err(|error| format!("{cert}: the certificate cannot be read: {error}"))?;
    let certified = CertifiedKey::from_der(chain, private_key(&files.key)?, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("{key}: the private key is not that of the certificate in {cert}")
        }
        error => format!("{key}: the private key cannot be used: {error}"),
    })?;
    Ok((Arc::new(certified), names))
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: pem::Error| format!("{}: not a PEM file: {error}", file.display());
    let text = read(file)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(wrong)?;
    if chain.is_empty() { Err(format!("{}: holds no certificate", file.display())) } else { Ok(chain) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if memchr::memmem::find(&text, b"ENCRYPTED PRIVATE KEY").is_some() => {
            format!("{}: the private key is encrypted; store it without a passphrase", file.display())
        }
        pem::Error::NoItemsFound => format!("{}: holds no private key", file.display()),
        error => format!("{}: not a PEM file: {error}", file.display()),
    })
}

/// A larger file is no certificate, and is not read into memory.
const MAX_FILE: u64 = 1024 * 1024;

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let named = |error| format!("{}: {error}", file.display());
    let about = fs::metadata(file).map_err(named)?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err(format!("{}: not a file of at most 1 MiB", file.display()));
    }
    fs::read(file).map_err(named)
}

/// The DNS names of the leaf, in lower case.
fn names(chain: &[CertificateDer<'static>]) -> Result<Vec<String>, webpki::Error> {
    let Some(leaf) = chain.first() else { return Ok(Vec::new()) };
    Ok(webpki::EndEntityCert::try_from(leaf)?.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

#[cfg(test)]
mod tests;
