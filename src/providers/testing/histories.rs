//! Random histories, orderly and not, for what must hold of every request, whatever the protocol.

use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::{
    Approval, Image, Message, Part, Role, ToolCall, ToolOutput, ToolReturn, ToolStatus,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::Arc;

/// What signs the thoughts and texts of a history.
pub(crate) const SIGNATURE: &str = "c2ln";

/// Messages in any order, with whole steps among them, by `models`, by another one and by nobody known. All that was
/// said of one step (its texts, what its reasoning hides, the arguments of its calls) carries the step's number.
pub(crate) fn history(models: &'static [&'static str]) -> impl Strategy<Value = Vec<Arc<Message>>> {
    let stray = any_message(models).prop_map(|message| vec![message]);
    vec(prop_oneof![stray, step(models)], 0..10).prop_map(|pieces| numbered(pieces.concat()))
}

/// The number that a text or the arguments of a call carry.
pub(crate) fn step_of(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

/// An assistant, perhaps with a request for approval and its response, and the returns of its calls in any order.
fn step(models: &'static [&'static str]) -> impl Strategy<Value = Vec<Message>> {
    (
        said(Role::Assistant, models),
        prop::option::of(said(Role::Approval, models)),
    )
        .prop_flat_map(|(assistant, request)| {
            let calls = [Some(&assistant), request.as_ref()]
                .into_iter()
                .flatten()
                .flat_map(|message| &message.tool_calls);
            let ids: Vec<String> = calls.map(|call| call.id.clone()).collect();
            let outcomes = vec(outcome(), ids.len());
            (
                Just(assistant),
                Just(request),
                Just(ids).prop_shuffle(),
                outcomes,
            )
        })
        .prop_map(|(assistant, request, ids, outcomes)| {
            let mut step = vec![assistant];
            if let Some(request) = request {
                step.extend([request, message(Role::Approval)]);
            }
            let mut returned = message(Role::Tool);
            let ends = ids.into_iter().zip(outcomes);
            returned.tool_returns = ends.map(|(id, outcome)| end(id, outcome)).collect();
            step.push(returned);
            step
        })
}

fn any_message(models: &'static [&'static str]) -> impl Strategy<Value = Message> {
    let spoken = (
        select(vec![Role::System, Role::User, Role::User, Role::Summary]),
        vec(prop_oneof![text(), image()], 0..3),
    );
    let spoken = spoken.prop_map(|(role, content)| {
        let mut message = message(role);
        message.content = content;
        message
    });
    let returned = vec((call_id(), outcome()), 0..4).prop_map(|returns| {
        let mut message = message(Role::Tool);
        let ends = returns.into_iter();
        message.tool_returns = ends.map(|(id, outcome)| end(id, outcome)).collect();
        message
    });
    let response = call_id().prop_map(|tool_call_id| {
        let mut message = message(Role::Approval);
        message.approvals = vec![Approval::Decision {
            tool_call_id,
            approve: true,
            reason: None,
        }];
        message
    });
    prop_oneof![
        2 => spoken,
        2 => said(Role::Assistant, models),
        1 => said(Role::Approval, models),
        1 => returned,
        1 => response,
    ]
}

/// What a model said: thoughts and texts, then calls.
fn said(role: Role, models: &'static [&'static str]) -> impl Strategy<Value = Message> {
    let model = prop_oneof![
        3 => select(models).prop_map(Some),
        1 => select(vec![Some("other"), None]),
    ];
    let parts = vec(
        prop_oneof![4 => text(), 6 => reasoning(), 1 => image()],
        0..4,
    );
    let calls = vec(
        (call_id(), select(vec!["look up", "2 look"]), arguments()),
        0..3,
    );
    (model, parts, calls).prop_map(move |(model, content, calls)| {
        let mut message = message(role);
        message.model = model.map(str::to_owned);
        message.content = content;
        let call = |(id, name, arguments): (String, &str, &str)| ToolCall {
            id,
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        };
        message.tool_calls = calls.into_iter().map(call).collect();
        message
    })
}

