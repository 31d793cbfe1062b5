//! What an agent's model sees, and calls of it outside of turns: overview, recompile, preview, generate, capture.

use crate::model::{choice, offered, texts};
use crate::turns::{approve, asked, deny, insert, tool, user};
use crate::world::World;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::time::Duration;

const UNKNOWN: &str = "agent-00000000-0000-4000-8000-000000000001";

impl World {
    /// Asks one of an agent's routes; the status and what came.
    async fn ask(&self, method: Method, agent: &str, route: &str, body: Value) -> (u16, Value) {
        let body = (method == Method::POST).then_some(body);
        let path = format!("/v1/agents/{agent}/{route}");
        let (status, answer) = self.call(method, &path, body).await;
        (status.as_u16(), answer)
    }

    async fn overview(&self, agent: &str) -> Value {
        self.get(&format!("/v1/agents/{agent}/context")).await
    }

    /// The request that is shown for this body, as it came.
    async fn preview(&self, agent: &str, body: &Value) -> String {
        let route = "messages/preview-raw-payload";
        let (status, headers, text) = self.attempt(agent, route, body).await;
        assert_eq!(
            (status, &headers["content-type"]),
            (200, &"application/json".parse().unwrap()),
            "{text}"
        );
        text
    }

    async fn generate(&self, agent: &str, body: Value) -> (u16, Value) {
        self.ask(Method::POST, agent, "generate", body).await
    }

    /// The text of the system message as it is listed.
    async fn system(&self, agent: &str) -> Value {
        self.history(agent).await[0].clone()
    }

    async fn set_human(&self, agent: &str, value: &str) {
        let path = format!("/v1/agents/{agent}/core-memory/blocks/human");
        let (status, answer) = self
            .call(Method::PATCH, &path, Some(json!({"value": value})))
            .await;
        assert!(status.is_success(), "{answer}");
    }
}

fn tokens(text: &Value) -> u64 {
    (text.as_str().unwrap().len() as u64).div_ceil(4)
}

// ── the overview

