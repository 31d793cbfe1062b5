//! Panics on command, one named point per actor (decisions 44). Only in builds with the `faults` feature.
//!
//! `GREENROOM_FAULT_PANIC=agent:3,run:1` panics the third time an agent, and the first time a run, handles a message.
//! `arm` does the same while the program runs (`POST /v1/greenroom/faults`).

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

fn armed() -> &'static Mutex<HashMap<String, u64>> {
    static ARMED: OnceLock<Mutex<HashMap<String, u64>>> = OnceLock::new();
    ARMED.get_or_init(|| {
        Mutex::new(parse(
            &std::env::var("GREENROOM_FAULT_PANIC").unwrap_or_default(),
        ))
    })
}

fn parse(text: &str) -> HashMap<String, u64> {
    text.split(',')
        .filter_map(|one| one.split_once(':'))
        .filter_map(|(name, nth)| Some((name.to_owned(), nth.parse().ok()?)))
        .collect()
}

/// Arms points: the actor of that name panics at its n-th message from now.
pub fn arm(text: &str) {
    armed()
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend(parse(text));
}

/// Where an actor can be told to die.
pub(crate) fn point(name: &str) {
    let mut armed = armed().lock().unwrap_or_else(PoisonError::into_inner);
    let Some(left) = armed.get_mut(name) else {
        return;
    };
    *left = left.saturating_sub(1);
    if *left == 0 {
        armed.remove(name);
        drop(armed);
        panic!("a fault was injected into {name}");
    }
}
