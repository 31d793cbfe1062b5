//! Which tools a turn may call next, and whether it may end (agent-loop §6, §8): an agent's rules as one value that is
//! folded over the calls of the turn. The loop asks, this answers.
//!
//! Whether a set of rules can be meant at all is decided in `check`, before an agent is given it.

pub mod check;

use super::message::{Approval, Message, Part, ToolOutput, ToolReturn, ToolStatus};
use super::model::{ToolChoice, ToolSchema};
use super::run::StopReason;
use super::tool::{ToolFailure, ToolRule, ToolRuleKind};
use serde_json::{Map, Number, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// How the error return of a call starts that the rules did not let through (agent-loop §6). Programs look for it.
pub const CONSTRAINT: &str = "[ToolConstraintError]";

/// How the error return of a call starts whose arguments could not be read (`step::PlannedCall::read`).
pub(super) const UNREADABLE: &str = "the arguments are not a JSON object";

/// How the error return of a call starts that a stop of the server came before (`step::unstarted_call`).
pub(super) const UNSTARTED: &str = "the server stopped before the call began";

/// The rules of one turn and what was called in it so far.
///
/// Only calls that were executed count, each once, whether the tool succeeded or not: one that fails for good can then
/// neither hold a turn at its first tool nor be called without end. A failed tool does not end the turn, though.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    rules: Arc<[ToolRule]>,
    /// In the agent's order, without those that a client's tool hides.
    tools: Arc<[ToolSchema]>,
    /// Offered whatever the rules say (agent-loop §4).
    client_tools: Arc<[ToolSchema]>,
    must_call: bool,
    counts: BTreeMap<String, u64>,
    last: Option<Last>,
}

#[derive(Debug, Clone, PartialEq)]
struct Last {
    tool: String,
    output: Value,
}

/// Where a turn stands: the tool that was called last, with its output or `None` for any. Outer `None`: nothing yet.
type Place<'a> = Option<(&'a str, Option<&'a Value>)>;

/// What the next model call is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    pub tools: Arc<[ToolSchema]>,
    pub choice: ToolChoice,
}

/// One call of the turn and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    pub tool: String,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Executed. The value is what the model sees as `message`: it decides conditional rules.
    Ran(Value),
    /// Executed, and the tool said that it failed.
    Failed(Value),
    /// Executed by the client, well or not.
    Returned(Value),
    /// Never started: against the rules, of a tool that is not there, with arguments that cannot be read.
    NotRun,
    /// Never started: the user said no.
    Denied,
    /// Never started: the arguments that a rule fixes do not fit the tool.
    Misfilled,
}

/// What follows the calls of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    GoesOn,
    Ends(StopReason),
    /// It would end, and these have to be called first: it goes on after a reminder.
    Owes(Vec<String>),
}

impl Called {
    /// Reads the stored return of a call: the same value while the turn runs and after a restart. A denial cannot be
    /// told from its return; `Rules::replay` knows it by the decision.
    pub fn of(tool: &str, end: &ToolReturn) -> Self {
        let output = unwrapped(&end.output);
        let never_started = output.as_str().is_some_and(|text| {
            let starts = |how: &&str| text.starts_with(*how);
            [CONSTRAINT, UNREADABLE, UNSTARTED].iter().any(starts)
        });
        let outcome = match end.status {
            ToolStatus::Success => Outcome::Ran(output),
            ToolStatus::Error if never_started => Outcome::NotRun,
            ToolStatus::Error => Outcome::Failed(output),
        };
        Self {
            tool: tool.to_owned(),
            outcome,
        }
    }
}

/// The `message` inside the envelope of a return.
fn unwrapped(output: &ToolOutput) -> Value {
    match output {
        ToolOutput::Packed(text) => match serde_json::from_str(text) {
            Ok(Value::Object(mut envelope)) => envelope
                .shift_remove("message")
                .unwrap_or(Value::Object(envelope)),
            _ => Value::from(text.as_str()),
        },
        ToolOutput::Parts(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(Part::text).collect();
            Value::from(texts.join("\n"))
        }
    }
}

