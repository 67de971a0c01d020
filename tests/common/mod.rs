//! What black-box tests share: the real binary with a configuration, lab engines, and waiting for conditions.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything: far beyond what a slow machine needs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A port that is free now, and that nobody in this process was given before: the system may name one twice.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// A running proxy; killed when dropped.
pub struct Proxy {
    child: Child,
    dir: tempfile::TempDir,
    pub port: u16,
    pub h2_port: u16,
    pub admin_port: u16,
}

impl Proxy {
    /// Starts the binary. `rest` is the YAML below admin, access log and listeners; it may begin with more listeners,
    /// indented by two.
    pub async fn start(rest: &str) -> Proxy {
        Proxy::start_with(rest, true).await
    }

    /// Starts without waiting for the engines: for configurations whose engines are down.
    pub async fn start_degraded(rest: &str) -> Proxy {
        Proxy::start_with(rest, false).await
    }

    /// A port that was free may be taken before it is bound: then once more, with others.
    async fn start_with(rest: &str, ready: bool) -> Proxy {
        let mut proxy = Proxy::try_start(rest, ready).await;
        for _ in 0..5 {
            match proxy {
                Err(words) if words.contains("Address already in use") => proxy = Proxy::try_start(rest, ready).await,
                _ => break,
            }
        }
        proxy.unwrap_or_else(|words| panic!("{words}"))
    }

    async fn try_start(rest: &str, ready: bool) -> Result<Proxy, String> {
        let dir = tempfile::tempdir().unwrap();
        let (port, h2_port, admin_port) = (free_port(), free_port(), free_port());
        let mut proxy = Proxy { child: true_child(), dir, port, h2_port, admin_port };
        proxy.write_config(rest);
        let _ = proxy.child.wait();
        let errors = std::fs::File::create(proxy.dir.path().join("stderr")).unwrap();
        proxy.child = Command::new(env!("CARGO_BIN_EXE_arriero"))
            .args(["run", "-c"])
            .arg(proxy.config_path())
            .env("RUST_LOG", "info,pingora=warn,pingora_core=warn,pingora_proxy=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        let url = proxy.admin("api/health");
        let mut up = false;
        let start = Instant::now();
        while !up && start.elapsed() < PATIENCE && proxy.child.try_wait().unwrap().is_none() {
            let report = match reqwest_client().get(&url).send().await {
                Ok(answer) => answer.json::<Value>().await.unwrap_or_default(),
                Err(_) => Value::Null,
            };
            let nodes = report["nodes"].as_array().map_or(&[][..], Vec::as_slice);
            let known = nodes.iter().all(|node| node["models_known"] == true);
            up = report["status"] == "ok" && known || !ready && report.is_object();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if !up {
            return Err(format!("the proxy did not get ready:\n{}", proxy.stderr()));
        }
        let heard = eventually(|| async { reqwest_client().get(proxy.url("/health")).send().await.is_ok() });
        if !heard.await {
            return Err(format!("the proxy does not listen:\n{}", proxy.stderr()));
        }
        Ok(proxy)
    }

    /// Replaces the configuration file.
    pub fn write_config(&self, rest: &str) {
        let head = format!(
            "admin: {{ bind: \"127.0.0.1:{}\" }}\naccess_log: {{ file: {:?} }}\n\
             listeners:\n  main: {{ bind: \"127.0.0.1:{}\" }}\n  h2: {{ bind: \"127.0.0.1:{}\", h2c: true }}\n",
            self.admin_port,
            self.dir.path().join("access.log"),
            self.port,
            self.h2_port,
        );
        std::fs::write(self.config_path(), head + rest).unwrap();
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("arriero.yaml")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn admin(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.admin_port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a configuration, reloads it and waits until it is in force.
    pub async fn reload(&self, rest: &str) {
        let before = self.metric("arriero_config_generation").await;
        self.write_config(rest);
        self.signal("HUP");
        let in_force = async || self.metric("arriero_config_generation").await > before;
        assert!(eventually(in_force).await, "no reload:\n{}", self.stderr());
    }

    /// Bytes of memory that the process holds.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        row.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// Sends a signal by name (`HUP`, `TERM`).
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// The access log so far.
    pub fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The access-log line of the request with this id, once it is there.
    pub async fn line(&self, id: &str) -> Value {
        let find = || self.lines().into_iter().find(|line| line["id"] == id);
        assert!(eventually(|| async { find().is_some() }).await, "no access-log line for {id}");
        find().unwrap()
    }

    /// The value of one metric line, labels included in `name`.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = reqwest_client().get(self.admin("metrics")).send().await.unwrap().text().await.unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Requests that hold a slot, over all endpoints.
    pub async fn in_flight(&self) -> u64 {
        let text = reqwest_client().get(self.admin("metrics")).send().await.unwrap().text().await.unwrap();
        let rows = text.lines().filter(|line| line.starts_with("arriero_endpoint_in_flight{"));
        rows.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn true_child() -> Child {
    Command::new("true").spawn().unwrap()
}

/// Polls until the condition holds; false after [`PATIENCE`].
pub async fn eventually<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if condition().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// A plain HTTP client: no pool, so that each request is a connection of its own.
pub fn reqwest_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().build().unwrap()
}
