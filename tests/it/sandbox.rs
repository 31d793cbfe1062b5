//! Tools that try to do harm: each is contained, as root and as an ordinary user, and where it could not be it does not run.

use crate::world::World;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Short enough that sources which never return do not hold up the tests, long enough for a slow machine.
/// No host is allowed that is not public.
const PATIENCE: [(&str, &str); 3] = [
    ("GREENROOM__EGRESS__ALLOWED_HOSTS", "[]"),
    ("GREENROOM__SANDBOX__TIMEOUT_S", "4"),
    ("GREENROOM__SANDBOX__MAX_AT_ONCE", "4"),
];

struct Hostile {
    name: String,
    expect: String,
    body: String,
}

fn hostile() -> Vec<Hostile> {
    let text = include_str!("hostile.txt");
    let mut sections = text.split("\n=== ");
    sections.next();
    let read = |section: &str| {
        let (name, rest) = section.split_once('\n').unwrap();
        let (expect, body) = rest.split_once('\n').unwrap();
        Hostile {
            name: name.to_owned(),
            expect: expect.strip_prefix("expect: ").unwrap().to_owned(),
            body: body.trim_end().to_owned(),
        }
    };
    sections.map(read).collect()
}

/// The whole source. The signature has no annotations and no docstring: the schema is given.
fn source(body: &str) -> String {
    let lines: Vec<String> = body.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "import os, resource, socket, stat, sys\n\
         def syscall(*numbers):\n\
         \x20   import ctypes\n\
         \x20   library = ctypes.CDLL(None, use_errno=True)\n\
         \x20   done = library.syscall(*numbers)\n\
         \x20   if done < 0:\n\
         \x20       raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))\n\
         \x20   return done\n\
         def f(data, daemon, port, outside):\n{}",
        lines.concat()
    )
}

/// Runs a source. Hostile ones only where they are behind walls.
async fn run(world: &World, body: &str, outside: &Path) -> Value {
    let request = json!({
        "source_code": source(body),
        "args": {
            "data": world.data(),
            "daemon": world.pid(),
            "port": world.port(),
            "outside": outside,
        },
        "json_schema": {"name": "f", "parameters": {"type": "object", "properties": {}}},
    });
    world.post("/v1/tools/run", request).await
}

/// # Errors
/// What the daemon says of its sandbox, where that is not `isolated`: nothing hostile may be run there.
async fn safe(world: &World) -> Result<(), String> {
    world
        .until("a look at the sandbox", || async {
            world.get("/v1/greenroom/tree").await["sandbox"] != "untried"
        })
        .await;
    let tree = world.get("/v1/greenroom/tree").await;
    match tree["sandbox"].as_str() {
        Some("isolated") => Ok(()),
        _ => Err(tree["sandbox_detail"].to_string()),
    }
}

async fn all_are_contained(world: &World) {
    safe(world).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    std::fs::write(&outside, "as it was").unwrap();
    // Of the same user as the daemon: only the walls protect it.
    std::os::unix::fs::chown(&outside, world.user(), None).unwrap();
    let mut permissions = std::fs::metadata(&outside).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o666);
    std::fs::set_permissions(&outside, permissions.clone()).unwrap();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(folder.path(), permissions).unwrap();
    let agent = world.agent(&[]).await;

    let hostile = hostile();
    assert!(hostile.len() >= 40, "{}", hostile.len());
    let mut escapes = Vec::new();
    for four in hostile.chunks(4) {
        let runs = four.iter().map(|tool| run(world, &tool.body, &outside));
        let ends = futures_util::future::join_all(runs).await;
        for (tool, end) in four.iter().zip(ends) {
            let told = format!("{}{}", end["tool_return"], end["stderr"]);
            let contained = end["status"] == "error" && told.contains(&tool.expect);
            if !contained {
                escapes.push(format!("{}: {end}", tool.name));
            }
        }
    }
    assert!(escapes.is_empty(), "{}", escapes.join("\n"));
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "as it was");
    assert!(!Path::new("/tmp/greenroom-escaped").exists());
    assert!(!world.data().join("escaped").exists());
    assert_eq!(children(world), Vec::<String>::new());
    // The daemon and its agents have noticed nothing.
    assert_eq!(
        world.send(&agent, "still here").await["messages"][0]["content"],
        "echo: still here"
    );
    let restarts = world.get("/v1/greenroom/tree").await["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["restarts"].as_u64().unwrap())
        .sum::<u64>();
    assert_eq!(restarts, 0);
}

