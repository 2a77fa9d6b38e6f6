//! Servers below HTTP: what a well-behaved one can't be made to do, and TLS.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// What a server does once a request is there.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Sends these bytes and ends the connection.
    Send(Vec<u8>),
    /// Sends these bytes once as many requests are there as the barrier wants.
    Together(Arc<Barrier>, Vec<u8>),
    /// Sends these bytes and keeps the connection open.
    SendAndHang(Vec<u8>),
    /// Says nothing and keeps the connection open.
    Hang,
    /// Breaks the connection.
    Reset,
}

/// The bytes of an HTTP answer.
fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// An answer that grants a token for an hour.
pub(crate) fn granted(token: &str) -> Vec<u8> {
    http("200 OK", &format!(r#"{{"access_token": "{token}", "token_type": "Bearer", "expires_in": 3600}}"#))
}

/// Requests, each with its arrival.
type Requests = Arc<Mutex<Vec<(Instant, String)>>>;

/// A server that replies by a script; the last reply is repeated. It ends with the test's runtime.
pub(crate) struct Scripted {
    /// Of a token endpoint on it.
    pub(crate) url: String,
    requests: Requests,
}

impl Scripted {
    pub(crate) async fn plain(replies: Vec<Reply>) -> Self {
        Self::start(replies, None).await
    }

    pub(crate) async fn tls(config: Arc<ServerConfig>, replies: Vec<Reply>) -> Self {
        Self::start(replies, Some(TlsAcceptor::from(config))).await
    }

    async fn start(replies: Vec<Reply>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/token", listener.local_addr().expect("an address"));
        let requests = Requests::default();
        tokio::spawn(accept(listener, tls, replies, Arc::clone(&requests)));
        Self { url, requests }
    }

    /// The texts of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("requests").iter().map(|(_, request)| request.clone()).collect()
    }

    /// When each of them was there.
    pub(crate) fn arrivals(&self) -> Vec<Instant> {
        self.requests.lock().expect("requests").iter().map(|(at, _)| *at).collect()
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, replies: Vec<Reply>, requests: Requests) {
    while let Ok((connection, _)) = listener.accept().await {
        tokio::spawn(serve(connection, tls.clone(), replies.clone(), Arc::clone(&requests)));
    }
}

/// One request on one connection. A client that goes away is its own affair.
async fn serve(connection: TcpStream, tls: Option<TlsAcceptor>, replies: Vec<Reply>, requests: Requests) {
    match tls {
        None => reply(connection, &replies, &requests).await,
        Some(tls) => {
            if let Ok(connection) = tls.accept(connection).await {
                reply(connection, &replies, &requests).await;
            }
        }
    }
}

async fn reply(mut connection: impl AsyncRead + AsyncWrite + Unpin, replies: &[Reply], requests: &Requests) {
    let Some(request) = read_request(&mut connection).await else { return };
    let index = {
        let mut requests = requests.lock().expect("requests");
        requests.push((Instant::now(), request));
        requests.len() - 1
    };
    match &replies[index.min(replies.len() - 1)] {
        Reply::Send(bytes) => send(connection, bytes).await,
        Reply::Together(barrier, bytes) => {
            barrier.wait().await;
            send(connection, bytes).await;
        }
        Reply::SendAndHang(bytes) => {
            let _ = connection.write_all(bytes).await;
            std::future::pending::<()>().await;
        }
        Reply::Hang => std::future::pending().await,
        Reply::Reset => {}
    }
}

async fn send(mut connection: impl AsyncWrite + Unpin, bytes: &[u8]) {
    let _ = connection.write_all(bytes).await;
    let _ = connection.shutdown().await;
}

async fn read_request(connection: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0_usize) {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        match connection.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// A port on which nobody listens.
pub(crate) async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A certificate authority that no system trusts.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    /// Its certificate, PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate that it has issued, with the key, both PEM.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }

    /// A server of its own on loopback; `clients` also asks for certificates that this authority has issued.
    pub(crate) fn server(&self, clients: bool) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("protocol versions");
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).expect("a configuration"))
    }
}
