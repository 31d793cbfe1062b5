use super::*;
use crate::domain::id::AgentId;
use crate::domain::message::{ToolCall, ToolStatus};
use crate::egress::Egress;
use crate::tools::sandbox::{AgentView, Sandbox};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// An agent in Paris with these messages, oldest first.
struct Remembering(Vec<Message>);

impl Host for Remembering {
    fn agent_id(&self) -> AgentId {
        AgentId::new()
    }

    fn timezone(&self) -> &str {
        "Europe/Paris"
    }

    fn search_messages<'a>(
        &'a self,
        keep: Arc<dyn Fn(&Message) -> bool + Send + Sync>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, ToolFailure>> {
        let found = self
            .0
            .iter()
            .rev()
            .filter(|message| keep(message))
            .take(limit)
            .cloned()
            .collect();
        Box::pin(async { Ok(found) })
    }

    fn tell<'a>(
        &'a self,
        _to: AgentId,
        _text: &'a str,
        _wait: bool,
    ) -> BoxFuture<'a, Result<Vec<String>, ToolFailure>> {
        unreachable!("nobody is told")
    }

    fn tagged<'a>(
        &'a self,
        _all: &'a [String],
        _some: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<AgentId>, ToolFailure>> {
        unreachable!("nobody is told")
    }

    fn sandbox(&self) -> &Sandbox {
        unreachable!("nothing is run")
    }

    fn egress(&self) -> &Egress {
        unreachable!("nothing is fetched")
    }

    fn sources(&self) -> Vec<String> {
        Vec::new()
    }

    fn view(&self) -> BoxFuture<'_, Result<AgentView, ToolFailure>> {
        unreachable!("no built-in tool asks")
    }
}

fn message(role: Role, text: &str, time: &str) -> Message {
    let mut message = Message::new(AgentId::new(), role, time.parse().unwrap());
    message.content = vec![Part::of_text(text)];
    message
}

fn calling(tool: &str, arguments: Value, thought: &str, time: &str) -> Message {
    let mut message = message(Role::Assistant, thought, time);
    message.tool_calls = vec![ToolCall {
        id: "1".into(),
        name: tool.into(),
        arguments: arguments.to_string(),
    }];
    message
}

fn returning(tool: &str, outputs: &[Value], time: &str) -> Message {
    let mut message = message(Role::Tool, "", time);
    message.name = Some(tool.into());
    let pack = |output: &Value| ToolReturn {
        tool_call_id: "1".into(),
        status: ToolStatus::Success,
        output: ToolOutput::Packed(
            json!({"status": "OK", "message": output, "time": ""}).to_string(),
        ),
        stdout: None,
        stderr: None,
    };
    message.tool_returns = outputs.iter().map(pack).collect();
    message
}

fn history() -> Vec<Message> {
    let earlier = json!({"message": "Found 1 message.", "results": [{"content": "tea"}]});
    vec![
        message(Role::System, "tea for the system", "2026-11-20T08:00:00Z"),
        message(Role::User, "I like TEA", "2026-11-20T09:00:00Z"),
        calling(
            "send_message",
            json!({"message": "Noted."}),
            "tea, then",
            "2026-11-20T09:01:00Z",
        ),
        message(
            Role::User,
            r#"{"type": "heartbeat", "reason": "tea"}"#,
            "2026-11-20T09:02:00Z",
        ),
        message(
            Role::User,
            r#"{"event": "tea", "role": "robot"}"#,
            "2026-11-21T22:59:59Z",
        ),
        calling(
            "conversation_search",
            json!({"query": "tea"}),
            "where was the tea",
            "2026-11-21T23:00:00Z",
        ),
        returning(
            "conversation_search",
            std::slice::from_ref(&earlier),
            "2026-11-21T23:00:01Z",
        ),
        returning(
            "shop",
            &[json!("green tea"), earlier, json!({"tea": 2})],
            "2026-11-21T23:00:02Z",
        ),
        message(Role::Assistant, "no coffee", "2026-11-22T09:00:00Z"),
        message(Role::Summary, "tea was drunk", "2026-11-22T09:01:00Z"),
    ]
}

fn search(arguments: Value) -> ToolResult {
    let Value::Object(arguments) = arguments else {
        panic!("a test passes an object")
    };
    match crate::tools::Tool::start(&tool(), arguments, Arc::new(Remembering(history()))) {
        Work::Wait(work) => work.now_or_never().unwrap(),
        Work::Done(result) => result,
        Work::Edit(_) => panic!("a search edits nothing"),
    }
}

