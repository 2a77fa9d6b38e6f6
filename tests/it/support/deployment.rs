//! A deployment of its own for each test: buckets, topic, subscribed queue, secrets, and harvesters in it.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use token_harvester::app::harvest::{HarvestError, Harvester};
use token_harvester::app::ports::{Clock, Ports, Random, World};
use token_harvester::aws::{self, Clients, S3StateStore, S3TokenStore, SecretsManager, SnsPublisher};
use token_harvester::domain::event::Event;
use token_harvester::domain::report::Report;
use token_harvester::domain::source::Tls;
use token_harvester::lambda::config::Config;
use token_harvester::net::authorization_server::HttpAuthorizationServer;
use token_harvester::net::tls::ExtraRoots;
use token_harvester::net::transport::Transport;
use token_harvester::system::{SystemClock, SystemRandom};

use super::process::{self, AwsEmulator};

const REGION: &str = "eu-central-1";

/// The emulator's.
const ACCOUNT: &str = "123456789012";

/// The ports as in production, but for a clock that tests may turn and waits without jitter.
pub(crate) struct Real;

impl Ports for Real {
    type Clock = TestClock;
    type Random = NoJitter;
    type Secrets = SecretsManager;
    type Server = HttpAuthorizationServer;
    type Tokens = S3TokenStore;
    type State = S3StateStore;
    type Publisher = SnsPublisher;
}

/// The machine's clock, put forward, or stopped.
#[derive(Clone, Default)]
pub(crate) struct TestClock {
    ahead: Rc<Cell<TimeDelta>>,
    stopped: Rc<Cell<Option<DateTime<Utc>>>>,
}

impl TestClock {
    pub(crate) fn put_forward(&self, by: TimeDelta) {
        self.ahead.set(self.ahead.get() + by);
    }

    pub(crate) fn stop_at(&self, time: &str) {
        self.stopped.set(Some(time.parse().expect("a time")));
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        self.stopped.get().unwrap_or_else(|| SystemClock.now()) + self.ahead.get()
    }
}

/// The shortest wait that full jitter can draw: none. What a server asks for is still waited for.
pub(crate) struct NoJitter;

impl Random for NoJitter {
    fn unit(&self) -> f64 {
        0.0
    }

    fn unique(&self) -> String {
        SystemRandom.unique()
    }

    fn bytes(&self) -> [u8; 32] {
        SystemRandom.bytes()
    }
}

/// A message as the subscribed queue got it.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) subject: String,
    pub(crate) body: Value,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// See the module.
pub(crate) struct Deployment {
    /// The harvester's environment.
    pub(crate) variables: HashMap<&'static str, String>,
    pub(crate) clock: TestClock,
    pub(crate) s3: aws_sdk_s3::Client,
    secrets: aws_sdk_secretsmanager::Client,
    sqs: aws_sdk_sqs::Client,
    /// Where messages of `kind=token` arrive.
    queue_url: String,
    /// Where messages of `kind=alert` arrive.
    alert_queue_url: String,
}

/// A transport that trusts nobody but the usual authorities.
fn transport() -> Transport {
    Transport::new(&ExtraRoots::default(), &Tls::default()).expect("TLS")
}

impl Deployment {
    /// One that no other test sees.
    pub(crate) async fn new() -> Self {
        Self::named(&format!("it-{}", process::unique_number())).await
    }

