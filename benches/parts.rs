//! What the parts of a step cost, each alone: the disk, the events, the reading of an answer.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement that cannot be taken has nothing to go on with"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use greenroom::domain::agent::CompactionMode;
use greenroom::domain::clock;
use greenroom::domain::compaction::{Counted, plan};
use greenroom::domain::frame::{DeltaFrame, Frame};
use greenroom::domain::id::{AgentId, MessageId, RunId, StepId};
use greenroom::domain::message::{Message, Part, Role, ToolCall};
use greenroom::domain::model::{Answer, Delta, Finish, Trace, Usage};
use greenroom::domain::page::{Order, Stretch};
use greenroom::domain::step;
use greenroom::domain::tokens::Counter;
use greenroom::store::{Batch, Durability, Epoch, Store, StoreConfig};
use greenroom::wire::model::LlmConfig;
use greenroom::wire::stream;
use serde_json::json;
use std::hint::black_box;
use tempfile::TempDir;
use tokio::runtime::Runtime;

fn open(durability: Durability) -> (TempDir, Store) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = StoreConfig {
        path: folder.path().to_owned(),
        durability,
        cache_bytes: 256 << 20,
        reserve_bytes: 0,
        master_key: [7; 32],
    };
    let (store, _) = Store::open(config).unwrap();
    (folder, store)
}

fn message(agent: AgentId, sequence: u64) -> Message {
    let mut message = Message::new(agent, Role::User, clock::now());
    message.sequence = sequence;
    message.content = vec![Part::of_text(
        "A sentence of the length that people write. ".repeat(8),
    )];
    message
}

/// Commits the next message of an agent and waits until it is durable.
async fn commit(store: &Store, agent: AgentId, epoch: Epoch, sequence: u64) {
    let mut batch = Batch::of_agent(agent, epoch);
    batch.put_message(&message(agent, sequence));
    store.commit(batch).await.unwrap();
}

fn commits(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    for durability in [Durability::Sync, Durability::Flush] {
        let (_folder, store) = open(durability);
        let mut group =
            criterion.benchmark_group(format!("commit of a message, {}", durability.name()));
        for writers in [1, 64] {
            let fenced = (0..writers).map(|_| async {
                let agent = AgentId::new();
                (agent, store.fence(agent).await.unwrap())
            });
            let agents = runtime.block_on(join_all(fenced));
            let mut sequence = 0;
            group.throughput(Throughput::Elements(writers));
            group.bench_function(format!("{writers} at once"), |bencher| {
                bencher.iter(|| {
                    sequence += 1;
                    let commits = agents
                        .iter()
                        .map(|(agent, epoch)| commit(&store, *agent, *epoch, sequence));
                    runtime.block_on(join_all(commits));
                });
            });
        }
    }
}

fn history(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (_folder, store) = open(Durability::Flush);
    let agent = AgentId::new();
    runtime.block_on(async {
        let epoch = store.fence(agent).await.unwrap();
        for hundred in 0..100 {
            let mut batch = Batch::of_agent(agent, epoch);
            for number in 0..100 {
                batch.put_message(&message(agent, hundred * 100 + number));
            }
            store.commit(batch).await.unwrap();
        }
    });
    criterion.bench_function("the last 100 of 10,000 messages", |bencher| {
        bencher.iter(|| {
            let last = store
                .messages(agent, Stretch::all(Order::Descending))
                .take(100);
            assert_eq!(last.filter(Result::is_ok).count(), 100);
        });
    });
}

fn step_of_an_answer(criterion: &mut Criterion) {
    let delta = Frame::Delta(DeltaFrame {
        message_id: MessageId::new(),
        run_id: RunId::new(),
        step_id: StepId::new(),
        date: clock::now(),
        index: 0,
        waits: false,
        delta: Delta::Text("token ".to_owned()),
    });
    criterion.bench_function("a token as an event", |bencher| {
        bencher.iter(|| stream::event(black_box(&delta), Some(7)));
    });
    let call = |number: u32| ToolCall {
        id: format!("call_{number}"),
        name: "memory_insert".to_owned(),
        arguments: r#"{"label": "human", "new_string": "Likes tea."}"#.to_owned(),
    };
    let answer = Answer {
        parts: vec![Part::of_text("I shall remember that.")],
        calls: (0..4).map(call).collect(),
        finish: Finish::ToolCalls,
        usage: Usage::default(),
        tokens: None,
        request_id: None,
        trace: Trace::default(),
    };
    criterion.bench_function("what follows an answer with 4 calls", |bencher| {
        bencher.iter(|| step::next(&mut black_box(answer.clone()), true));
    });
}

/// What a full context costs to be counted, and to be cut in two.
fn context(criterion: &mut Criterion) {
    let config =
        json!({"model": "gpt-4o-mini", "model_endpoint_type": "openai", "context_window": 128_000});
    let config: LlmConfig = serde_json::from_value(config).unwrap();
    let counter = Counter::of(&config.into());
    let messages: Vec<Message> = (0..1_660)
        .map(|number| message(AgentId::new(), number))
        .collect();
    let tokens: u64 = messages
        .iter()
        .map(|message| counter.message(message))
        .sum();
    assert!(counter.is_exact() && tokens > 120_000, "{tokens} tokens");
    criterion.bench_function(
        &format!("counting a window of {tokens} tokens"),
        |bencher| {
            bencher.iter(|| {
                let counts = messages
                    .iter()
                    .map(|message| counter.message(black_box(message)));
                counts.sum::<u64>()
            });
        },
    );
    let counted: Vec<Counted<'_>> = messages[..1_000]
        .iter()
        .map(|message| Counted {
            message,
            tokens: 100,
        })
        .collect();
    criterion.bench_function("what of 1,000 messages a compaction keeps", |bencher| {
        bencher.iter(|| {
            plan(
                black_box(&counted),
                128_000,
                CompactionMode::SlidingWindow,
                0.3,
            )
            .unwrap()
        });
    });
}

criterion_group!(benches, commits, history, step_of_an_answer, context);
criterion_main!(benches);
