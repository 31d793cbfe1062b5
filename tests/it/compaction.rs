//! Compaction from the outside (providers-and-context §10 and §11, agent-loop §4 and §11): when a context is summarised,
//! what is left of it, what clients are told, and that a summariser which fails spoils nothing.

use crate::model::{SUMMARY, SUMMARY_TOKENS, Summariser, choice, offered, texts};
use crate::turns::{approve, asked, insert, kinds, messages, parallel, stop, tool, with};
use crate::world::{World, events};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The window of these agents: their prompt and tools are a small part of it.
const WINDOW: u64 = 40_000;

/// More tokens than nine tenths of the window.
const FULL: u64 = 38_000;

// ── agents, turns and what is left

async fn agent(world: &World, fields: Value) -> String {
    let window = json!({"context_window_limit": WINDOW});
    world.agent_with(with(&window, &fields)).await
}

async fn with_settings(world: &World, settings: Value) -> String {
    agent(world, json!({"compaction_settings": settings})).await
}

/// Words enough that a summary is shorter.
fn long(name: &str) -> String {
    format!("{name} {}", "and so on ".repeat(150))
}

/// So many ordinary turns: a question and an answer each.
async fn talk(world: &World, agent: &str, turns: usize) {
    for turn in 0..turns {
        world.send(agent, &long(&format!("turn-{turn}"))).await;
    }
}

/// A turn whose one answer fills the window.
fn full(words: &str) -> String {
    format!("[[usage:{FULL}]] {words}")
}

async fn send(world: &World, agent: &str, fields: Value) -> Value {
    let path = format!("/v1/agents/{agent}/messages");
    world.post(&path, fields).await
}

/// The ids of the context.
async fn context(world: &World, agent: &str) -> Vec<String> {
    let state = world.get(&format!("/v1/agents/{agent}")).await;
    let ids = state["message_ids"].as_array().unwrap().iter();
    ids.map(|id| id.as_str().unwrap().to_owned()).collect()
}

async fn summarize(world: &World, agent: &str, body: Option<Value>) -> (u16, Value) {
    let path = format!("/v1/agents/{agent}/summarize");
    let (status, answer) = world.call(Method::POST, &path, body).await;
    (status.as_u16(), answer)
}

/// It went through; the summary and the two counts.
async fn summarized(world: &World, agent: &str, body: Value) -> (String, u64, u64) {
    let (status, answer) = summarize(world, agent, Some(body)).await;
    assert_eq!(status, 200, "{answer}\n{}", world.log());
    let count = |key: &str| answer[key].as_u64().unwrap();
    (
        answer["summary"].as_str().unwrap().to_owned(),
        count("num_messages_before"),
        count("num_messages_after"),
    )
}

/// The envelope that a summary is packed in (messages-and-search §3).
fn envelope(text: &Value) -> Value {
    let envelope: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    assert_eq!(envelope["type"], "system_alert", "{envelope}");
    assert!(envelope["time"].is_string());
    assert!(
        envelope["message"].as_str().unwrap().contains(SUMMARY),
        "{envelope}"
    );
    envelope
}

/// The texts of the newest request of a turn after its system message, each cut to its first word.
fn seen(world: &World) -> Vec<(String, String)> {
    let body = world.model.turns().pop().unwrap();
    let messages = body["messages"].as_array().unwrap().iter().skip(1);
    messages
        .map(|message| {
            let text = message["content"].as_str().unwrap_or_default();
            let role = message["role"].as_str().unwrap();
            (role.to_owned(), text.to_owned())
        })
        .collect()
}

fn system(body: &Value) -> String {
    texts(body, "system").remove(0)
}

