//! What a text does, by PostgreSQL's parse tree.

use pg_raw_parse::nodes::RangeVar;
use pg_raw_parse::walk::walk;
use pg_raw_parse::{Node, parse};
use pgconvoy_statements::{HARMLESS, PLAIN_TABLES};

/// `pg_class.relpersistence` of a temporary relation.
const TEMPORARY: u8 = b't';

/// A name, and the schema in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// The schema, if it is given.
    pub schema: Option<String>,
    /// The name as PostgreSQL stores it.
    pub name: String,
}

/// What the tree of a text says.
#[derive(Debug, Default)]
pub struct Found {
    /// How many statements there are.
    pub statements: usize,
    /// Why it may write, if it may.
    pub writes: Option<String>,
    /// One query that reads plain tables only, and calls nothing that is not known to be harmless.
    pub plain: bool,
    /// It begins or ends a transaction or a savepoint.
    pub controls_transaction: bool,
    /// It changes settings, prepared statements, channels or cursors.
    pub changes_state: bool,
    /// A query in it creates a table.
    pub creates: bool,
    /// A query in it creates a temporary table.
    pub creates_temporary: bool,
    /// Functions that it calls, but for those that PostgreSQL makes of syntax.
    pub functions: Vec<Called>,
    /// Relations that it names.
    pub relations: Vec<Called>,
    /// Last parts of column references with dots.
    pub members: Vec<Called>,
    /// Names behind expressions.
    pub fields: Vec<Called>,
    /// Names of its `WITH` queries.
    pub withs: Vec<String>,
}

/// Reads a text, with standard strings; `None` if PostgreSQL would refuse it.
pub fn read(text: &str) -> Option<Found> {
    let tree = parse(text).ok()?;
    let mut found = Found::default();
    let mut queries = 0;
    for statement in tree.stmts() {
        found.statements += 1;
        queries += usize::from(matches!(statement, Node::SelectStmt(_)));
        found.statement(statement);
    }
    let with = |name: &str| found.withs.iter().any(|with| with == name);
    let plain = |relation: &Called| {
        PLAIN_TABLES.contains(&relation.name.as_str()) || relation.schema.is_none() && with(&relation.name)
    };
    found.plain = queries == 1 && found.statements == 1 && found.writes.is_none() && found.relations.iter().all(plain);
    Some(found)
}

impl Found {
    fn writes(&mut self, why: impl Into<String>) {
        self.writes.get_or_insert_with(|| why.into());
    }

    fn statement(&mut self, statement: Node<'_>) {
        match statement {
            Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::MergeStmt(_) => walk(statement, |node| self.node(node)),
            Node::ExplainStmt(explain) => self.statement(explain.query()),
            Node::PrepareStmt(prepare) => {
                self.changes_state = true;
                // What it would do otherwise, its EXECUTE does.
                let before = (self.creates, self.creates_temporary);
                self.statement(prepare.query());
                (self.creates, self.creates_temporary) = before;
            }
            Node::DeclareCursorStmt(declare) => {
                self.changes_state = true;
                self.statement(declare.query());
            }
            Node::CopyStmt(copy) => {
                if copy.is_from || copy.is_program || copy.filename().is_some() {
                    self.writes("COPY");
                }
                if let Some(relation) = copy.relation() {
                    self.relation(relation);
                } else {
                    self.statement(copy.query());
                }
            }
            Node::VariableShowStmt(_) => {}
            Node::TransactionStmt(_) => {
                self.controls_transaction = true;
                self.writes("a transaction statement");
            }
            Node::VariableSetStmt(_)
            | Node::DeallocateStmt(_)
            | Node::DiscardStmt(_)
            | Node::ListenStmt(_)
            | Node::UnlistenStmt(_) => {
                self.changes_state = true;
                self.writes("a statement that changes the session");
            }
            _ => self.writes("a statement that is no query"),
        }
    }

    fn node(&mut self, node: Node<'_>) {
        match node {
            Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_) => {
                self.writes("it modifies data");
            }
            Node::SelectStmt(select) => {
                if !select.locking_clause().is_empty() {
                    self.writes("it locks rows");
                }
                if let Some(into) = select.into_clause() {
                    self.writes("SELECT INTO");
                    self.creates = true;
                    self.creates_temporary |= into.rel().is_some_and(|rel| rel.relpersistence as u8 == TEMPORARY);
                }
            }
            Node::RangeVar(relation) => self.relation(relation),
            Node::CommonTableExpr(with) => self.withs.extend(with.ctename().map(str::to_owned)),
            Node::FuncCall(call) => {
                let parts: Vec<&str> = call.funcname().iter().filter_map(Node::as_str).collect();
                let Some((name, schemas)) = parts.split_last() else { return };
                let of_postgres = schemas.is_empty() || schemas == ["pg_catalog"];
                let harmless = of_postgres && HARMLESS.contains(name);
                if !harmless {
                    self.writes(format!("it calls {}", parts.join(".")));
                }
                // What is made of syntax has PostgreSQL's own schema, which nobody need look up.
                if !(harmless && schemas == ["pg_catalog"]) {
                    let schema = schemas.last().map(|schema| (*schema).to_owned());
                    self.functions.push(Called { schema, name: (*name).to_owned() });
                }
            }
            Node::ColumnRef(column) if column.fields().len() > 1 => {
                let last = column.fields().iter().next_back().and_then(Node::as_str);
                self.members.extend(last.map(|name| Called { schema: None, name: name.to_owned() }));
            }
            Node::A_Indirection(part) => {
                let names = part.indirection().iter().filter_map(Node::as_str);
                self.fields.extend(names.map(|name| Called { schema: None, name: name.to_owned() }));
            }
            _ => {}
        }
    }

    fn relation(&mut self, relation: &RangeVar) {
        if let Some(name) = relation.relname() {
            let schema = relation.schemaname().map(str::to_owned);
            self.relations.push(Called { schema, name: name.to_owned() });
        }
    }
}
