//! The official SDKs, with nothing changed but the base URL. What they need is installed here; what cannot be installed fails.

use crate::world::World;
use std::path::{Path, PathBuf};
use std::process::Command;

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}\n{text}");
    println!("{text}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Python environment with this version of the SDK.
fn python(version: &str) -> PathBuf {
    let folder = root().join(format!("target/sdk/python-{version}"));
    let python = folder.join("bin/python");
    if !folder.join("ready").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "pytest",
            &format!("letta-client=={version}"),
        ]));
        std::fs::write(folder.join("ready"), version).unwrap();
    }
    python
}

async fn with_python(version: &'static str) {
    let world = World::new().await;
    let (base, data) = (world.base.clone(), world.data().to_owned());
    let suite = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(python(version));
        command
            .args([
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "tests/python",
            ])
            .current_dir(root());
        command
            .env("GREENROOM_URL", base)
            .env("GREENROOM_DATA", data)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        run(&mut command);
    });
    if let Err(failure) = suite.await {
        panic!("{failure}\n{}", world.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_1_12_1_with_strict_validation() {
    with_python("1.12.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_1_12_0_with_strict_validation() {
    with_python("1.12.0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_1_12_1_with_each_answer_checked_against_the_contract() {
    let world = World::new().await;
    let base = world.base.clone();
    let suite = tokio::task::spawn_blocking(move || {
        let folder = root().join("target/sdk/typescript");
        std::fs::create_dir_all(&folder).unwrap();
        if !folder.join("ready").exists() {
            std::fs::write(
                folder.join("package.json"),
                "{\"private\": true, \"type\": \"module\"}",
            )
            .unwrap();
            run(Command::new("npm")
                .args([
                    "install",
                    "--silent",
                    "--no-audit",
                    "--no-fund",
                    "@letta-ai/letta-client@1.12.1",
                    "ajv@8",
                    "ajv-formats@3",
                ])
                .current_dir(&folder));
            std::fs::write(folder.join("ready"), "1.12.1").unwrap();
        }
        for name in ["support.mjs", "suite.mjs", "matrix.mjs"] {
            let source = root().join("tests/typescript").join(name);
            std::fs::copy(source, folder.join(name)).unwrap();
        }
        run(Command::new("node")
            .args(["--test", "suite.mjs", "matrix.mjs"])
            .env("GREENROOM_URL", base)
            .env("CONTRACT", root().join("tests/golden/openapi.json"))
            .current_dir(&folder));
    });
    if let Err(failure) = suite.await {
        panic!("{failure}\n{}", world.log());
    }
}
