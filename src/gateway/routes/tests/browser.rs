//! What people see, and what their browsers keep.

use super::*;

fn crm_only() -> Value {
    json!({"source": "crm"})
}

#[tokio::test(start_paused = true)]
async fn connect_3_a_link_that_is_fetched_is_not_used_up() {
    let bench = Bench::new();
    let (link, _) = bench.link(crm_only()).await;
    let writes = bench.state.writes.get();
    for _ in 0..10 {
        let page = bench.answer(event("GET", &link)).await;
        assert_eq!((page.status, page.cookies.len(), header(&page, "location")), (200, 0, None));
        for said in ["Acme &lt;Billing&gt;", "as.example.com", "read", "write", "crm"] {
            assert!(page.body.contains(said), "{said} in {}", page.body);
        }
        let policy = header(&page, "content-security-policy").expect("a policy");
        assert!(policy.contains("form-action 'self' https://as.example.com"), "{policy}");
    }
    assert_eq!(bench.state.writes.get(), writes);
    Browser::default().go(&bench, &link).await;
}

#[tokio::test(start_paused = true)]
async fn connect_3_what_only_fetches_ahead_has_no_effect() {
    let bench = Bench::new();
    let (link, _) = bench.link(crm_only()).await;
    let mut browser = Browser::default();
    let callback = browser.go(&bench, &link).await;
    let writes = bench.state.writes.get();
    for path in [&link, &callback] {
        for (name, value) in [
            ("sec-purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
            ("purpose", "Prefetch"),
            ("x-moz", "prefetch"),
        ] {
            let response = browser.send(&bench, with(event("GET", path), name, value)).await;
            assert_eq!((response.status, response.body.as_str()), (204, ""), "{name}: {value}");
        }
        let response = browser.send(&bench, event("HEAD", path)).await;
        assert_eq!((response.status, response.body.as_str()), (204, ""));
    }
    assert_eq!((bench.state.writes.get(), bench.token_requests()), (writes, 0));
    assert_eq!(browser.get(&bench, &callback).await.status, 303);
}

#[tokio::test(start_paused = true)]
async fn connect_4_only_the_links_own_page_begins_a_flow() {
    let bench = Bench::new();
    let (link, _) = bench.link(crm_only()).await;
    let writes = bench.state.writes.get();
    let post = || event("POST", &link);
    for event in [
        post(),
        with(post(), "origin", "https://evil.example"),
        with(post(), "origin", "https://connect.example.com.evil.example"),
        with(post(), "origin", "http://connect.example.com"),
        with(post(), "origin", "null"),
        with(with(post(), "origin", "null"), "sec-fetch-site", "cross-site"),
        with(with(post(), "origin", ORIGIN), "sec-fetch-site", "same-site"),
    ] {
        let response = bench.answer(event.clone()).await;
        assert_eq!((response.status, response.cookies.len()), (403, 0), "{event}");
    }
    assert_eq!((bench.state.writes.get(), bench.state.flows.borrow().len()), (writes, 0));

    for event in [
        with(with(post(), "origin", "null"), "sec-fetch-site", "same-origin"),
        with(with(post(), "origin", ORIGIN), "sec-fetch-site", "same-origin"),
    ] {
        assert_eq!(bench.answer(event).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn connect_5_a_browser_keeps_five_flows_and_the_oldest_can_not_end() {
    let bench = Bench::new();
    let (link, _) = bench.link(crm_only()).await;
    let mut browser = Browser::default();
    let mut callbacks = Vec::new();
    for _ in 0..6 {
        callbacks.push(browser.go(&bench, &link).await);
    }
    assert_eq!(browser.cookies.len(), 5);
    assert_eq!(browser.get(&bench, &callbacks[0]).await.status, 403, "its cookie is gone");
    assert_eq!(browser.get(&bench, &callbacks[1]).await.status, 303);
    assert_eq!(browser.cookies.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn connect_6_another_browsers_callback_is_refused_and_the_rightful_one_goes_on() {
    let bench = Bench::new();
    let (link, id) = bench.link(crm_only()).await;
    let (mut rightful, mut other) = (Browser::default(), Browser::default());
    let callback = rightful.go(&bench, &link).await;
    other.go(&bench, &link).await;
    for browser in [&mut Browser::default(), &mut other] {
        let page = browser.get(&bench, &callback).await;
        assert!(page.status == 403 && page.body.contains("browser_mismatch"), "{}", page.body);
    }
    assert_eq!(bench.token_requests(), 0);

    let response = rightful.get(&bench, &callback).await;
    let done = format!("{ORIGIN}/done/{id}");
    assert_eq!((response.status, header(&response, "location")), (303, Some(done.as_str())));
    assert_eq!((bench.token_requests(), rightful.cookies.len()), (1, 0));
    let page = rightful.get(&bench, &format!("/done/{id}")).await;
    assert!(page.status == 200 && page.body.contains("is connected"), "{}", page.body);
    let again = rightful.get(&bench, &link).await;
    assert_eq!(again.status, 410, "the link has done its work");
}

#[tokio::test(start_paused = true)]
async fn connect_8_each_delivery_ends_on_the_same_outcome_and_one_request() {
    let bench = Bench::new();
    let (link, _) = bench.link(json!({"source": "crm", "return_to": "https://app.example.com/done"})).await;
    let mut browser = Browser::default();
    let callback = browser.go(&bench, &link).await;
    let deliveries = (0..32).map(|_| {
        let (bench, callback, cookies) = (&bench, &callback, browser.cookies.clone());
        async move { Browser { cookies }.get(bench, callback).await }
    });
    let answers = futures_util::future::join_all(deliveries).await;
    let location = header(&answers[0], "location").expect("the return address");
    assert!(location.contains("&code="), "with the completion code");
    for answer in &answers {
        assert_eq!((answer.status, header(answer, "location")), (303, Some(location)));
    }
    assert_eq!(bench.token_requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn connect_10_a_callback_that_makes_no_sense_sends_nothing_and_offers_to_start_again() {
    let bench = Bench::new();
    let (link, _) = bench.link(crm_only()).await;
    let mut browser = Browser::default();
    let callback = browser.go(&bench, &link).await;
    for bad in [callback.replace("code=c-1&", ""), format!("{callback}&code=c-2")] {
        let page = browser.get(&bench, &bad).await;
        assert!((400..500).contains(&page.status) && page.body.contains("callback_malformed"), "{}", page.body);
        assert!(page.body.contains(&format!("href=\"{ORIGIN}{link}\"")), "start again: {}", page.body);
    }
    let unknown = browser.get(&bench, &format!("/callback/crm?code=c&state={}", "A".repeat(43))).await;
    assert!(unknown.body.contains("state_unknown") && !unknown.body.contains("Start again</a>"), "{}", unknown.body);
    assert_eq!(bench.token_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_person_who_declines_is_told_so_on_the_sessions_own_page() {
    let bench = Bench::new();
    let (link, id) = bench.link(crm_only()).await;
    let mut browser = Browser::default();
    let callback = browser.go(&bench, &link).await.replace("code=c-1", "error=access_denied&error_description=%3Cb%3E");
    let response = browser.get(&bench, &callback).await;
    assert_eq!((response.status, browser.cookies.len()), (303, 0));
    let page = browser.get(&bench, &format!("/done/{id}")).await;
    assert!(page.status == 403 && page.body.contains("access_denied"), "{}", page.body);
    assert!(page.body.contains("&lt;b&gt;") && !page.body.contains("<b>"), "{}", page.body);
    assert_eq!(bench.token_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_unknown_or_over_begins_nothing() {
    let bench = Bench::new();
    let (link, id) = bench.link(crm_only()).await;
    let unknown = format!("/connect/{}", "A".repeat(43));
    for method in ["GET", "POST"] {
        let response = bench.answer(with(event(method, &unknown), "origin", ORIGIN)).await;
        assert!(response.status == 404 && response.body.contains("link_unknown"), "{}", response.body);
    }
    tokio::time::advance(std::time::Duration::from_secs(30 * 60)).await;
    for method in ["GET", "POST"] {
        let response = bench.answer(with(event(method, &link), "origin", ORIGIN)).await;
        assert!(response.status == 410 && response.body.contains("link_ended"), "{}", response.body);
    }
    assert_eq!(bench.answer(event("GET", &format!("/done/{id}"))).await.status, 410);
    assert_eq!(bench.answer(event("GET", "/done/other")).await.status, 404);
    assert!(bench.state.flows.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn below_a_prefix_all_addresses_have_it() {
    let bench = Bench::at("https://connect.example.com/oauth");
    let (link, id) = bench.link(crm_only()).await;
    assert!(link.starts_with("/oauth/connect/"), "{link}");
    let mut browser = Browser::default();
    let callback = browser.go(&bench, &link).await;
    let response = browser.get(&bench, &format!("/oauth{callback}")).await;
    let done = format!("{ORIGIN}/oauth/done/{id}");
    assert_eq!((response.status, header(&response, "location")), (303, Some(done.as_str())));
}
