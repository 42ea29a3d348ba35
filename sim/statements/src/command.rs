//! Statements around queries, and the rest.

use super::{Generator, Mood, Script, Statement, Type};

impl Generator {
    /// One script.
    pub(crate) fn commands(&mut self) -> Script {
        match self.rng.below(40) {
            0 => self.prepared(),
            1 => self.with_cursor(),
            2 => self.in_block(),
            3 | 4 => {
                for _ in 0..=1 + self.rng.below(2) {
                    self.command();
                    let end = self.pick(&[";", ";", "; ;"]);
                    self.say(end);
                }
                self.ended()
            }
            _ => {
                self.command();
                self.ended()
            }
        }
    }

    /// The text that is written, with its end.
    fn ended(&mut self) -> Script {
        let end = self.pick(&["", "", "", ";", ";;"]);
        for mark in end.chars() {
            self.raw(&mark.to_string());
        }
        if self.chance(1, 24) {
            let comment = self.pick(&["-- end", "/* end */", "--"]);
            self.raw(comment);
        }
        vec![self.finished()]
    }

    fn finished(&mut self) -> Statement {
        self.sources.clear();
        self.withs.clear();
        self.writer.finish(&mut self.rng)
    }

    fn top_query(&mut self) {
        let columns: Vec<Type> = (0..=self.rng.below(3)).map(|_| self.any_type()).collect();
        let depth = 2 + self.rng.below(3) as u32;
        self.query(&columns, depth);
        self.sources.clear();
    }

    fn command(&mut self) {
        let wild = self.mood == Mood::Wild;
        match self.rng.below(32) {
            0 => {
                let table = self.pick(&["account", "item", "time", "public.item", "Select"]);
                self.say("table");
                self.dotted(table);
            }
            1 | 2 => {
                let explain = self.pick(&[
                    "explain",
                    "explain verbose",
                    "explain ( costs off )",
                    "explain ( analyze )",
                    "explain analyze",
                    "explain ( analyze , timing off )",
                    "explain ( format json , analyze false )",
                ]);
                self.say(explain);
                if wild && self.chance(1, 3) {
                    self.modification();
                } else {
                    self.top_query();
                }
            }
            3 => {
                self.say("copy (");
                self.top_query();
                let to = self.pick(&[") to stdout", ") to stdout ( format csv )", ") to stdout with csv header"]);
                self.say(to);
            }
            4 => {
                let relation = if self.dares() {
                    self.pick(&["scratch", "guarded"])
                } else {
                    self.pick(&["account", "item", "fenced"])
                };
                self.say("copy");
                self.dotted(relation);
                let to = self.pick(&["to stdout", "( id ) to stdout", "to stdout delimiter '|'"]);
                self.say(to);
            }
            5 => {
                let show =
                    self.pick(&["show work_mem", "show time zone", "show all", "show transaction isolation level"]);
                self.say(show);
            }
            6 | 7 if wild => self.modification(),
            8 if wild => {
                let other = self.pick(&[
                    "call proceed ( 1 )",
                    "do $$ begin perform public.ticks ( 1 ) ; end $$",
                    "notify c , 'x'",
                    "lock table journal in row exclusive mode",
                    "truncate stock",
                    "create temp table made as select 1 as a",
                    "refresh materialized view kept",
                    "analyze item",
                    "vacuum item",
                    "reindex table item",
                    "comment on table item is 'c'",
                    "listen c",
                    "begin ; commit",
                    "checkpoint",
                    "set work_mem = '5MB'",
                    "reset work_mem",
                    "discard plans",
                    "create index on item ( id )",
                    "set local work_mem = '6MB'",
                    "set session characteristics as transaction read write",
                    "reset all",
                ]);
                for token in other.split(' ') {
                    self.raw(token);
                }
            }
            _ => self.top_query(),
        }
    }

    /// `INSERT`, `UPDATE`, `DELETE` or `MERGE`.
    fn modification(&mut self) {
        if self.chance(1, 4) {
            self.say("with q ( c ) as ( select 1 )");
        }
        let table = self.pick(&["journal", "stock", "public.stock", "ruled"]);
        match self.rng.below(4) {
            0 => {
                self.say("insert into");
                self.dotted(table);
                self.query(&[Type::Int, Type::Text], 2);
                if self.chance(1, 3) {
                    self.say("on conflict do nothing");
                }
            }
            1 => {
                self.say("update");
                self.dotted(table);
                self.say("set");
                let column = if table == "ruled" { "label" } else { "note" };
                self.name(column);
                self.say("=");
                self.expression(Type::Text, 2);
                self.say("where id = 2");
            }
            2 => {
                self.say("delete from");
                self.dotted(table);
                self.say("where id < 0 and");
                self.expression(Type::Bool, 2);
            }
            _ => {
                self.say("merge into stock s using item i on s . id = i . id when matched then update set note =");
                self.expression(Type::Text, 0);
            }
        }
        self.sources.clear();
    }

    fn prepared(&mut self) -> Script {
        self.say("prepare p1 ( int ) as");
        let before = self.writer.len();
        if self.mood == Mood::Wild && self.chance(1, 4) {
            self.modification()
        } else {
            self.top_query()
        }
        debug_assert!(self.writer.len() > before);
        let mut script = vec![self.finished()];
        let execute = self.pick(&["execute p1 ( 1 )", "explain execute p1 ( 1 )", "explain analyze execute p1 ( 2 )"]);
        self.say(execute);
        script.push(self.finished());
        if self.mood == Mood::Wild && self.chance(1, 3) {
            self.say("execute p1 ( ticks ( 1 ) )");
            script.push(self.finished());
        }
        self.say("deallocate p1");
        script.push(self.finished());
        script
    }

    fn with_cursor(&mut self) -> Script {
        let mut script = Script::new();
        let begin =
            self.pick(&["begin", "start transaction", "begin read only", "begin isolation level repeatable read"]);
        self.say(begin);
        script.push(self.finished());
        let declare = self.pick(&[
            "declare c1 cursor for",
            "declare c1 binary no scroll cursor with hold for",
            "declare c1 scroll cursor for",
        ]);
        self.say(declare);
        let mood = self.mood;
        if begin.ends_with("only") {
            self.mood = Mood::Clean;
        }
        self.top_query();
        self.mood = mood;
        script.push(self.finished());
        for fetch in ["fetch 1 from c1", "fetch all c1", "close c1", "commit"] {
            self.say(fetch);
            script.push(self.finished());
        }
        script
    }

    /// Statements in a transaction block, as messages of their own or in one text.
    fn in_block(&mut self) -> Script {
        let apart = self.chance(1, 2);
        let mut script = Script::new();
        let begin = self.pick(&["begin", "start transaction", "begin isolation level read committed"]);
        let end = self.pick(&["commit", "rollback", "end", "abort"]);
        self.say(begin);
        for at in 0..=1 + self.rng.below(3) {
            if apart {
                script.push(self.finished())
            } else {
                self.say(";")
            }
            if at == 1 && self.chance(1, 3) {
                self.say("savepoint s1");
            } else {
                self.command();
            }
        }
        if apart {
            script.push(self.finished())
        } else {
            self.say(";")
        }
        self.say(end);
        script.push(self.finished());
        script
    }
}
