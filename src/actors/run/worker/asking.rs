//! Asking the model, and telling the run what it says while it speaks.

use super::{Draft, Turn, again, epoch_nanos, nanos};
use crate::actors::ask::tell;
use crate::actors::run::deltas::Outlet;
use crate::actors::run::{Msg as RunMsg, request};
use crate::domain::agent::TurnLoop;
use crate::domain::clock;
use crate::domain::frame::{DeltaFrame, PieceIndex};
use crate::domain::heartbeat::live::Live;
use crate::domain::id::{MessageId, RunId, StepId};
use crate::domain::model::{Answer, Delta, ModelError};
use crate::domain::rules::{Offer, Rules};
use ractor::ActorRef;
use std::collections::HashSet;
use std::time::Instant;

impl Turn {
    pub(super) async fn ask_model(
        &mut self,
        draft: &mut Draft,
        offer: Offer,
    ) -> Result<Answer, ModelError> {
        let model = self.house.providers.model(&self.context.config)?;
        // The heartbeat loop sees to it itself.
        let one_call = self.turn_loop != TurnLoop::Heartbeat && !self.parallel_calls();
        let (context, stream) = (&mut self.context, self.token_stream);
        let request = request::next(context, &self.rules, offer, stream);
        draft.step.timing.llm_request_start_ns = Some(epoch_nanos());
        let asked = Instant::now();
        let mut deltas = Deltas {
            run: &self.run,
            outlet: Outlet::default(),
            id: draft.message_id,
            run_id: self.record.id,
            step_id: draft.step.id,
            index: PieceIndex::default(),
            rules: &self.rules,
            waiting: &self.waiting,
            one_call,
            first_call: None,
            names: Vec::new(),
            waits: HashSet::new(),
        };
        let mut live = (self.turn_loop == TurnLoop::Heartbeat)
            .then(|| Live::new(&self.record.view, self.thinks_in_arguments));
        let answer = match self.token_stream {
            true => {
                let mut tell = |delta| match &mut live {
                    Some(live) => {
                        for shown in live.show(delta) {
                            deltas.tell(shown);
                        }
                    }
                    None => deltas.tell(delta),
                };
                let answer = again::answer(&*model, &request, &mut tell).await;
                for shown in live.map(Live::finish).unwrap_or_default() {
                    deltas.tell(shown);
                }
                answer
            }
            false => again::answer(&*model, &request, &mut |_| ()).await,
        };
        if let Some(tokens) = answer
            .as_ref()
            .ok()
            .and_then(|answer| answer.tokens.clone())
        {
            tell(&self.run, RunMsg::TokensTold(draft.step.id, tokens));
        }
        draft.step.timing.llm_request_ns = Some(nanos(asked.elapsed()));
        self.context.messages = request.messages;
        answer
    }
}

/// Turns a model's deltas into numbered pieces of one message, and of the request that belongs to it.
struct Deltas<'a> {
    run: &'a ActorRef<RunMsg>,
    outlet: Outlet,
    id: MessageId,
    run_id: RunId,
    step_id: StepId,
    index: PieceIndex,
    rules: &'a Rules,
    waiting: &'a HashSet<String>,
    /// Of several calls only the first is kept (`step::next`), so no other is shown.
    one_call: bool,
    first_call: Option<String>,
    /// Of the calls so far.
    names: Vec<String>,
    /// Ids of the calls that wait.
    waits: HashSet<String>,
}

impl Deltas<'_> {
    fn waits(&mut self, delta: &Delta) -> bool {
        match delta {
            Delta::CallName { call_id, name } => {
                self.names.push(name.clone());
                let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
                let waits = self.waiting.contains(name)
                    && self.rules.wait(self.waiting, &names).pop() == Some(true);
                if waits {
                    self.waits.insert(call_id.clone());
                }
                waits
            }
            Delta::CallArguments { call_id, .. } => self.waits.contains(call_id),
            _ => false,
        }
    }

    fn is_dropped(&mut self, delta: &Delta) -> bool {
        let (Delta::CallName { call_id, .. } | Delta::CallArguments { call_id, .. }) = delta else {
            return false;
        };
        let first = self.first_call.get_or_insert_with(|| call_id.clone());
        self.one_call && first != call_id
    }

    fn tell(&mut self, delta: Delta) {
        if self.is_dropped(&delta) {
            return;
        }
        let waits = self.waits(&delta);
        let frame = DeltaFrame {
            message_id: if waits { self.id.of_request() } else { self.id },
            run_id: self.run_id,
            step_id: self.step_id,
            date: clock::now(),
            index: self.index.of(&delta),
            waits,
            delta,
        };
        if let Some(told) = self.outlet.tell(frame) {
            tell(self.run, RunMsg::Delta(told));
        }
    }
}
