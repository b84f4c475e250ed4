//! RSA keys of the sizes that the crypto library uses but does not generate (docs/adr/0003-one-crypto-library.md).

use std::convert::Infallible;

use aws_lc_rs::rand;
use crypto_bigint::rand_core::{TryCryptoRng, TryRng};
use crypto_bigint::{BoxedUint, ConcatenatingMul as _, Gcd as _, NonZero};
use crypto_primes::hazmat::{SetBits, SmallFactorsSieveFactory};
use crypto_primes::{Flavor, is_prime, sieve_and_find};
use der::asn1::UintRef;
use der::{Encode as _, Sequence};
use zeroize::Zeroizing;

use super::Error;

type Secret = Zeroizing<NonZero<BoxedUint>>;

const FAILED: Error = Error::Crypto("key generation");
const PUBLIC_EXPONENT: u32 = 65_537;

/// DER `RSAPrivateKey` (RFC 8017 A.1.2) of a new key whose modulus has exactly so many bits, 2048 or more.
pub(super) fn generate(bits: u32) -> Result<Zeroizing<Vec<u8>>, Error> {
    loop {
        let (p, q) = (prime(bits.div_ceil(2))?, prime(bits / 2)?);
        if are_apart(&p, &q, bits) {
            return key_of(&p, &q);
        }
    }
}

/// A prime with its two highest bits set, so that the product of two has all its bits; the number before it has no
/// factor in common with the public exponent.
fn prime(bits: u32) -> Result<Secret, Error> {
    let exponent = NonZero::new(BoxedUint::from(PUBLIC_EXPONENT)).into_option();
    let exponent = exponent.ok_or(FAILED)?;
    let fits = |_: &mut Random, candidate: &BoxedUint| {
        is_prime(Flavor::Any, candidate) && candidate.rem(&exponent) != BoxedUint::one()
    };
    let candidates = SmallFactorsSieveFactory::new(Flavor::Any, bits, SetBits::TwoMsb);
    let mut random = Random { failed: false };
    let found = sieve_and_find(&mut random, candidates.map_err(|_| FAILED)?, fits);
    let prime = found.ok().flatten().filter(|_| !random.failed);
    secret(prime.ok_or(FAILED)?)
}

/// FIPS 186-5 A.1.3, step 5.4.
fn are_apart(p: &BoxedUint, q: &BoxedUint, bits: u32) -> bool {
    let (more, less) = if p > q { (p, q) } else { (q, p) };
    Zeroizing::new(more.wrapping_sub(less)).bit_width() > bits / 2 - 100
}

fn key_of(p: &Secret, q: &Secret) -> Result<Zeroizing<Vec<u8>>, Error> {
    let before_p = secret(p.wrapping_sub(BoxedUint::one()))?;
    let before_q = secret(q.wrapping_sub(BoxedUint::one()))?;
    let common = secret(BoxedUint::gcd(&before_p, &before_q))?;
    let (part, _) = before_p.div_rem(&*common);
    let period = secret(part.concatenating_mul(&**before_q))?;
    let modulus = bytes(&p.concatenating_mul(&***q));
    let exponent = BoxedUint::from(PUBLIC_EXPONENT);
    let d = inverse(&exponent, &period)?;
    let exponent = bytes(&exponent);
    let private = bytes(&d);
    let (prime1, prime2) = (bytes(p), bytes(q));
    let (exponent1, exponent2) = (bytes(&d.rem(&*before_p)), bytes(&d.rem(&*before_q)));
    let coefficient = bytes(&*inverse(q, p)?);
    let number = |bytes| UintRef::new(bytes).map_err(|_| FAILED);
    let key = RsaPrivateKey {
        version: 0,
        modulus: number(&modulus)?,
        public_exponent: number(&exponent)?,
        private_exponent: number(&private)?,
        prime1: number(&prime1)?,
        prime2: number(&prime2)?,
        exponent1: number(&exponent1)?,
        exponent2: number(&exponent2)?,
        coefficient: number(&coefficient)?,
    };
    key.to_der().map(Zeroizing::new).map_err(|_| FAILED)
}

fn inverse(of: &BoxedUint, modulus: &Secret) -> Result<Zeroizing<BoxedUint>, Error> {
    let inverse = of.rem(&**modulus).invert_mod(modulus).into_option();
    inverse.map(Zeroizing::new).ok_or(FAILED)
}

fn secret(number: BoxedUint) -> Result<Secret, Error> {
    let number = NonZero::new(number).into_option();
    number.map(Zeroizing::new).ok_or(FAILED)
}

fn bytes(number: &BoxedUint) -> Zeroizing<Box<[u8]>> {
    Zeroizing::new(number.to_be_bytes())
}

/// RFC 8017 A.1.2, of two primes.
#[derive(Sequence)]
struct RsaPrivateKey<'a> {
    version: u8,
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
    private_exponent: UintRef<'a>,
    prime1: UintRef<'a>,
    prime2: UintRef<'a>,
    exponent1: UintRef<'a>,
    exponent2: UintRef<'a>,
    coefficient: UintRef<'a>,
}

/// The crypto library's source of randomness, which can fail, as one that cannot: what was found is refused afterwards.
struct Random {
    failed: bool,
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.failed |= rand::fill(bytes).is_err();
        Ok(())
    }
}

impl TryCryptoRng for Random {}
