use super::*;
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::{Role, ToolCall};
use crate::domain::step::{self, PlannedCall};
use crate::domain::tool::{ChildArgs, ToolResult};
use proptest::prelude::*;
use serde_json::json;

pub(super) fn rule(tool: &str, kind: ToolRuleKind) -> ToolRule {
    ToolRule {
        tool_name: tool.to_owned(),
        prompt_template: None,
        kind,
    }
}

pub(super) fn texts(names: &str) -> Vec<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

pub(super) fn first(tool: &str) -> ToolRule {
    rule(tool, ToolRuleKind::RunFirst { args: None })
}

pub(super) fn first_with(tool: &str, args: Value) -> ToolRule {
    rule(tool, ToolRuleKind::RunFirst { args: Some(args) })
}

pub(super) fn children(tool: &str, names: &str) -> ToolRule {
    let kind = ToolRuleKind::ConstrainChildTools {
        children: texts(names),
        child_arg_nodes: None,
    };
    rule(tool, kind)
}

pub(super) fn child_with(tool: &str, child: &str, args: Value) -> ToolRule {
    let node = ChildArgs {
        name: child.to_owned(),
        args: Some(args),
    };
    let kind = ToolRuleKind::ConstrainChildTools {
        children: texts(child),
        child_arg_nodes: Some(vec![node]),
    };
    rule(tool, kind)
}

pub(super) fn parent(tool: &str, names: &str) -> ToolRule {
    let kind = ToolRuleKind::ParentLastTool {
        children: texts(names),
    };
    rule(tool, kind)
}

pub(super) fn cases(
    tool: &str,
    mapping: &[(&str, &str)],
    default: Option<&str>,
    strict: bool,
) -> ToolRule {
    let kind = ToolRuleKind::Conditional {
        child_output_mapping: mapping
            .iter()
            .map(|(output, child)| ((*output).to_owned(), (*child).to_owned()))
            .collect(),
        default_child: default.map(str::to_owned),
        require_output_mapping: strict,
    };
    rule(tool, kind)
}

pub(super) fn most(tool: &str, max_count_limit: u64) -> ToolRule {
    rule(tool, ToolRuleKind::MaxCountPerStep { max_count_limit })
}

pub(super) fn terminal(tool: &str) -> ToolRule {
    rule(tool, ToolRuleKind::ExitLoop)
}

pub(super) fn required(tool: &str) -> ToolRule {
    rule(tool, ToolRuleKind::RequiredBeforeExit)
}

pub(super) fn gate(tool: &str) -> ToolRule {
    rule(tool, ToolRuleKind::RequiresApproval)
}

fn schemas(names: &str) -> Arc<[ToolSchema]> {
    let schema = |name: &str| ToolSchema {
        name: name.to_owned(),
        description: String::new(),
        parameters: json!({"type": "object", "properties": {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "mode": {"enum": ["fast", "slow", 3]},
            "fixed": {"const": 1},
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "one": {"oneOf": [{"type": "boolean"}, {"type": "array"}]},
            "either": {"type": ["number", "object"]},
            "free": {},
        }}),
    };
    names.split_whitespace().map(schema).collect()
}

/// A turn of an agent with the tools a, b, c, d.
fn turn(rules: &[ToolRule]) -> Rules {
    Rules::new(rules, &schemas("a b c d"), &Arc::default(), false)
}

fn ran(tool: &str, output: impl Into<Value>) -> Called {
    Called {
        tool: tool.to_owned(),
        outcome: Outcome::Ran(output.into()),
    }
}

fn not(tool: &str, outcome: Outcome) -> Called {
    Called {
        tool: tool.to_owned(),
        outcome,
    }
}

/// The same after these calls, which all ran and said nothing.
fn after(rules: &[ToolRule], calls: &str) -> Rules {
    let mut turn = turn(rules);
    for tool in calls.split_whitespace() {
        turn.record(&[ran(tool, "")]);
    }
    turn
}

fn names(offer: &Offer) -> String {
    let names: Vec<&str> = offer.tools.iter().map(|tool| tool.name.as_str()).collect();
    names.join(" ")
}

fn offered(turn: &Rules) -> (String, ToolChoice) {
    let offer = turn.offer();
    (names(&offer), offer.choice)
}

fn must(tool: &str) -> ToolChoice {
    ToolChoice::Named(tool.to_owned())
}

