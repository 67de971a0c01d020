//! A lab engine's identity: an authority and a certificate by it, made anew for each engine that serves TLS.
//!
//! A name that begins with digits and dots and is an address becomes an address of the certificate. A client that does
//! not finish its handshake holds its connection only.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::spec::Protocols;

/// A certificate in use.
pub(crate) struct Identity {
    /// Who vouches for it.
    pub(crate) ca_pem: String,
    acceptor: TlsAcceptor,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Identity {
    /// A certificate for these names and addresses, and an authority that signed it.
    pub(crate) fn new(names: &[String], protocols: Protocols) -> Result<Identity, Failed> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "lab authority");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;

        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate.der().clone()], key)?;
        let offers: &[&[u8]] = match protocols {
            Protocols::Http1 => &[b"http/1.1"],
            Protocols::Both => &[b"h2", b"http/1.1"],
            Protocols::Http2 => &[b"h2"],
        };
        config.alpn_protocols = offers.iter().map(|offer| offer.to_vec()).collect();
        Ok(Identity { ca_pem: authority.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }
}
