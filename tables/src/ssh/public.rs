//! Public keys as SSH sends them (RFC 4253 and its successors): what they are, and their fingerprints.

use base64::Engine as _;
use md5::Digest as _;

use super::wire::{Reader, bits, put_mpint, put_string};

/// What `ssh-keygen -l` calls keys.
pub(super) const ALGORITHMS: [&str; 12] = [
    "RSA",
    "DSA",
    "ECDSA",
    "ED25519",
    "ECDSA-SK",
    "ED25519-SK",
    "RSA-CERT",
    "DSA-CERT",
    "ECDSA-CERT",
    "ED25519-CERT",
    "ECDSA-SK-CERT",
    "ED25519-SK-CERT",
];

/// What a public key tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Public {
    pub algorithm: &'static str,
    pub bits: Option<u32>,
    /// The encoded key, for a certificate that of the key it certifies; fingerprints are taken of it.
    encoded: Option<Vec<u8>>,
}

/// A field of an encoded key.
#[derive(Clone, Copy)]
enum Part {
    Mpint,
    String,
}

/// A type of keys: its name on the wire, ours, its fields, and which field tells the bits.
struct Family {
    name: &'static str,
    algorithm: &'static str,
    certificate: Option<(&'static str, &'static str)>,
    parts: &'static [Part],
}

