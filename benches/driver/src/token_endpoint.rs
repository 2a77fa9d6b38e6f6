//! A token endpoint over TLS that gives everybody a token for an hour.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::Failure;
use crate::http::{answer, serve};

/// The length of a small JWT.
const TOKEN_BYTES: usize = 800;

/// A running token endpoint.
pub(crate) struct TokenEndpoint {
    address: SocketAddr,
    /// How long an answer takes.
    pub(crate) delay: Rc<Cell<Duration>>,
    /// How many seconds its tokens live.
    pub(crate) lifetime: Rc<Cell<u64>>,
    /// Requests so far.
    pub(crate) requests: Rc<Cell<u64>>,
}

impl TokenEndpoint {
    /// Its certificate's root goes into a PEM file.
    pub(crate) async fn start(root: &Path) -> Result<Self, Failure> {
        let mut params = CertificateParams::new(Vec::new())?;
        // OpenSSL takes a certificate whose issuer has its own subject's name for a self-signed one.
        params.distinguished_name.push(DnType::CommonName, "root of the bench");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(root, authority.pem())?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der())?)?;

        let (delay, lifetime, requests) =
            (Rc::new(Cell::new(Duration::ZERO)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (its_delay, its_lifetime, its_requests) = (Rc::clone(&delay), Rc::clone(&lifetime), Rc::clone(&requests));
        let address = serve(Some(TlsAcceptor::from(Arc::new(config))), async move |_, _| {
            let number = its_requests.get() + 1;
            its_requests.set(number);
            if !its_delay.get().is_zero() {
                tokio::time::sleep(its_delay.get()).await;
            }
            let token = format!("{number:x>TOKEN_BYTES$}");
            let lifetime = its_lifetime.get();
            let body =
                json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime, "scope": "crm.read"});
            answer(200, "application/json", body.to_string())
        })
        .await?;
        Ok(Self { address, delay, lifetime, requests })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/oauth2/token", self.address)
    }
}
