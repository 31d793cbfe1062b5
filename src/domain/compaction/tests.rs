use super::*;
use crate::domain::clock;
use crate::domain::id::{AgentId, StepId};
use crate::domain::message::{Approval, Part, ToolCall, ToolOutput, ToolReturn, ToolStatus};
use crate::domain::stock;
use CompactionMode::{All, SelfCompactAll, SelfCompactSlidingWindow, SlidingWindow};
use proptest::prelude::*;
use std::collections::HashSet;

mod asked;
mod stored;

fn settings(mode: CompactionMode) -> CompactionSettings {
    CompactionSettings {
        model: None,
        model_settings: None,
        prompt: None,
        prompt_acknowledgement: false,
        clip_chars: Some(50_000),
        mode,
        sliding_window_percentage: 0.3,
    }
}

fn call(id: &str) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        name: "look".to_owned(),
        arguments: r#"{"at":"sky"}"#.to_owned(),
    }
}

fn call_end(id: &str) -> ToolReturn {
    ToolReturn {
        tool_call_id: id.to_owned(),
        status: ToolStatus::Success,
        output: ToolOutput::Packed(r#"{"status":"OK","message":"blue","time":""}"#.to_owned()),
        stdout: None,
        stderr: None,
    }
}

/// One word a message: `s`ystem, `u`ser, `a`ssistant, `S`ummary; `a:x,y` with calls; `q:x` approval request, `p`
/// approval response, `r:x,y` returns. `a+` and the `q` after it are of one step.
fn message(word: &str) -> Message {
    let (kind, ids) = word.split_once(':').unwrap_or((word, ""));
    let ids = || ids.split(',').filter(|id| !id.is_empty());
    let role = match kind {
        "s" => Role::System,
        "u" => Role::User,
        "a" | "a+" => Role::Assistant,
        "S" => Role::Summary,
        "q" | "q+" | "p" => Role::Approval,
        "r" => Role::Tool,
        other => panic!("no message is written {other}"),
    };
    let mut message = Message::new(AgentId::new(), role, clock::now());
    match kind {
        "r" => message.tool_returns = ids().map(call_end).collect(),
        "p" => {
            message.approvals = vec![Approval::Decision {
                tool_call_id: "x".to_owned(),
                approve: true,
                reason: None,
            }];
        }
        _ => message.tool_calls = ids().map(call).collect(),
    }
    if kind.ends_with('+') {
        message.step_id = Some(
            "step-cb39de19-8fe0-4816-b369-08362b108254"
                .parse::<StepId>()
                .unwrap(),
        );
    }
    if matches!(kind, "s" | "u" | "a" | "a+" | "S") {
        message.content = vec![Part::of_text(word)];
    }
    message
}

fn messages(words: &str) -> Vec<Message> {
    words.split_whitespace().map(message).collect()
}

fn counted(messages: &[Message], tokens: u64) -> Vec<Counted<'_>> {
    messages
        .iter()
        .map(|message| Counted { message, tokens })
        .collect()
}

/// The plan for messages of 10 tokens each: mode, first and end of what is summarised.
fn planned(
    words: &str,
    window: u64,
    mode: CompactionMode,
) -> Result<(CompactionMode, usize, usize), NoPlan> {
    let messages = messages(words);
    let plan = plan(&counted(&messages, 10), window, mode, 0.3)?;
    assert_eq!(plan.keep, plan.summarise.end..messages.len());
    Ok((plan.mode, plan.summarise.start, plan.summarise.end))
}

const FIVE_PAIRS: &str = "s u a u a u a u a u a";

#[test]
fn a_context_is_full_above_nine_tenths() {
    for (window, limit) in [
        (0, 0),
        (1, 0),
        (10, 9),
        (11, 9),
        (19, 17),
        (100, 90),
        (128_000, 115_200),
        (u64::MAX, 16_602_069_666_338_596_453),
    ] {
        assert_eq!(threshold(window), limit, "{window}");
        assert!(!due(limit, window));
        assert!(due(limit.saturating_add(1), window));
    }
}

