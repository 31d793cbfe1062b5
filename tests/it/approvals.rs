//! Calls that wait for the user's word: the whole machine of agent-loop §9, from the outside.

use crate::model::texts;
use crate::turns::{
    append, approve, asked, calls, deny, insert, is_one_less, kinds, messages, parallel, returned,
    returns, routes, stop, tool, user, with,
};
use crate::world::World;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

/// Tools of the agents here.
const TOOLS: [&str; 4] = [
    "memory_insert",
    "core_memory_append",
    "test_slow",
    "test_panic",
];

/// An agent for whom calls of these tools wait.
async fn gated(world: &World, gated: &[&str]) -> String {
    agent_with_rules(world, gated, &[]).await
}

async fn agent_with_rules(world: &World, gated: &[&str], more: &[Value]) -> String {
    let gates = gated
        .iter()
        .map(|name| json!({"type": "requires_approval", "tool_name": name}));
    let rules: Vec<Value> = gates.chain(more.iter().cloned()).collect();
    let fields = json!({"include_base_tools": false, "include_base_tool_rules": false, "tools": TOOLS, "tool_rules": rules});
    world.agent_with(fields).await
}

/// Sends a text that makes the model ask for the user's word; the ids of the calls that wait.
async fn ask(world: &World, agent: &str, text: &str) -> Vec<String> {
    asked(&world.send(agent, text).await)
}

fn strs(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

/// How often a line stands in the block `human`.
async fn lines(world: &World, agent: &str, line: &str) -> usize {
    let value = world.block(agent, "human").await;
    value.lines().filter(|found| *found == line).count()
}

/// The types of an agent's messages after the system message.
async fn listed(world: &World, agent: &str) -> Vec<String> {
    let history = world.history(agent).await;
    let kinds = kinds(&history);
    assert_eq!(kinds[0], "system_message");
    kinds[1..].iter().map(|kind| (*kind).to_owned()).collect()
}

async fn in_tool(world: &World) {
    let busy = || async {
        let tree = world.get("/v1/greenroom/tree").await;
        let nodes = tree["nodes"].as_array().unwrap().clone();
        nodes
            .iter()
            .any(|node| node["kind"] == "run" && !node["tool"].is_null())
    };
    world.until("a tool's start", busy).await;
}

/// A request that is under way while the test goes on.
fn sending(
    world: &World,
    agent: &str,
    items: &[Value],
) -> tokio::task::JoinHandle<reqwest::Result<(u16, Value)>> {
    let request = world
        .http
        .post(format!("{}/v1/agents/{agent}/messages", world.base))
        .json(&json!({"messages": items}));
    tokio::spawn(async move {
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await?))
    })
}

async fn cancel(world: &World, agent: &str) -> Value {
    let path = format!("/v1/agents/{agent}/messages/cancel");
    world.post(&path, json!({})).await
}

// ── the request

