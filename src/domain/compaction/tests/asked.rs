//! What summarisers are asked.

use super::super::request::*;
use super::super::*;
use super::{call, message as word, settings};
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::{Approval, Image, Part, ToolOutput, ToolStatus};
use crate::domain::stock;
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

fn arcs(messages: Vec<Message>) -> Vec<Arc<Message>> {
    messages.into_iter().map(Arc::new).collect()
}

fn said(role: Role, text: &str) -> Message {
    let mut message = Message::new(AgentId::new(), role, clock::now());
    message.content = vec![Part::of_text(text)];
    message
}

fn returned(status: ToolStatus, text: &str) -> Message {
    let mut message = word("r:0");
    message.tool_returns[0].status = status;
    message.tool_returns[0].output = ToolOutput::Packed(json!({"message": text}).to_string());
    message
}

fn conversation() -> Vec<Arc<Message>> {
    let mut picture = said(Role::User, "look at this");
    picture.content.push(Part::Image(Image::Url {
        url: "https://example.org".to_owned(),
    }));
    let mut looks = said(Role::Assistant, "one moment");
    looks.tool_calls = vec![call("0"), call("1")];
    let mut thought = word("a");
    thought.content = vec![Part::Reasoning {
        native: true,
        reasoning: "not for others".to_owned(),
        signature: None,
    }];
    let mut denied = word("p");
    denied.approvals = vec![Approval::Decision {
        tool_call_id: "x".to_owned(),
        approve: false,
        reason: Some("too dear".to_owned()),
    }];
    let packed = json!({"type": "user_message", "message": "hello", "time": ""}).to_string();
    let earlier = summary::message(AgentId::new(), "They met.", None, clock::now(), "UTC");
    arcs(vec![
        earlier,
        said(Role::User, &packed),
        picture,
        looks,
        returned(ToolStatus::Error, "clouds"),
        thought,
        word("q:x"),
        denied,
        said(Role::Assistant, "It is\nblue."),
    ])
}

#[test]
fn a_transcript_has_a_line_for_everything_that_was_said() {
    let lines = [
        "[summary] They met.",
        r#"[user] {"type":"user_message","message":"hello","time":""}"#,
        "[user] look at this\n[image]",
        r#"[assistant] one moment -> look({"at":"sky"}), look({"at":"sky"})"#,
        "[tool] failed: clouds",
        r#"[assistant] -> look({"at":"sky"})"#,
        "[approval] denied: too dear",
        "[assistant] It is\nblue.",
    ];
    assert_eq!(
        transcript(&conversation(), Form::Whole, 1_000, 0),
        lines.join("\n")
    );
}

#[test]
fn a_request_is_shortened_in_three_steps() {
    let long = "é".repeat(20_000);
    let messages = arcs(vec![
        said(Role::User, "first"),
        returned(ToolStatus::Success, &long),
        said(Role::User, &"m".repeat(20_000)),
        said(Role::Assistant, "last"),
    ]);
    let whole = transcript(&messages, Form::Whole, 8_000, 0);
    assert!(whole.contains(&long));
    let short = transcript(&messages, Form::ShortReturns, 8_000, 0);
    assert!(short.contains(&format!(
        "{}... [15000 characters left out]",
        "é".repeat(5_000)
    )));
    assert!(!short.contains(&"é".repeat(5_001)));
    // 0.6 · 8000 tokens · 4 bytes = 19,200 bytes, less 1,200: 5,400 bytes at each end.
    let ends = transcript(&messages, Form::Ends, 8_000, 1_200);
    assert!(ends.starts_with("[user] first\n[tool] é") && ends.ends_with("m\n[assistant] last"));
    assert!(ends.contains("characters of the transcript left out]"));
    let kept = ends.len();
    assert!((10_700..10_900).contains(&kept), "{kept}");
    // What fits stays whole.
    assert_eq!(transcript(&messages, Form::Ends, 1_000_000, 0), short);
    // A window without room leaves the mark.
    assert!(
        transcript(&messages, Form::Ends, 100, 9_000)
            .trim()
            .starts_with("... [")
    );

    let forms: Vec<Form> =
        std::iter::successors(Some(Form::Whole), |form| form.shorter()).collect();
    assert_eq!(forms, [Form::Whole, Form::ShortReturns, Form::Ends]);
}

