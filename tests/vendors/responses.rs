//! OpenAI's Responses. Written from the API reference ("Create a model response", "Streaming events") and the guides to
//! reasoning models, function calling and keeping a conversation without storing it.

use super::openai::{EFFORTS, choice, error, format, image, key, parameters, reasons};
use super::rules::{
    Verdict, closed, filled, has, identifier, json, list, must, number, only, tools, word,
};
use super::{Answer, Dialect, End, Request, Said, Trouble, event, pieces, spelled};
use serde_json::{Value, json};
use std::collections::HashSet;

pub(crate) struct Responses;

const FIELDS: &[&str] = &[
    "model",
    "input",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "temperature",
    "max_output_tokens",
    "reasoning",
    "include",
    "prompt_cache_retention",
    "service_tier",
    "user",
    "store",
    "stream",
    "top_logprobs",
];

impl Dialect for Responses {
    fn takes(&self, path: &str) -> bool {
        path == "/v1/responses"
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
        key(request)?;
        let (body, model) = (&request.body, self.model(request));
        only(body, FIELDS)?;
        filled(body, "model")?;
        must!(body["store"] == false, "what was said would be kept");
        number(body, "temperature", 0.0, 2.0)?;
        number(body, "max_output_tokens", 16.0, 128_000.0)?;
        word(
            body,
            "service_tier",
            &["auto", "default", "flex", "priority"],
        )?;
        word(body, "prompt_cache_retention", &["in-memory", "24h"])?;
        let hidden = json!("reasoning.encrypted_content");
        if reasons(&model) {
            must!(
                !has(body, "temperature"),
                "a temperature for a model that reasons"
            );
            must!(
                list(&body["include"]).contains(&hidden),
                "reasoning that cannot come back"
            );
            only(&body["reasoning"], &["effort", "summary"])?;
            word(&body["reasoning"], "effort", EFFORTS)?;
            word(
                &body["reasoning"],
                "summary",
                &["auto", "concise", "detailed"],
            )?;
        } else {
            must!(
                !has(body, "reasoning"),
                "reasoning of a model that does not reason"
            );
            must!(
                !list(&body["include"]).contains(&hidden),
                "reasoning of a model that does not reason"
            );
        }
        if has(body, "text") {
            only(&body["text"], &["format", "verbosity"])?;
            let format = &body["text"]["format"];
            word(format, "type", &["text", "json_object", "json_schema"])?;
            if format["type"] == "json_schema" {
                only(format, &["type", "name", "description", "schema", "strict"])?;
                self::format(format)?;
            }
        }
        let offered: Vec<&Value> = list(&body["tools"]).iter().collect();
        for tool in &offered {
            only(
                tool,
                &["type", "name", "description", "parameters", "strict"],
            )?;
            must!(
                tool["type"] == "function",
                "a tool of type {}",
                tool["type"]
            );
            must!(
                tool["strict"].is_boolean(),
                "a tool that does not say whether it is strict"
            );
            parameters(tool)?;
            if tool["strict"] == true {
                closed(&tool["parameters"], true)?;
            }
        }
        choice(body, &tools(&offered, "parameters", 64)?, |choice| {
            &choice["name"]
        })?;
        items(body, &model, given)
    }

    fn whole(&self, answer: &Answer) -> Value {
        response(answer, output(answer))
    }

    fn events(&self, answer: &Answer) -> Vec<String> {
        let mut stream = Stream::default();
        let mut begun = response(answer, Vec::new());
        (begun["status"], begun["usage"]) = (json!("in_progress"), Value::Null);
        stream.push("created", json!({"response": begun}));
        stream.push("in_progress", json!({"response": begun}));
        let output = output(answer);
        for (at, item) in output.iter().enumerate() {
            stream.item(at, item);
        }
        let whole = response(answer, output);
        let end = whole["status"].as_str().unwrap_or_default().to_owned();
        stream.push(&end, json!({"response": whole}));
        stream.events
    }

    fn opening(&self) -> usize {
        2
    }

    fn refusal(&self, trouble: &Trouble) -> (u16, Value) {
        let (status, error) = error(trouble);
        (status, json!({"error": error}))
    }

