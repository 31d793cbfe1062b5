//! The questions, one function each.

use crate::client::{Client, message, streamed};
use crate::daemon::{Daemon, Model};
use crate::figures::{Times, disk_sync, line, millis, title};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Messages that one agent is sent, so that every figure is one of short conversations (`history` has the long ones).
const TURNS: usize = 40;

/// How many messages a second, and what does one cost?
pub(crate) async fn messages(model: &Model) {
    title("messages: durable turns with a model that answers at once");
    for (agents, total) in [(1, 1_000), (8, 4_000), (32, 8_000), (64, 12_000)] {
        let daemon = Daemon::start(model).await;
        let mut lines = Vec::new();
        for _ in 0..agents {
            let mut client = daemon.client().await;
            let mut ids = Vec::new();
            for _ in 0..total / agents / TURNS {
                ids.push(client.agent().await);
            }
            lines.push((client, ids));
        }
        let sent = lines.iter().map(|(_, ids)| ids.len()).sum::<usize>() * TURNS;
        let (cpu, model_cpu, since) = (daemon.cpu(), model.cpu(), Instant::now());
        let talks = lines.iter_mut().map(async |(client, ids)| {
            let mut times = Times::default();
            for id in ids {
                for _ in 0..TURNS {
                    times.add(client.send(id, message("hello")).await);
                }
            }
            times
        });
        let mut times = Times::default();
        join_all(talks)
            .await
            .into_iter()
            .for_each(|more| times.extend(more));
        let elapsed = since.elapsed();
        let each = |cpu: Duration| millis(cpu) / sent as f64;
        line(
            &format!("{agents} agents at once"),
            &format!(
                "{:.0} messages/s, {}; processor time each: daemon {:.2} ms, model {:.2} ms",
                sent as f64 / elapsed.as_secs_f64(),
                times.spread(),
                each(daemon.cpu() - cpu),
                each(model.cpu() - model_cpu),
            ),
        );
    }
}

/// How soon is the first frame there?
pub(crate) async fn frames(model: &Model) {
    title("frames: from the request to the first frame of its stream");
    let daemon = Daemon::start(model).await;
    line(
        "disk: 4 KiB written and synced",
        &disk_sync(daemon.folder()).spread(),
    );
    let mut client = daemon.client().await;
    let (mut first, mut last) = (Times::default(), Times::default());
    for _ in 0..10 {
        let agent = client.agent().await;
        for _ in 0..TURNS {
            let since = Instant::now();
            let mut stream = open_stream(&mut client, &agent, streamed("hello")).await;
            stream.frame().await.unwrap().unwrap();
            first.add(since.elapsed());
            read_to_end(&mut stream).await;
            last.add(since.elapsed());
        }
    }
    line("first frame (ping with the run id)", &first.spread());
    line("end of the stream", &last.spread());
}

/// What does a token cost on its way through?
pub(crate) async fn tokens(model: &Model) {
    const TOKENS: u32 = 5_000;
    const TURNS: u32 = 10;
    title("tokens: streamed answers of 5,000 tokens");
    let daemon = Daemon::start(model).await;
    let mut client = daemon.client().await;
    let mut direct = Client::connect(model.address).await.unwrap();
    let text = format!("[[tokens:{TOKENS}]]");
    let mut plain = Duration::ZERO;
    for _ in 0..TURNS {
        let body = json!({"stream": true, "messages": [{"role": "user", "content": text}]});
        let since = Instant::now();
        let response = direct.open(
            Method::POST,
            "/v1/chat/completions",
            Bytes::from(body.to_string()),
        );
        read_to_end(&mut response.await.unwrap().into_body()).await;
        plain += since.elapsed();
    }
    let (cpu, mut through) = (daemon.cpu(), Duration::ZERO);
    for _ in 0..TURNS {
        let agent = client.agent().await;
        let since = Instant::now();
        let mut stream = open_stream(&mut client, &agent, streamed(&text)).await;
        read_to_end(&mut stream).await;
        through += since.elapsed();
    }
    let each = |time: Duration| {
        format!(
            "{:.2} µs",
            time.as_secs_f64() * 1e6 / f64::from(TOKENS * TURNS)
        )
    };
    line("each, straight from the model", &each(plain));
    line("each, through the daemon", &each(through));
    line(
        "processor time of the daemon for each",
        &each(daemon.cpu() - cpu),
    );
}

