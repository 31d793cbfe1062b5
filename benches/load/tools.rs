//! What a call of a Python tool costs in its sandbox, against the bare interpreter.

use crate::daemon::{Daemon, Model};
use crate::figures::{Times, line, title};
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Instant;

const SOURCE: &str = "def one() -> int:\n    'One.'\n    return 1\n";
const CALLS: usize = 100;
const AT_ONCE: usize = 100;

pub(crate) async fn calls(model: &Model) {
    title("tools: a Python tool that does nothing");
    let mut bare = Times::default();
    for _ in 0..CALLS {
        let since = Instant::now();
        let ended = Command::new("/usr/bin/python3")
            .args(["-I", "-c", "1"])
            .status();
        assert!(ended.unwrap().success());
        bare.add(since.elapsed());
    }
    line("python3 -I -c 1, without a daemon", &bare.spread());

    let daemon = Daemon::start(model).await;
    let mut client = daemon.client().await;
    let body: Bytes = json!({"source_code": SOURCE, "args": {}})
        .to_string()
        .into();
    let first = Instant::now();
    client.post("/v1/tools/run", body.clone()).await;
    let first = first.elapsed().as_secs_f64() * 1e3;
    line("the first call", &format!("{first:.1} ms"));
    let mut times = Times::default();
    for _ in 0..CALLS {
        let since = Instant::now();
        let answer = client.post("/v1/tools/run", body.clone()).await;
        times.add(since.elapsed());
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["tool_return"], "1", "{answer}");
    }
    line("a call", &times.spread());
    let before = daemon.cpu();
    let since = Instant::now();
    let callers = (0..AT_ONCE).map(async |_| {
        let mut client = daemon.client().await;
        let since = Instant::now();
        client.post("/v1/tools/run", body.clone()).await;
        since.elapsed()
    });
    let mut times = Times::default();
    for time in join_all(callers).await {
        times.add(time);
    }
    let all = since.elapsed().as_secs_f64() * 1e3;
    let own = (daemon.cpu() - before).as_secs_f64() * 1e3 / AT_ONCE as f64;
    line("100 calls at once", &times.spread());
    line(
        "100 calls at once, all of them",
        &format!("{all:.0} ms; the daemon's own processor time {own:.1} ms a call"),
    );
}