#[tokio::test(flavor = "multi_thread")]
async fn an_overview_counts_every_part_of_what_the_model_would_see() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    world
        .send(&agent, &format!("{} done", tool(&insert("Likes tea."))))
        .await;
    let overview = world.overview(&agent).await;
    for name in ["core_memory", "external_memory_summary"] {
        assert_eq!(
            overview[format!("num_tokens_{name}")],
            tokens(&overview[name]),
            "{name}"
        );
    }
    assert_eq!(
        overview["num_tokens_system"],
        tokens(&overview["system_prompt"])
    );
    let core = overview["core_memory"].as_str().unwrap();
    assert!(core.starts_with("<memory_blocks>") && core.contains("Likes tea."));
    assert!(
        overview["external_memory_summary"]
            .as_str()
            .unwrap()
            .contains(&agent)
    );
    let parts: u64 = overview
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.starts_with("num_tokens_"))
        .map(|(_, tokens)| tokens.as_u64().unwrap())
        .sum();
    assert_eq!(overview["context_window_size_current"], parts);
    // system, user, assistant, tool, assistant
    assert_eq!(
        (&overview["num_messages"], &overview["num_recall_memory"]),
        (&json!(5), &json!(5))
    );
    assert!(overview["num_tokens_messages"].as_u64().unwrap() > 20);
    let shown = overview["messages"][0]["content"][0]["text"]
        .as_str()
        .unwrap();
    assert!(shown.contains(core));

    let sent = world.model.last_body();
    let tools = overview["functions_definitions"].as_array().unwrap();
    let named: Vec<&str> = tools
        .iter()
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect();
    let mut sorted = named.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, offered(&sent));
    let model = world.get(&format!("/v1/agents/{agent}")).await;
    assert_eq!(
        overview["context_window_size_max"],
        model["llm_config"]["context_window"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overview_shows_an_edit_at_once_and_stores_nothing() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    world.send(&agent, "hello").await;
    let before = world.overview(&agent).await;
    assert_eq!(before, world.overview(&agent).await);
    world.set_human(&agent, "Name: Ada").await;
    let after = world.overview(&agent).await;
    assert!(after["core_memory"].as_str().unwrap().contains("Name: Ada"));
    assert_eq!(after["num_tokens_messages"], before["num_tokens_messages"]);
    assert_eq!(world.history(&agent).await.len(), 3);
    assert_eq!(world.model.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overview_of_nothing_is_refused() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let unknown = "conv-00000000-0000-4000-8000-000000000001";
    for (agent, query, expected) in [
        (UNKNOWN, String::new(), 404),
        ("bad", String::new(), 422),
        (&agent, format!("?conversation_id={unknown}"), 404),
        (&agent, "?conversation_id=default".to_owned(), 200),
    ] {
        let route = format!("context{query}");
        let (status, answer) = world.ask(Method::GET, agent, &route, Value::Null).await;
        assert_eq!(status, expected, "{agent} {query}: {answer}");
    }
}

// ── recompile

#[tokio::test(flavor = "multi_thread")]
async fn a_recompile_keeps_id_and_time_unless_it_is_asked_to_change_the_time() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let before = world.system(&agent).await;
    let path = format!("/v1/agents/{agent}/recompile");
    let same = world.post(&path, json!({})).await;
    assert_eq!(same, before["content"]);
    assert_eq!(world.system(&agent).await, before);

    world.set_human(&agent, "Name: Ada").await;
    let fresh = world.post(&path, json!({})).await;
    assert!(fresh.as_str().unwrap().contains("Name: Ada"));
    let after = world.system(&agent).await;
    assert_eq!(
        (&after["id"], &after["date"]),
        (&before["id"], &before["date"])
    );
    assert_eq!(after["content"], fresh);

    let time = |text: &Value| {
        let text = text.as_str().unwrap();
        let line = text.lines().find(|line| line.contains("last recompiled"));
        line.unwrap().to_owned()
    };
    assert_eq!(time(&fresh), time(&before["content"]));
    tokio::time::sleep(Duration::from_millis(1_100)).await; // the text tells whole seconds
    let dry = world
        .post(
            &format!("{path}?update_timestamp=true&dry_run=true"),
            json!({}),
        )
        .await;
    assert_ne!(time(&dry), time(&fresh));
    assert_eq!(world.system(&agent).await["content"], fresh);
    let now = world
        .post(&format!("{path}?update_timestamp=true"), json!({}))
        .await;
    assert_ne!(time(&now), time(&fresh));
    let after = world.system(&agent).await;
    assert_eq!((&after["id"], &after["content"]), (&before["id"], &now));
    let old_name = format!("/v1/agents/{agent}/system-prompt/recompile");
    assert_eq!(world.post(&old_name, json!({})).await, now);
    let (status, _) = world
        .ask(Method::POST, UNKNOWN, "recompile", json!({}))
        .await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recompiled_message_is_there_after_a_crash_and_takes_the_place_of_an_edited_one() {
    let mut world = World::new().await;
    let agent = world.agent(&[]).await;
    let system = world.system(&agent).await;
    let path = format!(
        "/v1/agents/{agent}/messages/{}",
        system["id"].as_str().unwrap()
    );
    let edit = json!({"message_type": "system_message", "content": "Forget all."});
    let (status, _) = world.call(Method::PATCH, &path, Some(edit)).await;
    assert!(status.is_success());
    assert_eq!(world.system(&agent).await["content"], "Forget all.");
    let path = format!("/v1/agents/{agent}/recompile");
    assert_eq!(world.post(&path, json!({})).await, system["content"]);
    world.kill();
    world.start().await;
    assert_eq!(world.system(&agent).await["content"], system["content"]);
}

// ── the preview

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_byte_for_byte_what_is_sent_then_and_leaves_nothing_behind() {
    let world = World::new().await;
    let look = json!({"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}});
    for fields in [
        json!({}),
        json!({"override_system": "Be brief."}),
        json!({"client_tools": [look]}),
        json!({"streaming": true, "stream_tokens": true}),
        json!({"streaming": true}),
    ] {
        let agent = world.agent(&[]).await;
        let said = format!("{} done", tool(&insert("Likes tea.")));
        world.send(&agent, &said).await;
        let (asked, stored) = (world.model.requests(), world.history(&agent).await);
        let runs = world.get(&format!("/v1/runs/?agent_id={agent}")).await;
        let mut body = json!({"messages": [user("and now?")]});
        let more = fields.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        let shown = world.preview(&agent, &body).await;
        assert_eq!(shown, world.preview(&agent, &body).await);
        assert_eq!(world.model.requests(), asked);
        assert_eq!(world.history(&agent).await, stored);
        assert_eq!(
            world.get(&format!("/v1/runs/?agent_id={agent}")).await,
            runs
        );
        let (status, _, text) = world.attempt(&agent, "messages", &body).await;
        assert_eq!(status, 200, "{text}");
        assert_eq!(shown, world.model.texts().pop().unwrap(), "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_of_a_heartbeat_agent_has_the_schemas_and_the_format_of_its_loop() {
    let world = World::new().await;
    let schema = json!({"name": "words", "schema": {"type": "object", "properties": {}}});
    let format = json!({"type": "json_schema", "json_schema": schema});
    for fields in [
        json!({"agent_type": "memgpt_v2_agent"}),
        json!({"agent_type": "memgpt_agent"}),
        json!({"agent_type": "memgpt_v2_agent", "response_format": format}),
        json!({"response_format": {"type": "json_object"}}),
    ] {
        let agent = world.agent_with(fields.clone()).await;
        let said = format!("{} x", tool(r#"send_message {"message":"hi"}"#));
        let body = json!({"messages": [user(&said)]});
        for _ in 0..2 {
            let shown = world.preview(&agent, &body).await;
            let (status, _, text) = world.attempt(&agent, "messages", &body).await;
            assert_eq!(status, 200, "{text}");
            let requests = world.model.texts();
            assert!(requests.contains(&shown), "{fields}: {shown}");
            let overview = world.overview(&agent).await;
            let sent: Value = serde_json::from_str(&shown).unwrap();
            for tool in overview["functions_definitions"].as_array().unwrap() {
                let function = &tool["function"];
                let mut offered = sent["tools"].as_array().unwrap().iter();
                let same = offered.find(|tool| tool["function"]["name"] == function["name"]);
                let same = &same.unwrap()["function"];
                assert_eq!(same["parameters"], function["parameters"], "{fields}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_of_an_answer_has_the_heartbeat_that_follows_it() {
    let world = World::new().await;
    let rule = json!({"type": "requires_approval", "tool_name": "memory_insert"});
    let fields = json!({"agent_type": "memgpt_v2_agent", "tool_rules": [rule]});
    let agent = world.agent_with(fields).await;
    let ids = asked(&world.send(&agent, &tool(&insert("Likes tea."))).await);
    let word = json!({"type": "approval", "approvals": [deny(&ids[0], "Not that.")]});
    let body = json!({"messages": [word, user("and then?")]});
    let shown: Value = serde_json::from_str(&world.preview(&agent, &body).await).unwrap();
    world.attempt(&agent, "messages", &body).await;
    let sent = &world.model.bodies()[1];
    let roles = |body: &Value| {
        let messages = body["messages"].as_array().unwrap();
        let roles = messages.iter().map(|message| message["role"].clone());
        roles.collect::<Vec<Value>>()
    };
    assert_eq!(roles(&shown), roles(sent));
    let reason = |body: &Value| {
        let said = texts(body, "user");
        let [.., beat, last] = said.as_slice() else {
            panic!("{said:?}")
        };
        assert_eq!(last, "and then?");
        serde_json::from_str::<Value>(beat).unwrap()["reason"].clone()
    };
    assert_eq!(reason(&shown), reason(sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_has_a_preview_and_an_overview_of_its_own() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    world.send(&agent, "in the default thread").await;
    let path = format!("/v1/conversations/?agent_id={agent}");
    let made = world.post(&path, json!({"isolated_block_labels": ["human"]}));
    let thread = made.await["id"].as_str().unwrap().to_owned();
    let base = format!("{}/v1/conversations/{thread}/messages", world.base);
    let preview = async |body: &Value| {
        let route = format!("{base}/preview-raw-payload");
        let answer = world.http.post(route).json(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    };
    for fields in [
        json!({"streaming": false}),
        json!({}),
        json!({"stream_tokens": true}),
    ] {
        let mut body = json!({"messages": [user("here")]});
        let more = fields.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        let shown = preview(&body).await;
        assert!(!shown.contains("in the default thread") && shown.contains(&thread));
        let sent = world.http.post(&base).json(&body).send().await.unwrap();
        sent.text().await.unwrap();
        assert_eq!(shown, world.model.texts().pop().unwrap(), "{fields}");
    }
    world.set_human(&agent, "Name: Ada").await;
    let path = format!("/v1/agents/{agent}/context?conversation_id={thread}");
    let overview = world.get(&path).await;
    assert_eq!(overview["num_messages"], 7);
    assert!(!overview["core_memory"].as_str().unwrap().contains("Ada"));
    let default = world.overview(&agent).await;
    assert_eq!(default["num_messages"], 3);
    assert!(default["core_memory"].as_str().unwrap().contains("Ada"));
    let other = world.agent(&[]).await;
    let route = format!("context?conversation_id={thread}");
    let (status, answer) = world.ask(Method::GET, &other, &route, Value::Null).await;
    assert_eq!(status, 404, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_follows_an_edit_of_memory_and_refuses_what_a_send_would() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    world.set_human(&agent, "Name: Ada").await;
    let shown = world.preview(&agent, &json!({"input": "hi"})).await;
    assert!(shown.contains("Name: Ada"));
    let route = "messages/preview-raw-payload";
    for (agent, body, expected) in [
        (UNKNOWN, json!({"input": "hi"}), 404),
        (&agent, json!({"messages": []}), 422),
        (
            &agent,
            json!({"input": "hi", "override_model": "nobody/model"}),
            404,
        ),
        (&agent, json!({"messages": [approve(&["call_1"])]}), 400),
    ] {
        let (status, answer) = world.ask(Method::POST, agent, route, body.clone()).await;
        assert_eq!(status, expected, "{body}: {answer}");
    }
    assert_eq!(world.model.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_of_an_approval_shows_the_request_that_follows_and_runs_nothing() {
    let world = World::new().await;
    let fields =
        json!({"tool_rules": [{"type": "requires_approval", "tool_name": "memory_insert"}]});
    let agent = world.agent_with(fields).await;
    let said = format!("{} done", tool(&insert("Likes tea.")));
    let ids = asked(&world.send(&agent, &said).await);
    let pending = world.pending(&agent).await;
    let stored = world.history(&agent).await;

    let route = "messages/preview-raw-payload";
    let ordinary = json!({"messages": [user("hello?")]});
    let (status, headers, text) = world.attempt(&agent, route, &ordinary).await;
    assert_eq!(status, 409, "{text}");
    assert_eq!(headers["x-should-retry"], "false");
    assert!(text.contains("PENDING_APPROVAL"), "{text}");

    let answer = approve(&[ids[0].as_str()]);
    let body = json!({"messages": [answer, user("and then?")]});
    let shown: Value = serde_json::from_str(&world.preview(&agent, &body).await).unwrap();
    let messages = shown["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "user"]);
    assert_eq!(
        messages[3]["tool_call_id"],
        messages[2]["tool_calls"][0]["id"]
    );
    assert!(
        messages[3]["content"]
            .as_str()
            .unwrap()
            .contains("what the tool returns")
    );

    assert_eq!(world.pending(&agent).await, pending);
    assert_eq!(world.history(&agent).await, stored);
    assert_eq!(world.block(&agent, "human").await, "Name: unknown");
    assert_eq!(world.model.requests(), 1);
    // The answer is still awaited, and does what it says.
    world.items(&agent, &[answer]).await;
    assert_eq!(
        world.block(&agent, "human").await,
        "Name: unknown\nLikes tea."
    );
}

// ── the prefix

/// All of a request but its messages, and each of its messages, as they came.
fn parts(text: &str) -> (String, Vec<String>) {
    let mut fields: Map<String, Value> = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&fields).unwrap(), text);
    let messages = fields.insert("messages".to_owned(), Value::Null).unwrap();
    let messages = messages.as_array().unwrap().iter().map(Value::to_string);
    (Value::Object(fields).to_string(), messages.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_memory_changes_each_request_begins_with_the_bytes_of_the_one_before() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let search = tool(r#"conversation_search {"query":"tea"}"#);
    for text in [
        "I like tea.",
        &format!("{search}{search} found?"),
        "thanks",
        &search,
    ] {
        world.send(&agent, text).await;
    }
    let requests = world.model.texts();
    assert_eq!(requests.len(), 7);
    for pair in requests.windows(2) {
        let (before, after) = (parts(&pair[0]), parts(&pair[1]));
        assert_eq!(before.0, after.0);
        assert_eq!(before.1, after.1[..before.1.len()]);
        assert!(before.1.len() < after.1.len());
    }
}

// ── generate

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_answer_has_nothing_of_the_agent_and_is_stored_nowhere() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    world.send(&agent, "hello").await;
    let stored = world.history(&agent).await;
    let body = json!({"prompt": "say hi", "system_prompt": "Be brief."});
    let (status, answer) = world.generate(&agent, body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["content"], &answer["model"]),
        (&json!("echo: say hi"), &json!("scripted"))
    );
    let usage = &answer["usage"];
    assert_eq!(
        (
            &usage["total_tokens"],
            &usage["step_count"],
            &usage["context_tokens"]
        ),
        (&json!(18), &json!(0), &Value::Null)
    );
    let sent = world.model.last_body();
    assert_eq!(
        (texts(&sent, "system"), texts(&sent, "user")),
        (vec!["Be brief.".to_owned()], vec!["say hi".to_owned()])
    );
    assert_eq!(
        (
            sent["messages"].as_array().unwrap().len(),
            offered(&sent).len()
        ),
        (2, 0)
    );
    assert_eq!(world.history(&agent).await, stored);
    assert_eq!(
        world
            .get(&format!("/v1/steps/?agent_id={agent}"))
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_answered_by_the_arguments_of_one_forced_call() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let schema =
        json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    let body = |prompt: &str| json!({"prompt": prompt, "response_schema": schema});
    let (status, answer) = world
        .generate(&agent, body(r#"[[tool:answer {"name": "Ada"}]]"#))
        .await;
    assert_eq!(
        (status, &answer["content"]),
        (200, &json!(r#"{"name": "Ada"}"#))
    );
    let sent = world.model.last_body();
    assert_eq!(choice(&sent), "must call answer");
    assert_eq!(sent["tools"][0]["function"]["parameters"], schema);
    let (status, answer) = world.generate(&agent, body("just talk")).await;
    assert_eq!(status, 502, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_generated_says_why() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    for (agent, body, expected) in [
        (UNKNOWN, json!({"prompt": "hi"}), 404),
        (
            &agent,
            json!({"prompt": "hi", "override_model": "nobody/model"}),
            404,
        ),
        (
            &agent,
            json!({"prompt": "hi", "override_model": "greenroom/rehearsal"}),
            200,
        ),
        (
            &agent,
            json!({"prompt": "hi", "override_model": "greenroom/rehearsal", "response_schema": {"type": "object", "properties": {"mood": {"type": "string"}}}}),
            200,
        ),
        (&agent, json!({"prompt": ""}), 422),
        (&agent, json!({"prompt": " \n"}), 422),
        (&agent, json!({}), 422),
        (&agent, json!({"prompt": "hi", "response_schema": [1]}), 422),
        (&agent, json!({"prompt": "[[error:401]]"}), 502),
        (&agent, json!({"prompt": "[[rubbish]]"}), 502),
    ] {
        let (status, answer) = world.generate(agent, body.clone()).await;
        assert_eq!(status, expected, "{body}: {answer}");
        assert!(status == 200 || answer["detail"].is_string(), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_generation_holds_up_nobody_and_ends_with_its_client() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let slow = world
        .http
        .post(format!("{}/v1/agents/{agent}/generate", world.base))
        .json(&json!({"prompt": "[[silent:60000]]"}));
    let slow = tokio::spawn(slow.send());
    let asked = || async { world.model.requests() == 1 };
    world.until("the question", asked).await;
    world.send(&agent, "hello").await;
    slow.abort();
    let aborted = || async { world.model.aborted() == 1 };
    world.until("the end of the call", aborted).await;
}

// ── capture

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_exchange_is_listed_and_searched_and_not_in_context() {
    let mut world = World::new().await;
    let agent = world.agent(&[]).await;
    let path = format!("/v1/agents/{agent}/messages/capture");
    let body = json!({
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "request_messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Where is the lighthouse?"},
        ],
        "response_dict": {"content": [{"type": "text", "text": "On the hill."}]},
    });
    let answer = world.post(&path, body).await;
    assert_eq!(
        answer,
        json!({"success": true, "messages_created": 2, "run_ids": []})
    );
    world.kill();
    world.start().await;
    let shown: Vec<Value> = world.history(&agent).await;
    let said: Vec<(&Value, &Value)> = shown[1..]
        .iter()
        .map(|message| (&message["message_type"], &message["content"]))
        .collect();
    assert_eq!(
        said,
        [
            (&json!("user_message"), &json!("Where is the lighthouse?")),
            (&json!("assistant_message"), &json!("On the hill.")),
        ]
    );
    let state = world.get(&format!("/v1/agents/{agent}")).await;
    assert_eq!(state["message_ids"].as_array().unwrap().len(), 1);
    let overview = world.overview(&agent).await;
    assert_eq!(
        (&overview["num_messages"], &overview["num_recall_memory"]),
        (&json!(1), &json!(3))
    );
    let search = tool(r#"conversation_search {"query":"lighthouse"}"#);
    let answer = world.send(&agent, &format!("{search} x")).await;
    assert!(
        answer["messages"][1]["tool_return"]
            .as_str()
            .unwrap()
            .contains("Where is the lighthouse?"),
        "{answer}"
    );
    let sent = world.model.bodies();
    assert!(!sent[0].to_string().contains("hill"));

    for (agent, body, expected) in [
        (
            UNKNOWN,
            json!({"provider": "x", "model": "m", "request_messages": [], "response_dict": {}}),
            404,
        ),
        (
            &agent,
            json!({"provider": "x", "model": "m", "request_messages": []}),
            422,
        ),
        (
            &agent,
            json!({"provider": "x", "model": "m", "request_messages": ["hi"], "response_dict": {}}),
            422,
        ),
        (
            &agent,
            json!({"provider": "x", "model": "m", "request_messages": [], "response_dict": {}}),
            200,
        ),
    ] {
        let (status, answer) = world
            .ask(Method::POST, agent, "messages/capture", body.clone())
            .await;
        assert_eq!(status, expected, "{body}: {answer}");
    }
}
