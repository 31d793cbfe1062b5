//! What is shown of an answer of the heartbeat loop while it comes in: text and the thought in a call's arguments as
//! thoughts, the words of the message tool as the reply, any other call as it is, without its thought.
//!
//! The order is that of the stored message, whose thoughts stand before its call: where the model thinks in arguments, the
//! call is held back until its thought is known. The pieces are those of the stored message too, so that a delta and
//! the piece that it is a part of have the same `otid`.

mod scan;

use super::THINKING;
use crate::domain::message::SUMMARY_GAP;
use crate::domain::model::Delta;
use crate::domain::piece::quoted;
use crate::domain::run::View;
use scan::{Event, Scan};
use serde_json::Value;

/// One answer on its way in.
pub struct Live<'v> {
    view: &'v View,
    thinks_in_arguments: bool,
    call: Watched,
    /// What was shown last is a thought.
    after_thought: bool,
    /// Deltas of the call that wait for its thought, in the fragments in which they came.
    held: Option<Vec<Delta>>,
}

/// Where the one call that counts is.
enum Watched {
    NotYet,
    Open(Box<Open>),
    /// What comes now under its id belongs to another call, which is not made.
    Over,
}

struct Open {
    id: String,
    /// It speaks: its words are the reply.
    says: bool,
    scan: Scan,
    /// What the member is for that is being read.
    member: Member,
    /// The beginning of a member, until it is known whether it is shown.
    head: String,
    /// A member was shown.
    shown: bool,
    /// A value that is not text, until it is whole.
    raw: String,
    /// Text of the value was shown.
    spoke: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// Shown as an argument, if the call is shown.
    Argument,
    Thought,
    Words,
}

impl<'v> Live<'v> {
    pub fn new(view: &'v View, thinks_in_arguments: bool) -> Self {
        Self {
            view,
            thinks_in_arguments,
            call: Watched::NotYet,
            after_thought: false,
            held: None,
        }
    }

    /// What there is to show now that this has come in.
    pub fn show(&mut self, delta: Delta) -> Vec<Delta> {
        let mut shown = Vec::new();
        match delta {
            Delta::Text(text) => self.put(&mut shown, Delta::Thought(text)),
            Delta::Thought(_)
            | Delta::Reasoning(_)
            | Delta::OmittedReasoning
            | Delta::RedactedReasoning(_) => self.put(&mut shown, delta),
            Delta::CallName { call_id, name } => self.begin(&mut shown, call_id, name),
            Delta::CallArguments { call_id, fragment } => {
                self.arguments(&mut shown, &call_id, &fragment);
            }
        }
        shown
    }

    /// What was held back to the end: of a call without a thought, or one that was cut off.
    pub fn finish(mut self) -> Vec<Delta> {
        self.held.take().unwrap_or_default()
    }

    fn begin(&mut self, shown: &mut Vec<Delta>, id: String, name: String) {
        match &self.call {
            Watched::NotYet => (),
            // Calls may come in side by side: their ids tell them apart, if they are not the same.
            Watched::Open(first) if first.id != id => return,
            Watched::Open(_) | Watched::Over => {
                self.call = Watched::Over;
                return;
            }
        }
        let view = self.view;
        let says = view.use_assistant_message && name == view.assistant_message_tool_name;
        self.call = Watched::Open(Box::new(Open {
            id: id.clone(),
            says,
            scan: Scan::default(),
            member: Member::Argument,
            head: String::new(),
            shown: false,
            raw: String::new(),
            spoke: false,
        }));
        self.held = self.thinks_in_arguments.then(Vec::new);
        if !says {
            self.put_of_call(shown, 0, Delta::CallName { call_id: id, name });
        }
    }

    fn arguments(&mut self, shown: &mut Vec<Delta>, id: &str, fragment: &str) {
        let mut call = std::mem::replace(&mut self.call, Watched::NotYet);
        if let Watched::Open(open) = &mut call
            && open.id == id
        {
            // What is held from here on came with this fragment.
            let fresh = self.held.as_ref().map_or(0, Vec::len);
            let view = self.view;
            let mut scan = std::mem::take(&mut open.scan);
            scan.read(fragment, &mut |event| {
                self.event(shown, fresh, open, view, event);
            });
            open.scan = scan;
        }
        self.call = call;
    }

