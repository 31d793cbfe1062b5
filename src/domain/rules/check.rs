//! Which sets of rules an agent is not given: those that do not fit the schema, and those that cannot be obeyed.
//!
//! A rule may name tools that are not attached, or not there yet: programs attach them later. So a set is looked at as if
//! everything it names were attached, and refused only for what no tool could mend.

use super::super::model::ToolSchema;
use super::super::tool::{ToolRule, ToolRuleKind};
use super::{Follow, Rules, all_followers};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A rule that does not fit the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tool_rules.{index}.{field}: {problem}")]
pub struct BadRule {
    /// Its place in the list that was sent.
    pub index: usize,
    pub field: &'static str,
    pub problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the name of a tool must not be empty")]
    NoName,
    #[error("at least one tool has to be named")]
    NoTool,
    #[error("at least one output has to be mapped")]
    NoOutput,
    #[error("'{0}' is not one of the children")]
    NotAChild(String),
    #[error("arguments have to be an object")]
    NotAnObject,
    #[error("at least one call has to be allowed")]
    NoCall,
}

/// Rules that fit the schema and make no sense together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("only one tool can be the first one with this model")]
    TwoFirstTools,
    #[error("two run_first rules give '{0}' different arguments")]
    TwoFirstArgs(String),
    #[error("after '{parent}' the argument '{argument}' of '{child}' is fixed to two values")]
    TwoChildArgs {
        parent: String,
        child: String,
        argument: String,
    },
    #[error("a turn could not call any tool, each may only follow another one")]
    NothingFirst,
    #[error("after '{0}' no tool could be called, what one rule asks for another forbids")]
    NothingAfter(String),
    #[error("after '{tool}' one rule asks for '{child}' and another forbids it")]
    Forbidden { tool: String, child: String },
    #[error("'{0}' is required before a turn may end, and no order of calls leads to it")]
    OutOfReach(String),
}

/// Looks at each rule by itself.
///
/// # Errors
/// The first one that does not fit the schema.
pub fn each(rules: &[ToolRule]) -> Result<(), BadRule> {
    for (index, rule) in rules.iter().enumerate() {
        one(rule).map_err(|(field, problem)| BadRule {
            index,
            field,
            problem,
        })?;
    }
    Ok(())
}

fn one(rule: &ToolRule) -> Result<(), (&'static str, Problem)> {
    let named = |field, name: &str| {
        if name.trim().is_empty() {
            Err((field, Problem::NoName))
        } else {
            Ok(())
        }
    };
    let all_named = |field, names: &[String]| {
        if names.is_empty() {
            return Err((field, Problem::NoTool));
        }
        names.iter().try_for_each(|name| named(field, name))
    };
    let object = |field, args: &Option<Value>| match args {
        None | Some(Value::Null | Value::Object(_)) => Ok(()),
        Some(_) => Err((field, Problem::NotAnObject)),
    };
    named("tool_name", &rule.tool_name)?;
    match &rule.kind {
        ToolRuleKind::RunFirst { args } => object("args", args),
        ToolRuleKind::ConstrainChildTools {
            children,
            child_arg_nodes,
        } => {
            all_named("children", children)?;
            for node in child_arg_nodes.iter().flatten() {
                if !children.contains(&node.name) {
                    return Err(("child_arg_nodes", Problem::NotAChild(node.name.clone())));
                }
                object("child_arg_nodes", &node.args)?;
            }
            Ok(())
        }
        ToolRuleKind::ParentLastTool { children } => all_named("children", children),
        ToolRuleKind::Conditional {
            child_output_mapping: mapping,
            default_child,
            ..
        } => {
            if mapping.is_empty() {
                return Err(("child_output_mapping", Problem::NoOutput));
            }
            mapping
                .iter()
                .try_for_each(|(_, child)| named("child_output_mapping", child))?;
            default_child
                .iter()
                .try_for_each(|child| named("default_child", child))
        }
        ToolRuleKind::MaxCountPerStep { max_count_limit: 0 } => {
            Err(("max_count_limit", Problem::NoCall))
        }
        ToolRuleKind::MaxCountPerStep { .. }
        | ToolRuleKind::ExitLoop
        | ToolRuleKind::ContinueLoop
        | ToolRuleKind::RequiredBeforeExit
        | ToolRuleKind::RequiresApproval => Ok(()),
    }
}

/// Looks at rules that are to hold at once, on an agent with these tools. `model` is the name without its provider.
///
/// # Errors
/// What cannot be obeyed.
pub fn together<'a>(
    rules: &'a [ToolRule],
    attached: impl IntoIterator<Item = &'a str>,
    model: &str,
) -> Result<(), Conflict> {
    firsts(rules, model)?;
    child_args(rules)?;
    order(rules, attached)
}

