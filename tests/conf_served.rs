//! The platform and the study of `conf/`, served as they ship: only addresses, ports and file contents are exchanged.
//!
//! The study: each listener goes by its own route. The platform: TLS, client keys with a name each, per-route clients,
//! and a canary that gets its share (5 of 100, drawn by chance: 0 or more than 40 of 300 happen
//! once in a million runs).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use arriero_lab::http::{LabEngine, LabSpec};
use arriero_lab::model::{ModelSpec, VllmSpec};
use common::{eventually, free_port, reqwest_client};
use serde_json::json;

/// SHA-256 of `foo` and of `bar`.
const CLIENTS: &str = "nightly:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n\
    web:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9\n";
const MODEL: &str = "llama-3.1-70b-instruct";

/// The binary with one file of `conf/`, in a folder of its own; killed when dropped.
struct Served {
    child: Child,
    folder: tempfile::TempDir,
}

impl Served {
    /// Each word of the file is replaced: all of them must be there.
    fn start(file: &str, words: &[(&str, String)], beside: &[(&str, String)]) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let mut text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(file)).unwrap();
        for (word, other) in words {
            assert!(text.contains(word), "{file} does not hold {word}");
            text = text.replace(word, other);
        }
        fs::write(folder.path().join("arriero.yaml"), text).unwrap();
        for (name, content) in beside {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let errors = fs::File::create(folder.path().join("stderr")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_arriero"))
            .args(["run", "-c", "arriero.yaml"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        Served { child, folder }
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn vllm(key: Option<&str>) -> LabEngine {
    let model = ModelSpec::new(MODEL, 1.0, 1.0, 1e5, 1e7);
    let spec =
        LabSpec { output_tokens: 2, api_key: key.map(Into::into), ..LabSpec::vllm(VllmSpec::a100_8b(vec![model])) };
    LabEngine::start(spec).await.unwrap()
}

/// A chat request; `headers` go along.
async fn ask(client: &reqwest::Client, url: &str, headers: &[(&str, &str)]) -> Option<(u16, Option<String>)> {
    let body = json!({ "model": MODEL, "max_tokens": 2, "messages": [{ "role": "user", "content": "hi" }] });
    let mut request = client.post(format!("{url}/v1/chat/completions")).json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.ok()?;
    let endpoint = answer.headers().get("x-arriero-endpoint").map(|name| name.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    answer.bytes().await.ok()?;
    Some((status, endpoint))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_of_the_study_goes_by_its_own_rule() {
    let (fast, slow) = (vllm(None).await, vllm(None).await);
    let ports: Vec<String> = (0..5).map(|_| free_port().to_string()).collect();
    let mut words: Vec<(&str, String)> =
        ["3001", "3002", "3003", "3004", "3005"].into_iter().zip(ports.clone()).collect();
    words.push(("http://127.0.0.1:11435", fast.url()));
    words.push(("http://127.0.0.1:11436", slow.url()));
    let served = Served::start("study.yaml", &words, &[]);
    let client = reqwest_client();
    let url = |nth: usize| format!("http://127.0.0.1:{}", ports[nth]);
    for nth in 0..5 {
        let answered =
            eventually(|| async { ask(&client, &url(nth), &[]).await.is_some_and(|(status, _)| status == 200) });
        assert!(answered.await, "listener {nth} does not serve:\n{}", served.stderr());
    }
    let mut counts = Vec::new();
    for nth in 0..5 {
        let mut count = BTreeMap::<String, u32>::new();
        for _ in 0..20 {
            let (status, endpoint) = ask(&client, &url(nth), &[]).await.unwrap();
            assert_eq!(status, 200, "listener {nth}");
            *count.entry(endpoint.unwrap()).or_default() += 1;
        }
        counts.push(count);
    }
    let name = |engine: &LabEngine| engine.addr().to_string();
    assert_eq!(counts[0], BTreeMap::from([(name(&fast), 20)]), "single: only what is labelled fast");
    assert_eq!(counts[1], BTreeMap::from([(name(&fast), 10), (name(&slow), 10)]), "rr: in turns");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_asks_for_keys_and_feeds_a_canary() {
    let (one, two, canary) = (vllm(Some("engine-key")).await, vllm(Some("engine-key")).await, vllm(None).await);
    let (port, admin) = (free_port(), free_port());
    let words = [
        ("0.0.0.0:443", format!("127.0.0.1:{port}")),
        ("127.0.0.1:9901", format!("127.0.0.1:{admin}")),
        ("http://vllm-70b-0.prod.svc:8000", one.url()),
        ("http://vllm-70b-1.prod.svc:8000", two.url()),
        ("http://10.0.9.9:8000", canary.url()),
    ];
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
    let beside = [
        ("tls.crt", own.cert.pem()),
        ("tls.key", own.signing_key.serialize_pem()),
        ("clients", CLIENTS.to_string()),
        ("vllm.key", "engine-key".to_string()),
    ];
    let served = Served::start("vllm.yaml", &words, &beside);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(own.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
    let url = format!("https://localhost:{port}");
    let web = [("authorization", "Bearer bar")];
    let answered = eventually(|| async { ask(&client, &url, &web).await.is_some_and(|(status, _)| status == 200) });
    assert!(answered.await, "it does not serve:\n{}", served.stderr());

    let status_of = async |headers: &[(&str, &str)]| ask(&client, &url, headers).await.unwrap().0;
    assert_eq!(status_of(&[]).await, 401, "no key");
    assert_eq!(status_of(&[("authorization", "Bearer baz")]).await, 401, "a key that nobody has");
    assert_eq!(status_of(&[("authorization", "Bearer bar"), ("x-tier", "batch")]).await, 403, "not web's route");
    assert_eq!(status_of(&[("x-api-key", "foo"), ("x-tier", "batch")]).await, 200, "nightly's route");

    let mut canaries = 0;
    for _ in 0..300 {
        let (status, endpoint) = ask(&client, &url, &web).await.unwrap();
        assert_eq!(status, 200);
        canaries += u32::from(endpoint.unwrap() == canary.addr().to_string());
    }
    assert!((1..=40).contains(&canaries), "{canaries} of 300 went to the canary");
}
