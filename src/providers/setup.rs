//! From configuration and environment to the providers there are, with every problem found on the way.

use super::azure;
use super::bedrock::{self, signature::Keys};
use super::config::{
    ApiKey, BedrockConfig, CustomProvider, ProviderConfig, ProvidersConfig, VertexConfig,
};
use super::endpoint::{Endpoint, Login, Origin};
use super::google::GoogleLogin;
use super::listing::Cache;
use super::provider::Provider;
use super::rehearsal;
use super::vendors::{BEDROCK, ListingStyle, PLAIN, VENDORS, VERTEX, Vendor, canonical};
use crate::domain::model::Handle;
use std::sync::{Arc, OnceLock};
use url::Url;

/// What was configured.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) providers: Vec<Arc<Provider>>,
    pub(crate) default_model: Option<Handle>,
}

/// Reads everything; `variable` looks up an environment variable.
///
/// # Errors
/// All problems, each naming its option.
pub(crate) fn read(
    config: &ProvidersConfig,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Setup, Vec<String>> {
    let mut setup = Reading {
        config,
        providers: Vec::new(),
        ambient: 0,
        problems: Vec::new(),
    };
    setup.check_times();
    let variable = |name: &str| {
        let value = variable(name).map(|value| value.trim().to_owned());
        value.filter(|value| !value.is_empty())
    };
    let azure = ProviderConfig {
        api_key: config.azure.api_key.clone(),
        base_url: config.azure.base_url.clone(),
        models: config.azure.models.clone(),
    };
    for (vendor, settings) in VENDORS.iter().zip(sections(config, &azure)) {
        setup.add_vendor(vendor, settings, &variable);
    }
    setup.add_vertex(&variable);
    setup.add_bedrock(&variable);
    for (at, custom) in config.custom.iter().enumerate() {
        setup.add_custom(&format!("providers.custom[{at}]"), custom);
    }
    let default_model = setup.default_model();
    let Reading {
        providers,
        problems,
        ..
    } = setup;
    if problems.is_empty() {
        Ok(Setup {
            providers,
            default_model,
        })
    } else {
        Err(problems)
    }
}

struct Reading<'a> {
    config: &'a ProvidersConfig,
    providers: Vec<Arc<Provider>>,
    /// Those of clouds whose variables were there, maybe for other programs: no choice of a model.
    ambient: usize,
    problems: Vec<String>,
}