#[test]
fn the_rules_say_what_is_offered_and_whether_it_has_to_be_called() {
    use ToolChoice::{Free, Must};
    let nothing = ToolChoice::None;
    let table: Vec<(&str, Vec<ToolRule>, &str, &str, ToolChoice)> = vec![
        ("no rules", vec![], "", "a b c d", Free),
        ("no rules, later", vec![], "a b", "a b c d", Free),
        // run_first
        ("one first tool", vec![first("c")], "", "c", must("c")),
        (
            "two first tools, in the agent's order",
            vec![first("c"), first("a")],
            "",
            "a c",
            Must,
        ),
        (
            "after the first tool all are free",
            vec![first("c")],
            "c",
            "a b c d",
            Free,
        ),
        (
            "a first tool that is not attached demands nothing",
            vec![first("x")],
            "",
            "a b c d",
            Free,
        ),
        (
            "one of two is not attached",
            vec![first("x"), first("b")],
            "",
            "b",
            must("b"),
        ),
        (
            "at first other rules wait",
            vec![first("b"), parent("a", "b"), most("b", 1)],
            "",
            "b",
            must("b"),
        ),
        // constrain_child_tools
        (
            "children wait for their parent",
            vec![children("a", "b c")],
            "",
            "a b c d",
            Free,
        ),
        (
            "then they are the only ones",
            vec![children("a", "c b")],
            "a",
            "b c",
            Must,
        ),
        (
            "a single child is named",
            vec![children("a", "c")],
            "a",
            "c",
            must("c"),
        ),
        (
            "after the child all are free",
            vec![children("a", "c")],
            "a c",
            "a b c d",
            Free,
        ),
        (
            "a child that is not attached is not offered",
            vec![children("a", "b x")],
            "a",
            "b",
            must("b"),
        ),
        (
            "no child is attached: words",
            vec![children("a", "x y")],
            "a",
            "",
            nothing.clone(),
        ),
        (
            "two rules on one parent: what both allow",
            vec![children("a", "b c"), children("a", "c d")],
            "a",
            "c",
            must("c"),
        ),
        (
            "a tool may be its own child",
            vec![children("a", "a b")],
            "a a",
            "a b",
            Must,
        ),
        // parent_last_tool
        (
            "children are hidden without their parent",
            vec![parent("a", "b")],
            "",
            "a c d",
            Free,
        ),
        (
            "right after it there are only they",
            vec![parent("a", "c b")],
            "a",
            "b c",
            Must,
        ),
        (
            "one step later they are hidden again",
            vec![parent("a", "b")],
            "a b",
            "a c d",
            Free,
        ),
        (
            "another tool in between hides them",
            vec![parent("a", "b")],
            "a c",
            "a c d",
            Free,
        ),
        (
            "a parent that is not attached keeps them hidden",
            vec![parent("x", "b")],
            "",
            "a c d",
            Free,
        ),
        // max_count_per_step
        (
            "below the count",
            vec![most("a", 2)],
            "a b",
            "a b c d",
            Free,
        ),
        (
            "at the count it is hidden",
            vec![most("a", 2)],
            "a b a",
            "b c d",
            Free,
        ),
        (
            "the lower of two counts",
            vec![most("a", 3), most("a", 1)],
            "a",
            "b c d",
            Free,
        ),
        (
            "a count forces nothing",
            vec![most("a", 1), most("b", 1), most("c", 1)],
            "a b c",
            "d",
            Free,
        ),
        (
            "all counts are used up",
            vec![most("a", 1), most("b", 1), most("c", 1), most("d", 1)],
            "a b c d",
            "",
            nothing.clone(),
        ),
        (
            "the only child is used up",
            vec![children("a", "b"), most("b", 1)],
            "b a",
            "",
            nothing,
        ),
        (
            "one of two children is used up",
            vec![children("a", "b c"), most("b", 1)],
            "b a",
            "c",
            must("c"),
        ),
        // those that hide nothing
        (
            "rules that hide nothing",
            vec![
                terminal("a"),
                required("b"),
                gate("c"),
                rule("d", ToolRuleKind::ContinueLoop),
            ],
            "c",
            "a b c d",
            Free,
        ),
    ];
    for (case, rules, calls, expected, choice) in table {
        assert_eq!(
            offered(&after(&rules, calls)),
            (expected.to_owned(), choice),
            "{case}"
        );
    }
}

#[test]
fn the_output_of_a_tool_decides_what_follows_it() {
    let mapping: &[(&str, &str)] = &[
        ("true", "b"),
        ("3", "c"),
        ("2.5", "d"),
        ("yes", "b"),
        ("{\"a\":1}", "c"),
        ("None", "d"),
    ];
    let table: Vec<(Value, &str)> = vec![
        (json!("yes"), "b"),
        (json!("Yes"), "a"),
        (json!("yes "), "a"),
        (json!("true"), "b"),
        (json!("True"), "b"),
        (json!(true), "b"),
        (json!("False"), "a"),
        (json!("3"), "c"),
        (json!(3), "c"),
        (json!("3.0"), "c"),
        (json!(" 3 "), "c"),
        (json!("2.50"), "d"),
        (json!("03"), "a"),
        (json!({"a": 1}), "c"),
        (json!("None"), "d"),
        (json!(""), "a"),
    ];
    for (output, expected) in table {
        let mut turn = turn(&[cases("a", mapping, Some("a"), false)]);
        turn.record(&[ran("a", output.clone())]);
        assert_eq!(
            offered(&turn),
            (expected.to_owned(), must(expected)),
            "{output}"
        );
    }
}

