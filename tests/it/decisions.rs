//! Rules that hold the design together (`decisions` 27 to 45) and have no place in another file: each under its number.

use crate::world::World;
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn decision_27_an_ordinary_message_is_two_durable_batches() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    world.send(&agent, "warm").await;
    let before = syncs(&world).await;
    for _ in 0..10 {
        world.send(&agent, "hello").await;
    }
    assert_eq!(syncs(&world).await - before, 20);
}

async fn syncs(world: &World) -> u64 {
    world.get("/v1/greenroom/tree").await["syncs"]
        .as_u64()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_30_a_request_that_its_agent_lost_is_run_once() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    world.send(&agent, "warm").await;
    world.panic_at("agent:1").await;
    let answer = world.send(&agent, "once").await;
    assert_eq!(answer["messages"][0]["content"], "echo: once");
    let history = world.history(&agent).await;
    let copies = history
        .iter()
        .filter(|message| message["content"] == "once");
    assert_eq!(copies.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_33_a_shared_block_is_fresh_in_every_prompt_and_its_edit_wakes_nobody() {
    let mut world = World::new().await;
    let (agent, sleeper) = (world.agent(&[]).await, world.agent(&[]).await);
    let block = world
        .post("/v1/blocks/", json!({"label": "shared", "value": "old"}))
        .await;
    let block = block["id"].as_str().unwrap();
    for agent in [&agent, &sleeper] {
        let path = format!("/v1/agents/{agent}/core-memory/blocks/attach/{block}");
        let (status, answer) = world.call(Method::PATCH, &path, None).await;
        assert!(status.is_success(), "{answer}");
    }
    world.kill();
    world.start().await;
    world.send(&agent, "awake").await;
    let change = json!({"value": "newer than all"});
    let (status, answer) = world
        .call(Method::PATCH, &format!("/v1/blocks/{block}"), Some(change))
        .await;
    assert!(status.is_success(), "{answer}");
    let asleep = world.node(&format!("agent:{sleeper}")).await;
    assert!(asleep.is_none(), "{asleep:?}");
    for agent in [&agent, &sleeper] {
        let system = &world.history(agent).await[0]["content"];
        assert!(
            system.as_str().unwrap().contains("newer than all"),
            "{system}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_35_a_deleted_agent_ends_its_runs_and_is_gone_for_every_read() {
    let mut world = World::new().await;
    let agent = world.agent(&[]).await;
    world.send(&agent, "before").await;
    let message = world.history(&agent).await[1]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let run = world.start_run(&agent, "[[silent:60000]] never").await;
    let step = world.get(&format!("/v1/steps/?agent_id={agent}")).await[0]["id"].clone();
    let (status, answer) = world
        .call(Method::DELETE, &format!("/v1/agents/{agent}"), None)
        .await;
    assert!(status.is_success(), "{answer}");
    for restarted in [false, true] {
        if restarted {
            world.kill();
            world.start().await;
        }
        for path in [
            format!("/v1/agents/{agent}"),
            format!("/v1/agents/{agent}/messages"),
            format!("/v1/runs/{run}"),
            format!("/v1/steps/{}", step.as_str().unwrap()),
            format!("/v1/messages/{message}"),
        ] {
            let (status, answer) = world.call(Method::GET, &path, None).await;
            let built = status != StatusCode::NOT_IMPLEMENTED;
            assert!(
                !built || status == StatusCode::NOT_FOUND,
                "{path}: {status} {answer}"
            );
        }
        assert_eq!(world.get("/v1/agents/").await, json!([]));
        assert_eq!(world.get("/v1/runs/?active=true").await, json!([]));
        let body = json!({"input": "hello"});
        let (status, _) = world
            .call(
                Method::POST,
                &format!("/v1/agents/{agent}/messages"),
                Some(body),
            )
            .await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_38_secrets_work_at_once_and_are_never_on_the_disk_in_clear() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new().await;
    let body = json!({"model": "openai/scripted", "secrets": {"TOKEN": "correct-horse-battery"}});
    let agent = world.post("/v1/agents/", body).await;
    let path = format!(
        "/v1/agents/{}?include=agent.secrets",
        agent["id"].as_str().unwrap()
    );
    world.kill();
    let mut folders = vec![world.data().join("data")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(b"correct-horse-battery".len())
                .any(|window| window == b"correct-horse-battery");
            assert!(!found, "{}", path.display());
        }
    }
    let key = std::fs::metadata(world.data().join("data/secret.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    world.start().await;
    let secrets = &world.get(&path).await["secrets"];
    assert_eq!(secrets[0]["value"], "correct-horse-battery", "{secrets}");
}
