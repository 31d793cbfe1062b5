//! A record that cannot be read costs the agent it belongs to, by name, and no other.

use crate::world::World;
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::process::Command;

/// Flips a bit in every record of one section of the range of an agent or a block (`store/keys.rs`).
fn damage(world: &World, owner: &str, section: u8) {
    let (kind, id) = owner.split_once('-').unwrap();
    let space = if kind == "agent" { 0xA0 } else { 0xB0 };
    let id: uuid::Uuid = id.parse().unwrap();
    let prefix = [&[space], id.as_bytes().as_slice(), &[section]].concat();
    let database = sled::open(world.data().join("data/sled")).unwrap();
    let found: Vec<_> = database.scan_prefix(prefix).map(Result::unwrap).collect();
    assert!(!found.is_empty());
    for (key, value) in found {
        let mut value = value.to_vec();
        let middle = value.len() / 2;
        value[middle] ^= 1;
        database.insert(key, value).unwrap();
    }
    database.flush().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_agent_is_named_and_its_neighbours_serve_on() {
    const SETTINGS: u8 = 0x00;
    const HEAD: u8 = 0x01;
    const MESSAGES: u8 = 0x03;
    for section in [SETTINGS, HEAD, MESSAGES] {
        let mut world = World::new().await;
        let (agent, sibling) = (world.agent(&[]).await, world.agent(&[]).await);
        world.send(&agent, "one").await;
        world.send(&sibling, "one").await;
        assert_eq!(tokio::task::block_in_place(|| world.terminate()), Some(0));
        damage(&world, &agent, section);
        let check = Command::new(env!("CARGO_BIN_EXE_greenroom"))
            .args(["check", "--data"])
            .arg(world.data().join("data"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&check.stdout) + String::from_utf8_lossy(&check.stderr);
        assert!(!check.status.success() && said.contains(&agent), "{said}");
        assert!(!said.contains(&sibling), "{said}");

        world.start().await;
        let path = format!("/v1/agents/{agent}/messages");
        let (status, answer) = world
            .call(Method::POST, &path, Some(json!({"input": "two"})))
            .await;
        assert_eq!(status, StatusCode::CONFLICT, "{section}: {answer}");
        assert!(
            answer["detail"].as_str().unwrap().contains(&agent),
            "{answer}"
        );
        let answer = world.send(&sibling, "two").await;
        assert_eq!(answer["messages"][0]["content"], "echo: two");
        let agents = world.get("/v1/agents/").await;
        let listed = agents
            .as_array()
            .unwrap()
            .iter()
            .any(|agent| agent["id"] == sibling.as_str());
        assert!(listed, "{section}: {agents}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_costs_its_own_place_in_the_lists_over_all_agents() {
    const RUNS: u8 = 0x10;
    const STEPS: u8 = 0x14;
    const CONVERSATIONS: u8 = 0x06;
    const BLOCK: u8 = 0x00;
    let mut world = World::new().await;
    let (agent, sibling) = (world.agent(&[]).await, world.agent(&[]).await);
    for agent in [&agent, &sibling] {
        world.send(agent, "one").await;
        let path = format!("/v1/conversations/?agent_id={agent}");
        world.post(&path, json!({})).await;
    }
    let block = world.post(
        "/v1/blocks/",
        json!({"label": "l", "value": "v", "tags": ["hurt"]}),
    );
    let block = block.await["id"].as_str().unwrap().to_owned();
    let lists = ["runs", "steps", "conversations", "agents", "blocks"];
    let mut counts = Vec::new();
    for list in lists {
        let whole = world.get(&format!("/v1/{list}/")).await;
        counts.push(whole.as_array().unwrap().len());
    }
    assert_eq!(counts, [2, 2, 2, 2, 5]);
    assert_eq!(world.get("/v1/tags/").await, json!(["hurt"]));
    assert_eq!(tokio::task::block_in_place(|| world.terminate()), Some(0));
    for section in [RUNS, STEPS, CONVERSATIONS] {
        damage(&world, &agent, section);
    }
    damage(&world, &block, BLOCK);
    world.start().await;
    for (list, count) in lists.into_iter().zip([1, 1, 1, 2, 4]) {
        let rest = world.get(&format!("/v1/{list}/")).await;
        assert_eq!(rest.as_array().unwrap().len(), count, "{list}: {rest}");
    }
    assert_eq!(world.get("/v1/tags/").await, json!([]));
    let path = format!("/v1/blocks/{block}");
    let (status, answer) = world.call(Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
}