static FAMILIES: [Family; 8] = {
    use Part::{Mpint, String};
    const fn family(
        name: &'static str,
        algorithm: &'static str,
        certificate: (&'static str, &'static str),
        parts: &'static [Part],
    ) -> Family {
        Family { name, algorithm, certificate: Some(certificate), parts }
    }
    let ecdsa = "ECDSA-CERT";
    [
        family("ssh-rsa", "RSA", ("ssh-rsa-cert-v01@openssh.com", "RSA-CERT"), &[Mpint, Mpint]),
        family("ssh-dss", "DSA", ("ssh-dss-cert-v01@openssh.com", "DSA-CERT"), &[Mpint, Mpint, Mpint, Mpint]),
        family("ssh-ed25519", "ED25519", ("ssh-ed25519-cert-v01@openssh.com", "ED25519-CERT"), &[String]),
        family("ecdsa-sha2-nistp256", "ECDSA", ("ecdsa-sha2-nistp256-cert-v01@openssh.com", ecdsa), &[String, String]),
        family("ecdsa-sha2-nistp384", "ECDSA", ("ecdsa-sha2-nistp384-cert-v01@openssh.com", ecdsa), &[String, String]),
        family("ecdsa-sha2-nistp521", "ECDSA", ("ecdsa-sha2-nistp521-cert-v01@openssh.com", ecdsa), &[String, String]),
        family(
            "sk-ssh-ed25519@openssh.com",
            "ED25519-SK",
            ("sk-ssh-ed25519-cert-v01@openssh.com", "ED25519-SK-CERT"),
            &[String, String],
        ),
        family(
            "sk-ecdsa-sha2-nistp256@openssh.com",
            "ECDSA-SK",
            ("sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "ECDSA-SK-CERT"),
            &[String, String, String],
        ),
    ]
};

/// Whether a word names a type of keys.
pub(super) fn is_type(word: &[u8]) -> bool {
    find(word).is_some()
}

/// Whether a line's name of a type is one for what the key itself says.
pub(super) fn is_same_type(name: &[u8], inner: &[u8]) -> bool {
    match (find(name), find_inner(inner)) {
        (Some((one, certifies)), Some((other, other_certifies))) => {
            one.name == other.name && certifies == other_certifies
        }
        _ => false,
    }
}

/// The type that a key says of itself, which sshd knows by short names too.
fn find_inner(name: &[u8]) -> Option<(&'static Family, bool)> {
    let by_short_name = || {
        let is_it = |family: &&Family| {
            !family.algorithm.starts_with("ECDSA") && family.algorithm.as_bytes().eq_ignore_ascii_case(name)
        };
        FAMILIES.iter().find(is_it).map(|family| (family, false))
    };
    find(name).or_else(by_short_name)
}

/// The family of a type's name, and whether it is that of certificates. Names of signatures stand for the key that makes them.
fn find(name: &[u8]) -> Option<(&'static Family, bool)> {
    let name: &[u8] = match name {
        b"rsa-sha2-256" | b"rsa-sha2-512" => b"ssh-rsa",
        b"rsa-sha2-256-cert-v01@openssh.com" | b"rsa-sha2-512-cert-v01@openssh.com" => b"ssh-rsa-cert-v01@openssh.com",
        b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com" => b"sk-ecdsa-sha2-nistp256@openssh.com",
        name => name,
    };
    FAMILIES.iter().find_map(|family| {
        let certifies = family.certificate.is_some_and(|(certificate, _)| certificate.as_bytes() == name);
        (certifies || family.name.as_bytes() == name).then_some((family, certifies))
    })
}

impl Public {
    /// A key of which no more is known than its kind.
    pub fn bare(algorithm: &'static str, bits: Option<u32>) -> Public {
        Public { algorithm, bits, encoded: None }
    }

    /// Reads an encoded key or certificate.
    pub fn decode(blob: &[u8]) -> Option<Public> {
        let mut reader = Reader(blob);
        let (family, certifies) = find_inner(reader.string()?)?;
        if certifies {
            // The nonce stands before the key.
            reader.string()?;
        }
        let mut encoded = Vec::with_capacity(blob.len());
        put_string(&mut encoded, family.name.as_bytes());
        let mut fields = [&[][..]; 4];
        for (part, field) in family.parts.iter().zip(&mut fields) {
            match part {
                Part::Mpint => {
                    *field = reader.mpint()?;
                    put_mpint(&mut encoded, field);
                }
                Part::String => {
                    *field = reader.string()?;
                    put_string(&mut encoded, field);
                }
            }
        }
        if !certifies && !reader.0.is_empty() {
            return None;
        }
        let [first, second, ..] = fields;
        let bits = match family.algorithm {
            "RSA" => bits(second),
            "DSA" => bits(first),
            "ED25519" | "ED25519-SK" => Some(256).filter(|_| first.len() == 32),
            _ => curve_bits(first).filter(|_| is_point(first, second)),
        }?;
        let algorithm = family.certificate.filter(|_| certifies).map_or(family.algorithm, |(_, algorithm)| algorithm);
        Some(Public { algorithm, bits: Some(bits), encoded: Some(encoded) })
    }

    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Public> {
        let mut blob = Vec::new();
        put_string(&mut blob, b"ssh-rsa");
        put_mpint(&mut blob, exponent);
        put_mpint(&mut blob, modulus);
        Public::decode(&blob)
    }

    pub fn dsa(numbers: [&[u8]; 4]) -> Option<Public> {
        let mut blob = Vec::new();
        put_string(&mut blob, b"ssh-dss");
        numbers.iter().for_each(|number| put_mpint(&mut blob, number));
        Public::decode(&blob)
    }

    pub fn ed25519(key: &[u8]) -> Option<Public> {
        let mut blob = Vec::new();
        put_string(&mut blob, b"ssh-ed25519");
        put_string(&mut blob, key);
        Public::decode(&blob)
    }

    /// A key on the curve `nistp256` or one of its kin; `point` is not compressed.
    pub fn ecdsa(curve: &str, point: &[u8]) -> Option<Public> {
        let mut blob = Vec::new();
        put_string(&mut blob, format!("ecdsa-sha2-{curve}").as_bytes());
        put_string(&mut blob, curve.as_bytes());
        put_string(&mut blob, point);
        Public::decode(&blob)
    }

    /// The digest's bytes in hexadecimal, between colons.
    pub fn md5(&self) -> Option<String> {
        let digest = md5::Md5::digest(self.encoded.as_ref()?);
        let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(bytes.join(":"))
    }

    /// `SHA256:` and the digest in Base64 without padding.
    pub fn sha256(&self) -> Option<String> {
        let digest = sha2::Sha256::digest(self.encoded.as_ref()?);
        Some(format!("SHA256:{}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(digest)))
    }
}

/// The bits of a curve by its name.
pub(super) fn curve_bits(curve: &[u8]) -> Option<u32> {
    match curve {
        b"nistp256" => Some(256),
        b"nistp384" => Some(384),
        b"nistp521" => Some(521),
        _ => None,
    }
}

/// Whether a point has the length that its curve's have.
fn is_point(curve: &[u8], point: &[u8]) -> bool {
    let Some(bits) = curve_bits(curve) else { return false };
    point.first() == Some(&4) && u32::try_from(point.len()).is_ok_and(|length| length == 1 + 2 * bits.div_ceil(8))
}

/// Reads Base64, with padding or without.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&base64::alphabet::STANDARD, config).decode(text).ok()
}
