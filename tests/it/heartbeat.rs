//! The heartbeat loop from the outside (agent-loop §1, §11, §13): agents that have to call a tool at every step, say with it
//! whether they want to be called again, and speak with `send_message`.

use crate::model::{choice, offered, texts};
use crate::turns::{approve, asked, deny, insert, kinds, messages, parallel, stop, tool, with};
use crate::world::{World, events};
use reqwest::Method;
use serde_json::{Value, json};

// ── agents and scripts

/// An agent of this type, with these fields.
async fn agent(world: &World, kind: &str, fields: Value) -> String {
    world
        .agent_with(with(&json!({"agent_type": kind}), &fields))
        .await
}

/// One that calls `send_message` and `test_slow` as it likes: no rule ends its turn or goes on with it.
async fn without_rules(world: &World) -> String {
    let fields = json!({"include_base_tools": false, "include_base_tool_rules": false, "tools": ["send_message", "test_slow", "memory_replace"]});
    agent(world, "memgpt_v2_agent", fields).await
}

fn say(words: &str) -> String {
    tool(&format!("send_message {{\"message\":\"{words}\"}}"))
}

/// A call of a tool that no rule names.
fn work(asks: bool) -> String {
    tool(&format!(
        "test_slow {{\"seconds\":0.01,\"request_heartbeat\":{asks}}}"
    ))
}

// ── what came back

/// The agent's list after a message, as this query asks for it.
async fn listed(world: &World, agent: &str, after: &str, query: &str) -> Vec<Value> {
    let path = format!("/v1/agents/{agent}/messages?limit=1000&order=asc&after={after}{query}");
    world.get(&path).await.as_array().unwrap().clone()
}

/// The newest stored message: the return of a message tool is hidden only in a page that shows its call.
async fn last_id(world: &World, agent: &str) -> String {
    let path = format!("/v1/agents/{agent}/messages?limit=1&use_assistant_message=false");
    let page = world.get(&path).await;
    let last = page.as_array().unwrap().last().unwrap().clone();
    last["id"].as_str().unwrap().to_owned()
}

/// The list without the user's own words and the heartbeats between the steps.
fn output(list: &[Value]) -> Vec<Value> {
    let mut list = list.to_vec();
    list.retain(|message| message["message_type"] != "user_message");
    list
}

/// What identifies a piece for a client.
fn piece(message: &Value) -> (String, String, String) {
    let text = |key: &str| message[key].as_str().unwrap().to_owned();
    (text("id"), text("otid"), text("message_type"))
}

fn pieces(messages: &[Value]) -> Vec<(String, String, String)> {
    let mut pieces: Vec<_> = messages.iter().map(piece).collect();
    pieces.dedup();
    pieces
}

/// The `otid` of the piece at this place of a stored message (messages-and-search §4).
fn derived(message: &Value, index: u128) -> String {
    let id = message["id"].as_str().unwrap();
    let id = uuid::Uuid::parse_str(id.strip_prefix("message-").unwrap()).unwrap();
    uuid::Uuid::from_u128(id.as_u128() & !0x7f | index).to_string()
}

/// The pieces of each stored message are numbered from 0 in their order.
fn assert_numbered(messages: &[Value]) {
    let mut index = 0;
    for (at, message) in messages.iter().enumerate() {
        index = match at.checked_sub(1) {
            Some(before) if messages[before]["id"] == message["id"] => index + 1,
            _ => 0,
        };
        assert_eq!(message["otid"], derived(message, index), "{messages:?}");
    }
}

/// The arguments of a message's one call.
fn arguments(message: &Value) -> Value {
    let calls = message["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{message}");
    serde_json::from_str(calls[0]["arguments"].as_str().unwrap()).unwrap()
}

/// The envelope of a heartbeat: its keys are known, and its reason is there.
fn heartbeat(text: &Value) -> Value {
    let envelope: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    let keys: Vec<&String> = envelope.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["type", "reason", "time"], "{envelope}");
    assert_eq!(envelope["type"], "heartbeat");
    assert!(!envelope["reason"].as_str().unwrap().is_empty());
    envelope
}

fn reason(text: &Value) -> String {
    heartbeat(text)["reason"].as_str().unwrap().to_owned()
}

async fn state(world: &World, agent: &str) -> Value {
    let path = format!("/v1/agents/{agent}?include=agent.tools");
    world.get(&path).await
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let mut names: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item[key].as_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    names
}

// ── creation (agent-loop §1)

