//! A record that cannot be read costs the agent it belongs to, by name, and no other.

use crate::world::World;
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::process::Command;

/// Flips a bit in every record of one section of an agent's range (`store/keys.rs`).
fn damage(world: &World, agent: &str, section: u8) {
    let id: uuid::Uuid = agent.strip_prefix("agent-").unwrap().parse().unwrap();
    let prefix = [&[0xA0], id.as_bytes().as_slice(), &[section]].concat();
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
