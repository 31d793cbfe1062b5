//! Tools that the client runs itself (agent-loop §4, §9): offered with the agent's, asked for like an approval, returned
//! by the client.

use crate::model::{offered, texts};
use crate::turns::{
    append, approve, asked, calls, deny, insert, kinds, messages, parallel, returned, returns,
    routes, stop, tool, user, with,
};
use crate::world::World;
use serde_json::{Value, json};

const PING: &str = "client_ping {\"q\":\"x\"}";

/// A picture of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

fn parameters() -> Value {
    json!({"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]})
}

/// The field `client_tools` with the one tool of the client.
fn ping() -> Value {
    json!({"client_tools": [{"name": "client_ping", "description": "Pings the client", "parameters": parameters()}]})
}

async fn agent(world: &World, rules: Value) -> String {
    let tools = ["memory_insert", "core_memory_append"];
    let fields = json!({"include_base_tools": false, "include_base_tool_rules": false, "tools": tools, "tool_rules": rules});
    world.agent_with(fields).await
}

/// Sends items with the client's tool.
async fn send(world: &World, agent: &str, items: &[Value]) -> Value {
    let path = format!("/v1/agents/{agent}/messages");
    let body = with(&json!({"messages": items}), &ping());
    world.post(&path, body).await
}

/// The entry that returns a call.
fn end(id: &str, output: &Value, status: &str) -> Value {
    json!({"type": "tool", "tool_call_id": id, "tool_return": output, "status": status})
}

fn answer(entries: &[Value]) -> Value {
    json!({"type": "approval", "approvals": entries})
}

/// The last return that the model saw, as it was packed.
fn seen(world: &World) -> Value {
    let text = texts(&world.model.last_body(), "tool").pop().unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_offered_in_this_turn_beside_the_agents_tools() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let path = format!("/v1/agents/{agent}/messages");
    let two = json!({"client_tools": [
        {"name": "client_ping", "description": "Pings the client", "parameters": parameters()},
        {"name": "client_bare"},
    ]});
    world
        .post(&path, with(&json!({"input": "hello"}), &two))
        .await;
    let body = world.model.last_body();
    assert_eq!(
        offered(&body),
        [
            "client_bare",
            "client_ping",
            "core_memory_append",
            "memory_insert"
        ]
    );
    let find = |name: &str| {
        let tools = body["tools"].as_array().unwrap();
        let found = tools.iter().find(|tool| tool["function"]["name"] == name);
        found.unwrap()["function"].clone()
    };
    let offer = find("client_ping");
    assert_eq!(offer["description"], "Pings the client");
    assert_eq!(offer["parameters"]["properties"]["q"]["type"], "string");
    assert_eq!(offer["parameters"]["required"], json!(["q"]));
    // Without parameters it takes none; providers want a schema all the same.
    assert_eq!(find("client_bare")["parameters"]["type"], "object");

    world.send(&agent, "hello").await;
    assert_eq!(
        offered(&world.model.last_body()),
        ["core_memory_append", "memory_insert"],
        "the next turn does not know it"
    );
    let state = world
        .get(&format!("/v1/agents/{agent}?include=agent.tools"))
        .await;
    assert_eq!(state["tools"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_it_waits_and_its_return_is_taken_as_given() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let first = send(&world, &agent, &[user(&format!("{} client", tool(PING)))]).await;
    assert_eq!(kinds(messages(&first)), ["approval_request_message"]);
    let request = &messages(&first)[0];
    assert_eq!(request["tool_call"]["name"], "client_ping");
    assert_eq!(request["otid"], request["id"]);
    let ids = asked(&first);
    assert_eq!(world.pending(&agent).await, *request);

    let entry = with(
        &end(&ids[0], &json!("pong"), "success"),
        &json!({"stdout": ["out"], "stderr": ["err"]}),
    );
    let second = send(&world, &agent, &[answer(std::slice::from_ref(&entry))]).await;
    assert_eq!(
        kinds(messages(&second)),
        ["tool_return_message", "assistant_message"]
    );
    let [ended, reply] = messages(&second) else {
        panic!("{second}")
    };
    assert_eq!(ended["tool_returns"], json!([entry]));
    assert_eq!(
        (&ended["tool_return"], &ended["status"], &ended["stdout"]),
        (&json!("pong"), &json!("success"), &json!(["out"]))
    );
    assert_eq!(ended["step_id"], request["step_id"]);
    assert_ne!(ended["run_id"], request["run_id"]);
    assert_eq!(reply["content"], "echo: client");
    assert_eq!(second["usage"]["step_count"], 1);
    assert_eq!(
        offered(&world.model.last_body()),
        ["client_ping", "core_memory_append", "memory_insert"]
    );
    // agent-loop §7: packed like any return.
    let seen = seen(&world);
    assert_eq!(
        (&seen["status"], &seen["message"]),
        (&json!("OK"), &json!("pong"))
    );
    assert!(seen["time"].is_string(), "{seen}");

    // wire-rules §10 (observed): the answer lists the return, with the deprecated keys null.
    let history = world.history(&agent).await;
    assert_eq!(
        kinds(&history[1..]),
        [
            "user_message",
            "approval_request_message",
            "approval_response_message",
            "tool_return_message",
            "assistant_message"
        ]
    );
    assert_eq!(history[3]["approvals"], json!([entry]));
    for key in ["approve", "approval_request_id", "reason"] {
        assert_eq!(history[3][key], Value::Null, "{key}");
    }
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_return_may_come_in_the_item_of_its_own_and_without_the_tool_being_offered_again() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let first = send(&world, &agent, &[user(&format!("{} client", tool(PING)))]).await;
    let ids = asked(&first);
    let item =
        json!({"type": "tool_return", "tool_returns": [end(&ids[0], &json!("pong"), "success")]});
    let second = world.items(&agent, &[item, user("and then")]).await;
    assert_eq!(
        kinds(messages(&second)),
        ["tool_return_message", "assistant_message"]
    );
    assert_eq!(messages(&second)[1]["content"], "echo: and then");
    assert_eq!(
        offered(&world.model.last_body()),
        ["core_memory_append", "memory_insert"]
    );
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_may_say_that_it_failed() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let first = send(&world, &agent, &[user(&format!("{} went on", tool(PING)))]).await;
    let ids = asked(&first);
    let entry = end(&ids[0], &json!("no \"route\"\nto host"), "error");
    let second = send(&world, &agent, &[answer(&[entry])]).await;
    let ended = &messages(&second)[0];
    assert_eq!(
        (&ended["status"], &ended["tool_return"]),
        (&json!("error"), &json!("no \"route\"\nto host"))
    );
    assert_eq!(messages(&second)[1]["content"], "echo: went on");
    let seen = seen(&world);
    assert_eq!(
        (&seen["status"], &seen["message"]),
        (&json!("Failed"), &json!("no \"route\"\nto host"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_may_be_made_of_parts() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let first = send(&world, &agent, &[user(&format!("{} seen", tool(PING)))]).await;
    let ids = asked(&first);
    let parts = json!([
        {"type": "text", "text": "a picture"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    ]);
    let second = send(
        &world,
        &agent,
        &[answer(&[end(&ids[0], &parts, "success")])],
    )
    .await;
    let ended = &messages(&second)[0];
    let found = &returned(ended, &ids[0])["tool_return"];
    assert_eq!(
        (&found[0]["type"], &found[0]["text"]),
        (&json!("text"), &json!("a picture"))
    );
    // agent-loop §2: images are stored with the source type `letta`.
    assert_eq!(found[1]["type"], "image");
    assert_eq!(found[1]["source"]["type"], "letta");
    assert_eq!(found[1]["source"]["data"], PIXEL);
    // The deprecated field is text, with a placeholder for the image.
    let text = ended["tool_return"].as_str().unwrap();
    assert!(text.contains("a picture"), "{text}");
    assert!(!text.contains(PIXEL), "{text}");
    assert_eq!(messages(&second)[1]["content"], "echo: seen");
    assert_eq!(
        world.history(&agent).await[4]["tool_returns"],
        ended["tool_returns"]
    );
    let told = texts(&world.model.last_body(), "tool").pop().unwrap();
    assert!(
        told.contains("a picture") && !told.contains(PIXEL),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_that_is_too_long_is_cut_and_says_so() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let first = send(&world, &agent, &[user(&format!("{} cut", tool(PING)))]).await;
    let long = "x".repeat(2_000_000);
    let entry = end(&asked(&first)[0], &json!(long), "success");
    let second = send(&world, &agent, &[answer(&[entry])]).await;
    // agent-loop §7: at the cap of §4, which is at least 5000 characters.
    let kept = messages(&second)[0]["tool_return"].as_str().unwrap();
    assert!((5000..1_000_000).contains(&kept.len()), "{}", kept.len());
    let (text, note) = kept.split_once("... [truncated ").unwrap();
    let cut = long.len() - text.len();
    assert_eq!(note, format!("{cut} chars]"));
    assert_eq!(messages(&second)[1]["content"], "echo: cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn free_calls_beside_it_wait_and_return_after_it() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let said = format!("{} mixed", parallel(&[insert("A"), PING.to_owned()]));
    let first = send(&world, &agent, &[user(&said)]).await;
    assert_eq!(
        kinds(messages(&first)),
        ["tool_call_message", "approval_request_message"]
    );
    let free = calls(&messages(&first)[0]);
    let ids = asked(&first);
    assert_eq!(world.block(&agent, "human").await, "Name: unknown");
    let second = send(
        &world,
        &agent,
        &[answer(&[end(&ids[0], &json!("pong"), "success")])],
    )
    .await;
    let ended = &messages(&second)[0];
    assert_eq!(returns(ended), [ids, free].concat());
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA");
    assert_eq!(messages(&second)[1]["content"], "echo: mixed");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn returns_come_first_then_denials_then_what_was_executed() {
    let world = World::new().await;
    let gate = json!([{"type": "requires_approval", "tool_name": "memory_insert"}]);
    let agent = agent(&world, gate).await;
    let said = format!(
        "{} all",
        parallel(&[
            append("free"),
            insert("approved"),
            insert("denied"),
            PING.to_owned()
        ])
    );
    let first = send(&world, &agent, &[user(&said)]).await;
    let free = calls(&messages(&first)[0]);
    let ids = asked(&first);
    let [approved, denied, client] = ids.as_slice() else {
        panic!("{ids:?}")
    };
    let entries = [
        json!({"type": "approval", "tool_call_id": approved, "approve": true}),
        deny(denied, "not this"),
        end(client, &json!("pong"), "success"),
    ];
    let second = send(&world, &agent, &[answer(&entries)]).await;
    let ended = &messages(&second)[0];
    let order = returns(ended);
    assert_eq!(order[..2], [client.clone(), denied.clone()], "{ended}");
    let mut executed = order[2..].to_vec();
    executed.sort();
    let mut expected = vec![free[0].clone(), approved.clone()];
    expected.sort();
    assert_eq!(executed, expected);
    assert_eq!(
        world.block(&agent, "human").await,
        "Name: unknown\napproved"
    );
    assert!(world.block(&agent, "persona").await.ends_with("\nfree"));
    assert_eq!(stop(&second), "end_turn");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_hides_a_tool_of_the_agent_with_the_same_name() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let path = format!("/v1/agents/{agent}/messages");
    let mine = json!({"client_tools": [{"name": "memory_insert", "description": "Mine", "parameters": parameters()}]});
    let said = json!({"messages": [user(&format!("{} hidden", tool(&insert("A"))))]});
    let first = world.post(&path, with(&said, &mine)).await;
    let body = world.model.last_body();
    assert_eq!(offered(&body), ["core_memory_append", "memory_insert"]);
    let tools = body["tools"].as_array().unwrap();
    let offer = tools
        .iter()
        .find(|tool| tool["function"]["name"] == "memory_insert");
    assert_eq!(offer.unwrap()["function"]["description"], "Mine");
    let ids = asked(&first);
    let items = json!({"messages": [answer(&[end(&ids[0], &json!("mine"), "success")])]});
    let second = world.post(&path, with(&items, &mine)).await;
    assert_eq!(messages(&second)[0]["tool_return"], "mine");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown");
    // Without it the agent's own runs.
    let own = world
        .send(&agent, &format!("{} own", tool(&insert("A"))))
        .await;
    assert_eq!(stop(&own), "end_turn");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_for_other_calls_is_refused_and_an_ordinary_message_too() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let said = format!(
        "{} x",
        parallel(&[PING.to_owned(), PING.to_owned(), insert("free")])
    );
    let first = send(&world, &agent, &[user(&said)]).await;
    let ids = asked(&first);
    let free = &calls(&messages(&first)[0])[0];
    let pong = |id: &str| end(id, &json!("pong"), "success");
    for wrong in [
        vec![pong(&ids[0])],
        vec![pong("call_of_nobody")],
        vec![pong(&ids[0]), pong(&ids[1]), pong(free)],
    ] {
        let detail = world.refused(&agent, &[answer(&wrong)]).await;
        assert!(detail.contains("Invalid tool call IDs"), "{detail}");
        let own = json!({"type": "tool_return", "tool_returns": wrong});
        let detail = world.refused(&agent, &[own]).await;
        assert!(detail.contains("Invalid tool call IDs"), "{detail}");
    }
    for (route, fields) in routes() {
        let body = with(&json!({"input": "hello"}), &fields);
        let (status, headers, text) = world.attempt(&agent, route, &body).await;
        assert_eq!(status, 409, "{route} {fields}: {text}");
        assert_eq!(headers["x-should-retry"], "false");
        assert!(text.contains("PENDING_APPROVAL"), "{text}");
    }
    let right = answer(&[pong(&ids[1]), pong(&ids[0])]);
    let second = send(&world, &agent, &[right]).await;
    assert_eq!(stop(&second), "end_turn");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nfree");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_that_comes_again_is_taken_once() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let first = send(&world, &agent, &[user(&format!("{} x", tool(PING)))]).await;
    let item = [answer(&[end(&asked(&first)[0], &json!("pong"), "success")])];
    send(&world, &agent, &item).await;
    let again = send(&world, &agent, &item).await;
    assert_eq!(kinds(messages(&again)), ["assistant_message"]);
    let user = texts(&world.model.last_body(), "user").pop().unwrap();
    assert!(user.contains("keep-alive"), "{user}");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_deny_its_own_tool_and_return_a_gated_one() {
    let world = World::new().await;
    let gate = json!([{"type": "requires_approval", "tool_name": "memory_insert"}]);
    let agent = agent(&world, gate).await;
    let said = format!("{} x", parallel(&[insert("A"), PING.to_owned()]));
    let ids = asked(&send(&world, &agent, &[user(&said)]).await);
    let entries = [
        deny(&ids[1], "no client here"),
        end(&ids[0], &json!("done by hand"), "success"),
    ];
    let second = send(&world, &agent, &[answer(&entries)]).await;
    let ended = &messages(&second)[0];
    assert_eq!(returns(ended), ids);
    assert_eq!(returned(ended, &ids[0])["tool_return"], "done by hand");
    let denied = &returned(ended, &ids[1])["tool_return"];
    assert!(
        denied.as_str().unwrap().contains("no client here"),
        "{denied}"
    );
    assert_eq!(world.block(&agent, "human").await, "Name: unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_the_agent_do_not_hide_it() {
    let world = World::new().await;
    let first = json!([{"type": "run_first", "tool_name": "memory_insert"}]);
    let agent = agent(&world, first).await;
    let said = format!("{} x", tool(PING));
    let turn = send(&world, &agent, &[user(&said)]).await;
    // agent-loop §4: allowed server tools plus all client tools.
    assert_eq!(
        offered(&world.model.last_body()),
        ["client_ping", "memory_insert"]
    );
    let answered = [answer(&[end(&asked(&turn)[0], &json!("pong"), "success")])];
    assert_eq!(stop(&send(&world, &agent, &answered).await), "end_turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_asynchronous_and_the_streaming_form_offer_it_too() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let path = format!("/v1/agents/{agent}/messages/async");
    let body = with(
        &json!({"messages": [user(&format!("{} later", tool(PING)))]}),
        &ping(),
    );
    let run = world.post(&path, body).await["id"].clone();
    let record = world.ended(run.as_str().unwrap()).await;
    assert_eq!(record["stop_reason"], "requires_approval", "{record}");
    let ids = calls(&world.pending(&agent).await);
    let body = json!({"messages": [answer(&[end(&ids[0], &json!("pong"), "success")])]});
    let run = world.post(&path, with(&body, &ping())).await["id"].clone();
    let record = world.ended(run.as_str().unwrap()).await;
    assert_eq!(record["stop_reason"], "end_turn", "{record}");

    for tokens in [false, true] {
        let fields = with(
            &ping(),
            &json!({"streaming": true, "stream_tokens": tokens}),
        );
        let said = json!({"messages": [user(&format!("{} now", tool(PING)))]});
        let frames = world.frames(&agent, &with(&said, &fields)).await;
        let mut order = kinds(&frames);
        order.dedup();
        assert_eq!(
            order,
            [
                "approval_request_message",
                "stop_reason",
                "usage_statistics"
            ]
        );
        assert_eq!(frames[frames.len() - 2]["stop_reason"], "requires_approval");
        let pending = world.pending(&agent).await;
        assert_eq!(frames[0]["id"], pending["id"]);
        let ids = calls(&pending);
        let ended = json!({"messages": [answer(&[end(&ids[0], &json!("pong"), "success")])]});
        let frames = world.frames(&agent, &with(&ended, &fields)).await;
        assert_eq!(frames[0]["message_type"], "tool_return_message");
        assert_eq!(frames[0]["tool_return"], "pong");
        assert_eq!(frames[frames.len() - 2]["stop_reason"], "end_turn");
    }
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_call_waits_through_kill_9_and_can_be_cancelled() {
    let mut world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let first = send(&world, &agent, &[user(&format!("{} x", tool(PING)))]).await;
    world.kill();
    world.start().await;
    let item = answer(&[end(&asked(&first)[0], &json!("pong"), "success")]);
    let second = send(&world, &agent, &[item]).await;
    assert_eq!(messages(&second)[0]["tool_return"], "pong");

    send(&world, &agent, &[user(&format!("{} x", tool(PING)))]).await;
    let path = format!("/v1/agents/{agent}/messages/cancel");
    world.post(&path, json!({})).await;
    assert_eq!(world.pending(&agent).await, Value::Null);
    assert_eq!(
        world.send(&agent, "next").await["messages"][0]["content"],
        "echo: next"
    );
    world.assert_paired(&agent).await;
    let nothing = world.refused(&agent, &[approve(&["call_1"])]).await;
    assert!(
        nothing.contains("No tool call is currently awaiting approval"),
        "{nothing}"
    );
}
