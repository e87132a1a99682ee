//! What was found, for people and for programs.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It could not be told, and why.
    Unknown,
    /// A run works, but slowly, or not on everything.
    Warn,
    /// A run does not work.
    Fail,
}

/// One check, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// Two words at most.
    pub(super) check: &'static str,
    pub(super) found: String,
    /// Commands that mend it, to be run as root, each as it stands.
    pub(super) mend: Vec<String>,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Host,
    Interface(String),
    /// A run, at that address.
    Plaintap(String),
}

/// All that was found, in the order in which it is shown.
#[derive(Debug, Default)]
pub(super) struct Report {
    groups: Vec<(Subject, Vec<Finding>)>,
}

impl Finding {
    pub(super) fn new(level: Level, check: &'static str, found: impl Into<String>) -> Self {
        Self { level, check, found: found.into(), mend: Vec::new() }
    }

    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(Level::Ok, check, found)
    }

    pub(super) fn warn(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(Level::Warn, check, found)
    }

    pub(super) fn fail(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(Level::Fail, check, found)
    }

    pub(super) fn unknown(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(Level::Unknown, check, found)
    }

    /// Adds a command that mends it.
    pub(super) fn mend(mut self, command: impl Into<String>) -> Self {
        self.mend.push(command.into());
        self
    }
}

impl Report {
    /// Adds what was found of `subject`.
    pub(super) fn add(&mut self, subject: Subject, findings: Vec<Finding>) {
        self.groups.push((subject, findings));
    }

    /// How many checks came to `level`.
    pub(super) fn count(&self, level: Level) -> usize {
        self.groups.iter().flat_map(|(_, findings)| findings).filter(|finding| finding.level == level).count()
    }

    /// A JSON object a line: one for each check, the counts last (schema `plaintap.doctor/1`).
    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            schema: &'static str,
            group: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            interface: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            address: Option<&'a str>,
            check: String,
            level: Level,
            found: &'a str,
            mend: &'a [String],
        }
        #[derive(Serialize)]
        struct Counts {
            schema: &'static str,
            group: &'static str,
            ok: usize,
            warn: usize,
            fail: usize,
            unknown: usize,
        }
        let mut text = String::new();
        for (subject, findings) in &self.groups {
            let (group, interface, address) = match subject {
                Subject::Host => ("host", None, None),
                Subject::Interface(name) => ("interface", Some(name.as_str()), None),
                Subject::Plaintap(address) => ("plaintap", None, Some(address.as_str())),
            };
            for Finding { level, check, found, mend } in findings {
                let check = check.to_lowercase().replace(' ', "_");
                let line = Line { schema: SCHEMA, group, interface, address, check, level: *level, found, mend };
                text += &serde_json::to_string(&line)?;
                text.push('\n');
            }
        }
        let [ok, warn, fail, unknown] = self.counts();
        text += &serde_json::to_string(&Counts { schema: SCHEMA, group: "summary", ok, warn, fail, unknown })?;
        text.push('\n');
        Ok(text)
    }

    fn counts(&self) -> [usize; 4] {
        [Level::Ok, Level::Warn, Level::Fail, Level::Unknown].map(|level| self.count(level))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.groups.iter().flat_map(|(_, findings)| findings).map(|finding| finding.check.len());
        let width = checks.max().unwrap_or(0);
        for (subject, findings) in &self.groups {
            match subject {
                Subject::Host => writeln!(f, "host")?,
                Subject::Interface(name) => writeln!(f, "interface {}", plain(name))?,
                Subject::Plaintap(address) => writeln!(f, "plaintap at {address}")?,
            }
            for Finding { level, check, found, mend } in findings {
                writeln!(f, "  {:<4}  {check:<width$}  {}", level.to_string(), plain(found))?;
                for command in mend {
                    writeln!(f, "        {:width$}  {}", "", plain(command))?;
                }
            }
        }
        let [ok, warn, fail, unknown] = self.counts();
        writeln!(f, "{ok} ok, {warn} warn, {fail} FAIL, {unknown} ?")
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Unknown => "?",
        })
    }
}

/// What others wrote, without what would move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

const SCHEMA: &str = "plaintap.doctor/1";
