//! Summaries as they are stored and read back.

use super::super::summary::*;
use super::super::*;
use super::message as word;
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::Part;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

fn stats() -> Stats {
    Stats::new(Trigger::Overflow, 32_000, (31_000, 9_000), (40, 12))
}

fn now() -> Timestamp {
    "2026-11-22T09:54:50Z".parse().unwrap()
}

fn said(role: Role, text: &str) -> Message {
    let mut message = Message::new(AgentId::new(), role, clock::now());
    message.content = vec![Part::of_text(text)];
    message
}

#[test]
fn a_summary_is_packed_with_its_numbers() {
    let message = message(AgentId::new(), "They met.", Some(&stats()), now(), "UTC");
    assert_eq!(message.role, Role::Summary);
    assert_eq!(message.otid, Some(message.id.piece_otid(0)));
    let packed: Value = serde_json::from_str(&message.text()).unwrap();
    assert_eq!(packed["type"], "system_alert");
    assert_eq!(packed["time"], "2026-11-22 09:54:50 AM UTC+0000");
    assert!(packed["message"].as_str().unwrap().ends_with("They met."));
    assert_eq!(
        packed["compaction_stats"].to_string(),
        r#"{"trigger":"context_window_exceeded","context_tokens_before":31000,"context_tokens_after":9000,"context_window":32000,"messages_count_before":40,"messages_count_after":12}"#
    );
    let read = read(&message).unwrap();
    assert_eq!(
        (read.text.as_str(), read.stats),
        ("They met.", Some(stats()))
    );

    let bare: Value = serde_json::from_str(&pack("They met.", None, now(), "UTC")).unwrap();
    assert_eq!(bare.get("compaction_stats"), None);
}

#[test]
fn a_summary_is_known_by_its_role_or_by_its_old_envelope() {
    let envelope =
        json!({"type": "system_alert", "message": "Prior messages: they met.", "time": "noon"});
    let with = |key: &str, value: Value| {
        let mut changed = envelope.clone();
        changed[key] = value;
        changed.to_string()
    };
    let stats = json!({"trigger": "odd", "context_window": 8000, "messages_count_before": 9, "messages_count_after": 3});
    for (role, text, summary) in [
        (Role::Summary, "plain".to_owned(), Some("plain")),
        (
            Role::Summary,
            envelope.to_string(),
            Some("Prior messages: they met."),
        ),
        (
            Role::User,
            envelope.to_string(),
            Some("Prior messages: they met."),
        ),
        (
            Role::User,
            with("compaction_stats", stats.clone()),
            Some("Prior messages: they met."),
        ),
        (
            Role::User,
            with("compaction_stats", json!(7)),
            Some("Prior messages: they met."),
        ),
        (Role::System, envelope.to_string(), None),
        (Role::Assistant, envelope.to_string(), None),
        (Role::User, "plain".to_owned(), None),
        (Role::User, "{not json".to_owned(), None),
        (Role::User, with("type", json!("user_message")), None),
        (Role::User, with("type", json!("heartbeat")), None),
        (Role::User, with("message", json!(7)), None),
        (Role::User, with("location", json!("here")), None),
        (
            Role::User,
            json!({"type": "system_alert", "message": "no time"}).to_string(),
            None,
        ),
    ] {
        let message = said(role, &text);
        let read = read(&message);
        assert_eq!(
            read.as_ref().map(|read| read.text.as_str()),
            summary,
            "{role:?} {text}"
        );
        assert_eq!(is(&message), summary.is_some());
    }
    let imported = read(&said(Role::User, &with("compaction_stats", stats))).unwrap();
    let stats = imported.stats.unwrap();
    assert_eq!(
        (stats.trigger.as_str(), stats.context_tokens_before),
        ("odd", None)
    );
}

#[test]
fn a_summary_of_an_older_server_is_nothing_to_summarise() {
    let envelope =
        json!({"type": "system_alert", "message": "They met.", "time": "noon"}).to_string();
    let messages = [word("s"), said(Role::User, &envelope)];
    assert_eq!(
        plan(
            &super::counted(&messages, 10),
            1_000,
            CompactionMode::All,
            0.3
        ),
        Err(NoPlan::OnlySummary(1))
    );
}

#[test]
fn a_long_summary_is_cut_with_a_mark() {
    for (text, chars, clipped) in [
        ("short", Some(5), "short"),
        (
            "shorter",
            Some(5),
            "short... [summary cut: 2 more characters]",
        ),
        ("ééé", Some(2), "éé... [summary cut: 1 more characters]"),
        ("any", Some(0), "... [summary cut: 3 more characters]"),
        ("any", Some(-1), "any"),
        ("any", None, "any"),
        ("", Some(0), ""),
    ] {
        assert_eq!(clip(text, chars), clipped);
    }
}

proptest! {
    #[test]
    fn what_is_packed_is_read_back(text in any::<String>(), with_stats in any::<bool>()) {
        let stats = with_stats.then(stats);
        let read = read(&message(AgentId::new(), &text, stats.as_ref(), now(), "Europe/Paris"));
        prop_assert_eq!(read, Some(Summary { text, stats }));
    }
}
