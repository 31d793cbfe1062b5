//! Faults on command (decisions 44): a wrapper around the engine that fails, delays or kills the process at the n-th
//! write, flush or sync, and a journal of what reached the engine, in order. Calls are counted over the life of the
//! process; opening the store makes the first ones (one or two writes, a flush, a sync).

use super::{Changes, Engine, EngineError, Pair, Value};
use crate::domain::page::Order;
use crate::store::keys::{Key, KeyRange};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a plan is read from: `kill:write:17`, `fail:sync:3`, `delay:flush:5:200` (milliseconds), several with commas.
#[cfg(feature = "faults")]
const VARIABLE: &str = "GREENROOM_FAULT_STORE";

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Action {
    /// The call fails and does nothing.
    Fail,
    /// The call takes that much longer.
    Delay(Duration),
    /// The process ends as by `kill -9`, before the call.
    Kill,
    /// The call does nothing and says that it did, as a disk that lies.
    #[cfg(test)]
    Skip,
}

/// The calls that can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Call {
    Write,
    Flush,
    Sync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Fault {
    action: Action,
    call: Call,
    /// Which call it hits, from 1; 0 is every one.
    at: u64,
}

impl Fault {
    #[cfg(test)]
    pub(in crate::store) fn new(action: Action, call: Call, at: u64) -> Self {
        Self { action, call, at }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("'{text}' is no fault: expected action:call:number, like kill:write:17");
        let parts: Vec<&str> = text.split(':').collect();
        let (action, call, at) = match parts.as_slice() {
            ["fail", call, at] => (Action::Fail, call, at),
            ["kill", call, at] => (Action::Kill, call, at),
            ["delay", call, at, ms] => (
                Action::Delay(Duration::from_millis(ms.parse().map_err(|_| bad())?)),
                call,
                at,
            ),
            _ => return Err(bad()),
        };
        let call = match *call {
            "write" => Call::Write,
            "flush" => Call::Flush,
            "sync" => Call::Sync,
            _ => return Err(bad()),
        };
        Ok(Self {
            action,
            call,
            at: at.parse().map_err(|_| bad())?,
        })
    }
}

/// One thing that reached the engine, or the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Event {
    /// With the keys that were written.
    Write(Vec<Key>),
    Flush,
    Sync,
    /// Noted by a test when the answer to a write of this key has come.
    #[cfg(test)]
    Acknowledged(Key),
}

/// The faults to come and the calls so far; outlives an engine that is opened again.
#[derive(Default)]
pub(in crate::store) struct Plan(Arc<Inner>);

#[derive(Default)]
struct Inner {
    faults: Mutex<Vec<Fault>>,
    counts: [AtomicU64; 3],
    /// Kept only when a test asked for it.
    journal: Option<Mutex<Vec<Event>>>,
}

impl Plan {
    /// # Errors
    /// The variable holds something else.
    #[cfg(feature = "faults")]
    pub(in crate::store) fn from_environment() -> Result<Option<Self>, String> {
        let Ok(text) = std::env::var(VARIABLE) else {
            return Ok(None);
        };
        let faults = text
            .split(',')
            .map(Fault::from_str)
            .collect::<Result<_, _>>()?;
        Ok(Some(Self(Arc::new(Inner {
            faults: Mutex::new(faults),
            ..Inner::default()
        }))))
    }

    #[cfg(test)]
    pub(in crate::store) fn with_journal() -> Self {
        Self(Arc::new(Inner {
            journal: Some(Mutex::default()),
            ..Inner::default()
        }))
    }

    #[cfg(test)]
    pub(in crate::store) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Adds a fault; calls are counted from the first open.
    #[cfg(test)]
    pub(in crate::store) fn add(&self, fault: Fault) {
        self.0.faults.lock().unwrap().push(fault);
    }

    #[cfg(test)]
    pub(in crate::store) fn clear(&self) {
        self.0.faults.lock().unwrap().clear();
    }

    #[cfg(test)]
    pub(in crate::store) fn note(&self, event: Event) {
        self.0.note(event);
    }

    #[cfg(test)]
    pub(in crate::store) fn journal(&self) -> Vec<Event> {
        self.0.journal.as_ref().unwrap().lock().unwrap().clone()
    }

    /// Puts the plan around an engine.
    pub(in crate::store) fn wrap<E: Engine>(&self, engine: E) -> impl Engine + use<E> {
        FaultyEngine {
            engine,
            plan: Arc::clone(&self.0),
        }
    }
}

impl Inner {
    fn note(&self, event: Event) {
        if let Some(journal) = &self.journal {
            journal
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(event);
        }
    }

    /// Counts a call and does what the plan says of it; `true`: the call itself is left out.
    fn meet(&self, call: Call) -> Result<bool, EngineError> {
        let count = self.counts[call as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = faults
            .iter()
            .find(|fault| fault.call == call && (fault.at == count || fault.at == 0))
            .copied();
        drop(faults);
        match hit.map(|fault| fault.action) {
            None => Ok(false),
            Some(Action::Fail) => Err(EngineError::Broken(format!(
                "a fault was asked for at {call:?} {count}"
            ))),
            Some(Action::Delay(time)) => {
                #[allow(
                    clippy::disallowed_methods,
                    reason = "this is the committer's own thread, and a fault"
                )]
                std::thread::sleep(time);
                Ok(false)
            }
            Some(Action::Kill) => {
                // Nothing of the process may run any more: no destructor, no flush.
                let _ = rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                );
                std::process::abort()
            }
            #[cfg(test)]
            Some(Action::Skip) => Ok(true),
        }
    }
}

struct FaultyEngine<E> {
    engine: E,
    plan: Arc<Inner>,
}

impl<E: Engine> Engine for FaultyEngine<E> {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, EngineError> {
        self.engine.get(key)
    }

    fn scan(
        &self,
        range: &KeyRange,
        order: Order,
        most: usize,
        found: &mut Vec<Pair>,
    ) -> Result<(), EngineError> {
        self.engine.scan(range, order, most, found)
    }

    fn apply(&self, changes: &Changes) -> Result<(), EngineError> {
        if !self.plan.meet(Call::Write)? {
            self.engine.apply(changes)?;
            self.plan
                .note(Event::Write(changes.keys().cloned().collect()));
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        if !self.plan.meet(Call::Flush)? {
            self.engine.flush()?;
            self.plan.note(Event::Flush);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        if !self.plan.meet(Call::Sync)? {
            self.engine.sync()?;
            self.plan.note(Event::Sync);
        }
        Ok(())
    }

    fn close(self: Box<Self>) {
        Box::new(self.engine).close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_spelt_action_call_number() {
        assert_eq!(
            "kill:write:17".parse(),
            Ok(Fault::new(Action::Kill, Call::Write, 17))
        );
        assert_eq!(
            "delay:sync:2:200".parse(),
            Ok(Fault::new(
                Action::Delay(Duration::from_millis(200)),
                Call::Sync,
                2
            ))
        );
        assert!("kill:read:1".parse::<Fault>().is_err());
        assert!("fail:write".parse::<Fault>().is_err());
    }
}
