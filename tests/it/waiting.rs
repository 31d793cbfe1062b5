//! What happens around calls that wait, and around runs that wait for their lane: nothing runs unasked, nothing is lost.

use crate::model::{Summariser, texts};
use crate::turns::{
    append, approve, asked, calls, insert, kinds, messages, parallel, returned, stop, tool, user,
    with,
};
use crate::world::World;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// An agent on the scripted model for whom calls of these tools wait.
async fn gated(world: &World, gated: &[&str], fields: Value) -> String {
    let gates = gated
        .iter()
        .map(|name| json!({"type": "requires_approval", "tool_name": name}));
    let plain = json!({
        "include_base_tools": false,
        "include_base_tool_rules": false,
        "tools": ["memory_insert", "core_memory_append", "test_slow", "test_panic"],
        "tool_rules": gates.collect::<Vec<Value>>(),
    });
    world.agent_with(with(&plain, &fields)).await
}

fn strs(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

/// What the model was sent last, as one text.
fn last_sent(world: &World) -> String {
    world.model.last_body().to_string()
}

/// Starts a summary that takes a while, and waits until the summariser is asked.
async fn summarizing(world: &World, agent: &str) -> tokio::task::JoinHandle<u16> {
    world.model.summariser(Summariser::Silent(1_500));
    let asked = world.model.summaries().len();
    let request = world
        .http
        .post(format!("{}/v1/agents/{agent}/summarize", world.base))
        .json(&json!({}));
    let answer = tokio::spawn(async move { request.send().await.unwrap().status().as_u16() });
    let summary = || async { world.model.summaries().len() > asked };
    world.until("the summary", summary).await;
    answer
}

async fn cancel_run(world: &World, agent: &str, run: &str) {
    let path = format!("/v1/agents/{agent}/messages/cancel");
    world.post(&path, json!({"run_ids": [run]})).await;
    assert_eq!(world.ended(run).await["status"], "cancelled");
}

// ── what waits beside a gated call

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cannot_be_read_are_not_run_with_the_answer_to_others() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert", "test_panic"], json!({})).await;
    let broken = |tool: &str| format!("{tool} {{\"broken");
    let said = parallel(&[
        insert("A"),
        broken("core_memory_append"),
        broken("test_panic"),
    ]);
    let first = world.send(&agent, &format!("{said} x")).await;
    let (free, ids) = (calls(&messages(&first)[0]), asked(&first));
    assert_eq!((free.len(), ids.len()), (1, 2), "{first}");
    // The user sees what the model wrote.
    let shown = &messages(&first)[1]["tool_calls"][1]["arguments"];
    assert_eq!(shown, "{\"broken");
    let second = world.items(&agent, &[approve(&strs(&ids))]).await;
    let ends = &messages(&second)[0];
    assert_eq!(returned(ends, &ids[0])["status"], "success", "{ends}");
    for id in [&free[0], &ids[1]] {
        let end = returned(ends, id);
        let text = end["tool_return"].as_str().unwrap();
        assert!(text.contains("not a JSON object"), "{end}");
        assert_eq!(end["status"], "error", "{end}");
    }
    assert_eq!(world.block(&agent, "persona").await, "I am a helper.");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_shows_calls_as_what_they_are_stored_as() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"], json!({})).await;
    let said = parallel(&[
        insert("A"),
        "memory_insert {\"broken".to_owned(),
        append("B"),
    ]);
    let body = json!({"messages": [user(&said)], "streaming": true, "stream_tokens": true});
    let frames = world.frames(&agent, &body).await;
    let place = |message: &Value, call: &Value| {
        let of_call = call["tool_call_id"].to_string();
        (
            of_call,
            message["message_type"].clone(),
            message["id"].clone(),
        )
    };
    let mut shown: Vec<(String, Value, Value)> = frames
        .iter()
        .filter(|frame| frame["tool_call"]["name"].is_string())
        .map(|frame| place(frame, &frame["tool_call"]))
        .collect();
    let history = world.history(&agent).await;
    let mut stored: Vec<(String, Value, Value)> = Vec::new();
    for message in &history {
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        stored.extend(calls.map(|call| place(message, call)));
    }
    shown.sort_by(|one, other| one.0.cmp(&other.0));
    stored.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(shown.len(), 3, "{frames:?}");
    assert_eq!(shown, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_follow_from_an_output_hold_after_an_approved_edit() {
    let world = World::new().await;
    let free = gated(&world, &[], json!({})).await;
    let answer = world
        .send(&free, &format!("{} x", tool(&insert("A"))))
        .await;
    let output = messages(&answer)[1]["tool_return"].as_str().unwrap();
    let follows = json!({
        "type": "conditional",
        "tool_name": "memory_insert",
        "child_output_mapping": {output: "core_memory_append"},
        "require_output_mapping": true,
    });
    let gate = json!({"type": "requires_approval", "tool_name": "memory_insert"});
    let agent = gated(&world, &[], json!({"tool_rules": [gate, follows]})).await;
    let ids = asked(
        &world
            .send(&agent, &format!("{} x", tool(&insert("A"))))
            .await,
    );
    world.items(&agent, &[approve(&strs(&ids))]).await;
    let body = world.model.last_body();
    let offered: Vec<&Value> = body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["function"]["name"])
        .collect();
    assert_eq!(offered, ["core_memory_append"], "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_begins_the_count_of_its_turns_calls_anew() {
    let world = World::new().await;
    let rules = json!([
        {"type": "requires_approval", "tool_name": "memory_insert"},
        {"type": "max_count_per_step", "tool_name": "core_memory_append", "max_count_limit": 1},
    ]);
    let agent = gated(&world, &[], json!({"tool_rules": rules})).await;
    let (before, after) = (append("before"), append("after"));
    let script = [&before, &insert("A"), &after, &after].map(|call| tool(call));
    let ids = asked(&world.send(&agent, &format!("{} x", script.concat())).await);
    let answer = world.items(&agent, &[approve(&strs(&ids))]).await;
    let ends: Vec<&Value> = messages(&answer)
        .iter()
        .filter(|message| message["message_type"] == "tool_return_message")
        .map(|message| &message["status"])
        .collect();
    // The call of the turn that asked is not counted in the one that goes on; two in that one are one too many.
    assert_eq!(ends, ["success", "success", "error"], "{answer}");
    assert_eq!(
        world.block(&agent, "persona").await,
        "I am a helper.\nbefore\nafter"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_dropped_are_not_shown() {
    let world = World::new().await;
    // Rules on the order of calls want one at a time; this model makes two all the same.
    let rules = json!([{"type": "continue_loop", "tool_name": "memory_insert"}]);
    let agent = gated(&world, &[], json!({"tool_rules": rules})).await;
    let said = format!("{} x", parallel(&[insert("A"), append("B")]));
    let body = json!({"messages": [user(&said)], "streaming": true, "stream_tokens": true});
    let frames = world.frames(&agent, &body).await;
    let called = frames
        .iter()
        .filter_map(|frame| frame["tool_call"]["tool_call_id"].as_str());
    let mut shown: Vec<&str> = called.collect();
    shown.dedup();
    let history = world.history(&agent).await;
    let stored: Vec<String> = history
        .iter()
        .filter(|message| message["tool_calls"].is_array())
        .flat_map(calls)
        .collect();
    assert_eq!((stored.len(), shown), (1, strs(&stored)));
    assert_eq!(world.block(&agent, "persona").await, "I am a helper.");
}

// ── cancels

#[tokio::test(flavor = "multi_thread")]
async fn what_came_with_a_cancelled_answer_leaves_the_request_answerable() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"], json!({})).await;
    for turn in 0..5 {
        let text = format!("turn {turn} {}", "and so on ".repeat(150));
        world.send(&agent, &text).await;
    }
    let said = parallel(&[append("B"), insert("A")]);
    let ids = asked(&world.send(&agent, &format!("{said} x")).await);

    // The answer waits for its lane, and is taken back.
    let summary = summarizing(&world, &agent).await;
    let items = [approve(&strs(&ids)), user("said beside")];
    let path = format!("/v1/agents/{agent}/messages/async");
    let run = world.post(&path, json!({"messages": items})).await;
    cancel_run(&world, &agent, run["id"].as_str().unwrap()).await;
    assert_eq!(summary.await.unwrap(), 200);
    assert_eq!(calls(&world.pending(&agent).await), ids, "it still waits");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown");

    let answer = world.items(&agent, &[approve(&strs(&ids))]).await;
    assert_eq!(stop(&answer), "end_turn", "{answer}");
    // runs-and-streaming §14, 1: after `cancelled` the inputs are in the context.
    assert!(last_sent(&world).contains("said beside"));
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA");
    world.assert_paired(&agent).await;

    // And the same from disk.
    let mut world = world;
    world.kill();
    world.start().await;
    world.send(&agent, "on").await;
    assert!(last_sent(&world).contains("said beside"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_joins_the_context_while_it_is_summarised_stays_in_it() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    for turn in 0..5 {
        let text = format!("turn {turn} {}", "and so on ".repeat(150));
        world.send(&agent, &text).await;
    }
    let summary = summarizing(&world, &agent).await;
    let run = world.start_run(&agent, "taken back").await;
    cancel_run(&world, &agent, &run).await;
    assert_eq!(summary.await.unwrap(), 200);
    world.send(&agent, "on").await;
    let users = texts(&world.model.last_body(), "user");
    assert!(users.contains(&"taken back".to_owned()), "{users:?}");
    assert!(
        !last_sent(&world).contains("turn 0"),
        "and the rest was summarised"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_cancelled_in_its_tools_keeps_what_it_cost() {
    let world = World::new().await;
    let agent = gated(&world, &[], json!({})).await;
    let run = world
        .start_run(&agent, "[[tool:test_slow {\"seconds\":20}]] x")
        .await;
    let in_tool = || async {
        let node = world.node(&format!("run:{run}")).await;
        node.is_some_and(|node| !node["tool"].is_null())
    };
    world.until("the tool", in_tool).await;
    cancel_run(&world, &agent, &run).await;
    let usage = world.get(&format!("/v1/runs/{run}/usage")).await;
    assert_eq!(usage["total_tokens"], 18, "{usage}");
    let steps = world.get(&format!("/v1/runs/{run}/steps")).await;
    assert_eq!(steps[0]["total_tokens"], 18, "{steps}");
}

// ── agents that forget

#[tokio::test(flavor = "multi_thread")]
async fn who_forgets_between_turns_does_not_forget_what_it_asked() {
    let world = World::new().await;
    let forgetful = json!({"message_buffer_autoclear": true});
    let agent = gated(&world, &["memory_insert"], forgetful).await;
    let ids = asked(
        &world
            .send(&agent, &format!("{} first", tool(&insert("A"))))
            .await,
    );
    let answer = world
        .items(&agent, &[approve(&strs(&ids)), user("and beside")])
        .await;
    assert_eq!(stop(&answer), "end_turn");
    let sent = last_sent(&world);
    assert!(
        sent.contains("first") && sent.contains("and beside"),
        "{sent}"
    );
    // The same answer again begins nothing either.
    world.items(&agent, &[approve(&strs(&ids))]).await;
    assert!(last_sent(&world).contains("and beside"));
    world.assert_paired(&agent).await;

    // A run that never had its turn takes nothing away.
    let busy = world
        .start_run(&agent, "[[tool:test_slow {\"seconds\":2}]] busy")
        .await;
    let in_tool = || async {
        let node = world.node(&format!("run:{busy}")).await;
        node.is_some_and(|node| !node["tool"].is_null())
    };
    world.until("the tool", in_tool).await;
    let queued = world.start_run(&agent, "never").await;
    cancel_run(&world, &agent, &queued).await;
    assert_eq!(world.ended(&busy).await["status"], "completed");
    let ids = world.get(&format!("/v1/agents/{agent}")).await["message_ids"].clone();
    let last = world.history(&agent).await.pop().unwrap();
    assert_eq!(ids.as_array().unwrap().last().unwrap(), &last["id"]);
    world.send(&agent, "anew").await;
    assert!(!last_sent(&world).contains("busy"), "new words begin anew");
}

// ── what a compaction is not

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_is_not_told_of_as_the_last_turn() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    for turn in 0..5 {
        let text = format!("turn {turn} {}", "and so on ".repeat(150));
        world.send(&agent, &text).await;
    }
    let limited = json!({"messages": [user(&format!("{} x", tool(&insert("A"))))], "max_steps": 1});
    let path = format!("/v1/agents/{agent}/messages");
    assert_eq!(stop(&world.post(&path, limited).await), "max_steps");
    let told = |state: &Value| {
        let keys = [
            "last_stop_reason",
            "last_run_completion",
            "last_run_duration_ms",
        ];
        keys.map(|key| state[key].clone())
    };
    let before = told(&world.get(&format!("/v1/agents/{agent}")).await);
    assert_eq!(before[0], "max_steps");
    world
        .post(&format!("/v1/agents/{agent}/summarize"), json!({}))
        .await;
    assert_eq!(
        told(&world.get(&format!("/v1/agents/{agent}")).await),
        before
    );
}

// ── too much

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_too_large_to_be_stored_ends_its_run_and_the_agent_goes_on() {
    let world = World::new().await;
    let agent = world.agent(&["conversation_search"]).await;
    for _ in 0..4 {
        world
            .send(&agent, &format!("needle {}", "hay ".repeat(15_000)))
            .await;
    }
    let search = "conversation_search {\"query\":\"needle\"}".to_owned();
    let body = json!({"messages": [user(&parallel(&vec![search; 400]))]});
    let path = format!("/v1/agents/{agent}/messages");
    let sent = world.call(Method::POST, &path, Some(body));
    let (status, answer) = tokio::time::timeout(Duration::from_secs(60), sent)
        .await
        .unwrap();
    assert_eq!(status.as_u16(), 500, "{answer}");
    let runs = world.get(&format!("/v1/runs/?agent_id={agent}")).await;
    assert_eq!(runs[0]["status"], "failed", "{runs}");
    world.assert_paired(&agent).await;
    let answer = world.send(&agent, "next").await;
    assert_eq!(kinds(messages(&answer)), ["assistant_message"]);
}

// ── compactions that are asked for again

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_is_asked_for_again_is_made_once() {
    let world = World::new().await;
    for marked in [true, false] {
        let agent = world.agent(&[]).await;
        for turn in 0..5 {
            let text = format!("turn {turn} {}", "and so on ".repeat(150));
            world.send(&agent, &text).await;
        }
        world.model.summariser(Summariser::Silent(800));
        let before = world.model.summaries().len();
        let ask = |retry: u32| {
            let request = world
                .http
                .post(format!("{}/v1/agents/{agent}/summarize", world.base))
                .json(&json!({}));
            let request = match marked {
                true => request.header("x-stainless-retry-count", retry),
                false => request.header("idempotency-key", "once"),
            };
            tokio::spawn(async move {
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                (status, answer.json::<Value>().await.unwrap())
            })
        };
        let first = ask(0);
        let asked = || async { world.model.summaries().len() > before };
        world.until("the summary", asked).await;
        let second = ask(1);
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert_eq!(first.0, 200, "{first:?}");
        assert_eq!(first, second);
        assert_eq!(world.model.summaries().len(), before + 1);
    }
}
