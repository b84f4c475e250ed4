//! The domain that a name was registered under, by the Public Suffix List (docs/adr/0016): what CAs count by.

use std::net::IpAddr;
use std::sync::Arc;

/// Digests of the rules, four bytes each, sorted: made of `suffixes.txt` by the test of this module.
static SUFFIXES: &[u8] = include_bytes!("suffixes.bin");

/// FNV-1a. Two rules of one digest, or a name that has one by accident, cost accuracy: one limit is taken for another.
pub(super) fn digest(parts: &[&str]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.bytes());
    bytes.fold(0x811c_9dc5, |digest, byte| {
        (digest ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

fn has(parts: &[&str]) -> bool {
    let wanted = digest(parts).to_be_bytes();
    let (rules, _) = SUFFIXES.as_chunks::<4>();
    rules.binary_search(&wanted).is_ok()
}

/// The registered domain of a DNS name in A-labels; the name itself, if it is a public suffix. A wildcard counts as
/// what it stands under.
pub fn registered_domain(name: &str) -> &str {
    let name = name.strip_prefix("*.").unwrap_or(name);
    let mut below = None;
    let mut rest = name;
    loop {
        let parent = rest.split_once('.').map(|(_, parent)| parent);
        if has(&["!", rest]) {
            return rest;
        }
        let is_suffix = has(&[rest]) || parent.is_some_and(|parent| has(&["*.", parent]));
        match parent {
            Some(parent) if !is_suffix => {
                below = Some(rest);
                rest = parent;
            }
            // By the list's own rule, the last label is a suffix whether the list has it or not.
            _ => return below.unwrap_or(rest),
        }
    }
}

/// What an identifier is counted under: the registered domain of a name, an IPv4 address, the /64 of an IPv6 address.
pub fn domain_of(identifier: &str) -> Arc<str> {
    match identifier.parse() {
        Ok(IpAddr::V6(address)) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            format!("{}/64", std::net::Ipv6Addr::from_bits(network)).into()
        }
        Ok(IpAddr::V4(_)) => identifier.into(),
        Err(_) => registered_domain(identifier).into(),
    }
}
