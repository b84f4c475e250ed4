//! Reading an object whose spec is absent.
//!
//! The schema does not require the spec of a Certificate or `CertificateRequest`, so one without
//! can be stored. A kind that fails to read one object stops the watch of all; it reads as empty.

/// Makes a spec that is absent read as its default. The type needs `#[serde(remote = "Self")]`,
/// which turns the derived code into functions of the type that this one builds on.
macro_rules! absent_as_default {
    ($spec:ident) => {
        impl ::serde::Serialize for $spec {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $spec {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                struct Present($spec);

                impl<'de> ::serde::Deserialize<'de> for Present {
                    fn deserialize<D: ::serde::Deserializer<'de>>(
                        deserializer: D,
                    ) -> Result<Self, D::Error> {
                        // The type's own function goes before the trait's.
                        $spec::deserialize(deserializer).map(Self)
                    }
                }

                // serde offers nothing at all for an absent field to types that ask for an option.
                let present: Option<Present> = ::serde::Deserialize::deserialize(deserializer)?;
                Ok(present.map(|p| p.0).unwrap_or_default())
            }
        }
    };
}
pub(super) use absent_as_default;
