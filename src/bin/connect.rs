//! The Lambda function that lets people connect accounts in a browser: wires the gateway to the world and answers every
//! request.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use futures_util::FutureExt as _;
use serde_json::Value;

use token_harvester::app::connect::{Connector, Invocation};
use token_harvester::gateway::routes::{self, Gateway};
use token_harvester::lambda::config::GatewayConfig;
use token_harvester::lambda::payload::{Request, Response};
use token_harvester::lambda::program::{self, Context, Diagnostic, Lambda, Program, diagnostic};

struct Connect {
    gateway: Gateway<Lambda>,
    /// The path of the public URL.
    prefix: String,
}

fn main() -> ExitCode {
    program::run::<Connect>()
}

impl Program for Connect {
    type Answer = Response;

    const ELSEWHERE: &str = "this program runs in AWS Lambda, behind an HTTP API of API Gateway";

    fn start() -> Result<Self, Diagnostic> {
        let config = program::configuration(GatewayConfig::read)?;
        let connector = Connector::new(config.settings(), program::world(&config.common)?);
        let prefix = config.public_url.path().to_owned();
        Ok(Self { gateway: Gateway::new(connector, config.public_url), prefix })
    }

    async fn handle(&self, event: Value, context: Context) -> Result<Response, Diagnostic> {
        let request = match Request::parse(event, &self.prefix) {
            Ok(request) => request,
            Err(error) => {
                return routes::refuse(error).ok_or_else(|| diagnostic("Connect.EventInvalid", error.to_string()));
            }
        };
        let now = self.gateway.connector().now();
        let invocation = Invocation::new(&context.request_id, now, program::deadline(&context));
        let answer = AssertUnwindSafe(self.gateway.answer(&request, &invocation).boxed_local()).catch_unwind();
        // Lambda would log the panic's own words, which may quote a value.
        let message = "the gateway panicked; the log says where";
        answer.await.map_err(|_panic| diagnostic("Connect.Internal", message.to_owned()))
    }
}
