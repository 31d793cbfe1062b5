//! What cannot be read is named, and nothing else suffers.

use crate::domain::history::{Head, Window};
use crate::domain::id::AgentId;
use crate::domain::message::{Message, Role, ToolCall};
use crate::domain::page::{Order, Stretch};
use crate::store::check::copy_folder;
use crate::store::engine::Changes;
use crate::store::keys::{self, Key, list};
use crate::store::testing::{self, TestStore};
use crate::store::{Damaged, ReadError, Store, check};
use std::collections::BTreeSet;

/// Writes past all records, as a bug or a bad disk would.
fn overwrite(store: &TestStore, key: Key, value: Option<&[u8]>) {
    let changes = Changes::from([(key, value.map(<[u8]>::to_vec))]);
    store
        .0
        .shared
        .disk
        .with(|engine| engine.apply(&changes))
        .unwrap();
}

/// An agent with `messages` messages and everything that belongs to it.
async fn live(store: &TestStore, messages: u64) -> AgentId {
    let agent = testing::agent();
    let run = testing::run(agent.id);
    let mut window = Window::default();
    window.replace(0..messages);
    store
        .write(|batch| {
            batch.put_agent(&agent);
            batch.put_head(
                agent.id,
                &Head {
                    stored_messages: messages,
                    default_lane: window,
                    ..testing::head()
                },
            );
            batch.put_run(&run);
            batch.put_step(&testing::step(&run, 1));
            for sequence in 0..messages {
                let said = if sequence % 7 == 0 {
                    "long ".repeat(1_500)
                } else {
                    "short".to_owned()
                };
                batch.put_message(&Message {
                    run_id: Some(run.id),
                    ..testing::message(agent.id, sequence, &said)
                });
            }
        })
        .await;
    agent.id
}

/// Closes the store and checks its folder.
async fn checked(store: &TestStore) -> Vec<Damaged> {
    store.close().await.unwrap();
    check(store.path()).unwrap().problems
}

fn named(problems: &[Damaged]) -> BTreeSet<Option<AgentId>> {
    problems.iter().map(|problem| problem.agent).collect()
}

#[tokio::test]
async fn a_whole_folder_has_no_problems_and_the_check_leaves_no_trace() {
    let store = testing::store();
    let block = testing::block("human");
    let agent = live(&store, 10).await;
    store
        .write(|batch| {
            batch.put_block(&block);
            batch.put_link(
                agent,
                &crate::domain::block::BlockLink {
                    block_id: block.id,
                    label: "human".to_owned(),
                    ordinal: 0,
                },
            );
        })
        .await;
    assert!(
        check(store.path()).is_err(),
        "a folder in use is not checked"
    );
    store.close().await.unwrap();
    let report = check(store.path()).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.agents, report.blocks), (1, 1));
    let left: BTreeSet<_> = std::fs::read_dir(store.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, BTreeSet::from(["sled", "traces"].map(str::to_owned)));
}

#[tokio::test]
async fn a_damaged_record_is_an_error_of_its_agent_and_the_list_goes_on() {
    let store = testing::store();
    let (hurt, whole) = (live(&store, 10).await, live(&store, 10).await);
    overwrite(&store, keys::message(hurt, 4), Some(b"no record"));
    let read: Vec<_> = store
        .messages(hurt, Stretch::all(Order::Descending))
        .collect();
    assert_eq!(read.len(), 10);
    let failed: Vec<_> = read.into_iter().filter_map(Result::err).collect();
    assert!(
        matches!(failed.as_slice(), [ReadError::Damaged { agent: Some(agent), .. }] if *agent == hurt)
    );
    assert!(
        store
            .messages(whole, Stretch::all(Order::Ascending))
            .all(|message| message.is_ok())
    );
    assert_eq!(named(&checked(&store).await), BTreeSet::from([Some(hurt)]));
}

