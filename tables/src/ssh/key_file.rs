//! Files that hold one key, private or public, in the forms that OpenSSH, OpenSSL and PuTTY write.

use super::der::{Der, OBJECT, OCTET_STRING};
use super::line;
use super::public::{Public, base64, curve_bits, is_type};
use super::wire::{Reader, bits};

/// What a file is, and what it tells of its key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KeyFile {
    /// `private`, `public` or `certificate`.
    pub kind: &'static str,
    pub format: &'static str,
    pub public: Option<Public>,
    /// Of private keys, where it can be told.
    pub encrypted: Option<bool>,
    pub comment: Option<String>,
    /// It has the outer form of a key and not the inner one.
    pub malformed: bool,
}

const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";

/// Algorithms' numbers in DER, without tag and length.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const CURVES: [(&[u8], &str); 3] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], "nistp256"),
    (&[0x2b, 0x81, 4, 0, 0x22], "nistp384"),
    (&[0x2b, 0x81, 4, 0, 0x23], "nistp521"),
];

/// Reads a file; `None` where it holds no key at all.
pub(super) fn parse(bytes: &[u8]) -> Option<KeyFile> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    while let Some(first) = lines.next() {
        if first.starts_with(b"-----BEGIN ") {
            let label = first.strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----")?;
            // Certificates of TLS and parameters stand before keys at times.
            if let Some(file) = armored(label, &mut lines) {
                return Some(file);
            }
        } else if first == b"---- BEGIN SSH2 PUBLIC KEY ----" {
            return Some(ssh2(&mut lines));
        } else if first.starts_with(b"PuTTY-User-Key-File-") {
            return Some(putty(first, &mut lines));
        } else if let Some(file) = one_line(first) {
            return Some(file);
        }
    }
    None
}

/// A public key in one line, which may have options before it.
fn one_line(text: &[u8]) -> Option<KeyFile> {
    let file = KeyFile { kind: "public", format: "openssh", ..KeyFile::default() };
    match line::parse(text)? {
        Ok(line) => {
            let kind = if line.public.algorithm.ends_with("-CERT") { "certificate" } else { "public" };
            let comment = line.comment.map(|comment| String::from_utf8_lossy(comment).into_owned());
            Some(KeyFile { kind, public: Some(line.public), comment, ..file })
        }
        Err(()) => is_type(line::split(text).0).then_some(KeyFile { malformed: true, ..file }),
    }
}

/// What stands between two lines of dashes.
fn armored<'a>(label: &[u8], lines: &mut impl Iterator<Item = &'a [u8]>) -> Option<KeyFile> {
    let (kind, format): (_, _) = match label {
        b"OPENSSH PRIVATE KEY" => ("private", "openssh"),
        b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" | b"DSA PRIVATE KEY" => ("private", "pem"),
        b"PRIVATE KEY" | b"ENCRYPTED PRIVATE KEY" => ("private", "pkcs8"),
        b"RSA PUBLIC KEY" => ("public", "pem"),
        b"PUBLIC KEY" => ("public", "pkcs8"),
        _ => return None,
    };
    let mut encoded = Vec::new();
    let mut encrypted = label == b"ENCRYPTED PRIVATE KEY";
    for line in lines.take_while(|line| !line.starts_with(b"-----END ")) {
        if line.contains(&b':') {
            encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
        } else if !line.starts_with(b"-----") {
            encoded.extend_from_slice(line);
        }
    }
    let mut file = KeyFile { kind, format, ..KeyFile::default() };
    let der = base64(&encoded);
    if encrypted {
        file.encrypted = Some(true);
        file.public = algorithm_of(label).map(|algorithm| Public::bare(algorithm, None));
        file.malformed = der.is_none_or(|der| der.is_empty());
        return Some(file);
    }
    let read = der.and_then(|der| match label {
        b"OPENSSH PRIVATE KEY" => openssh(&der),
        b"RSA PRIVATE KEY" => clear(pkcs1(Der(&der))),
        b"EC PRIVATE KEY" => clear(sec1(Der(&der), None)),
        b"DSA PRIVATE KEY" => clear(dsa(Der(&der))),
        b"PRIVATE KEY" => clear(pkcs8(Der(&der))),
        b"RSA PUBLIC KEY" => Der(&der).sequence().and_then(rsa_public).map(|public| (public, None, None)),
        _ => public_info(Der(&der)).map(|public| (public, None, None)),
    });
    match read {
        Some((public, encrypted, comment)) => {
            (file.public, file.encrypted, file.comment) = (Some(public), encrypted, comment);
        }
        None => file.malformed = true,
    }
    Some(file)
}

