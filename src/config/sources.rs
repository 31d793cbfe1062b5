//! Where options come from, and how one source overrides another.

use super::{Config, DEFAULTS, Problem, Problems};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a configuration is read from. A value, so that tests need neither files nor the environment of the process.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`; without it `GREENROOM_CONFIG` names the file.
    pub file: Option<PathBuf>,
    pub environment: BTreeMap<String, OsString>,
    pub flags: Flags,
}

/// Options that have a flag of their own.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub data: Option<PathBuf>,
    pub listen: Option<String>,
}

/// One option, as somebody set it.
struct Setting {
    path: Vec<String>,
    /// The readings of the value, most literal first: a variable holds text that may stand for a number or a list.
    readings: Vec<Value>,
    origin: String,
}

/// A tree of options while sources are laid over it, and what was wrong with them.
struct Layers {
    tree: Value,
    origins: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Sources {
    /// The environment of this process, with the given file and flags.
    pub fn of_process(file: Option<PathBuf>, flags: Flags) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        Self {
            file,
            environment,
            flags,
        }
    }

    /// A text from the environment; set but empty counts as not set.
    fn variable(&self, name: &str) -> Option<&OsString> {
        self.environment.get(name).filter(|value| !value.is_empty())
    }
}

impl Config {
    /// Reads all sources. Fails with everything that is wrong in any of them, and with what `validate` finds.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let mut layers = Layers::new(sources);
        layers.lay_file(sources);
        layers.lay_plain_names(sources);
        layers.lay_variables(sources);
        layers.lay_flags(&sources.flags);
        layers.finish()
    }
}

impl Layers {
    /// The compiled-in defaults with the platform's data folder.
    fn new(sources: &Sources) -> Self {
        let mut tree: Value = toml::from_str(DEFAULTS).expect("a test reads the compiled-in file");
        let folder = data_folder(sources).unwrap_or_default();
        put(
            &mut tree,
            &["data".to_owned(), "path".to_owned()],
            Value::String(folder),
        );
        Self {
            tree,
            origins: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    fn lay_file(&mut self, sources: &Sources) {
        let Some(path) = sources
            .file
            .clone()
            .or_else(|| sources.variable("GREENROOM_CONFIG").map(PathBuf::from))
        else {
            return;
        };
        let origin = path.display().to_string();
        match read_file(&path) {
            Ok(sections) => {
                for setting in settings_of(sections, &origin) {
                    self.lay(setting);
                }
            }
            Err(reason) => self.refuse("--config", Some(&origin), reason),
        }
    }

    /// The names that programs and people used before Greenroom had its own.
    fn lay_plain_names(&mut self, sources: &Sources) {
        let secure = sources
            .variable("LETTA_SERVER_SECURE")
            .map(|value| value.to_string_lossy().to_lowercase());
        let names = [
            ("GREENROOM_DATA", ["data", "path"]),
            ("LETTA_SERVER_PASSWORD", ["server", "password"]),
            ("LETTA_ENCRYPTION_KEY", ["data", "encryption_key"]),
        ];
        for (name, path) in names {
            let off = name == "LETTA_SERVER_PASSWORD" && secure.as_deref() == Some("false");
            if let Some(value) = sources.variable(name).filter(|_| !off) {
                self.lay_variable(name, path.map(str::to_owned).to_vec(), value);
            }
        }
        let has_password = self.tree["server"]["password"].is_string()
            || sources.variable("GREENROOM__SERVER__PASSWORD").is_some();
        if secure.as_deref() == Some("true") && !has_password {
            let reason = "LETTA_SERVER_SECURE asks for a password and none is set";
            self.refuse("server.password", None, reason);
        }
    }

    /// `GREENROOM__SECTION__OPTION`.
    fn lay_variables(&mut self, sources: &Sources) {
        for (name, value) in &sources.environment {
            if let Some(path) = name.strip_prefix("GREENROOM__") {
                self.lay_variable(
                    name,
                    path.to_lowercase().split("__").map(str::to_owned).collect(),
                    value,
                );
            }
        }
    }

    fn lay_variable(&mut self, name: &str, path: Vec<String>, value: &OsString) {
        let Some(text) = value.to_str() else {
            return self.refuse(&path.join("."), Some(name), "is not UTF-8");
        };
        let literal = toml::from_str::<Value>(&format!("value = {text}"))
            .ok()
            .and_then(|mut parsed| parsed.get_mut("value").map(Value::take));
        let readings = std::iter::once(Value::String(text.to_owned()))
            .chain(literal)
            .collect();
        self.lay(Setting {
            path,
            readings,
            origin: name.to_owned(),
        });
    }

    fn lay_flags(&mut self, flags: &Flags) {
        let data = flags.data.as_ref().map(|path| path.as_os_str().to_owned());
        let listen = flags.listen.clone().map(OsString::from);
        for (flag, path, value) in [
            ("--data", ["data", "path"], data),
            ("--listen", ["server", "listen"], listen),
        ] {
            if let Some(value) = value {
                self.lay_variable(flag, path.map(str::to_owned).to_vec(), &value);
            }
        }
    }

    /// Tries one setting on what the earlier ones gave, so that each wrong one is found and named, not only the first.
    fn lay(&mut self, setting: Setting) {
        let Setting {
            path,
            readings,
            origin,
        } = setting;
        let option = path.join(".");
        let mut failure = None;
        for reading in readings {
            let mut tree = self.tree.clone();
            put(&mut tree, &path, reading.clone());
            match serde_json::from_value::<Config>(tree.clone()) {
                Ok(_) => {
                    self.tree = tree;
                    self.origins.insert(option, origin);
                    return;
                }
                Err(error) => failure = Some(problem(&option, &reading, &origin, &error)),
            }
        }
        self.problems.extend(failure);
    }

    fn refuse(&mut self, option: &str, origin: Option<&str>, reason: impl Into<String>) {
        self.problems.push(Problem {
            option: option.to_owned(),
            value: None,
            origin: origin.map(str::to_owned),
            reason: reason.into(),
        });
    }

    /// The configuration, if nothing is wrong with any setting or with the whole.
    fn finish(mut self) -> Result<Config, Problems> {
        let config: Config = serde_json::from_value(self.tree.take())
            .expect("every setting was tried before it was kept");
        let found = config.validate();
        self.problems
            .extend(found.into_iter().map(|problem| Problem {
                origin: self.origins.get(&problem.option).cloned(),
                ..problem
            }));
        if config.data.path.as_os_str().is_empty() {
            let reason = "this machine names no home folder; say where the data goes with --data";
            self.refuse("data.path", None, reason);
        }
        if self.problems.is_empty() {
            Ok(config)
        } else {
            Err(Problems(self.problems))
        }
    }
}

fn problem(option: &str, value: &Value, origin: &str, error: &serde_json::Error) -> Problem {
    let reason = error.to_string();
    // A misspelt option may hold a secret, and its value is not what is wrong.
    let misnamed = reason.starts_with("unknown field");
    let secret = option.starts_with("providers")
        || ["password", "key"].iter().any(|word| option.contains(word));
    let shown = !misnamed && !secret && !value.is_object() && !value.is_array();
    Problem {
        option: option.to_owned(),
        value: shown.then(|| value.to_string()),
        origin: Some(origin.to_owned()),
        reason: without_value(reason),
    }
}

/// `invalid type: string "x", expected a boolean` repeats a value that is shown elsewhere, or must not be.
fn without_value(reason: String) -> String {
    match reason.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid") => format!("expected {expected}"),
        _ => reason,
    }
}

fn read_file(path: &Path) -> Result<Map<String, Value>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    toml::from_str(&text).map_err(|error| format!("is not TOML: {error}"))
}

/// The options of a file, two levels deep: what an option holds is its own affair.
fn settings_of(sections: Map<String, Value>, origin: &str) -> Vec<Setting> {
    let setting = |path: Vec<String>, value| Setting {
        path,
        readings: vec![value],
        origin: origin.to_owned(),
    };
    let mut settings = Vec::new();
    for (section, content) in sections {
        match content {
            Value::Object(options) => settings.extend(
                options
                    .into_iter()
                    .map(|(option, value)| setting(vec![section.clone(), option], value)),
            ),
            value => settings.push(setting(vec![section], value)),
        }
    }
    settings
}

/// Sets what is at the path; tables are merged, everything else is replaced.
fn put(tree: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        return merge(tree, value);
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    if let Value::Object(table) = tree {
        put(
            table.entry(first.clone()).or_insert(Value::Null),
            rest,
            value,
        );
    }
}

fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                merge(old.entry(name).or_insert(Value::Null), value);
            }
        }
        (old, new) => *old = new,
    }
}

/// Where this platform keeps the data of programs; `None` without a home folder.
fn data_folder(sources: &Sources) -> Option<String> {
    let folder = |name: &str| {
        sources
            .variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = if cfg!(target_os = "macos") {
        folder("HOME")?.join("Library/Application Support")
    } else {
        folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")))?
    };
    base.join("greenroom").into_os_string().into_string().ok()
}