#[tokio::test]
async fn the_check_names_what_is_missing() {
    let store = testing::store();
    let agents: Vec<AgentId> = [
        live(&store, 8).await,
        live(&store, 8).await,
        live(&store, 8).await,
        live(&store, 8).await,
    ]
    .to_vec();
    overwrite(&store, keys::message(agents[0], 3), None);
    overwrite(&store, keys::piece(&keys::message(agents[1], 7), 1), None);
    let call = ToolCall {
        id: "call_1".to_owned(),
        name: "add".to_owned(),
        arguments: "{}".to_owned(),
    };
    let calling = Message {
        role: Role::Assistant,
        tool_calls: vec![call],
        ..testing::message(agents[2], 2, "")
    };
    store.write(|batch| batch.put_message(&calling)).await;
    let problems = checked(&store).await;
    assert_eq!(
        named(&problems),
        agents[..3].iter().copied().map(Some).collect()
    );
    for detail in [
        "7 messages are there, 8 should be",
        "message 3 of the context is missing",
        "pieces of the record",
        "1 calls have no return",
    ] {
        assert!(
            problems
                .iter()
                .any(|problem| problem.detail.contains(detail)),
            "{detail}: {problems:?}"
        );
    }
}

#[tokio::test]
async fn lost_indexes_are_written_again_from_the_records() {
    let store = testing::store();
    let agents = [live(&store, 10).await, live(&store, 10).await];
    let lost = [keys::LIST, keys::PLACE].map(|space| keys::KeyRange::of(vec![space]));
    for range in lost {
        let entries: Vec<Key> = store
            .0
            .shared
            .disk
            .scan(range, Order::Ascending)
            .map(|pair| pair.unwrap().0)
            .collect();
        entries
            .into_iter()
            .for_each(|key| overwrite(&store, key, None));
    }
    let dangling = keys::listed(
        list::AGENTS,
        crate::domain::clock::now(),
        AgentId::new().bytes(),
    );
    overwrite(&store, dangling, Some(b""));
    assert_eq!(
        store.agents_by_range(),
        BTreeSet::from_iter(store.agents_by_range())
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(store.rebuild_indexes().await.unwrap(), []);
    let listed: BTreeSet<AgentId> = store
        .agents_by_created(Stretch::all(Order::Ascending))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(listed, BTreeSet::from(agents));
    assert_eq!(checked(&store).await, []);
}

#[tokio::test]
async fn a_damaged_file_ends_every_walk_and_hurts_some_agents_only() {
    let store = testing::store();
    let mut agents = Vec::new();
    for _ in 0..40 {
        agents.push(live(&store, 60).await);
    }
    // Opening writes a snapshot of the log; what is damaged behind the last one can keep sled from opening at all.
    let (store, _) = store.reopened().await;
    store.close().await.unwrap();
    let whole = std::fs::read(store.path().join("sled/db")).unwrap();
    let texts: Vec<usize> = whole
        .windows(9)
        .enumerate()
        .filter(|(_, text)| *text == b"long long")
        .map(|(at, _)| at)
        .collect();
    let (mut opened_at_all, mut hurt_at_all) = (0, 0);
    for round in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&store.path().join("sled"), &dir.path().join("sled")).unwrap();
        let mut damaged = whole.clone();
        damaged[texts[texts.len() * round / 12]] ^= 0x20;
        std::fs::write(dir.path().join("sled/db"), &damaged).unwrap();

        // Damage in the end of the log, which is replayed, may be too much for sled: then it is an error, no panic.
        let Ok((opened, _)) = Store::open(testing::config(dir.path())) else {
            continue;
        };
        let is_hurt = |agent: &&AgentId| {
            opened
                .messages(**agent, Stretch::all(Order::Ascending))
                .any(|message| message.is_err())
        };
        let hurt = agents.iter().filter(is_hurt).count();
        let list = opened
            .agents_by_created(Stretch::all(Order::Descending))
            .unwrap();
        assert!(hurt < agents.len() && list.filter(Result::is_err).count() <= 1);
        assert!(!opened.agents_by_range().is_empty());
        drop(opened.close().await);
        if let Ok(report) = check(dir.path()) {
            assert!(
                hurt == 0 || named(&report.problems).iter().any(Option::is_some),
                "{report:?}"
            );
        }
        opened_at_all += 1;
        hurt_at_all += hurt;
    }
    assert!(
        opened_at_all > 0 && hurt_at_all > 0,
        "{opened_at_all} opened, {hurt_at_all} agents hurt"
    );
}
