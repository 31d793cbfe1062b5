//! What was acknowledged survives `kill -9`.

use crate::world::World;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_is_remembered_after_kill_9() {
    let mut world = World::with(&[("OPENAI_API_BASE", "")]).await;
    let agent = world
        .post(
            "/v1/agents/",
            json!({"memory_blocks": [{"label": "human", "value": ""}]}),
        )
        .await;
    assert_eq!(agent["model"], "greenroom/rehearsal");
    let agent = agent["id"].as_str().unwrap().to_owned();
    world.send(&agent, "My name is Ada.").await;
    world.kill();
    world.start().await;
    let answer = world.send(&agent, "What is my name?").await;
    let said = answer["messages"].as_array().unwrap().last().unwrap()["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(said.contains("Ada"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_11_a_background_run_goes_on_after_kill_9_and_a_foreground_run_is_closed() {
    let mut world = World::new().await;
    let (waited, forgotten) = (world.agent(&[]).await, world.agent(&[]).await);
    let background = world.start_run(&waited, "[[silent:1500]] still here").await;
    let foreground = {
        let (http, url) = (
            world.http.clone(),
            format!("{}/v1/agents/{forgotten}/messages", world.base),
        );
        tokio::spawn(async move {
            http.post(url)
                .json(&json!({"input": "[[silent:5000]] gone"}))
                .send()
                .await
        })
    };
    world
        .until("the foreground run", || async {
            world.model.requests() == 2
        })
        .await;
    let foreground_run = world.get(&format!("/v1/runs/?agent_id={forgotten}")).await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    world.kill();
    assert!(foreground.await.unwrap().is_err());
    world.start().await;
    let record = world.ended(&background).await;
    assert_eq!(
        (record["status"].as_str(), record["stop_reason"].as_str()),
        (Some("completed"), Some("end_turn")),
        "{record}"
    );
    let record = world.ended(&foreground_run).await;
    assert_eq!(
        (
            record["status"].as_str(),
            record["metadata"]["error"]["type"].as_str()
        ),
        (Some("failed"), Some("server_restart")),
        "{record}"
    );
    assert_eq!(
        world.send(&forgotten, "again").await["messages"][0]["content"],
        "echo: again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_had_returned_keeps_its_return_and_the_one_under_way_is_of_unknown_outcome() {
    let mut world = World::new().await;
    let agent = world.agent(&["test_slow"]).await;
    let said = "[[parallel:test_slow {\"seconds\":0.01} | test_slow {\"seconds\":30}]] went on";
    let run = world.start_run(&agent, said).await;
    world
        .until("the second call", || async {
            let node = world.node(&format!("run:{run}")).await.unwrap_or_default();
            node["tool"] == "test_slow" && node["uptime_ms"].as_u64() > Some(300)
        })
        .await;
    world.kill();
    world.start().await;
    let record = world.ended(&run).await;
    assert_eq!(record["status"], "completed", "{record}");
    let history = world.history(&agent).await;
    let returns = history
        .iter()
        .find_map(|message| message["tool_returns"].as_array());
    let statuses: Vec<&str> = returns
        .unwrap()
        .iter()
        .map(|end| end["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["success", "error"], "{history:?}");
    let types: Vec<&str> = history
        .iter()
        .map(|message| message["message_type"].as_str().unwrap())
        .collect();
    let once = [
        "system_message",
        "user_message",
        "tool_call_message",
        "tool_return_message",
        "assistant_message",
    ];
    assert_eq!(types, once);
}

/// Rounds of the loop: a few here, more with `GREENROOM_CRASH_ROUNDS`.
fn rounds() -> u32 {
    std::env::var("GREENROOM_CRASH_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(6)
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_loses_nothing_that_was_acknowledged() {
    let mut world = World::new().await;
    let mut agents = Vec::new();
    for _ in 0..6 {
        agents.push(world.agent(&[]).await);
    }
    let mut acknowledged: Vec<Vec<String>> = vec![Vec::new(); agents.len()];
    for round in 0..rounds() {
        let senders: Vec<_> = agents
            .iter()
            .enumerate()
            .map(|(index, agent)| {
                tokio::spawn(load(
                    world.http.clone(),
                    world.base.clone(),
                    agent.clone(),
                    index,
                    round,
                ))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150 + u64::from(round * 97 % 400))).await;
        world.kill();
        for (index, sender) in senders.into_iter().enumerate() {
            acknowledged[index].extend(sender.await.unwrap());
        }
        world.start().await;
        for (agent, acknowledged) in agents.iter().zip(&acknowledged) {
            assert_state(&world, agent, acknowledged).await;
        }
    }
    println!(
        "{} rounds, {} acknowledged messages",
        rounds(),
        acknowledged.iter().map(Vec::len).sum::<usize>()
    );
}

/// Sends until the daemon dies; the texts that were answered.
async fn load(
    http: reqwest::Client,
    base: String,
    agent: String,
    index: usize,
    round: u32,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let text = format!("a{index} r{round} n{number}");
        let call = format!(
            "[[tool:memory_insert {{\"label\":\"human\",\"new_string\":\"{text}\"}}]] {text}"
        );
        let sent = http
            .post(format!("{base}/v1/agents/{agent}/messages"))
            .json(&json!({"input": call}))
            .send()
            .await;
        let answered = match sent {
            Ok(answer) => answer.status().is_success() && answer.bytes().await.is_ok(),
            Err(_) => false,
        };
        if !answered {
            break;
        }
        acknowledged.push(text);
    }
    acknowledged
}

async fn assert_state(world: &World, agent: &str, acknowledged: &[String]) {
    let active = world
        .get(&format!("/v1/runs/?agent_id={agent}&active=true"))
        .await;
    for run in active.as_array().unwrap() {
        world.ended(run["id"].as_str().unwrap()).await;
    }
    world.assert_paired(agent).await;
    let memory = world
        .get(&format!("/v1/agents/{agent}/core-memory/blocks/human"))
        .await;
    let lines: Vec<&str> = memory["value"].as_str().unwrap().lines().collect();
    for text in acknowledged {
        assert_eq!(
            lines.iter().filter(|line| *line == text).count(),
            1,
            "{text} in {lines:?}"
        );
    }
    let replies: Vec<Value> = world.history(agent).await;
    for text in acknowledged {
        let echo = format!("echo: {text}");
        assert!(
            replies
                .iter()
                .any(|message| message["content"] == echo.as_str()),
            "no reply to {text}"
        );
    }
    assert_eq!(
        world.send(agent, "still there?").await["stop_reason"]["stop_reason"],
        "end_turn"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_39_sigterm_lets_foreground_runs_end_and_refuses_new_ones() {
    let mut world = World::new().await;
    let agent = world.agent(&[]).await;
    let running = {
        let (http, url) = (
            world.http.clone(),
            format!("{}/v1/agents/{agent}/messages", world.base),
        );
        tokio::spawn(async move {
            http.post(url)
                .json(&json!({"input": "[[silent:800]] finished"}))
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap()
        })
    };
    world
        .until("the model call", || async { world.model.requests() == 1 })
        .await;
    let code = tokio::task::block_in_place(|| world.terminate());
    assert_eq!(code, Some(0), "{}", world.log());
    assert!(running.await.unwrap().contains("echo: finished"));
    world.start().await;
    assert_eq!(
        world.send(&agent, "hello").await["messages"][0]["content"],
        "echo: hello"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_34_a_retry_after_a_crash_runs_again_and_keeps_one_copy_of_the_message() {
    let mut world = World::new().await;
    let agent = world.agent(&[]).await;
    let url = format!("{}/v1/agents/{agent}/messages", world.base);
    let said =
        "[[tool:memory_insert {\"label\":\"human\",\"new_string\":\"x\"}]][[silent:700]] once";
    let body = json!({"messages": [{"role": "user", "content": said}]});
    let first = {
        let (http, url, body) = (world.http.clone(), url.clone(), body.clone());
        tokio::spawn(async move { http.post(url).json(&body).send().await })
    };
    world
        .until("the second step", || async { world.model.requests() == 2 })
        .await;
    world.kill();
    assert!(first.await.unwrap().is_err());
    world.start().await;
    let retry = world
        .http
        .post(&url)
        .json(&body)
        .header("x-stainless-retry-count", "1");
    let answer: Value = retry.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["stop_reason"]["stop_reason"], "end_turn", "{answer}");
    let history = world.history(&agent).await;
    let copies = history
        .iter()
        .filter(|message| message["message_type"] == "user_message")
        .count();
    assert_eq!(copies, 1, "{history:?}");
    world.assert_paired(&agent).await;
}
