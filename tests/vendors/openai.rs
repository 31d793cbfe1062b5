//! OpenAI's chat completions, by its own models and by servers of open ones that speak the same. Written from the API
//! reference ("Create chat completion", "The chat completion chunk object") and the guides to function calling, images,
//! reasoning models and error codes.

use super::rules::{
    Verdict, closed, filled, has, identifier, json, list, must, number, only, tools, word,
};
use super::{Answer, Dialect, End, Request, Trouble, event, pieces};
use serde_json::{Value, json};
use std::collections::HashSet;

pub(crate) struct OpenAi;

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "temperature",
    "frequency_penalty",
    "max_completion_tokens",
    "max_tokens",
    "reasoning_effort",
    "verbosity",
    "prompt_cache_retention",
    "service_tier",
    "user",
    "stream",
    "stream_options",
    "logprobs",
    "top_logprobs",
];
/// What vLLM takes besides.
const OPEN_FIELDS: &[&str] = &["return_token_ids"];
pub(crate) const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];

/// Whether OpenAI's model of this name thinks before it answers.
pub(crate) fn reasons(model: &str) -> bool {
    ["o1", "o3", "o4", "gpt-5"]
        .iter()
        .any(|family| model.starts_with(family))
}

/// Whether the model is no model of OpenAI: its server shows what it thinks.
fn is_open(model: &str) -> bool {
    !reasons(model) && !model.starts_with("gpt-")
}

impl Dialect for OpenAi {
    fn takes(&self, path: &str) -> bool {
        path == "/v1/chat/completions"
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
        let (body, model) = (&request.body, self.model(request));
        let more = if is_open(&model) { OPEN_FIELDS } else { &[] };
        only(body, &[FIELDS, more].concat())?;
        filled(body, "model")?;
        if model.starts_with("gpt-") {
            key(request)?;
        }
        must!(
            has(body, "stream_options") <= (body["stream"] == true),
            "stream_options without stream"
        );
        if has(body, "stream_options") {
            only(
                &body["stream_options"],
                &["include_usage", "include_obfuscation"],
            )?;
        }
        number(body, "temperature", 0.0, 2.0)?;
        number(body, "frequency_penalty", -2.0, 2.0)?;
        number(body, "max_completion_tokens", 1.0, 128_000.0)?;
        word(body, "reasoning_effort", EFFORTS)?;
        if has(body, "response_format") {
            let format = &body["response_format"];
            word(format, "type", &["text", "json_object", "json_schema"])?;
            if format["type"] == "json_schema" {
                only(
                    &format["json_schema"],
                    &["name", "description", "schema", "strict"],
                )?;
                self::format(&format["json_schema"])?;
            }
        }
        word(body, "verbosity", &["low", "medium", "high"])?;
        word(
            body,
            "service_tier",
            &["auto", "default", "flex", "priority"],
        )?;
        word(body, "prompt_cache_retention", &["in-memory", "24h"])?;
        if reasons(&model) {
            must!(
                !has(body, "max_tokens"),
                "max_tokens for a model that reasons"
            );
            must!(
                body["temperature"].is_null() || body["temperature"] == 1.0,
                "a temperature for a model that reasons"
            );
            must!(
                !has(body, "frequency_penalty"),
                "a penalty for a model that reasons"
            );
            must!(
                !has(body, "logprobs"),
                "probabilities of a model that reasons"
            );
        } else {
            must!(
                !has(body, "reasoning_effort"),
                "an effort for a model that does not reason"
            );
        }
        let functions: Vec<&Value> = list(&body["tools"])
            .iter()
            .map(|tool| &tool["function"])
            .collect();
        for (tool, function) in list(&body["tools"]).iter().zip(&functions) {
            only(tool, &["type", "function"])?;
            must!(
                tool["type"] == "function",
                "a tool of type {}",
                tool["type"]
            );
            only(function, &["name", "description", "parameters", "strict"])?;
            parameters(function)?;
            if function["strict"] == true {
                closed(&function["parameters"], true)?;
            }
        }
        choice(body, &tools(&functions, "parameters", 64)?, |choice| {
            &choice["function"]["name"]
        })?;
        messages(body, &model, given)
    }

