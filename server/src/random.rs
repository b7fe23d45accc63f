//! Numbers that nobody can foresee.

/// 128 fresh bits, as 32 hexadecimal digits.
pub fn hex() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(::hex::encode(bytes))
}