#[test]
fn a_sliding_window_cuts_before_something_the_model_said() {
    let tight = 80; // goal: 56 tokens, the system message and four others
    for (words, window, cut) in [
        // Plenty of room: the first cut that evicts two.
        (FIVE_PAIRS, 100_000, 4),
        // The kept part has to fit below 0.7 of the window.
        (FIVE_PAIRS, 100, 6),
        (FIVE_PAIRS, tight, 8),
        // An earlier summary is summarised again.
        ("s S a u a u a u a u a", 100_000, 4),
        // Calls and their returns stay together.
        ("s u a:x r:x a u a:y r:y a u a", 100, 6),
        ("s u a u a:x,y r:x r:y a u a u a", 100, 7),
        // Ids that are used again belong to the newer call.
        ("s u a:0 r:0 a:0 r:0 a:0 r:0 a u a", 100, 6),
        // A call that nobody ever answered does not hold up what follows.
        ("s u a:x u a u a u a u a", 100, 6),
        // Nor does a return without its call.
        ("s r:x a u a u a u a u a", 100, 6),
        // An approved step is one piece.
        ("s u a u a:f q:x p r:x,f a u a", 100, 8),
        ("s u a u a+ q+:x p r:x a u a", 100, 8),
        // An approval request begins a kept part, if its text stands in it.
        ("s u a u q:x p r:x a u a", 100_000, 4),
    ] {
        assert_eq!(
            planned(words, window, SlidingWindow),
            Ok((SlidingWindow, 1, cut)),
            "{words}"
        );
        assert_eq!(
            planned(words, window, SelfCompactSlidingWindow),
            Ok((SelfCompactSlidingWindow, 1, cut)),
            "{words}"
        );
    }
}

#[test]
fn a_short_thread_comes_out_shorter() {
    let messages = messages(FIVE_PAIRS);
    let plan = plan(&counted(&messages, 10), 100_000, SlidingWindow, 0.3).unwrap();
    let after = plan.apply(&messages, message("S"));
    assert_eq!(after.len(), 9);
    assert_eq!(after[0], messages[0]);
    assert_eq!(after[1].role, Role::Summary);
    assert_eq!(after[2..], messages[4..]);
    assert_eq!(plan.kept_tokens(&counted(&messages, 10)), 80);
}

#[test]
fn a_cut_that_only_the_whole_list_reaches_is_taken() {
    let words = format!("s{}", " u a".repeat(20));
    assert_eq!(
        planned(&words, 80, SlidingWindow),
        Ok((SlidingWindow, 1, 38))
    );
}

#[test]
fn without_a_cut_everything_is_summarised() {
    for (words, window, end) in [
        ("s u a", 100_000, 3),
        ("s u u u", 100_000, 4),
        // The only cut is the last message.
        ("s u u u a", 100_000, 5),
        // No cut leaves few enough tokens.
        (FIVE_PAIRS, 20, 11),
        (FIVE_PAIRS, 0, 11),
        // One step that never ends.
        ("s u a:x r:x", 100_000, 4),
        // The request stays, and with it the free calls and the text of the same answer.
        ("s u a u q:x", 100_000, 4),
        ("s u u a:f q:x", 100_000, 3),
        ("s u u a+ q+:x", 100_000, 3),
        ("s u u q:x p", 100_000, 3),
        ("s u u a:f q:x p", 100_000, 3),
        ("s u u a:x", 100_000, 3),
        // The cut before a request that ends the list is too near.
        ("s u u a q:x", 100_000, 4),
    ] {
        assert_eq!(
            planned(words, window, SlidingWindow),
            Ok((All, 1, end)),
            "{words}"
        );
        assert_eq!(
            planned(words, window, SelfCompactSlidingWindow),
            Ok((All, 1, end)),
            "{words}"
        );
        assert_eq!(planned(words, window, All), Ok((All, 1, end)), "{words}");
        assert_eq!(
            planned(words, window, SelfCompactAll),
            Ok((SelfCompactAll, 1, end)),
            "{words}"
        );
    }
}

#[test]
fn a_pending_request_stays_when_the_window_slides() {
    for (words, cut) in [
        ("s u a u a u a u q:x", 4),
        ("s u a u a u a u a:f q:x", 4),
        ("s u a u a u a u a+ q+:x", 4),
    ] {
        assert_eq!(
            planned(words, 100_000, SlidingWindow),
            Ok((SlidingWindow, 1, cut)),
            "{words}"
        );
    }
}

#[test]
fn too_little_is_left_alone() {
    for (words, why) in [
        ("", NoPlan::Empty),
        ("s", NoPlan::Empty),
        ("s S", NoPlan::OnlySummary(1)),
        ("s u", NoPlan::TooShort(1)),
        ("s S q:x", NoPlan::TooShort(1)),
        ("s q:x", NoPlan::TooShort(0)),
        ("s u a:f q:x", NoPlan::TooShort(1)),
    ] {
        for mode in CompactionMode::ALL {
            assert_eq!(planned(words, 100_000, mode), Err(why), "{words}");
        }
    }
    assert_eq!(planned("s S u", 100_000, All), Ok((All, 1, 3)));
    assert_eq!(NoPlan::Empty.kind(), Kind::Argument);
}

