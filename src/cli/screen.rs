//! Writing for people and for pipes: what was asked for goes to standard output, everything about it to standard error.

use super::{CliError, cannot};
use std::io::{self, ErrorKind, IsTerminal, Write};

/// Writes to standard output at once. A reader that has seen enough (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(cannot("write the output")(error))
        }
        _ => Ok(()),
    }
}

/// A line on standard error. Where that is closed there is nobody left to tell.
pub(super) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A piece of an aside on standard error, dim where that is a terminal.
pub(super) fn aside(text: &str) {
    let mut err = io::stderr().lock();
    let dim = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _ = if dim {
        write!(err, "\x1b[2m{text}\x1b[0m")
    } else {
        write!(err, "{text}")
    };
    let _ = err.flush();
}

/// Without the control characters by which a text from elsewhere could steer the terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\r\n\tc\u{9b}"), "a[2Jb\n\tc");
    }
}
