//! Clock and randomness of the machine: the only place that asks for either.

use chrono::{DateTime, Utc};

use crate::app::ports::{Clock, Random};
use crate::domain::redact;

/// The clock of the machine that the program runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// AWS-LC's generator, which TLS uses too.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn unit(&self) -> f64 {
        let bits = u32::from_ne_bytes(random());
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    fn unique(&self) -> String {
        redact::hex(&random::<16>())
    }

    fn bytes(&self) -> [u8; 32] {
        random()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the randomness that everything else is given")]
#[expect(clippy::expect_used, reason = "without a random generator there is no TLS either")]
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_stay_in_range_and_names_differ() {
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&SystemRandom.unit())));
        assert_ne!(SystemRandom.unique(), SystemRandom.unique());
        assert_eq!(SystemRandom.unique().len(), 32);
    }
}