#[test]
fn another_model_is_asked_about_a_transcript() {
    let mode = CompactionMode::SlidingWindow;
    let mut settings = settings(mode);
    let ask = |settings: &CompactionSettings, mode| {
        about(
            &conversation(),
            settings,
            mode,
            Form::Whole,
            8_000,
            clock::now(),
        )
    };
    let asked = ask(&settings, mode);
    assert!(!asked.system.is_empty());
    let [only] = asked.messages.as_slice() else {
        panic!("one message");
    };
    assert_eq!(only.role, Role::User);
    let text = only.text();
    assert!(text.starts_with("<transcript>\n[summary] They met.\n"));
    assert!(text.ends_with(stock::compaction_prompt(mode)));

    settings.prompt_acknowledgement = true;
    let asked = ask(&settings, mode);
    let roles: Vec<Role> = asked.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::User]);
    assert_eq!(asked.messages[0].text(), stock::compaction_prompt(mode));
    assert!(asked.messages[2].text().ends_with("</transcript>"));
}

#[test]
fn the_prompt_is_that_of_the_mode_carried_out_unless_somebody_wrote_one() {
    let (sliding, all) = (CompactionMode::SlidingWindow, CompactionMode::All);
    let mut settings = settings(sliding);
    let prompt = |settings: &CompactionSettings| {
        let asked = about(
            &conversation(),
            settings,
            all,
            Form::Whole,
            8_000,
            clock::now(),
        );
        let text = asked.messages[0].text();
        text.split("</transcript>\n\n").nth(1).unwrap().to_owned()
    };
    assert_eq!(prompt(&settings), stock::compaction_prompt(all));
    settings.prompt = Some(stock::compaction_prompt(sliding).to_owned());
    assert_eq!(prompt(&settings), stock::compaction_prompt(all));
    settings.prompt = Some("In rhymes.".to_owned());
    assert_eq!(prompt(&settings), "In rhymes.");
}

#[test]
fn the_agent_itself_is_asked_after_a_turn_of_its_own() {
    let mode = CompactionMode::SelfCompactAll;
    for (words, added) in [
        ("u a", vec![Role::User]),
        ("u", vec![Role::Assistant, Role::User]),
        ("u a:x r:x", vec![Role::Assistant, Role::User]),
        ("u a:x", vec![Role::Assistant, Role::User]),
        ("S", vec![Role::Assistant, Role::User]),
        ("", vec![Role::Assistant, Role::User]),
    ] {
        let messages = arcs(super::messages(words));
        let asked = in_place(&messages, &settings(mode), mode, clock::now());
        let (same, new) = asked.split_at(messages.len());
        assert!(
            same.iter()
                .zip(&messages)
                .all(|(asked, sent)| Arc::ptr_eq(asked, sent)),
            "{words}"
        );
        assert_eq!(
            new.iter().map(|message| message.role).collect::<Vec<_>>(),
            added,
            "{words}"
        );
        assert_eq!(new.last().unwrap().text(), stock::compaction_prompt(mode));
    }
}

proptest! {
    #[test]
    fn the_last_form_fits_its_budget_whatever_the_text(
        texts in prop::collection::vec("\\PC{0,400}", 1..8),
        window in 0_u64..2_000,
        overhead in 0_usize..800,
    ) {
        let messages = arcs(texts.iter().map(|text| said(Role::User, text)).collect());
        let budget = usize::try_from(window * 12 / 5).unwrap().saturating_sub(overhead);
        let mark = 80;
        prop_assert!(transcript(&messages, Form::Ends, window, overhead).len() <= budget * 6 / 10 + mark);
    }
}