    fn whole(&self, answer: &Answer) -> Value {
        let calls: Vec<Value> = identified(answer)
            .iter()
            .map(|(id, name, arguments)| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
            .collect();
        let text = answer.text();
        let content = (!text.is_empty()).then_some(text);
        let mut message = json!({"role": "assistant", "content": content, "refusal": answer.refusal(), "annotations": []});
        if is_open(&answer.model) {
            message["reasoning_content"] = json!(answer.thought());
        }
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish(answer)});
        json!({
            "id": format!("chatcmpl-{}", answer.number), "object": "chat.completion", "created": 1_764_000_000,
            "model": answer.version(), "choices": [choice], "usage": usage(answer), "service_tier": "default",
            "system_fingerprint": "fp_1",
        })
    }

    fn events(&self, answer: &Answer) -> Vec<String> {
        let chunk = |choices: Value, usage: Value| {
            let chunk = json!({
                "id": format!("chatcmpl-{}", answer.number), "object": "chat.completion.chunk",
                "created": 1_764_000_000, "model": answer.version(), "service_tier": "default",
                "system_fingerprint": "fp_1", "choices": choices, "usage": usage, "obfuscation": "k3Tz",
            });
            event(None, &chunk)
        };
        let delta = |delta: Value| {
            let choice =
                json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null});
            chunk(json!([choice]), Value::Null)
        };
        let mut events = vec![delta(
            json!({"role": "assistant", "content": "", "refusal": null}),
        )];
        events.push(": keep-alive\n\n".to_owned());
        if is_open(&answer.model) {
            let thought = pieces(&answer.thought()).into_iter();
            events.extend(thought.map(|piece| delta(json!({"reasoning_content": piece}))));
        }
        let text = pieces(&answer.text()).into_iter();
        events.extend(text.map(|piece| delta(json!({"content": piece}))));
        let refusal = pieces(answer.refusal().unwrap_or_default()).into_iter();
        events.extend(refusal.map(|piece| delta(json!({"refusal": piece}))));
        events.extend(
            fragments(answer)
                .into_iter()
                .map(|call| delta(json!({"tool_calls": [call]}))),
        );
        let end =
            json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish(answer)});
        events.push(chunk(json!([end]), Value::Null));
        events.push(chunk(json!([]), usage(answer)));
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn opening(&self) -> usize {
        2
    }

    fn refusal(&self, trouble: &Trouble) -> (u16, Value) {
        let (status, error) = error(trouble);
        (status, json!({"error": error}))
    }

    fn failure(&self, trouble: &Trouble) -> String {
        event(None, &json!({"error": error(trouble).1}))
    }
}

pub(crate) fn key(request: &Request) -> Verdict {
    let given = request.header("authorization").unwrap_or_default();
    must!(given.starts_with("Bearer sk-"), "no key as a bearer token");
    Ok(())
}

/// Status and error object of OpenAI.
pub(crate) fn error(trouble: &Trouble) -> (u16, Value) {
    let error = |status, kind: &str, code: &str, message: &str| {
        (
            status,
            json!({"message": message, "type": kind, "param": null, "code": code}),
        )
    };
    match trouble {
        Trouble::Overloaded => error(
            503,
            "server_error",
            "server_is_overloaded",
            "Our servers are currently overloaded.",
        ),
        Trouble::RateLimit => error(
            429,
            "requests",
            "rate_limit_exceeded",
            "Rate limit reached for requests.",
        ),
        Trouble::Overflow => error(
            400,
            "invalid_request_error",
            "context_length_exceeded",
            "Your input exceeds the context window of this model.",
        ),
        Trouble::Key => error(
            401,
            "invalid_request_error",
            "invalid_api_key",
            "Incorrect API key provided: sk-ab***yz.",
        ),
        Trouble::Quota => error(
            429,
            "insufficient_quota",
            "insufficient_quota",
            "You exceeded your current quota.",
        ),
        Trouble::Rule(rule) => error(400, "invalid_request_error", "invalid_value", rule),
    }
}

