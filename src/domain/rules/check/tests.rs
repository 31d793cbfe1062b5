use super::super::tests::{
    cases, child_with, children, first, first_with, gate, most, parent, required, rule, terminal,
    texts,
};
use super::*;
use crate::domain::tool::ChildArgs;
use serde_json::json;

fn alone(rule: ToolRule) -> Result<(), (&'static str, Problem)> {
    each(&[gate("other"), rule]).map_err(|bad| {
        assert_eq!(bad.index, 1);
        (bad.field, bad.problem)
    })
}

fn with(rules: &[ToolRule]) -> Result<(), Conflict> {
    together(rules, ["a", "b", "c"], "claude")
}

#[test]
fn a_rule_that_does_not_fit_the_schema_is_refused_with_its_field() {
    let not_a_child = ToolRuleKind::ConstrainChildTools {
        children: texts("b c"),
        child_arg_nodes: Some(vec![
            ChildArgs {
                name: "b".to_owned(),
                args: None,
            },
            ChildArgs {
                name: "d".to_owned(),
                args: None,
            },
        ]),
    };
    let unnamed_child = ToolRuleKind::ParentLastTool {
        children: vec![" ".to_owned()],
    };
    let table = [
        (gate(""), "tool_name", Problem::NoName),
        (children("a", ""), "children", Problem::NoTool),
        (parent("a", ""), "children", Problem::NoTool),
        (rule("a", unnamed_child), "children", Problem::NoName),
        (
            rule("a", not_a_child),
            "child_arg_nodes",
            Problem::NotAChild("d".to_owned()),
        ),
        (
            child_with("a", "b", json!([1])),
            "child_arg_nodes",
            Problem::NotAnObject,
        ),
        (first_with("a", json!("text")), "args", Problem::NotAnObject),
        (
            cases("a", &[], Some("b"), false),
            "child_output_mapping",
            Problem::NoOutput,
        ),
        (
            cases("a", &[("yes", "")], None, false),
            "child_output_mapping",
            Problem::NoName,
        ),
        (
            cases("a", &[("yes", "b")], Some(""), false),
            "default_child",
            Problem::NoName,
        ),
        (most("a", 0), "max_count_limit", Problem::NoCall),
    ];
    for (rule, field, problem) in table {
        assert_eq!(alone(rule), Err((field, problem)));
    }
    let bad = each(&[gate("a"), most("b", 0)]).unwrap_err();
    assert_eq!(
        bad.to_string(),
        "tool_rules.1.max_count_limit: at least one call has to be allowed"
    );
}

#[test]
fn one_of_each_kind_is_accepted() {
    let kinds = [
        first("a"),
        first_with("a", json!({"x": 1})),
        first_with("a", Value::Null),
        terminal("a"),
        rule("a", ToolRuleKind::ContinueLoop),
        children("a", "b"),
        child_with("a", "b", json!({"x": 1})),
        parent("a", "b"),
        cases("a", &[("yes", "b"), ("", "c")], None, true),
        most("a", 1),
        required("a"),
        gate("a"),
    ];
    for rule in kinds {
        assert_eq!(alone(rule.clone()), Ok(()));
        assert_eq!(with(&[rule]), Ok(()));
    }
    assert_eq!(with(&[]), Ok(()));
    assert_eq!(together(&[], [], "claude"), Ok(()));
}

#[test]
fn tools_that_are_not_attached_may_be_named_everywhere() {
    let rules = [
        first("u"),
        children("u", "v w"),
        parent("v", "p"),
        cases("w", &[("yes", "q")], Some("r"), false),
        required("p"),
        most("s", 1),
        gate("t"),
    ];
    assert_eq!(with(&rules), Ok(()));
    assert_eq!(together(&rules, [], "claude"), Ok(()));
}

#[test]
fn several_first_tools_need_a_model_that_can_choose() {
    let rules = [first("a"), first("b")];
    assert_eq!(with(&rules), Err(Conflict::TwoFirstTools));
    for model in ["gpt-4o", "gpt-4o-mini"] {
        assert_eq!(together(&rules, ["a"], model), Ok(()));
    }
    assert!(together(&rules, ["a"], "gpt-4o-2024-11-20").is_err());
}

