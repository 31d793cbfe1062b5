//! Annotations of Python as JSON schemas (tools-and-sandbox §7).

use super::BadSource;
use super::python::{Module, text_of};
use ruff_python_ast::{Expr, Number, Operator};
use serde_json::{Value, json};

/// Levels of types within each other.
const DEEPEST: usize = 32;

/// The schema of a type, and whether a value may be left out because it may be `None`.
pub(super) struct Typed {
    pub(super) schema: Value,
    pub(super) optional: bool,
}

/// Reads annotations; `whose` names the parameter or field in errors.
pub(super) struct Reader<'a> {
    pub(super) module: &'a Module<'a>,
    pub(super) whose: &'a str,
    /// Models whose fields are being read: one within itself has no schema.
    pub(super) within: &'a [&'a str],
}

impl Reader<'_> {
    pub(super) fn read(&self, annotation: &Expr) -> Result<Typed, BadSource> {
        self.typed(annotation, 0)
    }

    fn typed(&self, annotation: &Expr, depth: usize) -> Result<Typed, BadSource> {
        if depth == DEEPEST {
            return Err(self.bad("its type is nested too deeply"));
        }
        let required = |schema| Typed {
            schema,
            optional: false,
        };
        match annotation {
            Expr::StringLiteral(quoted) => {
                let text = quoted.value.to_str();
                let parsed = ruff_python_parser::parse_expression(text)
                    .map_err(|_| self.bad(&format!("'{text}' is not a type")))?;
                self.typed(parsed.expr(), depth + 1)
            }
            Expr::BinOp(union) if union.op == Operator::BitOr => {
                let mut members = Vec::new();
                flatten(annotation, &mut members, 0);
                self.union(&members, depth)
            }
            Expr::Subscript(generic) => {
                let name = last_name(&generic.value).unwrap_or_default();
                let arguments = match &*generic.slice {
                    Expr::Tuple(tuple) => tuple.elts.iter().collect(),
                    one => vec![one],
                };
                self.generic(name, &arguments, depth)
            }
            Expr::Name(_) | Expr::Attribute(_) => self
                .named(last_name(annotation).unwrap_or_default())
                .map(required),
            _ => Err(self.unknown(annotation)),
        }
    }

    fn generic(&self, name: &str, arguments: &[&Expr], depth: usize) -> Result<Typed, BadSource> {
        let required = |schema| {
            Ok(Typed {
                schema,
                optional: false,
            })
        };
        match (name, arguments) {
            ("Optional", [one]) => {
                let typed = self.typed(one, depth + 1)?;
                Ok(Typed {
                    optional: true,
                    ..typed
                })
            }
            ("Union", members) => self.union(members, depth),
            ("Annotated", [one, ..]) => self.typed(one, depth + 1),
            ("list" | "List" | "Sequence" | "Iterable", [one]) => {
                let items = self.typed(one, depth + 1)?.schema;
                required(json!({"type": "array", "items": items}))
            }
            ("tuple" | "Tuple", members) => {
                if members.iter().any(|member| member.is_ellipsis_literal_expr()) {
                    return Err(self.bad(
                        "a tuple of any length has no schema; use list[…] or name each member",
                    ));
                }
                let members: Result<Vec<Value>, BadSource> = members
                    .iter()
                    .map(|member| Ok(self.typed(member, depth + 1)?.schema))
                    .collect();
                let members = members?;
                let length = members.len();
                required(
                    json!({"type": "array", "prefixItems": members, "minItems": length, "maxItems": length}),
                )
            }
            ("Literal", members) => required(self.literal(members)?),
            ("dict" | "Dict" | "Mapping", _) => Err(self.bad(
                "a dict with types has no schema that every model takes; use dict, or a Pydantic model",
            )),
            _ => Err(self.bad(&format!("the type '{name}[…]' has no schema"))),
        }
    }

    fn union(&self, members: &[&Expr], depth: usize) -> Result<Typed, BadSource> {
        let (none, others): (Vec<&Expr>, Vec<&Expr>) =
            members.iter().partition(|member| is_none(member));
        match (none.as_slice(), others.as_slice()) {
            ([], [one]) => self.typed(one, depth + 1),
            ([_, ..], [one]) => Ok(Typed {
                optional: true,
                ..self.typed(one, depth + 1)?
            }),
            _ => Err(self.bad(
                "a union of several types has no schema; only one type, or one type and None",
            )),
        }
    }

    fn literal(&self, members: &[&Expr]) -> Result<Value, BadSource> {
        let read = |member: &&Expr| match member {
            Expr::StringLiteral(text) => Ok(Value::from(text.value.to_str())),
            Expr::BooleanLiteral(flag) => Ok(Value::from(flag.value)),
            Expr::NumberLiteral(number) => match &number.value {
                Number::Int(int) => int
                    .as_i64()
                    .map(Value::from)
                    .ok_or_else(|| self.bad("a number in Literal is too large")),
                _ => Err(self.bad("Literal takes texts, whole numbers and booleans")),
            },
            _ => Err(self.bad("Literal takes texts, whole numbers and booleans")),
        };
        let values: Vec<Value> = members.iter().map(read).collect::<Result<_, _>>()?;
        let kind = |value: &Value| match value {
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            _ => "string",
        };
        let Some(first) = values.first().map(kind) else {
            return Err(self.bad("Literal is empty"));
        };
        if values.iter().any(|value| kind(value) != first) {
            return Err(self.bad("Literal mixes values of several types"));
        }
        Ok(json!({"type": first, "enum": values}))
    }

    fn named(&self, name: &str) -> Result<Value, BadSource> {
        Ok(match name {
            "str" => json!({"type": "string"}),
            "int" => json!({"type": "integer"}),
            "float" => json!({"type": "number"}),
            "bool" => json!({"type": "boolean"}),
            "list" | "List" => json!({"type": "array", "items": {"type": "string"}}),
            "dict" | "Dict" => json!({"type": "object"}),
            name => match self.module.model(name, self.within)? {
                Some(schema) => schema,
                None => return Err(self.bad(&format!("the type '{name}' has no schema"))),
            },
        })
    }

    fn unknown(&self, annotation: &Expr) -> BadSource {
        let text = text_of(self.module.source, annotation);
        self.bad(&format!("the type '{text}' has no schema"))
    }

    fn bad(&self, reason: &str) -> BadSource {
        BadSource::new(format!("{}: {reason}", self.whose))
    }
}

fn is_none(expression: &Expr) -> bool {
    expression.is_none_literal_expr()
}

/// The members of `A | B | C`.
fn flatten<'a>(expression: &'a Expr, members: &mut Vec<&'a Expr>, depth: usize) {
    match expression {
        Expr::BinOp(union) if union.op == Operator::BitOr && depth < DEEPEST => {
            flatten(&union.left, members, depth + 1);
            flatten(&union.right, members, depth + 1);
        }
        one => members.push(one),
    }
}

/// `T` of `T` and of `typing.T`.
pub(super) fn last_name(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Name(name) => Some(name.id.as_str()),
        Expr::Attribute(attribute) => Some(attribute.attr.as_str()),
        _ => None,
    }
}