    fn event(
        &mut self,
        shown: &mut Vec<Delta>,
        fresh: usize,
        open: &mut Open,
        view: &View,
        event: Event<'_>,
    ) {
        match event {
            Event::Open => self.raw(shown, fresh, open, "{"),
            Event::Comma => {
                open.head.clear();
                if open.shown {
                    open.head.push(',');
                }
            }
            Event::Lead(c) => open.head.push(c),
            Event::Key(key) => {
                open.member = match key {
                    THINKING => Member::Thought,
                    _ if open.says && key == view.assistant_message_tool_kwarg => Member::Words,
                    _ => Member::Argument,
                };
                open.raw.clear();
                open.spoke = false;
                if open.member == Member::Argument {
                    open.shown = true;
                    let head = std::mem::take(&mut open.head);
                    self.raw(shown, fresh, open, &head);
                }
            }
            Event::Between(c) | Event::Raw { c, .. } if open.member == Member::Argument => {
                self.raw(shown, fresh, open, c.encode_utf8(&mut [0; 4]));
            }
            Event::Raw { c, text: false } => open.raw.push(c),
            Event::Between(_) | Event::Raw { .. } => (),
            Event::Text(text) => self.say(shown, fresh, open, text),
            Event::ValueEnd { text } => self.value_end(shown, fresh, open, text),
            Event::Close => {
                self.raw(shown, fresh, open, "}");
                self.release(shown);
            }
        }
    }

    /// A value has ended; `text`: it was a text, and has been shown as it came.
    fn value_end(&mut self, shown: &mut Vec<Delta>, fresh: usize, open: &mut Open, text: bool) {
        if open.member == Member::Argument {
            return;
        }
        if !text {
            let value: Option<Value> = serde_json::from_str(&open.raw).ok();
            if let Some(words) = value.as_ref().and_then(quoted) {
                self.say(shown, fresh, open, &words);
            }
        } else if open.member == Member::Words && !open.spoke {
            // To say nothing is to say something: the stored message has a piece for it.
            self.put_of_call(shown, fresh, Delta::Text(String::new()));
        }
        if open.member == Member::Thought {
            self.release(shown);
        }
    }

    /// Words of the member that is being read.
    fn say(&mut self, shown: &mut Vec<Delta>, fresh: usize, open: &mut Open, text: &str) {
        if text.is_empty() {
            return;
        }
        match open.member {
            Member::Argument => return,
            Member::Words => self.put_of_call(shown, fresh, Delta::Text(text.to_owned())),
            Member::Thought if self.thinks_in_arguments => {
                let apart = !open.spoke && self.after_thought;
                let text = if apart {
                    format!("{SUMMARY_GAP}{text}")
                } else {
                    text.to_owned()
                };
                self.put(shown, Delta::Thought(text));
            }
            Member::Thought => (),
        }
        open.spoke = true;
    }

    /// Argument text of a call that is shown.
    fn raw(&mut self, shown: &mut Vec<Delta>, fresh: usize, open: &Open, text: &str) {
        if open.says || text.is_empty() {
            return;
        }
        let (deltas, fresh) = match &mut self.held {
            Some(held) => (held, fresh),
            None => {
                self.after_thought = false;
                (shown, 0)
            }
        };
        match deltas.get_mut(fresh..).and_then(<[Delta]>::last_mut) {
            Some(Delta::CallArguments { fragment, .. }) => fragment.push_str(text),
            _ => deltas.push(Delta::CallArguments {
                call_id: open.id.clone(),
                fragment: text.to_owned(),
            }),
        }
    }

    /// The call is shown from here on.
    fn release(&mut self, shown: &mut Vec<Delta>) {
        if let Some(held) = self.held.take().filter(|held| !held.is_empty()) {
            self.after_thought = false;
            shown.extend(held);
        }
    }

    fn put_of_call(&mut self, shown: &mut Vec<Delta>, fresh: usize, delta: Delta) {
        match &mut self.held {
            Some(held) => append(held, fresh, delta),
            None => self.put(shown, delta),
        }
    }

    fn put(&mut self, shown: &mut Vec<Delta>, delta: Delta) {
        self.after_thought = matches!(delta, Delta::Thought(_));
        append(shown, 0, delta);
    }
}

/// Adds a delta; what came with one fragment is one delta, as far as it is of one kind.
fn append(deltas: &mut Vec<Delta>, fresh: usize, delta: Delta) {
    if deltas.len() > fresh {
        match (deltas.last_mut(), &delta) {
            (Some(Delta::Text(before)), Delta::Text(text))
            | (Some(Delta::Thought(before)), Delta::Thought(text))
            | (
                Some(Delta::CallArguments {
                    fragment: before, ..
                }),
                Delta::CallArguments { fragment: text, .. },
            ) => {
                before.push_str(text);
                return;
            }
            _ => (),
        }
    }
    deltas.push(delta);
}

#[cfg(test)]
mod tests;
