//! The least time that token requests take: the same requests as the function's, a number of them at once, and nothing
//! else. `requests <token endpoint> <PEM file of the root> <requests> <at once>` prints the seconds that they took.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

const FORM: &str = "grant_type=client_credentials&scope=crm.read";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, roots, count, at_once] = &arguments[..] else {
        return Err("usage: requests <token endpoint> <PEM file> <requests> <at once>".into());
    };
    let (count, at_once) = (count.parse::<usize>()?, at_once.parse::<usize>()?);

    let started_at = Instant::now();
    let client = client(roots)?;
    let client = &client;
    let tokens = stream::iter(0..count)
        .map(|_| async move {
            let request = client
                .post(endpoint)
                .header("accept", "application/json")
                .header("content-type", "application/x-www-form-urlencoded")
                .basic_auth("data-jobs", Some("correct-horse-battery-staple"))
                .body(FORM);
            let answer: Value = serde_json::from_slice(&request.send().await?.error_for_status()?.bytes().await?)?;
            Ok::<_, Box<dyn Error>>(usize::from(answer["access_token"].is_string()))
        })
        .buffer_unordered(at_once)
        .try_fold(0, async |sum, one| Ok(sum + one))
        .await?;
    if tokens != count {
        return Err(format!("{tokens} tokens for {count} requests").into());
    }
    println!("{}", started_at.elapsed().as_secs_f64());
    Ok(())
}

fn client(roots: &str) -> Result<Client, Box<dyn Error>> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(CertificateDer::pem_file_iter(roots)?.flatten());
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?)
}
