//! HTTP servers on loopback: what all parts that the driver plays have in common.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, server};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Failure;

/// An answer with its whole body.
pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer of this status with a JSON or XML body.
pub(crate) fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .expect("status and type are constants")
}

/// Serves on a free port of loopback until the program ends.
pub(crate) async fn serve<H>(tls: Option<TlsAcceptor>, handle: H) -> Result<SocketAddr, Failure>
where
    H: AsyncFn(Parts, Bytes) -> Answer + Clone + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::task::spawn_local(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let _ = connection.set_nodelay(true);
            tokio::task::spawn_local(connected(connection, tls.clone(), handle.clone()));
        }
    });
    Ok(address)
}

/// A contestant that goes away is its own affair.
async fn connected<H>(connection: TcpStream, tls: Option<TlsAcceptor>, handle: H)
where
    H: AsyncFn(Parts, Bytes) -> Answer + 'static,
{
    let service = service_fn(|request: Request<Incoming>| async {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok::<_, Infallible>(handle(parts, body).await)
    });
    let http = server::conn::http1::Builder::new();
    match tls {
        None => drop(http.serve_connection(TokioIo::new(connection), service).await),
        Some(tls) => {
            if let Ok(connection) = tls.accept(connection).await {
                drop(http.serve_connection(TokioIo::new(connection), service).await);
            }
        }
    }
}
