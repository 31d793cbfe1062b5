//! Readers of streams: each sees frames 1..n, gapless and alike; nobody changes an outcome.

use crate::world::{World, events};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// The frame numbers that a reader saw; frames without a number stand for the next one.
fn numbers(events: &[String], after: u64) -> Vec<u64> {
    let mut last = after;
    let mut seen = Vec::new();
    for event in events {
        let value: Value = serde_json::from_str(event).unwrap_or_default();
        last = value["seq_id"].as_u64().unwrap_or(last + 1);
        seen.push(last);
    }
    seen
}

/// Reads a run's frames after a number; a reader with `most` leaves after so many events.
async fn read(http: reqwest::Client, url: String, after: u64, most: Option<usize>) -> Vec<String> {
    let answer = http
        .post(url)
        .json(&json!({"starting_after": after, "include_pings": true}))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let mut text = String::new();
    let mut body = answer.bytes_stream();
    while let Some(chunk) = body.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
        let whole = text.matches("\n\n").count();
        if most.is_some_and(|most| whole >= most) {
            break;
        }
    }
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    events(whole)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decision_31_two_hundred_readers_on_ten_runs_see_the_same_frames() {
    let world = World::new().await;
    let mut runs = Vec::new();
    for _ in 0..10 {
        let agent = world.agent(&[]).await;
        let body = json!({"messages": [{"role": "user", "content": "[[slow:60,15]] end"}], "streaming": true, "stream_tokens": true, "background": true});
        let answer = world
            .http
            .post(format!("{}/v1/agents/{agent}/messages", world.base))
            .json(&body)
            .send()
            .await
            .unwrap();
        let first = answer.bytes_stream().next().await.unwrap().unwrap();
        let ping: Value =
            serde_json::from_str(&events(&String::from_utf8_lossy(&first))[0]).unwrap();
        runs.push(ping["run_id"].as_str().unwrap().to_owned());
    }
    let readers = runs
        .iter()
        .flat_map(|run| (0..20).map(move |reader| (run.clone(), reader)))
        .map(|(run, reader)| {
            let (http, url) = (
                world.http.clone(),
                format!("{}/v1/runs/{run}/stream", world.base),
            );
            tokio::spawn(async move {
                // Half of the readers leave in the middle and come back where they were.
                let mut seen = read(
                    http.clone(),
                    url.clone(),
                    0,
                    (reader % 2 == 0).then_some(5 + reader),
                )
                .await;
                if reader % 2 == 0 {
                    let after = *numbers(&seen, 0).last().unwrap();
                    seen.extend(read(http, url, after, None).await);
                }
                (run, seen)
            })
        });
    let mut first: std::collections::HashMap<String, Vec<String>> =
        std::collections::HashMap::new();
    for reader in readers.collect::<Vec<_>>() {
        let (run, seen) = reader.await.unwrap();
        assert_eq!(
            numbers(&seen, 0),
            (1..=seen.len() as u64).collect::<Vec<_>>(),
            "{run}"
        );
        assert_eq!(seen.last().map(String::as_str), Some("[DONE]"));
        assert_eq!(first.entry(run).or_insert_with(|| seen.clone()), &seen);
    }
    for run in runs {
        assert_eq!(world.ended(&run).await["status"], "completed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_21_a_client_that_leaves_changes_no_outcome() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let body = json!({"input": "[[slow:20,20]] whole", "streaming": true, "stream_tokens": true});
    let answer = world
        .http
        .post(format!("{}/v1/agents/{agent}/messages", world.base))
        .json(&body)
        .send()
        .await
        .unwrap();
    drop(answer.bytes_stream().next().await);
    let run = world.get(&format!("/v1/runs/?agent_id={agent}")).await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(world.ended(&run).await["status"], "completed");
    assert!(
        world.history(&agent).await.last().unwrap()["content"]
            .as_str()
            .unwrap()
            .ends_with("echo: whole")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_both_kinds_store_the_same_and_end_once() {
    let world = World::new().await;
    for tokens in [false, true] {
        let agent = world.agent(&[]).await;
        let said = "[[parallel:memory_insert {\"label\":\"human\",\"new_string\":\"A\"} | memory_insert {\"label\":\"persona\",\"new_string\":\"B\"}]] both";
        let body = json!({"input": said, "streaming": true, "stream_tokens": tokens});
        let text = world
            .http
            .post(format!("{}/v1/agents/{agent}/messages", world.base))
            .json(&body)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let events: Vec<Value> = events(&text)
            .iter()
            .map(|event| serde_json::from_str(event).unwrap_or_default())
            .collect();
        let types: Vec<&str> = events
            .iter()
            .filter_map(|event| event["message_type"].as_str())
            .collect();
        let mut order = types.clone();
        order.dedup();
        assert_eq!(
            order,
            [
                "ping",
                "tool_call_message",
                "tool_return_message",
                "assistant_message",
                "stop_reason",
                "usage_statistics"
            ],
            "{text}"
        );
        let calls = types
            .iter()
            .filter(|kind| **kind == "tool_call_message")
            .count();
        assert_eq!(calls > 1, tokens, "{text}");
        let history = world.history(&agent).await;
        let kinds: Vec<&str> = history
            .iter()
            .map(|message| message["message_type"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [
                "system_message",
                "user_message",
                "tool_call_message",
                "tool_return_message",
                "assistant_message"
            ]
        );
        assert_eq!(history[2]["tool_calls"].as_array().unwrap().len(), 2);
        world.assert_paired(&agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_beyond_every_end_is_waited_for_and_ends_with_the_run() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let live = world.start_run(&agent, "[[slow:5,100]]").await;
    let ended = world.start_run(&agent, "short").await;
    for run in [live, ended] {
        for after in [u64::MAX, u64::MAX - 1, 1_000_000] {
            let stream = world
                .http
                .post(format!("{}/v1/runs/{run}/stream", world.base))
                .json(&serde_json::json!({"starting_after": after}));
            let stream = tokio::time::timeout(crate::world::PATIENCE, stream.send());
            let answer = stream.await.unwrap().unwrap();
            assert_eq!(answer.status().as_u16(), 200);
            let text = answer.text().await.unwrap();
            assert!(!text.contains("assistant_message"), "{text}");
            assert_eq!(text.matches("[DONE]").count(), 1, "{text}");
            assert_eq!(text.matches("stop_reason").count(), 2, "{text}");
        }
        world.ended(&run).await;
    }
    assert_eq!(
        world.send(&agent, "next").await["messages"][0]["content"],
        "echo: next"
    );
}

/// Removes the newest frames of a run, as if a crash had come between the commit of a step and that of its frames
/// (`store/keys.rs`).
fn lose_frames(world: &World, agent: &str, run: &str, after: u64) {
    let bytes = |id: &str| {
        let (_, id) = id.split_once('-').unwrap();
        id.parse::<uuid::Uuid>().unwrap().into_bytes()
    };
    let prefix = [&[0xA0][..], &bytes(agent), &[0x16], &bytes(run)].concat();
    let database = sled::open(world.data().join("data/sled")).unwrap();
    let keys = database.scan_prefix(prefix).keys().map(Result::unwrap);
    let number = |key: &sled::IVec| u64::from_be_bytes(*key.last_chunk::<8>().unwrap());
    let lost: Vec<sled::IVec> = keys.filter(|key| number(key) > after).collect();
    assert!(!lost.is_empty());
    for key in lost {
        database.remove(key).unwrap();
    }
    database.flush().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_a_crash_took_are_made_again_from_the_messages() {
    // After the ping, the call and the return of the first step: what is left of these.
    for left in [0, 1, 2] {
        let mut world = World::new().await;
        let agent = world.agent(&[]).await;
        let said = "[[tool:memory_insert {\"label\":\"human\",\"new_string\":\"A\"}]][[silent:2000]]survives";
        let run = world.start_run(&agent, said).await;
        world
            .until("the second step", || async { world.model.requests() == 2 })
            .await;
        tokio::task::block_in_place(|| world.kill());
        lose_frames(&world, &agent, &run, left);
        world.start().await;
        world.ended(&run).await;
        let url = format!("{}/v1/runs/{run}/stream", world.base);
        let text = world
            .http
            .post(url)
            .json(&json!({"starting_after": 0}))
            .send();
        let text = text.await.unwrap().text().await.unwrap();
        let read = |event: &String| serde_json::from_str::<Value>(event).unwrap_or_default();
        let events: Vec<Value> = events(&text).iter().map(read).collect();
        let kinds: Vec<&str> = events
            .iter()
            .filter_map(|event| event["message_type"].as_str())
            .collect();
        assert_eq!(
            kinds,
            [
                "ping",
                "tool_call_message",
                "tool_return_message",
                "assistant_message",
                "stop_reason",
                "usage_statistics"
            ],
            "{left}: {text}"
        );
        let numbers: Vec<u64> = events
            .iter()
            .filter_map(|event| event["seq_id"].as_u64())
            .collect();
        assert_eq!(
            numbers,
            (1..=numbers.len() as u64).collect::<Vec<_>>(),
            "{text}"
        );
    }
}
