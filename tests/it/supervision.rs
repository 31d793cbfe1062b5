//! Every kind of actor dies of an injected panic: siblings serve on, clients are answered, the restart is counted, and the
//! fourth death in the window escalates as the table in `actors.rs` says.

use crate::world::World;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_is_restarted_and_its_client_is_answered() {
    let world = World::new().await;
    let (agent, sibling) = (world.agent(&[]).await, world.agent(&[]).await);
    world.send(&agent, "warm").await;
    let answer = {
        let (http, url) = (
            world.http.clone(),
            format!("{}/v1/agents/{agent}/messages", world.base),
        );
        tokio::spawn(async move {
            http.post(url)
                .json(&json!({"input": "[[silent:400]] survives"}))
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap()
        })
    };
    world
        .until("the model call", || async { world.model.requests() == 2 })
        .await;
    // The next message of an agent is this one's commit.
    world.panic_at("agent:1").await;
    let answer = answer.await.unwrap();
    assert!(
        answer.contains("echo: survives"),
        "{answer}\n{}",
        world.log()
    );
    assert_eq!(
        world.send(&sibling, "hello").await["messages"][0]["content"],
        "echo: hello"
    );
    let node = world.node(&format!("agent:{agent}")).await.unwrap();
    assert_eq!(node["restarts"], 1, "{node}");
    assert!(world.log().contains("an agent died and will be restarted"));
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_36_the_fourth_death_marks_an_agent_faulted_and_its_siblings_serve_on() {
    let world = World::new().await;
    let (agent, sibling) = (world.agent(&[]).await, world.agent(&[]).await);
    let name = format!("agent:{agent}");
    let run = world.start_run(&agent, "[[silent:60000]] accepted").await;
    for death in 1..=4 {
        world.panic_at("agent:1").await;
        let change = json!({"description": "x"});
        let path = format!("/v1/agents/{agent}");
        let _ = world
            .call(reqwest::Method::PATCH, &path, Some(change))
            .await;
        let settled = || async {
            let node = world.node(&name).await.unwrap_or_default();
            let (status, restarts) = (node["status"].as_str(), node["restarts"].as_u64());
            let restarted = status == Some("running") && restarts == Some(death);
            restarted || (death == 4 && status == Some("faulted"))
        };
        world.until(&format!("death {death}"), settled).await;
    }
    let node = world.node(&format!("agent:{agent}")).await.unwrap();
    assert_eq!(
        (
            node["status"].as_str(),
            node["reason"]
                .as_str()
                .map(|reason| reason.contains("injected"))
        ),
        (Some("faulted"), Some(true)),
        "{node}"
    );
    let (status, body) = world
        .call(
            reqwest::Method::POST,
            &format!("/v1/agents/{agent}/messages"),
            Some(json!({"input": "hello"})),
        )
        .await;
    assert_eq!(status, 503, "{body}");
    assert!(
        body["detail"].as_str().unwrap().contains("injected"),
        "{body}"
    );
    let record = world.ended(&run).await;
    assert_eq!(record["status"], "failed", "{record}");
    let history = world.history(&agent).await;
    let kept = history.iter().any(|message| {
        message["content"]
            .as_str()
            .is_some_and(|text| text.ends_with("accepted"))
    });
    assert!(kept, "{history:?}");
    assert_eq!(
        world.send(&sibling, "hello").await["messages"][0]["content"],
        "echo: hello"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_or_a_worker_that_dies_is_picked_up_by_its_agent() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    for kind in ["worker", "run"] {
        world.panic_at(&format!("{kind}:1")).await;
        let answer = world.send(&agent, kind).await;
        assert_eq!(
            answer["messages"][0]["content"],
            format!("echo: {kind}"),
            "{answer}\n{}",
            world.log()
        );
    }
    let active = world
        .get(&format!("/v1/runs/?agent_id={agent}&active=true"))
        .await;
    assert_eq!(active, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_restarted_at_once_and_counted() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    world.send(&agent, "warm").await;
    for kind in ["library", "outbox", "facade", "agents"] {
        world.panic_at(&format!("{kind}:1")).await;
        // What makes the actor of this kind handle something.
        let _ = world
            .http
            .post(format!("{}/v1/blocks/", world.base))
            .json(&json!({"label": "x", "value": "y"}))
            .send()
            .await;
        let another = world
            .http
            .post(format!("{}/v1/agents/", world.base))
            .json(&json!({"model": "openai/scripted"}))
            .send()
            .await;
        if let Ok(another) = another {
            let body: serde_json::Value = another.json().await.unwrap_or_default();
            if let Some(id) = body["id"].as_str() {
                let _ = world
                    .http
                    .post(format!("{}/v1/agents/{id}/messages", world.base))
                    .json(&json!({"input": "x"}))
                    .send()
                    .await;
            }
        }
        let restarted = || async {
            let answer = world
                .http
                .get(format!("{}/v1/greenroom/tree", world.base))
                .send()
                .await;
            let Ok(answer) = answer else { return false };
            let tree: serde_json::Value = answer.json().await.unwrap_or_default();
            tree["nodes"].as_array().is_some_and(|nodes| {
                nodes
                    .iter()
                    .any(|node| node["name"] == kind && node["restarts"] == 1)
            })
        };
        world
            .until(&format!("the restart of {kind}"), restarted)
            .await;
        assert_eq!(
            world.send(&agent, kind).await["messages"][0]["content"],
            format!("echo: {kind}")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_is_restarted_when_its_first_round_kills_it() {
    let world = World::with(&[("GREENROOM_FAULT_PANIC", "catalog:1")]).await;
    world
        .until("the restart of the catalog", || async {
            let node = world.node("catalog").await.unwrap_or_default();
            node["restarts"] == 1 && node["status"] == "running"
        })
        .await;
    let listed = || async { world.model.lists() > 0 };
    world.until("the next round", listed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_is_restarted_when_its_first_round_kills_it() {
    let world = World::with(&[("GREENROOM_FAULT_PANIC", "sweeper:1")]).await;
    world
        .until("the restart of the sweeper", || async {
            let node = world.node("sweeper").await.unwrap_or_default();
            node["restarts"] == 1 && node["status"] == "running"
        })
        .await;
}

/// Asks the library for something; whether there was an answer, good or bad.
async fn poke_the_library(world: &World) -> bool {
    let block = json!({"label": "x", "value": "y"});
    let request = world.http.post(format!("{}/v1/blocks/", world.base));
    request.json(&block).send().await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fourth_death_of_a_service_ends_the_process_and_the_next_one_goes_on() {
    let mut world = World::new().await;
    let agent = world.agent(&[]).await;
    world.send(&agent, "before").await;
    for death in 1..=4 {
        world.panic_at("library:1").await;
        poke_the_library(&world).await;
        if death < 4 {
            let restarted = || async {
                let node = world.node("library").await.unwrap_or_default();
                node["restarts"] == death && node["status"] == "running"
            };
            world.until(&format!("death {death}"), restarted).await;
        }
    }
    world.start_after_its_end().await;
    assert!(
        world
            .log()
            .contains("a service of the supervision tree died too often"),
        "{}",
        world.log()
    );
    let answer = world.send(&agent, "after").await;
    assert_eq!(answer["messages"][0]["content"], "echo: after");
    assert_eq!(world.history(&agent).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_root_ends_the_process_and_the_next_one_goes_on() {
    let mut world = World::new().await;
    let agent = world.agent(&[]).await;
    let run = world.start_run(&agent, "[[silent:1500]] survives").await;
    world
        .until("the model call", || async { world.model.requests() == 1 })
        .await;
    world.panic_at("root:1,library:1").await;
    poke_the_library(&world).await;
    world.start_after_its_end().await;
    let record = world.ended(&run).await;
    assert_eq!(record["status"], "completed", "{record}");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_29_an_idle_agent_leaves_memory_and_comes_back() {
    let world = World::with(&[("GREENROOM__AGENTS__PASSIVATE_AFTER_S", "1")]).await;
    let agent = world.agent(&[]).await;
    world.send(&agent, "one").await;
    let name = format!("agent:{agent}");
    world
        .until("the passivation", || async {
            world.node(&name).await.is_none()
        })
        .await;
    assert_eq!(
        world.send(&agent, "two").await["messages"][0]["content"],
        "echo: two"
    );
    assert_eq!(world.history(&agent).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_panics_ends_its_call_and_not_the_run() {
    let world = World::new().await;
    let agent = world.agent(&["test_panic"]).await;
    let answer = world.send(&agent, "[[tool:test_panic {}]] went on").await;
    assert_eq!(answer["messages"][1]["status"], "error", "{answer}");
    assert_eq!(answer["messages"][2]["content"], "echo: went on");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_outlives_its_agent_is_answered_whole() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let said =
        "[[tool:memory_insert {\"label\":\"human\",\"new_string\":\"x\"}]][[silent:400]] whole";
    let answer = {
        let (http, url) = (
            world.http.clone(),
            format!("{}/v1/agents/{agent}/messages", world.base),
        );
        tokio::spawn(async move {
            let sent = http.post(url).json(&json!({"input": said})).send().await;
            sent.unwrap().json::<serde_json::Value>().await.unwrap()
        })
    };
    world
        .until("the second step", || async { world.model.requests() == 2 })
        .await;
    world.panic_at("agent:1").await;
    let answer = answer.await.unwrap();
    let types: Vec<&str> = answer["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["message_type"].as_str().unwrap())
        .collect();
    let whole = [
        "tool_call_message",
        "tool_return_message",
        "assistant_message",
    ];
    assert_eq!(types, whole, "{answer}");
    world.assert_paired(&agent).await;
}
