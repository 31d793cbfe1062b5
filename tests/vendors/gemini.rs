//! Google's `generateContent`. Written from the API reference ("generateContent", "Content", "Tool", "Schema",
//! "GenerationConfig") and the guides to function calling, thinking, thought signatures and troubleshooting.

use super::rules::{Verdict, base64, filled, has, json, list, must, number, only, word};
use super::{Answer, Dialect, End, Request, Said, Trouble, event, object, pieces, spelled};
use serde_json::{Value, json};

pub(crate) struct Gemini;

const FIELDS: &[&str] = &[
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "cachedContent",
];
const SCHEMA: &[&str] = &[
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
    "items",
    "minimum",
    "maximum",
];
/// Documented for calls that the model did not make itself.
const UNSIGNED: &[&str] = &[
    "skip_thought_signature_validator",
    "context_engineering_is_the_way_to_go",
];

impl Dialect for Gemini {
    fn takes(&self, path: &str) -> bool {
        path.starts_with("/v1beta/models/") && path.ends_with("enerateContent")
    }

    fn model(&self, request: &Request) -> String {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        name.split(':').next().unwrap_or_default().to_owned()
    }

    fn streams(&self, request: &Request) -> bool {
        request.path.ends_with(":streamGenerateContent")
    }

    fn check(&self, request: &Request, given: &[Answer]) -> Verdict {
        json(request)?;
        must!(
            request
                .header("x-goog-api-key")
                .is_some_and(|key| key.starts_with("AIza")),
            "no x-goog-api-key"
        );
        must!(
            !self.streams(request) || request.query.contains("alt=sse"),
            "a stream that is no event stream"
        );
        let (body, model) = (&request.body, self.model(request));
        only(body, FIELDS)?;
        if has(body, "systemInstruction") {
            only(&body["systemInstruction"], &["role", "parts"])?;
            for part in list(&body["systemInstruction"]["parts"]) {
                only(part, &["text"])?;
                filled(part, "text")?;
            }
        }
        let names = declarations(body)?;
        calling(body, &names)?;
        generation(&body["generationConfig"], &model, names.is_empty())?;
        contents(list(&body["contents"]))?;
        signatures(list(&body["contents"]), &model, given)
    }

    fn whole(&self, answer: &Answer) -> Value {
        let mut parts = unsigned(answer);
        let calls = parts.iter().position(|part| has(part, "functionCall"));
        let signed = calls.or_else(|| {
            parts
                .iter()
                .rposition(|part| has(part, "text") && !has(part, "thought"))
        });
        if let (Some(at), Some(seal)) = (signed, answer.seal()) {
            parts[at]["thoughtSignature"] = json!(seal);
        }
        let usage = usage(answer, answer.usage.output);
        response(answer, parts, Some(reason(answer)), usage)
    }

    fn events(&self, answer: &Answer) -> Vec<String> {
        let unsigned = unsigned(answer);
        let mut seal = answer.seal();
        // Nothing but thoughts is not signed.
        seal.take_if(|_| unsigned.iter().all(|part| has(part, "thought")));
        let mut parts = Vec::new();
        for part in unsigned {
            let Some(text) = part["text"].as_str() else {
                let mut call = part;
                if let Some(seal) = seal.take() {
                    call["thoughtSignature"] = json!(seal);
                }
                parts.push(call);
                continue;
            };
            for piece in pieces(text) {
                let mut part = part.clone();
                part["text"] = json!(piece);
                parts.push(part);
            }
        }
        // The signature of an answer without calls comes with nothing more to say.
        let mut last = json!({"text": ""});
        if let Some(seal) = seal {
            last["thoughtSignature"] = json!(seal);
        }
        let mut events: Vec<Value> = (1..)
            .zip(parts)
            .map(|(count, part)| response(answer, vec![part], None, usage(answer, count)))
            .collect();
        // Counts may come alone.
        let mut counts = response(answer, Vec::new(), None, usage(answer, 0));
        counts.as_object_mut().unwrap().shift_remove("candidates");
        events.insert(0, counts);
        events.push(response(
            answer,
            vec![last],
            Some(reason(answer)),
            usage(answer, answer.usage.output),
        ));
        events
            .iter()
            .map(|data| event(None, data).replace('\n', "\r\n"))
            .collect()
    }

    fn opening(&self) -> usize {
        1
    }

