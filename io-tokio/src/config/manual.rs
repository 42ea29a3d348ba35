//! The table of parameters for people: as a manual in Markdown, and as samples in both file formats.
//!
//! `pgconvoy parameters` prints them. Those in `conf/` are what it prints; a test compares them.

use std::fmt::Write as _;

use super::names::{Effect, Group, Index, MAX_NODES, Parameter, SetAt, all_groups};
use super::old;
use super::value::{Kind, Value};

/// Lines of the samples are no longer than this.
const WIDTH: usize = 120;

/// What the samples set, with a value for each node, or the same for all. The rest is commented out.
const EXAMPLES: &[(&str, [&str; 2])] = &[
    ("backend_hostname", ["127.0.0.1"; 2]),
    ("backend_port", ["5432", "5442"]),
    ("backend_weight", ["1"; 2]),
    ("backend_application_name", ["node0", "node1"]),
    ("sr_check_user", ["postgres"; 2]),
];

/// What a sample in pgpool.conf's syntax says first.
const CONF_HEADER: &str = "\
# pgconvoy, configured in pgpool.conf's syntax: `pgconvoy serve -f pgpool.conf`.
#
# An existing pgpool.conf works as it is: `pgconvoy check -f FILE` tells what in it has no effect. Here are the parameters
# that have one, with their values in brackets; lines that are commented out show the default. parameters.md has all, and
# pgconvoy.toml is the same sample in TOML.
#
# Numbers may carry a unit (ms, s, min, h, d; kB, MB, GB). What is marked with `restart` is read at start only; the rest
# also at a reload, for what begins after it: a session, a connection to a server, a check. The servers themselves, their
# numbers, host names and ports, take a restart; a reload that changes them says so in the log.
";

/// What a sample in TOML says first.
const TOML_HEADER: &str = "\
# pgconvoy, configured in TOML: `pgconvoy serve -f pgconvoy.toml`.
#
# The names are those of pgpool.conf; each server is a [[backend]] table whose keys lack the prefix `backend_`. Here are the
# parameters that have an effect, with their values in brackets; lines that are commented out show the default.
# parameters.md has all, and pgpool.conf is the same sample in pgpool.conf's syntax.
#
# A duration or a size is a number with its unit (\"10s\", \"1min\", \"64MB\"). What is marked with `restart` is read at start
# only; the rest also at a reload, for what begins after it: a session, a connection to a server, a check. The servers
# themselves, their numbers, host names and ports, take a restart; a reload that changes them says so in the log.
";

/// What the manual says first.
const MANUAL_HEADER: &str = "\
# The parameters of pgconvoy

They stand in pgpool.conf's syntax or in TOML; the samples are [pgpool.conf](pgpool.conf) and
[pgconvoy.toml](pgconvoy.toml). `pgconvoy check -f FILE` says what is wrong with a file, and what in it has no effect.
`pgconvoy parameters` prints this page.

Names and words may be written in any letter case, and the last assignment of a name counts. A number may carry a unit: us,
ms, s, min, h, d for times; B, kB, MB, GB, TB for sizes. `include = 'FILE'` takes in another file, named from the folder of
the one that includes it.

A new value takes hold at a *restart*, at a *reload* (SIGHUP, or `pgconvoy reload`: all of a file or, if it has an error,
nothing), or also in one *session* by `PGPOOL SET`. A reload acts on what begins after it.
";

/// The manual: all parameters, and the old names that are understood.
pub fn markdown() -> String {
    let mut page = MANUAL_HEADER.to_owned();
    for Group { title, parameters } in all_groups() {
        push(&mut page, format_args!("\n## {}\n\n", title.trim_end_matches('.')));
        page.push_str("| parameter | values | default | takes hold at | since | |\n|---|---|---|---|---|---|\n");
        for known in parameters {
            let number = if known.index == Index::Never { "" } else { "N" };
            let values = known.kind.values();
            let since = if known.since == "own" { "pgconvoy" } else { known.since };
            let row = [
                format!("`{}{number}`", known.name),
                if values.is_empty() { "text".to_owned() } else { values },
                if known.default.is_empty() { String::new() } else { format!("`{}`", default_of(known)) },
                takes_hold(known.set_at).to_owned(),
                since.to_owned(),
                known.about.to_owned() + &remark(known),
            ];
            push(&mut page, format_args!("| {} |\n", row.map(|cell| cell.replace('|', "\\|")).join(" | ")));
        }
    }
    push(
        &mut page,
        format_args!(
            "\nN is the number of a node, from 0 to {}. The parameters of health checks and `connect_timeout` also stand\n\
             without one, for the nodes that have no own value.\n\n## Names of old pgpool-II releases\n\n\
             They are understood, and `pgconvoy check` says in which lines they stand.\n\n| old | taken for |\n|---|---|\n",
            MAX_NODES - 1
        ),
    );
    for (old, new) in old::translations() {
        push(&mut page, format_args!("| {old} | {new} |\n"));
    }
    page
}

fn takes_hold(set_at: SetAt) -> &'static str {
    match set_at {
        SetAt::Init => "restart",
        SetAt::Lifted => "reload (pgpool-II: restart)",
        SetAt::Reload => "reload",
        SetAt::Bound => "restart (pgpool-II: reload)",
        SetAt::Session => "reload, session",
    }
}

/// What is to be said of the effect of a parameter.
fn remark(known: &Parameter) -> String {
    match known.effect {
        Effect::Now => String::new(),
        Effect::Later => " *No effect yet.*".to_owned(),
        Effect::Moot(why) => format!(" *No effect, because {why}.*"),
    }
}

