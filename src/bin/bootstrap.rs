//! The Lambda function: wires the harvester to the world and runs it for every event.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use chrono::DateTime;
use futures_util::FutureExt as _;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;
use tracing::{error, warn};

use token_harvester::app::harvest::{HarvestError, Harvester};
use token_harvester::app::ports::{Clock as _, Ports, World};
use token_harvester::aws::{Clients, S3StateStore, S3TokenStore, SecretsManager, SnsPublisher};
use token_harvester::domain::event::Event;
use token_harvester::domain::report::Report;
use token_harvester::domain::source::Tls;
use token_harvester::lambda::config::{self, Config};
use token_harvester::lambda::telemetry;
use token_harvester::net::authorization_server::HttpAuthorizationServer;
use token_harvester::net::tls::ExtraRoots;
use token_harvester::net::transport::Transport;
use token_harvester::system::{SystemClock, SystemRandom};

/// Which adapter serves which port.
struct Lambda;

impl Ports for Lambda {
    type Clock = SystemClock;
    type Random = SystemRandom;
    type Secrets = SecretsManager;
    type Server = HttpAuthorizationServer;
    type Tokens = S3TokenStore;
    type State = S3StateStore;
    type Publisher = SnsPublisher;
}

fn main() -> ExitCode {
    let log = telemetry::subscriber(config::log_level(environment), std::io::stdout);
    if tracing::subscriber::set_global_default(log).is_err() {
        return ExitCode::FAILURE;
    }
    telemetry::log_panics();
    if environment("AWS_LAMBDA_RUNTIME_API").is_none() {
        error!(
            "AWS_LAMBDA_RUNTIME_API is not set: this program runs in AWS Lambda; for a run here, `make invoke-local`"
        );
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
    runtime.block_on(run())
}

async fn run() -> ExitCode {
    let harvester = match start() {
        Ok(harvester) => harvester,
        Err(diagnostic) => {
            error!(error.r#type = diagnostic.error_type, error.message = diagnostic.error_message, "start-up failed");
            report_start_up_error(&diagnostic).await;
            return ExitCode::FAILURE;
        }
    };
    // Boxed: the compiler gives up on the layout of all the futures that a harvest nests.
    let handler = service_fn(|event: LambdaEvent<Value>| handle(&harvester, event).boxed_local());
    match lambda_runtime::run(handler).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error.message = %error, "the Lambda runtime ended");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<Harvester<Lambda>, Diagnostic> {
    let invalid = |message: String| diagnostic("Runtime.ConfigInvalid", message);
    let config = Config::read(environment).map_err(|error| invalid(error.to_string()))?;
    let extra_roots = ExtraRoots::read(config.ssl_cert_file.as_deref()).map_err(invalid)?;
    let transport = Transport::new(&extra_roots, &Tls::default()).map_err(|error| invalid(error.to_string()))?;
    let clients = Clients::new(&config.aws, transport.clone());
    let server = HttpAuthorizationServer::new(transport, extra_roots);

    let world = World {
        clock: SystemClock,
        random: SystemRandom,
        secrets: clients.secrets,
        server,
        tokens: clients.tokens,
        state: clients.state,
        publisher: clients.publisher,
    };
    Ok(Harvester::new(config.settings(), world))
}

async fn handle(harvester: &Harvester<Lambda>, event: LambdaEvent<Value>) -> Result<Report, Diagnostic> {
    let LambdaEvent { payload, context } = event;
    let event = Event::parse(&payload).map_err(|error| diagnostic("Harvest.EventInvalid", error.to_string()))?;
    let deadline = i64::try_from(context.deadline).ok().and_then(DateTime::from_timestamp_millis);
    let deadline = deadline.unwrap_or(DateTime::UNIX_EPOCH);
    let harvest = AssertUnwindSafe(harvester.harvest(&event, &context.request_id, deadline)).catch_unwind();
    let result = harvest.await.map_err(|_panic| {
        // Lambda would log the panic's own words, which may quote a value.
        let message = "the harvester panicked between sources; the log says where";
        diagnostic("Harvest.Internal", message.to_owned())
    })?;
    if let Some(report) = result.as_ref().map_or_else(HarvestError::report, Some) {
        write_metrics(report);
    }
    result.map_err(|error| {
        let error_type = match error {
            HarvestError::DefinitionsUnreadable { .. } => "Harvest.DefinitionsUnreadable",
            HarvestError::MessagesUnpublished { .. } => "Harvest.MessagesUnpublished",
            HarvestError::IncidentsUnkept { .. } => "Harvest.IncidentsUnkept",
            HarvestError::SourcesGone { .. } => "Harvest.SourcesGone",
        };
        diagnostic(error_type, error.to_string())
    })
}

fn write_metrics(report: &Report) {
    if let Err(message) = telemetry::write_metrics(report, SystemClock.now(), &mut std::io::stdout()) {
        warn!(error.message = message, "no metrics for this run");
    }
}

/// `error_type` is stable: alarms and people match on it. Recommended form: `category.reason`.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-initerror>
fn diagnostic(error_type: &str, error_message: String) -> Diagnostic {
    Diagnostic { error_type: error_type.to_owned(), error_message }
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
