//! How a program of Lambda starts and runs: its log, its error at start-up, its runtime, and the adapters of its ports.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::Value;
use tracing::error;

pub use lambda_runtime::{Context, Diagnostic};

use super::config::{self, Config, ConfigError};
use super::telemetry;
use crate::app::ports::{Ports, World};
use crate::aws::{Clients, S3StateStore, S3TokenStore, SecretsManager, SnsPublisher};
use crate::domain::source::Tls;
use crate::net::authorization_server::HttpAuthorizationServer;
use crate::net::tls::ExtraRoots;
use crate::net::transport::Transport;
use crate::system::{SystemClock, SystemRandom};

/// Which adapter serves which port.
pub struct Lambda;

impl Ports for Lambda {
    type Clock = SystemClock;
    type Random = SystemRandom;
    type Secrets = SecretsManager;
    type Server = HttpAuthorizationServer;
    type Tokens = S3TokenStore;
    type State = S3StateStore;
    type Publisher = SnsPublisher;
}

/// A program for Lambda.
#[expect(async_fn_in_trait, reason = "it runs on one thread, so no future has to be Send")]
pub trait Program: Sized {
    /// What it answers with.
    type Answer: Serialize;

    /// What is said to whoever runs it elsewhere than in Lambda.
    const ELSEWHERE: &str;

    /// Starts it.
    fn start() -> Result<Self, Diagnostic>;

    /// Handles one event.
    async fn handle(&self, event: Value, context: Context) -> Result<Self::Answer, Diagnostic>;
}

/// Runs a program until Lambda ends it.
pub fn run<P: Program>() -> ExitCode {
    let log = telemetry::subscriber(config::log_level(environment), std::io::stdout);
    if tracing::subscriber::set_global_default(log).is_err() {
        return ExitCode::FAILURE;
    }
    telemetry::log_panics();
    if environment("AWS_LAMBDA_RUNTIME_API").is_none() {
        error!("AWS_LAMBDA_RUNTIME_API is not set: {}", P::ELSEWHERE);
        return ExitCode::FAILURE;
    }
    // One thread: a harvest waits far more than it computes, and the smallest Lambda has a fraction of a core.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(error.message = %error, "the asynchronous runtime could not be started");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(serve::<P>())
}

async fn serve<P: Program>() -> ExitCode {
    let program = match P::start() {
        Ok(program) => program,
        Err(diagnostic) => {
            error!(error.r#type = diagnostic.error_type, error.message = diagnostic.error_message, "start-up failed");
            report_start_up_error(&diagnostic).await;
            return ExitCode::FAILURE;
        }
    };
    // Boxed: the compiler gives up on the layout of all the futures that a harvest nests.
    let handler = service_fn(|event: LambdaEvent<Value>| program.handle(event.payload, event.context).boxed_local());
    match lambda_runtime::run(handler).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error.message = %error, "the Lambda runtime ended");
            ExitCode::FAILURE
        }
    }
}

/// Reads a program's configuration from the environment.
pub fn configuration<C>(
    read: impl FnOnce(fn(&str) -> Option<String>) -> Result<C, ConfigError>,
) -> Result<C, Diagnostic> {
    read(environment).map_err(|error| invalid(error.to_string()))
}

/// The world behind the ports, as it is configured. Connects to nothing yet.
pub fn world(config: &Config) -> Result<World<Lambda>, Diagnostic> {
    let extra_roots = ExtraRoots::read(config.ssl_cert_file.as_deref()).map_err(invalid)?;
    let transport = Transport::new(&extra_roots, &Tls::default()).map_err(|error| invalid(error.to_string()))?;
    let clients = Clients::new(&config.aws, transport.clone());
    let server = HttpAuthorizationServer::new(transport, extra_roots);
    Ok(World {
        clock: SystemClock,
        random: SystemRandom,
        secrets: clients.secrets,
        server,
        tokens: clients.tokens,
        state: clients.state,
        publisher: clients.publisher,
    })
}

/// When Lambda ends the invocation.
pub fn deadline(context: &Context) -> DateTime<Utc> {
    let deadline = i64::try_from(context.deadline).ok().and_then(DateTime::from_timestamp_millis);
    deadline.unwrap_or(DateTime::UNIX_EPOCH)
}

/// `error_type` is stable: alarms and people match on it. Recommended form: `category.reason`.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-initerror>
pub fn diagnostic(error_type: &str, error_message: String) -> Diagnostic {
    Diagnostic { error_type: error_type.to_owned(), error_message }
}

fn invalid(message: String) -> Diagnostic {
    diagnostic("Runtime.ConfigInvalid", message)
}

/// Tells Lambda why the function can't start, so that whoever invokes it reads the reason.
async fn report_start_up_error(diagnostic: &Diagnostic) {
    let request = serde_json::to_vec(diagnostic).map_err(Into::into).and_then(|body| {
        lambda_runtime_api_client::build_request()
            .method("POST")
            .uri("/2018-06-01/runtime/init/error")
            .header("lambda-runtime-function-error-type", &diagnostic.error_type)
            .body(body.into())
            .map_err(lambda_runtime_api_client::BoxError::from)
    });
    let sent = match request {
        Ok(request) => lambda_runtime_api_client::PooledClient::builder().build().call(request).await.map(|_| ()),
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        error!(error.message = %error, "the start-up error could not be reported");
    }
}

/// The one place where the environment is read. Empty counts as unset.
#[expect(clippy::disallowed_methods, reason = "this is what `Config` is given")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
