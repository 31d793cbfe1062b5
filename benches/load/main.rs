//! How fast is the whole? The real binary as a process, a model server as another (this program again), and a client
//! here, all on the same cores.
//!
//! `cargo bench --bench load` runs every part but the long one, `cargo bench --bench load -- messages start` those two,
//! `cargo bench --bench load -- long` an agent that is talked with for 20,000 turns.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement that cannot be taken has nothing to go on with"
)]

mod client;
mod daemon;
mod figures;
mod long;
mod model;
mod parts;
mod tools;

use daemon::Model;

const PARTS: [&str; 10] = [
    "messages",
    "frames",
    "tokens",
    "cancel",
    "start",
    "history",
    "steps",
    "compaction",
    "tools",
    LONG,
];
/// Runs only when it is named.
const LONG: &str = "long";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The client is one thread: more of them would take the cores from what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if arguments.iter().any(|argument| argument == model::ARGUMENT) {
        return runtime.block_on(model::serve());
    }
    let wanted = |part: &&str| {
        let named = |argument: &String| PARTS.contains(&argument.as_str());
        let all = !arguments.iter().any(named) && **part != *LONG;
        all || arguments.iter().any(|argument| argument == part)
    };
    runtime.block_on(async {
        let model = Model::start();
        figures::machine();
        for part in PARTS.iter().filter(|part| wanted(part)) {
            match *part {
                "messages" => parts::messages(&model).await,
                "frames" => parts::frames(&model).await,
                "tokens" => parts::tokens(&model).await,
                "cancel" => parts::cancel(&model).await,
                "start" => parts::start(&model).await,
                "history" => parts::history(&model).await,
                "steps" => parts::steps(&model).await,
                "compaction" => parts::compaction(&model).await,
                "tools" => tools::calls(&model).await,
                _ => long::talk(&model).await,
            }
        }
    });
}
