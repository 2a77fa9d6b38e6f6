//! Everything outside the function at one address, AWS and an authorization server, with trouble at chosen calls.

use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::deployment::Deployment;
use super::proxy::{forward, s3_error};
use super::token_endpoint::{and, answered, client_of, parameter, refused};

/// What a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// The connection is reset; nothing is done.
    Refuse,
    /// This status; nothing is done.
    Answer(u16),
    /// A little later than usual.
    Delay,
    /// It is done, but the connection is reset before the reply.
    LoseReply,
    /// The function is killed; nothing is done.
    KillBefore,
    /// It is done, and the function killed before the reply.
    KillAfter,
}

/// What happens to each call of the function, by its number from 1 and its name.
type Plan = Box<dyn FnMut(usize, &str) -> Trouble + Send>;

/// See the module. Calls are let through one at a time.
pub(crate) struct Outside {
    pub(crate) server: MockServer,
    state: Arc<Mutex<State>>,
}

struct State {
    grants: Rotating,
    plan: Plan,
    calls: Vec<(String, Trouble)>,
    /// Ends by its own plan, or with this value.
    function: Option<Child>,
}

/// An authorization server that takes each refresh token once: `r1`, `r2`, ... A token that is used again revokes
/// the whole family (RFC 6819 section 5.2.2.3), unless the server tolerates a repeat of the last one used, for
/// clients that lost the answer.
#[derive(Clone, Default)]
pub(crate) struct Rotating {
    tolerant: bool,
    revoked: bool,
    /// Refresh tokens as they were used, taken or not.
    pub(crate) uses: Vec<String>,
    last_used: Option<String>,
    given: usize,
}

impl Rotating {
    pub(crate) fn new(tolerant: bool) -> Self {
        Self { tolerant, given: 1, ..Self::default() }
    }

    /// The refresh token that it gave last.
    pub(crate) fn newest(&self) -> String {
        format!("r{}", self.given)
    }

    /// What a person does after a grant is lost.
    fn authorize_anew(&mut self) -> String {
        self.given += 1;
        (self.revoked, self.last_used) = (false, None);
        self.newest()
    }

    fn answer(&mut self, request: &Request) -> ResponseTemplate {
        let Some(sent) = parameter(request, "refresh_token") else { return refused(400, "invalid_request") };
        self.uses.push(sent.clone());
        let repeated = self.tolerant && self.last_used.as_ref() == Some(&sent);
        if self.revoked || !(sent == self.newest() || repeated) {
            self.revoked = true;
            return refused(400, "invalid_grant");
        }
        self.last_used = Some(sent);
        self.given += 1;
        let given = self.given;
        let body = json!({
            "access_token": format!("t{given}"), "expires_in": 7200, "refresh_token": format!("r{given}"),
        });
        answered(200, body)
    }
}

impl Outside {
    /// With a deployment behind it, whose source `acme` has the refresh token `r1`.
    pub(crate) async fn of(deployment: Deployment, tolerant: bool) -> (Deployment, Self) {
        let state = Arc::new(Mutex::new(State {
            grants: Rotating::new(tolerant),
            plan: Box::new(|_, _| Trouble::None),
            calls: Vec::new(),
            function: None,
        }));
        let server = MockServer::start().await;
        // Asked first, of every call: plans it, and takes it if it gets no answer.
        let (planning, resetting, answering) = (Arc::clone(&state), Arc::clone(&state), Arc::clone(&state));
        Mock::given(move |request: &Request| {
            matches!(lock(&planning).next_call(request), Trouble::Refuse | Trouble::LoseReply)
        })
        .respond_with_err(move |request: &Request| {
            let mut state = lock(&resetting);
            if state.trouble() == Trouble::LoseReply {
                state.act(request);
            }
            std::io::Error::other("reset by the test")
        })
        .with_priority(1)
        .mount(&server)
        .await;
        Mock::given(any()).respond_with(move |request: &Request| lock(&answering).answer(request)).mount(&server).await;
        let outside = Self { server, state };
        deployment.define("acme", outside.definition("r1")).await;
        (deployment.with("AWS_ENDPOINT_URL", outside.server.uri()), outside)
    }

