//! Contexts that grow too large.

use super::script::{Answer, Reply, Said, Trouble, Usage};
use super::stage::{APPEND, BYE, CASES, Scene, Stage, answer, everywhere, says, text, thought};
use crate::turns::user;
use serde_json::json;

/// A few turns to sum up.
async fn talk(scene: &Scene<'_>) {
    let long = "and so on ".repeat(150);
    for seal in ["a", "b", "c"] {
        let replies = vec![says([thought(seal), APPEND]), says([text("So it goes.")])];
        scene.turn(&[user(&long)], replies, "end_turn").await;
    }
}

const SUMMARY: Said = Said::Text("They spoke of old things.");

async fn compacts(mode: &str) {
    let fields = json!({"context_window_limit": 20_000, "compaction_settings": {"mode": mode}});
    everywhere(fields, async |scene| {
        talk(scene).await;
        let full = Usage {
            prompt: 19_000,
            ..Usage::default()
        };
        let last = Answer {
            usage: full,
            ..answer([thought("d"), text("That is all.")])
        };
        let replies = vec![Reply::Says(last), says([thought("e"), SUMMARY])];
        scene.turn(&[user("And?")], replies, "end_turn").await;
        scene.goes_on().await;
        let newest = scene.stage.script.bodies().pop().unwrap().to_string();
        assert!(newest.contains("They spoke of old things."), "{newest}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_is_compacted() {
    compacts("sliding_window").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_its_own_model_compacts_in_place() {
    compacts("self_compact_all").await;
    compacts("self_compact_sliding_window").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_the_vendor_refuses_as_too_long() {
    everywhere(json!({}), async |scene| {
        talk(scene).await;
        let replies = vec![
            Reply::Refuses(Trouble::Overflow),
            says([SUMMARY]),
            says([thought("d"), BYE]),
        ];
        scene.turn(&[user("And?")], replies, "end_turn").await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_turns_out_to_be_too_long() {
    let stage = Stage::new().await;
    for case in &CASES {
        let scene = stage.scene(case, true, &json!({})).await;
        talk(&scene).await;
        let replies = vec![
            Reply::Fails(Trouble::Overflow),
            says([SUMMARY]),
            says([thought("d"), BYE]),
        ];
        scene.turn(&[user("And?")], replies, "end_turn").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_is_too_long_whatever_is_left_out() {
    everywhere(json!({}), async |scene| {
        talk(scene).await;
        // The third time there is nothing left to leave out.
        let refused = || Reply::Refuses(Trouble::Overflow);
        let replies = vec![
            refused(),
            says([SUMMARY]),
            refused(),
            says([SUMMARY]),
            refused(),
        ];
        let expected = if scene.streamed {
            (200, "internal_error")
        } else {
            (400, "")
        };
        let (status, kind) = scene.failure(replies).await;
        assert_eq!((status, kind.as_str()), expected);
        scene.goes_on().await;
    })
    .await;
}
