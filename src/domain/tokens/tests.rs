use super::*;
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::{Approval, Image, ToolStatus};
use serde_json::json;
use std::time::{Duration, Instant};

fn counter(vocabulary: Option<Vocabulary>) -> Counter {
    Counter {
        vocabulary,
        return_chars: 5_000,
        cautious: false,
    }
}

fn message(role: Role) -> Message {
    Message::new(AgentId::new(), role, clock::now())
}

fn call(arguments: &str) -> ToolCall {
    ToolCall {
        id: "call_1".to_owned(),
        name: "look".to_owned(),
        arguments: arguments.to_owned(),
    }
}

fn call_end(output: ToolOutput) -> ToolReturn {
    ToolReturn {
        tool_call_id: "call_1".to_owned(),
        status: ToolStatus::Success,
        output,
        stdout: None,
        stderr: None,
    }
}

fn image() -> Part {
    Part::Image(Image::Url {
        url: "https://example.org/a.png".to_owned(),
    })
}

#[test]
fn four_bytes_are_a_token_and_a_rest_counts_whole() {
    for (text, tokens) in [
        ("", 0),
        ("a", 1),
        ("abcd", 1),
        ("abcde", 2),
        ("éé", 1),
        ("日本", 2),
    ] {
        assert_eq!(approximate(text), tokens, "{text:?}");
        assert_eq!(counter(None).text(text), tokens, "{text:?}");
    }
}

#[test]
fn the_margin_is_on_approximations_only() {
    for (tokens, more) in [(0, 0), (1, 2), (10, 13), (11, 15), (1_000, 1_300)] {
        assert_eq!(with_margin(tokens), more);
    }
    let text = "a".repeat(40);
    assert_eq!(counter(None).cautious().text(&text), 13);
    let known = counter(Some(Vocabulary::O200k));
    assert_eq!(
        known.cautious().text("hello world"),
        known.text("hello world")
    );
    assert!(known.is_exact() && !counter(None).is_exact());
}

#[test]
fn a_vocabulary_is_known_by_the_models_name() {
    use Vocabulary::{Cl100k, O200k};
    for (model, vocabulary) in [
        ("gpt-4o", Some(O200k)),
        ("gpt-4o-mini", Some(O200k)),
        ("openai/gpt-4.1-nano", Some(O200k)),
        ("gpt-5.1", Some(O200k)),
        ("gpt-5-mini-2026-01-01", Some(O200k)),
        ("o3", Some(O200k)),
        ("o4-mini", Some(O200k)),
        ("ft:gpt-4o-mini:acme", Some(O200k)),
        ("openai/gpt-oss-120b", Some(O200k)),
        ("gpt-4", Some(Cl100k)),
        ("gpt-4-turbo", Some(Cl100k)),
        ("gpt-3.5-turbo", Some(Cl100k)),
        ("gpt-35-turbo", Some(Cl100k)),
        ("gpt-40", None),
        ("o1337", None),
        ("claude-sonnet-4-5", None),
        ("gemini-2.5-flash", None),
        ("llama-3.1-8b", None),
        ("", None),
    ] {
        assert_eq!(Vocabulary::of_model(model), vocabulary, "{model}");
    }
}

#[test]
fn known_texts_have_the_published_counts() {
    use Vocabulary::{Cl100k, O200k};
    for (text, cl100k, o200k) in [
        ("hello world", 2, 2),
        ("tiktoken is great!", 6, 6),
        ("antidisestablishmentarianism", 6, 6),
        ("お誕生日おめでとう", 9, 8),
        // No special meaning in what people write.
        ("<|endoftext|>", 7, 7),
    ] {
        let counts = [Cl100k, O200k].map(|vocabulary| counter(Some(vocabulary)).text(text));
        assert_eq!(counts, [cl100k, o200k], "{text:?}");
    }
}

