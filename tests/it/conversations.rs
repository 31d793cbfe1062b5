//! Conversations: threads of one agent that share its memory and nothing else.

use crate::model::texts;
use crate::turns::{append, approve, asked, frames, insert, kinds, messages, stop, tool, user};
use crate::world::{World, events};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A conversation with these fields.
async fn begun(world: &World, agent: &str, fields: Value) -> Value {
    let path = format!("/v1/conversations/?agent_id={agent}");
    world.post(&path, fields).await
}

async fn begin(world: &World, agent: &str) -> String {
    id(&begun(world, agent, json!({})).await)
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

/// One turn in a thread, whole.
async fn say(world: &World, thread: &str, text: &str) -> Value {
    items(world, thread, &[user(text)]).await
}

async fn items(world: &World, thread: &str, items: &[Value]) -> Value {
    let path = format!("/v1/conversations/{thread}/messages");
    let body = json!({"messages": items, "streaming": false});
    world.post(&path, body).await
}

/// Sends a body to a route of a thread and takes what comes.
async fn attempt(world: &World, thread: &str, route: &str, body: Value) -> (u16, String) {
    let url = format!("{}/v1/conversations/{thread}/{route}", world.base);
    let answer = world.http.post(url).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A turn that is under way while the test goes on.
fn saying(world: &World, thread: &str, body: Value) -> tokio::task::JoinHandle<(u16, String)> {
    let url = format!("{}/v1/conversations/{thread}/messages", world.base);
    let request = world.http.post(url).json(&body);
    tokio::spawn(async move {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    })
}

async fn state(world: &World, conversation: &str) -> Value {
    world
        .get(&format!("/v1/conversations/{conversation}"))
        .await
}

/// All messages of a thread, oldest first.
async fn listed(world: &World, conversation: &str) -> Vec<Value> {
    let path = format!("/v1/conversations/{conversation}/messages?order=asc&include_err=true");
    world.get(&path).await.as_array().unwrap().clone()
}

async fn system(world: &World, conversation: &str) -> String {
    let first = listed(world, conversation).await.remove(0);
    assert_eq!(first["message_type"], "system_message");
    first["content"].as_str().unwrap().to_owned()
}

async fn active(world: &World, agent: &str, count: usize) {
    let path = format!("/v1/runs/?agent_id={agent}&statuses=running");
    let there = || async { world.get(&path).await.as_array().unwrap().len() == count };
    world.until("the runs", there).await;
}

// ── the record

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_made_changed_listed_and_removed() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let made = begun(&world, &agent, json!({"summary": "About Tea"})).await;
    assert_eq!(
        (&made["agent_id"], &made["summary"]),
        (&json!(agent), &json!("About Tea"))
    );
    assert_eq!(made["last_message_at"], Value::Null);
    assert_eq!(made["in_context_message_ids"].as_array().unwrap().len(), 1);
    let id = id(&made);
    assert!(
        system(&world, &id)
            .await
            .contains(&format!("- CONVERSATION_ID: {id}"))
    );
    say(&world, &id, "hello").await;
    let after = state(&world, &id).await;
    assert!(after["last_message_at"].is_string(), "{after}");
    assert_eq!(after["in_context_message_ids"].as_array().unwrap().len(), 3);

    let path = format!("/v1/conversations/{id}");
    let change = json!({"summary": "On coffee", "model": null});
    let (status, changed) = world.call(Method::PATCH, &path, Some(change)).await;
    assert_eq!(
        (status.as_u16(), &changed["summary"]),
        (200, &json!("On coffee"))
    );

    let other = begin(&world, &agent).await;
    let list = async |query: &str| -> Vec<String> {
        let path = format!("/v1/conversations/?agent_id={agent}{query}");
        let page = world.get(&path).await;
        page.as_array().unwrap().iter().map(self::id).collect()
    };
    assert_eq!(list("").await, [other.clone(), id.clone()]);
    assert_eq!(list("&order=asc&limit=1").await, [id.as_str()]);
    assert_eq!(list(&format!("&after={other}")).await, [id.as_str()]);
    assert_eq!(list("&summary_search=coffee").await, [id.as_str()]);
    assert_eq!(list("&summary_search=Coffee").await, [""; 0]);
    for order in ["asc", "desc"] {
        let query = format!("&order_by=last_message_at&order={order}");
        assert_eq!(list(&query).await, [id.clone(), other.clone()]);
    }
    let (status, gone) = world.call(Method::DELETE, &path, None).await;
    assert_eq!((status.as_u16(), gone), (200, Value::Null));
    assert_eq!(list("").await, [other]);
    for (method, route, body) in [
        (Method::GET, "", None),
        (Method::PATCH, "", Some(json!({}))),
        (Method::DELETE, "", None),
        (Method::GET, "/messages", None),
        (Method::POST, "/messages", Some(json!({"input": "x"}))),
        (Method::POST, "/fork", None),
        (Method::POST, "/cancel", None),
        (Method::POST, "/recompile", None),
        (Method::POST, "/stream", None),
    ] {
        let (status, body) = world.call(method, &format!("{path}{route}"), body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{route}: {body}");
    }
    // What only it had is gone from the agent's history as well.
    assert_eq!(kinds(&world.history(&agent).await), ["system_message"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_told_before_anything_happens() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let path = format!("/v1/conversations/?agent_id={agent}");
    let unknown = "agent-00000000-0000-4000-8000-00000000dead";
    for (path, body, status) in [
        ("/v1/conversations/", json!({}), 422),
        (
            &format!("/v1/conversations/?agent_id={unknown}"),
            json!({}),
            404,
        ),
        (&path, json!({"model": "scripted"}), 400),
        (&path, json!({"model": "nobody/model"}), 404),
        (&path, json!({"isolated_block_labels": ["nothing"]}), 400),
        (
            &path,
            json!({"model_settings": {"temperature": "hot"}}),
            422,
        ),
        (
            "/v1/conversations/default/messages",
            json!({"input": "x"}),
            404,
        ),
        (
            "/v1/conversations/nonsense/messages",
            json!({"input": "x"}),
            422,
        ),
        ("/v1/conversations/default/compact", json!({}), 404),
    ] {
        let (found, answer) = world.call(Method::POST, path, Some(body)).await;
        assert_eq!(found.as_u16(), status, "{path}: {answer}");
    }
    let (status, body) = world
        .call(Method::GET, "/v1/conversations/conv-1", None)
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.contains("String should have at least 41 characters"),
        "{body}"
    );
    assert_eq!(
        world.get("/v1/conversations/default/messages").await,
        json!([])
    );
    assert_eq!(world.get(&path).await, json!([]));
}

// ── threads

#[tokio::test(flavor = "multi_thread")]
async fn threads_of_one_agent_do_not_see_each_other() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let (one, two) = (begin(&world, &agent).await, begin(&world, &agent).await);
    for (thread, text) in [(&one, "first"), (&two, "second"), (&one, "third")] {
        let answer = say(&world, thread, text).await;
        assert_eq!(messages(&answer)[0]["content"], format!("echo: {text}"));
    }
    world.send(&agent, "outside").await;
    assert_eq!(texts(&world.model.last_body(), "user"), ["outside"]);
    say(&world, &one, "fourth").await;
    assert_eq!(
        texts(&world.model.last_body(), "user"),
        ["first", "third", "fourth"]
    );
    let said = listed(&world, &one).await;
    let turn = ["user_message", "assistant_message"];
    let turns = [["system_message"].as_slice(), &turn, &turn, &turn].concat();
    assert_eq!(kinds(&said), turns);
    let newest = world
        .get(&format!("/v1/conversations/{one}/messages?limit=2"))
        .await;
    assert_eq!(newest[0]["content"], "echo: fourth");
    let before = said[3]["id"].as_str().unwrap();
    let path = format!("/v1/conversations/{one}/messages?order=asc&limit=2&before={before}");
    assert_eq!(world.get(&path).await, json!(said[1..3]));
    let path = format!("/v1/conversations/{one}/messages?order=asc&after={before}");
    assert_eq!(world.get(&path).await, json!(said[4..]));

    let unknown = "message-00000000-0000-4000-8000-000000000001";
    let path = format!("/v1/conversations/{one}/messages?order=asc&limit=2&before={unknown}");
    assert_eq!(world.get(&path).await, json!(said[..2]));

    // The agent's lists, by thread: oldest first, cursors by age.
    let path = format!("/v1/agents/{agent}/messages?conversation_id={one}");
    assert_eq!(world.get(&path).await, json!(said));
    let newest = world.get(&format!("{path}&limit=2")).await;
    assert_eq!(newest, json!(said[said.len() - 2..]));
    let between = format!(
        "{path}&after={}&before={before}",
        said[0]["id"].as_str().unwrap()
    );
    assert_eq!(world.get(&between).await, json!(said[1..3]));
    let agents = async |thread: &str| {
        let path = format!("/v1/agents/{agent}/messages?conversation_id={thread}");
        world.get(&path).await.as_array().unwrap().len()
    };
    assert_eq!((agents("default").await, agents(&two).await), (3, 3));
    let path = format!("/v1/conversations/default/messages?agent_id={agent}");
    assert_eq!(world.get(&path).await.as_array().unwrap().len(), 3);
    let path = format!("/v1/conversations/{agent}/messages");
    assert_eq!(world.get(&path).await.as_array().unwrap().len(), 3);
    let runs = world.get("/v1/runs/?conversation_id=default").await;
    assert_eq!(runs.as_array().unwrap().len(), 1);
    let runs = world.get(&format!("/v1/runs/?conversation_id={one}")).await;
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len(), 3);
    assert_eq!(runs[0]["metadata"]["run_type"], "send_conversation_message");
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_10_lanes_run_side_by_side_and_their_commits_one_after_the_other() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let mut threads = Vec::new();
    for _ in 0..4 {
        threads.push(begin(&world, &agent).await);
    }
    let since = Instant::now();
    let lines = (0..4).map(|number| format!("line {number}"));
    let turns: Vec<_> = threads
        .iter()
        .zip(lines.clone())
        .map(|(thread, line)| {
            let text = format!("[[silent:600]]{} {line}", tool(&insert(&line)));
            saying(&world, thread, json!({"input": text, "streaming": false}))
        })
        .collect();
    for turn in turns {
        assert_eq!(turn.await.unwrap().0, 200);
    }
    // Two model calls of 0.6 s each, four times.
    assert!(
        since.elapsed() < Duration::from_secs(4),
        "{:?}",
        since.elapsed()
    );
    let value = world.block(&agent, "human").await;
    for line in lines {
        assert!(value.lines().any(|found| *found == line), "{value}");
    }
    for thread in &threads {
        let said = listed(&world, thread).await;
        let kinds = kinds(&said);
        assert_eq!(kinds[3], "tool_return_message");
        assert_eq!(kinds.len(), 5, "{kinds:?}");
    }
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_12_a_busy_thread_answers_409_with_the_run_that_has_it() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let thread = begin(&world, &agent).await;
    for (path, named) in [
        (thread.clone(), json!({})),
        ("default".to_owned(), json!({"agent_id": agent})),
    ] {
        let mut body = json!({"input": "[[silent:700]] slow", "streaming": false});
        body.as_object_mut()
            .unwrap()
            .extend(named.as_object().unwrap().clone());
        let first = saying(&world, &path, body.clone());
        active(&world, &agent, 1).await;
        let run = &world
            .get(&format!("/v1/runs/?agent_id={agent}&active=true"))
            .await[0]["id"];
        for streaming in [true, false] {
            body["streaming"] = json!(streaming);
            body["input"] = json!("now");
            let url = format!("{}/v1/conversations/{path}/messages", world.base);
            let refused = world.http.post(url).json(&body).send().await.unwrap();
            assert_eq!(refused.status().as_u16(), 409);
            assert_eq!(refused.headers()["retry-after"], "1");
            let refused: Value = refused.json().await.unwrap();
            assert_eq!(refused["run_id"], *run);
        }
        assert_eq!(first.await.unwrap().0, 200);
        body["streaming"] = json!(false);
        assert_eq!(attempt(&world, &path, "messages", body).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_streams_unless_it_is_told_not_to() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let thread = begin(&world, &agent).await;
    let (status, text) = attempt(&world, &thread, "messages", json!({"input": "hello"})).await;
    assert_eq!(status, 200);
    let shown = frames(&text);
    assert_eq!(kinds(&shown)[0], "assistant_message");
    // An immediate follow-up is not refused: the lane is free before `[DONE]`.
    for number in 0..5 {
        let body = json!({"input": format!("n{number}"), "stream_tokens": true});
        let (status, text) = attempt(&world, &thread, "messages", body).await;
        assert_eq!(status, 200, "{text}");
    }
}

// ── what a conversation has of its own

#[tokio::test(flavor = "multi_thread")]
async fn a_model_and_its_settings_are_the_conversations() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let settings = json!({"provider_type": "openai", "temperature": 0.25, "max_output_tokens": 99});
    let fields = json!({"model": "openai/scripted-two", "model_settings": settings});
    let made = begun(&world, &agent, fields).await;
    assert_eq!(made["model"], "openai/scripted-two");
    assert_eq!(made["model_settings"], settings);
    say(&world, &id(&made), "hello").await;
    let asked = world.model.last_body();
    assert_eq!(
        (&asked["model"], &asked["temperature"]),
        (&json!("scripted-two"), &json!(0.25))
    );
    let body = json!({"input": "x", "streaming": false, "override_model": "openai/scripted"});
    attempt(&world, &id(&made), "messages", body).await;
    assert_eq!(world.model.last_body()["model"], "scripted");
    world.send(&agent, "hello").await;
    assert_eq!(world.model.last_body()["model"], "scripted");
    let fork = world
        .post(&format!("/v1/conversations/{}/fork", id(&made)), json!({}))
        .await;
    assert_eq!(
        (&fork["model"], &fork["model_settings"]),
        (&made["model"], &settings)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_block_is_edited_for_its_conversation_only() {
    let world = World::new().await;
    let agent = world.agent(&["core_memory_append"]).await;
    let made = begun(&world, &agent, json!({"isolated_block_labels": ["human"]})).await;
    let (thread, own) = (
        id(&made),
        made["isolated_block_ids"][0].as_str().unwrap().to_owned(),
    );
    let before = system(&world, &thread).await;
    let both = format!("{}{} x", tool(&insert("own")), tool(&append("shared")));
    assert_eq!(stop(&say(&world, &thread, &both).await), "end_turn");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown");
    assert!(world.block(&agent, "persona").await.ends_with("shared"));
    let block = world.get(&format!("/v1/blocks/{own}")).await;
    assert_eq!(block["value"], "Name: unknown\nown");
    // decision 33: the default thread's prompt follows the block at once, a conversation's is left as it is.
    assert_eq!(system(&world, &thread).await, before);
    let default = world.history(&agent).await[0]["content"].to_string();
    assert!(
        default.contains("shared") && !default.contains("\\nown"),
        "{default}"
    );

    let path = format!("/v1/conversations/{thread}/recompile");
    let dry = world.post(&format!("{path}?dry_run=true"), json!({})).await;
    assert!(dry.as_str().unwrap().contains("\nown") && dry.as_str().unwrap().contains("shared"));
    assert_eq!(system(&world, &thread).await, before);
    let text = world.post(&path, Value::Null).await;
    assert_eq!(system(&world, &thread).await, text.as_str().unwrap());
    assert!(text.as_str().unwrap().contains(&thread));
    say(&world, &thread, "again").await;
    assert_eq!(
        texts(&world.model.last_body(), "system"),
        [text.as_str().unwrap()]
    );
    let path = "/v1/conversations/default/recompile";
    let text = world.post(path, json!({"agent_id": agent})).await;
    assert!(
        text.as_str()
            .unwrap()
            .contains("- CONVERSATION_ID: default"),
        "{text}"
    );

    // A fork has a copy, and each goes with its conversation.
    let fork = world
        .post(&format!("/v1/conversations/{thread}/fork"), json!({}))
        .await;
    let copy = fork["isolated_block_ids"][0].as_str().unwrap().to_owned();
    assert_ne!(copy, own);
    assert!(system(&world, &id(&fork)).await.contains("\nown"));
    let path = format!("/v1/conversations/{thread}");
    world.call(Method::DELETE, &path, None).await;
    let there = async |block: &str| {
        world
            .call(Method::GET, &format!("/v1/blocks/{block}"), None)
            .await
            .0
    };
    assert_eq!(
        (there(&own).await.as_u16(), there(&copy).await.as_u16()),
        (404, 200)
    );
    world
        .call(Method::DELETE, &format!("/v1/agents/{agent}"), None)
        .await;
    assert_eq!(there(&copy).await.as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_goes_on_alone_and_outlives_its_source() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let source = id(&begun(&world, &agent, json!({"summary": "s"})).await);
    say(&world, &source, "before").await;
    let fork = world
        .post(&format!("/v1/conversations/{source}/fork"), json!({}))
        .await;
    assert_eq!(
        (&fork["summary"], &fork["last_message_at"]),
        (&Value::Null, &Value::Null)
    );
    let fork = id(&fork);
    say(&world, &fork, "in the fork").await;
    assert_eq!(
        texts(&world.model.last_body(), "user"),
        ["before", "in the fork"]
    );
    say(&world, &source, "in the source").await;
    assert_eq!(
        texts(&world.model.last_body(), "user"),
        ["before", "in the source"]
    );
    let (old, new) = (listed(&world, &source).await, listed(&world, &fork).await);
    assert_ne!(old[0]["id"], new[0]["id"]);
    assert_eq!(old[1..3], new[1..3], "the messages are shared");

    world
        .call(Method::DELETE, &format!("/v1/conversations/{source}"), None)
        .await;
    assert_eq!(listed(&world, &fork).await, new);
    say(&world, &fork, "still").await;
    assert_eq!(
        texts(&world.model.last_body(), "user"),
        ["before", "in the fork", "still"]
    );
    world
        .call(Method::DELETE, &format!("/v1/conversations/{fork}"), None)
        .await;
    assert_eq!(world.history(&agent).await.len(), 1);

    // The default thread is forked too, and never loses a message to a fork.
    world.send(&agent, "default").await;
    let path = format!("/v1/conversations/default/fork?agent_id={agent}");
    let fork = id(&world.post(&path, json!({})).await);
    say(&world, &fork, "x").await;
    assert_eq!(texts(&world.model.last_body(), "user"), ["default", "x"]);
    world
        .call(Method::DELETE, &format!("/v1/conversations/{fork}"), None)
        .await;
    assert_eq!(world.history(&agent).await.len(), 3);
}

// ── approvals and cancels

/// An agent whose calls of `memory_insert` wait.
async fn gated(world: &World) -> String {
    let rules = json!([{"type": "requires_approval", "tool_name": "memory_insert"}]);
    world
        .agent_with(json!({"tools": ["test_slow"], "tool_rules": rules}))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thread_waits_for_its_own_approvals() {
    let world = World::new().await;
    let agent = gated(&world).await;
    let (one, two) = (begin(&world, &agent).await, begin(&world, &agent).await);
    let call = format!("{} done", tool(&insert("A")));
    let waiting = asked(&say(&world, &one, &call).await);
    let (status, refused) = attempt(&world, &one, "messages", json!({"input": "x"})).await;
    assert!(
        status == 409 && refused.contains("PENDING_APPROVAL"),
        "{refused}"
    );
    assert_eq!(stop(&say(&world, &two, "free").await), "end_turn");
    assert_eq!(stop(&world.send(&agent, "free").await), "end_turn");
    let ids: Vec<&str> = waiting.iter().map(String::as_str).collect();
    let wrong = json!({"messages": [approve(&ids)], "streaming": false});
    let (status, refused) = attempt(&world, &two, "messages", wrong).await;
    assert_eq!(status, 400, "{refused}");
    // A fork of a thread that waits: both can be answered.
    let fork = id(&world
        .post(&format!("/v1/conversations/{one}/fork"), json!({}))
        .await);
    let answer = items(&world, &one, &[approve(&ids)]).await;
    assert_eq!(
        kinds(messages(&answer)),
        ["tool_return_message", "assistant_message"]
    );
    let own = listed(&world, &fork).await.len();
    let cancelled = world
        .post(&format!("/v1/conversations/{fork}/cancel"), json!({}))
        .await;
    assert_eq!(cancelled.as_object().unwrap().len(), 1);
    let said = listed(&world, &fork).await;
    assert_eq!(
        kinds(&said[own..]),
        ["approval_response_message", "tool_return_message"]
    );
    assert_eq!(stop(&say(&world, &fork, "on").await), "end_turn");
    let run = world
        .get(&format!("/v1/runs/?conversation_id={one}&order=asc"))
        .await[0]
        .clone();
    assert_eq!(
        run["status"], "completed",
        "a fork's cancel does not touch the source's run: {run}"
    );
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_what_one_thread_does() {
    let world = World::new().await;
    let agent = gated(&world).await;
    let (one, two) = (begin(&world, &agent).await, begin(&world, &agent).await);
    let slow = json!({"input": "[[silent:1500]] slow", "streaming": false});
    let (first, second) = (
        saying(&world, &one, slow.clone()),
        saying(&world, &two, slow),
    );
    active(&world, &agent, 2).await;
    let cancelled = world
        .post(&format!("/v1/conversations/{one}/cancel"), json!({}))
        .await;
    let cancelled = cancelled.as_object().unwrap();
    assert_eq!(cancelled.values().collect::<Vec<_>>(), ["cancelled"]);
    let answer: Value = serde_json::from_str(&first.await.unwrap().1).unwrap();
    assert_eq!(stop(&answer), "cancelled");
    let answer: Value = serde_json::from_str(&second.await.unwrap().1).unwrap();
    assert_eq!(stop(&answer), "end_turn");
    let (status, nothing) = attempt(&world, &one, "cancel", json!({})).await;
    assert!(
        status == 409 && nothing.contains("No active runs"),
        "{nothing}"
    );
    let path = format!("/v1/conversations/default/cancel?agent_id={agent}");
    let (status, _) = world.call(Method::POST, &path, None).await;
    assert_eq!(status, StatusCode::CONFLICT);

    // A request that waits in a conversation is denied by its cancel, or by the name of its run.
    let call = format!("{} done", tool(&insert("A")));
    for by_name in [false, true] {
        let answer = say(&world, &one, &call).await;
        asked(&answer);
        let run = messages(&answer)[0]["run_id"].as_str().unwrap();
        let (path, body) = if by_name {
            (
                format!("/v1/agents/{agent}/messages/cancel"),
                json!({"run_ids": [run]}),
            )
        } else {
            (format!("/v1/conversations/{one}/cancel"), json!({}))
        };
        assert_eq!(world.post(&path, body).await[run], "cancelled");
        assert_eq!(stop(&say(&world, &one, "on").await), "end_turn");
    }
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_conversation_takes_its_run_along() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let thread = begin(&world, &agent).await;
    let slow = saying(
        &world,
        &thread,
        json!({"input": "[[silent:3000]] slow", "streaming": false}),
    );
    active(&world, &agent, 1).await;
    let path = format!("/v1/conversations/{thread}");
    let (status, _) = world.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::OK);
    let (_, answer) = slow.await.unwrap();
    assert!(answer.contains("cancelled"), "{answer}");
    assert_eq!(stop(&world.send(&agent, "on").await), "end_turn");
}

// ── streams again

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_found_again_by_run_by_otid_and_by_being_the_newest() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let thread = begin(&world, &agent).await;
    let item = json!({"role": "user", "content": "[[slow:20,40]] end", "otid": "otid-1"});
    let body = json!({"messages": [item], "background": true, "stream_tokens": true});
    let first = saying(&world, &thread, body.clone());
    active(&world, &agent, 1).await;
    let run = world
        .get(&format!("/v1/runs/?conversation_id={thread}"))
        .await[0]["id"]
        .clone();
    let again = [json!({}), json!({"otid": "otid-1"}), json!({"run_id": run})]
        .map(|by| async { attempt(&world, &thread, "stream", by).await });
    let again = futures_util::future::join_all(again).await;
    // decision 25: the whole list of otids is the name of the send.
    let (status, repeated) = attempt(&world, &thread, "messages", body.clone()).await;
    assert_eq!(status, 200);
    let (_, text) = first.await.unwrap();
    let shown = events(&text);
    assert!(shown.len() > 20, "{text}");
    assert_eq!(events(&repeated), shown);
    for (status, text) in again {
        assert_eq!((status, events(&text)), (200, shown.clone()));
    }
    let (_, rest) = attempt(
        &world,
        &thread,
        "stream",
        json!({"otid": "otid-1", "starting_after": 5}),
    )
    .await;
    assert_eq!(events(&rest), shown[5..]);
    let (status, repeated) = attempt(&world, &thread, "messages", body.clone()).await;
    assert_eq!((status, events(&repeated)), (200, shown.clone()));
    let runs = world.get(&format!("/v1/runs/?agent_id={agent}")).await;
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");

    let (status, nothing) = attempt(&world, &thread, "stream", json!({})).await;
    assert!(
        status == 400 && nothing.contains("No active runs found"),
        "{nothing}"
    );
    let (status, _) = attempt(&world, &thread, "stream", json!({"otid": "otid-2"})).await;
    assert_eq!(status, 404);
    // The same otids in another thread, or not in the background, are another send.
    let other = begin(&world, &agent).await;
    assert_ne!(
        events(&attempt(&world, &other, "messages", body.clone()).await.1),
        shown
    );
    let mut foreground = body;
    foreground["background"] = json!(false);
    attempt(&world, &thread, "messages", foreground).await;
    let runs = world.get(&format!("/v1/runs/?agent_id={agent}")).await;
    assert_eq!(runs.as_array().unwrap().len(), 3);
    let slow = saying(&world, &thread, json!({"input": "[[silent:900]] x"}));
    active(&world, &agent, 1).await;
    let (status, refused) = attempt(&world, &thread, "stream", json!({})).await;
    assert!(
        status == 400 && refused.contains("not created in background mode"),
        "{refused}"
    );
    slow.await.unwrap();
}

// ── crashes

#[tokio::test(flavor = "multi_thread")]
async fn threads_survive_kill_9_and_their_background_runs_go_on() {
    let mut world = World::new().await;
    let agent = gated(&world).await;
    let mut threads = Vec::new();
    for number in 0..3 {
        let thread = begin(&world, &agent).await;
        say(&world, &thread, &format!("before {number}")).await;
        threads.push(thread);
    }
    let waiting = asked(&say(&world, &threads[2], &format!("{} ok", tool(&insert("A")))).await);
    for thread in &threads[..2] {
        let body = json!({"input": "[[silent:1500]] after", "background": true});
        drop(saying(&world, thread, body));
    }
    active(&world, &agent, 2).await;
    let open = world
        .get(&format!("/v1/runs/?agent_id={agent}&active=true"))
        .await;
    world.kill();
    world.start().await;
    for run in open.as_array().unwrap() {
        let run = world.ended(run["id"].as_str().unwrap()).await;
        assert_eq!(run["stop_reason"], "end_turn", "{run}");
    }
    for (number, thread) in threads[..2].iter().enumerate() {
        let said = listed(&world, thread).await;
        let said: Vec<&Value> = said[1..]
            .iter()
            .map(|message| &message["content"])
            .collect();
        let before = format!("before {number}");
        let expected = [
            &before,
            &format!("echo: {before}"),
            "[[silent:1500]] after",
            "echo: after",
        ];
        assert_eq!(said, expected);
        say(&world, thread, "on").await;
        assert_eq!(texts(&world.model.last_body(), "user").len(), 3);
    }
    let ids: Vec<&str> = waiting.iter().map(String::as_str).collect();
    let answer = items(&world, &threads[2], &[approve(&ids)]).await;
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA");
    world.assert_paired(&agent).await;
}

#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_agent_interrupts_no_lane() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let (one, two) = (begin(&world, &agent).await, begin(&world, &agent).await);
    let slow = json!({"input": "[[silent:1200]] slow", "streaming": false});
    let turns = [
        saying(&world, &one, slow.clone()),
        saying(&world, &two, slow),
    ];
    active(&world, &agent, 2).await;
    world.panic_at("agent").await;
    // Its next message is its last.
    let (_, _) = world
        .call(Method::GET, &format!("/v1/agents/{agent}/messages"), None)
        .await;
    let path = format!("/v1/conversations/{one}");
    world
        .call(Method::PATCH, &path, Some(json!({"summary": "x"})))
        .await;
    for turn in turns {
        let (status, text) = turn.await.unwrap();
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(messages(&answer)[0]["content"], "echo: slow");
    }
    for thread in [&one, &two] {
        assert_eq!(listed(&world, thread).await.len(), 3);
    }
}

#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread")]
async fn a_long_conversation_is_deleted_in_batches_and_again_after_a_crash_between_them() {
    let mut world = World::new().await;
    let agent = world.agent(&[]).await;
    let thread = begin(&world, &agent).await;
    let lines: Vec<Value> = (0..60).map(|line| user(&format!("line {line}"))).collect();
    items(&world, &thread, &lines).await;
    let fork = world
        .post(&format!("/v1/conversations/{thread}/fork"), json!({}))
        .await;
    let fork = id(&fork);
    let lent = listed(&world, &fork).await;
    for _ in 0..25 {
        items(&world, &thread, &lines).await;
    }
    // Opening the store and taking the agent's epoch are the first writes, the deletion's are the next.
    world.kill();
    let fault = ("GREENROOM_FAULT_STORE", "kill:write:4");
    world.settings = vec![(fault.0.to_owned(), fault.1.to_owned())];
    world.start().await;
    let path = format!("/v1/conversations/{thread}");
    let deleted = world.http.delete(format!("{}{path}", world.base));
    assert!(deleted.send().await.is_err());
    world.settings.clear();
    world.start_after_its_end().await;
    let newest = format!("{path}/messages?limit=1000");
    let left = world.get(&newest).await.as_array().unwrap().len();
    assert!((1..1_000).contains(&left), "{left} of 1,587");
    assert_eq!(stop(&say(&world, &thread, "still here").await), "end_turn");
    let (status, _) = world.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = world.call(Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(listed(&world, &fork).await, lent);
    assert_eq!(stop(&say(&world, &fork, "on").await), "end_turn");
    world.assert_paired(&agent).await;
}
