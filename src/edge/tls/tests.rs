//! Tests of choice and reload, with real handshakes in memory.
#![allow(clippy::unwrap_used)]
use std::sync::mpsc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::*;
use crate::edge::watch::watch;

struct Pair {
    cert: String,
    key: String,
}

impl Pair {
    fn new(names: &[&str]) -> Pair {
        Pair::of_kind(names, &PKCS_ECDSA_P256_SHA256)
    }

    fn of_kind(names: &[&str], kind: &'static rcgen::SignatureAlgorithm) -> Pair {
        let key = KeyPair::generate_for(kind).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let cert = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }

    fn write(&self, dir: &TempDir, name: &str) -> CertFiles {
        let files =
            CertFiles { cert: dir.path().join(format!("{name}.crt")), key: dir.path().join(format!("{name}.key")) };
        fs::write(&files.cert, &self.cert).unwrap();
        fs::write(&files.key, &self.key).unwrap();
        files
    }
}

struct Fixture {
    dir: TempDir,
    certs: Arc<Certificates>,
    files: Vec<CertFiles>,
}

/// Loads these pairs as `0.crt`, `0.key`, `1.crt`, ...
fn loaded(pairs: &[&Pair]) -> Fixture {
    let dir = TempDir::new().unwrap();
    let files: Vec<CertFiles> =
        pairs.iter().enumerate().map(|(place, pair)| pair.write(&dir, &place.to_string())).collect();
    Fixture { certs: Certificates::load(&files).unwrap(), dir, files }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A client and a server in mid-air, joined by hand.
struct Session {
    client: ClientConnection,
    server: ServerConnection,
}

impl Session {
    fn begin(certs: &Arc<Certificates>, name: &'static str, trusted: &[&Pair]) -> Session {
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_cert_resolver(certs.clone());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().map(|pair| pair.der()));
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        Session {
            client: ClientConnection::new(Arc::new(client), ServerName::try_from(name).unwrap()).unwrap(),
            server: ServerConnection::new(Arc::new(server)).unwrap(),
        }
    }

    /// Carries bytes both ways until nobody has any.
    fn carry(&mut self) -> Result<(), Error> {
        while self.client.wants_write() || self.server.wants_write() {
            let mut wire = Vec::new();
            self.client.write_tls(&mut wire).unwrap();
            self.server.read_tls(&mut wire.as_slice()).unwrap();
            self.server.process_new_packets()?;
            wire.clear();
            self.server.write_tls(&mut wire).unwrap();
            self.client.read_tls(&mut wire.as_slice()).unwrap();
            self.client.process_new_packets()?;
        }
        Ok(())
    }

    /// Sends a line from the client, returns what the server got.
    fn say(&mut self, text: &str) -> String {
        use std::io::{Read, Write};
        self.client.writer().write_all(text.as_bytes()).unwrap();
        self.carry().unwrap();
        let mut got = vec![0; text.len()];
        self.server.reader().read_exact(&mut got).unwrap();
        String::from_utf8(got).unwrap()
    }
}

/// The certificate that a client gets that asks for `name` and trusts all of `trusted`.
fn presented(certs: &Arc<Certificates>, name: &'static str, trusted: &[&Pair]) -> CertificateDer<'static> {
    let mut session = Session::begin(certs, name, trusted);
    session.carry().unwrap();
    assert!(!session.client.is_handshaking());
    session.client.peer_certificates().unwrap()[0].clone()
}

/// The certificate chosen for a name, without a handshake.
fn chosen(certs: &Certificates, name: Option<&str>) -> CertificateDer<'static> {
    certs.choose(name, |_| true).unwrap().cert[0].clone()
}

#[test]
fn the_exact_name_comes_before_the_wildcard_before_the_first() {
    let [first, wild, exact] =
        [&["first.test"][..], &["*.api.test", "*.Example.test"], &["one.api.test"]].map(Pair::new);
    let fixture = loaded(&[&first, &wild, &exact]);
    let all = [&first, &wild, &exact];
    assert_eq!(presented(&fixture.certs, "one.api.test", &all), exact.der());
    assert_eq!(presented(&fixture.certs, "two.api.test", &all), wild.der());
    assert_eq!(presented(&fixture.certs, "first.test", &all), first.der());
    for (name, expected) in [
        (Some("ONE.api.TEST."), &exact),
        (Some("a.example.test"), &wild),
        (Some("api.test"), &first),
        (Some("a.two.api.test"), &first),
        (Some("other.test"), &first),
        (Some(""), &first),
        (Some("."), &first),
        (Some("*.api.test"), &wild),
        (None, &first),
    ] {
        assert_eq!(chosen(&fixture.certs, name), expected.der(), "{name:?}");
    }
}

