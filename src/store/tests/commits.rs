//! Conditions, epochs, durability, faults.

use crate::domain::block::BlockLink;
use crate::domain::id::AgentId;
use crate::store::engine::faults::{Action, Call, Event, Fault, Plan};
use crate::store::keys;
use crate::store::testing::{self, TestStore};
use crate::store::{Batch, CommitError, Condition, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const WRITERS: u64 = 32;
const WRITES: u64 = 20;

/// Many writers at once, each noting its answers in the journal of `plan`.
async fn load(store: &Store, plan: &Arc<Plan>) {
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (store, plan) = (store.clone(), Arc::clone(plan));
        writers.spawn(async move {
            let agent = AgentId::new();
            let epoch = store.fence(agent).await.unwrap();
            for sequence in 0..WRITES {
                let mut batch = Batch::of_agent(agent, epoch);
                batch.put_message(&testing::message(agent, sequence, "hello"));
                store.commit(batch).await.unwrap();
                plan.note(Event::Acknowledged(keys::message(agent, sequence)));
            }
        });
    }
    writers.join_all().await;
}

/// The acknowledgements that came before a flush and then a sync that followed their write.
fn too_early(journal: &[Event]) -> usize {
    #[derive(PartialEq)]
    enum Reached {
        Engine,
        System,
        Disk,
    }
    let mut reached: std::collections::HashMap<&keys::Key, Reached> =
        std::collections::HashMap::new();
    let mut early = 0;
    for event in journal {
        match event {
            Event::Write(keys) => keys.iter().for_each(|key| {
                reached.insert(key, Reached::Engine);
            }),
            Event::Flush => reached
                .values_mut()
                .filter(|at| **at == Reached::Engine)
                .for_each(|at| *at = Reached::System),
            Event::Sync => reached
                .values_mut()
                .filter(|at| **at == Reached::System)
                .for_each(|at| *at = Reached::Disk),
            Event::Acknowledged(key) => {
                early += usize::from(reached.get(key) != Some(&Reached::Disk))
            }
        }
    }
    early
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn decision_16_nothing_is_acknowledged_before_a_sync_that_follows_its_write() {
    let plan = Arc::new(Plan::with_journal());
    let store = TestStore::with_faults(&plan);
    load(&store, &plan).await;
    let journal = plan.journal();
    let acknowledged = journal
        .iter()
        .filter(|event| matches!(event, Event::Acknowledged(_)))
        .count();
    let syncs = journal
        .iter()
        .filter(|event| **event == Event::Sync)
        .count();
    assert_eq!(
        (acknowledged as u64, too_early(&journal)),
        (WRITERS * WRITES, 0)
    );
    assert!(
        syncs < acknowledged,
        "{syncs} syncs for {acknowledged} writes: nothing was grouped"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_check_above_sees_a_sync_that_is_left_out() {
    let plan = Arc::new(Plan::with_journal());
    let store = TestStore::with_faults(&plan);
    plan.add(Fault::new(Action::Skip, Call::Sync, 0));
    load(&store, &plan).await;
    assert_eq!(too_early(&plan.journal()) as u64, WRITERS * WRITES);
}

#[tokio::test]
async fn decision_29_an_older_incarnation_is_fenced_off() {
    let store = testing::store();
    let agent = AgentId::new();
    let write = |epoch| {
        let mut batch = Batch::of_agent(agent, epoch);
        batch.put_head(agent, &testing::head());
        store.commit(batch)
    };
    let old = store.fence(agent).await.unwrap();
    let queued = write(old);
    let new = store.fence(agent).await.unwrap();
    assert_eq!(
        store.head(agent).unwrap(),
        Some(testing::head()),
        "what was queued before the fence is applied"
    );
    assert_eq!(queued.await, Ok(()));
    assert_eq!(write(old).await, Err(CommitError::Fenced));
    store.release(agent, old);
    assert_eq!(write(new).await, Ok(()));
    store.release(agent, new);
    assert_eq!(write(new).await, Err(CommitError::Fenced));
}

#[tokio::test]
async fn decision_32_of_two_edits_of_one_version_the_second_is_refused_whole() {
    let store = testing::store();
    let mut block = testing::block("human");
    store.write(|batch| batch.put_block(&block)).await;
    let revision = store.shared_revision();
    block.version = 2;
    store.write(|batch| batch.put_block(&block)).await;
    assert!(store.shared_revision() > revision);

    let agent = AgentId::new();
    let mut batch = Batch::shared();
    batch.put_head(agent, &testing::head());
    batch.put_block(&block);
    let refused = store.commit(batch).await;
    assert_eq!(
        refused,
        Err(CommitError::Conflict(Condition::BlockVersion {
            block: block.id,
            version: 1
        }))
    );
    assert_eq!(store.head(agent).unwrap(), None);
    assert_eq!(store.block_version(block.id).unwrap(), Some(2));
}

#[tokio::test]
async fn decision_32_labels_stay_unique_and_may_be_exchanged() {
    let store = testing::store();
    let agent = AgentId::new();
    let (first, second) = (testing::block("a"), testing::block("b"));
    let link = |block: &crate::domain::block::Block, label: &str, ordinal| BlockLink {
        block_id: block.id,
        label: label.to_owned(),
        ordinal,
    };
    store
        .write(|batch| {
            batch.put_block(&first);
            batch.put_block(&second);
            batch.put_link(agent, &link(&first, "a", 1));
            batch.put_link(agent, &link(&second, "b", 0));
        })
        .await;
    let mut taken = Batch::shared();
    taken.put_link(agent, &link(&first, "b", 1));
    let refused = Err(CommitError::Conflict(Condition::LabelFree {
        agent,
        label: "b".to_owned(),
    }));
    assert_eq!(store.commit(taken).await, refused);

    store
        .write(|batch| {
            batch.put_link(agent, &link(&first, "b", 1));
            batch.put_link(agent, &link(&second, "a", 0));
        })
        .await;
    assert_eq!(
        store.links(agent).unwrap(),
        [link(&second, "a", 0), link(&first, "b", 1)]
    );
    assert_eq!(store.labelled(agent, "b").unwrap(), Some(first.id));

    store.write(|batch| batch.delete_block(first.id)).await;
    assert_eq!(store.links(agent).unwrap(), [link(&second, "a", 0)]);
    assert_eq!(store.labelled(agent, "b").unwrap(), None);
    let mut dangling = Batch::shared();
    dangling.put_link(agent, &link(&first, "c", 2));
    assert_eq!(
        store.commit(dangling).await,
        Err(CommitError::Conflict(Condition::BlockExists(first.id)))
    );
}

#[tokio::test]
async fn decision_37_a_full_disk_refuses_writes_and_takes_them_again() {
    let store = testing::store();
    let reserve = &store.0.shared.reserve_bytes;
    let before = reserve.swap(u64::MAX, Ordering::Relaxed);
    assert!(store.disk_full());
    let agent = AgentId::new();
    let mut batch = Batch::shared();
    batch.put_head(agent, &testing::head());
    assert_eq!(store.commit(batch).await, Err(CommitError::Full));
    assert_eq!(store.head(agent).unwrap(), None);
    reserve.store(before, Ordering::Relaxed);
    assert!(!store.disk_full());
    store
        .write(|batch| batch.put_head(agent, &testing::head()))
        .await;
}

#[tokio::test]
async fn decision_37_a_broken_engine_is_opened_again_and_agents_are_fenced_off() {
    let plan = Plan::with_journal();
    let store = TestStore::with_faults(&plan);
    let agent = AgentId::new();
    let epoch = store.fence(agent).await.unwrap();
    let write = |epoch| {
        let mut batch = Batch::of_agent(agent, epoch);
        batch.put_head(agent, &testing::head());
        store.commit(batch)
    };
    write(epoch).await.unwrap();
    plan.add(Fault::new(Action::Fail, Call::Write, 0));
    assert!(matches!(write(epoch).await, Err(CommitError::Failed(_))));
    plan.clear();
    let epoch = write(epoch).await.map(|()| epoch);
    assert_eq!(epoch, Err(CommitError::Fenced));
    assert_eq!(store.generation(), 1);
    assert_eq!(store.head(agent).unwrap(), Some(testing::head()));
    let epoch = store.fence(agent).await.unwrap();
    write(epoch).await.unwrap();
}

#[tokio::test]
async fn decision_16_after_a_failed_sync_no_write_is_taken() {
    let plan = Plan::with_journal();
    let store = TestStore::with_faults(&plan);
    let write = || {
        let mut batch = Batch::shared();
        batch.put_head(AgentId::new(), &testing::head());
        store.commit(batch)
    };
    plan.add(Fault::new(Action::Fail, Call::Sync, 0));
    assert!(matches!(write().await, Err(CommitError::Failed(_))));
    plan.clear();
    assert!(matches!(write().await, Err(CommitError::Failed(_))));
    assert!(store.health().borrow().lost.is_some());
}

#[tokio::test]
async fn a_record_that_is_too_large_spoils_its_batch_only() {
    let store = testing::store();
    let agent = AgentId::new();
    let mut batch = Batch::shared();
    batch.put_head(agent, &testing::head());
    batch.put_message(&testing::message(agent, 0, &"x".repeat(17 << 20)));
    assert!(matches!(
        store.commit(batch).await,
        Err(CommitError::TooLarge(_))
    ));
    assert_eq!(store.head(agent).unwrap(), None);
}

#[tokio::test]
async fn a_folder_has_one_owner_and_says_so() {
    let store = testing::store();
    assert!(matches!(store.open_again(), Err(StoreError::InUse(_))));
    store.close().await.unwrap();
    assert_eq!(store.close().await, Err(CommitError::Closed));
    let (again, report) = store.open_again().unwrap();
    assert!(report.clean && !report.created);
    drop(again);
}

#[tokio::test]
async fn a_folder_of_a_newer_program_is_refused() {
    use crate::store::{codec, engine::Changes, migrate};
    let store = testing::store();
    let newer = codec::encode(&migrate::Mark { number: 99 }).unwrap();
    let changes = Changes::from([(keys::meta("format"), Some(newer))]);
    store
        .0
        .shared
        .disk
        .with(|engine| engine.apply(&changes))
        .unwrap();
    store.close().await.unwrap();
    assert!(matches!(
        store.open_again(),
        Err(StoreError::Newer {
            found: 99,
            known: 1
        })
    ));
}

/// Not a measurement to quote, but to look at: `cargo test --release -- --ignored --nocapture writes_a_second`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn writes_a_second() {
    let store = testing::store();
    let started = std::time::Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let store = store.store.clone();
        writers.spawn(async move {
            let (agent, head) = (AgentId::new(), testing::head());
            let epoch = store.fence(agent).await.unwrap();
            let mut run = testing::run(agent);
            for sequence in 0..200 {
                let mut message = testing::message(agent, sequence, &"words ".repeat(150));
                message.run_id = Some(run.id);
                run.steps += 1;
                let mut batch = Batch::of_agent(agent, epoch);
                batch.put_message(&message);
                batch.put_step(&testing::step(&run, sequence + 1));
                batch.put_run(&run);
                batch.put_head(agent, &head);
                store.commit(batch).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let rate = f64::from(64 * 200) / started.elapsed().as_secs_f64();
    println!("{rate:.0} durable step commits a second, 64 writers");
}