#[test]
fn an_output_that_is_not_mapped_takes_the_default_or_all_or_nothing() {
    let yes = [("yes", "b")];
    let after = |default, strict| {
        let mut turn = turn(&[cases("a", &yes, default, strict)]);
        turn.record(&[ran("a", "no")]);
        offered(&turn)
    };
    assert_eq!(after(Some("c"), false), ("c".to_owned(), must("c")));
    assert_eq!(after(None, false), ("a b c d".to_owned(), ToolChoice::Must));
    assert_eq!(after(None, true), (String::new(), ToolChoice::None));
    assert_eq!(after(Some("c"), true), (String::new(), ToolChoice::None));
}

#[test]
fn a_key_that_is_written_like_the_output_goes_before_one_that_means_the_same() {
    let mut turn = turn(&[cases("a", &[("1.0", "b"), ("1", "c")], None, false)]);
    turn.record(&[ran("a", "1")]);
    assert_eq!(offered(&turn).0, "c");
    turn.record(&[ran("a", "1.00")]);
    assert_eq!(offered(&turn).0, "b");
}

#[test]
fn large_numbers_are_not_rounded_onto_each_other() {
    assert!(!means("9007199254740993", "9007199254740992"));
    assert!(means("1e3", "1000"));
    assert!(!means("nan", "NaN"));
    assert!(!means("inf", "infinity"));
}

#[test]
fn only_executed_calls_count_and_each_counts_once() {
    let rules = [first("a"), most("b", 2), children("b", "c")];
    let mut turn = turn(&rules);
    turn.record(&[
        not("a", Outcome::NotRun),
        not("a", Outcome::Denied),
        not("a", Outcome::Misfilled),
    ]);
    assert_eq!(offered(&turn).0, "a", "nothing was executed");
    turn.record(&[ran("a", "")]);
    turn.record(&[ran("b", ""), not("d", Outcome::Denied)]);
    assert_eq!(offered(&turn).0, "c", "a denied call is not the last one");
    turn.record(&[ran("c", "")]);
    assert_eq!(offered(&turn).0, "a b c d", "one of two calls");
    turn.record(&[not("b", Outcome::Failed(json!("no")))]);
    turn.record(&[not("c", Outcome::Returned(json!("by the client")))]);
    assert_eq!(offered(&turn).0, "a c d", "a failed call is a call");
}

#[test]
fn a_clients_tools_come_last_hide_namesakes_and_obey_no_rule() {
    let rules = [first("a"), most("x", 1)];
    let mut turn = Rules::new(&rules, &schemas("a b c"), &schemas("x b"), false);
    assert_eq!(offered(&turn), ("a x b".to_owned(), ToolChoice::Must));
    turn.record(&[ran("a", ""), ran("x", "")]);
    assert_eq!(offered(&turn), ("a c x b".to_owned(), ToolChoice::Free));
    assert_eq!(turn.violations(["x", "b"]), [None, None]);
    let dead_end = [children("a", "nothing")];
    let mut turn = Rules::new(&dead_end, &schemas("a"), &schemas("x"), false);
    turn.record(&[ran("a", "")]);
    assert_eq!(
        offered(&turn),
        ("x".to_owned(), ToolChoice::Free),
        "no rule asks for a client's tool"
    );
}

#[test]
fn an_agent_that_always_calls_must_call_while_there_is_something_to_call() {
    let always = |rules: &[ToolRule]| Rules::new(rules, &schemas("a b"), &Arc::default(), true);
    assert_eq!(offered(&always(&[])).1, ToolChoice::Must);
    assert_eq!(offered(&always(&[first("a")])).1, must("a"));
    let mut turn = always(&[most("a", 1), most("b", 1)]);
    turn.record(&[ran("a", ""), ran("b", "")]);
    assert_eq!(offered(&turn), (String::new(), ToolChoice::None));
}

#[test]
fn what_is_offered_whole_is_not_copied() {
    let tools = schemas("a b c d");
    let turn = Rules::new(&[terminal("a")], &tools, &Arc::default(), false);
    assert!(Arc::ptr_eq(&turn.offer().tools, &tools));
}

#[test]
fn several_calls_at_once_need_rules_that_do_not_order_them() {
    assert!(turn(&[]).parallel_calls());
    assert!(turn(&[gate("a"), gate("b")]).parallel_calls());
    for other in [
        first("a"),
        terminal("a"),
        most("a", 2),
        required("a"),
        rule("a", ToolRuleKind::ContinueLoop),
    ] {
        assert!(!turn(&[gate("a"), other]).parallel_calls());
    }
}

