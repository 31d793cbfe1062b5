//! Which lane waits for which: a turn that waits for another agent's turn must not close a circle, in which each would wait
//! for ever in the other's queue (decisions 42).

use crate::domain::id::AgentId;
use crate::domain::run::LaneId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

type Lane = (AgentId, LaneId);

/// In memory only: what waited does not wait any more after a restart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits(Arc<Mutex<HashMap<Lane, Vec<Lane>>>>);

/// Holds while somebody waits.
#[derive(Debug)]
pub(crate) struct Wait {
    waits: Waits,
    from: Lane,
    to: Lane,
}

impl Waits {
    /// Notes that a lane waits for another; `None` when that one waits for it already, by whatever way.
    pub(crate) fn enter(&self, from: Lane, to: Lane) -> Option<Wait> {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if leads(&waits, to, from) {
            return None;
        }
        waits.entry(from).or_default().push(to);
        Some(Wait {
            waits: self.clone(),
            from,
            to,
        })
    }
}

/// Whether one gets from `start` to `end` along what waits for what.
fn leads(waits: &HashMap<Lane, Vec<Lane>>, start: Lane, end: Lane) -> bool {
    let (mut seen, mut next) = (HashSet::new(), vec![start]);
    while let Some(lane) = next.pop() {
        if lane == end {
            return true;
        }
        if seen.insert(lane) {
            next.extend(waits.get(&lane).into_iter().flatten());
        }
    }
    false
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut waits = self.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(targets) = waits.get_mut(&self.from) else {
            return;
        };
        if let Some(at) = targets.iter().position(|to| *to == self.to) {
            targets.swap_remove(at);
        }
        if targets.is_empty() {
            waits.remove(&self.from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::ConversationId;

    #[test]
    fn decision_42_no_circle_of_lanes_is_closed() {
        let waits = Waits::default();
        let lane = || (AgentId::new(), LaneId::Default);
        let (a, b, c) = (lane(), lane(), lane());
        assert!(waits.enter(a, a).is_none());
        let ab = waits.enter(a, b).unwrap();
        let twice = waits.enter(a, b).unwrap();
        let bc = waits.enter(b, c).unwrap();
        assert!(waits.enter(c, a).is_none() && waits.enter(b, a).is_none());
        // Another lane of the same agent is in nobody's way.
        let other = (a.0, LaneId::Conversation(ConversationId::new()));
        let _aside = waits.enter(c, other).unwrap();
        drop(ab);
        assert!(waits.enter(c, a).is_none(), "one of two waits is left");
        drop(twice);
        let ca = waits.enter(c, a).unwrap();
        assert!(waits.enter(a, b).is_none());
        drop((bc, ca));
    }
}
