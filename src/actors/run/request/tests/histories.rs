//! No agent is ever bricked: whatever happened to it, the next request is one that its model's vendor takes. Random
//! histories, written by the domain itself (`life`), asked of every model and held against each vendor's documented rules
//! (`tests/vendors`).

mod cast;
mod life;

use self::cast::{Cast, TEXTS, Utterance};
use self::life::{CallEnd, Compaction, Decision, Event, Fate, Life, Said, Step, TOOLS, Turn};
use crate::domain::agent::{AgentType, CompactionMode};
use crate::domain::tool::{ToolRule, ToolRuleKind};
use crate::providers::testing::vendors::End;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::sync::LazyLock;

/// Of each kind of agent; four kinds make ten thousand.
const HISTORIES: u32 = 2_500;

static CAST: LazyLock<Cast> = LazyLock::new(Cast::new);

fn text() -> impl Strategy<Value = &'static str> {
    select(&TEXTS[..])
}

fn said() -> impl Strategy<Value = Vec<Said>> {
    let said = prop_oneof![
        4 => text().prop_map(Said::User),
        1 => text().prop_map(Said::Image),
        1 => text().prop_map(Said::System),
        1 => text().prop_map(Said::Assistant),
    ];
    vec(said, 0..3)
}

fn utterance() -> impl Strategy<Value = Utterance> {
    let call = (any::<Index>(), any::<Index>());
    prop_oneof![
        2 => any::<bool>().prop_map(|shown| Utterance::Thought { shown }),
        1 => Just(Utterance::Redacted),
        3 => text().prop_map(Utterance::Text),
        1 => Just(Utterance::Refusal),
        5 => call.prop_map(|(tool, arguments)| Utterance::Call { tool, arguments }),
    ]
}

/// Thoughts come first, calls last: as models speak.
fn answer() -> impl Strategy<Value = Vec<Utterance>> {
    let place = |utterance: &Utterance| match utterance {
        Utterance::Thought { .. } | Utterance::Redacted => 0,
        Utterance::Text(_) | Utterance::Refusal => 1,
        Utterance::Call { .. } => 2,
    };
    vec(utterance(), 0..6).prop_map(move |mut said| {
        said.sort_by_key(place);
        said
    })
}

fn call_end() -> impl Strategy<Value = CallEnd> {
    select(vec![
        CallEnd::Text("found it"),
        CallEnd::Text(""),
        CallEnd::Nothing,
        CallEnd::Object,
        CallEnd::Long,
        CallEnd::Fails,
        CallEnd::Crashes,
    ])
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Done),
        1 => Just(Fate::Fails),
        1 => Just(Fate::CancelledEarly),
        2 => (0_usize..3).prop_map(Fate::Cancelled),
        2 => (0_usize..3, any::<bool>()).prop_map(|(ended, alone)| Fate::Dies { ended, alone }),
    ]
}

fn compaction() -> impl Strategy<Value = Compaction> {
    let shares = select(vec![0.0, 0.3, 0.7, 1.0]);
    (
        select(&CompactionMode::ALL[..]),
        shares,
        select(vec![200_u64, 2_000, 50_000]),
    )
        .prop_map(|(mode, share, window)| Compaction {
            mode,
            share,
            window,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![
        9 => Just(End::Complete),
        1 => select(vec![End::Length, End::Filtered]),
    ];
    let compaction = prop::option::weighted(0.15, compaction());
    (
        answer(),
        end,
        any::<bool>(),
        vec(call_end(), 0..4),
        fate(),
        compaction,
    )
        .prop_map(|(said, end, streamed, calls, fate, compaction)| Step {
            said,
            end,
            streamed,
            calls,
            fate,
            compaction,
        })
}

fn turn() -> impl Strategy<Value = Turn> {
    let word = prop_oneof![
        3 => Just(Decision::Approves),
        1 => Just(Decision::Denies),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(ok, image)| Decision::Returns { ok, image }),
    ];
    (
        any::<Index>(),
        any::<bool>(),
        said(),
        any::<bool>(),
        vec(word, 1..4),
        vec(call_end(), 0..4),
        fate(),
        vec(step(), 0..4),
    )
        .prop_map(
            |(model, thinks, inputs, client_tools, words, settled, fate, steps)| Turn {
                model,
                thinks,
                inputs,
                client_tools,
                words,
                settled,
                fate,
                steps,
            },
        )
}

fn history() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => turn().prop_map(Event::Turn),
        1 => Just(Event::Cancel),
        1 => compaction().prop_map(Event::Compaction),
    ];
    vec(event, 1..6)
}

fn rules() -> impl Strategy<Value = Vec<ToolRule>> {
    let kind = prop_oneof![
        4 => Just(ToolRuleKind::RequiresApproval),
        1 => Just(ToolRuleKind::ExitLoop),
        1 => Just(ToolRuleKind::ContinueLoop),
        1 => Just(ToolRuleKind::RequiredBeforeExit),
        1 => Just(ToolRuleKind::RunFirst { args: None }),
        1 => Just(ToolRuleKind::MaxCountPerStep { max_count_limit: 1 }),
    ];
    let rule = (select(&TOOLS[..]), kind).prop_map(|(tool, kind)| ToolRule {
        tool_name: tool.to_owned(),
        prompt_template: None,
        kind,
    });
    vec(rule, 0..3)
}

/// Lets it all happen to a new agent, and then somebody writes to it.
fn live(
    kind: AgentType,
    rules: Vec<ToolRule>,
    in_arguments: bool,
    events: &[Event],
) -> Result<(), TestCaseError> {
    let mut life = Life::new(&CAST, kind, rules, in_arguments);
    for event in events {
        life.happens(event).map_err(TestCaseError::fail)?;
    }
    life.next_message_is_taken().map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(HISTORIES))]

    #[test]
    fn whatever_happens_to_a_native_agent_its_next_request_is_taken(
        rules in rules(), events in history(),
    ) {
        live(AgentType::LettaV1Agent, rules, false, &events)?;
    }

    #[test]
    fn whatever_happens_to_an_agent_that_must_call_its_next_request_is_taken(
        rules in rules(), events in history(),
    ) {
        live(AgentType::SleeptimeAgent, rules, false, &events)?;
    }

    #[test]
    fn whatever_happens_to_a_heartbeat_agent_its_next_request_is_taken(
        rules in rules(), in_arguments in any::<bool>(), events in history(),
    ) {
        live(AgentType::MemgptV2Agent, rules, in_arguments, &events)?;
    }

    #[test]
    fn whatever_happens_to_a_workflow_agent_its_next_request_is_taken(
        rules in rules(), in_arguments in any::<bool>(), events in history(),
    ) {
        live(AgentType::WorkflowAgent, rules, in_arguments, &events)?;
    }
}