/// How long is a cancel?
pub(crate) async fn cancel(model: &Model) {
    title("cancel: from the request to its answer, and to the end of the stream");
    let daemon = Daemon::start(model).await;
    let (mut client, mut canceller) = (daemon.client().await, daemon.client().await);
    for (phase, text) in [
        ("model streaming", "[[slow:10000,5]]"),
        ("model silent", "[[slow:1,10000]]"),
    ] {
        let (mut answered, mut ended) = (Times::default(), Times::default());
        for _ in 0..100 {
            let agent = client.agent().await;
            let mut stream = open_stream(&mut client, &agent, streamed(text)).await;
            stream.frame().await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            let since = Instant::now();
            let path = format!("/v1/agents/{agent}/messages/cancel");
            canceller.post(&path, Bytes::from_static(b"{}")).await;
            answered.add(since.elapsed());
            read_to_end(&mut stream).await;
            ended.add(since.elapsed());
        }
        line(&format!("{phase}: answered"), &answered.spread());
        line(&format!("{phase}: stream ended"), &ended.spread());
    }
}

/// How long is a start, and what does an agent weigh?
pub(crate) async fn start(model: &Model) {
    const AGENTS: usize = 10_000;
    const LIVE: usize = 1_000;
    title("start: with nothing and with 10,000 agents on the disk (its files in the page cache)");
    let mut daemon = Daemon::start(model).await;
    let empty_kib = starts(&mut daemon, "0 agents").await;
    let since = Instant::now();
    let makers = (0..16).map(async |_| {
        let mut client = daemon.client().await;
        let mut ids = Vec::new();
        for _ in 0..AGENTS / 16 {
            ids.push(client.agent().await);
        }
        ids
    });
    let ids: Vec<String> = join_all(makers).await.into_iter().flatten().collect();
    let each = millis(since.elapsed()) / ids.len() as f64;
    line("an agent created, 16 at once", &format!("{each:.2} ms"));
    let full_kib = starts(&mut daemon, &format!("{} agents", ids.len())).await;
    let share = |kib: u64, agents: usize| format!("{:.2} KiB", kib as f64 / agents as f64);
    line(
        "an agent on the disk, in memory",
        &share(full_kib.saturating_sub(empty_kib), ids.len()),
    );

    let mut client = daemon.client().await;
    let middle = format!("/v1/agents/?limit=50&before={}", ids[AGENTS / 2]);
    for what in [
        "/v1/agents/?limit=50",
        "/v1/agents/?limit=50&order=asc",
        &middle,
        "/v1/agents/?limit=50&name=none",
        "/v1/agents/count",
        "/v1/tags/",
        "/v1/runs/active",
    ] {
        client.get(what).await;
        let mut times = Times::default();
        for _ in 0..100 {
            let since = Instant::now();
            client.get(what).await;
            times.add(since.elapsed());
        }
        line(&format!("GET {what}"), &times.spread());
    }
    let before = daemon.resident_kib();
    let mut first = Times::default();
    for id in ids.iter().take(LIVE) {
        first.add(client.send(id, message("hello")).await);
    }
    line("first message to an agent on the disk", &first.spread());
    line(
        "a live agent, in memory",
        &share(daemon.resident_kib().saturating_sub(before), LIVE),
    );
}

