//! A month in seconds: sources of different lifetimes under different schedules, and outages of their servers.

use std::fmt::Write as _;

use super::*;

/// Lifetimes of tokens.
const LIFETIMES: [TimeDelta; 10] = [
    TimeDelta::minutes(30),
    TimeDelta::hours(1),
    TimeDelta::hours(1),
    TimeDelta::hours(2),
    TimeDelta::hours(8),
    TimeDelta::hours(12),
    TimeDelta::days(1),
    TimeDelta::days(7),
    TimeDelta::days(30),
    TimeDelta::days(60),
];

/// From when on, and for how long, a server is down.
type Outage = (DateTime<Utc>, TimeDelta);

/// A source of the simulation.
struct Simulated {
    name: String,
    lifetime: TimeDelta,
    outage: Option<Outage>,
}

impl Simulated {
    fn new(name: impl Into<String>, lifetime: TimeDelta, outage: Option<Outage>) -> Self {
        Self { name: name.into(), lifetime, outage }
    }

    /// What its outage may cost: only tokens that fell due in it and ended before the server was back, and the longest
    /// wait after that.
    fn is_excused(&self, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        self.outage.is_some_and(|(from, lasts)| from <= expires_at && now <= from + lasts + TimeDelta::hours(6))
    }
}

/// A deployment whose runs are at given times.
struct Simulation {
    bench: Bench,
    sources: Vec<Simulated>,
    began: Instant,
    mails: String,
}

impl Simulation {
    fn new(interval: TimeDelta, sources: Vec<Simulated>) -> Self {
        let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
        let bench = Bench::with_interval(interval, &names);
        let began = Instant::now();
        for Simulated { name, lifetime, outage } in &sources {
            let (lifetime, outage, mut issued) = (lifetime.num_seconds(), *outage, 0);
            let script = move |_: &Request| {
                let now = start() + TimeDelta::from_std(began.elapsed()).expect("a month");
                if outage.is_some_and(|(from, lasts)| (from..from + lasts).contains(&now)) {
                    return Ok(answer(503, ""));
                }
                issued += 1;
                Ok(answer(200, &json!({"access_token": format!("t{issued}"), "expires_in": lifetime}).to_string()))
            };
            bench.server.scripts.borrow_mut().insert(name.clone(), Box::new(script));
        }
        Self { bench, sources, began, mails: String::new() }
    }

    /// A run at that time, whose mails are noted. What each source's token is like after it.
    async fn run(&mut self, at: DateTime<Utc>, event: &Event) -> Vec<SourceReport> {
        let waited = TimeDelta::from_std(self.began.elapsed()).expect("a month");
        tokio::time::advance((at - start() - waited).to_std().expect("a run ends before the next")).await;
        let report = self.bench.harvest(event).await;
        for message in self.bench.outbox.messages.take().iter().filter(|message| message.attributes[0].1 == "alert") {
            writeln!(self.mails, "{} {}", rfc3339(at), message.subject).expect("a line");
        }
        report.sources
    }

    fn source(&self, name: &str) -> &Simulated {
        self.sources.iter().find(|source| source.name == name).expect("a source")
    }
}

/// Runs all sources every so often. Each token outlasts the time until the next run, but for what an outage excuses.
async fn every(interval: TimeDelta, lasts: TimeDelta, sources: Vec<Simulated>) -> String {
    let mut simulation = Simulation::new(interval, sources);
    let mut at = start();
    while at < start() + lasts {
        for report in simulation.run(at, &Event::default()).await {
            let source = simulation.source(&report.source);
            let expires_at = report.expires_at.expect("every source has had a token");
            let lasts_to_next_run = expires_at > at + interval;
            assert!(
                lasts_to_next_run || source.is_excused(expires_at, at) || source.lifetime <= interval,
                "{} at {at}: {report:#?}",
                source.name
            );
        }
        at += interval;
    }
    simulation.mails
}

