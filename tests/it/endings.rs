//! However a stream's run ends, and whatever dies under it: one stop reason, one `[DONE]` (decisions 31).

use crate::world::{World, events};
use serde_json::{Value, json};
use std::time::Duration;

/// The types of a stream's events, the end included; each stream has one of either end.
fn types(text: &str) -> Vec<String> {
    let read = |event: &String| {
        let value: Value = serde_json::from_str(event).unwrap_or_default();
        value["message_type"]
            .as_str()
            .unwrap_or(event.as_str())
            .to_owned()
    };
    let types: Vec<String> = events(text).iter().map(read).collect();
    let count = |wanted: &str| types.iter().filter(|found| *found == wanted).count();
    assert_eq!((count("stop_reason"), count("[DONE]")), (1, 1), "{text}");
    types
}

fn send(world: &World, agent: &str, body: &Value) -> reqwest::RequestBuilder {
    let url = format!("{}/v1/agents/{agent}/messages", world.base);
    world.http.post(url).json(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_31_a_stream_outlives_the_agent_under_it() {
    for background in [false, true] {
        let world = World::new().await;
        let agent = world.agent(&[]).await;
        world.send(&agent, "warm").await;
        let said = "[[silent:300]][[tool:memory_insert {\"label\":\"human\",\"new_string\":\"A\"}]] survives";
        let body = json!({"input": said, "streaming": true, "background": background});
        let request = send(&world, &agent, &body);
        let reading = tokio::spawn(async move { request.send().await.unwrap().text().await });
        // The first step was committed and shown; the agent dies of the next message, the commit of the second.
        world
            .until("the second step", || async { world.model.requests() == 3 })
            .await;
        world.panic_at("agent:1").await;
        let text = reading.await.unwrap().unwrap();
        assert_eq!(
            types(&text),
            [
                "ping",
                "tool_call_message",
                "tool_return_message",
                "assistant_message",
                "stop_reason",
                "usage_statistics",
                "[DONE]"
            ],
            "background {background}: {text}"
        );
        assert!(text.contains("echo: survives"), "{text}");
        let node = world.node(&format!("agent:{agent}")).await.unwrap();
        assert_eq!(node["restarts"], 1, "the agent has died: {node}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_34_a_repeated_stream_of_a_run_that_has_ended_shows_its_messages() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let body = json!({"input": "[[silent:300]] once", "streaming": true, "stream_tokens": true});
    let impatient = send(&world, &agent, &body).timeout(Duration::from_millis(150));
    assert!(impatient.send().await.unwrap().text().await.is_err());
    let run = world.get(&format!("/v1/runs/?agent_id={agent}")).await[0]["id"].clone();
    world.ended(run.as_str().unwrap()).await;
    // Its frames leave memory with its actor.
    let name = format!("run:{}", run.as_str().unwrap());
    world
        .until("the run's leave", || async {
            world.node(&name).await.is_none()
        })
        .await;
    let again = send(&world, &agent, &body).header("x-stainless-retry-count", "1");
    let answer = again.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    assert_eq!(
        types(&text),
        [
            "ping",
            "assistant_message",
            "stop_reason",
            "usage_statistics",
            "[DONE]"
        ]
    );
    assert!(text.contains("echo: once"), "{text}");
    let runs = world.get(&format!("/v1/runs/?agent_id={agent}")).await;
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_ends_a_stream_with_its_error() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    for pings in [true, false] {
        let body = json!({"input": "[[error:400]] bad", "streaming": true, "include_pings": pings});
        let text = send(&world, &agent, &body).send().await.unwrap();
        let text = text.text().await.unwrap();
        let first = if pings { vec!["ping"] } else { vec![] };
        let expected = [first, vec!["stop_reason", "error_message", "[DONE]"]].concat();
        assert_eq!(types(&text), expected);
        assert!(text.contains("event: error\ndata: {"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_at_the_end_gets_nothing_more() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let body = json!({"input": "hello", "streaming": true, "background": true});
    let text = send(&world, &agent, &body).send().await.unwrap();
    let last = types(&text.text().await.unwrap()).len();
    let run = world.get(&format!("/v1/runs/?agent_id={agent}")).await[0]["id"].clone();
    let url = format!("{}/v1/runs/{}/stream", world.base, run.as_str().unwrap());
    for (after, left) in [(last, 0), (last - 1, 1), (0, last)] {
        let again = world
            .http
            .post(&url)
            .json(&json!({"starting_after": after}));
        let text = again.send().await.unwrap().text().await.unwrap();
        assert_eq!(events(&text).len(), left, "after {after}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_asynchronous_form_has_a_callback() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let body = json!({"input": "hello", "callback_url": "http://169.254.169.254/"});
    assert_eq!(
        send(&world, &agent, &body).send().await.unwrap().status(),
        200
    );
    let run = world.get(&format!("/v1/runs/?agent_id={agent}")).await[0].clone();
    assert_eq!(run["callback_url"], Value::Null, "{run}");
    let url = format!("{}/v1/agents/{agent}/messages/async", world.base);
    let refused = world.http.post(url).json(&body).send().await.unwrap();
    assert_eq!(refused.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_at_once_is_written_down_as_failed() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    for _ in 0..600 {
        let body = json!({"input": "[[error:400]]", "streaming": true, "stream_tokens": true});
        let answer = send(&world, &agent, &body).send().await.unwrap();
        types(&answer.text().await.unwrap());
    }
    let steps = world
        .get(&format!("/v1/steps/?agent_id={agent}&limit=1000"))
        .await;
    let steps = steps.as_array().unwrap();
    // The worker's exit must not overtake the news that its step had begun.
    let failed = steps.iter().filter(|step| step["status"] == "failed");
    assert_eq!((failed.count(), steps.len()), (600, 600), "{steps:#?}");
}