// ── after a step

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fills_nine_tenths_of_the_window_is_followed_by_a_summary() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    talk(&world, &agent, 4).await;
    // floor(0.9 × window) itself is not too much.
    let edge = WINDOW / 10 * 9;
    world
        .send(&agent, &format!("[[usage:{edge}]] just right"))
        .await;
    assert_eq!(world.model.summaries().len(), 0);
    assert_eq!(context(&world, &agent).await.len(), 11);

    let before = context(&world, &agent).await;
    let answer = world
        .send(&agent, &format!("[[usage:{}]] too much", edge + 1))
        .await;
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(
        kinds(messages(&answer)),
        ["assistant_message", "user_message"],
        "{answer}"
    );
    assert_eq!(messages(&answer)[0]["content"], "echo: too much");
    envelope(&messages(&answer)[1]["content"]);
    assert_eq!(world.model.summaries().len(), 1);

    // 13 messages, 30 % of them are 4: the furthest cut up to there before something the model said is 4, and leaves three
    // messages out (do better of §10: the first share is p itself).
    let after = context(&world, &agent).await;
    assert_eq!(after.len(), 11, "{after:?}");
    assert_eq!(after[0], before[0], "the system message keeps its place");
    assert_eq!(
        json!(after[1]),
        messages(&answer)[1]["id"],
        "then the summary"
    );
    assert_eq!(after[2..9], before[4..]);

    let answer = world.send(&agent, "on").await;
    assert_eq!(messages(&answer)[0]["content"], "echo: on");
    let seen = seen(&world);
    assert_eq!(
        seen[0].0, "user",
        "the model reads a summary as a user's message"
    );
    envelope(&json!(seen[0].1));
    assert!(seen[1].1.starts_with("echo: turn-1"), "{seen:?}");
    assert_eq!(world.model.summaries().len(), 1, "once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_compaction_messages_is_told_what_happened() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    for mode in [
        json!({}),
        json!({"streaming": true}),
        json!({"streaming": true, "stream_tokens": true}),
        json!({"streaming": true, "background": true}),
    ] {
        talk(&world, &agent, 4).await;
        let before = context(&world, &agent).await.len() as u64 + 2;
        let body = with(
            &json!({"input": full("too much"), "include_compaction_messages": true}),
            &mode,
        );
        let shown = if mode == json!({}) {
            let answer = send(&world, &agent, body).await;
            let estimate = answer["usage"]["context_tokens"].as_u64().unwrap();
            assert!(
                estimate < FULL,
                "the context is what is left of it: {answer}"
            );
            messages(&answer).to_vec()
        } else {
            let mut frames = world.frames(&agent, &body).await;
            frames.truncate(frames.len() - 2);
            frames.retain(|frame| frame["message_type"] != "assistant_message");
            [vec![json!({"message_type": "assistant_message"})], frames].concat()
        };
        assert_eq!(
            kinds(&shown),
            ["assistant_message", "event_message", "summary_message"],
            "{mode}: {shown:?}"
        );
        let [_, event, summary] = shown.as_slice() else {
            panic!("{shown:?}")
        };
        assert_eq!(event["event_type"], "compaction");
        assert_eq!(
            event["event_data"],
            json!({"trigger": "post_step_context_check", "context_token_estimate": FULL, "context_window": WINDOW})
        );
        assert_eq!(summary["summary"], SUMMARY);
        let stats = &summary["compaction_stats"];
        assert_eq!(stats["trigger"], "post_step_context_check");
        assert_eq!(stats["context_window"], WINDOW);
        let after = context(&world, &agent).await;
        assert_eq!(stats["messages_count_before"], before, "{stats}");
        assert_eq!(stats["messages_count_after"], after.len(), "{stats}");
        let tokens = |key: &str| stats[key].as_u64().unwrap();
        assert!(
            tokens("context_tokens_after") < tokens("context_tokens_before"),
            "{stats}"
        );
        assert_eq!(json!(after[1]), summary["id"]);
        for message in [event, summary] {
            assert!(
                message["run_id"].is_string() && message["step_id"].is_string(),
                "{message}"
            );
            assert!(
                message["id"].is_string() && message["date"].is_string(),
                "{message}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_ask_sees_a_users_message_in_streams_too() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    for tokens in [false, true] {
        talk(&world, &agent, 4).await;
        let body = json!({"input": full("much"), "streaming": true, "stream_tokens": tokens});
        let frames = world.frames(&agent, &body).await;
        let mut shape = kinds(&frames);
        shape.dedup();
        assert_eq!(
            shape,
            [
                "assistant_message",
                "user_message",
                "stop_reason",
                "usage_statistics"
            ]
        );
        let summary = frames
            .iter()
            .find(|frame| frame["message_type"] == "user_message")
            .unwrap();
        let packed = envelope(&summary["content"]);
        assert_eq!(
            packed["compaction_stats"]["trigger"],
            "post_step_context_check"
        );
        // A list shows it in the same form and under the same id (messages-and-search §4).
        let listed = world.history(&agent).await;
        let listed = listed
            .iter()
            .find(|message| message["id"] == summary["id"])
            .unwrap();
        assert_eq!(
            (&listed["message_type"], &listed["content"], &listed["otid"]),
            (
                &json!("user_message"),
                &summary["content"],
                &summary["otid"]
            )
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_under_way_goes_on_from_the_summary_with_a_fresh_prompt() {
    let world = World::new().await;
    for mode in ["sliding_window", "all"] {
        let agent = with_settings(&world, json!({"mode": mode})).await;
        talk(&world, &agent, 4).await;
        // The first answer fills the window, the second does not.
        let said = format!(
            "[[usage:{FULL},20]]{}{} went on",
            tool(&insert("Likes tea.")),
            tool(&insert("Likes jam."))
        );
        let answer = world.send(&agent, &said).await;
        assert_eq!(
            kinds(messages(&answer)),
            [
                "tool_call_message",
                "tool_return_message",
                "user_message",
                "tool_call_message",
                "tool_return_message",
                "assistant_message"
            ],
            "{mode}: {answer}"
        );
        assert_eq!(messages(&answer)[5]["content"], "echo: went on");
        let turns = world.model.turns();
        let [first, second, third] = &turns[turns.len() - 3..] else {
            panic!()
        };
        // agent-loop §3: a running turn keeps its snapshot until it compacts.
        assert!(!system(first).contains("Likes tea."));
        assert!(
            system(second).contains("Likes tea."),
            "{mode}: compaction recompiles"
        );
        assert!(
            !system(third).contains("Likes jam."),
            "{mode}: an edit alone does not"
        );
        let roles: Vec<&str> = second["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["role"].as_str().unwrap())
            .collect();
        if mode == "all" {
            assert_eq!(roles, ["system", "user"], "system and summary");
        } else {
            assert!(roles.len() > 3, "{roles:?}");
        }
        world.assert_paired(&agent).await;
        assert_eq!(
            messages(&world.send(&agent, "next").await)[0]["content"],
            "echo: next"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_evicted_is_still_listed_and_found() {
    let world = World::new().await;
    let agent = with_settings(&world, json!({"mode": "all"})).await;
    world.send(&agent, "the password is xylophone").await;
    talk(&world, &agent, 3).await;
    world.send(&agent, &full("the last")).await;
    assert_eq!(context(&world, &agent).await.len(), 2);
    let history = world.history(&agent).await;
    let texts: Vec<&str> = history
        .iter()
        .filter_map(|message| message["content"].as_str())
        .collect();
    for text in [
        "the password is xylophone",
        "echo: the password is xylophone",
        "echo: the last",
    ] {
        assert!(texts.contains(&text), "{text}");
    }
    assert_eq!(history.len(), 1 + 2 * 5 + 1, "{:?}", kinds(&history));
    assert_eq!(
        kinds(&history).last(),
        Some(&"user_message"),
        "the summary is the newest"
    );
    let said = format!(
        "{} looked",
        tool("conversation_search {\"query\":\"xylophone\"}")
    );
    let answer = world.send(&agent, &said).await;
    let found = messages(&answer)[1]["tool_return"].as_str().unwrap();
    assert!(found.contains("the password is xylophone"), "{found}");
}

// ── modes and settings

#[tokio::test(flavor = "multi_thread")]
async fn the_share_of_a_sliding_window_says_how_much_goes() {
    let world = World::new().await;
    // 21 messages: system and ten pairs. The answers stand at 2, 4, … 20; 20 is the end.
    for (share, first_kept) in [(0.1, 4), (0.3, 6), (0.5, 10), (0.9, 18)] {
        let agent = with_settings(&world, json!({"sliding_window_percentage": share})).await;
        for turn in 0..10 {
            world.send(&agent, &format!("t{turn}")).await;
        }
        let before = context(&world, &agent).await;
        let (_, count, after) = summarized(&world, &agent, json!({})).await;
        assert_eq!((count, after), (21, 2 + 21 - first_kept), "{share}");
        let kept = context(&world, &agent).await;
        assert_eq!(
            kept[2..],
            before[usize::try_from(first_kept).unwrap()..],
            "{share}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summariser_is_asked_with_a_prompt_of_its_own_and_no_tools() {
    let world = World::new().await;
    let settings = json!({"mode": "all", "prompt": "Write it down as a poem."});
    let agent = with_settings(&world, settings).await;
    world
        .send(&agent, &format!("{} noted", tool(&insert("Likes tea."))))
        .await;
    let own = system(&world.model.last_body());
    summarized(&world, &agent, json!({})).await;
    let body = world.model.summaries().pop().unwrap();
    assert_eq!(body["model"], "scripted");
    assert!(offered(&body).is_empty());
    assert!(["nothing", "none"].contains(&choice(&body).as_str()));
    assert_ne!(system(&body), own);
    let all = body["messages"].to_string();
    assert!(all.contains("Write it down as a poem."), "{all}");
    // Transcript lines `[role] text -> tool(args)`.
    let asked = texts(&body, "user").pop().unwrap();
    for line in [
        "[user] [[tool:memory_insert",
        "-> memory_insert({",
        "[assistant] echo: noted",
    ] {
        assert!(asked.contains(line), "{line}: {asked}");
    }
    assert!(asked.contains("Likes tea."), "{asked}");
    assert!(!asked.contains(&own), "the system message stays");

    // An earlier summary is summarised again.
    talk(&world, &agent, 2).await;
    summarized(&world, &agent, json!({})).await;
    let asked = texts(&world.model.summaries().pop().unwrap(), "user")
        .pop()
        .unwrap();
    assert!(asked.contains(SUMMARY), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_a_turn_before_the_summary() {
    let world = World::new().await;
    for (given, turns) in [(false, 0), (true, 1)] {
        let agent = with_settings(
            &world,
            json!({"mode": "all", "prompt_acknowledgement": given}),
        )
        .await;
        talk(&world, &agent, 2).await;
        summarized(&world, &agent, json!({})).await;
        let body = world.model.summaries().pop().unwrap();
        assert_eq!(texts(&body, "assistant").len(), turns, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_summary_is_clipped() {
    let world = World::new().await;
    let long = "0123456789".repeat(40);
    world.model.summariser(Summariser::Says(long.clone()));
    for (chars, cut) in [
        (json!(20), true),
        (json!(null), false),
        (json!(-1), false),
        (json!(400), false),
    ] {
        let agent = with_settings(&world, json!({"mode": "all", "clip_chars": chars})).await;
        talk(&world, &agent, 2).await;
        let (summary, ..) = summarized(&world, &agent, json!({})).await;
        if cut {
            assert!(summary.starts_with(&long[..20]), "{summary}");
            assert!(
                !summary.contains(&long[..30]) && summary.len() > 20,
                "cut, with a mark: {summary}"
            );
        } else {
            assert_eq!(summary, long, "{chars}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summariser_that_is_not_there_is_replaced_by_the_agents_own_model() {
    let world = World::new().await;
    let agent = with_settings(
        &world,
        json!({"mode": "all", "model": "anthropic/claude-haiku-4-5"}),
    )
    .await;
    talk(&world, &agent, 2).await;
    let (summary, ..) = summarized(&world, &agent, json!({})).await;
    assert_eq!(summary, SUMMARY);
    assert_eq!(world.model.summaries().pop().unwrap()["model"], "scripted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_own_model_can_be_asked_in_place() {
    let world = World::new().await;
    let prompt = "Write down where we are. [[summary]]";
    for (mode, left) in [("self_compact_all", 2), ("self_compact_sliding_window", 9)] {
        let agent = with_settings(&world, json!({"mode": mode, "prompt": prompt})).await;
        talk(&world, &agent, 5).await;
        let usual = world.model.last_body();
        let (summary, before, after) = summarized(&world, &agent, json!({})).await;
        assert_eq!(
            (summary.as_str(), before, after),
            (SUMMARY, 11, left),
            "{mode}"
        );
        let body = world.model.summaries().pop().unwrap();
        // A warm cache: tools and system text are those of the turns before.
        assert_eq!(body["tools"], usual["tools"], "{mode}");
        assert_eq!(system(&body), system(&usual), "{mode}");
        let asked = body["messages"].as_array().unwrap();
        let last = asked.last().unwrap();
        assert_eq!(
            (&last["role"], &last["content"]),
            (&json!("user"), &json!(prompt))
        );
        assert_eq!(asked[asked.len() - 2]["role"], "assistant");
        assert_eq!(
            messages(&world.send(&agent, "on").await)[0]["content"],
            "echo: on"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_asked_in_place_is_asked_about_a_transcript() {
    let world = World::new().await;
    world.model.summariser(Summariser::RefusesInPlace(400));
    for mode in ["self_compact_all", "self_compact_sliding_window"] {
        let agent =
            with_settings(&world, json!({"mode": mode, "prompt": "Down. [[summary]]"})).await;
        talk(&world, &agent, 5).await;
        let (summary, before, after) = summarized(&world, &agent, json!({})).await;
        assert_eq!(summary, SUMMARY, "{mode}");
        assert_eq!((before, after), (11, 2), "{mode}: the last resort is all");
        let body = world.model.summaries().pop().unwrap();
        assert!(offered(&body).is_empty(), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_overrides_the_settings_for_itself_alone() {
    let world = World::new().await;
    let agent = with_settings(&world, json!({"prompt": "Of the agent."})).await;
    let settings = world.get(&format!("/v1/agents/{agent}")).await["compaction_settings"].clone();
    assert_eq!(
        (&settings["mode"], &settings["prompt"]),
        (&json!("sliding_window"), &json!("Of the agent."))
    );
    talk(&world, &agent, 5).await;
    let only = |fields: Value| json!({"compaction_settings": fields});
    let (summary, _, after) = summarized(&world, &agent, only(json!({"clip_chars": 4}))).await;
    assert_eq!(after, 9, "the mode is the agent's");
    assert!(summary.starts_with(&SUMMARY[..4]) && !summary.contains(SUMMARY));
    let prompt = || world.model.summaries().pop().unwrap()["messages"].to_string();
    assert!(prompt().contains("Of the agent."));

    // A changed mode without a prompt takes that mode's default.
    let (_, _, after) = summarized(&world, &agent, only(json!({"mode": "all"}))).await;
    assert_eq!(after, 2);
    assert!(!prompt().contains("Of the agent."), "{}", prompt());
    talk(&world, &agent, 2).await;
    summarized(
        &world,
        &agent,
        only(json!({"mode": "all", "prompt": "Of the request."})),
    )
    .await;
    assert!(prompt().contains("Of the request."));
    let unchanged = world.get(&format!("/v1/agents/{agent}")).await["compaction_settings"].clone();
    assert_eq!(unchanged, settings);
}

// ── the endpoint (providers-and-context §11)

#[tokio::test(flavor = "multi_thread")]
async fn a_short_thread_comes_out_shorter_when_somebody_asks() {
    let world = World::new().await;
    for body in [
        None,
        Some(json!({})),
        Some(json!({"compaction_settings": null})),
    ] {
        // No window, no settings: as a new agent is.
        let agent = world.agent(&[]).await;
        for turn in 0..5 {
            world.send(&agent, &format!("t{turn}")).await;
        }
        let before = context(&world, &agent).await;
        let (status, answer) = summarize(&world, &agent, body.clone()).await;
        assert_eq!(status, 200, "{body:?}: {answer}");
        // 11 messages; a cut at 2 would only take one out, the next share leaves three.
        assert_eq!(
            answer,
            json!({"summary": SUMMARY, "num_messages_before": 11, "num_messages_after": 9})
        );
        let after = context(&world, &agent).await;
        assert_eq!(after.len(), 9);
        assert_eq!((&after[0], &after[2..]), (&before[0], &before[4..]));
        let runs = world.get(&format!("/v1/runs/?agent_id={agent}")).await;
        assert_eq!(runs.as_array().unwrap().len(), 5, "it makes no run");
        let steps = world.get(&format!("/v1/steps/?agent_id={agent}")).await;
        let costs: Vec<&Value> = steps
            .as_array()
            .unwrap()
            .iter()
            .map(|step| &step["total_tokens"])
            .collect();
        assert!(
            costs.contains(&&json!(SUMMARY_TOKENS)),
            "its cost is in a step record: {costs:?}"
        );
        assert_eq!(
            messages(&world.send(&agent, "on").await)[0]["content"],
            "echo: on"
        );
        envelope(&json!(seen(&world)[0].1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_with_nothing_to_summarise_is_answered_without_a_model() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    let (status, answer) = summarize(&world, &agent, Some(json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer,
        json!({"summary": "", "num_messages_before": 1, "num_messages_after": 1}),
        "only the system message"
    );

    world.send(&agent, "hello").await;
    let all = json!({"compaction_settings": {"mode": "all"}});
    assert_eq!(
        summarized(&world, &agent, all.clone()).await,
        (SUMMARY.to_owned(), 3, 2)
    );
    let asked = world.model.requests();
    assert_eq!(
        summarized(&world, &agent, all).await,
        (SUMMARY.to_owned(), 2, 2),
        "only system message and summary"
    );
    assert_eq!(world.model.requests(), asked);

    // One message: its summary would take its place.
    let one = world
        .agent_with(json!({"initial_message_sequence": [{"role": "user", "content": "hello"}]}))
        .await;
    let before = context(&world, &one).await;
    assert_eq!(before.len(), 2);
    for mode in ["all", "sliding_window"] {
        let (status, answer) = summarize(
            &world,
            &one,
            Some(json!({"compaction_settings": {"mode": mode}})),
        )
        .await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["detail"].is_string(), "{answer}");
    }
    assert_eq!(context(&world, &one).await, before);
    let (status, _) = summarize(
        &world,
        "agent-00000000-0000-4000-8000-000000000001",
        Some(json!({})),
    )
    .await;
    assert_eq!(status, 404);
    let (status, _) = summarize(
        &world,
        &agent,
        Some(json!({"compaction_settings": {"mode": "none"}})),
    )
    .await;
    assert_eq!(status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_thread_is_compacted_by_the_route_of_conversations_too() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    talk(&world, &agent, 5).await;
    let body = json!({"agent_id": agent, "compaction_settings": {"mode": "all"}});
    let answer = world.post("/v1/conversations/default/compact", body).await;
    assert_eq!(
        answer,
        json!({"summary": SUMMARY, "num_messages_before": 11, "num_messages_after": 2})
    );
    assert_eq!(context(&world, &agent).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_summariser_fails_changes_nothing() {
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    talk(&world, &agent, 4).await;
    let before = context(&world, &agent).await;
    for failure in [
        Summariser::Refuses(400),
        Summariser::Refuses(401),
        Summariser::Empty,
        Summariser::Overflows(99),
    ] {
        world.model.summariser(failure.clone());
        let (status, answer) = summarize(&world, &agent, Some(json!({}))).await;
        assert!(status >= 400, "{failure:?}: {answer}");
        assert_eq!(context(&world, &agent).await, before, "{failure:?}");
    }
    world.model.summariser(Summariser::default());
    assert_eq!(summarized(&world, &agent, json!({})).await.1, 9);
}

// ── calls and returns stay together

#[tokio::test(flavor = "multi_thread")]
async fn no_cut_falls_between_a_call_and_its_return() {
    // The scripted model refuses a request that breaks a pair.
    let world = World::new().await;
    for tenths in 1..10 {
        let share = f64::from(tenths) / 10.0;
        let agent = with_settings(&world, json!({"sliding_window_percentage": share})).await;
        for turn in 0..3 {
            let calls = [insert(&format!("a{turn}")), insert(&format!("b{turn}"))];
            let said = format!(
                "{}{}{} t{turn}",
                parallel(&calls),
                tool(&insert("c")),
                tool(&insert("d"))
            );
            world.send(&agent, &said).await;
        }
        let (_, before, after) = summarized(&world, &agent, json!({})).await;
        assert!(after < before, "{share}");
        let answer = world
            .send(&agent, &format!("{} on", tool(&insert("e"))))
            .await;
        assert_eq!(stop(&answer), "end_turn", "{share}: {answer}");
        assert_eq!(messages(&answer)[2]["content"], "echo: on");
        world.assert_paired(&agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_an_answer_are_never_evicted() {
    for mode in ["sliding_window", "all"] {
        let world = World::new().await;
        let fields = json!({
            "tools": ["core_memory_append"],
            "tool_rules": [{"type": "requires_approval", "tool_name": "memory_insert"}],
            // Any other rule asks for one call at a time (agent-loop §4).
            "include_base_tool_rules": false,
            "model_settings": {"provider_type": "openai", "parallel_tool_calls": true},
            "compaction_settings": {"mode": mode},
        });
        let agent = agent(&world, fields).await;
        talk(&world, &agent, 3).await;
        // The request itself fills the window: a compaction follows the step that asks.
        let free = "core_memory_append {\"label\":\"persona\",\"content\":\"free\"}".to_owned();
        let said = format!(
            "[[usage:{FULL},20]]{} answered",
            parallel(&[insert("gated"), free])
        );
        let answer = world.send(&agent, &said).await;
        assert_eq!(stop(&answer), "requires_approval", "{mode}: {answer}");
        assert_eq!(world.model.summaries().len(), 1, "{mode}");
        let pending = world.pending(&agent).await;
        let request = messages(&answer)
            .iter()
            .find(|message| message["message_type"] == "approval_request_message");
        assert_eq!(&pending, request.unwrap(), "{mode}");
        let ids = context(&world, &agent).await;
        let tail: Vec<Value> = ids[ids.len() - 2..].iter().map(|id| json!(id)).collect();
        let calls = messages(&answer)
            .iter()
            .find(|message| message["message_type"] == "tool_call_message");
        assert_eq!(
            tail,
            [calls.unwrap()["id"].clone(), pending["id"].clone()],
            "{mode}: the free calls stay as well"
        );

        // And so it is when somebody asks for it meanwhile.
        let (status, _) = summarize(
            &world,
            &agent,
            Some(json!({"compaction_settings": {"mode": "all"}})),
        )
        .await;
        assert!([200, 400].contains(&status));
        assert_eq!(world.pending(&agent).await, pending);
        let id = pending["tool_calls"][0]["tool_call_id"].as_str().unwrap();
        let answer = world.items(&agent, &[approve(&[id])]).await;
        assert_eq!(
            kinds(messages(&answer)),
            ["tool_return_message", "assistant_message"],
            "{mode}: {answer}"
        );
        assert_eq!(world.block(&agent, "human").await, "Name: unknown\ngated");
        assert_eq!(world.block(&agent, "persona").await, "I am a helper.\nfree");
        world.assert_paired(&agent).await;
    }
}

// ── a provider that refuses a request for its size

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_long_is_compacted_and_sent_again() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    for mode in [
        json!({}),
        json!({"streaming": true}),
        json!({"streaming": true, "stream_tokens": true}),
    ] {
        talk(&world, &agent, 4).await;
        let words = format!("[[overflow:1]] fits {}", mode.as_object().unwrap().len());
        let reply = format!("echo: fits {}", mode.as_object().unwrap().len());
        let body = with(
            &json!({"input": words, "include_compaction_messages": true}),
            &mode,
        );
        let shown = if mode == json!({}) {
            let answer = send(&world, &agent, body).await;
            assert_eq!(stop(&answer), "end_turn");
            messages(&answer).to_vec()
        } else {
            let mut frames = world.frames(&agent, &body).await;
            assert_eq!(frames.pop().unwrap()["message_type"], "usage_statistics");
            assert_eq!(frames.pop().unwrap()["stop_reason"], "end_turn");
            frames
        };
        let mut shape = kinds(&shown);
        shape.dedup();
        assert_eq!(
            shape,
            ["event_message", "summary_message", "assistant_message"],
            "{mode}"
        );
        assert_eq!(shown[0]["event_data"]["trigger"], "context_window_exceeded");
        assert_eq!(
            shown[1]["compaction_stats"]["trigger"],
            "context_window_exceeded"
        );
        let said: String = shown
            .iter()
            .filter_map(|frame| frame["content"].as_str())
            .collect();
        assert_eq!(said, reply);
        let history = world.history(&agent).await;
        let count = |text: &str| {
            history
                .iter()
                .filter(|message| message["content"] == text)
                .count()
        };
        assert_eq!(
            (count(&words), count(&reply)),
            (1, 1),
            "the step is stored once"
        );
    }
    assert_eq!(world.model.summaries().len(), 3);
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_stays_too_long_fails_after_three_tries() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    talk(&world, &agent, 6).await;
    let before = world.model.turns().len();
    let (status, _, text) = world
        .attempt(
            &agent,
            "messages",
            &json!({"input": "[[overflow:99]] never"}),
        )
        .await;
    // runs-and-streaming §5: context overflow after retries.
    assert_eq!(status, 400, "{text}");
    assert!(
        serde_json::from_str::<Value>(&text).unwrap()["detail"].is_string(),
        "{text}"
    );
    let tries = world.model.turns().len() - before;
    assert!(
        (2..=4).contains(&tries),
        "the first and at most three more: {tries}"
    );
    let run = world.get(&format!("/v1/runs/?agent_id={agent}")).await[0].clone();
    assert_eq!(
        (&run["status"], &run["stop_reason"]),
        (&json!("failed"), &json!("error"))
    );

    let body = json!({"input": "[[overflow:99]] never again", "streaming": true});
    let (status, _, text) = world.attempt(&agent, "messages", &body).await;
    assert_eq!(status, 200);
    assert!(text.contains("\"error_type\":\"internal_error\""), "{text}");
    assert!(text.contains("\"stop_reason\":\"error\""), "{text}");
    assert_eq!(events(&text).last().map(String::as_str), Some("[DONE]"));
    let answer = world.send(&agent, "short").await;
    assert_eq!(messages(&answer)[0]["content"], "echo: short");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_fills_the_window_alone_is_named_as_the_cause() {
    let world = World::new().await;
    let system = "Rule after rule after rule. ".repeat(1_000);
    let fields = json!({"context_window_limit": 3_000, "system": system});
    let cause = "context_window_overflow_in_system_prompt";
    let mut agent = String::new();
    // A thread with nothing to summarise, and one with something.
    for turns in [0, 3] {
        agent = world.agent_with(fields.clone()).await;
        talk(&world, &agent, turns).await;
        let body = json!({"input": "[[overflow:99]] never"});
        let (status, _, text) = world.attempt(&agent, "messages", &body).await;
        assert_eq!(status, 400, "{text}");
        let run = world.get(&format!("/v1/runs/?agent_id={agent}")).await[0].clone();
        assert_eq!(
            (&run["status"], &run["stop_reason"]),
            (&json!("failed"), &json!(cause))
        );
    }

    talk(&world, &agent, 2).await;
    let body = json!({"input": "[[overflow:99]] never again", "streaming": true});
    let (_, _, text) = world.attempt(&agent, "messages", &body).await;
    let named = [
        format!("\"stop_reason\":\"{cause}\""),
        format!("\"error_type\":\"{cause}\""),
    ];
    assert!(
        named.iter().all(|part| text.contains(part.as_str())),
        "{text}"
    );

    // Do better of §10: a step that was answered stays answered.
    let answer = world.send(&agent, "[[usage:2900]] answered").await;
    assert_eq!(messages(&answer)[0]["content"], "echo: answered");
}

// ── a summariser that fails

#[tokio::test(flavor = "multi_thread")]
async fn a_summariser_that_fails_spoils_no_answer_and_is_asked_again_before_the_next_step() {
    let failures = [
        Summariser::Refuses(400),
        Summariser::Refuses(401),
        Summariser::Empty,
        Summariser::Overflows(99),
    ];
    for failure in failures {
        let world = World::new().await;
        let agent = agent(&world, json!({})).await;
        talk(&world, &agent, 4).await;
        let before = context(&world, &agent).await;
        world.model.summariser(failure.clone());
        let answer = world.send(&agent, &full("answered")).await;
        assert_eq!(stop(&answer), "end_turn", "{failure:?}");
        assert_eq!(messages(&answer)[0]["content"], "echo: answered");
        assert!(!world.model.summaries().is_empty(), "it was asked");
        let run = messages(&answer)[0]["run_id"].as_str().unwrap();
        assert_eq!(world.run(run).await["status"], "completed");
        let after = context(&world, &agent).await;
        assert_eq!(
            (after.len(), &after[..before.len()]),
            (before.len() + 2, &before[..]),
            "nothing was replaced"
        );

        world.model.summariser(Summariser::default());
        let answer = world.send(&agent, "plain").await;
        assert_eq!(stop(&answer), "end_turn");
        let said: Vec<&Value> = messages(&answer)
            .iter()
            .filter(|message| message["message_type"] == "assistant_message")
            .map(|message| &message["content"])
            .collect();
        assert_eq!(said, ["echo: plain"]);
        let shrunk = context(&world, &agent).await.len();
        assert!(
            shrunk < after.len() + 2,
            "{failure:?}: the next step tried again"
        );
        let asked = world.model.turns().pop().unwrap();
        assert!(
            asked.to_string().contains(SUMMARY),
            "before its own call: {asked}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summariser_that_fails_in_the_middle_of_a_turn_does_not_stop_it() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    talk(&world, &agent, 4).await;
    world.model.summariser(Summariser::Refuses(400));
    let said = format!(
        "[[usage:{FULL}]]{}{} went on",
        tool(&insert("A")),
        tool(&insert("B"))
    );
    for mode in [
        json!({}),
        json!({"streaming": true}),
        json!({"streaming": true, "stream_tokens": true}),
    ] {
        let body = with(&json!({"input": said}), &mode);
        let (status, _, text) = world.attempt(&agent, "messages", &body).await;
        assert_eq!(status, 200, "{text}");
        assert!(!text.contains("error_message"), "{text}");
        assert!(text.contains("\"stop_reason\":\"end_turn\""), "{text}");
    }
    assert!(!world.model.summaries().is_empty(), "it was asked");
    assert_eq!(
        world.block(&agent, "human").await,
        format!("Name: unknown{}", "\nA\nB".repeat(3))
    );
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_that_is_too_long_for_the_summariser_is_shortened_twice() {
    let world = World::new().await;
    let agent = with_settings(&world, json!({"mode": "all"})).await;
    let line = "x".repeat(20_000);
    world
        .send(&agent, &format!("{} noted", tool(&insert(&line))))
        .await;
    for turn in 0..4 {
        world
            .send(
                &agent,
                &format!("turn-{turn} {}", "and so on ".repeat(1_500)),
            )
            .await;
    }
    world.model.summariser(Summariser::Overflows(2));
    let (summary, _, after) = summarized(&world, &agent, json!({})).await;
    assert_eq!((summary.as_str(), after), (SUMMARY, 2));
    let sizes: Vec<usize> = world
        .model
        .summaries()
        .iter()
        .map(|body| body["messages"].to_string().len())
        .collect();
    let [whole, short_returns, ends] = sizes.as_slice() else {
        panic!("{sizes:?}")
    };
    assert!(
        whole - short_returns > 10_000,
        "returns are cut to 5 000 characters: {sizes:?}"
    );
    assert!(
        short_returns > ends,
        "then the middle is left out: {sizes:?}"
    );
}

// ── cancel and crash

/// A turn in the background that is being compacted after its first step.
async fn in_compaction(world: &World, agent: &str) -> String {
    talk(world, agent, 4).await;
    world.model.summariser(Summariser::Silent(20_000));
    let said = format!("[[usage:{FULL},20]]{} went on", tool(&insert("kept")));
    let run = world.start_run(agent, &said).await;
    world
        .until("the summary", || async {
            world.model.summaries().len() == 1
        })
        .await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_interrupts_a_compaction() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    let run = in_compaction(&world, &agent).await;
    let since = Instant::now();
    let answer = world
        .post(&format!("/v1/agents/{agent}/messages/cancel"), json!({}))
        .await;
    assert_eq!(answer, json!({&run: "cancelled"}));
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    let record = world.run(&run).await;
    assert_eq!(
        (&record["status"], &record["stop_reason"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    world
        .until("the summariser's connection is closed", || async {
            world.model.aborted() == 1
        })
        .await;
    let ids = context(&world, &agent).await;
    assert_eq!(ids.len(), 1 + 8 + 3, "the step stays, nothing was replaced");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nkept");
    world.assert_paired(&agent).await;
    world.model.summariser(Summariser::default());
    let answer = world.send(&agent, "next").await;
    let last = messages(&answer)
        .iter()
        .rfind(|message| message["message_type"] == "assistant_message");
    assert_eq!(last.unwrap()["content"], "echo: next");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_turn_that_was_killed_while_it_compacted_goes_on() {
    let mut world = World::new().await;
    let agent = agent(&world, json!({})).await;
    let run = in_compaction(&world, &agent).await;
    world.kill();
    world.model.summariser(Summariser::default());
    world.start().await;
    let record = world.ended(&run).await;
    assert_eq!(
        (&record["status"], &record["stop_reason"]),
        (&json!("completed"), &json!("end_turn")),
        "{record}"
    );
    let history = world.history(&agent).await;
    let count = |kind: &str| {
        kinds(&history)
            .iter()
            .filter(|found| **found == kind)
            .count()
    };
    assert_eq!(
        (count("tool_call_message"), count("tool_return_message")),
        (1, 1)
    );
    assert_eq!(count("assistant_message"), 5, "{:?}", kinds(&history));
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\nkept");
    world.assert_paired(&agent).await;
    let answer = world.send(&agent, "next").await;
    let last = messages(&answer)
        .iter()
        .rfind(|message| message["message_type"] == "assistant_message");
    assert_eq!(last.unwrap()["content"], "echo: next");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_killed_while_it_compacted_left_the_context_whole() {
    let mut world = World::new().await;
    let agent = world.agent(&[]).await;
    talk(&world, &agent, 5).await;
    let before = context(&world, &agent).await;
    world.model.summariser(Summariser::Silent(20_000));
    let request = world
        .http
        .post(format!("{}/v1/agents/{agent}/summarize", world.base))
        .json(&json!({}));
    let waiting = tokio::spawn(async move { request.send().await });
    world
        .until("the summary", || async {
            world.model.summaries().len() == 1
        })
        .await;
    world.kill();
    assert!(waiting.await.unwrap().is_err());
    world.model.summariser(Summariser::default());
    world.start().await;
    assert_eq!(context(&world, &agent).await, before);
    assert_eq!(
        summarized(&world, &agent, json!({})).await,
        (SUMMARY.to_owned(), 11, 9)
    );
    // What was acknowledged is there after the next one, too.
    let after = context(&world, &agent).await;
    world.kill();
    world.start().await;
    assert_eq!(context(&world, &agent).await, after);
    assert_eq!(
        messages(&world.send(&agent, "on").await)[0]["content"],
        "echo: on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_arrives_while_the_thread_is_compacted_is_not_lost() {
    // Decisions 27: compaction replaces and bumps the lane's version; what is committed meanwhile is appended after it.
    let world = World::new().await;
    let agent = world.agent(&[]).await;
    talk(&world, &agent, 5).await;
    world.model.summariser(Summariser::Silent(700));
    let request = world
        .http
        .post(format!("{}/v1/agents/{agent}/summarize", world.base))
        .json(&json!({}));
    let waiting = tokio::spawn(async move { request.send().await.unwrap() });
    world
        .until("the summary", || async {
            world.model.summaries().len() == 1
        })
        .await;
    let answer = world.send(&agent, "meanwhile").await;
    assert_eq!(messages(&answer)[0]["content"], "echo: meanwhile");
    let status = waiting.await.unwrap().status().as_u16();
    assert!([200, 409].contains(&status), "{status}");
    let ids = context(&world, &agent).await;
    let last = messages(&answer)[0]["id"].as_str().unwrap();
    assert_eq!(ids.last().map(String::as_str), Some(last), "{ids:?}");
    let history = world.history(&agent).await;
    assert_eq!(
        history
            .iter()
            .filter(|message| message["content"] == "meanwhile")
            .count(),
        1
    );
    world.send(&agent, "on").await;
    let seen = seen(&world);
    assert!(seen.iter().any(|(_, text)| text == "meanwhile"), "{seen:?}");
}

// ── the other loop, the built-in model

#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeat_loop_is_compacted_by_its_last_call_and_in_the_same_way() {
    // agent-loop §13, do better: the last call's size, not the sum.
    let world = World::new().await;
    let agent = agent(&world, json!({"agent_type": "memgpt_v2_agent"})).await;
    talk(&world, &agent, 3).await;
    let half = WINDOW / 2;
    let said = format!(
        "[[usage:{half}]]{}{} sum",
        tool(&insert("A")),
        tool(&insert("B"))
    );
    world.send(&agent, &said).await;
    assert_eq!(
        world.model.summaries().len(),
        0,
        "three halves are not one that is full"
    );
    let said = format!("[[usage:20,{FULL}]]{} last", tool(&insert("C")));
    let answer = send(
        &world,
        &agent,
        json!({"input": said, "include_compaction_messages": true}),
    )
    .await;
    assert_eq!(
        kinds(messages(&answer)),
        [
            "tool_call_message",
            "tool_return_message",
            "assistant_message",
            "event_message",
            "summary_message"
        ]
    );
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(messages(&answer)[2]["content"], "echo: last");
    assert_eq!(
        messages(&world.send(&agent, "on").await)[0]["content"],
        "echo: on"
    );
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_model_talks_for_ever_in_a_small_window() {
    let world = World::with(&[("OPENAI_API_BASE", "")]).await;
    let agent = world
        .agent_with(json!({"model": "greenroom/rehearsal", "context_window_limit": 4_000}))
        .await;
    let most = 16_000 / 1_500;
    for turn in 0..150 {
        let said = format!("number {turn}: {}", "so it went ".repeat(130));
        let answer = world.send(&agent, &said).await;
        assert_eq!(stop(&answer), "end_turn", "{turn}: {answer}");
        let count = context(&world, &agent).await.len();
        assert!(count <= 2 * most, "{turn}: {count} messages");
    }
    let history = world.history(&agent).await;
    let said = |turn: usize| {
        history
            .iter()
            .filter(|message| {
                message["content"]
                    .as_str()
                    .is_some_and(|text| text.starts_with(&format!("number {turn}: ")))
            })
            .count()
    };
    assert!(
        (0..150).all(|turn| said(turn) == 1),
        "everything is still listed"
    );
    let packed = history
        .iter()
        .filter(|message| {
            message["content"]
                .as_str()
                .is_some_and(|text| text.starts_with("{\"type\":\"system_alert\""))
        })
        .count();
    assert!(packed > 0, "it was summarised");

    let other = world
        .agent_with(json!({"model": "greenroom/rehearsal"}))
        .await;
    for turn in 0..5 {
        world.send(&other, &format!("number {turn}")).await;
    }
    let (summary, before, after) = summarized(&world, &other, json!({})).await;
    assert!(!summary.is_empty());
    assert_eq!((before, after), (11, 9));
    world.send(&other, "My name is Ada.").await;
    let answer = world.send(&other, "What is my name?").await;
    assert!(
        messages(&answer)[0]["content"]
            .as_str()
            .unwrap()
            .contains("Ada")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_a_summary_is_in_a_step_of_its_run() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    talk(&world, &agent, 4).await;
    let answer = world.send(&agent, &full("much")).await;
    let run = messages(&answer)[0]["run_id"].as_str().unwrap();
    let steps = world.get(&format!("/v1/runs/{run}/steps")).await;
    let costs: Vec<&Value> = steps
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["total_tokens"])
        .collect();
    assert!(
        costs.contains(&&json!(SUMMARY_TOKENS)) && costs.contains(&&json!(FULL)),
        "{costs:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_message_types_holds_for_compaction_messages_too() {
    let world = World::new().await;
    let agent = agent(&world, json!({})).await;
    for (kept, shape) in [
        ("assistant_message", vec!["assistant_message"]),
        ("summary_message", vec!["summary_message"]),
        ("event_message", vec!["event_message"]),
    ] {
        talk(&world, &agent, 4).await;
        let body = json!({"input": full("x"), "include_compaction_messages": true, "include_return_message_types": [kept]});
        let answer = send(&world, &agent, body).await;
        assert_eq!(kinds(messages(&answer)), shape);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gated_call_can_be_answered_after_its_question_was_summarised() {
    let world = World::new().await;
    let fields = json!({"tool_rules": [{"type": "requires_approval", "tool_name": "memory_insert"}], "compaction_settings": {"mode": "all"}});
    let agent = agent(&world, fields).await;
    talk(&world, &agent, 2).await;
    let first = world
        .send(&agent, &format!("{} answered", tool(&insert("gated"))))
        .await;
    let ids = asked(&first);
    summarized(&world, &agent, json!({})).await;
    assert_eq!(
        context(&world, &agent).await.len(),
        3,
        "system, summary, request"
    );
    let answer = world.items(&agent, &[approve(&[&ids[0]])]).await;
    assert_eq!(
        kinds(messages(&answer)),
        ["tool_return_message", "assistant_message"],
        "{answer}"
    );
    // The answer once more (agent-loop §9): it is known although the context was compacted since.
    summarized(&world, &agent, json!({})).await;
    let again = world.items(&agent, &[approve(&[&ids[0]])]).await;
    assert_eq!(kinds(messages(&again)), ["assistant_message"], "{again}");
    assert_eq!(world.block(&agent, "human").await, "Name: unknown\ngated");
}
