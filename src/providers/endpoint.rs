//! One provider's address with its key, and the HTTP client for it.

use super::bedrock::signature::Keys;
use super::config::{ApiKey, Timeouts};
use super::google::GoogleLogin;
use super::vendors::{Dialect, OPENAI_BASE};
use crate::domain::clock;
use crate::domain::provider::ProviderCategory;
use crate::egress::Gate;
use reqwest::{Client, RequestBuilder, Response};
use std::sync::OnceLock;
use url::{Host, Url};

/// Who named the address.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// It may be anywhere, this machine included.
    Operator,
    /// It is reached only where the gate lets it pass.
    Client(Gate),
}

/// How a request shows who asks.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    /// With the endpoint's key, if it has one.
    Key,
    /// With a token that lasts for an hour.
    Google(GoogleLogin),
    /// With a signature.
    Aws(Keys),
}

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// There is nothing to show who asks, or nobody to send it.
    Login(String),
    Failed(reqwest::Error),
}

impl From<reqwest::Error> for Unsent {
    fn from(error: reqwest::Error) -> Self {
        Self::Failed(error)
    }
}

/// A provider. The client is made on first use: making one reads the system's certificates.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The part of the handle before the slash.
    pub(crate) name: String,
    pub(crate) provider_type: String,
    pub(crate) endpoint_type: String,
    /// Without a slash at its end.
    pub(crate) base_url: String,
    pub(crate) key: Option<ApiKey>,
    pub(crate) login: Login,
    /// Whose quota a list counts for, where an account has several; a call says so in its path.
    pub(crate) project: Option<String>,
    /// In the query of every call.
    pub(crate) api_version: Option<String>,
    pub(crate) dialect: Dialect,
    pub(crate) timeouts: Timeouts,
    pub(crate) origin: Origin,
    pub(crate) client: OnceLock<Client>,
}

impl Endpoint {
    /// Whether this is OpenAI itself: only there some fields are known, and only its own list needs sorting out.
    pub(crate) fn is_official(&self) -> bool {
        self.base_url == OPENAI_BASE
    }

    pub(crate) fn category(&self) -> ProviderCategory {
        match self.origin {
            Origin::Operator => ProviderCategory::Base,
            Origin::Client(_) => ProviderCategory::Byok,
        }
    }

    /// The vendor by whose habits it goes: a client may call one what it likes.
    pub(crate) fn vendor(&self) -> &str {
        match self.origin {
            Origin::Operator => &self.name,
            Origin::Client(_) => &self.provider_type,
        }
    }

    /// The provider in a sentence.
    pub(crate) fn spoken(&self) -> String {
        match self.origin {
            Origin::Operator => format!("the provider {}", self.name),
            Origin::Client(_) => format!("the provider {} (byok)", self.name),
        }
    }

    /// The address without the version at its end, for the lists that stand beside `/v1`.
    pub(crate) fn root(&self) -> &str {
        self.base_url.strip_suffix("/v1").unwrap_or(&self.base_url)
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_ref().map(ApiKey::reveal)
    }

    /// # Errors
    /// Why there can be no client: the system has no certificates to trust.
    pub(crate) fn get(&self, url: &str) -> Result<RequestBuilder, String> {
        let get = self.with_headers(self.client()?.get(url));
        Ok(match &self.project {
            Some(project) => get.header("x-goog-user-project", project),
            None => get,
        })
    }

    /// # Errors
    /// As `get`.
    pub(crate) fn post(&self, url: &str) -> Result<RequestBuilder, String> {
        let post = self.with_headers(self.client()?.post(url));
        Ok(match &self.api_version {
            Some(version) => post.query(&[("api-version", version)]),
            None => post,
        })
    }

    /// Sends a request of `get` or `post`, and shows who asks.
    ///
    /// # Errors
    /// As the client's own, or why nobody can be shown.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Unsent> {
        Ok(match &self.login {
            Login::Key => request.send().await?,
            Login::Google(login) => {
                let token = login.token().await.map_err(Unsent::Login)?;
                request.bearer_auth(token).send().await?
            }
            Login::Aws(keys) => {
                let mut request = request.build()?;
                keys.sign(&mut request, clock::now());
                let client = self.client().map_err(Unsent::Login)?;
                client.execute(request).await?
            }
        })
    }

    fn with_headers(&self, request: RequestBuilder) -> RequestBuilder {
        let key = self.key().filter(|_| matches!(self.login, Login::Key));
        let request = match (key, self.dialect.key_header) {
            (Some(key), None) => request.bearer_auth(key),
            (Some(key), Some(header)) => request.header(header, key),
            (None, _) => request,
        };
        let headers = self.dialect.headers.iter();
        headers.fold(request, |request, (name, value)| {
            request.header(*name, *value)
        })
    }

    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        if let Origin::Client(gate) = &self.origin {
            // Once for all requests: they differ in the path only.
            let url = Url::parse(&self.base_url).map_err(|error| error.to_string())?;
            gate.check(&url).map_err(|refused| refused.to_string())?;
        }
        let client = self.build_client().map_err(|error| causes(&error))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// A client for this address. Plain HTTP needs no certificates, so it works where there are none; what is on this
    /// machine is never asked through a proxy.
    fn build_client(&self) -> reqwest::Result<Client> {
        install_crypto();
        let mut builder = Client::builder()
            .connect_timeout(self.timeouts.connect())
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")));
        if self.base_url.starts_with("http:") {
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&self.base_url) {
            builder = builder.no_proxy();
        }
        if let Origin::Client(gate) = &self.origin {
            builder = gate.guard(builder);
        }
        builder.build()
    }
}

/// reqwest is built without a default for TLS and panics if nobody chose one.
fn install_crypto() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // Refused only if another part of the program has chosen already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

fn is_loopback(url: &str) -> bool {
    let url = Url::parse(url).ok();
    match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// An error with everything that caused it, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
