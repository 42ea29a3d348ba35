//! Start-up packets: what a connection says first, before messages have kinds.

use crate::fault::Fault;
use crate::limits::{CANCEL_KEY_MAX_BYTES, STARTUP_PACKET_BYTES};
use crate::wire::split_cstr;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The code of CancelRequest.
pub const CANCEL_REQUEST: u32 = 80_877_102;
/// The code of SSLRequest.
pub const SSL_REQUEST: u32 = 80_877_103;
/// The code of GSSENCRequest.
pub const GSSENC_REQUEST: u32 = 80_877_104;
/// Protocol 3.0, as a version number.
pub const PROTOCOL_3_0: u32 = 3 << 16;
/// Protocol 3.2, as a version number.
pub const PROTOCOL_3_2: u32 = (3 << 16) | 2;

/// A whole start-up packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// SSLRequest or GSSENCRequest.
    Encryption,
    /// CancelRequest with the process id and the secret that BackendKeyData gave.
    Cancel {
        /// The process id.
        process_id: i32,
        /// The secret, 4 bytes in protocol 3.0, up to 256 in 3.2.
        secret: Vec<u8>,
    },
    /// StartupMessage.
    Startup(Startup),
}

/// What a StartupMessage asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Startup {
    /// The version that both sides speak from here on: [`PROTOCOL_3_0`] or [`PROTOCOL_3_2`].
    pub version: u32,
    /// Options of the protocol (`_pq_.*`) that pgconvoy does not know; the client is told of them.
    pub unknown_options: Vec<String>,
    /// True when the client must be told what is spoken (NegotiateProtocolVersion).
    pub negotiate: bool,
    /// The user.
    pub user: Vec<u8>,
    /// The database; the user's name where the client named none.
    pub database: Vec<u8>,
    /// Every other run-time parameter, as `name NUL value NUL`, in the order given.
    pub parameters: Vec<u8>,
}

impl Startup {
    /// The value of a run-time parameter; the last one given wins.
    pub fn parameter(&self, name: &[u8]) -> Option<&[u8]> {
        value_of(&self.parameters, name)
    }
}

/// The value of a run-time parameter among `parameters`, the `name NUL value NUL` pairs of a StartupMessage.
pub fn value_of<'p>(parameters: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    pairs(parameters).filter(|(n, _)| *n == name).last().map(|(_, value)| value)
}

/// The `name NUL value NUL` pairs of `bytes`.
pub fn pairs(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    core::iter::from_fn(move || {
        let (name, rest) = split_cstr(bytes)?;
        let (value, rest) = split_cstr(rest)?;
        bytes = rest;
        Some((name, value))
    })
}

/// Length of the start-up packet at the front of `input`; `None` while its length field is not there.
pub fn packet_length(input: &[u8]) -> Result<Option<usize>, Fault> {
    let Some((length, _)) = input.split_first_chunk::<4>() else { return Ok(None) };
    let declared = u32::from_be_bytes(*length) as usize;
    if (8..=STARTUP_PACKET_BYTES).contains(&declared) {
        Ok(Some(declared))
    } else {
        Err(Fault::protocol("invalid length of startup packet"))
    }
}

/// Reads a whole start-up packet, its length field included.
pub fn parse(packet: &[u8]) -> Result<Packet, Fault> {
    let code = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
    let body = &packet[8..];
    match code {
        SSL_REQUEST | GSSENC_REQUEST if body.is_empty() => Ok(Packet::Encryption),
        SSL_REQUEST | GSSENC_REQUEST => Err(Fault::protocol("invalid length of startup packet")),
        CANCEL_REQUEST => match body.split_first_chunk::<4>() {
            Some((pid, secret)) if (4..=CANCEL_KEY_MAX_BYTES).contains(&secret.len()) => {
                Ok(Packet::Cancel { process_id: i32::from_be_bytes(*pid), secret: secret.to_vec() })
            }
            _ => Err(Fault::protocol("invalid length of cancel request")),
        },
        _ if code >> 16 == 3 => parse_startup(code, body).map(Packet::Startup),
        _ => Err(Fault::new(
            crate::fault::Culprit::Client,
            b"0A000",
            format!("unsupported frontend protocol {}.{}: server supports 3.0 to 3.2", code >> 16, code & 0xffff),
        )),
    }
}

