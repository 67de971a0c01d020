//! TLS in tests: certificates on disk, connections that say which one they were shown, HTTP/2 on any connection.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::PATIENCE;

/// A self-signed certificate and its key.
pub struct Pair {
    pub cert: String,
    pub key: String,
    pub der: Vec<u8>,
}

impl Pair {
    pub fn new(names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let cert = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Pair { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().to_vec() }
    }

    /// Writes `<name>.crt` and `<name>.key`; gives the YAML that names them.
    pub fn write(&self, dir: &Path, name: &str) -> String {
        let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        std::fs::write(&key, &self.key).unwrap();
        std::fs::write(&cert, &self.cert).unwrap();
        format!("{{ cert: {cert:?}, key: {key:?} }}")
    }
}

/// Believes everybody: the test looks at the certificate itself.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Connects and asks for `name`; an address as name asks for none. `alpn` is what the client offers.
pub async fn connect(port: u16, name: &str, alpn: &[&str]) -> TlsStream<TcpStream> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Credulous(provider)));
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|offer| offer.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let shaken = tokio::time::timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    shaken.expect("a handshake in time").expect("a handshake")
}

/// The certificate that the server showed.
pub fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// The protocol that was agreed on.
pub fn agreed(stream: &TlsStream<TcpStream>) -> Option<String> {
    stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
}

/// An HTTP/2 connection over any stream.
pub struct Two {
    client: h2::client::SendRequest<Bytes>,
    driver: tokio::task::JoinHandle<()>,
}

impl Two {
    pub async fn over(stream: impl crate::raw::Wire + 'static) -> Two {
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Two { client, driver }
    }

    /// Without TLS.
    pub async fn connect(port: u16) -> Two {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Two::over(stream).await
    }

    /// Sends a request whose body, if any, fits the first window; gives the answer's head and its body to read.
    pub async fn send(&self, request: http::request::Builder, body: &[u8]) -> http::Response<h2::RecvStream> {
        let mut client = self.client.clone().ready().await.unwrap();
        let (answer, mut upload) = client.send_request(request.body(()).unwrap(), body.is_empty()).unwrap();
        if !body.is_empty() {
            upload.send_data(Bytes::copy_from_slice(body), true).unwrap();
        }
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time").expect("an answer")
    }

    /// Sends a request's head; the body stays open.
    pub async fn begin(&self, request: http::request::Builder) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut client = self.client.clone().ready().await.unwrap();
        client.send_request(request.body(()).unwrap(), false).unwrap()
    }

    /// One request with its whole answer: status, headers, body.
    pub async fn ask(&self, request: http::request::Builder, body: &[u8]) -> (u16, http::HeaderMap, String) {
        let (head, stream) = self.send(request, body).await.into_parts();
        let text = tokio::time::timeout(PATIENCE, drain(stream)).await.expect("the answer ends");
        (head.status.as_u16(), head.headers, text)
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Reads a body to its end.
pub async fn drain(mut stream: h2::RecvStream) -> String {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.expect("a whole answer");
        let _ = stream.flow_control().release_capacity(piece.len());
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