#[test]
fn arguments_are_fixed_to_one_value() {
    let on_4o = |rules: &[ToolRule]| together(rules, ["a"], "gpt-4o");
    let firsts = [
        first_with("a", json!({"x": 1})),
        first_with("a", json!({"x": 2})),
    ];
    assert_eq!(on_4o(&firsts), Err(Conflict::TwoFirstArgs("a".to_owned())));
    assert_eq!(on_4o(&[firsts[0].clone(), first("a")]), Ok(()));
    assert_eq!(
        on_4o(&[firsts[0].clone(), first_with("b", json!({"x": 2}))]),
        Ok(())
    );

    let one = child_with("a", "b", json!({"x": 1, "y": 1}));
    assert_eq!(
        with(&[one.clone(), child_with("a", "b", json!({"x": 1, "z": 2}))]),
        Ok(())
    );
    assert_eq!(
        with(&[one.clone(), child_with("c", "b", json!({"x": 2}))]),
        Ok(())
    );
    assert_eq!(
        with(&[one, child_with("a", "b", json!({"y": 2}))]),
        Err(Conflict::TwoChildArgs {
            parent: "a".to_owned(),
            child: "b".to_owned(),
            argument: "y".to_owned(),
        })
    );
}

#[test]
fn rules_that_contradict_each_other_are_refused() {
    let forbidden = |tool: &str, child: &str| Conflict::Forbidden {
        tool: tool.to_owned(),
        child: child.to_owned(),
    };
    let after = |tool: &str| Conflict::NothingAfter(tool.to_owned());
    let out_of_reach = |tool: &str| Conflict::OutOfReach(tool.to_owned());
    let table: Vec<(&str, Vec<ToolRule>, Conflict)> = vec![
        (
            "each waits for another",
            vec![parent("a", "b"), parent("b", "c"), parent("c", "a")],
            Conflict::NothingFirst,
        ),
        (
            "no common child",
            vec![children("a", "b"), children("a", "c")],
            after("a"),
        ),
        (
            "the child belongs to another parent",
            vec![children("a", "b"), parent("c", "b")],
            after("a"),
        ),
        (
            "a child of two parents",
            vec![parent("a", "b"), parent("c", "b")],
            after("a"),
        ),
        (
            "an output leads to a tool that may not follow",
            vec![
                cases("a", &[("yes", "b"), ("no", "c")], None, false),
                parent("c", "b"),
            ],
            forbidden("a", "b"),
        ),
        (
            "so does the default",
            vec![
                cases("a", &[("yes", "b")], Some("c"), false),
                children("a", "b"),
            ],
            forbidden("a", "c"),
        ),
        (
            "a required tool behind a closed circle",
            vec![
                first("a"),
                children("a", "b"),
                children("b", "a"),
                required("c"),
            ],
            out_of_reach("c"),
        ),
        (
            "a required tool that may only follow itself",
            vec![parent("a", "a"), required("a")],
            out_of_reach("a"),
        ),
    ];
    for (case, rules, expected) in table {
        assert_eq!(with(&rules), Err(expected), "{case}");
    }
}

#[test]
fn odd_rules_that_can_be_obeyed_are_accepted() {
    let table = [
        (
            "a closed circle",
            vec![first("a"), children("a", "b"), children("b", "a")],
        ),
        (
            "what would follow a terminal tool",
            vec![terminal("a"), children("a", "b"), children("a", "c")],
        ),
        (
            "terminal and continuing",
            vec![terminal("a"), rule("a", ToolRuleKind::ContinueLoop)],
        ),
        ("two counts", vec![most("a", 1), most("a", 3)]),
        (
            "a first tool that is a child",
            vec![first("b"), parent("a", "b")],
        ),
        (
            "a required tool behind a first one",
            vec![first("a"), required("c")],
        ),
        ("a required child", vec![parent("a", "b"), required("b")]),
        ("a tool that may follow itself", vec![children("a", "a")]),
        (
            "nothing for an unmapped output",
            vec![cases("a", &[("yes", "b")], None, true)],
        ),
    ];
    for (case, rules) in table {
        assert_eq!(with(&rules), Ok(()), "{case}");
    }
}