impl Reading<'_> {
    fn check_times(&mut self) {
        let (times, listing) = (&self.config.timeouts, &self.config.listing);
        let positive = [
            ("timeouts.connect_ms", times.connect_ms),
            ("timeouts.first_byte_ms", times.first_byte_ms),
            ("timeouts.idle_ms", times.idle_ms),
            ("timeouts.call_ms", times.call_ms),
            ("listing.timeout_ms", listing.timeout_ms),
        ];
        for (option, _) in positive.into_iter().filter(|(_, value)| *value == 0) {
            self.problems.push(format!(
                "providers.{option}: 0 leaves no time for an answer"
            ));
        }
    }

    /// A vendor is configured when it has an address: its own with a key, or another one.
    fn add_vendor(
        &mut self,
        vendor: &Vendor,
        settings: &ProviderConfig,
        variable: &impl Fn(&str) -> Option<String>,
    ) {
        let variable = |name: &&str| variable(name);
        let key = given(settings.api_key.as_ref()).or_else(|| {
            vendor
                .key_variable
                .as_ref()
                .and_then(variable)
                .map(ApiKey::new)
        });
        let base = settings.base_url.clone().filter(|base| !base.is_empty());
        let base = base.or_else(|| vendor.base_variables.iter().find_map(variable));
        let Some(base) = base.or_else(|| {
            vendor
                .public_base
                .filter(|_| key.is_some())
                .map(str::to_owned)
        }) else {
            return;
        };

        let option = format!("providers.{}", section(vendor));
        let Some(mut base_url) = self.checked_url(&option, &base) else {
            return;
        };
        base_url = with_version(vendor, base_url);
        let mut endpoint = self.endpoint(vendor, base_url, Login::Key);
        if vendor.dialect.listing == ListingStyle::Azure {
            let version = self.config.azure.api_version.clone();
            let version = version.or_else(|| variable(&"AZURE_API_VERSION"));
            endpoint.api_version = Some(version.unwrap_or_else(|| azure::API_VERSION.to_owned()));
        }
        endpoint.key = key;
        self.add(&option, endpoint, &settings.models);
    }

    /// One of the operator's, without a key.
    fn endpoint(&self, vendor: &Vendor, base_url: String, login: Login) -> Endpoint {
        Endpoint {
            name: vendor.name.to_owned(),
            provider_type: vendor.provider_type.to_owned(),
            endpoint_type: vendor.endpoint_type.to_owned(),
            base_url,
            key: None,
            login,
            project: None,
            api_version: None,
            dialect: vendor.dialect,
            timeouts: self.config.timeouts,
            origin: Origin::Operator,
            client: OnceLock::new(),
        }
    }

    fn add_vertex(&mut self, variable: &impl Fn(&str) -> Option<String>) {
        let option = "providers.google_vertex";
        let settings = &self.config.google_vertex;
        let project = text(settings.project.as_ref());
        let project = project.or_else(|| variable("GOOGLE_CLOUD_PROJECT"));
        let location = text(settings.location.as_ref());
        let location = location.or_else(|| variable("GOOGLE_CLOUD_LOCATION"));
        let (Some(project), Some(location)) = (project, location) else {
            if *settings != VertexConfig::default() {
                let problem = format!("{option}: needs a project and a location");
                self.problems.push(problem);
            }
            return;
        };
        let is_word = |word: &str| {
            word.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        };
        if !is_word(&project) || !is_word(&location) {
            self.problems.push(format!(
                "{option}: project and location are made of letters, digits, '-', '_', '.' and ':'"
            ));
            return;
        }
        let host = match location.as_str() {
            "global" => "https://aiplatform.googleapis.com".to_owned(),
            location => format!("https://{location}-aiplatform.googleapis.com"),
        };
        let root = text(settings.base_url.as_ref()).unwrap_or(host);
        let Some(root) = self.checked_url(option, &root) else {
            return;
        };
        let base_url =
            format!("{root}/v1/projects/{project}/locations/{location}/publishers/google");
        let login = Login::Google(GoogleLogin::new(settings.credentials.clone()));
        let mut endpoint = self.endpoint(&VERTEX, base_url, login);
        endpoint.project = Some(project);
        self.ambient += usize::from(*settings == VertexConfig::default());
        self.add(option, endpoint, &settings.models);
    }

    fn add_bedrock(&mut self, variable: &impl Fn(&str) -> Option<String>) {
        let option = "providers.bedrock";
        let settings = &self.config.bedrock;
        let from = |key: &Option<ApiKey>, name: &str| {
            given(key.as_ref()).or_else(|| variable(name).map(ApiKey::new))
        };
        let key = from(&settings.api_key, "AWS_BEARER_TOKEN_BEDROCK");
        let access = from(&settings.access_key, "AWS_ACCESS_KEY_ID");
        let secret = from(&settings.secret_key, "AWS_SECRET_ACCESS_KEY");
        let session = from(&settings.session_token, "AWS_SESSION_TOKEN");
        let region = text(settings.region.as_ref())
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"));
        let mut missing = Vec::new();
        if region.is_none() {
            missing.push("a region");
        }
        if key.is_none() && (access.is_none() || secret.is_none()) {
            missing.push("an api_key, or access_key and secret_key");
        }
        let Some(region) = region.filter(|_| missing.is_empty()) else {
            if *settings != BedrockConfig::default() {
                let problem = format!("{option}: needs {}", missing.join(" and "));
                self.problems.push(problem);
            }
            return;
        };
        if !bedrock::is_region(&region) {
            let problem = format!("{option}.region: '{region}' is no name of a region");
            self.problems.push(problem);
            return;
        }
        let base = text(settings.base_url.as_ref()).unwrap_or_else(|| bedrock::base_url(&region));
        let Some(base_url) = self.checked_url(option, &base) else {
            return;
        };
        let login = match (&key, access, secret) {
            (None, Some(access), Some(secret)) => Login::Aws(Keys {
                access,
                secret,
                session,
                region,
            }),
            _ => Login::Key,
        };
        let is_ambient = *settings == BedrockConfig::default() && key.is_none();
        self.ambient += usize::from(is_ambient);
        let mut endpoint = self.endpoint(&BEDROCK, base_url, login);
        endpoint.key = key;
        self.add(option, endpoint, &settings.models);
    }

    fn add_custom(&mut self, option: &str, custom: &CustomProvider) {
        let name = custom.name.as_str();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let reserved = [rehearsal::PROVIDER, "letta", "openai-proxy"].contains(&name);
        if name.is_empty() || !name.chars().all(is_plain) {
            self.problems.push(format!(
                "{option}.name: '{name}' is not made of letters, digits, '_', '-' and '.'"
            ));
        } else if reserved || self.has(name) {
            self.problems
                .push(format!("{option}.name: '{name}' is taken"));
        }
        let Some(base_url) = self.checked_url(option, &custom.base_url) else {
            return;
        };
        let endpoint = Endpoint {
            name: name.to_owned(),
            provider_type: "openai".to_owned(),
            endpoint_type: "openai".to_owned(),
            base_url,
            key: given(custom.api_key.as_ref()),
            login: Login::Key,
            project: None,
            api_version: None,
            dialect: PLAIN,
            timeouts: self.config.timeouts,
            origin: Origin::Operator,
            client: OnceLock::new(),
        };
        self.add(option, endpoint, &custom.models);
    }

    fn add(&mut self, option: &str, endpoint: Endpoint, chosen: &[String]) {
        if !endpoint.key().is_none_or(is_sendable) {
            self.problems.push(format!(
                "{option}.api_key: holds spaces or characters that a header cannot carry"
            ));
        }
        self.providers.push(Arc::new(Provider {
            endpoint: Arc::new(endpoint),
            chosen: chosen.to_vec(),
            cache: Cache::default(),
        }));
    }

    fn has(&self, name: &str) -> bool {
        self.providers
            .iter()
            .any(|provider| provider.endpoint.name == name)
    }

    fn checked_url(&mut self, option: &str, text: &str) -> Option<String> {
        match checked_url(text) {
            Ok(url) => Some(url),
            Err(reason) => {
                self.problems.push(format!(
                    "{option}.base_url: '{}' {reason}",
                    without_password(text)
                ));
                None
            }
        }
    }

    /// The configured default, or the built-in model while it is the only one.
    fn default_model(&mut self) -> Option<Handle> {
        let Some(text) = self
            .config
            .default_model
            .as_deref()
            .filter(|text| !text.is_empty())
        else {
            return (self.providers.len() == self.ambient).then(rehearsal::handle);
        };
        let Some(handle) = Handle::parse(text).map(canonical) else {
            self.problems.push(format!(
                "providers.default_model: '{text}' is not a handle, expected 'provider/model'"
            ));
            return None;
        };
        if handle != rehearsal::handle() && !self.has(&handle.provider) {
            self.problems.push(format!(
                "providers.default_model: '{text}' names a provider that is not configured"
            ));
        }
        Some(handle)
    }
}

