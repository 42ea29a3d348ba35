//! Makes a failing text short.

use super::Statement;

impl Statement {
    /// A shorter text that still fails: pieces are left out, and strange gaps become spaces, for as long as `fails` says so.
    /// It is asked at most `questions` times.
    #[must_use]
    pub fn shrink(&self, questions: usize, mut fails: impl FnMut(&Statement) -> bool) -> Statement {
        let mut best = self.clone();
        let mut left = questions;
        let mut ask = |candidate: &Statement| {
            let asked = left > 0;
            left = left.saturating_sub(1);
            asked && fails(candidate)
        };
        let mut size = best.tokens.len().div_ceil(2).max(1);
        loop {
            let before = best.tokens.len();
            let mut at = 0;
            while at < best.tokens.len() {
                let mut candidate = best.clone();
                candidate.tokens.drain(at..(at + size).min(best.tokens.len()));
                if !candidate.tokens.is_empty() && ask(&candidate) {
                    best = candidate;
                } else {
                    at += size;
                }
            }
            if size == 1 && best.tokens.len() == before {
                break;
            }
            size = size.div_ceil(2);
        }
        for at in 0..best.tokens.len() {
            let mut candidate = best.clone();
            candidate.tokens[at].gap = if at == 0 { "" } else { " " }.into();
            if candidate != best && ask(&candidate) {
                best = candidate;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use crate::Generator;

    #[test]
    fn what_remains_is_what_fails() {
        let mut generator = Generator::new(7, false);
        let mut seen = 0;
        for _ in 0..500 {
            for statement in generator.script(true) {
                let fails = |statement: &crate::Statement| {
                    statement.tokens.iter().any(|token| token.text.eq_ignore_ascii_case("where"))
                };
                if fails(&statement) {
                    seen += 1;
                    assert!(statement.shrink(10_000, fails).text().eq_ignore_ascii_case("where"));
                }
            }
        }
        assert!(seen > 50, "{seen}");
    }
}