#[test]
fn of_two_kinds_of_key_the_client_gets_one_that_it_can_check() {
    let modern = Pair::of_kind(&["a.test"], &PKCS_ED25519);
    let usual = Pair::new(&["a.test"]);
    let fixture = loaded(&[&modern, &usual]);
    let only = |kind: rustls::SignatureAlgorithm| {
        fixture.certs.choose(Some("a.test"), |cert| cert.key.algorithm() == kind).unwrap().cert[0].clone()
    };
    assert_eq!(only(rustls::SignatureAlgorithm::ECDSA), usual.der());
    assert_eq!(only(rustls::SignatureAlgorithm::ED25519), modern.der());
    assert_eq!(only(rustls::SignatureAlgorithm::RSA), modern.der(), "none fits: rustls will say so");
}

#[test]
fn a_reload_is_for_new_connections_and_leaves_running_ones_alone() {
    let [old, new] = [&["a.test"], &["a.test"]].map(|names| Pair::new(names));
    let fixture = loaded(&[&old]);
    let mut running = Session::begin(&fixture.certs, "a.test", &[&old]);
    assert_eq!(running.say("before"), "before");
    new.write(&fixture.dir, "0");
    fixture.certs.reload().unwrap();
    assert_eq!(running.say("after"), "after");
    assert_eq!(running.client.peer_certificates().unwrap()[0], old.der());
    assert_eq!(presented(&fixture.certs, "a.test", &[&old, &new]), new.der());
}

/// Asserts that a reload with this content of file 0 is refused with `complaint`, and the old pair serves on.
fn refused(cert: &str, key: &str, complaint: &str) {
    let old = Pair::new(&["a.test"]);
    let fixture = loaded(&[&old]);
    Pair { cert: cert.to_owned(), key: key.to_owned() }.write(&fixture.dir, "0");
    let errors = fixture.certs.reload().unwrap_err();
    assert!(errors.len() == 1 && errors[0].contains(complaint), "{errors:?} does not say {complaint:?}");
    let place = if complaint.contains("private key") { &fixture.files[0].key } else { &fixture.files[0].cert };
    assert!(errors[0].starts_with(&place.display().to_string()), "{errors:?} does not name {place:?}");
    assert_eq!(presented(&fixture.certs, "a.test", &[&old]), old.der());
}

#[test]
fn broken_files_change_nothing() {
    let [good, other] = [Pair::new(&["a.test"]), Pair::new(&["a.test"])];
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    refused(&good.cert, &other.key, "private key is not that of the certificate");
    refused("", &good.key, "holds no certificate");
    refused(&good.key, &good.key, "holds no certificate");
    refused(&good.cert[..good.cert.len() / 2], &good.key, "not a PEM file");
    refused(no_der, &good.key, "certificate cannot be read");
    refused(&good.cert, &good.cert, "holds no private key");
    refused(&good.cert, no_key, "private key cannot be used");
    refused(&good.cert, encrypted, "private key is encrypted");
    refused(&"x".repeat(2 * 1024 * 1024), &good.key, "not a file of at most 1 MiB");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let dir = TempDir::new().unwrap();
    let files = ["a", "b"].map(|name| CertFiles { cert: dir.path().join(name), key: dir.path().join("key") });
    let errors = Certificates::load(&files).unwrap_err();
    assert_eq!(errors.len(), 2);
    assert!(files.iter().zip(&errors).all(|(pair, error)| error.starts_with(pair.cert.to_str().unwrap())));
    assert!(Certificates::load(&[]).is_err());
}

#[test]
fn a_certificate_without_names_can_only_be_the_first() {
    let [nameless, named] = [Pair::new(&[]), Pair::new(&["a.test"])];
    let fixture = loaded(&[&nameless, &named]);
    assert_eq!(chosen(&fixture.certs, Some("b.test")), nameless.der());
    assert_eq!(chosen(&fixture.certs, Some("a.test")), named.der());
    let turned = [fixture.files[1].clone(), fixture.files[0].clone()];
    let errors = fixture.certs.replace(&turned).unwrap_err();
    assert!(errors[0].contains("names no host"), "{errors:?}");
    assert_eq!(fixture.certs.files(), fixture.files, "nothing changed");
}