#[test]
fn the_share_decides_where_a_cut_is_looked_for() {
    let messages = messages("s u a u a u a u a u a u a u a u a u a u a"); // 21
    let context = counted(&messages, 1);
    for (share, cut) in [
        (0.0, 4),
        (0.2, 4),
        (0.3, 6),
        (0.5, 10), // 10.5 goes to the even side
        (0.9, 18),
        (f64::NAN, 6),
        (7.0, 21), // nothing fits into nothing
        (-1.0, 4),
    ] {
        let plan = plan(&context, 1_000, SlidingWindow, share).unwrap();
        assert_eq!(plan.summarise, 1..cut, "{share}");
    }
}

#[test]
fn each_mode_has_its_ladder() {
    let ladder = |mode: CompactionMode| {
        let next = |mode: &CompactionMode| mode.fallback();
        std::iter::successors(Some(mode), next).collect::<Vec<_>>()
    };
    assert_eq!(ladder(All), [All]);
    assert_eq!(ladder(SlidingWindow), [SlidingWindow, All]);
    assert_eq!(
        ladder(SelfCompactSlidingWindow),
        [SelfCompactSlidingWindow, All]
    );
    assert_eq!(
        ladder(SelfCompactAll),
        [SelfCompactAll, SelfCompactSlidingWindow, All]
    );
    let own = CompactionMode::ALL.map(CompactionMode::asks_itself);
    assert_eq!(own, [false, false, true, true]);
}

#[test]
fn a_summary_replaces_only_what_is_larger() {
    let window = 100;
    for (mode, trigger, before, after, system, verdict) in [
        (
            SlidingWindow,
            Trigger::PostStepCheck,
            95,
            60,
            10,
            Verdict::Replace,
        ),
        (All, Trigger::Overflow, 120, 89, 10, Verdict::Replace),
        (
            SlidingWindow,
            Trigger::PostStepCheck,
            95,
            90,
            10,
            Verdict::AllOfTheRest,
        ),
        (
            SelfCompactSlidingWindow,
            Trigger::Overflow,
            95,
            120,
            10,
            Verdict::AllOfTheRest,
        ),
        // Still full after everything: go on, the next call shows whether it fits.
        (All, Trigger::Overflow, 120, 95, 10, Verdict::Replace),
        (
            All,
            Trigger::Overflow,
            120,
            119,
            100,
            Verdict::SystemTooLarge,
        ),
        (
            SelfCompactAll,
            Trigger::Overflow,
            120,
            120,
            99,
            Verdict::NotSmaller,
        ),
        (
            SlidingWindow,
            Trigger::PostStepCheck,
            50,
            50,
            10,
            Verdict::NotSmaller,
        ),
        // Who asks gets fewer messages, also where the summary is long.
        (
            SlidingWindow,
            Trigger::Requested,
            50,
            60,
            10,
            Verdict::Replace,
        ),
    ] {
        let sizes = Sizes {
            before,
            after,
            system,
            window,
        };
        assert_eq!(judge(mode, trigger, &sizes), verdict, "{mode:?} {sizes:?}");
    }
}

#[test]
fn a_step_may_make_room_three_times() {
    let mut breaker = Breaker::default();
    let mode = |breaker: &Breaker| breaker.mode(SlidingWindow);
    let mut step = || {
        breaker.step_began();
        let tries = (0..10).take_while(|_| breaker.overflowed()).count();
        (tries, mode(&breaker))
    };
    assert_eq!((step(), step()), ((3, All), (3, All)));
    let mut breaker = Breaker::default();
    assert!(breaker.overflowed());
    assert_eq!(breaker.mode(SelfCompactAll), SelfCompactAll);
}

#[test]
fn failures_in_a_row_lengthen_the_pause_and_a_success_ends_it() {
    let mut breaker = Breaker::default();
    // Checks left out after each failure.
    let after_failure = |breaker: &mut Breaker| {
        breaker.failed();
        (0..100).take_while(|_| !breaker.may_check()).count()
    };
    let pauses: Vec<usize> = (0..10).map(|_| after_failure(&mut breaker)).collect();
    assert_eq!(pauses, [0, 0, 1, 2, 4, 8, 16, 32, 32, 32]);
    for _ in 0..300 {
        breaker.failed();
    }
    assert!(breaker.is_open());
    breaker.step_began();
    assert_eq!([breaker.overflowed(), breaker.overflowed()], [true, false]);
    breaker.succeeded();
    assert_eq!(after_failure(&mut breaker), 0);
}

