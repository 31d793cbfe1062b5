//! What a model thought goes back to it as it came, and to no other.

use super::script::{self, Said};
use super::stage::{
    APPEND, BYE, CASES, INSERT, Scene, Thinks, everywhere, gate, says, text, thinks, thought,
};
use crate::turns::{approve, user};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_after_thinking_and_the_next_one() {
    everywhere(json!({}), async |scene| {
        let first = [thought("a"), Said::Redacted("ZGFyaw=="), text("Good day.")];
        scene
            .turn(&[user("Hello")], vec![says(first)], "end_turn")
            .await;
        scene
            .turn(&[user("Bye")], vec![says([thought("b"), BYE])], "end_turn")
            .await;
        let redacted = scene.case.handle.starts_with("anthropic/");
        let dark = if redacted { &["thought"][..] } else { &[] };
        scene
            .expect(
                &[
                    &["user", "thought"],
                    dark,
                    &["reply", "user", "thought", "reply"],
                ]
                .concat(),
            )
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_thought_goes_back_to_it() {
    everywhere(json!({}), async |scene| {
        let shows = scene.case.thinks == Thinks::Shown;
        let replies = vec![
            says([thought("within"), INSERT]),
            says([thought("after"), text("Done.")]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        assert_eq!(is_replayed(scene, "within"), shows);
        scene
            .turn(&[user("And?")], vec![says([BYE])], "end_turn")
            .await;
        // An open model is not shown what it thought in turns that are over.
        let later = shows && scene.case.handle != "vllm/qwen3-8b";
        assert_eq!(
            (is_replayed(scene, "within"), is_replayed(scene, "after")),
            (later, later)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thoughts_in_the_middle_of_an_answer_and_thoughts_that_are_not_shown() {
    everywhere(json!({}), async |scene| {
        let again = thinks("There is more to do.", "b");
        let unseen = |seal| thinks("", seal);
        let replies = vec![
            says([
                thought("a"),
                text("Let me see."),
                again,
                text("Yes."),
                INSERT,
                APPEND,
            ]),
            says([unseen("c"), APPEND]),
            says([Said::Redacted("ZGFyaw=="), APPEND]),
            says([unseen("d"), text("Done.")]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
    })
    .await;
}

/// What the newest request holds of a thought: its seal where there is one, else its words.
fn is_replayed(scene: &Scene<'_>, seal: &str) -> bool {
    let newest = scene.stage.script.bodies().pop().unwrap().to_string();
    newest.contains(&script::spelled(seal)) || newest.contains("reasoning_content")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_with_another_model_and_back() {
    everywhere(json!({}), async |scene| {
        let at = CASES
            .iter()
            .position(|case| case.handle == scene.case.handle)
            .unwrap();
        let others = [1, 2, 4, 7].map(|next| CASES[(at + next) % CASES.len()].handle);
        for (other, seals) in others.into_iter().zip([
            ["a", "b", "c"],
            ["d", "e", "f"],
            ["g", "h", "i"],
            ["j", "k", "l"],
        ]) {
            let [first, second, third] = seals.map(thought);
            let replies = vec![says([first, APPEND]), says([second, text("Mine.")])];
            scene.turn(&[user("Yours?")], replies, "end_turn").await;
            let body = json!({"messages": [user("And yours?")], "override_model": other});
            scene
                .turn_with(
                    &body,
                    vec![says([third, INSERT, APPEND]), says([text("Ours.")])],
                    "end_turn",
                )
                .await;
        }
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_is_carried_on_by_another_model() {
    everywhere(gate(), async |scene| {
        let at = CASES
            .iter()
            .position(|case| case.handle == scene.case.handle)
            .unwrap();
        for (next, seals) in [(4, ["a", "b"]), (3, ["c", "d"])] {
            let [first, second] = seals.map(thought);
            scene
                .turn(
                    &[user("Hello")],
                    vec![says([first, INSERT])],
                    "requires_approval",
                )
                .await;
            let id = scene.waiting().await.remove(0);
            let other = CASES[(at + next) % CASES.len()].handle;
            let body = json!({"messages": [approve(&[&id])], "override_model": other});
            scene
                .turn_with(
                    &body,
                    vec![says([second, APPEND]), says([text("Done.")])],
                    "end_turn",
                )
                .await;
        }
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thinking_that_is_switched_off_and_on_again() {
    everywhere(gate(), async |scene| {
        let Some(settings) = scene.settings() else {
            return;
        };
        let mut off = settings.clone();
        off["thinking"] = json!({"type": "disabled"});
        off["thinking_config"] = json!({"include_thoughts": false});
        let mut on = settings;
        on["thinking"] = json!({"type": "enabled", "budget_tokens": 2_000});
        on["thinking_config"] = json!({"include_thoughts": true, "thinking_budget": 2_000});
        for (seals, first, then) in [(["a", "b"], &on, &off), (["c", "d"], &off, &on)] {
            let [before, after] = seals.map(thought);
            let mind = |thought: Said, settings: &Value| (settings == &on).then_some(thought);
            scene.change(&json!({"model_settings": first})).await;
            let step: Vec<Said> = mind(before, first)
                .into_iter()
                .chain([APPEND, INSERT])
                .collect();
            scene
                .turn(&[user("Hello")], vec![says(step)], "requires_approval")
                .await;
            scene.change(&json!({"model_settings": then})).await;
            let id = scene.waiting().await.remove(0);
            let step: Vec<Said> = mind(after, then).into_iter().chain([APPEND]).collect();
            scene
                .turn(
                    &[approve(&[&id])],
                    vec![says(step), says([BYE])],
                    "end_turn",
                )
                .await;
            scene
                .turn(&[user("And?")], vec![says([BYE])], "end_turn")
                .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_answer() {
    everywhere(json!({}), async |scene| {
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("a"), text("Good day.")])],
                "end_turn",
            )
            .await;
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("b"), text("I note."), APPEND]), says([BYE])],
                "end_turn",
            )
            .await;
        for message in scene.world().history(&scene.agent).await {
            let kind = &message["message_type"];
            let edit = match kind.as_str() {
                Some("assistant_message") => {
                    json!({"message_type": kind, "content": "Something else."})
                }
                // Summaries stand for what only OpenAI can read: they are not the model's words.
                Some("reasoning_message") if scene.case.handle != "openai/gpt-5" => {
                    json!({"message_type": kind, "reasoning": "Quite another thought."})
                }
                _ => continue,
            };
            let path = format!("/v1/{}/{}", scene.path(), message["id"].as_str().unwrap());
            let (status, said) = scene.world().call(Method::PATCH, &path, Some(edit)).await;
            assert!(status.is_success(), "{said}");
        }
        scene.goes_on().await;
    })
    .await;
}
