//! Where the others find a member: what cards and changes of committee say.

use std::net::IpAddr;

use fairlane_client::Member;
use fairlane_types::ADDRESS_BYTES_MAX;

use crate::exit::{Outcome, Problem};
use crate::term::Term;

/// Refuses addresses at which nobody can find a member, and warns of those that only its own
/// machine can use. `what` is who says them.
pub fn check(what: &str, quic: &str, api: &str, term: Term) -> Outcome {
    let wrong = |address: &str, why: &str| {
        Problem::usage(format!("{what}: {address:?} {why}")).next(
            "make the card with --quic HOST:PORT --api http://HOST:PORT: where others reach it",
        )
    };
    Member::new(api)?;
    let web = api.trim_start_matches("http://").trim_end_matches('/');
    let mut local = Vec::new();
    for (address, place) in [(quic, quic), (api, web)] {
        if address.len() > ADDRESS_BYTES_MAX {
            return Err(wrong(address, "is too long"));
        }
        let host = host(place).ok_or_else(|| wrong(address, "is not host:port"))?;
        match reach(host) {
            Reach::Nobody => return Err(wrong(address, "says where to listen, not where it is")),
            Reach::SameMachine => local.push(address),
            Reach::Others => {}
        }
    }
    if !local.is_empty() {
        let local = local.join(" and ");
        term.note(format!(
            "warning: {what} says {local}: members on other machines cannot reach that"
        ));
    }
    Ok(())
}

/// The host of `host:port`, an IPv6 address without its brackets.
fn host(place: &str) -> Option<&str> {
    let (host, port) = place.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    // They are shown to operators, who compare what they see.
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
    if !host.chars().all(plain) {
        return None;
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    // Without brackets nobody knows where the port begins.
    let host = bare.or((!host.contains(':')).then_some(host))?;
    (port != 0 && !host.is_empty()).then_some(host)
}

/// Who can use an address.
#[derive(Debug, PartialEq, Eq)]
enum Reach {
    Nobody,
    SameMachine,
    Others,
}

fn reach(host: &str) -> Reach {
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) if ip.is_unspecified() => Reach::Nobody,
        Ok(ip) if ip.is_loopback() => Reach::SameMachine,
        Err(_) if host.eq_ignore_ascii_case("localhost") => Reach::SameMachine,
        _ => Reach::Others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(place: &str) -> Option<Reach> {
        host(place).map(reach)
    }

    #[test]
    fn addresses_are_for_others_for_this_machine_or_for_nobody() {
        for place in ["member.example:7800", "10.0.0.7:1", "[2001:db8::1]:7800"] {
            assert_eq!(of(place), Some(Reach::Others), "{place}");
        }
        for place in ["127.0.0.1:1", "127.8.9.1:1", "localhost:1", "[::1]:1"] {
            assert_eq!(of(place), Some(Reach::SameMachine), "{place}");
        }
        for place in ["0.0.0.0:1", "[::]:1", "[::ffff:0.0.0.0]:1"] {
            assert_eq!(of(place), Some(Reach::Nobody), "{place}");
        }
        let not = [
            "",
            "host",
            "host:",
            ":1",
            "host:0",
            "host:65536",
            "::1:7800",
            "[::1]",
            "[]:1",
            "a\u{1b}[2K:1",
            "a b:1",
            "a\r\nb:1",
        ];
        for place in not {
            assert_eq!(of(place), None, "{place}");
        }
    }
}