/// A key, whether its private part is encrypted, and its comment.
type Read = (Public, Option<bool>, Option<String>);

fn clear(public: Option<Public>) -> Option<Read> {
    public.map(|public| (public, Some(false), None))
}

fn algorithm_of(label: &[u8]) -> Option<&'static str> {
    match label {
        b"RSA PRIVATE KEY" => Some("RSA"),
        b"EC PRIVATE KEY" => Some("ECDSA"),
        b"DSA PRIVATE KEY" => Some("DSA"),
        _ => None,
    }
}

/// OpenSSH's own form, in which the public key is never encrypted.
fn openssh(bytes: &[u8]) -> Option<Read> {
    let mut reader = Reader(bytes.strip_prefix(OPENSSH_MAGIC)?);
    let cipher = reader.string()?;
    let (_derivation, _options) = (reader.string()?, reader.string()?);
    if reader.number()? != 1 {
        return None;
    }
    let public = Public::decode(reader.string()?)?;
    let encrypted = cipher != b"none";
    let comment = if encrypted { None } else { openssh_comment(reader.string()?) };
    Some((public, Some(encrypted), comment))
}

/// The comment, which stands behind the private numbers.
fn openssh_comment(private: &[u8]) -> Option<String> {
    let mut reader = Reader(private);
    let same = reader.number()? == reader.number()?;
    let strings = match reader.string()? {
        b"ssh-rsa" => 6,
        b"ssh-dss" => 5,
        b"ssh-ed25519" => 2,
        b"sk-ssh-ed25519@openssh.com" => {
            reader.string()?;
            reader.string()?;
            reader.take(1)?;
            2
        }
        b"sk-ecdsa-sha2-nistp256@openssh.com" => {
            reader.string()?;
            reader.string()?;
            reader.string()?;
            reader.take(1)?;
            2
        }
        name if name.starts_with(b"ecdsa-sha2-") && !name.ends_with(b"@openssh.com") => 3,
        _ => return None,
    };
    for _ in 0..strings {
        reader.string()?;
    }
    let comment = reader.string().filter(|comment| same && !comment.is_empty())?;
    Some(String::from_utf8_lossy(comment).into_owned())
}

fn pkcs1(mut der: Der<'_>) -> Option<Public> {
    let mut key = der.sequence()?;
    key.integer()?;
    rsa_public(key)
}

fn rsa_public(mut key: Der<'_>) -> Option<Public> {
    let modulus = key.integer()?;
    Public::rsa(modulus, key.integer()?)
}

fn dsa(mut der: Der<'_>) -> Option<Public> {
    let mut key = der.sequence()?;
    key.integer()?;
    Public::dsa([key.integer()?, key.integer()?, key.integer()?, key.integer()?])
}

/// A key on a curve, which its container names or it does itself.
fn sec1(mut der: Der<'_>, outer: Option<&'static str>) -> Option<Public> {
    let mut key = der.sequence()?;
    key.integer()?;
    key.value(OCTET_STRING)?;
    let named = key.value(0xa0).and_then(|parameters| Der(parameters).value(OBJECT));
    let curve = named.and_then(curve).or(outer)?;
    match key.value(0xa1).and_then(|point| Der(point).bits()) {
        Some(point) => Public::ecdsa(curve, point),
        None => Some(Public::bare("ECDSA", curve_bits(curve.as_bytes()))),
    }
}

fn curve(object: &[u8]) -> Option<&'static str> {
    CURVES.iter().find(|(number, _)| *number == object).map(|(_, name)| *name)
}

fn pkcs8(mut der: Der<'_>) -> Option<Public> {
    let mut info = der.sequence()?;
    info.integer()?;
    let mut algorithm = info.sequence()?;
    let number = algorithm.value(OBJECT)?;
    let private = info.value(OCTET_STRING)?;
    match number {
        RSA => pkcs1(Der(private)),
        EC => sec1(Der(private), algorithm.value(OBJECT).and_then(curve)),
        // The public number is not there, and would have to be computed.
        DSA => Some(Public::bare("DSA", bits(algorithm.sequence()?.integer()?))),
        ED25519 => {
            let _attributes = info.value(0xa0);
            let public = info.value(0x81).and_then(|bits| Public::ed25519(bits.strip_prefix(&[0])?));
            Some(public.unwrap_or_else(|| Public::bare("ED25519", Some(256))))
        }
        _ => None,
    }
}

