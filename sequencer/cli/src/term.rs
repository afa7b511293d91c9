//! What goes to the terminal: results on stdout, everything else on stderr, colour only
//! where a person reads.

use std::io::{IsTerminal, Write};

/// How to talk.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    json: bool,
    color: bool,
}

impl Term {
    /// JSON for programs, words for people.
    pub fn new(json: bool) -> Self {
        let color = std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { json, color }
    }

    /// Whether results are JSON.
    pub const fn json(self) -> bool {
        self.json
    }

    /// A result line. A closed pipe is the reader's right.
    pub fn line(self, text: impl std::fmt::Display) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// A result: the value for programs, the text for people.
    pub fn result(self, value: &serde_json::Value, text: impl FnOnce() -> String) {
        if self.json {
            self.line(value);
        } else {
            self.line(text());
        }
    }

    /// A remark for people, on stderr.
    pub fn note(self, text: impl std::fmt::Display) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Whether a person watches stderr.
    pub fn watched(self) -> bool {
        std::io::stderr().is_terminal() && !self.json
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Headings.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Good.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Bad.
    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Less important.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// The first digits of a long hash.
pub fn short(hash: impl std::fmt::Display) -> String {
    hash.to_string().chars().take(12).collect()
}
