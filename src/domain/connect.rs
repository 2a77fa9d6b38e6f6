//! Connecting: what is kept while a person gives a grant in a browser.
//!
//! A [`Session`] is a request for a connection, made by somebody whose identity was checked. Its link shows a page. Each
//! browser that goes on from there has a [`Flow`] of its own, with its own state, proof key and cookie. What the provider
//! then answers is [`Parked`] before anything else happens with it. A session is found by the hash of its link's token, a
//! flow by the hash of its state: none of the handles themselves is kept anywhere.

mod error;
mod flow;
mod handle;
mod parked;
mod return_url;
mod session;

pub use self::error::ConnectError;
pub use self::flow::{Claim, Flow};
pub use self::handle::Handle;
pub use self::parked::Parked;
pub use self::return_url::{ReturnUrl, ReturnUrls};
pub use self::session::{Confirmation, MOST_STATE_CHARACTERS, SESSION_LIFETIME, Session, SessionId, Status, Wish};