fn parse_startup(asked: u32, body: &[u8]) -> Result<Startup, Fault> {
    // The pairs end with one more NUL, and nothing may follow it.
    let Some((&0, list)) = body.split_last() else {
        return Err(Fault::protocol("invalid startup packet layout: expected terminator as last byte"));
    };
    let mut startup = Startup {
        version: if asked >= PROTOCOL_3_2 { PROTOCOL_3_2 } else { PROTOCOL_3_0 },
        unknown_options: Vec::new(),
        negotiate: false,
        user: Vec::new(),
        database: Vec::new(),
        parameters: Vec::new(),
    };
    let mut read = 0;
    for (name, value) in pairs(list) {
        read += name.len() + value.len() + 2;
        match name {
            b"" => return Err(Fault::protocol("invalid startup packet layout: expected terminator as last byte")),
            b"user" => startup.user = value.to_vec(),
            b"database" => startup.database = value.to_vec(),
            _ if name.starts_with(b"_pq_.") => {
                startup.unknown_options.push(String::from_utf8_lossy(name).into_owned());
            }
            _ => {
                startup.parameters.extend_from_slice(name);
                startup.parameters.push(0);
                startup.parameters.extend_from_slice(value);
                startup.parameters.push(0);
            }
        }
    }
    if read != list.len() {
        return Err(Fault::protocol("invalid startup packet layout: expected terminator as last byte"));
    }
    startup.negotiate = startup.version != asked || !startup.unknown_options.is_empty();
    if startup.user.is_empty() {
        return Err(Fault::new(
            crate::fault::Culprit::Client,
            b"28000",
            "no PostgreSQL user name specified in startup packet",
        ));
    }
    if startup.database.is_empty() {
        startup.database = startup.user.clone();
    }
    Ok(startup)
}

/// Writes a StartupMessage of protocol 3.0 as a client sends it. `parameters` are `name NUL value NUL` pairs.
pub fn build(out: &mut Vec<u8>, user: &[u8], database: &[u8], parameters: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&PROTOCOL_3_0.to_be_bytes());
    for (name, value) in [(&b"user"[..], user), (b"database", database)] {
        super::build::cstr(out, name);
        super::build::cstr(out, value);
    }
    out.extend_from_slice(parameters);
    out.push(0);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let mut out = ((8 + body.len()) as u32).to_be_bytes().to_vec();
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn what_is_built_is_read_back() {
        let mut out = Vec::new();
        build(&mut out, b"alice", b"shop", b"application_name\0psql\0");
        assert_eq!(packet_length(&out), Ok(Some(out.len())));
        let Ok(Packet::Startup(startup)) = parse(&out) else { panic!("not a startup packet") };
        assert_eq!((startup.user.as_slice(), startup.database.as_slice()), (&b"alice"[..], &b"shop"[..]));
        assert_eq!(startup.parameter(b"application_name"), Some(&b"psql"[..]));
        assert!(!startup.negotiate);
    }

    #[test]
    fn newer_versions_and_options_are_negotiated() {
        let Ok(Packet::Startup(s)) = parse(&packet((3 << 16) | 9999, b"user\0a\0_pq_.shiny\0on\0\0")) else { panic!() };
        assert_eq!((s.version, s.negotiate), (PROTOCOL_3_2, true));
        assert_eq!(s.unknown_options, ["_pq_.shiny"]);
        let Ok(Packet::Startup(s)) = parse(&packet(PROTOCOL_3_2, b"user\0a\0\0")) else { panic!() };
        assert_eq!((s.version, s.negotiate), (PROTOCOL_3_2, false));
    }

    #[test]
    fn bad_packets_are_refused() {
        assert!(packet_length(&7u32.to_be_bytes()).is_err());
        assert!(packet_length(&0x7fff_ffffu32.to_be_bytes()).is_err());
        assert!(parse(&packet(2 << 16, b"\0")).is_err());
        assert!(parse(&packet(PROTOCOL_3_0, b"user\0a\0")).is_err(), "no terminator");
        assert!(parse(&packet(PROTOCOL_3_0, b"user\0a\0x\0\0")).is_err(), "a name without a value");
        assert!(parse(&packet(PROTOCOL_3_0, b"database\0a\0\0")).is_err(), "no user");
        assert!(parse(&packet(SSL_REQUEST, b"x")).is_err());
        assert!(parse(&packet(CANCEL_REQUEST, b"1234")).is_err());
    }
}
