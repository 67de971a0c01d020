//! Who is let in: tokens, foreign hosts, pages of other sites.

use super::fake::NASTY;
use super::{Api, Told};
use crate::admin::guard::Guard;

const TOKEN: &str = "correct-horse-battery";

async fn with(api: &Api, method: &str, target: &str, headers: &[(&str, &str)]) -> Told {
    api.ask(method, target, headers, r#"{"state":"drain"}"#).await
}

#[tokio::test]
async fn without_the_token_nothing_is_told_but_health_and_the_page() {
    let api = Api::open(Some(TOKEN));
    let document = serde_json::to_value(crate::admin::document()).expect("a document");
    let mut refused = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let path = path.replace("{name}", "gpu-1").replace("{pool}", "chat").replace("{route}", "chat");
            let told = with(&api, &method.to_uppercase(), &path, &[("host", "127.0.0.1")]).await;
            if ["/health", "/ready", "/"].contains(&path.as_str()) {
                assert_eq!(told.status, 200, "{path}");
                continue;
            }
            assert_eq!(told.status, 401, "{method} {path}");
            assert_eq!(told.headers["www-authenticate"], "Bearer realm=\"arriero admin\"");
            assert!(!told.message().contains(TOKEN));
            refused += 1;
        }
    }
    assert!(refused > 15, "{refused}");
    assert_eq!(with(&api, "GET", "/nope", &[("host", "127.0.0.1")]).await.status, 401, "nor which paths there are");
    let page = with(&api, "GET", "/", &[("host", "127.0.0.1")]).await;
    assert!(!String::from_utf8_lossy(&page.body).contains(NASTY), "the page's own text tells nothing");
}

#[tokio::test]
async fn the_token_must_be_this_one_and_given_once() {
    let api = Api::open(Some(TOKEN));
    let longer = format!("Bearer {TOKEN}x");
    let whole = format!("Bearer {TOKEN}");
    for right in [whole.clone(), format!("bearer {TOKEN}"), format!("BEARER  {TOKEN}")] {
        assert_eq!(with(&api, "GET", "/api/status", &[("authorization", &right)]).await.status, 200, "{right}");
    }
    for wrong in [longer.as_str(), "Bearer ", "Bearer", "", TOKEN, "Basic Y29ycmVjdA==", &whole[..whole.len() - 1]] {
        assert_eq!(with(&api, "GET", "/api/status", &[("authorization", wrong)]).await.status, 401, "{wrong:?}");
    }
    let twice = [("authorization", whole.as_str()), ("authorization", "Bearer other")];
    assert_eq!(with(&api, "GET", "/api/status", &twice).await.status, 401);
    assert_eq!(with(&api, "GET", &format!("/api/status?token={TOKEN}"), &[]).await.status, 401);
}

#[tokio::test]
async fn a_name_that_was_pointed_here_is_refused_where_there_is_no_token() {
    let api = Api::open(None);
    for host in ["127.0.0.1:9901", "[::1]:9901", "localhost:9901", "10.1.2.3"] {
        assert_eq!(with(&api, "GET", "/api/status", &[("host", host)]).await.status, 200, "{host}");
    }
    for host in ["evil.example:9901", "localhost.evil.example", "127.0.0.1.evil.example:9901", ""] {
        for (method, path) in
            [("GET", "/api/status"), ("GET", "/metrics"), ("GET", "/"), ("PATCH", "/api/endpoints/gpu-1")]
        {
            let told = with(&api, method, path, &[("host", host)]).await;
            assert_eq!(told.status, 421, "{method} {path} at {host:?}");
        }
    }
    assert_eq!(with(&api, "GET", "/api/status", &[]).await.status, 421, "no host at all");
    let two = [("host", "127.0.0.1"), ("host", "evil.example")];
    assert_eq!(with(&api, "GET", "/api/status", &two).await.status, 421, "two hosts");
    let absolute = with(&api, "GET", "http://evil.example/api/status", &[("host", "127.0.0.1")]).await;
    assert_eq!(absolute.status, 421, "a target with a name of its own");
    let by_token = [("host", "arriero.example"), ("authorization", &format!("Bearer {TOKEN}"))];
    assert_eq!(with(&Api::open(Some(TOKEN)), "GET", "/api/status", &by_token).await.status, 200);
    let by_file = Api::guarded(Guard { token: None, by_file: true });
    assert_eq!(with(&by_file, "GET", "/api/status", &[("host", "anything")]).await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let (host, origin) = (("host", "127.0.0.1:9901"), ("origin", "http://evil.example"));
    let simple = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "text/plain; application/json",
        "",
    ];
    for from in [origin, ("origin", "null"), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")] {
        let api = Api::open(None);
        for kind in simple {
            for (method, path) in [
                ("POST", "/api/reload"),
                ("POST", "/api/explain"),
                ("PATCH", "/api/endpoints/gpu-1"),
                ("DELETE", "/api/affinity"),
            ] {
                let told = with(&api, method, path, &[host, from, ("content-type", kind)]).await;
                assert_eq!(told.status, 403, "{method} {path} {from:?} {kind:?}");
            }
        }
        assert_eq!(with(&api, "POST", "/api/reload", &[host, from]).await.status, 403, "no content type");
        let status = api.get("/api/status").await.json();
        assert_eq!(
            (&status["generation"]["generation"], &status["pools"][0]["endpoints"][0]["state"]),
            (&7.into(), &"ready".into())
        );
    }
    // what a browser asks before it sends JSON to another site gets no consent
    let api = Api::open(None);
    let asked =
        [host, origin, ("access-control-request-method", "PATCH"), ("access-control-request-headers", "content-type")];
    let told = with(&api, "OPTIONS", "/api/endpoints/gpu-1", &asked).await;
    assert_eq!(told.status, 405);
    assert!(told.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{:?}", told.headers);
    // without a page behind it, and from a page with JSON, it is done
    assert_eq!(with(&api, "PATCH", "/api/endpoints/gpu-1", &[host]).await.status, 200);
    let json = [host, ("origin", "http://127.0.0.1:9901"), ("content-type", "application/json; charset=utf-8")];
    assert_eq!(with(&api, "PATCH", "/api/endpoints/gpu-1", &json).await.status, 200);
}

#[tokio::test]
async fn the_page_runs_its_own_script_and_nothing_else() {
    let told = Api::open(None).get("/").await;
    assert_eq!(told.headers["content-type"], "text/html; charset=utf-8");
    let policy = told.headers["content-security-policy"].to_str().expect("text");
    for part in [
        "default-src 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(told.headers[name], value);
    }
}
