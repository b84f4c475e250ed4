//! HTTP-01 (RFC 8555 §8.3): a file at a well-known path of the domain, port 80.
//!
//! Two modes present it. `Pod`: a Pod that runs `everleaf solver`, a Service and an Ingress for each
//! challenge. `Direct`: an Ingress for each challenge and, once a namespace, a Service without
//! selector whose `EndpointSlice` points at the operator's own solver port; nothing is scheduled.

pub mod edit;
pub mod hash;
pub mod ingress;
pub mod objects;
pub mod pod;
pub mod responder;
pub mod self_check;
pub mod service;
pub mod tokens;
pub mod watch;

/// The port of the responder, in the Pod and in the operator.
pub const PORT: u16 = 8089;

/// Where a CA asks for the key authorization (RFC 8555 §8.3), without the token.
pub const PATH_PREFIX: &str = "/.well-known/acme-challenge/";

/// A host as a name is compared: without port, without the brackets of an IPv6 literal, without the
/// final dot, in lower case, and an IP address in its canonical form.
pub fn normalise_host(host: &str) -> String {
    let host = host.trim();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        // More than one colon and no brackets is an IPv6 address without a port.
        None => match host.split_once(':') {
            Some((name, port)) if !port.contains(':') => name,
            _ => host,
        },
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::normalise_host;

    #[test]
    fn a_host_is_compared_without_port_brackets_case_and_final_dot() {
        let cases = [
            ("example.com", "example.com"),
            ("EXAMPLE.Com:80", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:5002", "example.com"),
            ("192.0.2.7:8089", "192.0.2.7"),
            ("[2001:DB8::0:1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8:0:0::1", "2001:db8::1"),
            ("", ""),
            ("[", ""),
            (":80", ""),
        ];
        for (host, expected) in cases {
            assert_eq!(normalise_host(host), expected, "{host:?}");
        }
    }
}
