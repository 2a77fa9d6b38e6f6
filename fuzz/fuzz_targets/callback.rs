//! Any query of a callback: it is understood or refused, never half of it. What is understood was there once, an error
//! counts whatever else is there, and nothing but a code and a state that came is handed on.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret as _;
use token_harvester::domain::connect::Handle;
use token_harvester::domain::oauth::authorization::{AuthorizeForm, Callback, CallbackAnswer, CallbackFault};
use url::form_urlencoded;

fuzz_target!(|query: &str| {
    let form = AuthorizeForm { cut: Some("#_".to_owned()), ..AuthorizeForm::default() };
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let by_name: BTreeMap<_, _> = pairs.iter().cloned().collect();
    let value = |name: &str| by_name.get(name).filter(|value| !value.is_empty());

    match Callback::parse(query, &form) {
        Err(CallbackFault::Repeated) => assert!(by_name.len() < pairs.len(), "{query:?}"),
        Err(CallbackFault::NoState) => assert!(value("state").is_none(), "{query:?}"),
        Err(CallbackFault::NoAnswer) => assert!(value("code").or(value("error")).is_none(), "{query:?}"),
        Err(CallbackFault::TooLong) => assert!(query.len() > 1_024, "{query:?}"),
        Ok(callback) => {
            assert_eq!(by_name.len(), pairs.len(), "{query:?}");
            let state = callback.state.expose_secret();
            assert_eq!(Some(state), value("state").map(String::as_str));
            if let Some(handle) = Handle::parse(state) {
                assert!(
                    state.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
                        && state.len() == 43
                );
                assert_eq!(handle.sha256().len(), 64);
            }
            match callback.answer {
                CallbackAnswer::Error { error, .. } => assert_eq!(Some(&error), value("error"), "{query:?}"),
                CallbackAnswer::Code(code) => {
                    let sent = value("code").expect("a code");
                    assert!(value("error").is_none() && sent.starts_with(code.expose_secret()), "{query:?}");
                }
            }
            let known = ["state", "code", "error", "error_description", "iss"];
            assert!(known.iter().all(|name| !callback.further.contains_key(*name)), "{query:?}");
        }
    }
});