#[tokio::test(flavor = "multi_thread")]
async fn each_type_has_its_tools_and_each_tool_its_rule() {
    let world = World::new().await;
    let types: [(&str, &[&str]); 5] = [
        (
            "memgpt_v2_agent",
            &[
                "conversation_search",
                "memory_insert",
                "memory_replace",
                "send_message",
            ],
        ),
        (
            "memgpt_agent",
            &[
                "conversation_search",
                "core_memory_append",
                "core_memory_replace",
                "memory",
                "memory_apply_patch",
                "send_message",
            ],
        ),
        ("react_agent", &[]),
        ("workflow_agent", &[]),
        (
            "sleeptime_agent",
            &[
                "memory_finish_edits",
                "memory_insert",
                "memory_replace",
                "memory_rethink",
            ],
        ),
    ];
    for (kind, expected) in types {
        let agent = agent(&world, kind, json!({})).await;
        let state = state(&world, &agent).await;
        assert_eq!(state["agent_type"], kind);
        assert_eq!(names(&state["tools"], "name"), expected, "{kind}");
        assert_eq!(names(&state["tool_rules"], "tool_name"), expected, "{kind}");
        for rule in state["tool_rules"].as_array().unwrap() {
            let ends = ["send_message", "memory_finish_edits"].map(Value::from);
            let wanted = if ends.contains(&rule["tool_name"]) {
                "exit_loop"
            } else {
                "continue_loop"
            };
            assert_eq!(rule["type"], wanted, "{kind}: {rule}");
        }
        assert_eq!(
            state["message_buffer_autoclear"],
            kind == "workflow_agent",
            "{kind}"
        );
    }
    let plain = json!({"include_base_tool_rules": false});
    let plain = agent(&world, "memgpt_v2_agent", plain).await;
    assert_eq!(state(&world, &plain).await["tool_rules"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_has_greeted_and_the_user_has_arrived() {
    let world = World::new().await;
    for kind in [
        "memgpt_v2_agent",
        "memgpt_agent",
        "react_agent",
        "workflow_agent",
    ] {
        let agent = agent(&world, kind, json!({})).await;
        let ids = state(&world, &agent).await["message_ids"].clone();
        assert_eq!(ids.as_array().unwrap().len(), 4, "{kind}");
        let spoken = world.history(&agent).await;
        assert_eq!(
            kinds(&spoken),
            ["system_message", "assistant_message", "user_message"],
            "{kind}"
        );
        assert!(!spoken[1]["content"].as_str().unwrap().is_empty());
        // messages-and-search §3: a login is shown as it is stored.
        let login: Value = serde_json::from_str(spoken[2]["content"].as_str().unwrap()).unwrap();
        assert_eq!(login["type"], "login");
        assert!(login["last_login"].is_string() && login["time"].is_string());

        let path = format!("/v1/agents/{agent}/messages?use_assistant_message=false&order=asc");
        let plain = world.get(&path).await;
        let plain = plain.as_array().unwrap();
        let whole = [
            "system_message",
            "tool_call_message",
            "tool_return_message",
            "user_message",
        ];
        assert_eq!(kinds(plain), whole, "{kind}");
        assert_eq!(plain[1]["tool_call"]["name"], "send_message");
        assert_eq!(arguments(&plain[1])["message"], spoken[1]["content"]);
        assert_eq!(plain[2]["status"], "success");
        assert_eq!(
            plain[2]["tool_call_id"],
            plain[1]["tool_call"]["tool_call_id"]
        );
        let stored: Vec<&Value> = plain.iter().map(|message| &message["id"]).collect();
        assert_eq!(json!(stored), ids);
    }
    for kind in ["sleeptime_agent", "voice_sleeptime_agent"] {
        let agent = agent(&world, kind, json!({})).await;
        assert_eq!(
            kinds(&world.history(&agent).await),
            ["system_message"],
            "{kind}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_sequence_takes_the_place_of_the_greeting() {
    let world = World::new().await;
    let none = json!({"initial_message_sequence": []});
    let none = agent(&world, "memgpt_agent", none).await;
    assert_eq!(kinds(&world.history(&none).await), ["system_message"]);

    let given = json!({"initial_message_sequence": [
        {"role": "assistant", "content": "Welcome back."},
        {"role": "user", "content": "Thanks."},
    ]});
    let given = agent(&world, "memgpt_agent", given).await;
    let history = world.history(&given).await;
    assert_eq!(
        kinds(&history),
        ["system_message", "assistant_message", "user_message"]
    );
    assert_eq!(history[1]["content"], "Welcome back.");
    assert_eq!(history[2]["content"], "Thanks.");
    let answer = world.send(&given, "hello").await;
    assert_eq!(messages(&answer)[0]["content"], "echo: hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_a_plain_turn_and_a_restart() {
    let mut world = World::new().await;
    let types = [
        ("memgpt_v2_agent", json!({})),
        ("memgpt_agent", json!({})),
        ("react_agent", json!({})),
        ("workflow_agent", json!({})),
        (
            "split_thread_agent",
            json!({"system": "You have two threads."}),
        ),
        ("voice_convo_agent", json!({"enable_sleeptime": true})),
        ("voice_sleeptime_agent", json!({})),
        ("sleeptime_agent", json!({})),
    ];
    let mut agents = Vec::new();
    for (kind, mut fields) in types {
        // The sleeptime agent's loop is the native one: its text is the reply (agent-loop §11).
        if kind != "sleeptime_agent" {
            fields["tools"] = json!(["send_message"]);
        }
        let agent = agent(&world, kind, fields).await;
        let answer = world.send(&agent, "hello").await;
        assert_eq!(
            kinds(messages(&answer)),
            ["assistant_message"],
            "{kind}: {answer}"
        );
        assert_eq!(messages(&answer)[0]["content"], "echo: hello", "{kind}");
        assert_eq!(stop(&answer), "end_turn", "{kind}");
        agents.push((kind, agent));
    }
    world.kill();
    world.start().await;
    for (kind, agent) in agents {
        let state = world.get(&format!("/v1/agents/{agent}")).await;
        assert_eq!(
            (&state["agent_type"], &state["last_stop_reason"]),
            (&json!(kind), &json!("end_turn"))
        );
        let answer = world.send(&agent, "again").await;
        assert_eq!(messages(&answer)[0]["content"], "echo: again", "{kind}");
        world.assert_paired(&agent).await;
    }
    let bad = json!({"model": "openai/scripted", "agent_type": "split_thread_agent"});
    let (status, _) = world.call(Method::POST, "/v1/agents/", Some(bad)).await;
    assert_eq!(status, 400, "it has no prompt of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn react_and_workflow_agents_are_shown_no_memory() {
    let world = World::new().await;
    for (kind, shown) in [
        ("memgpt_v2_agent", true),
        ("react_agent", false),
        ("workflow_agent", false),
    ] {
        let agent = agent(&world, kind, json!({"tools": ["send_message"]})).await;
        world.send(&agent, "hello").await;
        let system = texts(&world.model.last_body(), "system").remove(0);
        assert_eq!(system.contains("I am a helper."), shown, "{kind}");
    }
}

// ── what the model is given

#[tokio::test(flavor = "multi_thread")]
async fn it_has_to_call_and_every_tool_that_does_not_end_the_turn_asks_whether_to_go_on() {
    let world = World::new().await;
    for kind in ["memgpt_v2_agent", "memgpt_agent"] {
        let agent = agent(&world, kind, json!({})).await;
        world
            .send(&agent, &format!("{} hello", tool(&first_edit(kind))))
            .await;
        for body in world.model.bodies() {
            assert_eq!(choice(&body), "required");
            assert_ne!(body["parallel_tool_calls"], true, "one call a step");
            let tools = body["tools"].as_array().unwrap();
            assert!(offered(&body).contains(&"send_message"));
            for tool in tools {
                let (name, schema) = (&tool["function"]["name"], &tool["function"]["parameters"]);
                let heartbeat = &schema["properties"]["request_heartbeat"];
                let required = schema["required"].as_array().unwrap();
                let ends = name == "send_message";
                assert_eq!(
                    heartbeat["type"],
                    if ends { Value::Null } else { json!("boolean") },
                    "{name}"
                );
                assert_eq!(
                    required.contains(&json!("request_heartbeat")),
                    !ends,
                    "{name}: {schema}"
                );
                assert!(schema["properties"]["thinking"].is_null(), "{name}");
            }
        }
    }
    // What ends the turn is a matter of rules, not of names.
    let plain = without_rules(&world).await;
    world.send(&plain, "hello").await;
    let body = world.model.last_body();
    for tool in body["tools"].as_array().unwrap() {
        let schema = &tool["function"]["parameters"];
        assert_eq!(
            schema["properties"]["request_heartbeat"]["type"], "boolean",
            "{tool}"
        );
    }
}

/// An edit that goes through on a new agent.
fn first_edit(kind: &str) -> String {
    if kind == "memgpt_agent" {
        "core_memory_append {\"label\":\"human\",\"content\":\"A\"}".to_owned()
    } else {
        insert("A")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_tool_is_asked_for_words() {
    // Decisions 13; agent-loop §11: text is a thought in this loop.
    let world = World::new().await;
    let agent = agent(&world, "react_agent", json!({})).await;
    let answer = world.send(&agent, "hello").await;
    let body = world.model.last_body();
    assert!(offered(&body).is_empty(), "{body}");
    assert!(
        ["nothing", "none"].contains(&choice(&body).as_str()),
        "{body}"
    );
    assert_eq!(kinds(messages(&answer)), ["reasoning_message"], "{answer}");
    assert_eq!(messages(&answer)[0]["reasoning"], "echo: hello");
    assert_eq!(stop(&answer), "end_turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_has_to_follow_is_forced_by_its_name() {
    let world = World::new().await;
    let fields = json!({"tools": ["send_message", "test_slow", "memory_insert"], "tool_rules": [
        {"type": "run_first", "tool_name": "test_slow"},
        {"type": "constrain_child_tools", "tool_name": "test_slow", "children": ["send_message"]},
    ]});
    let agent = agent(&world, "react_agent", fields).await;
    let answer = world.send(&agent, &format!("{} done", work(false))).await;
    assert_eq!(
        kinds(messages(&answer)),
        [
            "tool_call_message",
            "tool_return_message",
            "assistant_message"
        ],
        "the child has to come, whatever the model asked for: {answer}"
    );
    assert_eq!(arguments(&messages(&answer)[0])["request_heartbeat"], true);
    assert_eq!(stop(&answer), "end_turn");
    let bodies = world.model.bodies();
    assert_eq!(offered(&bodies[0]), ["test_slow"]);
    assert_eq!(choice(&bodies[0]), "must call test_slow");
    assert_eq!(offered(&bodies[1]), ["send_message"]);
    assert_eq!(choice(&bodies[1]), "must call send_message");
}

// ── the table of agent-loop §11

/// One turn of the table: what is said, what is shown with and without assistant messages.
struct Row {
    said: String,
    shown: [Vec<&'static str>; 2],
    steps: u64,
}

fn table() -> Vec<Row> {
    let reply = |thought: &[&'static str]| -> [Vec<&'static str>; 2] {
        [
            [thought, &["assistant_message"]].concat(),
            [thought, &["tool_call_message", "tool_return_message"]].concat(),
        ]
    };
    let after_tool = |first: &[&'static str], then: &[&'static str]| {
        let tool = [first, &["tool_call_message", "tool_return_message"]].concat();
        reply(then).map(|reply| [tool.clone(), reply].concat())
    };
    let thinks = ["reasoning_message"];
    vec![
        Row {
            said: say("Hi there, you."),
            shown: reply(&[]),
            steps: 1,
        },
        Row {
            said: format!("[[beside:I greet now.]]{}", say("Hi there, you.")),
            shown: reply(&thinks),
            steps: 1,
        },
        Row {
            said: format!("{}{}", tool(&insert("A")), say("Noted, as you see.")),
            shown: after_tool(&[], &[]),
            steps: 2,
        },
        Row {
            said: format!(
                "[[beside:I note it.]]{}[[beside:Now I tell.]]{}",
                tool(&insert("B")),
                say("Noted, as you see.")
            ),
            shown: after_tool(&thinks, &thinks),
            steps: 2,
        },
    ]
}

/// How a turn is asked for.
fn modes() -> [Value; 3] {
    [
        json!({}),
        json!({"streaming": true}),
        json!({"streaming": true, "stream_tokens": true}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_turn_is_shown_by_the_table_in_answers_in_streams_and_in_lists() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    for row in table() {
        for (place, speaks) in [(0, true), (1, false)] {
            for mode in modes() {
                let before = last_id(&world, &agent).await;
                let view = json!({"input": row.said, "use_assistant_message": speaks});
                let body = with(&view, &mode);
                let whole = mode == json!({});
                let (shown, run) = if whole {
                    let path = format!("/v1/agents/{agent}/messages");
                    let answer = world.post(&path, body.clone()).await;
                    assert_eq!(stop(&answer), "end_turn", "{body}: {answer}");
                    assert_eq!(answer["usage"]["step_count"], row.steps);
                    let shown = messages(&answer).to_vec();
                    let run = shown[0]["run_id"].clone();
                    (shown, run)
                } else {
                    let mut frames = world.frames(&agent, &body).await;
                    let usage = frames.pop().unwrap();
                    assert_eq!(usage["step_count"], row.steps, "{body}");
                    assert_eq!(frames.pop().unwrap()["stop_reason"], "end_turn", "{body}");
                    let run = frames[0]["run_id"].clone();
                    (frames, run)
                };
                // A stream of tokens has several frames of one piece.
                let shape: Vec<String> = pieces(&shown).into_iter().map(|piece| piece.2).collect();
                assert_eq!(shape, row.shown[place], "{body}: {shown:?}");

                let query = format!("&use_assistant_message={speaks}");
                let list = listed(&world, &agent, &before, &query).await;
                assert_eq!(list[0]["content"], row.said);
                let said = output(&list);
                assert_eq!(kinds(&said), row.shown[place], "{body}: {list:?}");
                assert_numbered(&said);
                assert_eq!(pieces(&shown), pieces(&said), "{body}");
                if whole {
                    assert_eq!(shown, said, "an answer is what the list shows");
                }
                // A heartbeat follows each return that goes on, and nothing else.
                let mut expected = vec!["user_message"];
                for kind in &row.shown[place] {
                    expected.push(*kind);
                    let first_return =
                        !expected[..expected.len() - 1].contains(&"tool_return_message");
                    if row.steps == 2 && *kind == "tool_return_message" && first_return {
                        expected.push("user_message");
                    }
                }
                assert_eq!(kinds(&list), expected, "{body}");
                for message in &list {
                    assert_eq!(message["run_id"], run, "{message}");
                }
                // Runs are listed as they were asked for.
                let path = format!("/v1/runs/{}/messages", run.as_str().unwrap());
                assert_eq!(world.get(&path).await, json!(list), "{body}");
            }
        }
    }
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_add_up_to_what_is_stored() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let said = format!(
        "[[beside:I write this down first.]]{}{}",
        tool(&insert("Likes tea.")),
        say("I have written that down for you.")
    );
    let body = json!({"input": said, "streaming": true, "stream_tokens": true});
    let frames = world.frames(&agent, &body).await;
    let joined = |kind: &str, key: &str| -> String {
        let of_kind = frames.iter().filter(|frame| frame["message_type"] == kind);
        of_kind.filter_map(|frame| frame[key].as_str()).collect()
    };
    assert_eq!(
        joined("reasoning_message", "reasoning"),
        "I write this down first."
    );
    assert_eq!(
        joined("assistant_message", "content"),
        "I have written that down for you."
    );
    let count = |kind: &str| {
        kinds(&frames)
            .iter()
            .filter(|found| **found == kind)
            .count()
    };
    for kind in [
        "reasoning_message",
        "assistant_message",
        "tool_call_message",
    ] {
        assert!(count(kind) > 1, "{kind} comes in pieces: {frames:?}");
    }
    let calls: Vec<&Value> = frames
        .iter()
        .filter(|frame| frame["message_type"] == "tool_call_message")
        .collect();
    // wire-rules §8: both fields hold the same object, the name comes first.
    assert_eq!(calls[0]["tool_call"]["name"], "memory_insert");
    assert!(
        calls
            .iter()
            .all(|frame| frame["tool_call"] == frame["tool_calls"])
    );
    let written: String = calls
        .iter()
        .filter_map(|frame| frame["tool_call"]["arguments"].as_str())
        .collect();
    let mut written: Value = serde_json::from_str(&written).unwrap();
    written.as_object_mut().unwrap().remove("request_heartbeat");
    assert_eq!(
        written,
        json!({"label": "human", "new_string": "Likes tea."})
    );
    assert!(
        !frames
            .iter()
            .any(|frame| frame["tool_call"]["name"] == "send_message")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_native_loop_has_no_message_tool() {
    // agent-loop §11: it ignores `use_assistant_message` and its two companions; lists do not.
    let world = World::new().await;
    let agent = world.agent_with(json!({"tools": ["send_message"]})).await;
    let path = format!("/v1/agents/{agent}/messages");
    for speaks in [true, false] {
        let before = last_id(&world, &agent).await;
        let body =
            json!({"input": format!("{} words", say("Hi.")), "use_assistant_message": speaks});
        let answer = world.post(&path, body).await;
        let shape = [
            "tool_call_message",
            "tool_return_message",
            "assistant_message",
        ];
        assert_eq!(kinds(messages(&answer)), shape, "{answer}");
        let list = listed(&world, &agent, &before, "").await;
        assert_eq!(
            kinds(&list),
            ["user_message", "assistant_message", "assistant_message"]
        );
        let list = listed(&world, &agent, &before, "&use_assistant_message=false").await;
        assert_eq!(kinds(&output(&list)), shape);
    }
    let plain = world
        .post(
            &path,
            json!({"input": "hello", "use_assistant_message": false}),
        )
        .await;
    assert_eq!(kinds(messages(&plain)), ["assistant_message"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tool_can_be_the_one_that_speaks() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_agent", json!({})).await;
    let said = format!(
        "{}{}",
        tool("core_memory_append {\"label\":\"human\",\"content\":\"Spoken by a tool.\"}"),
        say("And by mine.")
    );
    let view = json!({"assistant_message_tool_name": "core_memory_append", "assistant_message_tool_kwarg": "content"});
    let shape = [
        "assistant_message",
        "tool_call_message",
        "tool_return_message",
    ];
    let query =
        "&assistant_message_tool_name=core_memory_append&assistant_message_tool_kwarg=content";
    for mode in modes() {
        let before = last_id(&world, &agent).await;
        let body = with(&with(&json!({"input": said}), &view), &mode);
        let shown = if mode == json!({}) {
            let answer = world
                .post(&format!("/v1/agents/{agent}/messages"), body)
                .await;
            assert_eq!(messages(&answer)[0]["content"], "Spoken by a tool.");
            messages(&answer).to_vec()
        } else {
            let mut frames = world.frames(&agent, &body).await;
            frames.truncate(frames.len() - 2);
            frames
        };
        let found: Vec<String> = pieces(&shown).into_iter().map(|piece| piece.2).collect();
        assert_eq!(found, shape, "{mode}");
        assert!(
            shown
                .iter()
                .any(|frame| frame["tool_call"]["name"] == "send_message")
        );
        let list = listed(&world, &agent, &before, query).await;
        assert_eq!(
            kinds(&list),
            [
                "user_message",
                "assistant_message",
                "user_message",
                "tool_call_message",
                "tool_return_message"
            ]
        );
        assert_eq!(pieces(&output(&list)), pieces(&shown));
        let usual = listed(&world, &agent, &before, "").await;
        assert_eq!(
            kinds(&usual),
            [
                "user_message",
                "tool_call_message",
                "tool_return_message",
                "user_message",
                "assistant_message"
            ],
            "who does not ask is shown the usual tool"
        );
        let path = format!("/v1/runs/{}/messages", shown[0]["run_id"].as_str().unwrap());
        assert_eq!(
            world.get(&path).await,
            json!(list),
            "a run is listed as it was asked for"
        );
    }
}

// ── what follows a call (agent-loop §13)

#[tokio::test(flavor = "multi_thread")]
async fn it_is_called_again_if_it_asks() {
    let world = World::new().await;
    let agent = without_rules(&world).await;
    let before = last_id(&world, &agent).await;
    let answer = world
        .send(&agent, &format!("{}{}", work(true), say("Done.")))
        .await;
    assert_eq!(
        kinds(messages(&answer)),
        [
            "tool_call_message",
            "tool_return_message",
            "assistant_message"
        ]
    );
    assert_eq!(arguments(&messages(&answer)[0])["request_heartbeat"], true);
    assert_eq!(stop(&answer), "end_turn");
    let list = listed(&world, &agent, &before, "").await;
    assert_eq!(list[3]["message_type"], "user_message");
    // Clients tell these messages from real ones by this text.
    assert!(
        reason(&list[3]["content"]).contains("request_heartbeat=true"),
        "{list:?}"
    );
    assert_eq!(list[3]["step_id"], list[2]["step_id"], "it ends its step");
    assert!(list[3]["otid"].is_string());
    let seen = texts(&world.model.last_body(), "user").pop().unwrap();
    assert_eq!(
        json!(seen),
        list[3]["content"],
        "the model reads what is stored"
    );

    let before = last_id(&world, &agent).await;
    let answer = world.send(&agent, &work(false)).await;
    assert_eq!(
        kinds(messages(&answer)),
        ["tool_call_message", "tool_return_message"]
    );
    assert_eq!(
        arguments(&messages(&answer)[0]),
        json!({"seconds": 0.01, "request_heartbeat": false})
    );
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(answer["usage"]["step_count"], 1);
    let list = listed(&world, &agent, &before, "").await;
    assert_eq!(
        kinds(&list),
        ["user_message", "tool_call_message", "tool_return_message"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_goes_on_without_being_asked_and_the_stored_call_says_so() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let before = last_id(&world, &agent).await;
    // Neither said no nor yes (traces/158).
    let answer = world
        .send(&agent, &format!("{} noted", tool(&insert("q"))))
        .await;
    let [call, end, reply] = messages(&answer) else {
        panic!("{answer}")
    };
    assert_eq!(
        arguments(call),
        json!({"label": "human", "new_string": "q", "request_heartbeat": true})
    );
    assert_eq!(
        (&end["status"], &end["tool_return"]),
        (&json!("success"), &json!("Name: unknown\nq"))
    );
    assert_eq!(end["name"], "memory_insert");
    assert_eq!(reply["content"], "echo: noted");
    let list = listed(&world, &agent, &before, "").await;
    assert!(
        reason(&list[3]["content"]).contains("request_heartbeat=true"),
        "{list:?}"
    );
    // It said that it did not want to; the rule is stronger.
    let no = "memory_insert {\"label\":\"human\",\"new_string\":\"r\",\"request_heartbeat\":false}";
    let answer = world.send(&agent, &format!("{} noted", tool(no))).await;
    assert_eq!(arguments(&messages(&answer)[0])["request_heartbeat"], true);
    assert_eq!(messages(&answer).len(), 3, "{answer}");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nq\nr");
}

#[tokio::test(flavor = "multi_thread")]
async fn speaking_ends_the_turn_even_if_it_asks_for_more() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    for (asks, end) in [
        ("", "end_turn"),
        (",\"request_heartbeat\":false", "end_turn"),
        (",\"request_heartbeat\":true", "tool_rule"),
    ] {
        let before = last_id(&world, &agent).await;
        let answer = world
            .send(
                &agent,
                &tool(&format!("send_message {{\"message\":\"Hi.\"{asks}}}")),
            )
            .await;
        assert_eq!(kinds(messages(&answer)), ["assistant_message"], "{asks}");
        assert_eq!(stop(&answer), end, "{asks}");
        let run = messages(&answer)[0]["run_id"].as_str().unwrap();
        let run = world.run(run).await;
        assert_eq!(
            (&run["status"], &run["stop_reason"]),
            (&json!("completed"), &json!(end))
        );
        let list = listed(&world, &agent, &before, "&use_assistant_message=false").await;
        assert_eq!(
            kinds(&list),
            ["user_message", "tool_call_message", "tool_return_message"]
        );
        // agent-loop §5: the stored argument is the decision, not the wish.
        assert_eq!(
            arguments(&list[1]),
            json!({"message": "Hi.", "request_heartbeat": false})
        );
        let hidden = listed(&world, &agent, &before, "").await;
        assert_eq!(kinds(&hidden), ["user_message", "assistant_message"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_bound_ends_the_turn_without_a_heartbeat() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let before = last_id(&world, &agent).await;
    let said = format!(
        "{}{}{} never",
        tool(&insert("1")),
        tool(&insert("2")),
        tool(&insert("3"))
    );
    let body = json!({"input": said, "max_steps": 2});
    let answer = world
        .post(&format!("/v1/agents/{agent}/messages"), body)
        .await;
    assert_eq!(
        kinds(messages(&answer)),
        [
            "tool_call_message",
            "tool_return_message",
            "tool_call_message",
            "tool_return_message"
        ]
    );
    assert_eq!(stop(&answer), "max_steps");
    assert_eq!(answer["usage"]["step_count"], 2);
    assert_eq!(arguments(&messages(&answer)[0])["request_heartbeat"], true);
    assert_eq!(
        arguments(&messages(&answer)[2])["request_heartbeat"],
        false,
        "it did not go on"
    );
    let list = listed(&world, &agent, &before, "").await;
    assert_eq!(
        kinds(&list),
        [
            "user_message",
            "tool_call_message",
            "tool_return_message",
            "user_message",
            "tool_call_message",
            "tool_return_message"
        ]
    );
    // A reply at the bound is an ordinary end.
    let body = json!({"input": say("Hi."), "max_steps": 1});
    let answer = world
        .post(&format!("/v1/agents/{agent}/messages"), body)
        .await;
    assert_eq!(stop(&answer), "end_turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_of_several_calls_is_made() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let said = format!("{} one", parallel(&[insert("first"), insert("second")]));
    for mode in modes() {
        let before = last_id(&world, &agent).await;
        let body = with(&json!({"input": said}), &mode);
        world.attempt(&agent, "messages", &body).await;
        let list = listed(&world, &agent, &before, "").await;
        let shape = [
            "user_message",
            "tool_call_message",
            "tool_return_message",
            "user_message",
            "assistant_message",
        ];
        assert_eq!(kinds(&list), shape, "{mode}");
        assert_eq!(arguments(&list[1])["new_string"], "first");
        assert_eq!(list[2]["tool_returns"].as_array().unwrap().len(), 1);
    }
    assert_eq!(
        world.block(&agent, "human").await,
        "Name: unknown\nfirst\nfirst\nfirst"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn words_without_a_call_are_a_failure_that_leaves_the_context_as_it_was() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let before = last_id(&world, &agent).await;
    let body = json!({"input": "[[say:Only words.]]"});
    let (status, _, text) = world.attempt(&agent, "messages", &body).await;
    assert!(status >= 400, "{status} {text}");
    let run = world.get(&format!("/v1/runs/?agent_id={agent}")).await[0].clone();
    assert_eq!(
        (&run["status"], &run["stop_reason"]),
        (&json!("failed"), &json!("no_tool_call"))
    );

    let run = world.start_run(&agent, "[[say:Only words.]]").await;
    let run = world.ended(&run).await;
    assert_eq!(
        (&run["status"], &run["stop_reason"]),
        (&json!("failed"), &json!("no_tool_call"))
    );

    for tokens in [false, true] {
        let body = with(&body, &json!({"streaming": true, "stream_tokens": tokens}));
        let (status, _, text) = world.attempt(&agent, "messages", &body).await;
        assert_eq!(status, 200);
        let read = |event: &String| serde_json::from_str::<Value>(event).unwrap_or_default();
        let read: Vec<Value> = events(&text).iter().map(read).collect();
        let stops: Vec<&Value> = read
            .iter()
            .filter(|event| event["message_type"] == "stop_reason")
            .collect();
        assert_eq!(stops.len(), 1, "{text}");
        assert_eq!(stops[0]["stop_reason"], "no_tool_call", "{text}");
        // runs-and-streaming §3: `… stop_reason, error event, [DONE]`.
        assert!(text.contains("event: error\ndata: {"), "{text}");
        assert_eq!(events(&text).last().map(String::as_str), Some("[DONE]"));
    }
    // The inputs of a failed first step are listed only on request (runs-and-streaming §14, 1).
    assert_eq!(listed(&world, &agent, &before, "").await, [] as [Value; 0]);
    let kept = listed(&world, &agent, &before, "&include_err=true").await;
    assert!(
        kept.iter()
            .any(|message| message["content"] == "[[say:Only words.]]"),
        "{kept:?}"
    );
    let answer = world.send(&agent, "on").await;
    assert_eq!(messages(&answer)[0]["content"], "echo: on");
    let seen = texts(&world.model.last_body(), "user");
    assert!(
        !seen.iter().any(|text| text.contains("Only words")),
        "{seen:?}"
    );

    // In a later step: what was committed before stays.
    let before = last_id(&world, &agent).await;
    let run = world
        .start_run(
            &agent,
            &format!("{}[[say:Only words.]]", tool(&insert("kept"))),
        )
        .await;
    assert_eq!(world.ended(&run).await["stop_reason"], "no_tool_call");
    let list = listed(&world, &agent, &before, "").await;
    assert_eq!(
        kinds(&list),
        [
            "user_message",
            "tool_call_message",
            "tool_return_message",
            "user_message"
        ]
    );
    assert!(world.block(&agent, "human").await.ends_with("kept"));
    assert_eq!(
        messages(&world.send(&agent, "on").await)[0]["content"],
        "echo: on"
    );
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_failed_is_told_to_the_model() {
    let world = World::new().await;
    let agent = without_rules(&world).await;
    let miss = |asks: bool| {
        tool(&format!(
            "memory_replace {{\"label\":\"human\",\"old_string\":\"absent\",\"new_string\":\"x\",\"request_heartbeat\":{asks}}}"
        ))
    };
    let before = last_id(&world, &agent).await;
    let answer = world
        .send(&agent, &format!("{}{}", miss(true), say("It failed.")))
        .await;
    assert_eq!(
        kinds(messages(&answer)),
        [
            "tool_call_message",
            "tool_return_message",
            "assistant_message"
        ]
    );
    assert_eq!(messages(&answer)[1]["status"], "error");
    let list = listed(&world, &agent, &before, "").await;
    heartbeat(&list[3]["content"]);
    let seen = texts(&world.model.last_body(), "tool").pop().unwrap();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["status"], "Failed");
    // It did not ask to be called again.
    let answer = world.send(&agent, &miss(false)).await;
    assert_eq!(
        kinds(messages(&answer)),
        ["tool_call_message", "tool_return_message"],
        "{answer}"
    );
    assert_eq!(stop(&answer), "end_turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_breaks_a_rule_or_cannot_be_read_is_not_made_and_the_turn_goes_on() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let before = last_id(&world, &agent).await;
    let answer = world
        .send(
            &agent,
            &format!(
                "{} sorry",
                tool("no_such_tool {\"request_heartbeat\":false}")
            ),
        )
        .await;
    let [call, end, reply] = messages(&answer) else {
        panic!("{answer}")
    };
    assert_eq!(call["tool_call"]["name"], "no_such_tool");
    assert_eq!(end["status"], "error");
    let text = end["tool_return"].as_str().unwrap();
    assert!(text.starts_with("[ToolConstraintError]"), "{text}");
    assert!(
        text.contains("no_such_tool") && text.contains("send_message"),
        "{text}"
    );
    assert_eq!(reply["content"], "echo: sorry");
    heartbeat(&listed(&world, &agent, &before, "").await[3]["content"]);

    let answer = world.send(&agent, "[[badjson:memory_insert]] sorry").await;
    assert_eq!(
        kinds(messages(&answer)),
        [
            "tool_call_message",
            "tool_return_message",
            "assistant_message"
        ],
        "{answer}"
    );
    assert_eq!(messages(&answer)[1]["status"], "error");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_is_owed_keeps_the_turn_open_after_it_has_spoken() {
    let world = World::new().await;
    let fields =
        json!({"tool_rules": [{"type": "required_before_exit", "tool_name": "memory_insert"}]});
    let agent = agent(&world, "memgpt_v2_agent", fields).await;
    let before = last_id(&world, &agent).await;
    let said = format!(
        "{}{}{}",
        say("Too early."),
        tool(&insert("owed")),
        say("Now.")
    );
    let answer = world.send(&agent, &said).await;
    assert_eq!(
        kinds(messages(&answer)),
        [
            "assistant_message",
            "tool_call_message",
            "tool_return_message",
            "assistant_message"
        ],
        "{answer}"
    );
    assert_eq!(stop(&answer), "end_turn");
    let list = listed(&world, &agent, &before, "").await;
    assert_eq!(list[2]["message_type"], "user_message");
    assert!(
        reason(&list[2]["content"]).contains("memory_insert"),
        "{list:?}"
    );
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nowed");
}

// ── thoughts in arguments

#[tokio::test(flavor = "multi_thread")]
async fn thoughts_in_arguments_are_asked_for_first_and_shown_as_thoughts() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let mut config = state(&world, &agent).await["llm_config"].clone();
    config["put_inner_thoughts_in_kwargs"] = json!(true);
    let change = json!({"llm_config": config});
    let (status, answer) = world
        .call(Method::PATCH, &format!("/v1/agents/{agent}"), Some(change))
        .await;
    assert!(status.is_success(), "{answer}");
    assert_eq!(answer["llm_config"]["put_inner_thoughts_in_kwargs"], true);

    let note =
        "memory_insert {\"thinking\":\"I note it.\",\"label\":\"human\",\"new_string\":\"A\"}";
    let speak = "send_message {\"thinking\":\"Now I tell.\",\"message\":\"Noted.\"}";
    let said = format!("{}{}", tool(note), tool(speak));
    let shape = [
        "reasoning_message",
        "tool_call_message",
        "tool_return_message",
        "reasoning_message",
        "assistant_message",
    ];
    for mode in modes() {
        let before = last_id(&world, &agent).await;
        let body = with(&json!({"input": said}), &mode);
        let shown = if mode == json!({}) {
            messages(
                &world
                    .post(&format!("/v1/agents/{agent}/messages"), body)
                    .await,
            )
            .to_vec()
        } else {
            let mut frames = world.frames(&agent, &body).await;
            frames.truncate(frames.len() - 2);
            frames
        };
        let found: Vec<String> = pieces(&shown).into_iter().map(|piece| piece.2).collect();
        assert_eq!(found, shape, "{mode}: {shown:?}");
        let thought: String = shown
            .iter()
            .filter_map(|frame| frame["reasoning"].as_str())
            .collect();
        assert_eq!(thought, "I note it.Now I tell.");
        for thought in shown
            .iter()
            .filter(|frame| frame["message_type"] == "reasoning_message")
        {
            assert_eq!(thought["source"], "non_reasoner_model");
        }
        let list = output(&listed(&world, &agent, &before, "").await);
        assert_eq!(pieces(&shown), pieces(&list));
        assert_eq!(kinds(&list), shape);
        assert_numbered(&list);
        assert!(
            arguments(&list[1])["thinking"].is_null(),
            "moved out of the arguments: {}",
            list[1]
        );
        assert_eq!(arguments(&list[1])["new_string"], "A");
    }
    for body in world.model.bodies() {
        for tool in body["tools"].as_array().unwrap() {
            let schema = &tool["function"]["parameters"];
            let first = schema["properties"].as_object().unwrap().keys().next();
            assert_eq!(first.map(String::as_str), Some("thinking"), "{tool}");
            assert_eq!(schema["properties"]["thinking"]["type"], "string");
            assert_eq!(schema["required"][0], "thinking", "{tool}");
        }
    }
    // A tool never gets the thought: the edits went through.
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA\nA\nA");
    // The native loop ignores the setting.
    let native = world.agent(&[]).await;
    let config = json!({"llm_config": config});
    world
        .call(Method::PATCH, &format!("/v1/agents/{native}"), Some(config))
        .await;
    world.send(&native, "hello").await;
    let body = world.model.last_body();
    for tool in body["tools"].as_array().unwrap() {
        assert!(
            tool["function"]["parameters"]["properties"]["thinking"].is_null(),
            "{tool}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_beside_a_call_are_its_thought() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let answer = world
        .send(&agent, &format!("[[beside:I should greet.]]{}", say("Hi.")))
        .await;
    let [thought, reply] = messages(&answer) else {
        panic!("{answer}")
    };
    assert_eq!(
        (
            &thought["message_type"],
            &thought["reasoning"],
            &thought["source"],
            &thought["signature"]
        ),
        (
            &json!("reasoning_message"),
            &json!("I should greet."),
            &json!("non_reasoner_model"),
            &Value::Null
        )
    );
    assert_eq!(
        (&reply["content"], &reply["id"]),
        (&json!("Hi."), &thought["id"])
    );
    assert_numbered(messages(&answer));
}

// ── approvals

#[tokio::test(flavor = "multi_thread")]
async fn one_call_can_wait_for_the_users_word() {
    let world = World::new().await;
    let fields =
        json!({"tool_rules": [{"type": "requires_approval", "tool_name": "memory_insert"}]});
    let agent = agent(&world, "memgpt_v2_agent", fields).await;
    for (yes, line) in [(true, "yes"), (false, "no")] {
        let before = last_id(&world, &agent).await;
        let answer = world
            .send(&agent, &format!("{} answered", tool(&insert(line))))
            .await;
        assert_eq!(
            kinds(messages(&answer)),
            ["approval_request_message"],
            "{answer}"
        );
        let ids = asked(&answer);
        assert_eq!(ids.len(), 1);
        let word = if yes {
            approve(&[&ids[0]])
        } else {
            json!({"type": "approval", "approvals": [deny(&ids[0], "Not that.")]})
        };
        let answer = world.items(&agent, &[word]).await;
        assert_eq!(
            kinds(messages(&answer)),
            ["tool_return_message", "assistant_message"],
            "{answer}"
        );
        assert_eq!(
            messages(&answer)[0]["status"],
            if yes { "success" } else { "error" }
        );
        assert_eq!(messages(&answer)[1]["content"], "echo: answered");
        let list = listed(&world, &agent, &before, "").await;
        assert_eq!(
            kinds(&list),
            [
                "user_message",
                "approval_request_message",
                "approval_response_message",
                "tool_return_message",
                "user_message",
                "assistant_message"
            ]
        );
        heartbeat(&list[4]["content"]);
    }
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nyes");
    world.assert_paired(&agent).await;
}

// ── forgetting, failing, ending

#[tokio::test(flavor = "multi_thread")]
async fn who_forgets_starts_every_run_from_the_system_message() {
    // messages-and-search §8.
    let world = World::new().await;
    let forgetful = json!({"message_buffer_autoclear": true});
    let agents = [
        agent(&world, "memgpt_v2_agent", forgetful.clone()).await,
        agent(
            &world,
            "workflow_agent",
            json!({"tools": ["send_message", "memory_insert"]}),
        )
        .await,
        world.agent_with(forgetful).await,
    ];
    for agent in agents {
        for turn in ["first", "second"] {
            let before = last_id(&world, &agent).await;
            world
                .send(&agent, &format!("{} {turn}", tool(&insert(turn))))
                .await;
            let bodies = world.model.bodies();
            let first = &bodies[bodies.len() - 2];
            let roles: Vec<&str> = first["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|message| message["role"].as_str().unwrap())
                .collect();
            assert_eq!(roles.len(), 2, "{turn}: {roles:?}");
            assert_eq!(roles[1], "user");
            assert!(
                bodies.last().unwrap()["messages"].as_array().unwrap().len() >= 4,
                "within a run nothing is forgotten"
            );
            let run = listed(&world, &agent, &before, "&use_assistant_message=false").await;
            let mut stored: Vec<Value> = run.iter().map(|message| message["id"].clone()).collect();
            stored.dedup();
            let ids = world.get(&format!("/v1/agents/{agent}")).await["message_ids"].clone();
            assert_eq!(
                json!(ids.as_array().unwrap()[1..]),
                json!(stored),
                "{turn}: the run takes the place of the old list"
            );
        }
        let history = world.history(&agent).await;
        let said = |turn: &str| {
            history
                .iter()
                .any(|message| message["content"] == format!("echo: {turn}"))
        };
        assert!(said("first") && said("second"), "recall keeps everything");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_keeps_the_steps_that_were_committed_and_their_heartbeats() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({"tools": ["test_slow"]})).await;
    // While the model is asked for the second step.
    let before = last_id(&world, &agent).await;
    let run = world.start_run(&agent, "[[silent:10000]] never").await;
    world
        .until("a model call", || async { world.model.requests() >= 1 })
        .await;
    cancel(&world, &agent, &run).await;
    assert_eq!(
        listed(&world, &agent, &before, "").await.len(),
        1,
        "only the input"
    );

    let before = last_id(&world, &agent).await;
    let run = world
        .start_run(
            &agent,
            &format!(
                "{}[[tool:test_slow {{\"seconds\":20}}]] never",
                tool(&insert("kept"))
            ),
        )
        .await;
    let busy = || async {
        let node = world.node(&format!("run:{run}")).await.unwrap_or_default();
        node["tool"] == "test_slow"
    };
    world.until("the slow tool", busy).await;
    cancel(&world, &agent, &run).await;
    let list = listed(&world, &agent, &before, "").await;
    assert_eq!(
        kinds(&list),
        [
            "user_message",
            "tool_call_message",
            "tool_return_message",
            "user_message",
            "tool_call_message",
            "tool_return_message"
        ],
        "{list:?}"
    );
    heartbeat(&list[3]["content"]);
    assert_eq!(
        list[5]["status"], "error",
        "the open call is answered as cancelled"
    );
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nkept");
    world.assert_paired(&agent).await;
    assert_eq!(
        messages(&world.send(&agent, "next").await)[0]["content"],
        "echo: next"
    );
}

async fn cancel(world: &World, agent: &str, run: &str) {
    let path = format!("/v1/agents/{agent}/messages/cancel");
    let answer = world.post(&path, json!({"run_ids": [run]})).await;
    assert_eq!(answer[run], "cancelled");
    let record = world.run(run).await;
    assert_eq!(
        (&record["status"], &record["stop_reason"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_turn_goes_on_after_kill_9_where_it_was() {
    let mut world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let before = last_id(&world, &agent).await;
    let run = world
        .start_run(
            &agent,
            &format!("[[silent:700]]{} done", tool(&insert("once"))),
        )
        .await;
    world
        .until("the second step", || async { world.model.requests() == 2 })
        .await;
    world.kill();
    world.start().await;
    let record = world.ended(&run).await;
    assert_eq!(
        (&record["status"], &record["stop_reason"]),
        (&json!("completed"), &json!("end_turn")),
        "{record}"
    );
    let list = listed(&world, &agent, &before, "").await;
    assert_eq!(
        kinds(&list),
        [
            "user_message",
            "tool_call_message",
            "tool_return_message",
            "user_message",
            "assistant_message"
        ]
    );
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nonce");
    assert_eq!(
        messages(&world.send(&agent, "next").await)[0]["content"],
        "echo: next"
    );
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreground_turn_is_closed_after_kill_9_and_its_steps_stay() {
    let mut world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let before = last_id(&world, &agent).await;
    let said = format!("[[silent:700]]{} done", tool(&insert("once")));
    let request = world
        .http
        .post(format!("{}/v1/agents/{agent}/messages", world.base))
        .json(&json!({"input": said}));
    let waiting = tokio::spawn(async move { request.send().await });
    world
        .until("the second step", || async { world.model.requests() == 2 })
        .await;
    world.kill();
    assert!(waiting.await.unwrap().is_err());
    world.start().await;
    let run = world.get(&format!("/v1/runs/?agent_id={agent}")).await[0].clone();
    assert_eq!(
        (&run["status"], &run["metadata"]["error"]["type"]),
        (&json!("failed"), &json!("server_restart"))
    );
    let list = listed(&world, &agent, &before, "").await;
    assert_eq!(
        kinds(&list),
        [
            "user_message",
            "tool_call_message",
            "tool_return_message",
            "user_message"
        ]
    );
    assert_eq!(
        messages(&world.send(&agent, "next").await)[0]["content"],
        "echo: next"
    );
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_under_a_turn_repeats_no_heartbeat() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let before = last_id(&world, &agent).await;
    let run = world
        .start_run(
            &agent,
            &format!("[[silent:400]]{} done", tool(&insert("once"))),
        )
        .await;
    world
        .until("the second step", || async { world.model.requests() == 2 })
        .await;
    world.panic_at("agent:1").await;
    assert_eq!(world.ended(&run).await["stop_reason"], "end_turn");
    let list = listed(&world, &agent, &before, "").await;
    assert_eq!(
        kinds(&list),
        [
            "user_message",
            "tool_call_message",
            "tool_return_message",
            "user_message",
            "assistant_message"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_return_types_that_were_asked_for_are_taken_after_the_table() {
    let world = World::new().await;
    let agent = agent(&world, "memgpt_v2_agent", json!({})).await;
    let said = format!(
        "[[beside:I note it.]]{}{}",
        tool(&insert("A")),
        say("Noted.")
    );
    let before = last_id(&world, &agent).await;
    let body = json!({"input": said, "include_return_message_types": ["assistant_message"]});
    let answer = world
        .post(&format!("/v1/agents/{agent}/messages"), body)
        .await;
    assert_eq!(kinds(messages(&answer)), ["assistant_message"]);
    assert_eq!(messages(&answer)[0]["content"], "Noted.");
    assert_eq!(listed(&world, &agent, &before, "").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_model_keeps_a_fact_and_then_answers_with_a_message() {
    let world = World::new().await;
    for agent_type in ["memgpt_v2_agent", "memgpt_agent"] {
        let fields = json!({"agent_type": agent_type, "model": "greenroom/rehearsal"});
        let agent = world.agent_with(fields).await;
        let answer = world.send(&agent, "My name is Ada.").await;
        let said = kinds(messages(&answer));
        assert_eq!(said.last(), Some(&"assistant_message"), "{answer}");
        assert!(said.contains(&"tool_return_message"), "{answer}");
        let answer = world.send(&agent, "What is my name?").await;
        assert_eq!(
            messages(&answer)[0]["content"],
            "Your name is Ada.",
            "{answer}"
        );
    }
}