/// A named schema for answers.
pub(crate) fn format(format: &Value) -> Verdict {
    identifier(format, "name", 64)?;
    must!(
        format["schema"]["type"] == "object",
        "an answer that is no object"
    );
    if format["strict"] == true {
        closed(&format["schema"], true)?;
    }
    Ok(())
}

/// What no schema of a function may have at its top.
pub(crate) fn parameters(function: &Value) -> Verdict {
    let parameters = &function["parameters"];
    for keyword in ["oneOf", "anyOf", "allOf", "enum", "not"] {
        must!(
            !has(parameters, keyword),
            "'{keyword}' at the top of a schema"
        );
    }
    must!(
        parameters["properties"].is_object(),
        "a schema without properties: {parameters}"
    );
    Ok(())
}

/// `tool_choice` and `parallel_tool_calls` stand beside tools, and name one of them.
pub(crate) fn choice<'a>(
    body: &'a Value,
    names: &[&str],
    named: impl Fn(&'a Value) -> &'a Value,
) -> Verdict {
    for field in ["tool_choice", "parallel_tool_calls"] {
        must!(
            !has(body, field) || !names.is_empty(),
            "{field} without tools"
        );
    }
    match &body["tool_choice"] {
        Value::Null => (),
        Value::String(_) => word(body, "tool_choice", &["none", "auto", "required"])?,
        choice => {
            let name = named(choice).as_str().unwrap_or_default();
            must!(
                names.contains(&name),
                "the tool '{name}' must be called and is not offered"
            );
        }
    }
    Ok(())
}

/// Every call is answered by exactly one return, before anything else; whoever speaks, speaks in his own fields.
fn messages(body: &Value, model: &str, given: &[Answer]) -> Verdict {
    must!(!list(&body["messages"]).is_empty(), "no messages");
    let (mut open, mut ids) = (Vec::new(), HashSet::new());
    for message in list(&body["messages"]) {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "tool" {
            only(message, &["role", "content", "tool_call_id"])?;
            must!(
                message["content"].is_string(),
                "a return that is no text: {message}"
            );
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let place = open.iter().position(|open| *open == id);
            must!(place.is_some(), "a return of '{id}' without its call");
            open.extract_if(.., |open| *open == id).for_each(drop);
            continue;
        }
        must!(open.is_empty(), "calls without a return: {open:?}");
        match role {
            "system" | "developer" => {
                only(message, &["role", "content"])?;
                filled(message, "content")?;
            }
            "user" => user(message)?,
            "assistant" => {
                only(
                    message,
                    &["role", "content", "tool_calls", "reasoning_content"],
                )?;
                let calls = list(&message["tool_calls"]);
                must!(
                    has(message, "tool_calls") <= !calls.is_empty(),
                    "an empty list of calls"
                );
                let speaks = message["content"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty());
                must!(
                    speaks || !calls.is_empty(),
                    "an assistant that neither speaks nor calls"
                );
                for call in calls {
                    only(call, &["id", "type", "function"])?;
                    must!(
                        call["type"] == "function",
                        "a call of type {}",
                        call["type"]
                    );
                    identifier(call, "id", 40)?;
                    only(&call["function"], &["name", "arguments"])?;
                    identifier(&call["function"], "name", 64)?;
                    let arguments = call["function"]["arguments"].as_str();
                    must!(arguments.is_some(), "arguments that are no text");
                    // An open model's template reads them.
                    let read = arguments.and_then(|text| serde_json::from_str::<Value>(text).ok());
                    must!(
                        !is_open(model) || read.is_some_and(|read| read.is_object()),
                        "arguments that are no JSON: {arguments:?}"
                    );
                    let id = call["id"].as_str().unwrap_or_default();
                    must!(ids.insert(id), "the call '{id}' twice");
                    open.push(id);
                }
                let thought = &message["reasoning_content"];
                let own = |answer: &Answer| {
                    answer.model == model && is_open(model) && *thought == answer.thought()
                };
                must!(
                    thought.is_null() || given.iter().any(own),
                    "a thought that is not the model's: {thought}"
                );
            }
            _ => must!(false, "a message of the role '{role}'"),
        }
    }
    must!(
        open.is_empty(),
        "calls without a return at the end: {open:?}"
    );
    Ok(())
}

