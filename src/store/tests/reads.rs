//! What is written is what is read, in the order that was asked for.

use crate::domain::block::BlockLink;
use crate::domain::clock;
use crate::domain::history::Span;
use crate::domain::id::{AgentId, RunId};
use crate::domain::message::Message;
use crate::domain::page::{Order, Stretch};
use crate::domain::run::RunStatus;
use crate::store::engine::Pair;
use crate::store::testing::{self, TestStore};
use crate::store::{Batch, CallbackEntry, Condition, IdempotencyRecord, ReadError, Swept, keys};
use bytes::Bytes;

fn all<T>(found: impl Iterator<Item = Result<T, ReadError>>) -> Vec<T> {
    found.collect::<Result<_, _>>().unwrap()
}

/// Every key of the store but its own marks.
fn everything(store: &TestStore) -> Vec<Pair> {
    let range = keys::KeyRange {
        from: vec![1],
        to: vec![0xFF; 32],
    };
    all(store.0.shared.disk.scan(range, Order::Ascending))
}

#[tokio::test]
async fn a_conversation_survives_a_restart_in_order() {
    let store = testing::store();
    let agent = testing::agent();
    let run = testing::run(agent.id);
    let messages: Vec<Message> = (0..200)
        .map(|sequence| {
            // Every tenth is long enough for several pieces.
            let said = if sequence % 10 == 0 {
                "long ".repeat(3_000)
            } else {
                "short".to_owned()
            };
            let run_id = (sequence >= 198).then_some(run.id);
            Message {
                run_id,
                ..testing::message(agent.id, sequence, &said)
            }
        })
        .collect();
    store
        .write(|batch| {
            batch.require(Condition::AgentAbsent(agent.id));
            batch.put_agent(&agent);
            batch.put_head(agent.id, &testing::head());
            messages
                .iter()
                .for_each(|message| batch.put_message(message));
        })
        .await;
    let (store, report) = store.reopened().await;
    assert!(report.clean);
    assert_eq!(store.agent(agent.id).unwrap(), Some(agent.clone()));
    assert_eq!(
        all(store.messages(agent.id, Stretch::all(Order::Ascending))),
        messages
    );
    assert_eq!(
        all(store
            .messages(agent.id, Stretch::past(Order::Ascending, Some(150)))
            .take(2)),
        messages[151..153]
    );
    let newest: Vec<Message> = messages[..100].iter().rev().cloned().collect();
    assert_eq!(
        all(store.messages(agent.id, Stretch::past(Order::Descending, Some(100)))),
        newest
    );
    let spans = [
        Span {
            first: 190,
            count: 2,
        },
        Span { first: 3, count: 1 },
    ];
    let picked = [&messages[190..192], &messages[3..4]].concat();
    assert_eq!(store.messages_at(agent.id, &spans).unwrap(), picked);
    assert!(
        matches!(store.messages_at(agent.id, &[Span { first: 199, count: 2 }]), Err(ReadError::Damaged { agent: Some(id), .. }) if id == agent.id)
    );
    assert_eq!(
        store.run_messages(agent.id, run.id).unwrap(),
        messages[198..]
    );
    assert_eq!(
        store.message_location(messages[7].id).unwrap(),
        Some((agent.id, 7))
    );
}