#[test]
fn a_refused_call_is_told_why_and_what_else_there_is() {
    let table: Vec<(Vec<ToolRule>, &str, &str, &str)> = vec![
        (
            vec![],
            "",
            "x",
            "there is no tool 'x' here. what can be called now: a, b, c, d",
        ),
        (
            vec![first("c")],
            "",
            "a",
            "'a' cannot be called now: the turn has to begin with c. what can be called now: c",
        ),
        (
            vec![children("a", "b c")],
            "a",
            "d",
            "'d' cannot be called now: right after a comes one of: b, c. what can be called now: b, c",
        ),
        (
            vec![parent("a", "b")],
            "",
            "b",
            "'b' cannot be called now: it may only come right after a. what can be called now: a, c, d",
        ),
        (
            vec![parent("a", "b")],
            "a",
            "c",
            "'c' cannot be called now: right after a comes one of: b. what can be called now: b",
        ),
        (
            vec![cases("a", &[("", "b")], None, false)],
            "a",
            "c",
            "'c' cannot be called now: the output of a decides what comes right after it. what can be called now: b",
        ),
        (
            vec![most("a", 1)],
            "a",
            "a",
            "'a' cannot be called now: calls of a in this turn: 1 of at most 1. what can be called now: b, c, d",
        ),
        (
            vec![children("a", "b"), most("b", 1)],
            "b a",
            "b",
            "'b' cannot be called now: calls of b in this turn: 1 of at most 1. no tool can be called now, answer in words",
        ),
        (
            vec![most("a", 1), parent("b", "a")],
            "a",
            "a",
            "'a' cannot be called now: calls of a in this turn: 1 of at most 1; it may only come right after b. what can be called now: b, c, d",
        ),
    ];
    for (rules, calls, tool, expected) in table {
        let failure = after(&rules, calls).violations([tool]).remove(0).unwrap();
        assert_eq!(failure.name, "ToolConstraintError");
        assert_eq!(failure.message, format!("{CONSTRAINT} {expected}"));
    }
}

#[test]
fn the_calls_of_one_answer_are_held_against_one_offer_and_counted_together() {
    let refused = |rules: &[ToolRule], calls: &str, answer: &str| -> Vec<bool> {
        let turn = after(rules, calls);
        let verdicts = turn.violations(answer.split_whitespace());
        verdicts.iter().map(Option::is_some).collect()
    };
    assert_eq!(refused(&[], "", "a b a x"), [false, false, false, true]);
    assert_eq!(refused(&[most("a", 2)], "a", "a b a"), [false, false, true]);
    assert_eq!(
        refused(&[first("a")], "", "a b"),
        [false, true],
        "b was not offered"
    );
    assert_eq!(
        refused(&[parent("a", "b c")], "a", "b c a"),
        [false, false, true]
    );
    assert_eq!(
        refused(&[parent("a", "b")], "", "b a b"),
        [true, false, true]
    );
}

fn filled(turn: &Rules, tool: &str, arguments: Value) -> Result<Value, String> {
    let Value::Object(arguments) = arguments else {
        panic!("arguments are objects")
    };
    let filled = turn.fill(tool, arguments);
    filled.map(Value::Object).map_err(|failure| failure.message)
}

#[test]
fn fixed_arguments_win_over_those_of_the_model() {
    let rules = [first_with("a", json!({"text": "ours", "count": 1}))];
    let given = json!({"text": "theirs", "free": true});
    assert_eq!(
        filled(&turn(&rules), "a", given.clone()).unwrap(),
        json!({"text": "ours", "free": true, "count": 1})
    );
    assert_eq!(
        filled(&turn(&rules), "b", given.clone()).unwrap(),
        given,
        "another tool"
    );
    assert_eq!(
        filled(&after(&rules, "b"), "a", given.clone()).unwrap(),
        given,
        "the turn has begun"
    );
    let null = [first_with("a", Value::Null)];
    assert_eq!(filled(&turn(&null), "a", given.clone()).unwrap(), given);
}

#[test]
fn a_childs_arguments_are_fixed_right_after_its_parent_and_the_last_rule_wins() {
    let rules = [
        child_with("a", "b", json!({"text": "one", "count": 1})),
        child_with("a", "b", json!({"text": "two"})),
        child_with("c", "b", json!({"text": "three"})),
    ];
    assert_eq!(filled(&turn(&rules), "b", json!({})).unwrap(), json!({}));
    assert_eq!(
        filled(&after(&rules, "a"), "b", json!({"count": 9})).unwrap(),
        json!({"count": 1, "text": "two"})
    );
    assert_eq!(
        filled(&after(&rules, "a"), "d", json!({})).unwrap(),
        json!({})
    );
    assert_eq!(
        filled(&after(&rules, "a c"), "b", json!({})).unwrap(),
        json!({"text": "three"})
    );
}

#[test]
fn a_fixed_argument_has_to_fit_its_schema() {
    let table: Vec<(&str, Value, bool)> = vec![
        ("text", json!("t"), true),
        ("text", json!(1), false),
        ("text", Value::Null, false),
        ("count", json!(1), true),
        ("count", json!(1.0), true),
        ("count", json!(1.5), false),
        ("count", json!(true), false),
        ("mode", json!("slow"), true),
        ("mode", json!(3.0), true),
        ("mode", json!("quick"), false),
        ("fixed", json!(1), true),
        ("fixed", json!(2), false),
        ("maybe", Value::Null, true),
        ("maybe", json!("t"), true),
        ("maybe", json!([]), false),
        ("one", json!([1]), true),
        ("one", json!("t"), false),
        ("either", json!({}), true),
        ("either", json!(0.5), true),
        ("either", json!("t"), false),
        ("free", json!([{}]), true),
        ("unknown", json!(1), false),
    ];
    for (argument, value, fit) in table {
        let rules = [first_with("a", json!({argument: value}))];
        let filled = filled(&turn(&rules), "a", json!({}));
        assert_eq!(filled.is_ok(), fit, "{argument} {value}: {filled:?}");
        if let Err(message) = filled {
            assert!(message.contains(&format!("'{argument}' of a")), "{message}");
        }
    }
}

