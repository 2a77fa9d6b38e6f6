//! A month in a second: every quarter of an hour for 30 days, 50 sources of different lifetimes, and outages.

use std::fmt::Write as _;

use super::*;

const INTERVAL: TimeDelta = TimeDelta::minutes(15);

/// Lifetimes of tokens, for the sources by turns.
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

/// When the servers of the sources whose number leaves that rest, divided by five, are down: from, for how long.
fn outage(number: usize) -> Option<(DateTime<Utc>, TimeDelta)> {
    match number % 5 {
        0 => Some((start() + TimeDelta::days(3) + TimeDelta::minutes(29), TimeDelta::minutes(5))),
        1 => Some((start() + TimeDelta::days(10), TimeDelta::hours(3))),
        2 => Some((start() + TimeDelta::days(20), TimeDelta::days(2))),
        _ => None,
    }
}

fn is_down(number: usize, now: DateTime<Utc>) -> bool {
    outage(number).is_some_and(|(from, lasts)| (from..from + lasts).contains(&now))
}

fn name(number: usize) -> String {
    format!("source-{number:02}")
}

#[tokio::test(start_paused = true)]
async fn tokens_outlive_every_outage_that_they_can_and_mails_are_few() {
    let names: Vec<_> = (0..50).map(name).collect();
    let bench = Bench::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let began = Instant::now();
    for (number, name) in names.iter().enumerate() {
        let lifetime = LIFETIMES[number / 5].num_seconds();
        let mut issued = 0;
        let script = move |_: &Request| {
            let now = start() + TimeDelta::from_std(began.elapsed()).expect("a month");
            if is_down(number, now) {
                return Ok(answer(503, ""));
            }
            issued += 1;
            Ok(answer(200, &json!({"access_token": format!("t{issued}"), "expires_in": lifetime}).to_string()))
        };
        bench.server.scripts.borrow_mut().insert(name.clone(), Box::new(script));
    }

    let mut mails = String::new();
    for run in 0..30 * 96 {
        let now = start() + INTERVAL * run;
        let waited = TimeDelta::from_std(began.elapsed()).expect("a month");
        tokio::time::advance((now - start() - waited).to_std().expect("a run ends before the next")).await;
        let report = bench.harvest(&Event::default()).await;

        for (number, source) in report.sources.iter().enumerate() {
            let expires_at = source.expires_at.expect("every source has had a token");
            let lifetime = LIFETIMES[number / 5];
            // What an outage may cost: only tokens that fell due in it and ended before the server was back.
            let excused = outage(number)
                .is_some_and(|(from, lasts)| from <= expires_at && now <= from + lasts + TimeDelta::hours(6));
            let lasts_to_next_run = expires_at > now + INTERVAL;
            assert!(lasts_to_next_run || excused || lifetime <= INTERVAL, "{} at {now}: {source:#?}", source.source);
        }
        for message in bench.outbox.messages.take().iter().filter(|message| message.attributes[0].1 == "alert") {
            writeln!(mails, "{} {}", rfc3339(now), message.subject).expect("a line");
        }
    }
    insta::assert_snapshot!(mails);
}
