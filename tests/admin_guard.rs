//! Who may ask the admin API, by which door, and what it never tells.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/stage.rs"]
mod stage;

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use axum::Json;
use axum::response::IntoResponse;
use common::{Proxy, eventually, free_port, reqwest_client};
use herd::{CHAT, engines, herd as config};
use raw::{Raw, Reply};
use scripted::Scripted;
use serde_json::{Value, json};
use stage::{FAST, ask};
use tokio::net::UnixStream;

const TOKEN: &str = "correct-horse-battery-staple";

/// A proxy whose `admin` the test writes. Killed when dropped.
struct Guarded {
    child: Child,
    dir: tempfile::TempDir,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Guarded {
    /// `text` is the whole configuration; relative files lie in the same folder.
    fn start(text: &str, files: &[(&str, &str)]) -> Guarded {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let file = dir.path().join("arriero.yaml");
        std::fs::write(&file, text).unwrap();
        let errors = std::fs::File::create(dir.path().join("stderr")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_arriero"));
        command.args(["run", "-c"]).arg(&file).current_dir(dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        Guarded { child: command.spawn().unwrap(), dir }
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }
}

/// One request over a socket file.
async fn by_file(file: &Path, method: &str, path: &str, body: &str) -> Option<Reply> {
    let mut wire = Raw::over(UnixStream::connect(file).await.ok()?);
    let length = body.len();
    let head =
        format!("{method} /{path} HTTP/1.1\r\nhost: any.name\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    wire.write(head + body).await.then_some(())?;
    wire.reply().await
}

/// One request with these headers: status and headers.
async fn status(port: u16, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, http::HeaderMap) {
    let url = format!("http://127.0.0.1:{port}/{path}");
    let mut request = reqwest_client().request(method.parse().unwrap(), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match request.send().await {
        Ok(answer) => (answer.status().as_u16(), answer.headers().clone()),
        Err(_) => (0, http::HeaderMap::new()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_nobody_asks_without_it() {
    let engines = engines(1, FAST).await;
    let (admin, port) = (free_port(), free_port());
    let text = format!(
        "admin: {{ bind: \"127.0.0.1:{admin}\", token_file: token }}\nlisteners: {{ main: {{ bind: \"127.0.0.1:{port}\" }} }}\n{}",
        config(&engines, &[], "", "")
    );
    let proxy = Guarded::start(&text, &[("token", &format!("{TOKEN}\n"))]);
    assert!(eventually(async || status(admin, "GET", "ready", &[]).await.0 == 200).await, "{}", proxy.stderr());
    let bearer = format!("Bearer {TOKEN}");
    let paths = [
        ("GET", "metrics"),
        ("GET", "api/health"),
        ("GET", "api/status"),
        ("GET", "api/stats.csv"),
        ("GET", "openapi.json"),
        ("GET", "api/none"),
        ("PATCH", "api/endpoints/a"),
        ("DELETE", "api/endpoints/a"),
        ("POST", "api/pools/p/endpoints"),
        ("PUT", "api/routes/r/balance"),
        ("POST", "api/reload"),
        ("POST", "api/explain"),
        ("DELETE", "api/affinity"),
    ];
    let cut = &TOKEN[..TOKEN.len() - 1];
    for (method, path) in paths {
        for wrong in [
            String::new(),
            "Bearer wrong".into(),
            format!("Bearer {cut}"),
            format!("Bearer {TOKEN}x"),
            format!("Basic {TOKEN}"),
            TOKEN.into(),
        ] {
            let headers = [("authorization", wrong.as_str())];
            let headers = if wrong.is_empty() { &[][..] } else { &headers[..] };
            let (code, head) = status(admin, method, path, headers).await;
            assert_eq!(code, 401, "{method} {path} {wrong}");
            assert!(head["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{method} {path}");
        }
        let (code, _) = status(admin, method, path, &[("authorization", &bearer)]).await;
        assert!(code != 401 && code != 0, "{method} {path}: {code}");
    }
    for open in ["health", "ready", ""] {
        assert_eq!(status(admin, "GET", open, &[]).await.0, 200, "/{open} is for all");
    }
    // the command line takes the token from its file
    let at = format!("127.0.0.1:{admin}");
    let ctl = |token: Option<PathBuf>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arriero"));
        command.args(["ctl", "--admin", &at, "generation"]).env_remove("ARRIERO_ADMIN_TOKEN_FILE");
        token.iter().for_each(|file| {
            command.arg("--token-file").arg(file);
        });
        tokio::task::block_in_place(|| command.output().unwrap())
    };
    let (with, without) = (ctl(Some(proxy.dir.path().join("token"))), ctl(None));
    assert!(with.status.success(), "{with:?}");
    assert_eq!(without.status.code(), Some(1), "{without:?}");
    assert!(String::from_utf8_lossy(&without.stderr).contains("token"), "{without:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_file_is_its_owners_alone() {
    let engines = engines(1, FAST).await;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let text = |port: u16| {
        let listeners = format!("listeners: {{ main: {{ bind: \"127.0.0.1:{port}\" }} }}");
        let bind = format!("admin: {{ bind: \"unix:{}\" }}", socket.display());
        format!("{bind}\n{listeners}\n{}", config(&engines, &[], "", ""))
    };
    let proxy = Guarded::start(&text(free_port()), &[]);
    let up = eventually(async || by_file(&socket, "GET", "ready", "").await.is_some_and(|reply| reply.status == 200));
    assert!(up.await, "{}", proxy.stderr());
    let found = std::fs::metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let told = by_file(&socket, "GET", "api/endpoints/a", "").await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&told.body).unwrap()["name"], "a");
    let told = by_file(&socket, "PATCH", "api/endpoints/a", "{\"weight\":3}").await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&told.body).unwrap()["weight"], 3);
    let mut command = Command::new(env!("CARGO_BIN_EXE_arriero"));
    command.args(["ctl", "--admin", &format!("unix:{}", socket.display()), "show", "a", "--json"]);
    let shown = tokio::task::block_in_place(|| command.output().unwrap());
    assert!(shown.status.success(), "{shown:?}");
    assert_eq!(serde_json::from_slice::<Value>(&shown.stdout).unwrap()["weight"], 3);
    // a second process may not take it; what a killed one left is taken
    let second = Guarded::start(&text(free_port()), &[]);
    let told = eventually(async || second.stderr().contains("another process listens on this socket"));
    assert!(told.await, "{}", second.stderr());
    assert_eq!(by_file(&socket, "GET", "health", "").await.map(|reply| reply.status), Some(200), "the first goes on");
    drop(second);
    assert!(socket.exists(), "nor does the second take it along");
    drop(proxy);
    assert!(socket.exists(), "a killed process leaves it behind");
    let third = Guarded::start(&text(free_port()), &[]);
    let up = eventually(async || by_file(&socket, "GET", "ready", "").await.is_some_and(|reply| reply.status == 200));
    assert!(up.await, "{}", third.stderr());
    let stopped = Command::new("kill").args(["-TERM", &third.child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    assert!(eventually(async || !socket.exists()).await, "one that ends takes it along");
}

/// A page's name that points here is not asked for, and no page changes anything.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_are_refused() {
    let engines = engines(1, FAST).await;
    let proxy = Proxy::start(&config(&engines, &[], "", "")).await;
    let admin = proxy.admin_port;
    for (host, code) in [
        ("127.0.0.1", 200),
        ("localhost:9", 200),
        ("[::1]:9901", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
    ] {
        for path in ["api/status", "metrics", ""] {
            assert_eq!(status(admin, "GET", path, &[("host", host)]).await.0, code, "{host} /{path}");
        }
    }
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null"), ("content-type", "text/plain")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "https://evil.example"), ("content-type", "text/plain; application/json")],
    ] {
        assert_eq!(status(admin, "POST", "api/reload", headers).await.0, 403, "{headers:?}");
    }
    assert_eq!(herd::get(&proxy, "api/generation").await["generation"], 1);
    let (_, head) = status(admin, "GET", "", &[]).await;
    for (name, value) in
        [("x-frame-options", "DENY"), ("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
    {
        assert_eq!(head[name], value, "{name}");
    }
    assert!(head.get("access-control-allow-origin").is_none());
}

/// Keys of engines and clients, headers, tokens, and what clients said: nothing of it is in any answer.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_tells_a_secret() {
    const CLIENT: &str = "sk-client-5f0c21";
    const DIGEST: &str = "3c1e2b9618ad86bf846350d7ba6135b9df475bbc6c69fd2547826591e3a84cbb";
    let secrets = [
        "sk-engine-key",
        "sk-in-header",
        "sk-second",
        "sk-in-prompt",
        "sk-in-query",
        "user-in-header",
        "sk-added",
        CLIENT,
        DIGEST,
        TOKEN,
    ];
    let engine = Scripted::start(|_| Json(json!({ "choices": [] })).into_response()).await;
    let (admin, port) = (free_port(), free_port());
    let text = format!(
        "admin: {{ bind: \"127.0.0.1:{admin}\", token_file: token }}\naccess_log: {{ file: access.log }}\n\
         listeners: {{ main: {{ bind: \"127.0.0.1:{port}\" }} }}\nauth: {{ keys_file: clients }}\n\
         pools: {{ p: {{ endpoints: [{{ name: a, url: {:?}, engine: openai, api_key_file: key, headers_file: second, headers: {{ x-token: sk-in-header }} }}] }} }}\n\
         routes: [{{ name: r, pool: p, affinity: {{ by: [{{ header: x-user }}, api-key] }} }}]\n",
        engine.url()
    );
    let clients = format!("ann:{DIGEST}\n");
    let files =
        [("token", TOKEN), ("key", "sk-engine-key\n"), ("second", "x-second: sk-second\n"), ("clients", &clients)];
    let proxy = Guarded::start(&text, &files);
    assert!(eventually(async || status(admin, "GET", "ready", &[]).await.0 == 200).await, "{}", proxy.stderr());
    for header in [("x-user", "user-in-header"), ("x-other", "1")] {
        let mut body = ask("m", false, 1);
        body["messages"][0]["content"] = json!("sk-in-prompt");
        let url = format!("http://127.0.0.1:{port}{CHAT}?key=sk-in-query");
        let sent = reqwest_client().post(url).bearer_auth(CLIENT).header(header.0, header.1).json(&body).send().await;
        assert_eq!(sent.unwrap().status(), 200);
    }
    let seen = &engine.posts()[0];
    assert_eq!((seen.header("x-token"), seen.header("x-second")), (Some("sk-in-header"), Some("sk-second")));
    assert_eq!(seen.header("authorization"), Some("Bearer sk-engine-key"), "the secrets were in use");
    let admin_url = |path: &str| format!("http://127.0.0.1:{admin}/{path}");
    let mut answers = Vec::new();
    let mut ask_for = async |method: &str, path: &str, body: Option<Value>| {
        let mut request = reqwest_client().request(method.parse().unwrap(), admin_url(path)).bearer_auth(TOKEN);
        request = if let Some(body) = body { request.json(&body) } else { request };
        let answer = request.send().await.unwrap();
        let (code, head) = (answer.status(), answer.headers().clone());
        answers.push(format!("{method} {path} {code}: {head:?} {}", answer.text().await.unwrap()));
        code.as_u16()
    };
    for path in [
        "",
        "api/status",
        "api/pools",
        "api/endpoints",
        "api/endpoints/a",
        "api/routes",
        "api/queues",
        "api/affinity",
        "api/generation",
        "api/stats",
        "api/stats.csv",
        "api/health",
        "metrics",
        "openapi.json",
    ] {
        assert_eq!(ask_for("GET", path, None).await, 200, "{path}");
    }
    let explained = json!({ "path": CHAT, "headers": { "authorization": format!("Bearer {CLIENT}"), "x-user": "user-in-header" }, "body": { "model": "m", "messages": [{ "role": "user", "content": "sk-in-prompt" }] } });
    assert_eq!(ask_for("POST", "api/explain", Some(explained)).await, 200);
    let fresh =
        json!({ "name": "b", "url": "http://127.0.0.1:1", "engine": "openai", "headers": { "x-token": "sk-added" } });
    assert_eq!(ask_for("POST", "api/pools/p/endpoints", Some(fresh)).await, 200);
    assert_eq!(ask_for("GET", "api/status", None).await, 200);
    assert_eq!(ask_for("PATCH", "api/endpoints/a", Some(json!({ "weight": 2 }))).await, 200);
    assert_eq!(ask_for("POST", "api/reload", None).await, 200);
    answers.push(proxy.stderr());
    answers.push(std::fs::read_to_string(proxy.dir.path().join("access.log")).unwrap_or_default());
    for answer in &answers {
        for secret in secrets {
            assert!(!answer.contains(secret), "{secret} in {answer}");
        }
    }
}

/// The line that a finding quotes may hold a secret beside the mistake: neither the answer nor the log shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_is_quoted_without_its_secrets() {
    let engines = engines(1, FAST).await;
    let options = |more: &str| format!("headers: {{ x-token: sk-in-header{more} }}");
    let proxy = Proxy::start(&config(&engines, &[&options("")], "", "")).await;
    proxy.write_config(&config(&engines, &[&options(", x-other: [1]")], "", ""));
    let (status, said) = herd::call(&proxy, "POST", "api/reload", None).await;
    assert_eq!(status, 422, "{said}");
    assert!(said["error"]["findings"][0]["message"].as_str().unwrap().contains("x-other"), "{said}");
    for told in [said.to_string(), proxy.stderr(), herd::get(&proxy, "api/status").await.to_string()] {
        assert!(!told.contains("sk-in-header"), "{told}");
    }
}
