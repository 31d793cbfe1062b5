//! A retried request is not run twice (decisions 25, 34).

use crate::world::World;
use serde_json::{Value, json};

async fn post(world: &World, agent: &str, headers: &[(&str, &str)], body: Value) -> (u16, Value) {
    let mut request = world
        .http
        .post(format!("{}/v1/agents/{agent}/messages", world.base))
        .json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn runs(world: &World, agent: &str) -> usize {
    world
        .get(&format!("/v1/runs/?agent_id={agent}"))
        .await
        .as_array()
        .unwrap()
        .len()
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_25_a_key_runs_once_and_refuses_another_body() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let key = [("idempotency-key", "k1")];
    let first = post(&world, &agent, &key, json!({"input": "one"})).await;
    let again = post(&world, &agent, &key, json!({"input": "one"})).await;
    assert_eq!(first, again);
    let (status, body) = post(&world, &agent, &key, json!({"input": "two"})).await;
    assert_eq!(status, 422, "{body}");
    assert_eq!(runs(&world, &agent).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_34_a_marked_retry_attaches_while_the_answer_was_not_delivered() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let body = json!({"messages": [{"role": "user", "content": "[[silent:600]] once"}]});
    let impatient = world
        .http
        .post(format!("{}/v1/agents/{agent}/messages", world.base))
        .json(&body)
        .timeout(std::time::Duration::from_millis(200));
    assert!(impatient.send().await.is_err());
    let (status, answer) = post(
        &world,
        &agent,
        &[("x-stainless-retry-count", "1")],
        body.clone(),
    )
    .await;
    assert_eq!(
        (status, answer["messages"][0]["content"].as_str()),
        (200, Some("echo: once"))
    );
    assert_eq!(runs(&world, &agent).await, 1);
    // A new send of the same text is a new run, and so is a retry of an answer that arrived.
    post(
        &world,
        &agent,
        &[("x-stainless-retry-count", "0")],
        body.clone(),
    )
    .await;
    assert_eq!(runs(&world, &agent).await, 2);
    world
        .until("the delivery", || async {
            let retry = [("x-stainless-retry-count", "1")];
            post(&world, &agent, &retry, body.clone()).await;
            runs(&world, &agent).await >= 3
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_12_one_agent_takes_messages_one_after_the_other_and_keeps_them_all() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let sends = (0..10).map(|number| {
        let (http, url) = (
            world.http.clone(),
            format!("{}/v1/agents/{agent}/messages", world.base),
        );
        tokio::spawn(async move {
            http.post(url)
                .json(&json!({"input": format!("m{number}")}))
                .send()
                .await
                .unwrap()
                .status()
                .as_u16()
        })
    });
    for send in sends.collect::<Vec<_>>() {
        assert_eq!(send.await.unwrap(), 200);
    }
    let ids = world.get(&format!("/v1/agents/{agent}")).await["message_ids"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(
        ids, 21,
        "ten messages at once leave ten turns in the context"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_32_two_agents_that_share_a_block_lose_no_edit() {
    let world = World::new().await;
    let (one, two) = (world.agent(&[]).await, world.agent(&[]).await);
    let shared = world
        .post("/v1/blocks/", json!({"label": "shared", "value": "start"}))
        .await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for agent in [&one, &two] {
        let (status, body) = world
            .call(
                reqwest::Method::PATCH,
                &format!("/v1/agents/{agent}/core-memory/blocks/attach/{shared}"),
                None,
            )
            .await;
        assert_eq!(status, 200, "{body}");
    }
    let edits = (0..20)
        .flat_map(|number| {
            [
                (one.clone(), format!("a{number}")),
                (two.clone(), format!("b{number}")),
            ]
        })
        .map(|(agent, text)| {
            let (http, url) = (
                world.http.clone(),
                format!("{}/v1/agents/{agent}/messages", world.base),
            );
            let said = format!(
                "[[tool:memory_insert {{\"label\":\"shared\",\"new_string\":\"{text}\"}}]] ok"
            );
            tokio::spawn(async move {
                http.post(url)
                    .json(&json!({"input": said}))
                    .send()
                    .await
                    .unwrap()
                    .status()
                    .as_u16()
            })
        });
    for edit in edits.collect::<Vec<_>>() {
        assert_eq!(edit.await.unwrap(), 200);
    }
    let value = world.get(&format!("/v1/blocks/{shared}")).await["value"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(value.lines().count(), 41, "{value}");
    for agent in [&one, &two] {
        let system = world.history(agent).await[0]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            system.contains("a19") && system.contains("b19"),
            "decision 33: both prompts hold the final value"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_that_asks_for_a_stream_is_answered_with_the_recorded_turn() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let key = [("idempotency-key", "k2")];
    let body = json!({"input": "one", "streaming": true});
    let send = || {
        let request = world
            .http
            .post(format!("{}/v1/agents/{agent}/messages", world.base));
        request.json(&body).header(key[0].0, key[0].1).send()
    };
    let first = send().await.unwrap().text().await.unwrap();
    let again = send().await.unwrap().text().await.unwrap();
    assert!(
        first.contains("echo: one") && again.contains("echo: one"),
        "{again}"
    );
    assert!(again.ends_with("data: [DONE]\n\n"), "{again}");
    assert_eq!(runs(&world, &agent).await, 1);
}