    /// One with a name of its own, for what shows names.
    pub(crate) async fn named(name: &str) -> Self {
        let emulator = AwsEmulator::next();
        let arn = |service: &str, what: &str| format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{name}-{what}");
        let variables = HashMap::from([
            ("AWS_ENDPOINT_URL", emulator.url()),
            ("AWS_ACCESS_KEY_ID", emulator.access_key_id()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("TOKEN_BUCKET", format!("{name}-tokens")),
            ("STATE_BUCKET", format!("{name}-state")),
            ("TOPIC_ARN", arn("sns", "topic")),
            ("SECRET_PREFIX", format!("{name}/")),
            ("ENVIRONMENT", "test".to_owned()),
            ("ALLOW_LOOPBACK_HTTP", "1".to_owned()),
        ]);
        let config = Config::read(|name| variables.get(name).cloned()).expect("a configuration");
        let transport = transport();
        let shared = aws::shared_config(&config.aws, transport).into_builder().endpoint_url(emulator.url()).build();
        let s3 = aws_sdk_s3::config::Builder::from(&shared).force_path_style(true).build();
        let s3 = aws_sdk_s3::Client::from_conf(s3);
        let sns = aws_sdk_sns::Client::new(&shared);
        let sqs = aws_sdk_sqs::Client::new(&shared);

        for bucket in [&config.aws.token_bucket, &config.aws.state_bucket] {
            let place =
                CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::EuCentral1).build();
            s3.create_bucket().bucket(bucket).create_bucket_configuration(place).send().await.expect("a bucket");
            let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            let put = s3.put_bucket_versioning().bucket(bucket).versioning_configuration(versioning);
            put.send().await.expect("versioning");
        }
        sns.create_topic().name(format!("{name}-topic")).send().await.expect("a topic");
        let mut queue_urls = Vec::new();
        for kind in ["token", "alert"] {
            // What was received once is not seen again.
            let hidden = (aws_sdk_sqs::types::QueueAttributeName::VisibilityTimeout, "43200");
            let queue = sqs.create_queue().queue_name(format!("{name}-{kind}")).attributes(hidden.0, hidden.1);
            queue_urls.push(queue.send().await.expect("a queue").queue_url.expect("its URL"));
            let subscribe = sns.subscribe().topic_arn(&config.aws.topic_arn).protocol("sqs").endpoint(arn("sqs", kind));
            let filter = json!({"kind": [kind]}).to_string();
            subscribe.attributes("FilterPolicy", filter).send().await.expect("a subscription");
        }
        let secrets = aws_sdk_secretsmanager::Client::new(&shared);
        let [queue_url, alert_queue_url] = queue_urls.try_into().expect("two queues");
        Self { variables, clock: TestClock::default(), s3, secrets, sqs, queue_url, alert_queue_url }
    }