impl Rules {
    /// The rules at the start of a turn. `tools` are the agent's in its order; a client's tool hides one of the same name.
    /// `must_call`: the agent's kind answers with a call always (`AgentType::must_call`).
    pub fn new(
        rules: &[ToolRule],
        tools: &Arc<[ToolSchema]>,
        client_tools: &Arc<[ToolSchema]>,
        must_call: bool,
    ) -> Self {
        let hidden = |tool: &ToolSchema| client_tools.iter().any(|other| other.name == tool.name);
        let tools = if tools.iter().any(hidden) {
            tools.iter().filter(|tool| !hidden(tool)).cloned().collect()
        } else {
            tools.clone()
        };
        Self {
            rules: rules.into(),
            tools,
            client_tools: client_tools.clone(),
            must_call,
            counts: BTreeMap::new(),
            last: None,
        }
    }

    // ── before a model call

    /// The tools of the next model call, in the agent's order, then the client's; and how free the model is in its choice.
    /// Where the rules leave nothing, nothing is offered and the model answers in words (decisions 13).
    pub fn offer(&self) -> Offer {
        let allowed: Vec<&ToolSchema> = self
            .tools
            .iter()
            .filter(|tool| self.lets(&tool.name, self.place()))
            .collect();
        let forced = self.forces() && !allowed.is_empty();
        let tools = if allowed.len() == self.tools.len() && self.client_tools.is_empty() {
            self.tools.clone()
        } else {
            let client = self.client_tools.iter();
            allowed.into_iter().chain(client).cloned().collect()
        };
        let choice = match &*tools {
            [] => ToolChoice::None,
            [only] if forced => ToolChoice::Named(only.name.clone()),
            _ if forced || self.must_call => ToolChoice::Must,
            _ => ToolChoice::Free,
        };
        Offer { tools, choice }
    }

    /// Whether several calls at once may be asked for: rules on the order of calls need one at a time.
    pub fn parallel_calls(&self) -> bool {
        let gates = |rule: &ToolRule| matches!(rule.kind, ToolRuleKind::RequiresApproval);
        self.rules.iter().all(gates)
    }

    // ── before a tool runs

    /// For the calls of one answer, in order: why it is not executed, or `None`. All were chosen from the same offer, so
    /// they are held against that; but each counts for those after it.
    pub fn violations<'a>(
        &self,
        calls: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Option<ToolFailure>> {
        let mut seen = self.clone();
        let judge = |tool| {
            let violation = seen.violation(tool);
            if violation.is_none() {
                seen.count(tool);
            }
            violation
        };
        calls.into_iter().map(judge).collect()
    }

    fn violation(&self, tool: &str) -> Option<ToolFailure> {
        let why = if !self.has(tool) {
            format!("there is no tool '{tool}' here")
        } else if self.lets(tool, self.place()) {
            return None;
        } else {
            let reasons: Vec<String> = self
                .objections(tool, self.place())
                .into_iter()
                .map(|rule| self.reason(rule))
                .collect();
            format!("'{tool}' cannot be called now: {}", reasons.join("; "))
        };
        let offered = self.offer().tools;
        let offered: Vec<&str> = offered.iter().map(|tool| tool.name.as_str()).collect();
        let instead = if offered.is_empty() {
            "no tool can be called now, answer in words".to_owned()
        } else {
            format!("what can be called now: {}", offered.join(", "))
        };
        Some(refusal(format!("{why}. {instead}")))
    }

    /// What a rule says to a call that it does not let through.
    fn reason(&self, rule: &ToolRule) -> String {
        let tool = &rule.tool_name;
        match &rule.kind {
            ToolRuleKind::RunFirst { .. } => format!("the turn has to begin with {tool}"),
            ToolRuleKind::ConstrainChildTools { children, .. } => {
                format!("right after {tool} comes one of: {}", children.join(", "))
            }
            ToolRuleKind::ParentLastTool { children } if self.is_last(tool) => {
                format!("right after {tool} comes one of: {}", children.join(", "))
            }
            ToolRuleKind::ParentLastTool { .. } => format!("it may only come right after {tool}"),
            ToolRuleKind::Conditional { .. } => {
                format!("the output of {tool} decides what comes right after it")
            }
            ToolRuleKind::MaxCountPerStep { max_count_limit } => format!(
                "calls of {tool} in this turn: {} of at most {max_count_limit}",
                self.called(tool)
            ),
            ToolRuleKind::ExitLoop
            | ToolRuleKind::ContinueLoop
            | ToolRuleKind::RequiredBeforeExit
            | ToolRuleKind::RequiresApproval => format!("a rule on {tool}"),
        }
    }