    fn refusal(&self, trouble: &Trouble) -> (u16, Value) {
        let (status, name, message) = match trouble {
            Trouble::Overloaded => (
                503,
                "UNAVAILABLE",
                "The model is overloaded. Please try again later.",
            ),
            Trouble::RateLimit => (
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota, please wait.",
            ),
            Trouble::Overflow => (
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
            Trouble::Key => (
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
            ),
            Trouble::Quota => (
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota, please check your billing.",
            ),
            Trouble::Rule(rule) => (400, "INVALID_ARGUMENT", rule.as_str()),
        };
        let mut error = json!({"code": status, "message": message, "status": name});
        if *trouble == Trouble::RateLimit {
            let kind = "type.googleapis.com/google.rpc.RetryInfo";
            error["details"] = json!([{"@type": kind, "retryDelay": "0s"}]);
        }
        (status, json!({"error": error}))
    }

    fn failure(&self, trouble: &Trouble) -> String {
        event(None, &self.refusal(trouble).1)
    }
}

/// The names of the functions, whose parameters are of the part of JSON Schema that Gemini knows.
fn declarations(body: &Value) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    for tool in list(&body["tools"]) {
        only(tool, &["functionDeclarations"])?;
        for declared in list(&tool["functionDeclarations"]) {
            only(declared, &["name", "description", "parameters"])?;
            let name = self::name(declared)?;
            filled(declared, "description")?;
            must!(!names.contains(&name), "two functions are called '{name}'");
            names.push(name);
            if has(declared, "parameters") {
                must!(
                    declared["parameters"]["type"]
                        .as_str()
                        .is_some_and(|kind| kind.eq_ignore_ascii_case("object")),
                    "parameters that are no object"
                );
                must!(
                    has(&declared["parameters"], "properties"),
                    "parameters without properties"
                );
                schema(&declared["parameters"])?;
            }
        }
    }
    Ok(names)
}

fn schema(schema: &Value) -> Verdict {
    only(schema, SCHEMA)?;
    let kind = schema["type"]
        .as_str()
        .unwrap_or_default()
        .to_ascii_uppercase();
    let kinds = [
        "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL",
    ];
    must!(
        kinds.contains(&kind.as_str()) || has(schema, "anyOf"),
        "a schema of the type '{kind}'"
    );
    let properties = schema["properties"].as_object();
    must!(
        properties.is_none_or(|properties| !properties.is_empty()),
        "an object without properties: {schema}"
    );
    must!(
        kind != "ARRAY" || has(schema, "items"),
        "an array without items: {schema}"
    );
    must!(
        !has(schema, "enum") || kind == "STRING",
        "words to choose from for a {kind}"
    );
    for required in list(&schema["required"]) {
        must!(
            has(&schema["properties"], required.as_str().unwrap_or_default()),
            "{required} is required and not there"
        );
    }
    let inner = properties
        .into_iter()
        .flat_map(|properties| properties.values());
    inner
        .chain(list(&schema["anyOf"]))
        .chain(schema.get("items"))
        .try_for_each(self::schema)
}

fn calling(body: &Value, names: &[&str]) -> Verdict {
    if !has(body, "toolConfig") {
        return Ok(());
    }
    let calling = &body["toolConfig"]["functionCallingConfig"];
    only(&body["toolConfig"], &["functionCallingConfig"])?;
    only(calling, &["mode", "allowedFunctionNames"])?;
    must!(!names.is_empty(), "a choice among no functions");
    word(calling, "mode", &["AUTO", "ANY", "NONE", "VALIDATED"])?;
    let allowed = list(&calling["allowedFunctionNames"]);
    must!(
        allowed.is_empty() || calling["mode"] == "ANY",
        "names in the mode {}",
        calling["mode"]
    );
    for name in allowed {
        must!(
            names.iter().any(|known| name == known),
            "the function {name} may be called and is not declared"
        );
    }
    Ok(())
}