fn user(message: &Value) -> Verdict {
    only(message, &["role", "content"])?;
    let parts = list(&message["content"]);
    must!(
        message["content"].is_string() || !parts.is_empty(),
        "a user that says nothing"
    );
    for part in parts {
        match part["type"].as_str() {
            Some("text") => only(part, &["type", "text"])?,
            Some("image_url") => {
                only(&part["image_url"], &["url", "detail"])?;
                image(&part["image_url"], "url")?;
            }
            _ => must!(false, "a part that a user cannot say: {part}"),
        }
    }
    Ok(())
}

/// An address, or the image itself.
pub(crate) fn image(holder: &Value, field: &str) -> Verdict {
    let url = holder[field].as_str().unwrap_or_default();
    let inline = ["png", "jpeg", "gif", "webp"]
        .iter()
        .any(|kind| url.starts_with(&format!("data:image/{kind};base64,")));
    must!(
        inline || url.starts_with("http"),
        "an image that is neither data nor an address"
    );
    word(holder, "detail", &["auto", "low", "high", "original"])
}

/// The calls with their ids: vLLM's are longer than OpenAI takes, others number them anew in each answer.
fn identified(answer: &Answer) -> Vec<(String, &'static str, &'static str)> {
    let mut calls = answer.calls();
    for (at, (id, ..)) in calls.iter_mut().enumerate() {
        if is_open(&answer.model) {
            *id = format!("chatcmpl-tool-{:0<32}", id.replace("call_", ""));
        } else if answer.model == "o4-mini" {
            *id = format!("call_{at}");
        }
    }
    calls
}

/// The fragments of all calls, those of parallel ones mixed. Open servers tell a call's id late.
fn fragments(answer: &Answer) -> Vec<Value> {
    let fragments = |(index, (id, name, arguments)): (usize, &(String, &str, &str))| {
        let mut fragments = if is_open(&answer.model) {
            vec![
                json!({"index": index, "type": "function", "function": {"name": name}}),
                json!({"index": index, "id": id, "function": {"arguments": ""}}),
            ]
        } else {
            vec![
                json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}),
            ]
        };
        let rest = pieces(arguments).into_iter();
        fragments
            .extend(rest.map(|piece| json!({"index": index, "function": {"arguments": piece}})));
        fragments
    };
    let calls: Vec<Vec<Value>> = identified(answer)
        .iter()
        .enumerate()
        .map(fragments)
        .collect();
    let longest = calls.iter().map(Vec::len).max().unwrap_or(0);
    let mixed = (0..longest).flat_map(|at| calls.iter().filter_map(move |call| call.get(at)));
    mixed.cloned().collect()
}

fn finish(answer: &Answer) -> &'static str {
    match answer.end {
        End::Length => "length",
        End::Filtered => "content_filter",
        _ if answer.calls().is_empty() => "stop",
        _ => "tool_calls",
    }
}

fn usage(answer: &Answer) -> Value {
    let usage = answer.usage;
    json!({
        "prompt_tokens": usage.prompt, "completion_tokens": usage.output, "total_tokens": usage.prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    })
}