#[tokio::test(flavor = "multi_thread")]
async fn a_gated_call_is_not_executed_and_ends_the_turn_as_a_request() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let answer = world
        .send(&agent, &format!("{} x", tool(&insert("A"))))
        .await;
    assert_eq!(kinds(messages(&answer)), ["approval_request_message"]);
    let request = &messages(&answer)[0];
    // wire-rules §10: the otid of an approval request is the message's id, prefix included.
    assert_eq!(request["otid"], request["id"]);
    assert_eq!(request["tool_call"], request["tool_calls"][0]);
    assert_eq!(request["tool_call"]["name"], "memory_insert");
    let arguments: Value =
        serde_json::from_str(request["tool_call"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({"label": "human", "new_string": "A"}));
    assert!(request["step_id"].is_string(), "{request}");
    assert_eq!(stop(&answer), "requires_approval");
    assert_eq!(answer["usage"]["step_count"], 1);
    assert_eq!(lines(&world, &agent, "A").await, 0);
    assert_eq!(world.model.requests(), 1);

    // runs-and-streaming §1: it counts as completed.
    let run = world.run(request["run_id"].as_str().unwrap()).await;
    assert_eq!(
        (&run["status"], &run["stop_reason"]),
        (&json!("completed"), &json!("requires_approval")),
        "{run}"
    );
    let state = world.get(&format!("/v1/agents/{agent}")).await;
    assert_eq!(state["last_stop_reason"], "requires_approval");
    assert_eq!(state["message_ids"].as_array().unwrap().len(), 3);
    assert_eq!(state["pending_approval"], Value::Null, "not asked for");
    assert_eq!(
        listed(&world, &agent).await,
        ["user_message", "approval_request_message"]
    );
    assert_eq!(world.history(&agent).await[2], *request);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_beside_gated_calls_alone_belong_to_the_request() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let said = format!("[[beside:Let me write.]]{} x", tool(&insert("A")));
    let answer = world.send(&agent, &said).await;
    let [words, request] = messages(&answer) else {
        panic!("{answer}")
    };
    assert_eq!(words["message_type"], "assistant_message");
    assert_eq!(words["content"], "Let me write.");
    // One stored message, two pieces: content here when there are no free calls.
    assert_eq!(words["id"], request["id"]);
    assert_eq!(request["otid"], request["id"]);
    assert_ne!(words["otid"], request["otid"]);
    asked(&answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_call_beside_a_gated_one_waits_too_and_is_stored_before_it() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    // The gated one comes first from the model; what is stored and shown has the free ones first.
    let said = format!(
        "[[beside:Both.]]{} x",
        parallel(&[insert("A"), append("B"), "test_panic".to_owned()])
    );
    let answer = world.send(&agent, &said).await;
    assert_eq!(
        kinds(messages(&answer)),
        [
            "assistant_message",
            "tool_call_message",
            "approval_request_message"
        ]
    );
    let [words, free, request] = messages(&answer) else {
        panic!("{answer}")
    };
    assert_eq!(
        words["id"], free["id"],
        "the content stands with the free calls"
    );
    let names = |message: &Value| -> Vec<String> {
        let calls = message["tool_calls"].as_array().unwrap();
        calls
            .iter()
            .map(|call| call["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(free), ["core_memory_append", "test_panic"]);
    assert_eq!(names(request), ["memory_insert"]);
    assert!(is_one_less(request, free), "{answer}");
    assert_eq!(request["otid"], request["id"]);
    // agent-loop §11: the last digit counts the pieces of one stored message.
    let last_digit = |message: &Value| message["otid"].as_str().unwrap().chars().last();
    assert_eq!(
        (last_digit(words), last_digit(free)),
        (Some('0'), Some('1'))
    );
    assert_eq!(free["step_id"], request["step_id"]);
    assert_eq!(lines(&world, &agent, "A").await, 0);
    assert_eq!(world.block(&agent, "persona").await, "I am a helper.");
    assert_eq!(world.history(&agent).await[2..], *messages(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_step_may_ask_and_one_turn_may_ask_twice() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let said = format!(
        "{}{}{} end",
        tool(&append("B")),
        tool(&insert("A1")),
        tool(&insert("A2"))
    );
    let first = world.send(&agent, &said).await;
    assert_eq!(
        kinds(messages(&first)),
        [
            "tool_call_message",
            "tool_return_message",
            "approval_request_message"
        ]
    );
    let second = world.items(&agent, &[approve(&strs(&asked(&first)))]).await;
    assert_eq!(
        kinds(messages(&second)),
        ["tool_return_message", "approval_request_message"]
    );
    let last = world
        .items(&agent, &[approve(&strs(&asked(&second)))])
        .await;
    assert_eq!(messages(&last)[1]["content"], "echo: end");
    assert_eq!(stop(&last), "end_turn");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA1\nA2");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_shown_with_the_agent_only_when_it_is_asked_for() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    assert_eq!(world.pending(&agent).await, Value::Null);
    let answer = world
        .send(&agent, &format!("{} x", tool(&insert("A"))))
        .await;
    let pending = world.pending(&agent).await;
    assert_eq!(pending, messages(&answer)[0]);
    let (ids, other) = (asked(&answer), gated(&world, &["memory_insert"]).await);
    assert_eq!(world.pending(&other).await, Value::Null);
    world.items(&agent, &[approve(&strs(&ids))]).await;
    assert_eq!(world.pending(&agent).await, Value::Null);
}

// ── the answer

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_runs_gated_and_free_calls_and_they_return_in_one_message() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let said = format!("{} done", parallel(&[append("B"), insert("A")]));
    let first = world.send(&agent, &said).await;
    let (free, request) = (&messages(&first)[0], &messages(&first)[1]);
    let ids = asked(&first);
    let item = with(&approve(&strs(&ids)), &json!({"otid": "answer-1"}));
    let second = world.items(&agent, &[item]).await;
    assert_eq!(
        kinds(messages(&second)),
        ["tool_return_message", "assistant_message"],
        "the answer itself is not echoed"
    );
    let [ends, reply] = messages(&second) else {
        panic!("{second}")
    };
    let found: HashSet<String> = returns(ends).into_iter().collect();
    assert_eq!(found, calls(free).into_iter().chain(ids.clone()).collect());
    for id in &found {
        assert_eq!(returned(ends, id)["status"], "success", "{ends}");
    }
    assert_eq!(lines(&world, &agent, "A").await, 1);
    assert!(world.block(&agent, "persona").await.ends_with("\nB"));

    // wire-rules §10: the old step, a new run; agent-loop §12: only model calls are counted.
    assert_eq!(ends["step_id"], request["step_id"]);
    assert_ne!(ends["run_id"], request["run_id"]);
    assert_eq!(reply["run_id"], ends["run_id"]);
    assert_ne!(reply["step_id"], ends["step_id"]);
    assert!(ends["otid"].as_str().unwrap().ends_with('0'), "{ends}");
    assert_eq!(reply["content"], "echo: done");
    assert_eq!(stop(&second), "end_turn");
    assert_eq!(second["usage"]["step_count"], 1);
    assert_eq!(second["usage"]["total_tokens"], 18);
    let run = ends["run_id"].as_str().unwrap();
    let steps = world.get(&format!("/v1/runs/{run}/steps")).await;
    assert_eq!(steps.as_array().unwrap().len(), 1, "{steps}");

    assert_eq!(
        listed(&world, &agent).await,
        [
            "user_message",
            "tool_call_message",
            "approval_request_message",
            "approval_response_message",
            "tool_return_message",
            "assistant_message"
        ]
    );
    let response = world.history(&agent).await[4].clone();
    let entry =
        json!({"type": "approval", "tool_call_id": ids[0], "approve": true, "reason": null});
    assert_eq!(response["approvals"], json!([entry]));
    // messages-and-search §4: the deprecated three repeat the first entry, its call's id included.
    assert_eq!(
        (&response["approve"], &response["approval_request_id"]),
        (&json!(true), &json!(ids[0]))
    );
    assert_eq!(response["otid"], "answer-1");
    assert_eq!(response["run_id"], ends["run_id"]);
    let of_the_run = world.get(&format!("/v1/runs/{run}/messages")).await;
    assert_eq!(
        kinds(of_the_run.as_array().unwrap()),
        [
            "approval_response_message",
            "tool_return_message",
            "assistant_message"
        ]
    );
    world.assert_paired(&agent).await;
    assert_eq!(
        world.send(&agent, "next").await["messages"][0]["content"],
        "echo: next"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_repeats_its_reason_word_for_word_to_user_and_model() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    for reason in [Some("not now; \"later\" – {später}\nask Bob"), None] {
        let ids = ask(&world, &agent, &format!("{} no", tool(&insert("A")))).await;
        let mut entry = json!({"type": "approval", "tool_call_id": ids[0], "approve": false});
        if let Some(reason) = reason {
            entry["reason"] = json!(reason);
        }
        let answer = world
            .items(&agent, &[json!({"type": "approval", "approvals": [entry]})])
            .await;
        let [end, reply] = messages(&answer) else {
            panic!("{answer}")
        };
        assert_eq!(returns(end), ids);
        assert_eq!(
            (end["status"].as_str(), stop(&answer)),
            (Some("error"), "end_turn")
        );
        let told = end["tool_return"].as_str().unwrap();
        assert!(told.contains("denied"), "{told}");
        assert!(told.contains(reason.unwrap_or_default()), "{told}");
        assert_eq!(reply["content"], "echo: no");
        let seen = texts(&world.model.last_body(), "tool").pop().unwrap();
        let seen: Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen["status"], "Failed", "{seen}");
        assert_eq!(seen["message"], told);
        let history = world.history(&agent).await;
        let response = &history[history.len() - 3];
        assert_eq!(response["message_type"], "approval_response_message");
        assert_eq!(response["approve"], json!(false));
        assert_eq!(response["reason"], json!(reason));
    }
    assert_eq!(lines(&world, &agent, "A").await, 0);
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_gated_calls_each_has_its_own_answer_and_denials_return_first() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let said = format!(
        "{} three",
        parallel(&[insert("A"), insert("B"), insert("C")])
    );
    let ids = ask(&world, &agent, &said).await;
    let [a, b, c] = ids.as_slice() else {
        panic!("{ids:?}")
    };
    // In another order than the calls, and without `type`: an entry is then a decision (agent-loop §9, do better).
    let entries = json!([
        {"tool_call_id": c, "approve": true},
        {"tool_call_id": b, "approve": false, "reason": "not B"},
        {"tool_call_id": a, "approve": true},
    ]);
    let answer = world
        .items(&agent, &[json!({"type": "approval", "approvals": entries})])
        .await;
    let end = &messages(&answer)[0];
    // Denials, then executed calls (§9), these in call order (§7).
    assert_eq!(returns(end), [b.clone(), a.clone(), c.clone()]);
    assert_eq!(returned(end, b)["status"], "error");
    assert!(
        returned(end, b)["tool_return"]
            .as_str()
            .unwrap()
            .contains("not B")
    );
    assert_eq!(
        (&end["tool_call_id"], &end["status"]),
        (&json!(b), &json!("error")),
        "the deprecated fields repeat the first return"
    );
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA\nC");
    assert_eq!(stop(&answer), "end_turn");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_form_names_the_request_instead_of_the_call() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let forms = [
        (json!({"approve": true}), "success"),
        (json!({"type": "approval", "approve": true}), "success"),
        (json!({"approve": false, "reason": "old no"}), "error"),
    ];
    for (form, status) in forms {
        let first = world
            .send(&agent, &format!("{} x", tool(&insert("A"))))
            .await;
        let wrong = with(
            &form,
            &json!({"approval_request_id": "message-00000000-0000-4000-8000-000000000000"}),
        );
        let detail = world.refused(&agent, &[wrong]).await;
        assert!(detail.contains("Invalid tool call IDs"), "{detail}");
        let right = with(
            &form,
            &json!({"approval_request_id": messages(&first)[0]["id"]}),
        );
        let answer = world.items(&agent, &[right]).await;
        let end = &messages(&answer)[0];
        assert_eq!(returns(end), asked(&first));
        assert_eq!(end["status"], status, "{form}");
        if let Some(reason) = form["reason"].as_str() {
            assert!(end["tool_return"].as_str().unwrap().contains(reason));
        }
    }
    assert_eq!(lines(&world, &agent, "A").await, 2);
    world.assert_paired(&agent).await;

    // One decision cannot answer two calls.
    let two = world
        .send(
            &agent,
            &format!("{} x", parallel(&[insert("B"), insert("C")])),
        )
        .await;
    let old = json!({"approve": true, "approval_request_id": messages(&two)[0]["id"]});
    let detail = world.refused(&agent, &[old]).await;
    assert!(detail.contains("Invalid tool call IDs"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_tool_that_fails_or_panics_returns_its_error_once() {
    let world = World::new().await;
    let agent = gated(&world, &["test_panic", "memory_insert"]).await;
    let bad = "memory_insert {\"label\":\"no_such_block\",\"new_string\":\"x\"}".to_owned();
    for call in ["test_panic".to_owned(), bad] {
        let ids = ask(&world, &agent, &format!("{} went on", tool(&call))).await;
        let answer = world.items(&agent, &[approve(&strs(&ids))]).await;
        assert_eq!(messages(&answer)[0]["status"], "error", "{answer}");
        assert_eq!(messages(&answer)[1]["content"], "echo: went on");
        world.assert_paired(&agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_asynchronous_form_asks_and_takes_answers() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let run = world
        .start_run(&agent, &format!("{} later", tool(&insert("A"))))
        .await;
    let record = world.ended(&run).await;
    assert_eq!(
        (&record["status"], &record["stop_reason"]),
        (&json!("completed"), &json!("requires_approval")),
        "{record}"
    );
    let ids = calls(&world.pending(&agent).await);
    let path = format!("/v1/agents/{agent}/messages/async");
    let body = json!({"messages": [approve(&strs(&ids)), user("and then")]});
    let run = world.post(&path, body).await["id"].clone();
    let record = world.ended(run.as_str().unwrap()).await;
    assert_eq!(record["stop_reason"], "end_turn", "{record}");
    assert_eq!(lines(&world, &agent, "A").await, 1);
    let last = world.history(&agent).await.pop().unwrap();
    assert_eq!(last["content"], "echo: and then");
    world.assert_paired(&agent).await;
}

// ── what is refused

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_name_exactly_the_waiting_calls_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let said = format!(
        "{} x",
        parallel(&[insert("A"), insert("B"), append("free")])
    );
    let first = world.send(&agent, &said).await;
    let (ids, free) = (asked(&first), calls(&messages(&first)[0]));
    let before = world.history(&agent).await;
    let [a, b] = strs(&ids)[..] else {
        panic!("{ids:?}")
    };
    for wrong in [
        vec![a],
        vec!["call_of_nobody"],
        vec![a, "call_of_nobody"],
        vec![a, b, "call_of_nobody"],
        // Free calls are not asked for.
        vec![a, b, &free[0]],
        vec![],
    ] {
        let detail = world.refused(&agent, &[approve(&wrong)]).await;
        assert!(
            detail.contains("Invalid tool call IDs"),
            "{wrong:?}: {detail}"
        );
        // What came beside a refused answer is refused with it.
        let detail = world
            .refused(&agent, &[approve(&wrong), user("and then")])
            .await;
        assert!(detail.contains("Invalid tool call IDs"), "{detail}");
    }
    assert_eq!(world.history(&agent).await, before);
    assert_eq!(world.model.requests(), 1);
    assert_eq!(calls(&world.pending(&agent).await), ids);
    let answer = world.items(&agent, &[approve(&[a, b])]).await;
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA\nB");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_refused_where_nothing_waits() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    for warm in [false, true] {
        if warm {
            world.send(&agent, "hello").await;
        }
        for item in [
            approve(&["call_1"]),
            json!({"approve": true, "approval_request_id": "message-00000000-0000-4000-8000-000000000000"}),
            json!({"type": "tool_return", "tool_returns": [{"type": "tool", "tool_call_id": "call_1", "tool_return": "x", "status": "success"}]}),
        ] {
            let detail = world.refused(&agent, &[item, user("beside")]).await;
            assert!(
                detail.contains("No tool call is currently awaiting approval"),
                "{detail}"
            );
        }
    }
    assert_eq!(
        listed(&world, &agent).await,
        ["user_message", "assistant_message"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_reaches_the_calls_of_its_own_agent_only() {
    let world = World::new().await;
    let (one, two) = (
        gated(&world, &["memory_insert"]).await,
        gated(&world, &["memory_insert"]).await,
    );
    let of_one = ask(&world, &one, &format!("{} x", tool(&insert("A")))).await;
    let detail = world.refused(&two, &[approve(&strs(&of_one))]).await;
    assert!(
        detail.contains("No tool call is currently awaiting approval"),
        "{detail}"
    );
    let of_two = ask(&world, &two, &format!("{} x", tool(&insert("B")))).await;
    let detail = world.refused(&two, &[approve(&strs(&of_one))]).await;
    assert!(detail.contains("Invalid tool call IDs"), "{detail}");
    for (agent, ids, line) in [(&one, &of_one, "A"), (&two, &of_two, "B")] {
        assert_eq!(calls(&world.pending(agent).await), *ids);
        assert_eq!(world.block(agent, "human").await, "Name: unknown");
        world.items(agent, &[approve(&strs(ids))]).await;
        assert_eq!(lines(&world, agent, line).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_6_an_ordinary_message_is_refused_on_every_route_while_a_request_waits() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let first = world
        .send(&agent, &format!("{} x", tool(&insert("A"))))
        .await;
    let before = world.history(&agent).await;
    let bodies = [
        json!({"messages": [user("are you there")]}),
        json!({"input": "are you there"}),
        json!({"messages": [{"role": "system", "content": "be brief"}]}),
    ];
    for (body, (route, fields)) in bodies
        .iter()
        .flat_map(|body| routes().map(|route| (body, route)))
    {
        let (status, headers, text) = world.attempt(&agent, route, &with(body, &fields)).await;
        assert_eq!(status, 409, "{route} {fields}: {text}");
        assert_eq!(
            headers
                .get("x-should-retry")
                .map(|value| value.to_str().unwrap()),
            Some("false"),
            "{route} {fields}"
        );
        let kind = headers["content-type"].to_str().unwrap();
        assert!(kind.starts_with("application/json"), "{route}: {kind}");
        let body: Value = serde_json::from_str(&text).unwrap();
        let detail = &body["detail"];
        assert_eq!(detail["code"], "PENDING_APPROVAL");
        assert_eq!(detail["pending_request_id"], messages(&first)[0]["id"]);
        let message = detail["message"].as_str().unwrap();
        assert!(
            message.contains("Please approve or deny the pending request before continuing"),
            "{message}"
        );
    }
    assert_eq!(world.history(&agent).await, before, "nothing of it is kept");
    assert_eq!(world.model.requests(), 1);
    let active = world
        .get(&format!("/v1/runs/?agent_id={agent}&active=true"))
        .await;
    assert_eq!(active, json!([]));
    let answer = world.items(&agent, &[approve(&strs(&asked(&first)))]).await;
    assert_eq!(stop(&answer), "end_turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_queued_behind_a_turn_which_asks_is_refused_in_its_turn() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let asking = world
        .start_run(&agent, &format!("[[silent:800]]{} x", tool(&insert("A"))))
        .await;
    world
        .until("the model call", || async { world.model.requests() == 1 })
        .await;
    let waiting = sending(&world, &agent, &[user("me too")]);
    let queued = || async {
        let runs = world
            .get(&format!("/v1/runs/?agent_id={agent}&statuses=created"))
            .await;
        runs.as_array().unwrap().len() == 1
    };
    world.until("the queue", queued).await;
    let later = world.start_run(&agent, "and me").await;
    assert_eq!(
        world.ended(&asking).await["stop_reason"],
        "requires_approval"
    );
    let (status, body) = waiting.await.unwrap().unwrap();
    assert_eq!(status, 409, "{body}");
    assert_eq!(body["detail"]["code"], "PENDING_APPROVAL");
    // runs-and-streaming §5: a run that had been accepted ends with the stop reason `error`.
    let later = world.ended(&later).await;
    assert_eq!(
        (&later["status"], &later["stop_reason"]),
        (&json!("failed"), &json!("error")),
        "{later}"
    );
    let ids = calls(&world.pending(&agent).await);
    let answer = world.items(&agent, &[approve(&strs(&ids))]).await;
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(lines(&world, &agent, "A").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_takes_the_request_out_of_the_context_and_the_agent_goes_on() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let ids = ask(&world, &agent, &format!("{} x", tool(&insert("A")))).await;
    let (status, body) = world
        .call(
            Method::PATCH,
            &format!("/v1/agents/{agent}/reset-messages"),
            Some(json!({"add_default_initial_messages": false})),
        )
        .await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(world.pending(&agent).await, Value::Null);
    let detail = world.refused(&agent, &[approve(&strs(&ids))]).await;
    assert!(
        detail.contains("No tool call is currently awaiting approval"),
        "{detail}"
    );
    assert_eq!(
        world.send(&agent, "next").await["messages"][0]["content"],
        "echo: next"
    );
    assert_eq!(lines(&world, &agent, "A").await, 0);
}

// ── answered already

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_again_runs_nothing_again_and_the_turn_goes_on() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let ids = ask(&world, &agent, &format!("{} x", tool(&insert("A")))).await;
    world.items(&agent, &[approve(&strs(&ids))]).await;

    let again = world.items(&agent, &[approve(&strs(&ids))]).await;
    assert_eq!(kinds(messages(&again)), ["assistant_message"]);
    assert_eq!(stop(&again), "end_turn");
    let seen = texts(&world.model.last_body(), "user").pop().unwrap();
    assert!(seen.contains("keep-alive"), "{seen}");

    // What came beside it takes the place of the synthetic message.
    let beside = world
        .items(&agent, &[approve(&strs(&ids)), user("and then")])
        .await;
    assert_eq!(kinds(messages(&beside)), ["assistant_message"]);
    assert_eq!(messages(&beside)[0]["content"], "echo: and then");
    let seen = texts(&world.model.last_body(), "user").pop().unwrap();
    assert_eq!(seen, "and then");

    // Another decision comes too late.
    let late = json!({"type": "approval", "approvals": [deny(&ids[0], "no, stop")]});
    assert_eq!(stop(&world.items(&agent, &[late]).await), "end_turn");

    let streamed = json!({"messages": [approve(&strs(&ids))], "streaming": true});
    let frames = world.frames(&agent, &streamed).await;
    assert_eq!(
        kinds(&frames),
        ["assistant_message", "stop_reason", "usage_statistics"]
    );
    assert_eq!(lines(&world, &agent, "A").await, 1);
    let ends = listed(&world, &agent).await;
    let ends = ends.iter().filter(|kind| *kind == "tool_return_message");
    assert_eq!(ends.count(), 1);
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_known_as_repeated_for_ten_messages_and_after_a_reset() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let ids = ask(&world, &agent, &format!("{} x", tool(&insert("A")))).await;
    world.items(&agent, &[approve(&strs(&ids))]).await;
    // The return and its reply, and four turns: the return is the tenth message from the end.
    for number in 0..4 {
        world.send(&agent, &format!("m{number}")).await;
    }
    world.items(&agent, &[approve(&strs(&ids))]).await;
    let detail = world.refused(&agent, &[approve(&strs(&ids))]).await;
    assert!(
        detail.contains("No tool call is currently awaiting approval"),
        "{detail}"
    );
    // Once the context holds only the system message, the newest stored return is looked at.
    let (status, body) = world
        .call(
            Method::PATCH,
            &format!("/v1/agents/{agent}/reset-messages"),
            Some(json!({"add_default_initial_messages": false})),
        )
        .await;
    assert_eq!(status, 200, "{body}");
    let again = world.items(&agent, &[approve(&strs(&ids))]).await;
    assert_eq!(kinds(messages(&again)), ["assistant_message"]);
    assert_eq!(lines(&world, &agent, "A").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_answer_is_no_answer_to_a_newer_request() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let old = ask(&world, &agent, &format!("{} x", tool(&insert("A")))).await;
    world.items(&agent, &[approve(&strs(&old))]).await;
    let new = ask(&world, &agent, &format!("{} x", tool(&insert("B")))).await;
    // agent-loop §9: only an idle agent takes an answer as a repeat.
    let detail = world.refused(&agent, &[approve(&strs(&old))]).await;
    assert!(detail.contains("Invalid tool call IDs"), "{detail}");
    assert_eq!(calls(&world.pending(&agent).await), new);
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_answers_at_once_run_the_call_once() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert", "test_slow"]).await;
    let said = format!(
        "{} x",
        parallel(&[insert("A"), "test_slow {\"seconds\":0.5}".to_owned()])
    );
    let ids = ask(&world, &agent, &said).await;
    let item = [approve(&strs(&ids))];
    let (one, two) = (
        sending(&world, &agent, &item),
        sending(&world, &agent, &item),
    );
    for answer in [one, two] {
        let (status, body) = answer.await.unwrap().unwrap();
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(lines(&world, &agent, "A").await, 1);
    world.assert_paired(&agent).await;
}

// ── messages beside an answer

#[tokio::test(flavor = "multi_thread")]
async fn messages_beside_an_answer_follow_the_return_and_are_answered() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    for decision in [true, false] {
        let before = world.history(&agent).await.len();
        let ids = ask(&world, &agent, &format!("{} x", tool(&insert("A")))).await;
        let answer = json!({"type": "approval", "approvals": [{"type": "approval", "tool_call_id": ids[0], "approve": decision}]});
        let first = with(&user("first"), &json!({"otid": "beside-1"}));
        let turn = world.items(&agent, &[answer, first, user("second")]).await;
        assert_eq!(
            kinds(messages(&turn)),
            ["tool_return_message", "assistant_message"]
        );
        assert_eq!(messages(&turn)[1]["content"], "echo: second");
        assert_eq!(turn["usage"]["step_count"], 1);
        let history = world.history(&agent).await;
        let turn = &history[before..];
        assert_eq!(
            kinds(turn)[2..],
            [
                "approval_response_message",
                "tool_return_message",
                "user_message",
                "user_message",
                "assistant_message"
            ]
        );
        assert_eq!(
            (&turn[4]["content"], &turn[4]["otid"], &turn[5]["content"]),
            (&json!("first"), &json!("beside-1"), &json!("second"))
        );
        assert_eq!(turn[4]["run_id"], turn[3]["run_id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beside_an_answer_are_answered_when_the_approved_tool_ends_the_turn() {
    let world = World::new().await;
    let last = json!({"type": "exit_loop", "tool_name": "memory_insert"});
    let agent = agent_with_rules(&world, &["memory_insert"], &[last]).await;
    let ids = ask(&world, &agent, &format!("{} x", tool(&insert("A")))).await;
    let alone = world.items(&agent, &[approve(&strs(&ids))]).await;
    assert_eq!(kinds(messages(&alone)), ["tool_return_message"]);
    assert_eq!(stop(&alone), "tool_rule");
    assert_eq!(alone["usage"]["step_count"], 0);

    let ids = ask(&world, &agent, &format!("{} x", tool(&insert("B")))).await;
    let beside = world
        .items(&agent, &[approve(&strs(&ids)), user("and then")])
        .await;
    assert_eq!(
        kinds(messages(&beside)),
        ["tool_return_message", "assistant_message"]
    );
    assert_eq!(messages(&beside)[1]["content"], "echo: and then");
    assert_eq!(stop(&beside), "end_turn");

    // A denied tool did not run, so it ends nothing.
    let ids = ask(&world, &agent, &format!("{} denied", tool(&insert("C")))).await;
    let no = json!({"type": "approval", "approvals": [deny(&ids[0], "no")]});
    let denied = world.items(&agent, &[no]).await;
    assert_eq!(messages(&denied)[1]["content"], "echo: denied");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA\nB");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beside_an_answer_are_answered_with_one_step_at_most() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let ids = ask(&world, &agent, &format!("{} x", tool(&insert("A")))).await;
    let path = format!("/v1/agents/{agent}/messages");
    let body = json!({"messages": [approve(&strs(&ids)), user("and then")], "max_steps": 1});
    let answer = world.post(&path, body).await;
    assert_eq!(
        kinds(messages(&answer)),
        ["tool_return_message", "assistant_message"]
    );
    assert_eq!(messages(&answer)[1]["content"], "echo: and then");
    assert_eq!(answer["usage"]["step_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beside_an_answer_stay_when_the_model_fails_after_the_tool() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let ids = ask(&world, &agent, &format!("{} x", tool(&insert("A")))).await;
    let items = json!({"messages": [approve(&strs(&ids)), user("[[error:400]] and then")]});
    let (status, _, text) = world.attempt(&agent, "messages", &items).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("llm_bad_request"), "{text}");
    // The return and the message were committed together, before the model was asked.
    assert_eq!(
        listed(&world, &agent).await,
        [
            "user_message",
            "approval_request_message",
            "approval_response_message",
            "tool_return_message",
            "user_message"
        ]
    );
    assert_eq!(lines(&world, &agent, "A").await, 1);
    assert_eq!(world.pending(&agent).await, Value::Null);
    let state = world.get(&format!("/v1/agents/{agent}")).await;
    assert_eq!(state["message_ids"].as_array().unwrap().len(), 6);
    assert_eq!(
        world.send(&agent, "next").await["messages"][0]["content"],
        "echo: next"
    );
    world.assert_paired(&agent).await;
}

// ── cancel

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_denies_all_calls_of_the_request_that_waits_and_the_next_message_works() {
    let world = World::new().await;
    for by_id in [false, true] {
        let agent = gated(&world, &["memory_insert"]).await;
        let said = format!(
            "{} x",
            parallel(&[append("free"), insert("A"), insert("B")])
        );
        let first = world.send(&agent, &said).await;
        let ids = asked(&first);
        let run = messages(&first)[0]["run_id"].as_str().unwrap().to_owned();
        let path = format!("/v1/agents/{agent}/messages/cancel");
        let body = if by_id {
            json!({"run_ids": [run]})
        } else {
            json!({})
        };
        let answer = world.post(&path, body).await;
        assert_eq!(answer, json!({ (run.as_str()): "cancelled" }));

        let record = world.run(&run).await;
        assert_eq!(
            (&record["status"], &record["stop_reason"]),
            (&json!("cancelled"), &json!("cancelled")),
            "{record}"
        );
        let state = world.get(&format!("/v1/agents/{agent}")).await;
        assert_eq!(state["last_stop_reason"], "cancelled");
        assert_eq!(world.pending(&agent).await, Value::Null);

        // runs-and-streaming §7: a denial and one tool message that denies gated and free calls alike.
        assert_eq!(
            listed(&world, &agent).await,
            [
                "user_message",
                "tool_call_message",
                "approval_request_message",
                "approval_response_message",
                "tool_return_message"
            ]
        );
        let history = world.history(&agent).await;
        let answers = history[4]["approvals"].as_array().unwrap();
        let denied: HashSet<&str> = answers
            .iter()
            .inspect(|answer| assert_eq!(answer["approve"], json!(false)))
            .map(|answer| answer["tool_call_id"].as_str().unwrap())
            .collect();
        assert!(
            strs(&ids).iter().all(|id| denied.contains(id)),
            "{denied:?}"
        );
        let end = &history[5];
        let all = calls(&history[2]).into_iter().chain(ids.clone());
        for id in all {
            assert_eq!(returned(end, &id)["status"], "error", "{end}");
        }
        assert_eq!(returns(end).len(), 3);
        assert_eq!(world.block(&agent, "human").await, "Name: unknown");
        assert_eq!(world.block(&agent, "persona").await, "I am a helper.");

        let (status, body) = world.call(Method::POST, &path, Some(json!({}))).await;
        assert_eq!(status, 409, "{body}");
        assert!(
            body["detail"].as_str().unwrap().contains("No active runs"),
            "{body}"
        );
        assert_eq!(
            world.send(&agent, "next").await["messages"][0]["content"],
            "echo: next"
        );
        world.assert_paired(&agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_an_approved_tool_and_keeps_what_was_said_beside_the_approval() {
    let world = World::new().await;
    let agent = gated(&world, &["test_slow"]).await;
    let ids = ask(&world, &agent, "[[tool:test_slow {\"seconds\":20}]] x").await;
    let answering = sending(&world, &agent, &[approve(&strs(&ids)), user("said beside")]);
    in_tool(&world).await;
    cancel(&world, &agent).await;
    let (status, answer) = answering.await.unwrap().unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(stop(&answer), "cancelled");
    let history = world.history(&agent).await;
    let end = history
        .iter()
        .find(|message| message["message_type"] == "tool_return_message");
    assert_eq!(returned(end.unwrap(), &ids[0])["status"], "error");
    // runs-and-streaming §14, 1: after `cancelled` the inputs are in the context.
    assert!(
        history
            .iter()
            .any(|message| message["content"] == "said beside"),
        "{history:?}"
    );
    world.assert_paired(&agent).await;
    assert_eq!(world.pending(&agent).await, Value::Null);
    assert_eq!(
        world.send(&agent, "next").await["messages"][0]["content"],
        "echo: next"
    );
    assert!(
        texts(&world.model.last_body(), "user").contains(&"said beside".to_owned()),
        "the model sees it too"
    );
}

// ── crash

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_through_kill_9() {
    let mut world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let said = format!("{} done", parallel(&[append("free"), insert("A")]));
    let ids = ask(&world, &agent, &said).await;
    let before = world.pending(&agent).await;
    world.kill();
    world.start().await;
    assert_eq!(world.pending(&agent).await, before);
    let (status, _, text) = world
        .attempt(&agent, "messages", &json!({"input": "hello"}))
        .await;
    assert_eq!(status, 409, "{text}");
    let answer = world.items(&agent, &[approve(&strs(&ids))]).await;
    assert_eq!(messages(&answer)[1]["content"], "echo: done");
    assert_eq!(messages(&answer)[0]["step_id"], before["step_id"]);
    assert_eq!(lines(&world, &agent, "A").await, 1);
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_11_an_approved_tool_under_way_at_kill_9_is_of_unknown_outcome_and_the_background_run_goes_on()
 {
    let mut world = World::new().await;
    let agent = gated(&world, &["test_slow"]).await;
    let ids = ask(&world, &agent, "[[tool:test_slow {\"seconds\":30}]] x").await;
    let path = format!("/v1/agents/{agent}/messages/async");
    let body = json!({"messages": [approve(&strs(&ids)), user("and then")]});
    let run = world.post(&path, body).await["id"].clone();
    in_tool(&world).await;
    world.kill();
    world.start().await;
    let record = world.ended(run.as_str().unwrap()).await;
    assert_eq!(
        (&record["status"], &record["stop_reason"]),
        (&json!("completed"), &json!("end_turn")),
        "{record}"
    );
    let history = world.history(&agent).await;
    assert_eq!(
        kinds(&history[1..]),
        [
            "user_message",
            "approval_request_message",
            "approval_response_message",
            "tool_return_message",
            "user_message",
            "assistant_message"
        ]
    );
    assert_eq!(returned(&history[4], &ids[0])["status"], "error");
    assert_eq!(history[6]["content"], "echo: and then");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_11_a_foreground_answer_that_kill_9_cut_off_is_closed_and_its_retry_runs_nothing_again()
 {
    let mut world = World::new().await;
    let agent = gated(&world, &["test_slow"]).await;
    let ids = ask(&world, &agent, "[[tool:test_slow {\"seconds\":30}]] x").await;
    let items = [approve(&strs(&ids)), user("and then")];
    let answering = sending(&world, &agent, &items);
    in_tool(&world).await;
    let run = world.get(&format!("/v1/runs/?agent_id={agent}")).await[0]["id"].clone();
    world.kill();
    assert!(answering.await.unwrap().is_err());
    world.start().await;
    let record = world.ended(run.as_str().unwrap()).await;
    assert_eq!(
        (
            record["status"].as_str(),
            record["metadata"]["error"]["type"].as_str()
        ),
        (Some("failed"), Some("server_restart")),
        "{record}"
    );
    world.assert_paired(&agent).await;
    assert_eq!(world.pending(&agent).await, Value::Null);

    // What an SDK does when its connection breaks.
    let retry = world
        .http
        .post(format!("{}/v1/agents/{agent}/messages", world.base))
        .header("x-stainless-retry-count", "1")
        .json(&json!({"messages": items}));
    let answer = retry.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        messages(&answer).last().unwrap()["content"],
        "echo: and then",
        "{answer}"
    );
    let history = world.history(&agent).await;
    let count = |wanted: &dyn Fn(&&Value) -> bool| history.iter().filter(wanted).count();
    assert_eq!(
        count(&|message| message["message_type"] == "tool_return_message"),
        1
    );
    // decisions 34: what the first run committed of the inputs is not appended again.
    assert_eq!(count(&|message| message["content"] == "and then"), 1);
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_moment_of_an_answer_leaves_one_return_and_no_half_done_edit() {
    let mut world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    for round in 0..8 {
        let line = format!("line {round}");
        let said = format!("{} x", parallel(&[append(&line), insert(&line)]));
        let ids = ask(&world, &agent, &said).await;
        let item = [approve(&strs(&ids))];
        let answering = sending(&world, &agent, &item);
        tokio::time::sleep(Duration::from_millis(round * 5)).await;
        world.kill();
        drop(answering.await);
        world.start().await;
        let active = world
            .get(&format!("/v1/runs/?agent_id={agent}&active=true"))
            .await;
        for run in active.as_array().unwrap() {
            world.ended(run["id"].as_str().unwrap()).await;
        }
        let pending = world.pending(&agent).await;
        if pending.is_null() {
            world.assert_paired(&agent).await;
        } else {
            assert_eq!(calls(&pending), ids);
            world.items(&agent, &item).await;
        }
        let history = world.history(&agent).await;
        let ends: Vec<&Value> = history
            .iter()
            .filter(|message| message["tool_returns"].is_array())
            .filter(|message| returns(message).contains(&ids[0]))
            .collect();
        assert_eq!(ends.len(), 1, "{ends:?}");
        // An edit is in the batch of the return that reports it (decisions 32).
        let reported = usize::from(returned(ends[0], &ids[0])["status"] == "success");
        assert_eq!(lines(&world, &agent, &line).await, reported, "{ends:?}");
    }
    world.assert_paired(&agent).await;
    assert_eq!(
        world.send(&agent, "next").await["messages"][0]["content"],
        "echo: next"
    );
}

// ── the flag of a tool

#[tokio::test(flavor = "multi_thread")]
async fn the_flag_of_a_tool_adds_one_rule_and_takes_it_away() {
    let world = World::new().await;
    let agent = gated(&world, &[]).await;
    let path = format!("/v1/agents/{agent}/tools/approval/memory_insert");
    let rule =
        json!({"tool_name": "memory_insert", "type": "requires_approval", "prompt_template": null});
    let rules = || async { world.get(&format!("/v1/agents/{agent}")).await["tool_rules"].clone() };
    // wire-rules §3: a 1.x client gets null.
    for _ in 0..2 {
        let body = json!({"requires_approval": true});
        let (status, answer) = world.call(Method::PATCH, &path, Some(body)).await;
        assert_eq!((status.as_u16(), answer), (200, Value::Null));
        assert_eq!(rules().await, json!([rule]), "twice is once");
    }
    let ids = ask(&world, &agent, &format!("{} x", tool(&insert("A")))).await;

    // Switching it off does not answer what waits already.
    let off = format!("{path}?requires_approval=false");
    let legacy = world
        .http
        .patch(format!("{}{off}", world.base))
        .header("user-agent", "curl/8");
    let state: Value = legacy.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&state["id"], &state["tool_rules"]),
        (&json!(agent), &json!([])),
        "an older client gets the state"
    );
    assert_eq!(rules().await, json!([]));
    assert_eq!(calls(&world.pending(&agent).await), ids);
    world.items(&agent, &[approve(&strs(&ids))]).await;
    let free = world
        .send(&agent, &format!("{} x", tool(&insert("B"))))
        .await;
    assert_eq!(stop(&free), "end_turn");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nA\nB");

    // The body is preferred to the query.
    let both = json!({"requires_approval": true});
    let (status, _) = world.call(Method::PATCH, &off, Some(both)).await;
    assert_eq!(status, 200);
    assert_eq!(rules().await, json!([rule]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flag_is_refused_without_a_value_and_for_tools_that_are_not_attached() {
    let world = World::new().await;
    let agent = gated(&world, &[]).await;
    let on = json!({"requires_approval": true});
    let path = |agent: &str, tool: &str| format!("/v1/agents/{agent}/tools/approval/{tool}");
    let nobody = "agent-00000000-0000-4000-8000-000000000000";
    let cases = [
        (path(&agent, "memory_insert"), None, 422),
        (path(&agent, "memory_insert"), Some(json!({})), 422),
        (
            path(&agent, "memory_insert"),
            Some(json!({"requires_approval": "maybe"})),
            422,
        ),
        // wire-rules §2: this body is a strict one.
        (
            path(&agent, "memory_insert"),
            Some(with(&on, &json!({"more": 1}))),
            422,
        ),
        (path(&agent, "memory_rethink"), Some(on.clone()), 404),
        (path(&agent, "no_such_tool"), Some(on.clone()), 404),
        (path(nobody, "memory_insert"), Some(on), 404),
    ];
    for (path, body, expected) in cases {
        let (status, answer) = world.call(Method::PATCH, &path, body.clone()).await;
        assert_eq!(status.as_u16(), expected, "{path} {body:?}: {answer}");
        if expected == 404 {
            let detail = answer["detail"].as_str().unwrap();
            assert!(detail.contains("not found"), "{detail}");
        }
    }
    let state = world.get(&format!("/v1/agents/{agent}")).await;
    assert_eq!(state["tool_rules"], json!([]));
}

// ── streams

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_request_has_the_id_of_the_stored_one_and_ends_the_stream() {
    let world = World::new().await;
    for tokens in [false, true] {
        let agent = gated(&world, &["memory_insert"]).await;
        let said = format!("{} x", tool(&insert("A longer line")));
        let body = json!({"messages": [user(&said)], "streaming": true, "stream_tokens": tokens});
        let frames = world.frames(&agent, &body).await;
        let (pieces, end) = frames.split_at(frames.len() - 2);
        assert!(
            kinds(pieces)
                .iter()
                .all(|kind| *kind == "approval_request_message"),
            "{frames:?}"
        );
        assert_eq!(pieces.len() > 1, tokens, "{frames:?}");
        assert_eq!(end[0]["stop_reason"], "requires_approval");
        assert_eq!(end[1]["step_count"], 1);
        let stored = world.pending(&agent).await;
        for piece in pieces {
            for key in ["id", "step_id", "run_id"] {
                assert_eq!(piece[key], stored[key], "{piece}");
            }
            // trace 112: also in deltas.
            assert_eq!(piece["otid"], piece["id"]);
        }
        if tokens {
            assert_same_call(pieces, &stored["tool_calls"][0]);
        } else {
            assert_eq!(pieces[0]["tool_calls"], stored["tool_calls"]);
        }
        let answer = json!({"messages": [approve(&strs(&calls(&stored)))], "streaming": true, "stream_tokens": tokens});
        let frames = world.frames(&agent, &answer).await;
        let mut order = kinds(&frames);
        order.dedup();
        assert_eq!(
            order,
            [
                "tool_return_message",
                "assistant_message",
                "stop_reason",
                "usage_statistics"
            ],
            "an approval is not echoed"
        );
        assert_eq!(frames[0]["step_id"], stored["step_id"]);
        assert_ne!(frames[0]["run_id"], stored["run_id"]);
        assert_eq!(frames[frames.len() - 2]["stop_reason"], "end_turn");
        assert_eq!(lines(&world, &agent, "A longer line").await, 1);
        world.assert_paired(&agent).await;
    }
}

/// Deltas of one call: the name first, then the arguments in pieces; `tool_calls` is the same object as `tool_call`.
fn assert_same_call(deltas: &[Value], call: &Value) {
    let mut arguments = String::new();
    for (index, delta) in deltas.iter().enumerate() {
        let piece = &delta["tool_call"];
        assert_eq!(piece, &delta["tool_calls"]);
        assert_eq!(piece["tool_call_id"], call["tool_call_id"], "{delta}");
        assert_eq!(piece["name"].is_string(), index == 0, "{delta}");
        arguments += piece["arguments"].as_str().unwrap_or_default();
    }
    assert_eq!(deltas[0]["tool_call"]["name"], call["name"]);
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(read(&arguments), read(call["arguments"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_free_and_gated_calls_shows_each_as_what_it_is() {
    let world = World::new().await;
    for tokens in [false, true] {
        let agent = gated(&world, &["memory_insert"]).await;
        let said = format!(
            "[[beside:Both of them.]]{} x",
            parallel(&[append("B"), insert("A"), insert("C")])
        );
        let body = json!({"messages": [user(&said)], "streaming": true, "stream_tokens": tokens});
        let frames = world.frames(&agent, &body).await;
        let mut order = kinds(&frames);
        order.dedup();
        assert_eq!(
            order,
            [
                "assistant_message",
                "tool_call_message",
                "approval_request_message",
                "stop_reason",
                "usage_statistics"
            ]
        );
        let of = |kind: &str| -> Vec<Value> {
            let found = frames.iter().filter(|frame| frame["message_type"] == kind);
            found.cloned().collect()
        };
        let (words, free, asking) = (
            of("assistant_message"),
            of("tool_call_message"),
            of("approval_request_message"),
        );
        let history = world.history(&agent).await;
        let [stored_words, stored_free, stored_request] = &history[2..] else {
            panic!("{history:?}")
        };
        assert!(is_one_less(stored_request, stored_free));
        for (frames, stored) in [
            (&words, stored_words),
            (&free, stored_free),
            (&asking, stored_request),
        ] {
            for frame in frames {
                assert_eq!(frame["id"], stored["id"], "{frame}");
                assert_eq!(frame["otid"], stored["otid"], "{frame}");
                assert_eq!(frame["step_id"], stored["step_id"], "{frame}");
            }
        }
        let text: String = words
            .iter()
            .map(|frame| frame["content"].as_str().unwrap())
            .collect();
        assert_eq!(text, "Both of them.");
        if tokens {
            assert_same_call(&free, &stored_free["tool_calls"][0]);
            for call in stored_request["tool_calls"].as_array().unwrap() {
                let deltas: Vec<Value> = asking
                    .iter()
                    .filter(|frame| frame["tool_call"]["tool_call_id"] == call["tool_call_id"])
                    .cloned()
                    .collect();
                assert_same_call(&deltas, call);
            }
        } else {
            assert_eq!((words.len(), free.len(), asking.len()), (1, 1, 1));
            assert_eq!(asking[0]["tool_calls"], stored_request["tool_calls"]);
        }
        assert_eq!(world.block(&agent, "human").await, "Name: unknown");

        let ids = calls(stored_request);
        let entries = json!([
            deny(&ids[1], "not C"),
            {"type": "approval", "tool_call_id": ids[0], "approve": true},
        ]);
        let answer = json!({
            "messages": [{"type": "approval", "approvals": entries}, user("and then")],
            "streaming": true, "stream_tokens": tokens,
        });
        let frames = world.frames(&agent, &answer).await;
        assert_eq!(frames[0]["message_type"], "tool_return_message");
        // Returns come whole, after the commit (runs-and-streaming §3).
        assert_eq!(returns(&frames[0]).len(), 3);
        assert_eq!(returns(&frames[0])[0], ids[1], "denials first");
        let text: String = frames[1..frames.len() - 2]
            .iter()
            .map(|frame| frame["content"].as_str().unwrap())
            .collect();
        assert_eq!(text, "echo: and then");
        world.assert_paired(&agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_stream_of_a_request_and_of_its_answer_can_be_read_again() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let said = format!("{} x", tool(&insert("A")));
    let mut items = vec![user(&said)];
    for expected in ["requires_approval", "end_turn"] {
        let body = json!({"messages": items, "streaming": true, "stream_tokens": true, "background": true});
        let (status, _, first) = world.attempt(&agent, "messages", &body).await;
        assert_eq!(status, 200, "{first}");
        let frames = crate::turns::frames(&first);
        assert_eq!(frames[frames.len() - 2]["stop_reason"], expected);
        let numbers: Vec<u64> = frames[..frames.len() - 2]
            .iter()
            .map(|frame| frame["seq_id"].as_u64().unwrap())
            .collect();
        // The ping was number one.
        let gapless: Vec<u64> = (2..).take(numbers.len()).collect();
        assert_eq!(numbers, gapless);
        let url = format!(
            "{}/v1/runs/{}/stream",
            world.base,
            frames[0]["run_id"].as_str().unwrap()
        );
        let again = world.http.post(url).json(&json!({"starting_after": 0}));
        let again = again.send().await.unwrap().text().await.unwrap();
        assert_eq!(crate::turns::frames(&again), frames);
        let pending = world.pending(&agent).await;
        if !pending.is_null() {
            items = vec![approve(&strs(&calls(&pending)))];
        }
    }
    assert_eq!(lines(&world, &agent, "A").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_types_keeps_the_end_of_the_turn() {
    let world = World::new().await;
    let agent = gated(&world, &["memory_insert"]).await;
    let said = format!("[[beside:Well.]]{} x", tool(&insert("A")));
    let path = format!("/v1/agents/{agent}/messages");
    let only = json!({"include_return_message_types": ["approval_request_message"]});
    let answer = world
        .post(&path, with(&json!({"messages": [user(&said)]}), &only))
        .await;
    assert_eq!(kinds(messages(&answer)), ["approval_request_message"]);
    let ids = asked(&answer);
    let body = json!({"messages": [approve(&strs(&ids))], "streaming": true, "include_return_message_types": ["assistant_message"]});
    let frames = world.frames(&agent, &body).await;
    assert_eq!(
        kinds(&frames),
        ["assistant_message", "stop_reason", "usage_statistics"]
    );
    assert_eq!(lines(&world, &agent, "A").await, 1);
}