fn generation(config: &Value, model: &str, alone: bool) -> Verdict {
    let known = [
        "temperature",
        "topP",
        "topK",
        "maxOutputTokens",
        "stopSequences",
        "candidateCount",
        "responseMimeType",
        "responseSchema",
        "thinkingConfig",
    ];
    if config.is_null() {
        return Ok(());
    }
    only(config, &known)?;
    number(config, "temperature", 0.0, 2.0)?;
    number(config, "maxOutputTokens", 1.0, 65_536.0)?;
    must!(
        !has(config, "responseSchema") || config["responseMimeType"] == "application/json",
        "a schema of no JSON"
    );
    must!(
        !has(config, "responseMimeType") || alone || model.starts_with("gemini-3"),
        "JSON beside functions"
    );
    let thinking = &config["thinkingConfig"];
    if thinking.is_null() {
        return Ok(());
    }
    only(
        thinking,
        &["includeThoughts", "thinkingBudget", "thinkingLevel"],
    )?;
    must!(
        !model.starts_with("gemini-2.0"),
        "thoughts of a model that has none"
    );
    let newer = model.starts_with("gemini-3");
    must!(
        newer || !has(thinking, "thinkingLevel"),
        "a level for a model that takes a budget"
    );
    must!(
        !newer || !has(thinking, "thinkingBudget"),
        "a budget for a model that takes a level"
    );
    let (least, most) = if model.contains("pro") {
        (128.0, 32_768.0)
    } else {
        (0.0, 24_576.0)
    };
    number(thinking, "thinkingBudget", least, most)
}

/// Sides take turns, the user begins and ends; the turn after calls holds their responses, one for each.
fn contents(contents: &[Value]) -> Verdict {
    must!(!contents.is_empty(), "no contents");
    let mut open: Vec<&Value> = Vec::new();
    for (at, content) in contents.iter().enumerate() {
        only(content, &["role", "parts"])?;
        let role = if at % 2 == 0 { "user" } else { "model" };
        must!(content["role"] == role, "content {at} is not the {role}'s");
        must!(
            !list(&content["parts"]).is_empty(),
            "content {at} has no parts"
        );
        let mut returned = Vec::new();
        let mut calls = Vec::new();
        for part in list(&content["parts"]) {
            self::part(role, part)?;
            let name = |field: &str| &part[field]["name"];
            if has(part, "functionResponse") {
                returned.push(name("functionResponse"));
            } else if has(part, "functionCall") {
                calls.push(name("functionCall"));
            } else {
                must!(
                    open.is_empty() || has(part, "inlineData"),
                    "words among function responses"
                );
            }
        }
        must!(
            returned == open,
            "content {at} responds to {returned:?}, not to {open:?}"
        );
        open = calls;
    }
    must!(contents.len() % 2 == 1, "the last word is not the user's");
    Ok(())
}

fn part(role: &str, part: &Value) -> Verdict {
    let data = ["text", "inlineData", "functionCall", "functionResponse"];
    let held: Vec<&str> = data.into_iter().filter(|field| has(part, field)).collect();
    match (role, held.as_slice()) {
        (_, ["text"]) => {
            let own: &[&str] = if role == "model" {
                &["text", "thought", "thoughtSignature"]
            } else {
                &["text"]
            };
            only(part, own)?;
            must!(
                part["text"].as_str().is_some_and(|text| !text.is_empty()),
                "a text with nothing in it"
            );
            Ok(())
        }
        ("user", ["inlineData"]) => {
            only(part, &["inlineData"])?;
            let blob = &part["inlineData"];
            only(blob, &["mimeType", "data"])?;
            word(
                blob,
                "mimeType",
                &[
                    "image/png",
                    "image/jpeg",
                    "image/webp",
                    "image/heic",
                    "image/heif",
                ],
            )?;
            filled(blob, "mimeType")?;
            base64(blob, "data")
        }
        ("model", ["functionCall"]) => {
            only(part, &["functionCall", "thoughtSignature"])?;
            only(&part["functionCall"], &["id", "name", "args"])?;
            name(&part["functionCall"])?;
            must!(
                part["functionCall"]["args"].is_object(),
                "arguments that are no object"
            );
            Ok(())
        }
        ("user", ["functionResponse"]) => {
            only(part, &["functionResponse"])?;
            only(&part["functionResponse"], &["id", "name", "response"])?;
            name(&part["functionResponse"])?;
            must!(
                part["functionResponse"]["response"].is_object(),
                "a response that is no object"
            );
            Ok(())
        }
        _ => Err(format!("a part of the {role} that holds {held:?}")),
    }
}

fn name(holder: &Value) -> Result<&str, String> {
    let name = holder["name"].as_str().unwrap_or_default();
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c));
    must!(
        begins && plain && name.len() <= 64,
        "the name '{name}' does not fit"
    );
    Ok(name)
}