#[tokio::test]
async fn a_shorter_record_leaves_no_pieces_of_the_longer_one() {
    let store = testing::store();
    let agent = AgentId::new();
    let mut message = testing::message(agent, 0, &"x".repeat(20_000));
    store.write(|batch| batch.put_message(&message)).await;
    assert_eq!(
        everything(&store)
            .iter()
            .filter(|(key, _)| keys::is_piece(key))
            .count(),
        4
    );
    message.content = Vec::new();
    store.write(|batch| batch.put_message(&message)).await;
    assert_eq!(
        everything(&store)
            .iter()
            .filter(|(key, _)| keys::is_piece(key))
            .count(),
        0
    );
    assert_eq!(store.message_at(agent, 0).unwrap(), Some(message));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_pieces_of_two_writes() {
    let store = testing::store();
    let agent = AgentId::new();
    let message = testing::message(agent, 0, "");
    let version = |n: usize| {
        let said = char::from(b'a' + (n % 26) as u8)
            .to_string()
            .repeat(9_000 + n * 40);
        Message {
            content: vec![crate::domain::message::Part::of_text(said)],
            ..message.clone()
        }
    };
    store.write(|batch| batch.put_message(&version(0))).await;
    let reader = std::thread::spawn({
        let store = store.store.clone();
        move || {
            let mut seen = 0;
            loop {
                let text = store.message_at(agent, 0).unwrap().unwrap().text();
                let first = text.chars().next();
                assert!(text.chars().all(|c| Some(c) == first));
                seen += 1;
                if text.len() == 9_000 + 199 * 40 {
                    return seen;
                }
            }
        }
    });
    for n in 1..200 {
        let mut batch = Batch::shared();
        batch.put_message(&version(n));
        store.commit(batch.relaxed()).await.unwrap();
    }
    assert!(reader.join().unwrap() > 0);
}

#[tokio::test]
async fn runs_and_steps_are_listed_by_time_from_a_cursor() {
    let store = testing::store();
    let agents = [AgentId::new(), AgentId::new()];
    let runs: Vec<_> = (0..6)
        .map(|n| {
            let mut run = testing::run(agents[n % 2]);
            run.created_at = clock::from_micros(1_000_000 * n as i64);
            run
        })
        .collect();
    let steps: Vec<_> = runs
        .iter()
        .map(|run| crate::domain::run::Step {
            created_at: run.created_at,
            ..testing::step(run, 1)
        })
        .collect();
    store
        .write(|batch| {
            runs.iter().for_each(|run| batch.put_run(run));
            steps.iter().for_each(|step| batch.put_step(step));
        })
        .await;
    let ids = |agent, order, past: Option<RunId>| {
        all(store.runs(agent, Stretch::past(order, past)).unwrap())
            .into_iter()
            .map(|run| run.id)
            .collect::<Vec<_>>()
    };
    let expected: Vec<RunId> = runs.iter().map(|run| run.id).collect();
    assert_eq!(ids(None, Order::Ascending, None), expected);
    assert_eq!(
        ids(None, Order::Descending, Some(expected[2])),
        [expected[1], expected[0]]
    );
    assert_eq!(
        ids(Some(agents[1]), Order::Ascending, Some(expected[1])),
        [expected[3], expected[5]]
    );
    assert_eq!(
        all(store
            .steps(None, Stretch::past(Order::Descending, Some(steps[4].id)))
            .unwrap())
        .len(),
        4
    );
    assert_eq!(
        all(store
            .steps(Some(agents[0]), Stretch::all(Order::Ascending))
            .unwrap()),
        [steps[0].clone(), steps[2].clone(), steps[4].clone()]
    );
    assert_eq!(store.step(steps[3].id).unwrap(), Some(steps[3].clone()));
    assert_eq!(
        store.run_steps(agents[0], expected[0]).unwrap(),
        [steps[0].clone()]
    );

    assert_eq!(store.active_runs().unwrap().len(), 6);
    let ended = crate::domain::run::Run {
        status: RunStatus::Completed,
        ..runs[0].clone()
    };
    store.write(|batch| batch.put_run(&ended)).await;
    assert_eq!(store.active_runs().unwrap().len(), 5);
    assert_eq!(store.run(ended.id).unwrap(), Some(ended.clone()));
    store.write(|batch| batch.delete_run(&ended)).await;
    assert_eq!(store.run(ended.id).unwrap(), None);
    assert_eq!(ids(None, Order::Ascending, None), expected[1..]);
}

#[tokio::test]
async fn inbox_frames_callbacks_and_idempotency_come_back() {
    let store = testing::store();
    let (agent, run, other) = (AgentId::new(), RunId::new(), RunId::new());
    let frames: Vec<Bytes> = (1..=9_usize)
        .map(|n| Bytes::from(vec![b'x'; n * 1_000]))
        .collect();
    let key = [3; 32];
    let record = IdempotencyRecord {
        run,
        body_hash: [4; 32],
        expires_at: clock::from_micros(5),
    };
    let callback = |next_try| CallbackEntry {
        attempts: 1,
        next_try: clock::from_micros(next_try),
    };
    store
        .write(|batch| {
            batch.put_inbox(agent, &testing::inbox(run, 2));
            batch.put_inbox(agent, &testing::inbox(other, 1));
            batch.put_frames(agent, run, 1, &frames);
            batch.put_idempotency(agent, key, &record);
            batch.put_callback(agent, run, &callback(9));
            batch.put_callback(agent, other, &callback(3));
        })
        .await;
    assert_eq!(
        store.inbox(agent).unwrap(),
        [testing::inbox(other, 1), testing::inbox(run, 2)]
    );
    let read = store.frames(agent, run, 2, 3).unwrap();
    assert_eq!(
        read,
        [
            (3, frames[2].clone()),
            (4, frames[3].clone()),
            (5, frames[4].clone())
        ]
    );
    assert_eq!(store.idempotency(agent, &key).unwrap(), Some(record));
    assert_eq!(
        store
            .expired_idempotency(agent, clock::from_micros(4), 10)
            .unwrap()
            .len(),
        0
    );
    assert_eq!(
        store
            .expired_idempotency(agent, clock::from_micros(5), 10)
            .unwrap(),
        [key]
    );
    assert_eq!(
        store.callbacks().unwrap(),
        [(agent, other, callback(3)), (agent, run, callback(9))]
    );

    store
        .write(|batch| batch.delete_frames_after(agent, run, 6))
        .await;
    assert_eq!(store.frames(agent, run, 0, 100).unwrap().len(), 6);
    store
        .write(|batch| {
            batch.delete_frames(agent, run);
            batch.delete_inbox(agent, run);
            batch.delete_inbox(agent, other);
            batch.delete_idempotency(agent, key);
            batch.delete_callback(agent, run);
            batch.delete_callback(agent, other);
        })
        .await;
    assert_eq!(everything(&store), []);
}

#[tokio::test]
async fn decision_35_a_deleted_agent_is_gone_at_once_and_swept_away_later() {
    let store = testing::store();
    let (agent, block) = (testing::agent(), testing::block("human"));
    let run = testing::run(agent.id);
    let step = testing::step(&run, 1);
    let message = Message {
        run_id: Some(run.id),
        ..testing::message(agent.id, 0, &"x".repeat(9_000))
    };
    store.write(|batch| batch.put_block(&block)).await;
    let before = everything(&store);
    store
        .write(|batch| {
            batch.put_agent(&agent);
            batch.put_head(agent.id, &testing::head());
            batch.put_link(
                agent.id,
                &BlockLink {
                    block_id: block.id,
                    label: "human".to_owned(),
                    ordinal: 0,
                },
            );
            batch.put_message(&message);
            batch.put_run(&run);
            batch.put_step(&step);
            batch.put_inbox(agent.id, &testing::inbox(run.id, 0));
            batch.put_callback(
                agent.id,
                run.id,
                &CallbackEntry {
                    attempts: 0,
                    next_try: clock::now(),
                },
            );
        })
        .await;
    assert_eq!(
        all(store
            .agents_by_created(Stretch::all(Order::Ascending))
            .unwrap()),
        [agent.id]
    );
    assert_eq!(store.block_agents(block.id).unwrap(), [agent.id]);

    store.write(|batch| batch.bury(&agent)).await;
    assert!(store.is_buried(agent.id).unwrap());
    assert_eq!(store.agent(agent.id).unwrap(), None);
    assert_eq!(store.run(run.id).unwrap(), None);
    assert_eq!(store.step(step.id).unwrap(), None);
    assert_eq!(store.message_location(message.id).unwrap(), None);
    assert_eq!(
        all(store
            .agents_by_created(Stretch::all(Order::Ascending))
            .unwrap()),
        []
    );
    assert_eq!(
        all(store.runs(None, Stretch::all(Order::Ascending)).unwrap()),
        []
    );
    assert_eq!(
        all(store.steps(None, Stretch::all(Order::Ascending)).unwrap()),
        []
    );
    assert_eq!(store.active_runs().unwrap(), []);
    assert_eq!(store.callbacks().unwrap(), []);
    assert_eq!(store.block_agents(block.id).unwrap(), []);

    assert_eq!(store.buried().unwrap(), [agent.id]);
    let mut steps = 0;
    while store.sweep(agent.id, 3).await.unwrap() == Swept::Some {
        steps += 1;
    }
    assert!(steps > 1);
    assert_eq!(everything(&store), before);
}

#[tokio::test]
async fn a_link_goes_with_its_agent_and_comes_in_order() {
    let store = testing::store();
    let blocks = ["c", "a", "b"].map(testing::block);
    let agent = AgentId::new();
    store
        .write(|batch| {
            for (ordinal, block) in (0..).zip(&blocks) {
                batch.put_block(block);
                batch.put_link(
                    agent,
                    &BlockLink {
                        block_id: block.id,
                        label: block.label.clone(),
                        ordinal,
                    },
                );
            }
        })
        .await;
    let versions: Vec<_> = blocks.iter().map(|block| (block.id, 1)).collect();
    assert_eq!(store.block_versions(agent).unwrap(), versions);
    assert_eq!(
        all(store
            .blocks_by_created(Stretch::all(Order::Ascending))
            .unwrap())
        .len(),
        3
    );
    store
        .write(|batch| batch.delete_link(agent, blocks[1].id))
        .await;
    assert_eq!(store.labelled(agent, "a").unwrap(), None);
    assert_eq!(store.block_agents(blocks[1].id).unwrap(), []);
}
