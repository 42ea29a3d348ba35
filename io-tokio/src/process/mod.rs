//! The server as a process of the operating system: its pid file, its signals, and leaving the terminal.
//!
//! [`service`] is the frame around the server; [`control`] is what `stop` and `reload` do from outside. Both stand on
//! [`pidfile`], [`signals`] and [`daemon`].

pub mod control;
pub mod daemon;
pub mod pidfile;
pub mod service;
pub mod signals;
