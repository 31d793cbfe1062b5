//! A provider that a client added: from its record to something that can be asked.
//!
//! Its address comes from a client and not from the operator, so it is reached through the gate of `egress`, and only if
//! that lets it pass (decisions 8).

use super::azure;
use super::bedrock::{self, signature::Keys};
use super::config::{ApiKey, Timeouts};
use super::endpoint::{Endpoint, Login, Origin};
use super::listing::Cache;
use super::provider::Provider;
use super::setup::{checked_url, is_sendable, with_version};
use super::vendors::{self, ListingStyle};
use crate::domain::id::ProviderId;
use crate::domain::provider::Provider as Record;
use crate::egress::Gate;
use std::sync::{Arc, OnceLock};
use url::Url;

/// A provider that is ready to be asked and not yet in use.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(crate) id: ProviderId,
    pub(crate) provider: Arc<Provider>,
}

/// Nothing is asked of the network.
///
/// # Errors
/// Why it can be no provider, for the client.
pub(crate) fn prepare(
    record: &Record,
    gate: &Gate,
    timeouts: Timeouts,
) -> Result<Prepared, String> {
    let kind = record.provider_type.name();
    let vendor = vendors::of_type(record.provider_type)
        .map_err(|why| format!("a provider of type '{kind}' cannot be added: {why}"))?;
    let key = ApiKey::new(record.key.reveal());
    for (field, key) in [
        ("api_key", Some(&record.key)),
        ("access_key", record.access_key.as_ref()),
    ] {
        if !key.is_none_or(|key| is_sendable(key.reveal())) {
            return Err(format!(
                "{field} holds spaces or characters that a header cannot carry"
            ));
        }
    }
    let aws = vendor.dialect.listing == ListingStyle::Bedrock;
    let own = match (&record.region, aws) {
        (Some(region), true) if !bedrock::is_region(region) => {
            return Err(format!("region: '{region}' is no name of a region"));
        }
        (Some(region), true) => Some(bedrock::base_url(region)),
        // Where it is may be given whole, but a signature holds for one region.
        (None, true) if record.base_url.is_none() || record.access_key.is_some() => {
            return Err("a provider of type 'bedrock' needs a region".to_owned());
        }
        (None, true) => None,
        (_, false) => vendor.public_base.map(str::to_owned),
    };
    let base = record.base_url.as_deref().or(own.as_deref());
    let base = base.ok_or_else(|| format!("a provider of type '{kind}' needs a base_url"))?;
    let base_url = checked_url(base).map_err(|why| format!("base_url {why}"))?;
    let url = Url::parse(&base_url).map_err(|error| format!("base_url: {error}"))?;
    gate.check(&url)
        .map_err(|refused| format!("base_url: {refused}"))?;
    let azure = vendor.dialect.listing == ListingStyle::Azure;
    let version = record.api_version.as_deref().unwrap_or(azure::API_VERSION);
    let endpoint = Endpoint {
        name: record.name.clone(),
        provider_type: kind.to_owned(),
        endpoint_type: vendor.endpoint_type.to_owned(),
        base_url: with_version(vendor, base_url),
        key: Some(key.clone()).filter(|key| !key.reveal().is_empty()),
        login: match (&record.access_key, &record.region) {
            (Some(access), Some(region)) if aws => Login::Aws(Keys {
                access: ApiKey::new(access.reveal()),
                secret: key,
                session: None,
                region: region.clone(),
            }),
            _ => Login::Key,
        },
        project: None,
        api_version: azure.then(|| version.to_owned()),
        dialect: vendor.dialect,
        timeouts,
        origin: Origin::Client(gate.clone()),
        client: OnceLock::new(),
    };
    Ok(Prepared {
        id: record.id,
        provider: Arc::new(Provider {
            endpoint: Arc::new(endpoint),
            chosen: Vec::new(),
            cache: Cache::default(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;
    use crate::domain::id::UserId;
    use crate::domain::provider::{NewProvider, ProviderKey, ProviderType};
    use crate::providers::Providers;
    use crate::providers::config::ProvidersConfig;
    use crate::providers::testing::{Reply, Server, request};
    use serde_json::json;

    fn record(provider_type: &str, base_url: Option<&str>) -> Record {
        let new = NewProvider {
            name: "mine".to_owned(),
            provider_type: ProviderType::named(provider_type).unwrap(),
            key: ProviderKey::new("secret-key"),
            access_key: None,
            base_url: base_url.map(str::to_owned),
            region: None,
            api_version: None,
        };
        new.create(UserId::DEFAULT, clock::now()).unwrap()
    }

    fn providers(allowed: &[&str]) -> Providers {
        let allowed = allowed.iter().map(|host| (*host).to_owned()).collect();
        let config = ProvidersConfig::default();
        Providers::new(config, Gate::new(allowed), |_| None).unwrap()
    }

    #[test]
    fn addresses_are_the_vendors_own_or_complete_like_them() {
        let base_url = |provider_type: &str, base_url: Option<&str>| {
            let prepared = providers(&[]).prepare(&record(provider_type, base_url));
            prepared.map(|prepared| prepared.provider.endpoint.base_url.clone())
        };
        for (provider_type, given, complete) in [
            ("groq", None, "https://api.groq.com/openai/v1"),
            ("anthropic", None, "https://api.anthropic.com/v1"),
            (
                "vllm",
                Some("https://a.example.org"),
                "https://a.example.org/v1",
            ),
            (
                "openai",
                Some("https://a.example.org/v1/"),
                "https://a.example.org/v1",
            ),
            (
                "azure",
                Some("https://a.openai.azure.com"),
                "https://a.openai.azure.com",
            ),
        ] {
            assert_eq!(base_url(provider_type, given).unwrap(), complete);
        }
        for (provider_type, given, reason) in [
            ("azure", None, "needs a base_url"),
            ("bedrock", None, "needs a region"),
            ("google_vertex", None, "login of a Google account"),
            (
                "ollama",
                Some("http://127.0.0.1:11434"),
                "not on the public internet",
            ),
        ] {
            let error = base_url(provider_type, given).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn bedrock_is_in_its_region_with_one_key_or_two() {
        let prepared = |region: &str, access: Option<&str>| {
            let mut record = record("bedrock", None);
            record.region = Some(region.to_owned());
            record.access_key = access.map(ProviderKey::new);
            providers(&[]).prepare(&record)
        };
        let login = |access| {
            prepared("eu-west-1", access)
                .unwrap()
                .provider
                .endpoint
                .clone()
        };
        let two = login(Some("AKIA"));
        let place = "https://bedrock-runtime.eu-west-1.amazonaws.com";
        assert_eq!(two.base_url, place);
        assert!(matches!(&two.login, Login::Aws(keys) if keys.region == "eu-west-1"));
        assert!(matches!(login(None).login, Login::Key));
        for odd in [prepared("a.b", None), prepared("eu", Some("a b"))] {
            assert!(odd.is_err());
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_private_address_is_not_followed() {
        // Known by a name only, so it shows when it is looked up.
        let providers = providers(&[]);
        let record = record("openai", Some("http://localhost.:1/v1"));
        assert!(providers.prepare(&record).is_err());
        let gate = Gate::new(vec!["127.0.0.1".to_owned()]);
        let server = Server::scripted(vec![Reply::with(
            302,
            "location: http://10.0.0.7/v1/models\r\n",
            "text/plain",
            "",
        )])
        .await;
        let allowed = Providers::new(ProvidersConfig::default(), gate, |_| None).unwrap();
        let redirected = self::record("openai", Some(&server.base_url));
        let error = allowed
            .ask(&allowed.prepare(&redirected).unwrap())
            .await
            .unwrap_err();
        assert!(error.detail.contains("answered 302"), "{error}");
    }

    #[tokio::test]
    async fn azure_is_asked_for_deployments_with_its_own_header_and_version() {
        let server = Server::answering(|request| {
            let head = request.to_lowercase();
            assert!(head.contains("api-key: secret-key") && !head.contains("authorization"));
            if request.starts_with("GET /openai/deployments?api-version=2023-03-15-preview ") {
                let list = json!({"data": [
                    {"id": "talk", "model": "gpt-4o", "status": "succeeded"},
                    {"id": "vectors", "model": "text-embedding-3-small", "status": "succeeded"},
                    {"id": "later", "model": "gpt-4o", "status": "running"},
                ]});
                return Reply::json(200, &list.to_string());
            }
            let call = "POST /openai/deployments/talk/chat/completions?api-version=2024-10-21 ";
            assert!(request.starts_with(call), "{request}");
            Reply::json(200, r#"{"choices":[{"message":{"content":"hi"}}]}"#)
        })
        .await;
        let root = server.base_url.trim_end_matches("/v1");
        let providers = providers(&["127.0.0.1"]);
        let prepared = providers.prepare(&record("azure", Some(root))).unwrap();
        providers.ask(&prepared).await.unwrap();
        providers.seat(prepared);
        let listed = providers.models().await;
        let handles: Vec<_> = listed
            .iter()
            .map(|info| info.config.handle.clone())
            .collect();
        assert_eq!(handles[1..], [Some("mine/talk".to_owned())]);
        let config = &listed[1].config;
        assert_eq!(
            (config.model_endpoint_type.as_str(), config.context_window),
            ("azure", 128_000)
        );
        assert_eq!(providers.embedding_models().await.len(), 1);
        let mut request = request("talk", "hello");
        request.config = Arc::new(config.clone());
        let model = providers.model(config).unwrap();
        let answer = model.answer(&request, &mut |_| ()).await.unwrap();
        assert_eq!(answer.parts[0].text(), Some("hi"));
        assert_eq!(server.requests(), 2);
    }

    #[tokio::test]
    async fn a_key_that_the_list_does_not_ask_for_is_tried_elsewhere() {
        let server = Server::answering(|request| match request.starts_with("GET /v1/key ") {
            true => Reply::json(401, r#"{"error": {"message": "no such user: secret-key"}}"#),
            false => Reply::json(200, r#"{"data": [{"id": "m"}]}"#),
        })
        .await;
        let providers = providers(&["127.0.0.1"]);
        let record = record("openrouter", Some(&server.base_url));
        let prepared = providers.prepare(&record).unwrap();
        let error = providers.ask(&prepared).await.unwrap_err();
        assert_eq!(
            error.class,
            crate::domain::model::ModelErrorClass::Authentication
        );
        assert_eq!(
            error.detail,
            "the provider mine (byok) answered 401: no such user: [key]"
        );
    }

    #[tokio::test]
    async fn a_configured_provider_keeps_its_name() {
        let config = serde_json::from_value(json!({"groq": {"api_key": "k", "models": ["m"]}}));
        let gate = Gate::new(Vec::new());
        let providers = Providers::new(config.unwrap(), gate, |_| None).unwrap();
        for name in ["groq", "greenroom", "letta", "openai-proxy", "lmstudio"] {
            assert!(providers.is_taken(name), "{name}");
        }
        assert!(!providers.is_taken("mine"));
        let mut record = record("xai", None);
        record.name = "groq".to_owned();
        providers.seat(providers.prepare(&record).unwrap());
        let listed = providers.models().await;
        assert!(
            listed
                .iter()
                .all(|info| info.config.provider_category.as_deref() == Some("base"))
        );
        assert!(providers.seated(record.id).is_some());
        providers.unseat(record.id);
        assert!(providers.seated(record.id).is_none());
    }
}