fn firsts(rules: &[ToolRule], model: &str) -> Result<(), Conflict> {
    let firsts: Vec<(&str, &Option<Value>)> = rules
        .iter()
        .filter_map(|rule| match &rule.kind {
            ToolRuleKind::RunFirst { args } => Some((rule.tool_name.as_str(), args)),
            _ => None,
        })
        .collect();
    if firsts.len() > 1 && !matches!(model, "gpt-4o" | "gpt-4o-mini") {
        return Err(Conflict::TwoFirstTools);
    }
    for (place, (tool, args)) in firsts.iter().enumerate() {
        let differ = |(other, others): &(&str, &Option<Value>)| {
            other == tool && args.is_some() && others.is_some() && others != args
        };
        if firsts[..place].iter().any(differ) {
            return Err(Conflict::TwoFirstArgs((*tool).to_owned()));
        }
    }
    Ok(())
}

fn child_args(rules: &[ToolRule]) -> Result<(), Conflict> {
    let mut fixed: Vec<(&str, &str, &Map<String, Value>)> = Vec::new();
    for rule in rules {
        let ToolRuleKind::ConstrainChildTools {
            child_arg_nodes: Some(nodes),
            ..
        } = &rule.kind
        else {
            continue;
        };
        for node in nodes {
            let Some(args) = node.args.as_ref().and_then(Value::as_object) else {
                continue;
            };
            let (parent, child) = (rule.tool_name.as_str(), node.name.as_str());
            let twice = fixed
                .iter()
                .filter(|(other, others, _)| (*other, *others) == (parent, child))
                .find_map(|(.., others)| {
                    args.iter()
                        .find(|(name, value)| others.get(*name).is_some_and(|o| o != *value))
                });
            if let Some((argument, _)) = twice {
                return Err(Conflict::TwoChildArgs {
                    parent: parent.to_owned(),
                    child: child.to_owned(),
                    argument: argument.clone(),
                });
            }
            fixed.push((parent, child, args));
        }
    }
    Ok(())
}

fn order<'a>(
    rules: &'a [ToolRule],
    attached: impl IntoIterator<Item = &'a str>,
) -> Result<(), Conflict> {
    let mut names: Vec<&str> = Vec::new();
    for name in attached.into_iter().chain(rules.iter().flat_map(names_in)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let tools: Arc<[ToolSchema]> = names
        .iter()
        .map(|name| ToolSchema {
            name: (*name).to_owned(),
            description: String::new(),
            parameters: Value::Null,
        })
        .collect();
    let whole = Rules::new(rules, &tools, &Arc::default(), false);
    if !names.is_empty() && whole.offer().tools.is_empty() {
        return Err(Conflict::NothingFirst);
    }
    for rule in rules {
        let tool = rule.tool_name.as_str();
        let ends = |kind: &ToolRuleKind| matches!(kind, ToolRuleKind::ExitLoop);
        if whole.has_rule(tool, ends) {
            continue; // What would follow it is not asked.
        }
        let after = |child: &str| whole.lets(child, Some((tool, None)));
        match &rule.kind {
            ToolRuleKind::ConstrainChildTools { .. } | ToolRuleKind::ParentLastTool { .. }
                if !names.iter().any(|child| after(child)) =>
            {
                return Err(Conflict::NothingAfter(tool.to_owned()));
            }
            ToolRuleKind::Conditional { .. } => {
                for follow in all_followers(&rule.kind) {
                    if let Follow::This(child) = follow
                        && !after(child)
                    {
                        return Err(Conflict::Forbidden {
                            tool: tool.to_owned(),
                            child: child.to_owned(),
                        });
                    }
                }
            }
            _ => (),
        }
    }
    let reachable = whole.reachable();
    let out_of_reach = rules.iter().find(|rule| {
        matches!(rule.kind, ToolRuleKind::RequiredBeforeExit)
            && !reachable.contains(rule.tool_name.as_str())
    });
    match out_of_reach {
        Some(rule) => Err(Conflict::OutOfReach(rule.tool_name.clone())),
        None => Ok(()),
    }
}

fn names_in(rule: &ToolRule) -> Vec<&str> {
    let mut names = vec![rule.tool_name.as_str()];
    match &rule.kind {
        ToolRuleKind::ConstrainChildTools { children, .. }
        | ToolRuleKind::ParentLastTool { children } => {
            names.extend(children.iter().map(String::as_str));
        }
        ToolRuleKind::Conditional {
            child_output_mapping,
            default_child,
            ..
        } => names.extend(
            child_output_mapping
                .iter()
                .map(|(_, child)| child.as_str())
                .chain(default_child.as_deref()),
        ),
        _ => (),
    }
    names
}

#[cfg(test)]
mod tests;
