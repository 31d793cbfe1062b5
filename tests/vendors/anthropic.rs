//! Anthropic's messages. Written from the API reference ("Create a Message", "Streaming Messages", "Errors") and the guides
//! to tool use, extended and adaptive thinking, prompt caching and vision.

use super::rules::{
    Verdict, base64, closed, filled, has, identifier, json, list, must, number, only, tools, word,
};
use super::{Answer, Dialect, End, Request, Said, Trouble, event, object, pieces, spelled};
use serde_json::{Value, json};
use std::collections::HashSet;

pub(crate) struct Anthropic;

const FIELDS: &[&str] = &[
    "model",
    "max_tokens",
    "temperature",
    "thinking",
    "output_config",
    "stream",
    "tool_choice",
    "tools",
    "system",
    "messages",
    "stop_sequences",
    "metadata",
    "service_tier",
    "top_k",
    "top_p",
];
const BETAS: &[&str] = &[
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "effort-2025-11-24",
    "context-1m-2025-08-07",
    "structured-outputs-2025-11-13",
];

impl Dialect for Anthropic {
    fn takes(&self, path: &str) -> bool {
        path == "/v1/messages"
    }

    fn model(&self, request: &Request) -> String {
        request.body["model"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn streams(&self, request: &Request) -> bool {
        request.body["stream"] == true
    }

    fn check(&self, request: &Request, given: &[Answer]) -> Verdict {
        json(request)?;
        must!(
            request
                .header("x-api-key")
                .is_some_and(|key| key.starts_with("sk-ant-")),
            "no x-api-key"
        );
        must!(
            request.header("anthropic-version") == Some("2023-06-01"),
            "no anthropic-version"
        );
        let betas = request
            .header("anthropic-beta")
            .into_iter()
            .flat_map(|betas| betas.split(','));
        for beta in betas {
            must!(BETAS.contains(&beta), "the beta '{beta}' is unknown");
        }
        let (body, model) = (&request.body, self.model(request));
        only(body, FIELDS)?;
        filled(body, "model")?;
        must!(
            body["max_tokens"].as_u64() >= Some(1),
            "max_tokens is required"
        );
        number(body, "temperature", 0.0, 1.0)?;
        let offered: Vec<&Value> = list(&body["tools"]).iter().collect();
        for tool in &offered {
            only(
                tool,
                &[
                    "name",
                    "description",
                    "input_schema",
                    "cache_control",
                    "strict",
                ],
            )?;
            for keyword in ["oneOf", "anyOf", "allOf"] {
                must!(
                    !has(&tool["input_schema"], keyword),
                    "'{keyword}' at the top of a schema"
                );
            }
            if tool["strict"] == true {
                closed(&tool["input_schema"], false)?;
            }
        }
        let names = tools(&offered, "input_schema", 128)?;
        choice(body, &names)?;
        must!(
            has(body, "system") <= !list(&body["system"]).is_empty(),
            "an empty system prompt"
        );
        for block in list(&body["system"]) {
            only(block, &["type", "text", "cache_control"])?;
            filled(block, "text")?;
        }
        marks(body)?;
        thinking(body, &model)?;
        messages(body)?;
        let calls = list(&body["messages"])
            .iter()
            .flat_map(|message| list(&message["content"]));
        let mut calls = calls.filter(|block| block["type"] == "tool_use");
        must!(
            calls.next().is_none() || !names.is_empty(),
            "calls in a conversation and no tools"
        );
        replayed(body, &model, given)
    }

    fn whole(&self, answer: &Answer) -> Value {
        let mut message = head(answer);
        message["content"] = Value::from(blocks(answer));
        message["stop_reason"] = json!(stop(answer));
        message["usage"]["output_tokens"] = json!(answer.usage.output);
        message
    }

    fn events(&self, answer: &Answer) -> Vec<String> {
        let event = |data: Value| event(data["type"].as_str(), &data);
        let mut events = vec![
            event(json!({"type": "message_start", "message": head(answer)})),
            event(json!({"type": "ping"})),
        ];
        for (index, block) in blocks(answer).iter().enumerate() {
            let mut empty = block.clone();
            for field in ["text", "thinking", "signature"] {
                if has(block, field) {
                    empty[field] = json!("");
                }
            }
            if has(block, "input") {
                empty["input"] = json!({});
            }
            // Pings may come at any time, and so may events that do not exist yet.
            events.push(event(json!({"type": "ping"})));
            events.push(event(json!({"type": "content_block_note", "index": index})));
            events.push(event(
                json!({"type": "content_block_start", "index": index, "content_block": empty}),
            ));
            let deltas = deltas(answer, block).into_iter();
            events.extend(deltas.map(|delta| {
                event(json!({"type": "content_block_delta", "index": index, "delta": delta}))
            }));
            events.push(event(json!({"type": "content_block_stop", "index": index})));
        }
        // Counts are cumulative: those of the input come again.
        let mut usage = counts(answer);
        usage["output_tokens"] = json!(answer.usage.output);
        let delta = json!({"stop_reason": stop(answer), "stop_sequence": null});
        events.push(event(
            json!({"type": "message_delta", "delta": delta, "usage": usage}),
        ));
        events.push(event(json!({"type": "message_stop"})));
        events
    }

    fn opening(&self) -> usize {
        2
    }

    fn refusal(&self, trouble: &Trouble) -> (u16, Value) {
        let (status, kind, message) = match trouble {
            Trouble::Overloaded => (529, "overloaded_error", "Overloaded"),
            Trouble::RateLimit => (
                429,
                "rate_limit_error",
                "This request would exceed your rate limit.",
            ),
            Trouble::Overflow => (
                400,
                "invalid_request_error",
                "prompt is too long: 200961 tokens > 200000 maximum",
            ),
            Trouble::Key => (401, "authentication_error", "invalid x-api-key"),
            Trouble::Quota => (
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the API.",
            ),
            Trouble::Rule(rule) => (400, "invalid_request_error", rule.as_str()),
        };
        let error = json!({"type": kind, "message": message});
        (
            status,
            json!({"type": "error", "error": error, "request_id": "req_1"}),
        )
    }

    fn failure(&self, trouble: &Trouble) -> String {
        event(Some("error"), &self.refusal(trouble).1)
    }
}

fn choice(body: &Value, names: &[&str]) -> Verdict {
    let choice = &body["tool_choice"];
    if choice.is_null() {
        return Ok(());
    }
    only(choice, &["type", "name", "disable_parallel_tool_use"])?;
    must!(!names.is_empty(), "tool_choice without tools");
    word(choice, "type", &["auto", "any", "tool", "none"])?;
    let named = choice["name"].as_str();
    must!(
        (choice["type"] == "tool") == named.is_some(),
        "a choice of {choice}"
    );
    must!(
        named.is_none_or(|name| names.contains(&name)),
        "the tool {named:?} must be called and is not offered"
    );
    Ok(())
}

/// At most four marks for the cache, none on thinking, and each of the one kind there is.
fn marks(body: &Value) -> Verdict {
    let said = list(&body["messages"])
        .iter()
        .flat_map(|message| list(&message["content"]));
    let all = list(&body["tools"])
        .iter()
        .chain(list(&body["system"]))
        .chain(said);
    let marked: Vec<&Value> = all.filter(|block| has(block, "cache_control")).collect();
    must!(marked.len() <= 4, "{} marks for the cache", marked.len());
    for block in marked {
        must!(
            block["cache_control"] == json!({"type": "ephemeral"}),
            "a mark that is none: {block}"
        );
        must!(!is_thinking(block), "a mark for the cache on thinking");
    }
    Ok(())
}

/// Which model thinks in which way, and what may not be asked of one that thinks.
fn thinking(body: &Value, model: &str) -> Verdict {
    let adapts = ["4-6", "4-7", "5"]
        .iter()
        .any(|version| model.contains(version))
        && !model.contains("4-5");
    let thinking = &body["thinking"];
    match thinking["type"].as_str() {
        None | Some("disabled") => return Ok(()),
        Some("adaptive") => {
            only(thinking, &["type", "display"])?;
            must!(adapts, "a model that cannot decide how long to think");
        }
        Some("enabled") => {
            only(thinking, &["type", "budget_tokens"])?;
            let budget = thinking["budget_tokens"].as_u64();
            must!(budget >= Some(1_024), "a budget of {budget:?}");
            must!(
                budget < body["max_tokens"].as_u64(),
                "a budget of {budget:?} leaves no room"
            );
        }
        Some(other) => must!(false, "thinking of the type '{other}'"),
    }
    must!(
        body["temperature"].is_null() || body["temperature"] == 1.0,
        "a temperature for a model that thinks"
    );
    let choice = body["tool_choice"]["type"].as_str().unwrap_or("auto");
    must!(
        ["auto", "none"].contains(&choice),
        "a model that thinks is forced to call"
    );
    Ok(())
}

/// User and assistant take turns; each call has its result at the beginning of the next message; nothing is empty.
fn messages(body: &Value) -> Verdict {
    let messages = list(&body["messages"]);
    must!(!messages.is_empty(), "no messages");
    let (mut open, mut ids): (Vec<&Value>, _) = (Vec::new(), HashSet::new());
    for (at, message) in messages.iter().enumerate() {
        only(message, &["role", "content"])?;
        let role = if at % 2 == 0 { "user" } else { "assistant" };
        must!(message["role"] == role, "message {at} is not the {role}'s");
        let blocks = list(&message["content"]);
        must!(!blocks.is_empty(), "message {at} is empty");
        let results: Vec<&Value> = blocks
            .iter()
            .filter(|block| block["type"] == "tool_result")
            .collect();
        let first = blocks.iter().take(results.len());
        must!(
            first.eq(results.iter().copied()),
            "results after other content in message {at}"
        );
        for result in &results {
            must!(
                open.contains(&&result["tool_use_id"]),
                "a result of {} without its call",
                result["tool_use_id"]
            );
            open.retain(|id| *id != &result["tool_use_id"]);
        }
        must!(
            open.is_empty(),
            "calls without a result in message {at}: {open:?}"
        );
        for block in blocks {
            self::block(role, block)?;
            if block["type"] == "tool_use" {
                must!(ids.insert(&block["id"]), "the call {} twice", block["id"]);
                open.push(&block["id"]);
            }
        }
    }
    must!(messages.len() % 2 == 1, "the last word is not the user's");
    Ok(())
}

fn block(role: &str, block: &Value) -> Verdict {
    match (role, block["type"].as_str().unwrap_or_default()) {
        (_, "text") => {
            only(block, &["type", "text", "cache_control"])?;
            filled(block, "text")
        }
        ("assistant", "thinking") => only(block, &["type", "thinking", "signature"]),
        ("assistant", "redacted_thinking") => only(block, &["type", "data"]),
        ("assistant", "tool_use") => {
            only(block, &["type", "id", "name", "input", "cache_control"])?;
            identifier(block, "id", 64)?;
            identifier(block, "name", 128)?;
            must!(block["input"].is_object(), "an input that is no object");
            Ok(())
        }
        ("user", "image") => {
            only(block, &["type", "source", "cache_control"])?;
            let source = &block["source"];
            if source["type"] == "url" {
                return filled(source, "url");
            }
            must!(
                source["type"] == "base64",
                "an image from {}",
                source["type"]
            );
            word(
                source,
                "media_type",
                &["image/jpeg", "image/png", "image/gif", "image/webp"],
            )?;
            base64(source, "data")
        }
        ("user", "tool_result") => {
            only(
                block,
                &[
                    "type",
                    "tool_use_id",
                    "content",
                    "is_error",
                    "cache_control",
                ],
            )?;
            let content = list(&block["content"]);
            for inner in content {
                must!(
                    ["text", "image"].contains(&inner["type"].as_str().unwrap_or_default()),
                    "{inner} in a result"
                );
                self::block(role, inner)?;
            }
            let only_text = content.iter().all(|inner| inner["type"] == "text");
            must!(
                block["is_error"] != true || only_text,
                "an error that shows images"
            );
            Ok(())
        }
        (role, kind) => Err(format!(
            "a block of the type '{kind}' in a message of the {role}"
        )),
    }
}

fn is_thinking(block: &Value) -> bool {
    block["type"] == "thinking" || block["type"] == "redacted_thinking"
}

/// Thinking goes back to the model that thought it, word for word and with its signature; none of what belongs to a
/// turn that is not over may be missing.
fn replayed(body: &Value, model: &str, given: &[Answer]) -> Verdict {
    let messages = list(&body["messages"]);
    let own = || given.iter().filter(|answer| answer.model == model);
    let has_results = |message: &Value| message["content"][0]["type"] == "tool_result";
    let turn = messages
        .iter()
        .rposition(|message| message["role"] == "user" && !has_results(message));
    let thinks = has(body, "thinking");
    for (at, message) in messages.iter().enumerate() {
        let content = list(&message["content"]);
        let thoughts: Vec<&Value> = content.iter().filter(|block| is_thinking(block)).collect();
        must!(
            thoughts.is_empty() || thinks,
            "thinking for a model that does not think"
        );
        must!(
            thoughts.is_empty() || is_thinking(&content[0]),
            "thinking in the middle of message {at}"
        );
        for thought in &thoughts {
            must!(
                own().any(|answer| blocks(answer).contains(thought)),
                "thinking that is not the model's: {thought}"
            );
        }
        let called = |answer: &&Answer| {
            let ids: Vec<Value> = blocks(answer)
                .iter()
                .map(|block| block["id"].clone())
                .collect();
            content
                .iter()
                .any(|block| block["type"] == "tool_use" && ids.contains(&block["id"]))
        };
        let Some(answer) = own().find(called).filter(|_| thinks && Some(at) > turn) else {
            continue;
        };
        let came = blocks(answer);
        let came: Vec<&Value> = came.iter().filter(|block| is_thinking(block)).collect();
        must!(
            came == thoughts,
            "thinking of a turn that goes on is missing or changed in message {at}"
        );
    }
    // A budget is only for a turn that began with thinking.
    if body["thinking"]["type"] == "enabled" && messages.last().is_some_and(has_results) {
        let first = messages.get(turn.map_or(1, |turn| turn + 1));
        let begun = first.is_none_or(|first| is_thinking(&first["content"][0]));
        must!(
            begun,
            "a turn goes on with thinking and did not begin with it"
        );
    }
    Ok(())
}

// ── answers

fn id(call: &str) -> String {
    call.replace("call", "toolu")
}

fn blocks(answer: &Answer) -> Vec<Value> {
    let mut calls = answer.calls().into_iter();
    let block = |said: &Said| {
        match said {
        Said::Thought { text, seal } => Some(json!({"type": "thinking", "thinking": text, "signature": spelled(seal)})),
        Said::Redacted(data) => Some(json!({"type": "redacted_thinking", "data": data})),
        Said::Text(text) | Said::Refusal(text) => Some(json!({"type": "text", "text": text})),
        Said::Call { .. } => calls.next().map(|(call, name, arguments)| {
            json!({"type": "tool_use", "id": id(&call), "name": name, "input": object(arguments)})
        }),
    }
    };
    answer.said.iter().filter_map(block).collect()
}

fn deltas(answer: &Answer, block: &Value) -> Vec<Value> {
    let each = |field: &str, kind: &str| -> Vec<Value> {
        let text = pieces(block[field].as_str().unwrap_or_default());
        text.into_iter()
            .map(|piece| json!({"type": kind, field: piece}))
            .collect()
    };
    match block["type"].as_str() {
        Some("thinking") => {
            let signature = json!({"type": "signature_delta", "signature": block["signature"]});
            [each("thinking", "thinking_delta"), vec![signature]].concat()
        }
        Some("text") => each("text", "text_delta"),
        Some("tool_use") => {
            let calls = answer.calls();
            let written = calls.iter().find(|(call, ..)| block["id"] == id(call));
            // Of no arguments, nothing comes.
            let written = written
                .map(|(.., arguments)| *arguments)
                .filter(|arguments| *arguments != "{}");
            let pieces = pieces(written.unwrap_or_default());
            let all = std::iter::once(String::new()).chain(pieces);
            all.map(|piece| json!({"type": "input_json_delta", "partial_json": piece}))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// A message before its content.
fn head(answer: &Answer) -> Value {
    json!({
        "id": format!("msg_{}", answer.number), "type": "message", "role": "assistant", "model": answer.version(),
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": counts(answer),
    })
}

/// At the start: cached input is counted apart, and of the output there is hardly anything.
fn counts(answer: &Answer) -> Value {
    let usage = answer.usage;
    json!({
        "input_tokens": usage.prompt - usage.cached - usage.written, "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": usage.written, "output_tokens": 1, "service_tier": "standard",
    })
}

fn stop(answer: &Answer) -> &'static str {
    match answer.end {
        End::Length => "max_tokens",
        End::Filtered => "refusal",
        _ if answer.calls().is_empty() => "end_turn",
        _ => "tool_use",
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{request, sees};
    use super::*;

    #[test]
    fn the_check_sees_what_is_wrong() {
        let given = [Answer {
            said: vec![
                Said::Thought {
                    text: "hm".to_owned(),
                    seal: "s",
                },
                Said::Redacted("dark"),
                Said::Call {
                    name: "look",
                    arguments: "{}",
                },
            ],
            model: "claude-sonnet-4-5".to_owned(),
            ..Answer::default()
        }];
        let mark = json!({"type": "ephemeral"});
        let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}});
        let body = json!({
            "model": "claude-sonnet-4-5", "max_tokens": 2_000, "temperature": 1.0, "stream": false,
            "thinking": {"type": "enabled", "budget_tokens": 1_024},
            "tool_choice": {"type": "auto"},
            "tools": [{"name": "look", "input_schema": {"type": "object"}, "cache_control": mark}],
            "system": [{"type": "text", "text": "Be brief.", "cache_control": mark}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look."}, image]},
                {"role": "assistant", "content": blocks(&given[0])},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_0_0", "content": [{"type": "text", "text": "seen"}], "cache_control": mark},
                ]},
            ],
        });
        let headers = [
            ("x-api-key", "sk-ant-1"),
            ("anthropic-version", "2023-06-01"),
        ];
        sees(
            &Anthropic,
            request("/v1/messages", &headers, body),
            &given,
            &[
                (|body| body["user"] = json!("x"), "unknown field 'user'"),
                (
                    |body| body["max_tokens"] = Value::Null,
                    "max_tokens is required",
                ),
                (|body| body["max_tokens"] = json!(1_024), "no room"),
                (
                    |body| body["temperature"] = json!(0.5),
                    "a model that thinks",
                ),
                (
                    |body| body["temperature"] = json!(1.5),
                    "temperature is 1.5",
                ),
                (
                    |body| body["thinking"]["budget_tokens"] = json!(100),
                    "a budget of",
                ),
                (
                    |body| body["thinking"] = json!({"type": "adaptive"}),
                    "cannot decide",
                ),
                (
                    |body| drop(body.as_object_mut().unwrap().shift_remove("thinking")),
                    "does not think",
                ),
                (
                    |body| body["tool_choice"] = json!({"type": "any"}),
                    "forced",
                ),
                (
                    |body| body["tool_choice"] = json!({"type": "tool", "name": "x"}),
                    "not offered",
                ),
                (|body| body["tools"] = json!([]), "without tools"),
                (
                    |body| body["tools"][0]["input_schema"]["oneOf"] = json!([]),
                    "at the top",
                ),
                (
                    |body| (body["tools"], body["tool_choice"]) = (json!([]), Value::Null),
                    "and no tools",
                ),
                (|body| body["system"][0]["text"] = json!(" "), "no text"),
                (|body| body["system"] = json!([]), "empty system"),
                (
                    |body| {
                        body["messages"][1]["content"][0]["cache_control"] =
                            json!({"type": "ephemeral"})
                    },
                    "on thinking",
                ),
                (
                    |body| {
                        body["messages"][0]["content"][0]["cache_control"] =
                            json!({"type": "for ever"})
                    },
                    "a mark that is none",
                ),
                (
                    |body| {
                        let block = body["system"][0].clone();
                        body["system"] = json!([block, block, block]);
                    },
                    "5 marks",
                ),
                (|body| body["messages"] = json!([]), "no messages"),
                (
                    |body| body["messages"][0]["role"] = json!("assistant"),
                    "not the user's",
                ),
                (
                    |body| body["messages"][0]["content"] = json!([]),
                    "is empty",
                ),
                (
                    |body| {
                        body["messages"][0]["content"][1]["source"]["media_type"] =
                            json!("image/bmp")
                    },
                    "media_type",
                ),
                (
                    |body| body["messages"][0]["content"][1]["source"]["data"] = json!("?"),
                    "no base64",
                ),
                (
                    |body| body["messages"][1]["content"][0]["signature"] = json!("x"),
                    "not the model's",
                ),
                (
                    |body| body["messages"][1]["content"][0]["thinking"] = json!("ha"),
                    "not the model's",
                ),
                (
                    |body| {
                        drop(
                            body["messages"][1]["content"]
                                .as_array_mut()
                                .unwrap()
                                .remove(1),
                        )
                    },
                    "missing or changed",
                ),
                (
                    |body| {
                        drop(
                            body["messages"][1]["content"]
                                .as_array_mut()
                                .unwrap()
                                .drain(..2),
                        )
                    },
                    "missing or changed",
                ),
                (
                    |body| body["messages"][1]["content"][2]["id"] = json!("a.b"),
                    "does not fit",
                ),
                (
                    |body| body["messages"][1]["content"][2]["input"] = json!("{}"),
                    "no object",
                ),
                (
                    |body| body["messages"][2]["content"][0]["tool_use_id"] = json!("x"),
                    "without its call",
                ),
                (
                    |body| body["messages"][2]["content"][0] = json!({"type": "text", "text": "x"}),
                    "without a result",
                ),
                (
                    |body| {
                        body["messages"][2]["content"]
                            .as_array_mut()
                            .unwrap()
                            .insert(0, json!({"type": "text", "text": "x"}))
                    },
                    "after other content",
                ),
                (
                    |body| {
                        let image = body["messages"][0]["content"][1].clone();
                        let result = &mut body["messages"][2]["content"][0];
                        (result["is_error"], result["content"]) = (json!(true), json!([image]));
                    },
                    "an error that shows images",
                ),
                (
                    |body| drop(body["messages"].as_array_mut().unwrap().drain(1..2)),
                    "not the assistant's",
                ),
                (
                    |body| drop(body["messages"].as_array_mut().unwrap().pop()),
                    "last word",
                ),
            ],
        );
        let bare = request("/v1/messages", &headers[1..], json!({}));
        assert!(
            Anthropic
                .check(&bare, &[])
                .is_err_and(|rule| rule.contains("x-api-key"))
        );
    }

    #[test]
    fn a_turn_without_thinking_goes_on_without() {
        let call = json!({"type": "tool_use", "id": "a", "name": "look", "input": {}});
        let body = json!({
            "model": "claude-sonnet-4-5", "max_tokens": 2_000,
            "tools": [{"name": "look", "input_schema": {"type": "object"}}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look."}]},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
            ],
        });
        let headers = [
            ("x-api-key", "sk-ant-1"),
            ("anthropic-version", "2023-06-01"),
        ];
        sees(
            &Anthropic,
            request("/v1/messages", &headers, body),
            &[],
            &[(
                |body| body["thinking"] = json!({"type": "enabled", "budget_tokens": 1_024}),
                "did not begin with it",
            )],
        );
    }
}
