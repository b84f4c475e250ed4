//! The digests that label and name the objects of a challenge.

use aws_lc_rs::digest::{SHA256, digest};

/// Adler-32 (RFC 1950 §8.2) in decimal: the value of the labels `acme.cert-manager.io/http-domain`
/// and `http-token`, because a domain or a token can be longer than a label value may be.
pub fn adler32(text: &str) -> String {
    const MODULUS: u32 = 65521;
    let (a, b) = text.bytes().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(byte)) % MODULUS;
        (a, (b + a) % MODULUS)
    });
    ((b << 16) | a).to_string()
}

/// Ten hexadecimal digits of the SHA-256 of a uid: 40 bits, enough to tell apart the challenges
/// that live in one namespace at the same time.
pub(super) fn short(uid: &str) -> String {
    let digest = digest(&SHA256, uid.as_bytes());
    let first = digest.as_ref().iter().take(5);
    let number = first.fold(0, |number, byte| (number << 8) | u64::from(*byte));
    format!("{number:010x}")
}

#[cfg(test)]
mod tests {
    use super::{adler32, short};

    #[test]
    fn adler32_gives_the_published_values() {
        let cases = [
            ("", 1),
            ("a", 0x0062_0062),
            ("abc", 0x024d_0127),
            ("Wikipedia", 0x11e6_0398),
        ];
        for (text, sum) in cases {
            assert_eq!(adler32(text), sum.to_string(), "{text:?}");
        }
    }

    #[test]
    fn adler32_of_a_long_text_stays_below_the_modulus() {
        // Python: zlib.adler32(b"z" * 10000)
        assert_eq!(adler32(&"z".repeat(10_000)), "1652268719");
    }

    #[test]
    fn short_is_the_start_of_the_sha256() {
        // printf abc | sha256sum
        assert_eq!(short("abc"), "ba7816bf8f");
    }
}
