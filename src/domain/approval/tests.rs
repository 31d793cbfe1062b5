use super::*;
use crate::domain::clock;
use crate::domain::id::{AgentId, StepId};
use crate::domain::message::{ToolOutput, ToolStatus};

fn message(role: Role, calls: &[&str], returns: &[&str]) -> Message {
    let mut message = Message::new(AgentId::new(), role, clock::now());
    let call = |id: &&str| ToolCall {
        id: (*id).to_owned(),
        name: "tool".to_owned(),
        arguments: "{}".to_owned(),
    };
    message.tool_calls = calls.iter().map(call).collect();
    message.tool_returns = returns.iter().map(|id| end(id)).collect();
    message
}

fn end(id: &str) -> ToolReturn {
    ToolReturn {
        tool_call_id: id.to_owned(),
        status: ToolStatus::Success,
        output: ToolOutput::Packed("{}".to_owned()),
        stdout: None,
        stderr: None,
    }
}

fn yes(id: &str) -> Approval {
    Approval::Decision {
        tool_call_id: id.to_owned(),
        approve: true,
        reason: None,
    }
}

fn no(id: &str) -> Approval {
    Approval::Decision {
        tool_call_id: id.to_owned(),
        approve: false,
        reason: Some("because".to_owned()),
    }
}

/// System, user, the free calls of a step, the request of the same step.
fn waiting(free: &[&str], gated: &[&str]) -> Vec<Arc<Message>> {
    let step = Some(StepId::new());
    let mut context = vec![
        message(Role::System, &[], &[]),
        message(Role::User, &[], &[]),
    ];
    if !free.is_empty() {
        let mut assistant = message(Role::Assistant, free, &[]);
        assistant.step_id = step;
        context.push(assistant);
    }
    let mut request = message(Role::Approval, gated, &[]);
    request.step_id = step;
    context.push(request);
    context.into_iter().map(Arc::new).collect()
}

#[test]
fn only_an_unanswered_request_at_the_end_waits() {
    assert!(Pending::of(&[]).is_none());
    let mut context = waiting(&["f"], &["g"]);
    let pending = Pending::of(&context).unwrap();
    assert_eq!(
        (pending.free.len(), pending.request.tool_calls.len()),
        (1, 1)
    );
    context.push(Arc::new(message(Role::Approval, &[], &[])));
    assert!(Pending::of(&context).is_none());
}

#[test]
fn calls_of_an_earlier_step_are_no_siblings() {
    let mut context = waiting(&[], &["g"]);
    let mut earlier = message(Role::Assistant, &["old"], &[]);
    earlier.step_id = Some(StepId::new());
    context.insert(2, Arc::new(earlier));
    assert!(Pending::of(&context).unwrap().free.is_empty());
}

#[test]
fn returns_come_in_the_order_of_who_gave_them() {
    let pending = Pending::of(&waiting(&["free"], &["a", "b", "c"])).unwrap();
    let words = pending.words(&[yes("a"), no("b"), Approval::Return(end("c"))]);
    let order: Vec<&str> = words.iter().map(|(call, _)| call.id.as_str()).collect();
    assert_eq!(order, ["c", "b", "a", "free"]);
    assert_eq!(words[1].1, Word::Denied(Some("because".to_owned())));
}

#[test]
fn an_answer_names_exactly_the_calls_that_wait() {
    let context = waiting(&[], &["a", "b"]);
    let read = |answers: &[Approval]| read(&context, None, answers);
    assert!(
        matches!(read(&[no("b"), yes("a")]), Ok(Answer::Settles(_, answers)) if answers.len() == 2)
    );
    for answers in [
        vec![],
        vec![yes("a")],
        vec![yes("a"), yes("a")],
        vec![yes("a"), yes("b"), yes("c")],
        vec![yes("a"), yes("other")],
    ] {
        assert!(
            matches!(read(&answers), Err(BadAnswer::OtherCalls { .. })),
            "{answers:?}"
        );
    }
    let refused = read(&[yes("x")]).unwrap_err().to_string();
    assert_eq!(
        refused,
        r#"Invalid tool call IDs. Expected '["a", "b"]', but received '["x"]'."#
    );
}

#[test]
fn the_old_form_names_the_request() {
    let context = waiting(&[], &["a"]);
    let id = context.last().unwrap().id.to_string();
    let Ok(Answer::Settles(_, answers)) = read(&context, None, &[no(&id)]) else {
        panic!("not settled")
    };
    assert_eq!(answers, [no("a")]);
    let two = waiting(&[], &["a", "b"]);
    let id = two.last().unwrap().id.to_string();
    assert!(read(&two, None, &[yes(&id)]).is_err());
}

#[test]
fn an_answer_that_was_given_before_is_known_again() {
    let mut context = waiting(&["f"], &["a"]);
    let request = context.last().unwrap().id.to_string();
    context.push(Arc::new(message(Role::Approval, &[], &[])));
    context.push(Arc::new(message(Role::Tool, &[], &["a", "f"])));
    assert_eq!(read(&context, None, &[yes("a")]), Ok(Answer::Again));
    assert_eq!(read(&context, None, &[yes(&request)]), Ok(Answer::Again));
    for answers in [vec![yes("b")], vec![]] {
        assert_eq!(
            read(&context, None, &answers),
            Err(BadAnswer::NothingPending)
        );
    }
    for _ in 0..REMEMBERED {
        context.push(Arc::new(message(Role::User, &[], &[])));
    }
    assert!(read(&context, None, &[yes("a")]).is_err());
}

#[test]
fn after_a_compaction_the_newest_stored_return_counts() {
    let context = [Arc::new(message(Role::System, &[], &[]))];
    let newest = message(Role::Tool, &[], &["a"]);
    assert_eq!(
        read(&context, Some(&newest), &[yes("a")]),
        Ok(Answer::Again)
    );
    let mut talking = context.to_vec();
    talking.push(Arc::new(message(Role::User, &[], &[])));
    assert!(read(&talking, Some(&newest), &[yes("a")]).is_err());
}
