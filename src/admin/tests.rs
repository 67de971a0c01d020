//! The API with a control of plain memory behind it.

pub(crate) mod fake;
mod guarded;
mod listening;
mod openapi;
mod routes;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::guard::{Guard, Token};
use super::router::router;
use fake::Fake;

/// The router, asked without a connection.
struct Api(TowerToHyperService<Router>);

/// What came back.
struct Told {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    fn message(&self) -> String {
        self.json()["error"]["message"].as_str().expect("an error has a message").to_owned()
    }
}

impl Api {
    fn open(token: Option<&str>) -> Api {
        Api::guarded(Guard { token: token.map(Token::new), by_file: false })
    }

    fn guarded(guard: Guard) -> Api {
        Api(TowerToHyperService::new(router(guard, Arc::new(Fake::new()))))
    }

    async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Told {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a sound request");
        let answer = self.0.call(request).await.expect("the router cannot fail");
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Told { status: parts.status, headers: parts.headers, body }
    }

    /// As `curl` on the same machine asks.
    async fn call(&self, method: &str, target: &str, body: &str) -> Told {
        let headers = [("host", "127.0.0.1:9901"), ("content-type", "application/x-www-form-urlencoded")];
        self.ask(method, target, &headers, body.to_owned()).await
    }

    async fn get(&self, target: &str) -> Told {
        self.call("GET", target, "").await
    }
}
