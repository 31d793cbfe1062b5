//! What a docstring says: the description of the function, and of each parameter. Google's style, `:param:` fields and
//! NumPy's sections are understood.

use std::collections::BTreeMap;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Docstring {
    /// Without the sections on parameters, results and errors.
    pub(super) description: String,
    pub(super) parameters: BTreeMap<String, String>,
}

/// What a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Description,
    Parameters,
    /// Kept at the end of the description.
    Examples,
    /// Results, errors: not shown.
    Other,
}

const PARAMETERS: [&str; 5] = [
    "args",
    "arguments",
    "parameters",
    "params",
    "other parameters",
];
const EXAMPLES: [&str; 2] = ["example", "examples"];
const OTHERS: [&str; 12] = [
    "return",
    "returns",
    "yield",
    "yields",
    "raise",
    "raises",
    "exceptions",
    "warns",
    "attributes",
    "note",
    "notes",
    "see also",
];

impl Docstring {
    /// Reads a docstring as it stands in the source, its indentation included.
    pub(super) fn read(text: &str) -> Self {
        let lines = dedented(text);
        let mut read = Self::default();
        let mut section = Section::Description;
        let (mut description, mut examples) = (Vec::new(), Vec::new());
        let mut entries = Entries::default();
        let mut place = 0;
        while let Some(line) = lines.get(place) {
            let underlined = lines
                .get(place + 1)
                .is_some_and(|next| is_underline(next) && !line.trim().is_empty());
            if let Some(found) = heading(line, underlined) {
                section = found;
                if section == Section::Examples {
                    examples.push(line.clone());
                }
                entries.end(&mut read.parameters);
                entries.numpy = underlined;
                place += 1 + usize::from(underlined);
                continue;
            }
            if let Some(field) = line
                .trim_start()
                .strip_prefix(':')
                .filter(|_| section != Section::Examples)
                && let Some((head, said)) = field.split_once(':')
            {
                let mut words = head.split_whitespace();
                let kind = words.next().unwrap_or_default();
                if ["param", "parameter", "arg", "argument", "key", "keyword"].contains(&kind) {
                    entries.end(&mut read.parameters);
                    if let Some(name) = words.next_back() {
                        entries.begin(name, said, indent(line));
                    }
                    section = Section::Parameters;
                    place += 1;
                    continue;
                }
                if [
                    "return", "returns", "raise", "raises", "rtype", "type", "yields",
                ]
                .contains(&kind)
                {
                    entries.end(&mut read.parameters);
                    section = Section::Other;
                    place += 1;
                    continue;
                }
            }
            // A section ends where a line stands as far to the left as its heading.
            if section != Section::Description
                && !entries.numpy
                && !line.trim().is_empty()
                && indent(line) == 0
            {
                entries.end(&mut read.parameters);
                section = Section::Description;
            }
            match section {
                Section::Description => description.push(line.clone()),
                Section::Examples => examples.push(line.clone()),
                Section::Parameters => entries.line(line, &mut read.parameters),
                Section::Other => (),
            }
            place += 1;
        }
        entries.end(&mut read.parameters);
        let mut parts = vec![joined(&description)];
        parts.push(joined(&examples));
        parts.retain(|part| !part.is_empty());
        read.description = parts.join("\n\n");
        read
    }
}

/// The entries of a section on parameters.
#[derive(Default)]
struct Entries {
    /// NumPy's: the name stands alone, what is said of it on the deeper lines below.
    numpy: bool,
    /// Name, what was said of it, and how far its first line is indented.
    open: Option<(String, Vec<String>, usize)>,
}

impl Entries {
    fn begin(&mut self, name: &str, said: &str, indent: usize) {
        let name = name.trim_start_matches('*').trim_matches('`').to_owned();
        let said = said.trim();
        let said = if said.is_empty() {
            Vec::new()
        } else {
            vec![said.to_owned()]
        };
        self.open = Some((name, said, indent));
    }

    fn end(&mut self, parameters: &mut BTreeMap<String, String>) {
        if let Some((name, said, _)) = self.open.take() {
            parameters.entry(name).or_insert_with(|| said.join("\n"));
        }
    }

    fn line(&mut self, line: &str, parameters: &mut BTreeMap<String, String>) {
        let text = line.trim();
        if text.is_empty() {
            return;
        }
        if let Some((_, said, indent_of)) = &mut self.open
            && indent(line) > *indent_of
        {
            said.push(text.to_owned());
            return;
        }
        self.end(parameters);
        if self.numpy {
            let names = text.split(" :").next().unwrap_or(text);
            let name = names.split(',').next().unwrap_or(names).trim();
            self.begin(name, "", indent(line));
        } else if let Some((head, said)) = entry(text) {
            self.begin(head, said, indent(line));
        }
    }
}

/// `name (type): text` or `name: text`; the colon is the first one outside brackets.
fn entry(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_i32;
    let colon = text.char_indices().find(|(_, character)| {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => (),
        }
        *character == ':' && depth <= 0
    });
    let (at, _) = colon?;
    let (head, said) = (&text[..at], &text[at + 1..]);
    let name = head.split(['(', ' ', '[']).next().unwrap_or(head);
    let is_name = |character: char| character.is_alphanumeric() || "_*`".contains(character);
    (!name.is_empty() && name.chars().all(is_name)).then_some((name, said))
}

fn heading(line: &str, underlined: bool) -> Option<Section> {
    if indent(line) > 0 {
        return None;
    }
    let text = line.trim();
    let word = match text.strip_suffix(':') {
        Some(word) => word,
        None if underlined => text,
        None => return None,
    };
    let word = word.to_lowercase();
    let is = |words: &[&str]| words.contains(&word.as_str());
    if is(&PARAMETERS) {
        Some(Section::Parameters)
    } else if is(&EXAMPLES) {
        Some(Section::Examples)
    } else if is(&OTHERS) {
        Some(Section::Other)
    } else {
        None
    }
}

fn is_underline(line: &str) -> bool {
    let line = line.trim();
    line.len() >= 3 && line.chars().all(|character| character == '-')
}

/// The lines without what they are all indented by; the first one stands behind the quotes.
fn dedented(text: &str) -> Vec<String> {
    let lines: Vec<String> = text.lines().map(expanded).collect();
    let margin = lines
        .iter()
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .map(|line| indent(line))
        .min()
        .unwrap_or(0);
    let cut = |(place, line): (usize, &String)| {
        let from = if place == 0 {
            line.trim_start()
        } else {
            line.get(margin..).unwrap_or_default()
        };
        from.trim_end().to_owned()
    };
    lines.iter().enumerate().map(cut).collect()
}

/// Tabs at the start of a line go to multiples of eight columns.
fn expanded(line: &str) -> String {
    let text = line.trim_start_matches([' ', '\t']);
    let mut columns = 0;
    for character in line[..line.len() - text.len()].chars() {
        columns = if character == '\t' {
            (columns / 8 + 1) * 8
        } else {
            columns + 1
        };
    }
    format!("{:columns$}{text}", "")
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Lines as a text, without empty ones at both ends and with one empty line at most between others.
fn joined(lines: &[String]) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for line in lines {
        let empty = line.trim().is_empty();
        if !empty || kept.last().is_some_and(|last| !last.is_empty()) {
            kept.push(if empty { "" } else { line });
        }
    }
    kept.join("\n").trim_end().to_owned()
}
