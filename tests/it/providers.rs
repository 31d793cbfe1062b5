//! Model providers that clients add with keys of their own: a second scripted model plays the one that is added.

use crate::model::Model;
use crate::world::World;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const KEY: &str = "sk-right-9f2c";

fn mine(base_url: &str) -> Value {
    json!({"name": "mine", "provider_type": "openai", "api_key": KEY, "base_url": base_url})
}

/// A model that takes `KEY` only, and the provider that was made of it.
async fn added(world: &World) -> (Model, String) {
    let model = Model::start().await;
    model.take_only(KEY);
    let provider = world.post("/v1/providers/", mine(&model.base_url)).await;
    (model, provider["id"].as_str().unwrap().to_owned())
}

async fn handles(world: &World, query: &str) -> Vec<String> {
    let models = world.get(&format!("/v1/models/?{query}")).await;
    let handle = |model: &Value| model["handle"].as_str().unwrap().to_owned();
    models.as_array().unwrap().iter().map(handle).collect()
}

fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_use_a_provider_that_a_client_added_until_it_is_deleted() {
    let mut world = World::new().await;
    let (model, id) = added(&world).await;
    let shown = world.get(&format!("/v1/providers/{id}")).await;
    assert_eq!(
        (
            &shown["name"],
            &shown["provider_category"],
            &shown["base_url"]
        ),
        (&json!("mine"), &json!("byok"), &json!(model.base_url))
    );
    for key in ["api_key", "api_key_enc", "access_key", "access_key_enc"] {
        assert_eq!(shown[key], Value::Null, "{key}");
    }
    assert!(shown["last_synced"].is_string(), "{shown}");
    assert_eq!(world.get("/v1/providers/?name=mine").await, json!([shown]));
    assert_eq!(
        world.get("/v1/providers/?provider_type=groq").await,
        json!([])
    );
    assert_eq!(
        handles(&world, "provider_category=byok").await,
        ["mine/scripted"]
    );
    assert_eq!(
        handles(&world, "provider_name=mine&provider_type=openai").await,
        ["mine/scripted"]
    );
    let base = handles(&world, "provider_category=base").await;
    assert_eq!(base, ["greenroom/rehearsal", "openai/scripted"]);
    let both = handles(&world, "provider_category=base&provider_category=byok").await;
    assert_eq!(both.len(), 3);

    let agent = world.agent_with(json!({"model": "mine/scripted"})).await;
    let config = world.get(&format!("/v1/agents/{agent}")).await["llm_config"].clone();
    assert_eq!(
        (&config["provider_name"], &config["provider_category"]),
        (&json!("mine"), &json!("byok"))
    );
    assert_eq!(
        world.send(&agent, "hello").await["messages"][0]["content"],
        "echo: hello"
    );
    let steps = world.get(&format!("/v1/steps/?agent_id={agent}")).await;
    assert_eq!(steps[0]["provider_category"], "byok");
    assert_eq!(
        (&steps[0]["provider_id"], &steps[0]["provider_name"]),
        (&json!(id), &json!("mine"))
    );
    assert_eq!(steps[0]["trace_id"], steps[0]["run_id"]);
    assert_eq!((model.requests(), world.model.requests()), (1, 0));

    world.kill();
    assert!(!holds(world.data(), KEY), "the key is on the disk in clear");
    world.start().await;
    assert_eq!(
        world.send(&agent, "again").await["messages"][0]["content"],
        "echo: again"
    );
    assert_eq!(world.get("/v1/providers/").await[0]["id"], id.as_str());
    assert_eq!(
        handles(&world, "provider_category=byok").await,
        ["mine/scripted"]
    );

    let path = format!("/v1/providers/{id}");
    let (status, said) = world.call(Method::DELETE, &path, None).await;
    assert!(status.is_success() && said["message"].is_string(), "{said}");
    assert_eq!(
        world.call(Method::DELETE, &path, None).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(handles(&world, "provider_category=byok").await, [""; 0]);
    let messages = format!("/v1/agents/{agent}/messages");
    let (status, failed) = world
        .call(Method::POST, &messages, Some(json!({"input": "still?"})))
        .await;
    assert_eq!(
        (status.as_u16(), &failed["error"]["type"]),
        (500, &json!("llm_error"))
    );
    assert!(
        failed["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("no provider 'mine'"),
        "{failed}"
    );
    assert_eq!(model.requests(), 2);
    let refused = world
        .call(
            Method::POST,
            "/v1/agents/",
            Some(json!({"model": "mine/scripted"})),
        )
        .await;
    assert_eq!(refused.0, StatusCode::NOT_FOUND);

    world.post("/v1/providers/", mine(&model.base_url)).await;
    assert_eq!(
        world.send(&agent, "back").await["messages"][0]["content"],
        "echo: back"
    );
    assert!(!world.log().contains(KEY), "the key is in the log");
    assert_eq!(world.terminate(), Some(0));
    let program = env!("CARGO_BIN_EXE_greenroom");
    let mut check = std::process::Command::new(program);
    let sound = check
        .arg("check")
        .arg("--data")
        .arg(world.data().join("data"))
        .output()
        .unwrap();
    assert!(sound.status.success(), "{sound:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_tried_before_it_is_kept_and_afterwards() {
    let world = World::new().await;
    let (model, id) = added(&world).await;
    let check =
        |key: &str| json!({"provider_type": "openai", "api_key": key, "base_url": model.base_url});
    world.post("/v1/providers/check", check(KEY)).await;
    let post = async |path: &str, body: Value| world.call(Method::POST, path, Some(body)).await;
    let (status, refused) = post("/v1/providers/check", check("sk-wrong-77")).await;
    assert_eq!(
        (status.as_u16(), &refused["error"]["type"]),
        (401, &json!("llm_authentication"))
    );
    assert!(!refused.to_string().contains("sk-wrong"), "{refused}");
    let mut wrong = mine(&model.base_url);
    (wrong["name"], wrong["api_key"]) = (json!("other"), json!("sk-wrong-77"));
    let (status, refused) = post("/v1/providers/", wrong).await;
    assert_eq!(status.as_u16(), 400, "{refused}");
    assert!(!refused.to_string().contains("sk-wrong"), "{refused}");

    let path = format!("/v1/providers/{id}");
    let agent = world.agent_with(json!({"model": "mine/scripted"})).await;
    let patch = async |body: Value| world.call(Method::PATCH, &path, Some(body)).await;
    assert_eq!(
        patch(json!({"api_key": "sk-wrong-77"})).await.0,
        StatusCode::OK
    );
    let (status, refused) = post(&format!("{path}/check"), json!({})).await;
    assert_eq!(
        (status.as_u16(), &refused["error"]["type"]),
        (401, &json!("llm_authentication"))
    );
    let (status, _) = world
        .call(Method::PATCH, &format!("{path}/refresh"), None)
        .await;
    assert_eq!(status.as_u16(), 401);
    let (status, failed) = post(
        &format!("/v1/agents/{agent}/messages"),
        json!({"input": "x"}),
    )
    .await;
    assert_eq!(
        (status.as_u16(), &failed["error"]["type"]),
        (401, &json!("llm_authentication"))
    );
    assert!(
        failed["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("mine (byok)"),
        "{failed}"
    );

    model.take_only("sk-third");
    let (_, changed) = patch(json!({"api_key": " sk-third "})).await;
    assert_eq!(changed["base_url"], json!(model.base_url));
    post(&format!("{path}/check"), json!({})).await;
    let lists = model.lists();
    let (status, synced) = world
        .call(Method::PATCH, &format!("{path}/refresh"), None)
        .await;
    assert!(status.is_success() && model.lists() > lists, "{synced}");
    assert!(
        synced["last_synced"].as_str() > changed["last_synced"].as_str(),
        "{synced}"
    );
    assert_eq!(
        world.send(&agent, "hello").await["messages"][0]["content"],
        "echo: hello"
    );
    assert!(!world.log().contains("sk-"), "a key is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_provider_is_refused_with_its_reason() {
    let world = World::new().await;
    let (model, id) = added(&world).await;
    let with = |fields: Value| {
        let mut body = mine(&model.base_url);
        body["name"] = json!("another");
        let fields = fields.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        body
    };
    let cases = [
        (
            with(json!({"base_url": "http://10.0.0.7/v1"})),
            400,
            "not on the public internet",
        ),
        (
            with(json!({"base_url": "http://localhost:1/v1"})),
            400,
            "not on the public internet",
        ),
        (
            with(json!({"base_url": "http://[::1]/v1"})),
            400,
            "not on the public internet",
        ),
        (
            with(json!({"base_url": "http://169.254.169.254"})),
            400,
            "not on the public internet",
        ),
        (
            with(json!({"base_url": "ftp://example.org"})),
            400,
            "http or https",
        ),
        (
            with(json!({"base_url": null, "provider_type": "vllm"})),
            400,
            "needs a base_url",
        ),
        (
            with(json!({"provider_type": "bedrock", "base_url": null})),
            400,
            "needs a region",
        ),
        (
            with(json!({"provider_type": "google_vertex"})),
            400,
            "login of a Google account",
        ),
        (with(json!({"api_key": "a b"})), 400, "header"),
        (with(json!({"name": "openai"})), 400, "of this server"),
        (with(json!({"name": "greenroom"})), 400, "of this server"),
        (with(json!({"name": "a/b"})), 400, "slash"),
        (with(json!({"name": " "})), 400, "needs a name"),
        (with(json!({"name": "mine"})), 409, "CONFLICT"),
        (
            with(json!({"provider_type": "robots"})),
            422,
            "'type': 'enum'",
        ),
        (with(json!({"surprise": 1})), 422, "extra_forbidden"),
        (with(json!({"name": 7})), 422, "string_type"),
    ];
    for (body, expected, reason) in cases {
        let (status, said) = world
            .call(Method::POST, "/v1/providers/", Some(body.clone()))
            .await;
        assert_eq!(status.as_u16(), expected, "{body}: {said}");
        assert!(said.to_string().contains(reason), "{body}: {said}");
        assert!(!said.to_string().contains(KEY), "{said}");
    }
    let missing = json!({"provider_type": "openai", "api_key": KEY});
    let (status, said) = world
        .call(Method::POST, "/v1/providers/", Some(missing))
        .await;
    assert!(
        status.as_u16() == 422 && !said.to_string().contains(KEY),
        "{said}"
    );
    let to_private = json!({"api_key": KEY, "base_url": "http://192.168.1.1"});
    let path = format!("/v1/providers/{id}");
    let (status, said) = world.call(Method::PATCH, &path, Some(to_private)).await;
    assert_eq!(status.as_u16(), 400, "{said}");
    assert_eq!(world.get(&path).await["base_url"], json!(model.base_url));

    let unknown = "/v1/providers/provider-00000000-0000-4000-8000-000000000001";
    let cases = [
        (Method::GET, unknown.to_owned(), 404),
        (Method::POST, format!("{unknown}/check"), 404),
        (Method::PATCH, format!("{unknown}/refresh"), 404),
        (Method::GET, "/v1/providers/nonsense".to_owned(), 422),
        (
            Method::GET,
            "/v1/providers/?provider_type=robots".to_owned(),
            422,
        ),
        (
            Method::GET,
            "/v1/models/?provider_type=robots".to_owned(),
            422,
        ),
        (
            Method::GET,
            "/v1/models/?provider_category=mine".to_owned(),
            422,
        ),
    ];
    for (method, path, expected) in cases {
        let (status, said) = world.call(method, &path, None).await;
        assert_eq!(status.as_u16(), expected, "{path}: {said}");
    }
    assert_eq!(
        world.get("/v1/providers/").await.as_array().unwrap().len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_kept_young_in_the_background_and_a_dead_provider_delays_nobody() {
    let patience = ("GREENROOM__PROVIDERS__LISTING__TIMEOUT_MS", "300");
    let ttl = ("GREENROOM__PROVIDERS__LISTING__TTL_MS", "2000");
    let world = World::with(&[patience, ttl]).await;
    let (model, _) = added(&world).await;
    // It takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut dead = mine(&format!("http://{}/v1", silent.local_addr().unwrap()));
    dead["name"] = json!("dead");
    let dead = world.post("/v1/providers/", dead).await;
    assert_eq!(dead["last_synced"], Value::Null);
    let (mine, configured) = (model.lists(), world.model.lists());
    world
        .until("two rounds", || async {
            model.lists() >= mine + 2 && world.model.lists() >= configured + 2
        })
        .await;
    let asked = Instant::now();
    assert_eq!(
        handles(&world, "provider_category=byok").await,
        ["mine/scripted"]
    );
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(world.node("catalog").await.unwrap()["status"], "running");
}
