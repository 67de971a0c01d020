//! One request to the admin API, over TCP or a socket file. The answer's errors become one line for the terminal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::table::visible;
use crate::admin::ErrorBody;

/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest wait for the whole answer: a reload reads files and certificates.
const ANSWER: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Debug)]
pub(super) struct Request {
    method: &'static str,
    target: String,
    body: Option<Value>,
}

impl Request {
    pub(super) fn new(method: &'static str, target: &str, body: Option<Value>) -> Request {
        Request { method, target: target.to_owned(), body }
    }

    pub(super) fn get(target: &str) -> Request {
        Request::new("GET", target, None)
    }

    /// True unless the answer is CSV.
    pub(super) fn gives_json(&self) -> bool {
        !self.target.ends_with(".csv")
    }
}

enum Place {
    Tcp(String),
    Unix(PathBuf),
}

/// Where to ask, and with which token.
pub(super) struct Client {
    address: String,
    place: Place,
    token: Option<String>,
    if_generation: Option<u64>,
}

impl Client {
    pub(super) fn new(address: &str, token_file: Option<&Path>, if_generation: Option<u64>) -> Result<Client, String> {
        let bare = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let place = match address.strip_prefix("unix:") {
            Some("") => return Err("--admin unix: names no file".into()),
            Some(path) => Place::Unix(path.into()),
            None if bare
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) =>
            {
                Place::Tcp(bare.to_owned())
            }
            None => return Err(format!("--admin {address}: HOST:PORT or unix:PATH is wanted")),
        };
        let token = token_file.map(|file| {
            let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let token = text.trim().to_owned();
            let plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
            if plain { Ok(token) } else { Err(format!("{}: one line with the token is wanted", file.display())) }
        });
        Ok(Client { address: address.to_owned(), place, token: token.transpose()?, if_generation })
    }

    /// The answer's body.
    pub(super) fn send(&self, request: &Request) -> Result<Bytes, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(async {
            match &self.place {
                Place::Tcp(address) => self.exchange(self.connected(TcpStream::connect(address)).await?, request).await,
                Place::Unix(path) => self.exchange(self.connected(UnixStream::connect(path)).await?, request).await,
            }
        })
    }

    async fn connected<S>(&self, connecting: impl Future<Output = std::io::Result<S>>) -> Result<S, String> {
        let why = match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        Err(format!(
            "cannot connect to the admin listener at {}: {why}; does Arriero run there, with `admin:` in its configuration? \
             (--admin or ARRIERO_ADMIN name another address)",
            self.address
        ))
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        request: &Request,
    ) -> Result<Bytes, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: the exchange broke off: {error}", self.address);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
        tokio::spawn(connection);
        let whole = async {
            let answer = sender.send_request(self.built(request)?).await.map_err(|error| wrong(&error))?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(|error| wrong(&error))?.to_bytes();
            if status.is_success() { Ok(body) } else { Err(self.refusal(status, &body)) }
        };
        let late = || format!("{}: no answer within {} s", self.address, ANSWER.as_secs());
        tokio::time::timeout(ANSWER, whole).await.unwrap_or_else(|_| Err(late()))
    }

    fn built(&self, request: &Request) -> Result<http::Request<Full<Bytes>>, String> {
        let host = match &self.place {
            Place::Tcp(address) => address,
            Place::Unix(_) => "localhost",
        };
        let body = request.body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut built = http::Request::builder().method(request.method).uri(&request.target).header("host", host);
        built = built.header("content-type", "application/json").header("connection", "close");
        if let Some(token) = &self.token {
            built = built.header("authorization", format!("Bearer {token}"));
        }
        if let Some(generation) = self.if_generation {
            built = built.header("if-match", format!("\"{generation}\""));
        }
        built.body(Full::new(body)).map_err(|error| format!("{}: {error}", self.address))
    }

    /// The error in the answer, in words.
    fn refusal(&self, status: http::StatusCode, body: &[u8]) -> String {
        let Ok(ErrorBody { error }) = serde_json::from_slice::<ErrorBody>(body) else {
            return format!("{}: status {status}; is this an admin listener of Arriero?", self.address);
        };
        let mut words = error.message.lines().map(visible).collect::<Vec<_>>().join("\n  ");
        if let Some(allowed) = &error.allowed {
            words += &format!("; allowed: {}", visible(allowed));
        }
        for finding in &error.findings {
            words += &format!("\n{}", finding.text.lines().map(visible).collect::<Vec<_>>().join("\n"));
        }
        if status == http::StatusCode::UNAUTHORIZED {
            words += " (--token-file or ARRIERO_ADMIN_TOKEN_FILE)";
        }
        words
    }
}

/// JSON with indentation.
pub(super) fn pretty(answer: &[u8]) -> Result<String, String> {
    let value: Value = read(answer)?;
    serde_json::to_string_pretty(&value).map_err(|error| error.to_string())
}

/// An answer's value.
pub(super) fn read<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, String> {
    serde_json::from_slice(answer).map_err(|error| {
        format!(
            "the answer is not understood: {error}; do Arriero and this command have the same version? --json shows it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_keeps_its_lines_and_nothing_that_drives_a_terminal() {
        let client = Client::new("127.0.0.1:9901", None, None).expect("an address");
        let told = |status: u16, body: &str| {
            client.refusal(http::StatusCode::from_u16(status).expect("a status"), body.as_bytes())
        };
        let body = r#"{"error":{"message":"two wrongs:\nthe second \u001b[2J","allowed":"this"}}"#;
        assert_eq!(told(422, body), "two wrongs:\n  the second \\u{1b}[2J; allowed: this");
        let foreign = told(404, "<html>");
        assert_eq!(foreign, "127.0.0.1:9901: status 404 Not Found; is this an admin listener of Arriero?");
    }
}
