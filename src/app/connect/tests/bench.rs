//! A connector in that world, and browsers that go through it.

use super::*;

/// A connector in a world of its own, with the source `crm`.
pub(super) struct Bench {
    pub(super) secrets: Rc<Secrets>,
    pub(super) server: Rc<Server>,
    pub(super) tokens: Rc<Tokens>,
    pub(super) state: Rc<State>,
    pub(super) outbox: Rc<Outbox>,
    started: Instant,
    pub(super) connector: Connector<Memory>,
}

/// A browser at the provider: what it was sent there with, and its cookies.
pub(super) struct Browser {
    pub(super) redirect: Url,
    pub(super) cookies: Vec<(String, String)>,
}

/// The definition of `crm`, whose token endpoint's path is its name.
pub(super) fn crm() -> Value {
    json!({
        "grant_type": "authorization_code",
        "authorization_endpoint": "https://as.example.com/authorize",
        "token_endpoint": "https://as.example.com/crm",
        "client_id": "app",
        "client_secret": "hush",
        "scope": "read write",
    })
}

/// An answer with a token and its refresh token, whose account is `u-1`.
pub(super) fn token(name: &str) -> Answer {
    answer(
        200,
        &json!({
            "access_token": name, "refresh_token": format!("{name}-refresh"), "expires_in": 3600, "user": {"id": "u-1"},
        }),
    )
}

pub(super) fn answer(status: u16, body: &Value) -> Answer {
    Answer::new(status, AnswerBody::Whole(body.to_string().into_bytes()))
}

pub(super) fn role() -> Principal {
    Principal::Iam("arn:aws:iam::123456789012:role/App".to_owned())
}

pub(super) fn user(subject: &str) -> Principal {
    Principal::Jwt { issuer: "https://idp.example.com".to_owned(), subject: subject.to_owned() }
}

impl Bench {
    pub(super) fn new(definition: &Value) -> Self {
        let started = Instant::now();
        let (secrets, server) = (Rc::<Secrets>::default(), Rc::<Server>::default());
        let (tokens, state, outbox) = (Rc::<Tokens>::default(), Rc::<State>::default(), Rc::<Outbox>::default());
        let world = World {
            clock: PausedClock(started),
            random: Half,
            secrets: Rc::clone(&secrets),
            server: Rc::clone(&server),
            tokens: Rc::clone(&tokens),
            state: Rc::clone(&state),
            publisher: Rc::clone(&outbox),
        };
        let settings = Settings {
            environment: "test".to_owned(),
            public_url: "https://connect.example.com".parse().expect("a URL"),
            return_urls: ReturnUrls::parse("https://app.example.com/done").expect("prefixes"),
            schedule_interval: TimeDelta::minutes(5),
            plain_http: PlainHttp::Refused,
        };
        let connector = Connector::new(settings, world);
        let bench = Self { secrets, server, tokens, state, outbox, started, connector };
        bench.define(definition);
        bench
    }

    /// The same world, seen by a gateway that has just started.
    pub(super) fn cold(&self) -> Self {
        let world = World {
            clock: PausedClock(self.started),
            random: Half,
            secrets: Rc::clone(&self.secrets),
            server: Rc::clone(&self.server),
            tokens: Rc::clone(&self.tokens),
            state: Rc::clone(&self.state),
            publisher: Rc::clone(&self.outbox),
        };
        Self {
            secrets: Rc::clone(&self.secrets),
            server: Rc::clone(&self.server),
            tokens: Rc::clone(&self.tokens),
            state: Rc::clone(&self.state),
            outbox: Rc::clone(&self.outbox),
            started: self.started,
            connector: Connector::new(self.connector.settings.clone(), world),
        }
    }

    pub(super) fn define(&self, definition: &Value) {
        self.secrets.stored.borrow_mut().insert("crm".to_owned(), definition.to_string());
    }

