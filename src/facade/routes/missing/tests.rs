use super::*;
use crate::boot;
use crate::config::{Config, Flags, Sources};
use crate::facade::{Settings, routes};
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header::ALLOW};
use axum::response::Response;
use serde_json::Value;
use std::collections::BTreeSet;
use tower::ServiceExt;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Method, path without prefix and trailing slash, operation: all that the contract publishes.
fn published() -> Vec<(Method, String, String)> {
    let contract: Value =
        serde_json::from_str(include_str!("../../../../tests/golden/openapi.json")).unwrap();
    let mut published = Vec::new();
    for (path, operations) in contract["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/v1").unwrap().trim_end_matches('/');
        for (method, operation) in operations.as_object().unwrap() {
            let method = method.to_uppercase();
            if METHODS.contains(&method.as_str()) {
                let id = operation["operationId"].as_str().unwrap();
                published.push((method.parse().unwrap(), path.to_owned(), id.to_owned()));
            }
        }
    }
    published
}

/// The whole API over a store of its own.
async fn api(folder: &tempfile::TempDir) -> (boot::Running, Router) {
    let flags = Flags {
        data: Some(folder.path().join("data")),
        listen: Some("127.0.0.1:0".to_owned()),
    };
    let running = boot::start(
        Config::load(&Sources {
            flags,
            ..Sources::default()
        })
        .unwrap(),
    )
    .await
    .unwrap();
    let settings = Settings {
        password: None,
        cors_origins: Vec::new(),
        max_body_bytes: 1024,
        max_steps: 1,
        check_callback: Box::new(|_| Ok(())),
    };
    let router = routes::api().with_state(Facade::new(running.handles().clone(), settings));
    (running, router)
}

async fn send(router: &Router, method: Method, path: &str) -> Response {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap();
    router.clone().oneshot(request).await.unwrap()
}

/// A path with something in the place of every parameter.
fn filled(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "x" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

/// The methods of a path, asked with one that no operation has: no handler runs.
async fn allowed(router: &Router, path: &str) -> String {
    let answer = send(router, Method::TRACE, &filled(path)).await;
    answer
        .headers()
        .get(ALLOW)
        .map(|methods| methods.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

/// The router refuses two handlers for one method and path, so nothing is both built and missing.
#[tokio::test]
async fn every_published_operation_is_built_or_says_that_it_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (running, router) = api(&folder).await;
    let missing: BTreeSet<&str> = MISSING.iter().map(|(_, _, operation)| *operation).collect();
    let mut said = BTreeSet::new();
    for (method, path, operation) in published() {
        let allowed = allowed(&router, &path).await;
        assert!(
            allowed.split(',').any(|one| one == method.as_str()),
            "{method} {path} ({operation}) has no route: {allowed:?}"
        );
        if missing.contains(operation.as_str()) {
            let answer = send(&router, method, &filled(&path)).await;
            assert_eq!(answer.status(), StatusCode::NOT_IMPLEMENTED, "{path}");
            let body = to_bytes(answer.into_body(), 1024).await.unwrap();
            assert!(
                String::from_utf8_lossy(&body).contains(&operation),
                "{path} does not name {operation}"
            );
            said.insert(operation);
        }
    }
    assert_eq!(
        said.len(),
        MISSING.len(),
        "the table holds operations that the contract does not publish"
    );
    running.stop().await;
}