async fn starts(daemon: &mut Daemon, what: &str) -> u64 {
    let mut times = Times::default();
    for _ in 0..7 {
        daemon.stop();
        times.add(daemon.again().await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle_kib = daemon.resident_kib();
    let memory = idle_kib as f64 / 1_024.0;
    line(&format!("{what}: start to /v1/ready"), &times.spread());
    line(
        &format!("{what}: idle, in memory"),
        &format!("{memory:.1} MiB"),
    );
    idle_kib
}

/// Does a long history make a message dearer?
pub(crate) async fn history(model: &Model) {
    const MESSAGES: usize = 10_000;
    title("history: an agent with 10,000 messages");
    let daemon = Daemon::start(model).await;
    let mut client = daemon.client().await;
    let short = client.agent().await;
    let long = client.agent().await;
    store(&mut client, &long, MESSAGES).await;
    let mut page = Times::default();
    for _ in 0..100 {
        let since = Instant::now();
        client
            .get(&format!("/v1/agents/{long}/messages?limit=100"))
            .await;
        page.add(since.elapsed());
    }
    line("GET the last 100", &page.spread());
    cost(&daemon, &mut client, &short, "a message, no history").await;
    cost(
        &daemon,
        &mut client,
        &long,
        "a message, all 10,000 sent to the model",
    )
    .await;
    let agent: Value =
        serde_json::from_slice(&client.get(&format!("/v1/agents/{long}")).await).unwrap();
    let window = json!({"message_ids": &agent["message_ids"].as_array().unwrap()[..1]});
    client.patch(&format!("/v1/agents/{long}"), &window).await;
    cost(
        &daemon,
        &mut client,
        &long,
        "a message, 10,000 stored and none sent",
    )
    .await;
}

/// Does a step cost more the more is stored, with the same 200 messages in its context?
pub(crate) async fn steps(model: &Model) {
    const IN_CONTEXT: usize = 200;
    title("steps: one step with so many messages stored, and at most 200 of them in context");
    let daemon = Daemon::start(model).await;
    let mut client = daemon.client().await;
    for stored in [0, 100, 1_000, 10_000] {
        let agent = client.agent().await;
        store(&mut client, &agent, stored).await;
        let path = format!("/v1/agents/{agent}");
        let state: Value = serde_json::from_slice(&client.get(&path).await).unwrap();
        let ids = state["message_ids"].as_array().unwrap();
        let newest = ids.len().saturating_sub(IN_CONTEXT).max(1);
        let window: Vec<&Value> = ids[..1].iter().chain(&ids[newest..]).collect();
        client.patch(&path, &json!({"message_ids": window})).await;
        cost(&daemon, &mut client, &agent, &format!("{stored} stored")).await;
    }
}

/// What does it cost to summarise 1,000 messages, but for the model that writes the summary?
pub(crate) async fn compaction(model: &Model) {
    title("compaction: of 1,000 messages, with a model that answers at once");
    let daemon = Daemon::start(model).await;
    let mut client = daemon.client().await;
    let (mut cpu, mut times) = (Duration::ZERO, Times::default());
    for _ in 0..10 {
        let agent = client.agent().await;
        store(&mut client, &agent, 1_000).await;
        let (before, since) = (daemon.cpu(), Instant::now());
        let path = format!("/v1/agents/{agent}/summarize");
        client.post(&path, Bytes::from_static(b"{}")).await;
        times.add(since.elapsed());
        cpu += daemon.cpu() - before;
    }
    let each = millis(cpu) / 10.0;
    line(
        "a summary asked for, to its answer",
        &format!("{}; daemon's processor time {each:.2} ms", times.spread()),
    );
}

/// Sends an agent so many messages, a hundred in each turn.
async fn store(client: &mut Client, agent: &str, messages: usize) {
    let several: Vec<Value> = (0..99)
        .map(|number| json!({"role": "user", "content": format!("note {number}")}))
        .collect();
    let body = Bytes::from(json!({"messages": several}).to_string());
    for _ in 0..messages / 100 {
        client.send(agent, body.clone()).await;
    }
}

async fn cost(daemon: &Daemon, client: &mut Client, agent: &str, what: &str) {
    let (cpu, mut times) = (daemon.cpu(), Times::default());
    for _ in 0..TURNS {
        times.add(client.send(agent, message("hello")).await);
    }
    let each = millis(daemon.cpu() - cpu) / TURNS as f64;
    line(
        what,
        &format!("{}; daemon's processor time {each:.2} ms", times.spread()),
    );
}

async fn open_stream(client: &mut Client, agent: &str, body: Bytes) -> Incoming {
    let path = format!("/v1/agents/{agent}/messages");
    let response = client.open(Method::POST, &path, body).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    response.into_body()
}

async fn read_to_end(stream: &mut Incoming) {
    while let Some(frame) = stream.frame().await {
        frame.unwrap();
    }
}
