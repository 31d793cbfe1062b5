//! Logins of Google accounts: tokens that last for an hour, got with whatever credentials this machine has.

use gcp_auth::{CustomServiceAccount, TokenProvider};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// What Vertex asks for.
const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];

/// The credentials are looked for on first use: a file that is named, those of the environment, of `gcloud`, or the
/// machine's own in Google's cloud.
#[derive(Clone)]
pub(crate) struct GoogleLogin {
    file: Option<PathBuf>,
    found: Arc<OnceCell<Arc<dyn TokenProvider>>>,
}

impl GoogleLogin {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            found: Arc::default(),
        }
    }

    /// The token of the moment.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn token(&self) -> Result<String, String> {
        let find = || async {
            match &self.file {
                Some(file) => CustomServiceAccount::from_file(file)
                    .map(|account| Arc::new(account) as Arc<dyn TokenProvider>),
                None => gcp_auth::provider().await,
            }
        };
        let found = self.found.get_or_try_init(find).await;
        let found = found.map_err(|error| super::endpoint::causes(&error))?;
        let token = found.token(SCOPES).await;
        let token = token.map_err(|error| super::endpoint::causes(&error))?;
        Ok(token.as_str().to_owned())
    }

    #[cfg(test)]
    pub(crate) fn known(provider: Arc<dyn TokenProvider>) -> Self {
        Self {
            file: None,
            found: Arc::new(OnceCell::new_with(Some(provider))),
        }
    }
}

impl fmt::Debug for GoogleLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GoogleLogin(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::ModelErrorClass;
    use crate::providers::Model;
    use crate::providers::call::Remote;
    use crate::providers::endpoint::{Endpoint, Login};
    use crate::providers::gemini::Gemini;
    use crate::providers::listing::Cache;
    use crate::providers::provider::Provider;
    use crate::providers::testing::{Reply, Server, endpoint, request};
    use crate::providers::vendors::VERTEX;
    use gcp_auth::{Error, Token};
    use serde_json::json;
    use std::pin::Pin;

    /// Somebody with a token.
    struct Somebody;

    impl TokenProvider for Somebody {
        fn token<'s, 'a, 't, 'f>(
            &'s self,
            _scopes: &'a [&'t str],
        ) -> Pin<Box<dyn Future<Output = Result<Arc<Token>, Error>> + Send + 'f>>
        where
            Self: 'f,
            's: 'f,
            'a: 'f,
            't: 'f,
        {
            let token = json!({"access_token": "hour-token", "expires_in": 3_600});
            Box::pin(async move { Ok(Arc::new(serde_json::from_value(token).unwrap())) })
        }

        fn project_id<'s, 'f>(
            &'s self,
        ) -> Pin<Box<dyn Future<Output = Result<Arc<str>, Error>> + Send + 'f>>
        where
            Self: 'f,
            's: 'f,
        {
            Box::pin(async { Ok("p".into()) })
        }
    }

    fn vertex(server: &Server, login: GoogleLogin) -> Arc<Endpoint> {
        let root = server.base_url.trim_end_matches("/v1");
        let place = "/v1/projects/p/locations/eu/publishers/google";
        Arc::new(Endpoint {
            login: Login::Google(login),
            key: None,
            project: Some("p".to_owned()),
            dialect: VERTEX.dialect,
            ..endpoint(&format!("{root}{place}"))
        })
    }

    #[tokio::test]
    async fn vertex_is_listed_and_asked_with_a_token_of_the_account() {
        let server = Server::answering(|request| {
            let head = request.to_lowercase();
            assert!(head.contains("authorization: bearer hour-token"), "{head}");
            assert!(!head.contains("x-goog-api-key"));
            if request.starts_with("GET /v1beta1/publishers/google/models?pageSize=100 ") {
                assert!(head.contains("x-goog-user-project: p"), "{head}");
                let model = |name: &str| json!({"name": format!("publishers/google/models/{name}")});
                let list = json!({"publisherModels": [model("gemini-2.5-pro"), model("imagen-4")]});
                return Reply::json(200, &list.to_string());
            }
            let path = "POST /v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-pro:generateContent ";
            assert!(request.starts_with(path), "{request}");
            let answer = json!({"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]});
            Reply::json(200, &answer.to_string())
        })
        .await;
        let endpoint = vertex(&server, GoogleLogin::known(Arc::new(Somebody)));
        let provider = Provider {
            endpoint: endpoint.clone(),
            chosen: Vec::new(),
            cache: Cache::default(),
        };
        let list = provider.list(&Default::default()).await;
        let offers = provider.offers(list.as_deref());
        assert_eq!(offers, [("gemini-2.5-pro".to_owned(), None)]);
        let model = Remote {
            successor: None,
            endpoint,
            protocol: &Gemini,
        };
        let mut request = request("gemini-2.5-pro", "hello");
        request.stream = false;
        let answer = model.answer(&request, &mut |_| ()).await.unwrap();
        assert_eq!(answer.parts[0].text(), Some("Hello"));
    }

    #[tokio::test]
    async fn credentials_that_are_not_there_are_told_as_such() {
        let server = Server::scripted(vec![Reply::json(200, "{}")]).await;
        let nowhere = GoogleLogin::new(Some("/nowhere/key.json".into()));
        let model = Remote {
            successor: None,
            endpoint: vertex(&server, nowhere),
            protocol: &Gemini,
        };
        let request = request("gemini-2.5-pro", "hello");
        let error = model.answer(&request, &mut |_| ()).await.unwrap_err();
        assert_eq!(error.class, ModelErrorClass::Authentication);
        assert!(error.detail.contains("cannot be asked"), "{error}");
        assert_eq!(server.requests(), 0);
    }
}