    /// The definition of `acme`.
    pub(crate) fn definition(&self, refresh_token: &str) -> serde_json::Value {
        and(client_of(&self.server), json!({"refresh_token": refresh_token}))
    }

    /// Counts calls anew, and makes trouble by this plan.
    pub(crate) fn plan(&self, plan: impl FnMut(usize, &str) -> Trouble + Send + 'static) {
        let mut state = lock(&self.state);
        state.plan = Box::new(plan);
        state.calls.clear();
    }

    /// Counts calls anew, and makes no more trouble.
    pub(crate) fn calm(&self) {
        self.plan(|_, _| Trouble::None);
    }

    /// Starts the function whose process a plan may kill.
    pub(crate) fn start(&self, start: impl FnOnce() -> Child) {
        let mut state = lock(&self.state);
        let former = state.function.replace(start());
        end(former);
    }

    /// Whether the function was killed by the plan, or by nobody yet.
    pub(crate) fn is_killed(&self) -> bool {
        lock(&self.state).function.is_none()
    }

    /// Names of the calls since the plan, and what each met.
    pub(crate) fn calls(&self) -> Vec<(String, Trouble)> {
        lock(&self.state).calls.clone()
    }

    /// The authorization server as it is now.
    pub(crate) fn grants(&self) -> Rotating {
        lock(&self.state).grants.clone()
    }

    /// A person authorizes anew: the refresh token that the definition gets.
    pub(crate) fn authorize_anew(&self) -> String {
        lock(&self.state).grants.authorize_anew()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        end(state.function.take());
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl State {
    fn next_call(&mut self, request: &Request) -> Trouble {
        let name = name(request);
        let trouble = (self.plan)(self.calls.len() + 1, &name);
        self.calls.push((name, trouble));
        trouble
    }

    fn trouble(&self) -> Trouble {
        self.calls.last().map_or(Trouble::None, |(_, trouble)| *trouble)
    }

    fn act(&mut self, request: &Request) -> ResponseTemplate {
        if request.url.path() == "/token" { self.grants.answer(request) } else { forward(request) }
    }

    fn answer(&mut self, request: &Request) -> ResponseTemplate {
        let dead = ResponseTemplate::new(500);
        match self.trouble() {
            Trouble::KillBefore => {
                self.kill();
                dead
            }
            Trouble::KillAfter => {
                self.act(request);
                self.kill();
                dead
            }
            Trouble::Answer(status) => s3_error(status, code(status)),
            Trouble::Delay => self.act(request).set_delay(Duration::from_millis(150)),
            Trouble::None | Trouble::Refuse | Trouble::LoseReply => self.act(request),
        }
    }

    fn kill(&mut self) {
        let function = self.function.take();
        assert!(function.is_some(), "there is a function to kill");
        end(function);
    }
}

/// Ends a process with SIGKILL, and returns once it is gone.
fn end(function: Option<Child>) {
    if let Some(mut function) = function {
        // It may have ended by itself.
        let _ = function.kill();
        function.wait().expect("an end");
    }
}

/// What S3 calls the error of this status.
fn code(status: u16) -> &'static str {
    match status {
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        503 => "SlowDown",
        _ => "InternalError",
    }
}

/// `PUT grants/acme.json`, `PublishBatch`, ...
pub(crate) fn name(request: &Request) -> String {
    if let Some(target) = request.headers.get("x-amz-target") {
        let target = target.to_str().expect("a text header");
        return target.rsplit('.').next().unwrap_or_default().to_owned();
    }
    match request.url.path() {
        "/" => parameter(request, "Action").expect("an action"),
        "/token" => "token request".to_owned(),
        path => format!("{} {}", request.method, path.splitn(3, '/').nth(2).unwrap_or_default()).trim_end().to_owned(),
    }
}
