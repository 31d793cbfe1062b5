//! Deltas on their way from the worker to the run. A run that is slower than its provider has a bounded number of them
//! before it: those of one piece are joined while they wait. Their order among all that the worker tells is kept.

use crate::actors::ask::{Mailbox, Waiting};
use crate::domain::frame::DeltaFrame;
use std::sync::{Arc, Mutex, PoisonError};

/// Deltas before the run that are left as the provider sent them; only a run that is further behind gets them joined.
const AS_SENT: usize = 256;
/// Longest delta that is made of several, in bytes.
const LONGEST: usize = 64 * 1024;

/// A delta in the run's mailbox. It may grow until it is taken.
#[derive(Debug)]
pub(crate) struct Told {
    frame: Slot,
    _place: Waiting,
}

type Slot = Arc<Mutex<Option<DeltaFrame>>>;

impl Told {
    /// The delta, with what was joined to it.
    pub(crate) fn take(self) -> Option<DeltaFrame> {
        lock(&self.frame).take()
    }
}

/// The worker's side, for one answer of a model.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    behind: Arc<Mailbox>,
    last: Option<Slot>,
}

impl Outlet {
    /// What is to be told to the run; `None` when it was joined to what waits there.
    pub(crate) fn tell(&mut self, frame: DeltaFrame) -> Option<Told> {
        let frame = match self.behind.depth() < AS_SENT {
            true => frame,
            false => self.join(frame)?,
        };
        let slot = Slot::new(Mutex::new(Some(frame)));
        self.last = Some(slot.clone());
        Some(Told {
            frame: slot,
            _place: self.behind.enter(),
        })
    }

    /// Gives back what cannot be joined to the newest delta that waits.
    fn join(&self, frame: DeltaFrame) -> Option<DeltaFrame> {
        match self.last.as_ref().map(lock).as_deref_mut() {
            Some(Some(waiting)) => waiting.join(frame, LONGEST),
            Some(None) | None => Some(frame),
        }
    }
}

fn lock(slot: &Slot) -> std::sync::MutexGuard<'_, Option<DeltaFrame>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;
    use crate::domain::id::{MessageId, RunId, StepId};
    use crate::domain::model::Delta;

    /// Deltas of one message.
    fn message() -> impl Fn(u8, Delta) -> DeltaFrame {
        let (message_id, run_id, step_id) = (MessageId::new(), RunId::new(), StepId::new());
        move |index, delta| DeltaFrame {
            message_id,
            run_id,
            step_id,
            date: clock::now(),
            index,
            waits: false,
            delta,
        }
    }

    fn text(text: &str) -> Delta {
        Delta::Text(text.to_owned())
    }

    fn fragment(call: &str, fragment: &str) -> Delta {
        Delta::CallArguments {
            call_id: call.to_owned(),
            fragment: fragment.to_owned(),
        }
    }

    fn taken(told: Vec<Told>) -> Vec<Delta> {
        let frames = told.into_iter().filter_map(Told::take);
        frames.map(|frame| frame.delta).collect()
    }

    #[test]
    fn a_megabyte_in_single_bytes_is_few_deltas_before_a_run_that_does_not_read() {
        let (frame, mut outlet) = (message(), Outlet::default());
        let tokens = 1024 * 1024;
        let told: Vec<Told> = (0..tokens)
            .filter_map(|_| outlet.tell(frame(0, text("a"))))
            .collect();
        assert!(told.len() <= AS_SENT + tokens / LONGEST + 1);
        let told = taken(told);
        let bytes = told.iter().map(|delta| match delta {
            Delta::Text(text) => text.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(bytes.sum::<usize>(), tokens);
        assert!(told[..AS_SENT - 1].iter().all(|delta| *delta == text("a")));
    }

    #[test]
    fn a_run_that_keeps_up_gets_each_delta_by_itself() {
        let (frame, mut outlet) = (message(), Outlet::default());
        for _ in 0..10 * AS_SENT {
            let told = outlet.tell(frame(0, text("a")));
            assert_eq!(
                told.and_then(Told::take).map(|frame| frame.delta),
                Some(text("a"))
            );
        }
    }

    #[test]
    fn only_deltas_of_one_piece_are_joined_and_none_that_was_taken() {
        let (frame, mut outlet) = (message(), Outlet::default());
        let mut told: Vec<Told> = (0..AS_SENT)
            .filter_map(|_| outlet.tell(frame(0, text("a"))))
            .collect();
        let sent = [
            frame(1, Delta::Reasoning("b".to_owned())),
            frame(1, Delta::Reasoning("c".to_owned())),
            frame(2, text("d")),
            frame(3, fragment("one", "e")),
            frame(3, fragment("two", "f")),
            frame(3, fragment("two", "g")),
            message()(3, fragment("two", "h")),
        ];
        told.extend(sent.into_iter().filter_map(|frame| outlet.tell(frame)));
        let rest = told.split_off(AS_SENT);
        assert_eq!(
            taken(rest),
            [
                Delta::Reasoning("bc".to_owned()),
                text("d"),
                fragment("one", "e"),
                fragment("two", "fg"),
                fragment("two", "h"),
            ]
        );
        let next = outlet.tell(frame(3, fragment("two", "i")));
        assert_eq!(taken(next.into_iter().collect()), [fragment("two", "i")]);
    }
}
