//! What applications are answered.

use super::*;

#[tokio::test(start_paused = true)]
async fn connect_26_nobody_is_answered_without_an_identity() {
    let bench = Bench::new();
    for (method, path) in [
        ("POST", "/v1/sessions"),
        ("GET", "/v1/sessions/s1"),
        ("POST", "/v1/sessions/s1/confirm"),
        ("GET", "/v1/connections/crm"),
        ("DELETE", "/v1/connections/crm"),
        ("GET", "/v1/whatever"),
    ] {
        let response = bench.answer(event(method, path)).await;
        assert_eq!(response.status, 401, "{method} {path}");
        let body: Value = serde_json::from_str(&response.body).expect("JSON");
        assert_eq!(body["error"]["code"], "identity_required");
    }
    assert_eq!(bench.state.writes.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn connect_15_a_session_is_made_ended_and_confirmed_and_the_return_address_is_told_no_more_than_it_needs() {
    let bench = Bench::new();
    let wish = json!({"source": "crm", "return_to": "https://app.example.com/done", "state": "x"});
    let (link, id) = bench.link(wish).await;
    let (status, report) = bench.call("GET", &format!("/v1/sessions/{id}"), json!({})).await;
    assert_eq!((status, &report["status"], &report["state"]), (200, &json!("pending"), &json!("x")));

    let mut browser = Browser::default();
    let callback = browser.go(&bench, &link).await;
    let response = browser.get(&bench, &callback).await;
    let location: Url = header(&response, "location").expect("the return address").parse().expect("a URL");
    let told: Vec<_> = location.query_pairs().into_owned().collect();
    let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["session", "status", "code"]);
    assert_eq!((told[0].1.as_str(), told[1].1.as_str()), (id.as_str(), "unconfirmed"));
    assert_eq!(browser.cookies, [], "cleared at the end");

    let confirm = format!("/v1/sessions/{id}/confirm");
    let (status, wrong) = bench.call("POST", &confirm, json!({"code": "wrong"})).await;
    assert_eq!((status, &wrong["error"]["code"]), (400, &json!("request_invalid")));
    for _ in 0..2 {
        let (status, session) = bench.call("POST", &confirm, json!({"code": told[2].1})).await;
        assert_eq!((status, &session["status"]), (200, &json!("connected")), "{session}");
    }
    let (status, report) = bench.call("GET", "/v1/connections/crm", json!({})).await;
    assert_eq!((status, &report["status"], &report["generation"]), (200, &json!("connected"), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_its_own_status_and_code() {
    let bench = Bench::new();
    let long = "x".repeat(513);
    for (wish, status, code) in [
        (json!({}), 400, "request_invalid"),
        (json!({"source": "crm", "other": 1}), 400, "request_invalid"),
        (json!({"source": "crm", "state": long}), 400, "request_invalid"),
        (json!({"source": "crm", "return_to": "https://evil.example/"}), 400, "request_invalid"),
        (json!([]), 400, "request_invalid"),
        (json!({"source": "nobody"}), 404, "not_found"),
        (json!({"source": "plain"}), 422, "source_not_connectable"),
    ] {
        let (answered, body) = bench.call("POST", "/v1/sessions", wish.clone()).await;
        assert_eq!((answered, &body["error"]["code"]), (status, &json!(code)), "{wish}: {body}");
    }
    for path in ["/v1/sessions/unknown", "/v1/connections/crm", "/v1/connections/crm/acme"] {
        let (status, body) = bench.call("GET", path, json!({})).await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")), "{path}");
    }
    bench.state.is_read_only.set(true);
    let (status, body) = bench.call("POST", "/v1/sessions", json!({"source": "crm"})).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("store_unavailable")), "{body}");
}
