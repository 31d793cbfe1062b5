//! The nine kinds of tool rules (agent-loop §6), seen in what the model is offered and in what becomes of its calls. The
//! scripted model calls what its script says, whatever it is offered.

use crate::model::{choice, offered, texts};
use crate::turns::{append, asked, insert, kinds, messages, stop, tool, with};
use crate::world::World;
use reqwest::Method;
use serde_json::{Value, json};

const ALL: [&str; 3] = ["core_memory_append", "memory_insert", "test_slow"];
const SLOW: &str = "test_slow {\"seconds\":0}";

async fn agent(world: &World, rules: Value) -> String {
    let fields = json!({"include_base_tools": false, "include_base_tool_rules": false, "tools": ALL, "tool_rules": rules});
    world.agent_with(fields).await
}

/// What each request of the turn offered, and how free the model was.
fn offers(world: &World) -> Vec<(Vec<String>, String)> {
    let read = |body: &Value| {
        let names = offered(body).into_iter().map(str::to_owned).collect();
        (names, choice(body))
    };
    world.model.bodies().iter().map(read).collect()
}

fn offer(names: &[&str], choice: &str) -> (Vec<String>, String) {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    (names, choice.to_owned())
}

fn everything() -> (Vec<String>, String) {
    offer(&ALL, "auto")
}

/// The returns of a turn, in order.
fn ends(answer: &Value) -> Vec<&Value> {
    let is_end = |message: &&Value| message["message_type"] == "tool_return_message";
    messages(answer).iter().filter(is_end).collect()
}

