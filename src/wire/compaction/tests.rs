use super::*;
use crate::domain::agent::CompactionMode;
use crate::domain::clock;
use crate::domain::compaction::{Trigger, summary};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::piece::{Body, Piece, Reading, pieces};
use crate::domain::run::View;
use crate::wire::message::Message;
use serde_json::{Value, json};

#[test]
fn only_what_is_sent_changes() {
    let read = |body: Value| serde_json::from_value::<Compact>(body).unwrap();
    assert_eq!(read(json!({})).into_change(), None);
    assert_eq!(
        read(json!({"compaction_settings": null})).into_change(),
        None
    );
    let body = json!({
        "agent_id": "agent-1",
        "compaction_settings": {"mode": "all", "clip_chars": null, "prompt": null, "model_settings": {"provider_type": "openai", "temperature": 0.1}},
    });
    let compact = read(body);
    assert_eq!(compact.agent_id.as_deref(), Some("agent-1"));
    assert_eq!(
        compact.into_change(),
        Some(CompactionChange {
            mode: Some(CompactionMode::All),
            clip_chars: Some(None),
            prompt: Some(None),
            model_settings: Some(Some(json!({"provider_type": "openai", "temperature": 0.1}))),
            ..CompactionChange::default()
        })
    );
}

#[test]
fn a_setting_of_the_wrong_kind_is_named_with_the_reason() {
    for (field, value, reason) in [
        (
            "mode",
            json!("some"),
            "unknown variant `some`, expected one of all, sliding_window, self_compact_all, self_compact_sliding_window",
        ),
        (
            "mode",
            json!(1),
            "invalid type: integer `1`, expected a string",
        ),
        (
            "model",
            json!(1),
            "invalid type: integer `1`, expected a string",
        ),
        (
            "prompt",
            json!(["a"]),
            "invalid type: sequence, expected a string",
        ),
        (
            "prompt_acknowledgement",
            json!("yes"),
            "invalid type: string \"yes\", expected a boolean",
        ),
        (
            "clip_chars",
            json!(1.5),
            "invalid type: floating point `1.5`, expected i64",
        ),
        (
            "clip_chars",
            json!("9"),
            "invalid type: string \"9\", expected i64",
        ),
        (
            "sliding_window_percentage",
            json!("half"),
            "invalid type: string \"half\", expected f64",
        ),
        (
            "sliding_window_percentage",
            json!(30),
            "expected a share of the messages from 0 to 1, found 30",
        ),
        (
            "sliding_window_percentage",
            json!(-0.1),
            "expected a share of the messages from 0 to 1, found -0.1",
        ),
        (
            "model_settings",
            json!("warm"),
            "expected an object of model settings",
        ),
        (
            "model_settings",
            json!({"temperature": "warm"}),
            "invalid type: string \"warm\", expected f64",
        ),
    ] {
        let body = json!({"compaction_settings": {field: value}}).to_string();
        let mut reader = serde_json::Deserializer::from_str(&body);
        let error = serde_path_to_error::deserialize::<_, Compact>(&mut reader).unwrap_err();
        assert_eq!(
            error.path().to_string(),
            format!("compaction_settings.{field}")
        );
        let said = error.inner().to_string();
        assert!(said.starts_with(reason), "{field}: {said}");
    }
}

#[test]
fn the_answer_has_three_fields() {
    let answer = Compacted {
        summary: "They met.".to_owned(),
        num_messages_before: 11,
        num_messages_after: 9,
    };
    assert_eq!(
        serde_json::to_string(&answer).unwrap(),
        r#"{"summary":"They met.","num_messages_before":11,"num_messages_after":9}"#
    );
}

fn own(piece: Piece) -> Value {
    let mut shown = serde_json::to_value(Message::from(piece)).unwrap();
    let common = [
        "id",
        "date",
        "name",
        "otid",
        "sender_id",
        "step_id",
        "is_err",
        "seq_id",
        "run_id",
    ];
    for key in common {
        assert!(
            shown.as_object_mut().unwrap().remove(key).is_some(),
            "{key}"
        );
    }
    shown
}

#[test]
fn a_summary_is_shown_as_one_to_who_asked_and_as_a_user_message_otherwise() {
    let stats = DomainStats::new(Trigger::PostStepCheck, 8_000, (7_500, 2_000), (40, 12));
    let now = "2026-11-22T09:54:50Z".parse().unwrap();
    let stored = summary::message(AgentId::new(), "They met.", Some(&stats), now, "UTC");
    let view = View::default();
    let shown = |asked: bool| {
        let reading = Reading::native(&view).with_summaries(asked);
        let mut pieces = pieces(&stored, &reading);
        assert_eq!(pieces.len(), 1);
        own(pieces.remove(0))
    };
    assert_eq!(
        shown(true),
        json!({
            "message_type": "summary_message",
            "summary": "They met.",
            "compaction_stats": {
                "trigger": "post_step_context_check",
                "context_tokens_before": 7_500,
                "context_tokens_after": 2_000,
                "context_window": 8_000,
                "messages_count_before": 40,
                "messages_count_after": 12,
            },
        })
    );
    assert_eq!(
        shown(false),
        json!({"message_type": "user_message", "content": stored.text()})
    );
}

#[test]
fn the_event_before_a_summary_tells_why() {
    let body = Body::Compaction(Compaction {
        trigger: Trigger::Overflow.name().to_owned(),
        context_token_estimate: Some(9_000),
        context_window: 8_000,
    });
    let piece = Piece {
        message_id: MessageId::new(),
        created_at: clock::now(),
        name: None,
        otid: None,
        sender_id: None,
        step_id: None,
        run_id: None,
        conversation_id: None,
        is_err: false,
        body,
    };
    assert_eq!(
        own(piece),
        json!({
            "message_type": "event_message",
            "event_type": "compaction",
            "event_data": {"trigger": "context_window_exceeded", "context_token_estimate": 9_000, "context_window": 8_000},
        })
    );
}