    /// What the token endpoint answers, one after the other; the last one again and again.
    pub(super) fn answers(&self, answers: Vec<Answer>) {
        let mut answers = answers.into_iter().peekable();
        let mut last = None;
        let script = move |_: &Request| {
            last = answers.next().or_else(|| last.take());
            Ok(last.clone().expect("an answer"))
        };
        self.server.scripts.borrow_mut().insert("crm".to_owned(), Box::new(script));
    }

    /// How many requests were sent since this was last asked.
    pub(super) fn requests(&self) -> usize {
        self.server.asked_at.take().len()
    }

    pub(super) fn invocation(&self) -> Invocation<'static> {
        let now = self.connector.now();
        Invocation::new("run-1", now, now + TimeDelta::seconds(29))
    }

    pub(super) async fn session(&self, request: Value) -> Result<NewSession, Refusal> {
        self.session_of(role(), request).await
    }

    pub(super) async fn session_of(&self, principal: Principal, request: Value) -> Result<NewSession, Refusal> {
        let mut all = json!({"source": "crm"});
        all.as_object_mut().expect("an object").extend(request.as_object().cloned().expect("an object"));
        self.connector
            .begin_session(&self.invocation(), principal, serde_json::from_value(all).expect("a request"))
            .await
    }

    /// A browser that has opened the link, and gone on to the provider.
    pub(super) async fn browser(&self, session: &NewSession) -> Browser {
        let began = self.connector.begin_flow(link(session)).await.expect("a flow");
        let value = began.cookie.value.expect("a cookie").expose_secret().to_owned();
        Browser { redirect: began.redirect, cookies: vec![(began.cookie.name, value)] }
    }

    pub(super) async fn finish(&self, browser: &Browser, query: &str) -> Outcome {
        let query = query.replace("STATE", &browser.state());
        self.connector.finish(&self.invocation(), "crm", &query, &browser.cookies).await
    }

    /// A browser that comes back with a code.
    pub(super) async fn come_back(&self, browser: &Browser) -> Ending {
        self.finish(browser, "code=c-1&state=STATE").await.map_err(|failed| failed.error).expect("an ending")
    }

    /// The whole way, from a session to its end.
    pub(super) async fn connect(&self, request: Value) -> Ending {
        let session = self.session(request).await.expect("a session");
        let browser = self.browser(&session).await;
        self.come_back(&browser).await
    }

    pub(super) fn status(&self, session: &NewSession) -> Status {
        let id = session.session.id.as_str();
        let stored = self.state.sessions.borrow().get(id).map(|stored| stored.value.clone());
        stored.expect("a session").status_at(self.connector.now())
    }

    /// The code that a callback fails with.
    pub(super) async fn failure(&self, browser: &Browser, query: &str) -> String {
        self.finish(browser, query).await.err().map_or_else(|| "none".to_owned(), |failed| failed.error.code)
    }

    pub(super) fn refresh_token(&self, name: &str) -> Option<String> {
        self.state.grants.borrow().get(name).map(|grant| grant.value.credential.expose_secret().to_owned())
    }

    pub(super) fn published_token(&self, name: &str) -> Option<Value> {
        let stored = self.tokens.stored.borrow();
        let document: Value = serde_json::from_str(&stored.get(name)?.1).expect("JSON");
        Some(document["access_token"].clone())
    }

    /// The `event` of every message since the last look.
    pub(super) fn events(&self) -> Vec<String> {
        let messages = self.outbox.messages.take();
        let event = |message: &crate::domain::notice::message::Message| message.attributes[2].1.clone();
        messages.iter().map(event).collect()
    }
}

/// The token of a session's link.
pub(super) fn link(session: &NewSession) -> &str {
    session.url.rsplit('/').next().expect("a token")
}

impl Browser {
    /// The state that it was sent to the provider with.
    pub(super) fn state(&self) -> String {
        self.redirect.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned()
    }
}