fn found(arguments: Value) -> Vec<Value> {
    let answer = search(arguments).outcome.unwrap();
    answer["results"].as_array().unwrap().clone()
}

/// The times of what was found, to the minute and in the agent's zone.
fn times(arguments: Value) -> Vec<String> {
    found(arguments)
        .iter()
        .map(|result| result["timestamp"].as_str().unwrap()[5..16].to_owned())
        .collect()
}

#[test]
fn a_query_finds_text_in_any_case_newest_first_and_hides_what_is_not_conversation() {
    assert_eq!(
        times(json!({"query": "Tea"})),
        ["11-21T23:59", "11-20T10:01", "11-20T10:00"]
    );
    assert_eq!(
        times(json!({"query": "tea", "roles": ["user"], "limit": 1})),
        ["11-21T23:59"]
    );
    assert_eq!(times(json!({"roles": []})).len(), 4);
}

#[test]
fn results_show_time_role_relevance_and_words() {
    let mut results = found(json!({"query": "tea"}));
    for result in &mut results {
        assert!(result.as_object_mut().unwrap().remove("time_ago").is_some());
    }
    let relevance = |score: f64, rank: u32| json!({"rrf_score": score, "vector_rank": null, "fts_rank": rank, "search_mode": "fts"});
    assert_eq!(
        results,
        [
            json!({"timestamp": "2026-11-21T23:59:59+01:00", "role": "user", "relevance": relevance(1.0, 1), "event": "tea"}),
            json!({"timestamp": "2026-11-20T10:01:00+01:00", "role": "assistant", "relevance": relevance(0.5, 2), "thinking": "tea, then", "content": "Noted."}),
            json!({"timestamp": "2026-11-20T10:00:00+01:00", "role": "user", "relevance": relevance(1.0 / 3.0, 3), "content": "I like TEA"}),
        ]
    );
}

#[test]
fn tool_returns_are_found_when_asked_for_but_never_those_of_searches() {
    let results = found(json!({"query": "tea", "roles": ["tool"]}));
    let contents: Vec<&Value> = results.iter().map(|result| &result["content"]).collect();
    assert_eq!(contents, [&json!("green tea\n{\"tea\":2}")]);
}

#[test]
fn dates_are_those_of_the_agents_zone_and_an_end_date_includes_its_day() {
    assert_eq!(
        times(json!({"end_date": "2026-11-20"})),
        ["11-20T10:01", "11-20T10:00"]
    );
    assert_eq!(
        times(json!({"start_date": "2026-11-21", "end_date": "2026-11-21"})),
        ["11-21T23:59"]
    );
    assert_eq!(
        times(json!({"end_date": "2026-11-20T00:00:00+01:00"})),
        ["11-20T10:01", "11-20T10:00"]
    );
    assert_eq!(
        times(json!({"end_date": "2026-11-20T10:00"})),
        ["11-20T10:00"]
    );
    assert_eq!(
        times(json!({"start_date": "2026-11-20 10:01", "end_date": "2026-11-20T09:01:00Z"})),
        ["11-20T10:01"]
    );
}

#[test]
fn bad_arguments_are_error_returns() {
    for (arguments, expected) in [
        (
            json!({"start_date": "last week"}),
            "start_date is not an ISO date or date-time",
        ),
        (
            json!({"end_date": "2026-13-01"}),
            "end_date is not an ISO date or date-time",
        ),
        (json!({"limit": 0}), "limit must be from 1 to 100, not 0"),
        (
            json!({"limit": 101}),
            "limit must be from 1 to 100, not 101",
        ),
        (
            json!({"roles": ["system"]}),
            "argument 'roles[0]' is 'system'",
        ),
    ] {
        let failure = search(arguments).outcome.unwrap_err();
        assert_eq!(failure.name, "ValueError");
        assert!(failure.message.starts_with(expected), "{failure}");
    }
}

#[test]
fn nothing_found_is_said_in_the_words_that_programs_know() {
    let answer = search(json!({"query": "cocoa"})).outcome.unwrap();
    assert_eq!(
        answer,
        json!({"message": "No results found.", "results": []})
    );
}

#[test]
fn ages_are_told_in_one_unit() {
    let ago = |seconds: i64| {
        let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        super::ago(now - jiff::SignedDuration::from_secs(seconds), now)
    };
    let ages = [-5, 42, 60, 3_599, 3_600, 86_399, 86_400, 172_800].map(ago);
    assert_eq!(
        ages,
        [
            "0s ago", "42s ago", "1m ago", "59m ago", "1h ago", "23h ago", "1d ago", "2d ago"
        ]
    );
}