#[test]
fn the_native_loop_ends_or_goes_on() {
    use StopReason::{EndTurn, InvalidToolCall};
    let owes = |names: &str| After::Owes(texts(names));
    let failed = |tool| not(tool, Outcome::Failed(json!("no")));
    let table: Vec<(&str, Vec<ToolRule>, Vec<Called>, After)> = vec![
        ("words", vec![], vec![], After::Ends(EndTurn)),
        (
            "words too early",
            vec![required("b"), required("a"), required("b")],
            vec![],
            owes("b a"),
        ),
        (
            "a required tool that is not there",
            vec![required("x")],
            vec![],
            After::Ends(EndTurn),
        ),
        ("a call", vec![], vec![ran("a", "")], After::GoesOn),
        (
            "a required call",
            vec![required("a")],
            vec![ran("a", "")],
            After::GoesOn,
        ),
        ("a failed call", vec![], vec![failed("a")], After::GoesOn),
        (
            "a refused call",
            vec![],
            vec![not("a", Outcome::NotRun)],
            After::GoesOn,
        ),
        (
            "a terminal call",
            vec![terminal("a")],
            vec![ran("a", "")],
            After::Ends(StopReason::ToolRule),
        ),
        (
            "terminal, and told to go on as well",
            vec![terminal("a"), rule("a", ToolRuleKind::ContinueLoop)],
            vec![ran("a", "")],
            After::Ends(StopReason::ToolRule),
        ),
        (
            "a terminal call that failed",
            vec![terminal("a")],
            vec![failed("a")],
            After::GoesOn,
        ),
        (
            "a terminal call that was refused",
            vec![terminal("a")],
            vec![not("a", Outcome::NotRun)],
            After::GoesOn,
        ),
        (
            "a terminal call among others",
            vec![terminal("b")],
            vec![ran("a", ""), ran("b", ""), ran("c", "")],
            After::Ends(StopReason::ToolRule),
        ),
        (
            "a terminal call too early",
            vec![terminal("a"), required("b")],
            vec![ran("a", "")],
            owes("b"),
        ),
        (
            "a terminal call that is required itself",
            vec![terminal("a"), required("a")],
            vec![ran("a", "")],
            After::Ends(StopReason::ToolRule),
        ),
        (
            "required and terminal in one answer",
            vec![terminal("a"), required("b")],
            vec![ran("a", ""), ran("b", "")],
            After::Ends(StopReason::ToolRule),
        ),
        (
            "a failed required call was a call",
            vec![terminal("a"), required("b")],
            vec![failed("b"), ran("a", "")],
            After::Ends(StopReason::ToolRule),
        ),
        (
            "a denial beside a terminal call",
            vec![terminal("a")],
            vec![not("b", Outcome::Denied), ran("a", "")],
            After::GoesOn,
        ),
        (
            "a client's return",
            vec![terminal("a")],
            vec![not("a", Outcome::Returned(json!("")))],
            After::GoesOn,
        ),
        (
            "misfilled",
            vec![],
            vec![not("a", Outcome::Misfilled)],
            After::Ends(InvalidToolCall),
        ),
        (
            "misfilled beside another",
            vec![],
            vec![not("a", Outcome::Misfilled), ran("b", "")],
            After::GoesOn,
        ),
    ];
    for (case, rules, calls, expected) in table {
        assert_eq!(turn(&rules).after(&calls), expected, "{case}");
    }
}

#[test]
fn a_decision_changes_nothing() {
    let rules = [terminal("a"), required("b")];
    let before = turn(&rules);
    let turn = before.clone();
    turn.after(&[ran("b", "")]);
    assert_eq!(turn, before);
    assert_eq!(turn.owed(), ["b"]);
}

#[test]
fn a_required_tool_that_nothing_leads_to_any_more_is_not_asked_for() {
    let used_up = [required("b"), parent("a", "b"), most("a", 1)];
    assert_eq!(turn(&used_up).owed(), ["b"], "a leads to b");
    assert_eq!(after(&used_up, "a").owed(), ["b"], "b is next");
    assert_eq!(after(&used_up, "a b").owed(), Vec::<&str>::new());
    let missed = [required("b"), parent("x", "b")];
    assert_eq!(turn(&missed).owed(), Vec::<&str>::new());
    let words_only = [required("b"), children("a", "x")];
    assert_eq!(after(&words_only, "a").owed(), Vec::<&str>::new());
    let later = [
        required("d"),
        children("a", "b"),
        children("b", "c"),
        parent("c", "d"),
    ];
    assert_eq!(after(&later, "a").owed(), ["d"]);
}

