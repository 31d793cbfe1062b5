//! A Python source as far as it says what a tool takes: its last top-level function, and its Pydantic models.

use super::annotation::{Reader, last_name};
use super::docstring::Docstring;
use super::{BadSource, object};
use ruff_python_ast::{Expr, Stmt, StmtClassDef, StmtFunctionDef};
use ruff_text_size::Ranged;
use serde_json::{Map, Value};

/// Filled in by the runner, never by a model.
const INJECTED: [&str; 3] = ["self", "agent_state", "agent_id"];

pub(super) struct Module<'a> {
    pub(super) source: &'a str,
    body: Vec<Stmt>,
}

impl<'a> Module<'a> {
    pub(super) fn parse(source: &'a str) -> Result<Self, BadSource> {
        match ruff_python_parser::parse_module(source) {
            Ok(parsed) => Ok(Self {
                source,
                body: parsed.into_syntax().body.into_iter().collect(),
            }),
            Err(error) => {
                let before = &source[..usize::from(error.location.start()).min(source.len())];
                let line = before.matches('\n').count() + 1;
                Err(BadSource::new(format!(
                    "the source cannot be parsed: line {line}: {}",
                    error.error
                )))
            }
        }
    }

    /// The last function at the top level, asynchronous ones included.
    pub(super) fn tool(&self) -> Result<Function<'_>, BadSource> {
        let functions = self.body.iter().filter_map(|statement| match statement {
            Stmt::FunctionDef(function) => Some(function),
            _ => None,
        });
        let function = functions
            .last()
            .ok_or_else(|| BadSource::new("the source has no function at its top level"))?;
        let docstring = docstring(&function.body).map(|text| Docstring::read(&text));
        Ok(Function {
            module: self,
            function,
            docstring,
        })
    }

    /// The schema of a Pydantic model that the source defines; `None` when it defines no class of that name.
    ///
    /// # Errors
    /// A field that has no schema or no description; a model within itself.
    pub(super) fn model(&self, name: &str, within: &[&str]) -> Result<Option<Value>, BadSource> {
        let Some(class) = self.class(name) else {
            return Ok(None);
        };
        if within.contains(&name) {
            return Err(BadSource::new(format!(
                "the model {name} holds itself: a schema about itself cannot be shown to a model"
            )));
        }
        let within: Vec<&str> = within.iter().copied().chain([name]).collect();
        let mut properties = Map::new();
        let mut required = Vec::new();
        self.fields(class, &within, &mut properties, &mut required)?;
        Ok(Some(object(properties, required)))
    }

    fn class(&self, name: &str) -> Option<&StmtClassDef> {
        self.body
            .iter()
            .rev()
            .find_map(|statement| match statement {
                Stmt::ClassDef(class) if class.name.as_str() == name => Some(class),
                _ => None,
            })
    }

    /// The fields of a model, those of its bases first.
    fn fields(
        &self,
        class: &StmtClassDef,
        within: &[&str],
        properties: &mut Map<String, Value>,
        required: &mut Vec<String>,
    ) -> Result<(), BadSource> {
        let bases = class.arguments.iter().flat_map(|list| list.args.iter());
        for base in bases.filter_map(last_name) {
            if let Some(base) = self.class(base).filter(|base| base.name != class.name)
                && within.len() < 32
            {
                let within: Vec<&str> =
                    within.iter().copied().chain([base.name.as_str()]).collect();
                self.fields(base, &within, properties, required)?;
            }
        }
        for statement in &class.body {
            let Stmt::AnnAssign(field) = statement else {
                continue;
            };
            let Expr::Name(name) = &*field.target else {
                continue;
            };
            let name = name.id.as_str();
            if is_of_the_class(&field.annotation) || name == "model_config" {
                continue;
            }
            let whose = format!("field '{name}' of {}", class.name);
            let reader = Reader {
                module: self,
                whose: &whose,
                within,
            };
            let typed = reader.read(&field.annotation)?;
            let description = field
                .value
                .as_deref()
                .and_then(described)
                .or_else(|| annotated(&field.annotation))
                .ok_or_else(|| {
                    BadSource::new(format!(
                        "{whose}: it has no description (Field(description=…))"
                    ))
                })?;
            let mut schema = typed.schema;
            schema["description"] = Value::from(description);
            properties.insert(name.to_owned(), schema);
            required.retain(|other| other != name);
            let has_default = field.value.as_deref().is_some_and(is_default);
            if !has_default && !typed.optional {
                required.push(name.to_owned());
            }
        }
        Ok(())
    }
}