    /// Lays the arguments that rules fix for this call over those of the model; where several fix one, the last rule wins.
    ///
    /// # Errors
    /// What does not fit the tool: the call is then not executed (`Outcome::Misfilled`).
    pub fn fill(
        &self,
        tool: &str,
        mut arguments: Map<String, Value>,
    ) -> Result<Map<String, Value>, ToolFailure> {
        let none = Value::Null;
        let schema = self.schema(tool).map_or(&none, |tool| &tool.parameters);
        for (name, value) in self.fixed(tool) {
            let Some(property) = schema["properties"].get(name) else {
                return Err(refusal(format!(
                    "a rule fixes the argument '{name}' of {tool}, which takes no such argument"
                )));
            };
            if !fits(value, property) {
                return Err(refusal(format!(
                    "a rule fixes the argument '{name}' of {tool} to {value}, which does not fit its schema"
                )));
            }
            arguments.insert(name.to_owned(), value.clone());
        }
        Ok(arguments)
    }

    /// The arguments that are fixed for a call of this tool made now, in the order of the rules.
    fn fixed<'a>(&'a self, tool: &str) -> Vec<(&'a str, &'a Value)> {
        let mut fixed = Vec::new();
        let mut add = |args: &'a Option<Value>| {
            let args = args.as_ref().and_then(Value::as_object);
            fixed.extend(
                args.into_iter()
                    .flatten()
                    .map(|(name, value)| (name.as_str(), value)),
            );
        };
        for rule in &*self.rules {
            match &rule.kind {
                ToolRuleKind::RunFirst { args }
                    if self.last.is_none() && rule.tool_name == tool =>
                {
                    add(args);
                }
                ToolRuleKind::ConstrainChildTools {
                    child_arg_nodes: Some(nodes),
                    ..
                } if self.is_last(&rule.tool_name) => {
                    for node in nodes.iter().filter(|node| node.name == tool) {
                        add(&node.args);
                    }
                }
                _ => (),
            }
        }
        fixed
    }

    /// Whether a call of this tool waits for the user's word.
    pub fn needs_approval(&self, tool: &str) -> bool {
        self.has_rule(tool, |kind| matches!(kind, ToolRuleKind::RequiresApproval))
    }

    /// For the calls of one answer, in order: whether each waits for somebody's word. `waiting`: the tools whose calls do.
    /// Known from the names alone, so that a stream can show a call as what it is from its first token; one that the rules
    /// refuse anyway needs nobody's word.
    pub fn wait(&self, waiting: &HashSet<String>, calls: &[&str]) -> Vec<bool> {
        let violations = self.violations(calls.iter().copied());
        let waits = |(tool, violation): (&&str, Option<ToolFailure>)| {
            violation.is_none() && waiting.contains(*tool) && self.fill(tool, Map::new()).is_ok()
        };
        calls.iter().zip(violations).map(waits).collect()
    }

    // ── after the calls

    /// Takes note of the calls of a step, in call order.
    pub fn record(&mut self, calls: &[Called]) {
        for call in calls {
            if let Outcome::Ran(output) | Outcome::Failed(output) | Outcome::Returned(output) =
                &call.outcome
            {
                self.count(&call.tool);
                self.last = Some(Last {
                    tool: call.tool.clone(),
                    output: output.clone(),
                });
            }
        }
    }

    /// Takes note of what the turn committed before: its messages in order, from the approval request on that it answers,
    /// if it answers one. A message that only makes calls teaches their names.
    pub fn replay<'a>(&mut self, messages: impl IntoIterator<Item = &'a Message>) {
        let mut names: HashMap<&str, &str> = HashMap::new();
        let mut denied: HashSet<&str> = HashSet::new();
        for message in messages {
            names.extend(
                message
                    .tool_calls
                    .iter()
                    .map(|call| (call.id.as_str(), call.name.as_str())),
            );
            denied.extend(
                message
                    .approvals
                    .iter()
                    .filter_map(|approval| match approval {
                        Approval::Decision {
                            tool_call_id,
                            approve: false,
                            ..
                        } => Some(tool_call_id.as_str()),
                        _ => None,
                    }),
            );
            for end in &message.tool_returns {
                let id = end.tool_call_id.as_str();
                let name = names.get(id).copied().or(message.name.as_deref());
                // Some models number their calls anew in each answer: a denial holds for one return.
                if let (Some(name), false) = (name, denied.remove(id)) {
                    self.record(&[Called::of(name, end)]);
                }
            }
        }
    }

    /// The decision of the native loop after a step that is not recorded yet; without calls, after an answer in words
    /// (agent-loop §8). Whether the step bound is reached, and whether the words were cut off, the loop knows.
    pub fn after(&self, calls: &[Called]) -> After {
        let owed = self.owed_after(calls);
        let misfilled = |call: &Called| call.outcome == Outcome::Misfilled;
        let by_the_client =
            |call: &Called| matches!(call.outcome, Outcome::Denied | Outcome::Returned(_));
        if calls.is_empty() {
            ends_or_owes(StopReason::EndTurn, owed)
        } else if calls.iter().all(misfilled) {
            After::Ends(StopReason::InvalidToolCall)
        } else if calls.iter().any(by_the_client) {
            After::GoesOn // The model has not seen yet what the client decided.
        } else if calls.iter().any(|call| self.ends(call)) {
            ends_or_owes(StopReason::ToolRule, owed)
        } else {
            After::GoesOn
        }
    }

    /// The decision of the heartbeat loop after its one call (agent-loop §13): `asked` is the call's `request_heartbeat`.
    pub fn after_heartbeat(&self, call: &Called, asked: bool, last_step: bool) -> After {
        let continues = |kind: &ToolRuleKind| {
            matches!(
                kind,
                ToolRuleKind::ContinueLoop
                    | ToolRuleKind::ConstrainChildTools { .. }
                    | ToolRuleKind::Conditional { .. }
            )
        };
        let goes_on = match &call.outcome {
            Outcome::Misfilled => return After::Ends(StopReason::InvalidToolCall),
            Outcome::NotRun | Outcome::Denied => true,
            _ if self.ends(call) => false,
            // A terminal tool cannot ask, and its failure is not the end that was meant.
            Outcome::Failed(_) if self.is_terminal(&call.tool) => true,
            _ => asked || self.has_rule(&call.tool, continues),
        };
        let end = if asked {
            StopReason::ToolRule
        } else {
            StopReason::EndTurn
        };
        let after = if goes_on {
            After::GoesOn
        } else {
            ends_or_owes(end, self.owed_after(std::slice::from_ref(call)))
        };
        match after {
            After::GoesOn | After::Owes(_) if last_step => After::Ends(StopReason::MaxSteps),
            after => after,
        }
    }

    fn owed_after(&self, calls: &[Called]) -> Vec<String> {
        let mut then = self.clone();
        then.record(calls);
        then.owed().into_iter().map(str::to_owned).collect()
    }

    /// The tools that have to be called before the turn may end, in the order of their rules. One that no further call can
    /// lead to is not asked for: the model could not obey, and the turn would go on to its step bound.
    pub fn owed(&self) -> Vec<&str> {
        let mut owed: Vec<&str> = Vec::new();
        for rule in &*self.rules {
            let tool = rule.tool_name.as_str();
            if matches!(rule.kind, ToolRuleKind::RequiredBeforeExit)
                && self.has(tool)
                && self.called(tool) == 0
                && !owed.contains(&tool)
            {
                owed.push(tool);
            }
        }
        if !owed.is_empty() {
            let reachable = self.reachable();
            owed.retain(|tool| reachable.contains(tool));
        }
        owed
    }

    /// Every tool that some order of further calls leads to, whatever they return. Counts are taken as they are now.
    fn reachable(&self) -> HashSet<&str> {
        let names = || {
            let all = self.tools.iter().chain(&*self.client_tools);
            all.map(|tool| tool.name.as_str())
        };
        let mut reached: HashSet<&str> = HashSet::new();
        let mut open: Vec<&str> = names()
            .filter(|name| self.lets(name, self.place()))
            .collect();
        while let Some(tool) = open.pop() {
            if reached.insert(tool) {
                open.extend(names().filter(|name| self.lets(name, Some((tool, None)))));
            }
        }
        reached
    }

    // ── what the rules say

    fn place(&self) -> Place<'_> {
        let last = self.last.as_ref();
        last.map(|last| (last.tool.as_str(), Some(&last.output)))
    }

    fn is_last(&self, tool: &str) -> bool {
        self.last.as_ref().is_some_and(|last| last.tool == tool)
    }

    fn called(&self, tool: &str) -> u64 {
        self.counts.get(tool).copied().unwrap_or(0)
    }

    fn count(&mut self, tool: &str) {
        *self.counts.entry(tool.to_owned()).or_default() += 1;
    }

    fn schema(&self, tool: &str) -> Option<&ToolSchema> {
        let mut all = self.client_tools.iter().chain(&*self.tools);
        all.find(|schema| schema.name == tool)
    }

    fn has(&self, tool: &str) -> bool {
        self.schema(tool).is_some()
    }

    fn has_rule(&self, tool: &str, is: impl Fn(&ToolRuleKind) -> bool) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.tool_name == tool && is(&rule.kind))
    }

    /// A terminal tool that did its work. One that failed has not said what it was to say.
    pub fn ends(&self, call: &Called) -> bool {
        matches!(call.outcome, Outcome::Ran(_)) && self.is_terminal(&call.tool)
    }

    fn is_terminal(&self, tool: &str) -> bool {
        self.has_rule(tool, |kind| matches!(kind, ToolRuleKind::ExitLoop))
    }

    /// The rules on how a turn begins, as far as the agent has their tools.
    fn firsts(&self) -> Vec<&ToolRule> {
        let first = |rule: &&ToolRule| {
            matches!(rule.kind, ToolRuleKind::RunFirst { .. }) && self.has(&rule.tool_name)
        };
        self.rules.iter().filter(first).collect()
    }

    /// Whether the next answer has to be a call.
    fn forces(&self) -> bool {
        let leads = |kind: &ToolRuleKind| {
            matches!(
                kind,
                ToolRuleKind::ConstrainChildTools { .. }
                    | ToolRuleKind::ParentLastTool { .. }
                    | ToolRuleKind::Conditional { .. }
            )
        };
        match &self.last {
            Some(last) => self.has_rule(&last.tool, leads),
            None => !self.firsts().is_empty(),
        }
    }

    fn lets(&self, tool: &str, place: Place<'_>) -> bool {
        let clients = self.client_tools.iter().any(|other| other.name == tool);
        clients || self.objections(tool, place).is_empty()
    }

    /// The rules that do not let this tool be called at this place.
    fn objections(&self, tool: &str, place: Place<'_>) -> Vec<&ToolRule> {
        if place.is_none() {
            let firsts = self.firsts();
            if firsts.iter().any(|rule| rule.tool_name == tool) {
                return Vec::new();
            }
            if !firsts.is_empty() {
                return firsts;
            }
        }
        self.rules
            .iter()
            .filter(|rule| self.forbids(rule, tool, place))
            .collect()
    }

    fn forbids(&self, rule: &ToolRule, tool: &str, place: Place<'_>) -> bool {
        let output = place.filter(|(last, _)| *last == rule.tool_name);
        let names = |children: &[String]| children.iter().any(|child| child == tool);
        match &rule.kind {
            ToolRuleKind::ConstrainChildTools { children, .. } => {
                output.is_some() && !names(children)
            }
            // Right after it only its children, at any other time all but its children.
            ToolRuleKind::ParentLastTool { children } => output.is_some() != names(children),
            ToolRuleKind::Conditional { .. } => match output {
                Some((_, Some(output))) => !followers(&rule.kind, output).include(tool),
                Some((_, None)) => !all_followers(&rule.kind).iter().any(|f| f.include(tool)),
                None => false,
            },
            ToolRuleKind::MaxCountPerStep { max_count_limit } => {
                rule.tool_name == tool && self.called(tool) >= *max_count_limit
            }
            ToolRuleKind::RunFirst { .. }
            | ToolRuleKind::ExitLoop
            | ToolRuleKind::ContinueLoop
            | ToolRuleKind::RequiredBeforeExit
            | ToolRuleKind::RequiresApproval => false,
        }
    }
}