#[test]
fn one_file_may_hold_both() {
    let dir = TempDir::new().unwrap();
    let pair = Pair::new(&["a.test"]);
    let file = dir.path().join("both.pem");
    fs::write(&file, format!("{}{}", pair.key, pair.cert)).unwrap();
    let certs = Certificates::load(&[CertFiles { cert: file.clone(), key: file }]).unwrap();
    assert_eq!(presented(&certs, "a.test", &[&pair]), pair.der());
}

/// A watcher at work, and what it tells.
struct Watched {
    certs: Arc<Certificates>,
    results: mpsc::Receiver<Result<(), Vec<String>>>,
    watcher: tokio::task::JoinHandle<()>,
}

impl Watched {
    fn begin(certs: Arc<Certificates>) -> Watched {
        let (send, results) = mpsc::channel();
        let on_result = move |result| send.send(result).unwrap();
        let watcher = tokio::spawn(watch(certs.clone(), Duration::from_millis(2), on_result));
        Watched { certs, results, watcher }
    }

    /// Waits for a result like this; others may come before it, as looks can fall between two writes.
    fn until(&self, is_it: impl Fn(&Result<(), Vec<String>>) -> bool) -> bool {
        let mut results = std::iter::from_fn(|| self.results.recv_timeout(Duration::from_secs(20)).ok());
        results.any(|result| is_it(&result))
    }

    fn serves(&self, pair: &Pair) -> bool {
        chosen(&self.certs, None) == pair.der()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_each_way_to_exchange_files() {
    let pairs: Vec<Pair> = (0..4).map(|_| Pair::new(&["a.test"])).collect();
    let dir = TempDir::new().unwrap();
    // as a mounted secret does it: the files are links through a link to a folder
    let folder = |name: &str| dir.path().join(name);
    let write = |pair: &Pair, name: &str| {
        fs::create_dir_all(folder(name)).unwrap();
        fs::write(folder(name).join("crt"), &pair.cert).unwrap();
        fs::write(folder(name).join("key"), &pair.key).unwrap();
    };
    write(&pairs[0], "v0");
    std::os::unix::fs::symlink("v0", folder("now")).unwrap();
    let files = CertFiles { cert: folder("now/crt"), key: folder("now/key") };
    let watched = Watched::begin(Certificates::load(std::slice::from_ref(&files)).unwrap());

    write(&pairs[1], "v1");
    std::os::unix::fs::symlink("v1", folder("next")).unwrap();
    fs::rename(folder("next"), folder("now")).unwrap();
    assert!(watched.until(|result| result.is_ok() && watched.serves(&pairs[1])), "a link swapped");

    fs::write(&files.cert, &pairs[2].cert).unwrap(); // in place, certificate first
    assert!(watched.until(Result::is_err), "half an exchange");
    assert!(watched.serves(&pairs[1]), "changes nothing");
    fs::write(&files.key, &pairs[2].key).unwrap();
    assert!(watched.until(|result| result.is_ok() && watched.serves(&pairs[2])), "the key has arrived");

    write(&pairs[3], "v3");
    fs::rename(folder("v3/key"), &files.key).unwrap(); // by rename, key first
    fs::rename(folder("v3/crt"), &files.cert).unwrap();
    assert!(watched.until(|result| result.is_ok() && watched.serves(&pairs[3])), "both renamed");

    fs::remove_file(&files.cert).unwrap();
    assert!(watched.until(Result::is_err), "a file gone");
    assert!(watched.serves(&pairs[3]));
    watched.watcher.abort();
}

#[tokio::test(start_paused = true)]
async fn the_same_complaint_is_told_once() {
    let [old, other] = [Pair::new(&["a.test"]), Pair::new(&["a.test"])];
    let fixture = loaded(&[&old]);
    fs::write(&fixture.files[0].key, &other.key).unwrap();
    let told = std::sync::Mutex::new(Vec::new());
    let watcher = watch(fixture.certs.clone(), Duration::from_secs(1), |result| told.lock().unwrap().push(result));
    // virtual time: a good 50 looks
    let _ = tokio::time::timeout(Duration::from_secs(60), watcher).await;
    let told = told.into_inner().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].as_ref().is_err_and(|errors| errors[0].contains("not that of the certificate")));
}
