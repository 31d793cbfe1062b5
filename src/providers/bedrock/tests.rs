use super::frames::chunk;
use super::signature::Keys;
use crate::domain::model::{Answer, ModelRequest};
use crate::egress::Gate;
use crate::providers::Providers;
use crate::providers::config::ApiKey;
use crate::providers::testing::{Reply, Server, request};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::sync::Arc;

const MODEL: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

async fn asking(
    server: &Server,
    keys: &[(&'static str, &'static str)],
) -> (Providers, ModelRequest) {
    let base = server.base_url.trim_end_matches("/v1").to_owned();
    let options = json!({"bedrock": {"region": "eu-west-1", "base_url": base}});
    let keys = keys.to_vec();
    let find = move |name: &str| {
        let found = keys.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let options = serde_json::from_value(options).unwrap();
    let providers = Providers::new(options, Gate::new(Vec::new()), find).unwrap();
    let handle = format!("bedrock/{MODEL}");
    let mut request = request(MODEL, "hello");
    request.config = Arc::new(providers.configure(Some(&handle)).await.unwrap());
    (providers, request)
}

async fn answer(providers: &Providers, request: &ModelRequest) -> Answer {
    let model = providers.model(&request.config).unwrap();
    model.answer(request, &mut |_| ()).await.unwrap()
}

fn profiles() -> Reply {
    let profile = |id: &str| json!({"inferenceProfileId": id, "status": "ACTIVE"});
    let list = json!({"inferenceProfileSummaries": [profile(MODEL), profile("us.meta.llama")]});
    Reply::json(200, &list.to_string())
}

fn whole() -> Value {
    json!({"type": "message", "id": "m", "role": "assistant", "model": "claude", "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "usage": {"input_tokens": 5, "output_tokens": 2}})
}

#[tokio::test]
async fn a_key_of_bedrock_is_a_bearer_token_and_only_claude_is_offered() {
    let server = Server::answering(|request| {
        assert!(
            request
                .to_lowercase()
                .contains("authorization: bearer bedrock-key")
        );
        if request.starts_with("GET /inference-profiles?maxResults=1000 ") {
            return profiles();
        }
        let path = "POST /model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke ";
        assert!(request.starts_with(path), "{request}");
        let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["anthropic_version"], "bedrock-2023-05-31");
        assert_eq!(
            body["anthropic_beta"],
            json!(["interleaved-thinking-2025-05-14"])
        );
        assert!(body.get("model").or(body.get("stream")).is_none());
        Reply::json(200, &whole().to_string())
    })
    .await;
    let (providers, mut request) =
        asking(&server, &[("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key")]).await;
    let models = providers.models().await;
    let handles: Vec<_> = models[1..]
        .iter()
        .map(|model| model.config.handle.clone().unwrap())
        .collect();
    assert_eq!(handles, [format!("bedrock/{MODEL}")]);
    let config = &models[1].config;
    assert_eq!(
        (config.context_window, config.enable_reasoner),
        (128_000, true)
    );
    request.stream = false;
    let answer = answer(&providers, &request).await;
    assert_eq!(answer.parts[0].text(), Some("Hello"));
}

#[tokio::test]
async fn keys_of_an_account_sign_and_a_stream_comes_in_frames() {
    let mut events = vec![
        json!({"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 5}}}),
    ];
    events.push(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}));
    events.push(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}));
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}));
    events.push(json!({"type": "message_stop"}));
    let frames = events.iter().map(chunk).collect::<Vec<_>>().concat();
    let server = Server::answering(move |request| {
        let head = request.to_lowercase();
        assert!(head.contains("authorization: aws4-hmac-sha256 credential=akia/"), "{head}");
        assert!(head.contains("/eu-west-1/bedrock/aws4_request, signedheaders=host;x-amz-date;x-amz-security-token, signature="));
        assert!(head.contains("x-amz-security-token: token") && !head.contains("secret"));
        if request.starts_with("GET ") {
            return profiles();
        }
        assert!(request.contains("/invoke-with-response-stream "));
        Reply::bytes("application/vnd.amazon.eventstream", &frames)
    })
    .await;
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
    ];
    let (providers, request) = asking(&server, &keys).await;
    let answer = answer(&providers, &request).await;
    assert_eq!(answer.parts[0].text(), Some("Hello"));
    assert_eq!(answer.usage.total_tokens, 7);
}

/// The signature that AWS's own client for Python gives.
#[test]
fn the_same_request_at_the_same_time_has_one_signature() {
    let keys = Keys {
        access: ApiKey::new("AKIDEXAMPLE"),
        secret: ApiKey::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        session: None,
        region: "us-east-1".to_owned(),
    };
    let signed = |url: &str| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().tls_certs_only([]).build().unwrap();
        let mut request = client
            .request(Method::POST, url)
            .body("{}")
            .build()
            .unwrap();
        keys.sign(&mut request, "2015-08-30T12:36:00Z".parse().unwrap());
        request.headers()["authorization"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    let host = "https://bedrock-runtime.us-east-1.amazonaws.com";
    let one = signed(&format!("{host}/model/a%3A0/invoke?b=2&a=1%2F"));
    let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=1e435daf72890465631458a972cbed557aff615db8c4256f34cefd62378f54af";
    assert_eq!(one, expected);
    assert_eq!(
        one,
        signed(&format!("{host}/model/a%3A0/invoke?a=1%2F&b=2"))
    );
    assert_ne!(
        one,
        signed(&format!("{host}/model/b%3A0/invoke?a=1%2F&b=2"))
    );
}
