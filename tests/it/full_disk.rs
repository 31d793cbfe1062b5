//! A disk that is full, and has room again (decisions 37): a real file system, small enough to be filled.

use crate::world::World;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

fn said(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_37_below_the_reserve_writes_are_refused_whole_reads_go_on_and_it_heals() {
    let world = World::on_small_disk(128, &[]).await;
    let agent = world.agent(&[]).await;
    world.send(&agent, "one").await;
    let (history, agents) = (world.history(&agent).await, world.get("/v1/agents/").await);

    world.disk().fill(60 * MIB);
    let path = format!("/v1/agents/{agent}");
    let messages = format!("{path}/messages");
    let full = || async {
        let description = json!({"description": "two"});
        let (status, _) = world.call(Method::PATCH, &path, Some(description)).await;
        status == StatusCode::INSUFFICIENT_STORAGE
    };
    world.until("the full disk", full).await;
    for (method, path, body) in [
        (Method::POST, messages.as_str(), said("two")),
        (Method::POST, &format!("{messages}/async"), said("two")),
        (
            Method::POST,
            "/v1/agents/",
            json!({"model": "openai/scripted"}),
        ),
        (
            Method::POST,
            "/v1/blocks/",
            json!({"label": "two", "value": ""}),
        ),
        (Method::DELETE, &path, Value::Null),
    ] {
        let (status, answer) = world.call(method.clone(), path, Some(body)).await;
        assert_eq!(
            status,
            StatusCode::INSUFFICIENT_STORAGE,
            "{method} {path}: {answer}"
        );
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("disk is full"), "{answer}");
    }
    assert_eq!(world.history(&agent).await, history);
    assert_eq!(world.get("/v1/agents/").await[0]["id"], agents[0]["id"]);
    assert_eq!(world.get("/v1/agents/").await.as_array().unwrap().len(), 1);

    world.disk().empty();
    world.until("room", || async { !full().await }).await;
    let answer = world.send(&agent, "three").await;
    assert_eq!(answer["messages"][0]["content"], "echo: three");
    assert_eq!(world.history(&agent).await.len(), history.len() + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_37_when_the_engine_itself_finds_no_room_nothing_acknowledged_is_lost() {
    let settings = [("GREENROOM__DATA__RESERVE_MIB", "0")];
    let mut world = World::on_small_disk(32, &settings).await;
    let agent = world.agent(&[]).await;
    world.disk().fill(2 * MIB);
    let mut acknowledged = Vec::new();
    let (mut refused, mut ended) = (0, false);
    for number in 0..400 {
        let text = format!("{number} {}", "x".repeat(8_000));
        let request = world
            .http
            .post(format!("{}/v1/agents/{agent}/messages", world.base));
        match request.json(&said(&text)).send().await {
            Ok(answer) if answer.status().is_success() => acknowledged.push(text),
            Ok(answer) => {
                let status = answer.status();
                assert!(status.is_server_error(), "{status}");
                refused += 1;
            }
            // The engine could not be opened again, so the process has ended (decisions 37).
            Err(_) => {
                ended = true;
                break;
            }
        }
        if refused == 5 {
            break;
        }
    }
    assert!(acknowledged.len() < 400, "the disk was never full");

    world.disk().empty();
    if ended {
        world.start_after_its_end().await;
    }
    let serves = || async {
        let (status, _) = world
            .call(
                Method::POST,
                &format!("/v1/agents/{agent}/messages"),
                Some(said("again")),
            )
            .await;
        status.is_success()
    };
    world.until("an answer", serves).await;
    let history = world.history(&agent).await;
    for text in acknowledged {
        let found = history
            .iter()
            .filter(|message| message["content"] == text.as_str());
        assert_eq!(found.count(), 1, "{}", &text[..8]);
    }
    world.assert_paired(&agent).await;
}
