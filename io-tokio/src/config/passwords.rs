//! pool_passwd, as a configuration names it. Nothing of what stands in it is ever shown.

use std::io::ErrorKind;
use std::path::Path;

use pgconvoy_core::auth::passwd::{LineProblem, PasswordFile};

use super::diagnostic::{Diagnostic, Location, Severity};
use super::{Config, Place};

impl Config {
    /// Reads pool_passwd, and notes what is wrong with its lines; a file that does not exist is an empty one.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn passwords(&self) -> Result<(PasswordFile, Vec<Diagnostic>), Diagnostic> {
        let Some(path) = self.pool_passwd_path() else { return Ok(Default::default()) };
        let Some(content) = self.read_passwords(&path)? else {
            // pgpool makes an empty one. Who names a file has one in mind.
            let missing = |place: &Place| {
                let message = format!("{} does not exist: no user has a password", path.display());
                Diagnostic::at(Severity::Warning, place.clone(), message).of("pool_passwd")
            };
            let named = self.values.setting("pool_passwd", None).map(|setting| missing(&setting.place));
            return Ok((PasswordFile::default(), named.into_iter().collect()));
        };
        let (passwords, problems) = PasswordFile::parse(&content);
        Ok((passwords, problems.iter().map(|problem| finding(&path, problem, Severity::Warning)).collect()))
    }

    /// Reads pool_passwd for a running server, which has `present`. A file that was sound is not replaced by one that is
    /// gone, empty or damaged: who edits it may just be at it, and users would be locked out.
    ///
    /// # Errors
    /// What is wrong with the file, if the present passwords stay in force for it.
    pub fn passwords_after(&self, present: &PasswordFile) -> Result<(PasswordFile, Vec<Diagnostic>), Vec<Diagnostic>> {
        let Some(path) = self.pool_passwd_path() else { return Ok(Default::default()) };
        let content = self.read_passwords(&path).map_err(|finding| vec![finding])?;
        let (passwords, problems) = PasswordFile::parse(content.as_deref().unwrap_or_default());
        if problems.is_empty() && passwords.is_empty() && !present.is_empty() {
            let what = if content.is_some() { "has no passwords" } else { "does not exist" };
            let message = format!("{} {what}, and those in force would be lost", path.display());
            let help = "write pool_passwd = '' to go on without passwords";
            return Err(vec![self.about_passwords(message).help(help)]);
        }
        let refused = present.broken_lines() == 0 && passwords.broken_lines() > 0;
        let severity = |problem: &LineProblem| {
            if refused && !problem.what.is_warning() { Severity::Error } else { Severity::Warning }
        };
        let findings = problems.iter().map(|problem| finding(&path, problem, severity(problem))).collect();
        if refused { Err(findings) } else { Ok((passwords, findings)) }
    }

    /// The content of the file; none if there is no file.
    fn read_passwords(&self, path: &Path) -> Result<Option<Vec<u8>>, Diagnostic> {
        match std::fs::read(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.about_passwords(format!("cannot read pool_passwd {}: {error}", path.display()))),
        }
    }

    /// An error where the file is named, or about the configuration as a whole.
    fn about_passwords(&self, message: String) -> Diagnostic {
        match self.values.setting("pool_passwd", None) {
            Some(setting) => Diagnostic::at(Severity::Error, setting.place.clone(), message).of("pool_passwd"),
            None => Diagnostic::about(Severity::Error, &self.path, message).of("pool_passwd"),
        }
    }
}

fn finding(path: &Path, problem: &LineProblem, severity: Severity) -> Diagnostic {
    let location = Location::Line(path.to_owned(), problem.line);
    Diagnostic { severity, location, parameter: None, message: problem.what.to_string(), help: None }
}
