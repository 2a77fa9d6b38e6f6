//! What the pages of errors say. All of it stands here, to be read in one go.
//!
//! `{provider}` stands for the provider's name; `{Provider}` for the same at the beginning of a sentence. Below stands a
//! button "Start again", where the session's link is known and works, or else [`WITHOUT_BUTTON`].

use Outcome::{Nothing, Told, Uncertain};

/// What a page says of one error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// The stable code.
    pub(super) code: &'static str,
    /// The answer's status. No fault of this service is a 5xx: proxies put pages of their own in place of those.
    pub(super) status: u16,
    /// In a few words.
    pub(super) heading: &'static str,
    /// What happened.
    pub(super) happened: &'static str,
    /// What became of the connection.
    pub(super) outcome: Outcome,
    /// What the reader can do now.
    pub(super) now: &'static str,
}

/// What became of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// Nothing.
    Nothing,
    /// It may have been saved.
    Uncertain,
    /// What the words say themselves.
    Told(&'static str),
}

impl Outcome {
    pub(super) fn text(self) -> &'static str {
        match self {
            Nothing => "Nothing was changed here. If the account was connected before, it still is.",
            Uncertain => {
                "It is not certain whether the connection was saved. To start again does no harm: what was connected \
                 before stays until a new connection takes its place."
            }
            Told(text) => text,
        }
    }
}

/// What is said of a code; of one that no line knows, since providers have codes of their own, something general.
pub(super) fn of(code: &str) -> &'static Words {
    ALL.iter().find(|words| words.code == code).unwrap_or(&OTHER)
}

/// What is said in place of the button to start again.
pub(super) const WITHOUT_BUTTON: &str =
    "To start again, open the link that was sent to you. If it no longer works, ask for a new one.";

/// Codes whose words say that themselves.
const SAY_WHERE_TO_BEGIN: [&str; 5] =
    ["link_unknown", "link_ended", "origin_mismatch", "state_unknown", "confirmation_failed"];

impl Words {
    /// Whether the words say where to begin, so that nothing is needed in place of a button.
    pub(super) fn say_where_to_begin(&self) -> bool {
        SAY_WHERE_TO_BEGIN.contains(&self.code)
    }
}

const OTHER: Words = Words {
    code: "",
    status: 424,
    heading: "{Provider} refused",
    happened: "{Provider} ended the attempt with an error.",
    outcome: Nothing,
    now: "Start again. If the same happens, tell whoever sent you the link, with the code below.",
};

const TAKEN_BACK: Words = Words {
    code: "invalid_grant",
    status: 424,
    heading: "{Provider} refused the last step",
    happened: "What {provider} sends back with your browser works once and for a short time. It was not accepted.",
    outcome: Nothing,
    now: "Start again, and finish without a long break.",
};

