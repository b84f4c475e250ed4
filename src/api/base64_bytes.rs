//! Reading bytes from base64 as the API server and Go take them.
//!
//! Both accept bits after the last byte (`YR==` for `YQ==`), which [`ByteString`] refuses by
//! itself. One such object, which any user can store, would stop the watch of its kind.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use k8s_openapi::ByteString;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// For a field that is required.
pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteString, D::Error> {
    let text = String::deserialize(deserializer)?;
    LENIENT
        .decode(text)
        .map(ByteString)
        .map_err(D::Error::custom)
}

/// For a field that may be absent.
pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ByteString>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| LENIENT.decode(text).map(ByteString))
        .transpose()
        .map_err(D::Error::custom)
}