fn ends_or_owes(reason: StopReason, owed: Vec<String>) -> After {
    if owed.is_empty() {
        After::Ends(reason)
    } else {
        After::Owes(owed)
    }
}

/// What the model is told when it would end a turn that still owes calls.
pub fn reminder(owed: &[String]) -> String {
    let before = "The turn cannot end yet: before that, call";
    match owed {
        [only] => format!("{before} {only}."),
        several => format!("{before} each of: {}.", several.join(", ")),
    }
}

/// The rules of an agent for whom calls of this tool wait for the user's word, or do so no longer.
pub fn with_approval(rules: &[ToolRule], tool: &str, wanted: bool) -> Vec<ToolRule> {
    let gates = |rule: &ToolRule| {
        rule.tool_name == tool && matches!(rule.kind, ToolRuleKind::RequiresApproval)
    };
    if wanted && rules.iter().any(gates) {
        return rules.to_vec();
    }
    let others = rules.iter().filter(|rule| !gates(rule)).cloned();
    let gate = wanted.then(|| ToolRule {
        tool_name: tool.to_owned(),
        prompt_template: None,
        kind: ToolRuleKind::RequiresApproval,
    });
    others.chain(gate).collect()
}

fn refusal(text: String) -> ToolFailure {
    ToolFailure {
        name: "ToolConstraintError".into(),
        message: format!("{CONSTRAINT} {text}"),
    }
}