#[test]
fn a_request_changes_only_what_it_names() {
    let mut agents = settings(SlidingWindow);
    agents.prompt = Some("Mine.".to_owned());
    let with = |change: CompactionChange| overridden(&agents, Some(change));
    assert_eq!(overridden(&agents, None), agents);
    assert_eq!(with(CompactionChange::default()), agents);
    for (mode, prompt, expected) in [
        (Some(All), None, stock::compaction_prompt(All)),
        (Some(SlidingWindow), None, "Mine."),
        (None, Some(Some("Yours.".to_owned())), "Yours."),
        (Some(All), Some(Some("Yours.".to_owned())), "Yours."),
        (None, Some(None), stock::compaction_prompt(SlidingWindow)),
        (Some(All), Some(None), stock::compaction_prompt(All)),
    ] {
        let changed = with(CompactionChange {
            mode,
            prompt,
            ..CompactionChange::default()
        });
        assert_eq!(changed.prompt.as_deref(), Some(expected));
        assert_eq!(changed.mode, mode.unwrap_or(SlidingWindow));
        assert_eq!(changed.clip_chars, agents.clip_chars);
    }
    let uncapped = with(CompactionChange {
        clip_chars: Some(None),
        sliding_window_percentage: Some(0.5),
        ..CompactionChange::default()
    });
    assert_eq!(
        (uncapped.clip_chars, uncapped.sliding_window_percentage),
        (None, 0.5)
    );
}

#[test]
fn every_mode_has_a_prompt_of_its_own() {
    let prompts: HashSet<&str> = CompactionMode::ALL.map(stock::compaction_prompt).into();
    assert_eq!(prompts.len(), CompactionMode::ALL.len());
}

/// What happens in a turn, as words.
fn any_event() -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![
        4 => Just(vec!["u", "a"]),
        1 => Just(vec!["u"]),
        1 => Just(vec!["a"]),
        1 => Just(vec!["S"]),
        3 => Just(vec!["u", "a:0", "r:0", "a"]),
        2 => Just(vec!["a:0,1", "r:0,1"]),
        1 => Just(vec!["a:0,1", "r:0", "r:1"]),
        2 => Just(vec!["q:2", "p", "r:2"]),
        2 => Just(vec!["a:0", "q:2", "p", "r:2,0"]),
        1 => Just(vec!["a+", "q+:2", "p", "r:2"]),
        1 => Just(vec!["a:9", "u"]),
        1 => Just(vec!["r:8"]),
    ]
}

fn any_tail() -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![
        3 => Just(vec![]),
        1 => Just(vec!["q:7"]),
        1 => Just(vec!["a:6", "q:7"]),
        1 => Just(vec!["a+", "q+:7"]),
        1 => Just(vec!["q:7", "p"]),
        1 => Just(vec!["a:7"]),
    ]
}

/// A conversation, the tokens of its messages, and how many of its last messages wait for an answer.
fn any_history() -> impl Strategy<Value = (Vec<Message>, Vec<u64>, usize)> {
    (prop::collection::vec(any_event(), 0..14), any_tail()).prop_flat_map(|(events, tail)| {
        let words = std::iter::once("s")
            .chain(events.into_iter().flatten())
            .chain(tail.iter().copied());
        let messages: Vec<Message> = words.map(message).collect();
        let tokens = prop::collection::vec(0_u64..400, messages.len());
        (Just(messages), tokens, Just(tail.len()))
    })
}

/// Messages in any order, which no agent ever wrote.
fn any_nonsense() -> impl Strategy<Value = Vec<Message>> {
    let word = prop::sample::select(vec![
        "s", "u", "a", "S", "a:0", "a:1", "a:0,1", "q:0", "q:1", "q+:0", "a+", "p", "r:0", "r:1",
        "r:0,1", "r",
    ]);
    prop::collection::vec(word.prop_map(message), 0..20)
}

fn any_mode() -> impl Strategy<Value = CompactionMode> {
    prop::sample::select(CompactionMode::ALL.to_vec())
}

/// Calls before the cut whose return stands behind it, found the slow way.
fn split_calls(messages: &[Message], cut: usize) -> usize {
    let mut split = 0;
    for (at, message) in messages.iter().enumerate().take(cut) {
        for call in &message.tool_calls {
            for later in &messages[at + 1..] {
                let answers = later
                    .tool_returns
                    .iter()
                    .any(|end| end.tool_call_id == call.id);
                let position = messages
                    .iter()
                    .position(|message| std::ptr::eq(message, later))
                    .unwrap();
                split += usize::from(answers && position >= cut);
                if later.tool_calls.iter().any(|other| other.id == call.id) {
                    break;
                }
            }
        }
    }
    split
}

