//! What a turn asks its model: the one place where a context and the offer of the rules become a request. The worker sends
//! it; the preview and the overview of a context only look at it, so what they show is what is sent.

use super::worker::{Context, Settling};
use crate::domain::agent::TurnLoop;
use crate::domain::approval::{Pending, Word};
use crate::domain::heartbeat;
use crate::domain::id::RunId;
use crate::domain::message::{Message, Role};
use crate::domain::model::{LlmConfig, ModelRequest, ToolSchema};
use crate::domain::rules::{self, After, Called, Offer, Outcome, Rules};
use crate::domain::step;
use crate::domain::tokens;
use crate::domain::tool::ToolResult;
use crate::tools::Tool;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// Stands in a preview for the return of a call that would be run.
const PLACEHOLDER: &str = "(what the tool returns)";

/// How a turn asks, settled when it begins.
pub(crate) struct Plan {
    pub(crate) turn_loop: TurnLoop,
    /// The model of a heartbeat agent writes its thoughts into the arguments of its calls.
    pub(crate) thinks_in_arguments: bool,
    /// The agent's tools as its loop offers them.
    pub(crate) schemas: Arc<[ToolSchema]>,
    /// They know what the turn has committed before.
    pub(crate) rules: Rules,
}

/// Settles how the turn of this context asks; what it reads and its model's configuration become those of its loop.
pub(crate) fn plan(context: &mut Context) -> Plan {
    let agent = context.agent.clone();
    let turn_loop = agent.agent_type.turn_loop();
    let heartbeats = turn_loop == TurnLoop::Heartbeat;
    let thinks_in_arguments =
        heartbeats && context.config.put_inner_thoughts_in_kwargs == Some(true);
    let mut schemas: Arc<[ToolSchema]> = context.tools.iter().map(schema).collect();
    let config = &context.config;
    let format = config.response_format.clone();
    let format = format.or_else(|| agent.response_format.clone());
    let format = step::lay_format(format, &mut schemas);
    if config.response_format != format {
        let mut config = LlmConfig::clone(config);
        config.response_format = format;
        context.config = Arc::new(config);
    }
    if heartbeats {
        schemas = heartbeat::schemas(&schemas, &agent.tool_rules, thinks_in_arguments);
        for message in &mut context.messages {
            *message = heartbeat::recalled(message, thinks_in_arguments);
        }
    }
    let must_call = agent.agent_type.must_call();
    let mut rules = Rules::new(
        &agent.tool_rules,
        &schemas,
        &context.client_tools,
        must_call,
    );
    rules.replay(context.committed.iter().map(AsRef::as_ref));
    Plan {
        turn_loop,
        thinks_in_arguments,
        schemas,
        rules,
    }
}

fn schema(tool: &Arc<dyn Tool>) -> ToolSchema {
    let definition = tool.definition();
    let parameters = definition.json_schema.get("parameters");
    ToolSchema {
        name: definition.name.clone(),
        description: definition.description.clone(),
        parameters: parameters.cloned().unwrap_or_default(),
    }
}

/// Whether the model may be asked for several calls at once.
pub(crate) fn parallel_calls(context: &Context, rules: &Rules) -> bool {
    context.config.parallel_calls() && rules.parallel_calls()
}

/// The next request of a turn, with what its rules offer. It is lent the messages, so that a history is not copied for each
/// step: whoever goes on with the context gives them back.
pub(crate) fn next(
    context: &mut Context,
    rules: &Rules,
    offer: Offer,
    stream: bool,
) -> ModelRequest {
    ModelRequest {
        config: context.config.clone(),
        system: match &*context.skills {
            "" => context.system.clone(),
            skills => format!("{}{skills}", context.system).into(),
        },
        messages: std::mem::take(&mut context.messages),
        tools: offer.tools,
        choice: offer.choice,
        parallel_calls: parallel_calls(context, rules),
        stream,
        user: context.agent.created_by.to_string(),
    }
}

/// The first request of a turn that is never taken. Where an answer comes first, the calls that it lets through have a
/// placeholder for their return: nothing is run.
pub(crate) fn preview(mut context: Context, stream: bool, now: Timestamp) -> ModelRequest {
    let mut plan = plan(&mut context);
    if let Some(settling) = context.settling.take() {
        settle(&mut context, &mut plan, settling, now);
    }
    let offer = plan.rules.offer();
    next(&mut context, &plan.rules, offer, stream)
}

/// Appends what an answer would leave behind, and tells the rules of its calls.
fn settle(context: &mut Context, plan: &mut Plan, settling: Settling, now: Timestamp) {
    let Settling {
        pending,
        answers,
        follow_ups,
        before: _,
    } = settling;
    let timezone = &context.agent.timezone;
    let pack = |id: &str, result: &ToolResult| step::pack(id, result, None, now, timezone);
    let (mut returns, mut called) = (Vec::new(), Vec::new());
    for (call, word) in pending.words(&answers.approvals) {
        let (end, outcome) = match word {
            Word::Run => {
                let value = Value::from(PLACEHOLDER);
                let end = pack(&call.id, &ToolResult::success(value.clone()));
                (end, Outcome::Ran(value))
            }
            Word::Denied(reason) => {
                let failure = step::denied_call(reason.as_deref());
                let end = pack(&call.id, &ToolResult::failure(&call.name, failure));
                (end, Outcome::Denied)
            }
            Word::Returned(end) => {
                let limit = tokens::return_chars(context.config.context_window);
                let end = step::pack_client(&end, limit, now, timezone);
                let outcome = match Called::of(&call.name, &end).outcome {
                    Outcome::Ran(value) | Outcome::Failed(value) => Outcome::Returned(value),
                    other => other,
                };
                (end, outcome)
            }
        };
        returns.push(end);
        called.push(Called {
            tool: call.name,
            outcome,
        });
    }
    let message = |role| Message::new(context.agent.id, role, now);
    let asks = asks(&pending);
    let reason = match (plan.turn_loop, called.as_slice()) {
        (TurnLoop::Heartbeat, [called]) => {
            match heartbeat::decide(&plan.rules, called, asks, false) {
                heartbeat::Decision::GoesOn { reason } => Some(reason),
                heartbeat::Decision::Ends(_) => None,
            }
        }
        _ => reminder(&plan.rules.after(&called)),
    };
    let reminder = reason
        .map(|reason| heartbeat::message(message(Role::User), &reason, now, timezone))
        .map(Arc::new);
    let response = pending.response(RunId::new(), answers);
    let mut ends = message(Role::Tool);
    ends.step_id = response.step_id;
    ends.model.clone_from(&response.model);
    let first = called.first().map_or("", |call| &call.tool);
    let ends = step::tool_message(ends, first, returns);
    context.messages.extend([response, ends].map(Arc::new));
    context.messages.extend(reminder);
    context.messages.extend(follow_ups);
    plan.rules.record(&called);
}

/// Whether the answered call asked for another step: the heartbeat loop has one call, and it says whether the turn goes on.
pub(crate) fn asks(pending: &Pending) -> bool {
    pending.request.tool_calls.first().is_some_and(|call| {
        let (call, _) = heartbeat::Call::read(call);
        call.asks
    })
}

/// What the model is told when it would end a turn too early.
pub(crate) fn reminder(after: &After) -> Option<String> {
    match after {
        After::Owes(tools) => Some(rules::reminder(tools)),
        After::GoesOn | After::Ends(_) => None,
    }
}

#[cfg(test)]
mod tests;