#[test]
fn the_heartbeat_loop_ends_or_goes_on() {
    use StopReason::{EndTurn, InvalidToolCall, MaxSteps};
    let owes = |names: &str| After::Owes(texts(names));
    let go_on = |tool| rule(tool, ToolRuleKind::ContinueLoop);
    let ok = || ran("a", "");
    let (asked, last) = (true, true);
    type Case = (&'static str, Vec<ToolRule>, Called, bool, bool, After);
    let table: Vec<Case> = vec![
        (
            "not asked",
            vec![],
            ok(),
            !asked,
            !last,
            After::Ends(EndTurn),
        ),
        ("asked", vec![], ok(), asked, !last, After::GoesOn),
        (
            "refused",
            vec![],
            not("a", Outcome::NotRun),
            !asked,
            !last,
            After::GoesOn,
        ),
        (
            "denied",
            vec![],
            not("a", Outcome::Denied),
            !asked,
            !last,
            After::GoesOn,
        ),
        (
            "misfilled",
            vec![],
            not("a", Outcome::Misfilled),
            asked,
            !last,
            After::Ends(InvalidToolCall),
        ),
        (
            "terminal",
            vec![terminal("a")],
            ok(),
            !asked,
            !last,
            After::Ends(EndTurn),
        ),
        (
            "terminal, and asked",
            vec![terminal("a"), go_on("a")],
            ok(),
            asked,
            !last,
            After::Ends(StopReason::ToolRule),
        ),
        (
            "terminal, and failed",
            vec![terminal("a")],
            not("a", Outcome::Failed(json!("no"))),
            !asked,
            !last,
            After::GoesOn,
        ),
        (
            "failed, and not asked",
            vec![],
            not("a", Outcome::Failed(json!("no"))),
            !asked,
            !last,
            After::Ends(EndTurn),
        ),
        (
            "continues",
            vec![go_on("a")],
            ok(),
            !asked,
            !last,
            After::GoesOn,
        ),
        (
            "has children",
            vec![children("a", "b")],
            ok(),
            !asked,
            !last,
            After::GoesOn,
        ),
        (
            "has cases",
            vec![cases("a", &[("", "b")], None, false)],
            ok(),
            !asked,
            !last,
            After::GoesOn,
        ),
        (
            "a count is no child",
            vec![most("a", 3)],
            ok(),
            !asked,
            !last,
            After::Ends(EndTurn),
        ),
        (
            "a gate is no child",
            vec![gate("a")],
            ok(),
            !asked,
            !last,
            After::Ends(EndTurn),
        ),
        (
            "a required tool is uncalled",
            vec![required("b")],
            ok(),
            !asked,
            !last,
            owes("b"),
        ),
        (
            "so even after a terminal one",
            vec![terminal("a"), required("b")],
            ok(),
            asked,
            !last,
            owes("b"),
        ),
        (
            "the last step",
            vec![],
            ok(),
            asked,
            last,
            After::Ends(MaxSteps),
        ),
        (
            "the last step, owing",
            vec![required("b")],
            ok(),
            !asked,
            last,
            After::Ends(MaxSteps),
        ),
        (
            "the last step is the end anyway",
            vec![terminal("a")],
            ok(),
            asked,
            last,
            After::Ends(StopReason::ToolRule),
        ),
    ];
    for (case, rules, call, asked, last_step, expected) in table {
        let after = turn(&rules).after_heartbeat(&call, asked, last_step);
        assert_eq!(after, expected, "{case}");
    }
}

#[test]
fn a_reminder_names_what_is_owed() {
    assert!(reminder(&texts("a")).ends_with("call a."));
    assert!(reminder(&texts("a b")).ends_with("call each of: a, b."));
}

#[test]
fn approval_rules_are_looked_up_put_and_taken_away() {
    let rules = [gate("b"), terminal("a"), gate("c")];
    assert!(turn(&rules).needs_approval("b"));
    assert!(!turn(&rules).needs_approval("a"));
    assert_eq!(with_approval(&rules, "b", true), rules);
    assert_eq!(with_approval(&rules, "b", false), rules[1..]);
    assert_eq!(
        with_approval(&rules[1..], "b", true),
        [terminal("a"), gate("c"), gate("b")]
    );
}

// ── replay

fn message(role: Role) -> Message {
    Message::new(AgentId::new(), role, clock::now())
}

fn calls(role: Role, calls: &[(&str, &str)]) -> Message {
    let call = |(id, name): &(&str, &str)| ToolCall {
        id: (*id).to_owned(),
        name: (*name).to_owned(),
        arguments: "{}".to_owned(),
    };
    Message {
        tool_calls: calls.iter().map(call).collect(),
        ..message(role)
    }
}

fn returns(ends: Vec<(&str, ToolResult)>) -> Message {
    let pack =
        |(id, result): (&str, ToolResult)| step::pack(id, &result, None, clock::now(), "UTC");
    Message {
        tool_returns: ends.into_iter().map(pack).collect(),
        ..message(Role::Tool)
    }
}

fn success(value: Value) -> ToolResult {
    ToolResult::success(value)
}

fn failure(message: &str) -> ToolResult {
    ToolResult::failure("t", ToolFailure::value(message))
}

#[test]
fn a_stored_return_is_read_as_what_became_of_the_call() {
    let outcome = |result: &ToolResult| {
        let end = step::pack("1", result, None, clock::now(), "UTC");
        Called::of("a", &end).outcome
    };
    assert_eq!(outcome(&success(json!("yes"))), Outcome::Ran(json!("yes")));
    assert_eq!(outcome(&success(json!(true))), Outcome::Ran(json!("True")));
    assert_eq!(
        outcome(&success(json!({"a": 1}))),
        Outcome::Ran(json!({"a": 1}))
    );
    assert_eq!(outcome(&failure("no")), Outcome::Failed(json!("no")));
    let interrupted = ToolResult::failure("a", step::interrupted_call());
    assert!(matches!(outcome(&interrupted), Outcome::Failed(_)));
    let violation = turn(&[]).violations(["x"]).remove(0).unwrap();
    assert_eq!(
        outcome(&ToolResult::failure("x", violation)),
        Outcome::NotRun
    );
    let misfit = turn(&[first_with("a", json!({"text": 1}))]).fill("a", Map::new());
    let misfit = ToolResult::failure("a", misfit.unwrap_err());
    assert_eq!(outcome(&misfit), Outcome::NotRun);
    for garbage in ["{", "[1]", "\"text\"", "null"] {
        let call = ToolCall {
            id: "1".to_owned(),
            name: "a".to_owned(),
            arguments: garbage.to_owned(),
        };
        let unreadable = PlannedCall::read(&call).arguments.unwrap_err();
        let result = ToolResult::failure("a", unreadable);
        assert_eq!(outcome(&result), Outcome::NotRun, "{garbage}");
    }
    let parts = ToolReturn {
        tool_call_id: "1".to_owned(),
        status: ToolStatus::Success,
        output: ToolOutput::Parts(vec![Part::of_text("x"), Part::of_text("y")]),
        stdout: None,
        stderr: None,
    };
    assert_eq!(Called::of("a", &parts).outcome, Outcome::Ran(json!("x\ny")));
}

#[test]
fn a_resumed_turn_knows_what_was_called_before() {
    let rules = [
        first("a"),
        most("a", 2),
        cases("b", &[("yes", "c")], Some("d"), false),
    ];
    let mut live = turn(&rules);
    live.record(&[ran("a", "x")]);
    live.record(&[
        not("d", Outcome::NotRun),
        not("a", Outcome::Failed(json!("no"))),
        ran("b", "yes"),
    ]);
    let violation = live.violations(["x"]).remove(0).unwrap();
    let history = [
        message(Role::User),
        calls(Role::Assistant, &[("1", "a")]),
        returns(vec![("1", success(json!("x")))]),
        // The model counts its calls anew.
        calls(Role::Assistant, &[("1", "d"), ("2", "a"), ("3", "b")]),
        returns(vec![
            ("1", ToolResult::failure("d", violation)),
            ("2", failure("no")),
            ("3", success(json!("yes"))),
        ]),
    ];
    let mut resumed = turn(&rules);
    resumed.replay(&history);
    assert_eq!(resumed, live);
    assert_eq!(offered(&resumed), ("c".to_owned(), must("c")));
}

#[test]
fn a_turn_that_answers_a_request_counts_what_was_approved() {
    let decision = |id: &str, approve| Approval::Decision {
        tool_call_id: id.to_owned(),
        approve,
        reason: None,
    };
    let response = Message {
        approvals: vec![decision("1", false), decision("2", true)],
        ..message(Role::Approval)
    };
    let history = [
        calls(Role::Assistant, &[("3", "c")]),
        calls(Role::Approval, &[("1", "a"), ("2", "b")]),
        response,
        returns(vec![
            ("1", failure("the user said no")),
            ("2", success(json!("done"))),
            ("3", success(json!("done"))),
        ]),
        calls(Role::Assistant, &[("1", "d")]),
        returns(vec![("1", success(json!("done")))]),
    ];
    let mut turn = turn(&[most("a", 1), most("b", 1), most("d", 1)]);
    turn.replay(&history);
    assert_eq!(offered(&turn).0, "a c", "a was denied, b and d were called");
}

#[test]
fn a_return_without_its_call_goes_by_the_name_of_its_message() {
    let end = Message {
        name: Some("a".to_owned()),
        ..returns(vec![("1", success(json!("")))])
    };
    let mut turn = turn(&[most("a", 1)]);
    turn.replay([&end, &returns(vec![("2", success(json!("")))])]);
    assert_eq!(offered(&turn).0, "b c d");
}

// ── whatever the rules and the calls

const NAMES: [&str; 6] = ["a", "b", "c", "d", "x", "y"];

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NAMES.to_vec())
}

