//! `greenroom tree`: the live supervision tree, drawn.

use super::CliError;
use super::client::Client;
use super::screen::{harmless, print};
use super::text::{columns, duration, member, number};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::io::{IsTerminal, stdout};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(client: &Client, watch: bool) -> Result<(), CliError> {
    loop {
        let drawing = draw(&client.get("/v1/greenroom/tree", &[]).await?);
        if !watch {
            return print(&drawing);
        }
        let home_and_clear = if stdout().is_terminal() {
            "\x1b[H\x1b[2J"
        } else {
            "\n"
        };
        print(&format!("{home_and_clear}{drawing}"))?;
        tokio::time::sleep(EVERY).await;
    }
}

/// A line about the process, then a line an actor, children under their parents.
fn draw(tree: &Value) -> String {
    let nodes = tree["nodes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut rows =
        vec![["ACTOR", "STATUS", "UP", "WAITING", "RESTARTS", "DOING"].map(str::to_owned)];
    let children = Children::of(nodes);
    for top in &children.tops {
        children.add(top, "", "", &mut rows);
    }
    format!("{}\n{}", summary(tree), columns(&rows))
}

fn summary(tree: &Value) -> String {
    let mut parts = vec![
        format!("greenroom {}", member(tree, "version")),
        format!("up {}", duration(number(tree, "uptime_ms"))),
        format!("durability {}", member(tree, "durability")),
        format!("{} commits waiting", number(tree, "commits_waiting")),
    ];
    if ["bare", "refused"]
        .map(Value::from)
        .contains(&tree["sandbox"])
    {
        parts.push(format!("tools {}", member(tree, "sandbox_detail")));
    }
    if tree["disk_full"] == true {
        parts.push("DISK FULL: writes are refused".to_owned());
    }
    parts.join(" · ")
}

struct Children<'a> {
    /// Nodes without a parent, and those whose parent is not in the snapshot: nothing is left out.
    tops: Vec<&'a Value>,
    by_parent: HashMap<&'a str, Vec<&'a Value>>,
}

impl<'a> Children<'a> {
    fn of(nodes: &'a [Value]) -> Self {
        let mut children = Self {
            tops: Vec::new(),
            by_parent: HashMap::new(),
        };
        let mut seen = HashSet::new();
        for node in nodes {
            // Parents come before their children; this also keeps a wrong answer from going in circles.
            match node["parent"]
                .as_str()
                .filter(|parent| seen.contains(parent))
            {
                Some(parent) => children.by_parent.entry(parent).or_default().push(node),
                None => children.tops.push(node),
            }
            seen.insert(member(node, "name"));
        }
        children
    }

    fn add(&self, node: &Value, branch: &str, indent: &str, rows: &mut Vec<[String; 6]>) {
        rows.push(row(node, branch));
        let below = self
            .by_parent
            .get(member(node, "name"))
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (position, child) in below.iter().enumerate() {
            let (fork, rail) = if position + 1 == below.len() {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            self.add(
                child,
                &format!("{indent}{fork}"),
                &format!("{indent}{rail}"),
                rows,
            );
        }
    }
}

fn row(node: &Value, branch: &str) -> [String; 6] {
    let waiting = match number(node, "mailbox_depth") {
        0 => "-".to_owned(),
        depth => format!("{depth}, {}", duration(number(node, "mailbox_age_ms"))),
    };
    [
        format!("{branch}{}", member(node, "name")),
        member(node, "status").to_owned(),
        duration(number(node, "uptime_ms")),
        waiting,
        number(node, "restarts").to_string(),
        doing(node),
    ]
}

/// What it is busy with, and why if it is out of service.
fn doing(node: &Value) -> String {
    let busy = ["run", "step", "tool"].into_iter().filter_map(|name| {
        let value = node[name].as_str()?;
        // `run-…` and `step-…` say themselves what they are, and a run's own node need not name it again.
        (!member(node, "name").ends_with(value)).then(|| {
            if name == "tool" {
                format!("tool {value}")
            } else {
                value.to_owned()
            }
        })
    });
    let reason = node["reason"]
        .as_str()
        .map(|reason| harmless(reason).replace('\n', " "));
    busy.chain(reason).collect::<Vec<String>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, parent: Option<&str>, more: Value) -> Value {
        let mut node = json!({"name": name, "parent": parent, "status": "running", "mailbox_depth": 0, "mailbox_age_ms": 0,
            "restarts": 0, "uptime_ms": 61_000, "run": null, "step": null, "tool": null, "reason": null});
        for (key, value) in more.as_object().unwrap() {
            node[key] = value.clone();
        }
        node
    }

    #[test]
    fn children_hang_under_their_parents() {
        let nodes = [
            node("root", None, json!({})),
            node("agents", Some("root"), json!({})),
            node(
                "agent:a",
                Some("agents"),
                json!({"mailbox_depth": 2, "mailbox_age_ms": 15, "restarts": 1, "run": "run-r"}),
            ),
            node(
                "run:run-r",
                Some("agent:a"),
                json!({"run": "run-r", "uptime_ms": 900}),
            ),
            node(
                "worker:run-r",
                Some("run:run-r"),
                json!({"run": "run-r", "step": "step-s", "tool": "memory_insert", "uptime_ms": 900}),
            ),
            node(
                "agent:b",
                Some("agents"),
                json!({"status": "faulted", "restarts": 3, "reason": "panicked\nat home"}),
            ),
            node("facade", Some("root"), json!({})),
        ];
        let tree = json!({"version": "0.1.0", "uptime_ms": 61_000, "durability": "sync", "disk_full": false, "commits_waiting": 0, "nodes": nodes});
        let expected = "\
greenroom 0.1.0 · up 1 min 1 s · durability sync · 0 commits waiting
ACTOR                     STATUS   UP         WAITING   RESTARTS  DOING
root                      running  1 min 1 s  -         0
├─ agents                 running  1 min 1 s  -         0
│  ├─ agent:a             running  1 min 1 s  2, 15 ms  1         run-r
│  │  └─ run:run-r        running  900 ms     -         0
│  │     └─ worker:run-r  running  900 ms     -         0         step-s, tool memory_insert
│  └─ agent:b             faulted  1 min 1 s  -         3         panicked at home
└─ facade                 running  1 min 1 s  -         0
";
        assert_eq!(draw(&tree), expected);
    }

    #[test]
    fn an_actor_without_its_parent_is_still_drawn() {
        let nodes = [
            node("run:r", Some("gone"), json!({})),
            node("loop", Some("loop"), json!({})),
        ];
        let drawing = draw(&json!({"nodes": nodes, "disk_full": true}));
        assert!(
            drawing.contains("\nrun:r")
                && drawing.contains("\nloop")
                && drawing.contains("DISK FULL")
        );
    }
}
