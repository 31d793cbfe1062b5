//! Skills that a client has at hand: files on its side that say how something is done. The model is told of them for one
//! run, and nothing of them is stored with the agent.

use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSkill {
    pub name: String,
    pub description: String,
    /// A path on the client's side.
    pub location: String,
}

const ABOUT: &str = "Skills that the client can show you: files that say how a thing is done, in their folders. When one \
fits what is asked, read its file with the client's tools before you begin, and go by it. The files are not in this text.";

/// What is appended to the system text of a request, or nothing for no skills. Equal skills give equal text.
pub fn section(skills: &[ClientSkill]) -> String {
    if skills.is_empty() {
        return String::new();
    }
    let mut root = Folder::default();
    for skill in skills {
        let (folders, file) = match skill.location.rsplit_once('/') {
            Some((folders, file)) => (folders, file),
            None => ("", skill.location.as_str()),
        };
        let mut folder = &mut root;
        for name in folders.split('/').filter(|name| !name.is_empty()) {
            folder = folder.folders.entry(name).or_default();
        }
        folder.files.push((file, skill));
    }
    let start = if skills.iter().all(|skill| skill.location.starts_with('/')) {
        "/"
    } else {
        ""
    };
    let mut text = format!("\n\n<available_skills>\n{ABOUT}\n\n");
    root.write(start.to_owned(), 0, &mut text);
    text.push_str("</available_skills>");
    text
}

#[derive(Default)]
struct Folder<'a> {
    folders: BTreeMap<&'a str, Folder<'a>>,
    files: Vec<(&'a str, &'a ClientSkill)>,
}

impl Folder<'_> {
    /// A folder that holds one other folder and nothing else is written on one line with it.
    fn write(&self, path: String, depth: usize, text: &mut String) {
        if let (Some((name, only)), 1, true) = (
            self.folders.first_key_value(),
            self.folders.len(),
            self.files.is_empty(),
        ) {
            return only.write(format!("{path}{name}/"), depth, text);
        }
        let depth = if path.is_empty() {
            depth
        } else {
            line(text, depth, &path);
            depth + 1
        };
        for (name, folder) in &self.folders {
            folder.write(format!("{name}/"), depth, text);
        }
        for (file, skill) in &self.files {
            let ClientSkill {
                name, description, ..
            } = skill;
            line(text, depth, &format!("{file} ({name}): {description}"));
        }
    }
}

/// Line breaks in what a client wrote would break the tree.
fn line(text: &mut String, depth: usize, said: &str) {
    let said: Vec<&str> = said.split_whitespace().collect();
    let _ = writeln!(text, "{:1$}{2}", "", depth * 2, said.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skill(name: &str, location: &str) -> ClientSkill {
        ClientSkill {
            name: name.to_owned(),
            description: format!("does\n{name}"),
            location: location.to_owned(),
        }
    }

    #[test]
    fn skills_stand_in_a_tree_of_their_folders() {
        let skills = [
            skill("pdf", "/home/ada/.skills/docs/pdf/SKILL.md"),
            skill("tea", "/home/ada/.skills/tea.md"),
            skill("word", "/home/ada/.skills/docs/word/SKILL.md"),
        ];
        let section = section(&skills);
        let (_, tree) = section.split_once(&format!("{ABOUT}\n\n")).unwrap();
        let expected = "/home/ada/.skills/\n  docs/\n    pdf/\n      SKILL.md (pdf): does pdf\n    word/\n      \
            SKILL.md (word): does word\n  tea.md (tea): does tea\n</available_skills>";
        assert_eq!(tree, expected);
        assert!(section.starts_with("\n\n<available_skills>\n"));
    }

    #[test]
    fn a_skill_may_be_anywhere_and_none_leaves_no_trace() {
        assert_eq!(section(&[]), "");
        let section = section(&[skill("a", "SKILL.md"), skill("b", "")]);
        assert!(section.contains("\nSKILL.md (a): does a\n"), "{section}");
        assert!(section.contains("(b): does b"), "{section}");
    }
}
