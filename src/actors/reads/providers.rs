//! The model providers that clients added.

use super::Reads;
use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::domain::id::ProviderId;
use crate::domain::page::{Order, Page};
use crate::domain::provider::{Provider, ProviderFilter};

impl Reads {
    /// A provider that a client added.
    pub async fn provider(&self, id: ProviderId) -> Result<Provider, Refused> {
        self.read(move |house| {
            let provider = house.store.provider(id)?;
            provider
                .map(|provider| listed(house, provider))
                .ok_or(Refused::NoSuchProvider(id))
        })
        .await
    }

    /// Those that clients added. What cannot be read is left out; the log names it at the start.
    pub async fn providers(
        &self,
        filter: ProviderFilter,
        page: Page<ProviderId>,
    ) -> Result<Vec<Provider>, Refused> {
        self.read(move |house| {
            let (mut providers, _) = house.store.providers();
            if page.order == Order::Descending {
                providers.reverse();
            }
            providers.retain(|provider| filter.keeps(provider));
            let page = page.cut(providers, |provider| provider.id).into_iter();
            Ok(page.map(|provider| listed(house, provider)).collect())
        })
        .await
    }
}

/// Lists are read in the background as well, and nothing is written for that.
fn listed(house: &House, provider: Provider) -> Provider {
    let listed_at = house.providers.listed_at(provider.id);
    Provider {
        last_synced: listed_at.max(provider.last_synced),
        ..provider
    }
}
