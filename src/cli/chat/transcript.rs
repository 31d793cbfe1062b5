//! From events to what is written: where lines begin and end, what is said and what is an aside.

use super::event::Event;
use crate::cli::screen::harmless;

/// Most of a tool's return that is shown, in characters: it is for the agent, not for the person.
const RETURN_SHOWN: usize = 160;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Said(String),
    Aside(String),
}

/// What the open line holds; pieces of the same kind go on in it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Line {
    Said,
    Thought,
    Call,
}

#[derive(Debug, Default)]
pub(super) struct Transcript {
    open: Option<Line>,
}

impl Transcript {
    pub(super) fn add(&mut self, event: Event) -> Vec<Piece> {
        match event {
            Event::Said(text) => self.go_on(Line::Said, &text),
            Event::Thought(text) => self.go_on(Line::Thought, &text),
            Event::Called {
                name: Some(name),
                arguments,
            } => {
                let mut pieces = self.end();
                pieces.extend(self.go_on(Line::Call, &format!("· {name} {arguments}")));
                pieces
            }
            Event::Called {
                name: None,
                arguments,
            } => self.go_on(Line::Call, &arguments),
            Event::Returned { success, text } => self.line(&format!(
                "  {} {}",
                if success { "→" } else { "✗" },
                shortened(&text)
            )),
            Event::Stopped { reason } if reason == "end_turn" => self.end(),
            Event::Stopped { reason } => self.line(&format!("({reason})")),
            Event::Other { kind } => self.line(&format!("({kind}: this chat cannot show it)")),
            // A failure is reported as the outcome of the message.
            Event::Failed { .. } | Event::Ping { .. } | Event::Silent => Vec::new(),
        }
    }

    /// Ends the open line.
    pub(super) fn end(&mut self) -> Vec<Piece> {
        self.open
            .take()
            .map(|line| line.piece("\n"))
            .into_iter()
            .collect()
    }

    fn go_on(&mut self, line: Line, text: &str) -> Vec<Piece> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut pieces = if self.open == Some(line) {
            Vec::new()
        } else {
            self.end()
        };
        self.open = Some(line);
        pieces.push(line.piece(&harmless(text)));
        pieces
    }

    fn line(&mut self, text: &str) -> Vec<Piece> {
        let mut pieces = self.end();
        pieces.push(Piece::Aside(format!("{}\n", harmless(text))));
        pieces
    }
}

impl Line {
    fn piece(self, text: &str) -> Piece {
        match self {
            Self::Said => Piece::Said(text.to_owned()),
            Self::Thought | Self::Call => Piece::Aside(text.to_owned()),
        }
    }
}

/// In one line, and not all of it.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<&str>>().join(" ");
    match line.char_indices().nth(RETURN_SHOWN) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What standard output and standard error hold in the end.
    fn written(events: Vec<Event>) -> (String, String) {
        let mut transcript = Transcript::default();
        let mut pieces: Vec<Piece> = events
            .into_iter()
            .flat_map(|event| transcript.add(event))
            .collect();
        pieces.extend(transcript.end());
        let (mut said, mut asides) = (String::new(), String::new());
        for piece in pieces {
            match piece {
                Piece::Said(text) => said.push_str(&text),
                Piece::Aside(text) => asides.push_str(&text),
            }
        }
        (said, asides)
    }

    #[test]
    fn only_the_agents_words_are_said() {
        let call = |name: Option<&str>, arguments: &str| Event::Called {
            name: name.map(str::to_owned),
            arguments: arguments.to_owned(),
        };
        let (said, asides) = written(vec![
            Event::Ping { run: None },
            Event::Thought("hm, ".to_owned()),
            Event::Thought("a name".to_owned()),
            call(Some("memory_insert"), ""),
            call(None, "{\"a\""),
            call(None, ": 1}"),
            call(Some("conversation_search"), "{}"),
            Event::Returned {
                success: true,
                text: "a\nb".to_owned(),
            },
            Event::Returned {
                success: false,
                text: "x".repeat(200),
            },
            Event::Said("Hello ".to_owned()),
            Event::Said("Ada.".to_owned()),
            Event::Stopped {
                reason: "end_turn".to_owned(),
            },
        ]);
        assert_eq!(said, "Hello Ada.\n");
        let cut = "x".repeat(RETURN_SHOWN);
        assert_eq!(
            asides,
            format!(
                "hm, a name\n· memory_insert {{\"a\": 1}}\n· conversation_search {{}}\n  → a b\n  ✗ {cut}…\n"
            )
        );
    }

    #[test]
    fn an_answer_that_was_cut_short_says_why() {
        let (said, asides) = written(vec![
            Event::Said("Hel".to_owned()),
            Event::Stopped {
                reason: "cancelled".to_owned(),
            },
        ]);
        assert_eq!((said.as_str(), asides.as_str()), ("Hel\n", "(cancelled)\n"));
    }
}
