//! Conversations on disk: lists, members, loans, and what goes with them.

use crate::domain::clock;
use crate::domain::conversation::Conversation;
use crate::domain::message::Message;
use crate::domain::page::{Order, Stretch};
use crate::store::testing::{self, TestStore};
use crate::store::{Swept, check};

/// An agent with three messages in a conversation and a fork that took the last two.
async fn forked(store: &TestStore) -> (Conversation, Conversation, Vec<Message>) {
    let agent = testing::agent();
    let mut source = testing::conversation(agent.id);
    let mut fork = testing::conversation(agent.id);
    fork.created_at = clock::from_micros(source.created_at.as_microsecond() + 1);
    let messages: Vec<Message> = (1..=4)
        .map(|sequence| Message {
            conversation_id: Some(if sequence < 4 { source.id } else { fork.id }),
            run_id: None,
            tool_calls: Vec::new(),
            ..testing::message(agent.id, sequence, "said")
        })
        .collect();
    (1..=3).for_each(|sequence| source.window.append(sequence));
    [4, 2, 3]
        .into_iter()
        .for_each(|sequence| fork.window.append(sequence));
    let mut head = testing::head();
    head.stored_messages = 4;
    head.default_lane = crate::domain::history::Window::default();
    store
        .write(|batch| {
            batch.put_agent(&agent);
            batch.put_head(agent.id, &head);
            messages
                .iter()
                .for_each(|message| batch.put_message(message));
            (1..=3).for_each(|sequence| batch.put_member(&source, sequence));
            batch.put_member(&fork, 4);
            [2, 3]
                .iter()
                .for_each(|sequence| batch.lend_message(&fork, *sequence));
            batch.put_conversation(&source);
            batch.put_conversation(&fork);
        })
        .await;
    (source, fork, messages)
}

fn members(store: &TestStore, of: &Conversation, order: Order, past: Option<u64>) -> Vec<u64> {
    let members = store.members(of.agent_id, of.id, Stretch::past(order, past));
    members.collect::<Result<_, _>>().unwrap()
}

fn listed(store: &TestStore, order: Order) -> Vec<Conversation> {
    let found = store.conversations(None, Stretch::all(order)).unwrap();
    found.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn conversations_and_their_members_are_listed_in_order_from_a_cursor() {
    let store = testing::store();
    let (source, fork, _) = forked(&store).await;
    let (store, _) = store.reopened().await;
    assert_eq!(store.conversation(source.id).unwrap().unwrap(), source);
    assert_eq!(
        listed(&store, Order::Ascending),
        [source.clone(), fork.clone()]
    );
    let past = store.conversations(
        Some(source.agent_id),
        Stretch::past(Order::Descending, Some(fork.id)),
    );
    let past: Vec<Conversation> = past.unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(past, std::slice::from_ref(&source));
    assert_eq!(members(&store, &source, Order::Ascending, None), [1, 2, 3]);
    assert_eq!(members(&store, &fork, Order::Ascending, None), [4, 2, 3]);
    assert_eq!(members(&store, &fork, Order::Descending, Some(3)), [2, 4]);
    assert_eq!(store.borrowers(source.agent_id, 2).unwrap(), [fork.id]);
    let path = testing::config(store.path());
    store.close().await.unwrap();
    assert_eq!(check(&path.path).unwrap().problems, []);
}

#[tokio::test]
async fn a_deleted_conversation_takes_the_messages_with_it_that_nobody_else_has() {
    let store = testing::store();
    let (source, fork, messages) = forked(&store).await;
    let placed = store.placed_members(source.agent_id, source.id, Stretch::all(Order::Ascending));
    let placed: Vec<_> = placed.collect::<Result<_, _>>().unwrap();
    store
        .write(|batch| {
            batch.delete_members(&source, &placed, &messages[..1]);
            batch.delete_conversation(&source);
        })
        .await;
    assert_eq!(store.conversation(source.id).unwrap(), None);
    assert_eq!(
        listed(&store, Order::Ascending),
        std::slice::from_ref(&fork)
    );
    assert_eq!(members(&store, &source, Order::Ascending, None), [0; 0]);
    assert_eq!(store.message_location(messages[0].id).unwrap(), None);
    assert_eq!(
        store
            .messages_at(fork.agent_id, fork.window.spans())
            .unwrap(),
        [&messages[3], &messages[1], &messages[2]].map(Clone::clone)
    );
}

#[tokio::test]
async fn conversations_go_with_their_agent_and_their_lists_are_rebuilt() {
    let store = testing::store();
    let (source, _, _) = forked(&store).await;
    assert_eq!(store.rebuild_indexes().await.unwrap(), []);
    assert_eq!(listed(&store, Order::Ascending).len(), 2);
    let agent = store.agent(source.agent_id).unwrap().unwrap();
    store.write(|batch| batch.bury(&agent)).await;
    assert_eq!(store.conversation(source.id).unwrap(), None);
    assert_eq!(listed(&store, Order::Ascending), []);
    while store.sweep(agent.id, 3).await.unwrap() == Swept::Some {}
    let path = testing::config(store.path());
    store.close().await.unwrap();
    assert_eq!(check(&path.path).unwrap().problems, []);
}