fn given(key: Option<&ApiKey>) -> Option<ApiKey> {
    key.filter(|key| !key.reveal().is_empty()).cloned()
}

fn text(option: Option<&String>) -> Option<String> {
    option.filter(|text| !text.is_empty()).cloned()
}

/// The sections of the configuration in the order of `VENDORS`.
fn sections<'a>(
    config: &'a ProvidersConfig,
    azure: &'a ProviderConfig,
) -> [&'a ProviderConfig; VENDORS.len()] {
    [
        &config.openai,
        &config.anthropic,
        &config.google_ai,
        &config.ollama,
        &config.vllm,
        &config.sglang,
        &config.lmstudio,
        &config.llamacpp,
        &config.openrouter,
        &config.groq,
        &config.together,
        &config.deepseek,
        &config.xai,
        azure,
    ]
}

fn section(vendor: &Vendor) -> &'static str {
    if vendor.name == "lmstudio_openai" {
        "lmstudio"
    } else {
        vendor.name
    }
}

/// Whether a header can carry this key.
pub(crate) fn is_sendable(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The address with the version of the API at its end that the vendor's have.
pub(crate) fn with_version(vendor: &Vendor, mut base_url: String) -> String {
    if let Some(version) = vendor.version().filter(|_| !names_version(&base_url)) {
        base_url.push_str(version);
    }
    base_url
}

/// The address without a slash at its end, or why it is none: the end of a sentence.
pub(crate) fn checked_url(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text.trim()).map_err(|_| "is not an address")?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("is not an http or https address");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "holds a name or password: addresses are shown to clients, a key belongs in api_key",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or fragment, but paths are added to its end");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Whether an address ends in `/v1`, `/v1beta` or the like.
fn names_version(url: &str) -> bool {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let last = path
        .rsplit_once('/')
        .and_then(|(_, last)| last.strip_prefix('v'));
    last.is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
}

/// An address for a message.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::vendors::ANTHROPIC_BASE;
    use serde_json::{Value, json};

    fn setup(options: Value, environment: &[(&str, &str)]) -> Result<Setup, Vec<String>> {
        let config: ProvidersConfig = serde_json::from_value(options).unwrap();
        let value = |name: &str| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        read(&config, value)
    }

    #[test]
    fn all_problems_are_reported_at_once_and_no_password_is_shown() {
        let options = json!({
            "default_model": "nobody/model",
            "timeouts": {"idle_ms": 0},
            "openai": {"base_url": "ftp://x"},
            "groq": {"api_key": "a\nb"},
            "custom": [
                {"name": "a/b", "base_url": "http://localhost"},
                {"name": "greenroom", "base_url": "http://localhost"},
                {"name": "c", "base_url": "http://me:hunter2@localhost"},
            ],
        });
        let problems = setup(options, &[]).unwrap_err();
        let options = [
            "providers.timeouts.idle_ms",
            "providers.openai.base_url",
            "providers.groq.api_key",
            "providers.custom[0].name",
            "providers.custom[1].name",
            "providers.custom[2].base_url",
            "providers.default_model",
        ];
        assert_eq!(problems.len(), options.len(), "{problems:?}");
        for (problem, option) in problems.iter().zip(options) {
            assert!(
                problem.starts_with(option) && !problem.contains("hunter2"),
                "{problem}"
            );
        }
    }

    #[test]
    fn clouds_are_where_their_options_say() {
        let azure = [
            ("AZURE_API_KEY", "k"),
            ("AZURE_BASE_URL", "https://a.openai.azure.com/"),
            ("AZURE_API_VERSION", "2025-01-01"),
        ];
        let vertex = [
            ("GOOGLE_CLOUD_PROJECT", "p"),
            ("GOOGLE_CLOUD_LOCATION", "europe-west4"),
        ];
        let bedrock = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ];
        let only = |environment: &[(&str, &str)]| {
            let mut providers = setup(json!({}), environment).unwrap().providers;
            assert!(providers.len() < 2);
            providers.pop().map(|provider| provider.endpoint.clone())
        };
        let found = only(&azure).unwrap();
        assert_eq!(found.base_url, "https://a.openai.azure.com");
        assert_eq!(found.api_version.as_deref(), Some("2025-01-01"));
        let found = only(&vertex).unwrap();
        let place = "europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4";
        assert_eq!(found.base_url, format!("https://{place}/publishers/google"));
        let found = only(&bedrock).unwrap();
        let place = "https://bedrock-runtime.eu-west-1.amazonaws.com";
        assert_eq!(found.base_url, place);
        assert!(matches!(found.login, Login::Aws(_)) && !format!("{found:?}").contains("\"s\""));
        let default =
            |environment: &[(&str, &str)]| setup(json!({}), environment).unwrap().default_model;
        assert_eq!(default(&bedrock), Some(rehearsal::handle()));
        assert_eq!(default(&azure), None);
        for few in [&azure[..1], &vertex[..1], &bedrock[..2], &bedrock[1..]] {
            assert!(only(few).is_none(), "{few:?}");
        }
        let halves = json!({"bedrock": {"region": "eu/west"}, "google_vertex": {"project": "p"}});
        let problems = setup(halves, &[]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        let odd = json!({"bedrock": {"region": "eu/west", "api_key": "k"}});
        let problems = setup(odd, &[]).unwrap_err();
        assert!(problems[0].contains("no name of a region"), "{problems:?}");
    }

    #[test]
    fn the_configuration_wins_over_the_environment() {
        let environment = [
            ("OPENAI_API_BASE", "http://two/v1"),
            ("OPENAI_BASE_URL", "http://one/v1/"),
            ("GROQ_API_KEY", " k\n"),
            ("XAI_API_KEY", ""),
        ];
        let base_urls = |options| -> Vec<String> {
            let providers = setup(options, &environment).unwrap().providers;
            providers
                .into_iter()
                .map(|provider| provider.endpoint.base_url.clone())
                .collect()
        };
        assert_eq!(
            base_urls(json!({})),
            ["http://one/v1", "https://api.groq.com/openai/v1"]
        );
        assert_eq!(
            base_urls(json!({"openai": {"base_url": "http://three/v1"}}))[0],
            "http://three/v1"
        );
    }

    #[test]
    fn servers_of_ones_own_may_be_named_by_their_root() {
        let setup = setup(
            json!({}),
            &[
                ("OLLAMA_BASE_URL", "http://localhost:11434/"),
                ("VLLM_API_BASE", "http://v2"),
                ("GEMINI_BASE_URL", "http://gate/google/"),
                ("ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
            ],
        );
        let providers = setup.unwrap().providers;
        let base_urls: Vec<&str> = providers
            .iter()
            .map(|provider| provider.endpoint.base_url.as_str())
            .collect();
        assert_eq!(
            base_urls,
            [
                ANTHROPIC_BASE,
                "http://gate/google/v1beta",
                "http://localhost:11434/v1",
                "http://v2/v1"
            ]
        );
    }

    #[test]
    fn google_is_where_its_key_says_whether_the_version_is_named_or_not() {
        let base_url = |environment: &[(&str, &str)]| {
            let providers = setup(json!({}), environment).unwrap().providers;
            providers[0].endpoint.base_url.clone()
        };
        let public = "https://generativelanguage.googleapis.com";
        let key = ("GEMINI_API_KEY", "k");
        assert_eq!(base_url(&[key]), format!("{public}/v1beta"));
        assert_eq!(
            base_url(&[key, ("GEMINI_BASE_URL", public)]),
            format!("{public}/v1beta")
        );
        let older = format!("{public}/v1");
        assert_eq!(base_url(&[("GEMINI_BASE_URL", &older)]), older);
    }
}