fn some_names() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 0..4).prop_map(|names| names.join(" "))
}

fn output() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["yes", "no", "True", "3", "3.0", ""])
}

fn any_rule() -> impl Strategy<Value = ToolRule> {
    let mapping = prop::collection::vec((output(), name()), 0..3);
    prop_oneof![
        name().prop_map(first),
        name().prop_map(|tool| first_with(tool, json!({"text": "t", "count": 1}))),
        (name(), some_names()).prop_map(|(tool, names)| children(tool, &names)),
        (name(), name()).prop_map(|(tool, child)| child_with(tool, child, json!({"one": 1}))),
        (name(), some_names()).prop_map(|(tool, names)| parent(tool, &names)),
        (name(), mapping, prop::option::of(name()), any::<bool>())
            .prop_map(|(tool, mapping, default, strict)| cases(tool, &mapping, default, strict)),
        (name(), 0..4u64).prop_map(|(tool, count)| most(tool, count)),
        name().prop_map(terminal),
        name().prop_map(required),
        name().prop_map(gate),
        name().prop_map(|tool| rule(tool, ToolRuleKind::ContinueLoop)),
    ]
}

fn any_call() -> impl Strategy<Value = Called> {
    let outcome = (0..6, output()).prop_map(|(kind, output)| match kind {
        0 => Outcome::Failed(json!(output)),
        1 => Outcome::Returned(json!(output)),
        2 => Outcome::NotRun,
        3 => Outcome::Denied,
        4 => Outcome::Misfilled,
        _ => Outcome::Ran(json!(output)),
    });
    (name(), outcome).prop_map(|(tool, outcome)| not(tool, outcome))
}

