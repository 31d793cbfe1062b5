//! What goes wrong: refusals, streams that fail or break off, answers that are cut short or cancelled.

use super::script::{Answer, End, Reply, Trouble};
use super::stage::{
    APPEND, BYE, CASES, INSERT, Scene, Stage, answer, everywhere, says, text, thought,
};
use crate::turns::user;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_at_its_limit() {
    everywhere(json!({}), async |scene| {
        let cut = Answer {
            end: End::Length,
            ..answer([thought("a"), text("And then")])
        };
        scene
            .turn(
                &[user("Tell me.")],
                vec![Reply::Says(cut)],
                "max_tokens_exceeded",
            )
            .await;
        scene.goes_on().await;
        let still_thinking = Answer {
            end: End::Length,
            ..answer([thought("b")])
        };
        scene
            .turn(
                &[user("Tell me.")],
                vec![Reply::Says(still_thinking)],
                "max_tokens_exceeded",
            )
            .await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_filter_withholds() {
    everywhere(json!({}), async |scene| {
        let withheld = Answer {
            end: End::Filtered,
            ..answer([text("Well,")])
        };
        scene
            .turn(
                &[user("Tell me.")],
                vec![Reply::Says(withheld)],
                "llm_api_error",
            )
            .await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_the_middle_of_an_answer() {
    everywhere(json!({}), async |scene| {
        let first = vec![
            says([thought("a"), INSERT]),
            Reply::Stalls(answer([thought("b"), text("Now I"), APPEND])),
        ];
        scene.stage.script.will(first);
        let asked = scene.stage.script.bodies().len() + 2;
        let body = json!({"messages": [user("Hello")]});
        let path = scene.path();
        let cancel = async {
            scene.stage.script.asked(asked).await;
            let path = format!("/v1/{path}/cancel");
            scene.world().post(&path, json!({})).await
        };
        let ((status, text), _) = tokio::join!(scene.attempt(&path, &body), cancel);
        assert!(text.contains("\"cancelled\""), "{status} {text}");
        scene.goes_on().await;
    })
    .await;
}

/// Tries of a call that may go better the next time.
fn tries(scene: &Scene<'_>) -> usize {
    if scene.case.handle.starts_with("google_ai/") {
        6
    } else {
        4
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_means_the_same_whoever_refuses() {
    everywhere(json!({}), async |scene| {
        for (trouble, passes, status, whole, streamed) in [
            (Trouble::Overloaded, true, 503, "", "llm_error"),
            (
                Trouble::RateLimit,
                true,
                429,
                "llm_rate_limit",
                "llm_rate_limit",
            ),
            (
                Trouble::Key,
                false,
                401,
                "llm_authentication",
                "llm_authentication",
            ),
            (
                Trouble::Quota,
                false,
                402,
                "llm_insufficient_credits",
                "llm_error",
            ),
        ] {
            let count = if passes { tries(scene) } else { 1 };
            let refusals = vec![Reply::Refuses(trouble.clone()); count];
            let expected = if scene.streamed {
                (200, streamed)
            } else {
                (status, whole)
            };
            let (status, kind) = scene.failure(refusals).await;
            assert_eq!((status, kind.as_str()), expected, "{trouble:?}");
            scene.goes_on().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_passes_is_waited_out() {
    everywhere(json!({}), async |scene| {
        for trouble in [Trouble::Overloaded, Trouble::RateLimit] {
            let replies = vec![Reply::Refuses(trouble), says([BYE])];
            scene.turn(&[user("Hello")], replies, "end_turn").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_before_it_shows_anything_is_asked_for_again() {
    everywhere(json!({}), async |scene| {
        let failed = scene.streamed.then_some(Reply::Fails(Trouble::Overloaded));
        let replies = failed.into_iter().chain([says([thought("a"), BYE])]);
        scene
            .turn(&[user("Hello")], replies.collect(), "end_turn")
            .await;
        scene.goes_on().await;
    })
    .await;
}

/// An answer of which half is enough to be seen.
fn long() -> Answer {
    answer([
        thought("long"),
        text("One thing after the other, and then another one."),
        APPEND,
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_after_it_showed_something_is_not_repeated() {
    let stage = Stage::new().await;
    for case in &CASES {
        for (trouble, kind) in [
            (Trouble::Overloaded, "llm_error"),
            (Trouble::RateLimit, "llm_rate_limit"),
        ] {
            let scene = stage.scene(case, true, &json!({})).await;
            let replies = vec![says([thought("a"), INSERT]), Reply::Breaks(long(), trouble)];
            assert_eq!(
                scene.failure(replies).await,
                (200, kind.to_owned()),
                "{}",
                case.handle
            );
            scene.goes_on().await;
            scene
                .expect(&[
                    "user", "thought", "call", "return", "user", "thought", "reply",
                ])
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_repeated_unless_it_was_seen() {
    let stage = Stage::new().await;
    for case in &CASES {
        let scene = stage.scene(case, true, &json!({})).await;
        let replies = vec![says([thought("a"), INSERT]), Reply::Cut(long())];
        assert_eq!(
            scene.failure(replies).await,
            (200, "llm_error".to_owned()),
            "{}",
            case.handle
        );
        scene.goes_on().await;
        let scene = stage.scene(case, false, &json!({})).await;
        let replies = vec![
            says([thought("a"), INSERT]),
            Reply::Cut(long()),
            says([thought("b"), BYE]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_says_nothing_is_a_failure() {
    everywhere(json!({}), async |scene| {
        let expected = if scene.streamed {
            (200, "llm_empty_response")
        } else {
            (500, "llm_error")
        };
        let (status, kind) = scene.failure(vec![says([])]).await;
        assert_eq!((status, kind.as_str()), expected);
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_gemini_gets_wrong_is_asked_for_again() {
    let stage = Stage::new().await;
    for streamed in [false, true] {
        let case = &CASES[6];
        let scene = stage.scene(case, streamed, &json!({})).await;
        let wrong = Answer {
            end: End::Malformed,
            ..Answer::default()
        };
        let replies = vec![
            Reply::Says(wrong),
            says([thought("a"), INSERT]),
            says([BYE]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene
            .expect(&["user", "thought", "call", "return", "reply"])
            .await;
    }
}