#[test]
fn no_text_takes_long_and_none_fails() {
    let known = counter(Some(Vocabulary::O200k));
    known.text("loads the vocabulary");
    let limit = MAX_READ_BYTES;
    for unit in [
        "a", " ", "\n", " \t", "!", "A", "é", "\u{301}", "\u{0}", "9", "日", "\r\n ",
    ] {
        for bytes in [limit, 1024 * 1024] {
            let mut text = unit.repeat(bytes / unit.len() - 1);
            text.push('x');
            let started = Instant::now();
            let tokens = known.text(&text);
            // Generous: two busy cores, not optimised. Without the bound a megabyte takes minutes where time is squared.
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "{unit:?} {bytes}"
            );
            assert!(tokens > 0);
            if bytes > limit {
                assert_eq!(tokens, approximate(&text));
            }
        }
    }
}

#[test]
fn a_message_costs_what_the_model_is_sent_of_it() {
    let counter = counter(None);
    let mut user = message(Role::User);
    user.content = vec![Part::of_text("abcdefgh"), image()];
    assert_eq!(counter.message(&user), 2 + IMAGE_TOKENS + MESSAGE_TOKENS);

    let mut assistant = message(Role::Assistant);
    assistant.content = vec![
        Part::of_text("abcd"),
        Part::Reasoning {
            native: true,
            reasoning: "abcdefgh".to_owned(),
            signature: None,
        },
        Part::Reasoning {
            native: false,
            reasoning: "never sent".to_owned(),
            signature: None,
        },
        Part::RedactedReasoning {
            data: "abcd".to_owned(),
        },
        Part::OmittedReasoning { signature: None },
        Part::SummarizedReasoning {
            id: "rs".to_owned(),
            summary: vec!["shown to people".to_owned()],
            encrypted_content: Some("abcd".to_owned()),
        },
    ];
    assistant.tool_calls = vec![call(r#"{"a":1}"#)];
    let parts = 1 + 2 + 1 + 1;
    assert_eq!(
        counter.message(&assistant),
        parts + (1 + 2 + CALL_TOKENS) + MESSAGE_TOKENS
    );

    let mut tool = message(Role::Tool);
    tool.tool_returns = vec![
        call_end(ToolOutput::Packed("abcd".to_owned())),
        call_end(ToolOutput::Parts(vec![Part::of_text("abcd"), image()])),
        call_end(ToolOutput::Packed("é".repeat(9_000))),
    ];
    let returns = 1 + (1 + IMAGE_TOKENS) + 2_500;
    assert_eq!(
        counter.message(&tool),
        returns + 3 * CALL_TOKENS + MESSAGE_TOKENS
    );

    let mut request = message(Role::Approval);
    request.tool_calls = vec![call("{}")];
    assert_eq!(
        counter.message(&request),
        1 + 1 + CALL_TOKENS + MESSAGE_TOKENS
    );
    let mut response = message(Role::Approval);
    response.approvals = vec![Approval::Decision {
        tool_call_id: "call_1".to_owned(),
        approve: true,
        reason: Some("go on".to_owned()),
    }];
    assert_eq!(counter.message(&response), 0);
    assert_eq!(counter.message(&message(Role::Assistant)), 0);
}

#[test]
fn system_and_tools_count_whole() {
    let counter = counter(None);
    assert_eq!(counter.system("abcdefgh"), 2 + MESSAGE_TOKENS);
    let tool = ToolSchema {
        name: "look".to_owned(),
        description: "Looks.".to_owned(),
        parameters: json!({"type": "object"}),
    };
    assert_eq!(
        counter.tools(std::slice::from_ref(&tool)),
        1 + 2 + 5 + CALL_TOKENS
    );
    assert_eq!(counter.tools(&[tool.clone(), tool]), 2 * (8 + CALL_TOKENS));
    assert_eq!(counter.tools(&[]), 0);
}

#[test]
fn a_return_is_shown_in_proportion_to_the_window() {
    for (window, chars) in [(0, 5_000), (6_000, 5_000), (32_000, 25_600)] {
        assert_eq!(return_chars(window), chars, "{window}");
    }
    for (text, chars, kept) in [
        ("abc", 3, "abc"),
        ("abc", 2, "ab"),
        ("ééé", 2, "éé"),
        ("é", 0, ""),
    ] {
        assert_eq!(first_chars(text, chars), kept);
    }
}
