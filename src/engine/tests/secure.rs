//! Probes over TLS: whose certificate is believed, for which name; and that questions go to the endpoint's address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arriero_lab::http::{LabEngine, LabSpec};
use arriero_lab::model::ModelSpec;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::fake::Fake;
use crate::engine::{EngineKind, Place, Probe, ProbeError, Target, TlsTarget, detect};

/// A place that is told where it is, and notes what failed.
#[derive(Default)]
struct Told {
    at: Mutex<Option<SocketAddr>>,
    failed: Mutex<Vec<SocketAddr>>,
}

impl Told {
    fn new(at: SocketAddr) -> Arc<Told> {
        Arc::new(Told { at: Mutex::new(Some(at)), failed: Mutex::default() })
    }
}

#[async_trait]
impl Place for Told {
    async fn address(&self) -> Result<SocketAddr, String> {
        self.at.lock().ok_or_else(|| "nowhere".to_owned())
    }

    fn failed(&self, address: SocketAddr) {
        self.failed.lock().push(address);
    }
}

async fn engine(names: &[&str]) -> LabEngine {
    let models = vec![ModelSpec::new("m", 1.0, 1.0, 100.0, 1000.0)];
    LabEngine::start(LabSpec::openai(models, 1).over_tls(names)).await.expect("listens")
}

/// What a question to `url` comes to, when traffic goes to the engine's address.
async fn asked(engine: &LabEngine, url: &str, tls: TlsTarget) -> Result<EngineKind, ProbeError> {
    let url = url.replace("PORT", &engine.addr().port().to_string());
    let target = Target { url, timeout: Duration::from_secs(10), tls, ..Target::default() };
    let probe = Probe::new(&target, Some(Told::new(engine.addr())))?;
    detect(&probe, EngineKind::OpenAi).await.map(|(description, _)| description.kind)
}

fn ca(engine: &LabEngine) -> TlsTarget {
    let ca_pem = engine.ca_pem().map(|pem| pem.as_bytes().to_vec());
    TlsTarget { ca_pem, ..TlsTarget::default() }
}

#[tokio::test]
async fn the_endpoints_own_roots_decide_and_the_name_must_fit() {
    let (engine, stranger) = (engine(&["gpu.test", "127.0.0.1"]).await, engine(&["gpu.test"]).await);
    let by_name = "https://gpu.test:PORT";
    assert_eq!(asked(&engine, by_name, ca(&engine)).await, Ok(EngineKind::OpenAi));
    assert_eq!(asked(&engine, "https://127.0.0.1:PORT/v1", ca(&engine)).await, Ok(EngineKind::OpenAi));
    let why = asked(&engine, by_name, ca(&stranger)).await.unwrap_err().to_string();
    assert!(why.starts_with("GET /v1/models: invalid peer certificate"), "{why}");
    let why = asked(&engine, "https://other.test:PORT", ca(&engine)).await.unwrap_err().to_string();
    assert!(why.contains("certificate not valid for name"), "{why}");
    // Several roots in one file: any of them will do.
    let both = [ca(&stranger).ca_pem, ca(&engine).ca_pem].map(Option::unwrap_or_default).concat();
    let both = TlsTarget { ca_pem: Some(both), ..TlsTarget::default() };
    assert_eq!(asked(&engine, by_name, both).await, Ok(EngineKind::OpenAi));
}

#[tokio::test]
async fn another_server_name_is_asked_for_and_the_host_stays_as_it_was() {
    let engine = engine(&["inner.test"]).await;
    let named = TlsTarget { server_name: Some("inner.test".into()), ..ca(&engine) };
    for url in ["https://gpu.test:PORT", "https://127.0.0.1:PORT", "https://inner.test:PORT"] {
        assert_eq!(asked(&engine, url, named.clone()).await, Ok(EngineKind::OpenAi), "{url}");
    }
    assert!(asked(&engine, "https://gpu.test:PORT", ca(&engine)).await.is_err());

    // Without TLS there is no name to ask for.
    let plain = Fake::start().await;
    let target = Target { tls: named.clone(), ..plain.be_openai().target() };
    detect(&Probe::new(&target, None).unwrap(), EngineKind::OpenAi).await.unwrap();
    assert_eq!(plain.asked()[0].headers["host"], plain.url.trim_start_matches("http://"));
}