    fn failure(&self, trouble: &Trouble) -> String {
        let error = error(trouble).1;
        // There are two ways to fail.
        let failure = if *trouble == Trouble::RateLimit {
            json!({"type": "error", "code": error["code"], "message": error["message"], "param": null})
        } else {
            let mut failed = response(&Answer::default(), Vec::new());
            failed["status"] = json!("failed");
            failed["error"] = json!({"code": error["code"], "message": error["message"]});
            json!({"type": "response.failed", "response": failed})
        };
        event(failure["type"].as_str(), &failure)
    }
}

/// Every call has one output, after it; reasoning is the model's own, as it came, and before what it led to.
fn items(body: &Value, model: &str, given: &[Answer]) -> Verdict {
    must!(!list(&body["input"]).is_empty(), "no input");
    let (mut open, mut seen) = (HashSet::new(), HashSet::new());
    let mut thought: Option<&Value> = None;
    for item in list(&body["input"]) {
        let kind = item["type"].as_str().unwrap_or_default();
        if let Some(thought) = thought.take_if(|_| kind != "reasoning") {
            let follows = |output: &[Value]| {
                let place = output.iter().position(|item| item["id"] == thought["id"]);
                // A message that says nothing is not stored, and nothing rests on it.
                let silent = |item: &Value| {
                    let parts = list(&item["content"]).iter();
                    let said = |part: &Value| part["text"] != "" || part["type"] == "refusal";
                    item["type"] == "message" && !parts.into_iter().any(said)
                };
                let next = place.and_then(|place| {
                    output[place..]
                        .iter()
                        .find(|item| item["type"] != "reasoning" && !silent(item))
                });
                next.is_some_and(|next| next["type"] == kind && next["call_id"] == item["call_id"])
            };
            let led = given.iter().any(|answer| follows(&output(answer)));
            must!(
                led,
                "reasoning without the item that followed it: {thought}"
            );
        }
        match kind {
            "message" => message(item)?,
            "reasoning" => {
                only(item, &["type", "id", "summary", "encrypted_content"])?;
                let came = |answer: &Answer| {
                    answer.model == model
                        && output(answer).iter().any(|came| {
                            ["id", "summary", "encrypted_content"]
                                .iter()
                                .all(|field| came[field] == item[field])
                        })
                };
                must!(
                    given.iter().any(came),
                    "reasoning that is not the model's: {item}"
                );
                must!(seen.insert(&item["id"]), "the item {} twice", item["id"]);
                thought = Some(item);
            }
            "function_call" => {
                only(item, &["type", "call_id", "name", "arguments"])?;
                identifier(item, "call_id", 64)?;
                identifier(item, "name", 64)?;
                must!(item["arguments"].is_string(), "arguments that are no text");
                must!(
                    seen.insert(&item["call_id"]),
                    "the call {} twice",
                    item["call_id"]
                );
                open.insert(&item["call_id"]);
            }
            "function_call_output" => {
                only(item, &["type", "call_id", "output"])?;
                must!(
                    open.remove(&item["call_id"]),
                    "an output of {} without its call",
                    item["call_id"]
                );
                must!(
                    item["output"].is_string() || !list(&item["output"]).is_empty(),
                    "no output in {item}"
                );
                parts(&item["output"], &["input_text", "input_image"])?;
            }
            _ => must!(false, "an item of the type '{kind}'"),
        }
    }
    must!(
        thought.is_none(),
        "reasoning without the item that followed it, at the end"
    );
    must!(open.is_empty(), "calls without an output: {open:?}");
    Ok(())
}

fn message(item: &Value) -> Verdict {
    only(item, &["type", "role", "content"])?;
    must!(
        !list(&item["content"]).is_empty(),
        "a message without content: {item}"
    );
    match item["role"].as_str() {
        Some("developer" | "system") => parts(&item["content"], &["input_text"]),
        Some("user") => parts(&item["content"], &["input_text", "input_image"]),
        Some("assistant") => parts(&item["content"], &["output_text", "refusal"]),
        _ => Err(format!("a message of the role {}", item["role"])),
    }
}

fn parts(content: &Value, kinds: &[&str]) -> Verdict {
    for part in list(content) {
        let kind = part["type"].as_str().unwrap_or_default();
        must!(
            kinds.contains(&kind),
            "a part of the type '{kind}' among {kinds:?}"
        );
        if kind == "input_image" {
            only(part, &["type", "image_url", "detail"])?;
            image(part, "image_url")?;
        } else {
            only(part, &["type", "text"])?;
            must!(part["text"].is_string(), "a text that is none");
        }
    }
    Ok(())
}

