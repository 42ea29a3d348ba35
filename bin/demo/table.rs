//! The demo's node table: what `SHOW pool_nodes` tells any client, again and again.

use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use pgconvoy_io::testbed::USER;

/// The columns of `SHOW pool_nodes` that the table has, each with its heading and width in characters.
const COLUMNS: [(&str, &str, usize); 7] = [
    ("node_id", "node", 4),
    ("port", "port", 5),
    ("status", "status", 7),
    ("role", "role", 7),
    ("lb_weight", "weight", 8),
    ("select_cnt", "selects", 9),
    ("replication_delay", "delay", 9),
];
/// Where node, port, status and role stand among [`COLUMNS`].
const STATE: [usize; 4] = [0, 1, 2, 3];

/// One row of the table: a field for each of [`COLUMNS`].
type Row = Vec<String>;

/// The nodes of the pgconvoy on `port`, on the standard output.
pub struct NodeTable {
    psql: PathBuf,
    port: u16,
    rows: Vec<Row>,
    shown: Shown,
}

impl NodeTable {
    /// An empty table that asks by means of `psql`, PostgreSQL's client.
    pub fn new(psql: PathBuf, port: u16) -> Self {
        Self { psql, port, rows: Vec::new(), shown: Shown::new(stdout().is_terminal()) }
    }

    /// Asks pgconvoy for its nodes.
    ///
    /// # Errors
    /// When it does not answer, or not as pgpool-II would.
    pub fn read(&mut self) -> anyhow::Result<()> {
        let address = format!("host=127.0.0.1 port={} user={USER} dbname={USER} connect_timeout=5", self.port);
        let output = Command::new(&self.psql)
            .args(["--no-psqlrc", "--no-align", "--pset=footer=off", "--command=SHOW pool_nodes", &address])
            .output()
            .with_context(|| format!("running {}", self.psql.display()))?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end().to_owned());
        }
        self.rows = chosen_columns(&String::from_utf8_lossy(&output.stdout))?;
        Ok(())
    }

    /// As [`NodeTable::read`].
    ///
    /// # Errors
    /// Also when a node is not up.
    pub fn read_all_up(&mut self) -> anyhow::Result<()> {
        self.read()?;
        match self.rows.iter().map(state).find(|&[.., status, _]| status != "up") {
            None => Ok(()),
            Some([node, _, status, _]) => bail!("node {node} is {status}"),
        }
    }

    /// Prints what was read last.
    ///
    /// # Errors
    /// When the standard output is closed.
    pub fn show(&mut self) -> std::io::Result<()> {
        let mut out = stdout();
        out.write_all(self.shown.update(&self.rows).as_bytes())?;
        out.flush()
    }
}

/// What stands on the screen or in the output already.
struct Shown {
    in_place: bool,
    rows: Vec<Row>,
}

impl Shown {
    /// Nothing yet. A terminal's table is written over in place.
    const fn new(in_place: bool) -> Self {
        Self { in_place, rows: Vec::new() }
    }

    /// The text that brings the output up to `rows`: the whole table again, or a line for each node that changed.
    fn update(&mut self, rows: &[Row]) -> String {
        let text = if self.in_place {
            let up = if self.rows.is_empty() { String::new() } else { format!("\x1b[{}A", self.rows.len() + 1) };
            let lines = std::iter::once(line(COLUMNS.map(|(_, heading, _)| heading)))
                .chain(rows.iter().map(|row| line(row.iter().map(String::as_str))));
            up + &lines.map(|line| format!("\r\x1b[2K{line}\n")).collect::<String>()
        } else {
            rows.iter()
                .enumerate()
                .filter(|&(number, row)| self.rows.get(number).is_none_or(|old| state(old) != state(row)))
                .map(|(_, row)| {
                    let [node, port, status, role] = state(row);
                    format!("node {node} on port {port} is {status}, {role}\n")
                })
                .collect()
        };
        self.rows = rows.to_vec();
        text
    }
}

/// What of a row is worth a line of its own when it changes.
fn state(row: &Row) -> [&str; 4] {
    STATE.map(|place| row[place].as_str())
}

/// One line of the table.
fn line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let padded = COLUMNS.iter().zip(fields).map(|(&(.., width), field)| format!("{field:>width$}"));
    padded.collect::<Vec<_>>().join("  ")
}

/// The fields of [`COLUMNS`] in what psql printed: a heading and rows, with `|` between the fields.
fn chosen_columns(printed: &str) -> anyhow::Result<Vec<Row>> {
    let mut lines = printed.lines().map(|line| line.split('|').collect::<Vec<_>>());
    let heading = lines.next().unwrap_or_default();
    let place = |name| heading.iter().position(|&column| column == name).with_context(|| format!("no column {name}"));
    let places = COLUMNS.iter().map(|&(name, ..)| place(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let row = |fields: Vec<&str>| {
        let chosen = places.iter().map(|&place| fields.get(place).map(ToString::to_string));
        chosen.collect::<Option<Row>>().with_context(|| format!("a row with {} fields", fields.len()))
    };
    lines.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::{Shown, chosen_columns};

    const HEADING: &str = "node_id|hostname|port|status|pg_status|lb_weight|role|pg_role|select_cnt|load_balance_node|\
                           replication_delay|replication_state|replication_sync_state|last_status_change";

    #[test]
    fn the_columns_are_chosen_by_name() {
        let printed = format!("{HEADING}\n0|h|5432|up|up|0.5|primary|primary|7|true|0|||2026-11-21 03:00:00\n");
        assert_eq!(chosen_columns(&printed).unwrap(), [["0", "5432", "up", "primary", "0.5", "7", "0"]]);
        assert!(chosen_columns("node_id|port\n0|1\n").is_err());
        assert!(chosen_columns(&format!("{HEADING}\n0|h\n")).is_err());
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_change_only() {
        let row = |status: &str, selects: &str| {
            ["1", "5433", status, "standby", "0.5", selects, "0"].map(String::from).to_vec()
        };
        let mut shown = Shown::new(false);
        assert_eq!(shown.update(&[row("up", "0")]), "node 1 on port 5433 is up, standby\n");
        assert_eq!(shown.update(&[row("up", "9")]), "");
        assert_eq!(shown.update(&[row("down", "9")]), "node 1 on port 5433 is down, standby\n");
    }

    #[test]
    fn a_terminal_gets_the_table_in_the_same_place() {
        let row = ["1", "5433", "up", "standby", "0.5", "0", "0"].map(String::from).to_vec();
        let mut shown = Shown::new(true);
        assert!(!shown.update(&[row.clone(), row.clone()]).contains('A'));
        let again = shown.update(&[row.clone(), row]);
        assert!(again.starts_with("\x1b[3A\r\x1b[2K"), "{again:?}");
        assert_eq!(again.lines().count(), 3);
    }
}