#[tokio::test]
async fn the_host_header_names_the_url_also_under_another_server_name() {
    let models = vec![ModelSpec::new("m", 1.0, 1.0, 100.0, 1000.0)];
    let spec = LabSpec { check_host: true, ..LabSpec::openai(models, 1) };
    // A host that is neither near nor local gets 403 there.
    let engine = LabEngine::start(spec.over_tls(&["far.example.com"])).await.unwrap();
    let named = TlsTarget { server_name: Some("far.example.com".into()), ..ca(&engine) };
    let target = |url: &str| {
        let url = url.replace("PORT", &engine.addr().port().to_string());
        Target {
            url,
            api_key: Some("k".into()),
            tls: named.clone(),
            timeout: Duration::from_secs(10),
            ..Target::default()
        }
    };
    let ask = async |url| {
        let probe = Probe::new(&target(url), Some(Told::new(engine.addr()))).unwrap();
        detect(&probe, EngineKind::OpenAi).await.err()
    };
    assert_eq!(ask("https://127.0.0.1:PORT").await, None);
    let refused = ProbeError::Status { path: "/v1/models".into(), status: 403 };
    assert_eq!(ask("https://gpu.example.com:PORT").await, Some(refused));
}

#[tokio::test]
async fn insecure_believes_anyone() {
    let engine = engine(&["other.test"]).await;
    let insecure = TlsTarget { insecure: true, ..TlsTarget::default() };
    assert_eq!(asked(&engine, "https://gpu.test:PORT", insecure).await, Ok(EngineKind::OpenAi));
}

#[test]
fn tls_that_cannot_work_is_told_at_once() {
    let bad = |tls: TlsTarget| {
        let target = Target { url: "https://gpu.test".into(), tls, ..Target::default() };
        Probe::new(&target, None).err().expect("refused").to_string()
    };
    let ca = |pem: &[u8]| TlsTarget { ca_pem: Some(pem.to_vec()), ..TlsTarget::default() };
    let named = |name: &str| TlsTarget { server_name: Some(name.into()), ..TlsTarget::default() };
    assert_eq!(bad(ca(b"nothing")), "cannot be asked: tls: ca: holds no certificate");
    assert!(
        bad(ca(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")).starts_with("cannot be asked: ")
    );
    assert_eq!(bad(named("10.0.0.1")), "cannot be asked: tls: server_name: an address, not a name");
    assert_eq!(bad(named("a b")), "cannot be asked: tls: server_name: not a host name");
}

#[tokio::test]
async fn questions_follow_the_address_and_a_failed_connection_is_told() {
    let first = Fake::start().await;
    let at = |fake: &Fake| fake.url.trim_start_matches("http://").parse::<SocketAddr>().unwrap();
    let port = at(&first).port();
    // The same port on another address, as with two addresses of one name.
    let second = Fake::on(TcpListener::bind(("127.0.0.2", port)).await.expect("a free port"));
    let place = Told::new(at(first.be_openai()));
    second.be_openai();
    let target = Target { url: format!("http://gpu.test:{port}"), ..first.target() };
    let probe = Probe::new(&target, Some(place.clone())).unwrap();
    let (_, engine) = detect(&probe, EngineKind::OpenAi).await.unwrap();
    assert_eq!(first.asked()[0].headers["host"], format!("gpu.test:{port}"));
    let before = first.asked().len();
    // Also with an idle connection to the old address at hand.
    *place.at.lock() = Some(at(&second));
    engine.health().await.unwrap();
    assert_eq!((first.asked().len(), second.asked().len()), (before, 1));

    let gone = at(&second);
    drop(second);
    let moved = async {
        while engine.health().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), moved).await.expect("the port is closed");
    // An idle connection may have broken first; a new one is refused.
    let error = engine.health().await.unwrap_err().to_string();
    assert!(error.starts_with("GET /v1/models: Connection refused"), "{error}");
    assert_eq!(place.failed.lock().last(), Some(&gone));
    *place.at.lock() = None;
    assert_eq!(engine.health().await.unwrap_err().to_string(), "GET /v1/models: nowhere");
}
