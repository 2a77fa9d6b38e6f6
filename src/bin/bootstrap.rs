//! The Lambda function that harvests: wires the harvester to the world and runs it for every event.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use futures_util::FutureExt as _;
use serde_json::Value;
use tracing::warn;

use token_harvester::app::harvest::{HarvestError, Harvester};
use token_harvester::app::ports::Clock as _;
use token_harvester::domain::event::Event;
use token_harvester::domain::report::Report;
use token_harvester::lambda::config::Config;
use token_harvester::lambda::program::{self, Context, Diagnostic, Lambda, Program, diagnostic};
use token_harvester::lambda::telemetry;
use token_harvester::system::SystemClock;

struct Harvest(Harvester<Lambda>);

fn main() -> ExitCode {
    program::run::<Harvest>()
}

impl Program for Harvest {
    type Answer = Report;

    const ELSEWHERE: &str = "this program runs in AWS Lambda; for a run here, `make invoke-local`";

    fn start() -> Result<Self, Diagnostic> {
        let config = program::configuration(Config::read)?;
        Ok(Self(Harvester::new(config.settings(), program::world(&config)?)))
    }

    async fn handle(&self, event: Value, context: Context) -> Result<Report, Diagnostic> {
        let event = Event::parse(&event).map_err(|error| diagnostic("Harvest.EventInvalid", error.to_string()))?;
        let deadline = program::deadline(&context);
        let harvest = AssertUnwindSafe(self.0.harvest(&event, &context.request_id, deadline)).catch_unwind();
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
}

fn write_metrics(report: &Report) {
    if let Err(message) = telemetry::write_metrics(report, SystemClock.now(), &mut std::io::stdout()) {
        warn!(error.message = message, "no metrics for this run");
    }
}