proptest! {
    #[test]
    fn a_plan_is_sound_whatever_the_history(
        (messages, tokens, waiting) in any_history(),
        window in 0_u64..6_000,
        mode in any_mode(),
        share in 0.0..=1.0_f64,
    ) {
        let context: Vec<Counted<'_>> = messages
            .iter()
            .zip(&tokens)
            .map(|(message, tokens)| Counted { message, tokens: *tokens })
            .collect();
        let Ok(plan) = plan(&context, window, mode, share) else {
            // Refused only where less than two messages may go.
            let free = messages.len() - 1 - waiting;
            prop_assert!(free < 2 || messages.len() == 2, "{free}");
            return Ok(());
        };
        prop_assert_eq!(plan.summarise.start, 1);
        prop_assert!(plan.summarise.len() >= MIN_EVICTED);
        prop_assert_eq!(&plan.keep, &(plan.summarise.end..messages.len()));
        prop_assert!(plan.keep.len() >= waiting, "what waits for an answer stays");
        prop_assert_eq!(split_calls(&messages, plan.summarise.end), 0);

        // The kept part begins with what the model said, and keeps its order.
        if let Some(head) = messages.get(plan.keep.start) {
            prop_assert!(head.role == Role::Assistant || is_request(head));
            prop_assert!(!same_answer(&messages[plan.keep.start - 1], head));
        }
        let after = plan.apply(&messages, message("S"));
        prop_assert!(after.len() < messages.len());
        prop_assert_eq!(&after[0], &messages[0]);
        prop_assert_eq!(&after[2..], &messages[plan.keep.clone()]);

        // A sliding window leaves less than its goal; it gives up only where no cut would.
        let goal = (1.0 - share) * window as f64;
        let fits = |cut: usize| {
            ((tokens[0] + tokens[cut..].iter().sum::<u64>()) as f64) < goal
        };
        match (mode.keeps_recent(), plan.mode) {
            (true, All) => {
                let shape = Shape::of(&context);
                let end = if waiting > 0 { messages.len() - 2 } else { messages.len() - 1 };
                let found = (3..end.min(messages.len() - waiting)).find(|cut| shape.may_cut[*cut] && fits(*cut));
                prop_assert_eq!(found, None);
            }
            (true, followed) => {
                prop_assert_eq!(followed, mode);
                prop_assert!(fits(plan.summarise.end));
                prop_assert_eq!(plan.kept_tokens(&context), tokens[0] + tokens[plan.keep.start..].iter().sum::<u64>());
            }
            (false, followed) => {
                prop_assert_eq!(followed, mode);
                prop_assert_eq!(plan.keep.len(), messages.len() - Shape::of(&context).pending);
            }
        }
    }

    #[test]
    fn nothing_of_what_no_agent_wrote_is_split_or_looped_over(messages in any_nonsense(), window in 0_u64..400, mode in any_mode()) {
        if let Ok(plan) = plan(&counted(&messages, 10), window, mode, 0.3) {
            prop_assert!(plan.summarise.len() >= MIN_EVICTED);
            if plan.mode.keeps_recent() {
                prop_assert_eq!(split_calls(&messages, plan.summarise.end), 0);
            }
        }
    }

    #[test]
    fn compacting_again_and_again_comes_to_an_end(
        (mut messages, _, _) in any_history(),
        window in 0_u64..400,
        mode in any_mode(),
    ) {
        let mut rounds = 0;
        while let Ok(plan) = plan(&counted(&messages, 10), window, mode, 0.3) {
            let after = plan.apply(&messages, message("S"));
            prop_assert!(after.len() < messages.len());
            messages = after;
            rounds += 1;
            prop_assert!(rounds < 100);
        }
    }

    #[test]
    fn without_being_asked_a_context_only_ever_shrinks(
        mode in any_mode(),
        overflow in any::<bool>(),
        before in 0_u64..300,
        after in 0_u64..300,
        system in 0_u64..200,
        window in 0_u64..200,
    ) {
        let trigger = if overflow { Trigger::Overflow } else { Trigger::PostStepCheck };
        let sizes = Sizes { before, after, system, window };
        match judge(mode, trigger, &sizes) {
            Verdict::Replace => prop_assert!(after < before),
            // The rest is summarised by `All`, which is the end of the ladder.
            Verdict::AllOfTheRest => prop_assert!(mode.keeps_recent()),
            Verdict::NotSmaller => prop_assert!(after >= before),
            Verdict::SystemTooLarge => prop_assert!(system >= window),
        }
    }
}
