//! A harvester in that world, and what a test asks of it.

use super::*;

/// A harvester in a world of its own.
pub(super) struct Bench {
    pub(super) secrets: Rc<Secrets>,
    pub(super) server: Rc<Server>,
    pub(super) tokens: Rc<Tokens>,
    pub(super) state: Rc<State>,
    pub(super) outbox: Rc<Outbox>,
    pub(super) harvester: Harvester<Memory>,
}

impl Bench {
    /// With sources whose token endpoint's path is their name.
    pub(super) fn new(sources: &[&str]) -> Self {
        Self::with_interval(TimeDelta::minutes(15), sources)
    }

    /// The same, with at most that long between two runs.
    pub(super) fn with_interval(schedule_interval: TimeDelta, sources: &[&str]) -> Self {
        let settings = Settings {
            environment: "test".to_owned(),
            runbook_url: "docs/runbook.md".to_owned(),
            secret_prefix: "harvest/".to_owned(),
            schedule_interval,
            max_concurrency: 32,
            plain_http: PlainHttp::Refused,
        };
        let world = World {
            clock: PausedClock(Instant::now()),
            random: Half,
            secrets: Rc::<Secrets>::default(),
            server: Rc::<Server>::default(),
            tokens: Rc::<Tokens>::default(),
            state: Rc::<State>::default(),
            publisher: Rc::<Outbox>::default(),
        };
        let bench = Self {
            secrets: Rc::clone(&world.secrets),
            server: Rc::clone(&world.server),
            tokens: Rc::clone(&world.tokens),
            state: Rc::clone(&world.state),
            outbox: Rc::clone(&world.publisher),
            harvester: Harvester::new(settings, world),
        };
        for source in sources {
            bench.define(source, "secret");
        }
        bench
    }

    /// Each source has a host of its own.
    pub(super) fn define(&self, source: &str, client_secret: &str) {
        self.define_as(source, &client(source, client_secret));
    }

    pub(super) fn define_rotating(&self, source: &str, refresh_token: &str) {
        let definition = json!({
            "token_endpoint": format!("https://{source}.example.com/{source}"), "client_id": "c", "client_secret": "s",
            "refresh_token": refresh_token,
        });
        self.define_as(source, &definition);
    }

    /// Puts a secret.
    pub(super) fn define_as(&self, secret: &str, text: &Value) {
        self.secrets.stored.borrow_mut().insert(secret.to_owned(), text.to_string());
    }

    /// The same world, and a function that knows nothing of it yet.
    pub(super) fn cold(&self) -> Self {
        let world = &self.harvester.world;
        let world = World {
            clock: PausedClock(world.clock.0),
            random: Half,
            secrets: Rc::clone(&world.secrets),
            server: Rc::clone(&world.server),
            tokens: Rc::clone(&world.tokens),
            state: Rc::clone(&world.state),
            publisher: Rc::clone(&world.publisher),
        };
        Self {
            secrets: Rc::clone(&self.secrets),
            server: Rc::clone(&self.server),
            tokens: Rc::clone(&self.tokens),
            state: Rc::clone(&self.state),
            outbox: Rc::clone(&self.outbox),
            harvester: Harvester::new(self.harvester.settings.clone(), world),
        }
    }

    /// A server that takes only the newest refresh token `r<n>`, and answers with the next; `seen` notes them all.
    pub(super) fn rotates(&self, source: &str, seen: &Rc<RefCell<Vec<String>>>) {
        let (seen, mut newest) = (Rc::clone(seen), 1);
        let script = move |request: &Request| {
            let token = sent_refresh_token(request);
            seen.borrow_mut().push(token.clone());
            if token != format!("r{newest}") {
                return Ok(answer(400, r#"{"error": "invalid_grant"}"#));
            }
            newest += 1;
            let body = json!({"access_token": format!("t{newest}"), "expires_in": 3600, "refresh_token": format!("r{newest}")});
            Ok(answer(200, &body.to_string()))
        };
        self.server.scripts.borrow_mut().insert(source.to_owned(), Box::new(script));
    }

    /// The source's answers, one after the other; the last one again and again.
    pub(super) fn answers(&self, source: &str, mut answers: Vec<Answer>) {
        let script = move |_: &Request| Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() });
        self.server.scripts.borrow_mut().insert(source.to_owned(), Box::new(script));
    }

    pub(super) async fn harvest(&self, event: &Event) -> Report {
        self.try_harvest(event).await.expect("a report")
    }

    pub(super) async fn try_harvest(&self, event: &Event) -> Result<Report, HarvestError> {
        let deadline = self.harvester.world.clock.now() + TimeDelta::minutes(1);
        self.harvester.harvest(event, "run", deadline).await
    }

    /// The alerts that were sent since the last time.
    pub(super) fn alerts(&self) -> Vec<Message> {
        let is_alert = |message: &Message| message.attributes[0].1 == "alert";
        let messages = self.outbox.messages.take();
        let (alerts, others) = messages.into_iter().partition(is_alert);
        self.outbox.messages.replace(others);
        alerts
    }

    pub(super) fn subjects(&self) -> Vec<String> {
        self.alerts().into_iter().map(|alert| alert.subject).collect()
    }

    /// Events and sources of the token messages that were sent since the last time.
    pub(super) fn token_events(&self) -> Vec<(String, String)> {
        let of_kind = |message: Message, kind: &str| (message.attributes[0].1 == kind).then_some(message);
        let messages = self.outbox.messages.take().into_iter().filter_map(|message| of_kind(message, "token"));
        messages.map(|message| (message.attributes[2].1.clone(), message.attributes[3].1.clone())).collect()
    }

    pub(super) async fn harvest_one(&self) -> SourceReport {
        self.harvest(&Event::default()).await.sources.remove(0)
    }

    pub(super) fn asked_at(&self) -> Vec<f64> {
        self.server.asked_at.take()
    }
}