#[cfg(test)]
mod tests {
    use super::super::Said;
    use super::super::rules::{request, sees};
    use super::*;

    #[test]
    fn the_check_sees_what_is_wrong() {
        let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}});
        let end = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "seen"});
        let body = json!({
            "model": "qwen3-8b", "temperature": 1.0, "stream": true, "stream_options": {"include_usage": true},
            "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}],
            "tool_choice": "auto", "parallel_tool_calls": true,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]},
                {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [call("a"), call("b")]},
                end("b"), end("a"),
            ],
        });
        let thought = Said::Thought {
            text: "hm".to_owned(),
            seal: "s",
        };
        let given = [Answer {
            said: vec![thought],
            model: "qwen3-8b".to_owned(),
            ..Answer::default()
        }];
        sees(
            &OpenAi,
            request("/v1/chat/completions", &[], body),
            &given,
            &[
                (|body| body["messages"] = json!([]), "no messages"),
                (|body| body["top_k"] = json!(1), "unknown field 'top_k'"),
                (
                    |body| body["stream"] = json!(false),
                    "stream_options without stream",
                ),
                (|body| body["temperature"] = json!(3), "temperature is 3"),
                (
                    |body| body["reasoning_effort"] = json!("low"),
                    "does not reason",
                ),
                (|body| body["model"] = json!("gpt-4o"), "bearer"),
                (|body| body["model"] = json!("another"), "not the model's"),
                (
                    |body| (body["model"], body["max_tokens"]) = (json!("o3"), json!(9)),
                    "max_tokens for",
                ),
                (
                    |body| body["tools"][0]["function"]["parameters"]["anyOf"] = json!([{}]),
                    "at the top",
                ),
                (
                    |body| body["tools"][0]["function"]["parameters"] = json!({"type": "object"}),
                    "without properties",
                ),
                (
                    |body| body["tools"][0]["function"]["strict"] = json!(true),
                    "that is open",
                ),
                (
                    |body| {
                        body["response_format"] =
                            json!({"type": "json_schema", "json_schema": {"schema": {}}})
                    },
                    "name ''",
                ),
                (|body| body["tools"] = json!([]), "without tools"),
                (
                    |body| body["tools"][0]["function"]["name"] = json!("l ook"),
                    "does not fit",
                ),
                (
                    |body| body["tools"][0]["function"]["parameters"]["type"] = json!("string"),
                    "no object",
                ),
                (
                    |body| body["tools"][0]["function"]["parameters"]["required"] = json!(["x"]),
                    "has none",
                ),
                (
                    |body| {
                        body["tool_choice"] = json!({"type": "function", "function": {"name": "x"}})
                    },
                    "not offered",
                ),
                (
                    |body| body["messages"][0]["role"] = json!("model"),
                    "role 'model'",
                ),
                (
                    |body| body["messages"][1]["content"] = json!([]),
                    "says nothing",
                ),
                (
                    |body| body["messages"][1]["content"][1]["image_url"]["url"] = json!("QUJD"),
                    "neither data",
                ),
                (
                    |body| body["messages"][2]["tool_calls"] = json!([]),
                    "empty list",
                ),
                (
                    |body| body["messages"][2]["tool_calls"][1]["id"] = json!("a"),
                    "twice",
                ),
                (
                    |body| body["messages"][2]["tool_calls"][0]["id"] = json!("a.b"),
                    "does not fit",
                ),
                (
                    |body| body["messages"][2]["reasoning_content"] = json!("ha"),
                    "not the model's",
                ),
                (
                    |body| body["messages"][3]["tool_call_id"] = json!("c"),
                    "without its call",
                ),
                (
                    |body| body["messages"][3] = json!({"role": "user", "content": "x"}),
                    "without a return",
                ),
                (
                    |body| drop(body["messages"].as_array_mut().unwrap().pop()),
                    "at the end",
                ),
            ],
        );
    }
}