/// A call that the rules did not let through: not executed, and told which rule and what may be called.
fn assert_refused(end: &Value, tool: &str, allowed: &[&str]) {
    let text = end["tool_return"].as_str().unwrap();
    assert_eq!(end["status"], "error", "{text}");
    assert!(text.starts_with("[ToolConstraintError]"), "{text}");
    for name in allowed.iter().chain([&tool]) {
        assert!(text.contains(name), "{name} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rules_every_tool_is_offered_and_the_model_is_free() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    let answer = world
        .send(&agent, &format!("{} end", tool(&insert("A"))))
        .await;
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(offers(&world), [everything(), everything()]);
}

// ── run_first

#[tokio::test(flavor = "multi_thread")]
async fn run_first_forces_its_tool_at_the_start_of_each_turn() {
    let world = World::new().await;
    let rules = json!([{"type": "run_first", "tool_name": "memory_insert"}]);
    let agent = agent(&world, rules).await;
    for line in ["A", "B"] {
        let said = format!("{}{} end", tool(&insert(line)), tool(&append(line)));
        assert_eq!(stop(&world.send(&agent, &said).await), "end_turn");
    }
    let forced = offer(&["memory_insert"], "must call memory_insert");
    assert_eq!(
        offers(&world),
        [
            forced.clone(),
            everything(),
            everything(),
            forced,
            everything(),
            everything()
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_against_run_first_is_refused_and_does_not_count() {
    let world = World::new().await;
    let rules = json!([{"type": "run_first", "tool_name": "memory_insert"}]);
    let agent = agent(&world, rules).await;
    let said = format!(
        "{}{}{} end",
        tool(&append("too early")),
        tool(&insert("A")),
        tool(&append("in time"))
    );
    let answer = world.send(&agent, &said).await;
    assert_eq!(stop(&answer), "end_turn");
    let ends = ends(&answer);
    assert_refused(ends[0], "core_memory_append", &["memory_insert"]);
    assert_eq!(
        (&ends[1]["status"], &ends[2]["status"]),
        (&json!("success"), &json!("success"))
    );
    let forced = offer(&["memory_insert"], "must call memory_insert");
    assert_eq!(
        offers(&world),
        [forced.clone(), forced, everything(), everything()],
        "agent-loop §6, do better (d)"
    );
    assert_eq!(
        world.block(&agent, "persona").await,
        "I am a helper.\nin time"
    );
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_run_first_fixes_win_over_the_models() {
    let world = World::new().await;
    let rules =
        json!([{"type": "run_first", "tool_name": "memory_insert", "args": {"label": "persona"}}]);
    let agent = agent(&world, rules).await;
    // Fixed while nothing was called in this turn; the second call is the model's own.
    let said = format!("{}{} end", tool(&insert("first")), tool(&insert("second")));
    assert_eq!(stop(&world.send(&agent, &said).await), "end_turn");
    assert_eq!(
        world.block(&agent, "persona").await,
        "I am a helper.\nfirst"
    );
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nsecond");
}

#[tokio::test(flavor = "multi_thread")]
async fn fixed_arguments_that_do_not_fit_the_tool_end_the_turn() {
    for args in [json!({"no_such_argument": 1}), json!({"label": 7})] {
        let world = World::new().await;
        let rules = json!([{"type": "run_first", "tool_name": "memory_insert", "args": args}]);
        let agent = agent(&world, rules).await;
        let answer = world
            .send(&agent, &format!("{} end", tool(&insert("A"))))
            .await;
        assert_eq!(
            kinds(messages(&answer)),
            ["tool_call_message", "tool_return_message"],
            "{args}"
        );
        assert_eq!(messages(&answer)[1]["status"], "error");
        assert_eq!(stop(&answer), "invalid_tool_call");
        assert_eq!(world.model.requests(), 1);
        assert_eq!(world.block(&agent, "human").await, "Name: unknown");
        let run = messages(&answer)[0]["run_id"].as_str().unwrap();
        assert_eq!(world.run(run).await["status"], "failed");
        world.assert_paired(&agent).await;
    }
}

// ── constrain_child_tools

#[tokio::test(flavor = "multi_thread")]
async fn after_a_parent_only_its_child_is_offered_and_forced() {
    let world = World::new().await;
    let rules = json!([{"type": "constrain_child_tools", "tool_name": "memory_insert", "children": ["core_memory_append"]}]);
    let agent = agent(&world, rules).await;
    let said = format!(
        "{}{}{}{} end",
        tool(&insert("A")),
        tool(SLOW),
        tool(&append("B")),
        tool(SLOW)
    );
    let answer = world.send(&agent, &said).await;
    assert_eq!(stop(&answer), "end_turn");
    let ends = ends(&answer);
    assert_refused(ends[1], "test_slow", &["core_memory_append"]);
    assert_eq!(
        (&ends[2]["status"], &ends[3]["tool_return"]),
        (&json!("success"), &json!("slept"))
    );
    let child = offer(&["core_memory_append"], "must call core_memory_append");
    assert_eq!(
        offers(&world),
        [
            everything(),
            child.clone(),
            child,
            everything(),
            everything()
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_children_one_has_to_be_called() {
    let world = World::new().await;
    let rules = json!([{"type": "constrain_child_tools", "tool_name": "memory_insert", "children": ["core_memory_append", "test_slow", "not_attached"]}]);
    let agent = agent(&world, rules).await;
    let said = format!("{}{} end", tool(&insert("A")), tool(SLOW));
    assert_eq!(stop(&world.send(&agent, &said).await), "end_turn");
    assert_eq!(
        offers(&world),
        [
            everything(),
            offer(&["core_memory_append", "test_slow"], "required"),
            everything()
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_may_fix_the_arguments_of_its_child() {
    let world = World::new().await;
    let nodes = json!([{"name": "core_memory_append", "args": {"content": "fixed"}}]);
    let rules = json!([{"type": "constrain_child_tools", "tool_name": "memory_insert", "children": ["core_memory_append"], "child_arg_nodes": nodes}]);
    let agent = agent(&world, rules).await;
    let said = format!(
        "{}{}{} end",
        tool(&insert("A")),
        tool(&append("the model's")),
        tool(&append("own"))
    );
    assert_eq!(stop(&world.send(&agent, &said).await), "end_turn");
    assert_eq!(
        world.block(&agent, "persona").await,
        "I am a helper.\nfixed\nown"
    );
}

// ── parent_last_tool

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_offered_right_after_its_parent_only() {
    let world = World::new().await;
    let rules = json!([{"type": "parent_last_tool", "tool_name": "memory_insert", "children": ["core_memory_append"]}]);
    let agent = agent(&world, rules).await;
    let said = format!(
        "{}{}{} end",
        tool(&append("too early")),
        tool(&insert("A")),
        tool(&append("B"))
    );
    let answer = world.send(&agent, &said).await;
    assert_eq!(stop(&answer), "end_turn");
    assert_refused(
        ends(&answer)[0],
        "core_memory_append",
        &["memory_insert", "test_slow"],
    );
    let others = offer(&["memory_insert", "test_slow"], "auto");
    assert_eq!(
        offers(&world),
        [
            others.clone(),
            others.clone(),
            offer(&["core_memory_append"], "must call core_memory_append"),
            others
        ]
    );
    assert_eq!(world.block(&agent, "persona").await, "I am a helper.\nB");
}

// ── conditional

fn conditional(more: &Value) -> Value {
    let rule = json!({"type": "conditional", "tool_name": "test_slow", "child_output_mapping": {"slept": "core_memory_append"}});
    json!([with(&rule, more)])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_a_tool_picks_the_one_after_it() {
    let world = World::new().await;
    let agent = agent(
        &world,
        conditional(&json!({"default_child": "memory_insert"})),
    )
    .await;
    let said = format!(
        "{}{}{} end",
        tool(SLOW),
        tool(&insert("A")),
        tool(&append("B"))
    );
    let answer = world.send(&agent, &said).await;
    assert_eq!(stop(&answer), "end_turn");
    // agent-loop §6, do better (b): matched against the unwrapped message of the return.
    assert_refused(ends(&answer)[1], "memory_insert", &["core_memory_append"]);
    let child = offer(&["core_memory_append"], "must call core_memory_append");
    assert_eq!(
        offers(&world),
        [everything(), child.clone(), child, everything()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_not_mapped_leads_to_the_default_or_anywhere_or_nowhere() {
    let mapping = json!({"child_output_mapping": {"never said": "core_memory_append"}});
    let cases = [
        (
            json!({"default_child": "memory_insert"}),
            offer(&["memory_insert"], "must call memory_insert"),
        ),
        (json!({}), offer(&ALL, "required")),
        // decisions 13: nothing is offered and text is asked for.
        (
            json!({"require_output_mapping": true}),
            offer(&[], "nothing"),
        ),
    ];
    for (fields, expected) in cases {
        let world = World::new().await;
        let agent = agent(&world, conditional(&with(&mapping, &fields))).await;
        let said = format!("{}[[say:in words]] end", tool(SLOW));
        let answer = world.send(&agent, &said).await;
        assert_eq!(offers(&world)[1], expected, "{fields}");
        if expected.0.is_empty() {
            assert_eq!(messages(&answer)[2]["content"], "in words");
            assert_eq!(stop(&answer), "end_turn");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_may_be_called_every_call_is_refused() {
    let world = World::new().await;
    let nowhere = json!({"child_output_mapping": {"never said": "core_memory_append"}, "require_output_mapping": true});
    let agent = agent(&world, conditional(&nowhere)).await;
    let said = format!("{}{} end", tool(SLOW), tool(&insert("A")));
    let answer = world.send(&agent, &said).await;
    assert_refused(ends(&answer)[1], "memory_insert", &[]);
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(
        offers(&world)[1..],
        [offer(&[], "nothing"), offer(&[], "nothing")]
    );
    assert_eq!(world.block(&agent, "human").await, "Name: unknown");
    world.assert_paired(&agent).await;
}

// ── max_count_per_step

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_offered_until_it_was_called_so_often_in_the_turn() {
    let world = World::new().await;
    let rules =
        json!([{"type": "max_count_per_step", "tool_name": "memory_insert", "max_count_limit": 2}]);
    let agent = agent(&world, rules).await;
    let said = format!(
        "{}{}{} end",
        tool(&insert("1")),
        tool(&insert("2")),
        tool(&insert("3"))
    );
    let answer = world.send(&agent, &said).await;
    assert_eq!(stop(&answer), "end_turn");
    let returns = ends(&answer);
    // Do better (a): each call counts once.
    assert_eq!(
        (&returns[0]["status"], &returns[1]["status"]),
        (&json!("success"), &json!("success"))
    );
    assert_refused(
        returns[2],
        "memory_insert",
        &["core_memory_append", "test_slow"],
    );
    let rest = offer(&["core_memory_append", "test_slow"], "auto");
    assert_eq!(
        offers(&world),
        [everything(), everything(), rest.clone(), rest],
        "do better (c): nothing is forced"
    );
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\n1\n2");
    // A turn starts with an empty history.
    world
        .send(&agent, &format!("{} end", tool(&insert("4"))))
        .await;
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\n1\n2\n4");
    assert_eq!(offers(&world)[4], everything());
}

// ── exit_loop, continue_loop

#[tokio::test(flavor = "multi_thread")]
async fn exit_loop_ends_the_turn_with_its_return() {
    let world = World::new().await;
    let rules = json!([{"type": "exit_loop", "tool_name": "memory_insert"}]);
    let agent = agent(&world, rules).await;
    let said = format!("{}{} never said", tool(&append("B")), tool(&insert("A")));
    let answer = world.send(&agent, &said).await;
    assert_eq!(
        kinds(messages(&answer)),
        [
            "tool_call_message",
            "tool_return_message",
            "tool_call_message",
            "tool_return_message"
        ]
    );
    assert_eq!(stop(&answer), "tool_rule");
    assert_eq!(world.model.requests(), 2);
    let run = messages(&answer)[0]["run_id"].as_str().unwrap();
    assert_eq!(world.run(run).await["status"], "completed");
    assert_eq!(
        world.send(&agent, "next").await["messages"][0]["content"],
        "echo: next"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_fails_does_not_end_the_turn() {
    let world = World::new().await;
    let rules = json!([{"type": "exit_loop", "tool_name": "memory_insert"}]);
    let agent = agent(&world, rules).await;
    let bad = "memory_insert {\"label\":\"no_such_block\",\"new_string\":\"x\"}";
    let answer = world.send(&agent, &format!("{} went on", tool(bad))).await;
    // agent-loop §8: a tool that failed goes on.
    assert_eq!(messages(&answer)[1]["status"], "error");
    assert_eq!(messages(&answer)[2]["content"], "echo: went on");
    assert_eq!(stop(&answer), "end_turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn continue_loop_takes_nothing_from_the_model() {
    let world = World::new().await;
    let rules = json!([{"type": "continue_loop", "tool_name": "memory_insert"}]);
    let agent = agent(&world, rules).await;
    let answer = world
        .send(&agent, &format!("{} end", tool(&insert("A"))))
        .await;
    assert_eq!(
        kinds(messages(&answer)),
        [
            "tool_call_message",
            "tool_return_message",
            "assistant_message"
        ]
    );
    assert_eq!(offers(&world), [everything(), everything()]);
}

// ── required_before_exit

/// The reminders that a request holds.
fn reminders(body: &Value) -> Vec<Value> {
    let read = |text: String| serde_json::from_str::<Value>(&text).unwrap_or_default();
    let users = texts(body, "user").into_iter().map(read);
    users.filter(|text| text["type"] == "heartbeat").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_does_not_end_in_words_while_a_required_tool_is_uncalled() {
    let world = World::new().await;
    let rules = json!([{"type": "required_before_exit", "tool_name": "memory_insert"}]);
    let agent = agent(&world, rules).await;
    let said = format!("[[say:I am done.]]{} end", tool(&insert("A")));
    let answer = world.send(&agent, &said).await;
    // The words are stored; the reminder is not echoed (agent-loop §11).
    assert_eq!(
        kinds(messages(&answer)),
        [
            "assistant_message",
            "tool_call_message",
            "tool_return_message",
            "assistant_message"
        ]
    );
    assert_eq!(messages(&answer)[0]["content"], "I am done.");
    assert_eq!(messages(&answer)[3]["content"], "echo: end");
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(answer["usage"]["step_count"], 3);
    let bodies = world.model.bodies();
    assert!(reminders(&bodies[0]).is_empty());
    let told = reminders(&bodies[1]);
    assert_eq!(told.len(), 1, "{told:?}");
    let reason = told[0]["reason"].as_str().unwrap();
    assert!(reason.contains("memory_insert"), "{reason}");
    assert_eq!(
        reminders(&bodies[2]).len(),
        1,
        "once called, it is not asked for again"
    );

    // One that was called in its own time is not asked for.
    let said = format!("{} end", tool(&insert("B")));
    let answer = world.send(&agent, &said).await;
    assert_eq!(messages(&answer).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_tool_that_is_not_attached_is_not_waited_for() {
    let world = World::new().await;
    let rules = json!([{"type": "required_before_exit", "tool_name": "memory_rethink"}]);
    let agent = agent(&world, rules).await;
    let answer = world.send(&agent, "hello").await;
    assert_eq!(messages(&answer)[0]["content"], "echo: hello");
    assert_eq!(world.model.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_tool_holds_back_the_end_by_a_terminal_one() {
    let world = World::new().await;
    let rules = json!([
        {"type": "exit_loop", "tool_name": "core_memory_append"},
        {"type": "required_before_exit", "tool_name": "memory_insert"},
    ]);
    let agent = agent(&world, rules).await;
    let said = format!(
        "{}{}{} never said",
        tool(&append("B")),
        tool(&insert("A")),
        tool(&append("C"))
    );
    let answer = world.send(&agent, &said).await;
    assert_eq!(ends(&answer).len(), 3);
    assert_eq!(stop(&answer), "tool_rule");
    assert_eq!(world.model.requests(), 3);
    assert_eq!(world.block(&agent, "persona").await, "I am a helper.\nB\nC");
}

// ── several rules, their change, and the flag of several calls at once

#[tokio::test(flavor = "multi_thread")]
async fn several_rules_hold_at_once() {
    let world = World::new().await;
    let rules = json!([
        {"type": "run_first", "tool_name": "memory_insert"},
        {"type": "constrain_child_tools", "tool_name": "memory_insert", "children": ["memory_insert", "core_memory_append"]},
        {"type": "max_count_per_step", "tool_name": "memory_insert", "max_count_limit": 2},
        {"type": "exit_loop", "tool_name": "core_memory_append"},
    ]);
    let agent = agent(&world, rules).await;
    let said = format!(
        "{}{}{} never said",
        tool(&insert("1")),
        tool(&insert("2")),
        tool(&append("last"))
    );
    let answer = world.send(&agent, &said).await;
    assert_eq!(stop(&answer), "tool_rule");
    assert_eq!(
        offers(&world),
        [
            offer(&["memory_insert"], "must call memory_insert"),
            offer(&["core_memory_append", "memory_insert"], "required"),
            offer(&["core_memory_append"], "must call core_memory_append"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_call_leads_to_its_child_and_a_denied_one_does_not() {
    let child = offer(&["core_memory_append"], "must call core_memory_append");
    for (approve, expected) in [(true, child), (false, everything())] {
        let world = World::new().await;
        let rules = json!([
            {"type": "requires_approval", "tool_name": "memory_insert"},
            {"type": "constrain_child_tools", "tool_name": "memory_insert", "children": ["core_memory_append"]},
        ]);
        let agent = agent(&world, rules).await;
        let said = format!("{}{} end", tool(&insert("A")), tool(&append("B")));
        let ids = asked(&world.send(&agent, &said).await);
        let entry = json!({"type": "approval", "tool_call_id": ids[0], "approve": approve});
        let answer = json!({"type": "approval", "approvals": [entry]});
        let answer = world.items(&agent, &[answer]).await;
        assert_eq!(stop(&answer), "end_turn");
        // agent-loop §6, do better (d): only what was executed is registered.
        assert_eq!(offers(&world)[1], expected, "approve: {approve}");
        assert_eq!(world.block(&agent, "persona").await, "I am a helper.\nB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_calls_at_once_are_asked_for_unless_rules_order_them() {
    let cases = [
        (json!([]), true),
        (
            json!([{"type": "requires_approval", "tool_name": "test_slow"}]),
            true,
        ),
        (
            json!([{"type": "max_count_per_step", "tool_name": "test_slow", "max_count_limit": 9}]),
            false,
        ),
    ];
    for (rules, expected) in cases {
        let world = World::new().await;
        let agent = agent(&world, rules.clone()).await;
        world.send(&agent, "hello").await;
        let asked = world.model.last_body()["parallel_tool_calls"] == json!(true);
        assert_eq!(asked, expected, "{rules}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_rules_hold_from_the_next_turn_on() {
    let world = World::new().await;
    let agent = agent(&world, json!([])).await;
    world.send(&agent, "hello").await;
    let path = format!("/v1/agents/{agent}");
    for (rules, expected) in [
        (
            json!([{"type": "run_first", "tool_name": "test_slow"}]),
            offer(&["test_slow"], "must call test_slow"),
        ),
        (json!([]), everything()),
    ] {
        let body = json!({"tool_rules": rules});
        let (status, answer) = world.call(Method::PATCH, &path, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        let before = world.model.requests();
        world.send(&agent, &format!("{} end", tool(SLOW))).await;
        assert_eq!(offers(&world)[before], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_do_not_fit_the_schema_are_refused() {
    let world = World::new().await;
    let cases = [
        (
            json!([{"type": "no_such_kind", "tool_name": "memory_insert"}]),
            422,
        ),
        (json!([{"type": "exit_loop"}]), 422),
        (
            json!([{"type": "conditional", "tool_name": "test_slow", "child_output_mapping": {}}]),
            422,
        ),
        (
            json!([{"type": "constrain_child_tools", "tool_name": "test_slow", "children": ["memory_insert"], "child_arg_nodes": [{"name": "core_memory_append"}]}]),
            422,
        ),
        // agent-loop §1: but for two models.
        (
            json!([{"type": "run_first", "tool_name": "test_slow"}, {"type": "run_first", "tool_name": "memory_insert"}]),
            400,
        ),
    ];
    for (rules, expected) in cases {
        let body = json!({"model": "openai/scripted", "tools": ALL, "tool_rules": rules});
        let (status, answer) = world.call(Method::POST, "/v1/agents/", Some(body)).await;
        assert_eq!(status.as_u16(), expected, "{rules}: {answer}");
    }
}