// ── conditional rules

/// What a conditional rule lets follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow<'a> {
    This(&'a str),
    Everything,
    Nothing,
}

impl Follow<'_> {
    fn include(self, tool: &str) -> bool {
        match self {
            Self::This(child) => child == tool,
            Self::Everything => true,
            Self::Nothing => false,
        }
    }
}

/// After this output. An output that is written like the key goes before one that only means the same.
fn followers<'a>(kind: &'a ToolRuleKind, output: &Value) -> Follow<'a> {
    let ToolRuleKind::Conditional {
        child_output_mapping: mapping,
        ..
    } = kind
    else {
        return Follow::Everything;
    };
    let text = match output {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let written = mapping.iter().find(|(key, _)| *key == text);
    let meant = || mapping.iter().find(|(key, _)| means(key, &text));
    match written.or_else(meant) {
        Some((_, child)) => Follow::This(child),
        None => unmapped(kind),
    }
}

/// After an output that the mapping does not name.
fn unmapped(kind: &ToolRuleKind) -> Follow<'_> {
    match kind {
        ToolRuleKind::Conditional {
            require_output_mapping: true,
            ..
        } => Follow::Nothing,
        ToolRuleKind::Conditional {
            default_child: Some(child),
            ..
        } => Follow::This(child),
        _ => Follow::Everything,
    }
}

