//! Tools as they are offered, called, held and returned.

use super::stage::{
    APPEND, BYE, INSERT, INSERTED, call, everywhere, gate, image, is_seen, says, text, thought,
};
use crate::turns::{approve, deny, user, with};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn one_call_then_a_reply() {
    everywhere(json!({}), async |scene| {
        let step = [thought("a"), text("I write that down."), INSERT];
        scene
            .turn(
                &[user("Hello")],
                vec![says(step), says([thought("b"), text("Done.")])],
                "end_turn",
            )
            .await;
        scene.goes_on().await;
        let first = [
            "user", "thought", "reply", "call", "return", "thought", "reply",
        ];
        scene
            .expect(&[&first[..], &["user", "thought", "reply"]].concat())
            .await;
        assert_eq!(scene.world().block(&scene.agent, "human").await, INSERTED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_and_calls_after_each_other() {
    everywhere(json!({}), async |scene| {
        let replies = vec![
            says([thought("a"), INSERT, APPEND]),
            // This time it calls without a thought.
            says([APPEND]),
            says([thought("c"), text("All done.")]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
        let first = [
            "user", "thought", "call", "return", "call", "return", "thought", "reply",
        ];
        scene
            .expect(&[&first[..], &["user", "thought", "reply"]].concat())
            .await;
        assert_eq!(scene.world().block(&scene.agent, "human").await, INSERTED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_is_approved() {
    everywhere(gate(), async |scene| {
        let step = says([thought("a"), text("May I?"), APPEND, INSERT]);
        scene
            .turn(&[user("Hello")], vec![step], "requires_approval")
            .await;
        let ids = scene.waiting().await;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        scene
            .turn(
                &[approve(&ids)],
                vec![says([thought("b"), text("Done.")])],
                "end_turn",
            )
            .await;
        scene.goes_on().await;
        let first = [
            "user", "thought", "reply", "call", "request", "response", "return", "thought", "reply",
        ];
        scene
            .expect(&[&first[..], &["user", "thought", "reply"]].concat())
            .await;
        assert_eq!(scene.world().block(&scene.agent, "human").await, INSERTED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_is_denied_or_cancelled() {
    everywhere(gate(), async |scene| {
        for (seal, ends) in [("a", "denied"), ("b", "cancelled")] {
            let step = says([thought(seal), INSERT]);
            scene
                .turn(&[user("Hello")], vec![step], "requires_approval")
                .await;
            if ends == "denied" {
                let id = scene.waiting().await.remove(0);
                let sorry = vec![says([thought("c"), text("I leave it.")])];
                let item = json!({"type": "approval", "approvals": [deny(&id, "Not that.")]});
                scene.turn(&[item], sorry, "end_turn").await;
            } else {
                scene
                    .world()
                    .post(&format!("/v1/{}/cancel", scene.path()), json!({}))
                    .await;
            }
            scene.goes_on().await;
        }
        assert_eq!(
            scene.world().block(&scene.agent, "human").await,
            "Name: unknown"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_are_no_json() {
    everywhere(json!({}), async |scene| {
        // The others have no text for arguments in a whole answer.
        if !["openai", "vllm"]
            .iter()
            .any(|provider| scene.case.handle.starts_with(provider))
        {
            return;
        }
        let broken = call("memory_insert", r#"{"label": "human", "new_str"#);
        let listed = call("memory_insert", r#"["human", "x"]"#);
        let replies = vec![
            says([thought("a"), broken, listed]),
            says([thought("b"), BYE]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
        assert_eq!(
            scene.world().block(&scene.agent, "human").await,
            "Name: unknown"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_calls_more_than_it_may_at_once() {
    everywhere(json!({}), async |scene| {
        let Some(mut settings) = scene.settings() else {
            return;
        };
        settings["parallel_tool_calls"] = json!(false);
        scene.change(&json!({"model_settings": settings})).await;
        let replies = vec![
            says([thought("a"), INSERT, APPEND]),
            says([thought("b"), BYE]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_of_the_client_returns_text_and_an_image() {
    everywhere(json!({}), async |scene| {
        let parameters = json!({"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]});
        let tools = json!({"client_tools": [{"name": "look", "description": "Looks.", "parameters": parameters}]});
        let step = says([thought("a"), call("look", r#"{"at": "door"}"#), call("look", r#"{"at": "wall"}"#)]);
        let body = json!({"messages": [user("Look.")]});
        scene.turn_with(&with(&body, &tools), vec![step], "requires_approval").await;
        let ids = scene.waiting().await;
        let seen = json!([{"type": "text", "text": "See:"}, image()]);
        let returns = json!([
            {"type": "tool", "tool_call_id": ids[0], "tool_return": seen, "status": "success"},
            {"type": "tool", "tool_call_id": ids[1], "tool_return": seen, "status": "error"},
        ]);
        let body = json!({"messages": [{"type": "approval", "approvals": returns}]});
        scene.turn_with(&with(&body, &tools), vec![says([thought("b"), text("A door.")])], "end_turn").await;
        // Chat completions take no image in a return.
        let takes = !["openai/gpt-4o-mini", "vllm/qwen3-8b", "vllm/o4-mini"].contains(&scene.case.handle);
        assert_eq!(is_seen(scene), takes, "{}", scene.case.handle);
        scene.goes_on().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_of_the_client_returns_next_to_nothing() {
    everywhere(json!({}), async |scene| {
        let tools = json!({"client_tools": [{"name": "look", "description": "Looks."}]});
        let step = says([thought("a"), call("look", "{}"), call("look", "{}"), call("look", "{}"), call("look", "{}")]);
        let body = json!({"messages": [user("Look.")]});
        scene.turn_with(&with(&body, &tools), vec![step], "requires_approval").await;
        let nothing = [json!(""), json!([]), json!([{"type": "text", "text": ""}]), json!([image()])];
        let ids = scene.waiting().await;
        let returns: Vec<Value> = ids
            .iter()
            .zip(nothing)
            .map(|(id, nothing)| json!({"type": "tool", "tool_call_id": id, "tool_return": nothing, "status": "success"}))
            .collect();
        let body = json!({"messages": [{"type": "approval", "approvals": returns}]});
        scene.turn_with(&with(&body, &tools), vec![says([thought("b"), BYE])], "end_turn").await;
        scene.goes_on().await;
    })
    .await;
}

/// Schemas as they come from clients and MCP servers: valid, and not what any vendor would write.
fn odd_schemas() -> [Value; 6] {
    [
        json!({}),
        json!({"type": "object"}),
        json!({"properties": {"at": {"type": ["string", "null"], "default": null}}}),
        json!({"type": "object", "anyOf": [
            {"properties": {"at": {"type": "string"}}, "required": ["at"]},
            {"properties": {"near": {"enum": [1, 2]}}, "required": ["near"]},
        ]}),
        json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": false,
            "$defs": {"place": {"type": "object", "properties": {"name": {"const": "door"}, "in": {"$ref": "#/$defs/place"}}}},
            "properties": {
                "place": {"$ref": "#/$defs/place"},
                "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                "sizes": {"type": "array", "items": {"oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^x"}]}},
            },
            "required": ["place"],
        }),
        json!({"type": "object", "properties": {
            "path": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}], "default": null},
            "list": {"type": "array", "items": {}},
            "inner": {"allOf": [{"type": "object", "properties": {"a": {"type": "number", "exclusiveMinimum": 0}}}]},
        }}),
    ]
}

async fn offers_odd_tools(strict: bool) {
    everywhere(json!({}), async |scene| {
        if strict {
            let Some(mut settings) = scene.settings() else { return };
            settings["strict"] = json!(true);
            scene.change(&json!({"model_settings": settings})).await;
        }
        for (at, parameters) in odd_schemas().iter().enumerate() {
            let tools = json!([{"name": format!("look_{at}"), "description": "Looks.", "parameters": parameters}]);
            let body = json!({"messages": [user("Hello")], "client_tools": tools});
            scene.turn_with(&body, vec![says([BYE])], "end_turn").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_with_odd_schemas() {
    offers_odd_tools(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_with_odd_schemas_that_are_strict() {
    offers_odd_tools(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_the_form_of_a_schema() {
    everywhere(json!({}), async |scene| {
        let Some(mut settings) = scene.settings() else { return };
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
        let format = json!({"type": "json_schema", "json_schema": {"name": "form", "schema": schema, "strict": true}});
        let field = if scene.case.handle.starts_with("google_ai/") { "response_schema" } else { "response_format" };
        settings[field] = format;
        scene.change(&json!({"model_settings": settings})).await;
        scene.turn(&[user("Hello")], vec![says([thought("a"), APPEND]), says([text(r#"{"a": "b"}"#)])], "end_turn").await;
        scene.change(&json!({"tool_ids": []})).await;
        scene.turn(&[user("Hello")], vec![says([text(r#"{"a": "b"}"#)])], "end_turn").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_fail() {
    everywhere(json!({}), async |scene| {
        let missing = r#"{"label": "human", "old_string": "not there", "new_string": "x"}"#;
        let replies = vec![
            says([
                thought("a"),
                call("memory_replace", missing),
                call("memory_replace", "{}"),
            ]),
            says([
                thought("b"),
                call("no_such_tool", r#"{"x": [1.50, null]}"#),
                call("look up!", "{}"),
                call("2look", "{}"),
            ]),
            says([thought("c"), text("I cannot.")]),
        ];
        scene.turn(&[user("Hello")], replies, "end_turn").await;
        scene.goes_on().await;
        let step = ["thought", "call", "return"];
        scene
            .expect(
                &[
                    &["user"],
                    &step[..],
                    &step[..],
                    &["thought", "reply", "user", "thought", "reply"],
                ]
                .concat(),
            )
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_must_be_called() {
    let rules = json!({"tool_rules": [
        {"type": "run_first", "tool_name": "memory_insert"},
        {"type": "constrain_child_tools", "tool_name": "memory_insert", "children": ["core_memory_append", "memory_replace"]},
    ]});
    everywhere(rules, async |scene| {
        for seals in [["a", "b"], ["c", "d"]] {
            let [first, second] = seals.map(thought);
            let replies = vec![says([first, INSERT]), says([APPEND]), says([second, BYE])];
            scene.turn(&[user("Hello")], replies, "end_turn").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_speaks_with_a_tool() {
    let old = json!({"agent_type": "memgpt_v2_agent", "include_base_tools": true, "include_base_tool_rules": true});
    everywhere(old, async |scene| {
        let insert = call(
            "memory_insert",
            r#"{"label": "human", "new_string": "Noel", "request_heartbeat": true}"#,
        );
        let speak = call("send_message", r#"{"message": "Good \u201cday\u201d"}"#);
        for seals in [["a", "b"], ["c", "d"]] {
            let [first, second] = seals.map(thought);
            let replies = vec![says([first, insert.clone()]), says([second, speak.clone()])];
            scene.turn(&[user("Hello")], replies, "end_turn").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_whose_schemas_are_strict() {
    everywhere(json!({}), async |scene| {
        let Some(mut settings) = scene.settings() else {
            return;
        };
        settings["strict"] = json!(true);
        scene.change(&json!({"model_settings": settings})).await;
        scene
            .turn(
                &[user("Hello")],
                vec![says([thought("a"), INSERT]), says([BYE])],
                "end_turn",
            )
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_without_the_agent() {
    everywhere(json!({}), async |scene| {
        let path = format!("/v1/agents/{}/generate", scene.agent);
        scene.stage.script.will(vec![says([thought("a"), text("Blue.")])]);
        let answer = scene.world().post(&path, json!({"prompt": "Which colour?"})).await;
        assert_eq!(answer["content"], "Blue.");
        // In the form of a schema: the arguments of the one tool there is.
        let schema = json!({"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]});
        let body = json!({"prompt": "Which colour?", "response_schema": schema});
        scene.stage.script.will(vec![says([call("answer", r#"{"colour": "blue"}"#)])]);
        let answer = scene.world().post(&path, body).await;
        let content: Value = serde_json::from_str(answer["content"].as_str().unwrap()).unwrap();
        assert_eq!(content, json!({"colour": "blue"}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_works_while_nobody_looks() {
    let sleeper = json!({"agent_type": "sleeptime_agent", "include_base_tools": true, "include_base_tool_rules": true});
    everywhere(sleeper, async |scene| {
        for seals in [["a", "b"], ["c", "d"]] {
            let [first, second] = seals.map(thought);
            let replies = vec![
                says([first, INSERT]),
                says([second, call("memory_finish_edits", "{}")]),
            ];
            scene
                .turn(&[user("Note that.")], replies, "tool_rule")
                .await;
        }
    })
    .await;
}
