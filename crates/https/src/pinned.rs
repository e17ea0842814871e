//! A client that trusts one server: the one with these certificates and their keys, whatever its name and its issuer. Or one with
//! a certificate for its name that these have issued.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// A configuration that accepts a server which shows one of these certificates and has its key.
pub fn trusting(certificates: Vec<CertificateDer<'static>>, protocols: &[&str]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    config(Pinned { certificates, issued: None, provider }, protocols)
}

/// The same, and one that shows a certificate for the name it is called by which one of these has issued.
///
/// # Errors
/// In words: what is wrong with the certificates.
pub fn trusting_issuer(certificates: Vec<CertificateDer<'static>>, protocols: &[&str]) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    let issued = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build();
    let issued = Some(issued.map_err(|error| error.to_string())?);
    Ok(config(Pinned { certificates, issued, provider }, protocols))
}

fn config(pinned: Pinned, protocols: &[&str]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(pinned.provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has what both versions need")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

#[derive(Debug)]
struct Pinned {
    certificates: Vec<CertificateDer<'static>>,
    issued: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match (self.certificates.iter().any(|known| known == end_entity), &self.issued) {
            (true, _) => Ok(ServerCertVerified::assertion()),
            (false, Some(issued)) => issued.verify_server_cert(end_entity, between, name, ocsp, now),
            (false, None) => Err(Error::General("the server shows another certificate than ours".into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