    /// The same with one more environment variable.
    pub(crate) fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.insert(variable, value.into());
        self
    }

    pub(crate) fn variable(&self, name: &str) -> &str {
        &self.variables[name]
    }

    fn secret_name(&self, name: &str) -> String {
        format!("{}{name}", self.variable("SECRET_PREFIX"))
    }

    /// Keeps a secret: a definition, or whatever else the text is.
    pub(crate) async fn define(&self, name: &str, content: impl ToString) {
        let create = self.secrets.create_secret().name(self.secret_name(name)).secret_string(content.to_string());
        create.send().await.expect("a secret");
    }

    pub(crate) async fn define_binary(&self, name: &str, content: &[u8]) {
        let blob = aws_sdk_secretsmanager::primitives::Blob::new(content);
        let create = self.secrets.create_secret().name(self.secret_name(name)).secret_binary(blob);
        create.send().await.expect("a secret");
    }

    pub(crate) async fn redefine(&self, name: &str, content: impl ToString) {
        let put = self.secrets.put_secret_value().secret_id(self.secret_name(name)).secret_string(content.to_string());
        put.send().await.expect("a secret");
    }

    /// The adapters to AWS as the harvester has them.
    pub(crate) fn clients(&self) -> Clients {
        let config = Config::read(|name| self.variables.get(name).cloned()).expect("a configuration");
        Clients::new(&config.aws, transport())
    }

    /// A cold harvester.
    pub(crate) fn harvester(&self) -> Harvester<Real> {
        let config = Config::read(|name| self.variables.get(name).cloned()).expect("a configuration");
        let transport = transport();
        let clients = Clients::new(&config.aws, transport.clone());
        let world = World {
            clock: self.clock.clone(),
            random: NoJitter,
            secrets: clients.secrets,
            server: HttpAuthorizationServer::new(transport, ExtraRoots::default()),
            tokens: clients.tokens,
            state: clients.state,
            publisher: clients.publisher,
        };
        Harvester::new(config.settings(), world)
    }

    /// Harvests with a harvester that may be warm, in a run that ends after `limit`.
    pub(crate) async fn run(
        &self,
        harvester: &Harvester<Real>,
        event: &Value,
        limit: Duration,
    ) -> Result<Report, HarvestError> {
        let event = Event::parse(event).expect("an event");
        harvester.harvest(&event, "run-1", self.clock.now() + limit).await
    }

    /// Harvests with a cold harvester, and as much time as a Lambda usually has.
    pub(crate) async fn try_harvest(&self, event: Value) -> Result<Report, HarvestError> {
        self.run(&self.harvester(), &event, Duration::from_secs(60)).await
    }

    pub(crate) async fn harvest(&self, event: Value) -> Report {
        self.try_harvest(event).await.expect("a report")
    }

    /// Harvests all that is due.
    pub(crate) async fn harvest_due(&self) -> Report {
        self.harvest(json!({})).await
    }

    /// The token document of a source.
    pub(crate) async fn document(&self, source: &str) -> Value {
        let get = self.s3.get_object().bucket(self.variable("TOKEN_BUCKET")).key(format!("tokens/{source}.json"));
        let body = get.send().await.expect("a token document").body.collect().await.expect("its body");
        serde_json::from_slice(&body.into_bytes()).expect("JSON")
    }

    /// An object of the state bucket; `None` if there is none.
    pub(crate) async fn state(&self, key: &str) -> Option<Value> {
        let get = self.s3.get_object().bucket(self.variable("STATE_BUCKET")).key(key);
        let object = match get.send().await {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => return None,
            Err(error) => panic!("{error:?}"),
        };
        let body = object.body.collect().await.expect("its body");
        Some(serde_json::from_slice(&body.into_bytes()).expect("JSON"))
    }

    /// Puts an object into the state bucket, as another run would.
    pub(crate) async fn keep_state(&self, key: &str, value: &Value) {
        let body = value.to_string().into_bytes().into();
        let put = self.s3.put_object().bucket(self.variable("STATE_BUCKET")).key(key).body(body);
        put.send().await.expect("an object");
    }

    /// What S3 says about the token document of a source; `None` if there is none.
    pub(crate) async fn head(&self, source: &str) -> Option<HeadObjectOutput> {
        let head = self.s3.head_object().bucket(self.variable("TOKEN_BUCKET")).key(format!("tokens/{source}.json"));
        match head.send().await {
            Ok(head) => Some(head),
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// User metadata of the token document of a source.
    pub(crate) async fn metadata(&self, source: &str) -> BTreeMap<String, String> {
        let head = self.head(source).await.expect("a token document");
        head.metadata.expect("metadata").into_iter().collect()
    }

    /// How many versions of the token document of a source there are.
    pub(crate) async fn versions(&self, source: &str) -> usize {
        let list = self.s3.list_object_versions().bucket(self.variable("TOKEN_BUCKET"));
        let list = list.prefix(format!("tokens/{source}.json")).send().await.expect("versions");
        list.versions().len()
    }

    /// How many messages nobody has received yet.
    pub(crate) async fn waiting_messages(&self) -> usize {
        let waiting = aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
        let attributes = self.sqs.get_queue_attributes().queue_url(&self.queue_url).attribute_names(waiting.clone());
        let attributes = attributes.send().await.expect("attributes").attributes.expect("attributes");
        attributes[&waiting].parse().expect("a number")
    }

    /// All messages of `kind=token` since the last call, by source.
    pub(crate) async fn messages(&self) -> Vec<Received> {
        let mut messages = self.receive(&self.queue_url).await;
        messages.sort_by_key(|message| message.attributes["source"].clone());
        messages
    }

    /// All messages of `kind=alert` since the last call.
    pub(crate) async fn alerts(&self) -> Vec<Received> {
        self.receive(&self.alert_queue_url).await
    }

    /// What has arrived in a queue. The emulator delivers before it answers a publisher.
    async fn receive(&self, queue_url: &str) -> Vec<Received> {
        let mut messages = Vec::new();
        loop {
            let receive = self.sqs.receive_message().queue_url(queue_url).max_number_of_messages(10);
            let batch = receive.wait_time_seconds(0).send().await.expect("messages").messages.unwrap_or_default();
            if batch.is_empty() {
                return messages;
            }
            messages.extend(batch.iter().map(|message| received(message.body().expect("a body"))));
        }
    }
}

/// Reads SNS's envelope.
fn received(envelope: &str) -> Received {
    let envelope: Value = serde_json::from_str(envelope).expect("an envelope");
    let attributes = envelope["MessageAttributes"].as_object().expect("attributes");
    Received {
        subject: envelope["Subject"].as_str().unwrap_or_default().to_owned(),
        body: serde_json::from_str(envelope["Message"].as_str().expect("a message")).expect("JSON"),
        attributes: attributes
            .iter()
            .map(|(name, attribute)| (name.clone(), attribute["Value"].as_str().expect("a string").to_owned()))
            .collect(),
    }
}
