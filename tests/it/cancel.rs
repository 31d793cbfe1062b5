//! A cancel reaches a run in every phase: its end is on disk, its stream has exactly one `cancelled` and one `[DONE]`, the
//! connection to the model is closed, and the next message works.

use crate::world::{World, events};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Streams a message in the background of the test; answers with the text of the stream.
fn streaming(world: &World, agent: &str, text: &str) -> tokio::task::JoinHandle<String> {
    let (http, url) = (
        world.http.clone(),
        format!("{}/v1/agents/{agent}/messages", world.base),
    );
    let body = json!({"messages": [{"role": "user", "content": text}], "streaming": true, "stream_tokens": true});
    tokio::spawn(async move {
        http.post(url)
            .json(&body)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    })
}

async fn cancel(world: &World, agent: &str) -> (Value, Duration) {
    let since = Instant::now();
    let answer = world
        .post(&format!("/v1/agents/{agent}/messages/cancel"), json!({}))
        .await;
    (answer, since.elapsed())
}

async fn assert_cancelled(world: &World, agent: &str, stream: tokio::task::JoinHandle<String>) {
    let text = tokio::time::timeout(Duration::from_secs(5), stream)
        .await
        .expect("the stream ends")
        .unwrap();
    let events = events(&text);
    assert_eq!(
        events
            .iter()
            .filter(|event| event.contains("\"stop_reason\":\"cancelled\""))
            .count(),
        1,
        "{text}"
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| event.contains("\"message_type\":\"stop_reason\""))
            .count(),
        1,
        "{text}"
    );
    assert_eq!(
        events.iter().filter(|event| *event == "[DONE]").count(),
        1,
        "{text}"
    );
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let runs = world
        .get(&format!("/v1/runs/?agent_id={agent}&statuses=cancelled"))
        .await;
    assert!(!runs.as_array().unwrap().is_empty());
    world.assert_paired(agent).await;
    assert_eq!(
        world.send(agent, "next").await["messages"][0]["content"],
        "echo: next"
    );
}

async fn cancelled_in(text: &str, tools: &[&str], phase: impl AsyncFn(&World, &str)) -> Duration {
    let world = World::new().await;
    let agent = world.agent(tools).await;
    let stream = streaming(&world, &agent, text);
    phase(&world, &agent).await;
    let (answer, took) = cancel(&world, &agent).await;
    assert!(
        answer
            .as_object()
            .unwrap()
            .values()
            .all(|status| status == "cancelled"),
        "{answer}"
    );
    assert_cancelled(&world, &agent, stream).await;
    println!("cancelled after {took:?}: {text}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    took
}

async fn asked(world: &World, _: &str) {
    world
        .until("the model call", || async { world.model.requests() == 1 })
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn in_tool(world: &World, agent: &str) {
    let busy = || async {
        let tree = world.get("/v1/greenroom/tree").await;
        tree["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|node| node["kind"] == "run" && !node["tool"].is_null())
    };
    world.until(&format!("a tool of {agent}"), busy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_model_is_silent() {
    cancelled_in("[[silent:10000]] late", &[], asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_model_streams_and_its_connection_is_closed() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let stream = streaming(&world, &agent, "[[slow:500,20]] long");
    asked(&world, &agent).await;
    cancel(&world, &agent).await;
    world
        .until("the connection's end", || async {
            world.model.aborted() == 1
        })
        .await;
    assert_cancelled(&world, &agent, stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_slow_tool_runs() {
    cancelled_in(
        "[[tool:test_slow {\"seconds\":20}]] done",
        &["test_slow"],
        in_tool,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_tool_ignores_it() {
    cancelled_in(
        "[[tool:test_stubborn {\"seconds\":3}]] done",
        &["test_stubborn"],
        in_tool,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_waits_for_its_lane() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let first = world.start_run(&agent, "[[silent:1500]] first").await;
    let stream = streaming(&world, &agent, "second");
    let queued = || async {
        world
            .get(&format!("/v1/runs/?agent_id={agent}&statuses=created"))
            .await
            .as_array()
            .unwrap()
            .len()
            == 1
    };
    world.until("the queue", queued).await;
    let second = world
        .get(&format!("/v1/runs/?agent_id={agent}&statuses=created"))
        .await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = world
        .post(
            &format!("/v1/agents/{agent}/messages/cancel"),
            json!({"run_ids": [second, "run-00000000-0000-4000-8000-000000000000", "nonsense"]}),
        )
        .await;
    assert_eq!(
        (
            &answer[&second],
            &answer["run-00000000-0000-4000-8000-000000000000"],
            &answer["nonsense"]
        ),
        (&json!("cancelled"), &json!("failed"), &json!("failed"))
    );
    assert_cancelled(&world, &agent, stream).await;
    assert_eq!(world.ended(&first).await["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_to_cancel_it_says_so() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let (status, body) = world
        .call(
            reqwest::Method::POST,
            &format!("/v1/agents/{agent}/messages/cancel"),
            Some(json!({})),
        )
        .await;
    assert_eq!(status, 409);
    assert!(
        body["detail"].as_str().unwrap().contains("No active runs"),
        "{body}"
    );
}