/// The sample in pgpool.conf's syntax.
pub fn pgpool_conf() -> String {
    let mut sample = CONF_HEADER.to_owned();
    for group in all_groups() {
        section(&mut sample, &group, "", |sample, known| match known.index {
            Index::Always => setting(sample, &format!("{}0", known.name), known, 0, conf_value),
            Index::Never | Index::Optional => setting(sample, known.name, known, 0, conf_value),
        });
        let mut second = group.parameters.iter().filter(|known| known.index == Index::Always).peekable();
        if second.peek().is_some_and(|known| example(known, 1).is_some()) {
            sample.push('\n');
            for known in second.filter(|known| example(known, 1).is_some()) {
                setting(&mut sample, &format!("{}1", known.name), known, 1, conf_value);
            }
        }
    }
    sample
}

/// The sample in TOML. Tables come last in a file: that is where the nodes are.
pub fn toml() -> String {
    let mut sample = TOML_HEADER.to_owned();
    let (nodes, flat): (Vec<Group>, Vec<Group>) =
        all_groups().partition(|group| group.parameters.iter().any(|known| known.index == Index::Always));
    for group in flat {
        section(&mut sample, &group, "", |sample, known| setting(sample, known.name, known, 0, toml_value));
    }
    for group in nodes {
        let key = |known: &Parameter| known.name.trim_start_matches("backend_").to_owned();
        section(&mut sample, &group, "[[backend]]\n", |sample, known| {
            setting(sample, &key(known), known, 0, toml_value);
        });
        let mut second = group.parameters.iter().filter(|known| example(known, 1).is_some()).peekable();
        if second.peek().is_some() {
            sample.push_str("\n[[backend]]\n");
            second.for_each(|known| setting(&mut sample, &key(known), known, 1, toml_value));
        }
    }
    sample
}

/// The parameters of a group that work, behind a heading, each with a comment in front of it.
fn section(sample: &mut String, group: &Group, first: &str, one: impl Fn(&mut String, &Parameter)) {
    let mut working = group.parameters.iter().filter(|known| known.effect == Effect::Now).peekable();
    if working.peek().is_none() {
        return;
    }
    let title = format!("# -- {} ", group.title.trim_end_matches('.'));
    push(sample, format_args!("\n\n{title:-<WIDTH$}\n\n{first}"));
    for known in working {
        let restart = matches!(known.set_at, SetAt::Init | SetAt::Bound).then_some("restart");
        let node = (known.index == Index::Optional).then(|| format!("for node 0 alone: {}0", known.name));
        let values = Some(known.kind.values()).filter(|values| !values.is_empty() && known.kind.is_limited());
        let hints: Vec<String> = values.into_iter().chain(node).chain(restart.map(str::to_owned)).collect();
        let hints = if hints.is_empty() { String::new() } else { format!(" [{}]", hints.join("; ")) };
        comment(sample, &format!("{}{hints}", known.about));
        one(sample, known);
    }
}

/// A comment, in as many lines as it takes.
fn comment(sample: &mut String, text: &str) {
    let mut line = "#".to_owned();
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            push(sample, format_args!("{line}\n"));
            line.replace_range(.., "#");
        }
        line.push(' ');
        line.push_str(word);
    }
    push(sample, format_args!("{line}\n"));
}

/// One line that sets a parameter, commented out unless it is an example.
fn setting(sample: &mut String, name: &str, known: &Parameter, node: usize, spell: impl Fn(&Kind, &str) -> String) {
    let (mark, text) = match example(known, node) {
        Some(text) => ("", text.to_owned()),
        None => ("#", default_of(known)),
    };
    push(sample, format_args!("{mark}{name} = {}\n", spell(&known.kind, &text)));
}

fn example(known: &Parameter, node: usize) -> Option<&'static str> {
    let (_, values) = EXAMPLES.iter().find(|(name, _)| *name == known.name)?;
    (node == 0 || known.index == Index::Always).then(|| values[node])
}

/// The default as one writes it in a file: with its unit, and octal where the table has it so.
fn default_of(known: &Parameter) -> String {
    match known.kind.parse_unchecked(known.default) {
        Ok(Value::List(_)) => known.default.to_owned(),
        Ok(value) if !(known.default.len() > 1 && known.default.starts_with('0')) => known.kind.spell(&value),
        _ => known.default.to_owned(),
    }
}

fn conf_value(kind: &Kind, text: &str) -> String {
    match kind {
        Kind::Text | Kind::List(_) => format!("'{text}'"),
        _ => text.to_owned(),
    }
}

fn toml_value(kind: &Kind, text: &str) -> String {
    match kind.parse_unchecked(text) {
        Ok(Value::Bool(on)) => on.to_string(),
        Ok(Value::List(items)) => format!("{items:?}"),
        Ok(Value::Int(_)) if text.len() > 1 && text.starts_with('0') => format!("0o{}", text.trim_start_matches('0')),
        Ok(Value::Int(_) | Value::Float(_)) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            text.to_owned()
        }
        _ => format!("{text:?}"),
    }
}

impl Kind {
    /// Whether a sample has to say which values there are.
    fn is_limited(&self) -> bool {
        !matches!(self, Self::Bool | Self::Text)
    }
}

/// Adds to a text, which takes anything.
fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    if text.write_fmt(more).is_err() {
        unreachable!("a string takes any text");
    }
}
