//! Indexes are derived: they can be written again from the records.

use super::batch::Batch;
use super::blocks::Link;
use super::codec::Stored;
use super::keys::{self, KeyRange, section};
use super::seal::{Sealed, SealedProvider};
use super::sweep::SweepError;
use super::{
    Damaged, ReadError, Store, agents, audit, blocks, conversations, messages, providers, runs,
    steps, tools,
};
use crate::domain::block::Block;
use crate::domain::conversation::Conversation;
use crate::domain::id::{AgentId, BlockId};
use crate::domain::message::Message;
use crate::domain::page::Order;
use crate::domain::run::{Run, Step};

/// Operations after which a batch is written.
const MOST_OPS: usize = 1_000;

impl Store {
    /// All agents that own something, found without the list of agents, in the order of their ids; deleted ones
    /// included. The way round a list that cannot be read.
    pub fn agents_by_range(&self) -> Vec<AgentId> {
        let owners = audit::owners(self.disk(), keys::AGENT, &mut Vec::new());
        owners.into_iter().map(AgentId::from_bytes).collect()
    }

    /// Writes every entry of an index that is missing or wrong, and removes those that lead nowhere. What cannot be
    /// read is named in the answer and passed over. May run while the store is in use: it only writes what is true of
    /// what it has read, and an entry too many is passed over by readers.
    ///
    /// # Errors
    /// A batch could not be written; what was written before stays.
    pub async fn rebuild_indexes(&self) -> Result<Vec<Damaged>, SweepError> {
        let mut rebuild = Rebuild {
            store: self,
            batch: Batch::shared(),
            problems: Vec::new(),
        };
        for agent in audit::owners(self.disk(), keys::AGENT, &mut rebuild.problems) {
            rebuild.agent(AgentId::from_bytes(agent)).await?;
        }
        for block in audit::owners(self.disk(), keys::BLOCK, &mut rebuild.problems) {
            let key = keys::block(BlockId::from_bytes(block));
            rebuild
                .one(self.disk().record::<Block>(&key).transpose(), blocks::list)
                .await?;
        }
        let (stored, unread) = self.tools();
        rebuild
            .problems
            .extend(unread.into_iter().map(Damaged::from));
        for tool in stored {
            rebuild.one(Some(Ok(tool)), tools::list).await?;
        }
        let stored = self
            .disk()
            .records::<SealedProvider>(keys::providers(), Order::Ascending);
        for provider in stored {
            rebuild
                .one(Some(provider), |batch, SealedProvider(provider)| {
                    providers::list(batch, provider)
                })
                .await?;
        }
        for space in [keys::LIST, keys::PLACE] {
            rebuild.remove_dangling(KeyRange::of(vec![space])).await?;
        }
        rebuild.write().await?;
        Ok(rebuild.problems)
    }
}

struct Rebuild<'a> {
    store: &'a Store,
    batch: Batch,
    problems: Vec<Damaged>,
}

impl Rebuild<'_> {
    async fn agent(&mut self, agent: AgentId) -> Result<(), SweepError> {
        match self.store.is_buried(agent) {
            Ok(false) => (),
            Ok(true) => return Ok(()),
            Err(error) => {
                self.problems.push(error.into());
                return Ok(());
            }
        }
        let settings = self.store.disk().record::<Sealed>(&keys::settings(agent));
        self.one(settings.transpose(), |batch, Sealed(agent)| {
            agents::list(batch, agent)
        })
        .await?;
        self.section::<Message>(agent, section::MESSAGE, messages::list)
            .await?;
        self.section::<Link>(agent, section::LINK, |batch, Link(link)| {
            blocks::list_link(batch, agent, link)
        })
        .await?;
        self.section::<Conversation>(agent, section::CONVERSATION, conversations::list)
            .await?;
        self.section::<Run>(agent, section::RUN, runs::list).await?;
        self.section::<Step>(agent, section::STEP, steps::list)
            .await
    }

    async fn section<T: Stored>(
        &mut self,
        agent: AgentId,
        section: u8,
        list: impl Fn(&mut Batch, &T),
    ) -> Result<(), SweepError> {
        let records = self
            .store
            .disk()
            .records::<T>(keys::section(agent, section), Order::Ascending);
        for record in records {
            self.one(Some(record), &list).await?;
        }
        Ok(())
    }

    async fn one<T>(
        &mut self,
        record: Option<Result<T, ReadError>>,
        list: impl Fn(&mut Batch, &T),
    ) -> Result<(), SweepError> {
        match record {
            Some(Ok(record)) => list(&mut self.batch, &record),
            Some(Err(error)) => self.problems.push(error.into()),
            None => (),
        }
        self.write_if_long().await
    }

    async fn remove_dangling(&mut self, range: KeyRange) -> Result<(), SweepError> {
        for pair in self.store.disk().scan(range, Order::Ascending) {
            match pair.and_then(|(key, value)| Ok((self.leads_somewhere(&key, &value)?, key))) {
                Ok((true, _)) => (),
                Ok((false, key)) => self.batch.unset(key),
                Err(error) => self.problems.push(error.into()),
            }
            self.write_if_long().await?;
        }
        Ok(())
    }

    fn leads_somewhere(&self, key: &[u8], value: &[u8]) -> Result<bool, ReadError> {
        match audit::target(key, value) {
            Some(target) => self.store.disk().holds(&target),
            None => Ok(false),
        }
    }

    async fn write_if_long(&mut self) -> Result<(), SweepError> {
        if self.batch.ops.len() < MOST_OPS {
            Ok(())
        } else {
            self.write().await
        }
    }

    async fn write(&mut self) -> Result<(), SweepError> {
        let batch = std::mem::replace(&mut self.batch, Batch::shared());
        Ok(self.store.commit(batch).await?)
    }
}