/// The items of an answer.
fn output(answer: &Answer) -> Vec<Value> {
    let mut calls = answer.calls().into_iter();
    let item = |(at, said): (usize, &Said)| {
        let id = |kind: &str| format!("{kind}_{}_{at}", answer.number);
        match said {
            Said::Thought { text, seal } => {
                let summaries = text.split("\n\n").filter(|text| !text.is_empty());
                let summary = summaries.map(|text| json!({"type": "summary_text", "text": text}));
                Some(json!({
                    "id": id("rs"), "type": "reasoning", "summary": summary.collect::<Vec<_>>(),
                    "encrypted_content": spelled(seal),
                }))
            }
            Said::Redacted(_) => None,
            Said::Text(text) => Some(json!({
                "id": id("msg"), "type": "message", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
            })),
            Said::Refusal(text) => Some(json!({
                "id": id("msg"), "type": "message", "status": "completed", "role": "assistant",
                "content": [{"type": "refusal", "refusal": text}],
            })),
            Said::Call { .. } => calls.next().map(|(call_id, name, arguments)| {
                json!({
                    "id": id("fc"), "type": "function_call", "status": "completed", "call_id": call_id, "name": name,
                    "arguments": arguments,
                })
            }),
        }
    };
    answer.said.iter().enumerate().filter_map(item).collect()
}

fn response(answer: &Answer, output: Vec<Value>) -> Value {
    let incomplete = match answer.end {
        End::Complete | End::Malformed => None,
        End::Length => Some("max_output_tokens"),
        End::Filtered => Some("content_filter"),
    };
    let usage = answer.usage;
    json!({
        "id": format!("resp_{}", answer.number), "object": "response", "created_at": 1_764_000_000, "error": null,
        "status": if incomplete.is_some() { "incomplete" } else { "completed" },
        "incomplete_details": incomplete.map(|reason| json!({"reason": reason})),
        "model": answer.version(), "output": output, "store": false,
        "usage": {
            "input_tokens": usage.prompt, "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.prompt + usage.output,
        },
    })
}

/// The events of a stream, numbered.
#[derive(Default)]
struct Stream {
    events: Vec<String>,
}