/// `ClassVar` or `ClassVar[T]`: no field of the model.
fn is_of_the_class(annotation: &Expr) -> bool {
    let name = match annotation {
        Expr::Subscript(generic) => last_name(&generic.value),
        plain => last_name(plain),
    };
    name == Some("ClassVar")
}

/// The function that is the tool.
pub(super) struct Function<'a> {
    module: &'a Module<'a>,
    function: &'a StmtFunctionDef,
    docstring: Option<Docstring>,
}

impl Function<'_> {
    pub(super) fn name(&self) -> &str {
        self.function.name.as_str()
    }

    /// What the docstring says of the whole, or that there is none.
    pub(super) fn description(&self) -> String {
        let said = self.docstring.as_ref().map(|said| said.description.clone());
        said.filter(|said| !said.is_empty())
            .unwrap_or_else(|| format!("The {} tool", self.name()))
    }

    /// Description and parameters from docstring and annotations.
    pub(super) fn described(&self) -> Result<(String, Value), BadSource> {
        let name = self.name();
        let docstring = self
            .docstring
            .as_ref()
            .ok_or_else(|| BadSource::new(format!("the function {name} has no docstring")))?;
        let list = &self.function.parameters;
        if let Some(rest) = list.vararg.as_ref().or(list.kwarg.as_ref()) {
            return Err(BadSource::new(format!(
                "parameter '{}': a model cannot be told what *args and **kwargs take; name each parameter",
                rest.name
            )));
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        let parameters = list
            .posonlyargs
            .iter()
            .chain(&list.args)
            .chain(&list.kwonlyargs);
        for parameter in parameters {
            let name = parameter.parameter.name.as_str();
            if INJECTED.contains(&name) {
                continue;
            }
            let whose = format!("parameter '{name}'");
            let annotation = parameter
                .parameter
                .annotation
                .as_deref()
                .ok_or_else(|| BadSource::new(format!("{whose}: it has no type annotation")))?;
            let reader = Reader {
                module: self.module,
                whose: &whose,
                within: &[],
            };
            let typed = reader.read(annotation)?;
            let description = docstring.parameters.get(name).ok_or_else(|| {
                BadSource::new(format!("{whose}: the docstring says nothing of it"))
            })?;
            let mut schema = typed.schema;
            schema["description"] = Value::from(description.as_str());
            properties.insert(name.to_owned(), schema);
            if parameter.default.is_none() && !typed.optional {
                required.push(name.to_owned());
            }
        }
        Ok((self.description(), object(properties, required)))
    }
}

/// The text that a body begins with.
fn docstring(body: &[Stmt]) -> Option<String> {
    match body.first()? {
        Stmt::Expr(first) => match &*first.value {
            Expr::StringLiteral(text) => Some(text.value.to_str().to_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// The description in `Field(description="…")`.
fn described(value: &Expr) -> Option<String> {
    let Expr::Call(call) = value else { return None };
    let mut keywords = call.arguments.keywords.iter();
    let said = keywords.find(|keyword| {
        let name = keyword.arg.as_ref();
        name.is_some_and(|name| name.as_str() == "description")
    })?;
    match &said.value {
        Expr::StringLiteral(text) => Some(text.value.to_str().to_owned()),
        _ => None,
    }
}

/// The description in `Annotated[T, Field(description="…")]`.
fn annotated(annotation: &Expr) -> Option<String> {
    let Expr::Subscript(generic) = annotation else {
        return None;
    };
    match (&*generic.slice, last_name(&generic.value)) {
        (Expr::Tuple(members), Some("Annotated")) => members.elts.iter().find_map(described),
        _ => None,
    }
}

/// Whether the value of a field gives it a default: `Field(...)` and `Field(description=…)` do not.
fn is_default(value: &Expr) -> bool {
    let Expr::Call(call) = value else {
        return !value.is_ellipsis_literal_expr();
    };
    if last_name(&call.func) != Some("Field") {
        return true;
    }
    let given = |name: &str| {
        let mut keywords = call.arguments.keywords.iter();
        keywords.find(|keyword| keyword.arg.as_ref().is_some_and(|arg| arg.as_str() == name))
    };
    if given("default_factory").is_some() {
        return true;
    }
    let default = given("default").map(|keyword| &keyword.value);
    let default = default.or_else(|| call.arguments.args.first());
    default.is_some_and(|default| !default.is_ellipsis_literal_expr())
}

pub(super) fn text_of<'a>(source: &'a str, node: &impl Ranged) -> &'a str {
    source.get(node.range().to_std_range()).unwrap_or("?")
}