/// Few, so that they meet; some only after they were made to fit.
fn call_id() -> impl Strategy<Value = String> {
    let long = "chatcmpl-tool-0123456789abcdef";
    select(vec!["a", "b", "a.b", "a_b", "a_2", "", long]).prop_map(|id| match id.len() {
        30 => format!("{id}{id}"),
        _ => id.to_owned(),
    })
}

/// What models write in the place of an object, `#` being the step's number.
fn arguments() -> impl Strategy<Value = &'static str> {
    select(vec![
        "{\"at\":#}",
        "#",
        "[#]",
        "\"#\"",
        "{\"at\":#",
        "# null",
    ])
}

fn text() -> impl Strategy<Value = Part> {
    (select(vec!["", " \n", "said", "said"]), signature()).prop_map(|(text, signature)| {
        Part::Text {
            text: text.to_owned(),
            signature,
        }
    })
}

fn signature() -> impl Strategy<Value = Option<String>> {
    select(vec![None, Some(""), Some(SIGNATURE), Some(SIGNATURE)])
        .prop_map(|signature| signature.map(str::to_owned))
}

fn image() -> impl Strategy<Value = Part> {
    let data = select(vec![None, Some(""), Some("QUJD"), Some("QUJD")]);
    let stored = data.prop_map(|data| Image::Stored {
        file_id: None,
        media_type: None,
        data: data.map(str::to_owned),
        detail: None,
    });
    let elsewhere = Just(Image::Url {
        url: "http://x/y.png".to_owned(),
    });
    prop_oneof![4 => stored, 1 => elsewhere].prop_map(Part::Image)
}

fn reasoning() -> impl Strategy<Value = Part> {
    let summarized = (
        select(vec!["rs_1", "rs_2", "rs_3", "rs_4"]),
        vec(Just("hm".to_owned()), 0..2),
        prop::option::of(Just(String::new())),
    );
    let shown = (any::<bool>(), select(vec!["", "hm", "hm"]), signature());
    prop_oneof![
        3 => summarized.prop_map(|(id, summary, encrypted_content)| Part::SummarizedReasoning {
            id: id.to_owned(),
            summary,
            encrypted_content,
        }),
        3 => shown.prop_map(|(native, reasoning, signature)| Part::Reasoning {
            native,
            reasoning: reasoning.to_owned(),
            signature,
        }),
        1 => signature().prop_map(|signature| Part::OmittedReasoning { signature }),
        1 => Just(Part::RedactedReasoning { data: "data".to_owned() }),
    ]
}

fn outcome() -> impl Strategy<Value = (ToolStatus, ToolOutput)> {
    let packed = select(vec!["", "{}"]).prop_map(|text| ToolOutput::Packed(text.to_owned()));
    let parts = vec(prop_oneof![text(), image()], 0..3).prop_map(ToolOutput::Parts);
    (
        select(vec![ToolStatus::Success, ToolStatus::Error]),
        prop_oneof![packed, parts],
    )
}

fn message(role: Role) -> Message {
    Message::new(AgentId::new(), role, clock::now())
}

fn end(tool_call_id: String, (status, output): (ToolStatus, ToolOutput)) -> ToolReturn {
    ToolReturn {
        tool_call_id,
        status,
        output,
        stdout: None,
        stderr: None,
    }
}

/// Approvals belong to the step before them.
fn numbered(messages: Vec<Message>) -> Vec<Arc<Message>> {
    let mut number = 0;
    let number = |mut message: Message| {
        if message.role != Role::Approval {
            number += 1;
        }
        let by_model = matches!(message.role, Role::Assistant | Role::Approval);
        for part in &mut message.content {
            match part {
                Part::Text { text, .. } if by_model && !text.trim().is_empty() => {
                    *text = number.to_string()
                }
                Part::SummarizedReasoning {
                    encrypted_content: Some(hidden),
                    ..
                } => *hidden = number.to_string(),
                _ => (),
            }
        }
        for call in &mut message.tool_calls {
            call.arguments = call.arguments.replace('#', &number.to_string());
        }
        Arc::new(message)
    };
    messages.into_iter().map(number).collect()
}