impl Stream {
    fn push(&mut self, kind: &str, mut data: Value) {
        let kind = format!("response.{kind}");
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.events.len());
        self.events.push(event(Some(&kind), &data));
    }

    /// One item: announced without its content, then piece by piece, then whole.
    fn item(&mut self, at: usize, item: &Value) {
        let mut empty = item.clone();
        for field in ["summary", "content"] {
            if has(item, field) {
                empty[field] = json!([]);
            }
        }
        match item["type"].as_str() {
            // What is sealed at the start is not what is sealed in the end.
            Some("reasoning") => empty["encrypted_content"] = json!("QQ=="),
            Some("function_call") => {
                (empty["arguments"], empty["status"]) = (json!(""), json!("in_progress"))
            }
            _ => empty["status"] = json!("in_progress"),
        }
        self.push(
            "output_item.added",
            json!({"output_index": at, "item": empty}),
        );
        for (index, part) in list(&item["summary"]).iter().enumerate() {
            let place = json!({"item_id": item["id"], "output_index": at, "summary_index": index});
            self.part(
                "reasoning_summary_part",
                "reasoning_summary_text",
                &place,
                part,
            );
        }
        for (index, part) in list(&item["content"]).iter().enumerate() {
            let place = json!({"item_id": item["id"], "output_index": at, "content_index": index});
            let kind = part["type"].as_str().unwrap_or_default();
            self.part("content_part", kind, &place, part);
        }
        if let Some(arguments) = item["arguments"].as_str() {
            let place = json!({"item_id": item["id"], "output_index": at});
            self.text("function_call_arguments", "arguments", &place, arguments);
        }
        self.push(
            "output_item.done",
            json!({"output_index": at, "item": item}),
        );
    }

    fn part(&mut self, kind: &str, text_kind: &str, place: &Value, part: &Value) {
        let with = |part: Value| {
            let mut data = place.clone();
            data["part"] = part;
            data
        };
        let field = if text_kind == "refusal" {
            "refusal"
        } else {
            "text"
        };
        let mut empty = part.clone();
        empty[field] = json!("");
        self.push(&format!("{kind}.added"), with(empty));
        let text = part[field].as_str().unwrap_or_default();
        self.text(text_kind, field, place, text);
        // What does not exist yet.
        self.push(&format!("{text_kind}.noted"), place.clone());
        self.push(&format!("{kind}.done"), with(part.clone()));
    }

    fn text(&mut self, kind: &str, field: &str, place: &Value, text: &str) {
        for piece in pieces(text) {
            let mut data = place.clone();
            (data["delta"], data["obfuscation"]) = (json!(piece), json!("k3Tz"));
            self.push(&format!("{kind}.delta"), data);
        }
        let mut data = place.clone();
        data[field] = json!(text);
        self.push(&format!("{kind}.done"), data);
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
                Said::Call {
                    name: "look",
                    arguments: "{}",
                },
            ],
            model: "gpt-5".to_owned(),
            ..Answer::default()
        }];
        let text = |kind: &str| json!([{"type": kind, "text": "x"}]);
        let body = json!({
            "model": "gpt-5", "store": false, "stream": false, "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low", "summary": "detailed"},
            "tools": [{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": false}],
            "tool_choice": "auto",
            "input": [
                {"type": "message", "role": "developer", "content": text("input_text")},
                {"type": "message", "role": "user", "content": text("input_text")},
                {"type": "reasoning", "id": "rs_0_0", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": spelled("s")},
                {"type": "function_call", "call_id": "call_0_0", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_0_0", "output": "seen"},
                {"type": "message", "role": "assistant", "content": text("output_text")},
            ],
        });
        let headers = [("authorization", "Bearer sk-1")];
        sees(
            &Responses,
            request("/v1/responses", &headers, body),
            &given,
            &[
                (|body| body["input"] = json!([]), "no input"),
                (
                    |body| body["messages"] = json!([]),
                    "unknown field 'messages'",
                ),
                (|body| body["store"] = json!(true), "kept"),
                (|body| body["temperature"] = json!(1), "temperature"),
                (|body| body["include"] = json!([]), "cannot come back"),
                (
                    |body| body["reasoning"]["effort"] = json!("extreme"),
                    "effort is",
                ),
                (
                    |body| body["max_output_tokens"] = json!(9),
                    "max_output_tokens is 9",
                ),
                (|body| body["model"] = json!("gpt-4o"), "does not reason"),
                (
                    |body| body["model"] = json!("gpt-5-mini"),
                    "not the model's",
                ),
                (|body| body["tools"][0]["strict"] = Value::Null, "strict"),
                (
                    |body| body["tools"][0]["strict"] = json!(true),
                    "that is open",
                ),
                (
                    |body| body["text"] = json!({"format": {"type": "json_schema"}}),
                    "name ''",
                ),
                (|body| body["tools"] = json!([]), "without tools"),
                (|body| body["input"][1]["role"] = json!("tool"), "role"),
                (
                    |body| body["input"][1]["content"] = json!([]),
                    "without content",
                ),
                (
                    |body| body["input"][5]["content"][0]["type"] = json!("input_text"),
                    "a part of the type",
                ),
                (
                    |body| body["input"][2]["encrypted_content"] = json!("x"),
                    "not the model's",
                ),
                (
                    |body| body["input"][2]["summary"] = json!([]),
                    "not the model's",
                ),
                (
                    |body| drop(body["input"].as_array_mut().unwrap().drain(3..5)),
                    "that followed it",
                ),
                (
                    |body| drop(body["input"].as_array_mut().unwrap().drain(3..)),
                    "at the end",
                ),
                (|body| body["input"][2] = body["input"][3].clone(), "twice"),
                (
                    |body| drop(body["input"].as_array_mut().unwrap().remove(4)),
                    "without an output",
                ),
                (
                    |body| body["input"][4]["call_id"] = json!("call_1"),
                    "without its call",
                ),
                (|body| body["input"][4]["output"] = Value::Null, "no output"),
            ],
        );
        let without_key = request("/v1/responses", &[], json!({}));
        assert!(
            Responses
                .check(&without_key, &[])
                .is_err_and(|rule| rule.contains("bearer"))
        );
    }
}
