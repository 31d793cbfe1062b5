//! Ordinary turns, and inputs out of the ordinary.

use super::script::Said;
use super::stage::{APPEND, BYE, INSERT, everywhere, image, is_seen, says, text, thought};
use crate::model::PIXEL;
use crate::turns::user;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_reply() {
    everywhere(json!({}), async |scene| {
        scene
            .turn(
                &[user("Hello")],
                vec![says([text("Good day, “sir”.\n– E.")])],
                "end_turn",
            )
            .await;
        scene.expect(&["user", "reply"]).await;
        assert_eq!(
            scene.stored().await.last().unwrap()["content"],
            "Good day, “sir”.\n– E."
        );
        let cost = scene.costs().await.remove(0);
        assert_eq!(
            (&cost[1], &cost[2], &cost[3], &cost[4]),
            (&json!(100), &json!(30), &json!(130), &json!(60))
        );
    })
    .await;
}

/// What a request says of the conversation, and what stands before it.
fn said(body: &Value) -> (Vec<Value>, [Value; 2]) {
    let fields = ["messages", "input", "contents"];
    let said = fields.iter().find_map(|field| body[field].as_array());
    let fixed = ["tools", "system"].map(|field| body[field].clone());
    (said.cloned().unwrap(), fixed)
}

/// Takes out the marks for the cache, which move on.
fn unmark(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("cache_control");
            fields.values_mut().for_each(unmark);
        }
        Value::Array(values) => values.iter_mut().for_each(unmark),
        _ => (),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_turn_begins_with_the_one_before() {
    everywhere(json!({}), async |scene| {
        let replies = vec![
            says([thought("a"), text("First."), INSERT, APPEND]),
            says([thought("b"), APPEND]),
            says([thought("c"), BYE]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        let mut bodies = scene.stage.script.bodies();
        bodies.iter_mut().for_each(unmark);
        for pair in bodies.windows(2) {
            let ((before, fixed), (after, same)) = (said(&pair[0]), said(&pair[1]));
            assert!(after.starts_with(&before), "{after:#?}\n{before:#?}");
            assert_eq!(fixed, same);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_refused_in_words() {
    everywhere(json!({}), async |scene| {
        let sorry = Said::Refusal("I will not say “that”.");
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("a"), sorry])],
                "end_turn",
            )
            .await;
        scene.expect(&["user", "thought", "reply"]).await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_limit_of_the_output() {
    everywhere(json!({}), async |scene| {
        let Some(mut settings) = scene.settings() else {
            return;
        };
        settings["max_output_tokens"] = json!(8);
        scene.change(&json!({"model_settings": settings})).await;
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("a"), BYE])],
                "end_turn",
            )
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_from_the_user() {
    everywhere(json!({}), async |scene| {
        let item = json!({"role": "user", "content": [{"type": "text", "text": "What is this?"}, image()]});
        scene.turn(&[item], vec![says([thought("a"), text("A pixel.")])], "end_turn").await;
        assert!(is_seen(scene));
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_every_kind() {
    everywhere(json!({}), async |scene| {
        for (kind, data) in [
            ("image/gif", "R0lGODlhAQABAAAAACwAAAAAAQABAAAC"),
            ("image/webp", "UklGRgAAAABXRUJQ"),
            ("image/bmp", "Qk0AAAAA"),
            ("image/svg+xml", "PHN2Zy8+"),
            ("image/heic", "AAAAGGZ0eXBoZWlj"),
            // What it is shows in its bytes.
            ("application/octet-stream", PIXEL),
        ] {
            let source = json!({"type": "base64", "media_type": kind, "data": data});
            let content =
                json!([{"type": "text", "text": "See:"}, {"type": "image", "source": source}]);
            let item = json!({"role": "user", "content": content});
            scene.turn(&[item], vec![says([BYE])], "end_turn").await;
        }
        assert!(is_seen(scene));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation() {
    everywhere(json!({}), async |scene| {
        let path = format!("/v1/conversations/?agent_id={}", scene.agent);
        let made = scene.world().post(&path, json!({})).await;
        let path = format!("conversations/{}/messages", made["id"].as_str().unwrap());
        for seals in [["a", "b"], ["c", "d"]] {
            let [first, second] = seals.map(thought);
            let body = json!({"messages": [user("Hello")]});
            scene
                .turn_at(
                    &path,
                    &body,
                    vec![says([first, APPEND]), says([second, BYE])],
                    "end_turn",
                )
                .await;
        }
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_no_user_said_and_no_model() {
    everywhere(json!({}), async |scene| {
        let said = |role: &str, text: &str| json!({"role": role, "content": text});
        let strange = [
            said("system", "A day has passed."),
            said("assistant", "Good morning."),
            said("user", " "),
        ];
        scene
            .turn(
                &strange,
                vec![says([thought("a"), APPEND]), says([BYE])],
                "end_turn",
            )
            .await;
        scene
            .turn(
                &[said("assistant", "Good night.")],
                vec![says([thought("b"), BYE])],
                "end_turn",
            )
            .await;
        scene
            .turn(
                &[said("system", "It is late.")],
                vec![says([thought("c"), BYE])],
                "end_turn",
            )
            .await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_ends_after_its_calls() {
    everywhere(json!({}), async |scene| {
        let body = json!({"messages": [user("Hello")], "max_steps": 1});
        scene
            .turn_with(&body, vec![says([thought("a"), INSERT])], "max_steps")
            .await;
        scene.goes_on().await;
        let rule =
            json!({"tool_rules": [{"type": "exit_loop", "tool_name": "core_memory_append"}]});
        scene.change(&rule).await;
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("b"), APPEND])],
                "tool_rule",
            )
            .await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_what_is_sent_then() {
    everywhere(json!({}), async |scene| {
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("a"), APPEND]), says([thought("b"), BYE])],
                "end_turn",
            )
            .await;
        let body = json!({"messages": [user("And?")]});
        let shown = scene.preview(&body).await;
        scene.turn_with(&body, vec![says([BYE])], "end_turn").await;
        let sent = scene.stage.script.bodies().pop().unwrap();
        assert_eq!(shown, sent);
    })
    .await;
}
