//! Coverage marks: the interesting things that must happen now and then, or the seeds prove less than they seem to.

use std::fmt;

macro_rules! marks {
    ($($name:ident $text:literal,)*) => {
        /// Something that must happen now and then.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark {
            $(#[doc = $text] $name,)*
        }

        impl Mark {
            /// Whether it can be reached where pgconvoy replicates only.
            pub const fn is_of_replication(self) -> bool {
                matches!(self, Self::CopyGivenUp | Self::LeftBehind | Self::Consulted)
            }

            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }

        impl fmt::Display for Mark {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

marks! {
    // What clients do and see. The numbers are those of the failure catalogue.
    EncryptionAsked "F06: a client asked for encryption first",
    LoginGivenUp "F02: a client left in the midst of its login",
    LoginStopped "F02: a client that stopped in the midst of its login was sent away",
    PasswordRefused "F07: a wrong password was refused",
    VanishedInBatch "F21: a client vanished with answers outstanding",
    VanishedInBlock "F26: a client vanished in a transaction block",
    CancelSent "F17: a cancel request was sent",
    CancelHit "F17: a cancel request hit the statement that it was meant for",
    NameRefused "F20: a name was refused because it was in use",
    NameUnknown "F20: a name was refused because nothing had it",
    CopyFailed "F22: a copy failed in the midst of its data",
    CopyRefused "F22: a copy was refused when it had begun",
    Suspended "a portal was suspended at its limit",
    BatchFailed "F10: a batch failed before its Sync was sent",
    BlockFailed "a statement was refused in a failed block",
    Explained "a statement was sent after EXPLAIN ROUTE had told where it would go",
    RowChecked "I08: a row was compared with what its client had been told",
    // What the client was told of a fault, and when.
    EndedInLogin "F27: a session ended in its login",
    EndedInResult "F28: a session ended in the midst of a result",
    EndedInBatch "F29: a session ended with answers outstanding",
    EndedInCopy "F30: a session ended in the midst of a copy",
    EndedInBlock "F34: a session ended in a transaction block, idle",
    CommitUnknown "F31: the outcome of a COMMIT was told as unknown",
    StandbyLost "F28: a statement was lost with its standby, and the session went on",
    LoginsRefused "F35: a client was told that a server refuses logins",
    // What pgconvoy does.
    Balanced "a read went to a standby",
    Repeated "a read that a standby had refused was run by the primary",
    TurnTaken "a session's next read went to another standby",
    PreparedAgain "F20: a statement was prepared again on another server",
    Compared "F20: a statement was compared with what its client had been told of it",
    CatalogAsked "a server was asked about its catalogue",
    MadeToFail "a transaction that had failed on one server was made to fail on another",
    CopyProbed "F22: a failed copy was probed for its Sync",
    LinkReused "F15: a link was used again",
    RoomMade "F35: an idle link was closed because a login was refused at a limit",
    LinkDead "F24: an idle link was found dead",
    LinkAwaited "a session waited for a link",
    StoodAside "F02: a place and links were given back until the client had proved its password",
    PlaceAwaited "a client waited for a place",
    LoginFailed "F27: a login at a server failed",
    ErrandOverdue "F25: a login or a wash took too long",
    CancelOverdue "F17: a cancel request was not delivered in time",
    ViewChanged "the cluster's view changed",
    StandbyLags "F38: a standby was found to lag",
    CopyGivenUp "a copy was given up on a server because another had refused it",
    Consulted "F54: a server was asked in the midst of what a client does",
    LeftBehind "F32: a server was detached because it had missed a commit",
    // What the plan does.
    Cut "F33: a connection was cut",
    Held "a connection was held",
    ServerHeld "F36: a server was held",
    ServerDown "a server was shut down",
    ServerKilled "a server was killed",
    ProcessCrashed "F34: a server process crashed",
    Terminated "F34: a session was terminated",
    Injected "F23: an asynchronous message was injected",
}
