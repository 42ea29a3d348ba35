//! pool_passwd, as a configuration names it. Nothing of what stands in it is ever shown.

use std::io::ErrorKind;

use pgconvoy_core::auth::passwd::PasswordFile;

use super::diagnostic::{Diagnostic, Location, Severity};
use super::{Config, Place};

impl Config {
    /// Reads pool_passwd, and notes what is wrong with its lines; a file that does not exist is an empty one.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn passwords(&self) -> Result<(PasswordFile, Vec<Diagnostic>), Diagnostic> {
        let Some(path) = self.pool_passwd_path() else { return Ok(Default::default()) };
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            // pgpool makes an empty one. Who names a file has one in mind.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let missing = |place: &Place| {
                    let message = format!("{} does not exist: no user has a password", path.display());
                    Diagnostic::at(Severity::Warning, place.clone(), message).of("pool_passwd")
                };
                let named = self.values.setting("pool_passwd", None).map(|setting| missing(&setting.place));
                return Ok((PasswordFile::default(), named.into_iter().collect()));
            }
            Err(error) => {
                let message = format!("cannot read pool_passwd {}: {error}", path.display());
                return Err(Diagnostic::about(Severity::Error, &path, message));
            }
        };
        let (passwords, problems) = PasswordFile::parse(&content);
        let finding = |problem: pgconvoy_core::auth::passwd::LineProblem| Diagnostic {
            severity: Severity::Warning,
            location: Location::Line(path.clone(), problem.line),
            parameter: None,
            message: problem.what.to_string(),
            help: None,
        };
        Ok((passwords, problems.into_iter().map(finding).collect()))
    }
}