/// What the daemon has started and that is still there.
fn children(world: &World) -> Vec<String> {
    let path = format!("/proc/{0}/task/{0}/children", world.pid());
    let direct = std::fs::read_to_string(path).unwrap_or_default();
    let mut all: Vec<String> = direct.split_whitespace().map(str::to_owned).collect();
    // Those that other threads of the daemon started.
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .split(' ')
            .nth(1);
        if parent == Some(world.pid().to_string().as_str()) {
            all.push(process.file_name().to_string_lossy().into_owned());
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_tools_of_a_daemon_of_the_tests_user_are_contained() {
    all_are_contained(&World::with(&PATIENCE).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_tools_of_an_ordinary_users_daemon_are_contained() {
    all_are_contained(&World::as_ordinary_user(&PATIENCE).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_interpreter_can_be_isolated_tools_are_refused_and_the_operator_is_told() {
    let world = World::with(&[("GREENROOM__SANDBOX__PYTHON", "/nowhere/python3")]).await;
    let reason = safe(&world).await.unwrap_err();
    assert!(
        reason.contains("refused: there is no /nowhere/python3"),
        "{reason}"
    );
    let end = run(&world, "return 1", Path::new("/")).await;
    assert_eq!(end["status"], "error");
    let told = end["tool_return"].as_str().unwrap();
    assert!(told.contains("could not be isolated"), "{told}");
    assert!(world.log().contains("/nowhere/python3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_hostile_is_run_where_isolation_is_switched_off() {
    let world = World::with(&[("GREENROOM__SANDBOX__ISOLATION", "none")]).await;
    let reason = safe(&world).await.unwrap_err();
    assert!(reason.contains("NOT ISOLATED"), "{reason}");
    assert_eq!(
        run(&world, "return 1", Path::new("/")).await["tool_return"],
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_prints_is_kept_up_to_a_limit_and_is_no_result() {
    let world = World::new().await;
    let body = "for _ in range(300):\n    print('x' * 1_000_000)\nprint('y', file=sys.stderr)\nreturn {'a': (1, None), 'b': True}";
    let end = run(&world, body, Path::new("/")).await;
    assert_eq!(
        end["tool_return"], "{'a': [1, None], 'b': True}",
        "{}",
        end["stderr"]
    );
    assert_eq!(end["stdout"][0].as_str().unwrap().len(), 1 << 20);
    assert_eq!(end["stderr"], json!(["y\n"]));
}

const SLOW: &str = "def slow():\n    \"\"\"Waits.\"\"\"\n    import time\n    time.sleep(60)\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_tool_that_runs() {
    let world = World::new().await;
    safe(&world).await.unwrap();
    world.post("/v1/tools/", json!({"source_code": SLOW})).await;
    let agent = world.agent_with(json!({"tools": ["slow"]})).await;
    let run = world.start_run(&agent, "[[tool:slow {}]] x").await;
    world
        .until("the tool", || async { !children(&world).is_empty() })
        .await;
    let since = Instant::now();
    let path = format!("/v1/agents/{agent}/messages/cancel");
    let (status, answer) = world.call(Method::POST, &path, None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(world.ended(&run).await["status"], "cancelled");
    world
        .until("the end of the tool", || async {
            children(&world).is_empty()
        })
        .await;
    assert!(since.elapsed() < Duration::from_secs(5));
    world.assert_paired(&agent).await;
    assert_eq!(
        world.send(&agent, "on").await["messages"][0]["content"],
        "echo: on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_dies_with_its_daemon_and_its_folder_goes_with_the_next_start() {
    let mut world = World::new().await;
    safe(&world).await.unwrap();
    world.post("/v1/tools/", json!({"source_code": SLOW})).await;
    let agent = world.agent_with(json!({"tools": ["slow"]})).await;
    let run = world.start_run(&agent, "[[tool:slow {}]] x").await;
    world
        .until("the tool", || async { !children(&world).is_empty() })
        .await;
    let tools = children(&world);
    tokio::task::block_in_place(|| world.kill());
    world
        .until("the end of the tool", || async {
            tools
                .iter()
                .all(|tool| !Path::new("/proc").join(tool).exists())
        })
        .await;
    world.start().await;
    // It had begun, and what came of it is not known: it is not run again.
    let ended = world.ended(&run).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    world.assert_paired(&agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_edits_blocks_through_its_agents_state_under_the_ordinary_rules() {
    let world = World::new().await;
    let source = "def note(agent_state: 'AgentState', label: str, text: str):\n    \"\"\"Notes.\n\n    Args:\n        label: Where\n        text: What\n    \"\"\"\n    import os\n    agent_state.memory.update_block_value(label, text)\n    return [agent_state.memory.get_block(label).value, os.environ.get('KEY'), os.environ['LETTA_AGENT_ID'] == agent_state.id]\n";
    world
        .post("/v1/tools/", json!({"source_code": source}))
        .await;
    let agent = world
        .agent_with(json!({
            "tools": ["note"],
            "secrets": {"KEY": "s3cret"},
            "memory_blocks": [{"label": "human", "value": "v"}, {"label": "fixed", "value": "f", "read_only": true}],
        }))
        .await;
    let said = world
        .send(&agent, r#"[[tool:note {"label":"human","text":"\tnew"}]][[tool:note {"label":"fixed","text":"x"}]] done"#)
        .await;
    let returns: Vec<&Value> = said["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["message_type"] == "tool_return_message")
        .collect();
    assert_eq!(
        returns[0]["tool_return"], r"['\tnew', 's3cret', True]",
        "{said}"
    );
    assert_eq!(
        (&returns[1]["status"], &returns[1]["tool_return"]),
        (&json!("error"), &json!("block 'fixed' is read-only"))
    );
    assert_eq!(world.block(&agent, "human").await, "\tnew");
    assert_eq!(world.block(&agent, "fixed").await, "f");
    // By hand as well.
    let path = format!("/v1/agents/{agent}/tools/note/run");
    let end = world
        .post(&path, json!({"args": {"label": "human", "text": "again"}}))
        .await;
    assert_eq!(end["status"], "success", "{end}");
    assert_eq!(world.block(&agent, "human").await, "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_45_a_tool_reaches_what_the_gate_lets_it_and_nothing_else() {
    let asks = |how: &str| format!("url = 'http://HOST/v1/models'\n{how}");
    let ways = [
        "import urllib.request\nreturn urllib.request.urlopen(url, timeout=5).read().decode()",
        "import http.client\nline = http.client.HTTPConnection('HOST', timeout=5)\nline.request('GET', '/v1/models')\nreturn line.getresponse().read().decode()",
        "import asyncio\nasync def ask():\n    reader, writer = await asyncio.open_connection(*'HOST'.split(':'))\n    writer.write(b'GET /v1/models HTTP/1.0\\r\\n\\r\\n')\n    return (await reader.read()).decode()\nreturn asyncio.run(ask())",
    ];
    // The host is named in the configuration of all worlds.
    let world = World::new().await;
    let host = world
        .model
        .base_url
        .replace("http://", "")
        .replace("/v1", "");
    for way in ways {
        let end = run(&world, &asks(way).replace("HOST", &host), Path::new("/")).await;
        assert_eq!(end["status"], "success", "{end}");
        assert!(
            end["tool_return"].as_str().unwrap().contains("scripted"),
            "{end}"
        );
    }
    let refused = async |world: &World, told: &str| {
        for way in ways {
            let end = run(world, &asks(way).replace("HOST", &host), Path::new("/")).await;
            assert_eq!(end["status"], "error", "{end}");
            let text = end["tool_return"].as_str().unwrap();
            assert!(
                text.contains(told) && text.contains("sandbox.network"),
                "{end}"
            );
        }
    };
    let closed = World::with(&[("GREENROOM__EGRESS__ALLOWED_HOSTS", "[]")]).await;
    refused(&closed, "not on the public internet").await;
    let off = World::with(&[("GREENROOM__SANDBOX__NETWORK", "off")]).await;
    refused(&off, "Operation not permitted").await;
    let open = World::with(&[
        ("GREENROOM__SANDBOX__NETWORK", "open"),
        ("GREENROOM__EGRESS__ALLOWED_HOSTS", "[]"),
    ])
    .await;
    let end = run(&open, &asks(ways[0]).replace("HOST", &host), Path::new("/")).await;
    assert_eq!(end["status"], "success", "{end}");
}
