//! What a server answers: messages cut from a byte stream, and their fields.

use std::fmt;

/// Longest message a test believes in, in bytes; a longer length is a broken stream.
const LONGEST_MESSAGE: usize = 1 << 30;

/// One message of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The byte that names the kind.
    pub kind: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {:?}", char::from(self.kind), lossy(&self.body))
    }
}

/// The next message at the head of `bytes` and how many bytes it took, `None` while it is incomplete.
///
/// Frames of both directions look alike, so this deframes a client's messages as well.
pub fn cut(bytes: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let Some(header) = bytes.first_chunk::<5>() else { return Ok(None) };
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if !(4..=LONGEST_MESSAGE).contains(&length) {
        return Err(format!("a message of kind {:?} declares {length} bytes", char::from(header[0])));
    }
    let Some(body) = bytes.get(5..1 + length) else { return Ok(None) };
    Ok(Some((Message { kind: header[0], body: body.to_vec() }, 1 + length)))
}

impl Message {
    /// The message as it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.body.len() + 4).expect("a test message is short");
        let mut out = vec![self.kind];
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    /// A field of an ErrorResponse or NoticeResponse by its code.
    pub fn field(&self, code: u8) -> Option<String> {
        assert!(matches!(self.kind, b'E' | b'N'), "{self:?} has no fields");
        self.body.split(|byte| *byte == 0).find(|field| field.first() == Some(&code)).map(|field| lossy(&field[1..]))
    }

    /// The SQLSTATE of an ErrorResponse or NoticeResponse.
    pub fn sqlstate(&self) -> String {
        self.field(b'C').unwrap_or_default()
    }

    /// The columns of a DataRow as text.
    pub fn row(&self) -> Vec<Option<String>> {
        assert_eq!(self.kind, b'D', "{self:?} is no row");
        let mut rest = Fields(&self.body);
        (0..rest.short()).map(|_| rest.value()).collect()
    }

    /// The command tag of a CommandComplete.
    pub fn tag(&self) -> String {
        assert_eq!(self.kind, b'C', "{self:?} has no tag");
        Fields(&self.body).text()
    }

    /// The transaction status of a ReadyForQuery.
    pub fn transaction_status(&self) -> u8 {
        assert_eq!(self.kind, b'Z', "{self:?} has no transaction status");
        self.body[0]
    }

    /// The message in one line, without what two servers may rightly tell differently (process ids and the object ids of tables).
    pub fn line(&self) -> String {
        let mut rest = Fields(&self.body);
        match self.kind {
            b'D' => format!("DataRow {:?}", self.row()),
            b'C' => format!("CommandComplete {}", self.tag()),
            b'Z' => format!("ReadyForQuery {}", char::from(self.transaction_status())),
            b'E' | b'N' => self.fields_line(),
            b'T' => {
                let columns: Vec<String> = (0..rest.short()).map(|_| rest.column()).collect();
                format!("RowDescription {}", columns.join(", "))
            }
            b't' => format!("ParameterDescription {:?}", (0..rest.short()).map(|_| rest.long()).collect::<Vec<_>>()),
            b'S' => format!("ParameterStatus {}={}", rest.text(), rest.text()),
            b'A' => {
                rest.long();
                format!("NotificationResponse {} {:?}", rest.text(), rest.text())
            }
            b'V' => format!("FunctionCallResponse {:?}", rest.value()),
            _ => format!("{} {:?}", name(self.kind), lossy(&self.body)),
        }
    }

    fn fields_line(&self) -> String {
        let fields: Vec<String> =
            self.body.split(|byte| *byte == 0).filter(|field| !field.is_empty()).map(lossy).collect();
        format!("{} {}", name(self.kind), fields.join(" | "))
    }
}

/// The manual's name of a server's message kind.
fn name(kind: u8) -> &'static str {
    match kind {
        b'1' => "ParseComplete",
        b'2' => "BindComplete",
        b'3' => "CloseComplete",
        b'E' => "ErrorResponse",
        b'N' => "NoticeResponse",
        b'G' => "CopyInResponse",
        b'H' => "CopyOutResponse",
        b'I' => "EmptyQueryResponse",
        b'K' => "BackendKeyData",
        b'R' => "Authentication",
        b'c' => "CopyDone",
        b'd' => "CopyData",
        b'n' => "NoData",
        b's' => "PortalSuspended",
        b'v' => "NegotiateProtocolVersion",
        _ => "unknown message",
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The fields of a body, taken from its head.
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let (head, tail) = self.0.split_at_checked(count).expect("a server's message holds the fields it declares");
        self.0 = tail;
        head
    }

    /// An unsigned integer of 16 bits.
    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes(*self.take(2).first_chunk().expect("two bytes were taken"))
    }

    /// An unsigned integer of 32 bits.
    pub fn long(&mut self) -> u32 {
        u32::from_be_bytes(*self.take(4).first_chunk().expect("four bytes were taken"))
    }

    /// A text up to its zero byte, or all that is left without one.
    pub fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        lossy(text)
    }

    /// A value with its length in front, `None` for NULL.
    pub fn value(&mut self) -> Option<String> {
        let length = self.long();
        (length != u32::MAX).then(|| lossy(self.take(length as usize)))
    }

    fn column(&mut self) -> String {
        let name = self.text();
        self.long(); // the table's object id
        let (number, oid, size, modifier, format) =
            (self.short(), self.long(), self.short(), self.long(), self.short());
        format!("{name}:{number}:{oid}:{size}:{modifier}:{format}")
    }
}