/// A signature is the model's own, where it came; the newer models want one in each step of the turn that is not over.
fn signatures(contents: &[Value], model: &str, given: &[Answer]) -> Verdict {
    let own = || given.iter().filter(|answer| answer.model == model);
    let speaks = |content: &Value| {
        content["role"] == "user" && list(&content["parts"]).iter().any(|part| has(part, "text"))
    };
    let turn = contents.iter().rposition(speaks);
    for (at, content) in contents.iter().enumerate() {
        let parts = list(&content["parts"]);
        for part in parts {
            let thought = part["text"].as_str().filter(|_| part["thought"] == true);
            let others = |text: &str| {
                let mut thought = given
                    .iter()
                    .filter(|answer| answer.thought().contains(text))
                    .peekable();
                thought.peek().is_some() && thought.all(|answer| answer.model != model)
            };
            must!(
                !thought.is_some_and(others),
                "a thought of another model: {part}"
            );
            let Some(signature) = part["thoughtSignature"]
                .as_str()
                .filter(|sign| !UNSIGNED.contains(sign))
            else {
                continue;
            };
            base64(part, "thoughtSignature")?;
            let came = |answer: &Answer| {
                let calls = answer.calls();
                let place = match calls.first() {
                    Some((_, name, _)) => part["functionCall"]["name"] == *name,
                    None => part["text"] == answer.words(),
                };
                answer.seal().as_deref() == Some(signature) && place
            };
            must!(
                own().any(came),
                "a signature that is not of this part: {part}"
            );
        }
        let mut calls = parts.iter().filter(|part| has(part, "functionCall"));
        let first = calls
            .next()
            .filter(|_| model.starts_with("gemini-3") && Some(at) > turn);
        must!(
            first.is_none_or(|call| has(call, "thoughtSignature")),
            "a step of content {at} without a signature"
        );
        must!(
            calls.all(|call| !has(call, "thoughtSignature")),
            "a signature on a later call of content {at}"
        );
    }
    Ok(())
}

// ── answers

fn unsigned(answer: &Answer) -> Vec<Value> {
    let part = |said: &Said| match said {
        Said::Thought { text, .. } => {
            (!text.is_empty()).then(|| json!({"text": text, "thought": true}))
        }
        Said::Redacted(_) => None,
        Said::Text(text) | Said::Refusal(text) => Some(json!({"text": text})),
        Said::Call { name, arguments } => {
            Some(json!({"functionCall": {"name": name, "args": object(arguments)}}))
        }
    };
    answer.said.iter().filter_map(part).collect()
}

fn response(answer: &Answer, parts: Vec<Value>, reason: Option<&str>, usage: Value) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if let Some(reason) = reason {
        candidate["finishReason"] = json!(reason);
    }
    json!({
        "candidates": [candidate], "usageMetadata": usage, "modelVersion": answer.version(),
        "responseId": format!("r{}", answer.number),
    })
}

/// The counts when so many tokens were written; thoughts are counted apart.
fn usage(answer: &Answer, output: u64) -> Value {
    let usage = answer.usage;
    let thoughts = usage.reasoning.min(output);
    json!({
        "promptTokenCount": usage.prompt, "cachedContentTokenCount": usage.cached, "thoughtsTokenCount": thoughts,
        "candidatesTokenCount": output - thoughts, "totalTokenCount": usage.prompt + output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt}],
    })
}