fn rule_sets() -> impl Strategy<Value = Vec<ToolRule>> {
    prop::collection::vec(any_rule(), 0..8)
}

proptest! {
    #[test]
    fn only_tools_that_are_there_are_offered_and_in_their_order(
        rules in rule_sets(),
        calls in prop::collection::vec(any_call(), 0..8),
        client in some_names(),
        must_call in any::<bool>(),
    ) {
        let (tools, client) = (schemas("a b c d"), schemas(&client));
        let mut turn = Rules::new(&rules, &tools, &client, must_call);
        let mut again = Rules::new(&rules, &tools, &client, must_call);
        for call in &calls {
            let offer = turn.offer();
            let hidden = |tool: &&ToolSchema| !client.iter().any(|other| other.name == tool.name);
            let all: Vec<&ToolSchema> = tools.iter().filter(hidden).chain(&*client).collect();
            let mut rest = all.iter();
            for tool in &*offer.tools {
                prop_assert!(rest.any(|other| *other == tool), "{} is not there or out of order", tool.name);
            }
            match &offer.choice {
                ToolChoice::None => prop_assert!(offer.tools.is_empty()),
                ToolChoice::Named(only) => prop_assert_eq!(&names(&offer), only),
                ToolChoice::Must | ToolChoice::Free => prop_assert!(!offer.tools.is_empty()),
            }
            for (name, verdict) in NAMES.iter().zip(NAMES.map(|name| turn.violations([name]).remove(0))) {
                let is_offered = offer.tools.iter().any(|tool| tool.name == *name);
                prop_assert_eq!(verdict.is_none(), is_offered, "{}", name);
            }
            prop_assert_eq!(&offer, &again.offer());
            prop_assert_eq!(turn.after(std::slice::from_ref(call)), again.after(std::slice::from_ref(call)));
            turn.record(std::slice::from_ref(call));
            again.record(std::slice::from_ref(call));
            prop_assert_eq!(&turn, &again);
        }
    }

    #[test]
    fn a_turn_whose_tools_are_all_counted_ends(
        rules in rule_sets(),
        counts in prop::array::uniform4(0..4u64),
        picks in prop::collection::vec((any::<prop::sample::Index>(), output(), any::<bool>()), 16),
    ) {
        let bounds = ["a", "b", "c", "d"].iter().zip(counts).map(|(tool, count)| most(tool, count));
        let rules: Vec<ToolRule> = rules.into_iter().chain(bounds).collect();
        let mut turn = turn(&rules);
        let mut picks = picks.into_iter();
        // A first tool is let through once, whatever its count.
        let most_calls = counts.iter().sum::<u64>() + 1;
        for _ in 0..=most_calls {
            let offer = turn.offer();
            if offer.tools.is_empty() {
                prop_assert_eq!(turn.after(&[]), After::Ends(StopReason::EndTurn));
                return Ok(());
            }
            let (pick, output, ok) = picks.next().unwrap();
            let tool = &pick.get(&offer.tools).name;
            let outcome = if ok { Outcome::Ran(json!(output)) } else { Outcome::Failed(json!(output)) };
            let call = not(tool, outcome);
            if let After::Ends(reason) = turn.after(std::slice::from_ref(&call)) {
                prop_assert_eq!(reason, StopReason::ToolRule);
                return Ok(());
            }
            turn.record(&[call]);
        }
        prop_assert!(false, "the turn did not end");
    }

    #[test]
    fn rules_that_pass_the_check_leave_something_to_call_first(rules in rule_sets()) {
        let checked = check::each(&rules).is_ok() && check::together(&rules, NAMES, "gpt-4o").is_ok();
        prop_assume!(checked);
        let turn = Rules::new(&rules, &schemas("a b c d x y"), &Arc::default(), false);
        prop_assert!(!turn.offer().tools.is_empty());
        let requirements = rules.iter().filter(|rule| matches!(rule.kind, ToolRuleKind::RequiredBeforeExit));
        let requirements: HashSet<&str> = requirements.map(|rule| rule.tool_name.as_str()).collect();
        prop_assert_eq!(turn.owed().len(), requirements.len());
    }
}
