//! Lambda's runtime API, and when the contestant called it.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Response};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::Failure;
use crate::http::{Answer, answer, serve};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// What a contestant said, and when.
enum Said {
    /// It waits for an event, to be sent here.
    Next(Instant, oneshot::Sender<Value>),
    /// Its report, or its error.
    Answered(Instant, String, Bytes),
}

/// A running runtime API; for one contestant at a time.
pub(crate) struct Lambda {
    pub(crate) address: SocketAddr,
    said: mpsc::UnboundedReceiver<Said>,
}

/// A contestant that waits for an event.
pub(crate) struct Waiting {
    /// When its request came.
    pub(crate) since: Instant,
    event: oneshot::Sender<Value>,
}

impl Lambda {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let (tell, said) = mpsc::unbounded_channel();
        let runs = Rc::new(Cell::new(0_u64));
        let address = serve(None, async move |request, body| {
            let now = Instant::now();
            if request.method == Method::POST {
                let _ = tell.send(Said::Answered(now, request.uri.path().to_owned(), body));
                return answer(202, "application/json", "");
            }
            let (event, given) = oneshot::channel();
            let _ = tell.send(Said::Next(now, event));
            let Ok(event) = given.await else { return answer(500, "text/plain", "") };
            runs.set(runs.get() + 1);
            invocation(runs.get(), &event)
        })
        .await?;
        Ok(Self { address, said })
    }

    /// Waits until the contestant asks for an event.
    pub(crate) async fn next(&mut self) -> Result<Waiting, Failure> {
        match self.hear().await? {
            Said::Next(since, event) => Ok(Waiting { since, event }),
            Said::Answered(_, path, body) => Err(format!("{path}: {}", String::from_utf8_lossy(&body)).into()),
        }
    }

    /// Gives an event, and returns when that was, when the report came, and the report.
    pub(crate) async fn invoke(
        &mut self,
        waiting: Waiting,
        event: Value,
    ) -> Result<(Instant, Instant, Value), Failure> {
        let given_at = Instant::now();
        waiting.event.send(event).map_err(|_| "the contestant has gone")?;
        match self.hear().await? {
            Said::Answered(at, path, body) if path.ends_with("/response") => {
                Ok((given_at, at, serde_json::from_slice(&body)?))
            }
            Said::Answered(_, path, body) => Err(format!("{path}: {}", String::from_utf8_lossy(&body)).into()),
            Said::Next(..) => Err("the contestant asked for another event instead of answering".into()),
        }
    }

    /// Forgets what an ended contestant said last.
    pub(crate) fn forget(&mut self) {
        while self.said.try_recv().is_ok() {}
    }

    async fn hear(&mut self) -> Result<Said, Failure> {
        let said = tokio::time::timeout(PATIENCE, self.said.recv()).await;
        said.map_err(|_| "nothing was heard of the contestant")?.ok_or_else(|| "the runtime API ended".into())
    }
}

fn invocation(run: u64, event: &Value) -> Answer {
    let deadline = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default() + PATIENCE;
    Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", format!("00000000-0000-4000-8000-{run:012}"))
        .header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-central-1:123456789012:function:bench")
        .header("lambda-runtime-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793")
        .body(Full::new(event.to_string().into()))
        .expect("headers are text")
}