fn reason(answer: &Answer) -> &'static str {
    match answer.end {
        End::Complete => "STOP",
        End::Length => "MAX_TOKENS",
        End::Filtered => "SAFETY",
        End::Malformed => "MALFORMED_FUNCTION_CALL",
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
                Said::Call {
                    name: "look",
                    arguments: "{}",
                },
            ],
            model: "gemini-3-pro".to_owned(),
            ..Answer::default()
        }];
        let call = json!({"functionCall": {"name": "look", "args": {}}});
        let end = json!({"functionResponse": {"name": "look", "response": {"content": "seen"}}});
        let mut signed = call.clone();
        signed["thoughtSignature"] = json!(spelled("s"));
        let body = json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "tools": [{"functionDeclarations": [{"name": "look", "description": "Looks.", "parameters": {
                "type": "object", "properties": {"at": {"type": "array", "items": {"type": "string"}}}, "required": ["at"],
            }}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
            "generationConfig": {"temperature": 1.0, "maxOutputTokens": 100, "thinkingConfig": {"includeThoughts": true}},
            "contents": [
                {"role": "user", "parts": [{"text": "Look."}, {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}]},
                {"role": "model", "parts": [{"text": "hm", "thought": true}, signed, call]},
                {"role": "user", "parts": [end, end]},
            ],
        });
        let path = "/v1beta/models/gemini-3-pro:generateContent";
        let headers = [("x-goog-api-key", "AIza1")];
        sees(
            &Gemini,
            request(path, &headers, body.clone()),
            &given,
            &[
                (|body| body["model"] = json!("x"), "unknown field 'model'"),
                (
                    |body| body["systemInstruction"]["parts"][0]["text"] = json!(""),
                    "no text",
                ),
                (|body| body["tools"] = json!([]), "among no functions"),
                (
                    |body| body["tools"][0]["functionDeclarations"][0]["name"] = json!("2"),
                    "does not fit",
                ),
                (
                    |body| {
                        body["tools"][0]["functionDeclarations"][0]["parameters"]["additionalProperties"] =
                            json!(false)
                    },
                    "unknown field",
                ),
                (
                    |body| {
                        body["tools"][0]["functionDeclarations"][0]["parameters"]["properties"] =
                            json!({})
                    },
                    "without properties",
                ),
                (
                    |body| {
                        drop(
                            body["tools"][0]["functionDeclarations"][0]["parameters"]["properties"]
                                ["at"]
                                .as_object_mut()
                                .unwrap()
                                .shift_remove("items"),
                        )
                    },
                    "without items",
                ),
                (
                    |body| {
                        body["tools"][0]["functionDeclarations"][0]["parameters"]["required"] =
                            json!(["x"])
                    },
                    "not there",
                ),
                (
                    |body| {
                        body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] =
                            json!(["look"])
                    },
                    "in the mode",
                ),
                (
                    |body| {
                        body["toolConfig"]["functionCallingConfig"] =
                            json!({"mode": "ANY", "allowedFunctionNames": ["x"]})
                    },
                    "not declared",
                ),
                (
                    |body| body["generationConfig"]["maxOutputTokens"] = json!(100_000),
                    "maxOutputTokens",
                ),
                (
                    |body| body["generationConfig"]["thinkingConfig"]["thinkingBudget"] = json!(1),
                    "takes a level",
                ),
                (|body| body["contents"] = json!([]), "no contents"),
                (
                    |body| body["contents"][0]["role"] = json!("model"),
                    "not the user's",
                ),
                (|body| body["contents"][0]["parts"] = json!([]), "no parts"),
                (
                    |body| body["contents"][0]["parts"][0]["inlineData"] = json!({}),
                    "that holds",
                ),
                (
                    |body| body["contents"][0]["parts"][1]["inlineData"]["data"] = json!(""),
                    "no base64",
                ),
                (
                    |body| body["contents"][0]["parts"][0]["text"] = json!(""),
                    "nothing in it",
                ),
                (
                    |body| {
                        drop(
                            body["contents"][1]["parts"][1]
                                .as_object_mut()
                                .unwrap()
                                .shift_remove("thoughtSignature"),
                        )
                    },
                    "without a signature",
                ),
                (
                    |body| body["contents"][1]["parts"][1]["thoughtSignature"] = json!("QUJD"),
                    "not of this part",
                ),
                (
                    |body| body["contents"][1]["parts"][2]["thoughtSignature"] = json!("cw=="),
                    "a later call",
                ),
                (
                    |body| body["contents"][1]["parts"][2]["functionCall"]["args"] = json!([]),
                    "no object",
                ),
                (
                    |body| drop(body["contents"][2]["parts"].as_array_mut().unwrap().pop()),
                    "responds to",
                ),
                (
                    |body| body["contents"][2]["parts"][1] = json!({"text": "x"}),
                    "words among",
                ),
                (
                    |body| {
                        body["contents"][2]["parts"][0]["functionResponse"]["response"] = json!("x")
                    },
                    "no object",
                ),
                (
                    |body| drop(body["contents"].as_array_mut().unwrap().pop()),
                    "last word",
                ),
            ],
        );
        let other = request(
            "/v1beta/models/gemini-3-flash:generateContent",
            &headers,
            body,
        );
        assert!(
            Gemini
                .check(&other, &given)
                .is_err_and(|rule| rule.contains("of another model"))
        );
        let stream = request(
            "/v1beta/models/gemini-3-pro:streamGenerateContent",
            &headers,
            json!({}),
        );
        assert!(
            Gemini
                .check(&stream, &[])
                .is_err_and(|rule| rule.contains("event stream"))
        );
    }
}
