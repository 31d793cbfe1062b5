//! The tools of an agent from outside a turn: attached, detached, run because somebody asked.

use crate::turns::{append, kinds, messages, stop, tool};
use crate::world::World;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The id of a tool that the program has.
async fn id_of(world: &World, name: &str) -> String {
    let tools = world.get(&format!("/v1/tools/?name={name}")).await;
    tools[0]["id"].as_str().unwrap().to_owned()
}

async fn names(world: &World, agent: &str) -> Vec<String> {
    let tools = world
        .get(&format!("/v1/agents/{agent}/tools?limit=50"))
        .await;
    let tools = tools.as_array().unwrap().iter();
    let mut names: Vec<String> = tools
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    names
}

async fn patch(world: &World, path: &str) -> Value {
    let (status, answer) = world.call(Method::PATCH, path, None).await;
    assert_eq!(status.as_u16(), 200, "{path}: {answer}");
    answer
}

async fn run(world: &World, agent: &str, name: &str, body: Option<Value>) -> (u16, Value) {
    let path = format!("/v1/agents/{agent}/tools/{name}/run");
    let (status, answer) = world.call(Method::POST, &path, body).await;
    (status.as_u16(), answer)
}

async fn bare(world: &World) -> String {
    world
        .agent_with(json!({"include_base_tools": false, "tools": ["memory_insert"]}))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_attached_and_detached_each_once_however_often_it_is_asked() {
    let mut world = World::new().await;
    let agent = bare(&world).await;
    let id = id_of(&world, "core_memory_append").await;
    let path = |verb: &str| format!("/v1/agents/{agent}/tools/{verb}/{id}");
    for _ in 0..2 {
        assert_eq!(patch(&world, &path("attach")).await, Value::Null);
        assert_eq!(
            names(&world, &agent).await,
            ["core_memory_append", "memory_insert"]
        );
    }
    let answer = world.send(&agent, &tool(&append("B"))).await;
    assert_eq!(
        kinds(messages(&answer))[1],
        "tool_return_message",
        "{answer}"
    );
    assert!(world.block(&agent, "persona").await.ends_with("\nB"));

    world.kill();
    world.start().await;
    assert_eq!(names(&world, &agent).await.len(), 2);
    for _ in 0..2 {
        assert_eq!(patch(&world, &path("detach")).await, Value::Null);
        assert_eq!(names(&world, &agent).await, ["memory_insert"]);
    }
    let answer = world.send(&agent, &tool(&append("C"))).await;
    assert_eq!(messages(&answer)[1]["status"], "error", "{answer}");
    assert_eq!(stop(&answer), "end_turn");
    // A client of the generation before gets the agent.
    let older = world
        .http
        .patch(format!("{}{}", world.base, path("attach")))
        .header("user-agent", "curl/8");
    let state: Value = older.send().await.unwrap().json().await.unwrap();
    assert_eq!(state["tools"].as_array().unwrap().len(), 2, "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_and_agents_that_are_not_there_are_named() {
    let world = World::new().await;
    let agent = bare(&world).await;
    let id = id_of(&world, "core_memory_append").await;
    let nobody = "agent-00000000-0000-4000-8000-000000000000";
    let nothing = "tool-00000000-0000-4000-8000-000000000000";
    for (path, status) in [
        (format!("/v1/agents/{agent}/tools/attach/{nothing}"), 404),
        (format!("/v1/agents/{agent}/tools/detach/{nothing}"), 404),
        (format!("/v1/agents/{nobody}/tools/attach/{id}"), 404),
        (format!("/v1/agents/{agent}/tools/attach/tool-x"), 422),
        (format!("/v1/agents/agent-x/tools/detach/{id}"), 422),
    ] {
        let (found, answer) = world.call(Method::PATCH, &path, None).await;
        assert_eq!(found.as_u16(), status, "{path}: {answer}");
    }
    assert_eq!(names(&world, &agent).await, ["memory_insert"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_attach_at_once_take_nothing_from_each_other() {
    let world = World::new().await;
    let agent = bare(&world).await;
    let mut paths = Vec::new();
    for name in [
        "core_memory_append",
        "core_memory_replace",
        "send_message",
        "memory_rethink",
    ] {
        let id = id_of(&world, name).await;
        paths.push(format!("/v1/agents/{agent}/tools/attach/{id}"));
    }
    futures_util::future::join_all(paths.iter().map(|path| patch(&world, path))).await;
    assert_eq!(names(&world, &agent).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_is_run_by_hand_does_what_it_does_in_a_turn() {
    let world = World::new().await;
    let tools = ["memory_insert", "conversation_search", "test_panic"];
    let gate = json!([{"type": "requires_approval", "tool_name": "memory_insert"}]);
    let agent = world
        .agent_with(json!({"include_base_tools": false, "tools": tools, "tool_rules": gate}))
        .await;
    world.send(&agent, "the word is xylophone").await;
    let before = world.history(&agent).await.len();

    // Rules hold the model, not who asks here.
    let arguments = json!({"args": {"label": "human", "new_string": "Likes tea."}});
    let (status, answer) = run(&world, &agent, "memory_insert", Some(arguments)).await;
    assert_eq!((status, &answer["status"]), (200, &json!("success")));
    assert_eq!(answer["func_return"], "Name: unknown\nLikes tea.");
    assert_eq!(
        world.block(&agent, "human").await,
        "Name: unknown\nLikes tea."
    );
    world.send(&agent, "next").await;
    assert!(
        world.model.last_body().to_string().contains("Likes tea."),
        "the prompt is built anew"
    );

    let query = json!({"args": {"query": "xylophone"}});
    let (_, answer) = run(&world, &agent, "conversation_search", Some(query)).await;
    let text = answer["func_return"].as_str().unwrap();
    assert!(
        text.starts_with("{'message': ") && text.contains("xylophone"),
        "{text}"
    );
    assert_eq!(world.history(&agent).await.len(), before + 2, "no messages");

    // A tool that fails is an answer, and says why in `stderr`.
    let unknown = json!({"args": {"label": "nobody", "new_string": "x"}});
    for (name, body) in [
        ("memory_insert", Some(unknown)),
        ("memory_insert", None),
        ("test_panic", None),
    ] {
        let (status, answer) = run(&world, &agent, name, body).await;
        assert_eq!((status, &answer["status"]), (200, &json!("error")));
        assert_eq!(answer["func_return"], Value::Null);
        let why = answer["stderr"][0].as_str().unwrap();
        assert!(why.contains(&format!("function {name}: ")), "{why}");
    }
    for (name, body, expected) in [
        ("core_memory_append", json!({"args": {}}), 404),
        ("memory_insert", json!({"args": []}), 422),
        ("memory_insert", json!({"args": {}, "more": 1}), 422),
    ] {
        let (status, answer) = run(&world, &agent, name, Some(body)).await;
        assert_eq!(status, expected, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_of_a_source_is_told_or_why_there_is_none() {
    let world = World::new().await;
    let path = "/v1/tools/generate-schema";
    let code = "def add(x: int, y: int = 1) -> int:\n    \"\"\"Adds.\n\n    Args:\n        x: First\n        y: Second\n    \"\"\"\n    return x + y\n";
    let schema = world
        .post(path, json!({"code": code, "source_type": "python"}))
        .await;
    let number = |text: &str| json!({"type": "integer", "description": text});
    let parameters = json!({"type": "object", "properties": {"x": number("First"), "y": number("Second")}, "required": ["x"]});
    assert_eq!(
        schema,
        json!({"name": "add", "description": "Adds.", "parameters": parameters})
    );
    for (body, expected, told) in [
        (json!({"code": "def broken(:"}), 400, "line 1"),
        (
            json!({"code": "def f(x: bytes):\n    'F.'"}),
            400,
            "parameter 'x'",
        ),
        (
            json!({"code": code, "source_type": "cobol"}),
            422,
            "source_type",
        ),
        (json!({}), 422, "code"),
        (
            json!({"code": code, "source_type": "typescript"}),
            501,
            "TypeScript",
        ),
    ] {
        let (status, answer) = world.call(Method::POST, path, Some(body)).await;
        assert_eq!(status.as_u16(), expected, "{answer}");
        assert!(answer.to_string().contains(told), "{answer}");
    }
}

const ADD: &str = "def add(x: int, y: int = 1) -> int:\n    \"\"\"Adds two numbers.\n\n    Args:\n        x: First\n        y: Second\n    \"\"\"\n    return x + y\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_written_found_changed_and_deleted_and_survives_kill_9() {
    let mut world = World::new().await;
    let made = world
        .post("/v1/tools/", json!({"source_code": ADD, "tags": ["math"], "pip_requirements": [{"name": "requests"}]}))
        .await;
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (
            &made["name"],
            &made["description"],
            &made["tool_type"],
            &made["source_code"]
        ),
        (
            &json!("add"),
            &json!("Adds two numbers."),
            &json!("custom"),
            &json!(ADD)
        )
    );
    // Again under its name: the same tool, and what was not sent stays.
    let body = json!({"source_code": ADD, "return_char_limit": 7});
    let (status, again) = world.call(Method::PUT, "/v1/tools/", Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{again}");
    assert_eq!(
        (
            &again["id"],
            &again["tags"],
            &again["return_char_limit"],
            &again["pip_requirements"]
        ),
        (
            &made["id"],
            &json!(["math"]),
            &json!(7),
            &json!([{"name": "requests", "version": null}])
        )
    );
    let agent = world.agent_with(json!({"tools": ["add"]})).await;
    tokio::task::block_in_place(|| world.kill());
    world.start().await;
    assert_eq!(world.get(&format!("/v1/tools/{id}")).await, again);
    let attached = world.get(&format!("/v1/agents/{agent}/tools")).await;
    assert_eq!(attached[0], again);

    // Found by every filter.
    let count = async |query: &str| {
        world
            .get(&format!("/v1/tools/?{query}"))
            .await
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count("name=add").await, 1);
    assert_eq!(count("tool_types=custom").await, 1);
    assert_eq!(count("return_only_letta_tools=true&name=add").await, 0);
    assert_eq!(world.get("/v1/tools/?limit=1").await[0], again);
    assert_eq!(
        world.get("/v1/tools/count?exclude_letta_tools=true").await,
        1
    );
    let found = world
        .post(
            "/v1/tools/search",
            json!({"query": "Add two numbers", "tags": ["math"]}),
        )
        .await;
    assert_eq!(found[0]["tool"], again);

    // A new source is a new schema and a new name; a schema alone renames.
    let path = format!("/v1/tools/{id}");
    let change = async |body: Value| world.call(Method::PATCH, &path, Some(body)).await;
    let (_, changed) = change(json!({"source_code": ADD.replace("add(", "plus(").replace("First", "One"), "metadata_": {"a": 1}})).await;
    assert_eq!(
        (
            &changed["name"],
            &changed["json_schema"]["parameters"]["properties"]["x"]["description"],
            &changed["metadata_"]
        ),
        (&json!("plus"), &json!("One"), &json!({"a": 1}))
    );
    let (_, changed) = change(json!({"json_schema": {"name": "sum_up", "description": "Sums", "parameters": {"type": "object", "properties": {}}}})).await;
    assert_eq!(
        (&changed["name"], &changed["description"]),
        (&json!("sum_up"), &json!("Sums"))
    );
    for (body, status, told) in [
        (json!({"source_code": "def f(:"}), 400, "line 1"),
        (
            json!({"source_code": ADD, "json_schema": {"name": "other", "parameters": {}}}),
            400,
            "'add'",
        ),
        (
            json!({"json_schema": {}, "args_json_schema": {}}),
            400,
            "not both",
        ),
        (
            json!({"json_schema": {"name": "send_message"}}),
            409,
            "send_message",
        ),
        (json!({"json_schema": {"name": "a b"}}), 400, "a b"),
        (json!({"return_char_limit": 0}), 400, "return_char_limit"),
        (
            json!({"pip_requirements": [{"name": "--index-url=x"}]}),
            400,
            "pip_requirements",
        ),
    ] {
        let (found, answer) = change(body.clone()).await;
        assert_eq!(found.as_u16(), status, "{body}: {answer}");
        assert!(answer.to_string().contains(told), "{body}: {answer}");
    }
    for (body, status, told) in [
        (json!({"source_code": "x = 1"}), 400, "no function"),
        (json!({"source_code": "def f(x):\n    'F.'"}), 400, "'x'"),
        (
            json!({"source_code": "export function f() {}", "source_type": "typescript"}),
            422,
            "json_schema",
        ),
        (
            json!({"source_code": "x", "source_type": "cobol"}),
            400,
            "cobol",
        ),
        (json!({"source_code": ADD, "colour": "red"}), 422, "colour"),
        (json!({}), 422, "source_code"),
        (
            json!({"source_code": ADD.replace("add", "send_message")}),
            409,
            "send_message",
        ),
    ] {
        let (found, answer) = world
            .call(Method::POST, "/v1/tools/", Some(body.clone()))
            .await;
        assert_eq!(found.as_u16(), status, "{body}: {answer}");
        assert!(answer.to_string().contains(told), "{body}: {answer}");
    }
    assert_eq!(world.get(&path).await, changed);

    let (status, answer) = world.call(Method::DELETE, &path, None).await;
    assert_eq!((status, answer), (StatusCode::OK, Value::Null));
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(
            world.call(method, &path, None).await.0,
            StatusCode::NOT_FOUND
        );
    }
    let attached = world.get(&format!("/v1/agents/{agent}/tools")).await;
    let mut ids = attached.as_array().unwrap().iter().map(|tool| &tool["id"]);
    assert!(ids.all(|left| *left != made["id"]));
    assert_eq!(
        world.send(&agent, "on").await["messages"][0]["content"],
        "echo: on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_41_a_base_tool_stays_whatever_is_done_to_it() {
    let world = World::new().await;
    let base = world.post("/v1/tools/add-base-tools", json!({})).await;
    let tool = base[0].clone();
    let path = format!("/v1/tools/{}", tool["id"].as_str().unwrap());
    let (status, answer) = world.call(Method::DELETE, &path, None).await;
    assert_eq!((status, answer), (StatusCode::OK, Value::Null));
    let (status, _) = world
        .call(Method::PATCH, &path, Some(json!({"description": "x"})))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(world.get(&path).await, tool);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_makes_renames_and_drops_blocks() {
    let world = World::new().await;
    let agent = world
        .agent_with(json!({"tools": ["memory", "memory_apply_patch", "memory_insert"]}))
        .await;
    let labels = async || {
        let blocks = world
            .get(&format!("/v1/agents/{agent}/core-memory/blocks"))
            .await;
        let mut labels: Vec<String> = blocks
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["label"].as_str().unwrap().to_owned())
            .collect();
        labels.sort();
        labels
    };
    let ends = async |script: &str| -> Vec<(String, String)> {
        let said = world.send(&agent, &format!("{script} done")).await;
        let all = messages(&said);
        all.iter()
            .filter(|message| message["message_type"] == "tool_return_message")
            .map(|end| {
                let text = |name: &str| end[name].as_str().unwrap().to_owned();
                (text("status"), text("tool_return"))
            })
            .collect()
    };
    let call = |arguments: Value| format!("[[tool:memory {arguments}]]");
    let script = [
        call(json!({"command": "create", "path": "/memories/project/plan", "description": "The plan", "file_text": "one\ntwo"})),
        call(json!({"command": "str_replace", "path": "/memories/project/plan", "old_string": "two", "new_string": "2"})),
        call(json!({"command": "insert", "path": "/project/plan", "insert_text": "three"})),
        call(json!({"command": "rename", "path": "project/plan", "description": "Another plan"})),
        call(json!({"command": "rename", "old_path": "/memories/project/plan", "new_path": "/memories/plan"})),
        r#"[[tool:memory_insert {"label":"plan","new_string":"four"}]]"#.to_owned(),
    ]
    .concat();
    let found = ends(&script).await;
    let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "Successfully created memory block 'project/plan'",
            "one\n2",
            "one\n2\nthree",
            "Successfully updated description of memory block 'project/plan'",
            "Successfully renamed memory block 'project/plan' to 'plan'",
            "one\n2\nthree\nfour",
        ]
    );
    assert_eq!(labels().await, ["human", "persona", "plan"]);
    let path = format!("/v1/agents/{agent}/core-memory/blocks/plan");
    let plan = world.get(&path).await;
    assert_eq!(
        (&plan["value"], &plan["description"]),
        (&json!("one\n2\nthree\nfour"), &json!("Another plan"))
    );
    world.send(&agent, "look").await;
    assert!(world.model.last_body().to_string().contains("<plan>"));

    // A patch of several blocks is one transaction.
    let patch = |patch: &str| {
        format!(
            "[[tool:memory_apply_patch {}]]",
            json!({"label": "", "patch": patch})
        )
    };
    let half = "*** Add Block: extra\n+x\n*** Update Block: plan\n-nothing like it\n+y";
    let found = ends(&patch(half)).await;
    assert_eq!(found[0].0, "error");
    assert_eq!(labels().await, ["human", "persona", "plan"]);
    let whole = "*** Add Block: extra\nDescription: More\n+x\n*** Update Block: plan\n one\n-2\n+two\n*** Move to: steps\n*** Delete Block: persona";
    let found = ends(&patch(whole)).await;
    assert_eq!(found[0], ("success".to_owned(), "added block 'extra'\nupdated block 'plan'\nrenamed block 'plan' to 'steps'\ndeleted block 'persona'".to_owned()));
    assert_eq!(labels().await, ["extra", "human", "steps"]);
    assert_eq!(world.block(&agent, "steps").await, "one\ntwo\nthree\nfour");

    // What cannot be is an error of the call.
    let other = world.agent(&[]).await;
    let human = world
        .get(&format!("/v1/agents/{agent}/core-memory/blocks/human"))
        .await;
    let id = human["id"].as_str().unwrap();
    let path = format!(
        "/v1/agents/{other}/core-memory/blocks/detach/{}",
        world
            .get(&format!("/v1/agents/{other}/core-memory/blocks/human"))
            .await["id"]
            .as_str()
            .unwrap()
    );
    world.call(Method::PATCH, &path, None).await;
    let path = format!("/v1/agents/{other}/core-memory/blocks/attach/{id}");
    let (status, answer) = world.call(Method::PATCH, &path, None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for (arguments, told) in [
        (
            json!({"command": "create", "path": "/memories/human", "description": "x"}),
            "already",
        ),
        (
            json!({"command": "create", "path": "/memories/x"}),
            "needs path and description",
        ),
        (
            json!({"command": "delete", "path": "/memories/nothing"}),
            "nothing",
        ),
        (
            json!({"command": "rename", "old_path": "/memories/human", "new_path": "/memories/user"}),
            "shared with other agents",
        ),
        (
            json!({"command": "rename", "old_path": "/memories/extra", "new_path": "/memories/human"}),
            "already",
        ),
        (json!({"command": "explode"}), "no command"),
    ] {
        let found = ends(&call(arguments.clone())).await;
        assert!(
            found[0].0 == "error" && found[0].1.contains(told),
            "{arguments}: {found:?}"
        );
    }
    // The other agent keeps what is dropped here.
    let found = ends(&call(
        json!({"command": "delete", "path": "/memories/human"}),
    ))
    .await;
    assert_eq!(found[0].0, "success");
    assert_eq!(labels().await, ["extra", "steps"]);
    assert_eq!(world.block(&other, "human").await, "Name: unknown");
    // By hand as well.
    let path = format!("/v1/agents/{agent}/tools/memory/run");
    let end = world
        .post(
            &path,
            json!({"args": {"command": "create", "path": "/memories/more", "description": "x"}}),
        )
        .await;
    assert_eq!(end["status"], "success", "{end}");
    assert_eq!(labels().await, ["extra", "more", "steps"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_runs_programs_and_reads_pages() {
    let world = World::new().await;
    world.post("/v1/tools/", json!({"source_code": ADD})).await;
    let agent = world
        .agent_with(json!({"tools": ["add", "run_code", "fetch_webpage"]}))
        .await;
    let end = async |tool: &str, arguments: Value| {
        let said = world
            .send(&agent, &format!("[[tool:{tool} {arguments}]] done"))
            .await;
        let all = messages(&said);
        let end = all
            .iter()
            .find(|message| message["message_type"] == "tool_return_message");
        let end = end.unwrap();
        (
            end["status"].as_str().unwrap().to_owned(),
            end["tool_return"].as_str().unwrap().to_owned(),
        )
    };
    let code = "import os\nprint('hi')\nx = add(2, 40)\n[x, sorted(os.environ)]";
    let (status, told) = end("run_code", json!({"code": code, "language": "python"})).await;
    assert_eq!(status, "success", "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        told,
        json!({"results": [[42, ["HOME", "LANG", "PATH", "TMPDIR"]]], "logs": {"stdout": ["hi\n"], "stderr": []}})
    );
    let (_, told) = end(
        "run_code",
        json!({"code": "print(1)\n1/0", "language": "python"}),
    )
    .await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["error"], &told["logs"]["stdout"]),
        (
            &json!("ZeroDivisionError: division by zero"),
            &json!(["1\n"])
        )
    );
    let (status, told) = end("run_code", json!({"code": "1", "language": "java"})).await;
    assert!(status == "error" && told.contains("java"), "{told}");

    let base = world.model.base_url.clone();
    let (status, told) = end("fetch_webpage", json!({"url": format!("{base}/models")})).await;
    assert!(status == "success" && told.contains("scripted"), "{told}");
    let (status, told) = end("fetch_webpage", json!({"url": format!("{base}/page.html")})).await;
    assert!(
        status == "success"
            && told.contains("A page")
            && !told.contains("<h1>")
            && !told.contains("alert"),
        "{told}"
    );
    for (url, why) in [
        (
            format!("{}/picture.png", base.replace("/v1", "")),
            "image/png",
        ),
        (
            format!("{}/inside.png", base.replace("/v1", "")),
            "not on the public internet",
        ),
        (
            "http://169.254.169.254/latest".to_owned(),
            "not on the public internet",
        ),
        ("file:///etc/passwd".to_owned(), "http://"),
        ("nonsense".to_owned(), "no address"),
    ] {
        let (status, told) = end("fetch_webpage", json!({"url": url})).await;
        assert!(status == "error" && told.contains(why), "{url}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_send_messages_to_each_other_and_no_circle_of_them_waits() {
    const TOOLS: [&str; 3] = [
        "send_message_to_agent_and_wait_for_reply",
        "send_message_to_agents_matching_tags",
        "send_message_to_agent_async",
    ];
    let world = World::new().await;
    let a = world.agent(&TOOLS).await;
    let b = world
        .agent_with(json!({"tools": TOOLS, "tags": ["team", "red"]}))
        .await;
    let c = world.agent_with(json!({"tags": ["team"]})).await;
    let call = |tool: &str, arguments: Value| format!("[[tool:{tool} {arguments}]]");
    let ends = async |agent: &str, script: &str| -> Vec<(String, String)> {
        let said = world.send(agent, &format!("{script} done")).await;
        messages(&said)
            .iter()
            .filter(|message| message["message_type"] == "tool_return_message")
            .map(|end| {
                let text = |name: &str| end[name].as_str().unwrap().to_owned();
                (text("status"), text("tool_return"))
            })
            .collect()
    };
    let ask = |to: &str, text: &str| call(TOOLS[0], json!({"message": text, "other_agent_id": to}));
    let found = ends(&a, &ask(&b, "How are you?")).await;
    assert_eq!(found[0].0, "success", "{found:?}");
    let start = format!("{{'agent_id': '{b}', 'response': [");
    assert!(found[0].1.starts_with(&start), "{found:?}");
    let history = world.history(&b).await;
    let told = history.iter().find(|message| {
        message["message_type"] == "system_message" && message.to_string().contains("How are you?")
    });
    assert!(
        told.is_some_and(|told| told.to_string().contains(&a)),
        "{history:?}"
    );

    let everybody = call(
        TOOLS[1],
        json!({"message": "hello", "match_all": ["team"], "match_some": []}),
    );
    let found = ends(&a, &everybody).await;
    assert!(
        found[0].1.contains(&b) && found[0].1.contains(&c),
        "{found:?}"
    );
    let reds = call(
        TOOLS[1],
        json!({"message": "hello", "match_all": ["team"], "match_some": ["red", "blue"]}),
    );
    let found = ends(&a, &reds).await;
    assert!(
        found[0].1.contains(&b) && !found[0].1.contains(&c),
        "{found:?}"
    );

    let later = call(TOOLS[2], json!({"message": "later", "other_agent_id": &b}));
    let found = ends(&a, &later).await;
    assert_eq!(found[0].1, "Successfully sent message");
    world
        .until("the message", || async {
            world
                .history(&b)
                .await
                .iter()
                .any(|message| message.to_string().contains("later"))
        })
        .await;

    for (to, why) in [
        (a.as_str(), "not asked again"),
        ("agent-00000000-0000-4000-8000-000000000001", "not found"),
        ("nobody", "other_agent_id"),
    ] {
        let found = ends(&a, &ask(to, "x")).await;
        assert!(
            found[0].0 == "error" && found[0].1.contains(why),
            "{found:?}"
        );
    }
    // Two that ask each other at the same time: one of them at least is told, and both end.
    let (ab, ba) = (
        format!("[[silent:300]]{} x", ask(&b, "x")),
        format!("[[silent:300]]{} x", ask(&a, "x")),
    );
    let (one, two) = tokio::join!(ends(&a, &ab), ends(&b, &ba));
    let refused = [one, two].concat();
    assert!(
        refused.iter().any(|(status, text)| status == "error" && text.contains("neither would get an answer")),
        "{refused:?}"
    );
    for agent in [&a, &b, &c] {
        world.assert_paired(agent).await;
    }
}
