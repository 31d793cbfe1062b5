use super::*;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::model::{Trace, Usage};
use crate::domain::step;

fn tool(name: &str, parameters: Value) -> ToolSchema {
    ToolSchema {
        name: name.to_owned(),
        description: format!("Does {name}."),
        parameters,
    }
}

fn plain() -> Value {
    json!({"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]})
}

fn rule(tool: &str, kind: ToolRuleKind) -> ToolRule {
    ToolRule {
        tool_name: tool.to_owned(),
        prompt_template: None,
        kind,
    }
}

fn turn(rules: &[ToolRule]) -> Rules {
    let tools = [tool("say", plain()), tool("look", plain())];
    let tools = schemas(&tools, rules, false);
    Rules::new(rules, &tools, &Arc::default(), true)
}

fn call(arguments: &str) -> ToolCall {
    ToolCall {
        id: "call_1".to_owned(),
        name: "look".to_owned(),
        arguments: arguments.to_owned(),
    }
}

fn answer(calls: &[ToolCall]) -> Answer {
    Answer {
        parts: vec![Part::of_text("hm")],
        calls: calls.to_vec(),
        finish: Finish::ToolCalls,
        usage: Usage::default(),
        tokens: None,
        request_id: None,
        trace: Trace::default(),
    }
}

fn thought(text: &str) -> Part {
    Part::Reasoning {
        native: false,
        reasoning: text.to_owned(),
        signature: None,
    }
}

fn called(outcome: Outcome) -> Called {
    Called {
        tool: "look".to_owned(),
        outcome,
    }
}

// ── schemas

fn keys(schema: &ToolSchema) -> (Vec<&str>, Value) {
    let properties = schema.parameters["properties"].as_object().unwrap();
    let keys = properties.keys().map(String::as_str).collect();
    (keys, schema.parameters["required"].clone())
}

#[test]
fn every_tool_but_a_terminal_one_can_ask_for_another_step() {
    let rules = [
        rule("say", ToolRuleKind::ExitLoop),
        rule("look", ToolRuleKind::ContinueLoop),
    ];
    let tools = [tool("say", plain()), tool("look", plain())];
    let offered = schemas(&tools, &rules, false);
    assert_eq!(offered[0], tools[0]);
    assert_eq!(
        keys(&offered[1]),
        (
            vec!["label", "request_heartbeat"],
            json!(["label", "request_heartbeat"])
        )
    );
    let heartbeat = &offered[1].parameters["properties"]["request_heartbeat"];
    assert_eq!(heartbeat["type"], "boolean");
}

#[test]
fn a_model_that_thinks_in_arguments_writes_its_thought_first() {
    let rules = [rule("say", ToolRuleKind::ExitLoop)];
    let offered = schemas(&[tool("say", plain()), tool("look", plain())], &rules, true);
    assert_eq!(
        keys(&offered[0]),
        (vec!["thinking", "label"], json!(["thinking", "label"]))
    );
    let all = vec!["thinking", "label", "request_heartbeat"];
    assert_eq!(keys(&offered[1]), (all.clone(), json!(all)));
    assert_eq!(
        offered[0].parameters["properties"]["thinking"]["type"],
        "string"
    );
}

#[test]
fn a_schema_that_says_little_is_filled_in_and_our_names_are_ours() {
    let own = json!({
        "properties": {"request_heartbeat": {"type": "string"}, "thinking": {"type": "integer"}},
        "required": ["thinking", "request_heartbeat"],
        "additionalProperties": false,
    });
    let names = vec!["thinking", "request_heartbeat"];
    for parameters in [Value::Null, json!({}), own] {
        let offered = schemas(&[tool("look", parameters.clone())], &[], true);
        assert_eq!(
            keys(&offered[0]),
            (names.clone(), json!(names)),
            "{parameters}"
        );
        assert_eq!(offered[0].parameters["type"], "object");
        assert_eq!(
            offered[0].parameters.get("additionalProperties"),
            parameters.get("additionalProperties")
        );
    }
}

// ── answers

fn read(arguments: &str) -> (Option<Value>, bool, Option<String>) {
    let (read, thought) = Call::read(&call(arguments));
    let arguments = read.planned.arguments.ok().map(Value::Object);
    (arguments, read.asks, thought)
}

#[test]
fn our_arguments_are_taken_out_however_they_are_written() {
    for (written, asks) in [
        ("true", true),
        ("false", false),
        (r#""true""#, true),
        (r#"" True ""#, true),
        (r#""yes""#, true),
        (r#""false""#, false),
        (r#""""#, false),
        ("1", true),
        ("0", false),
        ("null", false),
        ("[true]", false),
    ] {
        let arguments = format!(r#"{{"a": 1, "request_heartbeat": {written}, "b": 2}}"#);
        assert_eq!(
            read(&arguments),
            (Some(json!({"a": 1, "b": 2})), asks, None),
            "{written}"
        );
    }
    for (written, thought) in [
        (r#""so\n""#, Some("so\n")),
        (r#""""#, Some("")),
        ("null", None),
        (r#"{"x": 1}"#, Some(r#"{"x":1}"#)),
    ] {
        let arguments = format!(r#"{{"thinking": {written}, "a": 1}}"#);
        let thought = thought.map(str::to_owned);
        assert_eq!(
            read(&arguments),
            (Some(json!({"a": 1})), false, thought),
            "{written}"
        );
    }
}

#[test]
fn arguments_are_read_with_patience() {
    for (written, expected) in [
        ("", Some(json!({}))),
        (" \n", Some(json!({}))),
        (r#"{"a": 1}{"a": 2}"#, Some(json!({"a": 1}))),
        (r#"{"a": "}{"}"#, Some(json!({"a": "}{"}))),
        (r#""{\"a\": 1}""#, Some(json!({"a": 1}))),
        (r#"{"a": 1} and so on"#, None),
        (r#"{"a": "#, None),
        ("[1]", None),
        (r#""""#, None),
    ] {
        assert_eq!(read(written).0, expected, "{written}");
    }
}

#[test]
fn unreadable_arguments_are_a_call_that_is_not_run_and_goes_on() {
    let (read, _) = Call::read(&call(r#"{"a": "#));
    let failure = read.planned.arguments.clone().unwrap_err();
    assert_eq!(failure.name, "JSONDecodeError");
    let result = crate::domain::tool::ToolResult::failure("look", failure);
    let end = step::pack("call_1", &result, None, clock::now(), "UTC");
    let called = Called::of("look", &end);
    assert_eq!(called.outcome, Outcome::NotRun);
    assert!(decide(&turn(&[]), &called, read.asks, false).goes_on());
    assert_eq!(read.stored(true).arguments, r#"{"request_heartbeat":true}"#);
}

#[test]
fn exactly_the_first_call_is_used_and_its_thought_becomes_a_part() {
    let written = r#"{"thinking": "so", "label": "human", "request_heartbeat": "true"}"#;
    let mut both = answer(&[call(written), call("{}")]);
    let Next::Call(read) = next(&mut both, &ToolChoice::Must, true) else {
        panic!("{both:?}")
    };
    assert!(read.asks);
    assert_eq!(both.parts, [Part::of_text("hm"), thought("so")]);
    let stored = r#"{"label":"human","request_heartbeat":true}"#;
    assert_eq!(both.calls, [call(stored)]);
    assert_eq!(
        read.stored(false).arguments,
        stored.replace("true", "false")
    );
    assert_eq!(Call::read(&both.calls[0]), (read, None));

    let mut elsewhere = answer(&[call(written)]);
    next(&mut elsewhere, &ToolChoice::Must, false);
    assert_eq!(elsewhere.parts, [Part::of_text("hm")]);
}

#[test]
fn a_call_without_an_id_is_given_one() {
    let mut nameless = answer(&[ToolCall {
        id: String::new(),
        ..call("{}")
    }]);
    let Next::Call(read) = next(&mut nameless, &ToolChoice::Must, false) else {
        panic!("{nameless:?}")
    };
    assert!(read.planned.id.starts_with("call_"));
    assert_eq!(read.planned.id, nameless.calls[0].id);
}

#[test]
fn an_answer_without_a_call_is_an_end_only_for_who_was_offered_nothing() {
    for (choice, finish, reason) in [
        (ToolChoice::Must, Finish::Stop, StopReason::NoToolCall),
        (ToolChoice::Must, Finish::Length, StopReason::NoToolCall),
        (
            ToolChoice::Named("say".to_owned()),
            Finish::Stop,
            StopReason::NoToolCall,
        ),
        (ToolChoice::None, Finish::Stop, StopReason::EndTurn),
        (
            ToolChoice::None,
            Finish::Length,
            StopReason::MaxTokensExceeded,
        ),
    ] {
        let mut silent = Answer {
            finish,
            ..answer(&[])
        };
        assert_eq!(
            next(&mut silent, &choice, true),
            Next::Stop(reason),
            "{choice:?}"
        );
    }
}

#[test]
fn what_rules_fix_goes_before_what_the_model_wrote() {
    let first = |args| rule("look", ToolRuleKind::RunFirst { args: Some(args) });
    let (mut read, _) = Call::read(&call(r#"{"label": "a", "request_heartbeat": false}"#));
    let fixed = turn(&[first(json!({"label": "b", "request_heartbeat": true}))]);
    read.fill(&fixed).unwrap();
    assert_eq!(
        read.planned.arguments.clone().unwrap(),
        *json!({"label": "b"}).as_object().unwrap()
    );
    assert!(read.asks);
    let misfit = turn(&[first(json!({"nothing": 1}))]);
    assert!(read.clone().fill(&misfit).is_err());
}

// ── decisions

#[test]
fn each_way_to_go_on_has_its_reason_and_only_the_ordinary_ones_name_the_argument() {
    let ran = || Outcome::Ran(Value::from("ok"));
    let failed = || Outcome::Failed(Value::from("no"));
    let go_on = [rule("look", ToolRuleKind::ContinueLoop)];
    let owes = [rule("say", ToolRuleKind::RequiredBeforeExit)];
    let none: &[ToolRule] = &[];
    let (asks, literal) = (true, true);
    for (case, rules, outcome, asks, literal, word) in [
        ("asked", none, ran(), asks, literal, "look"),
        (
            "the client's answer",
            none,
            Outcome::Returned(Value::Null),
            asks,
            literal,
            "look",
        ),
        ("the rules go on", &go_on, ran(), !asks, literal, "rules"),
        ("failed", none, failed(), asks, !literal, "failed"),
        (
            "failed before a rule that goes on",
            &go_on,
            failed(),
            !asks,
            !literal,
            "failed",
        ),
        (
            "refused",
            none,
            Outcome::NotRun,
            !asks,
            !literal,
            "not carried out",
        ),
        ("denied", none, Outcome::Denied, !asks, !literal, "denied"),
        ("owes", &owes, ran(), !asks, !literal, "call say."),
    ] {
        let decision = decide(&turn(rules), &called(outcome), asks, false);
        let Decision::GoesOn { reason } = decision else {
            panic!("{case}: {decision:?}")
        };
        assert_eq!(
            reason.contains("request_heartbeat=true"),
            literal,
            "{case}: {reason}"
        );
        assert!(reason.contains(word), "{case}: {reason}");
    }
}

#[test]
fn an_end_has_no_reason_to_go_on() {
    let ran = || Outcome::Ran(Value::from("ok"));
    let terminal = [rule("look", ToolRuleKind::ExitLoop)];
    let owes = [rule("say", ToolRuleKind::RequiredBeforeExit)];
    let (asks, last) = (true, true);
    for (case, rules, asks, last, reason) in [
        ("not asked", &[][..], !asks, !last, StopReason::EndTurn),
        ("terminal", &terminal, !asks, !last, StopReason::EndTurn),
        (
            "terminal, and asked",
            &terminal,
            asks,
            !last,
            StopReason::ToolRule,
        ),
        ("the last step", &[], asks, last, StopReason::MaxSteps),
        (
            "the last step, owing",
            &owes,
            !asks,
            last,
            StopReason::MaxSteps,
        ),
    ] {
        let decision = decide(&turn(rules), &called(ran()), asks, last);
        assert_eq!(decision, Decision::Ends(reason), "{case}");
    }
    let misfilled = decide(&turn(&[]), &called(Outcome::Misfilled), asks, !last);
    assert_eq!(misfilled, Decision::Ends(StopReason::InvalidToolCall));
}

#[test]
fn a_heartbeat_is_a_user_message_with_an_envelope_of_three_keys() {
    let time: Timestamp = "2026-11-22T09:54:50Z".parse().unwrap();
    let mut empty = Message::new(AgentId::new(), Role::Assistant, time);
    empty.model = Some("m".to_owned());
    let heartbeat = message(empty, "say \"a\"", time, "Europe/Paris");
    assert_eq!(
        heartbeat.text(),
        r#"{"type":"heartbeat","reason":"say \"a\"","time":"2026-11-22 10:54:50 AM CET+0100"}"#
    );
    assert_eq!((heartbeat.role, &heartbeat.model), (Role::User, &None));
    assert_eq!(heartbeat.otid, Some(heartbeat.id.piece_otid(0)));
}

// ── what a model reads again

fn stored(content: Vec<Part>, calls: Vec<ToolCall>) -> Arc<Message> {
    let mut message = Message::new(AgentId::new(), Role::Assistant, clock::now());
    message.id = MessageId::new();
    message.content = content;
    message.tool_calls = calls;
    Arc::new(message)
}

#[test]
fn a_model_finds_its_thoughts_where_it_writes_them() {
    let text = || Part::of_text("hm");
    let spoken = stored(
        vec![text(), thought("so")],
        vec![call(r#"{"a":1,"request_heartbeat":true}"#)],
    );
    let arguments = recalled(&spoken, true);
    assert_eq!(arguments.content, [text()]);
    assert_eq!(
        arguments.tool_calls[0].arguments,
        r#"{"thinking":"so","a":1,"request_heartbeat":true}"#
    );
    let texts = recalled(&spoken, false);
    assert_eq!(texts.content, [text(), Part::of_text("so")]);
    assert_eq!(texts.tool_calls, spoken.tool_calls);
    let silent = stored(vec![thought("so")], Vec::new());
    assert_eq!(recalled(&silent, true).content, [Part::of_text("so")]);
    let other = stored(vec![text()], vec![call("{}")]);
    assert!(Arc::ptr_eq(&recalled(&other, true), &other));
}