/// After all outputs there can be.
fn all_followers(kind: &ToolRuleKind) -> Vec<Follow<'_>> {
    let mapped: &[(String, String)] = match kind {
        ToolRuleKind::Conditional {
            child_output_mapping,
            ..
        } => child_output_mapping,
        _ => &[],
    };
    let mapped = mapped.iter().map(|(_, child)| Follow::This(child));
    mapped.chain([unmapped(kind)]).collect()
}

/// Whether a key of a mapping and an output are the same truth value or the same number.
fn means(key: &str, output: &str) -> bool {
    let output = output.trim();
    if key.eq_ignore_ascii_case("true") || key.eq_ignore_ascii_case("false") {
        return key.eq_ignore_ascii_case(output);
    }
    match (key.parse::<Number>(), output.parse::<Number>()) {
        (Ok(key), Ok(output)) => same_number(&key, &output),
        _ => false,
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    // Whole numbers are compared exactly: as floats, large neighbours would be equal.
    a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
}

// ── schemas

/// Whether a value fits `type`, `enum`, `const`, `anyOf` and `oneOf` of a schema. Of `oneOf` one has to fit and several may:
/// what would tell them apart can be a keyword that is not looked at.
fn fits(value: &Value, schema: &Value) -> bool {
    let Value::Object(schema) = schema else {
        return *schema != Value::Bool(false);
    };
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    let typed = match schema.get("type") {
        Some(Value::String(name)) => is_a(value, name),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .any(|name| is_a(value, name)),
        _ => true,
    };
    typed
        && list("enum").is_none_or(|values| values.iter().any(|other| same(value, other)))
        && schema.get("const").is_none_or(|other| same(value, other))
        && list("anyOf").is_none_or(|schemas| schemas.iter().any(|other| fits(value, other)))
        && list("oneOf").is_none_or(|schemas| schemas.iter().any(|other| fits(value, other)))
}

fn is_a(value: &Value, type_name: &str) -> bool {
    match type_name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests;
