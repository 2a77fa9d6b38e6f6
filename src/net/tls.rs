//! TLS: which authorities are trusted, and which certificate is presented.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret as _;

use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::source::Tls;

/// PEM of further roots that an operator trusts for every connection (`SSL_CERT_FILE`).
#[derive(Debug, Clone, Default)]
pub struct ExtraRoots(Option<Vec<u8>>);

impl ExtraRoots {
    /// Reads the file; the error says what is wrong with it.
    pub fn read(path: Option<&str>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::default()) };
        let pem = std::fs::read(path).map_err(|error| format!("SSL_CERT_FILE can't be read: {error}"))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        if certificates.map_or(true, |certificates| certificates.is_empty()) {
            return Err("SSL_CERT_FILE holds no PEM certificate".to_owned());
        }
        Ok(Self(Some(pem)))
    }

    /// The text of the file, which was checked to hold a certificate; `None` without a file.
    pub fn pem(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }
}

/// TLS for one source's authorization server: Mozilla's roots, compiled in, so that a cold start reads and parses none;
/// then the operator's, then the definition's.
pub fn client_config(extra: &ExtraRoots, tls: &Tls) -> Result<ClientConfig, SourceError> {
    let invalid =
        |field: &str, reason: &str| SourceError::new(ErrorCode::DefinitionInvalid, format!("`{field}` {reason}"));
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = extra.pem() {
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
    }
    if let Some(pem) = &tls.ca_certificate {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()).flatten() {
            roots.add(certificate).map_err(|_| invalid("ca_certificate", "holds a certificate that can't be used"))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| SourceError::new(ErrorCode::Internal, "TLS can't be set up"))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).flatten().collect();
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
        .map_err(|_| invalid("private_key", "is no PEM private key"))?;
    builder.with_client_auth_cert(chain, key).map_err(|_| invalid("certificate", "does not belong to `private_key`"))
}