#[tokio::test(start_paused = true)]
async fn tokens_outlive_every_outage_that_they_can_and_mails_are_few() {
    // When the servers of the sources whose number leaves that rest, divided by five, are down.
    let outage = |number: usize| match number % 5 {
        0 => Some((start() + TimeDelta::days(3) + TimeDelta::minutes(29), TimeDelta::minutes(5))),
        1 => Some((start() + TimeDelta::days(10), TimeDelta::hours(3))),
        2 => Some((start() + TimeDelta::days(20), TimeDelta::days(2))),
        _ => None,
    };
    let source = |number| Simulated::new(format!("source-{number:02}"), LIFETIMES[number / 5], outage(number));
    let mails = every(TimeDelta::minutes(15), TimeDelta::days(30), (0..50).map(source).collect()).await;
    insta::assert_snapshot!(mails);
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_a_providers_trouble_page_nobody_where_runs_come_every_five() {
    // Each lifetime meets an outage of 5 min and one of 10 min, at every minute of the refresh's approach: the outages
    // of a lifetime's sources begin a minute after one another.
    const OUTAGES: i64 = 15;
    for lifetime in [30, 45, 60, 120, 720].map(TimeDelta::minutes) {
        let source = |number: i64| {
            let lasts = TimeDelta::minutes(if number % 2 == 0 { 5 } else { 10 });
            let from = start() + lifetime / 2 + TimeDelta::minutes(number) - TimeDelta::seconds(1);
            Simulated::new(format!("source-{number:02}"), lifetime, Some((from, lasts)))
        };
        let sources = (0..OUTAGES).chain(OUTAGES..OUTAGES * 2).map(source).collect();
        let mails = every(TimeDelta::minutes(5), lifetime * 2 + TimeDelta::hours(1), sources).await;
        assert_eq!(mails, "", "tokens that live {lifetime}");
    }
}

#[tokio::test(start_paused = true)]
async fn runs_every_five_minutes_through_outages_of_minutes_and_hours() {
    let outage = |number: usize| match number % 2 {
        0 => (start() + TimeDelta::days(3) + TimeDelta::minutes(39), TimeDelta::minutes(10)),
        _ => (start() + TimeDelta::days(10), TimeDelta::hours(3)),
    };
    let source = |number| Simulated::new(format!("source-{number:02}"), LIFETIMES[number / 2], Some(outage(number)));
    let mails = every(TimeDelta::minutes(5), TimeDelta::days(12), (0..20).map(source).collect()).await;
    insta::assert_snapshot!(mails);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_sleeps_at_night_tries_again_in_its_next_run() {
    // From 6 to 22 h every quarter of an hour; `start()` is at 22 h.
    let morning = start() + TimeDelta::hours(8);
    let blip = (morning + TimeDelta::hours(3) - TimeDelta::seconds(1), TimeDelta::minutes(5));
    let sources = vec![
        Simulated::new("hourly", TimeDelta::hours(1), Some(blip)),
        Simulated::new("daily", TimeDelta::days(1), Some(blip)),
        Simulated::new("weekly", TimeDelta::days(7), None),
    ];
    let mut simulation = Simulation::new(TimeDelta::hours(9), sources);
    for day in 0..7 {
        for quarter in 0..=64 {
            let at = morning + TimeDelta::days(day) + TimeDelta::minutes(15) * quarter;
            for report in simulation.run(at, &Event::default()).await {
                let expires_at = report.expires_at.expect("every source has had a token");
                assert!(expires_at > at + TimeDelta::minutes(15), "{} at {at}: {report:#?}", report.source);
            }
        }
    }
    insta::assert_snapshot!(simulation.mails);
}

#[tokio::test(start_paused = true)]
async fn an_additional_schedule_tries_a_short_token_again_in_its_own_next_run() {
    let noon = start() + TimeDelta::hours(14);
    let sources = vec![
        Simulated::new("short", TimeDelta::minutes(5), Some((noon - TimeDelta::seconds(1), TimeDelta::minutes(2)))),
        Simulated::new("hourly", TimeDelta::hours(1), None),
    ];
    let mut simulation = Simulation::new(TimeDelta::minutes(15), sources);
    let often = Event { sources: Some(vec!["short".to_owned()]), ..Event::default() };
    for minute in (0..24 * 60).step_by(2) {
        let at = start() + TimeDelta::minutes(minute);
        let event = if minute % 30 == 0 { Event::default() } else { often.clone() };
        let reports = simulation.run(at, &event).await;
        let short = reports.iter().find(|report| report.source == "short").expect("a line");
        let expires_at = short.expires_at.expect("it has had a token");
        assert!(expires_at > at + TimeDelta::minutes(2), "at {at}: {short:#?}");
    }
    insta::assert_snapshot!(simulation.mails);
}

#[tokio::test(start_paused = true)]
async fn a_five_minute_token_lives_on_a_two_minute_schedule() {
    let blip = (start() + TimeDelta::hours(5) - TimeDelta::seconds(1), TimeDelta::minutes(2));
    let outage = (start() + TimeDelta::hours(10), TimeDelta::hours(1));
    let sources = vec![
        Simulated::new("blip", TimeDelta::minutes(5), Some(blip)),
        Simulated::new("outage", TimeDelta::minutes(5), Some(outage)),
    ];
    let mails = every(TimeDelta::minutes(2), TimeDelta::days(1), sources).await;
    insta::assert_snapshot!(mails);
}