pub(super) const ALL: [Words; 44] = [
    // The link.
    Words {
        code: "link_unknown",
        status: 404,
        heading: "This link is not known",
        happened: "The address is incomplete, or the link ended some time ago.",
        outcome: Nothing,
        now: "Open the link once more from the message in which it was sent, in full. If that does not help, ask for a new \
              one.",
    },
    Words {
        code: "link_ended",
        status: 410,
        heading: "This link no longer works",
        happened: "It has done its work already, or its time is over.",
        outcome: Told("Opening it changed nothing."),
        now: "If you have connected the account, all is well, and you can close this window. If not, ask whoever sent you \
              the link for a new one.",
    },
    Words {
        code: "origin_mismatch",
        status: 403,
        heading: "This did not come from our page",
        happened: "Another website, or an extension of the browser, pressed the button in your place.",
        outcome: Nothing,
        now: "If you want to connect the account, open the link that was sent to you, and press the button there.",
    },
    // What the person decided.
    Words {
        code: "access_denied",
        status: 403,
        heading: "Access was not given",
        happened: "At {provider} access was declined, by you or by a rule of your organization.",
        outcome: Nothing,
        now: "If that is what you want, you can close this window. If not, start again and agree. If {provider} says that \
              an administrator has to agree, ask yours first.",
    },
    Words {
        code: "scope_missing",
        status: 422,
        heading: "Some rights were not given",
        happened: "You gave access, but not with all the rights that are needed.",
        outcome: Nothing,
        now: "Start again, and leave every right ticked at {provider}. If one can't be ticked, your account may not have \
              that right itself: ask its administrator.",
    },
    Words {
        code: "identity_mismatch",
        status: 409,
        heading: "That is another account",
        happened: "At {provider} you were signed in with another account than the one that is connected here.",
        outcome: Told("Nothing was changed here. The connected account stays as it is."),
        now: "Sign out at {provider}, start again, and sign in with the account that is connected.",
    },
    Words {
        code: "confirmation_failed",
        status: 409,
        heading: "It was not confirmed",
        happened: "You gave access, but the application did not confirm in time that it was you who asked for this.",
        outcome: Nothing,
        now: "Sign in to the application, and connect the account from there.",
    },
    // The way back from the provider.
    Words {
        code: "state_unknown",
        status: 400,
        heading: "There is nothing to go on with",
        happened: "This address belongs to no attempt that is known here. An old bookmark leads to it, or a copied address.",
        outcome: Nothing,
        now: "Open the link that was sent to you, and begin there.",
    },
    Words {
        code: "state_expired",
        status: 410,
        heading: "That took too long",
        happened: "You came back from {provider} after the time for this attempt was over.",
        outcome: Nothing,
        now: "Start again, and finish without a long break.",
    },
    Words {
        code: "state_used",
        status: 409,
        heading: "This step is done already",
        happened: "This address works once, and it was opened before. That happens when a page is loaded again.",
        outcome: Told("This time nothing was changed. The first time may have worked."),
        now: "If another window says that the account is connected, you can close this one. If not, start again.",
    },
    Words {
        code: "browser_mismatch",
        status: 403,
        heading: "You began in another browser",
        happened: "For your safety an attempt can be finished only in the browser in which it began. This is another one, \
                   or it did not keep the cookie of this site.",
        outcome: Nothing,
        now: "Go back to the browser in which you began, or start again in this one, with cookies allowed. If you did not \
              begin this yourself, close this window.",
    },
    Words {
        code: "issuer_mismatch",
        status: 400,
        heading: "The answer came from another server",
        happened: "You were sent to {provider}, but the answer names another server. It was not used, since this can be an \
                   attack.",
        outcome: Nothing,
        now: "Start again. If the same happens, tell whoever sent you the link, with the code below.",
    },
    Words {
        code: "callback_malformed",
        status: 400,
        heading: "The answer can't be read",
        happened: "What {provider} sent back with your browser is incomplete, or says one thing twice.",
        outcome: Nothing,
        now: "Start again. If the same happens, tell whoever sent you the link, with the code below.",
    },
    Words {
        code: "definition_changed",
        status: 409,
        heading: "The settings have changed",
        happened: "While you were at {provider}, the settings of this connection were changed. What you agreed to may no \
                   longer be what is asked for.",
        outcome: Nothing,
        now: "Start again, and read once more what is asked for.",
    },
    // What the provider gave.
    Words {
        code: "refresh_token_missing",
        status: 422,
        heading: "The access would not last",
        happened: "{Provider} gave access for a short time only, and nothing with which to renew it.",
        outcome: Nothing,
        now: "Most often a setting is missing at {provider}. Tell whoever sent you the link, with the code below.",
    },
    Words {
        code: "identity_unavailable",
        status: 422,
        heading: "It is not clear whose account this is",
        happened: "You gave access, but {provider} did not say to which account. It must be the one that is connected, so \
                   the access was not used.",
        outcome: Told("Nothing was changed here. The connected account stays as it is."),
        now: "Wait a few minutes, and start again.",
    },
    Words {
        code: "verification_failed",
        status: 424,
        heading: "The access does not work",
        happened: "You gave access, but {provider} refused the first request that was made with it.",
        outcome: Nothing,
        now: "Your account may lack a right or a licence. Tell whoever sent you the link, with the code below.",
    },
    TAKEN_BACK,
    Words { code: "reauthorization_required", ..TAKEN_BACK },
    Words {
        code: "response_invalid",
        status: 424,
        heading: "The answer can't be read",
        happened: "{Provider} gave an answer that is not understood here.",
        outcome: Nothing,
        now: "Start again. If the same happens, tell whoever sent you the link, with the code below.",
    },
    Words { code: "endpoint_rejected", ..OTHER },
    // The provider is in trouble.
    unavailable("endpoint_unreachable", "{Provider} can't be reached", "No connection to {provider} could be made."),
    unavailable("endpoint_timeout", "{Provider} does not answer", "{Provider} did not answer in time."),
    unavailable("endpoint_unavailable", "{Provider} has a fault", "{Provider} says that it has a fault."),
    unavailable("server_error", "{Provider} has a fault", "{Provider} says that it has a fault."),
    unavailable("temporarily_unavailable", "{Provider} is busy", "{Provider} says that it can't do this at present."),
    unavailable("rate_limited", "{Provider} is busy", "{Provider} takes no more requests at present."),
    // The application is set up wrongly: nothing that the person can mend.
    set_up_wrongly("invalid_client", "{Provider} does not accept the application's name or its secret."),
    set_up_wrongly("unauthorized_client", "At {provider} the application may not ask for access in this way."),
    set_up_wrongly("invalid_scope", "The application asks for a right that {provider} does not know or give."),
    set_up_wrongly("invalid_request", "{Provider} does not accept the application's request."),
    set_up_wrongly("unsupported_response_type", "{Provider} does not give access in this way."),
    set_up_wrongly("unsupported_grant_type", "{Provider} does not give access in this way."),
    set_up_wrongly("definition_invalid", "The settings of this connection contradict each other."),
    set_up_wrongly("source_unknown", "The settings of this connection were removed."),
    set_up_wrongly("not_connected", "Nobody has connected this account yet."),
    set_up_wrongly("secret_unreadable", "The settings of this connection can't be read at present."),
    // Faults of this service.
    ours("token_store_failed", "It can't be saved", "You gave access, but it could not be saved."),
    ours("grant_store_failed", "It can't be saved", "You gave access, but it could not be saved."),
    ours("out_of_time", "That took too long", "You gave access, but what follows was not done in time."),
    ours("internal", "Something went wrong", "There was a fault in this service."),
    // What the provider wants to ask first (OpenID Connect Core 1.0 section 3.1.2.6).
    asks_first("login_required"),
    asks_first("consent_required"),
    asks_first("interaction_required"),
];

const fn unavailable(code: &'static str, heading: &'static str, happened: &'static str) -> Words {
    Words { code, status: 424, heading, happened, outcome: Nothing, now: "Wait a few minutes, and start again." }
}

const fn set_up_wrongly(code: &'static str, happened: &'static str) -> Words {
    Words {
        code,
        status: 424,
        heading: "The application is not set up right",
        happened,
        outcome: Nothing,
        now: "You can't mend this yourself. Tell whoever sent you the link, with the code below.",
    }
}

const fn ours(code: &'static str, heading: &'static str, happened: &'static str) -> Words {
    Words {
        code,
        status: 424,
        heading,
        happened,
        outcome: Uncertain,
        now: "Wait a few minutes, and start again. If the same happens, tell whoever sent you the link, with the code below.",
    }
}

const fn asks_first(code: &'static str) -> Words {
    Words {
        code,
        status: 403,
        heading: "{Provider} has a question first",
        happened: "{Provider} wants you to sign in or to agree before it gives access.",
        outcome: Nothing,
        now: "Start again, and answer what {provider} asks.",
    }
}