fn public_info(mut der: Der<'_>) -> Option<Public> {
    let mut info = der.sequence()?;
    let mut algorithm = info.sequence()?;
    let number = algorithm.value(OBJECT)?;
    let key = info.bits()?;
    match number {
        RSA => Der(key).sequence().and_then(rsa_public),
        EC => Public::ecdsa(algorithm.value(OBJECT).and_then(curve)?, key),
        DSA => {
            let mut numbers = algorithm.sequence()?;
            Public::dsa([numbers.integer()?, numbers.integer()?, numbers.integer()?, Der(key).integer()?])
        }
        ED25519 => Public::ed25519(key),
        _ => None,
    }
}

/// The form of RFC 4716.
fn ssh2<'a>(lines: &mut impl Iterator<Item = &'a [u8]>) -> KeyFile {
    let mut encoded = Vec::new();
    let mut comment = None;
    let mut continued = false;
    for line in lines.take_while(|line| !line.starts_with(b"---- END ")) {
        if let Some(text) = line.strip_prefix(b"Comment:") {
            let text = text.trim_ascii();
            let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
            comment = Some(String::from_utf8_lossy(text).into_owned()).filter(|text| !text.is_empty());
        } else if !continued && !line.contains(&b':') {
            encoded.extend_from_slice(line);
        }
        continued = (continued || line.contains(&b':')) && line.ends_with(b"\\");
    }
    let public = base64(&encoded).and_then(|blob| Public::decode(&blob));
    KeyFile { kind: "public", format: "rfc4716", malformed: public.is_none(), public, comment, encrypted: None }
}

/// PuTTY's own form.
fn putty<'a>(first: &[u8], lines: &mut impl Iterator<Item = &'a [u8]>) -> KeyFile {
    let mut file = KeyFile { kind: "private", format: "putty", ..KeyFile::default() };
    while let Some(line) = lines.next() {
        if let Some(cipher) = line.strip_prefix(b"Encryption:") {
            file.encrypted = Some(cipher.trim_ascii() != b"none");
        } else if let Some(text) = line.strip_prefix(b"Comment:") {
            file.comment =
                Some(String::from_utf8_lossy(text.trim_ascii()).into_owned()).filter(|text| !text.is_empty());
        } else if let Some(count) = line.strip_prefix(b"Public-Lines:") {
            let count = std::str::from_utf8(count.trim_ascii()).ok().and_then(|count| count.parse().ok());
            let encoded: Vec<u8> = lines.by_ref().take(count.unwrap_or(0)).flatten().copied().collect();
            file.public = base64(&encoded).and_then(|blob| Public::decode(&blob));
        } else if line.starts_with(b"Private-") {
            break;
        }
    }
    file.malformed = file.public.is_none() || !first.contains(&b':');
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_files() {
        for text in
            ["", "\n\n", "aws_access_key_id = x\n# y\n", "-----BEGIN CERTIFICATE-----\nAAAA\n", "-----BEGIN ", "\0\0"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        for (text, kind, format, encrypted) in [
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nnot a key\n-----END", "private", "openssh", None),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n", "private", "openssh", None),
            ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nno key\n", "private", "pem", Some(true)),
            ("-----BEGIN PRIVATE KEY-----\n", "private", "pkcs8", None),
            ("-----BEGIN PUBLIC KEY-----\nMAA=\n", "public", "pkcs8", None),
            ("ssh-rsa not-a-key me", "public", "openssh", None),
            ("---- BEGIN SSH2 PUBLIC KEY ----\nComment: a\\\nb\nAAAA\n", "public", "rfc4716", None),
            (
                "PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\nPublic-Lines: 99999999999999999999\n",
                "private",
                "putty",
                Some(false),
            ),
        ] {
            let file = parse(text.as_bytes()).unwrap();
            assert_eq!(
                (file.kind, file.format, file.encrypted, file.malformed),
                (kind, format, encrypted, true),
                "{text}"
            );
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(10_000))]

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, label in 0..7_usize) {
            let _ = parse(&bytes);
            let _ = openssh(&[OPENSSH_MAGIC, &bytes].concat());
            let _ = openssh_comment(&bytes);
            for read in [pkcs1, dsa, pkcs8, public_info] {
                let _ = read(Der(&bytes));
            }
            let _ = sec1(Der(&bytes), Some("nistp256"));
            let labels = ["OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "PUBLIC KEY", "DSA PRIVATE KEY", ""];
            let text = format!("-----BEGIN {}-----\n", labels[label]);
            let _ = parse(&[text.as_bytes(), &bytes].concat());
        }
    }
}
